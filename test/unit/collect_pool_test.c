// SPDX-License-Identifier: Apache-2.0
/*
 * collect_pool_test.c - spare ledgers: made ahead, handed out clean, used again.
 *
 * Runs in:    test
 * Threads:    one
 * Allocates:  ledgers
 * Fails:      by cmocka
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "collect/collect_pool.h"

static const struct rtd_ledger_options options = {
    .mode = RTD_MODE_SAMPLE, .interval_bytes = 65536, .seed = 42, .session = 7};

static void take_makes_a_ledger_when_there_is_no_spare(void **state)
{
    struct rtd_pool pool;
    struct rtd_pool_ledger ledger;

    (void)state;
    rtd_pool_init(&pool, &options);
    assert_int_equal(rtd_pool_take(&pool, &ledger), 0);
    assert_non_null(ledger.handle.ledger);
    assert_true(ledger.handle.ledger->header.magic == RTD_LEDGER_MAGIC);
    rtd_ledger_close(&ledger.handle);
    rtd_pool_fini(&pool);
}

static void refill_stops_when_enough_are_ready(void **state)
{
    struct rtd_pool pool;

    (void)state;
    rtd_pool_init(&pool, &options);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rtd_pool_refill(&pool), 0);
    assert_int_equal(pool.spare_count, RTD_POOL_READY);
    assert_int_equal(pool.made_count, RTD_POOL_READY);
    rtd_pool_fini(&pool);
}

static void an_unused_ledger_comes_back_as_new(void **state)
{
    struct rtd_pool pool;
    struct rtd_pool_ledger ledger;
    struct rtd_header fresh;

    (void)state;
    rtd_pool_init(&pool, &options);
    assert_int_equal(rtd_pool_take(&pool, &ledger), 0);
    memcpy((void *)&fresh, (const void *)&ledger.handle.ledger->header, sizeof(fresh));
    rtd_ledger_assign(ledger.handle.ledger, 99, 100);
    struct rtd_ledger *const used = ledger.handle.ledger;
    used->header.agent_pid = 99;
    used->header.agent_state = RTD_AGENT_READY;
    used->header.interval_bytes = 1;
    used->header.no_handshake = 1;
    used->header.loss[RTD_LOSS_FORK_UNOBSERVED] = 3;
    used->threads[5].state = 1;
    used->threads[5].tid = 99;
    used->threads[5].allocated_bytes = 12345;
    rtd_pool_give(&pool, &ledger);
    assert_null(ledger.handle.ledger);
    assert_int_equal(rtd_pool_take(&pool, &ledger), 0);
    assert_ptr_equal(ledger.handle.ledger, used);
    assert_int_equal(pool.made_count, 1);
    assert_int_equal(pool.reused_count, 1);
    fresh.clock_ms = used->header.clock_ms;
    fresh.shadow_birth = used->header.shadow_birth;
    assert_memory_equal(&used->header, &fresh, sizeof(fresh));
    assert_true(used->threads[5].tid == 0 && used->threads[5].allocated_bytes == 0);
    rtd_ledger_close(&ledger.handle);
    rtd_pool_fini(&pool);
}

static void a_used_ledger_is_never_handed_out_again(void **state)
{
    struct rtd_pool pool;
    struct rtd_pool_ledger ledger;

    (void)state;
    rtd_pool_init(&pool, &options);
    assert_int_equal(rtd_pool_take(&pool, &ledger), 0);
    ledger.handle.ledger->header.samples = 1;
    rtd_pool_give(&pool, &ledger);
    assert_int_equal(pool.spare_count, 0);
    assert_int_equal(ledger.handle.fd, -1);
    rtd_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_makes_a_ledger_when_there_is_no_spare),
        cmocka_unit_test(refill_stops_when_enough_are_ready),
        cmocka_unit_test(an_unused_ledger_comes_back_as_new),
        cmocka_unit_test(a_used_ledger_is_never_handed_out_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
