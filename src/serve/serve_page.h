// SPDX-License-Identifier: Apache-2.0
/*
 * serve_page.h - the first page, rendered on the server.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    pure functions of an immutable report
 * Allocates:  the output buffer only
 * Fails:      remembered in the output buffer
 *
 * No script and no style in the markup, nothing from elsewhere: the content policy forbids all
 * three, so a hostile name from the target can never become code. The page works without a script,
 * too: then it loads itself anew.
 */
#ifndef RTD_SERVE_PAGE_H
#define RTD_SERVE_PAGE_H

#include "analyze/analyze_report.h"
#include "export/export_buffer.h"

/* The page of a report. */
void rtd_serve_page_put(struct rtd_buffer *out, const struct rtd_report *report);

/* Its style sheet; lives as long as the program. */
const char *rtd_serve_page_style(void);

/* Its icon, SVG; lives as long as the program. */
const char *rtd_serve_page_icon(void);

/* The script that keeps it up to date; lives as long as the program. */
const char *rtd_serve_page_script(void);

#endif
