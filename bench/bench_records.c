// SPDX-License-Identifier: Apache-2.0
/*
 * bench_records.c - what a record costs, from one thread and from sixteen at once.
 *
 *     bench_records [ROUNDS [THREADS]]
 *     bench_records long                 1e8 records and 1e6 distinct names: within the limit?
 *
 * Runs in:    `make bench`
 * Threads:    as many as said, all recording at the same time
 * Allocates:  the times that it takes, before it takes them
 * Fails:      with status 1 when the totals are not what was recorded
 *
 * Each call is timed by itself, less what taking the time costs (the median of doing nothing), so
 * the figures are those of calls and not of loops; a median of 0 is below what the clock can tell,
 * therefore a second column has the mean of rounds of 256. Where there are fewer cores than
 * threads, a call that was preempted counts as long as it lasted.
 */
#include <riptide/riptide.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BATCH = 256,
    BATCHES = 64,
    THREADS_MAX = 64,
    FRAMES = 30,
    OTHER_FRAMES = 6, /* call, take_times, the last descend, run and two of the C library */
    LIMIT_MB = 10,
};

struct bench {
    struct riptide_manager *manager;
    uint32_t rounds, threads;
    uint32_t tag;
    uint32_t blocks;   /* of a thread: as many addresses take turns */
    uint64_t expected; /* records so far */
    pthread_barrier_t barrier;
};

struct runner;
typedef void (*bench_call)(struct runner *runner, uint64_t i);

struct runner {
    struct bench *bench;
    bench_call call, undo;
    uint32_t number;
    uint32_t depth;
    int releases; /* call releases and undo records: there must be something first */
    double *times;
    double batches[BATCHES];
};

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- what is measured ---- */

static const void *address_of(const struct runner *runner, uint64_t i)
{
    return (const void *)(uintptr_t)(0x10000000u + runner->number * 0x1000000u +
                                     i % runner->bench->blocks * 64);
}

static void call_nothing(struct runner *runner, uint64_t i)
{
    (void)runner;
    __asm__ volatile("" ::"r"(i) : "memory");
}

static void call_bytes(struct runner *runner, uint64_t i)
{
    riptide_record_bytes(runner->bench->manager, runner->bench->tag, 64 + i % 512);
}

static void undo_bytes(struct runner *runner, uint64_t i)
{
    riptide_release_bytes(runner->bench->manager, runner->bench->tag, 64 + i % 512);
}

static void call_allocation(struct runner *runner, uint64_t i)
{
    const struct riptide_allocation allocation = {
        .size = sizeof allocation, .size_bytes = 64 + i % 512, .tag = runner->bench->tag};
    riptide_record_allocation(runner->bench->manager, &allocation);
}

static void call_named(struct runner *runner, uint64_t i)
{
    const struct riptide_allocation allocation = {.size = sizeof allocation,
                                                  .size_bytes = 64 + i % 512,
                                                  .component = "extraction",
                                                  .operation = "parse_html"};
    riptide_record_allocation(runner->bench->manager, &allocation);
}

static void call_block(struct runner *runner, uint64_t i)
{
    riptide_record_block(runner->bench->manager, runner->bench->tag, address_of(runner, i), 64, 0);
}

static void undo_block(struct runner *runner, uint64_t i)
{
    riptide_release_block(runner->bench->manager, address_of(runner, i));
}

static void call_stack(struct runner *runner, uint64_t i)
{
    riptide_record_block(runner->bench->manager, runner->bench->tag, address_of(runner, i), 64,
                         RIPTIDE_CAPTURE_STACK);
}

/* ---- measuring ---- */

static void take_times(struct runner *runner)
{
    const uint32_t rounds = runner->bench->rounds;
    for (uint32_t i = 0; runner->releases && i < runner->bench->blocks; i++)
        runner->undo(runner, i);
    for (uint32_t i = 0; i < rounds; i++) {
        const double start = now_ns();
        runner->call(runner, i);
        runner->times[i] = now_ns() - start;
        if (runner->undo)
            runner->undo(runner, i);
    }
    for (uint32_t batch = 0; batch < BATCHES; batch++) {
        const double start = now_ns();
        for (uint32_t i = 0; i < BATCH; i++)
            runner->call(runner, i);
        runner->batches[batch] = (now_ns() - start) / (double)BATCH;
        for (uint32_t i = 0; i < BATCH && runner->undo; i++)
            runner->undo(runner, i);
    }
    for (uint32_t i = 0; runner->releases && i < runner->bench->blocks; i++)
        runner->call(runner, i);
}

/* Goes down to where a stack has as many frames as it should. */
static __attribute__((noinline)) void descend(struct runner *runner, uint32_t depth)
{
    if (depth > 0)
        descend(runner, depth - 1);
    else
        take_times(runner);
    __asm__ volatile("" ::: "memory");
}

static void *run(void *context)
{
    struct runner *runner = context;
    pthread_barrier_wait(&runner->bench->barrier);
    descend(runner, runner->depth);
    return NULL;
}

struct figures {
    double median, high, worst, batch;
};

/* A case of what is measured. */
struct example {
    const char *name;
    bench_call call, undo;
    uint32_t blocks, depth;
    int releases;
};

static struct figures measure(struct bench *bench, const struct example *example)
{
    struct runner *runners = calloc(bench->threads, sizeof *runners);
    const size_t count = (size_t)bench->rounds * bench->threads;
    double *times = calloc(count, sizeof *times);
    double *batches = calloc((size_t)bench->threads * BATCHES, sizeof *batches);
    pthread_t threads[THREADS_MAX];
    if (!runners || !times || !batches)
        exit(1);
    memset(times, 0, count * sizeof *times);
    pthread_barrier_init(&bench->barrier, NULL, bench->threads);
    for (uint32_t i = 0; i < bench->threads; i++) {
        runners[i] = (struct runner){.bench = bench,
                                     .call = example->call,
                                     .undo = example->undo,
                                     .number = i,
                                     .depth = example->depth,
                                     .releases = example->releases,
                                     .times = times + (size_t)i * bench->rounds};
        pthread_create(&threads[i], NULL, run, &runners[i]);
    }
    for (uint32_t i = 0; i < bench->threads; i++) {
        pthread_join(threads[i], NULL);
        memcpy(batches + (size_t)i * BATCHES, runners[i].batches, sizeof runners[i].batches);
    }
    pthread_barrier_destroy(&bench->barrier);
    qsort(times, count, sizeof *times, compare);
    qsort(batches, (size_t)bench->threads * BATCHES, sizeof *batches, compare);
    const struct figures out = {times[count / 2], times[count - 1 - count / 1000], times[count - 1],
                                batches[(size_t)bench->threads * BATCHES / 2]};
    free(batches);
    free(times);
    free(runners);
    return out;
}

static void show(const char *name, uint32_t threads, struct figures figures, double overhead)
{
    printf("%-44s %3u threads  %7.0f ns median  %7.1f ns in rounds  %8.0f ns p99.9\n", name,
           threads, figures.median - overhead, figures.batch, figures.high - overhead);
}

static struct riptide_manager *open_manager(void)
{
    struct riptide_options options;
    riptide_options_init(&options);
    options.endpoints = options.tracker = options.alerts = options.cleanup = 0;
    options.heap = RIPTIDE_HEAP_OFF;
    options.interval_ms = 60000;
    int error = 0;
    struct riptide_manager *manager = riptide_manager_open(&options, &error);
    if (!manager) {
        fprintf(stderr, "bench_records: %s\n", riptide_strerror(error));
        exit(1);
    }
    return manager;
}

static void measure_all(struct bench *bench, uint32_t threads)
{
    static const struct example nothing = {.call = call_nothing};
    static const struct example examples[] = {
        {"record_bytes", call_bytes, NULL, 0, 0, 0},
        {"record_allocation, tag", call_allocation, NULL, 0, 0, 0},
        {"record_allocation, names", call_named, NULL, 0, 0, 0},
        {"release_bytes", undo_bytes, call_bytes, 0, 0, 1},
        {"record_block", call_block, undo_block, 256, 0, 0},
        {"record_block, table not in the cache", call_block, undo_block, 8192, 0, 0},
        {"release_block", undo_block, call_block, 256, 0, 1},
        {"record_block, stack of 30 frames", call_stack, undo_block, 256, FRAMES - OTHER_FRAMES, 0},
    };
    bench->threads = threads;
    bench->blocks = 0;
    const double overhead = measure(bench, &nothing).median;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        bench->blocks = examples[i].blocks;
        show(examples[i].name, threads, measure(bench, &examples[i]), overhead);
        bench->expected += (uint64_t)threads * (bench->rounds + BATCH * BATCHES +
                                                (examples[i].releases ? bench->blocks : 0));
    }
}

/* ---- the long one ---- */

enum { LONG_THREADS = 4 };

static void *record_long(void *context)
{
    const struct runner *runner = context;
    struct riptide_manager *manager = runner->bench->manager;
    const uint32_t rounds = 100000000 / LONG_THREADS, names = 1000000 / LONG_THREADS;
    char name[32];
    for (uint32_t i = 0; i < names; i++) {
        snprintf(name, sizeof name, "component-%u-%u", runner->number, i);
        const struct riptide_allocation allocation = {
            .size = sizeof allocation, .size_bytes = 2, .component = name, .operation = name};
        riptide_record_allocation(manager, &allocation);
    }
    for (uint32_t i = names; i < rounds; i++)
        riptide_record_bytes(manager, runner->bench->tag, 2);
    return NULL;
}

static int check_long(struct bench *bench)
{
    struct runner runners[LONG_THREADS];
    pthread_t threads[LONG_THREADS];
    struct riptide_record_totals totals = {.size = sizeof totals};
    for (uint32_t i = 0; i < LONG_THREADS; i++) {
        runners[i] = (struct runner){.bench = bench, .number = i};
        pthread_create(&threads[i], NULL, record_long, &runners[i]);
    }
    for (uint32_t i = 0; i < LONG_THREADS; i++)
        pthread_join(threads[i], NULL);
    riptide_records_read(bench->manager, &totals);
    printf("%llu records, %llu bytes live, %llu names in other, tables %.2f MB\n",
           (unsigned long long)totals.allocations, (unsigned long long)totals.live_bytes,
           (unsigned long long)totals.names_in_other, (double)totals.memory_bytes / 1048576.0);
    return totals.allocations == 100000000 && totals.live_bytes == 200000000 &&
           totals.names_in_other > 999000 && totals.memory_bytes <= (uint64_t)LIMIT_MB << 20;
}

int main(int argc, char **argv)
{
    struct bench bench = {.manager = open_manager(), .rounds = 20000};
    uint32_t most = 16;
    int fine = 1;
    bench.tag = riptide_intern(bench.manager, "extraction", "parse_html");
    if (argc > 1 && strcmp(argv[1], "long") == 0) {
        fine = check_long(&bench);
    } else {
        bench.rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : bench.rounds;
        most = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : most;
        if (bench.rounds < 2 || most < 1 || most > THREADS_MAX) {
            fprintf(stderr, "usage: bench_records [ROUNDS [THREADS]] | long\n");
            return 2;
        }
        measure_all(&bench, 1);
        if (most > 1)
            measure_all(&bench, most);
        struct riptide_record_totals totals = {.size = sizeof totals};
        riptide_records_read(bench.manager, &totals);
        fine = totals.allocations == bench.expected && totals.unknown_releases == 0 &&
               totals.known_blocks == 0 && totals.over_released_bytes == 0 &&
               totals.untracked_blocks == 0;
    }
    riptide_manager_close(bench.manager);
    return fine ? 0 : 1;
}
