// SPDX-License-Identifier: Apache-2.0
/*
 * manager_slabs.c - see manager_slabs.h: slabs find their threads, cells their tags.
 *
 * Runs in:    a program that links libriptide
 * Threads:    as each function says
 * Allocates:  one key of thread-specific data while there are slabs
 * Fails:      by an errno of pthread_key_create(), once
 *
 * How a thread finds its slab: a thread-local cache of a few entries by generation, so that neither
 * a closed manager's memory nor another manager's can be mistaken for it. Not in the cache: the
 * slab whose owner is this thread's word, and then a free one. Under the default TLS model the
 * cache costs a call, but a library that is opened late may find no static TLS left.
 *
 * How a slab becomes free: the key's destructor looks through all registered slabs for those of the
 * thread that ends. Its last records, of later destructors, may leave a slab owned by its word:
 * the thread that gets that word next finds it.
 */
#include "manager/manager_slabs.h"

#include <pthread.h>
#include <string.h>

#define RELAXED memory_order_relaxed

enum { CACHE_COUNT = 4, TAKE_PASSES = 2, READ_ATTEMPTS = 64 };

struct cache_entry {
    _Atomic uint64_t generation;
    struct rtd_slab *_Atomic slab;
};

/* Its address is the thread's word. */
static __thread struct cache_entry cache[CACHE_COUNT];
static __thread bool holds_registry;

static struct rtd_lock registry_lock;
static struct rtd_slabs *registry;
static uint64_t last_generation;
static pthread_key_t thread_key;

static uintptr_t thread_word(void)
{
    return (uintptr_t)&cache;
}

/* The end of a thread. */
static void leave_slabs(void *unused)
{
    (void)unused;
    const uintptr_t word = thread_word();
    rtd_lock_acquire(&registry_lock);
    for (struct rtd_slabs *slabs = registry; slabs; slabs = slabs->next_registered) {
        const uint32_t used = atomic_load_explicit(&slabs->slabs_used, memory_order_acquire);
        for (uint32_t i = 1; i < used; i++) {
            /* Release pairs with claim(): the next owner counts on from what was counted. */
            if (atomic_load_explicit(&slabs->slabs[i].owner, RELAXED) == word)
                atomic_store_explicit(&slabs->slabs[i].owner, 0, memory_order_release);
        }
    }
    rtd_lock_release(&registry_lock);
    for (unsigned i = 0; i < CACHE_COUNT; i++)
        atomic_store_explicit(&cache[i].generation, 0, RELAXED);
}

int rtd_slabs_init(struct rtd_slabs *slabs)
{
    int error = 0;
    atomic_store_explicit(&slabs->cells_used, RTD_NAME_TAGS, RELAXED);
    atomic_store_explicit(&slabs->slabs_used, 1, RELAXED);
    slabs->slabs_end = slabs->slabs + slabs->slab_count;
    for (uint32_t tag = 0; tag < RTD_NAME_TAGS; tag++)
        atomic_store_explicit(&slabs->slabs[0].cells[tag], (uint16_t)tag, RELAXED);
    rtd_lock_acquire(&registry_lock);
    if (!registry)
        error = pthread_key_create(&thread_key, leave_slabs);
    if (error == 0) {
        slabs->generation = ++last_generation;
        slabs->next_registered = registry;
        registry = slabs;
    }
    rtd_lock_release(&registry_lock);
    return -error;
}

void rtd_slabs_fini(struct rtd_slabs *slabs)
{
    rtd_lock_acquire(&registry_lock);
    for (struct rtd_slabs **at = &registry; *at; at = &(*at)->next_registered) {
        if (*at == slabs) {
            *at = slabs->next_registered;
            if (!registry)
                pthread_key_delete(thread_key);
            break;
        }
    }
    rtd_lock_release(&registry_lock);
}

void rtd_slabs_before_fork(void)
{
    if (!holds_registry)
        rtd_lock_acquire(&registry_lock);
    holds_registry = true;
}

void rtd_slabs_after_fork(bool child)
{
    if (!holds_registry)
        return;
    holds_registry = false;
    if (child)
        rtd_lock_reset(&registry_lock);
    else
        rtd_lock_release(&registry_lock);
}

/* ---- slabs ---- */

/* The slab that this thread owns or may own now; the shared one if there is none. */
static struct rtd_slab *claim(struct rtd_slabs *slabs)
{
    const uintptr_t word = thread_word();
    uint32_t used = atomic_load_explicit(&slabs->slabs_used, memory_order_acquire);
    for (uint32_t i = 1; i < used; i++) {
        if (atomic_load_explicit(&slabs->slabs[i].owner, RELAXED) == word)
            return &slabs->slabs[i];
    }
    for (uint32_t i = 1; i < slabs->slab_count; i++) {
        uintptr_t nobody = 0;
        /* Those in use are looked at by their end; raised before the slab has an owner. */
        while (i >= used && !atomic_compare_exchange_weak_explicit(&slabs->slabs_used, &used, i + 1,
                                                                   memory_order_acq_rel, RELAXED)) {
        }
        if (atomic_load_explicit(&slabs->slabs[i].owner, RELAXED) == 0 &&
            atomic_compare_exchange_strong_explicit(&slabs->slabs[i].owner, &nobody, word,
                                                    memory_order_acquire, RELAXED))
            return &slabs->slabs[i];
        used = atomic_load_explicit(&slabs->slabs_used, memory_order_acquire);
    }
    return &slabs->slabs[0];
}

static __attribute__((noinline)) struct rtd_slab *find_slab(struct rtd_slabs *slabs)
{
    struct cache_entry *entry = &cache[slabs->generation % CACHE_COUNT];
    struct rtd_slab *slab = claim(slabs);
    /* Any value will do: what counts is that there is one when the thread ends. */
    (void)pthread_setspecific(thread_key, cache);
    /* A handler in between finds no entry and comes here as well. */
    atomic_store_explicit(&entry->generation, 0, RELAXED);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&entry->slab, slab, RELAXED);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&entry->generation, slabs->generation, RELAXED);
    return slab;
}

struct rtd_slab *rtd_slabs_get(struct rtd_slabs *slabs)
{
    const struct cache_entry *entry = &cache[slabs->generation % CACHE_COUNT];
    if (RTD_LIKELY(atomic_load_explicit(&entry->generation, RELAXED) == slabs->generation)) {
        /* A handler may have come in between, with another manager that has the same place. */
        struct rtd_slab *slab = atomic_load_explicit(&entry->slab, RELAXED);
        if (RTD_LIKELY(rtd_slab_is_of(slabs, slab)))
            return slab;
    }
    return find_slab(slabs);
}

/* ---- cells ---- */

struct rtd_cell *rtd_slabs_new_cell(struct rtd_slabs *slabs, struct rtd_slab *slab, uint32_t tag)
{
    uint32_t index = atomic_load_explicit(&slabs->cells_used, RELAXED);
    do {
        if (index >= slabs->cell_room) {
            atomic_store_explicit(&slab->cells[tag], (uint16_t)tag, RELAXED);
            return &slabs->cells[tag];
        }
    } while (!atomic_compare_exchange_weak_explicit(&slabs->cells_used, &index, index + 1, RELAXED,
                                                    RELAXED));
    struct rtd_cell *cell = &slabs->cells[index];
    uint32_t head = atomic_load_explicit(&slabs->heads[tag], RELAXED);
    do {
        cell->next = head;
        /* Release pairs with rtd_slabs_next(): the link is there before the cell is found. */
    } while (!atomic_compare_exchange_weak_explicit(&slabs->heads[tag], &head, index,
                                                    memory_order_release, RELAXED));
    atomic_store_explicit(&slab->cells[tag], (uint16_t)index, RELAXED);
    return cell;
}

struct rtd_cell *rtd_slabs_next(struct rtd_slabs *slabs, uint32_t tag, const struct rtd_cell *cell)
{
    if (cell == &slabs->cells[tag])
        return NULL;
    const uint32_t index =
        cell ? cell->next : atomic_load_explicit(&slabs->heads[tag], memory_order_acquire);
    return &slabs->cells[index == RTD_CELL_NONE ? tag : index];
}

void rtd_cell_note_first(struct rtd_cell *cell, uint32_t stamp)
{
    uint32_t first = atomic_load_explicit(&cell->first, RELAXED);
    while (
        (first == 0 || stamp + 1 < first) &&
        !atomic_compare_exchange_weak_explicit(&cell->first, &first, stamp + 1, RELAXED, RELAXED)) {
    }
}

void rtd_cell_note_max(struct rtd_cell *cell, uint64_t size_bytes)
{
    uint64_t most = atomic_load_explicit(&cell->max_size, RELAXED);
    while (size_bytes > most && !atomic_compare_exchange_weak_explicit(
                                    &cell->max_size, &most, size_bytes, RELAXED, RELAXED)) {
    }
}

void rtd_cell_note_last(struct rtd_cell *cell, uint32_t stamp)
{
    uint32_t last = atomic_load_explicit(&cell->last, RELAXED);
    while (stamp > last &&
           !atomic_compare_exchange_weak_explicit(&cell->last, &last, stamp, RELAXED, RELAXED)) {
    }
}

/* ---- the account by size ---- */

static uint64_t take_from(struct rtd_cell *cell, uint64_t want_bytes)
{
    uint64_t out = atomic_load_explicit(&cell->out_bytes, RELAXED);
    for (;;) {
        /* What is in only grows: an old value takes less than it might, never too much. */
        const uint64_t in = atomic_load_explicit(&cell->in_bytes, RELAXED);
        const uint64_t here = in > out ? in - out : 0;
        const uint64_t some = here < want_bytes ? here : want_bytes;
        if (some == 0)
            return 0;
        if (atomic_compare_exchange_weak_explicit(&cell->out_bytes, &out, out + some, RELAXED,
                                                  RELAXED))
            return some;
    }
}

static uint64_t take_from_others(struct rtd_slabs *slabs, struct rtd_cell *own, uint32_t tag,
                                 uint64_t want_bytes)
{
    const uint32_t hint = atomic_load_explicit(&own->hint, RELAXED);
    uint64_t got = hint == RTD_CELL_NONE ? 0 : take_from(&slabs->cells[hint], want_bytes);
    /* Twice: bytes recorded behind the walk's back may stand for others that were taken before it.
     */
    for (unsigned pass = 0; pass < TAKE_PASSES && got < want_bytes; pass++) {
        struct rtd_cell *cell = NULL;
        while (got < want_bytes && (cell = rtd_slabs_next(slabs, tag, cell)) != NULL) {
            const uint64_t some = take_from(cell, want_bytes - got);
            got += some;
            if (some != 0)
                atomic_store_explicit(&own->hint, (uint32_t)(cell - slabs->cells), RELAXED);
        }
    }
    return got;
}

uint64_t rtd_slabs_take(struct rtd_slabs *slabs, struct rtd_cell *own, uint32_t tag,
                        uint64_t want_bytes)
{
    const uint64_t got = take_from(own, want_bytes);
    if (RTD_LIKELY(got == want_bytes))
        return got;
    return got + take_from_others(slabs, own, tag, want_bytes - got);
}

/* ---- the largest records by size ---- */

/* False: a handler interrupts a change of its own thread's list, which then stays as it is. */
static bool begin_change(struct rtd_top *top, uint32_t *changes)
{
    *changes = atomic_load_explicit(&top->changes, RELAXED);
    if (*changes & 1)
        return false;
    atomic_store_explicit(&top->changes, *changes + 1, RELAXED);
    return true;
}

/* Release keeps "changes is odd" before the new value, for rtd_top_read(). */
static void write_entry(struct rtd_top_entry *entry, uint64_t sized, uint64_t where_stamp)
{
    atomic_store_explicit(&entry->sized, sized, memory_order_release);
    atomic_store_explicit(&entry->where_stamp, where_stamp, memory_order_release);
}

static uint64_t size_at(const struct rtd_top *top, uint32_t index)
{
    return rtd_sized_bytes(atomic_load_explicit(&top->entries[index].sized, RELAXED));
}

/* The oldest of the smallest entries: entries come in the order in which they were recorded. */
static uint32_t least_entry(const struct rtd_top *top)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < top->count; i++) {
        if (size_at(top, i) < size_at(top, least))
            least = i;
    }
    return least;
}

/* Closes the gap of an entry and keeps the order of the others. */
static void drop_entry(struct rtd_top *top, uint32_t index)
{
    for (uint32_t i = index; i + 1 < top->count; i++) {
        const struct rtd_top_entry *next = &top->entries[i + 1];
        write_entry(&top->entries[i], atomic_load_explicit(&next->sized, RELAXED),
                    atomic_load_explicit(&next->where_stamp, RELAXED));
    }
    top->count--;
    write_entry(&top->entries[top->count], 0, 0);
    top->least = 0;
}

void rtd_top_insert(struct rtd_top *top, uint64_t sized, uint32_t where, uint32_t stamp)
{
    uint32_t changes;
    if (!begin_change(top, &changes))
        return;
    if (top->count == RTD_TOP_COUNT)
        drop_entry(top, least_entry(top));
    write_entry(&top->entries[top->count++], sized, (uint64_t)where << 32 | stamp);
    top->least = top->count == RTD_TOP_COUNT ? size_at(top, least_entry(top)) : 0;
    atomic_store_explicit(&top->changes, changes + 2, memory_order_release);
}

void rtd_top_remove(struct rtd_top *top, uint64_t size_bytes, uint32_t tag)
{
    uint32_t changes;
    if (size_bytes < top->least || top->count == 0 || !begin_change(top, &changes))
        return;
    for (uint32_t i = top->count; i-- > 0;) {
        if (size_at(top, i) == size_bytes &&
            (atomic_load_explicit(&top->entries[i].where_stamp, RELAXED) >> 32) % RTD_NAME_TAGS ==
                tag) {
            drop_entry(top, i);
            break;
        }
    }
    atomic_store_explicit(&top->changes, changes + 2, memory_order_release);
}

unsigned rtd_top_read(const struct rtd_top *top, uint64_t out[RTD_TOP_COUNT][2])
{
    for (unsigned attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
        const uint32_t before = atomic_load_explicit(&top->changes, memory_order_acquire);
        unsigned count = 0;
        for (unsigned i = 0; i < RTD_TOP_COUNT; i++) {
            /* Acquire keeps the second look at changes behind these. */
            out[count][0] = atomic_load_explicit(&top->entries[i].sized, memory_order_acquire);
            out[count][1] =
                atomic_load_explicit(&top->entries[i].where_stamp, memory_order_acquire);
            count += out[count][0] != 0;
        }
        if ((before & 1) == 0 && atomic_load_explicit(&top->changes, RELAXED) == before)
            return count;
    }
    return 0;
}
