// SPDX-License-Identifier: Apache-2.0
/*
 * fuzz_recording.c - the reader of recordings on arbitrary files.
 *
 * Runs in:    fuzzer
 * Threads:    one
 * Allocates:  a memory file
 * Fails:      by crashing, which is the finding
 *
 * Every input is read twice: as it is, and with the checksums put right, for otherwise nearly no
 * mutation would get behind them.
 */
#include "../test/support/support_exact.h"
#include "../test/support/support_ledger.h"
#include "history/history_block.h"
#include "history/history_recording.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
size_t rtd_fuzz_seed(unsigned index, uint8_t **out);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void use_recording(const struct rtd_recording *recording, size_t bytes)
{
    static struct rtd_image_stack stack;

    require(recording->damage_offset <= (int64_t)bytes);
    for (uint32_t i = 0; i < recording->process_count; i++) {
        const struct rtd_process_record *const record = recording->processes[i];
        require(i == 0 || record->meta.id > recording->processes[i - 1]->meta.id);
        require(record->point_count <= RTD_POINT_MAX);
        const struct rtd_image *const image = record->image;
        for (uint32_t k = 0; image != NULL && k < image->sample_count; k++) {
            require(image->samples[k].site < image->site_count);
        }
        for (uint32_t k = 0; image != NULL && k < image->site_count; k++) {
            require(image->sites[k].tag < image->tag_count);
            rtd_image_stack_get(image, image->sites[k].stack, &stack);
        }
    }
}

static void read_bytes(const uint8_t *data, size_t bytes)
{
    const int fd = memfd_create("recording", MFD_CLOEXEC);
    char path[64], diag[256];
    int err;

    require(fd >= 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (write(fd, data, bytes) == (ssize_t)bytes) {
        struct rtd_recording *const recording = rtd_recording_open(path, &err, diag, sizeof(diag));
        require((recording == NULL) == (err != 0));
        if (recording != NULL) {
            use_recording(recording, bytes);
        }
        rtd_recording_close(recording);
    }
    close(fd);
}

/* Puts a right file header in front and right checksums into what still looks like blocks. */
static void sign_blocks(uint8_t *bytes, size_t size)
{
    const struct rtd_file_header header = {.version = RTD_RECORDING_VERSION};
    size_t at = RTD_FILE_HEADER_BYTES;

    if (size < RTD_FILE_HEADER_BYTES) {
        return;
    }
    rtd_file_header_encode(&header, bytes);
    while (size - at >= RTD_BLOCK_HEADER_BYTES) {
        const uint32_t stored = rtd_bytes_load_u32(bytes + at + 12);
        if (stored > size - at - RTD_BLOCK_HEADER_BYTES) {
            return;
        }
        rtd_bytes_store_u32(bytes + at, RTD_BLOCK_MAGIC);
        rtd_bytes_store_u32(bytes + at + 28,
                            rtd_block_crc(bytes + at, bytes + at + RTD_BLOCK_HEADER_BYTES, stored));
        at += RTD_BLOCK_HEADER_BYTES + stored;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *const copy = malloc(bytes + 1);

    require(copy != NULL);
    memcpy(copy, data, bytes);
    read_bytes(copy, bytes);
    sign_blocks(copy, bytes);
    read_bytes(copy, bytes);
    free(copy);
    return 0;
}

static size_t load_file(const char *path, uint8_t **out)
{
    struct stat status;
    FILE *const file = fopen(path, "rbe");

    require(file != NULL && fstat(fileno(file), &status) == 0);
    *out = malloc((size_t)status.st_size);
    require(*out != NULL);
    require(fread(*out, 1, (size_t)status.st_size, file) == (size_t)status.st_size);
    fclose(file);
    return (size_t)status.st_size;
}

/* What exact mode writes: a whole state, changes, nodes, live blocks. */
static void write_exact(struct rtd_recording_writer *writer, uint32_t id, unsigned events)
{
    struct rtd_support_exact *const made = rtd_support_exact_new();
    struct rtd_process_record *const record = rtd_support_record_new(NULL, id);

    record->image = rtd_image_new();
    require(record->image != NULL);
    for (uint64_t i = 0; i < 3; i++) {
        rtd_support_exact_fill(made, i, events);
        require(rtd_image_read_sparse(record->image, made->handle.ledger, made->handle.fd) == 0);
        require(rtd_image_blocks_read(record->image, made->handle.fd) == 0);
        require(rtd_recording_write(writer, record) > 0);
    }
    rtd_support_record_free(record);
    rtd_support_exact_free(made);
}

/* Two seeds: one so small that little is compressed, and one with everything. */
size_t rtd_fuzz_seed(unsigned index, uint8_t **out)
{
    char path[] = P_tmpdir "/riptide-fuzz-XXXXXX";
    int err = 0;

    if (index >= 2) {
        return 0;
    }
    const int fd = mkstemp(path);
    require(fd >= 0);
    close(fd);
    struct rtd_ledger *const ledger = rtd_support_ledger_new();
    struct rtd_symbol_table *const symbols = rtd_support_symbols_new();
    struct rtd_recording_writer *const writer = rtd_recording_writer_open(path, &err);
    require(writer != NULL);
    for (uint32_t i = 0; i < 2 + index; i++) {
        rtd_support_ledger_fill(ledger, i, index == 0 ? 2 : 200);
        struct rtd_process_record *const record = rtd_support_record_new(ledger, i / 2);
        require(rtd_recording_write(writer, record) > 0);
        rtd_support_record_free(record);
    }
    write_exact(writer, 2 + index, index == 0 ? 1 : 100);
    require(rtd_recording_write_symbols(writer, symbols) > 0);
    require(rtd_recording_finish(writer) == 0);
    rtd_recording_writer_close(writer);
    rtd_symbol_table_free(symbols);
    free(ledger);
    const size_t size = load_file(path, out);
    require(unlink(path) == 0);
    return size;
}
