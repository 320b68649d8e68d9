// SPDX-License-Identifier: Apache-2.0
/*
 * alert_handler.c - be told when memory grows or runs short, once per episode, and when it is over.
 *
 * Runs in:    a process of its own
 * Threads:    main leaks; the manager's thread calls on_alert()
 * Allocates:  nothing that counts: it records what a cache would hold
 * Fails:      by exit status 1 when an alert does not come within WAIT_SECONDS
 *
 * The cache forgets to evict until the growth alert comes; then it empties itself, and the alert
 * ends. The program's clock runs 120 times as fast (options.time_scale), so that what takes an hour
 * in production takes half a minute here. The budget for pressure is set far below what any
 * process uses: a machine need not be filled to see that alert.
 */
#include <riptide/riptide.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    WAIT_SECONDS = 100,
    STEP_NS = 20 * 1000 * 1000,
    STEPS_PER_SECOND = 50,
    ENTRY_BYTES = 512 * 1024,
};

/* What main and the manager's thread share. */
struct monitor {
    atomic_uint growth_began, growth_ended, pressure_began;
};

static const char *level_name(uint32_t level)
{
    return level == RIPTIDE_LEVEL_CRITICAL ? "critical" : "high";
}

/* Here a service would page somebody, shed load or shrink a cache. */
static void on_alert(const struct riptide_alert *alert, void *context)
{
    struct monitor *const monitor = context;
    const int is_growth = alert->kind == RIPTIDE_ALERT_GROWTH;

    printf("alert: %s %s (%s), component \"%s\": %s\n", is_growth ? "growth" : "pressure",
           alert->begins ? "begins" : "ends", level_name(alert->level), alert->component,
           alert->reason);
    fflush(stdout);
    if (is_growth)
        atomic_fetch_add(alert->begins ? &monitor->growth_began : &monitor->growth_ended, 1);
    else
        atomic_fetch_add(&monitor->pressure_began, alert->begins);
}

static void pause_a_step(void)
{
    const struct timespec step = {.tv_nsec = STEP_NS};

    nanosleep(&step, NULL);
}

/* Grows until the alert, empties, and waits for its end. False: one of them did not come. */
static int run_cache(struct riptide_manager *manager, struct monitor *monitor)
{
    const uint32_t cache = riptide_intern(manager, "cache", "store");
    const int steps_max = WAIT_SECONDS * STEPS_PER_SECOND;
    uint64_t held_bytes = 0;
    int step = 0;

    for (; step < steps_max && !atomic_load(&monitor->growth_began); step++) {
        riptide_record_bytes(manager, cache, ENTRY_BYTES);
        held_bytes += ENTRY_BYTES;
        pause_a_step();
    }
    riptide_release_bytes(manager, cache, held_bytes);
    for (; step < steps_max && !atomic_load(&monitor->growth_ended); step++)
        pause_a_step();
    return atomic_load(&monitor->growth_began) == 1 && atomic_load(&monitor->growth_ended) == 1;
}

int main(void)
{
    int error = 0;
    struct monitor monitor = {0};
    struct riptide_thresholds thresholds;
    struct riptide_options options;

    riptide_thresholds_init(&thresholds);
    thresholds.pressure_high = 1e-7;
    thresholds.pressure_alert = 2e-7;
    riptide_options_init(&options);
    options.endpoints = 0;
    options.interval_ms = 100;
    options.time_scale = 120.0;
    options.thresholds = &thresholds;
    options.on_alert = on_alert;
    options.alert_context = &monitor;
    struct riptide_manager *const manager = riptide_manager_open(&options, &error);
    if (!manager) {
        fprintf(stderr, "alert_handler: no manager: %s\n", riptide_strerror(error));
        return 1;
    }
    const int grew_and_ended = run_cache(manager, &monitor);
    riptide_manager_close(manager);
    printf("growth alerts: %u begun, %u ended; pressure alerts: %u begun\n",
           atomic_load(&monitor.growth_began), atomic_load(&monitor.growth_ended),
           atomic_load(&monitor.pressure_began));
    return grew_and_ended && atomic_load(&monitor.pressure_began) == 1 ? 0 : 1;
}
