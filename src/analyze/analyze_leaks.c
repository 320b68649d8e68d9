// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_leaks.c - the seed's four leak criteria and three patterns, with the meaning their names
 * promise.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arenas
 * Fails:      by -ENOMEM
 *
 * A component is judged as a whole and by each of its sites, since a leak may hide behind a busy
 * neighbour of the same component. All four criteria ask for growth that lasts (analyze_trend.h);
 * these are their limits unless rtd_thresholds sets others:
 *
 *   high_growth_rate               more than 10 MiB per hour, by a slope and not by level / uptime
 *   large_live_size                more than 50 MiB live, and allocated in the last minute
 *   small_allocation_accumulation  more than 1000 live blocks of more than 1 MiB together
 *   peak_growth                    live has doubled since the first quarter and is at its peak
 *
 * peak_growth looks at the component's own life, from its first bytes on. What grew from nothing
 * doubles at any pace, so there it is said beside another reason only; by itself it takes a level
 * that stood and has doubled (from_level in analyze_trend.h).
 */
#include "analyze/analyze_draft.h"
#include "analyze/analyze_trend.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double MIB = 1048576.0;

/* What the image alone tells of a ledger site's live samples. */
struct site_age {
    double born_window, born_late; /* live bytes born in the window, in its second half */
    uint32_t samples_window;       /* samples behind born_window */
    uint32_t large_window;         /* of these, of more than frequent_large_bytes */
};

/* A ledger site's or component's live bytes over time with what judges them. */
struct leak_line {
    double bytes[RTD_TREND_POINTS];
    struct rtd_trend_input input;
    struct rtd_trend trend;
};

struct leak_work {
    struct rtd_draft *draft;
    uint32_t point_count;
    double seconds[RTD_TREND_POINTS];
    struct site_age *ages;   /* per ledger site */
    struct leak_line *lines; /* per component */
    uint32_t *fastest;       /* per component: ledger site, RTD_DRAFT_NONE if none grows */
    double *fastest_rate;    /* its slope */
    uint32_t *repeated;      /* per component: growing stacks with fresh samples enough */
    uint64_t *keys;          /* (tag, stack) of ledger sites, sorted with order */
    uint32_t *order;
};

static uint64_t key_of(uint32_t stack, uint32_t tag)
{
    return ((uint64_t)tag << 32) | stack;
}

struct keyed_site {
    uint64_t key;
    uint32_t site;
};

static int compare_keys(const void *a, const void *b)
{
    const struct keyed_site *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static int sort_keys(struct leak_work *work)
{
    const struct rtd_image *image = work->draft->record->image;
    struct keyed_site *keyed =
        rtd_arena_take_array(work->draft->scratch, image->site_count, sizeof *keyed);
    work->keys = rtd_arena_take_array(work->draft->scratch, image->site_count, sizeof *work->keys);
    work->order =
        rtd_arena_take_array(work->draft->scratch, image->site_count, sizeof *work->order);
    if (!keyed || !work->keys || !work->order)
        return -ENOMEM;
    for (uint32_t i = 0; i < image->site_count; i++)
        keyed[i] = (struct keyed_site){key_of(image->sites[i].stack, image->sites[i].tag), i};
    qsort(keyed, image->site_count, sizeof *keyed, compare_keys);
    for (uint32_t i = 0; i < image->site_count; i++) {
        work->keys[i] = keyed[i].key;
        work->order[i] = keyed[i].site;
    }
    return 0;
}

static uint32_t find_ledger_site(const struct leak_work *work, uint32_t stack, uint32_t tag)
{
    const uint64_t key = key_of(stack, tag);
    uint32_t low = 0, high = work->draft->record->image->site_count;
    const uint32_t count = high;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (work->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && work->keys[low] == key ? work->order[low] : RTD_DRAFT_NONE;
}

/* The series' times, then the image's own, in scaled seconds. False: the series is unusable. */
static bool set_times(struct leak_work *work)
{
    const struct rtd_site_series *series = &work->draft->record->series;
    const struct rtd_image *image = work->draft->record->image;
    if (!series->rows || series->point_count == 0 || series->point_count > RTD_SERIES_POINTS)
        return false;
    for (uint32_t i = 0; i < series->point_count; i++) {
        if (i > 0 && series->times_ms[i] <= series->times_ms[i - 1])
            return false;
        work->seconds[i] = (double)series->times_ms[i] / 1000.0 * work->draft->time_scale;
    }
    work->point_count = series->point_count;
    if (image->clock_ms > series->times_ms[series->point_count - 1])
        work->seconds[work->point_count++] =
            (double)image->clock_ms / 1000.0 * work->draft->time_scale;
    return true;
}

/* Sorts the live samples of each site by whether they were born in the window. */
static void measure_ages(struct leak_work *work, uint32_t start, uint32_t middle)
{
    const struct rtd_image *image = work->draft->record->image;
    const struct rtd_site_series *series = &work->draft->record->series;
    /* The window begins and halves at points of the series: the image's own is never one of them.
     */
    const uint64_t start_ms = series->times_ms[start], middle_ms = series->times_ms[middle];
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *sample = &image->samples[i];
        struct site_age *age = &work->ages[sample->site];
        if (sample->birth_ms < start_ms)
            continue;
        const double weight = (double)sample->size / rtd_figures_probability(image, sample);
        age->born_window += weight;
        age->samples_window++;
        age->large_window += sample->size > work->draft->thresholds->frequent_large_bytes;
        if (sample->birth_ms >= middle_ms)
            age->born_late += weight;
    }
}

static double typical_weight(const struct rtd_figures *figures)
{
    const struct rtd_weight_sum *sum = &figures->live_bytes;
    return sum->total > 0.0 ? sum->variance / sum->total : 0.0;
}

static void fill_line(struct leak_work *work, struct leak_line *line, const float *row,
                      uint32_t site)
{
    const uint32_t known = work->draft->record->series.point_count;
    for (uint32_t i = 0; i < known; i++) {
        const double value = (double)row[i];
        line->bytes[i] += isfinite(value) && value > 0.0 ? value : 0.0;
    }
    if (work->point_count > known)
        line->bytes[known] += work->draft->figures[site].live_bytes.total;
    line->input.born_window += work->ages[site].born_window;
    line->input.born_late += work->ages[site].born_late;
}

/* By the figures of all that the line stands for. */
static void judge_line(struct leak_work *work, struct leak_line *line,
                       const struct rtd_figures *figures)
{
    const double blocks = figures->live_blocks.total;
    line->input.point_count = work->point_count;
    line->input.seconds = work->seconds;
    line->input.bytes = line->bytes;
    line->input.weight = typical_weight(figures);
    line->input.block_bytes = blocks > 0.0 ? figures->live_bytes.total / blocks : 0.0;
    line->input.peak_factor = work->draft->thresholds->peak_factor;
    line->trend = rtd_trend_of(&line->input);
}

/* One row of the series: part of its component, and judged for itself. */
static void judge_site(struct leak_work *work, const struct rtd_series_row *row)
{
    const uint32_t site = find_ledger_site(work, row->stack, row->tag);
    if (site == RTD_DRAFT_NONE || work->draft->component_of[site] == RTD_DRAFT_NONE ||
        rtd_draft_is_own(work->draft, site))
        return;
    const uint32_t component = work->draft->component_of[site];
    struct leak_line line = {0};
    fill_line(work, &work->lines[component], row->live_bytes, site);
    fill_line(work, &line, row->live_bytes, site);
    judge_line(work, &line, &work->draft->figures[site]);
    if (!line.trend.growing)
        return;
    /* Blocks recorded without a stack have none in common. */
    work->repeated[component] +=
        row->stack != 0 &&
        work->ages[site].samples_window >= work->draft->thresholds->repeated_stack_count;
    if (work->fastest[component] == RTD_DRAFT_NONE ||
        line.trend.bytes_per_hour > work->fastest_rate[component]) {
        work->fastest[component] = site;
        work->fastest_rate[component] = line.trend.bytes_per_hour;
    }
    work->lines[component].trend.doubled |= line.trend.doubled;
    work->lines[component].trend.from_level |= line.trend.from_level;
}

/* Judges all rows, then all components. */
static void judge_all(struct leak_work *work)
{
    const struct rtd_site_series *series = &work->draft->record->series;
    const uint32_t count = work->draft->process->component_count;
    const uint32_t rows = series->row_count < RTD_SERIES_ROWS ? series->row_count : RTD_SERIES_ROWS;
    for (uint32_t i = 0; i < count; i++)
        work->fastest[i] = RTD_DRAFT_NONE;
    for (uint32_t i = 0; i < rows; i++)
        judge_site(work, &series->rows[i]);
    for (uint32_t i = 0; i < count; i++) {
        struct leak_line *line = &work->lines[i];
        const struct rtd_trend of_sites = line->trend;
        judge_line(work, line, &work->draft->component_figures[i]);
        if (!line->trend.growing && work->fastest[i] != RTD_DRAFT_NONE) {
            line->trend = of_sites;
            line->trend.growing = true;
            line->trend.bytes_per_hour = work->fastest_rate[i];
        }
    }
}

/* First and last allocation of a component, and its largest site. */
static void describe_component(const struct leak_work *work, uint32_t component,
                               struct rtd_report_leak *leak, uint64_t *last_ms)
{
    const struct rtd_draft *draft = work->draft;
    const struct rtd_image *image = draft->record->image;
    uint64_t first_ms = UINT64_MAX;
    uint32_t largest = work->fastest[component];
    *last_ms = 0;
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (draft->component_of[i] != component)
            continue;
        if (image->sites[i].first_ms < first_ms)
            first_ms = image->sites[i].first_ms;
        if (image->sites[i].last_ms > *last_ms)
            *last_ms = image->sites[i].last_ms;
        if (work->fastest[component] == RTD_DRAFT_NONE &&
            (largest == RTD_DRAFT_NONE ||
             draft->figures[i].live_bytes_value > draft->figures[largest].live_bytes_value))
            largest = i;
    }
    leak->site_ref = &draft->process->sites[draft->site_of[largest]];
    leak->site = leak->site_ref->id;
    leak->first_seen_unix_ns = image->created_unix_ns + first_ms * 1000000u;
    leak->last_seen_unix_ns = image->created_unix_ns + *last_ms * 1000000u;
}

/* Fills *leak and returns true when a criterion fires. */
static bool judge_component(const struct leak_work *work, uint32_t index,
                            struct rtd_report_leak *leak)
{
    const struct rtd_draft *draft = work->draft;
    const struct rtd_thresholds *limits = draft->thresholds;
    const struct rtd_report_component *component = &draft->process->components[index];
    const struct rtd_trend *trend = &work->lines[index].trend;
    const uint64_t live_bytes = component->figures.live_bytes.value;
    const uint64_t live_blocks = component->figures.live_blocks.value;
    uint64_t last_ms;
    *leak = (struct rtd_report_leak){.component = component->name};
    if (!trend->growing)
        return false;
    describe_component(work, index, leak, &last_ms);
    leak->allocation_count = live_blocks;
    leak->total_size_bytes = live_bytes;
    leak->average_size_bytes = live_blocks ? (double)live_bytes / (double)live_blocks : 0.0;
    leak->growth_rate = trend->bytes_per_hour;
    const double quiet_seconds =
        ((double)draft->record->image->clock_ms - (double)last_ms) / 1000.0 * draft->time_scale;
    if (trend->bytes_per_hour > limits->growth_rate_mb_per_hour * MIB)
        leak->reasons[leak->reason_count++] = "high_growth_rate";
    if (live_bytes > limits->large_live_bytes && quiet_seconds <= limits->recent_seconds)
        leak->reasons[leak->reason_count++] = "large_live_size";
    if (live_blocks > limits->accumulation_count && live_bytes > limits->accumulation_bytes)
        leak->reasons[leak->reason_count++] = "small_allocation_accumulation";
    if (trend->doubled && (trend->from_level || leak->reason_count > 0))
        leak->reasons[leak->reason_count++] = "peak_growth";
    return leak->reason_count > 0;
}

static int compare_leaks(const void *a, const void *b)
{
    const struct rtd_report_leak *x = a, *y = b;
    if (x->total_size_bytes != y->total_size_bytes)
        return x->total_size_bytes > y->total_size_bytes ? -1 : 1;
    if (x->growth_rate != y->growth_rate)
        return x->growth_rate > y->growth_rate ? -1 : 1;
    return strcmp(x->component, y->component);
}

static int publish_leaks(struct leak_work *work)
{
    struct rtd_report_process *process = work->draft->process;
    struct rtd_report_leaks *out = &process->leaks;
    struct rtd_report_leak *leaks =
        rtd_arena_take_array(work->draft->arena, process->component_count, sizeof *leaks);
    double fastest = 0.0;
    if (!leaks)
        return -ENOMEM;
    for (uint32_t i = 0; i < process->component_count; i++)
        out->potential_leak_count += judge_component(work, i, &leaks[out->potential_leak_count]);
    qsort(leaks, out->potential_leak_count, sizeof *leaks, compare_leaks);
    for (uint32_t i = 0; i < out->potential_leak_count; i++) {
        out->growth_rate_mb_per_hour += leaks[i].growth_rate / MIB;
        if (leaks[i].growth_rate > fastest) {
            fastest = leaks[i].growth_rate;
            out->highest_risk_component = leaks[i].component;
        }
    }
    out->potential_leaks = leaks;
    return 0;
}

/* The seed's pattern sentences of one component; live and fresh blocks only. */
static void add_patterns(struct leak_work *work, uint32_t index, const char **patterns)
{
    const struct rtd_draft *draft = work->draft;
    struct rtd_report_leaks *out = &draft->process->leaks;
    const struct rtd_thresholds *limits = draft->thresholds;
    const char *name = rtd_draft_spoken(draft, draft->process->components[index].name);
    const struct leak_line *line = &work->lines[index];
    uint32_t large = 0;
    if (!line->trend.growing)
        return;
    for (uint32_t i = 0; i < draft->record->image->site_count; i++) {
        if (draft->component_of[i] == index)
            large += work->ages[i].large_window;
    }
    if (rtd_trend_is_exponential(&line->input))
        patterns[out->pattern_count++] = rtd_arena_format(
            draft->arena, "Exponential growth: live bytes of %s keep doubling", name);
    if (large > limits->frequent_large_count)
        patterns[out->pattern_count++] = rtd_arena_format(
            draft->arena, "Frequent large allocations: %u live blocks over %.4g MB new in %s",
            large, (double)limits->frequent_large_bytes / MIB, name);
    if (work->repeated[index] > 0)
        patterns[out->pattern_count++] = rtd_arena_format(
            draft->arena,
            "Repeated allocations: %u call stack%s in %s with %u or more unfreed and growing",
            work->repeated[index], work->repeated[index] == 1 ? "" : "s", name,
            limits->repeated_stack_count);
}

static int publish_patterns(struct leak_work *work)
{
    struct rtd_report_process *process = work->draft->process;
    const char **patterns = rtd_arena_take_array(
        work->draft->arena, (size_t)process->component_count * 3, sizeof *patterns);
    if (!patterns)
        return -ENOMEM;
    for (uint32_t i = 0; i < process->component_count; i++)
        add_patterns(work, i, patterns);
    process->leaks.suspicious_patterns = patterns;
    return work->draft->arena->failed ? -ENOMEM : 0;
}

int rtd_draft_leaks(struct rtd_draft *draft)
{
    struct leak_work work = {.draft = draft};
    struct rtd_arena *scratch = draft->scratch;
    const uint32_t count = draft->process->component_count;
    uint32_t start, middle;
    if (!set_times(&work) || !rtd_trend_window(work.seconds, work.point_count, &start, &middle))
        return 0;
    work.ages = rtd_arena_take_array(scratch, draft->record->image->site_count, sizeof *work.ages);
    work.lines = rtd_arena_take_array(scratch, count, sizeof *work.lines);
    work.fastest = rtd_arena_take_array(scratch, count, sizeof *work.fastest);
    work.fastest_rate = rtd_arena_take_array(scratch, count, sizeof *work.fastest_rate);
    work.repeated = rtd_arena_take_array(scratch, count, sizeof *work.repeated);
    if (scratch->failed || sort_keys(&work) < 0)
        return -ENOMEM;
    measure_ages(&work, start, middle);
    judge_all(&work);
    const int result = publish_leaks(&work);
    return result < 0 ? result : publish_patterns(&work);
}
