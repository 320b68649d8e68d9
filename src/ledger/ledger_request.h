// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_request.h - what an operator asks of a running target: give free memory back.
 *
 * Runs in:    collector (posts, withdraws, reads), agent (claims, answers)
 * Threads:    one collector; any number of the target's threads, of which one claims
 * Allocates:  never
 * Fails:      by saying no: another request is under way, or somebody was faster
 *
 *     none --post--> pending --claim--> claimed --answer--> done | unsupported | failed
 *      ^               | ^                 |
 *      |               | +----yield--------+   the thread turned out to stand where it must not
 *      +---withdraw----+
 *
 * Each request has a number, so that a late answer is not taken for that of the next one. Every
 * change is one compare-and-swap on one word. A withdrawn request never fires: claim and withdraw
 * compete for the same word. A claimed one cannot be withdrawn; a target that is killed meanwhile
 * leaves it claimed.
 */
#ifndef RTD_LEDGER_REQUEST_H
#define RTD_LEDGER_REQUEST_H

#include "ledger/ledger_layout.h"

#include <stdbool.h>

#define RTD_REQUEST_STATE_MASK UINT64_C(0xff)

static inline enum rtd_request_state rtd_request_state_of(uint64_t word)
{
    return (enum rtd_request_state)(word & RTD_REQUEST_STATE_MASK);
}

/* One load and one comparison: what the agent's slow paths pay. */
static inline bool rtd_request_is_pending(const struct rtd_header *header)
{
    return rtd_request_state_of(atomic_load_explicit(&header->request, memory_order_relaxed)) ==
           RTD_REQUEST_PENDING;
}

/* What became of a request. */
struct rtd_request_answer {
    enum rtd_request_state state;
    uint32_t action; /* enum rtd_release_action; of a hostile target, any number */
    int32_t error;
    uint64_t duration_ns;
};

/* ---- collector ---- */

/* Asks. The word of the request, or 0 when another one is pending or claimed. */
uint64_t rtd_request_post(struct rtd_header *header);

/* Takes a pending request back; false when a thread of the target has claimed it by now. */
bool rtd_request_withdraw(struct rtd_header *header, uint64_t posted);

/*
 * How a posted request stands; the other fields are filled when it was answered. RTD_REQUEST_NONE
 * when the word is not of this request: the target scribbled over it.
 */
void rtd_request_read(const struct rtd_header *header, uint64_t posted,
                      struct rtd_request_answer *out);

/* ---- agent ---- */

/* Takes the pending request for the calling thread; its word, or 0 when there is none any more. */
uint64_t rtd_request_claim(struct rtd_header *header);

/* Gives a claimed request back: another thread, or this one later, shall see to it. */
void rtd_request_yield(struct rtd_header *header, uint64_t claimed);

/* Answers a claimed request. */
void rtd_request_answer(struct rtd_header *header, uint64_t claimed,
                        const struct rtd_request_answer *answer);

#endif
