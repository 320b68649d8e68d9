// SPDX-License-Identifier: Apache-2.0
/*
 * serve_script.c - the script of the first page: new figures without a new page.
 *
 * Runs in:    collector, report, a program that links libriptide
 * Threads:    constant
 * Allocates:  never
 * Fails:      never
 *
 * The script takes the page again and exchanges its parts, so that there is one rendering of the
 * figures, on the server. What a reader has opened, scrolled, focused or selected stays. When the
 * page cannot be had any more, the last figures stay and a line says so.
 *
 * Why it cannot run a name from the target: it makes no markup from text, the parser it uses runs
 * no scripts, and the content policy admits this file only.
 */
#include "serve/serve_page.h"

static const char script[] =
    "'use strict';\n"
    "(() => {\n"
    "  const PERIOD_MS = 5000, TIMEOUT_MS = 10000;\n"
    "  const parts = ['header', 'main', 'footer'];\n"
    "  let timer = 0;\n"
    "\n"
    "  const all = (selector) => Array.from(document.querySelectorAll(selector));\n"
    "  const selecting = () => {\n"
    "    const selection = window.getSelection();\n"
    "    return selection !== null && !selection.isCollapsed;\n"
    "  };\n"
    "\n"
    "  function exchange(fresh) {\n"
    "    const open = all('details[open]').map((details) => details.id);\n"
    "    const scrolled = all('.scroll').map((box) => [box.id, box.scrollLeft]);\n"
    "    const focused = document.activeElement && document.activeElement.closest('details');\n"
    "    const focusedId = focused ? focused.id : '';\n"
    "    for (const part of parts) {\n"
    "      const from = fresh.querySelector(part), to = document.querySelector(part);\n"
    "      if (from && to) to.replaceWith(document.adoptNode(from));\n"
    "    }\n"
    "    document.title = fresh.title;\n"
    "    for (const id of open) {\n"
    "      const details = document.getElementById(id);\n"
    "      if (details) details.open = true;\n"
    "    }\n"
    "    for (const [id, left] of scrolled) {\n"
    "      const box = document.getElementById(id);\n"
    "      if (box) box.scrollLeft = left;\n"
    "    }\n"
    "    const again = focusedId ? document.getElementById(focusedId) : null;\n"
    "    if (again) again.querySelector('summary').focus({preventScroll: true});\n"
    "  }\n"
    "\n"
    "  async function refresh() {\n"
    "    const lost = document.getElementById('lost');\n"
    "    window.clearTimeout(timer);\n"
    "    try {\n"
    "      if (!document.hidden && !selecting()) {\n"
    "        const signal = AbortSignal.timeout(TIMEOUT_MS);\n"
    "        const answer = await fetch('/', {cache: 'no-store', signal});\n"
    "        if (!answer.ok) throw new Error(String(answer.status));\n"
    "        const text = await answer.text();\n"
    "        exchange(new DOMParser().parseFromString(text, 'text/html'));\n"
    "        lost.hidden = true;\n"
    "      }\n"
    "    } catch (error) {\n"
    "      lost.hidden = false;\n"
    "    }\n"
    "    timer = window.setTimeout(refresh, PERIOD_MS);\n"
    "  }\n"
    "\n"
    "  document.addEventListener('visibilitychange', () => {\n"
    "    if (!document.hidden) refresh();\n"
    "  });\n"
    "  timer = window.setTimeout(refresh, PERIOD_MS);\n"
    "})();\n";

const char *rtd_serve_page_script(void)
{
    return script;
}
