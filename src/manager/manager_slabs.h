// SPDX-License-Identifier: Apache-2.0
/*
 * manager_slabs.h - what each thread recorded, by tag, without a lock that threads share.
 *
 * Runs in:    a program that links libriptide
 * Threads:    a slab and its cells have one writer, their thread, which adds without a lock prefix;
 *             slab 0 and the cells below RTD_NAME_TAGS serve threads and tags for which there was
 *             no room, with atomic adds; anybody reads, and takes from out_bytes
 * Allocates:  never: lives in its owner's storage
 * Fails:      never: without room the shared slab or cell is used
 *
 * A slab finds its cell of a tag by an index; cells come from one pool, for most threads use few
 * tags. All cells of a tag form a list, so whoever wants the tag's sums walks that list and looks
 * at no slab. A thread that ends leaves its slab to the next one, which counts on.
 *
 * The account of a tag by size. A cell holds in_bytes, which only its thread raises, and out_bytes,
 * which anybody may raise by compare-and-swap up to in_bytes. So in >= out in every cell, always;
 * live = sum(in - out) is exact and cannot be negative. Who releases takes from his own cell first.
 */
#ifndef RTD_MANAGER_SLABS_H
#define RTD_MANAGER_SLABS_H

#include "manager/manager_names.h"
#include "manager/manager_sized.h"

enum {
    RTD_SLAB_MAX = 256,
    RTD_CELL_MAX = 0xffff,
    RTD_CELL_NONE = 0,
    RTD_TOP_COUNT = 20, /* as many blocks as an analysis lists */
    RTD_PLACE_SITE = RTD_NAME_TAGS,
};

#define RTD_LARGE_BYTES (UINT64_C(1) << 20) /* a block of more than this is large */

/* Three cache lines: what a record by size touches, what a release does, what is rarer. */
struct rtd_cell {
    _Atomic uint64_t in_bytes, in_count; /* recorded by size */
    _Atomic uint64_t size_class[4];      /* all records of 1 KiB and more, see rtd_size_class() */
    _Atomic uint64_t max_size;
    _Atomic uint32_t first, last; /* stamps of records; first + 1, 0: none yet */

    _Atomic uint64_t out_bytes, out_count;                     /* taken back by size */
    _Atomic uint64_t births, birth_bytes, deaths, death_bytes; /* by address */
    _Atomic uint64_t temporary; /* deaths before the same thread's next record */
    uint32_t next;              /* of the tag's list, constant once it is in it */
    _Atomic uint32_t hint;      /* the cell that was last taken from when this one had too little */

    _Atomic uint32_t large;                          /* records of more than 1 MiB */
    _Atomic uint32_t ages[RTD_LIFETIME_BUCKETS - 1]; /* deaths by age, from bucket 1 */
};
RTD_STATIC_ASSERT(sizeof(struct rtd_cell) == 192, "three lines");

/* One of the largest records by size of a thread; 0 bytes: none. */
struct rtd_top_entry {
    _Atomic uint64_t sized;       /* rtd_sized_of() */
    _Atomic uint64_t where_stamp; /* rtd_top_where() << 32 | stamp */
};

/* Read by others between two equal and even values of changes. */
struct rtd_top {
    _Atomic uint32_t changes;
    uint32_t count;
    uint64_t least; /* once it is full: no smaller one gets in */
    struct rtd_top_entry entries[RTD_TOP_COUNT];
};

struct rtd_slab {
    _Atomic uintptr_t owner; /* a word of the thread; 0: free */
    _Atomic uintptr_t last_address;
    _Atomic uint64_t unknown_releases, known_blocks, over_released_bytes, names_in_other;
    _Atomic uint64_t stacks_lost;
    _Atomic uint64_t untracked_blocks[RTD_DOMAIN_COUNT], untracked_bytes[RTD_DOMAIN_COUNT];
    struct rtd_top top;
    _Atomic uint16_t cells[RTD_NAME_TAGS]; /* by tag: index of the cell, 0: none yet */
} __attribute__((aligned(64)));

struct rtd_slabs {
    uint64_t generation; /* tells these slabs from all others of this process, before and after */
    struct rtd_slabs *next_registered;
    uint32_t slab_count, cell_room;
    _Atomic uint32_t slabs_used; /* those above were never touched */
    _Atomic uint32_t cells_used;
    _Atomic uint32_t heads[RTD_NAME_TAGS]; /* first cell of a tag besides the shared one */
    struct rtd_slab *slabs, *slabs_end;
    struct rtd_cell *cells;
};

/*
 * Puts slabs in order that lie in zeroed storage with slabs, cells and their numbers set, and has
 * the ends of threads noticed. 0 or an errno. _fini must follow, before the storage goes.
 */
int rtd_slabs_init(struct rtd_slabs *slabs);
void rtd_slabs_fini(struct rtd_slabs *slabs);

/* Around a fork: the list of all slabs. May be called for each of several. */
void rtd_slabs_before_fork(void);
void rtd_slabs_after_fork(bool child);

/* The calling thread's slab. Signal-safe once the thread has one. */
struct rtd_slab *rtd_slabs_get(struct rtd_slabs *slabs);

/* The slab's cell of a tag when it has none yet. */
struct rtd_cell *rtd_slabs_new_cell(struct rtd_slabs *slabs, struct rtd_slab *slab, uint32_t tag);

static inline struct rtd_cell *rtd_slabs_cell(struct rtd_slabs *slabs, struct rtd_slab *slab,
                                              uint32_t tag)
{
    const uint32_t index = atomic_load_explicit(&slab->cells[tag], memory_order_relaxed);
    return RTD_LIKELY(index) ? &slabs->cells[index] : rtd_slabs_new_cell(slabs, slab, tag);
}

/* The cell after this one in its tag's list, beginning with NULL; ends with the shared one. */
struct rtd_cell *rtd_slabs_next(struct rtd_slabs *slabs, uint32_t tag, const struct rtd_cell *cell);

static inline bool rtd_slab_is_shared(const struct rtd_slabs *slabs, const struct rtd_slab *slab)
{
    return slab == slabs->slabs;
}

static inline bool rtd_cell_is_shared(const struct rtd_slabs *slabs, const struct rtd_cell *cell)
{
    return cell < slabs->cells + RTD_NAME_TAGS;
}

/* Whether it is one of these and not of another manager's. */
static inline bool rtd_slab_is_of(const struct rtd_slabs *slabs, const struct rtd_slab *slab)
{
    return (uintptr_t)slab >= (uintptr_t)slabs->slabs &&
           (uintptr_t)slab < (uintptr_t)slabs->slabs_end;
}

/* One instruction, so that a signal handler that records cannot fall between load and store. */
static inline void rtd_count_up(_Atomic uint64_t *counter, uint64_t n, bool shared)
{
#if defined(__x86_64__)
    if (RTD_LIKELY(!shared)) {
        __asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
        return;
    }
#endif
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Class of a size, 0 (below 1 KiB) to 4 (16 MiB and more). */
static inline unsigned rtd_size_class(uint64_t size_bytes)
{
    return size_bytes < 1024                ? 0
           : size_bytes < 65536             ? 1
           : size_bytes < UINT64_C(1) << 20 ? 2
           : size_bytes < UINT64_C(1) << 24 ? 3
                                            : 4;
}

/* Bucket of an age, as in struct rtd_site_record. */
static inline unsigned rtd_age_bucket(uint64_t age_ms)
{
    const uint64_t units = age_ms / RTD_LIFETIME_UNIT_MS;
    const unsigned bucket = units == 0 ? 0 : 64u - (unsigned)__builtin_clzll(units);
    return bucket < RTD_LIFETIME_BUCKETS ? bucket : RTD_LIFETIME_BUCKETS - 1;
}

/* What records of any kind leave in a cell besides sums: class, largest, first and last time. */
void rtd_cell_note_first(struct rtd_cell *cell, uint32_t stamp);
void rtd_cell_note_max(struct rtd_cell *cell, uint64_t size_bytes);
void rtd_cell_note_last(struct rtd_cell *cell, uint32_t stamp);

static inline void rtd_cell_note(struct rtd_cell *cell, uint64_t size_bytes, uint32_t stamp,
                                 bool shared)
{
    const uint32_t first = atomic_load_explicit(&cell->first, memory_order_relaxed);
    if (RTD_UNLIKELY(size_bytes >= 1024)) {
        rtd_count_up(&cell->size_class[rtd_size_class(size_bytes) - 1], 1, shared);
        if (size_bytes > RTD_LARGE_BYTES)
            atomic_fetch_add_explicit(&cell->large, 1, memory_order_relaxed);
    }
    if (RTD_UNLIKELY(first == 0 || stamp + 1 < first))
        rtd_cell_note_first(cell, stamp);
    if (RTD_UNLIKELY(size_bytes > atomic_load_explicit(&cell->max_size, memory_order_relaxed)))
        rtd_cell_note_max(cell, size_bytes);
    if (RTD_UNLIKELY(stamp > atomic_load_explicit(&cell->last, memory_order_relaxed)))
        rtd_cell_note_last(cell, stamp);
}

/* Takes at most want_bytes from the tag's account, own cell first; returns how many it got. */
uint64_t rtd_slabs_take(struct rtd_slabs *slabs, struct rtd_cell *own, uint32_t tag,
                        uint64_t want_bytes);

/* Lists a record by size, of rtd_sized_of(), if it is among the thread's largest; not for slab 0.
 */
void rtd_top_insert(struct rtd_top *top, uint64_t sized, uint32_t where, uint32_t stamp);

/* Takes the newest entry of that tag and size off the list, at whatever site. */
void rtd_top_remove(struct rtd_top *top, uint64_t size_bytes, uint32_t tag);

/* Tag and place in one: a site's number may be another site's later, the tag tells. */
static inline uint32_t rtd_top_where(uint32_t tag, uint32_t place)
{
    RTD_STATIC_ASSERT(RTD_NAME_TAGS == 512, "nine bits hold a tag");
    return place << 9 | tag;
}

static inline void rtd_top_add(struct rtd_top *top, uint64_t sized, uint32_t where, uint32_t stamp)
{
    const uint64_t size_bytes = rtd_sized_bytes(sized);
    if (size_bytes > top->least || (top->count < RTD_TOP_COUNT && size_bytes != 0))
        rtd_top_insert(top, sized, where, stamp);
}

/* A copy of the entries, as pairs of sized and where_stamp; returns how many. Any thread. */
unsigned rtd_top_read(const struct rtd_top *top, uint64_t out[RTD_TOP_COUNT][2]);

#endif
