// SPDX-License-Identifier: Apache-2.0
/*
 * agent_raise.h - exact mode with an allocator that serves blocks smaller than a shadow granule.
 *
 * Runs in:    agent
 * Threads:    begun once, before the first recorded allocation
 * Allocates:  what the program asked for
 * Fails:      as the real function does
 *
 * jemalloc, tcmalloc and mimalloc serve 8 and 16 bytes at every multiple of them, so that two
 * blocks could begin in one granule of the shadow. Asked for 32, they do not. Every way to a block
 * has to ask for that, also a realloc() to no bytes: one small block among them, and a free of its
 * neighbour counts as its own.
 */
#ifndef RTD_AGENT_RAISE_H
#define RTD_AGENT_RAISE_H

/* Puts functions that raise the size in front of those of rtd_real. Idempotent. */
void rtd_raise_begin(void);

#endif
