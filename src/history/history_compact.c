// SPDX-License-Identifier: Apache-2.0
/*
 * history_compact.c - rewrites a recording without the blocks that were replaced.
 *
 * Runs in:    collector
 * Threads:    a writer belongs to one thread
 * Allocates:  one copy buffer
 * Fails:      silently and without harm: the old file stays in use
 *
 * The live blocks are copied byte by byte, in their order, to FILE.tmp, which then takes the old
 * file's name. At every instant the name leads to a whole recording.
 */
#include "history/history_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPACT_LEAST_BYTES (UINT64_C(16) << 20)
enum { COMPACT_RATIO = 4, COPY_BYTES = 256 << 10 };

static int copy_bytes(int to, uint64_t to_offset, int from, const struct rtd_block_place *place)
{
    char *const buffer = malloc(COPY_BYTES);
    uint32_t done = 0;
    int error = buffer == NULL ? -ENOMEM : 0;

    while (error == 0 && done < place->length) {
        const uint32_t left = place->length - done;
        const ssize_t got = pread(from, buffer, left < COPY_BYTES ? left : COPY_BYTES,
                                  (off_t)(place->offset + done));
        if (got <= 0) {
            /* Nothing there: somebody cut our file, which the reader will find too. */
            error = got == 0 ? -EIO : errno == EINTR ? 0 : -errno;
            continue;
        }
        error = rtd_writer_pwrite(to, buffer, (size_t)got, to_offset + done);
        done += (uint32_t)got;
    }
    free(buffer);
    return error;
}

/* Copies header and live blocks; the new length in *end. */
static int copy_live(const struct rtd_recording_writer *writer, int to, uint64_t *end)
{
    uint8_t header[RTD_FILE_HEADER_BYTES];

    rtd_file_header_encode(&writer->header, header);
    int error = rtd_writer_pwrite(to, header, sizeof(header), 0);
    *end = sizeof(header);
    for (size_t i = 0; i < writer->place_count && error == 0; i++) {
        if (writer->places[i].length != 0) {
            error = copy_bytes(to, *end, writer->fd, &writer->places[i]);
            *end += writer->places[i].length;
        }
    }
    return error;
}

/* Closes the ranks of the index after the copy: same order, new offsets. */
static void renumber_places(struct rtd_recording_writer *writer)
{
    uint64_t offset = RTD_FILE_HEADER_BYTES;
    size_t kept = 0;

    for (size_t i = 0; i < writer->place_count; i++) {
        struct rtd_block_place place = writer->places[i];
        if (place.length == 0) {
            continue;
        }
        place.offset = offset;
        offset += place.length;
        if (rtd_block_replaces(place.type)) {
            writer->processes[place.process]->place[place.type] = kept;
        }
        writer->places[kept++] = place;
    }
    writer->place_count = kept;
}

/* A file beside the recording with its owner and mode; its descriptor or an error. */
static int open_beside(const char *path, const struct stat *like)
{
    /* One that is there was left by a collector that was killed while it rewrote. */
    (void)unlink(path);
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        return -errno;
    }
    int error = rtd_writer_lock(fd);
    if (error == 0 && geteuid() == 0 && fchown(fd, like->st_uid, like->st_gid) != 0) {
        error = -errno;
    }
    if (error == 0 && fchmod(fd, like->st_mode & 07777) != 0) {
        error = -errno;
    }
    if (error != 0) {
        close(fd);
        (void)unlink(path);
        return error;
    }
    return fd;
}

static int rewrite(struct rtd_recording_writer *writer)
{
    struct stat ours, named;
    char *beside = NULL;
    uint64_t end = 0;

    /* A recording that was moved away or removed under us is no longer ours to replace. */
    if (fstat(writer->fd, &ours) != 0 || stat(writer->path, &named) != 0) {
        return -errno;
    }
    if (ours.st_dev != named.st_dev || ours.st_ino != named.st_ino) {
        return -ESTALE;
    }
    if (asprintf(&beside, "%s.tmp", writer->path) < 0) {
        return -ENOMEM;
    }
    const int fd = open_beside(beside, &ours);
    int error = fd < 0 ? fd : copy_live(writer, fd, &end);
    if (error == 0 && rename(beside, writer->path) != 0) {
        error = -errno;
    }
    if (error != 0 && fd >= 0) {
        close(fd);
        (void)unlink(beside);
    }
    free(beside);
    if (error == 0) {
        close(writer->fd);
        writer->fd = fd;
        writer->end = end;
        writer->dead_bytes = 0;
        writer->tail_dirty = false;
        renumber_places(writer);
    }
    return error;
}

void rtd_writer_compact(struct rtd_recording_writer *writer)
{
    const uint64_t live = writer->end - RTD_FILE_HEADER_BYTES - writer->dead_bytes;

    if (writer->dead_bytes <= COMPACT_LEAST_BYTES || writer->dead_bytes / COMPACT_RATIO <= live ||
        writer->dead_bytes < writer->compact_at_bytes) {
        return;
    }
    /* After a failure the next try waits for twice the waste, not for the next second. */
    const uint64_t dead = writer->dead_bytes;
    writer->compact_at_bytes = rewrite(writer) == 0 ? 0 : dead * 2;
}
