// SPDX-License-Identifier: Apache-2.0
/*
 * history_exact_test.c - recordings of exact mode: what was counted comes out, in few bytes.
 *
 * Runs in:    tests
 * Threads:    none
 * Allocates:  a folder below TMPDIR, removed at the end
 * Fails:      by cmocka assertions
 */
#include "../support/support_exact.h"
#include "../support/support_ledger.h"
#include "../support/support_recording.h"
#include "base/base_math.h"
#include "history/history_block.h"
#include "history/history_decode.h"
#include "history/history_encode.h"
#include "history/history_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct rtd_process_record *new_record(void)
{
    struct rtd_process_record *const record = rtd_support_record_new(NULL, 0);

    record->image = rtd_image_new();
    assert_non_null(record->image);
    return record;
}

static void read_into(struct rtd_process_record *record, const struct rtd_support_exact *made)
{
    assert_int_equal(rtd_image_read_sparse(record->image, made->handle.ledger, made->handle.fd), 0);
}

static void assert_same_stack(const struct rtd_image *a, const struct rtd_image *b, uint32_t stack)
{
    static struct rtd_image_stack left, right;

    rtd_image_stack_get(a, stack, &left);
    rtd_image_stack_get(b, stack, &right);
    assert_int_equal(left.pc_count, right.pc_count);
    assert_memory_equal(left.pcs, right.pcs, left.pc_count * sizeof(left.pcs[0]));
}

static void assert_same_image(const struct rtd_image *a, const struct rtd_image *b)
{
    assert_int_equal(b->mode, RTD_MODE_EXACT);
    assert_non_null(b->exact);
    assert_int_equal(a->site_count, b->site_count);
    assert_int_equal(a->peak_live_bytes, b->peak_live_bytes);
    assert_int_equal(a->peak_ms, b->peak_ms);
    assert_int_equal(a->samples_taken, b->samples_taken);
    assert_int_equal(a->exact->unknown_frees, b->exact->unknown_frees);
    assert_int_equal(a->exact->stack_misses, b->exact->stack_misses);
    assert_memory_equal(a->exact->counts, b->exact->counts,
                        a->site_count * sizeof(a->exact->counts[0]));
    assert_memory_equal(a->sites, b->sites, a->site_count * sizeof(a->sites[0]));
    for (uint32_t i = 0; i < a->site_count; i++) {
        assert_same_stack(a, b, a->sites[i].stack);
    }
    assert_int_equal(a->sample_count, b->sample_count);
    for (uint32_t i = 0; i < a->sample_count; i++) {
        assert_int_equal(a->samples[i].address, b->samples[i].address);
        assert_int_equal(a->samples[i].size, b->samples[i].size);
        assert_int_equal(a->samples[i].site, b->samples[i].site);
        assert_int_equal(a->samples[i].birth_ms, b->samples[i].birth_ms);
    }
}

static void what_was_counted_comes_out(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = new_record();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    rtd_support_exact_fill(made, 21, 2000);
    atomic_store(&made->exact->threads[3].unknown_frees, 5);
    atomic_store(&made->exact->threads[4].stack_misses, 6);
    read_into(record, made);
    assert_int_equal(rtd_image_blocks_read(record->image, made->handle.fd), 0);
    assert_true(record->image->sample_count > 1000);
    assert_true(rtd_recording_write(writer, record) > 0);
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_int_equal(recording->process_count, 1);
    assert_same_image(record->image, recording->processes[0]->image);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

static void changes_between_writes_add_up_to_the_last_state(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = new_record();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    for (uint64_t second = 0; second < 40; second++) {
        rtd_support_exact_fill(made, 100 + second, 60);
        read_into(record, made);
        assert_true(rtd_recording_write(writer, record) > 0);
        if (second % 8 == 0) {
            struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
            assert_same_image(record->image, recording->processes[0]->image);
            rtd_recording_close(recording);
        }
    }
    rtd_recording_writer_close(writer);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_same_image(record->image, recording->processes[0]->image);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

/* Sites of a large program: each with a stack of its own. */
static void add_sites(struct rtd_support_exact *made, unsigned count)
{
    uint64_t pcs[3] = {0x555500000010};

    for (unsigned i = 0; i < count; i++) {
        pcs[1] = UINT64_C(0x555500001000) + i % 200 * 16;
        pcs[2] = UINT64_C(0x555500010000) + i * 16;
        const struct rtd_support_event event = {
            .site = rtd_support_exact_site(made, pcs, 3, RTD_TAG_NONE), .size = 64 + i % 1000};
        rtd_support_exact_birth(made, &event);
    }
}

static void a_second_that_touches_few_sites_costs_few_bytes(void **state)
{
    enum { SITES = 20000 };
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = new_record();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    add_sites(made, SITES);
    rtd_support_exact_peak(made, 100);
    read_into(record, made);
    const int64_t whole = rtd_recording_write(writer, record);
    assert_in_range(whole, 100000, 2000000);
    for (uint32_t i = 0; i < 10; i++) {
        const struct rtd_support_event event = {.site = 100 + i * 7, .size = 4096};
        rtd_support_exact_birth(made, &event);
        rtd_support_exact_death(made, &event);
    }
    read_into(record, made);
    const int64_t few = rtd_recording_write(writer, record);
    assert_in_range(few, 1, 2000);
    rtd_recording_writer_close(writer);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_same_image(record->image, recording->processes[0]->image);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

static uint64_t file_size(void)
{
    struct stat status;

    assert_int_equal(stat(rtd_support_path, &status), 0);
    return (uint64_t)status.st_size;
}

static void a_long_run_does_not_outgrow_its_state(void **state)
{
    enum { SITES = 8000, SECONDS = 250 };
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = new_record();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    uint64_t random = 3, largest = 0;

    add_sites(made, SITES);
    for (unsigned second = 0; second < SECONDS; second++) {
        for (uint32_t i = 1; i < SITES; i++) {
            const struct rtd_support_event event = {.site = i,
                                                    .size = rtd_random_next(&random) % 5000};
            rtd_support_exact_birth(made, &event);
        }
        read_into(record, made);
        assert_true(rtd_recording_write(writer, record) > 0);
        largest = file_size() > largest ? file_size() : largest;
    }
    rtd_recording_writer_close(writer);
    /* 16 MiB of replaced blocks, and one more state, before the file is rewritten. */
    assert_in_range(largest, 1, UINT64_C(24) << 20);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_same_image(record->image, recording->processes[0]->image);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

/* Random damage inside payloads, past the checksum. */
static void damaged_payloads_are_refused_or_harmless(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = new_record();
    uint64_t random = 9;

    rtd_support_exact_fill(made, 21, 300);
    read_into(record, made);
    assert_int_equal(rtd_image_blocks_read(record->image, made->handle.fd), 0);
    static const uint16_t types[] = {RTD_BLOCK_EXACT_NODES, RTD_BLOCK_EXACT_STATE,
                                     RTD_BLOCK_EXACT_DELTA, RTD_BLOCK_EXACT_BLOCKS,
                                     RTD_BLOCK_STATE};
    struct rtd_block_buffer payloads[5] = {{0}};
    const struct rtd_encode_known nothing = {0};
    (void)rtd_encode_exact_nodes(&payloads[0], &nothing, record->image);
    (void)rtd_encode_exact_sites(&payloads[1], NULL, record->image);
    (void)rtd_encode_exact_sites(&payloads[2], NULL, record->image);
    rtd_encode_exact_blocks(&payloads[3], record->image);
    rtd_encode_state(&payloads[4], record->image);
    for (unsigned round = 0; round < 400; round++) {
        struct rtd_decode_process process = {.record = calloc(1, sizeof(*process.record))};
        for (unsigned i = 0; i < 12; i++) {
            const unsigned which = (unsigned)(rtd_random_next(&random) % RTD_ARRAY_LENGTH(types));
            struct rtd_block_buffer *const payload = &payloads[which];
            const size_t at = rtd_random_next(&random) % payload->length;
            const uint8_t before = payload->bytes[at];
            payload->bytes[at] = (uint8_t)rtd_random_next(&random);
            struct rtd_cursor in = {.at = payload->bytes,
                                    .left = payload->length - rtd_random_next(&random) % 4};
            (void)rtd_decode_process_block(&process, types[which], &in);
            payload->bytes[at] = before;
        }
        rtd_decode_finish(&process);
        const struct rtd_image *const image = process.record->image;
        for (uint32_t i = 0; image != NULL && i < image->sample_count; i++) {
            assert_true(image->samples[i].site < image->site_count);
        }
        for (uint32_t i = 0; image != NULL && i < image->site_count; i++) {
            assert_true(image->sites[i].tag < image->tag_count);
        }
        rtd_decode_record_free(process.record);
    }
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(payloads); i++) {
        rtd_block_buffer_fini(&payloads[i]);
    }
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

static void numbers_of_any_size_pass_through_a_varint(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0,         1, 127, 128, 300, UINT32_MAX, UINT64_C(1) << 63,
                                       UINT64_MAX};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    struct rtd_block_buffer buffer = {0};

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(numbers); i++) {
        rtd_block_buffer_put_varint(&buffer, numbers[i]);
        rtd_block_buffer_put_signed(&buffer, (int64_t)numbers[i]);
        rtd_block_buffer_put_signed(&buffer, (int64_t)(0 - numbers[i]));
    }
    struct rtd_cursor in = {.at = buffer.bytes, .left = buffer.length};
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(numbers); i++) {
        assert_true(rtd_cursor_get_varint(&in) == numbers[i]);
        assert_true(rtd_cursor_get_signed(&in) == (int64_t)numbers[i]);
        assert_true(rtd_cursor_get_signed(&in) == (int64_t)(0 - numbers[i]));
    }
    assert_false(in.failed);
    assert_int_equal(in.left, 0);
    in = (struct rtd_cursor){.at = endless, .left = sizeof(endless)};
    assert_int_equal(rtd_cursor_get_varint(&in), 0);
    assert_true(in.failed);
    rtd_block_buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_any_size_pass_through_a_varint),
        cmocka_unit_test(what_was_counted_comes_out),
        cmocka_unit_test(changes_between_writes_add_up_to_the_last_state),
        cmocka_unit_test(a_second_that_touches_few_sites_costs_few_bytes),
        cmocka_unit_test(a_long_run_does_not_outgrow_its_state),
        cmocka_unit_test(damaged_payloads_are_refused_or_harmless),
    };

    return cmocka_run_group_tests(tests, rtd_support_make_folder, rtd_support_remove_folder);
}
