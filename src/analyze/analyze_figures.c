// SPDX-License-Identifier: Apache-2.0
/*
 * analyze_figures.c - see analyze_figures.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure
 * Allocates:  never
 * Fails:      never
 */
#include "analyze/analyze_figures.h"

#include "analyze/analyze_counts.h"
#include "base/base_math.h"

#include <math.h>

double rtd_figures_probability(const struct rtd_image *image, const struct rtd_image_sample *sample)
{
    if (image->exact)
        return image->exact->block_share > 0.0 ? image->exact->block_share : 1.0;
    return rtd_math_one_minus_exp_neg(((double)sample->size + 1.0) / (double)sample->interval);
}

double rtd_figures_unit_bytes(const struct rtd_image *image)
{
    if (image->exact)
        return 0.0;
    return ldexp((double)image->interval_bytes, (int)(image->storage_shift & 31));
}

/* The largest interval at which a live sample may have been thinned away; 0 when none was. */
static double thinned_interval(const struct rtd_image *image)
{
    double largest = rtd_figures_unit_bytes(image);
    if (image->loss[RTD_LOSS_SAMPLES_THINNED] == 0)
        return 0.0;
    /* The storage interval falls again when the crowd is gone; what survived it tells. */
    for (uint32_t i = 0; i < image->sample_count; i++)
        largest = fmax(largest, (double)image->samples[i].interval);
    return largest;
}

/* What a live block of the site's mean size would weigh that thinning at `interval` removed. */
static void expect_thinned(const struct rtd_image_site *site, double interval,
                           struct rtd_figures *out)
{
    if (!(interval > 0.0) || !(site->birth_count > 0.0))
        return;
    const double size = fmax(0.0, site->birth_bytes / site->birth_count);
    const double probability = rtd_math_one_minus_exp_neg((size + 1.0) / interval);
    const double missed = (1.0 - probability) / probability;
    rtd_weight_expect(&out->live_bytes, size * missed);
    rtd_weight_expect(&out->live_blocks, missed);
}

/* Allocated figures from the site's own cumulative sums. */
static void measure_births(const struct rtd_image *image, const struct rtd_image_site *site,
                           struct rtd_figures *out)
{
    const double interval = (double)image->interval_bytes;
    out->allocated_bytes =
        rtd_weight_from_totals(site->birth_bytes, site->birth_bytes_var, site->births, interval);
    out->allocations =
        rtd_weight_from_totals(site->birth_count, site->birth_count_var, site->births, 0.0);
    /* The births tell what a live block would weigh that no live sample shows. */
    const double thinning = interval > 0.0 ? rtd_figures_unit_bytes(image) / interval : 1.0;
    rtd_weight_expect(&out->live_bytes, out->allocated_bytes.max_weight * thinning);
    rtd_weight_expect(&out->live_blocks, out->allocations.max_weight * thinning);
}

static uint64_t round_figure(double x)
{
    return x > 0.0 && x < 9.0e15 ? (uint64_t)(x + 0.5) : 0;
}

/*
 * Live and allocated estimate the same blocks from different samples once live samples were
 * thinned. What lives was allocated, so the smaller one gives way.
 */
static void settle_values(struct rtd_figures *figures)
{
    figures->live_bytes_value = round_figure(figures->live_bytes.total);
    figures->live_blocks_value = round_figure(figures->live_blocks.total);
    figures->allocated_bytes_value = round_figure(figures->allocated_bytes.total);
    figures->allocations_value = round_figure(figures->allocations.total);
    if (figures->allocated_bytes_value < figures->live_bytes_value)
        figures->allocated_bytes_value = figures->live_bytes_value;
    if (figures->allocations_value < figures->live_blocks_value)
        figures->allocations_value = figures->live_blocks_value;
}

void rtd_figures_measure(const struct rtd_image *image, struct rtd_figures *out)
{
    if (image->exact) {
        for (uint32_t i = 0; i < image->site_count; i++)
            rtd_counts_measure(image, i, &out[i]);
        return;
    }
    const double thinned = thinned_interval(image);
    for (uint32_t i = 0; i < image->site_count; i++) {
        out[i] = (struct rtd_figures){0};
        measure_births(image, &image->sites[i], &out[i]);
        expect_thinned(&image->sites[i], thinned, &out[i]);
    }
    for (uint32_t i = 0; i < image->sample_count; i++) {
        const struct rtd_image_sample *sample = &image->samples[i];
        const double probability = rtd_figures_probability(image, sample);
        rtd_weight_add(&out[sample->site].live_bytes, (double)sample->size, probability);
        rtd_weight_add(&out[sample->site].live_blocks, 1.0, probability);
    }
    for (uint32_t i = 0; i < image->site_count; i++)
        settle_values(&out[i]);
}

void rtd_figures_pool(struct rtd_figures *into, const struct rtd_figures *from)
{
    rtd_weight_pool(&into->live_bytes, &from->live_bytes);
    rtd_weight_pool(&into->live_blocks, &from->live_blocks);
    rtd_weight_pool(&into->allocated_bytes, &from->allocated_bytes);
    rtd_weight_pool(&into->allocations, &from->allocations);
    into->live_bytes_value += from->live_bytes_value;
    into->live_blocks_value += from->live_blocks_value;
    into->allocated_bytes_value += from->allocated_bytes_value;
    into->allocations_value += from->allocations_value;
    into->exact = from->exact;
}

/* The interval of the pooled sums, moved to the sum of the rounded values. */
static struct rtd_estimate estimate_at(const struct rtd_weight_sum *sum, uint64_t value)
{
    struct rtd_estimate out = rtd_estimate_from(sum);
    if (value >= out.value) {
        out.high += value - out.value;
    } else {
        const uint64_t less = out.value - value;
        out.low = out.low > less ? out.low - less : 0;
    }
    out.value = value;
    if (out.low > value)
        out.low = value;
    return out;
}

/* Makes the two intervals agree with live <= allocated. */
static void reconcile(struct rtd_estimate *live, struct rtd_estimate *allocated)
{
    if (live->value == 0 && live->high > allocated->high)
        live->high = allocated->high;
    if (allocated->high < live->high)
        allocated->high = live->high;
}

struct rtd_report_figures rtd_figures_finish(const struct rtd_figures *figures)
{
    if (figures->exact)
        return (struct rtd_report_figures){
            .live_bytes = rtd_estimate_exact(figures->live_bytes_value),
            .live_blocks = rtd_estimate_exact(figures->live_blocks_value),
            .allocated_bytes = rtd_estimate_exact(figures->allocated_bytes_value),
            .allocations = rtd_estimate_exact(figures->allocations_value),
        };
    struct rtd_weight_sum live_blocks = figures->live_blocks, allocations = figures->allocations;
    rtd_weight_expect_heavier(&live_blocks, live_blocks.max_weight);
    rtd_weight_expect_heavier(&allocations, HUGE_VAL);
    struct rtd_report_figures out = {
        .live_bytes = estimate_at(&figures->live_bytes, figures->live_bytes_value),
        .live_blocks = estimate_at(&live_blocks, figures->live_blocks_value),
        .allocated_bytes = estimate_at(&figures->allocated_bytes, figures->allocated_bytes_value),
        .allocations = estimate_at(&allocations, figures->allocations_value),
    };
    reconcile(&out.live_bytes, &out.allocated_bytes);
    reconcile(&out.live_blocks, &out.allocations);
    return out;
}
