// SPDX-License-Identifier: Apache-2.0
/*
 * symbol_open.h - opens the files of a module without being led astray by its path.
 *
 * Runs in:    collector, or a program that links libriptide
 * Threads:    no state
 * Allocates:  never for long
 * Fails:      with -ENOENT when no file that may be used is found
 *
 * The path comes from the observed process or from a recording. So: absolute, no FIFO, no device,
 * no symbolic link at its end, a regular file of a sane size, and the build id that was asked for
 * if one is known. With that build id, a symbolic link is followed too: the build id says that it
 * leads to the file that was mapped.
 */
#ifndef RTD_SYMBOL_OPEN_H
#define RTD_SYMBOL_OPEN_H

#include "symbol/symbol_table.h"
#include "symbol/symbol_wire.h"

#include <sys/types.h>

/* Where to look. `pid` 0: no process. */
struct rtd_symbol_place {
    const struct rtd_symbol_module *module;
    pid_t pid;
    const char *debug_directory;
};

/*
 * Opens the module and, when there are, its separate debug file and the one that shares; -1 for
 * what is not there. The caller closes them. 0, or -ENOENT and nothing is open.
 */
int rtd_symbol_open_files(const struct rtd_symbol_place *place, int fds[RTD_SYMBOL_FILE_COUNT]);

/* Closes what is open of them. */
void rtd_symbol_close_files(int fds[RTD_SYMBOL_FILE_COUNT]);

#endif
