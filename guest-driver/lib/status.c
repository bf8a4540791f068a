/* SPDX-License-Identifier: MIT */
/*
 * Status codes in words, and the last failure of each thread.
 *
 * A function that fails because the device said so goes through vgpu_fail(), one
 * that fails by itself through vgpu_fail_errno(): so vgpu_last_status() always
 * speaks of the same call as the errno the caller holds.
 */
#include "internal.h"
#include "vgpu_barrier.h"

#include <errno.h>
#include <stdio.h>

static _Thread_local uint16_t last_status;

struct status_row {
    uint16_t value;
    int cuda;
    bool lost;
    const char *name;
    const char *text;
};

static const struct status_row status_rows[] = {
#define STATUS_ROW(name, value, cuda, lost, text) {value, cuda, lost, #name, text},
    VGPU_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static const struct status_row *status_find(uint16_t status)
{
    for (size_t i = 0; i < sizeof(status_rows) / sizeof(status_rows[0]); i++)
        if (status_rows[i].value == status)
            return &status_rows[i];
    return NULL;
}

const char *vgpu_version(void)
{
    return VGPU_VERSION;
}

const char *vgpu_status_name(uint16_t status)
{
    const struct status_row *row = status_find(status);

    return row ? row->name : "UNKNOWN";
}

const char *vgpu_status_text(uint16_t status)
{
    const struct status_row *row = status_find(status);

    return row ? row->text : "status unknown to this library";
}

unsigned int vgpu_status_blame(uint16_t status)
{
    return VGPU_BLAME(status);
}

int vgpu_status_cuda(uint16_t status)
{
    const struct status_row *row = status_find(status);

    return row ? row->cuda : 999;
}

bool vgpu_status_is_lost(uint16_t status)
{
    const struct status_row *row = status_find(status);

    return row && row->lost;
}

int vgpu_status_errno(uint16_t status)
{
    switch (status) {
    case VGPU_ST_OK: return 0;
    case VGPU_ST_BUSY:
    case VGPU_ST_NOT_READY: return -EAGAIN;
    case VGPU_ST_BAD_OPCODE:
    case VGPU_ST_BAD_FLAGS:
    case VGPU_ST_BAD_RESERVED:
    case VGPU_ST_BAD_VALUE:
    case VGPU_ST_BAD_HANDLE:
    case VGPU_ST_BAD_BUFFER:
    case VGPU_ST_BAD_RANGE:
    case VGPU_ST_LAUNCH_RESOURCES:
    case VGPU_ST_BAD_PARAMS: return -EINVAL;
    case VGPU_ST_BAD_ACCESS: return -EACCES;
    case VGPU_ST_BAD_ADDRESS: return -EFAULT;
    case VGPU_ST_OUT_OF_MEMORY:
    case VGPU_ST_HOST_MEMORY: return -ENOMEM;
    case VGPU_ST_LIMIT: return -ENOSPC;
    case VGPU_ST_NOT_FOUND: return -ENOENT;
    case VGPU_ST_BAD_IMAGE:
    case VGPU_ST_NO_BINARY: return -ENOEXEC;
    case VGPU_ST_BAD_PTX: return -EBADMSG;
    case VGPU_ST_UNSUPPORTED_PTX:
    case VGPU_ST_NOT_SUPPORTED: return -EOPNOTSUPP;
    case VGPU_ST_HOST_NO_DEVICE: return -ENODEV;
    default: return -EIO;
    }
}

uint16_t vgpu_last_status(void)
{
    return last_status;
}

int vgpu_fail(uint16_t status)
{
    if (status != VGPU_ST_OK)
        last_status = status;
    return vgpu_status_errno(status);
}

int vgpu_fail_errno(int err)
{
    last_status = VGPU_ST_OK;
    return err;
}

/* The reason follows the state; engine_is_lost() has acquired it. */
int vgpu_fail_lost(struct vgpu_ctx *ctx)
{
    last_status = (uint16_t)vgpu_load_relaxed(&ctx->ro->lost_status);
    return -EIO;
}

char *vgpu_executor_text(const struct vgpu_info *info, char *buf, size_t bytes)
{
    switch (info->exec_kind) {
    case VGPU_EXEC_NULL: snprintf(buf, bytes, "null executor"); break;
    case VGPU_EXEC_CPU: snprintf(buf, bytes, "CPU executor"); break;
    case VGPU_EXEC_CUDA:
        snprintf(buf, bytes, "CUDA on %.*s", (int)sizeof(info->name), (const char *)info->name);
        break;
    default: snprintf(buf, bytes, "unknown executor %u", info->exec_kind); break;
    }
    return buf;
}
