// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_place.c - see analyze_place.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_place.h"

void rtd_place_key(const struct rtd_image_module *module, const struct rtd_process_meta *meta,
                   struct rtd_symbol_module *key)
{
    key->path = module->name[0] ? module->name : meta->executable;
    key->build_id = module->build_id;
    key->build_id_bytes = module->build_id_bytes;
}

uint64_t rtd_place_offset(const struct rtd_image_module *module, uint64_t pc)
{
    /* One back: the return address of a last call may already belong to the next function. */
    return pc - 1 - module->bias;
}
