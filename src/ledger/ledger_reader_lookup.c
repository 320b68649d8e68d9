// SPDX-License-Identifier: Apache-2.0
/*
 * ledger_reader_lookup.c - questions to an image: stacks, modules, names of losses.
 *
 * Runs in:    collector, report, tests
 * Threads:    pure functions of an image
 * Allocates:  never
 * Fails:      by an empty answer
 */
#include "ledger/ledger_reader.h"
#include "ledger/ledger_validity.h"

#include <string.h>

/* The same in the exact trie, whose stacks may be deeper: the outer frames are then left out. */
static void get_exact_stack(const struct rtd_image *image, uint32_t stack,
                            struct rtd_image_stack *out)
{
    const uint32_t most = image->exact->node_count < RTD_EXACT_DEPTH_MAX
                              ? image->exact->node_count
                              : (uint32_t)RTD_EXACT_DEPTH_MAX;
    uint32_t id = stack;

    for (uint32_t steps = 0; id >= RTD_ROOT_COUNT && steps < most; steps++) {
        const struct rtd_image_node *const node = rtd_image_exact_node(image, id);
        if (node == NULL) {
            break;
        }
        if (out->pc_count < RTD_FRAME_MAX) {
            out->pcs[out->pc_count++] = node->pc;
        } else {
            out->truncated = true;
        }
        id = node->parent;
    }
    if (id >= RTD_ROOT_COUNT || out->pc_count == 0) {
        out->pc_count = 0;
        out->truncated = false;
        return;
    }
    out->generation = id / 2;
    out->truncated = out->truncated || (id & 1) != 0;
}

void rtd_image_stack_get(const struct rtd_image *image, uint32_t stack, struct rtd_image_stack *out)
{
    uint32_t node = stack;

    out->generation = 0;
    out->truncated = false;
    out->pc_count = 0;
    if (image->exact != NULL) {
        get_exact_stack(image, stack, out);
        return;
    }
    /* The bound on frames is also what ends a cycle that a hostile trie may hold. */
    while (node >= RTD_ROOT_COUNT && node < RTD_NODE_COUNT && image->nodes[node] != 0 &&
           out->pc_count < RTD_FRAME_MAX) {
        const uint64_t word = image->nodes[node];
        const uint64_t pc = word & (RTD_ADDRESS_LIMIT - 1);
        if (pc == 0) {
            break;
        }
        out->pcs[out->pc_count++] = pc;
        node = (uint32_t)(word >> RTD_PC_BITS);
    }
    if (node >= RTD_ROOT_COUNT || out->pc_count == 0) {
        out->pc_count = 0;
        return;
    }
    out->generation = node / 2;
    out->truncated = (node & 1) != 0;
}

/* True when a is a better answer than b for a stack of this generation. */
static bool is_nearer(const struct rtd_image_module *a, const struct rtd_image_module *b,
                      uint32_t generation)
{
    if (b == NULL) {
        return true;
    }
    const bool a_before = a->generation <= generation;
    const bool b_before = b->generation <= generation;

    if (a_before != b_before) {
        return a_before;
    }
    return a_before ? a->generation > b->generation : a->generation < b->generation;
}

const struct rtd_image_module *rtd_image_module_at(const struct rtd_image *image, uint64_t pc,
                                                   uint32_t generation)
{
    const struct rtd_image_module *best = NULL;
    uint32_t low = 0;
    uint32_t high = image->module_count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (image->modules[middle].start <= pc) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    /* Mappings of different generations may overlap, so all that begin before pc are looked at. */
    for (uint32_t i = low; i-- > 0;) {
        const struct rtd_image_module *const module = &image->modules[i];
        if (pc < module->end && is_nearer(module, best, generation)) {
            best = module;
        }
    }
    return best;
}

const char *rtd_loss_name(unsigned loss)
{
    static const char *const names[RTD_LOSS_COUNT] = {
        [RTD_LOSS_SAMPLES_NOT_STORED] = "samples_not_stored",
        [RTD_LOSS_SAMPLES_THINNED] = "samples_thinned",
        [RTD_LOSS_STACKS_TRUNCATED] = "stacks_truncated",
        [RTD_LOSS_STACKS_NOT_TAKEN] = "stacks_not_taken",
        [RTD_LOSS_SITES_OVERFLOW] = "sites_overflow",
        [RTD_LOSS_MODULES_OVERFLOW] = "modules_overflow",
        [RTD_LOSS_TAGS_OVERFLOW] = "tags_overflow",
        [RTD_LOSS_THREADS_OVERFLOW] = "threads_overflow",
        [RTD_LOSS_STALE_SAMPLES] = "stale_samples",
        [RTD_LOSS_NESTED_SKIPPED] = "nested_skipped",
        [RTD_LOSS_GUARD_STALE] = "guard_stale",
        [RTD_LOSS_UNMARKED] = "unmarked",
        [RTD_LOSS_GENERATIONS] = "generations",
        [RTD_LOSS_FORK_UNOBSERVED] = "fork_unobserved",
        [RTD_LOSS_MAPS_UNSEEN] = "maps_unseen",
    };

    return loss < RTD_LOSS_COUNT ? names[loss] : NULL;
}
