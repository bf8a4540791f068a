/* SPDX-License-Identifier: MIT */
/*
 * vgpu-dm as a process: what becomes of it against each kind of vgpud, and what QEMU gets.
 * The vgpud is a scripted peer, or a script where vgpu-dm is to start one; that it serves a real domain is
 * tested on Xen.
 */
#include "tools_tests.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DM(options, ...)                                                                           \
    RUN("vgpu-dm", "-xen-domid", "7", "-name", "d1", "-vgpu", options, ##__VA_ARGS__)
#define GOOD "executor=cpu,control=%/control.sock,qemu=%/qemu,log=%/vgpud.log,vgpud=%/vgpud"

#define SAYS(text)                                                                                 \
    ck_assert_msg(strstr(tools_out, text) != NULL, "'%s' does not say '%s'", tools_out, text)

static void setup(void)
{
    tools_setup();
    tools_script("qemu",
                 "printf '%s\\n' \"$@\" >qemu.args; [ -e /proc/$$/fd/19 ] && echo yes >fd19\n"
                 "echo \"$XEN_DOMAIN_ID\" >qemu.env; exit 42");
}

/* ---- A vgpud that runs ---- */

START_TEST(qemu_gets_the_other_words_the_descriptors_and_the_environment)
{
    int fd = open("/dev/null", O_RDONLY);

    ck_assert_int_eq(dup2(fd, 19), 19); /* as libxl passes its QMP socket */
    setenv("XEN_DOMAIN_ID", "7", 1);
    peer_start(PEER_SERVE);
    ck_assert_msg(DM(GOOD, "-m", "16") == 42, "%s", tools_out);
    close(19);
    ck_assert_str_eq(tools_text("qemu.args"), "-xen-domid\n7\n-name\nd1\n-m\n16\n");
    ck_assert_str_eq(tools_text("fd19"), "yes\n");
    ck_assert_str_eq(tools_text("qemu.env"), "7\n");
    ck_assert_str_eq(peer_requests(), "version\nattach xen=7,name=xen-7,executor=cpu\n");
    SAYS("domain 7 has its vGPU 'xen-7' in slot 0x10");
}
END_TEST

START_TEST(qemu_waits_until_the_device_is_registered)
{
    peer_start(PEER_LATE);
    ck_assert_msg(DM(GOOD ",name=late") == 42, "%s", tools_out);
    ck_assert_str_eq(peer_requests(), "version\nattach xen=7,executor=cpu,name=late\n"
                                      "list late\nlist late\nlist late\nlist late\n");
}
END_TEST

/* Each: how vgpud behaves, what vgpu-dm says, and whether it asks for a detach in the end. */
static const struct {
    enum peer_mode mode;
    const char *says;
    bool detaches;
} failures[] = {
    {PEER_REFUSE, "vgpu-dm: domain 7: " PEER_REFUSAL "\n", false},
    {PEER_SILENT, "no answer within", true},
    {PEER_NEVER, "has not registered its device within", true},
    {PEER_NO_VMS, "has not registered its device within", true},
    {PEER_CLOSE, "closed without an answer", false},
    {PEER_NONSENSE, "is this vgpud's socket?", false},
};

START_TEST(a_vgpud_that_fails_ends_it_without_a_qemu)
{
    peer_start(failures[_i].mode);
    ck_assert_int_eq(DM(GOOD ",timeout=1s"), 1);
    SAYS("vgpu-dm: domain 7: ");
    SAYS(failures[_i].says);
    ck_assert(!tools_exists("qemu.args"));
    ck_assert_msg(!strstr(peer_requests(), "detach 7\n") == !failures[_i].detaches, "%s",
                  peer_requests());
}
END_TEST

START_TEST(a_qemu_that_is_missing_begins_nothing)
{
    peer_start(PEER_SERVE);
    ck_assert_int_eq(DM("executor=cpu,control=%/control.sock,qemu=%/nowhere"), 1);
    SAYS("qemu=");
    SAYS("/nowhere: No such file or directory");
    ck_assert_int_eq(DM("executor=cpu,control=%/control.sock,qemu=%"), 1);
    SAYS("not a program that can be executed");
    ck_assert_str_eq(peer_requests(), "");
}
END_TEST

START_TEST(a_qemu_that_can_not_be_executed_detaches_the_domain)
{
    peer_start(PEER_SERVE);
    /* found and executable, but its interpreter is not there */
    FILE *file = fopen(in_dir("qemu"), "w");
    ck_assert_ptr_nonnull(file);
    fputs("#!/nonexistent/interpreter\n", file);
    fclose(file);
    ck_assert_int_eq(DM(GOOD), 1);
    SAYS("can't be executed: No such file or directory");
    ck_assert_ptr_nonnull(strstr(peer_requests(), "detach 7\n"));
}
END_TEST

/* ---- A vgpud that is to be started ---- */

START_TEST(no_vgpud_and_none_may_be_started)
{
    ck_assert_int_eq(DM(GOOD ",start=no"), 1);
    SAYS("no vgpud listens at ");
    SAYS("start vgpud(8)");
    ck_assert(!tools_exists("vgpud.log"));
}
END_TEST

START_TEST(a_vgpud_that_is_not_there_is_named)
{
    ck_assert_int_eq(DM(GOOD), 1);
    SAYS("vgpud=");
    SAYS("/vgpud: No such file or directory");
    ck_assert(!tools_exists("qemu.args"));
}
END_TEST

START_TEST(a_vgpud_that_ends_at_once_has_its_reason_shown)
{
    int fd = open("/dev/null", O_RDONLY);

    ck_assert_int_eq(dup2(fd, 19), 19);
    tools_script("vgpud", "echo \"args: $*\"; [ -e /proc/$$/fd/19 ] && echo has-19\n"
                          "echo vgpud: user nobody does not exist >&2; exit 1");
    ck_assert_int_eq(DM(GOOD), 1);
    close(19);
    SAYS("vgpud: user nobody does not exist\n");
    SAYS("ended at once: its reason is above");
    /* it gets the control socket, and none of QEMU's descriptors */
    SAYS("args: --no-vm --control /tmp/");
    ck_assert_ptr_null(strstr(tools_out, "has-19"));
    ck_assert_ptr_nonnull(strstr(tools_text("vgpud.log"), "user nobody does not exist"));
    /* only what was written this time is shown again */
    ck_assert_int_eq(DM(GOOD), 1);
    ck_assert_ptr_null(strstr(strstr(tools_out, "user nobody") + 1, "user nobody"));
}
END_TEST

START_TEST(a_vgpud_that_does_not_listen_in_time_is_named)
{
    tools_script("vgpud", "echo $$ >vgpud.pid; exec sleep 60");
    ck_assert_int_eq(DM(GOOD ",timeout=1s"), 1);
    SAYS("does not listen at ");
    SAYS("within 1 s: see ");
    ck_assert(!tools_exists("qemu.args"));
    pid_t pid = (pid_t)atoi(tools_text("vgpud.pid"));
    ck_assert_int_gt(pid, 1);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
}
END_TEST

START_TEST(a_folder_that_can_not_be_made_is_named)
{
    tools_script("vgpud", "exit 0");
    ck_assert_int_eq(DM("executor=cpu,control=/proc/none/control.sock,qemu=%/qemu,vgpud=%/vgpud"),
                     1);
    SAYS("control=/proc/none/control.sock: /proc/none: ");
}
END_TEST

START_TEST(a_real_vgpud_is_started_and_answers)
{
    char words[200];

    /* Nothing here is a domain: the daemon that was started says so, and goes on. */
    ck_assert_int_eq(DM("executor=null,control=%/control.sock,qemu=%/qemu,log=%/vgpud.log"), 1);
    ck_assert_ptr_null(strstr(tools_out, "ended at once"));
    SAYS("vgpu-dm: domain 7: ");
    snprintf(words, sizeof(words), "--control=%s", in_dir("control.sock"));
    ck_assert_int_eq(RUN("vgpuctl", words, "--json", "list"), 0);
    {
        const char *at = strstr(tools_out, "\"pid\":");

        ck_assert_ptr_nonnull(at);
        ck_assert_int_eq(kill((pid_t)atoi(at + 6), SIGTERM), 0);
    }
    SAYS("\"vms\":[");
}
END_TEST

/* ---- By hand ---- */

START_TEST(by_hand_it_explains_itself)
{
    ck_assert_int_eq(RUN("vgpu-dm", "--help"), 0);
    SAYS("device_model_override");
    ck_assert_int_eq(RUN("vgpu-dm", "--version"), 0);
    SAYS("vgpu-dm ");
    ck_assert_int_eq(tools_run("vgpu-dm", (const char *const[]){NULL}), 2);
    SAYS("Usage: ");
    ck_assert_int_eq(RUN("vgpu-dm", "-vgpu", "executor=cpu"), 1);
    SAYS("vgpu-dm: no -xen-domid");
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vgpu_dm_suite(void)
{
    Suite *s = suite_create("tools/vgpu-dm");
    TCase *tc = tcase_create("vgpu-dm");

    tcase_add_checked_fixture(tc, setup, tools_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, qemu_gets_the_other_words_the_descriptors_and_the_environment);
    tcase_add_test(tc, qemu_waits_until_the_device_is_registered);
    tcase_add_loop_test(tc, a_vgpud_that_fails_ends_it_without_a_qemu, 0, ROWS(failures));
    tcase_add_test(tc, a_qemu_that_is_missing_begins_nothing);
    tcase_add_test(tc, a_qemu_that_can_not_be_executed_detaches_the_domain);
    tcase_add_test(tc, no_vgpud_and_none_may_be_started);
    tcase_add_test(tc, a_vgpud_that_is_not_there_is_named);
    tcase_add_test(tc, a_vgpud_that_ends_at_once_has_its_reason_shown);
    tcase_add_test(tc, a_vgpud_that_does_not_listen_in_time_is_named);
    tcase_add_test(tc, a_folder_that_can_not_be_made_is_named);
    tcase_add_test(tc, a_real_vgpud_is_started_and_answers);
    tcase_add_test(tc, by_hand_it_explains_itself);
    suite_add_tcase(s, tc);
    return s;
}
