// SPDX-License-Identifier: Apache-2.0
/*
 * exact_oracle.h - the file that the exact oracle keeps, and its tables.
 *
 * Runs in:    the observed program of a test, behind the agent (see exact_oracle.c)
 * Threads:    the functions here are called with the oracle's lock held
 * Allocates:  with mmap only
 * Fails:      by aborting: a test without a truth is no test
 *
 * The counters stand in a shared mapping of a file, so they are true at any moment and after any
 * death, with no function called at the end. test/integration/exact_oracle.py reads it: what is
 * changed here is changed there.
 */
#ifndef EXACT_ORACLE_H
#define EXACT_ORACLE_H

#include "oracle_family.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EXACT_SITE_CAPACITY = 1 << 17,
    EXACT_PC_CAPACITY = 1 << 24,
    EXACT_FRAME_MAX = 4096,
    EXACT_SIZE_CLASSES = 5,
    EXACT_HEADER_BYTES = 4096,
};

#define EXACT_MAGIC UINT64_C(0x31304c4341584544)

struct exact_figures {
    uint64_t allocations;
    uint64_t allocated_bytes;
    uint64_t frees;
    uint64_t freed_bytes;
    uint64_t temporary; /* freed by the thread that allocated it, before it allocated again */
};

/* One stack; without EXACT_ORACLE_STACKS there is one site for all. */
struct exact_site {
    struct exact_figures figures;
    uint64_t hash; /* of the return addresses; 0 = free */
    uint64_t first_pc;
    uint64_t depth;
    uint64_t large; /* allocations of more than 1 MiB */
    uint64_t max_size_bytes;
    uint64_t peak_epoch; /* of peak_bytes; another one than the header's: live bytes are as then */
    uint64_t peak_bytes;
    uint64_t reserved[4];
};

struct exact_header {
    uint64_t magic;
    uint64_t pid;
    struct exact_figures total;
    uint64_t unknown_frees;   /* of blocks from before the agent recorded, or that are nobody's */
    uint64_t replaced_blocks; /* an address issued again whose free was not seen */
    uint64_t peak_bytes;      /* of all live bytes, after each single event */
    uint64_t peak_epoch;
    uint64_t peak_blocks; /* live blocks at that moment */
    uint64_t site_count;
    uint64_t pc_count;
    uint64_t size_class[EXACT_SIZE_CLASSES];
};

struct exact_file {
    struct exact_header header;
    uint8_t reserved[EXACT_HEADER_BYTES - sizeof(struct exact_header)];
    struct exact_site sites[EXACT_SITE_CAPACITY]; /* a hash table */
    uint64_t pcs[EXACT_PC_CAPACITY];
};
static_assert(sizeof(struct exact_site) == 128, "the reader in Python knows it so");
static_assert(offsetof(struct exact_file, sites) == EXACT_HEADER_BYTES, "the same");

/* Forgets everything and counts into this file, which is all zero. */
void exact_table_reset(struct exact_file *file);

/* The site of a stack (leaf first), made when it is new. */
uint32_t exact_table_site(const uintptr_t *pcs, size_t depth);

/* Counts a block that was born; returns its serial. */
uint64_t exact_table_birth(const struct oracle_block *block);

/*
 * Takes a block out and counts its end; last_serial: the calling thread's last birth. An address
 * that holds no block is counted as unknown and gives a block with address 0.
 */
struct oracle_block exact_table_death(uintptr_t address, uint64_t last_serial);

/* Takes a death back: a realloc() failed, and the old block lives on. */
void exact_table_revive(const struct oracle_block *block, uint64_t last_serial);

#endif
