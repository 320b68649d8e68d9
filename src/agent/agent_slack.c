// SPDX-License-Identifier: Apache-2.0
/*
 * agent_slack.c - see agent_slack.h.
 *
 * Runs in:    agent, any thread
 * Threads:    one flag, set once
 * Allocates:  never
 * Fails:      see agent_slack.h
 */
#include "agent/agent_slack.h"

#include "agent/agent_real.h"

#include <stdatomic.h>

#include "agent/agent_only.h"

#define FOOTER_MAGIC UINT64_C(0x5e9b3a71c64d802f)

/* A larger block has its natural size class also when page-aligned. */
enum { ROOM_MAX_BYTES = 16384 };

struct footer {
    uint64_t shown_bytes;
    uint64_t check; /* the block's address and FOOTER_MAGIC */
};

/* glibc splits off what is too much: with it this stays false and costs nothing. */
_Atomic bool rtd_slack_in_use;

static struct footer *footer_of(void *p, size_t room)
{
    return (struct footer *)(void *)((char *)p + (room & ~(size_t)15)) - 1;
}

/* The footer that p bears, or NULL. */
static struct footer *find(void *p)
{
    if (p == NULL || !atomic_load_explicit(&rtd_slack_in_use, memory_order_relaxed))
        return NULL;
    const size_t room = rtd_real.malloc_usable_size(p);
    if (room > ROOM_MAX_BYTES || room < sizeof(struct footer))
        return NULL;
    struct footer *const footer = footer_of(p, room);
    return footer->check == ((uintptr_t)p ^ FOOTER_MAGIC) && footer->shown_bytes < room ? footer
                                                                                        : NULL;
}

void rtd_slack_show(void *p)
{
    struct footer *const footer = find(p);
    if (footer != NULL)
        footer->check = 0;
}

void rtd_slack_hide(void *p, size_t size)
{
    /* A block of the pool may still show what its last owner asked for. */
    rtd_slack_show(p);
    const size_t room = rtd_real.malloc_usable_size(p);
    const size_t shown = (size + 15) & ~(size_t)15;
    if (room > ROOM_MAX_BYTES || room < shown + shown / 16 + 2 * sizeof(struct footer))
        return;
    *footer_of(p, room) = (struct footer){shown, (uintptr_t)p ^ FOOTER_MAGIC};
    atomic_store_explicit(&rtd_slack_in_use, true, memory_order_relaxed);
}

size_t rtd_slack_usable(void *p)
{
    const struct footer *const footer = find(p);
    return footer != NULL ? footer->shown_bytes : rtd_real.malloc_usable_size(p);
}
