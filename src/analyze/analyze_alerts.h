// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_alerts.h - the alerts that are in force, as data for every face.
 *
 * Runs in:    a program that links libriptide
 * Threads:    plain data
 * Allocates:  never
 * Fails:      not applicable
 *
 * The numbers of kinds and levels are those of riptide/riptide.h.
 */
#ifndef RTD_ANALYZE_ALERTS_H
#define RTD_ANALYZE_ALERTS_H

#include <stdint.h>

enum rtd_alert_kind { RTD_ALERT_PRESSURE = 1, RTD_ALERT_GROWTH = 2 };
enum rtd_alert_level { RTD_ALERT_HIGH = 1, RTD_ALERT_CRITICAL = 2 };
enum { RTD_ALERT_KINDS = 2 };

/* One episode that has begun and not ended. */
struct rtd_alert_state {
    uint32_t kind;      /* enum rtd_alert_kind */
    uint32_t level;     /* enum rtd_alert_level */
    double value;       /* when it was looked at last: pressure 0..1, or growth in MB per hour */
    double threshold;   /* of its level */
    uint64_t since_ns;  /* when the episode began, nanoseconds since 1970 */
    char component[60]; /* growth: the component that grows most; "" if none */
};

/* All that is in force, at most one of each kind, in the order of the kinds. */
struct rtd_alert_list {
    unsigned count;
    struct rtd_alert_state states[RTD_ALERT_KINDS];
};

#endif
