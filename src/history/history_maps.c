// SPDX-License-Identifier: Apache-2.0
/*
 * history_maps.c - mappings by site, to bytes and back.
 *
 * Runs in:    collector (encode), report (decode)
 * Threads:    no shared state
 * Allocates:  in the buffer it is given; the sites it decodes
 * Fails:      see history_maps.h
 */
#include "history/history_maps.h"

#include "ledger/ledger_exact.h"

#include <errno.h>
#include <stdlib.h>

enum { FIGURES_BYTES = 5 * 8, SITE_BYTES = 5 * 4 + FIGURES_BYTES };

static void encode_figures(struct rtd_block_buffer *out, const struct rtd_mapping_figures *figures)
{
    rtd_block_buffer_put_u64(out, figures->live_bytes);
    rtd_block_buffer_put_u64(out, figures->peak_bytes);
    rtd_block_buffer_put_u64(out, figures->total_bytes);
    rtd_block_buffer_put_u64(out, figures->live_count);
    rtd_block_buffer_put_u64(out, figures->calls);
}

void rtd_encode_mappings(struct rtd_block_buffer *out, const struct rtd_mappings *mappings)
{
    const uint32_t count = mappings->site_count < RTD_MAPPING_SITES_MAX
                               ? mappings->site_count
                               : (uint32_t)RTD_MAPPING_SITES_MAX;

    rtd_block_buffer_put_u64(out, mappings->events);
    rtd_block_buffer_put_u64(out, mappings->unseen);
    rtd_block_buffer_put_u64(out, mappings->refused);
    rtd_block_buffer_put_u64(out, mappings->corrections);
    rtd_block_buffer_put_u64(out, mappings->corrected_bytes);
    rtd_block_buffer_put_u64(out, mappings->unlisted_bytes);
    encode_figures(out, &mappings->total);
    rtd_block_buffer_put_u32(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct rtd_mapping_site *const site = &mappings->sites[i];
        rtd_block_buffer_put_u32(out, site->stack);
        rtd_block_buffer_put_u32(out, site->tag);
        rtd_block_buffer_put_u32(out, site->kind);
        rtd_block_buffer_put_u32(out, site->first_ms);
        rtd_block_buffer_put_u32(out, site->last_ms);
        encode_figures(out, &site->figures);
    }
}

static struct rtd_mapping_figures decode_figures(struct rtd_cursor *in)
{
    struct rtd_mapping_figures figures;

    figures.live_bytes = rtd_cursor_get_u64(in);
    figures.peak_bytes = rtd_cursor_get_u64(in);
    figures.total_bytes = rtd_cursor_get_u64(in);
    figures.live_count = rtd_cursor_get_u64(in);
    figures.calls = rtd_cursor_get_u64(in);
    return figures;
}

/* So far from any limit that sums over all sites cannot wrap. */
static bool is_believable(const struct rtd_mapping_figures *figures)
{
    return figures->live_bytes <= figures->peak_bytes &&
           figures->peak_bytes <= RTD_MAPPING_ADDRESS_LIMIT &&
           figures->total_bytes <= RTD_MAPPING_BYTES_LIMIT &&
           figures->live_count <= RTD_MAPPING_ADDRESS_LIMIT &&
           figures->calls <= RTD_MAPPING_BYTES_LIMIT;
}

static bool is_site(const struct rtd_mapping_site *site)
{
    return site->stack < RTD_EXACT_NODE_COUNT && site->tag < RTD_TAG_COUNT &&
           site->kind < RTD_MAPPING_KINDS && is_believable(&site->figures);
}

static struct rtd_mapping_site decode_site(struct rtd_cursor *in)
{
    struct rtd_mapping_site site;

    site.stack = rtd_cursor_get_u32(in);
    site.tag = rtd_cursor_get_u32(in);
    site.kind = rtd_cursor_get_u32(in);
    site.first_ms = rtd_cursor_get_u32(in);
    site.last_ms = rtd_cursor_get_u32(in);
    site.figures = decode_figures(in);
    return site;
}

int rtd_decode_mappings(struct rtd_decode_process *process, struct rtd_cursor *in)
{
    struct rtd_mappings fresh = {.events = rtd_cursor_get_u64(in)};

    fresh.unseen = rtd_cursor_get_u64(in);
    fresh.refused = rtd_cursor_get_u64(in);
    fresh.corrections = rtd_cursor_get_u64(in);
    fresh.corrected_bytes = rtd_cursor_get_u64(in);
    fresh.unlisted_bytes = rtd_cursor_get_u64(in);
    fresh.total = decode_figures(in);
    const uint32_t count = rtd_cursor_get_u32(in);
    if (in->failed || count > RTD_MAPPING_SITES_MAX || !is_believable(&fresh.total) ||
        !rtd_cursor_expect(in, count, SITE_BYTES))
        return -EBADMSG;
    fresh.sites = calloc((size_t)count + 1, sizeof(fresh.sites[0]));
    if (fresh.sites == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const struct rtd_mapping_site site = decode_site(in);
        if (is_site(&site))
            fresh.sites[fresh.site_count++] = site;
        else
            process->refused++;
    }
    rtd_mappings_fini(&process->record->mappings);
    process->record->mappings = fresh;
    return 0;
}
