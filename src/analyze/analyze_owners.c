// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_owners.c - components and operations, each ledger site charged to exactly one.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    one owner
 * Allocates:  from the draft's arenas
 * Fails:      by -ENOMEM
 *
 * The tag of the ledger site decides; without one, the names of the report site. So the sums are
 * exact also where one stack allocates under several tags.
 */
#include "analyze/analyze_draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct owner {
    const char *component, *operation; /* interned; operation NULL in the list of components */
    struct rtd_figures figures;
};

struct owner_list {
    struct owner *owners;
    uint32_t count;
    uint32_t *slots, slot_count;
};

static int owner_list_init(struct owner_list *list, struct rtd_arena *scratch, uint32_t room)
{
    *list = (struct owner_list){.slot_count = 64};
    while (list->slot_count < room * 2)
        list->slot_count *= 2;
    list->owners = rtd_arena_take_array(scratch, room, sizeof *list->owners);
    list->slots = rtd_arena_take_array(scratch, list->slot_count, sizeof *list->slots);
    return list->owners && list->slots ? 0 : -ENOMEM;
}

static uint32_t find_owner(struct owner_list *list, const char *component, const char *operation)
{
    const uint64_t mixed = ((uint64_t)(uintptr_t)component ^ (uint64_t)(uintptr_t)operation * 31) *
                           UINT64_C(0x9e3779b97f4a7c15);
    uint32_t at = (uint32_t)(mixed >> 32) & (list->slot_count - 1);
    for (; list->slots[at]; at = (at + 1) & (list->slot_count - 1)) {
        const struct owner *known = &list->owners[list->slots[at] - 1];
        if (known->component == component && known->operation == operation)
            return list->slots[at] - 1;
    }
    struct owner *fresh = &list->owners[list->count++];
    fresh->component = component;
    fresh->operation = operation;
    list->slots[at] = list->count;
    return list->count - 1;
}

static int compare_owners(const void *a, const void *b)
{
    const struct owner *x = *(const struct owner *const *)a;
    const struct owner *y = *(const struct owner *const *)b;
    if (x->figures.live_bytes_value != y->figures.live_bytes_value)
        return x->figures.live_bytes_value > y->figures.live_bytes_value ? -1 : 1;
    const int order = strcmp(x->component, y->component);
    return order || !x->operation ? order : strcmp(x->operation, y->operation);
}

/* Sorted pointers to the owners; of[] is redirected from list order to sorted order. */
static struct owner **sort_owners(struct rtd_draft *draft, struct owner_list *list, uint32_t *of)
{
    struct owner **order = rtd_arena_take_array(draft->scratch, list->count, sizeof(void *));
    uint32_t *position = rtd_arena_take_array(draft->scratch, list->count, sizeof *position);
    if (!order || !position)
        return NULL;
    for (uint32_t i = 0; i < list->count; i++)
        order[i] = &list->owners[i];
    qsort(order, list->count, sizeof(void *), compare_owners);
    for (uint32_t i = 0; i < list->count; i++)
        position[order[i] - list->owners] = i;
    for (uint32_t i = 0; i < draft->record->image->site_count; i++) {
        if (of[i] != RTD_DRAFT_NONE)
            of[i] = position[of[i]];
    }
    return order;
}

static int publish_components(struct rtd_draft *draft, struct owner_list *list)
{
    struct owner **order = sort_owners(draft, list, draft->component_of);
    struct rtd_report_component *out = rtd_arena_take_array(draft->arena, list->count, sizeof *out);
    draft->component_figures =
        rtd_arena_take_array(draft->scratch, list->count, sizeof *draft->component_figures);
    if (!order || !out || !draft->component_figures)
        return -ENOMEM;
    for (uint32_t i = 0; i < list->count; i++) {
        out[i].name = order[i]->component;
        out[i].figures = rtd_figures_finish(&order[i]->figures);
        draft->component_figures[i] = order[i]->figures;
    }
    draft->process->components = out;
    draft->process->component_count = list->count;
    return 0;
}

static int publish_operations(struct rtd_draft *draft, struct owner_list *list)
{
    struct owner **order = sort_owners(draft, list, draft->operation_of);
    struct rtd_report_operation *out = rtd_arena_take_array(draft->arena, list->count, sizeof *out);
    if (!order || !out)
        return -ENOMEM;
    for (uint32_t i = 0; i < list->count; i++) {
        out[i].component = order[i]->component;
        out[i].name = order[i]->operation;
        out[i].figures = rtd_figures_finish(&order[i]->figures);
    }
    draft->process->operations = out;
    draft->process->operation_count = list->count;
    return 0;
}

const char *rtd_draft_spoken(const struct rtd_draft *draft, const char *component)
{
    return draft->domain && !draft->plain
               ? rtd_arena_format(draft->arena, "%s:%s", draft->domain, component)
               : component;
}

/*
 * Only what is tagged so on the heap: a program of that name has a component of that name, too, and
 * where the two meet nothing is left out.
 */
static void find_own(struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const struct rtd_report_process *process = draft->process;
    draft->own_component = RTD_DRAFT_NONE;
    for (uint32_t i = 0; !draft->domain && i < process->component_count; i++) {
        if (strcmp(process->components[i].name, RTD_OWN_COMPONENT) == 0)
            draft->own_component = i;
    }
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (rtd_draft_is_own(draft, i) &&
            strcmp(image->tags[image->sites[i].tag].component, RTD_OWN_COMPONENT) != 0)
            draft->own_component = RTD_DRAFT_NONE;
    }
}

int rtd_draft_owners(struct rtd_draft *draft)
{
    const struct rtd_image *image = draft->record->image;
    const uint32_t count = image->site_count;
    struct owner_list components, operations;
    draft->component_of = rtd_arena_take_array(draft->scratch, count, sizeof(uint32_t));
    draft->operation_of = rtd_arena_take_array(draft->scratch, count, sizeof(uint32_t));
    if (!draft->component_of || !draft->operation_of ||
        owner_list_init(&components, draft->scratch, count) < 0 ||
        owner_list_init(&operations, draft->scratch, count) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        draft->component_of[i] = draft->operation_of[i] = RTD_DRAFT_NONE;
        if (draft->site_of[i] == RTD_DRAFT_NONE)
            continue;
        const uint32_t tag = image->sites[i].tag;
        const struct rtd_draft_names names = rtd_draft_names_of(
            draft->arena, &draft->names[draft->site_of[i]], &image->tags[tag], tag);
        draft->component_of[i] = find_owner(&components, names.component, NULL);
        draft->operation_of[i] = find_owner(&operations, names.component, names.operation);
        rtd_figures_pool(&components.owners[draft->component_of[i]].figures, &draft->figures[i]);
        rtd_figures_pool(&operations.owners[draft->operation_of[i]].figures, &draft->figures[i]);
    }
    /* Interning that failed gives equal empty names: nothing of this may be shown. */
    if (draft->arena->failed)
        return -ENOMEM;
    int result = publish_components(draft, &components);
    if (result == 0)
        result = publish_operations(draft, &operations);
    if (result == 0)
        find_own(draft);
    return result;
}
