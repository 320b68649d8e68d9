// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image_blocks.c - which live blocks an image lists one by one.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one at a time; records go on meanwhile
 * Allocates:  scratch for the length of a call
 * Fails:      by -ENOMEM; what is not listed shows in block_share
 *
 * Blocks with addresses: all, or when they are more than an image holds the largest ones and evenly
 * many of the others. Records by size: the largest of each thread that may still be live, which
 * means that of a tag no more are listed than what is live of its account.
 */
#include "manager/manager_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = RTD_TOP_COUNT, BLOCK_ROOM = RTD_SAMPLE_CAPACITY - 2 * LARGEST };

struct lister {
    struct rtd_image_draft *draft;
    uint64_t seen, step; /* every step-th block is listed */
    unsigned largest_count;
    struct rtd_image_sample largest[LARGEST]; /* of those that are not */
};

static int compare_samples(const void *a, const void *b)
{
    const struct rtd_image_sample *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    if (x->birth_ms != y->birth_ms)
        return x->birth_ms < y->birth_ms ? -1 : 1;
    if (x->site != y->site)
        return x->site < y->site ? -1 : 1;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->alignment_log > y->alignment_log) - (x->alignment_log < y->alignment_log);
}

/* Keeps the largest, in order. */
static void keep_largest(struct lister *lister, const struct rtd_image_sample *sample)
{
    unsigned at = lister->largest_count;
    if (at == LARGEST && compare_samples(sample, &lister->largest[LARGEST - 1]) >= 0)
        return;
    if (at == LARGEST)
        at--;
    else
        lister->largest_count++;
    for (; at > 0 && compare_samples(sample, &lister->largest[at - 1]) < 0; at--)
        lister->largest[at] = lister->largest[at - 1];
    lister->largest[at] = *sample;
}

static void list_block(void *context, const struct rtd_block *block)
{
    struct lister *lister = context;
    struct rtd_image *image = lister->draft->image;
    /* Of another domain, or a site that came after the sites were copied. */
    const uint32_t site =
        block->place < lister->draft->place_count ? lister->draft->index_of[block->place] : 0;
    if (site == 0)
        return;
    const struct rtd_image_sample sample = {.address = block->address,
                                            .size = rtd_sized_bytes(block->sized),
                                            .site = site,
                                            .interval = 1,
                                            .alignment_log = rtd_sized_alignment_log(block->sized),
                                            .birth_ms = rtd_stamp_ms(block->birth)};
    if (lister->seen++ % lister->step == 0 && image->sample_count < BLOCK_ROOM)
        image->samples[image->sample_count++] = sample;
    else
        keep_largest(lister, &sample);
}

/* Whether the tables still have the site that was copied. */
static bool is_kept(const struct rtd_image_draft *draft, uint32_t site)
{
    const struct rtd_draft_site *copy = &draft->sites[site - 1];
    const struct rtd_site *now = rtd_sites_lock_number(&draft->records->sites, copy->number);
    const bool same = now->serial == copy->site.serial;
    rtd_sites_unlock(&draft->records->sites, copy->number);
    return same;
}

/*
 * Takes blocks off the list whose site was dropped since it was copied, for they were seen under a
 * number that is another stack's by now. Serials never come back: a site that is there now was
 * there when the block was listed.
 */
static void leave_out_strangers(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    uint32_t kept = 0;
    if (atomic_load_explicit(&draft->records->site_epoch, memory_order_relaxed) ==
        draft->site_epoch)
        return;
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const uint32_t site = image->samples[i].site;
        if (site > draft->site_count || is_kept(draft, site))
            image->samples[kept++] = image->samples[i];
    }
    image->sample_count = kept;
}

static void list_blocks(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    struct lister lister = {.draft = draft};
    lister.step = rtd_blocks_count(&draft->records->blocks) / BLOCK_ROOM + 1;
    for (unsigned shard = 0; shard < RTD_BLOCK_SHARDS; shard++)
        rtd_blocks_each(&draft->records->blocks, shard, list_block, &lister);
    memcpy(image->samples + image->sample_count, lister.largest,
           lister.largest_count * sizeof lister.largest[0]);
    image->sample_count += lister.largest_count;
    leave_out_strangers(draft);
}

/* ---- records by size ---- */

struct sized_entry {
    uint64_t sized; /* rtd_sized_of() */
    uint32_t site, stamp, tag;
};

/* The largest, then the newest. */
static int compare_entries(const void *a, const void *b)
{
    const struct sized_entry *x = a, *y = b;
    const uint64_t more = rtd_sized_bytes(x->sized), less = rtd_sized_bytes(y->sized);
    if (more != less)
        return more > less ? -1 : 1;
    if (x->stamp != y->stamp)
        return x->stamp > y->stamp ? -1 : 1;
    if (x->site != y->site)
        return x->site < y->site ? -1 : 1;
    return (x->sized > y->sized) - (x->sized < y->sized);
}

/* The image's site of an entry; its own site may have been dropped, and its number be another's. */
static uint32_t site_of(const struct rtd_image_draft *draft, uint32_t where)
{
    const uint32_t tag = where % RTD_NAME_TAGS, place = where / RTD_NAME_TAGS;
    const uint32_t site = place < draft->place_count ? draft->index_of[place] : 0;
    if (place >= RTD_PLACE_SITE && site != 0 && draft->sites[site - 1].site.tag == tag)
        return site;
    return tag < draft->tag_count ? draft->index_of[tag] : 0;
}

static unsigned read_slab(const struct rtd_image_draft *draft, const struct rtd_slab *slab,
                          struct sized_entry *out)
{
    uint64_t entries[RTD_TOP_COUNT][2];
    const uint32_t floor =
        atomic_load_explicit(&draft->records->history_floor, memory_order_relaxed);
    const unsigned count = rtd_top_read(&slab->top, entries);
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint32_t where = (uint32_t)(entries[i][1] >> 32), stamp = (uint32_t)entries[i][1];
        const uint32_t site = site_of(draft, where);
        if (site != 0 && stamp >= floor)
            out[kept++] = (struct sized_entry){entries[i][0], site, stamp, where % RTD_NAME_TAGS};
    }
    return kept;
}

/* Lists those that may be live, at most LARGEST. */
static void list_sized(struct rtd_image_draft *draft, struct sized_entry *entries, unsigned count)
{
    struct rtd_image *image = draft->image;
    unsigned listed = 0;
    qsort(entries, count, sizeof entries[0], compare_entries);
    for (unsigned i = 0; i < count && listed < LARGEST; i++) {
        struct rtd_tag_sum *sum = &draft->sums[entries[i].tag];
        /* From here on the sums are only asked here; what is listed is taken from them. */
        const uint64_t size_bytes = rtd_sized_bytes(entries[i].sized);
        if (sum->sized_live_bytes < size_bytes)
            continue;
        sum->sized_live_bytes -= size_bytes;
        image->samples[image->sample_count++] =
            (struct rtd_image_sample){.size = size_bytes,
                                      .site = entries[i].site,
                                      .interval = 1,
                                      .alignment_log = rtd_sized_alignment_log(entries[i].sized),
                                      .birth_ms = rtd_stamp_ms(entries[i].stamp)};
        listed++;
    }
}

int rtd_image_draft_samples(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    const struct rtd_slabs *slabs = &draft->records->slabs;
    const uint32_t used = atomic_load_explicit(&slabs->slabs_used, memory_order_acquire);
    struct sized_entry *entries = calloc((size_t)used * RTD_TOP_COUNT, sizeof entries[0]);
    uint64_t live_blocks = 0;
    unsigned count = 0;
    if (!entries)
        return -ENOMEM;
    list_blocks(draft);
    for (uint32_t i = 1; i < used; i++)
        count += read_slab(draft, &slabs->slabs[i], entries + count);
    list_sized(draft, entries, count);
    free(entries);
    qsort(image->samples, image->sample_count, sizeof image->samples[0], compare_samples);
    for (uint32_t i = 0; i < image->site_count; i++)
        live_blocks += image->exact->counts[i].live_blocks;
    image->exact->block_share = 0.0;
    if (live_blocks != 0)
        image->exact->block_share = image->sample_count < live_blocks
                                        ? (double)image->sample_count / (double)live_blocks
                                        : 1.0;
    return 0;
}
