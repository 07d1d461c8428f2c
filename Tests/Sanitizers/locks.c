// Tells ThreadSanitizer of what it cannot see: preloaded into the tests by `scripts/sanitize thread`, which proves
// first that mutex.swift and continuation.swift, which are correct, are reported without this file and are not with
// it.
//
// Swift's Mutex locks in code of its caller, which is instrumented, as long as nobody else holds it. When somebody
// does, it locks and unlocks inside libswiftSynchronization.so, with a futex and without instrumentation, so that two
// sections under the same Mutex look like a race, and so does all they hand over.
//
// When a continuation is resumed before its task has come to wait for it, the two meet at an atomic inside
// libswift_Concurrency.so, which is not instrumented either: the task goes on with what the other thread has made, and
// in memory that it has read, and nothing tells that it came after.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdint.h>

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

typedef __attribute__((swiftcall)) void lock_function(uint32_t thread, __attribute__((swift_context)) void *mutex);
typedef __attribute__((swiftcall)) void unlock_function(__attribute__((swift_context)) void *mutex);

// Absent in programs without the sanitizer, such as `swift test` itself.
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

static void acquire(void *address)
{
    if (__tsan_acquire) __tsan_acquire(address);
}

static void release(void *address)
{
    if (__tsan_release) __tsan_release(address);
}

lock_function lock_slow __asm__(LOCK);
unlock_function unlock_slow __asm__(UNLOCK);

__attribute__((swiftcall)) void lock_slow(uint32_t thread, __attribute__((swift_context)) void *mutex)
{
    static lock_function *_Atomic original;
    if (!original) original = (lock_function *)dlsym(RTLD_NEXT, LOCK);
    original(thread, mutex);
    acquire(mutex);
}

__attribute__((swiftcall)) void unlock_slow(__attribute__((swift_context)) void *mutex)
{
    static unlock_function *_Atomic original;
    if (!original) original = (unlock_function *)dlsym(RTLD_NEXT, UNLOCK);
    release(mutex);
    original(mutex);
}

// Swift's runtime releases the task when it is resumed, and acquires it when its job runs; a task that need not wait
// runs no job. So who resumes gives the task a moment to come to wait, and who comes late acquires.

struct context {
    void *unused[3];
    // 0 until it is awaited or resumed.
    _Atomic(uintptr_t) state;
};

struct task {
    void *unused[8];
    struct context *context;
};

typedef __attribute__((swiftcall)) void resume_function(struct task *task, void *error);
typedef __attribute__((swiftasynccall)) void await_function(struct context *context);

__attribute__((swiftcall)) struct task *swift_task_getCurrent(void);

__attribute__((swiftasynccall)) void swift_continuation_await(struct context *context)
{
    static await_function *_Atomic original;
    if (!original) original = (await_function *)dlsym(RTLD_NEXT, "swift_continuation_await");
    acquire(swift_task_getCurrent());
    __attribute__((musttail)) return original(context);
}

static void resume(struct task *task, void *error, const char *name)
{
    int yields = swift_task_getCurrent() == task ? 0 : 1000;
    while (yields-- > 0 && task->context->state == 0) sched_yield();
    ((resume_function *)dlsym(RTLD_NEXT, name))(task, error);
}

__attribute__((swiftcall)) void swift_continuation_resume(struct task *task, void *none)
{
    resume(task, none, "swift_continuation_resume");
}

__attribute__((swiftcall)) void swift_continuation_throwingResume(struct task *task, void *none)
{
    resume(task, none, "swift_continuation_throwingResume");
}

__attribute__((swiftcall)) void swift_continuation_throwingResumeWithError(struct task *task, void *error)
{
    resume(task, error, "swift_continuation_throwingResumeWithError");
}
