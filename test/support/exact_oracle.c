// SPDX-License-Identifier: Apache-2.0
/*
 * exact_oracle.c - a preload that counts every event of the heap: the truth for exact mode.
 *
 * Runs in:    the observed program of a test, behind the agent
 *             (LD_PRELOAD="agent.so:exact_oracle.so": the agent's calls of the real malloc end
 *             here)
 * Threads:    any; one mutex around everything
 * Allocates:  with mmap only
 * Fails:      by aborting: a test without a truth is no test
 *
 * Both count from the same event on. The oracle asks the agent before each event whether it records
 * (there is no ledger as long as it does not) and forgets all it knew when it begins: what was
 * allocated before is unknown to both. A forked child is asked anew.
 *
 * A handler of an asynchronous signal may not allocate: the lock may be its own thread's.
 *
 * EXACT_ORACLE_OUT     the file of counters: this and ".PID" (".PID.N" after the N-th exec)
 * EXACT_ORACLE_STACKS  1: a site for each stack, by libgcc's unwinder, without the frames of the
 *                      agent and of this library
 * EXACT_ORACLE_NATIVE  1: counts without an agent, too, from the first event on
 */
#include "exact_oracle.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#define TLS      __thread __attribute__((tls_model("initial-exec")))
#define NO_BLOCK ((struct oracle_block){0})

enum { PAGE_BYTES = 4096, EXEC_MAX = 1000 };

const char *gnu_get_libc_version(void);

struct range {
    uintptr_t start, end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct exact_file *file;
static struct range hidden[2]; /* code whose frames are in no stack: the agent's, and this one */
static const void *(*heap_ledger)(void);
static bool takes_stacks, counts_natively;
static char out_name[PATH_MAX - 32];
/* A page that is zero in a forked child, by MADV_WIPEONFORK: 1 = this process has begun. */
static uint32_t *begun;
static TLS uint64_t last_serial;
static uintptr_t pcs[EXACT_FRAME_MAX];

static struct range range_of(uintptr_t address)
{
    struct dl_find_object object;
    if (address == 0 || _dl_find_object((void *)address, &object) != 0)
        return (struct range){0};
    return (struct range){(uintptr_t)object.dlfo_map_start, (uintptr_t)object.dlfo_map_end};
}

void oracle_settings(void)
{
    const char *const name = getenv("EXACT_ORACLE_OUT");
    const char *const stacks = getenv("EXACT_ORACLE_STACKS");
    const char *const native = getenv("EXACT_ORACLE_NATIVE");
    snprintf(out_name, sizeof out_name, "%s", name != NULL ? name : "");
    takes_stacks = stacks != NULL && stacks[0] == '1';
    counts_natively = native != NULL && native[0] == '1';
    oracle_find(&heap_ledger, RTLD_DEFAULT, "riptide_heap_ledger");
    uintptr_t agent = 0;
    memcpy(&agent, &heap_ledger, sizeof agent);
    hidden[0] = range_of(agent);
    hidden[1] = range_of((uintptr_t)&lock);
    begun = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begun == MAP_FAILED || madvise(begun, PAGE_BYTES, MADV_WIPEONFORK) != 0)
        abort();
}

/* ---- counting ---- */

static int create_file(void)
{
    char name[PATH_MAX];
    int fd = -1;
    snprintf(name, sizeof name, "%s.%d", out_name, (int)getpid());
    for (int i = 1; fd < 0 && i < EXEC_MAX; i++) {
        fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 && errno != EEXIST)
            break;
        snprintf(name, sizeof name, "%s.%d.%d", out_name, (int)getpid(), i);
    }
    return fd;
}

static void begin_locked(void)
{
    const int fd = create_file();
    if (fd < 0 || ftruncate(fd, sizeof *file) != 0)
        abort();
    /* In a forked child this takes the place of the parent's. */
    void *const at = mmap(file, sizeof *file, PROT_READ | PROT_WRITE,
                          MAP_SHARED | (file != NULL ? MAP_FIXED : 0), fd, 0);
    if (at == MAP_FAILED)
        abort();
    close(fd);
    file = at;
    exact_table_reset(file);
    file->header.pid = (uint64_t)getpid();
    *begun = 1;
}

/* True when this event counts. May begin, which forgets what was there before. */
static bool is_counting_locked(void)
{
    if (*begun != 0)
        return true;
    if (out_name[0] == '\0' || !(heap_ledger != NULL ? heap_ledger() != NULL : counts_natively))
        return false;
    begin_locked();
    last_serial = 0;
    return true;
}

struct collection {
    size_t depth;
};

static bool is_hidden(uintptr_t pc)
{
    return (pc >= hidden[0].start && pc < hidden[0].end) ||
           (pc >= hidden[1].start && pc < hidden[1].end);
}

static _Unwind_Reason_Code collect(struct _Unwind_Context *context, void *argument)
{
    struct collection *const collection = argument;
    const uintptr_t pc = _Unwind_GetIP(context);
    if (pc == 0 || (collection->depth == 0 && is_hidden(pc)))
        return _URC_NO_REASON;
    if (collection->depth == EXACT_FRAME_MAX)
        return _URC_END_OF_STACK;
    pcs[collection->depth++] = pc;
    return _URC_NO_REASON;
}

void oracle_birth(void *address, size_t size, const void *caller)
{
    (void)caller;
    const int saved_errno = errno;
    struct collection stack = {0};
    if (address == NULL)
        return;
    pthread_mutex_lock(&lock);
    if (is_counting_locked()) {
        if (takes_stacks)
            _Unwind_Backtrace(collect, &stack);
        const struct oracle_block block = {(uintptr_t)address, size,
                                           exact_table_site(pcs, stack.depth), 0};
        last_serial = exact_table_birth(&block);
    }
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

struct oracle_block oracle_death(const void *address)
{
    const int saved_errno = errno;
    struct oracle_block old = NO_BLOCK;
    if (address == NULL)
        return old;
    pthread_mutex_lock(&lock);
    if (is_counting_locked())
        old = exact_table_death((uintptr_t)address, last_serial);
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
    return old;
}

void oracle_survival(const struct oracle_block *old)
{
    pthread_mutex_lock(&lock);
    if (is_counting_locked())
        exact_table_revive(old, last_serial);
    pthread_mutex_unlock(&lock);
}

/*
 * The agent knows glibc's allocator by this name in the object that it calls: the blocks are
 * glibc's, and it shall treat them so.
 */
ORACLE_EXPORT const char *gnu_get_libc_version(void)
{
    const char *(*next)(void) = NULL;
    oracle_find(&next, RTLD_NEXT, "gnu_get_libc_version");
    return next();
}

/* ---- fork ---- */

static void lock_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void unlock_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

static __attribute__((constructor)) void start(void)
{
    oracle_resolve();
    pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
}
