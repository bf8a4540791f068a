/* SPDX-License-Identifier: MIT */
/*
 * Guest memory of a Xen domain, mapped into an exec process.
 *
 * Theory of operation.  On Xen a run's descriptor is no file but Linux's privcmd device, narrowed by
 * the vm process to the one domain, and its offsets are guest-physical addresses.  Any
 * pages can stand one behind the other in one mapping, so a buffer is one mapping however
 * it is scattered.  Such mappings are lost in a fork and can't be pinned; nothing here does either.
 *
 * The calls are Linux's own (include/uapi/xen/privcmd.h and evtchn.h), which are stable.
 */
#ifndef VGPU_EXEC_FOREIGN_H
#define VGPU_EXEC_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <exec/proto.h>

/* The requests that the processes make once they are isolated, for the system call filter. */
#define VGPU_PRIVCMD_MMAPBATCH 0x00205004u /* map pages: _IOC(NONE, 'P', 4, 32) */
#define VGPU_PRIVCMD_DM_OP     0x00105005u /* device model operations: _IOC(NONE, 'P', 5, 16) */
#define VGPU_EVTCHN_NOTIFY     0x00044504u /* _IOC(NONE, 'E', 4, 4) */

/* From now on run descriptors are of this domain's memory.  Called once, at START. */
void vgpu_foreign_set(uint32_t domid);
bool vgpu_foreign_is_set(void);

/* Map all runs (whole pages, `bytes` together) one behind the other.  0 with *map, or -errno:
 * -EFAULT when one of the pages is no memory that can be mapped so. */
int vgpu_foreign_map(const struct vgpu_xrun *runs, uint32_t count, int fd, size_t bytes, int prot,
                     void **map) __attribute__((warn_unused_result));

#endif /* VGPU_EXEC_FOREIGN_H */
