// SPDX-License-Identifier: Apache-2.0
/*
 * agent_shape.h - which stack is this? The stacks seen before, found again without a walk.
 *
 * Runs in:    agent (exact mode: every allocation), any thread, also inside signal handlers
 * Threads:    lock-free; the records are shared by all threads
 * Allocates:  never; no syscall; 5 MiB of zero pages, touched as stacks are seen
 * Fails:      towards the slow path, which walks; never a stack that is not the caller's
 *
 * A record describes a run of consecutive frames that begins at (pc, height), where height is the
 * distance from sp to the top of the thread's stack. It lists every word of the stack that a walk
 * along this run reads, as it stood when the run was walked. Unwinding is a function of pc, sp, rbp
 * and the words it reads. So if all of them are equal, a walk would take the same steps: by
 * induction every frame has the pc of then, hence the same rule, hence the same next word. Code
 * addresses are compared as they are, saved frame pointers relative to sp: so a record holds for
 * all threads, and for all runs of a program at any address of its stack.
 *
 *   leaf record              record of an ancestor           ...   record with no link
 *   (pc, height) words link -> (delta) words link ->               = the stack ends here
 *
 * A frame that a walk does not need to verify from inside, an anchor, always begins a run of its
 * own: it is one whose body crosses a multiple of RTD_SHAPE_ANCHOR_BYTES of height. That is a
 * property of the frame alone, so all stacks through an ancestor share its record, and deep
 * recursion adds one short run for each new context.
 *
 * A stack that is seen again takes the words of its ancestors' runs into its leaf record, as many
 * runs as fit: the next time there are fewer links to follow, in most stacks none.
 *
 * Many stacks may have one (pc, height): compilers and interpreters, which recurse, call malloc()
 * from one place at one height in dozens of ways. So the sets have many ways, and a line of tags
 * says which to look at. The stacks that come again and again, if a record can hold all of them,
 * get a copy in a table of their own, where the hot path looks at one place: the flat records. For
 * a wrapper (operator new, xmalloc) that place depends on one caller or two as well. Where their
 * return addresses lie, and for which pcs that is needed, is told by a table of hints, which may be
 * wrong, since they only choose a place; a pc needs more once two of its stacks met in one place.
 *
 * A record is rewritten under a sequence number, its id: odd while being written, and never the
 * same again after. A link names the id, too, so it can only lead to the very run it was made for.
 * What the reader of a record that is being rewritten sees is checked before it is used as an
 * offset: between its load and its use the id is still the same, so it belongs to this height and
 * lies on this stack.
 */
#ifndef RTD_AGENT_SHAPE_H
#define RTD_AGENT_SHAPE_H

#include "agent/agent_state.h"
#include "ledger/ledger_exact.h"
#include "unwind/unwind.h"
#include "unwind/unwind_cache.h"

#include <stdbool.h>

#include <emmintrin.h>

enum {
    RTD_SHAPE_SET_BITS = 9,
    RTD_SHAPE_WAYS = 16,
    RTD_SHAPE_FLAT_BITS = 10,
    RTD_SHAPE_HINT_BITS = 16,
    RTD_SHAPE_STEP_SHIFT = 4,
    /* Of a stack's 16-byte steps, those whose frames may have flat records: 2 MiB. */
    RTD_SHAPE_STEP_COUNT = 1 << (64 - RTD_PC_BITS),
    RTD_SHAPE_RECORD_COUNT = RTD_SHAPE_WAYS << RTD_SHAPE_SET_BITS,
    RTD_SHAPE_WORD_COUNT = 44,
    RTD_SHAPE_ANCHOR_SHIFT = 10,
    RTD_SHAPE_ANCHOR_BYTES = 1 << RTD_SHAPE_ANCHOR_SHIFT,
};

/*
 * bits of .place:
 *   0..31  height      bytes from sp to the top of the stack
 *  32..35  plain       groups of four words that hold return addresses
 *  36..39  relative    groups of four words that hold addresses of this stack, less sp
 *  40      linked      the run goes on in another record
 *  41      needs_fp    the run uses the rbp with which it is entered
 *  42      gathered    as many of the following runs are in this record as fit
 *  48..63  depth       frames from the first of this run to the outermost
 */
#define RTD_SHAPE_RELATIVE_SHIFT 36
#define RTD_SHAPE_PLAIN_SHIFT    32
#define RTD_SHAPE_GROUPS_MASK    15u
#define RTD_SHAPE_LINKED         (UINT64_C(1) << 40)
#define RTD_SHAPE_NEEDS_FP       (UINT64_C(1) << 41)
#define RTD_SHAPE_GATHERED       (UINT64_C(1) << 42)
#define RTD_SHAPE_DEPTH_SHIFT    48
#define RTD_SHAPE_LEAF_USED      (UINT64_C(1) << 63)
/* Not in a record that is nothing but return addresses. */
#define RTD_SHAPE_LONG                                                                             \
    (RTD_SHAPE_LINKED | RTD_SHAPE_NEEDS_FP |                                                       \
     (uint64_t)RTD_SHAPE_GROUPS_MASK << RTD_SHAPE_RELATIVE_SHIFT)

struct rtd_shape_record {
    _Atomic uint64_t id; /* see above; 0 = never written */
    _Atomic uint64_t pc;
    _Atomic uint64_t stamp; /* rules and ledger for which it holds, see rtd_shape_stamp() */
    _Atomic uint64_t place;
    _Atomic uint64_t link_id;
    _Atomic uint64_t link;  /* index of the record << 32 | bytes from this sp to that one */
    _Atomic uint64_t leaf;  /* RTD_SHAPE_LEAF_USED | tag << 32 | site; 0 = not known */
    _Atomic uint64_t entry; /* (rbp on entry - sp) << 32 | node of the trie */
    /* What is expected, and how many words above sp. The plain ones, then the relative ones, each
     * padded to four by one that stands there already. */
    union {
        _Atomic uint64_t values[RTD_SHAPE_WORD_COUNT];
        __m128i pairs[RTD_SHAPE_WORD_COUNT / 2];
    };
    _Atomic uint16_t offsets[RTD_SHAPE_WORD_COUNT];
    _Atomic uint32_t hits; /* about how often a leaf was found here and not in the flat records */
    uint32_t reserved;
};
RTD_STATIC_ASSERT(sizeof(struct rtd_shape_record) == 512, "eight lines");

/* Eight words of the stack. */
struct rtd_shape_chunk {
    _Atomic uint16_t offsets[8];
    __m128i pairs[4]; /* what is expected there */
};

enum { RTD_SHAPE_FLAT_CHUNKS = (RTD_SHAPE_WORD_COUNT + 7) / 8 };

/* A stack that is nothing but return addresses, laid out for the hot path. */
struct rtd_shape_flat {
    _Atomic uint64_t id;          /* as a record's */
    _Atomic uint64_t key;         /* rtd_shape_key() of pc and height; 0 = never written */
    _Atomic uint64_t stamp;       /* as a record's */
    _Atomic uint32_t site;        /* as it stands in a shadow word */
    _Atomic uint16_t tag;         /* for which it is the site */
    _Atomic uint16_t group_count; /* groups of four words, at least 1 */
    struct rtd_shape_chunk chunks[RTD_SHAPE_FLAT_CHUNKS];
};
RTD_STATIC_ASSERT(sizeof(struct rtd_shape_flat) == 512, "eight lines");
RTD_STATIC_ASSERT(RTD_TAG_COUNT <= UINT16_MAX, "a tag fits its field");

/* Where records may begin, in the records and their tags. */
struct rtd_shape_set {
    struct rtd_shape_record *records; /* RTD_SHAPE_WAYS */
    _Atomic uint32_t *tags;           /* of each way; hints: 0 or another's is not this key's */
    uint32_t tag;                     /* of this key */
};

#pragma GCC visibility push(hidden)
extern struct rtd_shape_record rtd_shape_records[RTD_SHAPE_RECORD_COUNT];
extern struct rtd_shape_flat rtd_shape_flats[1 << RTD_SHAPE_FLAT_BITS];
extern _Atomic uint32_t rtd_shape_tags[RTD_SHAPE_RECORD_COUNT];
/* By the low bits of a pc: words from sp to the CFA of its frame, 0 = not known, in the low byte;
 * above it RTD_SHAPE_BY_CALLER and RTD_SHAPE_BY_TWO. */
extern _Atomic uint16_t rtd_shape_hints[1 << RTD_SHAPE_HINT_BITS];

/*
 * Once for each ledger of this process, before ready is published, also in the child of a fork: no
 * record holds any more, and what the parent's other threads held is free.
 */
void rtd_shape_begin(void);

/*
 * Whether the run of a record whose pc, height and stamp are those of the caller, and all runs that
 * it is linked to, are what is on the stack from sp on. fp: rbp there.
 */
bool rtd_shape_verify(const struct rtd_shape_record *record, uint64_t id, uintptr_t sp,
                      uintptr_t fp);

/* What rtd_shape_site() does for every stack but those it finds at once. */
uint32_t rtd_shape_site_slow(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                             const struct rtd_unwind_frame *frame);

/*
 * Id of the calling stack in the exact trie, without a site; 0 when it could not be taken. frame: a
 * frame of the calling thread, borrowed for the call.
 */
uint32_t rtd_shape_stack(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                         const struct rtd_unwind_frame *frame);
#pragma GCC visibility pop

/* Changes when cached rules may be wrong, and, in bits that no rule knows, with the ledger. */
static inline uint64_t rtd_shape_stamp(void)
{
    /* Pairs with the increments in rtd_unwind_flush() and rtd_shape_begin(). */
    return atomic_load(&rtd_unwind_cache_generation);
}

static inline uint64_t rtd_shape_mix(uintptr_t pc, uint64_t height)
{
    return (pc ^ height << 21) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The set where runs from (pc, height) are. */
static inline struct rtd_shape_set rtd_shape_set_of(uintptr_t pc, uint64_t height)
{
    const uint64_t mixed = rtd_shape_mix(pc, height);
    const size_t first = (mixed >> (64 - RTD_SHAPE_SET_BITS)) * RTD_SHAPE_WAYS;
    return (struct rtd_shape_set){&rtd_shape_records[first], &rtd_shape_tags[first],
                                  (uint32_t)(mixed >> 20) | 1};
}

/* The ways whose tag is this key's, as bits. ThreadSanitizer: see rtd_shape_load_pair(). */
static inline unsigned rtd_shape_ways(const struct rtd_shape_set *set)
{
#ifdef __SANITIZE_THREAD__
    unsigned ways = 0;
    for (unsigned way = 0; way < RTD_SHAPE_WAYS; way++)
        ways |= (unsigned)(atomic_load(&set->tags[way]) == set->tag) << way;
    return ways;
#else
    const void *const first = set->tags;
    const __m128i *const tags = first;
    const __m128i wanted = _mm_set1_epi32((int)set->tag);
    const __m128i low =
        _mm_packs_epi32(_mm_cmpeq_epi32(tags[0], wanted), _mm_cmpeq_epi32(tags[1], wanted));
    const __m128i high =
        _mm_packs_epi32(_mm_cmpeq_epi32(tags[2], wanted), _mm_cmpeq_epi32(tags[3], wanted));
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high));
#endif
}

enum {
    RTD_SHAPE_HINT_WORDS = 0xff,
    RTD_SHAPE_BY_CALLER = 0x100, /* the place of a flat record depends on the caller, too */
    RTD_SHAPE_BY_TWO = 0x200,    /* and on the caller's */
};

static inline uint32_t rtd_shape_hint(uintptr_t pc)
{
    return atomic_load_explicit(&rtd_shape_hints[pc & ((1u << RTD_SHAPE_HINT_BITS) - 1)],
                                memory_order_relaxed);
}

/* What the callers add to the hash of a place. Reads below the top of the stack only. */
static inline __attribute__((always_inline)) uint64_t
rtd_shape_mix_callers(uint32_t hint, const uintptr_t *stack, uint64_t words)
{
    uint64_t at = hint & RTD_SHAPE_HINT_WORDS;
    if (RTD_UNLIKELY(at - 1 >= words))
        return 0;
    const uintptr_t caller = stack[at - 1];
    if (RTD_LIKELY((hint & RTD_SHAPE_BY_TWO) == 0))
        return caller << 7;
    at += rtd_shape_hint(caller) & RTD_SHAPE_HINT_WORDS;
    return caller << 7 ^ (RTD_LIKELY(at <= words) ? stack[at - 1] << 15 : 0);
}

/*
 * The height in steps of 16 bytes, which is how the ABI aligns a stack at a call. Any other height
 * comes out larger than every stack.
 */
static inline uint64_t rtd_shape_steps(uint64_t height)
{
    return height >> RTD_SHAPE_STEP_SHIFT | height << (64 - RTD_SHAPE_STEP_SHIFT);
}

/* One word for both: steps < RTD_SHAPE_STEP_COUNT, and a pc has RTD_PC_BITS. */
static inline uint64_t rtd_shape_key(uintptr_t pc, uint64_t steps)
{
    return pc ^ steps << RTD_PC_BITS;
}

/* The one place of a flat record with this key for the stack from sp on. */
static inline __attribute__((always_inline)) struct rtd_shape_flat *
rtd_shape_flat_of(uint64_t key, uintptr_t pc, uintptr_t sp, uint64_t steps)
{
    const uint32_t hint = rtd_shape_hint(pc);
    uint64_t mixed = key;
    if (RTD_UNLIKELY(hint > RTD_SHAPE_HINT_WORDS))
        mixed ^= rtd_shape_mix_callers(hint, (const uintptr_t *)sp, steps * 2);
    return &rtd_shape_flats[mixed * UINT64_C(0x9e3779b97f4a7c15) >> (64 - RTD_SHAPE_FLAT_BITS)];
}

/*
 * Whether a word is this value: an acquire load and a comparison, which a compiler makes two
 * instructions of. Used where a pair of malloc() and free() counts them.
 */
static inline __attribute__((always_inline)) bool rtd_shape_is(const _Atomic uint64_t *word,
                                                               uint64_t value)
{
#ifdef __SANITIZE_THREAD__
    return atomic_load(word) == value;
#else
    bool is_equal;
    __asm__ volatile("cmpq %2, %1" : "=@cce"(is_equal) : "m"(*word), "r"(value) : "memory", "cc");
    return is_equal;
#endif
}

/*
 * Two values at once: they are read while another thread may write them, and the id tells whether
 * it did. C has no atomic load of 16 bytes, so ThreadSanitizer is given two of 8.
 */
static inline __m128i rtd_shape_load_pair(const __m128i *pair)
{
#ifdef __SANITIZE_THREAD__
    const _Atomic uint64_t *const values = (const _Atomic uint64_t *)(const void *)pair;
    return _mm_set_epi64x((long long)atomic_load(&values[1]), (long long)atomic_load(&values[0]));
#else
    return *pair;
#endif
}

/* Differences of four words from their places on the stack, 0 where there is none. */
static inline __m128i rtd_shape_differ4(const __m128i *pairs, const uint64_t *stack,
                                        const uint32_t places[4])
{
    const __m128i low = _mm_set_epi64x((long long)stack[places[1]], (long long)stack[places[0]]);
    const __m128i high = _mm_set_epi64x((long long)stack[places[3]], (long long)stack[places[2]]);
    return _mm_or_si128(_mm_xor_si128(low, rtd_shape_load_pair(&pairs[0])),
                        _mm_xor_si128(high, rtd_shape_load_pair(&pairs[1])));
}

static inline void rtd_shape_load4(const _Atomic uint16_t *offsets, uint32_t places[4])
{
    places[0] = atomic_load_explicit(&offsets[0], memory_order_acquire);
    places[1] = atomic_load_explicit(&offsets[1], memory_order_acquire);
    places[2] = atomic_load_explicit(&offsets[2], memory_order_acquire);
    places[3] = atomic_load_explicit(&offsets[3], memory_order_acquire);
}

static inline bool rtd_shape_is_zero(__m128i bits)
{
    /* A half that is not 0 is packed to a byte that is not 0. */
    return _mm_cvtsi128_si64(_mm_packs_epi16(bits, bits)) == 0;
}

/*
 * Whether the plain words of a record are on the stack. A value may be read torn from its version:
 * the caller looks at the id once more before it believes the result. An offset must not be, it is
 * where we read: so the id is looked at between the load of offsets and their use.
 */
static inline __attribute__((always_inline)) bool
rtd_shape_verify_plain(const struct rtd_shape_record *record, uint64_t id, uint64_t place,
                       uintptr_t sp)
{
    const uint64_t *const stack = (const uint64_t *)sp;
    const _Atomic uint16_t *offsets = record->offsets;
    const __m128i *pairs = record->pairs;
    uint32_t count = (uint32_t)(place >> RTD_SHAPE_PLAIN_SHIFT) & RTD_SHAPE_GROUPS_MASK;
    uint32_t near[4], far[4];

    /* Else gcc adds the array's address up anew in every turn. */
    __asm__("" : "+r"(offsets), "+r"(pairs), "+r"(record));
    if ((count & 1) != 0) {
        rtd_shape_load4(offsets, near);
        if (RTD_UNLIKELY(atomic_load_explicit(&record->id, memory_order_acquire) != id) ||
            !rtd_shape_is_zero(rtd_shape_differ4(pairs, stack, near)))
            return false;
        offsets += 4;
        pairs += 2;
    }
    for (count /= 2; count != 0; count--, offsets += 8, pairs += 4) {
        rtd_shape_load4(offsets, near);
        rtd_shape_load4(offsets + 4, far);
        if (RTD_UNLIKELY(atomic_load_explicit(&record->id, memory_order_acquire) != id))
            return false;
        const __m128i different = rtd_shape_differ4(pairs, stack, near);
        /* Most that are not the right one differ near the leaf. */
        if (!rtd_shape_is_zero(_mm_or_si128(different, rtd_shape_differ4(pairs + 2, stack, far))))
            return false;
    }
    return true;
}

/* Whether the words of a flat record are on the stack; see rtd_shape_verify_plain(). */
static inline __attribute__((always_inline)) bool
rtd_shape_verify_flat(const struct rtd_shape_flat *flat, uint64_t id, uintptr_t sp)
{
    const uint64_t *const stack = (const uint64_t *)sp;
    const struct rtd_shape_chunk *chunk = flat->chunks;
    uint32_t count = atomic_load_explicit(&flat->group_count, memory_order_acquire);
    uint32_t places[4];
    rtd_shape_load4(chunk->offsets, places);
    if (RTD_UNLIKELY(!rtd_shape_is(&flat->id, id)))
        return false;
    __m128i different = rtd_shape_differ4(chunk->pairs, stack, places);
    while (--count != 0) {
        rtd_shape_load4(chunk->offsets + 4, places);
        if (RTD_UNLIKELY(!rtd_shape_is(&flat->id, id)))
            return false;
        different = _mm_or_si128(different, rtd_shape_differ4(chunk->pairs + 2, stack, places));
        if (--count == 0)
            break;
        chunk++;
        rtd_shape_load4(chunk->offsets, places);
        if (RTD_UNLIKELY(!rtd_shape_is(&flat->id, id)))
            return false;
        different = _mm_or_si128(different, rtd_shape_differ4(chunk->pairs, stack, places));
    }
    return rtd_shape_is_zero(different);
}

/*
 * Finds the site of the calling stack under the tag in force, if it has a flat record: the hot
 * path. False: rtd_shape_site_slow() must look. True only in a thread that is set up and has a
 * block of its own, since no other knows its stack; but in a forked child that records nothing, it
 * may be true of what the parent recorded. *site: as it stands in a shadow word. frame and state:
 * see rtd_shape_site().
 */
static inline __attribute__((always_inline)) bool
rtd_shape_find_site(const struct rtd_thread_state *state, const struct rtd_unwind_frame *frame,
                    uint32_t *site)
{
    const uint64_t steps = rtd_shape_steps(state->stack_high - frame->sp);
    if (RTD_UNLIKELY(steps >= state->stack_span))
        return false;
    const uint64_t key = rtd_shape_key(frame->pc, steps);
    const struct rtd_shape_flat *flat = rtd_shape_flat_of(key, frame->pc, frame->sp, steps);
    /* Else gcc keeps the table's address beside the record's, and runs out of registers. */
    __asm__("" : "+r"(flat));
    /* An id that is odd is no id: what is being written fails the first look at it. */
    const uint64_t id = atomic_load_explicit(&flat->id, memory_order_acquire) & ~UINT64_C(1);
    if (RTD_UNLIKELY(!rtd_shape_is(&flat->key, key) ||
                     !rtd_shape_is(&flat->stamp, rtd_shape_stamp()) ||
                     atomic_load_explicit(&flat->tag, memory_order_acquire) != state->tag ||
                     !rtd_shape_verify_flat(flat, id, frame->sp)))
        return false;
    *site = atomic_load_explicit(&flat->site, memory_order_acquire);
    return rtd_shape_is(&flat->id, id);
}

/*
 * Site of the calling stack under the tag in force. frame: the caller's, borrowed for the call;
 * state: the calling thread's, set up for this ledger.
 */
static inline uint32_t rtd_shape_site(struct rtd_ledger *ledger, struct rtd_thread_state *state,
                                      const struct rtd_unwind_frame *frame)
{
    uint32_t site;
    return rtd_shape_find_site(state, frame, &site) ? site >> RTD_SHADOW_SITE_SHIFT
                                                    : rtd_shape_site_slow(ledger, state, frame);
}

#endif
