/* SPDX-License-Identifier: MIT */
/*
 * vgpu-dm: the program that an xl.cfg names as device_model_override, so that the domain has its vGPU
 * before its first instruction.
 *
 * libxl executes it as it would QEMU, paused domain and all, and waits until QEMU reports through
 * QMP.  The guest's firmware scans the PCI bus soon after, so the device must be there by then:
 *
 *   1. take our options out of argv, refuse what can be refused from argv alone    vgpu-dm-args.c
 *   2. find the QEMU to become: nothing is begun that could not be finished
 *   3. make sure that a vgpud listens at the control socket                        vgpu-dm-daemon.c
 *   4. `attach`: that vgpud serves this domain; wait until the device is registered with Xen
 *   5. execute QEMU with what is left of argv, and with all descriptors that xl passed
 *
 * A failure at any step is one line on standard error - libxl makes that
 * /var/log/xen/qemu-dm-NAME.log - and exit status 1: libxl sees its device model end, ends `xl create`
 * and destroys the domain.  After a failure in step 5 the domain is detached again.
 *
 * Nothing of this process is left behind: it becomes QEMU.  That the device goes when the
 * domain goes is vgpud's affair, which watches the domain and not QEMU; so it does not matter who
 * dies first.  One deadline holds for all waiting together, below the 60 s that xl gives a
 * device model.
 */
#include "vgpu-dm.h"

#include <daemon/control_client.h>
#include <daemon/loop.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DM_DETACH_MS 5000u
#define EXIT_USAGE   2

/* Debian 12; Xen's own build; XCP-ng and other RPM systems; a QEMU that has Xen built in. */
static const char *const qemu_places[] = {"/usr/libexec/xen-qemu-system-i386",
                                          "/usr/lib/xen/bin/qemu-system-i386",
                                          "/usr/local/lib/xen/bin/qemu-system-i386",
                                          "/usr/lib64/xen/bin/qemu-system-i386",
                                          "/usr/bin/qemu-system-i386",
                                          NULL};

static const char usage_text[] =
    "Usage: in an xl.cfg of a domain with type=\"hvm\":\n"
    "\n"
    "  device_model_version  = \"qemu-xen\"\n"
    "  device_model_override = \"/usr/sbin/vgpu-dm\"\n"
    "  device_model_args_hvm = [ \"-vgpu\", \"executor=cpu,memory=1G\" ]\n"
    "\n"
    "Give the domain a vGPU, then become its QEMU.  -vgpu KEY=VALUE,... with the keys\n"
    "\n"
    "  executor=KIND   cpu, cuda or null; required\n"
    "  memory=SIZE     device memory of the domain (1G)\n"
    "  slot=SLOT       of the PCI bus, 0x2 to 0x1f (0x10)\n"
    "  name=NAME       in vgpuctl and the log (xen-DOMID)\n"
    "  deadline, contexts, poll-us, threads, device\n"
    "                  as in vgpud(8)\n"
    "  control=PATH    vgpud's control socket (/run/vgpu/control.sock)\n"
    "  start=yes|no    start a vgpud where none listens (yes)\n"
    "  vgpud=PATH      that vgpud's program\n"
    "  log=PATH        that vgpud's log (/var/log/vgpud.log)\n"
    "  qemu=PATH       the QEMU to become\n"
    "  timeout=TIME    for all waiting together (40s)\n"
    "\n"
    "See vgpu-dm(8).\n";

/* The rest of the time, for a call that takes a timeout. */
static uint32_t ms_left(uint64_t end_ms)
{
    uint64_t now = vgpu_now_ms();

    return now < end_ms ? (uint32_t)(end_ms - now) : 0;
}

/* Undo the attach, as well as that goes. */
static void dm_detach(const struct dm_args *args)
{
    struct json_object *answer;
    char why[VGPU_WHY_BYTES], request[32];

    snprintf(request, sizeof(request), "detach %u", args->domid);
    if (!vgpu_control_call(args->control, request, DM_DETACH_MS, &answer, why))
        json_object_put(answer);
}

static int dm_fail(const struct dm_args *args, const char *why)
{
    if (args->domid)
        fprintf(stderr, "vgpu-dm: domain %u: %s\n", args->domid, why);
    else
        fprintf(stderr, "vgpu-dm: %s\n", why);
    return EXIT_FAILURE;
}

/* Returns only if that fails. */
static int dm_become_qemu(struct dm_args *args, char qemu[VGPU_PATH_BYTES])
{
    char why[VGPU_WHY_BYTES];

    args->qemu_argv[0] = qemu;
    execv(qemu, args->qemu_argv);
    snprintf(why, sizeof(why), "%s can't be executed: %s", qemu, strerror(errno));
    dm_detach(args);
    return dm_fail(args, why);
}

static int dm_run(struct dm_args *args)
{
    uint64_t end_ms = vgpu_now_ms() + args->timeout_ms;
    struct json_object *answer;
    char qemu[VGPU_PATH_BYTES], why[VGPU_WHY_BYTES];
    int ret = dm_find_program(args->qemu, NULL, qemu_places, "qemu", qemu, why);

    if (!ret)
        ret = dm_daemon_ensure(args, end_ms, why);
    if (ret)
        return dm_fail(args, why);
    ret = vgpu_control_attach(args->control, args->vm, args->name, ms_left(end_ms), &answer, why);
    if (ret) {
        /* What vgpud refused it has not begun; after anything else it may be serving. */
        if (ret != -EREMOTEIO)
            dm_detach(args);
        return dm_fail(args, why);
    }
    json_object_put(answer);
    fprintf(stderr, "vgpu-dm: domain %u has its vGPU '%s' in slot 0x%x; going on as %s\n",
            args->domid, args->name, args->slot, qemu);
    return dm_become_qemu(args, qemu);
}

int main(int argc, char **argv)
{
    char why[VGPU_WHY_BYTES];
    struct dm_args args;
    int status;

    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(usage_text, stdout);
        return EXIT_SUCCESS;
    }
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("vgpu-dm " VGPU_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc < 2) {
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    if (dm_args_parse(argc, argv, &args, why))
        return dm_fail(&args, why);
    status = dm_run(&args);
    dm_args_fini(&args);
    return status;
}
