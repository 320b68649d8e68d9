// SPDX-License-Identifier: Apache-2.0
/*
 * history_maps.h - the block of a recording that holds a process's mappings by site.
 *
 * Runs in:    collector (encode), report (decode)
 * Threads:    no shared state
 * Allocates:  in the buffer it is given; the sites it decodes
 * Fails:      encode: by the buffer's flag; decode: -EBADMSG, -ENOMEM
 */
#ifndef RTD_HISTORY_MAPS_H
#define RTD_HISTORY_MAPS_H

#include "history/history_decode.h"

/* Appends the payload. mappings is borrowed for the call. */
void rtd_encode_mappings(struct rtd_block_buffer *out, const struct rtd_mappings *mappings);

/* Replaces the mappings of the process's record; sites that cannot be are counted as refused. */
int rtd_decode_mappings(struct rtd_decode_process *process, struct rtd_cursor *in);

#endif
