// What Linux offers and Swift's Glibc module leaves out: epoll, eventfd, accept4.
#ifndef FANFARE_CLINUX_H
#define FANFARE_CLINUX_H

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/// accept4(2) with SOCK_NONBLOCK and SOCK_CLOEXEC; the header declares it for _GNU_SOURCE only.
int fanfare_accept(int listener, struct sockaddr *address, socklen_t *length);

#endif
