/* SPDX-License-Identifier: MIT */
/*
 * Exec processes that a guest has taken over (the rogue executor): what they can reach, and what the
 * host sees of them.  What their transfers can do to guest memory is in test_last_write.c.
 */
#include "fixture.h"
#include "rogue/rogue.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static void setup(void)
{
    vgpud_program = "../daemon-test/vgpud-rogue";
    fx_setup_null();
}

/* ---- What it can reach ---- */

static char report[4096];

static void break_out(struct gs_ctx *ctx)
{
    uint32_t module;

    fx_ok(gs_module_load(ctx, ROGUE_BREAK_OUT, strlen(ROGUE_BREAK_OUT), report, sizeof(report),
                         &module));
}

static int reported(const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "%s=", name);
    for (at = strstr(report, key); at && at != report && at[-1] != ' '; at = strstr(at + 1, key))
        ;
    ck_assert_msg(at != NULL, "no '%s' in: %s", name, report);
    return atoi(at + strlen(key));
}

static unsigned int count_in_log(const char *text)
{
    char *log = vgpud_log(&fx.d);
    unsigned int n = 0;

    ck_assert_ptr_nonnull(log);
    for (const char *at = strstr(log, text); at; at = strstr(at + 1, text))
        n++;
    free(log);
    return n;
}

START_TEST(a_taken_over_executor_reaches_nothing)
{
    static const char *const refused[] = {
        "open",   "open-root", "socket", "connect",  "ptrace", "read-others",
        "exec",   "fork",      "kill",   "pidfd",    "code",   "user-namespace",
        "setuid", "chroot",    "limits", "dumpable", "ioctl"};

    break_out(fx.ctx[0]);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        ck_assert_msg(reported(refused[i]) == EPERM, "%s: errno %d", refused[i],
                      reported(refused[i]));
    /* The empty root is root's to give. */
    ck_assert_int_eq(reported("stat"), geteuid() ? 0 : ENOENT);
    ck_assert_int_eq(reported("memory"), ENOMEM);
    /* The conversation; lock file, doorbell, interrupt and epoll set. */
    ck_assert_int_eq(reported("sockets"), 1);
    ck_assert_int_eq(reported("directories"), 0);
    ck_assert_int_eq(reported("others"), 4);
    fx_ok(gs_nop(fx.ctx[0]));
}
END_TEST

START_TEST(refused_calls_are_logged_once)
{
    static const char line[] =
        "vm0 ctx0 refused a system call that no good code makes here (only the "
        "first is logged): openat";

    ck_assert_uint_eq(count_in_log("refused a system call"), 0);
    for (int i = 0; i < 50; i++)
        break_out(fx.ctx[0]);
    ck_assert_uint_eq(count_in_log("refused a system call"), 1);
    ck_assert_uint_eq(count_in_log(line), 1);
}
END_TEST

/* A line for all that was left out, and then as before. */
START_TEST(what_executors_print_is_bounded_and_cannot_pass_for_others)
{
    uint32_t module;
    char *log;

    fx_ok(gs_module_load(fx.ctx[0], ROGUE_FLOOD, strlen(ROGUE_FLOOD), NULL, 0, &module));
    fx_ok(gs_nop(fx.ctx[0]));
    log = vgpud_log(&fx.d);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_lt(strlen(log), 1u << 20);
    ck_assert_ptr_nonnull(
        strstr(log, "warning: vm0(vm0) executor: ?[2J0: flood?vgpud[1]: error: "));
    ck_assert_ptr_null(strchr(log, '\033'));
    ck_assert_ptr_null(strstr(log, "\nvgpud[1]"));
    free(log);
    /* Some trickle through, and the next says how many did not. */
    for (int i = 0; i < 100 && !count_in_log("lines left out"); i++) {
        usleep(50000);
        fx_ok(gs_module_load(fx.ctx[0], ROGUE_FLOOD, strlen(ROGUE_FLOOD), NULL, 0, &module));
    }
    ck_assert_uint_ge(count_in_log("lines left out"), 1);
    ck_assert_uint_ge(count_in_log("executor: "), 100);
}
END_TEST

/* ---- What the host sees of the processes ---- */

static void field_is(pid_t pid, const char *field, const char *want)
{
    char value[128];

    fx_proc_field(pid, field, value, sizeof(value));
    ck_assert_msg(!strcmp(value, want), "process %d: %s is %s, expected %s", (int)pid, field, value,
                  want);
}

static void link_of(pid_t pid, const char *name, char *out, size_t room)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    n = readlink(path, out, room - 1);
    ck_assert_msg(n > 0, "%s: %s", path, strerror(errno));
    out[n] = '\0';
}

static void namespace_is_its_own(pid_t pid, const char *name)
{
    char own[128], ours[128];

    link_of(pid, name, own, sizeof(own));
    link_of(getpid(), name, ours, sizeof(ours));
    ck_assert_msg(strcmp(own, ours), "process %d shares %s", (int)pid, name);
}

static void is_powerless(pid_t pid, const char *capabilities)
{
    static const char *const namespaces[] = {"ns/net", "ns/ipc", "ns/uts"};
    char uid[128];

    field_is(pid, "CapInh", capabilities);
    field_is(pid, "CapPrm", capabilities);
    field_is(pid, "CapEff", capabilities);
    field_is(pid, "CapAmb", capabilities);
    field_is(pid, "CapBnd", "0000000000000000");
    field_is(pid, "NoNewPrivs", "1");
    field_is(pid, "Groups", "");
    fx_proc_field(pid, "Uid", uid, sizeof(uid));
    ck_assert_msg(strncmp(uid, "0\t", 2), "process %d is root's", (int)pid);
    for (size_t i = 0; i < 3; i++)
        namespace_is_its_own(pid, namespaces[i]);
}

static void root_is_empty(pid_t pid)
{
    char root[256];

    link_of(pid, "root", root, sizeof(root));
    ck_assert_msg(strstr(root, "(deleted)"), "process %d has root %s", (int)pid, root);
}

static void find_spawner(pid_t vm_pid, pid_t *spawner)
{
    pid_t children[16];
    size_t n = proc_children(vm_pid, children, 16);

    *spawner = 0;
    for (size_t i = 0; i < n; i++) {
        char name[64];

        fx_proc_field(children[i], "Name", name, sizeof(name));
        if (!strcmp(name, "vgpu-spawn"))
            *spawner = children[i];
    }
    ck_assert_int_gt(*spawner, 0);
}

START_TEST(processes_have_no_power_on_the_host)
{
    const char none[] = "0000000000000000";
    struct fx_account account;
    pid_t exec = fx_exec_pid(fx.ctx[0]), spawner;

    fx_account(0, &account);
    field_is(account.vm_pid, "Seccomp", "2");
    field_is(exec, "Seccomp", "2");
    field_is(exec, "NoNewPrivs", "1");
    if (geteuid())
        return; /* the rest is root's to give away */
    is_powerless(account.vm_pid, none);
    is_powerless(exec, none);
    root_is_empty(account.vm_pid);
    root_is_empty(exec);
    find_spawner(account.vm_pid, &spawner);
    is_powerless(spawner,
                 "0000000000040000"); /* CAP_SYS_CHROOT, for the exec processes' empty root */
}
END_TEST

static Suite *hostile_suite(void)
{
    Suite *s = suite_create("hostile");
    TCase *tc;

    tc = fx_tcase(s, "reach", setup);
    tcase_add_test(tc, a_taken_over_executor_reaches_nothing);
    tcase_add_test(tc, refused_calls_are_logged_once);
    tcase_add_test(tc, what_executors_print_is_bounded_and_cannot_pass_for_others);
    tcase_add_test(tc, processes_have_no_power_on_the_host);
    return s;
}

VGPU_UNIT_MAIN(hostile_suite)
