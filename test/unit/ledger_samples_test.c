// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_samples_test.c - the table of live samples when it is full, in part or as a whole.
 *
 * Runs in:    tests
 * Threads:    up to WRITERS
 * Allocates:  one ledger in plain memory
 * Fails:      by cmocka assertions
 *
 * Thinning may cost precision and must not cost truth: what is expected of the sum of weights
 * after it is the sum before it.
 */
#include "base/base_math.h"
#include "ledger/ledger_writer.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    INTERVAL = 512,
    SEEDS = 16,
    CROWD = RTD_SAMPLE_CAPACITY,
    WRITERS = 4,
    ATTEMPTS = 4,
    CROWDS = 12
};

struct writer {
    struct rtd_ledger *ledger;
    uint64_t number;
    unsigned lost;
};

static uint64_t random_address(uint64_t *random)
{
    return (rtd_random_next(random) >> 24) << 12;
}

static uint64_t loss(const struct rtd_ledger *ledger, enum rtd_loss kind)
{
    return atomic_load(&ledger->header.loss[kind]);
}

/* Stores a sample as the agent does. */
static bool store(struct rtd_ledger *ledger, uint64_t address, uint64_t size, uint64_t *random)
{
    const struct rtd_sample_value value = {size, INTERVAL, 1, 1, 0};
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (rtd_sample_insert(ledger, address, &value) != RTD_SAMPLE_FULL)
            return true;
        rtd_sample_make_room(ledger, address, random);
    }
    return rtd_sample_insert(ledger, address, &value) != RTD_SAMPLE_FULL;
}

/* Sum of the weights of all samples in the table; their number goes to *count. */
static uint64_t sum_of_weights(const struct rtd_ledger *ledger, unsigned *count)
{
    uint64_t sum = 0;
    *count = 0;
    for (uint32_t bucket = 0; bucket < RTD_BUCKET_COUNT; bucket++) {
        for (uint32_t index = 0; index < RTD_BUCKET_SLOTS; index++) {
            const struct rtd_sample *const sample = &ledger->samples[bucket * 8 + index];
            if (atomic_load(&ledger->buckets[bucket].address[index]) == 0)
                continue;
            sum += rtd_sample_weight(atomic_load(&sample->size), atomic_load(&sample->interval));
            ++*count;
        }
    }
    return sum;
}

static void a_full_bucket_makes_room_for_whoever_comes(void **state)
{
    struct rtd_ledger *const ledger = *state;
    uint64_t random = 1;
    for (unsigned i = 0; i < CROWD; i++)
        assert_true(store(ledger, random_address(&random), 1000, &random));
    assert_in_range(loss(ledger, RTD_LOSS_SAMPLES_THINNED), 1000, CROWD);
}

static void blocks_much_larger_than_their_interval_give_way_too(void **state)
{
    struct rtd_ledger *const ledger = *state;
    uint64_t random = 2;
    for (unsigned i = 0; i < CROWD; i++)
        assert_true(store(ledger, random_address(&random), 64 << 20, &random));
    assert_in_range(loss(ledger, RTD_LOSS_SAMPLES_THINNED), 1000, CROWD);
}

static void thinning_keeps_the_expected_sum_of_weights(void **state)
{
    struct rtd_ledger *const ledger = *state;
    double mean = 0.0, square = 0.0;
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        uint64_t random = seed * 77, before = 0;
        unsigned count = 0;
        memset(ledger, 0, sizeof *ledger);
        atomic_store(&ledger->header.interval_bytes, INTERVAL);
        for (unsigned i = 0; i < CROWD; i++) {
            const uint64_t size = rtd_random_next(&random) >> (52 + i % 12);
            assert_true(store(ledger, random_address(&random), size, &random));
            before += rtd_sample_weight(size, INTERVAL);
        }
        (void)rtd_sample_thin(ledger, &random);
        const uint64_t after = sum_of_weights(ledger, &count);
        assert_int_equal(atomic_load(&ledger->header.live_samples), count);
        assert_int_equal(atomic_load(&ledger->header.live_bytes), after);
        assert_int_equal(loss(ledger, RTD_LOSS_SAMPLES_THINNED), CROWD - count);
        const double error = (double)after / (double)before - 1.0;
        mean += error / (double)SEEDS;
        square += error * error;
    }
    /* Fixed seeds: this holds always or never, and one time in 10,000 for a right table. */
    assert_true(mean * mean * (double)(SEEDS * SEEDS) < 16.0 * square);
    assert_true(fabs(mean) < 0.003);
}

/* Crowds come and go, some of each stay: what stays of the first may not be doubled with each. */
static void survivors_of_many_crowds_keep_a_bounded_weight(void **state)
{
    struct rtd_ledger *const ledger = *state;
    uint64_t random = 3, address = UINT64_C(1) << 40;
    unsigned count = 0;
    for (unsigned crowd = 0; crowd < CROWDS; crowd++) {
        const uint64_t begin = address;
        for (unsigned i = 0; i < CROWD; i++, address += 4096) {
            assert_true(store(ledger, address, 100, &random));
            if (atomic_load(&ledger->header.live_samples) > RTD_SAMPLE_CAPACITY / 4 * 3)
                (void)rtd_sample_thin(ledger, &random);
        }
        for (uint64_t at = begin; at < address; at += 4096) {
            struct rtd_sample_value value;
            if (at / 4096 % 10 != 0)
                (void)rtd_sample_take(ledger, at, &value);
        }
        atomic_store(&ledger->header.storage_shift, 0);
    }
    (void)sum_of_weights(ledger, &count);
    assert_in_range(count, 1000, RTD_SAMPLE_CAPACITY);
    for (uint32_t bucket = 0; bucket < RTD_BUCKET_COUNT; bucket++)
        for (uint32_t index = 0; index < RTD_BUCKET_SLOTS; index++)
            if (atomic_load(&ledger->buckets[bucket].address[index]))
                assert_true(atomic_load(&ledger->samples[bucket * 8 + index].interval) <=
                            INTERVAL * 16);
}

static void *crowd_in(void *argument)
{
    struct writer *const writer = argument;
    uint64_t random = writer->number;
    for (uint64_t i = 0; i < CROWD; i++) {
        const uint64_t address = ((i * WRITERS + writer->number) << 12) + (UINT64_C(1) << 40);
        writer->lost += !store(writer->ledger, address, 100 + i % 1000, &random);
    }
    return NULL;
}

static void threads_that_make_room_at_once_lose_nothing(void **state)
{
    struct rtd_ledger *const ledger = *state;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    unsigned count = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ledger, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_in, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(writers[i].lost, 0);
    }
    const double sum = (double)sum_of_weights(ledger, &count);
    assert_int_equal(atomic_load(&ledger->header.live_samples), count);
    assert_int_equal(loss(ledger, RTD_LOSS_SAMPLES_THINNED), WRITERS * CROWD - count);
    /* Two threads that thin one sample at once may leave the running total off by its weight. */
    assert_true(fabs((double)atomic_load(&ledger->header.live_bytes) / sum - 1.0) < 0.01);
}

static int set_up(void **state)
{
    struct rtd_ledger *const ledger = calloc(1, sizeof *ledger);
    *state = ledger;
    if (ledger)
        atomic_store(&ledger->header.interval_bytes, INTERVAL);
    return ledger == NULL;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_full_bucket_makes_room_for_whoever_comes),
        CASE(blocks_much_larger_than_their_interval_give_way_too),
        CASE(thinning_keeps_the_expected_sum_of_weights),
        CASE(survivors_of_many_crowds_keep_a_bounded_weight),
        CASE(threads_that_make_room_at_once_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
