// SPDX-License-Identifier: Apache-2.0
/*
 * agent_state.h - what the agent remembers: one process-wide page, one small block per thread.
 *
 * Runs in:    agent
 * Threads:    the thread state belongs to its thread (and to signal handlers on it)
 * Allocates:  never
 * Fails:      not applicable
 *
 * Thread state machine, by the value of `left`:
 *
 *   0 at birth          -> the first allocation borrows and enters the slow path, which sets up
 *                          the thread and tests again (no allocation is sampled by construction)
 *   counting down       -> size + 1 per allocation; a borrow enters the slow path: a sample
 *   RTD_LEFT_GUARDED    -> inside a slow path: no signal handler allocates that much
 *   RTD_LEFT_PARKED     -> in a process without a ledger: comes by now and then to see whether it
 *                          has been given one, and is then set up like a thread at birth. Where it
 *                          stood on the way does not matter to what it draws then.
 *   RTD_LEFT_MUTED      -> in exact mode, and where there will never be a ledger: never borrows
 *
 * While a slow path runs, `guard` holds its stack pointer. A guard whose stack pointer lies below
 * the current one belongs to a slow path that was left by longjmp; it is repaired by the next
 * slow free (see rtd_record_repair()), at the latest when RTD_LEFT_GUARDED is used up: a thread
 * that only ever allocates deeper than the place it jumped from must not stay blind.
 */
#ifndef RTD_AGENT_STATE_H
#define RTD_AGENT_STATE_H

#include "ledger/ledger_exact.h"
#include "ledger/ledger_writer.h"

#include <stdbool.h>

#define RTD_LEFT_MUTED   (UINT64_C(1) << 62)
#define RTD_LEFT_PARKED  (UINT64_C(1) << 14) /* 1 ns a KiB, and what a thread may miss at first */
#define RTD_LEFT_GUARDED (UINT64_C(1) << 28)

/* Initial-exec TLS; at most 64 bytes (see the assertion). */
struct rtd_thread_state {
    uint64_t left;       /* bytes to the next sample */
    uintptr_t guard;     /* stack pointer of the slow path under way, 0 = none */
    uint32_t tag;        /* component/operation in force */
    uint32_t block;      /* index of this thread's block in the ledger, or RTD_NONE */
    uint32_t ready;      /* set up for the ledger of this epoch; 0 = not yet */
    uint32_t stack_span; /* exact: 16-byte steps below stack_high that are this thread's stack */
    union {
        struct { /* sampling mode */
            /* What left was when last drawn; in a slow path, the bytes counted down. */
            uint64_t drawn;
            uint64_t random;   /* splitmix64 state */
            uint32_t interval; /* mean of the draw in left, in bytes */
            uint32_t tid;
            uint32_t scratch; /* 1 + index of the scratch buffer held, 0 = none */
        };
        struct { /* exact mode */
            /* This thread's, by site; NULL = not set up, or it has none of its own. */
            struct rtd_exact_counter *counters;
            struct rtd_exact_thread *own; /* the same index, or the shared one's */
            uintptr_t last;               /* the block of the last allocation */
            uintptr_t stack_high;         /* end of the thread's stack; 0 = not known */
        };
    };
};
RTD_STATIC_ASSERT(sizeof(struct rtd_thread_state) <= 64, "TLS budget");

/*
 * The page that says whether this process records. Marked MADV_WIPEONFORK: after fork, _Fork and
 * raw clone it reads zero (pass-through until the child has a ledger of its own); after vfork and
 * clone(CLONE_VM) it is unchanged, which is right, because the heap is the same one.
 */
struct rtd_private_page {
    _Atomic uint32_t ready;    /* epoch of the ledger in use; 0 = pass-through */
    _Atomic uint32_t starting; /* 1 while a thread begins to record; the others leave it alone */
};

struct rtd_agent {
    struct rtd_private_page *page; /* NULL before the constructor ran */
    struct rtd_ledger *ledger;     /* one address for the life of the process and its children */
    uint32_t epoch;                /* counts the ledgers this process image has had */
    bool is_exact;                 /* the ledger's mode; agent_exact.c records */
    uint64_t left_unrecorded;      /* `left` of a thread that is not to sample; 0 = ask again */
};

extern struct rtd_agent rtd_agent __attribute__((visibility("hidden")));
extern __thread struct rtd_thread_state rtd_thread_state
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

#endif
