// SPDX-License-Identifier: Apache-2.0
/*
 * oracle_family.h - the malloc family of a counting preload: calls the real one and tells an
 * oracle.
 *
 * Runs in:    the observed program of a test, alone or behind the agent
 *             (LD_PRELOAD="agent.so:ORACLE.so": the agent's calls of the real malloc end here)
 * Threads:    any; what an oracle does in its functions is its own business
 * Allocates:  never
 * Fails:      by aborting: a test without a truth is no test
 *
 * A realloc is a free of the old block, before the call, and an allocation of the new one, after
 * it; the free is taken back when the call fails. A death is told before the real free: after it,
 * another thread may own the address.
 */
#ifndef ORACLE_FAMILY_H
#define ORACLE_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_EXPORT __attribute__((visibility("default")))

/* A live block, as an oracle keeps it. */
struct oracle_block {
    uintptr_t address; /* 0 = no block */
    size_t size_bytes;
    uint32_t site;
    uint64_t serial; /* for the oracle's own use */
};

/* What an oracle defines. None may change errno or call the malloc family. */

/* Once, as soon as the real functions are known. */
void oracle_settings(void);

/* A block was allocated; NULL when there was no memory. caller: return address of the call. */
void oracle_birth(void *address, size_t size, const void *caller);

/* A block is about to be freed (NULL: none). Returns it as it was; address 0 if it is not known. */
struct oracle_block oracle_death(const void *address);

/*
 * The realloc failed: the block that oracle_death() gave, known or not, lives on, as if nothing had
 * been asked.
 */
void oracle_survival(const struct oracle_block *block);

/* What they may call. */

/* True when the real functions can be called; false while dlsym itself is asking for memory. */
bool oracle_resolve(void);

/* Stores the address of a function in *slot. */
void oracle_find(void *slot, void *handle, const char *name);

#endif
