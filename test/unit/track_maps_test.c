// SPDX-License-Identifier: Apache-2.0
/*
 * track_maps_test.c - the map of a program's mappings, against an array with one cell a page.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  yes
 * Fails:      by a failed assertion
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base_math.h"
#include "track/track_maps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, CELLS = 3000, OWNERS = 12, ROUNDS = 40000, SEEDS = 3 };

#define BASE UINT64_C(0x7f0000000000)

/* What the map should hold: each cell the piece that covers it, each piece its owner. */
struct model {
    uint32_t piece[CELLS]; /* 0: not mapped */
    uint32_t owner[ROUNDS + 1];
    uint32_t pieces;
    uint64_t peak[OWNERS], total[OWNERS], calls[OWNERS];
    uint64_t peak_all;
};

static struct rtd_mapping_owner owner_of(uint32_t index)
{
    return (struct rtd_mapping_owner){.stack = 5000 + index / RTD_MAPPING_KINDS,
                                      .tag = index % 2,
                                      .kind = index % RTD_MAPPING_KINDS,
                                      .time_ms = index};
}

static uint64_t live_bytes_of(const struct model *model, uint32_t owner)
{
    uint64_t bytes = 0;

    for (int i = 0; i < CELLS; i++)
        bytes += model->piece[i] != 0 && (owner == OWNERS || model->owner[model->piece[i]] == owner)
                     ? PAGE
                     : 0;
    return bytes;
}

static uint64_t live_count_of(const struct model *model, uint32_t owner)
{
    uint64_t count = 0;

    for (int i = 0; i < CELLS; i++)
        count += model->piece[i] != 0 && model->owner[model->piece[i]] == owner &&
                 (i == 0 || model->piece[i - 1] != model->piece[i]);
    return count;
}

static void model_add(struct model *model, uint32_t first, uint32_t count, uint32_t owner)
{
    uint32_t piece = ++model->pieces;
    const uint32_t before = first > 0 ? model->piece[first - 1] : 0;

    /* A break that grows goes on, unless the new part replaces some of the same piece. */
    const bool prolongs =
        before != 0 && model->owner[before] == owner && owner_of(owner).kind == RTD_MAPPING_BREAK;
    if (prolongs)
        piece = before;
    model->owner[piece] = owner;
    for (uint32_t i = first + count; prolongs && i < CELLS && model->piece[i] == before; i++) {
        model->owner[model->pieces] = owner;
        model->piece[i] = model->pieces; /* the cut-off rest is a piece of its own */
    }
    for (uint32_t i = first; i < first + count; i++)
        model->piece[i] = piece;
    model->total[owner] += (uint64_t)count * PAGE;
    model->calls[owner]++;
    const uint64_t live = live_bytes_of(model, owner);
    const uint64_t all = live_bytes_of(model, OWNERS);
    model->peak[owner] = live > model->peak[owner] ? live : model->peak[owner];
    model->peak_all = all > model->peak_all ? all : model->peak_all;
}

/* What is cut in the middle is two pieces from now on. */
static void model_split(struct model *model, uint32_t first, uint32_t count)
{
    const uint32_t behind = first + count;
    const uint32_t piece = first > 0 && behind < CELLS ? model->piece[first - 1] : 0;

    if (piece == 0 || model->piece[behind] != piece)
        return;
    const uint32_t fresh = ++model->pieces;
    model->owner[fresh] = model->owner[piece];
    for (uint32_t i = behind; i < CELLS && model->piece[i] == piece; i++)
        model->piece[i] = fresh;
}

static const struct rtd_mapping_site *find_site(const struct rtd_mappings *seen, uint32_t index)
{
    const struct rtd_mapping_owner owner = owner_of(index);

    for (uint32_t i = 0; i < seen->site_count; i++)
        if (seen->sites[i].stack == owner.stack && seen->sites[i].tag == owner.tag &&
            seen->sites[i].kind == owner.kind)
            return &seen->sites[i];
    return NULL;
}

static void assert_same(const struct rtd_maps *maps, const struct model *model)
{
    struct rtd_mappings seen = {0};

    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.total.live_bytes, live_bytes_of(model, OWNERS));
    assert_int_equal(seen.total.peak_bytes, model->peak_all);
    for (uint32_t i = 0; i < OWNERS; i++) {
        const struct rtd_mapping_site *const site = find_site(&seen, i);
        if (!site) {
            assert_int_equal(model->calls[i], 0);
            continue;
        }
        assert_int_equal(site->figures.live_bytes, live_bytes_of(model, i));
        assert_int_equal(site->figures.live_count, live_count_of(model, i));
        assert_int_equal(site->figures.total_bytes, model->total[i]);
        assert_int_equal(site->figures.calls, model->calls[i]);
        assert_int_equal(site->figures.peak_bytes, model->peak[i]);
    }
    rtd_mappings_fini(&seen);
}

/* Keeps the cells that random areas cover, as the kernel's list would; at most half are files. */
static int64_t confirm(struct rtd_maps *maps, struct model *model, uint64_t *random)
{
    struct rtd_mapping_area areas[64];
    size_t count = 0;
    uint64_t gone = 0;

    for (uint32_t at = (uint32_t)(rtd_random_next(random) % 40); at < CELLS && count < 64;) {
        const uint32_t length = 1 + (uint32_t)(rtd_random_next(random) % 300);
        const bool is_file = rtd_random_next(random) % 4 == 0;
        areas[count++] = (struct rtd_mapping_area){BASE + (uint64_t)at * PAGE,
                                                   BASE + (uint64_t)(at + length) * PAGE, is_file};
        at += length + (uint32_t)(rtd_random_next(random) % 8);
    }
    for (uint32_t i = 0; i < CELLS; i++) {
        bool listed = false;
        if (model->piece[i] == 0)
            continue;
        const uint32_t kind = owner_of(model->owner[model->piece[i]]).kind;
        for (size_t k = 0; k < count; k++)
            listed |=
                BASE + (uint64_t)i * PAGE >= areas[k].start &&
                BASE + (uint64_t)i * PAGE < areas[k].end &&
                (!areas[k].is_file || (kind != RTD_MAPPING_ANONYMOUS && kind != RTD_MAPPING_BREAK));
        if (listed)
            continue;
        model_split(model, i, 1);
        model->piece[i] = 0;
        gone += PAGE;
    }
    assert_int_equal(rtd_maps_confirm(maps, areas, count), (int64_t)gone);
    return (int64_t)gone;
}

static void random_operations_agree_with_a_page_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct model *const model = calloc(1, sizeof(*model));
        struct rtd_maps *const maps = rtd_maps_new(seed);
        uint64_t random = seed;
        int64_t confirmed = 0;

        assert_non_null(model);
        assert_non_null(maps);
        for (int round = 0; round < 3000; round++) {
            const uint32_t first = (uint32_t)(rtd_random_next(&random) % (CELLS - 200));
            const uint32_t count = 1 + (uint32_t)(rtd_random_next(&random) % 180);
            const uint64_t start = BASE + (uint64_t)first * PAGE;
            const struct rtd_mapping_owner owner =
                owner_of((uint32_t)(rtd_random_next(&random) % OWNERS));
            const uint32_t index = (uint32_t)owner.time_ms;
            if (rtd_random_next(&random) % 3 != 0) {
                assert_int_equal(rtd_maps_add(maps, start, (uint64_t)count * PAGE, &owner), 0);
                model_split(model, first, count);
                model_add(model, first, count, index);
            } else {
                assert_int_equal(rtd_maps_remove(maps, start, (uint64_t)count * PAGE), 0);
                model_split(model, first, count);
                memset(&model->piece[first], 0, count * sizeof(model->piece[0]));
            }
            if (round % 50 == 0)
                assert_same(maps, model);
            if (round % 500 == 499) {
                confirmed += confirm(maps, model, &random);
                assert_same(maps, model);
            }
            const int kind = rtd_maps_kind_at(maps, start + 5);
            const uint32_t piece = model->piece[first];
            assert_int_equal(kind, piece ? (int)owner_of(model->owner[piece]).kind : -ENOENT);
        }
        assert_true(confirmed > 0);
        rtd_maps_free(maps);
        free(model);
    }
}

static void a_hole_in_the_middle_makes_two_pieces(void **state)
{
    struct rtd_maps *const maps = rtd_maps_new(1);
    const struct rtd_mapping_owner owner = {.stack = 3000, .kind = RTD_MAPPING_FILE};
    struct rtd_mappings seen = {0};

    (void)state;
    assert_int_equal(rtd_maps_add(maps, BASE, 10 * PAGE, &owner), 0);
    assert_int_equal(rtd_maps_remove(maps, BASE + 4 * PAGE, PAGE), 0);
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.site_count, 1);
    assert_int_equal(seen.total.live_bytes, 9 * PAGE);
    assert_int_equal(seen.total.live_count, 2);
    assert_int_equal(seen.sites[0].figures.live_count, 2);
    rtd_mappings_fini(&seen);
    rtd_maps_free(maps);
}

static void a_break_that_grows_in_steps_stays_one_piece(void **state)
{
    struct rtd_maps *const maps = rtd_maps_new(1);
    const struct rtd_mapping_owner owner = {.stack = 3000, .kind = RTD_MAPPING_BREAK};
    struct rtd_mappings seen = {0};

    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(rtd_maps_add(maps, BASE + i * 24, 24, &owner), 0);
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.total.live_bytes, 24000);
    assert_int_equal(seen.total.live_count, 1);
    assert_int_equal(seen.total.calls, 1000);
    rtd_mappings_fini(&seen);
    rtd_maps_free(maps);
}

static void ranges_outside_the_address_space_are_refused_or_cut(void **state)
{
    struct rtd_maps *const maps = rtd_maps_new(1);
    const struct rtd_mapping_owner owner = {.stack = 3000};
    const struct rtd_mapping_owner stranger = {.stack = 3000, .kind = RTD_MAPPING_KINDS};
    struct rtd_mappings seen = {0};

    (void)state;
    assert_int_equal(rtd_maps_add(maps, BASE, 0, &owner), -EINVAL);
    assert_int_equal(rtd_maps_add(maps, RTD_MAPPING_ADDRESS_LIMIT, 1, &owner), -EINVAL);
    assert_int_equal(rtd_maps_add(maps, BASE, PAGE, &stranger), -EINVAL);
    assert_int_equal(rtd_maps_add(maps, RTD_MAPPING_ADDRESS_LIMIT - PAGE, UINT64_MAX, &owner), 0);
    assert_int_equal(rtd_maps_remove(maps, UINT64_MAX, UINT64_MAX), -EINVAL);
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.total.live_bytes, PAGE);
    rtd_mappings_fini(&seen);
    rtd_maps_free(maps);
}

static void the_list_is_bounded_and_what_does_not_fit_is_counted(void **state)
{
    enum { MANY = 150000 };
    struct rtd_maps *const maps = rtd_maps_new(1);
    const struct rtd_mapping_owner owner = {.stack = 3000};
    struct rtd_mappings seen = {0};

    (void)state;
    for (uint64_t i = 0; i < MANY; i++)
        (void)rtd_maps_add(maps, BASE + i * 2 * PAGE, PAGE, &owner);
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_true(seen.unlisted_bytes > 0);
    assert_int_equal(seen.total.total_bytes, (uint64_t)MANY * PAGE);
    assert_int_equal(seen.total.live_bytes + seen.unlisted_bytes, (uint64_t)MANY * PAGE);
    assert_int_equal(rtd_maps_remove(maps, BASE, (uint64_t)MANY * 2 * PAGE), 0);
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.total.live_bytes, 0);
    assert_int_equal(seen.total.live_count, 0);
    rtd_mappings_fini(&seen);
    rtd_maps_free(maps);
}

static void sites_beyond_the_table_share_the_first(void **state)
{
    struct rtd_maps *const maps = rtd_maps_new(1);
    struct rtd_mappings seen = {0};
    uint64_t live = 0;

    (void)state;
    for (uint32_t i = 0; i < 2 * RTD_MAPPING_SITES_MAX; i++) {
        const struct rtd_mapping_owner owner = {.stack = 3000 + i};
        assert_int_equal(rtd_maps_add(maps, BASE + (uint64_t)i * PAGE, PAGE, &owner), 0);
    }
    assert_int_equal(rtd_maps_copy(maps, &seen), 0);
    assert_int_equal(seen.site_count, RTD_MAPPING_SITES_MAX);
    assert_int_equal(seen.sites[0].stack, 0);
    assert_int_equal(seen.sites[0].figures.calls, RTD_MAPPING_SITES_MAX + 1);
    for (uint32_t i = 0; i < seen.site_count; i++)
        live += seen.sites[i].figures.live_bytes;
    assert_int_equal(live, seen.total.live_bytes);
    rtd_mappings_fini(&seen);
    rtd_maps_free(maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_page_array),
        cmocka_unit_test(a_hole_in_the_middle_makes_two_pieces),
        cmocka_unit_test(a_break_that_grows_in_steps_stays_one_piece),
        cmocka_unit_test(ranges_outside_the_address_space_are_refused_or_cut),
        cmocka_unit_test(the_list_is_bounded_and_what_does_not_fit_is_counted),
        cmocka_unit_test(sites_beyond_the_table_share_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
