/* SPDX-License-Identifier: MIT */
/*
 * Device memory of one VM: who holds how much of the limit.
 *
 * Kept by the vm process.  Executors take before they allocate and give back after they
 * freed; what a context holds is taken from it when its process is reaped, so a crash leaks
 * nothing.  Invariant: held is the sum over all contexts and never above the limit.
 */
#ifndef VGPU_DAEMON_QUOTA_H
#define VGPU_DAEMON_QUOTA_H

#include <errno.h>
#include <stdint.h>

#ifndef VGPU_MUST_CHECK
#define VGPU_MUST_CHECK __attribute__((warn_unused_result))
#endif

struct vgpu_quota {
    uint64_t limit_bytes;
    uint64_t held_bytes;
};

/* 0, or -ENOMEM: over the limit. `ctx_bytes` is the context's account. */
VGPU_MUST_CHECK static inline int vgpu_quota_take(struct vgpu_quota *quota, uint64_t *ctx_bytes,
                                                  uint64_t bytes)
{
    if (bytes > quota->limit_bytes - quota->held_bytes)
        return -ENOMEM;
    quota->held_bytes += bytes;
    *ctx_bytes += bytes;
    return 0;
}

/* 0, or -EINVAL: the context does not hold that much; nothing changes. */
VGPU_MUST_CHECK static inline int vgpu_quota_give(struct vgpu_quota *quota, uint64_t *ctx_bytes,
                                                  uint64_t bytes)
{
    if (bytes > *ctx_bytes)
        return -EINVAL;
    *ctx_bytes -= bytes;
    quota->held_bytes -= bytes;
    return 0;
}

#endif /* VGPU_DAEMON_QUOTA_H */
