// Tells ThreadSanitizer of the locks it cannot see: preloaded into the tests by `scripts/check --sanitize thread`.
//
// Swift's Mutex locks in code of its caller, which is instrumented, as long as nobody else holds it. When somebody
// does, it locks and unlocks inside libswiftSynchronization.so, with a futex and without instrumentation, so that two
// sections under the same Mutex look like a race, and so does all they hand over. `--sanitize thread` proves that first:
// Tests/Sanitizers/mutex.swift is correct, is reported without this file, and is not with it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

typedef __attribute__((swiftcall)) void lock_function(uint32_t thread, __attribute__((swift_context)) void *mutex);
typedef __attribute__((swiftcall)) void unlock_function(__attribute__((swift_context)) void *mutex);

// Absent in programs without the sanitizer, such as `swift test` itself.
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

lock_function lock_slow __asm__(LOCK);
unlock_function unlock_slow __asm__(UNLOCK);

__attribute__((swiftcall)) void lock_slow(uint32_t thread, __attribute__((swift_context)) void *mutex)
{
    static lock_function *_Atomic original;
    if (!original) original = (lock_function *)dlsym(RTLD_NEXT, LOCK);
    original(thread, mutex);
    if (__tsan_acquire) __tsan_acquire(mutex);
}

__attribute__((swiftcall)) void unlock_slow(__attribute__((swift_context)) void *mutex)
{
    static unlock_function *_Atomic original;
    if (!original) original = (unlock_function *)dlsym(RTLD_NEXT, UNLOCK);
    if (__tsan_release) __tsan_release(mutex);
    original(mutex);
}
