// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_request.c - what an operator asks of a running target: see ledger_request.h.
 *
 * Runs in:    collector, agent
 * Threads:    see ledger_request.h
 * Allocates:  never
 * Fails:      never
 */
#include "ledger/ledger_request.h"

#define NUMBER_ONE (RTD_REQUEST_STATE_MASK + 1)

static uint64_t with_state(uint64_t word, enum rtd_request_state state)
{
    return (word & ~RTD_REQUEST_STATE_MASK) | (uint64_t)state;
}

/* Acquire and release on both sides: what was written before a change is seen after it. */
static bool change(struct rtd_header *header, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(&header->request, &from, to,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

uint64_t rtd_request_post(struct rtd_header *header)
{
    const uint64_t word = atomic_load_explicit(&header->request, memory_order_relaxed);
    const enum rtd_request_state state = rtd_request_state_of(word);
    const uint64_t posted = with_state(word + NUMBER_ONE, RTD_REQUEST_PENDING);

    if (state == RTD_REQUEST_PENDING || state == RTD_REQUEST_CLAIMED)
        return 0;
    return change(header, word, posted) ? posted : 0;
}

bool rtd_request_withdraw(struct rtd_header *header, uint64_t posted)
{
    return change(header, posted, with_state(posted, RTD_REQUEST_NONE));
}

void rtd_request_read(const struct rtd_header *header, uint64_t posted,
                      struct rtd_request_answer *out)
{
    /* Acquire: pairs with rtd_request_answer(), whose fields are then there. */
    const uint64_t word = atomic_load_explicit(&header->request, memory_order_acquire);

    *out = (struct rtd_request_answer){.state = RTD_REQUEST_NONE};
    if (with_state(word, RTD_REQUEST_PENDING) != posted)
        return;
    out->state = rtd_request_state_of(word);
    if (out->state <= RTD_REQUEST_CLAIMED)
        return;
    if (out->state > RTD_REQUEST_FAILED) {
        out->state = RTD_REQUEST_NONE;
        return;
    }
    out->action = atomic_load_explicit(&header->request_action, memory_order_relaxed);
    out->error = atomic_load_explicit(&header->request_error, memory_order_relaxed);
    out->duration_ns = atomic_load_explicit(&header->request_ns, memory_order_relaxed);
}

uint64_t rtd_request_claim(struct rtd_header *header)
{
    const uint64_t word = atomic_load_explicit(&header->request, memory_order_relaxed);
    const uint64_t claimed = with_state(word, RTD_REQUEST_CLAIMED);

    if (rtd_request_state_of(word) != RTD_REQUEST_PENDING || !change(header, word, claimed))
        return 0;
    return claimed;
}

void rtd_request_yield(struct rtd_header *header, uint64_t claimed)
{
    (void)change(header, claimed, with_state(claimed, RTD_REQUEST_PENDING));
}

void rtd_request_answer(struct rtd_header *header, uint64_t claimed,
                        const struct rtd_request_answer *answer)
{
    atomic_store_explicit(&header->request_action, answer->action, memory_order_relaxed);
    atomic_store_explicit(&header->request_error, answer->error, memory_order_relaxed);
    atomic_store_explicit(&header->request_ns, answer->duration_ns, memory_order_relaxed);
    (void)change(header, claimed, with_state(claimed, answer->state));
}
