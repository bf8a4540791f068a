// SPDX-License-Identifier: MIT
/*
 * What the files of vgpu-ptx share: exit codes, loading of files, and the kernel arguments of a run.
 * One thread; buffers live as long as the machine.
 */
#ifndef VGPU_TOOLS_PTX_H
#define VGPU_TOOLS_PTX_H

#include "exec/cpu/ptx.h"

#include <stddef.h>

#define PTXTOOL_FAULT    1
#define PTXTOOL_USAGE    2
#define PTXTOOL_ARGS_MAX 256u

struct ptxtool_args {
    struct vgpu_ptx_machine *machine;
    unsigned char *packed;
    uint32_t packed_bytes;
    struct {
        uint64_t va;
        size_t bytes;
        const char *out_path; /* inside the caller's argument text */
    } buffers[PTXTOOL_ARGS_MAX];
    uint32_t buffer_count;
};

int ptxtool_fail(const char *format, const char *what);
void *ptxtool_read(const char *path, size_t *bytes);
int ptxtool_load(struct vgpu_ptx_machine *machine, const char *path,
                 struct vgpu_ptx_module **module);

/* vgpu-ptx-args.c: -a texts to a parameter block, buffers loaded; 0 or an exit code. */
int ptxtool_args_pack(struct ptxtool_args *args, const struct vgpu_ptx_function *function,
                      const char *const *texts, uint32_t count);
/* Writes the output buffers to their files. */
int ptxtool_args_write(struct ptxtool_args *args);
void ptxtool_args_free(struct ptxtool_args *args);

#endif
