/* SPDX-License-Identifier: MIT */
/* vgpuctl attach and detach: what they ask for, and each refusal. */
#include "tools_tests.h"

#include <string.h>

#define CTL(...) RUN("vgpuctl", "--control", "%/control.sock", ##__VA_ARGS__)
#define SAYS(text)                                                                                 \
    ck_assert_msg(strstr(tools_out, text) != NULL, "'%s' does not say '%s'", tools_out, text)

START_TEST(attach_asks_for_what_was_given_and_waits)
{
    peer_start(PEER_LATE);
    ck_assert_msg(!CTL("attach", "--domid", "3", "--executor", "cuda", "--slot", "0x11", "--memory",
                       "8G", "--name", "blue", "--set", "device=GPU-1,deadline=30s"),
                  "%s", tools_out);
    SAYS("blue");
    SAYS("yes");
    ck_assert_str_eq(peer_requests(),
                     "attach name=blue,xen=3,executor=cuda,slot=0x11,memory=8G,device=GPU-1,"
                     "deadline=30s\nlist blue\nlist blue\nlist blue\nlist blue\n");
}
END_TEST

START_TEST(what_is_not_given_has_a_default)
{
    peer_start(PEER_SERVE);
    ck_assert_msg(!CTL("--json", "attach", "--domid", "3", "--executor", "cpu"), "%s", tools_out);
    SAYS("\"attached\":true");
    ck_assert_str_eq(peer_requests(), "attach name=xen-3,xen=3,executor=cpu\n");
}
END_TEST

START_TEST(detach_names_the_domain)
{
    peer_start(PEER_SERVE);
    ck_assert_msg(!CTL("detach", "--domid", "32751"), "%s", tools_out);
    ck_assert_str_eq(peer_requests(), "detach 32751\n");
}
END_TEST

START_TEST(what_vgpud_refuses_is_said_in_its_words)
{
    peer_start(PEER_REFUSE);
    ck_assert_int_eq(CTL("attach", "--domid", "7", "--executor", "cpu"), 1);
    ck_assert_str_eq(tools_out, "vgpuctl: " PEER_REFUSAL "\n");
}
END_TEST

START_TEST(nobody_there_is_said)
{
    ck_assert_int_eq(CTL("attach", "--domid", "7", "--executor", "cpu"), 1);
    SAYS("control.sock: No such file or directory");
    ck_assert_int_eq(CTL("list"), 1);
    SAYS("control.sock: No such file or directory");
}
END_TEST

static const struct {
    const char *words[8];
    const char *says;
} wrong[] = {
    {{"attach"}, "--domid is missing"},
    {{"detach"}, "--domid is missing"},
    {{"attach", "--domid", "3"}, "--executor is missing: cpu, cuda or null"},
    {{"attach", "--domid", "0", "--executor", "cpu"}, "--domid 0 is no guest's domain id"},
    {{"attach", "--domid", "-3", "--executor", "cpu"}, "--domid -3 is no guest's domain id"},
    {{"attach", "--domid", "3x", "--executor", "cpu"}, "--domid 3x is no guest's domain id"},
    {{"attach", "--domid", "32752", "--executor", "cpu"}, "--domid 32752 is no guest's"},
    {{"attach", "d1", "--domid", "3", "--executor", "cpu"}, "Usage: "},
    {{"detach", "--domid", "3", "--slot", "4"}, "detach takes --domid only"},
    {{"list", "--domid", "3"}, "Usage: "},
    {{"stats", "--executor", "cpu"}, "Usage: "},
    {{"version", "now"}, "Usage: "},
    {{"dance"}, "Usage: "},
};

START_TEST(wrong_usage_is_explained)
{
    const char *words[10] = {"--control", "%/control.sock"};

    memcpy(words + 2, wrong[_i].words, sizeof(wrong[_i].words));
    ck_assert_int_eq(tools_run("vgpuctl", words), 2);
    SAYS(wrong[_i].says);
}
END_TEST

START_TEST(options_of_any_length_are_survived)
{
    static char set[1000];

    memset(set, 'x', sizeof(set) - 100);
    ck_assert_int_eq(CTL("attach", "--domid", "3", "--executor", "cpu", "--set", set), 2);
    SAYS("too long");
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vgpuctl_suite(void)
{
    Suite *s = suite_create("tools/vgpuctl");
    TCase *tc = tcase_create("vgpuctl");

    tcase_add_checked_fixture(tc, tools_setup, tools_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, attach_asks_for_what_was_given_and_waits);
    tcase_add_test(tc, what_is_not_given_has_a_default);
    tcase_add_test(tc, detach_names_the_domain);
    tcase_add_test(tc, what_vgpud_refuses_is_said_in_its_words);
    tcase_add_test(tc, nobody_there_is_said);
    tcase_add_loop_test(tc, wrong_usage_is_explained, 0, ROWS(wrong));
    tcase_add_test(tc, options_of_any_length_are_survived);
    suite_add_tcase(s, tc);
    return s;
}
