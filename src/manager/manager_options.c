// SPDX-License-Identifier: Apache-2.0
/*
 * manager_options.c - what a caller asked for, checked and copied into a manager.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  never
 * Fails:      by -EINVAL
 */
#include "manager/manager_options.h"

#include "serve/serve_action.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>

#define MIB UINT64_C(1048576)

enum {
    DEFAULT_PORT = 8080,
    DEFAULT_PORT_TRIES = 16,
    INTERVAL_MS_LEAST = 10,
    HOUR_SECONDS = 3600,
    DAY_SECONDS = 86400
};

#define MEMORY_LIMIT_LEAST  MIB
#define MEMORY_LIMIT_MOST   (MIB << 20)
#define HEAP_INTERVAL_MOST  (1024 * MIB)
#define DEFAULT_LISTEN_ADDR "127.0.0.1"

void riptide_thresholds_init(struct riptide_thresholds *thresholds)
{
    if (!thresholds)
        return;
    const struct rtd_thresholds defaults = rtd_thresholds_default();
    *thresholds = (struct riptide_thresholds){
        .size = sizeof(*thresholds),
        .growth_rate_mb_per_hour = defaults.growth_rate_mb_per_hour,
        .large_live_bytes = defaults.large_live_bytes,
        .recent_seconds = defaults.recent_seconds,
        .accumulation_count = defaults.accumulation_count,
        .accumulation_bytes = defaults.accumulation_bytes,
        .peak_factor = defaults.peak_factor,
        .frequent_large_bytes = defaults.frequent_large_bytes,
        .frequent_large_count = defaults.frequent_large_count,
        .repeated_stack_count = defaults.repeated_stack_count,
        .small_share = defaults.small_share,
        .huge_share = defaults.huge_share,
        .hot_component_bytes = defaults.hot_component_bytes,
        .frequent_operation_count = defaults.frequent_operation_count,
        .small_pattern_count = defaults.small_pattern_count,
        .pressure_high = 0.7,
        .pressure_alert = 0.8,
        .growth_alert_mb_per_hour = 50,
    };
}

void riptide_options_init(struct riptide_options *options)
{
    if (!options)
        return;
    *options = (struct riptide_options){
        .size = sizeof(*options),
        .tracker = 1,
        .leak_detector = 1,
        .allocation_analyzer = 1,
        .endpoints = 1,
        .exporters = 1,
        .alerts = 1,
        .cleanup = 1,
        .heap = RIPTIDE_HEAP_AUTO,
        .port = DEFAULT_PORT,
        .port_tries = DEFAULT_PORT_TRIES,
        .interval_ms = 1000,
        .memory_limit_bytes = 10 * MIB,
        .cleanup_interval_seconds = HOUR_SECONDS,
        .retention_seconds = DAY_SECONDS,
        .time_scale = 1,
    };
}

/*
 * Copies what caller and library both know, over the defaults that stand there; what a newer caller
 * has beyond must be zero, which in every version means "nothing asked".
 */
static int take_known(void *out, const void *given, size_t bytes)
{
    size_t size = 0;

    memcpy(&size, given, sizeof(size));
    if (size < sizeof(size))
        return -EINVAL;
    /* Half a pointer at the end, of a size that no structure has, would be followed. */
    const size_t known = (size < bytes ? size : bytes) / sizeof(void *) * sizeof(void *);
    memcpy(out, given, known);
    memcpy(out, &bytes, sizeof(bytes));
    for (size_t i = bytes; i < size; i++) {
        if (((const unsigned char *)given)[i] != 0)
            return -EINVAL;
    }
    return 0;
}

static bool is_share(double value)
{
    return value >= 0 && value <= 1;
}

static bool is_amount(double value)
{
    return isfinite(value) && value >= 0;
}

static bool thresholds_make_sense(const struct riptide_thresholds *t)
{
    return is_amount(t->growth_rate_mb_per_hour) && is_amount(t->recent_seconds) &&
           is_amount(t->peak_factor) && is_share(t->small_share) && is_share(t->huge_share) &&
           is_share(t->pressure_high) && is_share(t->pressure_alert) &&
           t->pressure_high <= t->pressure_alert && is_amount(t->growth_alert_mb_per_hour);
}

static bool switches_make_sense(const struct riptide_options *o)
{
    return o->tracker <= 1 && o->leak_detector <= 1 && o->allocation_analyzer <= 1 &&
           o->endpoints <= 1 && o->exporters <= 1 && o->alerts <= 1 && o->cleanup <= 1;
}

static bool options_make_sense(const struct riptide_options *o)
{
    const bool heap = o->heap <= RIPTIDE_HEAP_EXACT && o->heap_interval_bytes <= HEAP_INTERVAL_MOST;

    /* In exact mode nothing is sampled: whoever names an interval expects something else. */
    if (o->heap == RIPTIDE_HEAP_EXACT && o->heap_interval_bytes != 0)
        return false;
    return switches_make_sense(o) && heap && o->port_tries >= 1 &&
           o->interval_ms >= INTERVAL_MS_LEAST && o->memory_limit_bytes >= MEMORY_LIMIT_LEAST &&
           o->memory_limit_bytes <= MEMORY_LIMIT_MOST && o->cleanup_interval_seconds >= 1 &&
           o->retention_seconds >= 1 && isfinite(o->time_scale) && o->time_scale > 0 &&
           (!o->action_token || rtd_action_token_fits(o->action_token));
}

int rtd_manager_options_take(struct riptide_manager *manager, const struct riptide_options *given)
{
    struct riptide_options *const options = &manager->options;

    riptide_options_init(options);
    riptide_thresholds_init(&manager->thresholds);
    if (given && take_known(options, given, sizeof(*options)) < 0)
        return -EINVAL;
    if (options->thresholds &&
        take_known(&manager->thresholds, options->thresholds, sizeof(manager->thresholds)) < 0)
        return -EINVAL;
    if (!options_make_sense(options) || !thresholds_make_sense(&manager->thresholds))
        return -EINVAL;
    const char *const address =
        options->listen_address ? options->listen_address : DEFAULT_LISTEN_ADDR;
    const size_t length = strnlen(address, sizeof(manager->listen_address));
    if (length == 0 || length == sizeof(manager->listen_address))
        return -EINVAL;
    memcpy(manager->listen_address, address, length + 1);
    options->listen_address = manager->listen_address;
    options->thresholds = &manager->thresholds;
    return 0;
}

struct rtd_thresholds rtd_manager_thresholds(const struct riptide_manager *manager)
{
    const struct riptide_thresholds *const t = &manager->thresholds;

    return (struct rtd_thresholds){
        .growth_rate_mb_per_hour = t->growth_rate_mb_per_hour,
        .large_live_bytes = t->large_live_bytes,
        .recent_seconds = t->recent_seconds,
        .accumulation_count = t->accumulation_count,
        .accumulation_bytes = t->accumulation_bytes,
        .peak_factor = t->peak_factor,
        .frequent_large_bytes = t->frequent_large_bytes,
        .frequent_large_count = t->frequent_large_count,
        .repeated_stack_count = t->repeated_stack_count,
        .small_share = t->small_share,
        .huge_share = t->huge_share,
        .hot_component_bytes = t->hot_component_bytes,
        .frequent_operation_count = t->frequent_operation_count,
        .small_pattern_count = t->small_pattern_count,
    };
}
