// SPDX-License-Identifier: Apache-2.0
/*
 * export_forecast.c - see export_forecast.h.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 */
#include "export/export_forecast.h"

#include "base/base_macros.h"
#include "export/export_human.h"

#include <stdio.h>

enum { SENTENCE_BYTES = 512 };

/* The seed's: high and alert. */
#define PRESSURE_HIGH  0.7
#define PRESSURE_ALERT 0.8

static const char *level_of(const struct rtd_report_process *process)
{
    const struct rtd_memory_snapshot *const memory = &process->memory;
    const double pressure = memory->pressure;

    if (!memory->valid || memory->limit_bytes == 0)
        return NULL;
    return pressure > PRESSURE_ALERT ? "alert" : pressure > PRESSURE_HIGH ? "high" : "normal";
}

static void say(const struct rtd_forecast *forecast, char out[SENTENCE_BYTES])
{
    snprintf(out, SENTENCE_BYTES, "reaches the limit of %s in %s (%s to %s)",
             rtd_human_bytes(forecast->limit_bytes).text,
             rtd_human_duration(forecast->seconds).text,
             rtd_human_duration(forecast->low_seconds).text,
             rtd_human_duration(forecast->high_seconds).text);
}

static void put_known(struct rtd_json *json, const struct rtd_forecast *forecast)
{
    char sentence[SENTENCE_BYTES];

    say(forecast, sentence);
    rtd_json_object(json, "forecast");
    rtd_json_uint(json, "limit_bytes", forecast->limit_bytes);
    rtd_json_object(json, "seconds");
    rtd_json_double(json, "value", forecast->seconds);
    rtd_json_double(json, "low", forecast->low_seconds);
    rtd_json_double(json, "high", forecast->high_seconds);
    rtd_json_end(json);
    rtd_json_object(json, "bytes_per_second");
    rtd_json_double(json, "value", forecast->bytes_per_second);
    rtd_json_double(json, "low", forecast->low_bytes_per_second);
    rtd_json_double(json, "high", forecast->high_bytes_per_second);
    rtd_json_end(json);
    rtd_json_string(json, "sentence", sentence);
    rtd_json_end(json);
}

void rtd_export_put_forecast(struct rtd_json *json, const struct rtd_report_process *process)
{
    const struct rtd_forecast *const forecast = &process->forecast;

    rtd_json_string(json, "pressure_level", level_of(process));
    if (forecast->known)
        put_known(json, forecast);
    else
        rtd_json_null(json, "forecast");
    rtd_json_string(json, "forecast_reason", forecast->known ? NULL : forecast->reason);
}

void rtd_export_text_forecast(struct rtd_buffer *out, const struct rtd_report_process *process)
{
    char sentence[SENTENCE_BYTES];

    if (!process->memory.valid || process->memory.limit_bytes == 0)
        return;
    if (process->forecast.known)
        say(&process->forecast, sentence);
    else
        snprintf(sentence, sizeof(sentence), "none: %s", process->forecast.reason);
    rtd_buffer_printf(out, "  %-10s %s\n", "forecast", sentence);
}

void rtd_export_prometheus_forecast(struct rtd_buffer *out,
                                    const struct rtd_report_process *process)
{
    const struct rtd_forecast *const forecast = &process->forecast;
    const struct {
        const char *bound;
        double seconds;
    } rows[] = {{"estimate", forecast->seconds},
                {"low", forecast->low_seconds},
                {"high", forecast->high_seconds}};

    if (!forecast->known)
        return;
    rtd_buffer_puts(out, "# HELP riptide_memory_limit_reached_seconds Until the limit of memory is "
                         "reached at the present pace, and its 95 % interval.\n"
                         "# TYPE riptide_memory_limit_reached_seconds gauge\n");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(rows); i++) {
        rtd_buffer_printf(out, "riptide_memory_limit_reached_seconds{bound=\"%s\"} ",
                          rows[i].bound);
        (void)rtd_buffer_put_double(out, rows[i].seconds);
        rtd_buffer_putc(out, '\n');
    }
}
