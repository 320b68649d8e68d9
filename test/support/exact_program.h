// SPDX-License-Identifier: Apache-2.0
/*
 * exact_program.h - what the programs of the exact tests share: stops, and their own bookkeeping.
 *
 * Runs in:    the observed programs of the tests
 * Threads:    as said at each function
 * Allocates:  never: what is compared at a stop must not change by it
 * Fails:      by ending the program with status 3
 */
#ifndef EXACT_PROGRAM_H
#define EXACT_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Prints "checkpoint PID NAME" and waits until the test has compared, by the FIFO that the
 * environment names in EXACT_GO; goes on at once where there is none. The caller sees to it that
 * nothing else moves.
 */
void exact_checkpoint(const char *name);

/*
 * A function whose heap the program keeps its own books on. Blocks begin with a label that says
 * whose they are and how large, so that whoever frees one debits the right account. Any thread.
 */
struct exact_account {
    const char *function;
    uint64_t allocations, allocated_bytes, frees, freed_bytes;
};

enum { EXACT_BLOCK_BYTES_MIN = 16 };

/* Notes a block that the account's function has just got; size >= EXACT_BLOCK_BYTES_MIN. */
void exact_credit(struct exact_account *account, void *block, size_t size);

/* Takes a block off its account; it is the caller's to free. */
void exact_debit(void *block);

/* exact_debit() and free(). */
void exact_release(void *block);

/* Prints {"function": [allocations, bytes, frees, bytes], ...} in one line. */
void exact_print_accounts(const struct exact_account *const *accounts, size_t count);

/* Prints formatted text at once, without stdio's buffers, which are blocks of the heap. */
void exact_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A random number of a seeded sequence of its own. */
uint64_t exact_random(uint64_t *state);

/* Frames and calls as they are written: nothing is inlined, no call becomes a jump. */
#define EXACT_NOINLINE     __attribute__((noinline))
#define EXACT_KEEP_FRAME() __asm__ volatile("" ::: "memory")

/* Defines an account and the function of that name, which allocates on it. */
#define EXACT_ALLOCATOR(name)                                                                      \
    static struct exact_account name##_account = {.function = #name};                              \
    static EXACT_NOINLINE void *name(size_t size)                                                  \
    {                                                                                              \
        void *const p = malloc(size);                                                              \
        exact_credit(&name##_account, p, size);                                                    \
        EXACT_KEEP_FRAME();                                                                        \
        return p;                                                                                  \
    }

#endif
