// SPDX-License-Identifier: MIT
/*
 * The executors of this build.  One table, by the name the operator writes; the guest is
 * told the kind.
 */
#include <exec/exec.h>
#include <exec/find.h>

#include <string.h>

static const struct vgpu_exec_ops *const executors[] = {
    &vgpu_exec_null,
    &vgpu_exec_cpu,
    &vgpu_exec_cuda,
};

#define EXECUTORS (sizeof(executors) / sizeof(executors[0]))

const struct vgpu_exec_ops *vgpu_exec_find(const char *name)
{
    for (size_t i = 0; i < EXECUTORS; i++)
        if (strcmp(executors[i]->name, name) == 0)
            return executors[i];
    return NULL;
}

const struct vgpu_exec_ops *vgpu_exec_find_kind(uint32_t kind)
{
    for (size_t i = 0; i < EXECUTORS; i++)
        if (executors[i]->kind == kind)
            return executors[i];
    return NULL;
}
