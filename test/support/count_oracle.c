// SPDX-License-Identifier: Apache-2.0
/*
 * count_oracle.c - an independent counting preload: the truth that the estimates are judged by.
 *
 * Runs in:    the observed program of a test, alone or behind the agent
 * Threads:    any; one mutex around the tables
 * Allocates:  with mmap only
 * Fails:      by aborting: a test without a truth is no test
 *
 * Why a second program: what checks the agent must share none of its code and none of its
 * cleverness. A hash table under one lock is slow and obviously right.
 *
 * Counts bytes asked for, exactly. A call site is the immediate return address; the agent jumps to
 * the real function, so the address is the program's in a chain too.
 *
 * COUNT_ORACLE_OUT names the file that is written at the end (destructor, _exit, quick_exit). The
 * first process claims that name, which must not exist yet; every other one (forked, or exec'd)
 * appends its own ".PID". A program may declare count_oracle_snapshot() weak and call it at any
 * moment.
 */
#include "oracle_family.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SITE_CAPACITY = 1 << 16,
    FIRST_BLOCK_CAPACITY = 1 << 16,
};

struct site {
    uintptr_t caller;
    uint64_t live_bytes;
    uint64_t live_blocks;
    uint64_t allocated_bytes;
    uint64_t allocations;
};

static void (*real_exit)(int);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct oracle_block *blocks;
static size_t block_capacity;
static size_t block_count;
static struct site sites[SITE_CAPACITY];
static struct site total;
static uint64_t unknown_frees;
static uint64_t replaced_blocks;
static char out_path[PATH_MAX];

ORACLE_EXPORT int count_oracle_snapshot(const char *path);
void oracle_settings(void)
{
    oracle_find(&real_exit, RTLD_NEXT, "_exit");
}

static size_t hash(uintptr_t key, size_t capacity)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (capacity - 1);
}

static void grow_blocks_locked(void)
{
    const size_t capacity = block_capacity == 0 ? FIRST_BLOCK_CAPACITY : block_capacity * 2;
    struct oracle_block *const fresh = mmap(NULL, capacity * sizeof *fresh, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED) {
        abort();
    }
    for (size_t i = 0; i < block_capacity; i++) {
        if (blocks[i].address == 0) {
            continue;
        }
        size_t at = hash(blocks[i].address, capacity);
        while (fresh[at].address != 0) {
            at = (at + 1) & (capacity - 1);
        }
        fresh[at] = blocks[i];
    }
    if (blocks != NULL) {
        munmap(blocks, block_capacity * sizeof *blocks);
    }
    blocks = fresh;
    block_capacity = capacity;
}

static uint32_t site_index_locked(const void *caller)
{
    const uintptr_t key = (uintptr_t)caller;
    size_t at = hash(key, SITE_CAPACITY);
    for (size_t probes = 0; probes < SITE_CAPACITY; probes++) {
        if (sites[at].caller == key || sites[at].caller == 0) {
            sites[at].caller = key;
            return (uint32_t)at;
        }
        at = (at + 1) & (SITE_CAPACITY - 1);
    }
    abort();
}

static void credit_locked(struct site *site, size_t size)
{
    site->live_bytes += size;
    site->live_blocks += 1;
    site->allocated_bytes += size;
    site->allocations += 1;
}

static void debit_locked(struct site *site, size_t size)
{
    site->live_bytes -= size;
    site->live_blocks -= 1;
}

/* The slot that holds an address, or the free one where it belongs. */
static size_t find_locked(uintptr_t address)
{
    size_t at = hash(address, block_capacity);
    while (blocks[at].address != 0 && blocks[at].address != address) {
        at = (at + 1) & (block_capacity - 1);
    }
    return at;
}

/*
 * Linear probing without tombstones: whatever follows the hole and may not stand behind it moves
 * in.
 */
static void erase_locked(size_t hole)
{
    size_t at = hole;
    for (;;) {
        at = (at + 1) & (block_capacity - 1);
        if (blocks[at].address == 0) {
            break;
        }
        const size_t home = hash(blocks[at].address, block_capacity);
        if (((at - home) & (block_capacity - 1)) >= ((at - hole) & (block_capacity - 1))) {
            blocks[hole] = blocks[at];
            hole = at;
        }
    }
    blocks[hole].address = 0;
    block_count--;
}

void oracle_birth(void *address, size_t size, const void *caller)
{
    const int saved_errno = errno;
    if (address == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (2 * (block_count + 1) > block_capacity) {
        grow_blocks_locked();
    }
    const size_t at = find_locked((uintptr_t)address);
    if (blocks[at].address != 0) {
        debit_locked(&sites[blocks[at].site], blocks[at].size_bytes);
        debit_locked(&total, blocks[at].size_bytes);
        replaced_blocks++;
    } else {
        block_count++;
    }
    const uint32_t site = site_index_locked(caller);
    blocks[at] = (struct oracle_block){(uintptr_t)address, size, site, 0};
    credit_locked(&sites[site], size);
    credit_locked(&total, size);
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

/* Takes a block out before the real free: after it, another thread may own the address. */
struct oracle_block oracle_death(const void *address)
{
    struct oracle_block old = {0};
    if (address == NULL) {
        return old;
    }
    pthread_mutex_lock(&lock);
    const size_t at = block_capacity == 0 ? 0 : find_locked((uintptr_t)address);
    if (block_capacity != 0 && blocks[at].address != 0) {
        old = blocks[at];
        debit_locked(&sites[old.site], old.size_bytes);
        debit_locked(&total, old.size_bytes);
        erase_locked(at);
    } else {
        unknown_frees++;
    }
    pthread_mutex_unlock(&lock);
    return old;
}

/* A realloc failed: the old block lives on, as if nothing had been asked. */
void oracle_survival(const struct oracle_block *old)
{
    if (old->address == 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    const size_t at = find_locked(old->address);
    blocks[at] = *old;
    block_count++;
    sites[old->site].live_bytes += old->size_bytes;
    sites[old->site].live_blocks++;
    total.live_bytes += old->size_bytes;
    total.live_blocks++;
    pthread_mutex_unlock(&lock);
}

static void write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        const ssize_t written = write(fd, text, length);
        if (written <= 0) {
            return;
        }
        text += written;
        length -= (size_t)written;
    }
}

static void write_figures(int fd, const struct site *site, const char *end)
{
    char text[256];
    const int length = snprintf(
        text, sizeof text,
        "\"live_bytes\": %llu, \"live_blocks\": %llu, \"allocated_bytes\": %llu, "
        "\"allocations\": %llu%s",
        (unsigned long long)site->live_bytes, (unsigned long long)site->live_blocks,
        (unsigned long long)site->allocated_bytes, (unsigned long long)site->allocations, end);
    write_all(fd, text, (size_t)length);
}

static void write_site(int fd, const struct site *site, bool first)
{
    Dl_info info = {0};
    struct link_map *map = NULL;
    char text[PATH_MAX + 128];
    /* Any address inside the call instruction will do; the return address may be the next
     * function's. */
    const int known =
        dladdr1((const void *)(site->caller - 1), &info, (void **)&map, RTLD_DL_LINKMAP);
    const char *const module = known != 0 && info.dli_fname != NULL ? info.dli_fname : "";
    const uintptr_t bias = known != 0 && map != NULL ? map->l_addr : 0;
    const int length =
        snprintf(text, sizeof text, "%s\n  {\"module\": \"%.*s\", \"return_offset\": %llu, ",
                 first ? "" : ",", PATH_MAX - 1, module, (unsigned long long)(site->caller - bias));
    write_all(fd, text, (size_t)length);
    write_figures(fd, site, "}");
}

/* Copies the figures under the lock, so that they belong to one moment; names the modules after it.
 */
static struct site *copy_sites(struct site *sum, uint64_t *unknown, uint64_t *replaced)
{
    struct site *const copy =
        mmap(NULL, sizeof sites, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        return NULL;
    }
    pthread_mutex_lock(&lock);
    memcpy(copy, sites, sizeof sites);
    *sum = total;
    *unknown = unknown_frees;
    *replaced = replaced_blocks;
    pthread_mutex_unlock(&lock);
    return copy;
}

/* Writes the figures of this moment to a file; returns 0 or a negative errno. */
int count_oracle_snapshot(const char *path)
{
    struct site sum = {0};
    uint64_t unknown = 0, replaced = 0;
    char text[192];
    bool first = true;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    struct site *const copy = copy_sites(&sum, &unknown, &replaced);
    if (copy == NULL) {
        close(fd);
        return -ENOMEM;
    }
    const int length = snprintf(
        text, sizeof text, "{\"pid\": %d, \"unknown_frees\": %llu, \"replaced_blocks\": %llu, ",
        (int)getpid(), (unsigned long long)unknown, (unsigned long long)replaced);
    write_all(fd, text, (size_t)length);
    write_figures(fd, &sum, ", \"sites\": [");
    for (size_t i = 0; i < SITE_CAPACITY; i++) {
        if (copy[i].caller != 0 && copy[i].allocations != 0) {
            write_site(fd, &copy[i], first);
            first = false;
        }
    }
    write_all(fd, "]}\n", 3);
    munmap(copy, sizeof sites);
    close(fd);
    return 0;
}

static void dump_at_end(void)
{
    const int saved_errno = errno;
    if (out_path[0] != '\0') {
        count_oracle_snapshot(out_path);
    }
    errno = saved_errno;
}

ORACLE_EXPORT void _exit(int status)
{
    dump_at_end();
    oracle_resolve();
    real_exit(status);
    __builtin_unreachable();
}

ORACLE_EXPORT void _Exit(int status)
{
    _exit(status);
}

static void append_pid(void)
{
    const size_t length = strlen(out_path);
    if (length != 0) {
        snprintf(out_path + length, sizeof out_path - length, ".%d", (int)getpid());
    }
}

static void lock_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void unlock_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* The child holds copies of all the blocks, so its table stays as it is; only its file is its own.
 */
static void unlock_in_child(void)
{
    const char *const path = getenv("COUNT_ORACLE_OUT");
    if (path != NULL) {
        snprintf(out_path, sizeof out_path, "%s", path);
        append_pid();
    }
    pthread_mutex_unlock(&lock);
}

static __attribute__((constructor)) void start(void)
{
    const char *const path = getenv("COUNT_ORACLE_OUT");
    oracle_resolve();
    pthread_atfork(lock_before_fork, unlock_in_parent, unlock_in_child);
    if (at_quick_exit(dump_at_end) != 0) {
        abort();
    }
    if (path == NULL || path[0] == '\0') {
        return;
    }
    snprintf(out_path, sizeof out_path, "%s", path);
    const int fd = open(out_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        append_pid();
    } else {
        close(fd);
    }
}

static __attribute__((destructor)) void finish(void)
{
    dump_at_end();
}
