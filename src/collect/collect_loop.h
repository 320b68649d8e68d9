// SPDX-License-Identifier: Apache-2.0
/*
 * collect_loop.h - the collector: everything RipTide does while a program runs.
 *
 * Runs in:    the `riptide run` process
 * Threads:    the caller's; reports are made in a second one, HTTP has its own
 * Allocates:  yes
 * Fails:      before the start by a negative errno; afterwards never: whatever goes wrong, the
 *             program runs on and the report says what is missing
 *
 * One loop, ten times a second when nothing happens:
 *
 *     agents --hello--> door --> family --ledger--> agents
 *     clock  --100 ms-> tick, adapt        signals --> forwarded to the program
 *     records free? --> ends, checks, points, recording, then a report if somebody wants one
 *
 * Order of calls: new, [listen], [record], target, run, [report], finish, free.
 */
#ifndef RTD_COLLECT_LOOP_H
#define RTD_COLLECT_LOOP_H

#include "analyze/analyze_report.h"
#include "ledger/ledger_create.h"
#include "serve/serve_http.h"

#include <stdbool.h>
#include <sys/types.h>

struct rtd_collect;

struct rtd_collect_options {
    struct rtd_ledger_options ledger;
    double time_scale;
    bool quiet;
};

struct rtd_collect_outcome {
    int exit_code; /* of the program, when signal is 0 */
    int signal;
};

/*
 * Opens the socket. When that fails, or later the first ledger, the collector still exists and its
 * reports say why it sees nothing. NULL only when memory is short, reason in *err.
 */
struct rtd_collect *rtd_collect_new(const struct rtd_collect_options *options, int *err);

/* Why nobody can be observed, or NULL. Borrowed. */
const char *rtd_collect_trouble(const struct rtd_collect *collect);

/* The value of RIPTIDE_SOCKET for the program; borrowed. */
const char *rtd_collect_socket_name(const struct rtd_collect *collect);

/*
 * Call once, in the parent, after the program was forked and before any of the following: takes
 * the signals over (blocked here and in all threads made later), ignores SIGPIPE and SIGXFSZ,
 * raises the soft limits of descriptors and file sizes, and makes the first ledger. 0 or a negative
 * errno.
 */
int rtd_collect_settle(struct rtd_collect *collect);

/* Starts the HTTP server. 0 or a negative errno. */
int rtd_collect_listen(struct rtd_collect *collect, const struct rtd_server_options *options);

/* The port in use, 0 without a server. */
uint16_t rtd_collect_port(const struct rtd_collect *collect);

/* Starts the recording. 0 or a negative errno. */
int rtd_collect_record(struct rtd_collect *collect, const char *path);

/* Which child is the program; command is its command line, executable its file. 0 or -ENOMEM. */
int rtd_collect_target(struct rtd_collect *collect, pid_t pid, const char *command,
                       const char *executable);

/* Runs until the program has ended. */
struct rtd_collect_outcome rtd_collect_run(struct rtd_collect *collect);

/*
 * Last state of everything, names, and the recording complete. 0 or the negative errno of the
 * recording.
 */
int rtd_collect_finish(struct rtd_collect *collect);

/* The report as of now, owned by the caller; after _finish the last one. NULL: memory short. */
struct rtd_report *rtd_collect_report(struct rtd_collect *collect);

/* Frees everything; the program's descendants run on as pass-throughs. NULL is allowed. */
void rtd_collect_free(struct rtd_collect *collect);

#endif
