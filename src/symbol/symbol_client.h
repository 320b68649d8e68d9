// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_client.h - the resolver's end of the worker: start it, ask it, end it.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    a client belongs to one thread at a time
 * Allocates:  one buffer for an answer
 * Fails:      with -ETIMEDOUT (too slow), -EPIPE (it died), -EPROTO (it talked nonsense); the
 *             caller then stops it and may start another
 */
#ifndef RTD_SYMBOL_CLIENT_H
#define RTD_SYMBOL_CLIENT_H

#include "symbol/symbol_wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rtd_symbol_client {
    pid_t pid;       /* 0: no worker */
    bool is_foreign; /* the worker is nobody's child here: it is ended by its descriptor */
    int pidfd;       /* of a foreign worker; -1: none */
    int fd;
    uint32_t sequence;
    bool is_filtered; /* as the worker said with its newest answer */
    struct rtd_symbol_wire_answer *answer;
    const char *library_path; /* borrowed, set before the start: LD_LIBRARY_PATH for the worker */
};

/*
 * How a worker comes to be: a plain fork; /proc/self/exe run with the hidden argument; or another
 * program run so, as symbol_spawn.h does it.
 */
enum rtd_symbol_start { RTD_SYMBOL_START_FORK, RTD_SYMBOL_START_EXEC, RTD_SYMBOL_START_PROGRAM };

/* Starts the worker; program is the path for START_PROGRAM. 0 or negative errno. */
int rtd_symbol_client_start(struct rtd_symbol_client *client, enum rtd_symbol_start start,
                            const char *program);

/* Kills the worker and waits for it. Does nothing when there is none. */
void rtd_symbol_client_stop(struct rtd_symbol_client *client);

/* Processor time the worker has used, 0 when it cannot be told. */
uint64_t rtd_symbol_client_cpu_ns(const struct rtd_symbol_client *client);

/* What is asked about one module; everything borrowed. */
struct rtd_symbol_ask {
    const int *fds; /* RTD_SYMBOL_FILE_COUNT descriptors, -1 for none; the first is open */
    const uint8_t *build_id;
    size_t build_id_bytes;
    const uint64_t *offsets;
    size_t offset_count; /* at most RTD_SYMBOL_WIRE_OFFSETS */
    bool names_only;     /* symbols, no debug information */
};

/*
 * Asks and waits for the whole answer, at most timeout_ms; the callback sees each record. Returns
 * 0, the worker's own error for the module (-ENOEXEC, -EBADMSG, ...), or one of the three above.
 */
int rtd_symbol_client_ask(struct rtd_symbol_client *client, const struct rtd_symbol_ask *ask,
                          uint32_t timeout_ms, rtd_symbol_wire_callback callback, void *context);

#endif
