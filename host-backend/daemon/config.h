/* SPDX-License-Identifier: MIT */
/*
 * What the operator decided: daemon settings and one record per VM.
 *
 * The same keys come from `--vm key=value,...` and from `[vm NAME]` sections of a file,
 * and go through one table; daemon settings likewise from long options and `[vgpud]`.  A value
 * is checked where it is set; what needs the whole is checked at the end by
 * vgpu_config_finish().  Errors are one line naming the value and what is allowed.
 */
#ifndef VGPU_DAEMON_CONFIG_H
#define VGPU_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <daemon/log.h>

#ifndef VGPU_MUST_CHECK
#define VGPU_MUST_CHECK __attribute__((warn_unused_result))
#endif

#define VGPU_VM_NAME_BYTES 32
#define VGPU_PATH_BYTES    108 /* what fits a socket address */
#define VGPU_MAX_VMS       256
#define VGPU_WHY_BYTES     512

struct vgpu_vm_config {
    char name[VGPU_VM_NAME_BYTES];
    char socket[VGPU_PATH_BYTES];
    char device[64]; /* operator's choice of GPU, "": none named */
    char executor[16];
    uint32_t exec_kind;    /* VGPU_EXEC_* */
    bool allow_hmm;        /* cuda: kernels may access all memory of their process */
    uint64_t memory_bytes; /* device memory the VM may hold */
    uint32_t deadline_ms;  /* of one kernel, 0: none */
    uint32_t contexts;
    uint32_t poll_us;
    uint32_t threads; /* of the cpu executor, 0: as the machine has */
    uint32_t socket_mode;
    gid_t socket_gid; /* (gid_t)-1: as vgpud */
    uint32_t domid;   /* Xen domain to serve, instead of a socket; 0: none */
    uint32_t slot;    /* of that domain's PCI bus */
};

struct vgpu_config {
    struct vgpu_vm_config *vms;
    size_t vm_count;
    bool no_vm; /* begin with none: Xen domains are attached later */
    char control[VGPU_PATH_BYTES];
    char runtime_dir[VGPU_PATH_BYTES]; /* not given: where the control socket is */
    char user[32];                     /* whom vm and exec processes run as when vgpud is root */
    enum vgpu_log_level log_level;
    uint32_t debug;
};

void vgpu_config_init(struct vgpu_config *cfg);
void vgpu_config_fini(struct vgpu_config *cfg);

/* All: 0, or -EINVAL (or -errno of the file) with the reason in why[VGPU_WHY_BYTES]. */
VGPU_MUST_CHECK int vgpu_config_add_vm(struct vgpu_config *cfg, const char *text, char *why);
VGPU_MUST_CHECK int vgpu_config_set(struct vgpu_config *cfg, const char *key, const char *value,
                                    char *why);
VGPU_MUST_CHECK int vgpu_config_load(struct vgpu_config *cfg, const char *path, char *why);
VGPU_MUST_CHECK int vgpu_config_finish(struct vgpu_config *cfg, char *why);

/* "4096", "512M", "8G"... and "0", "500ms", "10s", "2m".  0 or -EINVAL. */
VGPU_MUST_CHECK int vgpu_parse_bytes(const char *text, uint64_t *bytes);
VGPU_MUST_CHECK int vgpu_parse_time_ms(const char *text, uint32_t *ms);

#endif /* VGPU_DAEMON_CONFIG_H */
