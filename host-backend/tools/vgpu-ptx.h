// SPDX-License-Identifier: MIT
/*
 * What the files of vgpu-ptx share: the request of a `run`, exit codes, loading of files, kernel arguments.
 *
 * vgpu-ptx.c has the command line and `check`; vgpu-ptx-cpu.c and vgpu-ptx-cuda.c run a kernel, each on its
 * executor; vgpu-ptx-args.c turns argument texts into a parameter block, whichever runs.  One thread.
 */
#ifndef VGPU_TOOLS_PTX_H
#define VGPU_TOOLS_PTX_H

#include "exec/cpu/ptx.h"

#include <stddef.h>
#include <stdint.h>
#include <vgpu/layout.h>

#define PTXTOOL_FAULT    1 /* of the file or the kernel */
#define PTXTOOL_USAGE    2 /* of the caller, or of the machine */
#define PTXTOOL_ARGS_MAX 256u

/* A `run` as the command line asks for it; the texts are the caller's. */
struct ptxtool_run {
    char *const *files;
    uint32_t file_count; /* >= 1 */
    const char *kernel;
    uint32_t grid[3], block[3];
    uint32_t shared_bytes; /* dynamic */
    uint32_t timeout_ms;   /* 0: none */
    uint32_t threads;      /* 0: as the machine has */
    bool on_cuda, cooperative, show_time, show_stats;
    const char *device; /* of cuda; NULL: the only one */
    const char *args[PTXTOOL_ARGS_MAX];
    uint32_t arg_count;
};

/* 0 or an exit code, what is wrong having been said. */
int ptxtool_run_cpu(const struct ptxtool_run *run);
int ptxtool_run_cuda(const struct ptxtool_run *run);

/* Says "vgpu-ptx: ..."; PTXTOOL_USAGE. */
int ptxtool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The whole file, to be freed; NULL, having said why. */
void *ptxtool_read(const char *path, size_t *bytes);
/* Says how long the kernel ran. */
void ptxtool_show_time(double seconds);

/* vgpu-ptx-cpu.c: `count` files linked into one module; 0 or an exit code. */
int ptxtool_load(struct vgpu_ptx_machine *machine, char *const *files, uint32_t count,
                 struct vgpu_ptx_module **module);

/* Device memory, wherever it is: false if there is none left, or it can't be reached. */
struct ptxtool_memory {
    bool (*alloc)(void *opaque, size_t bytes, uint64_t *va); /* reads as zeroes */
    bool (*write)(void *opaque, uint64_t va, const void *data, size_t bytes);
    bool (*read)(void *opaque, uint64_t va, void *data, size_t bytes);
    void *opaque;
};

struct ptxtool_args {
    struct ptxtool_memory memory;
    unsigned char *packed; /* the parameter block, 16-byte aligned */
    uint32_t packed_bytes;
    struct {
        uint64_t va;
        size_t bytes;
        const char *out_path; /* inside the caller's argument text */
    } buffers[PTXTOOL_ARGS_MAX];
    uint32_t buffer_count;
};

/* The run's arguments to a parameter block of the kernel's layout, buffers loaded; 0 or an exit code.
 * args->memory is set; to be freed also after a failure. */
int ptxtool_args_pack(struct ptxtool_args *args, const struct ptxtool_run *run,
                      const struct vgpu_func_info *info, const struct vgpu_param_info *params);
/* Writes the output buffers to their files; 0 or an exit code. */
int ptxtool_args_write(struct ptxtool_args *args);
/* The parameter block only: buffers live as long as the device memory does. */
void ptxtool_args_free(struct ptxtool_args *args);

#endif
