// SPDX-License-Identifier: Apache-2.0
/*
 * track_allocator.c - see track_allocator.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any; what was found is published once by whoever is first
 * Allocates:  never itself
 * Fails:      figure by figure
 *
 * What serves malloc() is settled before a program's first constructor and never changes, so it is
 * looked for once. Two threads that come at the same time both look: waiting for each other, as
 * pthread_once() does, could deadlock with the loader's lock.
 */
#include "track/track_allocator.h"

#include "base/base_macros.h"
#include "track/track_symbols.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

typedef int (*jemalloc_control)(const char *name, void *old, size_t *old_size, void *new_value,
                                size_t new_size);
typedef int (*tcmalloc_property)(const char *name, size_t *value);
typedef void (*mimalloc_info)(size_t *elapsed_ms, size_t *user_ms, size_t *system_ms,
                              size_t *current_rss, size_t *peak_rss, size_t *current_commit,
                              size_t *peak_commit, size_t *page_faults);

/* glibc's struct mallinfo2, part of its binary interface; a C library without it lacks the type. */
struct glibc_figures {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
typedef struct glibc_figures (*glibc_info)(void);

/* Only their addresses are taken, and only to find what a program contains but does not export. */
#define WEAK(name) extern void name(void) __attribute__((weak, visibility("default")))
WEAK(mallctl);
WEAK(MallocExtension_GetNumericProperty);
WEAK(MallocExtension_ReleaseFreeMemory);
WEAK(mi_process_info);
WEAK(mi_collect);
WEAK(mallinfo2);
WEAK(malloc_trim);
/* See ledger/ledger_join.h. */
extern const void *riptide_heap_ledger(void) __attribute__((weak));

/* Every allocator's two functions. */
static const char *const NAMES[] = {
    "mallctl",         "mallctl",     "MallocExtension_GetNumericProperty",
    "mi_process_info", "mi_collect",  "MallocExtension_ReleaseFreeMemory",
    "mallinfo2",       "malloc_trim",
};
enum { NAME_COUNT = RTD_ARRAY_LENGTH(NAMES) };

/* In the order in which they are looked for: newer tcmallocs define glibc's functions as well. */
static const struct known {
    const char *name, *file;
    enum rtd_allocator_kind kind;
    unsigned ask, release; /* indexes into NAMES */
} KNOWN[] = {
    {"jemalloc", "libjemalloc", RTD_ALLOCATOR_JEMALLOC, 0, 1},
    {"tcmalloc", "libtcmalloc", RTD_ALLOCATOR_TCMALLOC, 2, 5},
    {"mimalloc", "libmimalloc", RTD_ALLOCATOR_MIMALLOC, 3, 4},
    {"glibc", "libc.so.6", RTD_ALLOCATOR_GLIBC, 6, 7},
};

enum { NOT_FOUND, BEING_WRITTEN, FOUND };
static struct rtd_allocator known_allocator;
static _Atomic int known_state;

/* Weak references that lead into the object which serves malloc() fill what it does not export. */
static void add_weak(const struct rtd_symbols_object *object, uintptr_t *addresses)
{
    const uintptr_t weak[NAME_COUNT] = {
        (uintptr_t)&mallctl,
        (uintptr_t)&mallctl,
        (uintptr_t)&MallocExtension_GetNumericProperty,
        (uintptr_t)&mi_process_info,
        (uintptr_t)&mi_collect,
        (uintptr_t)&MallocExtension_ReleaseFreeMemory,
        (uintptr_t)&mallinfo2,
        (uintptr_t)&malloc_trim,
    };
    for (unsigned i = 0; i < NAME_COUNT; i++)
        if (!addresses[i] && weak[i] >= object->start && weak[i] < object->end)
            addresses[i] = weak[i];
}

static void look(struct rtd_allocator *out)
{
    const struct rtd_symbols_query query = {
        .function = "malloc",
        /* Only the agent defines both; libriptide itself defines no malloc. */
        .skip_marker = "riptide_heap_ledger",
        .skip_address = (uintptr_t)&riptide_heap_ledger,
        .names = NAMES,
        .name_count = NAME_COUNT,
    };
    uintptr_t addresses[NAME_COUNT];
    struct rtd_symbols_object object = {0};
    *out = (struct rtd_allocator){.kind = RTD_ALLOCATOR_OTHER, .name = "other"};
    (void)rtd_symbols_find(&query, &object, addresses);
    add_weak(&object, addresses);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(KNOWN); i++) {
        const struct known *const known = &KNOWN[i];
        if (strncmp(object.name, known->file, strlen(known->file)) == 0)
            out->name = known->name;
        if (!addresses[known->ask])
            continue;
        *out = (struct rtd_allocator){known->kind, known->name,
                                      (rtd_allocator_function)addresses[known->ask],
                                      (rtd_allocator_function)addresses[known->release]};
        return;
    }
}

void rtd_allocator_find(struct rtd_allocator *out)
{
    int expected = NOT_FOUND;
    /* Pairs with the release below: what was found is complete. */
    if (atomic_load_explicit(&known_state, memory_order_acquire) == FOUND) {
        *out = known_allocator;
        return;
    }
    look(out);
    if (atomic_compare_exchange_strong_explicit(&known_state, &expected, BEING_WRITTEN,
                                                memory_order_relaxed, memory_order_relaxed)) {
        known_allocator = *out;
        /* Pairs with the acquire above. */
        atomic_store_explicit(&known_state, FOUND, memory_order_release);
    }
}

static uint64_t jemalloc_figure(jemalloc_control control, const char *name)
{
    size_t value = 0, size = sizeof value;
    return control(name, &value, &size, NULL, 0) == 0 ? value : RTD_ALLOCATOR_UNKNOWN;
}

static void read_jemalloc(const struct rtd_allocator *allocator, struct rtd_allocator_figures *out)
{
    const jemalloc_control control = (jemalloc_control)allocator->ask;
    uint64_t epoch = 1;
    size_t size = sizeof epoch;
    out->unavailable = "this jemalloc was built without statistics";
    /* The figures are those of the last epoch: a new one begins now. */
    if (control("epoch", &epoch, &size, &epoch, sizeof epoch) != 0)
        return;
    out->allocated_bytes = jemalloc_figure(control, "stats.allocated");
    out->active_bytes = jemalloc_figure(control, "stats.active");
    out->metadata_bytes = jemalloc_figure(control, "stats.metadata");
    out->resident_bytes = jemalloc_figure(control, "stats.resident");
    out->mapped_bytes = jemalloc_figure(control, "stats.mapped");
    out->retained_bytes = jemalloc_figure(control, "stats.retained");
    if (out->retained_bytes != RTD_ALLOCATOR_UNKNOWN)
        out->unavailable = "";
    else if (out->allocated_bytes != RTD_ALLOCATOR_UNKNOWN)
        out->unavailable = "this version of jemalloc does not tell all of them";
}

/* a - b of two figures that were read one after the other, and may both be unknown. */
static uint64_t difference(uint64_t a, uint64_t b)
{
    if (a == RTD_ALLOCATOR_UNKNOWN || b == RTD_ALLOCATOR_UNKNOWN)
        return RTD_ALLOCATOR_UNKNOWN;
    return a > b ? a - b : 0;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a == RTD_ALLOCATOR_UNKNOWN || b == RTD_ALLOCATOR_UNKNOWN ? RTD_ALLOCATOR_UNKNOWN : a + b;
}

static uint64_t tcmalloc_figure(tcmalloc_property property, const char *name)
{
    size_t value = 0;
    return property(name, &value) ? value : RTD_ALLOCATOR_UNKNOWN;
}

static void read_tcmalloc(const struct rtd_allocator *allocator, struct rtd_allocator_figures *out)
{
    const tcmalloc_property property = (tcmalloc_property)allocator->ask;
    const uint64_t heap = tcmalloc_figure(property, "generic.heap_size");
    const uint64_t unused = tcmalloc_figure(property, "tcmalloc.pageheap_free_bytes");
    const uint64_t unmapped = tcmalloc_figure(property, "tcmalloc.pageheap_unmapped_bytes");
    out->allocated_bytes = tcmalloc_figure(property, "generic.current_allocated_bytes");
    out->resident_bytes = tcmalloc_figure(property, "generic.total_physical_bytes");
    out->active_bytes = difference(heap, sum(unused, unmapped));
    out->mapped_bytes = sum(out->resident_bytes, unmapped);
    out->metadata_bytes = difference(out->mapped_bytes, heap);
    out->retained_bytes = difference(heap, out->allocated_bytes);
    if (out->allocated_bytes == RTD_ALLOCATOR_UNKNOWN || heap == RTD_ALLOCATOR_UNKNOWN)
        out->unavailable = "this tcmalloc does not answer for generic.heap_size";
    else if (out->mapped_bytes == RTD_ALLOCATOR_UNKNOWN || unused == RTD_ALLOCATOR_UNKNOWN)
        out->unavailable = "this version of tcmalloc does not tell all of them";
}

static void read_mimalloc(const struct rtd_allocator *allocator, struct rtd_allocator_figures *out)
{
    const mimalloc_info info = (mimalloc_info)allocator->ask;
    size_t unused, committed = 0;
    info(&unused, &unused, &unused, &unused, &unused, &committed, &unused, &unused);
    /* mimalloc counts up and down apart; a negative sum is one of its known slips. */
    if (committed > 0 && committed <= PTRDIFF_MAX)
        out->mapped_bytes = committed;
    out->unavailable = "mimalloc tells the process only how much it has committed: mapped";
}

static void read_glibc(const struct rtd_allocator *allocator, struct rtd_allocator_figures *out)
{
    const struct glibc_figures info = ((glibc_info)allocator->ask)();
    out->unavailable = "glibc does not know which of its pages hold blocks or are resident, nor "
                       "counts its own structures apart: active, resident, metadata";
    /* A tool that takes malloc's place without a symbol of its own, as valgrind does. */
    if (info.arena + info.hblkhd == 0) {
        out->unavailable = "glibc's heap is empty: nothing was allocated, or a tool serves malloc";
        return;
    }
    out->allocated_bytes = info.uordblks + info.hblkhd;
    out->mapped_bytes = info.arena + info.hblkhd;
    out->retained_bytes = info.fordblks;
}

static void forget(struct rtd_allocator_figures *figures, const char *reason)
{
    figures->allocated_bytes = figures->active_bytes = figures->metadata_bytes =
        figures->resident_bytes = figures->mapped_bytes = figures->retained_bytes =
            RTD_ALLOCATOR_UNKNOWN;
    figures->unavailable = reason;
}

void rtd_allocator_read(struct rtd_allocator_figures *out)
{
    static void (*const readers[])(const struct rtd_allocator *, struct rtd_allocator_figures *) = {
        [RTD_ALLOCATOR_JEMALLOC] = read_jemalloc,
        [RTD_ALLOCATOR_TCMALLOC] = read_tcmalloc,
        [RTD_ALLOCATOR_MIMALLOC] = read_mimalloc,
        [RTD_ALLOCATOR_GLIBC] = read_glibc,
    };
    struct rtd_allocator allocator;
    rtd_allocator_find(&allocator);
    *out = (struct rtd_allocator_figures){.asked = true, .name = allocator.name};
    forget(out, "");
    if (readers[allocator.kind])
        readers[allocator.kind](&allocator, out);
    else
        out->unavailable = "this allocator has no interface for figures that is known here";
}

/*
 * What was read last. A sequence lock: `sequence` is odd while the words change, and a reader that
 * sees it odd or moved asks for itself. That never blocks, also not in the child of a fork whose
 * writer stayed behind.
 */
enum { WORDS = 7 };
static struct {
    _Atomic uint32_t sequence; /* 0: nothing was ever kept */
    _Atomic uint64_t next_ns;  /* when it is time to ask again; CLOCK_MONOTONIC */
    _Atomic uint64_t words[WORDS];
} kept;

/* How long the one that asks may take before another one does; what is too long to ask again soon.
 */
static const uint64_t CLAIM_NS = 60000000000u, DEAR_NS = 10000000u;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void keep(const struct rtd_allocator_figures *figures)
{
    const uint64_t words[WORDS] = {
        figures->allocated_bytes,
        figures->active_bytes,
        figures->metadata_bytes,
        figures->resident_bytes,
        figures->mapped_bytes,
        figures->retained_bytes,
        (uint64_t)(uintptr_t)figures->unavailable,
    };
    const uint32_t before = atomic_load_explicit(&kept.sequence, memory_order_relaxed) | 1;
    atomic_store_explicit(&kept.sequence, before, memory_order_relaxed);
    /* Pairs with the acquire in recall(): who sees a new word sees the odd sequence as well. */
    for (unsigned i = 0; i < WORDS; i++)
        atomic_store_explicit(&kept.words[i], words[i], memory_order_release);
    /* Pairs with the acquire in recall(); 0 is passed over, it says that nothing is kept. */
    atomic_store_explicit(&kept.sequence, before + 1 ? before + 1 : 2, memory_order_release);
}

static bool recall(struct rtd_allocator_figures *out)
{
    uint64_t words[WORDS];
    struct rtd_allocator allocator;
    const uint32_t before = atomic_load_explicit(&kept.sequence, memory_order_acquire);
    if (before == 0 || (before & 1))
        return false;
    /* Pairs with the release in keep(), and keeps the second look at the sequence behind it. */
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&kept.words[i], memory_order_acquire);
    if (atomic_load_explicit(&kept.sequence, memory_order_relaxed) != before)
        return false;
    rtd_allocator_find(&allocator);
    *out = (struct rtd_allocator_figures){
        true,     allocator.name, words[0],
        words[1], words[2],       words[3],
        words[4], words[5],       (const char *)(uintptr_t)words[6],
    };
    return true;
}

void rtd_allocator_glance(struct rtd_allocator_figures *out)
{
    const uint64_t begin_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t next_ns = atomic_load_explicit(&kept.next_ns, memory_order_relaxed);
    const bool is_mine = begin_ns >= next_ns && atomic_compare_exchange_strong_explicit(
                                                    &kept.next_ns, &next_ns, begin_ns + CLAIM_NS,
                                                    memory_order_relaxed, memory_order_relaxed);
    if (!is_mine && recall(out))
        return;
    /* Of this thread alone: on a busy machine the time on the wall says nothing. */
    const uint64_t before_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    rtd_allocator_read(out);
    if (!is_mine)
        return;
    const uint64_t cost_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before_ns;
    const bool is_dear = cost_ns > DEAR_NS;
    struct rtd_allocator_figures until_then = *out;
    if (is_dear)
        forget(&until_then, "asking this allocator takes so long that it is asked rarely");
    keep(&until_then);
    atomic_store_explicit(&kept.next_ns,
                          clock_ns(CLOCK_MONOTONIC) + (is_dear ? 1000 : 100) * cost_ns,
                          memory_order_relaxed);
}
