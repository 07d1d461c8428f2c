// Rooms: a table by name, and the fan-out.
#include "limit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { chains = 1 << 16 };

static struct room *table[chains];
static struct room *dirty;

static struct room **find(const char *name, size_t length)
{
    uint32_t hash = 2166136261u;  // FNV-1a
    for (size_t index = 0; index < length; index += 1) hash = (hash ^ (uint8_t)name[index]) * 16777619u;
    struct room **place = &table[(hash ^ hash >> 16) % chains];
    while (*place && ((*place)->name_length != length || memcmp((*place)->name, name, length) != 0)) {
        place = &(*place)->next;
    }
    return place;
}

// Makes a connection a member or publisher of the room of that name. false: no, and the connection should end.
bool room_enter(struct connection *connection, const char *name, size_t length, enum role role)
{
    if (length > name_maximum) return false;
    struct room **place = find(name, length);
    struct room *room = *place;
    if (!room) {
        room = calloc(1, sizeof *room + length);
        if (!room) return false;
        room->name_length = (uint16_t)length;
        memcpy(room->name, name, length);
        *place = room;
    }
    room->users += 1;
    connection->room = room;
    connection->role = publisher;
    if (role != member) return true;
    if (room->members == room->capacity) {
        uint32_t capacity = room->capacity ? 2 * room->capacity : 4;
        int *grown = realloc(room->descriptors, capacity * sizeof *grown);
        if (!grown) return false;
        room->descriptors = grown;
        room->capacity = capacity;
    }
    connection->role = member;
    connection->slot = room->members;
    room->descriptors[room->members++] = connection->out ? ~connection->descriptor : connection->descriptor;
    return true;
}

void room_leave(struct connection *connection)
{
    struct room *room = connection->room;
    if (!room) return;
    connection->room = NULL;
    room->users -= 1;
    if (connection->role == member) {
        int last = room->descriptors[--room->members];
        room->descriptors[connection->slot] = last;
        connection_move(last < 0 ? ~last : last, connection->slot);
    }
    if (room->users > 0) return;
    *find(room->name, room->name_length) = room->next;
    free(room->descriptors);
    free(room->merged);
    free(room);
}

// One send() per member: the measure of all.
static void send_to_members(struct room *room, const uint8_t *bytes, size_t length)
{
    for (uint32_t index = 0; index < room->members; index += 1) {
        int descriptor = room->descriptors[index];
        if (descriptor < 0) {
            connection_queue(~descriptor, bytes, length);
            continue;
        }
        ssize_t sent = send(descriptor, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == (ssize_t)length) continue;
        // A broken connection ends here too: its next event says so, and until then little is kept for it.
        size_t taken = sent > 0 ? (size_t)sent : 0;
        connection_queue(descriptor, bytes + taken, length - taken);
    }
}

void room_send(struct room *room, const uint8_t *frame, size_t length, bool merges)
{
    if (!merges) return send_to_members(room, frame, length);
    struct buffer *merged = room->merged;
    if (merged && merged->end + length > merged_maximum) {
        send_to_members(room, merged->bytes, merged->end);
        merged->end = 0;
    }
    if (!buffer_append(&room->merged, frame, length)) return send_to_members(room, frame, length);
    if (room->is_dirty) return;
    room->is_dirty = true;
    room->next_dirty = dirty;
    dirty = room;
}

void room_send_merged(void)
{
    for (struct room *room = dirty; room; room = room->next_dirty) {
        send_to_members(room, room->merged->bytes, room->merged->end);
        room->merged->end = 0;
        room->is_dirty = false;
    }
    dirty = NULL;
}
