// The physical limit: fan-out from a bare epoll loop, which a server can only approach.
#ifndef FANFARE_CLIMIT_H
#define FANFARE_CLIMIT_H

#include <stdbool.h>
#include <stddef.h>

/// Writes the `Sec-WebSocket-Accept` of RFC 6455, section 4.2.2, for a key: 28 characters, without a terminator.
typedef void (*fanfare_limit_accept)(const char *key, size_t length, char *accept);

/// Serves on one thread until the process ends; returns only when that is impossible, with `errno`.
///
/// With `accept` the clients are WebSockets. The path of the handshake is the room; every text or binary message of a
/// member goes to all members, the sender included. Without it they are links, in the framing of limit.c.
///
/// - Parameters:
///   - listener: Bound, listening, non-blocking.
///   - merges: All frames one turn of the loop has for a socket go in one send(); otherwise each in its own.
int fanfare_limit_serve(int listener, fanfare_limit_accept accept, bool merges);

#endif
