#include "CAllocations.h"
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FANFARE_SANITIZED
#endif
#endif

static _Thread_local bool is_apart;
static _Thread_local uint64_t bytes_of_this_thread;
static _Atomic uint64_t allocations, frees, bytes;

fanfare_allocations fanfare_allocations_so_far(void)
{
    fanfare_allocations result = {allocations, frees, bytes};
    return result;
}

// The empty assembly keeps the compiler from merging or removing functions whose names matter.
__attribute__((noinline)) void fanfare_run_apart(void (*body)(void *), void *context)
{
    is_apart = true;
    body(context);
    is_apart = false;
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void fanfare_history_begins(void) { __asm__ volatile("# begins" ::: "memory"); }

__attribute__((noinline)) void fanfare_history_ends(void) { __asm__ volatile("# ends" ::: "memory"); }

#if defined(__GLIBC__) && !defined(FANFARE_SANITIZED)

// The library's own names for what it does: dlsym(RTLD_NEXT) would allocate before there is anything to allocate with.
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

bool fanfare_allocations_are_counted(void) { return true; }

uint64_t fanfare_bytes_of_this_thread(void) { return bytes_of_this_thread; }

static void count(size_t size)
{
    bytes_of_this_thread += size;
    if (is_apart) return;
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes, size, memory_order_relaxed);
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t members, size_t size)
{
    count(members * size);
    return __libc_calloc(members, size);
}

void *realloc(void *block, size_t size)
{
    count(size);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *made = memalign(alignment, size);
    if (!made) return ENOMEM;
    *block = made;
    return 0;
}

void free(void *block)
{
    if (block && !is_apart) atomic_fetch_add_explicit(&frees, 1, memory_order_relaxed);
    __libc_free(block);
}

#else

bool fanfare_allocations_are_counted(void) { return false; }

#ifdef FANFARE_SANITIZED

// The sanitizer's own malloc tells who asks (sanitizer/allocator_interface.h).
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t), void (*)(const volatile void *));

static void count(const volatile void *block, size_t size)
{
    (void)block;
    bytes_of_this_thread += size;
}

static void ignore(const volatile void *block) { (void)block; }

uint64_t fanfare_bytes_of_this_thread(void)
{
    static atomic_flag is_installed = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&is_installed)) __sanitizer_install_malloc_and_free_hooks(count, ignore);
    return bytes_of_this_thread;
}

#else

uint64_t fanfare_bytes_of_this_thread(void) { return bytes_of_this_thread; }

#endif

#endif
