// SPDX-License-Identifier: Apache-2.0
/*
 * agent_release.c - makes the program's allocator give free memory back: see agent_release.h.
 *
 * Runs in:    agent, any thread
 * Threads:    what follows a claim runs in one thread at a time
 * Allocates:  never itself; the allocator may do as it likes
 * Fails:      by leaving the request where it is, or by saying so in the ledger
 *
 * An operator's action, so it may make system calls: two of its own kind for the clock, one to tell
 * a vfork child, and those of the allocator. docs/decisions/0018 says why that is no breach of the
 * rule that the agent makes none.
 */
#include "agent/agent_release.h"

#include "agent/agent_frame.h"
#include "agent/agent_real.h"
#include "base/base_syscall.h"
#include "unwind/unwind_stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/agent_only.h"

/* What the allocator's call may need of the stack. */
enum { STACK_ROOM_BYTES = 32 << 10 };

typedef int (*glibc_trim)(size_t pad);
typedef int (*jemalloc_control)(const char *name, void *old, size_t *old_size, void *new_value,
                                size_t new_size);
typedef void (*tcmalloc_release)(void);
typedef void (*mimalloc_collect)(bool force);

/* The allocator's function; NULL: it has none. Written before the agent records. */
static struct {
    void *function;
    enum rtd_release_action action;
} release;

/* The stack of the thread that claimed; its own 2 KiB would not fit the agent's stack budget. */
static uintptr_t claimer_pcs[RTD_FRAME_MAX];

void rtd_release_begin(void)
{
    static const struct {
        const char *name;
        enum rtd_release_action action;
    } known[] = {
        {"mallctl", RTD_RELEASE_JEMALLOC},
        {"MallocExtension_ReleaseFreeMemory", RTD_RELEASE_TCMALLOC},
        {"mi_collect", RTD_RELEASE_MIMALLOC},
    };
    if (release.function != NULL)
        return;
    if (rtd_real_is_glibc()) {
        release.action = RTD_RELEASE_GLIBC;
        release.function = rtd_real_beside_malloc("malloc_trim");
        return;
    }
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(known) && release.function == NULL; i++) {
        release.action = known[i].action;
        release.function = rtd_real_beside_malloc(known[i].name);
    }
}

/* ---- whether this is the place ---- */

static bool has_room(uintptr_t sp)
{
    struct rtd_unwind_bounds own;
    return rtd_unwind_stack_own(sp, &own) && sp > own.low && sp - own.low >= STACK_ROOM_BYTES;
}

/* After vfork() and its kind the page says that we record, but it is the parent that does. */
static bool is_target(const struct rtd_header *header)
{
    return (uint32_t)rtd_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0) == header->agent_pid;
}

/*
 * jemalloc creates threads with locks held, and a thread's memory comes from the public calloc().
 * Frames of libc say nothing: main() stands below one. It makes no such call with a lock held.
 */
static bool is_inside_allocator(struct rtd_unwind_frame frame)
{
    struct dl_find_object object;
    enum rtd_unwind_end end;
    if (release.action == RTD_RELEASE_GLIBC || release.function == NULL ||
        _dl_find_object(release.function, &object) != 0)
        return false;
    const uintptr_t low = (uintptr_t)object.dlfo_map_start, high = (uintptr_t)object.dlfo_map_end;
    const unsigned count =
        rtd_unwind_walk(frame, rtd_unwind_stack_bounds(frame.sp), claimer_pcs, RTD_FRAME_MAX, &end);
    for (unsigned i = 0; i < count; i++)
        if (claimer_pcs[i] >= low && claimer_pcs[i] < high)
            return true;
    return false;
}

/* ---- doing it ---- */

static uint64_t now_ns(void)
{
    struct timespec now = {0};
    rtd_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* 4096: all arenas, since version 5; before it, their number stood for all of them. */
static int purge(jemalloc_control control)
{
    char name[] = "arena.4096.purge";
    /* A thread without a cache of its own is no failure. */
    (void)control("thread.tcache.flush", NULL, NULL, NULL, 0);
    int error = control(name, NULL, NULL, NULL, 0);
    if (error != 0) {
        unsigned count = 0;
        size_t size = sizeof count;
        if (control("arenas.narenas", &count, &size, NULL, 0) != 0 || count > 9999)
            return error;
        for (int i = 9; i >= 6; i--, count /= 10)
            name[i] = (char)('0' + count % 10);
        error = control(name, NULL, NULL, NULL, 0);
    }
    return error;
}

/* 0, or the errno of an allocator that refused. */
static int call(void)
{
    const uintptr_t function = (uintptr_t)release.function;
    switch (release.action) {
    case RTD_RELEASE_GLIBC:
        (void)((glibc_trim)function)(0);
        return 0;
    case RTD_RELEASE_JEMALLOC:
        return purge((jemalloc_control)function);
    case RTD_RELEASE_TCMALLOC:
        ((tcmalloc_release)function)();
        return 0;
    case RTD_RELEASE_MIMALLOC:
        ((mimalloc_collect)function)(true);
        return 0;
    case RTD_RELEASE_NOTHING:
        break;
    }
    return ENOSYS;
}

static void answer(struct rtd_header *header, uint64_t claimed)
{
    struct rtd_request_answer what = {.state = RTD_REQUEST_UNSUPPORTED};
    if (release.function != NULL) {
        const uint64_t begun_ns = now_ns();
        what.error = call();
        what.duration_ns = now_ns() - begun_ns;
        what.action = release.action;
        what.state = what.error == 0 ? RTD_REQUEST_DONE : RTD_REQUEST_FAILED;
    }
    rtd_request_answer(header, claimed, &what);
}

__attribute__((noinline, cold)) void rtd_release_serve(struct rtd_ledger *ledger)
{
    struct rtd_header *const header = &ledger->header;
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    if (atomic_load_explicit(&rtd_agent.page->ready, memory_order_relaxed) == 0 ||
        ledger != rtd_agent.ledger ||
        atomic_load_explicit(&header->no_handshake, memory_order_relaxed) != 0 ||
        !has_room(frame.sp) || !is_target(header))
        return;
    const uint64_t claimed = rtd_request_claim(header);
    if (claimed == 0)
        return;
    if (is_inside_allocator(frame)) {
        rtd_request_yield(header, claimed);
        return;
    }
    const int saved = errno;
    answer(header, claimed);
    errno = saved;
}
