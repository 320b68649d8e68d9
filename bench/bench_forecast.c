// SPDX-License-Identifier: Apache-2.0
/*
 * bench_forecast.c - how good the forecast of a limit is, on series whose future is known.
 *
 * Runs in:    bench
 * Threads:    one
 * Allocates:  a process record
 * Fails:      by exit status 1 when a series given on the command line cannot be read
 *
 * Simulated series of each sort have a true moment at which their line reaches the limit; a line
 * says how often there was a forecast, how often its interval held that moment, and how far off its
 * value was. bench_forecast FILE... looks at recorded series (lines "seconds bytes") instead: after
 * half of the time it forecasts when the value at the end is reached.
 */
#include "analyze/analyze_forecast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0

enum { SERIES = 400, POINTS = 200 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * 3.141592653589793 * uniform());
}

/* What a sort of program adds to its line, in MiB; *memory is its state, 0 at first. */
typedef double (*noise_fn)(uint32_t index, double *memory);

static double noise_white(uint32_t index, double *memory)
{
    (void)index, (void)memory;
    return 2 * normal();
}

static double noise_alike(uint32_t index, double *memory)
{
    (void)index;
    *memory = 0.7 * *memory + sqrt(1 - 0.49) * normal();
    return 2 * *memory;
}

/* A collector: rises and falls back, with periods that differ. */
static double noise_collector(uint32_t index, double *memory)
{
    (void)index;
    *memory += 1 + uniform();
    if (*memory > 15 + 10 * uniform())
        *memory = 0;
    return *memory;
}

static double noise_spikes(uint32_t index, double *memory)
{
    (void)index, (void)memory;
    return normal() + (uniform() < 0.05 ? 100 : 0);
}

/* The line itself, in steps of ten points: a table that doubles, a pool that grows. */
static double noise_steps(uint32_t index, double *memory)
{
    (void)memory;
    return -0.5 * (index % 10) + 0.1 * normal();
}

struct score {
    unsigned made, held;
    double errors[SERIES];
};

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void judge(struct score *score, const struct rtd_forecast *forecast, double truth)
{
    if (!forecast->known)
        return;
    score->held += forecast->low_seconds <= truth && truth <= forecast->high_seconds;
    score->errors[score->made++] = fabs(forecast->seconds - truth) / truth;
}

static void run_sort(const char *name, double mib_per_second, noise_fn noise,
                     struct rtd_process_record *record)
{
    static struct score score;
    const double limit = 2000 * MIB;

    memset(&score, 0, sizeof(score));
    for (int series = 0; series < SERIES; series++) {
        double memory = 0, line = 0;
        struct rtd_forecast forecast;
        for (uint32_t i = 0; i < POINTS; i++) {
            line = 100 + mib_per_second * i;
            record->points[i].time_ms = 1000u * i;
            record->points[i].rss_bytes = (uint64_t)((line + noise(i, &memory)) * MIB);
        }
        record->point_count = POINTS;
        record->memory.valid = true;
        record->memory.limit_bytes = (uint64_t)limit;
        record->memory.rss_bytes = record->points[POINTS - 1].rss_bytes;
        record->memory.pressure = (double)record->memory.rss_bytes / limit;
        rtd_forecast_make(record, 1, &forecast);
        judge(&score, &forecast, (2000 - line) / (mib_per_second > 0 ? mib_per_second : 1e-9));
    }
    qsort(score.errors, score.made, sizeof(score.errors[0]), compare_doubles);
    printf("%-28s forecasts %5.1f %%", name, 100.0 * score.made / SERIES);
    if (mib_per_second > 0 && score.made > 0)
        printf("  held %5.1f %%  error median %5.1f %%, 95th %5.1f %%",
               100.0 * score.held / score.made, 100 * score.errors[score.made / 2],
               100 * score.errors[(size_t)(0.95 * (score.made - 1))]);
    putchar('\n');
}

static uint32_t read_series(const char *path, struct rtd_process_point *points)
{
    double seconds, bytes;
    uint32_t count = 0;
    FILE *const file = fopen(path, "re");

    if (!file)
        return 0;
    while (count < RTD_POINT_MAX && fscanf(file, "%lf %lf", &seconds, &bytes) == 2) {
        points[count].time_ms = seconds > 0 ? (uint64_t)(seconds * 1000) : 0;
        points[count++].rss_bytes = bytes > 0 ? (uint64_t)bytes : 0;
    }
    (void)fclose(file);
    return count;
}

/* Half of a recorded series forecasts when the value at its end is first reached. */
static int run_recorded(const char *path, struct rtd_process_record *record)
{
    struct rtd_forecast forecast;
    const uint32_t count = read_series(path, record->points);

    if (count < 2 * RTD_FORECAST_LEAST) {
        (void)fprintf(stderr, "%s: not %d lines of \"seconds bytes\"\n", path,
                      2 * RTD_FORECAST_LEAST);
        return 1;
    }
    const uint64_t limit = record->points[count - 1].rss_bytes;
    uint32_t reached = 0;
    while (record->points[reached].rss_bytes < limit)
        reached++;
    record->point_count = count / 2;
    const struct rtd_process_point *const last = &record->points[count / 2 - 1];
    if (reached < count / 2) {
        printf("%s: the value at its end was reached before half of the time\n", path);
        return 0;
    }
    record->memory.valid = true;
    record->memory.limit_bytes = limit;
    record->memory.pressure = (double)last->rss_bytes / (double)limit;
    rtd_forecast_make(record, 1000, &forecast);
    const double truth = (double)(record->points[reached].time_ms - last->time_ms) / 1000;
    if (forecast.known)
        printf("%s: forecast %.1f s (%.1f to %.1f), truth %.1f s\n", path, forecast.seconds,
               forecast.low_seconds, forecast.high_seconds, truth);
    else
        printf("%s: none (%s), truth %.1f s\n", path, forecast.reason, truth);
    return 0;
}

int main(int count, char **arguments)
{
    struct rtd_process_record *const record = calloc(1, sizeof(*record));
    int result = 0;

    if (!record)
        return 1;
    for (int i = 1; i < count; i++)
        result |= run_recorded(arguments[i], record);
    if (count == 1) {
        run_sort("line, white noise", 0.5, noise_white, record);
        run_sort("line, alike neighbours", 0.5, noise_alike, record);
        run_sort("line under a collector", 0.5, noise_collector, record);
        run_sort("line with spikes", 0.5, noise_spikes, record);
        run_sort("line in steps", 0.5, noise_steps, record);
        run_sort("flat, white noise", 0, noise_white, record);
        run_sort("flat, alike neighbours", 0, noise_alike, record);
        run_sort("flat under a collector", 0, noise_collector, record);
    }
    free(record);
    return result;
}
