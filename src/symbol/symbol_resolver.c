// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_resolver.c - finds function, file, line and inlined calls of code addresses.
 *
 * Runs in:    collector, report on a recording, a program that links libriptide
 * Threads:    see the header
 * Allocates:  a sorted list of the questions and the answers' places, for one call
 * Fails:      see the header
 *
 * A module over which a worker died or was too slow is not tried again by this resolver, and
 * workers that fail one after the other are replaced only a few times: hostile files can cost
 * their own symbols and a bounded time, nothing else.
 */
#include "symbol/symbol_resolver.h"

#include "base/base_macros.h"
#include "symbol/symbol_client.h"
#include "symbol/symbol_elf.h"
#include "symbol/symbol_open.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    TIMEOUT_MS = 5000,
    FAILED_MODULES_MAX = 256,
    FAILURES_IN_A_ROW_MAX = 4,
    FAILURES_MAX = 64,
};

/* A worker that has used this much is replaced before its own limit (300 s) ends it. */
#define WORKER_CPU_NS (UINT64_C(200) * 1000000000)

struct rtd_symbol_resolver {
    struct rtd_symbol_options options;
    struct rtd_symbol_stats stats;
    struct rtd_symbol_client client;
    unsigned failures_in_a_row, failures;
    size_t failed_count;
    char *worker_path;                   /* owned; NULL: none was given */
    char *library_path;                  /* owned; NULL: the environment had none */
    uint64_t failed[FAILED_MODULES_MAX]; /* hashes of the modules that cost a worker */
};

/* One module's part of a batch, at most as many addresses as one question holds. */
struct batch {
    struct rtd_symbol_resolver *resolver;
    struct rtd_symbol_table *table;
    const struct rtd_symbol_module *module;
    pid_t pid;
    size_t count;
    uint64_t offsets[RTD_SYMBOL_WIRE_OFFSETS];
    bool answered[RTD_SYMBOL_WIRE_OFFSETS];
    size_t resolved;
    int err;
};

/* The environment is read once: later, some thread of a service may be changing it. */
static bool copy_strings(struct rtd_symbol_resolver *resolver)
{
    const char *const worker = resolver->options.worker_path;
    const char *const libraries = secure_getenv("LD_LIBRARY_PATH");

    if (worker)
        resolver->worker_path = strdup(worker);
    if (libraries)
        resolver->library_path = strdup(libraries);
    resolver->client.library_path = resolver->library_path;
    return (!worker || resolver->worker_path) && (!libraries || resolver->library_path);
}

struct rtd_symbol_resolver *rtd_symbol_resolver_new(const struct rtd_symbol_options *options,
                                                    int *err)
{
    struct rtd_symbol_resolver *resolver = calloc(1, sizeof(*resolver));

    if (!resolver) {
        if (err)
            *err = -ENOMEM;
        return NULL;
    }
    if (options)
        resolver->options = *options;
    if (resolver->options.module_timeout_ms == 0)
        resolver->options.module_timeout_ms = TIMEOUT_MS;
    if (!resolver->options.debug_directory)
        resolver->options.debug_directory = "/usr/lib/debug";
    resolver->client.fd = -1;
    if (!copy_strings(resolver)) {
        rtd_symbol_resolver_free(resolver);
        if (err)
            *err = -ENOMEM;
        return NULL;
    }
    if (resolver->options.early_worker &&
        rtd_symbol_client_start(&resolver->client, RTD_SYMBOL_START_FORK, NULL) == 0)
        resolver->stats.worker_starts++;
    return resolver;
}

void rtd_symbol_resolver_free(struct rtd_symbol_resolver *resolver)
{
    if (!resolver)
        return;
    rtd_symbol_client_stop(&resolver->client);
    free(resolver->library_path);
    free(resolver->worker_path);
    free(resolver);
}

void rtd_symbol_resolver_rest(struct rtd_symbol_resolver *resolver)
{
    rtd_symbol_client_stop(&resolver->client);
}

const struct rtd_symbol_stats *rtd_symbol_resolver_stats(const struct rtd_symbol_resolver *resolver)
{
    return &resolver->stats;
}

pid_t rtd_symbol_resolver_worker_pid(const struct rtd_symbol_resolver *resolver)
{
    return resolver->client.pid > 0 ? resolver->client.pid : 0;
}

/* Two modules with one hash would only share a failure. */
static uint64_t hash_module(const struct rtd_symbol_module *module)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const char *p = module->path; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < module->build_id_bytes; i++)
        hash = (hash ^ module->build_id[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool has_failed(const struct rtd_symbol_resolver *resolver, uint64_t hash)
{
    for (size_t i = 0; i < resolver->failed_count; i++)
        if (resolver->failed[i] == hash)
            return true;
    return false;
}

/* The worker is in an unknown state: it goes, and its module is remembered. */
static void note_failure(struct rtd_symbol_resolver *resolver,
                         const struct rtd_symbol_module *module, int err)
{
    rtd_symbol_client_stop(&resolver->client);
    resolver->failures_in_a_row++;
    resolver->failures++;
    resolver->stats.modules_failed++;
    if (err == -ETIMEDOUT)
        resolver->stats.timeouts++;
    if (resolver->failed_count < FAILED_MODULES_MAX)
        resolver->failed[resolver->failed_count++] = hash_module(module);
}

static bool may_start(const struct rtd_symbol_resolver *resolver)
{
    return resolver->failures_in_a_row < FAILURES_IN_A_ROW_MAX && resolver->failures < FAILURES_MAX;
}

/* Makes sure there is a worker, a new one if the old one has worked long. */
static int start_worker(struct rtd_symbol_resolver *resolver)
{
    if (resolver->client.pid > 0 && rtd_symbol_client_cpu_ns(&resolver->client) > WORKER_CPU_NS)
        rtd_symbol_client_stop(&resolver->client);
    if (resolver->client.pid > 0)
        return 0;
    if (!may_start(resolver))
        return -EPIPE;
    const enum rtd_symbol_start start = resolver->worker_path           ? RTD_SYMBOL_START_PROGRAM
                                        : resolver->options.exec_worker ? RTD_SYMBOL_START_EXEC
                                                                        : RTD_SYMBOL_START_FORK;
    const int err = rtd_symbol_client_start(&resolver->client, start, resolver->worker_path);
    if (err == 0)
        resolver->stats.worker_starts++;
    return err;
}

static void take_answer(void *context, uint32_t index, const struct rtd_symbol_frame *frames,
                        size_t frame_count)
{
    struct batch *batch = context;

    if (batch->answered[index])
        return;
    batch->answered[index] = true;
    const int result = rtd_symbol_table_add(batch->table, batch->module, batch->offsets[index],
                                            frames, frame_count);
    if (result == -ENOMEM)
        batch->err = result;
    if (result >= 0 && frame_count > 0)
        batch->resolved++;
}

/* Whether a module is of the C library, whose debug information is not worth its price. */
static bool is_names_only(const struct batch *batch)
{
    static const char *const parts[] = {"ld-linux", "libm.so.6",      "libpthread.so.0",
                                        "libdl.so", "libresolv.so.2", "librt.so.1"};
    const char *slash = strrchr(batch->module->path, '/');
    const char *name = slash ? slash + 1 : batch->module->path;
    bool is_part = strcmp(rtd_symbol_allocator_name(name), "glibc") == 0;

    for (size_t i = 0; i < RTD_ARRAY_LENGTH(parts); i++)
        is_part |= strncmp(name, parts[i], strlen(parts[i])) == 0;
    return is_part && !batch->resolver->options.c_library_lines;
}

/* Asks the worker; -ENOENT when the module cannot be used, other codes when the worker failed. */
static int ask(struct batch *batch)
{
    struct rtd_symbol_resolver *resolver = batch->resolver;
    const struct rtd_symbol_place place = {.module = batch->module,
                                           .pid = batch->pid,
                                           .debug_directory = resolver->options.debug_directory};
    int fds[RTD_SYMBOL_FILE_COUNT];
    int err = rtd_symbol_open_files(&place, fds);

    if (err < 0)
        return -ENOENT;
    err = start_worker(resolver);
    if (err == 0) {
        const bool is_first = resolver->client.sequence == 0;
        const struct rtd_symbol_ask question = {.fds = fds,
                                                .build_id = batch->module->build_id,
                                                .build_id_bytes = batch->module->build_id_bytes,
                                                .offsets = batch->offsets,
                                                .offset_count = batch->count,
                                                .names_only = is_names_only(batch)};

        err = rtd_symbol_client_ask(&resolver->client, &question,
                                    resolver->options.module_timeout_ms, take_answer, batch);
        if (err == -ENOEXEC || err == -EBADMSG)
            err = -ENOENT;
        if ((err == 0 || err == -ENOENT) && is_first && !resolver->client.is_filtered)
            resolver->stats.workers_unconfined++;
    }
    rtd_symbol_close_files(fds);
    return err;
}

/* Whatever happens, every address of the batch has an answer in the table afterwards. */
static void run_batch(struct batch *batch)
{
    struct rtd_symbol_resolver *resolver = batch->resolver;
    int err = -ENOENT;

    batch->resolved = 0;
    memset(batch->answered, 0, sizeof(batch->answered));
    if (!has_failed(resolver, hash_module(batch->module)))
        err = ask(batch);
    if (err == 0) {
        resolver->stats.modules_answered++;
        resolver->failures_in_a_row = 0;
    } else if (err == -ENOENT) {
        resolver->stats.modules_refused++;
    } else {
        note_failure(resolver, batch->module, err);
    }
    for (size_t i = 0; i < batch->count; i++)
        if (!batch->answered[i])
            take_answer(batch, (uint32_t)i, NULL, 0);
    resolver->stats.addresses_resolved += batch->resolved;
    resolver->stats.addresses_unresolved += batch->count - batch->resolved;
}

static int compare_modules(const struct rtd_symbol_module *a, const struct rtd_symbol_module *b)
{
    const int by_path = strcmp(a->path, b->path);

    if (by_path != 0)
        return by_path;
    if (a->build_id_bytes != b->build_id_bytes)
        return a->build_id_bytes < b->build_id_bytes ? -1 : 1;
    return a->build_id_bytes ? memcmp(a->build_id, b->build_id, a->build_id_bytes) : 0;
}

/* Module by module, ascending, equal questions side by side. */
static int compare_requests(const void *a, const void *b)
{
    const struct rtd_symbol_request *const *x = a, *const *y = b;
    const int by_module = compare_modules(&(*x)->module, &(*y)->module);

    if (by_module != 0)
        return by_module;
    if ((*x)->offset != (*y)->offset)
        return (*x)->offset < (*y)->offset ? -1 : 1;
    /* A question that names a process first: it can find more. */
    return ((*x)->pid == 0) - ((*y)->pid == 0);
}

static bool is_known(const struct rtd_symbol_resolver *resolver,
                     const struct rtd_symbol_table *table, const struct rtd_symbol_request *request)
{
    size_t count = 0;

    return rtd_symbol_table_get(table, &request->module, request->offset, &count) &&
           (count > 0 || !resolver->options.retry_unresolved);
}

static bool is_valid(const struct rtd_symbol_request *request)
{
    const struct rtd_symbol_module *module = &request->module;

    return module->path && strnlen(module->path, PATH_MAX) < PATH_MAX &&
           module->build_id_bytes <= RTD_SYMBOL_BUILD_ID_BYTES &&
           (module->build_id || module->build_id_bytes == 0);
}

/* Goes through the sorted questions and runs a batch whenever the module ends or it is full. */
static int run_sorted(struct batch *batch, const struct rtd_symbol_request **sorted, size_t count)
{
    int64_t resolved = 0;

    for (size_t i = 0; i < count; i++) {
        const bool is_same =
            batch->count > 0 && compare_modules(batch->module, &sorted[i]->module) == 0;

        if (batch->count > 0 && is_same && batch->offsets[batch->count - 1] == sorted[i]->offset)
            continue;
        if (batch->count == RTD_SYMBOL_WIRE_OFFSETS || (batch->count > 0 && !is_same)) {
            run_batch(batch);
            resolved += (int64_t)batch->resolved;
            batch->count = 0;
        }
        if (batch->count == 0) {
            batch->module = &sorted[i]->module;
            batch->pid = sorted[i]->pid;
        }
        if (batch->pid == 0)
            batch->pid = sorted[i]->pid;
        batch->offsets[batch->count++] = sorted[i]->offset;
    }
    if (batch->count > 0) {
        run_batch(batch);
        resolved += (int64_t)batch->resolved;
    }
    if (batch->err < 0)
        return batch->err;
    return resolved > INT_MAX ? INT_MAX : (int)resolved;
}

int rtd_symbol_resolver_resolve(struct rtd_symbol_resolver *resolver,
                                struct rtd_symbol_table *table,
                                const struct rtd_symbol_request *requests, size_t count)
{
    const struct rtd_symbol_request **sorted = NULL;
    struct batch *batch = NULL;
    size_t unknown = 0;
    int result = 0;

    for (size_t i = 0; i < count; i++) {
        if (!is_valid(&requests[i]))
            return -EINVAL;
        unknown += !is_known(resolver, table, &requests[i]);
    }
    /* A full table could not remember the answers, and would be asked for them again and again. */
    if (unknown == 0 || rtd_symbol_table_overflow_count(table) > 0)
        return 0;
    sorted = malloc(unknown * sizeof(*sorted));
    batch = calloc(1, sizeof(*batch));
    if (!sorted || !batch) {
        result = -ENOMEM;
        goto out;
    }
    size_t taken = 0;
    for (size_t i = 0; i < count && taken < unknown; i++)
        if (!is_known(resolver, table, &requests[i]))
            sorted[taken++] = &requests[i];
    qsort(sorted, taken, sizeof(*sorted), compare_requests);
    batch->resolver = resolver;
    batch->table = table;
    result = run_sorted(batch, sorted, taken);
out:
    free(batch);
    free(sorted);
    return result;
}
