// SPDX-License-Identifier: Apache-2.0
/*
 * manager_alerts.c - see manager_alerts.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    the lock guards the machines for the length of a step, never during a callback
 * Allocates:  itself, once
 * Fails:      on opening only
 *
 * Sentences for people are made of whole numbers: the decimal point of printf() is the program's
 * locale's, and the program's locale is none of our business.
 */
#include "manager/manager_alerts.h"

#include "base/base_macros.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

RTD_STATIC_ASSERT((int)RTD_ALERT_PRESSURE == (int)RIPTIDE_ALERT_PRESSURE, "one number a kind");
RTD_STATIC_ASSERT((int)RTD_ALERT_GROWTH == (int)RIPTIDE_ALERT_GROWTH, "one number a kind");
RTD_STATIC_ASSERT((int)RTD_ALERT_HIGH == (int)RIPTIDE_LEVEL_HIGH, "one number a level");
RTD_STATIC_ASSERT((int)RTD_ALERT_CRITICAL == (int)RIPTIDE_LEVEL_CRITICAL, "one number a level");

/* So many checks in a row must be low before a level is left. */
enum { LOW_CHECKS = 2, LEVELS = RTD_ALERT_CRITICAL, REASON_BYTES = 256 };

/* A level is left at or below its threshold less this share of it. */
static const double HYSTERESIS = 0.05;

struct machine {
    double thresholds[LEVELS + 1];   /* by level; infinite: there is no such level */
    unsigned low_checks[LEVELS + 1]; /* by level: how many in a row would not keep it */
    struct rtd_alert_state state;    /* level 0: no episode */
};

struct rtd_manager_alerts {
    pthread_mutex_t lock;
    struct machine machines[RTD_ALERT_KINDS]; /* by kind - 1 */
    riptide_alert_callback callback;
    void *context;
};

/* A copy of what the callback hears, for after the lock is released. */
struct event {
    struct rtd_alert_state state;
    bool begins;
    double threshold;
};

static double threshold_or_never(double threshold)
{
    return isfinite(threshold) ? threshold : HUGE_VAL;
}

struct rtd_manager_alerts *rtd_manager_alerts_new(const struct riptide_thresholds *thresholds,
                                                  riptide_alert_callback callback, void *context,
                                                  int *err)
{
    const double high = thresholds ? thresholds->pressure_high : 0.7;
    const double critical = thresholds ? thresholds->pressure_alert : 0.8;
    const double growth = thresholds ? thresholds->growth_alert_mb_per_hour : 50.0;
    struct rtd_manager_alerts *const alerts = calloc(1, sizeof *alerts);
    if (!alerts) {
        if (err)
            *err = -ENOMEM;
        return NULL;
    }
    pthread_mutex_init(&alerts->lock, NULL);
    alerts->callback = callback;
    alerts->context = context;
    alerts->machines[0] = (struct machine){
        .thresholds = {0, threshold_or_never(high), threshold_or_never(critical)},
        .state = {.kind = RTD_ALERT_PRESSURE},
    };
    alerts->machines[1] = (struct machine){
        .thresholds = {0, threshold_or_never(growth), HUGE_VAL},
        .state = {.kind = RTD_ALERT_GROWTH},
    };
    return alerts;
}

void rtd_manager_alerts_free(struct rtd_manager_alerts *alerts)
{
    /* The lock is not destroyed: in the child of a fork somebody else may seem to hold it. */
    free(alerts);
}

/* The level whose threshold the value is above; the highest of them. */
static uint32_t level_above(const struct machine *machine, double value)
{
    uint32_t level = LEVELS;
    while (level > 0 && !(value > machine->thresholds[level]))
        level--;
    return level;
}

/* Counts a check and returns the level that is left standing by it. */
static uint32_t level_kept(struct machine *machine, double value)
{
    uint32_t kept = machine->state.level;
    for (uint32_t level = 1; level <= LEVELS; level++) {
        const double threshold = machine->thresholds[level];
        if (value <= threshold - HYSTERESIS * fabs(threshold))
            machine->low_checks[level]++;
        else
            machine->low_checks[level] = 0;
    }
    while (kept > 0 && machine->low_checks[kept] >= LOW_CHECKS)
        kept--;
    return kept;
}

static void keep_component(struct rtd_alert_state *state, const char *component)
{
    size_t length = component ? strnlen(component, sizeof(state->component) - 1) : 0;
    /* Not in the middle of a character. */
    while (length && ((unsigned char)component[length] & 0xc0) == 0x80)
        length--;
    if (length)
        memcpy(state->component, component, length);
    state->component[length] = '\0';
}

/* Moves to a level and says whether anybody is to hear of it. */
static bool enter(struct machine *machine, uint32_t level, const struct rtd_alert_input *input,
                  struct event *event)
{
    struct rtd_alert_state *const state = &machine->state;
    const uint32_t before = state->level;
    if (before == 0)
        state->since_ns = input->now_ns;
    *event = (struct event){*state, level > before, state->threshold};
    state->level = level;
    state->threshold = level ? machine->thresholds[level] : 0;
    if (level > before) {
        event->state = *state;
        event->threshold = state->threshold;
    }
    return level > before || level == 0;
}

/* One check of one kind; true when *event is to be told. */
static bool check(struct machine *machine, double value, const char *component,
                  const struct rtd_alert_input *input, struct event *event)
{
    struct rtd_alert_state *const state = &machine->state;
    if (!isfinite(value))
        return false;
    state->value = value;
    keep_component(state, component);
    if (state->since_ns > input->now_ns)
        state->since_ns = input->now_ns;
    const uint32_t above = level_above(machine, value), kept = level_kept(machine, value);
    if (above > state->level)
        return enter(machine, above, input, event);
    return kept < state->level && enter(machine, kept, input, event);
}

/* A figure as whole units, for people: what does not fit is its nearest end. */
static int64_t whole(double value)
{
    const double limit = 1e15;
    return (int64_t)round(value > limit ? limit : value < -limit ? -limit : value);
}

static void say_pressure(const struct event *event, const struct rtd_alert_input *input, char *out)
{
    const int64_t percent = whole(event->state.value * 100);
    if (!event->begins) {
        snprintf(out, REASON_BYTES, "Memory pressure is down to %" PRId64 " %%.", percent);
        return;
    }
    const int length =
        snprintf(out, REASON_BYTES, "Memory pressure is %" PRId64 " %%, more than %" PRId64 " %%",
                 percent, whole(event->threshold * 100));
    if (input->rss_bytes != RIPTIDE_UNAVAILABLE && input->limit_bytes != RIPTIDE_UNAVAILABLE)
        snprintf(out + length, (size_t)(REASON_BYTES - length),
                 ": %" PRIu64 " MB are resident, the limit is %" PRIu64 " MB.",
                 input->rss_bytes >> 20, input->limit_bytes >> 20);
    else
        snprintf(out + length, (size_t)(REASON_BYTES - length), ".");
}

static void say_growth(const struct event *event, char *out)
{
    const int64_t rate = whole(event->state.value);
    const char *const component = event->state.component;
    if (!event->begins)
        snprintf(out, REASON_BYTES, "Growth is down to %" PRId64 " MB per hour.", rate);
    else if (component[0])
        snprintf(out, REASON_BYTES,
                 "Live memory grows by %" PRId64 " MB per hour, more than %" PRId64
                 "; most of it is %s's.",
                 rate, whole(event->threshold), component);
    else
        snprintf(out, REASON_BYTES,
                 "Live memory grows by %" PRId64 " MB per hour, more than %" PRId64 ".", rate,
                 whole(event->threshold));
}

static void tell(const struct rtd_manager_alerts *alerts, const struct event *event,
                 const struct rtd_alert_input *input)
{
    char reason[REASON_BYTES];
    const bool is_growth = event->state.kind == RTD_ALERT_GROWTH;
    if (is_growth)
        say_growth(event, reason);
    else
        say_pressure(event, input, reason);
    const struct riptide_alert alert = {
        .size = sizeof alert,
        .kind = event->state.kind,
        .level = event->state.level,
        .begins = event->begins,
        .value = event->state.value,
        .threshold = event->threshold,
        .timestamp_ns = input->now_ns,
        .since_ns = event->state.since_ns,
        .rss_bytes = input->rss_bytes,
        .limit_bytes = input->limit_bytes,
        .component = is_growth ? event->state.component : "",
        .reason = reason,
    };
    alerts->callback(&alert, alerts->context);
}

unsigned rtd_manager_alerts_feed(struct rtd_manager_alerts *alerts,
                                 const struct rtd_alert_input *input)
{
    struct event events[RTD_ALERT_KINDS];
    unsigned count = 0;
    pthread_mutex_lock(&alerts->lock);
    count += check(&alerts->machines[0], input->pressure, NULL, input, &events[count]);
    count += check(&alerts->machines[1], input->growth_mb_per_hour, input->component, input,
                   &events[count]);
    pthread_mutex_unlock(&alerts->lock);
    for (unsigned i = 0; alerts->callback && i < count; i++)
        tell(alerts, &events[i], input);
    return count;
}

unsigned rtd_manager_alerts_list(struct rtd_manager_alerts *alerts, struct rtd_alert_list *out)
{
    *out = (struct rtd_alert_list){0};
    if (!alerts)
        return 0;
    pthread_mutex_lock(&alerts->lock);
    for (unsigned i = 0; i < RTD_ALERT_KINDS; i++)
        if (alerts->machines[i].state.level)
            out->states[out->count++] = alerts->machines[i].state;
    pthread_mutex_unlock(&alerts->lock);
    return out->count;
}
