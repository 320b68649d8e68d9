// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_exact.h - the part of a ledger that only exact mode has, behind the regions of
 * ledger_layout.h in the same memory file.
 *
 * Runs in:    agent (writer), collector (creator and reader)
 * Threads:    every field names its writer; all cross-process fields are lock-free atomics
 * Allocates:  never
 * Fails:      not applicable: layout only
 *
 * docs/ledger-format.md describes it byte by byte and is normative. The region is a sparse file: a
 * page costs memory when it is first written, so the tables are as large as they ever need be and
 * the collector reads them by pread(), which does not fill holes as reading a mapping would.
 *
 * Stack trie. A node is (parent node << 32) | (1 + index of the return address in pcs[]). Ids below
 * RTD_ROOT_COUNT are roots, as in sampling mode.
 *
 * Dense tables. Addresses, nodes and sites get their numbers in turn, so that what is in use lies
 * on as few pages as it fills; the count in the header is one past the last number given out. An
 * entry of 0, or a node without an address, was given up or is about to be written. The slots are
 * the agent's way from an entry to its number and nothing that a reader needs: see
 * ledger_exact_writer.c.
 *
 * Counters. Each thread owns one block of them, by the index of its thread record, and is its only
 * writer; a block that comes to a new thread is counted on, never zeroed: the sum over all blocks
 * is what is true. The block RTD_EXACT_SHARED_BLOCK serves threads that found no record, with
 * atomic adds. Live bytes of a site = sum over blocks of (allocated_bytes - freed_bytes), where a
 * block alone may be negative, because a free is counted by the thread that frees.
 *
 * Shadow. One 64-bit word for each granule of 32 bytes of an address range of 64 MiB that ever held
 * a block. A word is 0 or describes the block that begins in its granule: see RTD_SHADOW_*. No two
 * blocks begin in one granule: glibc's least chunk has 32 bytes, and with other allocators the
 * agent raises smaller requests.
 */
#ifndef RTD_LEDGER_EXACT_H
#define RTD_LEDGER_EXACT_H

#include "ledger/ledger_layout.h"

enum {
    RTD_EXACT_PC_COUNT = 1 << 18,
    RTD_EXACT_NODE_BITS = 21,
    RTD_EXACT_NODE_COUNT = 1 << RTD_EXACT_NODE_BITS,
    RTD_EXACT_SITE_COUNT = 1 << 18,
    /* The levels of each index. A small process only ever touches the first. */
    RTD_EXACT_PC_SLOTS = (1 << 13) + (1 << 16) + (1 << 19),
    RTD_EXACT_NODE_SLOTS = (1 << 14) + (1 << 17) + (1 << 19) + (1 << 22),
    RTD_EXACT_SITE_SLOTS = (1 << 13) + (1 << 16) + (1 << 19),
    RTD_EXACT_DEPTH_MAX = 4096, /* a longer path is no stack; the agent stops at half of it */
    RTD_EXACT_BLOCK_COUNT = RTD_THREAD_COUNT + 1,
    RTD_EXACT_SHARED_BLOCK = RTD_THREAD_COUNT,
    RTD_SHADOW_REGION_BITS = 26, /* a leaf covers 64 MiB of addresses */
    RTD_SHADOW_REGION_COUNT = 1 << (RTD_PC_BITS - RTD_SHADOW_REGION_BITS),
    RTD_SHADOW_GRANULE_SHIFT = 5,
    RTD_SHADOW_LEAF_WORDS = 1 << (RTD_SHADOW_REGION_BITS - RTD_SHADOW_GRANULE_SHIFT),
    /* A page more, for the size of a large block that begins at the end of its region. */
    RTD_SHADOW_LEAF_STRIDE = RTD_SHADOW_LEAF_WORDS + RTD_HEADER_BYTES / 8,
    RTD_SHADOW_LEAF_COUNT = 2048, /* regions in which a block ever began; never given back */
};

/*
 * A shadow word:
 *   bit  0      used          1: in every word that describes a block, and in no other
 *   bit  1..2    0
 *   bit  3..20  site          in place: times 8, as the index of a table of lines wants it
 *   bit 21      half          the block begins at the second 16 bytes of its granule
 *   bit 22..38  size          bytes asked for, when it is small
 *   bit 39..62  birth         header.clock_ms / 128 at birth, low 24 bits: wraps after 24 days
 *   bit 63      small         1: the size is above; 0: it is in the second word behind this one,
 *                             which the block covers too, shifted left so that "used" is 0 in it
 *
 * Small and birth lie together at the top, and header.shadow_birth is the word of a small block
 * born now without its site and size: one comparison of the upper bits tells a free that the block
 * is there, small, and younger than a tick.
 */
#define RTD_SHADOW_USED            UINT64_C(1)
#define RTD_SHADOW_SITE_SHIFT      3
#define RTD_SHADOW_SITE_MASK       ((uint64_t)(RTD_EXACT_SITE_COUNT - 1) << RTD_SHADOW_SITE_SHIFT)
#define RTD_SHADOW_HALF_SHIFT      21
#define RTD_SHADOW_SIZE_SHIFT      22
#define RTD_SHADOW_SIZE_MASK       UINT64_C(0x1ffff) /* sizes up to this are small */
#define RTD_SHADOW_BIRTH_SHIFT     39
#define RTD_SHADOW_BIRTH_MASK      UINT64_C(0xffffff)
#define RTD_SHADOW_SMALL           (UINT64_C(1) << 63)
#define RTD_SHADOW_SIZE_WORD_SHIFT 1
/* At address 0, where it lies in a leaf: no block, and not free either. */
#define RTD_SHADOW_NO_BLOCK (UINT64_C(1) << 1)
/* The size of a large block stands this many words behind its own. */
#define RTD_SHADOW_SIZE_WORDS 2

/* What one thread did at one site. One cache line. */
struct rtd_exact_counter {
    _Atomic uint64_t allocations;
    _Atomic uint64_t allocated_bytes;
    _Atomic uint64_t frees;
    _Atomic uint64_t freed_bytes;
    _Atomic uint64_t temporary; /* freed before this thread's next allocation */
    _Atomic int64_t
        peak_bytes; /* allocated - freed at the last change before peak_epoch's moment */
    _Atomic int32_t peak_blocks; /* saturating */
    _Atomic uint32_t peak_epoch; /* != header.peak_epoch: unchanged since, peak = current values */
    _Atomic uint32_t last_ms;    /* of the last allocation */
    _Atomic uint32_t max_size;   /* saturating */
};

/* The rarer events of one thread at one site. */
struct rtd_exact_lifetime {
    _Atomic uint32_t large; /* allocations of more than 1 MiB */
    /* Deaths by age, from bucket 1 of struct rtd_site_record.lifetime; bucket 0 is what the
     * counter's frees leave over. */
    _Atomic uint32_t deaths[RTD_LIFETIME_BUCKETS - 1];
};

/* Per thread beside struct rtd_thread. Allocations below 1 KiB are what the classes leave over. */
struct rtd_exact_thread {
    _Atomic uint64_t size_class[RTD_SIZE_CLASSES]; /* [0] is not kept */
    _Atomic uint64_t unknown_frees; /* of blocks from before the start, or that never were ours */
    _Atomic uint64_t missed_frees;  /* an address issued again whose free was not seen */
    _Atomic uint64_t untracked;     /* no shadow leaf was left: counted as allocated and freed */
    _Atomic uint64_t stack_misses;  /* stacks that the shape cache did not hold */
    /* Bytes allocated - freed that are not yet added to header.live_bytes are net - least / 2. They
     * are handed in when net is above 0 or below least, and stay with the block when its thread
     * ends. least = -2 * what the thread may keep to itself; 0 in the shared block. */
    _Atomic int64_t net;
    _Atomic int64_t least;
    uint64_t reserved[5];
};

struct rtd_exact_header {
    /* Written by the agent. */
    uint64_t reserved0;
    _Atomic uint32_t pc_count;   /* one past the last index given out */
    _Atomic uint32_t node_count; /* one past the last id given out; 0 before the first */
    _Atomic uint32_t site_count; /* one past the last id given out; [0] is the overflow site */
    _Atomic uint32_t leaf_count;
    uint64_t reserved1[5];

    /* Offset 64. The running total of all threads, up to what each has not yet handed in. */
    _Atomic int64_t live_bytes;
    _Atomic int64_t peak_bytes;
    _Atomic uint64_t peak_ms;
    _Atomic uint32_t peak_epoch; /* how often a new peak was seen; from 1 */
    uint8_t reserved2[128 - 92];

    /* Offset 128. A thread adds its own change to live_bytes when it is larger than this. */
    _Atomic uint64_t hand_in_bytes;
    uint8_t reserved3[RTD_HEADER_BYTES - 136];
};

struct rtd_exact {
    struct rtd_exact_header header;
    _Atomic uint64_t pcs[RTD_EXACT_PC_COUNT];
    _Atomic uint64_t nodes[RTD_EXACT_NODE_COUNT];
    _Atomic uint64_t site_keys[RTD_EXACT_SITE_COUNT]; /* as rtd_site_record.key; by dense id */
    _Atomic uint32_t site_first_ms[RTD_EXACT_SITE_COUNT];
    _Atomic uint32_t pc_slots[RTD_EXACT_PC_SLOTS];
    _Atomic uint32_t node_slots[RTD_EXACT_NODE_SLOTS];
    _Atomic uint32_t site_slots[RTD_EXACT_SITE_SLOTS];
    _Atomic uint64_t leaf_regions[RTD_SHADOW_LEAF_COUNT]; /* 1 + (address >> 26) of each leaf */
    struct rtd_exact_thread threads[RTD_EXACT_BLOCK_COUNT];
    uint8_t reserved[RTD_HEADER_BYTES - RTD_EXACT_BLOCK_COUNT * 128 % RTD_HEADER_BYTES];
    struct rtd_exact_counter counters[RTD_EXACT_BLOCK_COUNT][RTD_EXACT_SITE_COUNT];
    struct rtd_exact_lifetime lifetimes[RTD_EXACT_BLOCK_COUNT][RTD_EXACT_SITE_COUNT];
    _Atomic uint64_t shadow[RTD_SHADOW_LEAF_COUNT][RTD_SHADOW_LEAF_STRIDE];
};

#define RTD_LEDGER_EXACT_BYTES (RTD_LEDGER_BYTES + sizeof(struct rtd_exact))

RTD_STATIC_ASSERT(sizeof(struct rtd_exact_counter) == 64, "counter is a line");
RTD_STATIC_ASSERT(sizeof(struct rtd_exact_lifetime) == 64, "lifetime is a line");
RTD_STATIC_ASSERT(sizeof(struct rtd_exact_thread) == 128, "thread");
RTD_STATIC_ASSERT(sizeof(struct rtd_exact_header) == RTD_HEADER_BYTES, "header is a page");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact_header, live_bytes) == 64, "totals line");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact_header, hand_in_bytes) == 128, "limit line");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact, pc_slots) % RTD_HEADER_BYTES == 0, "page");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact, node_slots) % RTD_HEADER_BYTES == 0, "page");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact, site_slots) % RTD_HEADER_BYTES == 0, "page");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact, counters) % RTD_HEADER_BYTES == 0, "page");
RTD_STATIC_ASSERT(offsetof(struct rtd_exact, shadow) % RTD_HEADER_BYTES == 0, "page");
RTD_STATIC_ASSERT(RTD_LEDGER_BYTES % RTD_HEADER_BYTES == 0, "the region begins on a page");
RTD_STATIC_ASSERT((uint64_t)RTD_EXACT_SITE_COUNT << RTD_SHADOW_SITE_SHIFT ==
                      UINT64_C(1) << RTD_SHADOW_HALF_SHIFT,
                  "a site fits its field");

/* The exact part of a ledger whose mapping has RTD_LEDGER_EXACT_BYTES. */
static inline struct rtd_exact *rtd_exact_of(struct rtd_ledger *ledger)
{
    return (struct rtd_exact *)(void *)((unsigned char *)ledger + RTD_LEDGER_BYTES);
}

/* header.shadow_birth at this time. */
static inline uint64_t rtd_shadow_birth_at(uint64_t clock_ms)
{
    const uint64_t units = clock_ms / RTD_LIFETIME_UNIT_MS & RTD_SHADOW_BIRTH_MASK;
    return RTD_SHADOW_SMALL | units << RTD_SHADOW_BIRTH_SHIFT | RTD_SHADOW_USED;
}

/* Bytes of a ledger in this mode. */
static inline size_t rtd_ledger_bytes(uint32_t mode)
{
    return mode == RTD_MODE_EXACT ? RTD_LEDGER_EXACT_BYTES : RTD_LEDGER_BYTES;
}

#endif
