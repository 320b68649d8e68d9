// SPDX-License-Identifier: Apache-2.0
/*
 * history_maps_test.c - mappings through the bytes of a recording, and bytes that are none.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  yes
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base_math.h"
#include "history/history_block.h"
#include "history/history_maps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

static struct rtd_mappings make(void)
{
    struct rtd_maps *const maps = rtd_maps_new(1);
    struct rtd_mappings made = {
        .events = 9, .unseen = 8, .corrections = 1, .corrected_bytes = PAGE};

    assert_non_null(maps);
    for (uint32_t i = 0; i < 40; i++) {
        const struct rtd_mapping_owner owner = {3000 + i, i % 3, i % RTD_MAPPING_KINDS, i};
        assert_int_equal(rtd_maps_add(maps, UINT64_C(0x7f0000000000) + (uint64_t)i * 10 * PAGE,
                                      i * PAGE + 1, &owner),
                         0);
    }
    assert_int_equal(rtd_maps_copy(maps, &made), 0);
    rtd_maps_free(maps);
    return made;
}

static int decode(const uint8_t *bytes, size_t size, struct rtd_decode_process *process)
{
    struct rtd_cursor in = {.at = bytes, .left = size};

    return rtd_decode_process_block(process, RTD_BLOCK_MAPS, &in);
}

static void what_was_encoded_is_decoded(void **state)
{
    struct rtd_mappings made = make();
    struct rtd_block_buffer out = {0};
    struct rtd_decode_process process = {.record = calloc(1, sizeof(*process.record))};

    (void)state;
    rtd_encode_mappings(&out, &made);
    assert_int_equal(decode(out.bytes, out.length, &process), 0);
    const struct rtd_mappings *const got = &process.record->mappings;
    assert_int_equal(process.refused, 0);
    assert_int_equal(got->events, made.events);
    assert_int_equal(got->unseen, made.unseen);
    assert_int_equal(got->corrected_bytes, made.corrected_bytes);
    assert_memory_equal(&got->total, &made.total, sizeof(made.total));
    assert_int_equal(got->site_count, made.site_count);
    assert_memory_equal(got->sites, made.sites, made.site_count * sizeof(made.sites[0]));
    rtd_decode_record_free(process.record);
    rtd_block_buffer_fini(&out);
    rtd_mappings_fini(&made);
}

static void a_payload_cut_anywhere_is_refused(void **state)
{
    struct rtd_mappings made = make();
    struct rtd_block_buffer out = {0};
    struct rtd_decode_process process = {.record = calloc(1, sizeof(*process.record))};

    (void)state;
    rtd_encode_mappings(&out, &made);
    for (size_t size = 0; size < out.length; size++)
        assert_int_equal(decode(out.bytes, size, &process), -EBADMSG);
    assert_int_equal(process.record->mappings.site_count, 0);
    rtd_decode_record_free(process.record);
    rtd_block_buffer_fini(&out);
    rtd_mappings_fini(&made);
}

static void sites_that_cannot_be_are_left_out_and_counted(void **state)
{
    struct rtd_mappings made = make();
    struct rtd_block_buffer out = {0};
    struct rtd_decode_process process = {.record = calloc(1, sizeof(*process.record))};

    (void)state;
    made.sites[1].kind = RTD_MAPPING_KINDS;
    made.sites[2].stack = UINT32_MAX;
    made.sites[3].tag = UINT32_MAX;
    made.sites[4].figures.live_bytes = UINT64_MAX;
    rtd_encode_mappings(&out, &made);
    assert_int_equal(decode(out.bytes, out.length, &process), 0);
    assert_int_equal(process.refused, 4);
    assert_int_equal(process.record->mappings.site_count, made.site_count - 4);
    rtd_decode_record_free(process.record);
    rtd_block_buffer_fini(&out);
    rtd_mappings_fini(&made);
}

static void random_damage_is_survived(void **state)
{
    struct rtd_mappings made = make();
    struct rtd_block_buffer out = {0};
    struct rtd_decode_process process = {.record = calloc(1, sizeof(*process.record))};
    uint64_t random = 3;

    (void)state;
    rtd_encode_mappings(&out, &made);
    for (int round = 0; round < 20000; round++) {
        const size_t at = (size_t)(rtd_random_next(&random) % out.length);
        const uint8_t before = out.bytes[at];
        out.bytes[at] = (uint8_t)rtd_random_next(&random);
        const int result = decode(out.bytes, out.length, &process);
        assert_true(result == 0 || result == -EBADMSG);
        if (rtd_random_next(&random) % 4 != 0)
            out.bytes[at] = before;
    }
    rtd_decode_record_free(process.record);
    rtd_block_buffer_fini(&out);
    rtd_mappings_fini(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(a_payload_cut_anywhere_is_refused),
        cmocka_unit_test(sites_that_cannot_be_are_left_out_and_counted),
        cmocka_unit_test(random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
