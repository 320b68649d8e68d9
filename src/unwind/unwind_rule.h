// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_rule.h - how to get from one frame to its caller, and how that fits into one word.
 *
 * Runs in:    agent (slow path), tests
 * Threads:    no state
 * Allocates:  never
 * Fails:      by packing a rule that does not fit as "none", which shortens a stack, never bends it
 *
 * Why a word: the rule cache is read by every thread without a lock, so an entry must be readable
 * by one atomic load. A user pc has 47 bits; 14 of them are the entry's place, the other 33 its
 * tag, so a matching tag is the pc itself and never a hash of it.
 *
 *   bit  0..32  tag         pc >> 14
 *   bit 33..37  generation  low 5 bits of the flush counter
 *   bit 38..39  way         place = (pc & 0x3fff) ^ way
 *   bit 40..42  kind        enum rtd_unwind_kind
 *   bit 43..50  rbp slot    signed, in words, from the CFA; 0 = rbp unchanged, -128 = rbp lost
 *   bit 51..63  CFA offset  in words; unsigned for RSP and RBP, signed for DEREF
 *
 * RSP_WIDE, for frames of 64 KiB and more, divides the last 21 bits as 4 (rbp slot) + 17 (CFA).
 * CFA is DWARF's canonical frame address: the stack pointer after the return to the caller.
 */
#ifndef RTD_AGENT_UNWIND_RULE_H
#define RTD_AGENT_UNWIND_RULE_H

#include <stdbool.h>

#include "base/base_macros.h"

enum rtd_unwind_kind {
    RTD_UNWIND_KIND_EMPTY = 0,    /* no entry: only in an unused slot */
    RTD_UNWIND_KIND_RSP = 1,      /* CFA = rsp + offset, offset < 64 KiB */
    RTD_UNWIND_KIND_RSP_WIDE = 2, /* the same, offset < 1 MiB */
    RTD_UNWIND_KIND_RBP = 3,      /* CFA = rbp + offset */
    RTD_UNWIND_KIND_DEREF = 4,    /* realigned frame: CFA = *(rbp + offset), rbp saved at *rbp */
    RTD_UNWIND_KIND_SIGNAL = 5,   /* registers lie in the ucontext at rsp */
    RTD_UNWIND_KIND_END = 6,      /* return address undefined: the outermost frame */
    RTD_UNWIND_KIND_NONE = 7,     /* no rule that we follow */
};

/* Values of rtd_unwind_rule.rbp_offset_bytes that are no offsets. */
#define RTD_UNWIND_RBP_SAME   0
#define RTD_UNWIND_RBP_LOST   INT32_MIN
#define RTD_UNWIND_RBP_AT_RBP 8 /* only with DEREF: the slot is *rbp itself */

/* One row of a CFI program, reduced to what a walk needs. */
struct rtd_unwind_rule {
    enum rtd_unwind_kind kind; /* RSP covers both widths here; packing chooses */
    int32_t cfa_offset_bytes;
    int32_t rbp_offset_bytes; /* slot of the caller's rbp, from the CFA, or RTD_UNWIND_RBP_* */
};

#define RTD_UNWIND_PLACE_BITS 14
#define RTD_UNWIND_PLACE_MASK ((UINT64_C(1) << RTD_UNWIND_PLACE_BITS) - 1)
#define RTD_UNWIND_PC_BITS    47
#define RTD_UNWIND_GEN_SHIFT  33
#define RTD_UNWIND_GEN_MASK   UINT64_C(31)
#define RTD_UNWIND_WAY_SHIFT  38
#define RTD_UNWIND_KIND_SHIFT 40
#define RTD_UNWIND_HEAD_MASK  ((UINT64_C(1) << 43) - 1) /* tag, generation, way, kind */
#define RTD_UNWIND_KEY_MASK   ((UINT64_C(1) << 40) - 1) /* tag, generation, way */

/*
 * The kind and offset bits of an entry; tag, generation and way are zero. A rule whose offsets are
 * out of range or unaligned comes back as NONE, or with its rbp lost.
 */
uint64_t rtd_unwind_rule_pack(const struct rtd_unwind_rule *rule);

static inline enum rtd_unwind_kind rtd_unwind_entry_kind(uint64_t entry)
{
    return (enum rtd_unwind_kind)((entry >> RTD_UNWIND_KIND_SHIFT) & 7);
}

/* CFA offset in words for RSP and RBP, at the top so that one shift extracts it. */
static inline uint64_t rtd_unwind_entry_cfa_words(uint64_t entry)
{
    return entry >> 51;
}

static inline int64_t rtd_unwind_entry_signed_cfa_words(uint64_t entry)
{
    return (int64_t)entry >> 51;
}

static inline int64_t rtd_unwind_entry_rbp_words(uint64_t entry)
{
    return (int64_t)(entry << 13) >> 56;
}

static inline uint64_t rtd_unwind_entry_wide_cfa_words(uint64_t entry)
{
    return entry >> 47;
}

static inline int64_t rtd_unwind_entry_wide_rbp_words(uint64_t entry)
{
    return (int64_t)(entry << 17) >> 60;
}

#define RTD_UNWIND_RBP_LOST_WORDS      (-128)
#define RTD_UNWIND_WIDE_RBP_LOST_WORDS (-8)

#endif
