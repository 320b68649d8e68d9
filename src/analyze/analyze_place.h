// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_place.h - a return address as (module file, offset): what a symbol is looked up by.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#ifndef RTD_ANALYZE_PLACE_H
#define RTD_ANALYZE_PLACE_H

#include "analyze/analyze_input.h"

/*
 * Fills *key for a module of the image, the program itself by its executable's path. Borrows from
 * both.
 */
void rtd_place_key(const struct rtd_image_module *module, const struct rtd_process_meta *meta,
                   struct rtd_symbol_module *key);

/* ELF virtual address of the call that returns to pc in module: some byte of the call instruction,
 * which is all that a look-up needs. */
uint64_t rtd_place_offset(const struct rtd_image_module *module, uint64_t pc);

#endif
