// SPDX-License-Identifier: Apache-2.0
/*
 * worker_pool.c - a tag goes with the task, so that memory is charged to who asked for it.
 *
 * Runs in:    a process of its own
 * Threads:    main hands out tasks, WORKER_COUNT workers do them; the manager has one of its own
 * Allocates:  one block a task, which the worker records
 * Fails:      by exit status 1 when it cannot start or a component does not hold what it should
 *
 * A worker that allocates for a request knows nothing of the component which the request belongs
 * to. So the task carries the tag that was in force where it was handed in, and the worker puts it
 * in force while it works. Records of tag 0 are charged to the tag in force; under `riptide run`,
 * so is every malloc.
 */
#include <inttypes.h>
#include <pthread.h>
#include <riptide/riptide.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKER_COUNT = 4,
    TASK_COUNT = 300,
    TEXT_BYTES = 10000,
    TILE_BYTES = 4000,
};

/* What a task needs, and the tag under which it is done. */
struct task {
    uint32_t tag;
    size_t bytes;
    void *result; /* recorded; freed by main */
};

struct pool {
    struct riptide_manager *manager;
    struct task *tasks;
    size_t next, count;
    int closed;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t workers[WORKER_COUNT];
};

static struct task *take_task(struct pool *pool)
{
    struct task *task = NULL;

    pthread_mutex_lock(&pool->lock);
    while (pool->next == pool->count && !pool->closed)
        pthread_cond_wait(&pool->changed, &pool->lock);
    if (pool->next < pool->count)
        task = &pool->tasks[pool->next++];
    pthread_mutex_unlock(&pool->lock);
    return task;
}

/* Knows how to do its work, and not for whom. */
static void do_task(struct pool *pool, struct task *task)
{
    task->result = malloc(task->bytes);
    if (!task->result)
        return;
    memset(task->result, 1, task->bytes);
    riptide_record_block(pool->manager, 0, task->result, task->bytes, 0);
}

static void *work(void *context)
{
    struct pool *const pool = context;
    struct task *task;

    while ((task = take_task(pool)) != NULL) {
        struct riptide_scope before;

        riptide_scope_adopt(task->tag, &before);
        do_task(pool, task);
        riptide_scope_restore(&before);
    }
    return NULL;
}

/* Must be called under the scope that the task shall be charged to. */
static void hand_in(struct pool *pool, size_t bytes)
{
    pthread_mutex_lock(&pool->lock);
    pool->tasks[pool->count++] = (struct task){.tag = riptide_scope_capture(), .bytes = bytes};
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

static void extract(struct pool *pool)
{
    RIPTIDE_SCOPE("extraction", "parse_html");
    hand_in(pool, TEXT_BYTES);
}

static void render(struct pool *pool)
{
    RIPTIDE_SCOPE("renderer", "draw_tile");
    hand_in(pool, TILE_BYTES);
}

static void start_workers(struct pool *pool)
{
    for (size_t i = 0; i < WORKER_COUNT; i++) {
        const int error = pthread_create(&pool->workers[i], NULL, work, pool);

        if (error) {
            fprintf(stderr, "worker_pool: no thread: %s\n", strerror(error));
            exit(1);
        }
    }
}

static void finish(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->closed = 1;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < WORKER_COUNT; i++)
        pthread_join(pool->workers[i], NULL);
}

/* Prints who holds what; the sum over all. */
static uint64_t show(struct riptide_manager *manager)
{
    const struct riptide_parts *parts = NULL;
    uint64_t sum_bytes = 0;
    const int error = riptide_memory_breakdown(manager, &parts);

    if (error < 0) {
        fprintf(stderr, "worker_pool: no breakdown: %s\n", riptide_strerror(error));
        return 0;
    }
    for (uint32_t i = 0; i < parts->count; i++) {
        if (strcmp(parts->parts[i]->domain, "records") != 0)
            continue;
        printf("%s: %" PRIu64 " bytes\n", parts->parts[i]->name, parts->parts[i]->bytes);
        sum_bytes += parts->parts[i]->bytes;
    }
    riptide_parts_free(parts);
    return sum_bytes;
}

int main(void)
{
    int error = 0;
    struct task tasks[2 * TASK_COUNT];
    struct pool pool = {
        .tasks = tasks, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct riptide_options options;

    riptide_options_init(&options);
    options.endpoints = 0;
    pool.manager = riptide_manager_open(&options, &error);
    if (!pool.manager) {
        fprintf(stderr, "worker_pool: no manager: %s\n", riptide_strerror(error));
        return 1;
    }
    start_workers(&pool);
    for (int i = 0; i < TASK_COUNT; i++) {
        extract(&pool);
        render(&pool);
    }
    finish(&pool);
    const uint64_t sum_bytes = show(pool.manager);
    for (size_t i = 0; i < pool.count; i++) {
        riptide_release_block(pool.manager, tasks[i].result);
        free(tasks[i].result);
    }
    riptide_manager_close(pool.manager);
    return sum_bytes == (uint64_t)TASK_COUNT * (TEXT_BYTES + TILE_BYTES) ? 0 : 1;
}
