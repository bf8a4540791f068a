/* SPDX-License-Identifier: MIT */
/*
 * vgpu-dm's parts: vgpu-dm.c says what the program does and in which order.
 *
 *   vgpu-dm.c         the steps, the control conversation, exec of QEMU
 *   vgpu-dm-args.c    argv: whose is what, and refusals that need nothing but argv
 *   vgpu-dm-daemon.c  starting a vgpud where none listens
 *
 * Functions return 0 or -errno with one line in why[VGPU_WHY_BYTES] that names the value and the
 * remedy.
 */
#ifndef VGPU_DM_H
#define VGPU_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <daemon/config.h>
#include <daemon/control_client.h>

#define DM_MAX_DOMID          32751u /* Xen reserves what is above */
#define DM_DEFAULT_SLOT       0x10u
#define DM_DEFAULT_TIMEOUT_MS 40000u /* xl itself gives a device model 60 s */

struct dm_args {
    uint32_t domid;
    uint32_t slot;
    char name[VGPU_VM_NAME_BYTES];
    char vm[VGPU_CONTROL_LINE]; /* for vgpud, in the form of --vm */
    char control[VGPU_PATH_BYTES];
    char qemu[VGPU_PATH_BYTES];  /* "": look in the usual places */
    char vgpud[VGPU_PATH_BYTES]; /* likewise */
    char log[VGPU_PATH_BYTES];   /* of a vgpud started here */
    uint32_t timeout_ms;         /* for all of vgpu-dm's waiting */
    bool start;                  /* a vgpud where none listens */
    /* QEMU's arguments: argv[0] is to be filled in, the rest are the caller's strings, NULL ends
     * them.  The array is this structure's. */
    char **qemu_argv;
};

/* Everything that argv alone decides.  On failure nothing needs dm_args_fini(). */
VGPU_MUST_CHECK int dm_args_parse(int argc, char **argv, struct dm_args *args, char *why);
void dm_args_fini(struct dm_args *args);

/*
 * The highest PCI slot that QEMU may fill of its own accord, given its arguments: slots are handed
 * out upwards from 2 to devices that name none.  Counts devices that could be on the PCI bus, so
 * it may be too high, never too low.  A device with this slot as its addr= is found as well:
 * *taken_by is its argument, NULL if there is none.
 */
uint32_t dm_qemu_slots(char *const *argv, uint32_t slot, const char **taken_by);

/* A program that can be executed: `given` if not empty, else beside vgpu-dm when `beside`, else the
 * first of the NULL-ended list of paths.  vgpu-dm itself is never the answer.  `option` is what a user may give. */
VGPU_MUST_CHECK int dm_find_program(const char *given, const char *beside,
                                    const char *const *places, const char *option,
                                    char path[VGPU_PATH_BYTES], char *why);

/* Make sure that a vgpud listens at args->control: there is one, or one is started before end_ms
 * of vgpu_now_ms(). */
VGPU_MUST_CHECK int dm_daemon_ensure(const struct dm_args *args, uint64_t end_ms, char *why);

#endif /* VGPU_DM_H */
