// SPDX-License-Identifier: Apache-2.0
/*
 * history_recording_test.c - recordings: what goes in comes out, whatever happens to the file.
 *
 * Runs in:    tests
 * Threads:    none; children that are killed
 * Allocates:  a folder below TMPDIR, removed at the end
 * Fails:      by cmocka assertions
 */
#include "../support/support_ledger.h"
#include "../support/support_recording.h"
#include "../support/support_skip.h"
#include "base/base_math.h"
#include "history/history_block.h"
#include "history/history_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Meta, figures, points and series; images have their own comparison. */
static void assert_same_record(const struct rtd_process_record *a,
                               const struct rtd_process_record *b)
{
    assert_memory_equal(&a->meta, &b->meta, sizeof(a->meta));
    assert_memory_equal(&a->memory, &b->memory, sizeof(a->memory));
    assert_int_equal(a->point_count, b->point_count);
    assert_memory_equal(a->points, b->points, a->point_count * sizeof(a->points[0]));
    assert_int_equal(a->series.point_count, b->series.point_count);
    assert_int_equal(a->series.row_count, b->series.row_count);
    assert_int_equal(a->series.spacing_ms, b->series.spacing_ms);
    assert_memory_equal(a->series.times_ms, b->series.times_ms,
                        a->series.point_count * sizeof(a->series.times_ms[0]));
    for (uint32_t i = 0; i < a->series.row_count; i++) {
        assert_int_equal(a->series.rows[i].stack, b->series.rows[i].stack);
        assert_int_equal(a->series.rows[i].tag, b->series.rows[i].tag);
        assert_memory_equal(a->series.rows[i].live_bytes, b->series.rows[i].live_bytes,
                            a->series.point_count * sizeof(float));
    }
    assert_int_equal(a->image == NULL, b->image == NULL);
    if (a->image != NULL) {
        assert_int_equal(rtd_support_images_differ(a->image, b->image), 0);
    }
}

static void assert_same_symbols(const struct rtd_symbol_table *table)
{
    static const uint8_t build_id[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const struct rtd_symbol_module water = {"/usr/lib/libwater.so.1", build_id, sizeof(build_id)};
    const struct rtd_symbol_module program = {"/srv/server", NULL, 0};
    size_t count = 0;
    const struct rtd_symbol_frame *frames = rtd_symbol_table_get(table, &water, 0x123, &count);

    assert_int_equal(count, 2);
    assert_string_equal(frames[0].function, "pour<int>");
    assert_string_equal(frames[0].file, "src/pour.cc");
    assert_int_equal(frames[0].line, 12);
    assert_true(frames[0].inlined);
    assert_false(frames[1].inlined);
    frames = rtd_symbol_table_get(table, &program, 0x789, &count);
    assert_non_null(frames);
    assert_int_equal(count, 0);
    assert_int_equal(rtd_symbol_table_count(table), 3);
}

static void recording_gives_back_what_was_written(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_process_record *records[3];
    struct rtd_symbol_table *const symbols = rtd_support_symbols_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    for (uint32_t i = 0; i < 3; i++) {
        rtd_support_ledger_fill(ledger, i, 500);
        /* The ids come in another order, and one image is blind. */
        records[2 - i] = rtd_support_record_new(i == 1 ? NULL : ledger, 2 - i);
        assert_true(rtd_recording_write(writer, records[2 - i]) > 0);
        assert_int_equal(rtd_recording_write(writer, records[2 - i]), 0);
    }
    assert_true(rtd_recording_write_symbols(writer, symbols) > 0);
    assert_int_equal(rtd_recording_write_symbols(writer, symbols), 0);
    records[0]->meta.status = RTD_PROCESS_EXITED;
    records[0]->meta.exit_code = 3;
    assert_true(rtd_recording_write(writer, records[0]) > 0);
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);

    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_true(recording->complete);
    assert_int_equal(recording->damage_offset, -1);
    assert_string_equal(recording->damage, "");
    assert_int_equal(recording->lost_writes, 0);
    assert_int_equal(recording->process_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_same_record(recording->processes[i], records[i]);
        rtd_support_record_free(records[i]);
    }
    assert_same_symbols(recording->symbols);
    rtd_recording_close(recording);
    rtd_symbol_table_free(symbols);
    free(ledger);
}

static void recording_grows_with_its_ledger_and_keeps_the_newest_state(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    for (uint64_t i = 0; i < 20; i++) {
        rtd_support_ledger_fill(ledger, i, 50);
        rtd_ledger_tick(ledger, 100000 + i);
        struct rtd_process_record *const record = rtd_support_record_new(ledger, 0);
        assert_true(rtd_recording_write(writer, record) > 0);
        /* Not finished, not closed: readable at every instant. */
        struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
        assert_false(recording->complete);
        assert_int_equal(recording->damage_offset, -1);
        assert_same_record(recording->processes[0], record);
        rtd_recording_close(recording);
        rtd_support_record_free(record);
    }
    rtd_recording_writer_close(writer);
    free(ledger);
}

/* Writes a recording of a few states; returns its bytes (to be freed). */
static uint8_t *reference_file(size_t *size)
{
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_symbol_table *const symbols = rtd_support_symbols_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    struct stat status;

    for (uint64_t i = 0; i < 3; i++) {
        rtd_support_ledger_fill(ledger, i, 6);
        struct rtd_process_record *const record = rtd_support_record_new(ledger, (uint32_t)i / 2);
        assert_true(rtd_recording_write(writer, record) > 0);
        rtd_support_record_free(record);
    }
    assert_true(rtd_recording_write_symbols(writer, symbols) > 0);
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    rtd_symbol_table_free(symbols);
    free(ledger);
    const int fd = open(rtd_support_path, O_RDONLY);
    assert_int_equal(fstat(fd, &status), 0);
    *size = (size_t)status.st_size;
    uint8_t *const bytes = malloc(*size);
    assert_int_equal(read(fd, bytes, *size), *size);
    close(fd);
    return bytes;
}

static void write_file(const uint8_t *bytes, size_t size)
{
    const int fd = open(rtd_support_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static void every_truncation_opens_up_to_the_last_whole_block(void **state)
{
    (void)state;
    size_t size;
    uint8_t *const bytes = reference_file(&size);
    uint32_t processes = 0;
    unsigned whole = 0;
    char diag[1024];
    int err;

    write_file(bytes, size);
    for (size_t length = size; length-- > 0;) {
        assert_int_equal(truncate(rtd_support_path, (off_t)length), 0);
        struct rtd_recording *const recording =
            rtd_recording_open(rtd_support_path, &err, diag, sizeof(diag));
        if (length < RTD_FILE_HEADER_BYTES) {
            assert_null(recording);
            assert_int_equal(err, -EBADMSG);
            assert_non_null(strstr(diag, "not a RipTide recording"));
            continue;
        }
        assert_non_null(recording);
        assert_false(recording->complete);
        /* The file got shorter: what it tells can only get less. */
        assert_true(length == size - 1 || recording->process_count <= processes);
        processes = recording->process_count;
        if (recording->damage_offset < 0) {
            whole++;
        } else {
            assert_true((size_t)recording->damage_offset < length);
            assert_non_null(strstr(recording->damage, "middle of a block"));
        }
        rtd_recording_close(recording);
    }
    assert_true(whole > 10);
    free(bytes);
}

static void every_flipped_byte_is_found(void **state)
{
    (void)state;
    size_t size;
    uint8_t *const bytes = reference_file(&size);
    uint64_t random = 11;
    char diag[1024];
    int err;

    const size_t step = size / 2000 + 1;
    for (size_t at = 0; at < size; at += step) {
        const uint8_t flip = (uint8_t)(rtd_random_next(&random) % 255 + 1);
        const int fd = open(rtd_support_path, O_WRONLY);
        const uint8_t wrong = bytes[at] ^ flip;
        assert_int_equal(pwrite(fd, &wrong, 1, (off_t)at), 1);
        struct rtd_recording *const recording =
            rtd_recording_open(rtd_support_path, &err, diag, sizeof(diag));
        if (at < RTD_FILE_HEADER_BYTES) {
            assert_null(recording);
        } else {
            assert_non_null(recording);
            assert_false(recording->complete);
            assert_true(recording->damage_offset >= 0 && recording->damage_offset <= (int64_t)at);
        }
        rtd_recording_close(recording);
        assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
        close(fd);
    }
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_true(recording->complete);
    rtd_recording_close(recording);
    free(bytes);
}

static void damage_with_a_right_checksum_is_contained(void **state)
{
    (void)state;
    size_t size;
    uint8_t *const bytes = reference_file(&size);
    uint64_t random = 12;
    char diag[1024];
    int err;

    for (unsigned round = 0; round < 800; round++) {
        uint8_t *const copy = malloc(size);
        memcpy(copy, bytes, size);
        /* Walks to some block, damages it and signs the damage. */
        size_t at = RTD_FILE_HEADER_BYTES;
        for (unsigned skip = (unsigned)(rtd_random_next(&random) % 24); skip > 0; skip--) {
            const size_t next = at + RTD_BLOCK_HEADER_BYTES + rtd_bytes_load_u32(copy + at + 12);
            at = next < size ? next : at;
        }
        const uint32_t stored = rtd_bytes_load_u32(copy + at + 12);
        for (unsigned k = 0; k < 3; k++) {
            const size_t where =
                4 + rtd_random_next(&random) % (RTD_BLOCK_HEADER_BYTES + stored - 4);
            if (where < 12 || where >= 16) {
                copy[at + where] = (uint8_t)rtd_random_next(&random);
            }
        }
        rtd_bytes_store_u32(copy + at + 28,
                            rtd_block_crc(copy + at, copy + at + RTD_BLOCK_HEADER_BYTES, stored));
        write_file(copy, size);
        struct rtd_recording *const recording =
            rtd_recording_open(rtd_support_path, &err, diag, sizeof(diag));
        assert_non_null(recording);
        rtd_recording_close(recording);
        free(copy);
    }
    free(bytes);
}

static void a_block_of_a_later_version_is_passed_over(void **state)
{
    (void)state;
    size_t size;
    uint8_t *const bytes = reference_file(&size);
    const size_t first = RTD_BLOCK_HEADER_BYTES + rtd_bytes_load_u32(bytes + 64 + 12);
    uint8_t *const copy = malloc(size + first);

    /* The first block twice, the first time as one of an unknown type. */
    memcpy(copy, bytes, RTD_FILE_HEADER_BYTES + first);
    memcpy(copy + RTD_FILE_HEADER_BYTES + first, bytes + RTD_FILE_HEADER_BYTES,
           size - RTD_FILE_HEADER_BYTES);
    uint8_t *const block = copy + RTD_FILE_HEADER_BYTES;
    block[4] = 200;
    rtd_bytes_store_u32(block + 28, rtd_block_crc(block, block + RTD_BLOCK_HEADER_BYTES,
                                                  (uint32_t)first - RTD_BLOCK_HEADER_BYTES));
    write_file(copy, size + first);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_true(recording->complete);
    assert_int_equal(recording->damage_offset, -1);
    assert_int_equal(recording->process_count, 2);
    rtd_recording_close(recording);
    free(copy);
    free(bytes);
}

static void full_disk_loses_writes_and_nothing_else(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    struct rlimit before;
    struct stat status;

    rtd_support_ledger_fill(ledger, 1, 500);
    struct rtd_process_record *record = rtd_support_record_new(ledger, 0);
    assert_true(rtd_recording_write(writer, record) > 0);
    assert_int_equal(stat(rtd_support_path, &status), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit tight = {(rlim_t)status.st_size + 1000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);

    rtd_support_ledger_fill(ledger, 2, 2000);
    struct rtd_process_record *const second = rtd_support_record_new(ledger, 0);
    const int64_t refused = rtd_recording_write(writer, second);
    struct rtd_recording *recording = rtd_support_open_recording(rtd_support_path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(refused, -EFBIG);
    /* As if it had not been tried. */
    assert_int_equal(recording->damage_offset, -1);
    assert_same_record(recording->processes[0], record);
    rtd_recording_close(recording);

    assert_true(rtd_recording_write(writer, second) > 0);
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    recording = rtd_support_open_recording(rtd_support_path);
    assert_true(recording->complete);
    assert_true(recording->lost_writes > 0);
    assert_same_record(recording->processes[0], second);
    rtd_recording_close(recording);
    rtd_support_record_free(second);
    rtd_support_record_free(record);
    free(ledger);
}

/* Writes into a file system of 256 KiB until it is full, then makes room. The child's verdict. */
static int fill_small_disk(const char *mount_point)
{
    char name[700];
    int err = 0;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", mount_point, "tmpfs", 0, "size=256k") != 0) {
        return RTD_SUPPORT_SKIPPED;
    }
    snprintf(name, sizeof(name), "%s/run.riptide", mount_point);
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(name, &err);
    rtd_support_ledger_fill(ledger, 1, 20000);
    struct rtd_process_record *const record = rtd_support_record_new(ledger, 0);
    struct rtd_process_record *const blind = rtd_support_record_new(NULL, 1);
    if (writer == NULL || rtd_recording_write(writer, blind) <= 0 ||
        rtd_recording_write(writer, record) != -ENOSPC) {
        return 1;
    }
    if (mount("none", mount_point, NULL, MS_REMOUNT, "size=8m") != 0 ||
        rtd_recording_write(writer, record) <= 0 || rtd_recording_finish(writer) != 0) {
        return 2;
    }
    struct rtd_recording *const recording = rtd_support_open_recording(name);
    return recording->complete && recording->lost_writes > 0 && recording->process_count == 2 &&
                   rtd_support_images_differ(recording->processes[0]->image, record->image) == 0
               ? 0
               : 3;
}

static void recording_goes_on_when_a_full_disk_has_room_again(void **state)
{
    (void)state;
    int status = 0;
    const pid_t child = fork();

    if (child == 0) {
        _exit(fill_small_disk(rtd_support_folder));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == RTD_SUPPORT_SKIPPED)
        rtd_support_skip("mounting a small file system needs privileges");
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Changes everything that a state block holds, so that it compresses badly. */
static void shuffle_samples(struct rtd_image *image, uint64_t *random)
{
    image->sample_count = 20000;
    for (uint32_t i = 0; i < image->sample_count; i++) {
        image->samples[i].address = rtd_random_next(random) >> 20 | 16;
        image->samples[i].size = rtd_random_next(random) >> 40;
        image->samples[i].interval = 65536;
        image->samples[i].site = 0;
    }
}

static void waste_is_rewritten_and_the_file_stays_the_same_to_a_reader(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    struct rtd_symbol_table *const symbols = rtd_support_symbols_new();
    uint64_t random = 5;
    struct stat status;
    off_t before = 0;

    assert_int_equal(chmod(rtd_support_path, 0640), 0);
    rtd_support_ledger_fill(ledger, 1, 3000);
    struct rtd_process_record *const record = rtd_support_record_new(ledger, 0);
    struct rtd_process_record *const other = rtd_support_record_new(ledger, 1);
    assert_true(rtd_recording_write(writer, other) > 0);
    assert_true(rtd_recording_write_symbols(writer, symbols) > 0);
    unsigned shrunk = 0;
    for (unsigned i = 0; i < 150; i++) {
        shuffle_samples(record->image, &random);
        assert_true(rtd_recording_write(writer, record) > 0);
        assert_int_equal(stat(rtd_support_path, &status), 0);
        shrunk += status.st_size < before;
        before = status.st_size;
    }
    assert_true(shrunk >= 1);
    assert_true(status.st_size < 24 << 20);
    assert_int_equal(status.st_mode & 07777, 0640);
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_true(recording->complete);
    assert_int_equal(recording->process_count, 2);
    assert_same_record(recording->processes[0], record);
    assert_same_record(recording->processes[1], other);
    assert_same_symbols(recording->symbols);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    rtd_support_record_free(other);
    rtd_symbol_table_free(symbols);
    free(ledger);
}

static void a_recording_moved_away_is_not_replaced(void **state)
{
    (void)state;
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    char moved[700];
    uint64_t random = 6;

    snprintf(moved, sizeof(moved), "%s.moved", rtd_support_path);
    rtd_support_ledger_fill(ledger, 1, 100);
    struct rtd_process_record *const record = rtd_support_record_new(ledger, 0);
    assert_int_equal(rename(rtd_support_path, moved), 0);
    for (unsigned i = 0; i < 80; i++) {
        shuffle_samples(record->image, &random);
        assert_true(rtd_recording_write(writer, record) > 0);
    }
    assert_int_equal(rtd_recording_finish(writer), 0);
    rtd_recording_writer_close(writer);
    assert_int_equal(access(rtd_support_path, F_OK), -1);
    struct rtd_recording *const recording = rtd_support_open_recording(moved);
    assert_true(recording->complete);
    assert_same_record(recording->processes[0], record);
    rtd_recording_close(recording);
    rtd_support_record_free(record);
    assert_int_equal(unlink(moved), 0);
    free(ledger);
}

/* Records until it is killed; each state's clock counts on, and tells over the pipe. */
static void record_for_ever(int told)
{
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    int err;
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(rtd_support_path, &err);
    struct rtd_process_record *const record = rtd_support_record_new(ledger, 0);

    for (uint64_t i = 1;; i++) {
        rtd_support_ledger_fill(ledger, i, 20);
        rtd_ledger_tick(ledger, i);
        (void)rtd_image_read(record->image, ledger);
        if (rtd_recording_write(writer, record) <= 0 ||
            write(told, &i, sizeof(i)) != (ssize_t)sizeof(i)) {
            _exit(1);
        }
    }
}

static void recording_of_a_killed_collector_holds_all_that_was_written(void **state)
{
    (void)state;
    uint64_t random = 77;

    for (unsigned round = 0; round < 50; round++) {
        int ends[2];
        uint64_t last = 0, next = 0;
        (void)unlink(rtd_support_path);
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            record_for_ever(ends[1]);
        }
        close(ends[1]);
        assert_int_equal(read(ends[0], &last, sizeof(last)), sizeof(last));
        usleep((useconds_t)(rtd_random_next(&random) % 15000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(ends[0], &next, sizeof(next)) == (ssize_t)sizeof(next)) {
            last = next;
        }
        close(ends[0]);
        struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
        assert_false(recording->complete);
        assert_int_equal(recording->process_count, 1);
        /* What write() said is in is in; one more may be. */
        assert_in_range(recording->processes[0]->image->clock_ms, last, last + 1);
        assert_true(recording->processes[0]->image->sample_count > 0);
        rtd_recording_close(recording);
    }
}

static void only_a_regular_file_becomes_a_recording(void **state)
{
    (void)state;
    char place[700];
    int err = 0;

    assert_null(rtd_recording_writer_open(rtd_support_folder, &err));
    assert_int_equal(err, -EISDIR);
    assert_null(rtd_recording_writer_open("/dev/null", &err));
    assert_int_equal(err, -EINVAL);
    snprintf(place, sizeof(place), "%s/fifo", rtd_support_folder);
    assert_int_equal(mkfifo(place, 0600), 0);
    assert_null(rtd_recording_writer_open(place, &err));
    assert_int_equal(err, -EINVAL);
    assert_int_equal(unlink(place), 0);
    snprintf(place, sizeof(place), "%s/none/run.riptide", rtd_support_folder);
    assert_null(rtd_recording_writer_open(place, &err));
    assert_int_equal(err, -ENOENT);
    assert_null(rtd_recording_writer_open("", &err));
    assert_int_equal(err, -ENOENT);
}

static void two_writers_do_not_share_a_file(void **state)
{
    (void)state;
    int err = 0;
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);

    assert_null(rtd_recording_writer_open(rtd_support_path, &err));
    assert_int_equal(err, -EBUSY);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_int_equal(recording->process_count, 0);
    rtd_recording_close(recording);
    rtd_recording_writer_close(writer);
}

static void what_is_no_recording_is_refused_with_a_reason(void **state)
{
    (void)state;
    char diag[1024];
    int err = 0;
    size_t size;

    write_file((const uint8_t *)"hello, this is a text file that is longer than a header is, "
                                "and is not a recording",
               82);
    assert_null(rtd_recording_open(rtd_support_path, &err, diag, sizeof(diag)));
    assert_int_equal(err, -EBADMSG);
    assert_non_null(strstr(diag, "not a RipTide recording"));
    assert_null(rtd_recording_open(rtd_support_folder, &err, diag, sizeof(diag)));
    assert_int_equal(err, -EISDIR);
    assert_null(rtd_recording_open("/dev/null", &err, diag, sizeof(diag)));
    assert_int_equal(err, -EINVAL);
    uint8_t *const bytes = reference_file(&size);
    const struct rtd_file_header newer = {.version = RTD_RECORDING_VERSION + 1};
    rtd_file_header_encode(&newer, bytes);
    write_file(bytes, size);
    assert_null(rtd_recording_open(rtd_support_path, &err, diag, sizeof(diag)));
    assert_int_equal(err, -EBADMSG);
    assert_non_null(strstr(diag, "newer version"));
    free(bytes);
}

static void a_recording_of_the_first_version_is_read(void **state)
{
    (void)state;
    size_t size;
    uint8_t *const bytes = reference_file(&size);
    const struct rtd_file_header older = {.version = 1};

    rtd_file_header_encode(&older, bytes);
    write_file(bytes, size);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_int_equal(recording->damage_offset, -1);
    assert_true(recording->process_count > 0);
    rtd_recording_close(recording);
    free(bytes);
}

static int count_entry(void *context, const struct rtd_symbol_entry *entry)
{
    (void)entry;
    ++*(size_t *)context;
    return 0;
}

static void many_symbols_take_several_blocks(void **state)
{
    (void)state;
    int err = 0;
    struct rtd_symbol_table *const symbols = rtd_symbol_table_new(&err);
    struct rtd_recording_writer *const writer = rtd_support_open_writer(rtd_support_path);
    char name[2000];
    char module_path[64];
    size_t count = 0;

    memset(name, 'f', sizeof(name));
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(name + 1980, 20, "%u", i);
        snprintf(module_path, sizeof(module_path), "/lib/%u.so", i % 300);
        const struct rtd_symbol_module module = {module_path, NULL, 0};
        const struct rtd_symbol_frame frame = {name, "", i, false};
        assert_int_equal(rtd_symbol_table_add(symbols, &module, i, &frame, 1), 1);
    }
    assert_true(rtd_recording_write_symbols(writer, symbols) > 0);
    rtd_recording_writer_close(writer);
    struct rtd_recording *const recording = rtd_support_open_recording(rtd_support_path);
    assert_int_equal(recording->damage_offset, -1);
    assert_int_equal(rtd_symbol_table_each(recording->symbols, 0, count_entry, &count), 0);
    assert_int_equal(count, 6000);
    rtd_recording_close(recording);
    rtd_symbol_table_free(symbols);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_gives_back_what_was_written),
        cmocka_unit_test(recording_grows_with_its_ledger_and_keeps_the_newest_state),
        cmocka_unit_test(every_truncation_opens_up_to_the_last_whole_block),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(damage_with_a_right_checksum_is_contained),
        cmocka_unit_test(a_block_of_a_later_version_is_passed_over),
        cmocka_unit_test(full_disk_loses_writes_and_nothing_else),
        cmocka_unit_test(recording_goes_on_when_a_full_disk_has_room_again),
        cmocka_unit_test(waste_is_rewritten_and_the_file_stays_the_same_to_a_reader),
        cmocka_unit_test(a_recording_moved_away_is_not_replaced),
        cmocka_unit_test(recording_of_a_killed_collector_holds_all_that_was_written),
        cmocka_unit_test(only_a_regular_file_becomes_a_recording),
        cmocka_unit_test(two_writers_do_not_share_a_file),
        cmocka_unit_test(what_is_no_recording_is_refused_with_a_reason),
        cmocka_unit_test(a_recording_of_the_first_version_is_read),
        cmocka_unit_test(many_symbols_take_several_blocks),
    };
    return cmocka_run_group_tests(tests, rtd_support_make_folder, rtd_support_remove_folder);
}
