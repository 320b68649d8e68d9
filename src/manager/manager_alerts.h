// SPDX-License-Identifier: Apache-2.0
/*
 * manager_alerts.h - when memory pressure or growth is an episode that somebody should hear of.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one feeds (the manager's); any may ask what is in force meanwhile
 * Allocates:  itself, once
 * Fails:      on opening, by -ENOMEM; never later
 *
 * One machine a kind, of three levels: none, high, critical. It knows no clock and no process: it
 * is fed with figures, and only counts checks.
 *
 *   A level is entered on the first check whose figure is above its threshold; pressure has a
 *   threshold for each level, growth one, which is the level high.
 *   A level is left when two successive checks are at or below 95 % of its threshold. A figure in
 *   between, or a single low one, changes nothing, so one that flaps about a threshold is one
 *   episode.
 *   The callback hears when an episode begins (at critical at once, if the figure is that high),
 *   when it rises from high to critical, and when it has ended. Falling from critical to high is
 *   no news; rising again after that is.
 *   A figure that is not finite is not known: the check says nothing about that kind, neither up
 *   nor down.
 *   A clock that steps back moves the beginning of an episode back with it: never after now.
 */
#ifndef RTD_MANAGER_ALERTS_H
#define RTD_MANAGER_ALERTS_H

#include "analyze/analyze_alerts.h"
#include "riptide/riptide.h"

struct rtd_manager_alerts;

/* What one check looks at; all borrowed for the call. */
struct rtd_alert_input {
    uint64_t now_ns;                 /* since 1970 */
    double pressure;                 /* 0..1; NaN: not known */
    double growth_mb_per_hour;       /* NaN: not known (yet); may be negative */
    const char *component;           /* that grows most; NULL or "" if none */
    uint64_t rss_bytes, limit_bytes; /* RIPTIDE_UNAVAILABLE: not known */
};

/*
 * Copies the three thresholds of alerts (thresholds NULL: the defaults of riptide.h). callback may
 * be NULL; context is handed to it as it is. NULL and *err = -ENOMEM when memory is short.
 */
struct rtd_manager_alerts *rtd_manager_alerts_new(const struct riptide_thresholds *thresholds,
                                                  riptide_alert_callback callback, void *context,
                                                  int *err);

/* No feeding may be under way. NULL is allowed. Legal in the child of a fork. */
void rtd_manager_alerts_free(struct rtd_manager_alerts *alerts);

/*
 * One check. Calls the callback, without a lock held and after the new state can be asked for; it
 * may ask, and even feed, again. Returns how many times the callback was due (0..2).
 */
unsigned rtd_manager_alerts_feed(struct rtd_manager_alerts *alerts,
                                 const struct rtd_alert_input *input);

/* Copies what is in force into *out; any thread. NULL for alerts: nothing is. Returns the count. */
unsigned rtd_manager_alerts_list(struct rtd_manager_alerts *alerts, struct rtd_alert_list *out);

#endif
