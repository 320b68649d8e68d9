// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_resolver.h - finds function, file, line and inlined calls of code addresses.
 *
 * Runs in:    collector, report on a recording, a program that links libriptide
 * Threads:    none of its own; one thread at a time (the caller locks)
 * Allocates:  from the heap, in proportion to one batch; the parsing is another process's memory
 * Fails:      per module: what cannot be opened, read or parsed in time is entered in the table
 *             without frames and counted, and the rest goes on
 *
 * Why two processes: ELF and DWARF come from whoever we observe, and parsers of them have a long
 * history of crashes and loops. So the worker parses and has nothing else: no memory of ours, no
 * file system, no network, a limited address space. This side opens the files, hands over the
 * descriptors and waits, but never longer than the limit. The worker starts with the first
 * question.
 *
 *     resolve() --group by module--> open, check build id --descriptors, offsets--> worker
 *         ^                                                                           |
 *         '------- table <------------- checked, bounded decoding <---- frames -------'
 */
#ifndef RTD_SYMBOL_RESOLVER_H
#define RTD_SYMBOL_RESOLVER_H

#include "symbol/symbol_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The hidden command line of the worker: `riptide symbol-worker`. Its socket is descriptor 3. The
 * command line calls rtd_symbol_worker_main(RTD_SYMBOL_WORKER_FD) before it does anything else and
 * returns its result.
 */
#define RTD_SYMBOL_WORKER_ARGUMENT "symbol-worker"
enum { RTD_SYMBOL_WORKER_FD = 3 };

/*
 * One question. The strings and bytes are borrowed for the call. With a build id, only a file
 * with that build id is used. `pid` 0: no process; otherwise the file is looked for as that process
 * sees it first, which also finds one that was deleted or replaced.
 */
struct rtd_symbol_request {
    struct rtd_symbol_module module;
    pid_t pid;
    uint64_t offset;
};

/* All zero is a good default. */
struct rtd_symbol_options {
    /*
     * True: the worker is /proc/self/exe run with the hidden argument, so it holds nothing of the
     * caller's memory and the caller may have threads. False: a plain fork, for programs that
     * are not `riptide`.
     */
    bool exec_worker;
    /*
     * Start the first worker at once, by a plain fork: for a caller that has no threads and holds
     * nothing of a target yet. It saves an exec (5 ms of processor time) in each short run; a
     * worker that has to be replaced later is started as exec_worker says.
     */
    bool early_worker;
    /*
     * Not NULL: the program `riptide`, to be run as the worker, by a process that is not `riptide`
     * and whose children are its own business: see symbol_spawn.h. Copied. The two above must be
     * false then.
     */
    const char *worker_path;
    /* Ask again for addresses that the table knows without frames. */
    bool retry_unresolved;
    /*
     * Read the debug information of the C library too, when it is installed. Unpacking Debian's
     * takes 50 ms of processor time and 17 MB, for lines that are not the program's; without it
     * the C library's functions still have their names.
     */
    bool c_library_lines;
    /* Longest wait for one module; 0 is 5000. */
    uint32_t module_timeout_ms;
    /* Where separate debug files are; NULL is /usr/lib/debug. Borrowed until _free(). */
    const char *debug_directory;
};

struct rtd_symbol_stats {
    uint64_t addresses_resolved;   /* got at least one frame */
    uint64_t addresses_unresolved; /* entered without frames */
    uint64_t modules_answered;
    uint64_t modules_refused; /* not found, not a regular file, too big, another build id */
    uint64_t modules_failed;  /* the worker died or was too slow over them */
    uint64_t timeouts;        /* of these, those that were too slow */
    uint64_t worker_starts;
    uint64_t workers_unconfined; /* starts on a kernel that offers no system call filter */
};

struct rtd_symbol_resolver;

/* The caller owns the result; `options` may be NULL. NULL and the reason in *err (may be NULL). */
struct rtd_symbol_resolver *rtd_symbol_resolver_new(const struct rtd_symbol_options *options,
                                                    int *err);

/* Ends the worker, waits for it, frees everything. NULL is allowed. */
void rtd_symbol_resolver_free(struct rtd_symbol_resolver *resolver);

/*
 * Answers the questions into the table; those that the table can answer cost nothing. Afterwards
 * every address has an entry, if the table has room: once it has refused an entry, nothing more is
 * looked up for it. Returns the number of addresses that got
 * frames by this call, or -EINVAL, -ENOMEM.
 */
int rtd_symbol_resolver_resolve(struct rtd_symbol_resolver *resolver,
                                struct rtd_symbol_table *table,
                                const struct rtd_symbol_request *requests, size_t count);

/* Ends the worker to give its memory back; the next question starts another. */
void rtd_symbol_resolver_rest(struct rtd_symbol_resolver *resolver);

/* What happened so far; borrowed, valid until the resolver is freed, changes with every call. */
const struct rtd_symbol_stats *
rtd_symbol_resolver_stats(const struct rtd_symbol_resolver *resolver);

/* Process id of the worker, 0 when there is none now. */
pid_t rtd_symbol_resolver_worker_pid(const struct rtd_symbol_resolver *resolver);

/*
 * The worker itself: closes every other descriptor, waits until the socket has something to read,
 * then confines the calling process for good and answers until the other side closes the socket.
 * Returns an exit status.
 */
int rtd_symbol_worker_main(int fd);

#endif
