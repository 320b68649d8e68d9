// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_leaks_test.c - the leak criteria on programs that are played through tick by tick.
 *
 * Runs in:    tests
 * Threads:    one
 * Allocates:  records and reports
 * Fails:      by a failed assertion
 *
 * Each played program allocates real sizes through the real sampler at 512 KiB; once a second the
 * image is read into the series, as the collector does.
 */
#include "analyze_image.h"

#include <math.h>

#define APP UINT64_C(0x550000000000)

enum { LEAKER = 1, CHURNER, CACHE, PROGRAM_SITES };

/* What one program does in a second: blocks of size each, kept for a number of seconds. */
struct habit {
    uint32_t site, first_second, last_second;
    uint32_t blocks;
    uint64_t size;
    uint32_t kept_seconds; /* 0 = for ever */
};

struct block {
    uint32_t site, birth_s, death_s;
    uint64_t size;
};

struct play {
    struct made made;
    struct block *blocks; /* sampled ones only */
    uint32_t block_count, block_room;
    uint64_t random, left;
};

static struct play play_new(void)
{
    struct play play = {.made = made_new(524288), .random = 77};
    play.block_room = 200000;
    play.blocks = calloc(play.block_room, sizeof *play.blocks);
    assert_non_null(play.blocks);
    made_module(&play.made, "", APP, 0);
    const uint32_t tags[] = {0, made_tag(&play.made, "extraction", "parse_html"),
                             made_tag(&play.made, "renderer", "draw"),
                             made_tag(&play.made, "cache", "store")};
    for (uint32_t i = 1; i < PROGRAM_SITES; i++) {
        const uint64_t pcs[] = {APP + 0x100 * i + 1, APP + 1, 0};
        made_site(&play.made, made_stack(&play.made, 0, pcs), tags[i]);
    }
    play.left = rtd_random_distance(&play.random, 524288.0);
    return play;
}

static void play_free(struct play *play)
{
    free(play->blocks);
    made_free(&play->made);
}

static void act(struct play *play, const struct habit *habit, uint32_t second)
{
    for (uint32_t i = 0; i < habit->blocks; i++) {
        if (play->left >= habit->size + 1) {
            play->left -= habit->size + 1;
            continue;
        }
        play->left = rtd_random_distance(&play->random, 524288.0);
        assert_true(play->block_count < play->block_room);
        play->blocks[play->block_count++] = (struct block){
            habit->site, second, habit->kept_seconds ? second + habit->kept_seconds : UINT32_MAX,
            habit->size};
    }
}

/* Rebuilds the image as of the end of this second. */
static void show(struct play *play, uint32_t second)
{
    struct rtd_image *image = play->made.image;
    image->sample_count = 0;
    image->clock_ms = (uint64_t)second * 1000 + 999;
    for (uint32_t i = 1; i < PROGRAM_SITES; i++) {
        const uint32_t stack = image->sites[i].stack, tag = image->sites[i].tag;
        image->sites[i] = (struct rtd_image_site){.stack = stack, .tag = tag};
    }
    for (uint32_t i = 0; i < play->block_count; i++) {
        const struct block *block = &play->blocks[i];
        made_birth(&play->made, block->site, block->size, block->birth_s * 1000,
                   block->death_s > second);
    }
    assert_int_equal(rtd_series_add(&play->made.record->series, image), 0);
}

static struct rtd_report *play_through(struct play *play, const struct habit *habits,
                                       uint32_t habit_count, uint32_t seconds)
{
    for (uint32_t second = 0; second < seconds; second++) {
        for (uint32_t i = 0; i < habit_count; i++) {
            if (second >= habits[i].first_second && second < habits[i].last_second)
                act(play, &habits[i], second);
        }
        show(play, second);
    }
    return made_report(&play->made, NULL);
}

static bool has_reason(const struct rtd_report_leak *leak, const char *reason)
{
    for (uint32_t i = 0; i < leak->reason_count; i++) {
        if (strcmp(leak->reasons[i], reason) == 0)
            return true;
    }
    return false;
}

static const struct habit CHURN = {CHURNER, 0, 1000, 800, 65536, 1};
static const struct habit BOUNDED = {CACHE, 0, 6, 1000, 4096, 0};

static void the_leaking_component_is_named_and_the_others_are_not(void **state)
{
    (void)state;
    struct play play = play_new();
    const struct habit habits[] = {{LEAKER, 0, 1000, 1024, 1024, 0}, CHURN, BOUNDED};
    struct rtd_report *report = play_through(&play, habits, 3, 60);
    const struct rtd_report_leaks *leaks = &report->target->leaks;
    assert_int_equal(leaks->potential_leak_count, 1);
    const struct rtd_report_leak *leak = &leaks->potential_leaks[0];
    assert_string_equal(leak->component, "extraction");
    assert_string_equal(leaks->highest_risk_component, "extraction");
    assert_int_equal(leak->site, play.made.image->sites[LEAKER].stack);
    assert_ptr_equal(leak->site_ref->component, leak->component);
    assert_true(has_reason(leak, "high_growth_rate"));
    assert_true(has_reason(leak, "large_live_size"));
    assert_true(has_reason(leak, "small_allocation_accumulation"));
    assert_true(has_reason(leak, "peak_growth"));
    /* 1 MiB a second. */
    assert_true(leak->growth_rate > 2700.0 * 1048576.0 && leak->growth_rate < 4500.0 * 1048576.0);
    assert_true(leaks->growth_rate_mb_per_hour > 2700.0 && leaks->growth_rate_mb_per_hour < 4500.0);
    assert_true(leak->average_size_bytes > 1000.0 && leak->average_size_bytes < 1050.0);
    assert_true(leak->last_seen_unix_ns > leak->first_seen_unix_ns);
    assert_true(leaks->pattern_count >= 1);
    assert_non_null(strstr(leaks->suspicious_patterns[0], "extraction"));
    rtd_report_free(report);
    play_free(&play);
}

static void steady_programs_have_no_potential_leaks(void **state)
{
    static const struct habit programs[][3] = {
        {{CHURNER, 0, 1000, 800, 65536, 1}},
        {{CACHE, 0, 6, 4000, 4096, 0}, {CHURNER, 0, 1000, 800, 65536, 2}},
        /* Everything at the start, then silence. */
        {{CACHE, 0, 1, 64, 1u << 20, 0}},
        /* A cache that lives by turnover: 20 s each. */
        {{CACHE, 0, 1000, 1500, 4096, 20}},
        /* Large buffers that are freed again. */
        {{CHURNER, 0, 1000, 8, 4u << 20, 3}},
        {{LEAKER, 0, 1000, 3, 16, 0}},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        struct play play = play_new();
        struct rtd_report *report = play_through(&play, programs[i], 3, 90);
        if (report->target->leaks.potential_leak_count != 0)
            fail_msg("program %u: %s (%s)", i, report->target->leaks.potential_leaks[0].component,
                     report->target->leaks.potential_leaks[0].reasons[0]);
        assert_null(report->target->leaks.highest_risk_component);
        assert_int_equal(report->target->leaks.pattern_count, 0);
        assert_true(report->target->leaks.growth_rate_mb_per_hour == 0.0);
        rtd_report_free(report);
        play_free(&play);
    }
}

static void a_sawtooth_is_no_leak(void **state)
{
    (void)state;
    for (uint32_t period = 7; period < 45; period += 9) {
        struct play play = play_new();
        for (uint32_t second = 0; second < 90; second++) {
            const struct habit fill = {CACHE, 0, 1000, 500, 4096, period - second % period};
            act(&play, &fill, second);
            show(&play, second);
        }
        struct rtd_report *report = made_report(&play.made, NULL);
        if (report->target->leaks.potential_leak_count != 0)
            fail_msg("period %u", period);
        rtd_report_free(report);
        play_free(&play);
    }
}

static void a_leak_behind_a_busy_neighbour_of_its_component_is_found(void **state)
{
    (void)state;
    struct play play = play_new();
    /* Both sites under one tag. */
    play.made.image->sites[LEAKER].tag = play.made.image->sites[CHURNER].tag;
    const struct habit habits[] = {{LEAKER, 0, 1000, 512, 1024, 0},
                                   {CHURNER, 0, 1000, 400, 262144, 1}};
    struct rtd_report *report = play_through(&play, habits, 2, 90);
    assert_int_equal(report->target->leaks.potential_leak_count, 1);
    assert_int_equal(report->target->leaks.potential_leaks[0].site,
                     play.made.image->sites[LEAKER].stack);
    rtd_report_free(report);
    play_free(&play);
}

static void frequent_large_blocks_that_stay_are_a_pattern(void **state)
{
    (void)state;
    struct play play = play_new();
    const struct habit habits[] = {{LEAKER, 0, 1000, 1, 2u << 20, 0}};
    struct rtd_report *report = play_through(&play, habits, 1, 60);
    const struct rtd_report_leaks *leaks = &report->target->leaks;
    bool found = false;
    for (uint32_t i = 0; i < leaks->pattern_count; i++)
        found |= strstr(leaks->suspicious_patterns[i], "large") != NULL;
    assert_true(found);
    rtd_report_free(report);
    play_free(&play);
}

static void a_short_run_says_nothing_until_time_is_scaled(void **state)
{
    (void)state;
    struct play play = play_new();
    const struct habit habits[] = {{LEAKER, 0, 1000, 8192, 1024, 0}};
    struct rtd_report *report = play_through(&play, habits, 1, 9);
    assert_int_equal(report->target->leaks.potential_leak_count, 0);
    rtd_report_free(report);
    const struct rtd_process_record *const list[] = {play.made.record};
    const struct rtd_report_input input = {
        .process_count = 1, .processes = list, .note = "", .time_scale = 60.0};
    report = rtd_report_new(&input);
    assert_non_null(report);
    assert_int_equal(report->target->leaks.potential_leak_count, 1);
    /* 8 MiB in a second that counts as a minute. */
    const double rate = report->target->leaks.growth_rate_mb_per_hour;
    assert_true(rate > 480.0 * 0.7 && rate < 480.0 * 1.3);
    rtd_report_free(report);
    play_free(&play);
}

static void a_broken_series_is_not_judged(void **state)
{
    (void)state;
    struct play play = play_new();
    const struct habit habits[] = {{LEAKER, 0, 1000, 1024, 1024, 0}};
    rtd_report_free(play_through(&play, habits, 1, 60));
    struct rtd_site_series *series = &play.made.record->series;
    for (uint32_t i = 0; i < RTD_SERIES_POINTS; i += 3)
        series->rows[0].live_bytes[i] = (float)NAN;
    rtd_report_free(made_report(&play.made, NULL));
    series->times_ms[5] = series->times_ms[4];
    struct rtd_report *report = made_report(&play.made, NULL);
    assert_int_equal(report->target->leaks.potential_leak_count, 0);
    rtd_report_free(report);
    series->point_count = 5000;
    rtd_report_free(made_report(&play.made, NULL));
    play_free(&play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_leaking_component_is_named_and_the_others_are_not),
        cmocka_unit_test(steady_programs_have_no_potential_leaks),
        cmocka_unit_test(a_sawtooth_is_no_leak),
        cmocka_unit_test(a_leak_behind_a_busy_neighbour_of_its_component_is_found),
        cmocka_unit_test(frequent_large_blocks_that_stay_are_a_pattern),
        cmocka_unit_test(a_short_run_says_nothing_until_time_is_scaled),
        cmocka_unit_test(a_broken_series_is_not_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
