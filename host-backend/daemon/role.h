/* SPDX-License-Identifier: MIT */
/*
 * The roles of the one binary, and what vgpud hands to a vm process.
 *
 *   vgpud                  listener and supervisor
 *   vgpud --role=vm        one VM's device       fds below
 *   vgpud --role=exec      one context           fds of exec/proto.h
 *   vgpud --role=probe     asks an executor what it is
 *
 * Setup travels in a sealed memfd, as one struct: both sides are the same binary.
 */
#ifndef VGPU_DAEMON_ROLE_H
#define VGPU_DAEMON_ROLE_H

#include <stdint.h>
#include <sys/types.h>
#include <daemon/config.h>
#include <vgpu/layout.h>

#define VGPU_VMFD_SETUP   3
#define VGPU_VMFD_CONTROL 4 /* SOCK_SEQPACKET to vgpud */
#define VGPU_VMFD_CLIENT  5 /* the accepted vfio-user connection */
#define VGPU_VMFD_LOCK    6 /* the VM's generation file, an open file description of its own */
#define VGPU_VMFD_EXE     7 /* this binary */

#define VGPU_SETUP_MAGIC 0x76677075u

struct vgpu_vm_setup {
    uint32_t magic;
    uint32_t bytes;
    uint32_t vm_id;
    uint32_t log_level;
    uint32_t debug;
    uint32_t drop_user; /* started as root: become uid, gid */
    uid_t uid;
    gid_t gid;
    char runtime_dir[VGPU_PATH_BYTES];
    struct vgpu_vm_config config;
    struct vgpu_device_props props;
    uint64_t context_bytes;
};

/* What vgpud and a vm process say to each other, one message each. */
#define VGPU_CTL_REPORT   1u /* vgpud -> vm: send a report (report.h) */
#define VGPU_CTL_DETACHED 2u /* vm -> vgpud: the client is gone, the end is near */
#define VGPU_CTL_ATTACHED 3u /* vm -> vgpud: the generation is announced; generation follows */

#define VGPU_CTL_FAILED   4u /* vm -> vgpud: a Xen domain can't be served; a struct of its own */

struct vgpu_ctl {
    uint32_t what;
    uint32_t value;
};

struct vgpu_ctl_failed {
    uint32_t what;
    char why[252];
};

int vgpu_vm_main(void);

#endif /* VGPU_DAEMON_ROLE_H */
