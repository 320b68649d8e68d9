// SPDX-License-Identifier: Apache-2.0
/*
 * manager_names_test.c - names of any number and kind end where they should, and so do their bytes.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  for the length of a test
 * Fails:      by a failed assertion
 */
#include "manager/manager_handle.h"
#include "manager/manager_records.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

/* A manager that is nothing but records. */
static struct riptide_manager *open_records(uint64_t limit_bytes)
{
    struct riptide_manager *manager = calloc(1, sizeof *manager);
    assert_non_null(manager);
    manager->records = rtd_records_new(limit_bytes, NULL);
    assert_non_null(manager->records);
    return manager;
}

static void close_records(struct riptide_manager *manager)
{
    rtd_records_free(manager->records);
    free(manager);
}

static struct riptide_record_totals totals_of(struct riptide_manager *manager)
{
    struct riptide_record_totals totals = {.size = sizeof totals};
    assert_int_equal(riptide_records_read(manager, &totals), 0);
    return totals;
}

/* Any number that is no address of this process. */
static const void *block_at(uint64_t number)
{
    return (const void *)(uintptr_t)(0x100000 + number * 16);
}

static void a_million_names_end_in_other_and_the_totals_stay_right(void **state)
{
    (void)state;
    enum { NAMES = 1000000 };
    struct riptide_manager *manager = open_records(10 * MIB);
    struct rtd_image *image = rtd_image_new();
    char name[32];
    for (uint32_t i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "component-%u", i);
        struct riptide_allocation allocation = {
            .size = sizeof allocation, .size_bytes = 2, .component = name, .operation = "op"};
        riptide_record_allocation(manager, &allocation);
    }
    const struct riptide_record_totals totals = totals_of(manager);
    assert_int_equal(totals.allocations, NAMES);
    assert_int_equal(totals.live_bytes, 2 * NAMES);
    assert_int_equal(totals.names_in_other, NAMES - 495);
    assert_true(totals.memory_bytes <= 10 * MIB);
    assert_int_equal(rtd_records_image(manager->records, 0, image), 0);
    uint64_t other = 0, sum = 0;
    for (uint32_t i = 0; i < image->site_count; i++) {
        sum += image->exact->counts[i].live_bytes;
        if (image->sites[i].tag == RTD_TAG_OTHER)
            other += image->exact->counts[i].live_bytes;
    }
    assert_int_equal(sum, 2 * NAMES);
    assert_int_equal(other, 2 * (NAMES - 495));
    /* Of a component that "other" took, "other" gives back. */
    assert_int_equal(riptide_record_deallocation(manager, "component-999999", 2), 0);
    assert_int_equal(totals_of(manager).over_released_bytes, 0);
    rtd_image_free(image);
    close_records(manager);
}

static void names_of_any_kind_are_kept_clean_and_short(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct rtd_image *image = rtd_image_new();
    const size_t length = 10 << 20;
    char *huge = malloc(length + 1);
    memset(huge, 'x', length);
    huge[length] = '\0';
    const uint32_t long_tag = riptide_intern(manager, huge, huge);
    assert_int_equal(riptide_intern(manager, huge, huge), long_tag);
    huge[59] = '\0';
    assert_int_equal(riptide_intern(manager, huge, huge), long_tag);
    const uint32_t bad = riptide_intern(manager, "a\xff\x1b[31m", "b\n");
    assert_int_equal(riptide_intern(manager, "a??[31m", "b?"), bad);
    const uint32_t none = riptide_intern(manager, NULL, NULL);
    assert_int_equal(riptide_intern(manager, "", ""), none);
    /* A character of two bytes at the cut is left out, not halved. */
    memset(huge, 'y', 58);
    memcpy(huge + 58, "\xc3\xa4", 3);
    const uint32_t cut = riptide_intern(manager, huge, "");
    huge[58] = '\0';
    assert_int_equal(riptide_intern(manager, huge, ""), cut);
    riptide_record_bytes(manager, bad, 1);
    assert_int_equal(rtd_records_image(manager->records, 0, image), 0);
    assert_string_equal(image->tags[bad].component, "a??[31m");
    assert_string_equal(image->tags[bad].operation, "b?");
    free(huge);
    rtd_image_free(image);
    close_records(manager);
}

static void domains_have_records_of_their_own(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct rtd_image *image = rtd_image_new();
    uint64_t used, reserved;
    const int gpu = riptide_domain_open(manager, "gpu");
    assert_true(gpu > 0);
    assert_int_equal(riptide_domain_open(manager, "gpu"), gpu);
    assert_int_equal(riptide_domain_open(manager, NULL), -EINVAL);
    assert_int_equal(riptide_domain_open(manager, ""), -EINVAL);
    assert_int_equal(riptide_domain_open(manager, "heap"), -EINVAL);
    const uint32_t here = riptide_intern(manager, "a", "b");
    const uint32_t there = riptide_domain_intern(manager, gpu, "a", "b");
    assert_int_not_equal(here, there);
    riptide_record_bytes(manager, here, 10);
    riptide_record_bytes(manager, there, 300);
    assert_int_equal(riptide_record_deallocation(manager, "a", 4), 0);
    for (unsigned domain = 0; domain < 2; domain++) {
        assert_int_equal(rtd_records_image(manager->records, domain, image), 0);
        uint64_t live = 0;
        for (uint32_t i = 0; i < image->site_count; i++)
            live += image->exact->counts[i].live_bytes;
        assert_int_equal(live, domain == 0 ? 6 : 300);
    }
    assert_int_equal(rtd_records_image(manager->records, 2, image), -EINVAL);
    assert_string_equal(rtd_records_domain_name(manager->records, 0), "records");
    assert_string_equal(rtd_records_domain_name(manager->records, 1), "gpu");
    assert_int_equal(rtd_records_domain_gauge(manager->records, 1, &used, &reserved), 0);
    assert_true(used == RIPTIDE_UNAVAILABLE && reserved == RIPTIDE_UNAVAILABLE);
    assert_int_equal(riptide_domain_set(manager, gpu, 5, 6), 0);
    assert_int_equal(riptide_domain_set(manager, 0, 5, 6), -EINVAL);
    assert_int_equal(riptide_domain_set(manager, 9, 5, 6), -EINVAL);
    assert_int_equal(riptide_domain_set(manager, -1, 5, 6), -EINVAL);
    assert_int_equal(rtd_records_domain_gauge(manager->records, 1, &used, &reserved), 0);
    assert_true(used == 5 && reserved == 6);
    char name[8] = "d?";
    int last = 0;
    for (char c = 'a'; c < 'a' + 14; c++) {
        name[1] = c;
        last = riptide_domain_open(manager, name);
        assert_true(last > 0);
    }
    assert_int_equal(last, 15);
    assert_int_equal(riptide_domain_open(manager, "one too many"), -ENOSPC);
    rtd_image_free(image);
    close_records(manager);
}

static void a_record_without_a_tag_goes_to_other(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    struct rtd_image *image = rtd_image_new();
    assert_int_equal(riptide_record_bytes(manager, 0, 10), 0);
    assert_int_equal(riptide_release_bytes(manager, 0, 4), 0);
    assert_int_equal(rtd_records_image(manager->records, 0, image), 0);
    for (uint32_t i = 0; i < image->site_count; i++) {
        if (image->sites[i].tag == RTD_TAG_OTHER && image->sites[i].births == 1)
            assert_int_equal(image->exact->counts[i].live_bytes, 6);
    }
    assert_int_equal(totals_of(manager).live_bytes, 6);
    rtd_image_free(image);
    close_records(manager);
}

static void a_record_without_a_tag_charges_the_scope_in_force(void **state)
{
    (void)state;
    struct riptide_manager *manager = open_records(10 * MIB);
    {
        RIPTIDE_SCOPE("extraction", "parse_html");
        assert_int_equal(riptide_record_bytes(manager, 0, 10), 0);
        assert_int_equal(riptide_record_block(manager, 0, block_at(1), 5, 0), 0);
    }
    assert_int_equal(riptide_record_bytes(manager, 0, 100), 0);
    /* It is the pair of the same names. */
    const uint32_t tag = riptide_intern(manager, "extraction", "parse_html");
    assert_int_equal(riptide_release_bytes(manager, tag, 10), 0);
    assert_int_equal(totals_of(manager).over_released_bytes, 0);
    assert_int_equal(riptide_release_bytes(manager, tag, 1), 0);
    assert_int_equal(totals_of(manager).over_released_bytes, 1);
    assert_int_equal(totals_of(manager).live_bytes, 105);
    close_records(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_names_end_in_other_and_the_totals_stay_right),
        cmocka_unit_test(names_of_any_kind_are_kept_clean_and_short),
        cmocka_unit_test(domains_have_records_of_their_own),
        cmocka_unit_test(a_record_without_a_tag_goes_to_other),
        cmocka_unit_test(a_record_without_a_tag_charges_the_scope_in_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
