// What Linux offers and Swift's Glibc module leaves out: epoll, eventfd, accept4, names of threads.
//
// Does not include <sys/socket.h>: its constants would belong to this module then, and a file that imports only Glibc
// would find them or not, depending on which files it is compiled with.
#ifndef FANFARE_CLINUX_H
#define FANFARE_CLINUX_H

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>

/// accept4(2) with SOCK_NONBLOCK and SOCK_CLOEXEC; the header declares it for _GNU_SOURCE only.
///
/// `address` is a sockaddr, `length` a socklen_t.
int fanfare_accept(int listener, void *address, unsigned int *length);

/// send(2) that neither blocks nor raises a signal, and is no cancellation point: glibc's own costs two atomic
/// operations for that in a process with threads.
///
/// Returns the bytes the kernel took, 0 when it has no room; -1 when the peer is gone or `descriptor` is -1.
ssize_t fanfare_send(int descriptor, const void *bytes, size_t length);

/// Sends the same bytes to each of `count` descriptors with fanfare_send(), until one does not take all of them.
///
/// Returns the index of that one, with the result of its send in `taken`; `count` when all took everything.
size_t fanfare_send_each(const int *descriptors, size_t count, const void *bytes, size_t length, ssize_t *taken);

/// epoll_pwait2(2), whose timeout is in nanoseconds; less than 0 waits for ever. A kernel before 5.11 waits in whole
/// milliseconds, rounded up.
int fanfare_epoll_wait(int epoll, struct epoll_event *events, int count, long long nanoseconds);

/// pidfd_open(2), closed on exec: a descriptor that is readable once the process has ended. -1 when there is no such
/// process, or the kernel is before 5.3.
int fanfare_open_process(int process);

/// pthread_setname_np(3): at most 15 bytes of `name` are shown.
void fanfare_name_thread(pthread_t thread, const char *name);

#endif
