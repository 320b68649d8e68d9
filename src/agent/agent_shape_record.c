// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape_record.c - see agent_shape_record.h.
 *
 * Runs in:    agent (slow path of exact mode), any thread, also inside signal handlers
 * Threads:    lock-free: an odd id is a claim that nobody waits for
 * Allocates:  never
 * Fails:      by not writing
 *
 * Where rbp comes from. A rule may use the rbp of its frame. If a frame of this run saved it, the
 * word where it lies is compared like a return address. If not, the run depends on the rbp with
 * which it is entered: it "needs fp", and the record says which one. A run that leads into such a
 * run answers for that rbp in the same way: by a word of its own, or by needing it in turn, down to
 * the leaf, where rbp is in its register and is compared there.
 */
#include "agent/agent_shape_record.h"

#include "unwind/unwind_step.h"

#include "agent/agent_only.h"

#define RELEASE memory_order_release
#define RELAXED memory_order_relaxed

/* Of a record that holds for nothing: the counter never gets there. */
#define VOID_STAMP UINT64_MAX

static unsigned group_words(uint64_t place, unsigned shift)
{
    return (unsigned)(place >> shift & RTD_SHAPE_GROUPS_MASK) * 4;
}

/* A record being written. */
struct draft {
    const struct rtd_shape_trace *trace;
    struct rtd_shape_record *record;
    uintptr_t sp;
    unsigned count;   /* words so far */
    bool is_entry_fp; /* no frame of the run has saved rbp yet */
    bool needs_fp;
    bool has_failed;     /* something does not fit */
    int64_t fp_relative; /* when it needs fp */
};

static uintptr_t load_word(uintptr_t address)
{
    return *(const uintptr_t *)address;
}

static void store_word(struct draft *draft, uint64_t offset, uint64_t value)
{
    if (offset > UINT16_MAX || draft->count >= RTD_SHAPE_WORD_COUNT) {
        draft->has_failed = true;
        return;
    }
    atomic_store_explicit(&draft->record->values[draft->count], value, RELEASE);
    atomic_store_explicit(&draft->record->offsets[draft->count], (uint16_t)offset, RELEASE);
    draft->count++;
}

static void add_word(struct draft *draft, uintptr_t address, uint64_t value)
{
    store_word(draft, (address - draft->sp) / sizeof(uintptr_t), value);
}

/* Fills the last group of the words since first with what is already there; returns the groups. */
static uint64_t close_groups(struct draft *draft, unsigned first)
{
    while ((draft->count - first) % 4 != 0 && !draft->has_failed) {
        const struct rtd_shape_record *const record = draft->record;
        const unsigned last = draft->count - 1;
        store_word(draft, atomic_load_explicit(&record->offsets[last], RELAXED),
                   atomic_load_explicit(&record->values[last], RELAXED));
    }
    return (draft->count - first) / 4;
}

/* The value of rbp in this frame counts. */
static void add_fp(struct draft *draft, const struct rtd_shape_frame *frame)
{
    const uintptr_t slot = frame->fp_slot;

    if (slot == RTD_UNWIND_LOST_SLOT || (!draft->is_entry_fp && slot < draft->sp)) {
        draft->has_failed = true;
    } else if (draft->is_entry_fp) {
        draft->needs_fp = true;
        draft->fp_relative =
            (int64_t)((slot == 0 ? draft->trace->fp : load_word(slot)) - draft->sp);
        draft->has_failed |= draft->fp_relative != (int32_t)draft->fp_relative;
    } else {
        add_word(draft, slot, load_word(slot) - draft->sp);
    }
}

static void add_plain(struct draft *draft, const struct rtd_shape_run *run)
{
    const struct rtd_shape_frame *const frames = draft->trace->frames;

    for (unsigned i = run->begin; i < run->end; i++)
        if ((frames[i].use & RTD_SHAPE_READS_PC) != 0)
            add_word(draft, frames[i + 1].sp - sizeof(uintptr_t), load_word(frames[i + 1].sp - 8));
}

static void add_relative(struct draft *draft, const struct rtd_shape_run *run, bool link_needs_fp)
{
    const struct rtd_shape_frame *const frames = draft->trace->frames;

    for (unsigned i = run->begin; i < run->end; i++) {
        const struct rtd_shape_frame *const frame = &frames[i];
        if ((frame->use & RTD_SHAPE_USES_FP) != 0)
            add_fp(draft, frame);
        if (frame->cfa_slot != 0) {
            const uintptr_t slot = frame->sp + (frame->cfa_slot & ~1u);
            add_word(draft, slot, load_word(slot) - draft->sp);
        }
        if ((frame->use & RTD_SHAPE_SETS_FP) != 0)
            draft->is_entry_fp = false;
    }
    if (link_needs_fp)
        add_fp(draft, &frames[run->end]);
}

/* ---- claims ---- */

/* Fails when another thread, or what this handler interrupted, writes the record. */
static bool claim(_Atomic uint64_t *record_id, uint64_t *id)
{
    *id = atomic_load_explicit(record_id, RELAXED);
    return (*id & 1) == 0 && atomic_compare_exchange_strong(record_id, id, *id + 1);
}

/* A run for the same place whose link leads nowhere any more, or which is of another time. */
static bool is_dead(const struct rtd_shape_record *record, uintptr_t pc, uint64_t stamp)
{
    if (atomic_load_explicit(&record->pc, RELAXED) != pc)
        return false;
    if (atomic_load_explicit(&record->stamp, RELAXED) != stamp)
        return true;
    if ((atomic_load_explicit(&record->place, RELAXED) & RTD_SHAPE_LINKED) == 0)
        return false;
    const uint64_t link = atomic_load_explicit(&record->link, RELAXED);
    const struct rtd_shape_record *const next =
        &rtd_shape_records[(link >> 32) % RTD_SHAPE_RECORD_COUNT];
    return atomic_load_explicit(&next->id, RELAXED) !=
           atomic_load_explicit(&record->link_id, RELAXED);
}

/* The way to write to: free, dead, or the ways in turn. */
static unsigned choose(const struct rtd_shape_set *set, uintptr_t pc, uint64_t stamp)
{
    static _Atomic uint8_t turns[1 << RTD_SHAPE_SET_BITS];

    for (unsigned way = 0; way < RTD_SHAPE_WAYS; way++) {
        /* Being written, perhaps by a thread that did not survive a fork. */
        if ((atomic_load_explicit(&set->records[way].id, RELAXED) & 1) != 0)
            continue;
        const uint32_t tag = atomic_load_explicit(&set->tags[way], RELAXED);
        if (tag == 0 || (tag == set->tag && is_dead(&set->records[way], pc, stamp)))
            return way;
    }
    /* A lost update only repeats a choice. */
    _Atomic uint8_t *const turn = &turns[(set->records - rtd_shape_records) / RTD_SHAPE_WAYS];
    const uint8_t way = atomic_load_explicit(turn, RELAXED);
    atomic_store_explicit(turn, (uint8_t)(way + 1), RELAXED);
    return way % RTD_SHAPE_WAYS;
}

/* ---- writing ---- */

/* Fills the claimed record; false when the run does not fit one. */
static bool fill(struct draft *draft, const struct rtd_shape_run *run,
                 const struct rtd_shape_link *link)
{
    const struct rtd_shape_trace *const trace = draft->trace;
    const struct rtd_shape_frame *const frame = &trace->frames[run->begin];
    struct rtd_shape_record *const record = draft->record;

    add_plain(draft, run);
    const uint64_t plain = close_groups(draft, 0);
    const unsigned first = draft->count;
    add_relative(draft, run, link->depth != 0 && link->needs_fp);
    const uint64_t relative = close_groups(draft, first);
    if (draft->has_failed)
        return false;

    const uint64_t depth = run->end - run->begin + link->depth;
    uint64_t place = trace->high - draft->sp;
    place |= plain << RTD_SHAPE_PLAIN_SHIFT | relative << RTD_SHAPE_RELATIVE_SHIFT |
             depth << RTD_SHAPE_DEPTH_SHIFT;
    place |= draft->needs_fp ? RTD_SHAPE_NEEDS_FP : 0;
    if (link->depth != 0) {
        place |= RTD_SHAPE_LINKED;
        const uint64_t step_bytes = trace->frames[run->end].sp - draft->sp;
        if (step_bytes > UINT32_MAX)
            return false;
        atomic_store_explicit(&record->link_id, link->id, RELEASE);
        atomic_store_explicit(&record->link, (uint64_t)link->index << 32 | step_bytes, RELEASE);
    }
    atomic_store_explicit(&record->pc, frame->pc, RELEASE);
    atomic_store_explicit(&record->place, place, RELEASE);
    atomic_store_explicit(&record->leaf, run->leaf, RELEASE);
    atomic_store_explicit(&record->entry, (uint64_t)draft->fp_relative << 32 | run->node, RELEASE);
    return true;
}

bool rtd_shape_record_write(const struct rtd_shape_trace *trace, const struct rtd_shape_run *run,
                            struct rtd_shape_link *link)
{
    const struct rtd_shape_frame *const frame = &trace->frames[run->begin];
    const struct rtd_shape_set set = rtd_shape_set_of(frame->pc, trace->high - frame->sp);
    const unsigned way = choose(&set, frame->pc, trace->stamp);
    struct rtd_shape_record *const record = &set.records[way];
    struct draft draft = {.trace = trace, .record = record, .sp = frame->sp, .is_entry_fp = true};
    uint64_t id;

    if (trace->high - frame->sp > UINT32_MAX || !claim(&record->id, &id))
        return false;
    const bool is_filled = fill(&draft, run, link);
    atomic_store_explicit(&record->stamp, is_filled ? trace->stamp : VOID_STAMP, RELEASE);
    atomic_store_explicit(&record->hits, 0, RELAXED);
    /* Pairs with the acquire loads of the id in rtd_shape_verify(): the run is whole. */
    atomic_store_explicit(&record->id, id + 2, RELEASE);
    atomic_store_explicit(&set.tags[way], set.tag, RELAXED);
    if (!is_filled)
        return false;
    *link = (struct rtd_shape_link){
        .id = id + 2,
        .index = (uint32_t)(record - rtd_shape_records),
        .node = run->node,
        .depth = run->end - run->begin + link->depth,
        .needs_fp = draft.needs_fp,
    };
    return true;
}

bool rtd_shape_record_set_leaf(struct rtd_shape_record *record, uint64_t id, uint64_t leaf)
{
    uint64_t expected = id;

    if (!atomic_compare_exchange_strong(&record->id, &expected, id + 1))
        return false;
    atomic_store_explicit(&record->leaf, leaf, RELEASE);
    /* The same id as before: links to this run hold, and each leaf word alone is right for it. */
    atomic_store_explicit(&record->id, id, RELEASE);
    return true;
}

/* ---- gathering ---- */

static void put_word(struct rtd_shape_record *record, unsigned index, uint64_t offset,
                     uint64_t value)
{
    atomic_store_explicit(&record->values[index], value, RELEASE);
    atomic_store_explicit(&record->offsets[index], (uint16_t)offset, RELEASE);
}

/* Puts count words of another record here that begins above_bytes further up. */
static bool put_words(struct rtd_shape_record *record, unsigned index,
                      const struct rtd_shape_record *from, unsigned first, unsigned count,
                      uint32_t above_bytes, bool is_relative)
{
    for (unsigned i = 0; i < count; i++) {
        const uint64_t value = atomic_load_explicit(&from->values[first + i], memory_order_acquire);
        const uint64_t offset =
            atomic_load_explicit(&from->offsets[first + i], memory_order_acquire) +
            above_bytes / sizeof(uintptr_t);
        if (offset > UINT16_MAX)
            return false;
        put_word(record, index + i, offset, is_relative ? value + above_bytes : value);
    }
    return true;
}

enum gathered { GATHERED_ONE, GATHERED_ALL, GATHERED_WRONGLY };

/* Takes in the next run. The record is claimed; *place is its own, to be stored by the caller. */
static enum gathered gather_next(struct rtd_shape_record *record, uint64_t *place)
{
    const uint64_t link = atomic_load_explicit(&record->link, RELAXED);
    const uint64_t link_id = atomic_load_explicit(&record->link_id, RELAXED);
    const struct rtd_shape_record *const next =
        &rtd_shape_records[(link >> 32) % RTD_SHAPE_RECORD_COUNT];
    const uint64_t next_place = atomic_load_explicit(&next->place, memory_order_acquire);
    const uint64_t next_link = atomic_load_explicit(&next->link, memory_order_acquire);
    const uint64_t next_link_id = atomic_load_explicit(&next->link_id, memory_order_acquire);
    const unsigned plain = group_words(*place, RTD_SHAPE_PLAIN_SHIFT);
    const unsigned relative = group_words(*place, RTD_SHAPE_RELATIVE_SHIFT);
    const unsigned next_plain = group_words(next_place, RTD_SHAPE_PLAIN_SHIFT);
    const unsigned next_relative = group_words(next_place, RTD_SHAPE_RELATIVE_SHIFT);
    const uint32_t above_bytes = (uint32_t)link;

    if ((*place & RTD_SHAPE_LINKED) == 0 ||
        plain + relative + next_plain + next_relative > RTD_SHAPE_WORD_COUNT ||
        above_bytes > UINT32_MAX - (uint32_t)next_link ||
        atomic_load_explicit(&next->id, memory_order_acquire) != link_id)
        return GATHERED_ALL;
    for (unsigned i = relative; i-- > 0;)
        (void)put_words(record, plain + next_plain + i, record, plain + i, 1, 0, true);
    if (!put_words(record, plain, next, 0, next_plain, above_bytes, false) ||
        !put_words(record, plain + next_plain + relative, next, next_plain, next_relative,
                   above_bytes, true) ||
        atomic_load_explicit(&next->id, memory_order_acquire) != link_id)
        return GATHERED_WRONGLY;
    *place += (uint64_t)(next_plain / 4) << RTD_SHAPE_PLAIN_SHIFT | (uint64_t)(next_relative / 4)
                                                                        << RTD_SHAPE_RELATIVE_SHIFT;
    if ((next_place & RTD_SHAPE_LINKED) == 0) {
        *place &= ~RTD_SHAPE_LINKED;
        return GATHERED_ALL;
    }
    atomic_store_explicit(&record->link, next_link + above_bytes, RELEASE);
    atomic_store_explicit(&record->link_id, next_link_id, RELEASE);
    return GATHERED_ONE;
}

void rtd_shape_record_gather(struct rtd_shape_record *record, uint64_t id)
{
    uint64_t expected = id;

    if (!atomic_compare_exchange_strong(&record->id, &expected, id + 1))
        return;
    uint64_t place = atomic_load_explicit(&record->place, RELAXED) | RTD_SHAPE_GATHERED;
    enum gathered gathered;
    do
        gathered = gather_next(record, &place);
    while (gathered == GATHERED_ONE);
    atomic_store_explicit(&record->place, place, RELEASE);
    if (gathered == GATHERED_WRONGLY)
        atomic_store_explicit(&record->stamp, VOID_STAMP, RELEASE);
    atomic_store_explicit(&record->id, id + 2, RELEASE);
}

/* ---- flat records ---- */

static _Atomic uint16_t *hint_of(uintptr_t pc)
{
    return &rtd_shape_hints[pc & ((1u << RTD_SHAPE_HINT_BITS) - 1)];
}

/* The first to come keeps its words: two pcs that changed them in turn would never be found. */
static void set_hint(uintptr_t pc, unsigned words)
{
    _Atomic uint16_t *const hint = hint_of(pc);
    if (words <= RTD_SHAPE_HINT_WORDS && atomic_load_explicit(hint, RELAXED) == 0)
        atomic_store_explicit(hint, (uint16_t)words, RELAXED);
}

/* Another stack of this pc and height has the place: from now on the callers choose it. */
static void refine_hint(uintptr_t pc)
{
    _Atomic uint16_t *const hint = hint_of(pc);
    const uint16_t seen = atomic_load_explicit(hint, RELAXED);
    const uint16_t more =
        (seen & RTD_SHAPE_BY_CALLER) != 0 ? RTD_SHAPE_BY_TWO : RTD_SHAPE_BY_CALLER;
    atomic_store_explicit(hint, seen | more, RELAXED);
}

/* By another stack of this pc and height that may come again. */
static bool is_taken(const struct rtd_shape_flat *flat, uint64_t key, uint64_t stamp, uint32_t site)
{
    return atomic_load_explicit(&flat->key, RELAXED) == key &&
           atomic_load_explicit(&flat->stamp, RELAXED) == stamp &&
           atomic_load_explicit(&flat->site, RELAXED) != site;
}

static void copy_words(struct rtd_shape_flat *flat, const struct rtd_shape_record *record,
                       unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct rtd_shape_chunk *const chunk = &flat->chunks[i / 8];
        _Atomic uint64_t *const values = (_Atomic uint64_t *)(void *)chunk->pairs;
        const uint16_t offset = atomic_load_explicit(&record->offsets[i], memory_order_acquire);
        const uint64_t value = atomic_load_explicit(&record->values[i], memory_order_acquire);
        atomic_store_explicit(&values[i % 8], value, RELEASE);
        atomic_store_explicit(&chunk->offsets[i % 8], offset, RELEASE);
    }
}

/* From the first two return addresses of a record whose words are all return addresses. */
static void set_hints(const struct rtd_shape_record *record, uintptr_t pc)
{
    const unsigned first = atomic_load_explicit(&record->offsets[0], RELAXED) + 1u;
    const unsigned second = atomic_load_explicit(&record->offsets[1], RELAXED) + 1u;
    set_hint(pc, first);
    if (second > first)
        set_hint(atomic_load_explicit(&record->values[0], RELAXED), second - first);
}

/* The place for a flat record. Where another stack has it, the callers choose it from now on. */
static struct rtd_shape_flat *choose_flat(uintptr_t pc, uintptr_t sp, uint64_t steps,
                                          uint64_t stamp, uint32_t site)
{
    const uint64_t key = rtd_shape_key(pc, steps);
    struct rtd_shape_flat *const flat = rtd_shape_flat_of(key, pc, sp, steps);

    if (!is_taken(flat, key, stamp, site))
        return flat;
    refine_hint(pc);
    return rtd_shape_flat_of(key, pc, sp, steps);
}

void rtd_shape_record_flatten(const struct rtd_shape_record *record, uint64_t id, uintptr_t sp)
{
    const uint64_t pc = atomic_load_explicit(&record->pc, memory_order_acquire);
    const uint64_t place = atomic_load_explicit(&record->place, memory_order_acquire);
    const uint64_t leaf = atomic_load_explicit(&record->leaf, memory_order_acquire);
    const uint64_t stamp = atomic_load_explicit(&record->stamp, memory_order_acquire);
    const unsigned count = group_words(place, RTD_SHAPE_PLAIN_SHIFT);
    const uint64_t steps = rtd_shape_steps((uint32_t)place);
    const uint32_t site = (uint32_t)leaf << RTD_SHADOW_SITE_SHIFT;
    uint64_t flat_id;

    /* What follows reads as far up the stack as place says: it must be this version's. */
    if (atomic_load_explicit(&record->id, memory_order_acquire) != id || count == 0 ||
        count > RTD_SHAPE_WORD_COUNT || steps >= RTD_SHAPE_STEP_COUNT ||
        (leaf & RTD_SHAPE_LEAF_USED) == 0)
        return;
    set_hints(record, pc);
    struct rtd_shape_flat *const flat = choose_flat(pc, sp, steps, stamp, site);
    if (!claim(&flat->id, &flat_id))
        return;
    copy_words(flat, record, count);
    atomic_store_explicit(&flat->key, rtd_shape_key(pc, steps), RELEASE);
    atomic_store_explicit(&flat->group_count, (uint16_t)(count / 4), RELEASE);
    atomic_store_explicit(&flat->site, site, RELEASE);
    atomic_store_explicit(&flat->tag, (uint16_t)((leaf & ~RTD_SHAPE_LEAF_USED) >> 32), RELEASE);
    const bool is_whole = atomic_load_explicit(&record->id, memory_order_acquire) == id;
    atomic_store_explicit(&flat->stamp, is_whole ? stamp : VOID_STAMP, RELEASE);
    /* Pairs with the acquire load of the id in rtd_shape_find_site(). */
    atomic_store_explicit(&flat->id, flat_id + 2, RELEASE);
}
