// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_exact_writer.c - the exact trie and the exact sites.
 *
 * Runs in:    agent (slow paths), any thread, also inside signal handlers; tests
 * Threads:    any number of writers at once, lock-free
 * Allocates:  never; no syscall, no lock, no libc call
 * Fails:      see ledger_exact_writer.h
 *
 * Entries get their numbers in turn and are found by their hash through slots of 32 bits. Hashing
 * scatters over every page of its table, so the slots come in levels, each several times larger
 * than the one before: only when a window of slots is full is the next level asked.
 *
 *     window of the 1st level         window of the 2nd level         window of the last level
 *     [ x x x x x x x x x x x ]  -->  [ x x . . . . . . . . . ]  -->  [ . . . . . . . . ... . ]
 *       all taken: go on                a free slot: it is not there, and there it would go
 *
 * Nothing is ever deleted, so what is not found before the first free slot of its windows is not
 * in the table. A slot is claimed by one compare-and-swap, after its entry is written. A thread
 * that loses this race to the same entry gives its own number up, so an entry has one number.
 *
 * A node whose parent has the number before its own, its neighbour, needs no slot: a stack of n new
 * frames takes n numbers in a row and one slot, and is walked down again without hashing. Whoever
 * gets another number for a child first decides what the neighbour is, by spoiling it when it is
 * not written yet: so no node exists as a neighbour and in a slot.
 */
#include "ledger/ledger_exact_writer.h"

#define RELAXED memory_order_relaxed

enum {
    LEVELS_MAX = 4,
    /* One cache line of slots. The last level has longer windows: behind it there is nothing. */
    WINDOW = 16,
    LAST_WINDOW = 64,
    /* A slot: 1 + number below, some bits of the hash above, which save a look at most entries
     * that are not the right one. */
    NUMBER_BITS = 22,
};

#define NUMBER_MASK ((UINT32_C(1) << NUMBER_BITS) - 1)

RTD_STATIC_ASSERT((uint32_t)RTD_EXACT_NODE_COUNT <= NUMBER_MASK, "1 + number fits a slot");
RTD_STATIC_ASSERT((uint32_t)RTD_EXACT_SITE_COUNT <= NUMBER_MASK, "1 + number fits a slot");
RTD_STATIC_ASSERT((uint32_t)RTD_EXACT_PC_COUNT <= NUMBER_MASK, "1 + number fits a slot");

/* One of the three tables: its parts in the ledger and its shape. */
struct table {
    _Atomic uint64_t *entries;
    _Atomic uint32_t *slots;
    _Atomic uint32_t *count; /* one past the last number given out */
    uint32_t first, limit;   /* numbers are first .. limit - 1 */
    unsigned levels;
    uint32_t bits[LEVELS_MAX]; /* slots of a level = 1 << bits */
};

/* What is wanted, and where it goes when it is not there. */
struct search {
    uint64_t key; /* the entry, never 0 */
    uint64_t hash;
    unsigned level; /* the first to look at: a function of the key */
    uint32_t slot;  /* the free slot that proves its absence, RTD_NONE when there is no room */
};

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

static inline uint32_t slot_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 32) & ~NUMBER_MASK;
}

/* Number of the entry in this window; else RTD_NONE, and search->slot the free slot, if any. */
static inline uint32_t find_in_window(const struct table *table, struct search *search,
                                      uint32_t window, uint32_t size)
{
    const uint32_t tag = slot_tag(search->hash);

    for (uint32_t i = 0; i < size; i++) {
        const uint32_t slot = window + (((uint32_t)search->hash + i) & (size - 1));
        /* Acquire pairs with the release in insert(): the entry is written. */
        const uint32_t seen = atomic_load_explicit(&table->slots[slot], memory_order_acquire);
        if (seen == 0) {
            search->slot = slot;
            return RTD_NONE;
        }
        const uint32_t number = (seen & NUMBER_MASK) - 1;
        if ((seen & ~NUMBER_MASK) == tag && RTD_LIKELY(number < table->limit) &&
            RTD_LIKELY(atomic_load_explicit(&table->entries[number], RELAXED) == search->key))
            return number;
    }
    return RTD_NONE;
}

/* Number of the entry, or RTD_NONE and search->slot. */
static inline uint32_t find(const struct table *table, struct search *search)
{
    uint32_t level_first = 0;

    search->slot = RTD_NONE;
    for (unsigned level = 0; level < table->levels; level++) {
        const uint32_t size = level < table->levels - 1 ? WINDOW : LAST_WINDOW;
        const uint32_t level_slots = UINT32_C(1) << table->bits[level];
        if (level < search->level) {
            level_first += level_slots;
            continue;
        }
        /* Bits of their own for each level: what shares a full window here parts there. */
        const uint32_t home = (uint32_t)(search->hash >> (32 - 8 * level)) & (level_slots - size);
        const uint32_t number = find_in_window(table, search, level_first + home, size);
        if (number != RTD_NONE || search->slot != RTD_NONE)
            return number;
        level_first += level_slots;
    }
    return RTD_NONE;
}

/* The next number, RTD_NONE when all are given out. */
static uint32_t claim_number(const struct table *table)
{
    uint32_t count = atomic_load_explicit(table->count, RELAXED);
    uint32_t number;

    do {
        number = count > table->first ? count : table->first;
        if (number >= table->limit)
            return RTD_NONE;
    } while (
        !atomic_compare_exchange_weak_explicit(table->count, &count, number + 1, RELAXED, RELAXED));
    return number;
}

/* Lets the number be found. false: another entry took the slot. */
static bool publish(const struct table *table, const struct search *search, uint32_t number)
{
    uint32_t seen = 0;

    /* Release pairs with the acquire in find_in_window(): who sees the slot sees the entry. */
    return atomic_compare_exchange_strong_explicit(&table->slots[search->slot], &seen,
                                                   slot_tag(search->hash) | (number + 1),
                                                   memory_order_release, RELAXED);
}

/*
 * Publishes an entry that is written, after a search that did not find it. Returns its number, or
 * that of the same entry by another thread, or RTD_NONE when there is no room: then, number is
 * given up.
 */
static uint32_t settle(const struct table *table, struct search *search, uint32_t number)
{
    /* Each turn of this loop follows a slot that was lost, and windows are finite. */
    while (search->slot != RTD_NONE && !publish(table, search, number)) {
        const uint32_t other = find(table, search);
        if (other != RTD_NONE) {
            atomic_store_explicit(&table->entries[number], 0, RELAXED);
            return other;
        }
    }
    if (search->slot != RTD_NONE)
        return number;
    atomic_store_explicit(&table->entries[number], 0, RELAXED);
    return RTD_NONE;
}

/* ---- return addresses ---- */

static struct table pc_table(struct rtd_exact *exact)
{
    return (struct table){
        .entries = exact->pcs,
        .slots = exact->pc_slots,
        .count = &exact->header.pc_count,
        .first = 0,
        .limit = RTD_EXACT_PC_COUNT,
        .levels = 3,
        .bits = {13, 16, 19},
    };
}

/* Index of pc in pcs[], RTD_NONE when there is no room. */
static uint32_t insert_pc(struct rtd_exact *exact, uint64_t pc)
{
    const struct table table = pc_table(exact);
    struct search search = {.key = pc, .hash = mix(pc)};
    uint32_t index = find(&table, &search);

    if (RTD_LIKELY(index != RTD_NONE) || search.slot == RTD_NONE)
        return index;
    index = claim_number(&table);
    if (index == RTD_NONE)
        return RTD_NONE;
    atomic_store_explicit(&exact->pcs[index], pc, RELAXED);
    return settle(&table, &search, index);
}

/* ---- nodes ---- */

static struct table node_table(struct rtd_exact *exact)
{
    return (struct table){
        .entries = exact->nodes,
        .slots = exact->node_slots,
        .count = &exact->header.node_count,
        .first = RTD_ROOT_COUNT,
        .limit = RTD_EXACT_NODE_COUNT,
        .levels = 4,
        .bits = {14, 17, 19, 22},
    };
}

/* The number behind parent's, whose node needs no slot when it is parent's child; 0 for a root. */
static inline uint32_t neighbour_of(uint32_t parent)
{
    return parent >= RTD_ROOT_COUNT ? parent + 1 : 0;
}

/* Is the node behind parent its child pc? */
static inline bool is_neighbour(struct rtd_exact *exact, uint32_t parent, uint64_t pc)
{
    const uint32_t id = neighbour_of(parent);
    if (id == 0 || id >= RTD_EXACT_NODE_COUNT)
        return false;
    /* Acquire pairs with the release in add_node(): the address is written. */
    const uint64_t word = atomic_load_explicit(&exact->nodes[id], memory_order_acquire);
    const uint32_t index = (uint32_t)word - 1;

    return (uint32_t)(word >> 32) == parent && index < RTD_EXACT_PC_COUNT &&
           atomic_load_explicit(&exact->pcs[index], RELAXED) == pc;
}

/*
 * Decides a number that is given out and perhaps not written yet: true, it is this node; false, it
 * never will be, because its owner finds it spoiled, gives it up and takes another.
 */
static bool decide_neighbour(struct rtd_exact *exact, uint32_t id, uint64_t word)
{
    const uint64_t spoiled = word & ~(uint64_t)UINT32_MAX; /* no address */
    uint64_t seen = atomic_load_explicit(&exact->nodes[id], memory_order_acquire);

    if (seen == 0 &&
        atomic_compare_exchange_strong_explicit(&exact->nodes[id], &seen, spoiled,
                                                memory_order_acquire, memory_order_acquire))
        return false;
    return seen == word;
}

/* When a parent has a high id its children came late: the small levels were full by then. */
static inline unsigned first_level(uint32_t parent)
{
    return parent < 1 << 15 ? 0 : parent < 1 << 18 ? 1 : 2;
}

/* Writes to a number that is ours; false: another thread spoiled it. */
static bool write_node(struct rtd_exact *exact, uint32_t id, uint64_t word)
{
    uint64_t seen = 0;

    /* Release pairs with the acquire load of the node, here and in the reader: its address is
     * there. */
    return atomic_compare_exchange_strong_explicit(&exact->nodes[id], &seen, word,
                                                   memory_order_release, RELAXED);
}

/*
 * The quick way for a stack of new frames: the newest node has no child yet, so there is nothing to
 * search for, and looking into slots, which would touch their memory, is saved, too.
 */
static bool add_neighbour(struct rtd_exact *exact, uint32_t neighbour, uint64_t word)
{
    _Atomic uint32_t *const count = &exact->header.node_count;
    uint32_t expected = neighbour;

    return neighbour != 0 && neighbour < RTD_EXACT_NODE_COUNT &&
           atomic_load_explicit(count, RELAXED) == neighbour &&
           atomic_compare_exchange_strong_explicit(count, &expected, neighbour + 1, RELAXED,
                                                   RELAXED) &&
           write_node(exact, neighbour, word);
}

/* Adds a node that a search did not find; or the same one that another thread added meanwhile. */
static uint32_t add_node(struct rtd_exact *exact, uint32_t neighbour, struct search *search,
                         bool *added)
{
    const struct table table = node_table(exact);
    uint32_t id;

    /* Each further turn follows another thread that spoiled our number to add a node. */
    do {
        id = claim_number(&table);
        if (id == RTD_NONE)
            return RTD_NONE;
        /* Numbers come in turn, so the neighbour's was given out. */
        if (neighbour != 0 && id > neighbour && decide_neighbour(exact, neighbour, search->key))
            return neighbour;
    } while (!write_node(exact, id, search->key));

    const uint32_t settled = id == neighbour ? id : settle(&table, search, id);
    *added = settled == id;
    return settled;
}

static uint32_t insert_node(struct rtd_exact *exact, uint32_t parent, uint32_t pc_index,
                            bool *added)
{
    const struct table table = node_table(exact);
    const uint32_t neighbour = neighbour_of(parent);
    struct search search = {.key = ((uint64_t)parent << 32) | (pc_index + 1)};

    *added = add_neighbour(exact, neighbour, search.key);
    if (*added)
        return neighbour;
    search.hash = mix(search.key);
    search.level = first_level(parent);
    const uint32_t found = find(&table, &search);
    if (found != RTD_NONE || search.slot == RTD_NONE)
        return found;
    return add_node(exact, neighbour, &search, added);
}

uint32_t rtd_exact_node_insert(struct rtd_exact *exact, uint32_t parent, uint64_t pc, bool *added)
{
    *added = false;
    if (pc == 0 || pc >> RTD_PC_BITS != 0 || parent >= RTD_EXACT_NODE_COUNT)
        return RTD_NONE;
    if (is_neighbour(exact, parent, pc))
        return parent + 1;
    const uint32_t index = insert_pc(exact, pc);
    return index != RTD_NONE ? insert_node(exact, parent, index, added) : RTD_NONE;
}

/* ---- sites ---- */

static struct table site_table(struct rtd_exact *exact)
{
    return (struct table){
        .entries = exact->site_keys,
        .slots = exact->site_slots,
        .count = &exact->header.site_count,
        .first = RTD_SITE_OVERFLOW + 1,
        .limit = RTD_EXACT_SITE_COUNT,
        .levels = 3,
        .bits = {13, 16, 19},
    };
}

static uint32_t find_or_add_site(struct rtd_exact *exact, uint64_t key, uint32_t now_ms)
{
    const struct table table = site_table(exact);
    struct search search = {.key = key, .hash = mix(key)};
    uint32_t site = find(&table, &search);

    if (site == RTD_NONE && search.slot != RTD_NONE) {
        site = claim_number(&table);
        if (site != RTD_NONE) {
            atomic_store_explicit(&exact->site_first_ms[site], now_ms, RELAXED);
            /* Release pairs with the reader's acquire load of the key: the time is there. */
            atomic_store_explicit(&exact->site_keys[site], key, memory_order_release);
            site = settle(&table, &search, site);
        }
    }
    return site != RTD_NONE ? site : RTD_SITE_OVERFLOW;
}

uint32_t rtd_exact_site_insert(struct rtd_ledger *ledger, uint32_t stack, uint32_t tag,
                               uint32_t now_ms)
{
    const uint64_t key = RTD_SITE_KEY_USED | ((uint64_t)tag << 32) | stack;
    const uint32_t site = find_or_add_site(rtd_exact_of(ledger), key, now_ms);

    if (site == RTD_SITE_OVERFLOW)
        rtd_loss_add(ledger, RTD_LOSS_SITES_OVERFLOW, 1);
    return site;
}
