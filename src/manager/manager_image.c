// SPDX-License-Identifier: Apache-2.0
/*
 * manager_image.c - records of a domain as the image of an exact heap.
 *
 * Runs in:    a program that links libriptide
 * Threads:    one at a time; records go on meanwhile
 * Allocates:  scratch for the length of a call, and what the image needs
 * Fails:      by -ENOMEM; the image then holds less than it should
 *
 * A tag becomes the site (no stack, tag) with what its sites leave over of its sums, and each site
 * becomes itself. Sites are copied before the cells are summed, and a record counts in its cell
 * first, so that a part is not larger than its whole but for what was torn, which becomes 0.
 *
 * Order: tags by name, the sites of a tag by their stacks; never by thread, slab or number. Tags
 * and stacks keep their numbers from image to image, because series are kept by them: a tag its
 * own, a stack that of its leaf node, which its names gave it in the first image that it was in.
 * The other nodes get their numbers in turn, behind FIRST_INNER. Both kinds are spread over their
 * ranges, since an image finds its nodes by the low bits of their ids and two rows of ids would lie
 * on each other.
 */
#include "manager/manager_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INNER_COUNT = 1 << 20, FIRST_INNER = 1 << 20 };
RTD_STATIC_ASSERT(RTD_ROOT_COUNT + RTD_IMAGE_LEAVES <= FIRST_INNER, "two ranges");

__extension__ typedef unsigned __int128 wide;

/* What is shared out of a tag's account by size: whole = sum of the parts. */
struct share {
    uint64_t whole, left; /* recorded; live, or taken back */
};

static uint64_t part_of(const struct share *share, uint64_t part)
{
    if (share->whole == 0)
        return 0;
    return (uint64_t)((wide)share->left * part / share->whole);
}

static uint64_t excess(uint64_t more, uint64_t less)
{
    return more > less ? more - less : 0;
}

/* Sums over cells may be at their end already. */
static uint64_t plus(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

/* ---- order ---- */

struct tag_order {
    uint16_t tags[RTD_NAME_TAGS];
    uint32_t count;
};

static int compare_tags(const void *a, const void *b, void *context)
{
    return rtd_names_compare(context, *(const uint16_t *)a, *(const uint16_t *)b);
}

/* The tags of the domain, by name. */
static void order_tags(const struct rtd_image_draft *draft, struct tag_order *order)
{
    struct rtd_names *names = &draft->records->names;
    order->count = 0;
    for (uint32_t tag = 1; tag < draft->tag_count; tag++) {
        if (rtd_names_domain(names, tag) == draft->domain)
            order->tags[order->count++] = (uint16_t)tag;
    }
    qsort_r(order->tags, order->count, sizeof order->tags[0], compare_tags, names);
}

/* ---- sites of the image ---- */

/* A number of its own for every number below the range, which is a power of two. */
static uint32_t spread(uint32_t number, uint32_t range)
{
    return number * 0x9e3779b1u & (range - 1);
}

/* Adds the nodes of a stack; the id of its leaf in *stack. 0 or -ENOMEM. */
static int add_stack(struct rtd_image_draft *draft, const struct rtd_draft_site *site,
                     uint32_t *stack)
{
    const uint32_t leaf = RTD_ROOT_COUNT + site->site.leaf - 1;
    uint32_t parent = site->site.truncated ? 1 : 0;
    *stack = leaf;
    /* Borrowed from the image before, which cannot have had another stack of that number. */
    if (rtd_image_exact_node(draft->image, leaf))
        return 0;
    for (uint32_t i = site->site.pc_count; i-- > 0;) {
        const struct rtd_image_node node = {
            .pc = draft->words[site->at + i],
            .id =
                i == 0 ? leaf : FIRST_INNER + spread(draft->image->exact->node_count, INNER_COUNT),
            .parent = parent,
        };
        const int added = rtd_image_exact_add(draft->image, &node);
        if (added < 0)
            return added;
        parent = node.id;
    }
    return 0;
}

/* Figures of one of the image's sites before they are entered. */
struct figures {
    uint64_t sized_count, sized_bytes, sized_live_bytes, sized_live_count, sized_out_count;
    uint64_t births, birth_bytes, deaths, death_bytes, temporary, max_size, large;
    uint64_t first_ms, last_ms;
    uint64_t ages[RTD_LIFETIME_BUCKETS - 1];
};

static void enter_figures(struct rtd_image_draft *draft, uint32_t index,
                          const struct figures *figures)
{
    struct rtd_image_site *site = &draft->image->sites[index];
    struct rtd_image_count *count = &draft->image->exact->counts[index];
    uint64_t aged = 0;
    count->allocated_bytes = plus(figures->sized_bytes, figures->birth_bytes);
    count->live_bytes =
        plus(figures->sized_live_bytes, excess(figures->birth_bytes, figures->death_bytes));
    count->freed_bytes = excess(count->allocated_bytes, count->live_bytes);
    count->live_blocks = figures->sized_live_count + excess(figures->births, figures->deaths);
    count->temporary = figures->temporary;
    site->births = figures->sized_count + figures->births;
    site->deaths = figures->sized_out_count + figures->deaths;
    site->birth_count = (double)site->births;
    site->birth_bytes = (double)count->allocated_bytes;
    site->death_count = (double)site->deaths;
    site->death_bytes = (double)count->freed_bytes;
    site->large_births = figures->large < site->births ? figures->large : site->births;
    site->max_size = figures->max_size;
    site->first_ms = figures->first_ms;
    site->last_ms = figures->last_ms;
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        const uint64_t deaths = figures->ages[i - 1];
        site->lifetime[i] = deaths < UINT32_MAX ? (uint32_t)deaths : UINT32_MAX;
        aged += deaths;
    }
    /* What was taken back by size has no age: it is in deaths and in no bucket. */
    const uint64_t young = excess(figures->deaths, aged);
    site->lifetime[0] = young < UINT32_MAX ? (uint32_t)young : UINT32_MAX;
}

/* What a site leaves over of its tag. */
static void take_away(struct figures *rest, const struct figures *part)
{
    rest->sized_count = excess(rest->sized_count, part->sized_count);
    rest->sized_bytes = excess(rest->sized_bytes, part->sized_bytes);
    rest->sized_live_bytes = excess(rest->sized_live_bytes, part->sized_live_bytes);
    rest->sized_live_count = excess(rest->sized_live_count, part->sized_live_count);
    rest->sized_out_count = excess(rest->sized_out_count, part->sized_out_count);
    rest->births = excess(rest->births, part->births);
    rest->birth_bytes = excess(rest->birth_bytes, part->birth_bytes);
    rest->deaths = excess(rest->deaths, part->deaths);
    rest->death_bytes = excess(rest->death_bytes, part->death_bytes);
    rest->temporary = excess(rest->temporary, part->temporary);
    rest->large = excess(rest->large, part->large);
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(rest->ages); i++)
        rest->ages[i] = excess(rest->ages[i], part->ages[i]);
}

static struct figures figures_of_tag(const struct rtd_tag_sum *sum)
{
    struct figures out = {
        .sized_count = sum->in_count,
        .sized_bytes = sum->in_bytes,
        .sized_live_bytes = sum->sized_live_bytes,
        .sized_live_count = rtd_tag_sum_sized_blocks(sum),
        .sized_out_count = sum->out_count,
        .births = sum->births,
        .birth_bytes = sum->birth_bytes,
        .deaths = sum->deaths,
        .death_bytes = sum->death_bytes,
        .temporary = sum->temporary,
        .max_size = sum->max_size,
        .large = sum->large,
        .first_ms = sum->first ? rtd_stamp_ms(sum->first - 1) : 0,
        .last_ms = rtd_stamp_ms(sum->last),
    };
    memcpy(out.ages, sum->ages, sizeof out.ages);
    return out;
}

/* The account by size is shared out by what each site recorded. */
static struct figures figures_of_site(const struct rtd_site *site, const struct figures *tag)
{
    const struct share bytes = {tag->sized_bytes, tag->sized_live_bytes};
    const struct share count = {tag->sized_count, tag->sized_live_count};
    const struct share gone = {tag->sized_count, tag->sized_out_count};
    struct figures out = {
        .sized_count = site->sized_count,
        .sized_bytes = site->sized_bytes,
        .sized_live_bytes = part_of(&bytes, site->sized_bytes),
        .sized_live_count = part_of(&count, site->sized_count),
        .sized_out_count = part_of(&gone, site->sized_count),
        .births = site->births,
        .birth_bytes = site->birth_bytes,
        .deaths = site->deaths,
        .death_bytes = site->death_bytes,
        .temporary = site->temporary,
        .max_size = site->max_size,
        .large = site->large,
        .first_ms = rtd_stamp_ms(site->first),
        .last_ms = rtd_stamp_ms(site->last),
    };
    for (unsigned i = 0; i < RTD_ARRAY_LENGTH(out.ages); i++)
        out.ages[i] = site->ages[i];
    return out;
}

/* Index of a tag in the image: every domain has its own "other" at the place of the first. */
static uint32_t image_tag(uint32_t tag)
{
    return tag < RTD_NAME_FIRST ? (uint32_t)RTD_TAG_OTHER : tag;
}

/*
 * Rounding down leaves bytes over that belong to sites with stacks when all of the account does;
 * they go to the first sites that still have room, so that sums agree to the byte.
 */
static void settle_rest(struct figures *rest, struct figures *sites, uint32_t count)
{
    uint64_t bytes = excess(rest->sized_live_bytes, rest->sized_bytes);
    uint64_t blocks = excess(rest->sized_live_count, rest->sized_count);
    rest->sized_live_bytes -= bytes;
    rest->sized_live_count -= blocks;
    for (uint32_t i = 0; i < count && (bytes != 0 || blocks != 0); i++) {
        const uint64_t room = excess(sites[i].sized_bytes, sites[i].sized_live_bytes);
        const uint64_t places = excess(sites[i].sized_count, sites[i].sized_live_count);
        const uint64_t some = bytes < room ? bytes : room;
        const uint64_t few = blocks < places ? blocks : places;
        sites[i].sized_live_bytes += some;
        sites[i].sized_live_count += few;
        bytes -= some;
        blocks -= few;
    }
}

/* How far the image is filled. */
struct cursor {
    uint32_t site; /* of the draft */
    uint32_t own;  /* index in the image of the next tag's own site */
};

/* The sites of one tag, and its own for what they leave over. 0 or -ENOMEM. */
static int enter_tag(struct rtd_image_draft *draft, uint32_t tag, struct cursor *cursor)
{
    const struct figures whole = figures_of_tag(&draft->sums[tag]);
    struct figures rest = whole;
    uint32_t count = 0;
    const uint32_t first = cursor->site, base = 1 + first;
    while (first + count < draft->site_count && draft->sites[first + count].site.tag == tag)
        count++;
    struct figures *figures = calloc(count + 1u, sizeof *figures);
    int result = figures ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        struct rtd_draft_site *site = &draft->sites[first + i];
        struct rtd_image_site *out = &draft->image->sites[base + i];
        figures[i] = figures_of_site(&site->site, &whole);
        take_away(&rest, &figures[i]);
        out->tag = image_tag(tag);
        draft->index_of[RTD_PLACE_SITE + site->number] = base + i;
        result = add_stack(draft, site, &out->stack);
    }
    if (result == 0) {
        settle_rest(&rest, figures, count);
        for (uint32_t i = 0; i < count; i++)
            enter_figures(draft, base + i, &figures[i]);
        draft->image->sites[cursor->own].tag = image_tag(tag);
        draft->index_of[tag] = cursor->own;
        enter_figures(draft, cursor->own++, &rest);
    }
    cursor->site += count;
    free(figures);
    return result;
}

/* ---- the whole ---- */

/*
 * Nodes are kept while no site was dropped: in most images no stack is new. Called when sites are
 * copied: each one then is the one that its number's nodes were made for.
 */
static void forget(const struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    struct rtd_image_exact *exact = image->exact;
    const uint32_t epoch =
        1 + atomic_load_explicit(&draft->records->site_epoch, memory_order_relaxed);
    if (image->session != draft->records->slabs.generation || exact->nodes_read != epoch ||
        exact->node_count > INNER_COUNT / 2) {
        exact->node_count = 0;
        memset(exact->node_slots, 0, (size_t)exact->node_room * 2 * sizeof exact->node_slots[0]);
    }
    exact->nodes_read = epoch;
    exact->ages_partial = true;
    image->site_count = 0;
    image->sample_count = 0;
    image->rejected = 0;
}

/* [0], those with stacks, then one a tag. */
static int enter_sites(struct rtd_image_draft *draft)
{
    struct tag_order order;
    struct cursor cursor = {.own = 1 + draft->site_count};
    order_tags(draft, &order);
    int result = rtd_image_exact_reserve(draft->image, 1 + draft->site_count + order.count);
    for (uint32_t i = 0; i < order.count && result == 0; i++)
        result = enter_tag(draft, order.tags[i], &cursor);
    for (uint32_t i = 0; i < draft->image->site_count && result == 0; i++)
        draft->image->exact->linked[i] = true;
    return result;
}

static void enter_tags(const struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    const struct rtd_names *names = &draft->records->names;
    memset(image->tags + RTD_TAG_FIRST, 0, (RTD_TAG_COUNT - RTD_TAG_FIRST) * sizeof image->tags[0]);
    image->tag_count = RTD_TAG_FIRST;
    for (uint32_t tag = RTD_NAME_FIRST; tag < draft->tag_count; tag++) {
        if (names->pairs[tag].domain != draft->domain)
            continue;
        memcpy(image->tags[tag].component, names->pairs[tag].component, RTD_NAME_BYTES);
        memcpy(image->tags[tag].operation, names->pairs[tag].operation, RTD_NAME_BYTES);
        image->tag_count = tag + 1;
    }
}

/* Remembers what is held when it is more than any image before saw. */
static void update_peak(struct rtd_image_draft *draft, uint64_t live_bytes)
{
    struct rtd_records *records = draft->records;
    const struct rtd_image_exact *exact = draft->image->exact;
    const bool is_peak = live_bytes > records->peak_bytes[draft->domain];
    if (is_peak) {
        records->peak_bytes[draft->domain] = live_bytes;
        records->peak_ms[draft->domain] = draft->image->clock_ms;
    }
    for (uint32_t i = 0; i < draft->site_count; i++) {
        const uint32_t number = draft->sites[i].number;
        struct rtd_image_count *count = &exact->counts[1 + i];
        struct rtd_site *site = rtd_sites_lock_number(&records->sites, number);
        if (is_peak && site->serial == draft->sites[i].site.serial) {
            site->peak_bytes = count->live_bytes;
            site->peak_blocks = count->live_blocks;
        }
        rtd_sites_unlock(&records->sites, number);
        count->peak_bytes = is_peak ? count->live_bytes : draft->sites[i].site.peak_bytes;
        count->peak_blocks = is_peak ? count->live_blocks : draft->sites[i].site.peak_blocks;
    }
    for (uint32_t tag = 1; tag < draft->tag_count; tag++) {
        struct rtd_records_peak *peak = &records->tag_peaks[tag];
        struct rtd_image_count *count = &exact->counts[draft->index_of[tag]];
        if (draft->index_of[tag] == 0)
            continue;
        if (is_peak)
            *peak = (struct rtd_records_peak){count->live_bytes, count->live_blocks};
        count->peak_bytes = peak->bytes;
        count->peak_blocks = peak->blocks;
    }
}

/* What stands in an image besides tables. */
static void enter_header(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    uint64_t births = 0, bytes = 0, live_bytes = 0, larger = 0;
    memset(image->size_class_count, 0, sizeof image->size_class_count);
    for (uint32_t tag = 1; tag < draft->tag_count; tag++) {
        const struct rtd_tag_sum *sum = &draft->sums[tag];
        births += sum->in_count + sum->births;
        bytes = plus(bytes, plus(sum->in_bytes, sum->birth_bytes));
        live_bytes = plus(live_bytes, rtd_tag_sum_live_bytes(sum));
        for (unsigned i = 0; i < RTD_ARRAY_LENGTH(sum->size_class); i++) {
            image->size_class_count[i + 1] += (double)sum->size_class[i];
            larger += sum->size_class[i];
        }
    }
    image->size_class_count[0] = (double)excess(births, larger);
    image->samples_taken = births;
    image->counted_bytes = plus(bytes, births);
    update_peak(draft, live_bytes);
    image->peak_live_bytes = draft->records->peak_bytes[draft->domain];
    image->peak_ms = draft->records->peak_ms[draft->domain];
}

/* Losses and refusals; those that belong to no domain are told with the first one. */
static void enter_losses(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    struct rtd_slab_sums sums;
    rtd_records_slab_sums(draft->records, &sums);
    memset(image->loss, 0, sizeof image->loss);
    image->exact->unknown_frees = image->exact->missed_frees = 0;
    image->exact->stack_misses = 0;
    image->exact->untracked = sums.untracked_blocks[draft->domain];
    if (draft->domain == RTD_RECORDS_DOMAIN) {
        image->loss[RTD_LOSS_STACKS_NOT_TAKEN] = sums.stacks_lost;
        image->loss[RTD_LOSS_TAGS_OVERFLOW] = sums.names_in_other;
        image->exact->unknown_frees = sums.unknown_releases;
        image->exact->missed_frees = sums.known_blocks;
    }
}

static void enter_origin(struct rtd_image_draft *draft)
{
    struct rtd_image *image = draft->image;
    image->created_unix_ns = rtd_clock_origin(&draft->records->clock);
    image->clock_ms = rtd_clock_now_ms(&draft->records->clock);
    image->interval_bytes = 1;
    image->interval_fixed = true;
    image->session = draft->records->slabs.generation;
    image->mode = RTD_MODE_EXACT;
    image->target_pid = (uint32_t)getpid();
    image->agent_state = RTD_AGENT_READY;
}

static int take_sums(struct rtd_image_draft *draft)
{
    const struct rtd_records *records = draft->records;
    /* After the sites: a site's tag is below this. */
    draft->tag_count = atomic_load_explicit(&records->names.pair_count, memory_order_acquire);
    draft->place_count = RTD_PLACE_SITE + records->sites.room * RTD_SITE_SHARDS;
    draft->sums = calloc(draft->tag_count, sizeof draft->sums[0]);
    draft->index_of = calloc(draft->place_count, sizeof draft->index_of[0]);
    if (!draft->sums || !draft->index_of)
        return -ENOMEM;
    for (uint32_t tag = 1; tag < draft->tag_count; tag++) {
        if (rtd_names_domain(&records->names, tag) == draft->domain)
            rtd_records_sum(records, tag, &draft->sums[tag]);
    }
    return 0;
}

int rtd_records_image(struct rtd_records *records, unsigned domain, struct rtd_image *image)
{
    struct rtd_image_draft draft = {.records = records, .image = image, .domain = domain};
    if (domain >= rtd_records_domains(records))
        return -EINVAL;
    int result = rtd_image_exact_begin(image);
    if (result == 0)
        result = rtd_image_draft_copy(&draft);
    if (image->exact)
        forget(&draft);
    enter_origin(&draft);
    if (result == 0)
        result = take_sums(&draft);
    if (result == 0) {
        enter_tags(&draft);
        result = enter_sites(&draft);
    }
    if (result == 0) {
        enter_header(&draft);
        enter_losses(&draft);
        rtd_image_draft_modules(&draft);
        result = rtd_image_draft_samples(&draft);
    }
    if (image->site_count == 0 && image->exact)
        (void)rtd_image_exact_reserve(image, 1);
    free(draft.index_of);
    free(draft.sums);
    free(draft.words);
    free(draft.sites);
    return result;
}
