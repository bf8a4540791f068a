/* SPDX-License-Identifier: MIT */
/*
 * Configuration: see config.h.
 *
 * Each key is a row: its name, the function that sets it, what to say is allowed.
 * The file's format is INI as libinih reads it.
 */
#include <daemon/config.h>
#include <vgpu/hw.h>

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONFIG_MAX_DOMID   32751u
#define CONFIG_SLOT        0x10u
#define CONFIG_RUNTIME_DIR "/run/vgpu"
#define CONFIG_MIN_MEMORY  (1ull << 20)
#define CONFIG_MAX_MEMORY  (1ull << 50)
#define CONFIG_DEADLINE    10000u /* of the cpu executor, unless told */
#define CONFIG_MAX_TIME_MS 86400000u

struct vm_key {
    const char *name;
    int (*set)(struct vgpu_vm_config *vm, const char *value);
    const char *allowed;
};

struct global_key {
    const char *name;
    int (*set)(struct vgpu_config *cfg, const char *value);
    const char *allowed;
};

/* ---- Values ---- */

/* Decimal digits, then a suffix. */
static VGPU_MUST_CHECK int parse_number(const char *text, uint64_t *value, const char **suffix)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    errno = 0;
    *value = strtoull(text, &end, 10);
    *suffix = end;
    return errno ? -EINVAL : 0;
}

int vgpu_parse_bytes(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    const char *suffix, *unit;
    uint64_t value;

    if (parse_number(text, &value, &suffix))
        return -EINVAL;
    if (suffix[0]) {
        unit = strchr(units, toupper((unsigned char)suffix[0]));
        if (!unit || (suffix[1] && strcasecmp(suffix + 1, "iB")))
            return -EINVAL;
        for (const char *u = units; u <= unit; u++) {
            if (__builtin_mul_overflow(value, 1024u, &value))
                return -EINVAL;
        }
    }
    *bytes = value;
    return 0;
}

int vgpu_parse_time_ms(const char *text, uint32_t *ms)
{
    static const struct {
        const char *suffix;
        uint32_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}};
    const char *suffix;
    uint64_t value;

    if (parse_number(text, &value, &suffix))
        return -EINVAL;
    if (!suffix[0] && !value) {
        *ms = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(suffix, units[i].suffix))
            continue;
        if (value > CONFIG_MAX_TIME_MS / units[i].ms)
            return -EINVAL;
        *ms = (uint32_t)value * units[i].ms;
        return 0;
    }
    return -EINVAL;
}

static VGPU_MUST_CHECK int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
    const char *suffix;
    uint64_t v;

    if (parse_number(text, &v, &suffix) || suffix[0] || v < min || v > max)
        return -EINVAL;
    *value = (uint32_t)v;
    return 0;
}

static VGPU_MUST_CHECK int set_text(char *dst, size_t room, const char *value)
{
    size_t n = strlen(value);

    if (!n || n >= room)
        return -EINVAL;
    memcpy(dst, value, n + 1);
    return 0;
}

static VGPU_MUST_CHECK int set_path(char *dst, const char *value)
{
    return value[0] == '/' ? set_text(dst, VGPU_PATH_BYTES, value) : -EINVAL;
}

/* ---- Keys of a VM ---- */

static int vm_set_name(struct vgpu_vm_config *vm, const char *value)
{
    for (const char *p = value; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return -EINVAL;
    }
    return value[0] == '.' || value[0] == '-' ? -EINVAL
                                              : set_text(vm->name, sizeof(vm->name), value);
}

static int vm_set_socket(struct vgpu_vm_config *vm, const char *value)
{
    return set_path(vm->socket, value);
}

static int vm_set_executor(struct vgpu_vm_config *vm, const char *value)
{
    static const char *const names[] = {
        [VGPU_EXEC_NULL] = "null", [VGPU_EXEC_CPU] = "cpu", [VGPU_EXEC_CUDA] = "cuda"};

    for (uint32_t kind = VGPU_EXEC_NULL; kind <= VGPU_EXEC_CUDA; kind++) {
        if (strcmp(value, names[kind]))
            continue;
        vm->exec_kind = kind;
        return set_text(vm->executor, sizeof(vm->executor), value);
    }
    return -EINVAL;
}

static int vm_set_memory(struct vgpu_vm_config *vm, const char *value)
{
    uint64_t bytes;

    if (vgpu_parse_bytes(value, &bytes) || bytes < CONFIG_MIN_MEMORY || bytes > CONFIG_MAX_MEMORY)
        return -EINVAL;
    vm->memory_bytes = bytes;
    return 0;
}

static int vm_set_deadline(struct vgpu_vm_config *vm, const char *value)
{
    return vgpu_parse_time_ms(value, &vm->deadline_ms);
}

static int vm_set_contexts(struct vgpu_vm_config *vm, const char *value)
{
    return parse_u32(value, 1, VGPU_MAX_CONTEXTS, &vm->contexts);
}

static int vm_set_poll_us(struct vgpu_vm_config *vm, const char *value)
{
    return parse_u32(value, 0, 1000000, &vm->poll_us);
}

static int vm_set_threads(struct vgpu_vm_config *vm, const char *value)
{
    return parse_u32(value, 0, 1024, &vm->threads);
}

static int vm_set_device(struct vgpu_vm_config *vm, const char *value)
{
    return set_text(vm->device, sizeof(vm->device), value);
}

static int vm_set_hmm(struct vgpu_vm_config *vm, const char *value)
{
    vm->allow_hmm = !strcmp(value, "allow");
    return vm->allow_hmm || !strcmp(value, "refuse") ? 0 : -EINVAL;
}

static int vm_set_socket_mode(struct vgpu_vm_config *vm, const char *value)
{
    char *end;
    unsigned long mode = strtoul(value, &end, 8);

    if (!isdigit((unsigned char)value[0]) || *end || mode > 0777)
        return -EINVAL;
    vm->socket_mode = (uint32_t)mode;
    return 0;
}

static int vm_set_socket_group(struct vgpu_vm_config *vm, const char *value)
{
    struct group gr, *found = NULL;
    char buf[4096];

    if (getgrnam_r(value, &gr, buf, sizeof(buf), &found) || !found)
        return -EINVAL;
    vm->socket_gid = gr.gr_gid;
    return 0;
}

static int vm_set_xen(struct vgpu_vm_config *vm, const char *value)
{
    return parse_u32(value, 1, CONFIG_MAX_DOMID, &vm->domid);
}

/* Decimal, or as lspci has it: 0x10. */
static int vm_set_slot(struct vgpu_vm_config *vm, const char *value)
{
    char *end;
    unsigned long slot = strtoul(value, &end, 0);

    if (!isdigit((unsigned char)value[0]) || *end || slot < 2 || slot > 31)
        return -EINVAL;
    vm->slot = (uint32_t)slot;
    return 0;
}

static const struct vm_key vm_keys[] = {
    {"name", vm_set_name, "1 to 31 letters, digits, '-', '_' and '.'"},
    {"socket", vm_set_socket, "an absolute path of at most 107 bytes"},
    {"executor", vm_set_executor, "cpu, null or cuda"},
    {"memory", vm_set_memory, "1M to 1024T, with a suffix K, M, G or T"},
    {"deadline", vm_set_deadline, "0 (none), or a time like 500ms, 10s or 2m, at most a day"},
    {"contexts", vm_set_contexts, "1 to 256"},
    {"poll-us", vm_set_poll_us, "0 to 1000000"},
    {"threads", vm_set_threads, "0 (as the machine has) to 1024"},
    {"device", vm_set_device, "a GPU's UUID or PCI address, at most 63 bytes"},
    {"hmm", vm_set_hmm, "refuse or allow"},
    {"socket-mode", vm_set_socket_mode, "an octal file mode like 0660"},
    {"socket-group", vm_set_socket_group, "an existing group"},
    {"xen", vm_set_xen, "the id of a Xen domain, 1 to 32751"},
    {"slot", vm_set_slot, "a slot of the domain's PCI bus, 2 to 31 (0x2 to 0x1f)"},
};

static VGPU_MUST_CHECK int vm_set(struct vgpu_vm_config *vm, const char *key, const char *value,
                                  char *why)
{
    for (size_t i = 0; i < sizeof(vm_keys) / sizeof(vm_keys[0]); i++) {
        if (strcmp(key, vm_keys[i].name))
            continue;
        if (!vm_keys[i].set(vm, value))
            return 0;
        snprintf(why, VGPU_WHY_BYTES, "%s=%.100s: allowed is %s", key, value, vm_keys[i].allowed);
        return -EINVAL;
    }
    snprintf(why, VGPU_WHY_BYTES,
             "unknown key '%.60s': a VM has name, socket, executor, memory, deadline, contexts, "
             "poll-us, threads, device, hmm, socket-mode, socket-group, xen, slot",
             key);
    return -EINVAL;
}

static struct vgpu_vm_config *vm_new(struct vgpu_config *cfg, char *why)
{
    struct vgpu_vm_config *vms;

    if (cfg->vm_count >= VGPU_MAX_VMS) {
        snprintf(why, VGPU_WHY_BYTES, "more than %d VMs", VGPU_MAX_VMS);
        return NULL;
    }
    vms = reallocarray(cfg->vms, cfg->vm_count + 1, sizeof(*vms));
    if (!vms) {
        snprintf(why, VGPU_WHY_BYTES, "out of memory");
        return NULL;
    }
    cfg->vms = vms;
    vms += cfg->vm_count++;
    *vms = (struct vgpu_vm_config){
        .memory_bytes = 1ull << 30,
        .deadline_ms = UINT32_MAX, /* not given: depends on the executor */
        .contexts = 64,
        .poll_us = 50,
        .socket_mode = 0600,
        .socket_gid = (gid_t)-1,
        .slot = CONFIG_SLOT,
    };
    return vms;
}

int vgpu_config_add_vm(struct vgpu_config *cfg, const char *text, char *why)
{
    struct vgpu_vm_config *vm = vm_new(cfg, why);
    char *copy, *save = NULL;
    int ret = 0;

    if (!vm)
        return -EINVAL;
    copy = strdup(text);
    if (!copy) {
        snprintf(why, VGPU_WHY_BYTES, "out of memory");
        return -ENOMEM;
    }
    for (char *p = strtok_r(copy, ",", &save); p && !ret; p = strtok_r(NULL, ",", &save)) {
        char *value = strchr(p, '=');

        if (!value) {
            snprintf(why, VGPU_WHY_BYTES, "'%.60s': expected key=value", p);
            ret = -EINVAL;
            break;
        }
        *value++ = '\0';
        ret = vm_set(vm, p, value, why);
    }
    free(copy);
    return ret;
}

/* ---- Daemon settings ---- */

static int global_set_control(struct vgpu_config *cfg, const char *value)
{
    return set_path(cfg->control, value);
}

static int global_set_runtime_dir(struct vgpu_config *cfg, const char *value)
{
    return set_path(cfg->runtime_dir, value);
}

static int global_set_user(struct vgpu_config *cfg, const char *value)
{
    return set_text(cfg->user, sizeof(cfg->user), value);
}

static int global_set_log_level(struct vgpu_config *cfg, const char *value)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(value, names[i])) {
            cfg->log_level = (enum vgpu_log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int global_set_debug(struct vgpu_config *cfg, const char *value)
{
    if (!strcmp(value, "data"))
        cfg->debug |= VGPU_LOG_DATA;
    else if (!strcmp(value, "control"))
        cfg->debug |= VGPU_LOG_CONTROL;
    else
        return -EINVAL;
    return 0;
}

static const struct global_key global_keys[] = {
    {"control", global_set_control, "an absolute path of at most 107 bytes"},
    {"runtime-dir", global_set_runtime_dir, "an absolute path of at most 107 bytes"},
    {"user", global_set_user, "a user name"},
    {"log-level", global_set_log_level, "error, warning, info or debug"},
    {"debug", global_set_debug, "control or data"},
};

int vgpu_config_set(struct vgpu_config *cfg, const char *key, const char *value, char *why)
{
    for (size_t i = 0; i < sizeof(global_keys) / sizeof(global_keys[0]); i++) {
        if (strcmp(key, global_keys[i].name))
            continue;
        if (!global_keys[i].set(cfg, value))
            return 0;
        snprintf(why, VGPU_WHY_BYTES, "%s=%.120s: allowed is %s", key, value,
                 global_keys[i].allowed);
        return -EINVAL;
    }
    snprintf(why, VGPU_WHY_BYTES,
             "unknown setting '%.60s': there are control, runtime-dir, user, log-level, debug",
             key);
    return -EINVAL;
}

/* ---- File ---- */

struct config_file {
    struct vgpu_config *cfg;
    char *why;
    size_t first_vm; /* VMs before came from elsewhere */
    bool failed;
};

static struct vgpu_vm_config *file_vm(struct config_file *file, const char *name)
{
    struct vgpu_vm_config *vm;

    for (size_t i = file->first_vm; i < file->cfg->vm_count; i++) {
        if (!strcmp(file->cfg->vms[i].name, name))
            return &file->cfg->vms[i];
    }
    vm = vm_new(file->cfg, file->why);
    return vm && !vm_set(vm, "name", name, file->why) ? vm : NULL;
}

/* libinih's callback: 0 stops at this line. */
static int file_line(void *user, const char *section, const char *key, const char *value)
{
    struct config_file *file = user;
    int ret;

    if (file->failed)
        return 0;
    if (!strcmp(section, "vgpud")) {
        ret = vgpu_config_set(file->cfg, key, value, file->why);
    } else if (!strncmp(section, "vm ", 3)) {
        struct vgpu_vm_config *vm = file_vm(file, section + 3 + strspn(section + 3, " "));

        ret = vm ? vm_set(vm, key, value, file->why) : -EINVAL;
    } else {
        snprintf(file->why, VGPU_WHY_BYTES, "section [%.40s]: there are [vgpud] and [vm NAME]",
                 section);
        ret = -EINVAL;
    }
    file->failed = ret != 0;
    return !ret;
}

int vgpu_config_load(struct vgpu_config *cfg, const char *path, char *why)
{
    char reason[VGPU_WHY_BYTES] = "not of the form [section] or key = value";
    struct config_file file = {cfg, reason, cfg->vm_count, false};
    int line = ini_parse(path, file_line, &file);

    if (!line)
        return 0;
    if (line < 0) {
        snprintf(why, VGPU_WHY_BYTES, "%.200s: %s", path, strerror(errno));
        return -EINVAL;
    }
    snprintf(why, VGPU_WHY_BYTES, "%.150s:%d: %.300s", path, line, reason);
    return -EINVAL;
}

/* ---- The whole ---- */

void vgpu_config_init(struct vgpu_config *cfg)
{
    *cfg = (struct vgpu_config){.log_level = VGPU_LOG_INFO, .user = "nobody"};
}

void vgpu_config_fini(struct vgpu_config *cfg)
{
    free(cfg->vms);
    cfg->vms = NULL;
    cfg->vm_count = 0;
}

static VGPU_MUST_CHECK int vm_finish(struct vgpu_config *cfg, size_t idx, char *why)
{
    struct vgpu_vm_config *vm = &cfg->vms[idx];
    const char *missing = !vm->name[0]                   ? "name"
                          : !vm->socket[0] && !vm->domid ? "socket"
                          : !vm->executor[0]             ? "executor"
                                                         : NULL;

    if (missing) {
        snprintf(why, VGPU_WHY_BYTES, "VM %zu (%s): no %s given", idx + 1,
                 vm->name[0] ? vm->name : "unnamed", missing);
        return -EINVAL;
    }
    if (vm->socket[0] && vm->domid) {
        snprintf(why, VGPU_WHY_BYTES, "VM %zu (%s): has a socket and a Xen domain, allowed is one",
                 idx + 1, vm->name);
        return -EINVAL;
    }
    if (vm->deadline_ms == UINT32_MAX)
        vm->deadline_ms = vm->exec_kind == VGPU_EXEC_CPU ? CONFIG_DEADLINE : 0;
    for (size_t i = 0; i < idx; i++) {
        const char *same = !strcmp(cfg->vms[i].name, vm->name)                        ? "name"
                           : vm->socket[0] && !strcmp(cfg->vms[i].socket, vm->socket) ? "socket"
                           : vm->domid && cfg->vms[i].domid == vm->domid              ? "Xen domain"
                                                                                      : NULL;

        if (same) {
            snprintf(why, VGPU_WHY_BYTES, "VMs %zu and %zu have the same %s", i + 1, idx + 1, same);
            return -EINVAL;
        }
    }
    return 0;
}

/* Control socket and runtime directory: each is found from the other, if only one is given. */
static VGPU_MUST_CHECK int paths_finish(struct vgpu_config *cfg, char *why)
{
    const char *slash = strrchr(cfg->control, '/');
    size_t n = slash ? (size_t)(slash - cfg->control) : 0;

    if (!cfg->runtime_dir[0]) {
        if (n)
            memcpy(cfg->runtime_dir, cfg->control, n); /* zeroed before, and as long as control */
        else
            memcpy(cfg->runtime_dir, CONFIG_RUNTIME_DIR, sizeof(CONFIG_RUNTIME_DIR));
    }
    if (cfg->control[0])
        return 0;
    if (snprintf(cfg->control, sizeof(cfg->control), "%s/control.sock", cfg->runtime_dir) >=
        (int)sizeof(cfg->control)) {
        snprintf(why, VGPU_WHY_BYTES, "runtime-dir is too long to hold the control socket");
        return -EINVAL;
    }
    return 0;
}

int vgpu_config_finish(struct vgpu_config *cfg, char *why)
{
    if (!cfg->vm_count && !cfg->no_vm) {
        snprintf(why, VGPU_WHY_BYTES,
                 "no VM given: use --vm or --config, or --no-vm to begin without one");
        return -EINVAL;
    }
    for (size_t i = 0; i < cfg->vm_count; i++) {
        int ret = vm_finish(cfg, i, why);

        if (ret)
            return ret;
    }
    return paths_finish(cfg, why);
}
