// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_request_test.c - the word by which a collector asks and an agent answers.
 *
 * Runs in:    test process
 * Threads:    those of a storm
 * Allocates:  never
 * Fails:      by a failed assertion
 */
#include "ledger/ledger_request.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct rtd_header header;

static int clear(void **state)
{
    (void)state;
    memset((void *)&header, 0, sizeof(header));
    return 0;
}

static void a_fresh_header_asks_for_nothing(void **state)
{
    (void)state;
    assert_false(rtd_request_is_pending(&header));
    assert_int_equal(rtd_request_claim(&header), 0);
}

static void a_request_is_answered_once(void **state)
{
    const struct rtd_request_answer given = {RTD_REQUEST_DONE, RTD_RELEASE_GLIBC, 0, 1234};
    struct rtd_request_answer got;

    (void)state;
    const uint64_t posted = rtd_request_post(&header);
    assert_true(posted != 0);
    assert_true(rtd_request_is_pending(&header));
    const uint64_t claimed = rtd_request_claim(&header);
    assert_true(claimed != 0);
    assert_false(rtd_request_is_pending(&header));
    assert_int_equal(rtd_request_claim(&header), 0);
    rtd_request_read(&header, posted, &got);
    assert_int_equal(got.state, RTD_REQUEST_CLAIMED);
    rtd_request_answer(&header, claimed, &given);
    rtd_request_read(&header, posted, &got);
    assert_int_equal(got.state, RTD_REQUEST_DONE);
    assert_int_equal(got.action, RTD_RELEASE_GLIBC);
    assert_int_equal(got.duration_ns, 1234);
}

static void a_withdrawn_request_never_fires(void **state)
{
    (void)state;
    const uint64_t posted = rtd_request_post(&header);
    assert_true(rtd_request_withdraw(&header, posted));
    assert_false(rtd_request_is_pending(&header));
    assert_int_equal(rtd_request_claim(&header), 0);
}

static void a_claimed_request_cannot_be_withdrawn(void **state)
{
    (void)state;
    const uint64_t posted = rtd_request_post(&header);
    assert_true(rtd_request_claim(&header) != 0);
    assert_false(rtd_request_withdraw(&header, posted));
    assert_int_equal(rtd_request_post(&header), 0);
}

static void a_yielded_request_is_pending_again(void **state)
{
    (void)state;
    const uint64_t posted = rtd_request_post(&header);
    rtd_request_yield(&header, rtd_request_claim(&header));
    assert_true(rtd_request_is_pending(&header));
    assert_true(rtd_request_withdraw(&header, posted));
}

static void a_second_request_waits_for_the_first(void **state)
{
    (void)state;
    assert_true(rtd_request_post(&header) != 0);
    assert_int_equal(rtd_request_post(&header), 0);
}

static void an_answer_belongs_to_its_own_request(void **state)
{
    const struct rtd_request_answer refused = {RTD_REQUEST_FAILED, RTD_RELEASE_JEMALLOC, EAGAIN, 7};
    struct rtd_request_answer got;

    (void)state;
    const uint64_t first = rtd_request_post(&header);
    rtd_request_answer(&header, rtd_request_claim(&header), &refused);
    const uint64_t second = rtd_request_post(&header);
    assert_true(second != first && second != 0);
    rtd_request_read(&header, first, &got);
    assert_int_equal(got.state, RTD_REQUEST_NONE);
    rtd_request_read(&header, second, &got);
    assert_int_equal(got.state, RTD_REQUEST_PENDING);
    assert_int_equal(got.duration_ns, 0);
}

static void a_state_that_does_not_exist_reads_as_none(void **state)
{
    struct rtd_request_answer got;

    (void)state;
    const uint64_t posted = rtd_request_post(&header);
    atomic_store(&header.request, (posted & ~RTD_REQUEST_STATE_MASK) | 200);
    rtd_request_read(&header, posted, &got);
    assert_int_equal(got.state, RTD_REQUEST_NONE);
}

enum { THREADS = 4, ROUNDS = 20000 };

static atomic_uint claims;
static atomic_bool is_over;

static void *claim_all(void *context)
{
    const struct rtd_request_answer done = {.state = RTD_REQUEST_DONE};

    (void)context;
    while (!atomic_load(&is_over)) {
        const uint64_t claimed = rtd_request_is_pending(&header) ? rtd_request_claim(&header) : 0;
        if (claimed == 0)
            continue;
        atomic_fetch_add(&claims, 1);
        rtd_request_answer(&header, claimed, &done);
    }
    return NULL;
}

/* Each request is either withdrawn or claimed by one thread, never both and never twice. */
static void one_thread_claims_what_is_not_withdrawn(void **state)
{
    pthread_t threads[THREADS];
    struct rtd_request_answer got;
    unsigned withdrawn = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, claim_all, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t posted = rtd_request_post(&header);
        assert_true(posted != 0);
        if (i % 2 == 0 && rtd_request_withdraw(&header, posted)) {
            withdrawn++;
            continue;
        }
        do
            rtd_request_read(&header, posted, &got);
        while (got.state != RTD_REQUEST_DONE);
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&claims) + withdrawn, ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_fresh_header_asks_for_nothing, clear),
        cmocka_unit_test_setup(a_request_is_answered_once, clear),
        cmocka_unit_test_setup(a_withdrawn_request_never_fires, clear),
        cmocka_unit_test_setup(a_claimed_request_cannot_be_withdrawn, clear),
        cmocka_unit_test_setup(a_yielded_request_is_pending_again, clear),
        cmocka_unit_test_setup(a_second_request_waits_for_the_first, clear),
        cmocka_unit_test_setup(an_answer_belongs_to_its_own_request, clear),
        cmocka_unit_test_setup(a_state_that_does_not_exist_reads_as_none, clear),
        cmocka_unit_test_setup(one_thread_claims_what_is_not_withdrawn, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
