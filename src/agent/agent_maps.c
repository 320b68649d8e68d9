// SPDX-License-Identifier: Apache-2.0
/*
 * agent_maps.c - hooks of the calls that change the address space, one event each.
 *
 * Runs in:    agent, any thread, also before the constructor, in signal handlers, after vfork()
 * Threads:    lock-free; ledger_maps.h says in which order events stand
 * Allocates:  never; no syscall but the one the program asked for (and sbrk(0) before a brk())
 * Fails:      as the real function does; errno is the real function's
 *
 * Taking the stack is a slow path: it is bracketed by the guard of agent_record.c, so that a signal
 * handler that allocates meanwhile passes through. A call from inside another slow path (a handler
 * that maps) is recorded as any other: the addresses must stay right. In exact mode such a call may
 * have no stack, see agent_shape.h.
 */
#include "agent/agent_maps.h"

#include "agent/agent_exact.h"
#include "agent/agent_frame.h"
#include "agent/agent_real.h"
#include "agent/agent_record.h"
#include "agent/agent_shape.h"
#include "ledger/ledger_maps.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "agent/agent_only.h"

#define RELAXED memory_order_relaxed

/* ---- whose call it is ---- */

struct span {
    _Atomic uintptr_t start, end;
};

/* Never unmapped, so looked up once; every thread finds the same. */
static struct span allocator_span, loader_span;
static _Atomic uint32_t spans_known;

static void find_span(struct span *span, const void *address)
{
    struct dl_find_object object;
    if (_dl_find_object((void *)(uintptr_t)address, &object) != 0)
        return;
    atomic_store_explicit(&span->start, (uintptr_t)object.dlfo_map_start, RELAXED);
    atomic_store_explicit(&span->end, (uintptr_t)object.dlfo_map_end, RELAXED);
}

static void find_spans(void)
{
    /* glibc's malloc does not pass here, and its object is more than an allocator. Not by
     * rtd_real.malloc: behind agent_raise.c that is the agent's own. */
    if (!rtd_real_is_glibc())
        find_span(&allocator_span, rtd_real_malloc_module());
    find_span(&loader_span, (const void *)_r_debug.r_ldbase);
    /* Release pairs with the acquire in is_ours(). */
    atomic_store_explicit(&spans_known, 1, memory_order_release);
}

static bool holds(const struct span *span, uintptr_t pc)
{
    return pc >= atomic_load_explicit(&span->start, RELAXED) &&
           pc < atomic_load_explicit(&span->end, RELAXED);
}

static bool is_programs(uintptr_t pc)
{
    if (atomic_load_explicit(&spans_known, memory_order_acquire) == 0)
        find_spans();
    return !holds(&allocator_span, pc) && !holds(&loader_span, pc);
}

/* The ledger to write to, in either mode; NULL: pass through. pc: the caller. */
static struct rtd_ledger *ledger_for(uintptr_t pc)
{
    /* Acquire pairs with the release in agent_start.c: the ledger is mapped and checked. */
    if (rtd_agent.page == NULL ||
        atomic_load_explicit(&rtd_agent.page->ready, memory_order_acquire) == 0 || !is_programs(pc))
        return NULL;
    return rtd_agent.ledger;
}

/* ---- events ---- */

/*
 * Inside another slow path of this thread, or one that a longjmp() left: the guard is not ours, but
 * the stack can be taken in a scratch buffer of our own.
 */
static uint32_t take_nested_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                                  const struct rtd_unwind_frame *frame)
{
    const uint32_t scratch = state->scratch;
    state->scratch = 0;
    const uint32_t stack = rtd_record_stack(ledger, state, *frame);
    state->scratch = scratch;
    return stack;
}

static uint32_t take_sampled_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                                   const struct rtd_unwind_frame *frame)
{
    if (state->guard != 0)
        rtd_record_repair(ledger, state, frame->sp);
    if (state->guard != 0)
        return take_nested_stack(ledger, state, frame);
    const uint64_t left = state->left;
    state->guard = frame->sp;
    state->left = RTD_LEFT_GUARDED;
    /* A signal handler that interrupts from here on sees the mute. */
    atomic_signal_fence(memory_order_seq_cst);
    const uint32_t stack = rtd_record_stack(ledger, state, *frame);
    atomic_signal_fence(memory_order_seq_cst);
    state->left = left;
    state->guard = 0;
    return stack;
}

static uint32_t take_stack(struct rtd_ledger *ledger, const struct rtd_unwind_frame *frame)
{
    struct rtd_thread_state *const state = &rtd_thread_state;
    if (!rtd_agent.is_exact)
        return take_sampled_stack(ledger, state, frame);
    return rtd_exact_may_record(state) ? rtd_shape_stack(ledger, state, frame) : 0;
}

/* Fills in who, when and from where, and publishes under a ticket of its own. */
static __attribute__((noinline)) void note(struct rtd_ledger *ledger, struct rtd_map_value *event,
                                           const struct rtd_unwind_frame *frame)
{
    const int saved = errno;
    /* The stack before the ticket: a ticket is waited for. Its node stands before the event. */
    event->stack = take_stack(ledger, frame);
    event->tag = rtd_thread_state.tag;
    event->time_ms = (uint32_t)atomic_load_explicit(&ledger->header.clock_ms, RELAXED);
    (void)rtd_map_publish(ledger, rtd_map_ticket(ledger), event);
    errno = saved;
}

/* What goes needs no site: it is the owner's that mapped it. */
static void note_removal(struct rtd_ledger *ledger, uint64_t ticket, uintptr_t address,
                         size_t length, uint64_t flags)
{
    const struct rtd_map_value event = {
        .kind = length != 0 ? RTD_MAP_REMOVE : RTD_MAP_NONE,
        .time_ms = (uint32_t)atomic_load_explicit(&ledger->header.clock_ms, RELAXED),
        .address = address,
        .length = length,
        .flags = flags,
    };
    (void)rtd_map_publish(ledger, ticket, &event);
}

static void note_mapping(const void *at, size_t length, int flags,
                         const struct rtd_unwind_frame *frame)
{
    struct rtd_ledger *const ledger = at != MAP_FAILED ? ledger_for(frame->pc) : NULL;
    if (ledger != NULL)
        note(ledger,
             &(struct rtd_map_value){.kind = RTD_MAP_ADD,
                                     .address = (uintptr_t)at,
                                     .length = length,
                                     .flags = (uint32_t)flags},
             frame);
}

void *rtd_maps_mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    void *const at = rtd_real.mmap(address, length, protection, flags, fd, offset);
    note_mapping(at, length, flags, &frame);
    return at;
}

void *rtd_maps_mmap64(void *address, size_t length, int protection, int flags, int fd,
                      int64_t offset)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    void *const at = rtd_real.mmap64(address, length, protection, flags, fd, offset);
    note_mapping(at, length, flags, &frame);
    return at;
}

int rtd_maps_munmap(void *address, size_t length)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = ledger_for(frame.pc);
    const uint64_t ticket = ledger != NULL ? rtd_map_ticket(ledger) : 0;
    const int result = rtd_real.munmap(address, length);
    if (ledger != NULL)
        note_removal(ledger, ticket, (uintptr_t)address, result == 0 ? length : 0, 0);
    return result;
}

/* The kernel looks at the fifth argument under either flag. */
static bool has_new_address(int flags)
{
    return (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0;
}

/*
 * Two events: the old place goes under a ticket taken before the call, the new one comes under a
 * ticket taken after it.
 */
void *rtd_maps_mremap(void *old_address, size_t old_length, size_t length, int flags, ...)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = ledger_for(frame.pc);
    const uint64_t ticket = ledger != NULL ? rtd_map_ticket(ledger) : 0;
    void *at;
    if (has_new_address(flags)) {
        va_list arguments;
        va_start(arguments, flags);
        void *const new_address = va_arg(arguments, void *);
        va_end(arguments);
        at = rtd_real.mremap(old_address, old_length, length, flags, new_address);
    } else {
        at = rtd_real.mremap(old_address, old_length, length, flags);
    }
    if (ledger == NULL)
        return at;
    const bool stays = at == MAP_FAILED || (flags & MREMAP_DONTUNMAP) != 0;
    note_removal(ledger, ticket, (uintptr_t)old_address, stays ? 0 : old_length, RTD_MAP_MOVING);
    if (at != MAP_FAILED)
        note(ledger,
             &(struct rtd_map_value){.kind = RTD_MAP_MOVE,
                                     .address = (uintptr_t)at,
                                     .length = length,
                                     .old_address = (uintptr_t)old_address,
                                     .old_length = stays ? 0 : old_length},
             &frame);
    return at;
}

static void note_break(struct rtd_ledger *ledger, uintptr_t before, uintptr_t after,
                       const struct rtd_unwind_frame *frame)
{
    if (after > before)
        note(ledger,
             &(struct rtd_map_value){.kind = RTD_MAP_ADD,
                                     .address = before,
                                     .length = after - before,
                                     .flags = RTD_MAP_BREAK},
             frame);
    else if (after < before)
        note_removal(ledger, rtd_map_ticket(ledger), after, before - after, RTD_MAP_BREAK);
}

int rtd_maps_brk(void *end)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    struct rtd_ledger *const ledger = ledger_for(frame.pc);
    /* Answered from libc's own variable: whoever sets the break has asked for it before. */
    void *const before = ledger != NULL ? rtd_real.sbrk(0) : MAP_FAILED;
    const int result = rtd_real.brk(end);
    if (result == 0 && before != MAP_FAILED)
        note_break(ledger, (uintptr_t)before, (uintptr_t)end, &frame);
    return result;
}

void *rtd_maps_sbrk(intptr_t increment)
{
    const struct rtd_unwind_frame frame = RTD_CALLER_FRAME();
    void *const before = rtd_real.sbrk(increment);
    struct rtd_ledger *const ledger =
        increment != 0 && before != MAP_FAILED ? ledger_for(frame.pc) : NULL;
    if (ledger != NULL)
        note_break(ledger, (uintptr_t)before, (uintptr_t)before + (uintptr_t)increment, &frame);
    return before;
}
