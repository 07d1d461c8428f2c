// The two framings.
//
// Links, over a Unix socket: every frame is its length (u32, big-endian, at most 2 MiB) and that many bytes. The first
// frame of a connection is one letter and the name of a room (at most 256 bytes, may be empty):
//
//     "S" name    subscribes: gets, as they are, all frames published to the room from now on; what it sends is ignored
//     "P" name    publishes: each further frame goes, length included, to all subscribers of the room
//
// A subscriber is told with one empty frame (four zero bytes) that it counts from now on; a publisher is told nothing.
#define _GNU_SOURCE
#include "limit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// Nothing more is taken from the connection.
static size_t end(struct connection *connection, size_t length)
{
    connection_end(connection);
    return length;
}

size_t take_link(struct connection *connection, uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    while (length - taken >= 4) {
        uint8_t *frame = bytes + taken;
        size_t size = (size_t)frame[0] << 24 | (size_t)frame[1] << 16 | (size_t)frame[2] << 8 | frame[3];
        if (size > message_maximum) return end(connection, length);
        if (length - taken < 4 + size) return taken;
        taken += 4 + size;
        if (connection->role == publisher) {
            room_send(connection->room, frame, 4 + size, limit_merges);
        } else if (connection->role == greeting) {
            char letter = size > 0 ? (char)frame[4] : 0;
            bool is_known = letter == 'S' || letter == 'P';
            enum role role = letter == 'S' ? member : publisher;
            if (!is_known || !room_enter(connection, (char *)frame + 5, size - 1, role)) return end(connection, length);
            if (role == member) connection_send(connection, "\0\0\0\0", 4);
        }
    }
    return taken;
}

// The value of a header field, or NULL.
static const char *field(const char *head, const char *name, size_t *length)
{
    size_t name_length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_length) != 0 || line[name_length] != ':') continue;
        const char *value = line + name_length + 1;
        value += strspn(value, " \t");
        *length = strcspn(value, " \t\r\n");
        return value;
    }
    return NULL;
}

static size_t shake_hands(struct connection *connection, uint8_t *bytes, size_t length)
{
    uint8_t *head_end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!head_end) return length > handshake_maximum ? end(connection, length) : 0;
    char head[handshake_maximum + 1];
    size_t head_length = (size_t)(head_end - bytes) + 2, key_length = 0;
    if (head_length > handshake_maximum || memcmp(bytes, "GET ", 4) != 0) return end(connection, length);
    memcpy(head, bytes, head_length);
    head[head_length] = 0;
    const char *key = field(head, "Sec-WebSocket-Key", &key_length);
    if (!key || key_length != 24) return end(connection, length);
    if (!room_enter(connection, head + 4, strcspn(head + 4, " ?\r\n"), member)) return end(connection, length);
    char accept[28], answer[256];
    limit_accept(key, key_length, accept);
    int answer_length = snprintf(
        answer, sizeof answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %.28s\r\n\r\n", accept);
    connection_send(connection, answer, (size_t)answer_length);
    return head_length + 2;
}

static void unmask(uint8_t *bytes, size_t length, const uint8_t mask[4])
{
    uint64_t wide;
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    size_t index = 0;
    for (; index + 8 <= length; index += 8) {
        uint64_t word;
        memcpy(&word, bytes + index, 8);
        word ^= wide;
        memcpy(bytes + index, &word, 8);
    }
    for (; index < length; index += 1) bytes[index] ^= mask[index & 3];
}

// A frame of the client: whole, masked, not fragmented (RFC 6455, section 5.2). Others end the connection: this is a
// measure, not a server.
size_t take_websocket(struct connection *connection, uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    if (connection->role == greeting) {
        taken = shake_hands(connection, bytes, length);
        if (connection->role == greeting) return taken;
    }
    while (!connection->ends && length - taken >= 2) {
        uint8_t *frame = bytes + taken;
        uint8_t first = frame[0], short_length = frame[1] & 0x7F;
        size_t header = short_length == 126 ? 4 : short_length == 127 ? 10 : 2;
        if (length - taken < header + 4) return taken;
        size_t size = short_length;
        if (header > 2) {
            size = 0;
            for (size_t index = 2; index < header; index += 1) size = size << 8 | frame[index];
        }
        uint8_t opcode = first & 0x0F;
        bool is_whole = (first & 0xF0) == 0x80 && (frame[1] & 0x80) != 0;
        if (!is_whole || size > message_maximum || (opcode >= 8 && header > 2)) return end(connection, length);
        if (length - taken < header + 4 + size) return taken;
        taken += header + 4 + size;
        // The server's frame is the client's without the mask: its header moves up to the payload.
        unmask(frame + header + 4, size, frame + header);
        memmove(frame + 4, frame, header);
        frame[5] &= 0x7F;
        if (opcode == 1 || opcode == 2) {
            room_send(connection->room, frame + 4, header + size, limit_merges);
        } else if (opcode == 8 || opcode == 9) {
            if (opcode == 9) frame[4] = 0x8A;
            connection_send(connection, frame + 4, header + size);
            if (opcode == 8) return end(connection, length);
        } else if (opcode != 10) {
            return end(connection, length);
        }
    }
    return taken;
}
