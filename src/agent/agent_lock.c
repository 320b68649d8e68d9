// SPDX-License-Identifier: Apache-2.0
/*
 * agent_lock.c - mlockall() of a program whose ledger is a sparse file of many gigabytes.
 *
 * Runs in:    agent, any thread
 * Threads:    no state
 * Allocates:  never
 * Fails:      as the real function does; errno is the real function's
 *
 * mlockall(MCL_CURRENT) reads every page of every mapping in, also the holes of a shared file,
 * which then cost memory: the whole shadow of exact mode, 50 GB. So everything is first locked as
 * it is touched, which reads nothing in, the ledger is let go, and the program's mappings are
 * locked one by one, as the kernel's own list has them. Without that list (no /proc) the program's
 * memory is locked as it is touched.
 *
 * These and a fork's are the only system calls that the agent makes after its start. Under a filter
 * of system calls it makes none but mlockall() itself: the filter may kill who calls another.
 */
#include "agent/agent_real.h"
#include "agent/agent_state.h"
#include "base/base_syscall.h"
#include "ledger/ledger_exact.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "agent/agent_only.h"

enum { CHUNK_BYTES = 256 };

/* What is read of a line of the kernel's list: "start-end rwxp ...". */
struct line {
    uintptr_t start, end;
    unsigned field;
    bool is_accessible;
};

static bool is_of_ledger(const struct rtd_ledger *ledger, uintptr_t address)
{
    return address - (uintptr_t)ledger < RTD_LEDGER_EXACT_BYTES;
}

static uintptr_t append_digit(uintptr_t number, char c)
{
    return number * 16 + (uintptr_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
}

static void end_line(struct line *line, const struct rtd_ledger *ledger)
{
    /* What cannot be locked is left, as mlockall() leaves it. */
    if (line->is_accessible && !is_of_ledger(ledger, line->start))
        rtd_syscall(SYS_mlock, (long)line->start, (long)(line->end - line->start), 0, 0, 0, 0);
    *line = (struct line){0};
}

static void read_char(struct line *line, char c, const struct rtd_ledger *ledger)
{
    if (c == '\n')
        end_line(line, ledger);
    else if (line->field == 0 && c != '-')
        line->start = append_digit(line->start, c);
    else if (line->field == 1 && c != ' ')
        line->end = append_digit(line->end, c);
    else if (line->field == 2 && c != ' ')
        line->is_accessible |= c == 'r' || c == 'w' || c == 'x';
    else if (line->field < 3)
        line->field++;
}

/* The collector watches for filters. */
static bool is_filtered(const struct rtd_ledger *ledger)
{
    return atomic_load_explicit(&ledger->header.no_handshake, memory_order_relaxed) != 0;
}

static void lock_one_by_one(const struct rtd_ledger *ledger)
{
    struct line line = {0};
    char text[CHUNK_BYTES];
    const long fd =
        rtd_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return;
    for (;;) {
        const long got = rtd_syscall(SYS_read, fd, (long)text, sizeof text, 0, 0, 0);
        if (got <= 0)
            break;
        for (long i = 0; i < got; i++)
            read_char(&line, text[i], ledger);
    }
    rtd_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

RTD_EXPORT int mlockall(int flags);
RTD_EXPORT int mlockall(int flags)
{
    const struct rtd_ledger *const ledger = rtd_agent.ledger;
    /* A child without a ledger of its own still has its parent's mapped. */
    if (ledger == NULL || ledger->header.mode != RTD_MODE_EXACT || (flags & MCL_CURRENT) == 0)
        return rtd_real.mlockall(flags);
    const int result = rtd_real.mlockall(flags | MCL_ONFAULT);
    if (result != 0)
        return result;
    if (!is_filtered(ledger)) {
        rtd_syscall(SYS_munlock, (long)ledger, (long)RTD_LEDGER_EXACT_BYTES, 0, 0, 0, 0);
        if ((flags & MCL_ONFAULT) == 0)
            lock_one_by_one(ledger);
    }
    if ((flags & MCL_ONFAULT) != 0)
        return 0;
    /* Alone it changes nothing but what becomes of mappings to come. */
    return (flags & MCL_FUTURE) != 0 ? rtd_real.mlockall(MCL_FUTURE) : 0;
}
