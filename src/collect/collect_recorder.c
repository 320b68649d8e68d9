// SPDX-License-Identifier: Apache-2.0
/*
 * collect_recorder.c - when the recording is written, so that it costs next to nothing.
 *
 * Runs in:    collector
 * Threads:    the collector's loop
 * Allocates:  the recording's writer
 * Fails:      by a line on stderr, once
 */
#include "collect/collect_recorder.h"

#include <string.h>
#include <time.h>

#include "collect/collect_say.h"

#define SECOND_NS         UINT64_C(1000000000)
#define SECOND_PAUSE_NS   (SECOND_NS * 3 / 10)
#define FRESH_NS          (SECOND_NS / 25) /* less than a tick */
#define PAUSE_MAX_NS      (60 * SECOND_NS)
#define BYTES_PER_SECOND  50000u
#define CPU_SHARE_INVERSE 1000u

int rtd_recorder_open(struct rtd_recorder *recorder, const char *path, bool quiet)
{
    int error = 0;

    memset(recorder, 0, sizeof(*recorder));
    recorder->quiet = quiet;
    recorder->writer = rtd_recording_writer_open(path, &error);
    if (!recorder->writer)
        return error;
    recorder->due_ns = rtd_collect_now_ns();
    return 0;
}

bool rtd_recorder_due(const struct rtd_recorder *recorder, uint64_t now_ns)
{
    return recorder->writer && now_ns >= recorder->due_ns;
}

static uint64_t cpu_ns(void)
{
    struct timespec used = {0, 0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * SECOND_NS + (uint64_t)used.tv_nsec;
}

static int64_t write_process(struct rtd_recorder *recorder, struct rtd_collect_process *process)
{
    if (!process->recorded) {
        if (recorder->recorded_count >= RTD_RECORDED_PROCESSES_MAX)
            return 0;
        recorder->recorded_count++;
    }
    const int64_t written = rtd_recording_write(recorder->writer, &process->record);
    if (written < 0) {
        if (!recorder->failed && !recorder->quiet)
            rtd_collect_say("the recording cannot be written: %s; the program runs on, writing is "
                            "tried again",
                            strerror((int)-written));
        recorder->failed = true;
        return written;
    }
    process->recorded = true;
    process->changed = false;
    return written;
}

void rtd_recorder_write(struct rtd_recorder *recorder, struct rtd_collect_process *const *processes,
                        unsigned count)
{
    const uint64_t cpu_before = cpu_ns();
    uint64_t bytes = 0;

    if (!recorder->writer)
        return;
    for (unsigned i = 0; i < count; i++) {
        struct rtd_collect_process *const process = processes[i];
        /* What one tick does for the series and for the recording needs one read. */
        const uint64_t now_ns = rtd_collect_now_ns();
        if (now_ns - process->read_ns > FRESH_NS)
            (void)rtd_process_refresh(process, now_ns);
        /* A process that took no sample may be one of thousands that never will. */
        if (!process->changed || (process->record.meta.id != 0 && !rtd_process_matters(process) &&
                                  process->record.meta.status != RTD_PROCESS_BLIND))
            continue;
        const int64_t written = write_process(recorder, process);
        bytes += written > 0 ? (uint64_t)written : 0;
    }
    uint64_t pause_ns = (cpu_ns() - cpu_before) * CPU_SHARE_INVERSE;
    if (pause_ns < bytes * (SECOND_NS / BYTES_PER_SECOND))
        pause_ns = bytes * (SECOND_NS / BYTES_PER_SECOND);
    if (pause_ns < SECOND_NS)
        pause_ns = SECOND_NS;
    if (pause_ns > PAUSE_MAX_NS)
        pause_ns = PAUSE_MAX_NS;
    /* What stands there first is but the name of a program that has just begun. */
    if (!recorder->begun)
        pause_ns = SECOND_PAUSE_NS;
    recorder->begun = true;
    recorder->due_ns = rtd_collect_now_ns() + pause_ns;
}

void rtd_recorder_write_one(struct rtd_recorder *recorder, struct rtd_collect_process *process)
{
    if (recorder->writer && process->changed)
        (void)write_process(recorder, process);
}

int rtd_recorder_finish(struct rtd_recorder *recorder, const struct rtd_symbol_table *symbols)
{
    int result = 0;

    if (!recorder->writer)
        return 0;
    if (symbols) {
        const int64_t written = rtd_recording_write_symbols(recorder->writer, symbols);
        result = written < 0 ? (int)written : 0;
    }
    const int finished = rtd_recording_finish(recorder->writer);
    rtd_recorder_close(recorder);
    return finished < 0 ? finished : result;
}

void rtd_recorder_close(struct rtd_recorder *recorder)
{
    if (recorder->writer)
        rtd_recording_writer_close(recorder->writer);
    recorder->writer = NULL;
}
