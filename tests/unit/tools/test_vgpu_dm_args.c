/* SPDX-License-Identifier: MIT */
/* vgpu-dm's argv: what is taken out, what is left, and each refusal from a good line with one thing wrong. */
#include "tools_tests.h"

#include "../../../host-backend/tools/vgpu-dm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_ARGS 48

static struct dm_args args;
static char why[VGPU_WHY_BYTES];
static char words[2048];
static char *argv[MAX_ARGS];
static int argc;

/* What libxl 4.17 passes for a small HVM domain, `%` where our options go. */
#define XL_LINE                                                                                    \
    "vgpu-dm -xen-domid 7 -no-shutdown -chardev socket,id=libxl-cmd,fd=19,server=on,wait=off "     \
    "-mon chardev=libxl-cmd,mode=control -nodefaults -no-user-config -name d1 -vnc none "          \
    "-display none -serial file:/run/d1.log -vga none -boot order=cda -smp 1,maxcpus=1 "           \
    "-net none % -machine xenfv,suppress-vmdesc=on -m 240"

/* Split `line` at blanks, with `options` in place of the `%`. */
static int parse_line(const char *line, const char *options)
{
    const char *mark = strchr(line, '%');
    char *save = NULL;

    snprintf(words, sizeof(words), "%.*s%s%s", mark ? (int)(mark - line) : (int)strlen(line), line,
             mark ? options : "", mark ? mark + 1 : "");
    argc = 0;
    for (char *p = strtok_r(words, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        ck_assert_int_lt(argc, MAX_ARGS - 1);
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    why[0] = '\0';
    return dm_args_parse(argc, argv, &args, why);
}

static int parse(const char *options)
{
    return parse_line(XL_LINE, options);
}

static void check_qemu_line(void)
{
    char expected[2048], got[2048] = "";
    const char *mark = strchr(XL_LINE, '%');

    snprintf(expected, sizeof(expected), "%.*s%s", (int)(mark - XL_LINE), XL_LINE, mark + 2);
    for (int i = 0; args.qemu_argv[i]; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "",
                 args.qemu_argv[i]);
    ck_assert_str_eq(got, expected);
}

START_TEST(our_words_are_taken_and_the_rest_is_left_as_it_was)
{
    ck_assert_msg(!parse("-vgpu executor=cpu"), "%s", why);
    ck_assert_uint_eq(args.domid, 7);
    ck_assert_uint_eq(args.slot, 0x10);
    ck_assert_str_eq(args.name, "xen-7");
    ck_assert_str_eq(args.vm, "xen=7,name=xen-7,executor=cpu");
    ck_assert_str_eq(args.control, VGPU_CONTROL_PATH);
    ck_assert_uint_eq(args.timeout_ms, DM_DEFAULT_TIMEOUT_MS);
    ck_assert(args.start);
    check_qemu_line();
    dm_args_fini(&args);
}
END_TEST

START_TEST(pieces_in_each_form_describe_one_device)
{
    ck_assert_msg(!parse("-vgpu=executor=cpu,memory=2G -vgpu slot=0x1f,name=blue --vgpu "
                         "deadline=30s,control=/run/x.sock,qemu=/q,vgpud=/v,log=/l,start=no,"
                         "timeout=1500ms"),
                  "%s", why);
    ck_assert_str_eq(args.vm, "xen=7,executor=cpu,memory=2G,slot=0x1f,name=blue,deadline=30s");
    ck_assert_uint_eq(args.slot, 31);
    ck_assert_str_eq(args.control, "/run/x.sock");
    ck_assert_str_eq(args.qemu, "/q");
    ck_assert_str_eq(args.vgpud, "/v");
    ck_assert_str_eq(args.log, "/l");
    ck_assert_uint_eq(args.timeout_ms, 1500);
    ck_assert(!args.start);
    check_qemu_line();
    dm_args_fini(&args);
}
END_TEST

static const struct {
    const char *options;
    const char *says[2]; /* the value, and what to do */
} bad_options[] = {
    {"", {"no -vgpu among the arguments", "device_model_args_hvm"}},
    {"-vgpu memory=1G", {"no executor given", "executor=cpu"}},
    {"-vgpu executor=gpu", {"executor=gpu", "allowed is cpu, null or cuda"}},
    {"-vgpu executor=cpu,colour=red", {"unknown key 'colour'", "a VM has name"}},
    {"-vgpu executor=cpu,a-key-that-is-far-too-long-for-any=1",
     {"unknown key 'a-key-that-is-far-too-long-for-any'", "vgpu-dm(8)"}},
    {"-vgpu executor", {"'executor'", "expected KEY=VALUE"}},
    {"-vgpu executor=cpu,memory=lots", {"memory=lots", "allowed is 1M to"}},
    {"-vgpu executor=cpu,memory=5000000T", {"memory=5000000T", "allowed is 1M to"}},
    {"-vgpu executor=cpu,slot=1", {"slot=1:", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=0x20", {"slot=0x20", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=-5", {"slot=-5", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=", {"slot=", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=10.0", {"slot=10.0", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=99999999999999999999", {"slot=9999", "2 to 31 (0x2 to 0x1f)"}},
    {"-vgpu executor=cpu,slot=2", {"slot=0x2:", "e.g. slot=0x10"}},
    {"-device rtl8139,id=nic0 -device VGA -vgpu executor=cpu,slot=4", {"slot=0x4", "up to 0x4"}},
    {"-device e1000,addr=12 -vgpu executor=cpu,slot=0x12",
     {"slot=0x12 is taken by QEMU's device 'e1000,addr=12'", "choose another"}},
    {"-vgpu executor=cpu,name=a/b", {"name=a/b", "letters, digits"}},
    {"-vgpu executor=cpu,name=1234567890123456789012345678901234", {"name=1234", "1 to 31"}},
    {"-vgpu executor=cpu,executor=cpu", {"executor is given twice", "once"}},
    {"-vgpu executor=cpu,slot=0x10 -vgpu=slot=0x10", {"slot is given twice", "once"}},
    {"-vgpu executor=cpu,control=here", {"control=here", "absolute path"}},
    {"-vgpu executor=cpu,qemu=qemu", {"qemu=qemu", "absolute path"}},
    {"-vgpu executor=cpu,timeout=5", {"timeout=5", "40s"}},
    {"-vgpu executor=cpu,timeout=0s", {"timeout=0s", "40s"}},
    {"-vgpu executor=cpu,timeout=11m", {"timeout=11m", "at most 10m"}},
    {"-vgpu executor=cpu,start=maybe", {"start=maybe", "yes or no"}},
    {"-vgpu executor=cpu,socket=/x", {"socket=/x", "no socket"}},
    {"-vgpu executor=cpu,xen=3", {"xen=3", "the domain is the one that xl creates"}},
    {"-incoming fd:21 -vgpu executor=cpu", {"restored or migrated", "start it anew"}},
};

START_TEST(a_bad_option_is_named_with_the_remedy)
{
    ck_assert_msg(parse(bad_options[_i].options) < 0, "taken: %s", bad_options[_i].options);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(strstr(why, bad_options[_i].says[i]), "'%s' does not say '%s'", why,
                      bad_options[_i].says[i]);
    ck_assert_ptr_null(args.qemu_argv);
}
END_TEST

static const struct {
    const char *line;
    const char *says;
} bad_lines[] = {
    {"vgpu-dm -vgpu", "-vgpu: nothing follows it"},
    {"vgpu-dm -vgpu executor=cpu -machine xenfv", "no -xen-domid among the arguments"},
    {"vgpu-dm -vgpu executor=cpu -machine xenfv -xen-domid", "no -xen-domid"},
    {"vgpu-dm -xen-domid x -vgpu executor=cpu", "-xen-domid x: no guest's domain id"},
    {"vgpu-dm -xen-domid 0 -vgpu executor=cpu", "-xen-domid 0: no guest's domain id"},
    {"vgpu-dm -xen-domid 32752 -vgpu executor=cpu", "-xen-domid 32752: no guest's domain id"},
    {"vgpu-dm -xen-domid -1 -vgpu executor=cpu", "-xen-domid -1: no guest's domain id"},
    {"vgpu-dm -xen-domid 7 -machine xenpv,suppress-vmdesc=on -vgpu executor=cpu",
     "a PV or PVH guest (QEMU's machine is 'xenpv,suppress-vmdesc=on')"},
    /* device_model_args_hvm does not reach such a QEMU: still the better reason */
    {"vgpu-dm -xen-domid 7 -M xenpv", "use type=\"hvm\""},
};

START_TEST(a_line_that_is_no_hvm_guests_is_refused)
{
    ck_assert_msg(parse_line(bad_lines[_i].line, "") < 0, "taken: %s", bad_lines[_i].line);
    ck_assert_msg(strstr(why, bad_lines[_i].says), "'%s' does not say '%s'", why,
                  bad_lines[_i].says);
}
END_TEST

START_TEST(options_of_any_length_are_survived)
{
    static char options[1600] = "-vgpu executor=cpu,device=";

    memset(options + strlen(options), 'x', 1200);
    ck_assert_int_lt(parse(options), 0);
    memset(options, 0, sizeof(options));
    snprintf(options, sizeof(options), "-vgpu ");
    for (int i = 0; i < 200; i++)
        snprintf(options + strlen(options), sizeof(options) - strlen(options), "k%d=1,", i);
    ck_assert_int_lt(parse(options), 0);
}
END_TEST

START_TEST(slots_count_what_may_be_on_the_bus)
{
    char a0[] = "q", dev[] = "-device", nic[] = "-nic", net[] = "-net", vga[] = "-vga";
    char usb[] = "usb-tablet", ide[] = "ide-hd,drive=x", card[] = "VGA",
         fixed[] = "e1000,addr=0x1c";
    char user[] = "user", hub[] = "nic,model=e1000", none[] = "none", std[] = "std";
    char *bare[] = {a0, vga, none, net, none, NULL};
    char *full[] = {a0,    dev, usb,  dev, ide, dev, card, dev,
                    fixed, nic, user, net, hub, vga, std,  NULL};
    const char *taken;

    ck_assert_uint_eq(dm_qemu_slots(bare, 0x10, &taken), 2);
    ck_assert_ptr_null(taken);
    ck_assert_uint_eq(dm_qemu_slots(full, 0x10, &taken), 6);
    ck_assert_ptr_null(taken);
    ck_assert_uint_eq(dm_qemu_slots(full, 0x1c, &taken), 6);
    ck_assert_str_eq(taken, fixed);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vgpu_dm_args_suite(void)
{
    Suite *s = suite_create("tools/vgpu-dm-args");
    TCase *tc = tcase_create("args");

    tcase_add_test(tc, our_words_are_taken_and_the_rest_is_left_as_it_was);
    tcase_add_test(tc, pieces_in_each_form_describe_one_device);
    tcase_add_loop_test(tc, a_bad_option_is_named_with_the_remedy, 0, ROWS(bad_options));
    tcase_add_loop_test(tc, a_line_that_is_no_hvm_guests_is_refused, 0, ROWS(bad_lines));
    tcase_add_test(tc, options_of_any_length_are_survived);
    tcase_add_test(tc, slots_count_what_may_be_on_the_bus);
    suite_add_tcase(s, tc);
    return s;
}
