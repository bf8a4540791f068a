/* SPDX-License-Identifier: MIT */
/*
 * The executors of this build, by kind; by name it is vgpu_exec_find() in exec.h.
 */
#ifndef VGPU_EXEC_FIND_H
#define VGPU_EXEC_FIND_H

#include <exec/exec.h>

/* `kind` is VGPU_EXEC_*.  NULL if there is no such executor in this build. */
const struct vgpu_exec_ops *vgpu_exec_find_kind(uint32_t kind);

#endif /* VGPU_EXEC_FIND_H */
