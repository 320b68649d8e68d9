// SPDX-License-Identifier: Apache-2.0
/*
 * collect_recorder.h - when the recording is written, so that it costs next to nothing.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  the recording's writer
 * Fails:      a write that fails is said once and tried again; the program is not affected
 *
 * The first state is written soon, then the pause grows with what a write costs: at most a
 * thousandth of a processor and 50 KB a second, at least one second apart.
 */
#ifndef RTD_COLLECT_RECORDER_H
#define RTD_COLLECT_RECORDER_H

#include "collect/collect_process.h"
#include "history/history_recording.h"

enum { RTD_RECORDED_PROCESSES_MAX = 1000 };

struct rtd_recorder {
    struct rtd_recording_writer *writer; /* NULL: no recording */
    bool quiet, failed, begun;
    uint64_t due_ns;
    unsigned recorded_count;
};

/* Creates the file. 0 or a negative errno. */
int rtd_recorder_open(struct rtd_recorder *recorder, const char *path, bool quiet);

/* True when the state should be written now. */
bool rtd_recorder_due(const struct rtd_recorder *recorder, uint64_t now_ns);

/* Reads the ledgers of the processes anew and writes what changed; sets when it is due again. */
void rtd_recorder_write(struct rtd_recorder *recorder, struct rtd_collect_process *const *processes,
                        unsigned count);

/* Writes the last state of a process whatever the pause says. */
void rtd_recorder_write_one(struct rtd_recorder *recorder, struct rtd_collect_process *process);

/* Appends symbols, marks the recording complete, closes it. 0 or a negative errno. */
int rtd_recorder_finish(struct rtd_recorder *recorder, const struct rtd_symbol_table *symbols);

/* Closes without marking it complete. */
void rtd_recorder_close(struct rtd_recorder *recorder);

#endif
