// SPDX-License-Identifier: Apache-2.0
/*
 * manager_records.c - see manager_records.h: the tables' room, names, clean-up.
 *
 * Runs in:    a program that links libriptide
 * Threads:    any, unless a function says otherwise
 * Allocates:  one mapping when records are made; its pages cost memory when they are first used
 * Fails:      by a negative errno or enum riptide_error
 *
 * How the limit is divided, of what the fixed tables leave: a twentieth for slabs, three for cells,
 * one for functions given by name, some three each for sites and their stacks, the rest, nearly
 * half, for blocks.
 */
#include "manager/manager_records.h"

#include "manager/manager_record_state.h"
#include "unwind/unwind_stack.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define RELAXED    memory_order_relaxed
#define LEAST_ROOM (UINT64_C(1) << 20)
#define MOST_ROOM  (UINT64_C(1) << 40)

enum {
    PAGE_BYTES = 4096,
    WORDS_MOST = 500000, /* of all stacks: each is a node of an image's trie */
    SITES_MOST = 200000,
    FUNCTION_COST = 48, /* bytes of text and tables that a function takes about */
};

/* ---- life ---- */

static uint64_t power_above(uint64_t least)
{
    uint64_t power = 16;
    while (power < least)
        power *= 2;
    return power;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

/* Sets the numbers of all tables but blocks. */
static void plan_tables(struct rtd_records *records, uint64_t room)
{
    struct rtd_sites *sites = &records->sites;
    struct rtd_functions *functions = &records->functions;
    records->slabs.slab_count =
        2 + (uint32_t)at_most(room / 20 / sizeof(struct rtd_slab), RTD_SLAB_MAX - 2);
    records->slabs.cell_room =
        RTD_NAME_TAGS +
        (uint32_t)at_most(room * 15 / 100 / sizeof(struct rtd_cell), RTD_CELL_MAX - RTD_NAME_TAGS);
    functions->room = (uint32_t)at_most(room / 20 / FUNCTION_COST, RTD_FUNCTION_MAX);
    functions->slot_count = (uint32_t)power_above(functions->room * 4 / 3 + 1);
    functions->text_room = functions->room * (FUNCTION_COST - 12);
    sites->room =
        1 + (uint32_t)(at_most(room * 12 / 100 / (sizeof(struct rtd_site) + 8), SITES_MOST) /
                       RTD_SITE_SHARDS);
    sites->slot_count = (uint32_t)power_above(sites->room * 2);
    sites->word_room =
        2 + (uint32_t)(at_most(room * 16 / 100 / sizeof(uint64_t), WORDS_MOST) / RTD_SITE_SHARDS);
}

/* The next table of the mapping. */
static void *carve(struct rtd_records *records, size_t *used, size_t count, size_t size)
{
    char *at = (char *)records + *used;
    *used = (*used + count * size + 63) & ~(size_t)63;
    return at;
}

static void place_tables(struct rtd_records *records)
{
    struct rtd_slabs *slabs = &records->slabs;
    struct rtd_sites *sites = &records->sites;
    struct rtd_functions *functions = &records->functions;
    struct rtd_blocks *blocks = &records->blocks;
    size_t used = (sizeof *records + 63) & ~(size_t)63;
    slabs->cells = carve(records, &used, slabs->cell_room, sizeof slabs->cells[0]);
    slabs->slabs = carve(records, &used, slabs->slab_count, sizeof slabs->slabs[0]);
    functions->offsets = carve(records, &used, functions->room, sizeof functions->offsets[0]);
    functions->slots = carve(records, &used, functions->slot_count, sizeof functions->slots[0]);
    functions->text = carve(records, &used, functions->text_room, 1);
    sites->shards = carve(records, &used, RTD_SITE_SHARDS, sizeof sites->shards[0]);
    sites->sites =
        carve(records, &used, (size_t)sites->room * RTD_SITE_SHARDS, sizeof sites->sites[0]);
    sites->slots =
        carve(records, &used, (size_t)sites->slot_count * RTD_SITE_SHARDS, sizeof sites->slots[0]);
    sites->words =
        carve(records, &used, (size_t)sites->word_room * RTD_SITE_SHARDS, sizeof sites->words[0]);
    blocks->shards = carve(records, &used, RTD_BLOCK_SHARDS, sizeof blocks->shards[0]);
    blocks->slots = (struct rtd_block *)(void *)((char *)records + used);
    blocks->room = (uint32_t)at_most((records->mapped_bytes - used) / RTD_BLOCK_SHARDS /
                                         sizeof blocks->slots[0],
                                     UINT32_MAX / 2);
    rtd_blocks_init(blocks);
}

static void init_functions(struct rtd_functions *functions)
{
    /* Number 0 takes those without room. */
    memcpy(functions->text, "other", sizeof "other");
    functions->text_used = sizeof "other";
    functions->count = 1;
}

static void init_unwinder(void)
{
    struct rlimit limit;
    rtd_unwind_stack_init(getrlimit(RLIMIT_STACK, &limit) == 0 ? (uintptr_t)limit.rlim_cur : 0);
}

struct rtd_records *rtd_records_new(uint64_t limit_bytes, int *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int error = -EINVAL;
    struct rtd_records *records = NULL;
    if (limit_bytes > MOST_ROOM)
        goto out;
    limit_bytes = limit_bytes < LEAST_ROOM ? LEAST_ROOM : limit_bytes;
    limit_bytes &= ~(uint64_t)(PAGE_BYTES - 1);
    void *mapping = mmap(NULL, limit_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    error = -ENOMEM;
    if (mapping == MAP_FAILED)
        goto out;
    (void)pthread_once(&once, init_unwinder);
    records = mapping;
    records->mapped_bytes = limit_bytes;
    rtd_clock_start(&records->clock);
    plan_tables(records, limit_bytes - sizeof *records - RTD_NAME_TAGS * sizeof(struct rtd_cell));
    place_tables(records);
    init_functions(&records->functions);
    rtd_names_init(&records->names);
    for (unsigned i = 0; i < RTD_DOMAIN_COUNT; i++) {
        atomic_store_explicit(&records->used_bytes[i], RIPTIDE_UNAVAILABLE, RELAXED);
        atomic_store_explicit(&records->reserved_bytes[i], RIPTIDE_UNAVAILABLE, RELAXED);
    }
    error = rtd_slabs_init(&records->slabs);
    if (error < 0) {
        (void)munmap(mapping, limit_bytes);
        records = NULL;
    }
out:
    if (err)
        *err = error;
    return records;
}

void rtd_records_free(struct rtd_records *records)
{
    if (!records)
        return;
    rtd_slabs_fini(&records->slabs);
    (void)munmap(records, records->mapped_bytes);
}

void rtd_records_before_fork(struct rtd_records *records)
{
    rtd_slabs_before_fork();
    for (unsigned i = 0; i < RTD_SITE_SHARDS; i++)
        rtd_sites_lock_shard(&records->sites, i);
    rtd_blocks_lock_all(&records->blocks);
    rtd_lock_acquire(&records->functions.lock);
    rtd_lock_acquire(&records->names.lock);
}

static void release_all(struct rtd_records *records)
{
    rtd_lock_release(&records->names.lock);
    rtd_lock_release(&records->functions.lock);
    rtd_blocks_unlock_all(&records->blocks);
    for (unsigned i = RTD_SITE_SHARDS; i-- > 0;)
        rtd_sites_unlock_shard(&records->sites, i);
}

void rtd_records_after_fork_parent(struct rtd_records *records)
{
    release_all(records);
    rtd_slabs_after_fork(false);
}

void rtd_records_after_fork_child(struct rtd_records *records)
{
    /* The thread that holds them is the one that has survived: nobody is woken for nothing. */
    release_all(records);
    rtd_slabs_after_fork(true);
}

/* ---- names ---- */

uint32_t rtd_records_intern(struct rtd_records *records, unsigned domain, const char *component,
                            const char *operation)
{
    bool other;
    const uint32_t tag = rtd_names_intern(&records->names, domain, component, operation, &other);
    if (RTD_UNLIKELY(other)) {
        struct rtd_slab *slab = rtd_slabs_get(&records->slabs);
        rtd_count_up(&slab->names_in_other, 1, rtd_slab_is_shared(&records->slabs, slab));
    }
    return tag;
}

int rtd_records_domain_open(struct rtd_records *records, const char *name)
{
    return rtd_names_domain_open(&records->names, name);
}

unsigned rtd_records_domains(const struct rtd_records *records)
{
    /* Acquire pairs with rtd_names_domain_open(): the names are written. */
    return atomic_load_explicit(&records->names.domain_count, memory_order_acquire);
}

const char *rtd_records_domain_name(const struct rtd_records *records, unsigned domain)
{
    return domain < rtd_records_domains(records) ? records->names.domains[domain] : "";
}

int rtd_records_domain_set(struct rtd_records *records, unsigned domain, uint64_t used_bytes,
                           uint64_t reserved_bytes)
{
    if (domain == RTD_RECORDS_DOMAIN || domain >= rtd_records_domains(records))
        return -EINVAL;
    rtd_lock_acquire(&records->names.lock);
    atomic_store_explicit(&records->used_bytes[domain], used_bytes, RELAXED);
    atomic_store_explicit(&records->reserved_bytes[domain], reserved_bytes, RELAXED);
    rtd_lock_release(&records->names.lock);
    return 0;
}

int rtd_records_domain_gauge(const struct rtd_records *records, unsigned domain,
                             uint64_t *used_bytes, uint64_t *reserved_bytes)
{
    if (domain >= rtd_records_domains(records))
        return -EINVAL;
    *used_bytes = atomic_load_explicit(&records->used_bytes[domain], RELAXED);
    *reserved_bytes = atomic_load_explicit(&records->reserved_bytes[domain], RELAXED);
    return 0;
}

uintptr_t rtd_records_function(struct rtd_records *records, const char *name)
{
    return RTD_FUNCTION_BASE + 1u + rtd_functions_intern(&records->functions, name);
}

/* ---- clean-up ---- */

struct drop_rule {
    uint32_t floor; /* a stamp */
};

static bool is_old_site(void *context, const struct rtd_site *site)
{
    const struct drop_rule *rule = context;
    return site->last < rule->floor;
}

/* Lists records by size from that stamp on; those before it go. */
static int hide_history(struct rtd_records *records, uint32_t floor)
{
    const uint32_t before = atomic_load_explicit(&records->history_floor, RELAXED);
    const uint32_t used = atomic_load_explicit(&records->slabs.slabs_used, memory_order_acquire);
    uint64_t entries[RTD_TOP_COUNT][2];
    int hidden = 0;
    if (floor <= before)
        return 0;
    for (uint32_t i = 1; i < used; i++) {
        const unsigned count = rtd_top_read(&records->slabs.slabs[i].top, entries);
        for (unsigned j = 0; j < count; j++) {
            const uint32_t stamp = (uint32_t)entries[j][1];
            hidden += stamp >= before && stamp < floor;
        }
    }
    atomic_store_explicit(&records->history_floor, floor, RELAXED);
    return hidden;
}

int rtd_records_cleanup(struct rtd_records *records, uint64_t older_than_unix_ns, bool sites,
                        bool history)
{
    struct drop_rule rule = {rtd_stamp_of(rtd_clock_at_ms(&records->clock, older_than_unix_ns))};
    unsigned dropped = 0;
    for (unsigned shard = 0; sites && rule.floor != 0 && shard < RTD_SITE_SHARDS; shard++) {
        rtd_sites_lock_shard(&records->sites, shard);
        const unsigned count = rtd_sites_drop(&records->sites, shard, is_old_site, &rule);
        /* Before the lock goes: who finds another site under an old number knows of the drop. */
        if (count != 0)
            atomic_fetch_add_explicit(&records->site_epoch, 1, RELAXED);
        rtd_sites_unlock_shard(&records->sites, shard);
        dropped += count;
    }
    return (int)dropped + (history ? hide_history(records, rule.floor) : 0);
}

/* ---- names for reports ---- */

int rtd_records_symbols(struct rtd_records *records, struct rtd_symbol_table *table)
{
    const struct rtd_symbol_module module = {.path = RTD_RECORDS_MODULE};
    rtd_lock_acquire(&records->functions.lock);
    const uint32_t count = records->functions.count;
    rtd_lock_release(&records->functions.lock);
    /* What is entered never changes. */
    for (uint32_t id = 0; id < count; id++) {
        const struct rtd_symbol_frame frame = {
            .function = records->functions.text + records->functions.offsets[id], .file = ""};
        const int result = rtd_symbol_table_add(table, &module, id, &frame, 1);
        if (result < 0)
            return result;
    }
    return 0;
}
