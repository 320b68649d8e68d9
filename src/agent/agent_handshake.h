// SPDX-License-Identifier: Apache-2.0
/*
 * agent_handshake.h - obtains a ledger from the collector, or from the program itself.
 *
 * Runs in:    agent, in the constructor, the child handler of fork(), riptide_heap_adopt()
 * Threads:    one caller at a time
 * Allocates:  never; the descriptors it opens are closed before it returns
 * Fails:      by a negative errno within RTD_HANDSHAKE_MS; errno is not touched
 */
#ifndef RTD_AGENT_HANDSHAKE_H
#define RTD_AGENT_HANDSHAKE_H

#include "ledger/ledger_exact.h"
#include "ledger/ledger_handshake.h"

#include <stdbool.h>

/*
 * True when a seccomp filter is in force, which may kill for what a handshake does. Asked with
 * openat, read and close alone: the loader has just used them to load this library, and a filter
 * that allows fork() but not them is rarer than one that does not allow socket().
 */
bool rtd_handshake_is_sandboxed(void);

/*
 * Asks the collector at the abstract socket `name` for a ledger and maps it. With `place` not
 * NULL the mapping replaces the one at that address. Returns 0 and *out, or a negative errno.
 */
int rtd_handshake(const char *name, enum rtd_hello_kind kind, struct rtd_ledger *place,
                  struct rtd_ledger **out);

/*
 * Maps a ledger whose descriptor the caller has, also in a program that locks all it maps: the
 * pages of a sparse file must not be made by that. Returns 0, *out and its size, -EINVAL when it is
 * not a sealed file of a ledger's size, or another negative errno.
 */
int rtd_handshake_map(int fd, struct rtd_ledger **out, size_t *bytes);

#endif
