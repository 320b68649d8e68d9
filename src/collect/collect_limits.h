// SPDX-License-Identifier: Apache-2.0
/*
 * collect_limits.h - when the limits and stalls of a live process are read anew.
 *
 * Runs in:    collector; a program that links libriptide, about itself
 * Threads:    the collector's loop
 * Allocates:  file descriptors for the length of a call
 * Fails:      by leaving what was known of a process that is gone
 */
#ifndef RTD_COLLECT_LIMITS_H
#define RTD_COLLECT_LIMITS_H

#include "collect/collect_process.h"

/*
 * Renews record.limits and record.stalls if that is due: when the age of the process
 * has doubled, and each 10 seconds.
 */
void rtd_collect_limits(struct rtd_collect_process *process, uint64_t now_ns);

#endif
