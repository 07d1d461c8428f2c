// The loop: accepts, reads, writes what had to wait, closes. One thread, epoll, level-triggered, one recv() an event.
#define _GNU_SOURCE
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { events_maximum = 1024, read_bytes = 256 << 10, accepts_maximum = 256 };

fanfare_limit_accept limit_accept;
bool limit_merges;

static int poll_descriptor;
static int spare_descriptor;
static struct connection **connections;  // by descriptor
static size_t connections_capacity;
static struct connection **ending;
static size_t ending_count, ending_capacity;
static uint8_t shared[read_bytes];

// Appends to a buffer, which is made when it is NULL. false: there is no memory.
bool buffer_append(struct buffer **buffer, const void *bytes, size_t length)
{
    struct buffer *old = *buffer;
    size_t used = old ? old->end - old->start : 0;
    if (old && old->start > 0 && old->end + length > old->capacity) {
        memmove(old->bytes, old->bytes + old->start, used);
        old->start = 0;
        old->end = used;
    }
    if (!old || used + length > old->capacity) {
        size_t capacity = used + length + (used > 0 ? used : 0);
        struct buffer *grown = realloc(old, sizeof *grown + capacity);
        if (!grown) return false;
        if (!old) grown->start = grown->end = 0;
        grown->capacity = capacity;
        *buffer = old = grown;
    }
    memcpy(old->bytes + old->end, bytes, length);
    old->end += length;
    return true;
}

static void watch(struct connection *connection, int operation)
{
    struct epoll_event event = {.data.fd = connection->descriptor};
    event.events = EPOLLIN | (connection->out ? EPOLLOUT : 0);
    if (epoll_ctl(poll_descriptor, operation, connection->descriptor, &event) < 0) connection_end(connection);
}

// Closes a connection when the turn ends: until then the loops over members may still meet it.
void connection_end(struct connection *connection)
{
    if (connection->ends) return;
    if (ending_count == ending_capacity) {
        size_t capacity = ending_capacity ? 2 * ending_capacity : 64;
        struct connection **grown = realloc(ending, capacity * sizeof *grown);
        if (!grown) abort();
        ending = grown;
        ending_capacity = capacity;
    }
    connection->ends = true;
    ending[ending_count++] = connection;
}

// Its entry in the members of its room is elsewhere now.
void connection_move(int descriptor, uint32_t slot)
{
    connections[descriptor]->slot = slot;
}

static void mark_waiting(struct connection *connection, bool waits)
{
    if (connection->role == member) {
        int descriptor = connection->descriptor;
        connection->room->descriptors[connection->slot] = waits ? ~descriptor : descriptor;
    }
    watch(connection, EPOLL_CTL_MOD);
}

// Keeps what the kernel did not take until it can be written.
void connection_queue(int descriptor, const void *bytes, size_t length)
{
    struct connection *connection = connections[descriptor];
    if (connection->ends) return;
    bool waited = connection->out != NULL;
    size_t waiting = waited ? connection->out->end - connection->out->start : 0;
    if (waiting + length > waiting_maximum || !buffer_append(&connection->out, bytes, length)) {
        connection_end(connection);
    } else if (!waited) {
        mark_waiting(connection, true);
    }
}

// Sends to one connection, after what waits for it.
void connection_send(struct connection *connection, const void *bytes, size_t length)
{
    ssize_t sent = 0;
    if (!connection->out) sent = send(connection->descriptor, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return connection_end(connection);
    size_t taken = sent > 0 ? (size_t)sent : 0;
    if (taken < length) connection_queue(connection->descriptor, (const uint8_t *)bytes + taken, length - taken);
}

static void write_waiting(struct connection *connection)
{
    struct buffer *out = connection->out;
    if (!out || connection->ends) return;
    ssize_t sent =
        send(connection->descriptor, out->bytes + out->start, out->end - out->start, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) connection_end(connection);
        return;
    }
    out->start += (size_t)sent;
    if (out->start < out->end) return;
    free(out);
    connection->out = NULL;
    mark_waiting(connection, false);
}

static void take(struct connection *connection, uint8_t *bytes, size_t length)
{
    size_t (*take_frames)(struct connection *, uint8_t *, size_t) = limit_accept ? take_websocket : take_link;
    size_t taken = connection->ends ? length : take_frames(connection, bytes, length);
    if (connection->ends) return;
    struct buffer *in = connection->in;
    if (!in) {
        if (taken < length && !buffer_append(&connection->in, bytes + taken, length - taken)) {
            connection_end(connection);
        }
        return;
    }
    in->start += taken;
    if (in->start < in->end) return;
    free(in);
    connection->in = NULL;
}

static void read_available(struct connection *connection)
{
    ssize_t received = recv(connection->descriptor, shared, sizeof shared, MSG_DONTWAIT);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) return connection_end(connection);
    if (!connection->in) return take(connection, shared, (size_t)received);
    if (!buffer_append(&connection->in, shared, (size_t)received)) return connection_end(connection);
    struct buffer *in = connection->in;
    take(connection, in->bytes + in->start, in->end - in->start);
}

static bool add(int descriptor)
{
    if ((size_t)descriptor >= connections_capacity) {
        size_t capacity = 2 * ((size_t)descriptor + 1);
        struct connection **grown = realloc(connections, capacity * sizeof *grown);
        if (!grown) return false;
        memset(grown + connections_capacity, 0, (capacity - connections_capacity) * sizeof *grown);
        connections = grown;
        connections_capacity = capacity;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) return false;
    connection->descriptor = descriptor;
    connections[descriptor] = connection;
    watch(connection, EPOLL_CTL_ADD);
    return true;
}

static void accept_all(int listener)
{
    for (int count = 0; count < accepts_maximum; count += 1) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) {
            if (errno != EMFILE && errno != ENFILE) return;
            // Without a free descriptor the connection would stay in the queue and wake the loop for ever.
            close(spare_descriptor);
            close(accept(listener, NULL, NULL));
            spare_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
            continue;
        }
        int on = 1;
        if (limit_accept) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (!add(descriptor)) close(descriptor);
    }
}

static void close_ended(void)
{
    for (size_t index = 0; index < ending_count; index += 1) {
        struct connection *connection = ending[index];
        room_leave(connection);
        connections[connection->descriptor] = NULL;
        close(connection->descriptor);
        free(connection->in);
        free(connection->out);
        free(connection);
    }
    ending_count = 0;
}

int fanfare_limit_serve(int listener, fanfare_limit_accept accept, bool merges)
{
    static struct epoll_event events[events_maximum];
    limit_accept = accept;
    limit_merges = merges;
    spare_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    poll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.fd = listener};
    if (poll_descriptor < 0 || epoll_ctl(poll_descriptor, EPOLL_CTL_ADD, listener, &listening) < 0) return errno;
    for (;;) {
        int count = epoll_wait(poll_descriptor, events, events_maximum, -1);
        if (count < 0 && errno != EINTR) return errno;
        for (int index = 0; index < count; index += 1) {
            int descriptor = events[index].data.fd;
            if (descriptor == listener) {
                accept_all(listener);
                continue;
            }
            struct connection *connection = connections[descriptor];
            if (events[index].events & EPOLLOUT) write_waiting(connection);
            if (events[index].events & ~(uint32_t)EPOLLOUT) read_available(connection);
        }
        if (merges) room_send_merged();
        close_ended();
    }
}
