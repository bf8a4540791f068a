/* SPDX-License-Identifier: MIT */
/* Configuration: values, keys, files, and an error for each that names value and remedy. */
#include "daemon_tests.h"

#include <daemon/config.h>
#include <vgpu/hw.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vgpu_config cfg;
static char why[VGPU_WHY_BYTES];

static void setup(void)
{
    vgpu_config_init(&cfg);
    memset(why, 0, sizeof(why));
}

static void teardown(void)
{
    vgpu_config_fini(&cfg);
}

#define GOOD "name=a,socket=/run/a.sock,executor=cpu"

START_TEST(every_key_is_taken)
{
    const struct vgpu_vm_config *vm;

    ck_assert_int_eq(vgpu_config_add_vm(&cfg,
                                        GOOD ",memory=3G,deadline=1500ms,contexts=9,poll-us=77,"
                                             "threads=3,device=GPU-1,hmm=allow,socket-mode=0660,"
                                             "socket-group=root",
                                        why),
                     0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    vm = &cfg.vms[0];
    ck_assert_str_eq(vm->name, "a");
    ck_assert_str_eq(vm->socket, "/run/a.sock");
    ck_assert_str_eq(vm->executor, "cpu");
    ck_assert_uint_eq(vm->exec_kind, VGPU_EXEC_CPU);
    ck_assert_uint_eq(vm->memory_bytes, 3ull << 30);
    ck_assert_uint_eq(vm->deadline_ms, 1500);
    ck_assert_uint_eq(vm->contexts, 9);
    ck_assert_uint_eq(vm->poll_us, 77);
    ck_assert_uint_eq(vm->threads, 3);
    ck_assert_str_eq(vm->device, "GPU-1");
    ck_assert(vm->allow_hmm);
    ck_assert_uint_eq(vm->socket_mode, 0660);
    ck_assert_uint_eq(vm->socket_gid, 0);
}
END_TEST

START_TEST(the_deadline_depends_on_the_executor)
{
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=a,socket=/a,executor=cpu", why), 0);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=b,socket=/b,executor=cuda", why), 0);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=c,socket=/c,executor=cpu,deadline=0", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    ck_assert_uint_gt(cfg.vms[0].deadline_ms, 0);
    ck_assert_uint_eq(cfg.vms[1].deadline_ms, 0);
    ck_assert_uint_eq(cfg.vms[2].deadline_ms, 0);
}
END_TEST

/* Each: what is added to a good VM, and what the message must contain. */
static const struct {
    const char *text;
    const char *says;
} bad_vms[] = {
    {"contexts=0", "contexts=0: allowed is 1 to 256"},
    {"contexts=257", "contexts=257"},
    {"contexts=-1", "contexts=-1"},
    {"contexts=4x", "contexts=4x"},
    {"contexts=", "contexts="},
    {"contexts", "expected key=value"},
    {"colour=red", "unknown key 'colour'"},
    {"executor=gpu", "executor=gpu: allowed is cpu, null or cuda"},
    {"memory=0", "memory=0"},
    {"memory=1Q", "memory=1Q"},
    {"memory=-5", "memory=-5"},
    {"memory=99999999999999999999", "memory=999"},
    {"memory=20000000T", "memory=20000000T"},
    {"deadline=5", "deadline=5: allowed is 0 (none), or a time"},
    {"deadline=5h", "deadline=5h"},
    {"deadline=2000000m", "deadline=2000000m"},
    {"poll-us=9999999", "poll-us=9999999"},
    {"threads=5000", "threads=5000"},
    {"socket=relative", "socket=relative: allowed is an absolute path"},
    {"name=a/b", "name=a/b"},
    {"name=../x", "name=../x"},
    {"name=.", "name=."},
    {"name=12345678901234567890123456789012", "name=123"},
    {"socket-mode=9", "socket-mode=9"},
    {"socket-mode=01777", "socket-mode=01777"},
    {"socket-group=no-such-group-here", "socket-group=no-such-group-here"},
    {"xen=0", "xen=0: allowed is the id of a Xen domain, 1 to 32751"},
    {"xen=32752", "xen=32752"},
    {"xen=d1", "xen=d1"},
    {"slot=1", "slot=1: allowed is a slot of the domain's PCI bus, 2 to 31"},
    {"slot=32", "slot=32"},
    {"slot=0x20", "slot=0x20"},
    {"slot=-3", "slot=-3"},
    {"slot=4.0", "slot=4.0"},
    {"slot=", "slot="},
};

START_TEST(a_bad_value_is_named_with_what_is_allowed)
{
    char text[256];

    snprintf(text, sizeof(text), GOOD ",%s", bad_vms[_i].text);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, text, why), -EINVAL);
    ck_assert_msg(strstr(why, bad_vms[_i].says), "'%s' does not say '%s'", why, bad_vms[_i].says);
}
END_TEST

START_TEST(a_xen_domain_needs_no_socket)
{
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=a,xen=3,executor=cpu", why), 0);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=b,xen=4,slot=0x1f,executor=cpu", why), 0);
    ck_assert_msg(!vgpu_config_finish(&cfg, why), "%s", why);
    ck_assert_uint_eq(cfg.vms[0].domid, 3);
    ck_assert_uint_eq(cfg.vms[0].slot, 0x10);
    ck_assert_uint_eq(cfg.vms[1].slot, 31);
}
END_TEST

START_TEST(a_vm_is_a_domain_or_has_a_socket)
{
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, GOOD ",xen=3", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "a socket and a Xen domain, allowed is one"));
    vgpu_config_fini(&cfg);
    vgpu_config_init(&cfg);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=a,xen=3,executor=cpu", why), 0);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=b,xen=3,executor=cpu", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "the same Xen domain"));
}
END_TEST

START_TEST(a_daemon_may_begin_without_a_vm)
{
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "--no-vm"));
    cfg.no_vm = true;
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
}
END_TEST

START_TEST(a_path_too_long_for_a_socket_is_refused)
{
    char text[400] = GOOD ",socket=/";

    memset(text + strlen(text), 'x', 200);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, text, why), -EINVAL);
}
END_TEST

static const char *const incomplete[] = {
    "socket=/a,executor=cpu",
    "name=a,executor=cpu",
    "name=a,socket=/a",
};

START_TEST(what_is_missing_is_named)
{
    static const char *const names[] = {"no name", "no socket", "no executor"};

    ck_assert_int_eq(vgpu_config_add_vm(&cfg, incomplete[_i], why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, names[_i]));
}
END_TEST

START_TEST(names_and_sockets_are_unique)
{
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL); /* none at all */
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, GOOD, why), 0);
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=a,socket=/b,executor=cpu", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "same name"));
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, "name=c,socket=/run/a.sock,executor=cpu", why), 0);
    memcpy(cfg.vms[1].name, "b", 2);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "same socket"));
}
END_TEST

START_TEST(control_and_runtime_directory_follow_each_other)
{
    ck_assert_int_eq(vgpu_config_add_vm(&cfg, GOOD, why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    ck_assert_str_eq(cfg.runtime_dir, "/run/vgpu");
    ck_assert_str_eq(cfg.control, "/run/vgpu/control.sock");
    cfg.control[0] = '\0';
    ck_assert_int_eq(vgpu_config_set(&cfg, "runtime-dir", "/tmp/r", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    ck_assert_str_eq(cfg.control, "/tmp/r/control.sock");
    memset(cfg.runtime_dir, 0, sizeof(cfg.runtime_dir));
    ck_assert_int_eq(vgpu_config_set(&cfg, "control", "/tmp/q/ctl", why), 0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    ck_assert_str_eq(cfg.runtime_dir, "/tmp/q");
}
END_TEST

START_TEST(settings_are_checked)
{
    ck_assert_int_eq(vgpu_config_set(&cfg, "log-level", "debug", why), 0);
    ck_assert_int_eq(cfg.log_level, VGPU_LOG_DEBUG);
    ck_assert_int_eq(vgpu_config_set(&cfg, "debug", "data", why), 0);
    ck_assert_uint_eq(cfg.debug, VGPU_LOG_DATA);
    ck_assert_int_eq(vgpu_config_set(&cfg, "log-level", "loud", why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "error, warning, info or debug"));
    ck_assert_int_eq(vgpu_config_set(&cfg, "debug", "all", why), -EINVAL);
    ck_assert_int_eq(vgpu_config_set(&cfg, "control", "x", why), -EINVAL);
    ck_assert_int_eq(vgpu_config_set(&cfg, "volume", "11", why), -EINVAL);
}
END_TEST

/* ---- Files ---- */

static int load(const char *text)
{
    char path[] = "/tmp/vgpu-config-XXXXXX";
    int fd = mkstemp(path), ret;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ret = vgpu_config_load(&cfg, path, why);
    unlink(path);
    return ret;
}

START_TEST(a_file_has_the_same_keys)
{
    ck_assert_int_eq(load("# comment\n[vgpud]\nlog-level = warning\n\n[vm build]\n"
                          "socket = /run/build.sock\nexecutor = null\nmemory = 64M\n"
                          "[vm test]\nsocket = /run/test.sock\nexecutor = cpu\n"
                          "[vm build]\ncontexts = 3\n"),
                     0);
    ck_assert_int_eq(vgpu_config_finish(&cfg, why), 0);
    ck_assert_uint_eq(cfg.vm_count, 2);
    ck_assert_int_eq(cfg.log_level, VGPU_LOG_WARN);
    ck_assert_str_eq(cfg.vms[0].name, "build");
    ck_assert_uint_eq(cfg.vms[0].memory_bytes, 64u << 20);
    ck_assert_uint_eq(cfg.vms[0].contexts, 3);
    ck_assert_str_eq(cfg.vms[1].name, "test");
}
END_TEST

static const struct {
    const char *text;
    const char *says;
} bad_files[] = {
    {"[vm a]\ncontexts = 999\n", ":2: contexts=999: allowed is 1 to 256"},
    {"[vm a]\nsocket = /a\nfrobnicate = 1\n", ":3: unknown key 'frobnicate'"},
    {"[machine a]\nx = 1\n", ":2: section [machine a]"},
    {"[vm a/b]\nsocket = /a\n", ":2: name=a/b"},
    {"log-level = info\n", ":1: section []"},
    {"[vgpud]\nlog-level info\n", ":2: not of the form"},
};

START_TEST(a_bad_line_is_named)
{
    ck_assert_int_eq(load(bad_files[_i].text), -EINVAL);
    ck_assert_msg(strstr(why, bad_files[_i].says), "'%s' does not say '%s'", why,
                  bad_files[_i].says);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_named)
{
    ck_assert_int_eq(vgpu_config_load(&cfg, "/nonexistent/vgpud.conf", why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "/nonexistent/vgpud.conf"));
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *config_suite(void)
{
    Suite *s = suite_create("daemon/config");
    TCase *tc = tcase_create("config");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_key_is_taken);
    tcase_add_test(tc, the_deadline_depends_on_the_executor);
    tcase_add_loop_test(tc, a_bad_value_is_named_with_what_is_allowed, 0, ROWS(bad_vms));
    tcase_add_test(tc, a_xen_domain_needs_no_socket);
    tcase_add_test(tc, a_vm_is_a_domain_or_has_a_socket);
    tcase_add_test(tc, a_daemon_may_begin_without_a_vm);
    tcase_add_test(tc, a_path_too_long_for_a_socket_is_refused);
    tcase_add_loop_test(tc, what_is_missing_is_named, 0, ROWS(incomplete));
    tcase_add_test(tc, names_and_sockets_are_unique);
    tcase_add_test(tc, control_and_runtime_directory_follow_each_other);
    tcase_add_test(tc, settings_are_checked);
    tcase_add_test(tc, a_file_has_the_same_keys);
    tcase_add_loop_test(tc, a_bad_line_is_named, 0, ROWS(bad_files));
    tcase_add_test(tc, a_file_that_is_not_there_is_named);
    suite_add_tcase(s, tc);
    return s;
}
