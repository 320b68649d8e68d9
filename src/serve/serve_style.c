// SPDX-License-Identifier: Apache-2.0
/*
 * serve_style.c - the style sheet of the first page, and its icon.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    constant
 * Allocates:  never
 * Fails:      never
 */
#include "serve/serve_page.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b2126;--soft:#5b6770;--paper:#f6f7f8;--card:#fff;"
    "--line:#dde2e6;--link:#0a5bb5;--warn:#b3261e;--warn-paper:#fdecea}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e4e8eb;--soft:#97a3ac;--paper:#14181b;"
    "--card:#1d2226;--line:#313940;--link:#7db4f5;--warn:#ff9b93;--warn-paper:#3a1d1b}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1.5rem;max-width:76rem;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
    "h1{font-size:1.25rem;margin:0;overflow-wrap:anywhere}\n"
    "h2{font-size:1rem;margin:2rem 0 .5rem}\n"
    "p{margin:.25rem 0}\n"
    "a{color:var(--link)}\n"
    "nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.75rem 0;font-size:.9rem}\n"
    ".soft{color:var(--soft)}\n"
    ".warn{margin:.75rem 0;padding:.6rem .9rem;border-left:4px solid var(--warn);"
    "background:var(--warn-paper);border-radius:4px;overflow-wrap:anywhere}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;"
    "margin:1rem 0;padding:0;list-style:none}\n"
    ".cards li{background:var(--card);border:1px solid var(--line);border-radius:8px;"
    "padding:.7rem .9rem}\n"
    ".cards b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}\n"
    ".cards span{color:var(--soft);font-size:.85rem}\n"
    ".scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);"
    "border-radius:8px}\n"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}\n"
    "th,td{padding:.4rem .7rem;text-align:left;border-bottom:1px solid var(--line);"
    "vertical-align:top}\n"
    "tr:last-child td{border-bottom:0}\n"
    "th{color:var(--soft);font-weight:600;white-space:nowrap}\n"
    "td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    "td.wide{min-width:18rem;overflow-wrap:anywhere}\n"
    "code{font:.85rem/1.4 ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}\n"
    "meter{width:6rem;height:.7rem;vertical-align:middle}\n"
    "details ol{margin:.3rem 0 .3rem 1.2rem;padding:0}\n"
    "summary{cursor:pointer;color:var(--soft);font-size:.85rem}\n"
    "footer{margin-top:2rem;color:var(--soft);font-size:.85rem}\n"
    /* A narrow window: the place first, in full, and the figures in lines below it. */
    "@media (max-width:40rem){body{padding:1rem}\n"
    "#sites table,#sites tbody,#leaks table,#leaks tbody{display:block}\n"
    "#sites thead,#leaks thead{display:none}\n"
    "#sites tr,#leaks tr{display:flex;flex-wrap:wrap;gap:.1rem .9rem;padding:.6rem .8rem;"
    "border-bottom:1px solid var(--line)}\n"
    "#sites tr:last-child,#leaks tr:last-child{border-bottom:0}\n"
    "#sites td,#leaks td{border:0;padding:0;text-align:left}\n"
    "#sites td.wide,#leaks td.wide{order:-1;flex:1 0 100%;min-width:0}\n"
    "#sites td:nth-child(1)::after,#leaks td:nth-child(2)::after{content:' live'}\n"
    "#sites td:nth-child(4)::after,#leaks td:nth-child(3)::after{content:' blocks'}\n"
    "#sites td:nth-child(5)::after{content:' allocated'}}\n";

static const char icon[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\">"
    "<rect width=\"16\" height=\"16\" rx=\"3\" fill=\"#0a5bb5\"/>"
    "<path d=\"M1 6q3.5-4 7 0t7 0M1 11q3.5-4 7 0t7 0\" fill=\"none\" stroke=\"#fff\" "
    "stroke-width=\"2\"/></svg>\n";

const char *rtd_serve_page_style(void)
{
    return style;
}

const char *rtd_serve_page_icon(void)
{
    return icon;
}
