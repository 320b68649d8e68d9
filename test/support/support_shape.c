// SPDX-License-Identifier: Apache-2.0
/*
 * support_shape.c - see support_shape.h.
 *
 * Runs in:    test processes
 * Threads:    the ledger is shared, all else is per thread
 * Allocates:  one sparse mapping
 * Fails:      check functions return false, after a line on stderr
 */
#include "support_shape.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unwind.h>

#include "ledger/ledger_exact_writer.h"
#include "unwind/unwind_stack.h"

enum { FRAMES_MAX = 512 };

struct rtd_agent rtd_agent;
__thread struct rtd_thread_state rtd_thread_state;
struct rtd_ledger *support_shape_ledger;

struct path {
    uintptr_t pcs[FRAMES_MAX];
    unsigned count;
    bool is_truncated;
};

bool support_shape_init(void)
{
    if (support_shape_ledger != NULL)
        munmap(support_shape_ledger, RTD_LEDGER_EXACT_BYTES);
    void *const memory = mmap(NULL, RTD_LEDGER_EXACT_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    support_shape_ledger = memory;
    rtd_unwind_stack_init(8U << 20);
    rtd_shape_begin();
    return true;
}

void support_shape_thread(uint32_t block)
{
    rtd_thread_state = (struct rtd_thread_state){.block = block};
}

/* Stack of a node of the exact trie, leaf first. */
static bool read_path(uint32_t node, struct path *path)
{
    const struct rtd_exact *const exact = rtd_exact_of(support_shape_ledger);

    path->count = 0;
    while (node >= RTD_ROOT_COUNT) {
        const uint64_t word = atomic_load(&exact->nodes[node % RTD_EXACT_NODE_COUNT]);
        if (word == 0 || path->count == FRAMES_MAX)
            return false;
        path->pcs[path->count++] = atomic_load(&exact->pcs[(uint32_t)word - 1]);
        node = (uint32_t)(word >> 32);
    }
    path->is_truncated = (node & 1) != 0;
    return true;
}

static bool differ(const char *what, uint32_t site, unsigned ours, unsigned theirs)
{
    fprintf(stderr, "site %u: %s (%u, walk says %u)\n", site, what, ours, theirs);
    return false;
}

static bool take_path(const struct rtd_unwind_frame *frame, struct path *path, uint32_t *site)
{
    const struct rtd_exact *const exact = rtd_exact_of(support_shape_ledger);

    *site = rtd_shape_site(support_shape_ledger, &rtd_thread_state, frame);
    const uint64_t key = atomic_load(&exact->site_keys[*site]);
    return key >> 32 == (RTD_SITE_KEY_USED >> 32 | rtd_thread_state.tag) &&
           read_path((uint32_t)key, path);
}

bool support_shape_check(const struct rtd_unwind_frame *frame)
{
    struct path ours, theirs;
    uint32_t site;
    enum rtd_unwind_end end;

    if (!take_path(frame, &ours, &site))
        return differ("no path", site, 0, 0);
    theirs.count =
        rtd_unwind_walk(*frame, rtd_unwind_stack_bounds(frame->sp), theirs.pcs, FRAMES_MAX, &end);
    if (ours.count != theirs.count)
        return differ("depth", site, ours.count, theirs.count);
    for (unsigned i = 0; i < ours.count; i++)
        if (ours.pcs[i] != theirs.pcs[i])
            return differ("frame", site, i, theirs.count);
    if (ours.is_truncated != (end != RTD_UNWIND_COMPLETE))
        return differ("end", site, ours.is_truncated, end);
    if (rtd_shape_stack(support_shape_ledger, &rtd_thread_state, frame) !=
        (uint32_t)atomic_load(&rtd_exact_of(support_shape_ledger)->site_keys[site]))
        return differ("stack alone", site, 0, 0);
    return true;
}

static _Unwind_Reason_Code collect(struct _Unwind_Context *context, void *argument)
{
    struct path *const path = argument;
    const uintptr_t pc = _Unwind_GetIP(context);

    if (pc != 0 && path->count < FRAMES_MAX)
        path->pcs[path->count++] = pc;
    return _URC_NO_REASON;
}

bool support_shape_check_libgcc(const struct rtd_unwind_frame *frame)
{
    struct path ours, theirs = {.count = 0};
    uint32_t site;

    if (!support_shape_check(frame) || !take_path(frame, &ours, &site))
        return false;
    _Unwind_Backtrace(collect, &theirs);
    /* The outermost are the same: ours begins in the caller of this function. */
    for (unsigned i = 1; i < ours.count; i++)
        if (theirs.count < i || ours.pcs[ours.count - i] != theirs.pcs[theirs.count - i])
            return differ("libgcc's frame", site, ours.count - i, theirs.count);
    return true;
}

uint64_t support_shape_misses(uint32_t block)
{
    return atomic_load(&rtd_exact_of(support_shape_ledger)->threads[block].stack_misses);
}

uint64_t support_shape_loss(enum rtd_loss loss)
{
    return atomic_load(&support_shape_ledger->header.loss[loss]);
}
