// SPDX-License-Identifier: Apache-2.0
/*
 * collect_process.c - one observed process image: its ledger, its record, what is due for it.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop, see collect_process.h
 * Allocates:  the record, an image of the ledger, the series
 * Fails:      by a negative errno or NULL
 */
#include "collect/collect_process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collect/collect_breakdown.h"
#include "collect/collect_limits.h"
#include "collect/collect_modules.h"
#include "symbol/symbol_elf.h"

#define MS_NS     UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)
/* Half a tick: what is due each second is not put off to the next one. */
#define SLACK_NS (50 * MS_NS)
/* How long a limit of memory counts as unchanged. */

/* As much as the sampling interval begins with, so that a process is as likely to count. */
#define MAPPED_MUCH_BYTES (UINT64_C(512) << 10)

/* Short programs deserve points too: dense at first, then one a second, then decimated. */
enum { DENSE_POINTS = 10, SERIES_POLL_MS = 250 };

/* Mapping events in one tick after which the ring is read ten times as often. */
enum { BUSY_EVENTS = RTD_MAP_COUNT / 8 };

/* Of the time between two reads of an exact ledger, what a read may take. */
enum { READ_SHARE_INVERSE = 20 };

struct rtd_collect_process *rtd_process_new(uint32_t id, pid_t pid)
{
    struct rtd_collect_process *const process = calloc(1, sizeof(*process));

    if (!process)
        return NULL;
    process->pidfd = -1;
    process->ledger.handle.fd = -1;
    process->hello_ns = rtd_collect_now_ns();
    process->point_spacing_ns = SECOND_NS;
    process->changed = true;
    process->record.meta.id = id;
    process->record.meta.pid = (uint32_t)pid;
    process->record.meta.status = RTD_PROCESS_RUNNING;
    process->record.meta.exit_code = -1;
    process->record.meta.started_unix_ns = rtd_collect_unix_ns();
    (void)snprintf(process->record.meta.allocator, sizeof(process->record.meta.allocator), "other");
    return process;
}

void rtd_process_free(struct rtd_collect_process *process, struct rtd_pool *pool)
{
    if (!process)
        return;
    if (process->pidfd >= 0)
        close(process->pidfd);
    rtd_pool_give(pool, &process->ledger);
    rtd_image_free(process->record.image);
    rtd_series_fini(&process->record.series);
    rtd_mappings_fini(&process->record.mappings);
    rtd_collect_maps_fini(&process->maps);
    free(process->other_path);
    free(process);
}

/* Field 4 of /proc/PID/stat, behind the last parenthesis of the name. */
pid_t rtd_process_parent(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *const file = fopen(path, "re");
    if (!file)
        return 0;
    const size_t size = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *const end = strrchr(text, ')');
    if (!end || sscanf(end, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

/*
 * The name a program was started by: of several programs in one file (redis, busybox) the one that
 * runs. The kernel keeps 15 bytes of it; a longer name is taken from the file when that begins so.
 */
static void describe_program(struct rtd_process_meta *meta)
{
    enum { KERNEL_NAME_BYTES = 15 };
    char name[RTD_PROGRAM_BYTES];

    if (meta->program[0] || rtd_track_program((pid_t)meta->pid, name, sizeof(name)) < 0)
        return;
    const char *const slash = strrchr(meta->executable, '/');
    const char *const file = slash ? slash + 1 : meta->executable;
    const bool cut = strlen(name) == KERNEL_NAME_BYTES && strncmp(file, name, strlen(name)) == 0;
    (void)snprintf(meta->program, sizeof(meta->program), "%.*s", (int)sizeof(meta->program) - 1,
                   cut ? file : name);
}

void rtd_process_describe(struct rtd_collect_process *process)
{
    struct rtd_process_meta *const meta = &process->record.meta;
    const pid_t pid = (pid_t)meta->pid;

    char text[RTD_COMMAND_BYTES];

    /* What cannot be read any more stays as it was. */
    if (rtd_track_command(pid, text, sizeof(text)) >= 0 && text[0])
        memcpy(meta->command, text, sizeof(text));
    if (rtd_track_executable(pid, text, sizeof(text)) >= 0 && text[0])
        memcpy(meta->executable, text, sizeof(text));
    describe_program(meta);
    const pid_t parent = rtd_process_parent(pid);
    if (parent > 0)
        meta->parent_pid = (uint32_t)parent;
}

void rtd_process_tick(const struct rtd_collect_process *process, uint64_t now_ns)
{
    if (process->ledger.handle.ledger && !process->ending && !process->borrowed)
        rtd_ledger_tick(process->ledger.handle.ledger, (now_ns - process->ledger.born_ns) / MS_NS);
}

void rtd_process_maps(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (!ledger || process->borrowed)
        return;
    const uint64_t before = process->maps.next;
    rtd_collect_maps_drain(&process->maps, ledger, now_ns, process->ending);
    const uint64_t count = process->maps.next - before;
    process->maps.busy =
        !process->ending && count >= (process->maps.busy ? BUSY_EVENTS / 10 : BUSY_EVENTS);
    if (!process->ending)
        rtd_collect_maps_correct(&process->maps, ledger, (pid_t)process->record.meta.pid, now_ns);
}

void rtd_process_adapt(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (!ledger || process->ending || process->borrowed || ledger->header.mode == RTD_MODE_EXACT)
        return;
    const uint64_t samples = atomic_load_explicit(&ledger->header.samples, memory_order_relaxed);
    if (!process->adapt_ns) {
        /* A ledger that somebody kept before has samples that are not of the second to come. */
        process->adapt_ns = now_ns;
        process->adapt_samples = samples;
        return;
    }
    if (now_ns - process->adapt_ns < SECOND_NS)
        return;
    rtd_ledger_adapt(ledger, samples - process->adapt_samples,
                     (now_ns - process->adapt_ns) / MS_NS);
    process->adapt_samples = samples;
    process->adapt_ns = now_ns;
}

bool rtd_process_sampled(const struct rtd_collect_process *process)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    /* Exact mode counts every allocation, and there is no program without any. */
    if (ledger && ledger->header.mode == RTD_MODE_EXACT)
        return atomic_load_explicit(&ledger->header.agent_state, memory_order_relaxed) ==
               RTD_AGENT_READY;
    if (ledger)
        return atomic_load_explicit(&ledger->header.samples, memory_order_relaxed) != 0;
    return process->record.image && process->record.image->samples_taken != 0;
}

bool rtd_process_matters(const struct rtd_collect_process *process)
{
    return rtd_process_sampled(process) || process->maps.mapped_bytes >= MAPPED_MUCH_BYTES;
}

/*
 * Only a new agent-side state needs a new read; the loads are hints and need no order. In exact
 * mode nothing short of the counters tells, so they are read, unless that would take more than a
 * twentieth of the time.
 */
static bool ledger_changed(struct rtd_collect_process *process, uint64_t now_ns)
{
    const struct rtd_header *h = &process->ledger.handle.ledger->header;
    if (h->mode == RTD_MODE_EXACT)
        return !process->image_read ||
               now_ns - process->read_ns >= process->read_cost_ns * READ_SHARE_INVERSE;
    const uint64_t samples = atomic_load_explicit(&h->samples, memory_order_relaxed);
    const uint64_t live = atomic_load_explicit(&h->live_samples, memory_order_relaxed) ^
                          atomic_load_explicit(&h->live_bytes, memory_order_relaxed);
    const uint64_t shift = atomic_load_explicit(&h->storage_shift, memory_order_relaxed);
    const uint64_t modules =
        atomic_load_explicit(&h->module_count, memory_order_relaxed) +
        ((uint64_t)atomic_load_explicit(&h->agent_state, memory_order_relaxed) << 32);
    const bool same = process->image_read && samples == process->print_samples &&
                      live == process->print_live && shift == process->print_shift &&
                      modules == process->print_modules &&
                      !rtd_collect_maps_changed(&process->maps);

    process->print_samples = samples;
    process->print_live = live;
    process->print_shift = shift;
    process->print_modules = modules;
    return !same;
}

/* The file that is mapped at an address of the live process, into path. */
static bool file_at(pid_t pid, uint64_t address, char *path, size_t size)
{
    char name[64], *line = NULL;
    size_t capacity = 0;
    bool found = false;

    (void)snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
    FILE *const file = fopen(name, "re");
    if (!file)
        return false;
    while (!found && getline(&line, &capacity, file) > 0) {
        unsigned long long start = 0, end = 0;
        const char *const slash = strchr(line, '/');
        if (sscanf(line, "%llx-%llx", &start, &end) != 2 || address < start || address >= end)
            continue;
        if (!slash)
            break;
        (void)snprintf(path, size, "%.*s", (int)strcspn(slash, "\n"), slash);
        found = true;
    }
    free(line);
    (void)fclose(file);
    return found;
}

/*
 * Allocator libraries define operator new themselves and do not pass through malloc there: a C++
 * program's report must not look whole.
 */
static void name_blind_spot(struct rtd_process_meta *meta)
{
    if (meta->status != RTD_PROCESS_BLIND)
        (void)snprintf(meta->blind_reason, sizeof(meta->blind_reason),
                       "the allocator (%s) defines the C++ operators new and delete itself: what "
                       "the program allocates through them is not seen",
                       meta->allocator);
}

/*
 * The allocator's own file stands in no stack as a rule, so the process's mappings are asked, or
 * when it is dead, the modules it left.
 */
static void name_allocator(struct rtd_collect_process *process)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;
    const struct rtd_image *const image = process->record.image;
    struct rtd_process_meta *const meta = &process->record.meta;
    const struct rtd_image_module *module = NULL;
    char path[RTD_COMMAND_BYTES];
    const char *found = NULL;

    if (process->allocator_named || !ledger ||
        atomic_load_explicit(&ledger->header.agent_state, memory_order_acquire) == RTD_AGENT_ABSENT)
        return;
    const uint64_t address = ledger->header.allocator_module_start;
    if (image)
        module = rtd_image_module_at(image, address, image->generation);
    if (file_at((pid_t)meta->pid, address, path, sizeof(path)))
        found = path;
    else if (module)
        found = module->name[0] ? module->name : meta->executable;
    if (!found)
        return;
    process->allocator_named = true;
    process->changed = true;
    (void)snprintf(meta->allocator, sizeof(meta->allocator), "%s",
                   rtd_symbol_allocator_name(found));
    if (ledger->header.blind_spots & RTD_BLIND_TO_OPERATORS)
        name_blind_spot(meta);
}

int rtd_process_refresh(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_process_record *const record = &process->record;

    if (!process->ledger.handle.ledger)
        return 0;
    if (!record->image) {
        record->image = rtd_image_new();
        if (!record->image)
            return -ENOMEM;
    }
    const uint64_t clock_ms = (now_ns - process->ledger.born_ns) / MS_NS;
    /* Before the image: the stacks of all events read are in it then. */
    if (!process->borrowed)
        rtd_collect_maps_drain(&process->maps, process->ledger.handle.ledger, now_ns,
                               process->ending);
    if (!ledger_changed(process, now_ns)) {
        record->image->clock_ms = clock_ms;
        return 0;
    }
    record->image->writer_gone = process->ending;
    const uint64_t begun_ns = rtd_collect_now_ns();
    const int result = rtd_image_read_sparse(record->image, process->ledger.handle.ledger,
                                             process->ledger.handle.fd);
    if (result < 0)
        return result;
    process->read_cost_ns = rtd_collect_now_ns() - begun_ns;
    rtd_modules_complete(record->image, (pid_t)record->meta.pid, record->meta.executable);
    (void)rtd_collect_maps_publish(&process->maps, &record->mappings);
    for (uint32_t i = 0; i < record->mappings.site_count; i++)
        (void)rtd_image_stack_load(record->image, process->ledger.handle.fd,
                                   record->mappings.sites[i].stack);
    process->image_read = true;
    process->read_ns = now_ns;
    process->changed = true;
    name_allocator(process);
    return 1;
}

int rtd_process_examine(struct rtd_collect_process *process, uint64_t now_ns)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (ledger && ledger->header.mode == RTD_MODE_EXACT)
        process->image_read = false;
    const int result = rtd_process_refresh(process, now_ns);
    if (result > 0)
        (void)rtd_image_blocks_read(process->record.image, process->ledger.handle.fd);
    rtd_collect_breakdown(process, now_ns);
    return result;
}

/* Every second point goes, and the distance doubles: bounded, and evenly spread over the run. */
static void decimate_points(struct rtd_collect_process *process)
{
    struct rtd_process_record *const record = &process->record;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < record->point_count; i += 2)
        record->points[kept++] = record->points[i];
    record->point_count = kept;
    process->point_spacing_ns *= 2;
}

static uint64_t live_bytes_hint(const struct rtd_collect_process *process)
{
    const struct rtd_ledger *const ledger = process->ledger.handle.ledger;

    if (!ledger)
        return 0;
    if (ledger->header.mode == RTD_MODE_EXACT)
        return rtd_image_live_hint(process->ledger.handle.fd);
    const uint64_t live = atomic_load_explicit(&ledger->header.live_bytes, memory_order_relaxed);
    return live >> 63 ? 0 : live;
}

/*
 * The dense points of the first second cost a glance each; more is read when the process's age has
 * doubled, and once a second. The limits have a rhythm of their own (collect_limits.c).
 */
static int look_at_memory(struct rtd_collect_process *process, uint64_t now_ns, bool force,
                          struct rtd_memory_snapshot *memory)
{
    const pid_t pid = (pid_t)process->record.meta.pid;

    *memory = process->record.memory;
    if (!force && memory->valid && now_ns < process->figures_ns)
        return rtd_track_glance(pid, memory);
    const uint64_t age_ns = now_ns - process->hello_ns;
    process->figures_ns = now_ns + (age_ns < SECOND_NS - SLACK_NS ? age_ns : SECOND_NS - SLACK_NS);
    return rtd_track_update(pid, memory);
}

void rtd_process_point(struct rtd_collect_process *process, uint64_t now_ns, bool force)
{
    struct rtd_process_record *const record = &process->record;
    struct rtd_memory_snapshot memory;

    if (now_ns < process->point_ns && !force)
        return;
    const bool dense = record->point_count < DENSE_POINTS;
    process->point_ns = now_ns + (dense ? 100 * MS_NS : process->point_spacing_ns);
    name_allocator(process);
    /* A zombie has no memory any more: what was true before stays. */
    if (look_at_memory(process, now_ns, force, &memory) < 0 || memory.rss_bytes == 0)
        return;
    memory.heap_bytes = live_bytes_hint(process);
    record->memory = memory;
    rtd_collect_limits(process, now_ns);
    process->changed = true;
    if (record->point_count == RTD_POINT_MAX)
        decimate_points(process);
    struct rtd_process_point *const point = &record->points[record->point_count++];
    const uint64_t unix_ns = rtd_collect_unix_ns();
    point->time_ms = unix_ns > record->meta.started_unix_ns
                         ? (unix_ns - record->meta.started_unix_ns) / MS_NS
                         : 0;
    point->rss_bytes = memory.rss_bytes;
    point->live_bytes = memory.heap_bytes;
}

void rtd_process_series(struct rtd_collect_process *process, uint64_t now_ns)
{
    struct rtd_process_record *const record = &process->record;
    const struct rtd_site_series *const series = &record->series;

    if (!process->ledger.handle.ledger || now_ns < process->series_ns)
        return;
    if (!rtd_process_sampled(process))
        return;
    process->series_ns = now_ns + SERIES_POLL_MS * MS_NS;
    if (series->point_count > 0) {
        const uint64_t clock_ms = (now_ns - process->ledger.born_ns) / MS_NS;
        const uint64_t due = series->times_ms[series->point_count - 1] + series->spacing_ms;
        if (clock_ms < due) {
            process->series_ns = now_ns + (due - clock_ms) * MS_NS;
            return;
        }
    }
    if (rtd_process_refresh(process, now_ns) >= 0)
        (void)rtd_series_add(&record->series, record->image);
}

void rtd_process_blind(struct rtd_collect_process *process, const char *reason)
{
    struct rtd_process_meta *const meta = &process->record.meta;

    meta->status = RTD_PROCESS_BLIND;
    (void)snprintf(meta->blind_reason, sizeof(meta->blind_reason), "%s", reason);
    process->changed = true;
}

void rtd_process_end(struct rtd_collect_process *process, struct rtd_pool *pool, uint64_t now_ns)
{
    struct rtd_process_record *const record = &process->record;
    struct rtd_process_meta *const meta = &record->meta;

    if (process->ledger.handle.ledger) {
        process->image_read = false; /* read whatever the hints say: it is the last time */
        if (rtd_process_examine(process, now_ns) >= 0 && record->image->samples_taken > 0)
            (void)rtd_series_add(&record->series, record->image);
        rtd_pool_give(pool, &process->ledger);
    }
    meta->ended_unix_ns = rtd_collect_unix_ns();
    meta->exit_code = process->status_known ? process->pending_exit_code : -1;
    meta->signal = process->status_known ? process->pending_signal : 0;
    if (meta->status != RTD_PROCESS_BLIND) {
        meta->status = process->replaced   ? RTD_PROCESS_REPLACED
                       : meta->signal != 0 ? RTD_PROCESS_KILLED
                                           : RTD_PROCESS_EXITED;
    }
    if (process->pidfd >= 0)
        close(process->pidfd);
    process->pidfd = -1;
    process->changed = true;
}
