// SPDX-License-Identifier: Apache-2.0
/*
 * bench_threads.c - what a malloc/free pair costs a thread while N threads do the same.
 *
 * Runs in:    a process of its own, with and without a profiler
 * Threads:    argument 1 (default 1), each with the same work whatever their number
 * Allocates:  1,024 live blocks a thread, 16 to 527 bytes each, replaced in random order
 * Fails:      by exit status 1 for wrong usage, no memory, or a block that is not as it was written
 *
 * Why: a lock or a shared counter in a profiler shows as a cost of a pair that grows with the
 * threads. CPU time of the threads is what counts, so that more threads than processors do no harm.
 * With EVERY, each EVERYth block is freed by whichever thread finds it in a shared slot.
 * bench_threads [THREADS [PAIRS_A_THREAD [EVERY]]]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    LIVE_BLOCKS = 1024,
    LEAST_BYTES = 16,
    SPREAD_BYTES = 512,
    MOST_THREADS = 64,
    LINE_BYTES = 64
};

/* One a cache line: false sharing would be counted for the profiler. */
struct slot {
    _Alignas(LINE_BYTES) _Atomic(unsigned char *) block;
};

struct worker {
    pthread_t thread;
    unsigned char *blocks[LIVE_BLOCKS];
    uint64_t seed;
    unsigned long pairs;
    double cpu_ns;
    unsigned long wrong;
};

static struct worker workers[MOST_THREADS];
static struct slot slots[MOST_THREADS];
static unsigned long thread_count = 1;
static unsigned long hand_over_every;
static pthread_barrier_t start_line;

static double thread_cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* xorshift64: no lock, no library. */
static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static unsigned char *block_new(uint64_t random)
{
    unsigned char *const block = malloc(LEAST_BYTES + random % SPREAD_BYTES);

    if (block == NULL) {
        exit(1);
    }
    block[0] = 0x5a;
    return block;
}

static unsigned long block_free(unsigned char *block)
{
    const unsigned long wrong = block != NULL && block[0] != 0x5a;

    free(block);
    return wrong;
}

static void churn(struct worker *worker, unsigned long pairs)
{
    for (unsigned long i = 0; i < pairs; i++) {
        const uint64_t random = draw(&worker->seed);
        unsigned char **const slot = &worker->blocks[(random >> 32) % LIVE_BLOCKS];
        unsigned char *old = *slot;

        if (hand_over_every != 0 && i % hand_over_every == 0) {
            /* Leave ours for a neighbour and free what somebody left here before. Acquire and
             * release pair with each other: what the block holds moves with it. */
            old = atomic_exchange_explicit(&slots[random % thread_count].block, old,
                                           memory_order_acq_rel);
        }
        worker->wrong += block_free(old);
        *slot = block_new(random);
    }
}

static void *work(void *argument)
{
    struct worker *const worker = argument;

    for (size_t i = 0; i < LIVE_BLOCKS; i++) {
        worker->blocks[i] = block_new(draw(&worker->seed));
    }
    churn(worker, LIVE_BLOCKS * 4);
    pthread_barrier_wait(&start_line);
    const double before_ns = thread_cpu_ns();
    churn(worker, worker->pairs);
    worker->cpu_ns = thread_cpu_ns() - before_ns;
    pthread_barrier_wait(&start_line);
    for (size_t i = 0; i < LIVE_BLOCKS; i++) {
        worker->wrong += block_free(worker->blocks[i]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const unsigned long pairs = argc > 2 ? strtoul(argv[2], NULL, 10) : 2 * 1000 * 1000;
    double cpu_ns = 0;
    unsigned long wrong = 0;

    hand_over_every = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    thread_count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    if (thread_count < 1 || thread_count > MOST_THREADS || pairs < 1) {
        fprintf(stderr, "usage: bench_threads [THREADS (1..%d) [PAIRS_A_THREAD [EVERY]]]\n",
                MOST_THREADS);
        return 1;
    }
    pthread_barrier_init(&start_line, NULL, (unsigned)thread_count);
    for (unsigned long i = 0; i < thread_count; i++) {
        workers[i].seed = 0x9e3779b97f4a7c15u * (i + 1);
        workers[i].pairs = pairs;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return 1;
        }
    }
    for (unsigned long i = 0; i < thread_count; i++) {
        pthread_join(workers[i].thread, NULL);
        cpu_ns += workers[i].cpu_ns;
        wrong += workers[i].wrong;
    }
    for (unsigned long i = 0; i < thread_count; i++) {
        wrong += block_free(atomic_load(&slots[i].block));
    }
    printf("threads=%lu cpu_ns_per_pair=%.3f wrong=%lu\n", thread_count,
           cpu_ns / (double)(pairs * thread_count), wrong);
    return wrong != 0;
}
