#define _GNU_SOURCE
#include "CLinux.h"
#include <string.h>

int fanfare_accept(int listener, struct sockaddr *address, socklen_t *length)
{
    return accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void fanfare_name_thread(pthread_t thread, const char *name)
{
    char shown[16] = {0};
    strncpy(shown, name, sizeof shown - 1);
    pthread_setname_np(thread, shown);
}
