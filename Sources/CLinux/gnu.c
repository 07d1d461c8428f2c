#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fanfare_accept(int listener, void *address, unsigned int *length)
{
    return accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

ssize_t fanfare_send(int descriptor, const void *bytes, size_t length)
{
    if (descriptor < 0)
        return -1;
    for (;;) {
        ssize_t taken = syscall(SYS_sendto, descriptor, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
        if (taken >= 0)
            return taken;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM ? 0 : -1;
    }
}

size_t fanfare_send_each(const int *descriptors, size_t count, const void *bytes, size_t length, ssize_t *taken)
{
    for (size_t index = 0; index < count; index++) {
        *taken = fanfare_send(descriptors[index], bytes, length);
        if (*taken != (ssize_t)length)
            return index;
    }
    return count;
}

int fanfare_epoll_wait(int epoll, struct epoll_event *events, int count, long long nanoseconds)
{
    if (nanoseconds <= 0)
        return epoll_wait(epoll, events, count, nanoseconds < 0 ? -1 : 0);
    struct timespec timeout = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int ready = epoll_pwait2(epoll, events, count, &timeout, NULL);
    if (ready >= 0 || errno != ENOSYS)
        return ready;
    long long milliseconds = (nanoseconds - 1) / 1000000 + 1;
    return epoll_wait(epoll, events, count, milliseconds > INT_MAX ? INT_MAX : (int)milliseconds);
}

void fanfare_name_thread(pthread_t thread, const char *name)
{
    char shown[16] = {0};
    strncpy(shown, name, sizeof shown - 1);
    pthread_setname_np(thread, shown);
}

int fanfare_open_process(int process)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, process, 0);
#else
    (void)process;
    errno = ENOSYS;
    return -1;
#endif
}
