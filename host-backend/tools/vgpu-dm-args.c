/* SPDX-License-Identifier: MIT */
/*
 * vgpu-dm's argv: see vgpu-dm.h.
 *
 * libxl builds QEMU's command line and mixes the entries of device_model_args and
 * device_model_args_hvm into it, so ours come as `-vgpu`, `KEY=VALUE,...` or as one word
 * `-vgpu=KEY=VALUE,...`, anywhere, in several pieces.  All pieces describe the one device.
 *
 * A handful of keys are vgpu-dm's own (dm_keys).  The others describe the VM and are passed to
 * vgpud as they are; the daemon's own table (daemon/config.h) judges them here already, so that a
 * bad value is refused by the same words whether or not a daemon runs.
 */
#include "vgpu-dm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DM_MAX_KEYS 32

/* What has been gathered from all -vgpu pieces. */
struct dm_pieces {
    char text[VGPU_CONTROL_LINE]; /* the VM's keys, each with a leading comma */
    char keys[DM_MAX_KEYS][24];
    unsigned int key_count;
    bool any;
    bool executor;
    bool name;
};

static VGPU_MUST_CHECK int set_path(char *dst, const char *value)
{
    size_t n = strlen(value);

    if (value[0] != '/' || n >= VGPU_PATH_BYTES)
        return -EINVAL;
    memcpy(dst, value, n + 1);
    return 0;
}

static int set_control(struct dm_args *args, const char *value)
{
    return set_path(args->control, value);
}

static int set_qemu(struct dm_args *args, const char *value)
{
    return set_path(args->qemu, value);
}

static int set_vgpud(struct dm_args *args, const char *value)
{
    return set_path(args->vgpud, value);
}

static int set_log(struct dm_args *args, const char *value)
{
    return set_path(args->log, value);
}

static int set_timeout(struct dm_args *args, const char *value)
{
    uint32_t ms;

    if (vgpu_parse_time_ms(value, &ms) || !ms || ms > 600000u)
        return -EINVAL;
    args->timeout_ms = ms;
    return 0;
}

static int set_start(struct dm_args *args, const char *value)
{
    if (strcmp(value, "yes") && strcmp(value, "no"))
        return -EINVAL;
    args->start = value[0] == 'y';
    return 0;
}

/* Keys that are vgpu-dm's alone. */
static const struct {
    const char *name;
    int (*set)(struct dm_args *args, const char *value);
    const char *allowed;
} dm_keys[] = {
    {"control", set_control, "an absolute path of at most 107 bytes"},
    {"qemu", set_qemu, "an absolute path of at most 107 bytes"},
    {"vgpud", set_vgpud, "an absolute path of at most 107 bytes"},
    {"log", set_log, "an absolute path of at most 107 bytes"},
    {"timeout", set_timeout, "a time like 500ms, 40s or 2m, at most 10m"},
    {"start", set_start, "yes or no"},
};

/* Keys of a VM that make no sense for a domain, and why. */
static const struct {
    const char *name;
    const char *why;
} foreign_keys[] = {
    {"xen", "the domain is the one that xl creates"},
    {"socket", "a Xen domain has no socket"},
    {"socket-mode", "a Xen domain has no socket"},
    {"socket-group", "a Xen domain has no socket"},
};

static VGPU_MUST_CHECK int piece_once(struct dm_pieces *pieces, const char *key, char *why)
{
    for (unsigned int i = 0; i < pieces->key_count; i++) {
        if (!strcmp(pieces->keys[i], key)) {
            snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s is given twice: give it once", key);
            return -EINVAL;
        }
    }
    if (pieces->key_count == DM_MAX_KEYS || strlen(key) >= sizeof(pieces->keys[0])) {
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: unknown key '%.60s': see vgpu-dm(8)", key);
        return -EINVAL;
    }
    snprintf(pieces->keys[pieces->key_count++], sizeof(pieces->keys[0]), "%s", key);
    return 0;
}

/* One of the VM's keys: kept for vgpud. */
static VGPU_MUST_CHECK int piece_keep(struct dm_pieces *pieces, const char *key, const char *value,
                                      char *why)
{
    size_t used = strlen(pieces->text);

    for (size_t i = 0; i < sizeof(foreign_keys) / sizeof(foreign_keys[0]); i++) {
        if (!strcmp(key, foreign_keys[i].name)) {
            snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s=%.100s can't be given here: %s", key, value,
                     foreign_keys[i].why);
            return -EINVAL;
        }
    }
    pieces->executor |= !strcmp(key, "executor");
    pieces->name |= !strcmp(key, "name");
    if (snprintf(pieces->text + used, sizeof(pieces->text) - used, ",%s=%s", key, value) >=
        (int)(sizeof(pieces->text) - used)) {
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s=%.60s...: too long", key, value);
        return -EINVAL;
    }
    return 0;
}

static VGPU_MUST_CHECK int piece_pair(struct dm_args *args, struct dm_pieces *pieces,
                                      const char *key, const char *value, char *why)
{
    int ret = piece_once(pieces, key, why);

    if (ret)
        return ret;
    for (size_t i = 0; i < sizeof(dm_keys) / sizeof(dm_keys[0]); i++) {
        if (strcmp(key, dm_keys[i].name))
            continue;
        if (!dm_keys[i].set(args, value))
            return 0;
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %s=%.100s: allowed is %s", key, value,
                 dm_keys[i].allowed);
        return -EINVAL;
    }
    return piece_keep(pieces, key, value, why);
}

/* KEY=VALUE,... of one -vgpu. */
static VGPU_MUST_CHECK int piece_parse(struct dm_args *args, struct dm_pieces *pieces,
                                       const char *text, char *why)
{
    char *copy = strdup(text), *save = NULL;
    int ret = 0;

    if (!copy) {
        snprintf(why, VGPU_WHY_BYTES, "out of memory");
        return -ENOMEM;
    }
    for (char *p = strtok_r(copy, ",", &save); p && !ret; p = strtok_r(NULL, ",", &save)) {
        char *value = strchr(p, '=');

        if (value) {
            *value++ = '\0';
            ret = piece_pair(args, pieces, p, value, why);
        } else {
            snprintf(why, VGPU_WHY_BYTES,
                     "-vgpu: '%.60s': expected KEY=VALUE, as in executor=cpu,memory=1G", p);
            ret = -EINVAL;
        }
    }
    free(copy);
    return ret;
}

/* The value of -vgpu at argv[*idx], which moves on over it; NULL if argv[*idx] is something else. */
static VGPU_MUST_CHECK int piece_at(int argc, char **argv, int *idx, const char **text, char *why)
{
    const char *word = argv[*idx];

    *text = NULL;
    if (!strncmp(word, "--", 2))
        word++;
    if (!strncmp(word, "-vgpu=", 6)) {
        *text = word + 6;
    } else if (!strcmp(word, "-vgpu")) {
        if (*idx + 1 >= argc) {
            snprintf(why, VGPU_WHY_BYTES,
                     "-vgpu: nothing follows it: expected KEY=VALUE,... as the next entry of "
                     "device_model_args_hvm");
            return -EINVAL;
        }
        *text = argv[++*idx];
    }
    return 0;
}

/* Take our words out of argv, leave the rest in args->qemu_argv. */
static VGPU_MUST_CHECK int argv_split(int argc, char **argv, struct dm_args *args,
                                      struct dm_pieces *pieces, char *why)
{
    int kept = 1;

    for (int i = 1; i < argc; i++) {
        const char *text;
        int ret = piece_at(argc, argv, &i, &text, why);

        if (!ret && text)
            ret = piece_parse(args, pieces, text, why);
        if (ret)
            return ret;
        pieces->any |= text != NULL;
        if (!text)
            args->qemu_argv[kept++] = argv[i];
    }
    args->qemu_argv[0] = argv[0];
    args->qemu_argv[kept] = NULL;
    return 0;
}

static const char *argv_value(char *const *argv, const char *option)
{
    for (size_t i = 1; argv[i]; i++) {
        if (!strcmp(argv[i], option))
            return argv[i + 1];
    }
    return NULL;
}

static VGPU_MUST_CHECK int argv_domid(struct dm_args *args, char *why)
{
    const char *text = argv_value(args->qemu_argv, "-xen-domid");
    unsigned long domid;
    char *end;

    if (!text) {
        snprintf(why, VGPU_WHY_BYTES,
                 "no -xen-domid among the arguments: vgpu-dm is started by xl, as the domain's "
                 "device_model_override");
        return -EINVAL;
    }
    errno = 0;
    domid = strtoul(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end || !domid || domid > DM_MAX_DOMID) {
        snprintf(why, VGPU_WHY_BYTES, "-xen-domid %.40s: no guest's domain id (1 to 32751)", text);
        return -EINVAL;
    }
    args->domid = (uint32_t)domid;
    return 0;
}

/*
 * PV and PVH domains have no PCI bus that a device model serves. libxl starts a QEMU for them only
 * if a disk or framebuffer of theirs wants it as its back end, with the machine `xenpv`.
 */
static VGPU_MUST_CHECK int argv_check_guest(const struct dm_args *args, char *why)
{
    static const char *const options[] = {"-machine", "-M", "--machine"};

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        const char *machine = argv_value(args->qemu_argv, options[i]);

        if (machine && !strncmp(machine, "xenpv", 5)) {
            snprintf(why, VGPU_WHY_BYTES,
                     "it is a PV or PVH guest (QEMU's machine is '%.40s'), which has no PCI bus "
                     "for a vGPU: use type=\"hvm\"",
                     machine);
            return -ENOTSUP;
        }
    }
    if (argv_value(args->qemu_argv, "-incoming") || argv_value(args->qemu_argv, "-loadvm")) {
        snprintf(why, VGPU_WHY_BYTES,
                 "it is being restored or migrated (QEMU was given -incoming), but a vGPU's state "
                 "is not saved: restore it without device_model_override, or start it anew");
        return -ENOTSUP;
    }
    return 0;
}

/* ---- Slots ---- */

/* Does this -device take a slot of the PCI bus that its command line does not name? */
static bool device_takes_slot(const char *device)
{
    static const char *const elsewhere[] = {"usb-", "ide-", "scsi-", "isa-", "hda-", "virtserial"};

    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        if (!strncmp(device, elsewhere[i], strlen(elsewhere[i])))
            return false;
    }
    return true;
}

uint32_t dm_qemu_slots(char *const *argv, uint32_t slot, const char **taken_by)
{
    uint32_t last = 2; /* 0: host bridge, 1: PIIX3, 2: the Xen platform device or a first other */

    *taken_by = NULL;
    for (size_t i = 1; argv[i]; i++) {
        const char *value = argv[i + 1], *addr;

        if (!value)
            break;
        if (!strcmp(argv[i], "-net") || !strcmp(argv[i], "-nic"))
            last += !strncmp(value, "nic", 3) || argv[i][2] == 'i';
        if (!strcmp(argv[i], "-vga"))
            last += strcmp(value, "none") != 0;
        if (strcmp(argv[i], "-device"))
            continue;
        addr = strstr(value, ",addr=");
        if (!addr)
            last += device_takes_slot(value);
        else if (strtoul(addr + 6, NULL, 16) == slot)
            *taken_by = value;
    }
    return last;
}

static VGPU_MUST_CHECK int argv_check_slot(const struct dm_args *args, char *why)
{
    const char *taken_by;
    uint32_t last = dm_qemu_slots(args->qemu_argv, args->slot, &taken_by);

    if (taken_by) {
        snprintf(why, VGPU_WHY_BYTES,
                 "-vgpu: slot=0x%x is taken by QEMU's device '%.100s': choose another", args->slot,
                 taken_by);
        return -EBUSY;
    }
    if (args->slot <= last) {
        snprintf(why, VGPU_WHY_BYTES,
                 "-vgpu: slot=0x%x: QEMU puts devices of its own into slots up to 0x%x: choose "
                 "one above, e.g. slot=0x%x",
                 args->slot, last, last < DM_DEFAULT_SLOT ? DM_DEFAULT_SLOT : last + 1);
        return -EBUSY;
    }
    return 0;
}

/* ---- The whole ---- */

/* Compose the request, and let the daemon's table judge the VM that it describes. */
static VGPU_MUST_CHECK int args_compose(struct dm_args *args, const struct dm_pieces *pieces,
                                        char *why)
{
    char reason[VGPU_WHY_BYTES];
    struct vgpu_config cfg;
    int n, ret;

    if (!pieces->any) {
        snprintf(why, VGPU_WHY_BYTES,
                 "no -vgpu among the arguments: give device_model_args_hvm = "
                 "[ \"-vgpu\", \"executor=cpu,memory=1G\" ], or leave device_model_override out");
        return -EINVAL;
    }
    if (!pieces->executor) {
        snprintf(why, VGPU_WHY_BYTES,
                 "-vgpu: no executor given: add executor=cpu, executor=cuda or executor=null");
        return -EINVAL;
    }
    n = snprintf(args->vm, sizeof(args->vm), "xen=%u", args->domid);
    if (!pieces->name)
        n += snprintf(args->vm + n, sizeof(args->vm) - (size_t)n, ",name=xen-%u", args->domid);
    n += snprintf(args->vm + n, sizeof(args->vm) - (size_t)n, "%s", pieces->text);
    if (n >= (int)sizeof(args->vm)) {
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %d bytes of options are too many", n);
        return -EINVAL;
    }
    vgpu_config_init(&cfg);
    ret = vgpu_config_add_vm(&cfg, args->vm, reason);
    if (!ret)
        ret = vgpu_config_finish(&cfg, reason);
    if (!ret) {
        memcpy(args->name, cfg.vms[0].name, sizeof(args->name));
        args->slot = cfg.vms[0].slot;
    }
    vgpu_config_fini(&cfg);
    if (ret)
        snprintf(why, VGPU_WHY_BYTES, "-vgpu: %.500s", reason);
    return ret;
}

int dm_args_parse(int argc, char **argv, struct dm_args *args, char *why)
{
    struct dm_pieces pieces = {0};
    int ret;

    *args = (struct dm_args){
        .control = VGPU_CONTROL_PATH,
        .log = "/var/log/vgpud.log",
        .timeout_ms = DM_DEFAULT_TIMEOUT_MS,
        .start = true,
        .qemu_argv = calloc((size_t)argc + 1, sizeof(*args->qemu_argv)),
    };
    if (!args->qemu_argv) {
        snprintf(why, VGPU_WHY_BYTES, "out of memory");
        return -ENOMEM;
    }
    ret = argv_split(argc, argv, args, &pieces, why);
    if (!ret)
        ret = argv_domid(args, why);
    if (!ret)
        ret = argv_check_guest(args, why);
    if (!ret)
        ret = args_compose(args, &pieces, why);
    if (!ret)
        ret = argv_check_slot(args, why);
    if (ret)
        dm_args_fini(args);
    return ret;
}

void dm_args_fini(struct dm_args *args)
{
    free(args->qemu_argv);
    args->qemu_argv = NULL;
}
