// SPDX-License-Identifier: Apache-2.0
/*
 * alloc_program.c - a seeded allocation program that knows its own truth, site by site.
 *
 * Runs in:    a process of its own, the target of the estimator tests
 * Threads:    --threads N, which free each other's blocks
 * Allocates:  its whole point; its own tables come from mmap, so that they are in no figure
 * Fails:      by exit status 1 and a line on stderr
 *
 * Why: the 95 % intervals of a report can only be judged against figures that are exactly known and
 * that differ from run to run (--seed). Sixteen named sites, from one byte to four MiB, heavy and
 * light, with malloc, calloc, memalign and realloc chains. Each keeps some of its blocks: the live
 * set that the program holds when it writes its truth, after which it frees nothing.
 *
 * alloc_program [--seed N] [--threads N] [--megabytes N] [--sites MASK] [--hold | --kill]
 * TRUTH.json
 * --sites draws only from the sites whose bit is set (a decimal number).
 * --hold writes the truth, then waits for a line on stdin before it ends; --kill ends by SIGKILL.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SITE_COUNT = 16,
    REALLOC_SITE = 14,
    REALLOCARRAY_SITE = 15,
    MAX_THREADS = 64,
    MAX_SLOTS = 4096,
    EXCHANGE_SLOTS = 256,
};

struct held {
    void *address;
    size_t size_bytes;
    unsigned site;
};

struct figures {
    atomic_ullong live_bytes;
    atomic_ullong live_blocks;
    atomic_ullong allocated_bytes;
    atomic_ullong allocations;
};

typedef void *(*allocate_fn)(void *old, size_t size);

/* Sizes are log-uniform in 2^low..2^high bytes; slots bound what a thread holds; weight is how
 * often. */
struct profile {
    allocate_fn allocate;
    unsigned low_log2;
    unsigned high_log2;
    unsigned slots;
    unsigned weight;
};

struct worker {
    uint64_t random;
    uint64_t budget_bytes;
    struct held *held;
    pthread_t thread;
};

static struct figures truth[SITE_COUNT];
static uint64_t sites_wanted = (1u << SITE_COUNT) - 1;
static struct held exchange[EXCHANGE_SLOTS];
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * Each site is a function of its own name. The asm keeps the call from becoming a jump (the site's
 * frame would be gone), and its differing constant keeps equal functions from being folded into
 * one.
 */
#define SITE(number, call)                                                                         \
    static __attribute__((noinline)) void *site_##number(void *old, size_t size)                   \
    {                                                                                              \
        (void)old;                                                                                 \
        void *address = (call);                                                                    \
        __asm__ volatile("" : "+r"(address) : "i"(1##number));                                     \
        return address;                                                                            \
    }

/* The analyzer loses the block at the asm. NOLINTBEGIN(clang-analyzer-unix.Malloc) */
SITE(00, malloc(size))
SITE(01, malloc(size))
SITE(02, calloc(1, size))
SITE(03, malloc(size))
SITE(04, malloc(size))
SITE(05, memalign(64, size))
SITE(06, malloc(size))
SITE(07, malloc(size))
SITE(08, calloc(size, 1))
SITE(09, malloc(size))
SITE(10, aligned_alloc(32, (size + 31) & ~(size_t)31))
SITE(11, malloc(size))
static __attribute__((noinline)) void *site_12(void *old, size_t size)
{
    (void)old;
    void *address = NULL;
    return posix_memalign(&address, 4096, size) == 0 ? address : NULL;
}
SITE(13, malloc(size))
SITE(14, realloc(old, size))
SITE(15, reallocarray(old, size, 1))

/* NOLINTEND(clang-analyzer-unix.Malloc) */

static const struct profile profiles[SITE_COUNT] = {
    {site_00, 0, 5, 4096, 300}, {site_01, 4, 8, 4096, 400},  {site_02, 5, 10, 2048, 200},
    {site_03, 6, 7, 4096, 300}, {site_04, 8, 12, 1024, 150}, {site_05, 6, 12, 512, 80},
    {site_06, 10, 14, 256, 60}, {site_07, 12, 16, 128, 30},  {site_08, 10, 17, 64, 20},
    {site_09, 14, 18, 48, 10},  {site_10, 5, 15, 128, 20},   {site_11, 16, 20, 16, 4},
    {site_12, 12, 19, 16, 4},   {site_13, 19, 22, 4, 1},     {site_14, 6, 16, 256, 60},
    {site_15, 4, 20, 64, 10},
};

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t draw_size(uint64_t *state, const struct profile *profile)
{
    const unsigned span = profile->high_log2 - profile->low_log2;
    const unsigned log2 = profile->low_log2 + (unsigned)(next_random(state) % span);
    const size_t base = (size_t)1 << log2;
    return base + (size_t)(next_random(state) % base);
}

static unsigned weight_of(unsigned site)
{
    return (sites_wanted >> site & 1) != 0 ? profiles[site].weight : 0;
}

static unsigned draw_site(uint64_t *state)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < SITE_COUNT; i++) {
        sum += weight_of(i);
    }
    unsigned pick = (unsigned)(next_random(state) % sum);
    unsigned site = 0;
    while (pick >= weight_of(site)) {
        pick -= weight_of(site);
        site++;
    }
    return site;
}

static void count_birth(unsigned site, size_t size)
{
    atomic_fetch_add_explicit(&truth[site].live_bytes, size, memory_order_relaxed);
    atomic_fetch_add_explicit(&truth[site].live_blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&truth[site].allocated_bytes, size, memory_order_relaxed);
    atomic_fetch_add_explicit(&truth[site].allocations, 1, memory_order_relaxed);
}

static void count_death(unsigned site, size_t size)
{
    atomic_fetch_sub_explicit(&truth[site].live_bytes, size, memory_order_relaxed);
    atomic_fetch_sub_explicit(&truth[site].live_blocks, 1, memory_order_relaxed);
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "alloc_program: %s\n", what);
    exit(1);
}

static void release(struct held *held)
{
    if (held->address != NULL) {
        count_death(held->site, held->size_bytes);
        free(held->address);
        held->address = NULL;
    }
}

/* Fills a slot from a site; the realloc sites resize whatever block stands there. */
static void fill(struct held *held, unsigned site, size_t size)
{
    const bool resizes = site >= REALLOC_SITE;
    void *const old = resizes ? held->address : NULL;
    if (!resizes) {
        release(held);
    } else if (old != NULL) {
        count_death(held->site, held->size_bytes);
    }
    void *const address = profiles[site].allocate(old, size);
    if (address == NULL) {
        fail("out of memory");
    }
    *(volatile char *)address = 1;
    /* site_10 must ask for whole alignments: that is what it asked for. */
    held->size_bytes = site == 10 ? (size + 31) & ~(size_t)31 : size;
    held->address = address;
    held->site = site;
    count_birth(site, held->size_bytes);
}

static void swap_with_others(struct worker *worker, struct held *mine)
{
    const size_t at = (size_t)(next_random(&worker->random) % EXCHANGE_SLOTS);
    pthread_mutex_lock(&exchange_lock);
    const struct held theirs = exchange[at];
    exchange[at] = *mine;
    pthread_mutex_unlock(&exchange_lock);
    *mine = theirs;
    /* Mostly a block of another thread: its free, or its realloc, happens here. */
    if (next_random(&worker->random) % 2 == 0) {
        release(mine);
    }
}

static void *work(void *context)
{
    struct worker *const worker = context;
    uint64_t done_bytes = 0;
    while (done_bytes < worker->budget_bytes) {
        const unsigned site = draw_site(&worker->random);
        const struct profile *const profile = &profiles[site];
        const size_t slot = (size_t)(next_random(&worker->random) % profile->slots);
        /* A realloc site takes over slots of the site that its slot number falls in. */
        const unsigned row =
            site < REALLOC_SITE ? site : (unsigned)(next_random(&worker->random) % SITE_COUNT);
        const size_t column = slot % profiles[row].slots;
        struct held *const held = &worker->held[(size_t)row * MAX_SLOTS + column];
        const size_t size = draw_size(&worker->random, profile);
        fill(held, site, size);
        done_bytes += size;
        if (next_random(&worker->random) % 16 == 0) {
            swap_with_others(worker, held);
        } else if (next_random(&worker->random) % 4 == 0) {
            release(held);
        }
    }
    return NULL;
}

static void run_threads(unsigned threads, uint64_t seed, uint64_t megabytes)
{
    static struct worker workers[MAX_THREADS];
    for (unsigned i = 0; i < threads; i++) {
        struct worker *const worker = &workers[i];
        worker->random = seed * 1000003u + i;
        worker->budget_bytes = (megabytes << 20) / threads;
        worker->held = mmap(NULL, sizeof(struct held) * SITE_COUNT * MAX_SLOTS,
                            PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (worker->held == MAP_FAILED) {
            fail("mmap failed");
        }
        if (i > 0 && pthread_create(&worker->thread, NULL, work, worker) != 0) {
            fail("pthread_create failed");
        }
    }
    work(&workers[0]);
    for (unsigned i = 1; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
}

static void write_text(int fd, const char *text)
{
    const size_t length = strlen(text);
    if (write(fd, text, length) != (ssize_t)length) {
        fail("cannot write the truth");
    }
}

static void write_figures(int fd, const char *intro, const struct figures *figures)
{
    char text[256];
    snprintf(text, sizeof text,
             "%s\"live_bytes\": %llu, \"live_blocks\": %llu, \"allocated_bytes\": %llu, "
             "\"allocations\": %llu}",
             intro, figures->live_bytes, figures->live_blocks, figures->allocated_bytes,
             figures->allocations);
    write_text(fd, text);
}

static void write_truth(const char *path, uint64_t seed)
{
    char intro[96];
    static struct figures total;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        fail("cannot open the truth's file");
    }
    for (unsigned i = 0; i < SITE_COUNT; i++) {
        total.live_bytes += truth[i].live_bytes;
        total.live_blocks += truth[i].live_blocks;
        total.allocated_bytes += truth[i].allocated_bytes;
        total.allocations += truth[i].allocations;
    }
    snprintf(intro, sizeof intro, "{\"seed\": %llu, \"totals\": {", (unsigned long long)seed);
    write_figures(fd, intro, &total);
    write_text(fd, ", \"sites\": [");
    for (unsigned i = 0; i < SITE_COUNT; i++) {
        snprintf(intro, sizeof intro, "%s\n  {\"function\": \"site_%02u\", ", i == 0 ? "" : ",", i);
        write_figures(fd, intro, &truth[i]);
    }
    write_text(fd, "]}\n");
    close(fd);
}

static uint64_t parse_number(const char *text, uint64_t most)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = text == NULL ? 0 : strtoull(text, &end, 10);
    if (text == NULL || errno != 0 || end == text || *end != '\0' || value > most) {
        fail("an option needs a number in range");
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, threads = 1, megabytes = 256;
    bool hold = false, killed = false;
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0) {
            seed = parse_number(argv[++i], UINT64_MAX);
        } else if (strcmp(argv[i], "--threads") == 0) {
            threads = parse_number(argv[++i], MAX_THREADS);
        } else if (strcmp(argv[i], "--megabytes") == 0) {
            megabytes = parse_number(argv[++i], 1 << 20);
        } else if (strcmp(argv[i], "--sites") == 0) {
            sites_wanted = parse_number(argv[++i], (1u << SITE_COUNT) - 1);
        } else if (strcmp(argv[i], "--kill") == 0) {
            killed = true;
        } else if (strcmp(argv[i], "--hold") == 0) {
            hold = true;
        } else {
            path = argv[i];
        }
    }
    if (path == NULL || threads == 0 || sites_wanted == 0) {
        fail("usage: [--seed N] [--threads N] [--megabytes N] [--sites MASK] [--hold | --kill] "
             "TRUTH.json");
    }
    run_threads((unsigned)threads, seed, megabytes);
    write_truth(path, seed);
    if (killed) {
        raise(SIGKILL);
    }
    if (hold) {
        char line[64];
        while (read(STDIN_FILENO, line, sizeof line) < 0 && errno == EINTR) {
        }
    }
    return 0;
}
