// SPDX-License-Identifier: Apache-2.0
/*
 * agent_lock.c - mlockall() of a program that has the agent's sparse memory mapped.
 *
 * Runs in:    agent, any thread
 * Threads:    no state
 * Allocates:  never
 * Fails:      as the real function does; errno is the real function's
 *
 * mlockall(MCL_CURRENT) reads every page of every mapping in, also those of the agent's tables that
 * nobody uses and the holes of a shared file, which then cost memory: in exact mode the whole
 * shadow, 50 GB. So everything is first locked as it is touched, which reads nothing in, what is
 * ours is let go, and the program's mappings are locked one by one, as the kernel's own list has
 * them. Without that list (no /proc) the program's memory is locked as it is touched.
 *
 * The kernel holds the whole address space against RLIMIT_MEMLOCK, the ledger's included. Where it
 * refuses for that, and the program's own mappings fit, they are locked one by one all the same.
 *
 * These, a fork's, an adoption's and an operator's (agent_release.c) are the only system calls that
 * the agent makes after its start.
 * Under a filter of system calls it makes none but mlockall() itself: the filter may kill who calls
 * another.
 */
#include "agent/agent_lock.h"

#include "agent/agent_real.h"
#include "agent/agent_state.h"
#include "base/base_syscall.h"
#include "ledger/ledger_exact.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "agent/agent_only.h"

enum { CHUNK_BYTES = 256, PAGE_BYTES = 4096 };

/*
 * Where the agent's own zeroed memory lies. Linked into a program it is no more the whole of that
 * object's: the build then gathers it in a section of its own and names its ends.
 */
#ifndef RTD_TABLES_START
#define RTD_TABLES_START __bss_start
#define RTD_TABLES_END   _end
#endif

#pragma GCC visibility push(hidden)
extern char RTD_TABLES_START[], RTD_TABLES_END[];
#pragma GCC visibility pop

struct range {
    uintptr_t start, end;
};

/* Whole pages of the agent's own tables. */
static struct range tables(void)
{
    const uintptr_t mask = ~(uintptr_t)(PAGE_BYTES - 1);
    return (struct range){((uintptr_t)RTD_TABLES_START + PAGE_BYTES - 1) & mask,
                          (uintptr_t)RTD_TABLES_END & mask};
}

void rtd_lock_keep_sparse(void)
{
    const struct range own = tables();
    rtd_syscall(SYS_madvise, (long)own.start, (long)(own.end - own.start), MADV_NOHUGEPAGE, 0, 0,
                0);
}

static bool holds(struct range range, uintptr_t address)
{
    return address >= range.start && address < range.end;
}

/* ---- the kernel's list of mappings ---- */

/* What is read of a line of it: "start-end rwxp ...". */
struct line {
    struct range at;
    unsigned field;
    bool is_accessible;
};

/* What a reading of the list is for, and what came of it. */
struct survey {
    struct range ledger;
    long lock_flags;      /* of mlock2(); negative: only to add up */
    uint64_t total_bytes; /* of the program's own mappings */
    struct line line;
};

static uintptr_t append_digit(uintptr_t number, char c)
{
    return number * 16 + (uintptr_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
}

static void end_line(struct survey *survey)
{
    const struct range at = survey->line.at;
    const bool is_ours = holds(survey->ledger, at.start) || holds(tables(), at.start);
    if (!is_ours)
        survey->total_bytes += at.end - at.start;
    /* What cannot be locked is left, as mlockall() leaves it. */
    if (!is_ours && survey->line.is_accessible && survey->lock_flags >= 0)
        rtd_syscall(SYS_mlock2, (long)at.start, (long)(at.end - at.start), survey->lock_flags, 0, 0,
                    0);
    survey->line = (struct line){0};
}

static void read_char(struct survey *survey, char c)
{
    struct line *const line = &survey->line;
    if (c == '\n')
        end_line(survey);
    else if (line->field == 0 && c != '-')
        line->at.start = append_digit(line->at.start, c);
    else if (line->field == 1 && c != ' ')
        line->at.end = append_digit(line->at.end, c);
    else if (line->field == 2 && c != ' ')
        line->is_accessible |= c == 'r' || c == 'w' || c == 'x';
    else if (line->field < 3)
        line->field++;
}

/* Returns the bytes of the program's own mappings, 0 when there is no list. */
static uint64_t survey_mappings(struct range ledger, long lock_flags)
{
    struct survey survey = {.ledger = ledger, .lock_flags = lock_flags};
    char text[CHUNK_BYTES];
    const long fd =
        rtd_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return 0;
    for (;;) {
        const long got = rtd_syscall(SYS_read, fd, (long)text, sizeof text, 0, 0, 0);
        if (got <= 0)
            break;
        for (long i = 0; i < got; i++)
            read_char(&survey, text[i]);
    }
    rtd_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    return survey.total_bytes;
}

/* ---- the hook ---- */

/* The collector watches for filters. */
static bool is_filtered(const struct rtd_ledger *ledger)
{
    return atomic_load_explicit(&ledger->header.no_handshake, memory_order_relaxed) != 0;
}

static bool fits_the_limit(struct range ledger)
{
    struct rlimit limit = {0};
    const uint64_t bytes = survey_mappings(ledger, -1);
    return rtd_syscall(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, (long)&limit, 0, 0) == 0 &&
           bytes != 0 && bytes <= limit.rlim_cur;
}

RTD_EXPORT int mlockall(int flags);
RTD_EXPORT int mlockall(int flags)
{
    const struct rtd_ledger *const mapped = rtd_agent.ledger;
    /* A child without a ledger of its own still has its parent's mapped. */
    if (mapped == NULL || (flags & MCL_CURRENT) == 0)
        return rtd_real.mlockall(flags);
    const struct range ledger = {(uintptr_t)mapped,
                                 (uintptr_t)mapped + rtd_ledger_bytes(mapped->header.mode)};
    const bool on_fault = (flags & MCL_ONFAULT) != 0;
    const bool filtered = is_filtered(mapped);
    const int saved = errno;
    const int result = rtd_real.mlockall(flags | MCL_ONFAULT);
    if (result != 0 && (errno != ENOMEM || filtered || !fits_the_limit(ledger)))
        return result;
    errno = saved;
    if (!filtered) {
        const struct range own = tables();
        rtd_syscall(SYS_munlock, (long)ledger.start, (long)(ledger.end - ledger.start), 0, 0, 0, 0);
        rtd_syscall(SYS_munlock, (long)own.start, (long)(own.end - own.start), 0, 0, 0, 0);
        if (!on_fault || result != 0)
            (void)survey_mappings(ledger, on_fault ? MLOCK_ONFAULT : 0);
    }
    if (result == 0 && on_fault)
        return 0;
    /* Without MCL_CURRENT it changes nothing but what becomes of mappings to come. */
    return (flags & MCL_FUTURE) != 0 ? rtd_real.mlockall(flags & ~MCL_CURRENT) : 0;
}
