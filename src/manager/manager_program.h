// SPDX-License-Identifier: Apache-2.0
/*
 * manager_program.h - where the program `riptide` is, which finds names for code addresses.
 *
 * Runs in:    a program that links libriptide
 * Threads:    no shared state
 * Allocates:  never
 * Fails:      by -ENOENT: then places have modules and offsets, and the report says why
 *
 * Parsers of ELF and DWARF have no place in somebody's service. The symbol worker is a confined
 * process of its own; it is the program `riptide`, started with a hidden argument.
 */
#ifndef RTD_MANAGER_PROGRAM_H
#define RTD_MANAGER_PROGRAM_H

#include <stddef.h>

/*
 * Looks for it, in this order: RIPTIDE_PROGRAM of the environment (not in a set-user-id program;
 * what it names is taken or nothing); where it lies relative to this library in a build folder or
 * after installation; the folder it was configured for; PATH. 0 and its path, or -ENOENT.
 */
int rtd_manager_program(char *out, size_t size);

#endif
