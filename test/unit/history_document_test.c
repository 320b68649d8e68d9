// SPDX-License-Identifier: Apache-2.0
/*
 * history_document_test.c - the formats are as the documents say: a reader that was written from
 * the documents alone tells the same of a ledger and of a recording as the C reader does.
 *
 * Runs in:    tests; arguments: the Python interpreter and the independent reader
 * Threads:    none
 * Allocates:  two files below TMPDIR
 * Fails:      by cmocka assertions
 */
#include "../support/support_exact.h"
#include "../support/support_ledger.h"
#include "../support/support_skip.h"
#include "history/history_recording.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TOP = 40, LINE_BYTES = 8192, TEXT_BYTES = 1 << 20 };

static const char *interpreter, *reader;

static uint64_t live_of(const struct rtd_image *image, uint32_t site)
{
    uint64_t sum = 0;

    if (image->exact != NULL) {
        return image->exact->counts[site].live_bytes;
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        sum += image->samples[i].site == site ? image->samples[i].size : 0;
    }
    return sum;
}

struct row {
    uint64_t live, births;
    char text[LINE_BYTES]; /* component, operation and stack */
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *const left = a;
    const struct row *const right = b;

    if (left->live != right->live) {
        return left->live > right->live ? -1 : 1;
    }
    if (left->births != right->births) {
        return left->births > right->births ? -1 : 1;
    }
    return strcmp(left->text, right->text);
}

static void fill_row(struct row *row, const struct rtd_image *image, uint32_t index)
{
    static struct rtd_image_stack stack;
    const struct rtd_image_site *const site = &image->sites[index];
    const struct rtd_image_tag *const tag = &image->tags[site->tag];
    size_t length =
        (size_t)snprintf(row->text, LINE_BYTES, "%s/%s ", tag->component, tag->operation);

    row->live = live_of(image, index);
    row->births = site->births;
    rtd_image_stack_get(image, site->stack, &stack);
    for (uint32_t i = 0; i < stack.pc_count; i++) {
        length += (size_t)snprintf(row->text + length, LINE_BYTES - length, "%s%" PRIx64,
                                   i == 0 ? "" : " ", stack.pcs[i]);
    }
}

/* The lines that only exact mode has. */
static size_t expect_exact(char *out, const struct rtd_image *image)
{
    uint64_t frees = 0, temporary = 0, aged = 0;

    for (uint32_t i = 0; i < image->site_count; i++) {
        frees += image->sites[i].deaths;
        temporary += image->exact->counts[i].temporary;
        for (unsigned k = 1; k < RTD_LIFETIME_BUCKETS; k++) {
            aged += image->sites[i].lifetime[k];
        }
    }
    return (size_t)snprintf(out, TEXT_BYTES,
                            "frees %" PRIu64 "\ntemporary %" PRIu64 "\npeak %" PRIu64
                            "\naged %" PRIu64 "\n",
                            frees, temporary, image->peak_live_bytes, aged);
}

static uint32_t count_nodes(const struct rtd_image *image)
{
    uint32_t nodes = 0;

    if (image->exact != NULL) {
        return image->exact->node_count;
    }
    for (uint32_t i = RTD_ROOT_COUNT; i < RTD_NODE_COUNT; i++) {
        nodes += image->nodes[i] != 0;
    }
    return nodes;
}

/* What the independent reader must print of this image. */
static void expect_text(char *out, const struct rtd_image *image, uint32_t number)
{
    struct row *const rows = calloc(image->site_count, sizeof(*rows));
    uint64_t births = 0, live = 0;
    size_t length;

    for (uint32_t i = 0; i < image->site_count; i++) {
        fill_row(&rows[i], image, i);
        births += rows[i].births;
        live += rows[i].live;
    }
    length = (size_t)snprintf(out, TEXT_BYTES,
                              "process %u\nmodules %u\ntags %u\nnodes %u\nsamples %u\nsites %u\n"
                              "births %" PRIu64 "\nlive_sampled_bytes %" PRIu64 "\n",
                              number, image->module_count, image->tag_count - RTD_TAG_FIRST,
                              count_nodes(image), image->sample_count, image->site_count - 1,
                              births, live);
    if (image->exact != NULL) {
        length += expect_exact(out + length, image);
    }
    qsort(rows, image->site_count, sizeof(*rows), compare_rows);
    for (uint32_t i = 0; i < image->site_count && i < TOP; i++) {
        length +=
            (size_t)snprintf(out + length, TEXT_BYTES - length, "site %" PRIu64 " %" PRIu64 " %s\n",
                             rows[i].live, rows[i].births, rows[i].text);
    }
    free(rows);
}

static void assert_reader_prints(const char *path, const char *expected)
{
    char command[4096];
    char *const text = calloc(1, TEXT_BYTES);

    snprintf(command, sizeof(command), "'%s' '%s' --top %d '%s'", interpreter, reader, TOP, path);
    FILE *const pipe = popen(command, "re");
    assert_non_null(pipe);
    assert_true(fread(text, 1, TEXT_BYTES - 1, pipe) > 0);
    assert_int_equal(pclose(pipe), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void temporary_path(char *path, size_t size)
{
    const char *const base = getenv("TMPDIR");

    snprintf(path, size, "%s/riptide-document-XXXXXX", base != NULL ? base : P_tmpdir);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void independent_reader_tells_the_same_of_a_ledger(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_image *const image = rtd_image_new();
    char *const expected = calloc(1, TEXT_BYTES);
    char path[1024];

    rtd_support_ledger_fill(ledger, 42, 2000);
    assert_int_equal(rtd_image_read(image, ledger), 0);
    expect_text(expected, image, 0);
    temporary_path(path, sizeof(path));
    FILE *const file = fopen(path, "wbe");
    assert_int_equal(fwrite(ledger, 1, RTD_LEDGER_BYTES, file), RTD_LEDGER_BYTES);
    fclose(file);
    assert_reader_prints(path, expected);
    assert_int_equal(unlink(path), 0);
    free(expected);
    rtd_image_free(image);
    free(ledger);
}

static void independent_reader_tells_the_same_of_a_recording(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    char *const expected = calloc(2, TEXT_BYTES);
    char path[1024];
    int err = 0;

    temporary_path(path, sizeof(path));
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(path, &err);
    assert_non_null(writer);
    for (uint32_t i = 0; i < 4; i++) {
        rtd_support_ledger_fill(ledger, i, 300);
        struct rtd_process_record *const record = rtd_support_record_new(ledger, i / 2);
        assert_true(rtd_recording_write(writer, record) > 0);
        if (i % 2 == 1) {
            expect_text(expected + strlen(expected), record->image, i / 2);
        }
        rtd_support_record_free(record);
    }
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    assert_reader_prints(path, expected);
    assert_int_equal(unlink(path), 0);
    free(expected);
    free(ledger);
}

static void independent_reader_tells_the_same_of_exact_mode(void **state)
{
    (void)state;
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = rtd_support_record_new(NULL, 0);
    char *const expected = calloc(1, TEXT_BYTES);
    char path[1024], ledger[64];
    int err = 0;

    record->image = rtd_image_new();
    temporary_path(path, sizeof(path));
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(path, &err);
    assert_non_null(writer);
    for (uint64_t second = 0; second < 3; second++) {
        rtd_support_exact_fill(made, second, 400);
        assert_int_equal(rtd_image_read_sparse(record->image, made->handle.ledger, made->handle.fd),
                         0);
        assert_true(rtd_recording_write(writer, record) > 0);
    }
    expect_text(expected, record->image, 0);
    snprintf(ledger, sizeof(ledger), "/proc/%d/fd/%d", (int)getpid(), made->handle.fd);
    assert_reader_prints(ledger, expected);
    assert_reader_prints(path, expected);
    rtd_recording_writer_close(writer);
    assert_int_equal(unlink(path), 0);
    free(expected);
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(independent_reader_tells_the_same_of_a_ledger),
        cmocka_unit_test(independent_reader_tells_the_same_of_a_recording),
        cmocka_unit_test(independent_reader_tells_the_same_of_exact_mode),
    };

    if (argc != 3) {
        return rtd_support_skip_program("usage: history_document_test PYTHON LEDGER_READER");
    }
    interpreter = argv[1];
    reader = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
