// SPDX-License-Identifier: Apache-2.0
/*
 * agent_slack.h - keeps malloc_usable_size() of a sampled block what it would be unsampled.
 *
 * Runs in:    agent, any thread
 * Threads:    a block's footer belongs to the block's owner
 * Allocates:  never
 * Fails:      towards the real usable size
 *
 * Why: jemalloc, tcmalloc and mimalloc give a page for a small page-aligned block, and say so.
 * Programs act on it: redis shrinks a string that has more than a tenth of room. It would shrink
 * every sampled block and no other, and the estimate of live bytes, which rests on sampled and
 * unsampled blocks having the same fate, came out 22 % low on Debian's redis-server. So the size
 * that the program is to see is written into the last words of the block, where no program may
 * write: it asked for less and was shown less. There the figure lives as long as the block,
 * whatever becomes of its sample.
 */
#ifndef RTD_AGENT_SLACK_H
#define RTD_AGENT_SLACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* False as long as no block has ever had a figure in its slack; with glibc that is for ever. */
extern _Atomic bool rtd_slack_in_use __attribute__((visibility("hidden")));

/* Shows size, rounded up to 16, as the usable size of a marked block with much more room. */
void rtd_slack_hide(void *p, size_t size);

/* Ends that: before a marked block goes back to the allocator, or through its realloc(). */
void rtd_slack_show(void *p);

/* malloc_usable_size() of a marked block or NULL. */
size_t rtd_slack_usable(void *p);

#endif
