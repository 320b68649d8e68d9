// SPDX-License-Identifier: Apache-2.0
/*
 * manager_scope.h - the RIPTIDE_SCOPE in force, with an agent in the process or without.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; lock-free
 * Allocates:  never: a table of fixed size, and one word a thread
 * Fails:      as the functions say
 *
 * Defines riptide_tag_intern() and riptide_tag_swap() of <riptide/tags.h>, too.
 */
#ifndef RTD_MANAGER_SCOPE_H
#define RTD_MANAGER_SCOPE_H

#include "ledger/ledger_layout.h"

/*
 * The tag in force on this thread: 0 none, else below RTD_TAG_COUNT. About a nanosecond. A tag
 * means the same names for as long as the process lives.
 */
uint32_t rtd_scope_get(void);

/*
 * Copies the names of a tag. Returns 0, or -ENOENT for 0 and for tags that were never given out;
 * tag 1 (RTD_TAG_OTHER) is "other" with an empty operation. Names are at most 59 bytes, cut at a
 * whole UTF-8 character, otherwise as the program gave them.
 */
int rtd_scope_names(uint32_t tag, char component[RTD_TAG_NAME_BYTES],
                    char operation[RTD_TAG_NAME_BYTES]);

#endif
