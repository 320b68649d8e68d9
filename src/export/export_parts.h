// SPDX-License-Identifier: Apache-2.0
/*
 * export_parts.h - the JSON objects that the report and the endpoints share.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * Why shared: "memory", "leaks" and "allocations" in riptide.report/1 are by contract the very
 * objects that /metrics/memory, /metrics/leaks and /metrics/allocations answer.
 */
#ifndef RTD_EXPORT_PARTS_H
#define RTD_EXPORT_PARTS_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/*
 * Each writes one object under key (NULL: as an element or outermost value). process is borrowed
 * for the call. Figures that are not known - those of a blind process, or memory that was never
 * read - are null, so that nobody takes them for zero; leaks and allocations also say why.
 *
 * Of a process with domains, memory lists what they hold, and leaks and allocations speak of them,
 * too, in the order and by the names of analyze_views.h; each entry says its "domain" then.
 */
void rtd_export_put_memory(struct rtd_json *json, const char *key,
                           const struct rtd_report_process *process);
void rtd_export_put_leaks(struct rtd_json *json, const char *key,
                          const struct rtd_report_process *process);
void rtd_export_put_allocations(struct rtd_json *json, const char *key,
                                const struct rtd_report_process *process);

/* {"value", "low", "high"}, in the unit of the estimate (bytes or a count). */
void rtd_export_put_estimate(struct rtd_json *json, const char *key, struct rtd_estimate estimate);

/* The four figures as members of the object that is open. */
void rtd_export_put_figures(struct rtd_json *json, const struct rtd_report_figures *figures);

/* Array of {"component", "name", figures}. */
void rtd_export_put_operations(struct rtd_json *json, const char *key,
                               const struct rtd_report_process *process);

/* Members of a site's open object: id, place, owner, stack, and the four figures. */
void rtd_export_put_site_head(struct rtd_json *json, const struct rtd_report_site *site);

/* The domain of mappings as an object, with that many sites at most. */
void rtd_export_put_mappings(struct rtd_json *json, const char *key,
                             const struct rtd_report_process *process, uint32_t most);

/* The domains as an array, each with its figures, sites, owners, leaks and allocations. */
void rtd_export_put_domains(struct rtd_json *json, const char *key,
                            const struct rtd_report_process *process);

/* Members "totals", "sites" (that many at most) and "components" of the object that is open. */
void rtd_export_put_totals(struct rtd_json *json, const struct rtd_report_process *process);
void rtd_export_put_sites(struct rtd_json *json, const struct rtd_report_process *process,
                          uint32_t most);
void rtd_export_put_components(struct rtd_json *json, const struct rtd_report_process *process);

/* A figure, or null where it is not known. */
void rtd_export_put_known(struct rtd_json *json, const char *key, bool known, uint64_t value);

/* RFC 3339; null for 0. */
void rtd_export_put_time(struct rtd_json *json, const char *key, uint64_t unix_ns);

#endif
