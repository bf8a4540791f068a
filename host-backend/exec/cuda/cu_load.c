/* SPDX-License-Identifier: MIT */
/*
 * Finding the CUDA driver library at run time.
 *
 * Symbols are looked up by the exact versioned names of cu.h.  A driver that lacks one is too
 * old for us; the message lists every missing name, so that an operator sees at once whether a
 * newer driver is wanted or the library is something else altogether.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <exec/cuda/cu.h>

static void append(char *text, size_t bytes, const char *more)
{
    size_t used = strlen(text);

    if (used < bytes)
        snprintf(text + used, bytes - used, "%s", more);
}

/* Object and function pointers convert through memory: ISO C has no cast between them. */
static void resolve(void *library, const char *symbol, void *slot)
{
    void *found = dlsym(library, symbol);

    memcpy(slot, &found, sizeof(found));
}

int vgpu_cu_load(struct vgpu_cu *cu, char *why, size_t why_bytes)
{
    const char *path = getenv("VGPU_LIBCUDA");
    unsigned int missing = 0;

    memset(cu, 0, sizeof(*cu));
    if (!path || !path[0])
        path = "libcuda.so.1";
    cu->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!cu->library) {
        snprintf(why, why_bytes, "no CUDA driver library: %s", dlerror());
        return -ENOENT;
    }
    snprintf(why, why_bytes, "%s lacks", path);
#define RESOLVE(symbol, args) resolve(cu->library, #symbol, &cu->symbol);
    VGPU_CU_REQUIRED(RESOLVE)
    VGPU_CU_OPTIONAL(RESOLVE)
#undef RESOLVE
#define REQUIRE(symbol, args)                                                                      \
    if (!cu->symbol) {                                                                             \
        append(why, why_bytes, " " #symbol);                                                       \
        missing++;                                                                                 \
    }
    VGPU_CU_REQUIRED(REQUIRE)
#undef REQUIRE
    if (missing > 0) {
        append(why, why_bytes, ": install a newer NVIDIA driver");
        vgpu_cu_unload(cu);
        return -ENOSYS;
    }
    why[0] = '\0';
    return 0;
}

void vgpu_cu_unload(struct vgpu_cu *cu)
{
    if (cu->library)
        dlclose(cu->library);
    memset(cu, 0, sizeof(*cu));
}

const char *vgpu_cu_error(const struct vgpu_cu *cu, CUresult result, char *text, size_t bytes)
{
    const char *name = NULL;
    const char *reason = NULL;

    if (cu->cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "unknown CUDA error";
    if (cu->cuGetErrorString(result, &reason) != CUDA_SUCCESS || !reason)
        reason = "no description";
    snprintf(text, bytes, "%s (%d): %s", name, result, reason);
    return text;
}
