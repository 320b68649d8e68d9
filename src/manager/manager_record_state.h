// SPDX-License-Identifier: Apache-2.0
/*
 * manager_record_state.h - what records are made of, for the files that are behind
 * manager_records.h.
 *
 * Runs in:    a program that links libriptide
 * Threads:    each part says its own
 * Allocates:  never: the struct is the beginning of the one mapping that holds all tables
 * Fails:      not applicable
 */
#ifndef RTD_MANAGER_RECORD_STATE_H
#define RTD_MANAGER_RECORD_STATE_H

#include "manager/manager_blocks.h"
#include "manager/manager_clock.h"
#include "manager/manager_records.h"
#include "manager/manager_sites.h"
#include "manager/manager_slabs.h"

/* A function given by name has the pc after this address plus its id: below what can be mapped. */
enum { RTD_FUNCTION_BASE = 0x1000, RTD_FUNCTION_END = 0x10000 };

/* What a tag held when its domain held most, as far as images have seen it. */
struct rtd_records_peak {
    uint64_t bytes, blocks;
};

struct rtd_records {
    size_t mapped_bytes;
    struct rtd_clock clock;
    struct rtd_slabs slabs;
    struct rtd_blocks blocks;
    struct rtd_sites sites;
    struct rtd_functions functions;
    _Atomic uint16_t scope_tags[RTD_TAG_COUNT]; /* of <riptide/tags.h> -> tag, 0: not known yet */
    _Atomic uint64_t used_bytes[RTD_DOMAIN_COUNT], reserved_bytes[RTD_DOMAIN_COUNT];
    _Atomic uint32_t site_epoch;    /* grows whenever sites are dropped */
    _Atomic uint32_t history_floor; /* stamp: records by size before it are not listed any more */
    struct rtd_names names;

    /* Of whoever makes images. */
    struct rtd_records_peak tag_peaks[RTD_NAME_TAGS];
    uint64_t peak_bytes[RTD_DOMAIN_COUNT], peak_ms[RTD_DOMAIN_COUNT];
    unsigned long long modules_unloaded;
};

#endif
