// SPDX-License-Identifier: Apache-2.0
/*
 * history_recording.h - one run in one file, NAME.riptide, readable at every instant.
 *
 * Runs in:    collector (writer), report (reader)
 * Threads:    a writer or a recording belongs to one thread
 * Allocates:  yes
 * Fails:      writer: by a negative errno, the program under watch is not affected; reader: reads
 *             up to the damage and says where it lies
 *
 * The file is a header and a sequence of blocks {type, process, length, CRC-32, payload}. Tries,
 * modules, tags and symbols are appended as they grow; a state block (sites and live samples)
 * replaces the one before it. When dead bytes outweigh live ones the file is rewritten beside
 * itself and renamed. docs/recording-format.md has the bytes.
 */
#ifndef RTD_HISTORY_RECORDING_H
#define RTD_HISTORY_RECORDING_H

#include "analyze/analyze_input.h"

/* ---- writing ---- */
struct rtd_recording_writer;

/* Creates (truncates) path. NULL with *err = negative errno when it cannot be written. */
struct rtd_recording_writer *rtd_recording_writer_open(const char *path, int *err);

/*
 * Appends what changed in this process since the last call. Returns the bytes written or a
 * negative errno (-ENOSPC ...): the file stays readable up to the last whole block, later calls
 * try again.
 */
int64_t rtd_recording_write(struct rtd_recording_writer *writer,
                            const struct rtd_process_record *record);

/* Appends symbols that the file does not have yet. */
int64_t rtd_recording_write_symbols(struct rtd_recording_writer *writer,
                                    const struct rtd_symbol_table *table);

/* Marks the recording complete; exit status of the run. */
int rtd_recording_finish(struct rtd_recording_writer *writer);
void rtd_recording_writer_close(struct rtd_recording_writer *writer);

/* ---- reading ---- */
struct rtd_recording {
    uint32_t process_count;
    struct rtd_process_record **processes; /* in order of id */
    struct rtd_symbol_table *symbols;      /* owned */
    bool complete;                         /* the collector finished it */
    int64_t damage_offset;                 /* first byte that could not be read, -1 = none */
    char damage[RTD_REASON_BYTES];         /* one sentence, "" = none */
    uint64_t lost_writes;                  /* blocks the writer could not write (disk full) */
};

/*
 * Reads path. A truncated or corrupt file gives what stands before the damage; NULL with
 * *err = -EBADMSG when not even the header is a recording's (reason in diag), or another errno.
 */
struct rtd_recording *rtd_recording_open(const char *path, int *err, char *diag, size_t diag_size);
void rtd_recording_close(struct rtd_recording *recording);

#endif
