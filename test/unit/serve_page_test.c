// SPDX-License-Identifier: Apache-2.0
/*
 * serve_page_test.c - the first page shows what it must and lets nothing hostile through.
 *
 * Runs in:    unit tests
 * Threads:    one
 * Allocates:  yes
 * Fails:      by an assertion
 */
// clang-format off
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include "export_sample.h"
#include "serve/serve_page.h"

#include <stdlib.h>

static char *page_of(const struct rtd_report *report)
{
    struct rtd_buffer buffer;
    size_t length = 0;

    rtd_buffer_init(&buffer);
    rtd_serve_page_put(&buffer, report);
    char *const text = rtd_buffer_take(&buffer, &length);
    assert_non_null(text);
    return text;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static void page_shows_target_sites_components_leaks_and_links(void **state)
{
    static const char *const links[] = {"/metrics",       "/metrics/memory",
                                        "/metrics/leaks", "/metrics/allocations",
                                        "/api/v1/report", "/healthz"};
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const page = page_of(&sample.report);
    assert_contains(page, "./server --port 80");
    assert_contains(page, "50.5 MiB");
    assert_contains(page, "src/leak.c:42");
    assert_contains(page, "libstripped.so.2+0x1a2b");
    assert_contains(page, "high growth rate");
    assert_contains(page, "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
    assert_contains(page, "<details id=\"site-4001\">");
    assert_contains(page, "<details id=\"leak-4001\">");
    for (size_t i = 0; i < RTD_ARRAY_LENGTH(links); i++) {
        char link[64];

        snprintf(link, sizeof(link), "<a href=\"%s\">", links[i]);
        assert_contains(page, link);
    }
    free(page);
}

static void hostile_names_never_become_markup(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const page = page_of(&sample.report);
    const char *const own = strstr(page, "</script>");
    assert_non_null(own);
    assert_null(strstr(own + 1, "</script>"));
    assert_null(strstr(page, "<b>&"));
    assert_null(strstr(page, "evil\""));
    assert_null(strchr(page, '\x1b'));
    assert_null(strchr(page, '\xff'));
    assert_contains(page, "evil&#34;\\");
    free(page);
}

static void page_needs_nothing_from_elsewhere_and_no_inline_script(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    char *const page = page_of(&sample.report);
    const char *const script = strstr(page, "<script");
    assert_non_null(script);
    assert_contains(script, "<script src=\"/page.js\" defer></script>");
    assert_null(strstr(script + 1, "<script"));
    assert_null(strstr(page, "style="));
    assert_null(strstr(page, "http://"));
    assert_null(strstr(page, "https://"));
    assert_null(strstr(rtd_serve_page_style(), "url("));
    assert_null(strstr(rtd_serve_page_script(), "http"));
    assert_null(strstr(rtd_serve_page_script(), "innerHTML"));
    free(page);
}

static void a_blind_target_is_called_blind(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    sample.report.target = &sample.processes[2];
    char *const page = page_of(&sample.report);
    assert_contains(page, "<strong>Blind.</strong> the program is statically linked");
    assert_null(strstr(page, "No component meets"));
    free(page);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;

    for (; (text = strstr(text, part)); text++)
        count++;
    return count;
}

/* The same figures as heap and as a domain: the ids on the page must differ all the same. */
static void domains_stand_beside_the_heap_and_in_its_place(void **state)
{
    struct sample sample;
    (void)state;

    sample_init(&sample);
    struct rtd_report_process *const target = &sample.processes[0];
    const struct rtd_report_process seen = *target;
    const struct rtd_report_domain domains[] = {
        {"records", RTD_UNKNOWN_BYTES, RTD_UNKNOWN_BYTES, &seen},
        {"<gpu>", 1, 2, &seen},
    };
    target->domains = domains;
    target->domain_count = 2;
    char *page = page_of(&sample.report);
    assert_contains(page, "<td>server</td>");
    assert_contains(page, "<td>records:server</td>");
    assert_contains(page, "Components of the domain &#60;gpu&#62;");
    assert_contains(page, "<details id=\"leak-2-4001\">");
    assert_int_equal(count_of(page, "id=\"leak-4001\""), 1);
    assert_int_equal(count_of(page, "id=\"components\""), 1);
    free(page);
    target->heap_unseen = true;
    snprintf(target->meta.blind_reason, sizeof(target->meta.blind_reason), "not asked for");
    page = page_of(&sample.report);
    assert_contains(page, "The heap is not watched.");
    assert_contains(page, "mode off");
    assert_contains(page, "Components of the domain records");
    assert_null(strstr(page, "Live heap"));
    assert_null(strstr(page, "id=\"sites\""));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_shows_target_sites_components_leaks_and_links),
        cmocka_unit_test(hostile_names_never_become_markup),
        cmocka_unit_test(page_needs_nothing_from_elsewhere_and_no_inline_script),
        cmocka_unit_test(a_blind_target_is_called_blind),
        cmocka_unit_test(domains_stand_beside_the_heap_and_in_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
