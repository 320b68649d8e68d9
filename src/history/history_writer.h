// SPDX-License-Identifier: Apache-2.0
/*
 * history_writer.h - inside of a recording's writer: what was written where, and the rewriting.
 *
 * Runs in:    collector
 * Threads:    a writer belongs to one thread
 * Allocates:  the index of blocks
 * Fails:      by a negative errno
 */
#ifndef RTD_HISTORY_WRITER_H
#define RTD_HISTORY_WRITER_H

#include "history/history_block.h"
#include "history/history_encode.h"

#define RTD_NO_BLOCK SIZE_MAX

/* A whole block in the file. */
struct rtd_block_place {
    uint64_t offset;
    uint32_t length; /* 0: replaced by a later one */
    uint32_t process;
    uint16_t type;
};

/* What is known about one process image's part of the file. */
struct rtd_writer_process {
    struct rtd_encode_known known;
    size_t place[RTD_BLOCK_TYPES];         /* in writer->places, for types that replace */
    uint64_t fingerprint[RTD_BLOCK_TYPES]; /* of the newest payload of such a type */
    uint64_t delta_bytes; /* of what was added to the newest exact state since it was written */
};

/* A block of the batch that is not in the file yet. */
struct rtd_pending_block {
    uint16_t type;
    uint32_t process, length;
    uint64_t fingerprint;
};

enum { RTD_PENDING_MAX = 16 };

struct rtd_recording_writer {
    int fd;
    char *path;   /* owned, absolute and without symbolic links */
    uint64_t end; /* length of the file up to the last whole block */
    uint64_t dead_bytes, compact_at_bytes;
    bool tail_dirty; /* bytes behind end that could not be cut off */
    struct rtd_file_header header;
    uint32_t lost_writes;
    size_t symbols_written;
    struct rtd_block_place *places;
    size_t place_count, place_capacity;
    struct rtd_writer_process **processes; /* by id; NULL where none */
    size_t process_capacity;
    struct rtd_block_buffer batch, payload;
    struct rtd_pending_block pending[RTD_PENDING_MAX];
    unsigned pending_count;
    void *context; /* ZSTD_CCtx */
};

/* Writes all of size bytes at offset, or says why not; blocks SIGXFSZ meanwhile. */
int rtd_writer_pwrite(int fd, const void *bytes, size_t size, uint64_t offset);

/*
 * Rewrites the file without its dead blocks when these outweigh the live ones. Failing is no loss:
 * the file stays as it is and a later call tries again.
 */
void rtd_writer_compact(struct rtd_recording_writer *writer);

/* Takes the lock that keeps a second writer away; -EBUSY when there is one. */
int rtd_writer_lock(int fd);

#endif
