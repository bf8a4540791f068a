/* SPDX-License-Identifier: MIT */
/*
 * What vgpud needs of the host's kernel, looked at before anything is started.
 */
#ifndef VGPU_DAEMON_KERNEL_H
#define VGPU_DAEMON_KERNEL_H

#include <stddef.h>

/*
 * Does this kernel have the calls that supervise processes?  Without one, vgpud would start and later
 * take a process for dead that lives, or hand descriptors to one that must not have them.
 * 0, or -ENOSYS with what is missing, since when there is that, and what runs here in `why`.
 */
__attribute__((warn_unused_result)) int vgpu_kernel_check(char *why, size_t room);

#endif /* VGPU_DAEMON_KERNEL_H */
