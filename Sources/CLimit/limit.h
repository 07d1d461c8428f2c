// What the loop (limit.c), its rooms (room.c) and its two framings (framing.c) share.
#ifndef FANFARE_LIMIT_H
#define FANFARE_LIMIT_H

#include "CLimit.h"

#include <stdint.h>

enum {
    message_maximum = 2 << 20,
    handshake_maximum = 8 << 10,
    name_maximum = 256,
    // What waits for one connection; it is closed above this.
    waiting_maximum = 64 << 20,
    // A merged send is begun at this size even before the turn ends.
    merged_maximum = 1 << 20,
};

// Bytes that wait: from `start` to `end`. Connections with nothing waiting have none.
struct buffer {
    size_t start, end, capacity;
    uint8_t bytes[];
};

enum role { greeting, member, publisher };

// Small: an idle connection is this and nothing else in the process.
struct connection {
    int descriptor;
    uint32_t slot;  // in the members of the room
    struct room *room;
    struct buffer *in, *out;
    uint8_t role;
    bool ends;  // is on the list of those to be closed when the turn ends
};

struct room {
    struct room *next;  // in its chain of the table
    struct room *next_dirty;
    uint32_t users, members, capacity;
    // Descriptors of the members; the complement of it while the member has bytes waiting. So the loop over members
    // touches nothing else.
    int *descriptors;
    struct buffer *merged;
    bool is_dirty;
    uint16_t name_length;
    char name[];
};

// limit.c
bool buffer_append(struct buffer **buffer, const void *bytes, size_t length);
void connection_send(struct connection *connection, const void *bytes, size_t length);
void connection_queue(int descriptor, const void *bytes, size_t length);
void connection_end(struct connection *connection);
void connection_move(int descriptor, uint32_t slot);

// room.c
bool room_enter(struct connection *connection, const char *name, size_t length, enum role role);
void room_leave(struct connection *connection);
void room_send(struct room *room, const uint8_t *frame, size_t length, bool merges);
void room_send_merged(void);

// framing.c: each takes whole frames from the front of `bytes`, which it may change, and returns how many bytes it took.
extern fanfare_limit_accept limit_accept;
extern bool limit_merges;
size_t take_websocket(struct connection *connection, uint8_t *bytes, size_t length);
size_t take_link(struct connection *connection, uint8_t *bytes, size_t length);

#endif
