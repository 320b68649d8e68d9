// SPDX-License-Identifier: Apache-2.0
/*
 * serve_action_test.c - who may have an action done, and what is answered.
 *
 * Runs in:    test process
 * Threads:    one
 * Allocates:  answers
 * Fails:      by a failed assertion
 */
#include "serve/serve_action.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOKEN "0123456789abcdef"

static int outcome;
static unsigned runs;
static uint32_t asked_pid;

static int run(void *context, uint32_t pid, char **text, size_t *length_bytes)
{
    runs++;
    asked_pid = pid;
    assert_ptr_equal(context, &outcome);
    if (outcome < 0)
        return outcome;
    *text = strdup("{}\n");
    *length_bytes = 3;
    return outcome;
}

static void init(struct rtd_actions *actions, const char *token)
{
    runs = 0;
    outcome = 0;
    assert_int_equal(rtd_actions_init(actions, token, run, &outcome), 0);
}

static void nobody_may_without_a_token(void **state)
{
    static const char *const headers[] = {NULL, "", "Bearer ", "Bearer " TOKEN};
    struct rtd_actions actions;
    const char *text = NULL;

    (void)state;
    init(&actions, NULL);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        assert_int_equal(rtd_action_refusal(&actions, headers[i], &text), 403);
        assert_non_null(strstr(text, "--token-file"));
    }
}

static void only_the_whole_token_is_accepted(void **state)
{
    static const char *const wrong[] = {NULL,
                                        "",
                                        "Bearer",
                                        "Bearer ",
                                        TOKEN,
                                        "Basic " TOKEN,
                                        "Bearer  " TOKEN,
                                        "Bearer " TOKEN "0",
                                        "Bearer 0123456789abcde",
                                        "Bearer 0123456789abcdeF"};
    struct rtd_actions actions;
    const char *text = NULL;

    (void)state;
    init(&actions, TOKEN);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(rtd_action_refusal(&actions, wrong[i], &text), 401);
    assert_int_equal(rtd_action_refusal(&actions, "Bearer " TOKEN, &text), 0);
    assert_int_equal(rtd_action_refusal(&actions, "bearer " TOKEN, &text), 0);
}

static void tokens_that_are_easily_guessed_or_broken_are_refused(void **state)
{
    static const char *const wrong[] = {"", "0123456789abcde", "0123456789 abcdef",
                                        "0123456789abcdef\r", "0123456789abcdef\xc3\xa9"};
    char longest[RTD_ACTION_TOKEN_MOST + 2];
    struct rtd_actions actions;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(rtd_actions_init(&actions, wrong[i], run, NULL), -EINVAL);
    memset(longest, 'x', sizeof(longest));
    longest[RTD_ACTION_TOKEN_MOST + 1] = '\0';
    assert_int_equal(rtd_actions_init(&actions, longest, run, NULL), -EINVAL);
    longest[RTD_ACTION_TOKEN_MOST] = '\0';
    assert_int_equal(rtd_actions_init(&actions, longest, run, NULL), 0);
}

static void each_outcome_has_its_status(void **state)
{
    static const struct {
        int outcome;
        unsigned status;
    } cases[] = {{0, 200}, {1, 200}, {-ESRCH, 404}, {-EBUSY, 409}, {-ETIMEDOUT, 503}};
    struct rtd_actions actions;

    (void)state;
    init(&actions, TOKEN);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = NULL;
        char *made = NULL;
        outcome = cases[i].outcome;
        assert_int_equal(rtd_action_perform(&actions, "42", &made, &text), cases[i].status);
        assert_int_equal(asked_pid, 42);
        assert_true((made != NULL) == (outcome >= 0));
        free(made);
    }
}

static void a_pid_that_is_none_runs_nothing(void **state)
{
    static const char *const wrong[] = {
        "", "0", "-1", "1x", " 1", "4194305", "18446744073709551617"};
    struct rtd_actions actions;
    const char *text = NULL;
    char *made = NULL;

    (void)state;
    init(&actions, TOKEN);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(rtd_action_perform(&actions, wrong[i], &made, &text), 400);
    assert_int_equal(runs, 0);
}

static void a_second_action_is_sent_away(void **state)
{
    struct rtd_actions actions;
    const char *text = NULL;
    char *made = NULL;

    (void)state;
    init(&actions, TOKEN);
    atomic_store(&actions.busy, true);
    assert_int_equal(rtd_action_perform(&actions, NULL, &made, &text), 409);
    assert_int_equal(runs, 0);
    atomic_store(&actions.busy, false);
    assert_int_equal(rtd_action_perform(&actions, NULL, &made, &text), 200);
    assert_int_equal(asked_pid, 0);
    free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_may_without_a_token),
        cmocka_unit_test(only_the_whole_token_is_accepted),
        cmocka_unit_test(tokens_that_are_easily_guessed_or_broken_are_refused),
        cmocka_unit_test(each_outcome_has_its_status),
        cmocka_unit_test(a_pid_that_is_none_runs_nothing),
        cmocka_unit_test(a_second_action_is_sent_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
