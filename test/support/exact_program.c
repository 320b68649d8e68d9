// SPDX-License-Identifier: Apache-2.0
/*
 * exact_program.c - see exact_program.h.
 *
 * Runs in:    the observed programs of the tests
 * Threads:    the accounts are counted atomically; the rest is for one thread at a time
 * Allocates:  never
 * Fails:      by ending the program with status 3
 */
#include "exact_program.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 };

/* What a block with an account begins with. */
struct label {
    struct exact_account *account;
    uint64_t size_bytes;
};

void exact_say(const char *format, ...)
{
    static char line[LINE_BYTES];
    va_list values;
    va_start(values, format);
    const int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (length < 0 || length >= LINE_BYTES || write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(3);
}

void exact_checkpoint(const char *name)
{
    const char *const fifo = getenv("EXACT_GO");
    ssize_t got = fifo == NULL ? 1 : 0;
    char word;
    exact_say("checkpoint %d %s\n", (int)getpid(), name);
    /* Nothing is read where the writer of the checkpoint before had not closed it yet. */
    while (got == 0) {
        const int fd = open(fifo, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            _exit(3);
        got = read(fd, &word, 1);
        close(fd);
    }
    if (got != 1)
        _exit(3);
}

static void add(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void exact_credit(struct exact_account *account, void *block, size_t size)
{
    struct label *const label = block;
    if (block == NULL || size < sizeof *label)
        _exit(3);
    label->account = account;
    label->size_bytes = size;
    add(&account->allocations, 1);
    add(&account->allocated_bytes, size);
}

void exact_debit(void *block)
{
    const struct label *const label = block;
    add(&label->account->frees, 1);
    add(&label->account->freed_bytes, label->size_bytes);
}

void exact_release(void *block)
{
    exact_debit(block);
    free(block);
}

void exact_print_accounts(const struct exact_account *const *accounts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct exact_account *const a = accounts[i];
        exact_say("%s\"%s\": [%llu, %llu, %llu, %llu]", i == 0 ? "{" : ", ", a->function,
                  (unsigned long long)a->allocations, (unsigned long long)a->allocated_bytes,
                  (unsigned long long)a->frees, (unsigned long long)a->freed_bytes);
    }
    exact_say("}\n");
}

uint64_t exact_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}
