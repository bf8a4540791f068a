/* SPDX-License-Identifier: MIT */
/*
 * Immediate and barrier commands, carried out (spec 9 to 11).
 *
 * A call was validated before (validate.h).  What it reads from guest memory - an image, a name - is
 * copied here once, privately, before anything looks at it; what it writes there - a log, a
 * record - is put together privately and copied out at the end.  When to run it (a barrier's wait)
 * is the dispatcher's business.
 */
#ifndef VGPU_EXEC_CALL_H
#define VGPU_EXEC_CALL_H

#include <exec/exec.h>
#include <exec/validate.h>

/* Longest log handed to a guest, NUL included; a request for more is cut to it. */
#define VGPU_CALL_LOG_BYTES 65536

/* A parameter takes at least one byte of the block. */
#define VGPU_CALL_MAX_PARAMS VGPU_MAX_PARAM_BYTES

struct vgpu_call_env {
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    uint64_t memory_limit;
    /* Bytes the whole VM holds. */
    uint64_t (*vm_held)(void *opaque);
    void *opaque;
    /* scratch, made by vgpu_call_env_init() */
    char *log; /* VGPU_CALL_LOG_BYTES, for output as well */
    struct {
        struct vgpu_func_info info;
        struct vgpu_param_info params[VGPU_CALL_MAX_PARAMS];
    } * func;
    uint64_t modules; /* loaded now */
};

struct vgpu_call_result {
    uint16_t status;
    uint32_t aux;
    uint64_t result;
};

int vgpu_call_env_init(struct vgpu_call_env *env) __attribute__((warn_unused_result));
void vgpu_call_env_fini(struct vgpu_call_env *env);

void vgpu_call_run(struct vgpu_call_env *env, const struct vgpu_call *call,
                   struct vgpu_call_result *res);

#endif /* VGPU_EXEC_CALL_H */
