// Counts what a program allocates, for tests of how much that is. A program that links this has malloc and its kin
// replaced by ones that count and then do what the C library's do.
#ifndef FANFARE_CALLOCATIONS_H
#define FANFARE_CALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

/// What has been allocated since the program started, on all threads that were not apart at the time.
typedef struct {
    /// Calls that made or changed the size of a block.
    uint64_t allocations;
    /// Calls that gave one back.
    uint64_t frees;
    /// Bytes asked for.
    uint64_t bytes;
} fanfare_allocations;

/// Whether this build counts: with the GNU C library, and without a sanitizer, which replaces malloc itself.
bool fanfare_allocations_are_counted(void);

/// What has been counted so far.
fanfare_allocations fanfare_allocations_so_far(void);

/// Bytes the calling thread has asked for since it began, apart or not; counted under sanitizers too, from the first call
/// on. Differences of two calls on one thread tell what happened between them, whatever other threads do.
uint64_t fanfare_bytes_of_this_thread(void);

/// Runs `body`: what this thread allocates meanwhile does not count; what others do does. Callgrind knows this function
/// by its name and does not count the instructions of this thread either.
void fanfare_run_apart(void (*body)(void *), void *context);

/// Marks for callgrind, by their names: what happens between the two calls is one history.
void fanfare_history_begins(void);
void fanfare_history_ends(void);

#endif
