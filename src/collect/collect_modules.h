// SPDX-License-Identifier: Apache-2.0
/*
 * collect_modules.h - makes the names of modules mean something outside their process.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    the collector's loop
 * Allocates:  never
 * Fails:      silently: a name that cannot be completed stays as it is
 */
#ifndef RTD_COLLECT_MODULES_H
#define RTD_COLLECT_MODULES_H

#include "ledger/ledger_reader.h"

#include <sys/types.h>

/*
 * Makes the relative names in image->modules absolute: as pid sees them while it lives, else from
 * this process's directory or the executable's (a path, or ""). The build id decides later whether
 * it is the right file.
 */
void rtd_modules_complete(struct rtd_image *image, pid_t pid, const char *executable);

#endif
