// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_nodes.c - the exact part of an image: its sites' room, and the nodes of its trie.
 *
 * Runs in:    collector, report, tests, a program that links libriptide
 * Threads:    an image belongs to one thread at a time; the ledger may be written meanwhile
 * Allocates:  arrays that grow with what a process uses
 * Fails:      by a negative errno; nodes that make no sense are counted in image->rejected
 *
 * A ledger has room for two million nodes; an image keeps those there are in the order they came,
 * 16 bytes each, and a hash table of their ids, for a run may leave hundreds of images. Nodes never
 * change and get their ids in turn, so each is read once: those of a new site's stack one by one,
 * or all that are new in one go when they are many.
 */
#include "ledger/ledger_reader_exact.h"

#include "ledger/ledger_array.h"
#include "ledger/ledger_validity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_NODES = 256,
    FIRST_SITES = 64,
    SINGLE_READS = 1500, /* two calls each */
    NODES_AT_ONCE = 100, /* more new nodes than that are read in one go, which then costs less */
    CHUNK_NODES = 8192,
};

/* What reading single nodes needs; pcs are the first pc_count return addresses, or NULL. */
struct node_reader {
    struct rtd_image *image;
    int fd;
    uint32_t singles_left, pc_count;
    const uint64_t *pcs;
};

static void free_exact(struct rtd_image_exact *exact)
{
    const size_t sites = exact->site_room, nodes = exact->node_room;

    rtd_array_free(exact->node_slots, nodes * 2 * sizeof(exact->node_slots[0]));
    rtd_array_free(exact->nodes, nodes * sizeof(exact->nodes[0]));
    rtd_array_free(exact->linked, sites * sizeof(exact->linked[0]));
    rtd_array_free(exact->counts, sites * sizeof(exact->counts[0]));
    free(exact);
}

int rtd_image_exact_begin(struct rtd_image *image)
{
    if (image->exact != NULL) {
        return 0;
    }
    struct rtd_image_exact *const exact = calloc(1, sizeof(*exact));
    if (exact == NULL) {
        return -ENOMEM;
    }
    exact->site_room = FIRST_SITES;
    exact->node_room = FIRST_NODES;
    exact->counts = rtd_array_grow(NULL, 0, FIRST_SITES * sizeof(exact->counts[0]));
    exact->linked = rtd_array_grow(NULL, 0, FIRST_SITES * sizeof(exact->linked[0]));
    exact->nodes = rtd_array_grow(NULL, 0, FIRST_NODES * sizeof(exact->nodes[0]));
    exact->node_slots =
        rtd_array_grow(NULL, 0, (size_t)FIRST_NODES * 2 * sizeof(exact->node_slots[0]));
    struct rtd_image_site *const sites = rtd_array_grow(NULL, 0, FIRST_SITES * sizeof(sites[0]));
    if (exact->counts == NULL || exact->linked == NULL || exact->nodes == NULL ||
        exact->node_slots == NULL || sites == NULL) {
        rtd_array_free(sites, FIRST_SITES * sizeof(sites[0]));
        free_exact(exact);
        return -ENOMEM;
    }
    image->exact = exact;
    image->sites = sites;
    image->site_count = 1;
    image->sample_count = 0;
    return 0;
}

void rtd_reader_exact_free(struct rtd_image *image)
{
    if (image->exact != NULL) {
        rtd_array_free(image->sites, image->exact->site_room * sizeof(image->sites[0]));
        image->sites = NULL;
        free_exact(image->exact);
        image->exact = NULL;
    }
}

/* The arrays of the sites grow together or not at all, for they share their room. */
static int grow_sites(struct rtd_image *image, size_t room)
{
    struct rtd_image_exact *const exact = image->exact;
    const size_t before = image->site_count;
    struct rtd_image_site *const sites = rtd_array_grow(NULL, 0, room * sizeof(sites[0]));
    struct rtd_image_count *const counts = rtd_array_grow(NULL, 0, room * sizeof(counts[0]));
    bool *const linked = rtd_array_grow(NULL, 0, room * sizeof(linked[0]));

    if (sites == NULL || counts == NULL || linked == NULL) {
        rtd_array_free(sites, room * sizeof(sites[0]));
        rtd_array_free(counts, room * sizeof(counts[0]));
        rtd_array_free(linked, room * sizeof(linked[0]));
        return -ENOMEM;
    }
    memcpy(sites, image->sites, before * sizeof(sites[0]));
    memcpy(counts, exact->counts, before * sizeof(counts[0]));
    memcpy(linked, exact->linked, before * sizeof(linked[0]));
    rtd_array_free(image->sites, exact->site_room * sizeof(sites[0]));
    rtd_array_free(exact->counts, exact->site_room * sizeof(counts[0]));
    rtd_array_free(exact->linked, exact->site_room * sizeof(linked[0]));
    image->sites = sites;
    exact->counts = counts;
    exact->linked = linked;
    exact->site_room = (uint32_t)room;
    return 0;
}

int rtd_image_exact_reserve(struct rtd_image *image, uint32_t site_count)
{
    struct rtd_image_exact *const exact = image->exact;

    if (site_count > exact->site_room && grow_sites(image, site_count + site_count / 4) != 0) {
        return -ENOMEM;
    }
    for (uint32_t i = image->site_count; i < site_count; i++) {
        memset(&image->sites[i], 0, sizeof(image->sites[i]));
        memset(&exact->counts[i], 0, sizeof(exact->counts[i]));
        exact->linked[i] = false;
    }
    image->site_count = site_count;
    return 0;
}

/* Where the id stands in the table, or the free slot where it would. */
static uint32_t *slot_of(const struct rtd_image_exact *exact, uint32_t id)
{
    const uint32_t mask = exact->node_room * 2 - 1;
    /* Ids are given out in turn, so by themselves they are the best hash there is. */
    uint32_t at = id & mask;

    while (exact->node_slots[at] != 0 && exact->nodes[exact->node_slots[at] - 1].id != id) {
        at = (at + 1) & mask;
    }
    return &exact->node_slots[at];
}

static int grow_nodes(struct rtd_image_exact *exact)
{
    const size_t before = exact->node_room, room = before * 2;
    uint32_t *const slots = rtd_array_grow(NULL, 0, room * 2 * sizeof(slots[0]));
    void *const nodes = slots != NULL
                            ? rtd_array_grow(exact->nodes, before * sizeof(exact->nodes[0]),
                                             room * sizeof(exact->nodes[0]))
                            : NULL;

    if (nodes == NULL) {
        rtd_array_free(slots, room * 2 * sizeof(slots[0]));
        return -ENOMEM;
    }
    exact->nodes = nodes;
    rtd_array_free(exact->node_slots, before * 2 * sizeof(slots[0]));
    exact->node_slots = slots;
    exact->node_room = (uint32_t)room;
    for (uint32_t i = 0; i < exact->node_count; i++) {
        *slot_of(exact, exact->nodes[i].id) = i + 1;
    }
    return 0;
}

int rtd_image_exact_add(struct rtd_image *image, const struct rtd_image_node *node)
{
    struct rtd_image_exact *const exact = image->exact;

    if (exact->nodes == NULL) {
        return -ENOMEM;
    }
    if (*slot_of(exact, node->id) != 0) {
        return 0;
    }
    if ((exact->nodes == NULL || exact->node_count == exact->node_room) && grow_nodes(exact) != 0) {
        return -ENOMEM;
    }
    exact->nodes[exact->node_count++] = *node;
    *slot_of(exact, node->id) = exact->node_count;
    return 1;
}

const struct rtd_image_node *rtd_image_exact_node(const struct rtd_image *image, uint32_t id)
{
    const uint32_t *const slot = slot_of(image->exact, id);

    return *slot != 0 ? &image->exact->nodes[*slot - 1] : NULL;
}

int rtd_reader_exact_clone(struct rtd_image *image, const struct rtd_image *from)
{
    int error = rtd_image_exact_begin(image);

    if (error == 0) {
        error = rtd_image_exact_reserve(image, from->site_count);
    }
    for (uint32_t i = 0; i < from->exact->node_count && error == 0; i++) {
        const int added = rtd_image_exact_add(image, &from->exact->nodes[i]);
        error = added < 0 ? added : 0;
    }
    if (error != 0) {
        return error;
    }
    struct rtd_image_exact *const exact = image->exact;
    memcpy(exact->counts, from->exact->counts, from->site_count * sizeof(exact->counts[0]));
    memcpy(exact->linked, from->exact->linked, from->site_count * sizeof(exact->linked[0]));
    exact->unknown_frees = from->exact->unknown_frees;
    exact->missed_frees = from->exact->missed_frees;
    exact->untracked = from->exact->untracked;
    exact->stack_misses = from->exact->stack_misses;
    exact->block_share = from->exact->block_share;
    exact->ages_partial = from->exact->ages_partial;
    exact->nodes_read = from->exact->nodes_read;
    return 0;
}

/* Turns a word of the table into a node; false: not one. */
static bool make_node(uint32_t id, uint64_t word, uint64_t pc, struct rtd_image_node *out)
{
    *out = (struct rtd_image_node){.pc = pc, .id = id, .parent = (uint32_t)(word >> 32)};
    return rtd_validity_check_exact_node(out);
}

/* Index of the return address in the word, or RTD_EXACT_PC_COUNT for none. */
static uint32_t pc_index(uint64_t word)
{
    const uint32_t number = (uint32_t)word;

    return number != 0 && number <= RTD_EXACT_PC_COUNT ? number - 1 : RTD_EXACT_PC_COUNT;
}

/* Reads one node and adds it. 1: added; 0: there is none, or no more may be read now; or errno. */
static int read_single(struct node_reader *reader, uint32_t id, struct rtd_image_node *out)
{
    uint64_t word = 0, pc = 0;

    if (reader->singles_left == 0) {
        return 0;
    }
    reader->singles_left--;
    int error = rtd_exact_pread(reader->fd, &word, sizeof(word),
                                RTD_EXACT_AT(nodes) + (uint64_t)id * sizeof(word));
    const uint32_t index = pc_index(word);
    if (error == 0 && index != RTD_EXACT_PC_COUNT) {
        error = rtd_exact_pread(reader->fd, &pc, sizeof(pc),
                                RTD_EXACT_AT(pcs) + (uint64_t)index * sizeof(pc));
    }
    if (error != 0 || !make_node(id, word, pc, out)) {
        return error;
    }
    const int added = rtd_image_exact_add(reader->image, out);
    return added < 0 ? added : 1;
}

/* Follows a stack up to what is known: 1 complete, 0 a part is missing, or an errno. */
static int link_stack(struct node_reader *reader, uint32_t stack)
{
    struct rtd_image_node node = {0};

    /* Every turn adds a node, of which there are so many: a cycle ends at one that is known. */
    for (uint32_t id = stack; id >= RTD_ROOT_COUNT && id < RTD_EXACT_NODE_COUNT; id = node.parent) {
        if (rtd_image_exact_node(reader->image, id) != NULL) {
            break;
        }
        const int read = read_single(reader, id, &node);
        if (read <= 0) {
            return read;
        }
    }
    return 1;
}

/* Adds the nodes among these words of the table. */
static int add_words(struct node_reader *reader, uint32_t first, const uint64_t *words,
                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct rtd_image_node node;
        const uint32_t index = pc_index(words[i]);
        if (index >= reader->pc_count ||
            !make_node(first + i, words[i], reader->pcs[index], &node)) {
            continue;
        }
        const int added = rtd_image_exact_add(reader->image, &node);
        if (added < 0) {
            return added;
        }
    }
    return 0;
}

/* Reads the nodes first .. end - 1. One that is not written yet is left to read_single(). */
static int read_nodes(struct node_reader *reader, uint32_t first, uint32_t end)
{
    uint64_t *const pcs = malloc((reader->pc_count + 1) * sizeof(pcs[0]));
    uint64_t words[CHUNK_NODES];
    int error = pcs == NULL ? -ENOMEM : 0;

    if (error == 0) {
        error =
            rtd_exact_pread(reader->fd, pcs, reader->pc_count * sizeof(pcs[0]), RTD_EXACT_AT(pcs));
    }
    reader->pcs = pcs;
    while (first < end && error == 0) {
        const uint32_t count = end - first < CHUNK_NODES ? end - first : CHUNK_NODES;
        error = rtd_exact_pread(reader->fd, words, count * sizeof(words[0]),
                                RTD_EXACT_AT(nodes) + first * sizeof(words[0]));
        if (error == 0) {
            error = add_words(reader, first, words, count);
        }
        first += count;
    }
    free(pcs);
    reader->pcs = NULL;
    return error;
}

/* Reads what is new in the trie when it is much. */
static int read_new_nodes(struct node_reader *reader)
{
    struct rtd_image_exact *const exact = reader->image->exact;
    const uint32_t first = exact->nodes_read < RTD_ROOT_COUNT ? RTD_ROOT_COUNT : exact->nodes_read;
    struct rtd_exact_header header;
    int error = rtd_exact_pread(reader->fd, &header, sizeof(header), RTD_EXACT_AT(header));

    if (error != 0) {
        return error;
    }
    uint32_t end = atomic_load_explicit(&header.node_count, memory_order_relaxed);
    uint32_t pc_count = atomic_load_explicit(&header.pc_count, memory_order_relaxed);
    end = end < RTD_EXACT_NODE_COUNT ? end : RTD_EXACT_NODE_COUNT;
    reader->pc_count = pc_count < RTD_EXACT_PC_COUNT ? pc_count : RTD_EXACT_PC_COUNT;
    if (end <= first || end - first <= NODES_AT_ONCE) {
        return 0;
    }
    error = read_nodes(reader, first, end);
    exact->nodes_read = error == 0 ? end : exact->nodes_read;
    return error;
}

int rtd_reader_exact_link(struct rtd_image *image, int fd)
{
    struct rtd_image_exact *const exact = image->exact;
    struct node_reader reader = {.image = image, .fd = fd, .singles_left = SINGLE_READS};
    int error = read_new_nodes(&reader);

    for (uint32_t i = 0; i < image->site_count && error == 0; i++) {
        /* A site that has its number and not yet its key is looked at again. */
        if (!exact->linked[i] && image->sites[i].stack != 0) {
            const int linked = link_stack(&reader, image->sites[i].stack);
            error = linked < 0 ? linked : 0;
            exact->linked[i] = linked > 0;
        }
    }
    return error;
}

int rtd_image_stack_load(struct rtd_image *image, int fd, uint32_t stack)
{
    struct node_reader reader = {.image = image, .fd = fd, .singles_left = SINGLE_READS};

    if (image->exact == NULL || fd < 0) {
        return 0;
    }
    const int linked = link_stack(&reader, stack);
    return linked < 0 ? linked : 0;
}

uint64_t rtd_image_lifetime(const struct rtd_image *image, uint32_t site, unsigned bucket)
{
    const struct rtd_image_site *const at = &image->sites[site];
    uint64_t aged = 0;

    if (image->exact == NULL || bucket != 0 || image->exact->ages_partial) {
        return at->lifetime[bucket];
    }
    for (unsigned i = 1; i < RTD_LIFETIME_BUCKETS; i++) {
        aged += at->lifetime[i];
    }
    return at->deaths > aged ? at->deaths - aged : 0;
}
