// SPDX-License-Identifier: Apache-2.0
/*
 * gauntlet.h - what the files of the gauntlet share.
 *
 * Runs in:    the program under test
 * Threads:    gauntlet_check() may be called from any thread
 * Allocates:  only what a case allocates
 * Fails:      a failed check is a line on stdout and exit status 1
 *
 * Why: each case is legal behaviour of a real program, whose outcome is the same on every run. The
 * tests compare a native run with one under the agent, to the byte.
 */
#ifndef GAUNTLET_H
#define GAUNTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the exit status when every check held. */
struct gauntlet_case {
    const char *name;
    int (*run)(void);
};

/* One table a file; each ends with a NULL name. */
extern const struct gauntlet_case gauntlet_heap_cases[];
extern const struct gauntlet_case gauntlet_limit_cases[];
extern const struct gauntlet_case gauntlet_memory_cases[];
extern const struct gauntlet_case gauntlet_plugin_cases[];
extern const struct gauntlet_case gauntlet_process_cases[];
extern const struct gauntlet_case gauntlet_signal_cases[];
extern const struct gauntlet_case gauntlet_thread_cases[];

/* Prints the line and the text of a condition that does not hold. Any thread. */
void gauntlet_check(bool holds, int line, const char *text);

#define CHECK(condition) gauntlet_check((condition), __LINE__, #condition)

/* The same of a condition without which the case cannot go on; ends the process. */
void gauntlet_give_up(int line, const char *text) __attribute__((noreturn));

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            gauntlet_give_up(__LINE__, #condition);                                                \
    } while (0)

/* A measured figure, "name value", for the file named on the command line; never on stdout. */
void gauntlet_figure(const char *name, long value);

/* A file beside this program; the result lives until the next call. */
const char *gauntlet_beside(const char *name);

/* This program's own path, for exec. */
const char *gauntlet_self(void);

/* The named line of /proc/self/status in its own unit (KiB, or a count); -1 without it. Reads with
 * plain system calls: allocates nothing. */
long gauntlet_status(const char *field);

/* Hides a value from the optimizer, which otherwise removes or judges allocation calls. */
size_t gauntlet_hide(size_t value);
void gauntlet_touch(void *p);

/* The next number of a small generator with caller-owned state. */
uint32_t gauntlet_random(uint64_t *state);

/* Allocates and frees rounds blocks of mixed sizes, 32 of them live, each written to its ends. */
void gauntlet_churn(unsigned rounds, uint64_t seed);

/* Waits for a child: its exit status, 1000 + signal, or -1. */
int gauntlet_wait(int pid);

#endif
