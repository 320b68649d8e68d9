// SPDX-License-Identifier: Apache-2.0
/*
 * history_reader.c - opens a recording, whole or not.
 *
 * Runs in:    report
 * Threads:    a recording belongs to one thread
 * Allocates:  what the file describes, within the limits of its block types
 * Fails:      NULL when it is no recording; damage further on ends the reading and is told
 *
 * Read, not mapped: a file that shrinks under a mapping is a SIGBUS.
 */
#include "history/history_block.h"
#include "history/history_decode.h"
#include "history/history_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reading {
    int fd;
    uint64_t size, offset;
    struct rtd_recording *recording;
    struct rtd_decode_process *processes; /* in order of id */
    uint32_t process_count, process_capacity;
    struct rtd_block_buffer stored, scratch;
};

/* Reads size bytes at offset: 0, -EBADMSG when the file ends before, or another errno. */
static int read_at(int fd, void *out, size_t size, uint64_t offset)
{
    uint8_t *at = out;

    while (size != 0) {
        const ssize_t got = pread(fd, at, size, (off_t)offset);
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        if (got == 0) {
            return -EBADMSG;
        }
        if (got > 0) {
            at += got;
            offset += (uint64_t)got;
            size -= (size_t)got;
        }
    }
    return 0;
}

static int open_file(struct reading *reading, const char *path, char *diag, size_t diag_size)
{
    struct stat status;

    reading->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (reading->fd < 0 || fstat(reading->fd, &status) != 0) {
        const int error = -errno;
        snprintf(diag, diag_size, "cannot open %s: %s", path, strerror(-error));
        return error;
    }
    if (S_ISDIR(status.st_mode)) {
        snprintf(diag, diag_size, "%s is a directory", path);
        return -EISDIR;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(diag, diag_size, "%s is not a regular file", path);
        return -EINVAL;
    }
    reading->size = (uint64_t)status.st_size;
    return 0;
}

static int read_file_header(struct reading *reading, const char *path, char *diag, size_t diag_size)
{
    uint8_t bytes[RTD_FILE_HEADER_BYTES];
    struct rtd_file_header header;
    int error = read_at(reading->fd, bytes, sizeof(bytes), 0);

    if (error != 0 && error != -EBADMSG) {
        snprintf(diag, diag_size, "cannot read %s: %s", path, strerror(-error));
        return error;
    }
    error = error != 0 ? error : rtd_file_header_decode(bytes, &header);
    if (error == -ENOTSUP) {
        snprintf(diag, diag_size, "%s was made by a newer version (format %" PRIu32 ")", path,
                 header.version);
        return -EBADMSG;
    }
    if (error != 0) {
        snprintf(diag, diag_size, "%s is not a RipTide recording", path);
        return error;
    }
    reading->offset = RTD_FILE_HEADER_BYTES;
    return 0;
}

/* Says where reading ended and why; the rest of the file is left alone. */
static void set_damage(struct reading *reading, const char *what)
{
    struct rtd_recording *const recording = reading->recording;

    recording->damage_offset = (int64_t)reading->offset;
    snprintf(recording->damage, sizeof(recording->damage),
             "The recording %s at byte %" PRIu64 " of %" PRIu64 "; what stands before is used.",
             what, reading->offset, reading->size);
}

/* The process of a block, made when it is new. NULL when memory is short or there are too many. */
static struct rtd_decode_process *process_get(struct reading *reading, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = reading->process_count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (reading->processes[middle].record->meta.id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < reading->process_count && reading->processes[low].record->meta.id == id) {
        return &reading->processes[low];
    }
    if (reading->process_count == reading->process_capacity) {
        const uint32_t capacity = reading->process_capacity * 2 + 8;
        struct rtd_decode_process *const grown =
            realloc(reading->processes, capacity * sizeof(reading->processes[0]));
        if (grown == NULL) {
            return NULL;
        }
        reading->processes = grown;
        reading->process_capacity = capacity;
    }
    struct rtd_process_record *const record = calloc(1, sizeof(*record));
    if (record == NULL) {
        return NULL;
    }
    record->meta.id = id;
    memmove(&reading->processes[low + 1], &reading->processes[low],
            (reading->process_count - low) * sizeof(reading->processes[0]));
    reading->processes[low] = (struct rtd_decode_process){.record = record};
    reading->process_count++;
    return &reading->processes[low];
}

static int apply_finish(struct reading *reading, struct rtd_cursor *in)
{
    (void)rtd_cursor_get_u64(in);
    const uint64_t lost = rtd_cursor_get_u64(in);

    if (in->failed) {
        return -EBADMSG;
    }
    reading->recording->complete = true;
    reading->recording->lost_writes = lost;
    return 0;
}

static int apply_payload(struct reading *reading, const struct rtd_block_header *header,
                         struct rtd_cursor *in)
{
    if (header->type == RTD_BLOCK_SYMBOLS) {
        return rtd_decode_symbols(reading->recording->symbols, in);
    }
    if (header->type == RTD_BLOCK_FINISH) {
        return apply_finish(reading, in);
    }
    if (header->process >= RTD_RECORDING_PROCESSES) {
        return -EBADMSG;
    }
    struct rtd_decode_process *const process = process_get(reading, header->process);
    return process == NULL ? -ENOMEM : rtd_decode_process_block(process, header->type, in);
}

/* A block of a type that a later version added: its checksum counts, its contents do not. */
static bool is_known_type(uint16_t type)
{
    return type >= RTD_BLOCK_META && type < RTD_BLOCK_TYPES;
}

/*
 * Reads header and payload of the block at reading->offset. 0, -EBADMSG when it is cut or damaged
 * (damage is set), or an errno that ends all.
 */
static int load_block(struct reading *reading, struct rtd_block_header *header)
{
    static const char *const cut = "ends in the middle of a block";
    uint8_t bytes[RTD_BLOCK_HEADER_BYTES];
    const uint64_t left = reading->size - reading->offset;
    int error = left < sizeof(bytes) ? -EBADMSG
                                     : read_at(reading->fd, bytes, sizeof(bytes), reading->offset);

    if (error == 0 && rtd_block_header_decode(bytes, header) != 0) {
        set_damage(reading, "has a damaged block");
        return -EBADMSG;
    }
    if (error != 0 || header->stored_bytes > left - sizeof(bytes)) {
        set_damage(reading, error == 0 || error == -EBADMSG ? cut : "cannot be read");
        return -EBADMSG;
    }
    rtd_block_buffer_clear(&reading->stored);
    /* One more, for an empty payload needs an address too. */
    uint8_t *const stored =
        rtd_block_buffer_reserve(&reading->stored, (size_t)header->stored_bytes + 1);
    if (stored == NULL) {
        return -ENOMEM;
    }
    error = read_at(reading->fd, stored, header->stored_bytes, reading->offset + sizeof(bytes));
    if (error != 0) {
        set_damage(reading, error == -EBADMSG ? cut : "cannot be read");
        return -EBADMSG;
    }
    if (rtd_block_crc(bytes, stored, header->stored_bytes) != header->crc) {
        set_damage(reading, "has a damaged block");
        return -EBADMSG;
    }
    return 0;
}

/* Reads and applies the block at reading->offset and moves on; the results of load_block(). */
static int read_block(struct reading *reading)
{
    struct rtd_block_header header = {0};
    int error = load_block(reading, &header);

    if (error != 0) {
        return error;
    }
    if (is_known_type(header.type)) {
        const uint8_t *const plain =
            rtd_block_payload(&header, reading->stored.bytes, &reading->scratch, &error);
        if (plain != NULL) {
            struct rtd_cursor in = {.at = plain, .left = header.plain_bytes};
            error = apply_payload(reading, &header, &in);
        }
        if (error == -EBADMSG) {
            set_damage(reading, "has a block with unusable contents");
        }
        if (error != 0) {
            return error;
        }
    }
    if (header.lost_writes > reading->recording->lost_writes) {
        reading->recording->lost_writes = header.lost_writes;
    }
    reading->offset += RTD_BLOCK_HEADER_BYTES + header.stored_bytes;
    return 0;
}

/* Hands the processes over to the recording; one of which only parts came is left out. */
static int take_processes(struct reading *reading)
{
    struct rtd_recording *const recording = reading->recording;

    recording->processes =
        calloc((size_t)reading->process_count + 1, sizeof(struct rtd_process_record *));
    if (recording->processes == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < reading->process_count; i++) {
        struct rtd_decode_process *const process = &reading->processes[i];
        if (process->has_meta) {
            rtd_decode_finish(process);
            recording->processes[recording->process_count++] = process->record;
            process->record = NULL;
        }
    }
    return 0;
}

static int read_all(struct reading *reading)
{
    int error = 0;

    reading->recording = calloc(1, sizeof(*reading->recording));
    if (reading->recording == NULL) {
        return -ENOMEM;
    }
    reading->recording->damage_offset = -1;
    reading->recording->symbols = rtd_symbol_table_new(&error);
    if (reading->recording->symbols == NULL) {
        return error;
    }
    while (error == 0 && reading->offset < reading->size) {
        error = read_block(reading);
    }
    if (error != 0 && error != -EBADMSG) {
        return error;
    }
    return take_processes(reading);
}

struct rtd_recording *rtd_recording_open(const char *path, int *err, char *diag, size_t diag_size)
{
    struct reading reading = {.fd = -1};
    struct rtd_recording *result = NULL;

    snprintf(diag, diag_size, "%s", "");
    *err = open_file(&reading, path, diag, diag_size);
    if (*err != 0) {
        goto out;
    }
    *err = read_file_header(&reading, path, diag, diag_size);
    if (*err != 0) {
        goto out;
    }
    *err = read_all(&reading);
    if (*err != 0) {
        snprintf(diag, diag_size, "cannot read %s: %s", path, strerror(-*err));
        goto out;
    }
    result = reading.recording;
    reading.recording = NULL;
out:
    for (uint32_t i = 0; i < reading.process_count; i++) {
        rtd_decode_record_free(reading.processes[i].record);
    }
    free(reading.processes);
    rtd_block_buffer_fini(&reading.stored);
    rtd_block_buffer_fini(&reading.scratch);
    rtd_recording_close(reading.recording);
    if (reading.fd >= 0) {
        close(reading.fd);
    }
    return result;
}

void rtd_recording_close(struct rtd_recording *recording)
{
    if (recording == NULL) {
        return;
    }
    for (uint32_t i = 0; i < recording->process_count; i++) {
        rtd_decode_record_free(recording->processes[i]);
    }
    free(recording->processes);
    rtd_symbol_table_free(recording->symbols);
    free(recording);
}
