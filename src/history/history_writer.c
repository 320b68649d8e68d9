// SPDX-License-Identifier: Apache-2.0
/*
 * history_writer.c - appends to a recording, so that it is readable at every instant.
 *
 * Runs in:    collector
 * Threads:    a writer belongs to one thread
 * Allocates:  the index of blocks, a mirror of each process's tables, the batch
 * Fails:      by a negative errno; the file then ends with the last whole block
 *
 * One call is one batch and one pwrite at the known end. Only when that has succeeded does the
 * writer remember the batch as written, so after a full disk the next call carries all that is
 * missing. What a killed collector leaves is a file whose last block may be torn, which the
 * checksum shows. No fsync: a process's death loses nothing that was written, only a machine's
 * death does, and a profiler has no business stalling on somebody's disk.
 */
#include "history/history_writer.h"

#include "history/history_maps.h"
#include "history/history_recording.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

int rtd_writer_pwrite(int fd, const void *bytes, size_t size, uint64_t offset)
{
    const uint8_t *at = bytes;
    const struct timespec at_once = {0};
    sigset_t set, before;
    int error = 0;

    /* RLIMIT_FSIZE would kill the collector by SIGXFSZ; blocked, it is an errno. */
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    while (size != 0 && error == 0) {
        const ssize_t written = pwrite(fd, at, size, (off_t)offset);
        if (written < 0) {
            error = errno == EINTR ? 0 : -errno;
        } else if (written == 0) {
            error = -EIO;
        } else {
            at += written;
            offset += (uint64_t)written;
            size -= (size_t)written;
        }
    }
    if (error == -EFBIG && sigismember(&before, SIGXFSZ) == 0) {
        (void)sigtimedwait(&set, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int rtd_writer_lock(int fd)
{
    /* File systems without locks are fine: the lock is a courtesy against mistakes. */
    return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? -EBUSY : 0;
}

/* Opens path for a new recording: a regular file or none yet. Its descriptor or an error. */
static int open_target(const char *path)
{
    struct stat status;
    /* Not truncated yet: it must first turn out to be a file, and nobody else's recording. */
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    int error = 0;

    if (fd < 0) {
        /* A socket, or a FIFO that refuses, is as little a file as one that opens. */
        return errno == ENXIO ? -EINVAL : -errno;
    }
    if (fstat(fd, &status) != 0) {
        error = -errno;
    } else if (!S_ISREG(status.st_mode)) {
        error = -EINVAL;
    } else {
        error = rtd_writer_lock(fd);
    }
    if (error == 0 && ftruncate(fd, 0) != 0) {
        error = -errno;
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}

static struct rtd_file_header new_header(void)
{
    struct timespec now;
    struct rtd_file_header header = {.version = RTD_RECORDING_VERSION};

    clock_gettime(CLOCK_REALTIME, &now);
    header.created_unix_ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
    if (getrandom(&header.session, sizeof(header.session), GRND_NONBLOCK) !=
        (ssize_t)sizeof(header.session)) {
        header.session = header.created_unix_ns ^ (uint64_t)getpid() << 48;
    }
    return header;
}

static int begin_file(struct rtd_recording_writer *writer, const char *path)
{
    uint8_t bytes[RTD_FILE_HEADER_BYTES];

    writer->fd = open_target(path);
    if (writer->fd < 0) {
        return writer->fd;
    }
    writer->path = realpath(path, NULL);
    if (writer->path == NULL) {
        return -errno;
    }
    writer->context = ZSTD_createCCtx();
    if (writer->context == NULL) {
        return -ENOMEM;
    }
    writer->header = new_header();
    rtd_file_header_encode(&writer->header, bytes);
    writer->end = sizeof(bytes);
    return rtd_writer_pwrite(writer->fd, bytes, sizeof(bytes), 0);
}

struct rtd_recording_writer *rtd_recording_writer_open(const char *path, int *err)
{
    struct rtd_recording_writer *const writer = calloc(1, sizeof(*writer));
    int error = -ENOMEM;

    if (writer != NULL) {
        writer->fd = -1;
        error = begin_file(writer, path);
    }
    *err = error;
    if (error != 0) {
        rtd_recording_writer_close(writer);
        return NULL;
    }
    return writer;
}

static void free_process(struct rtd_writer_process *process)
{
    if (process != NULL) {
        rtd_encode_known_fini(&process->known);
        free(process);
    }
}

void rtd_recording_writer_close(struct rtd_recording_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    for (size_t i = 0; i < writer->process_capacity; i++) {
        free_process(writer->processes[i]);
    }
    free(writer->processes);
    free(writer->places);
    rtd_block_buffer_fini(&writer->batch);
    rtd_block_buffer_fini(&writer->payload);
    ZSTD_freeCCtx(writer->context);
    free(writer->path);
    if (writer->fd >= 0) {
        close(writer->fd);
    }
    free(writer);
}

/* The writer's knowledge of a process, made when it is new. NULL with *err. */
static struct rtd_writer_process *process_get(struct rtd_recording_writer *writer, uint32_t id,
                                              int *err)
{
    *err = id >= RTD_RECORDING_PROCESSES ? -EINVAL : -ENOMEM;
    if (id >= RTD_RECORDING_PROCESSES) {
        return NULL;
    }
    if (id >= writer->process_capacity) {
        const size_t capacity = (size_t)id + id / 2 + 16;
        struct rtd_writer_process **const grown =
            realloc(writer->processes, capacity * sizeof(struct rtd_writer_process *));
        if (grown == NULL) {
            return NULL;
        }
        for (size_t i = writer->process_capacity; i < capacity; i++) {
            grown[i] = NULL;
        }
        writer->processes = grown;
        writer->process_capacity = capacity;
    }
    if (writer->processes[id] == NULL) {
        struct rtd_writer_process *const process = calloc(1, sizeof(*process));
        if (process == NULL) {
            return NULL;
        }
        for (unsigned i = 0; i < RTD_BLOCK_TYPES; i++) {
            process->place[i] = RTD_NO_BLOCK;
        }
        writer->processes[id] = process;
    }
    return writer->processes[id];
}

/* Two checksums of different kind: a payload that equals the one before need not be written. */
static uint64_t fingerprint(const struct rtd_block_buffer *payload)
{
    const uint64_t crc = crc32_z(0, payload->bytes, payload->length);
    const uint64_t adler = adler32_z(1, payload->bytes, payload->length);

    return (crc << 32 | adler) ^ payload->length;
}

static void begin_batch(struct rtd_recording_writer *writer)
{
    rtd_block_buffer_clear(&writer->batch);
    writer->pending_count = 0;
}

/* Adds writer->payload as one block to the batch, unless the file has just the same. */
static int add_block(struct rtd_recording_writer *writer, uint16_t type, uint32_t id)
{
    const size_t start = writer->batch.length;
    const uint64_t print = fingerprint(&writer->payload);
    struct rtd_block_header header = {
        .type = type, .process = id, .lost_writes = writer->lost_writes};

    if (rtd_block_replaces(type)) {
        const struct rtd_writer_process *const process = writer->processes[id];
        if (process->place[type] != RTD_NO_BLOCK && process->fingerprint[type] == print) {
            return 0;
        }
    }
    const int error = rtd_block_append(&writer->batch, &header, &writer->payload, writer->context);
    if (error != 0) {
        return error;
    }
    writer->pending[writer->pending_count++] = (struct rtd_pending_block){
        .type = type,
        .process = id,
        .length = (uint32_t)(writer->batch.length - start),
        .fingerprint = print,
    };
    return 0;
}

/* Room in the index for the whole batch, before it is written: afterwards nothing may fail. */
static int reserve_places(struct rtd_recording_writer *writer)
{
    if (writer->place_count + RTD_PENDING_MAX <= writer->place_capacity) {
        return 0;
    }
    const size_t capacity = writer->place_capacity * 2 + 64;
    struct rtd_block_place *const grown =
        realloc(writer->places, capacity * sizeof(writer->places[0]));
    if (grown == NULL) {
        return -ENOMEM;
    }
    writer->places = grown;
    writer->place_capacity = capacity;
    return 0;
}

/* A whole exact state makes the changes before it worthless. */
static void drop_deltas(struct rtd_recording_writer *writer, uint32_t id)
{
    for (size_t i = 0; i < writer->place_count; i++) {
        struct rtd_block_place *const place = &writer->places[i];
        if (place->process == id && place->type == RTD_BLOCK_EXACT_DELTA) {
            writer->dead_bytes += place->length;
            place->length = 0;
        }
    }
    writer->processes[id]->delta_bytes = 0;
}

static void remember_block(struct rtd_recording_writer *writer,
                           const struct rtd_pending_block *pending)
{
    if (rtd_block_replaces(pending->type)) {
        struct rtd_writer_process *const process = writer->processes[pending->process];
        const size_t old = process->place[pending->type];
        if (old != RTD_NO_BLOCK) {
            writer->dead_bytes += writer->places[old].length;
            writer->places[old].length = 0;
        }
        process->place[pending->type] = writer->place_count;
        process->fingerprint[pending->type] = pending->fingerprint;
    }
    if (pending->type == RTD_BLOCK_EXACT_STATE) {
        drop_deltas(writer, pending->process);
    } else if (pending->type == RTD_BLOCK_EXACT_DELTA) {
        writer->processes[pending->process]->delta_bytes += pending->length;
    }
    writer->places[writer->place_count++] = (struct rtd_block_place){
        .offset = writer->end,
        .length = pending->length,
        .process = pending->process,
        .type = pending->type,
    };
    writer->end += pending->length;
}

/* Cuts off what a failed write may have left behind the last whole block. */
static void trim_tail(struct rtd_recording_writer *writer)
{
    writer->tail_dirty = ftruncate(writer->fd, (off_t)writer->end) != 0;
}

/* Writes the batch: its length or a negative errno, after which the file is as before. */
static int64_t commit_batch(struct rtd_recording_writer *writer)
{
    int error = reserve_places(writer);

    if (writer->batch.length == 0) {
        return 0;
    }
    if (error == 0) {
        error =
            rtd_writer_pwrite(writer->fd, writer->batch.bytes, writer->batch.length, writer->end);
    }
    if (error != 0) {
        trim_tail(writer);
        if (writer->lost_writes <= UINT32_MAX - RTD_PENDING_MAX) {
            writer->lost_writes += writer->pending_count;
        }
        return error;
    }
    for (unsigned i = 0; i < writer->pending_count; i++) {
        remember_block(writer, &writer->pending[i]);
    }
    if (writer->tail_dirty) {
        trim_tail(writer);
    }
    return (int64_t)writer->batch.length;
}

typedef uint32_t (*table_encoder)(struct rtd_block_buffer *out,
                                  const struct rtd_encode_known *known,
                                  const struct rtd_image *image);

/*
 * The sites of exact mode: what changed, or all of them when the changes since the last time would
 * outgrow that, so that the file stays within twice of what it must hold.
 */
static int add_exact_sites(struct rtd_recording_writer *writer, const struct rtd_image *image,
                           uint32_t id)
{
    const struct rtd_writer_process *const process = writer->processes[id];
    const size_t state = process->place[RTD_BLOCK_EXACT_STATE];
    const bool is_delta = state != RTD_NO_BLOCK &&
                          image->site_count >= process->known.exact_site_count &&
                          process->delta_bytes <= writer->places[state].length;

    rtd_block_buffer_clear(&writer->payload);
    const uint32_t rows =
        rtd_encode_exact_sites(&writer->payload, is_delta ? &process->known : NULL, image);
    if (is_delta && rows == 0) {
        return 0;
    }
    return add_block(writer, is_delta ? RTD_BLOCK_EXACT_DELTA : RTD_BLOCK_EXACT_STATE, id);
}

/* What refers to the tables. */
static int add_state(struct rtd_recording_writer *writer, const struct rtd_image *image,
                     uint32_t id)
{
    int error = 0;

    if (image->exact == NULL) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_state(&writer->payload, image);
        return add_block(writer, RTD_BLOCK_STATE, id);
    }
    error = add_exact_sites(writer, image, id);
    /* Blocks that were written and are no longer looked at are replaced by none. */
    const bool has_blocks = writer->processes[id]->place[RTD_BLOCK_EXACT_BLOCKS] != RTD_NO_BLOCK;
    if (error == 0 && (has_blocks || image->exact->block_share > 0)) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_exact_blocks(&writer->payload, image);
        error = add_block(writer, RTD_BLOCK_EXACT_BLOCKS, id);
    }
    return error;
}

/* Tables first, then what refers to them: a batch cut in two is right up to the cut. */
static int add_image(struct rtd_recording_writer *writer, const struct rtd_image *image,
                     uint32_t id)
{
    const struct {
        uint16_t type;
        table_encoder encode;
    } tables[] = {
        {RTD_BLOCK_MODULES, rtd_encode_modules},
        {RTD_BLOCK_TAGS, rtd_encode_tags},
        {image->exact != NULL ? RTD_BLOCK_EXACT_NODES : RTD_BLOCK_NODES,
         image->exact != NULL ? rtd_encode_exact_nodes : rtd_encode_nodes},
    };
    const struct rtd_encode_known *const known = &writer->processes[id]->known;
    int error = 0;

    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(tables) && error == 0; i++) {
        rtd_block_buffer_clear(&writer->payload);
        if (tables[i].encode(&writer->payload, known, image) != 0) {
            error = add_block(writer, tables[i].type, id);
        }
    }
    if (error == 0) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_values(&writer->payload, image);
        error = add_block(writer, RTD_BLOCK_VALUES, id);
    }
    return error != 0 ? error : add_state(writer, image, id);
}

static int add_record(struct rtd_recording_writer *writer, const struct rtd_process_record *record)
{
    const uint32_t id = record->meta.id;
    int error;

    begin_batch(writer);
    rtd_block_buffer_clear(&writer->payload);
    rtd_encode_meta(&writer->payload, &record->meta);
    error = add_block(writer, RTD_BLOCK_META, id);
    if (error == 0 && record->image != NULL) {
        error = add_image(writer, record->image, id);
    }
    if (error == 0) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_memory(&writer->payload, record);
        error = add_block(writer, RTD_BLOCK_MEMORY, id);
    }
    if (error == 0 && record->series.point_count != 0) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_series(&writer->payload, &record->series);
        error = add_block(writer, RTD_BLOCK_SERIES, id);
    }
    if (error == 0 && record->mappings.events + record->mappings.unseen != 0) {
        rtd_block_buffer_clear(&writer->payload);
        rtd_encode_mappings(&writer->payload, &record->mappings);
        error = add_block(writer, RTD_BLOCK_MAPS, id);
    }
    return error;
}

int64_t rtd_recording_write(struct rtd_recording_writer *writer,
                            const struct rtd_process_record *record)
{
    int error = 0;
    struct rtd_writer_process *const process = process_get(writer, record->meta.id, &error);

    if (process == NULL) {
        return error;
    }
    if (record->image != NULL && process->known.nodes == NULL) {
        error = rtd_encode_known_init(&process->known);
        if (error != 0) {
            return error;
        }
    }
    error = add_record(writer, record);
    if (error != 0) {
        return error;
    }
    const int64_t written = commit_batch(writer);
    if (written >= 0 && record->image != NULL) {
        rtd_encode_known_update(&process->known, record->image);
    }
    if (written > 0) {
        rtd_writer_compact(writer);
    }
    return written;
}

int64_t rtd_recording_write_symbols(struct rtd_recording_writer *writer,
                                    const struct rtd_symbol_table *table)
{
    int64_t total = 0;

    while (writer->symbols_written < rtd_symbol_table_count(table)) {
        begin_batch(writer);
        rtd_block_buffer_clear(&writer->payload);
        const size_t next = rtd_encode_symbols(&writer->payload, table, writer->symbols_written);
        const int error = writer->payload.length == 0 ? 0 : add_block(writer, RTD_BLOCK_SYMBOLS, 0);
        if (error != 0) {
            return error;
        }
        const int64_t written = commit_batch(writer);
        if (written < 0) {
            return written;
        }
        total += written;
        writer->symbols_written = next;
    }
    return total;
}

int rtd_recording_finish(struct rtd_recording_writer *writer)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    begin_batch(writer);
    rtd_block_buffer_clear(&writer->payload);
    rtd_block_buffer_put_u64(&writer->payload,
                             (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec);
    rtd_block_buffer_put_u64(&writer->payload, writer->lost_writes);
    const int error = add_block(writer, RTD_BLOCK_FINISH, 0);
    const int64_t written = error != 0 ? error : commit_batch(writer);
    return written < 0 ? (int)written : 0;
}
