// SPDX-License-Identifier: Apache-2.0
/*
 * manager_options.h - what a caller asked for, checked and copied into a manager.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  never
 * Fails:      by -EINVAL
 */
#ifndef RTD_MANAGER_OPTIONS_H
#define RTD_MANAGER_OPTIONS_H

#include "analyze/analyze_thresholds.h"
#include "manager/manager_handle.h"

/*
 * Fills options, thresholds and listen_address of the manager from what the caller gave (NULL: the
 * defaults), which is not needed afterwards. 0, or -EINVAL when an option makes no sense.
 */
int rtd_manager_options_take(struct riptide_manager *manager, const struct riptide_options *given);

/* The thresholds as analysis knows them. */
struct rtd_thresholds rtd_manager_thresholds(const struct riptide_manager *manager);

#endif
