/* SPDX-License-Identifier: MIT */
/*
 * A vgpud with VMs, and small things that every stage does in a context.
 */
#include "gpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADD_ELEMENTS 4096u

const char *gpu_status_name(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {
#define NAME(name, value, cuda, lost, text) {value, "VGPU_ST_" #name},
        VGPU_STATUS_LIST(NAME)
#undef NAME
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].status == status)
            return names[i].name;
    }
    if (status == -EOWNERDEAD)
        return "the context is lost";
    return status < 0 ? strerror(-status) : "an unknown status";
}

static int show_log(const struct vgpud *d)
{
    char *log = vgpud_log(d), *line, *rest = NULL;

    for (line = log ? strtok_r(log, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        fprintf(stderr, "| %s\n", line);
    free(log);
    return -1;
}

int gpu_machine_open(struct gpu_machine *machine, const struct gpu_options *options,
                     const char *const *vm_options, unsigned int vms, uint64_t ram_bytes)
{
    char text[VGPUD_MAX_VMS][256];
    const char *list[VGPUD_MAX_VMS] = {NULL};
    int rc;

    memset(machine, 0, sizeof(*machine));
    for (unsigned int i = 0; i < vms; i++) {
        const char *at = strstr(vm_options[i], "@DEV");

        snprintf(text[i], sizeof(text[i]), "%.*s%s%s%s%s",
                 at ? (int)(at - vm_options[i]) : (int)strlen(vm_options[i]), vm_options[i],
                 at && options->device ? ",device=" : "",
                 at && options->device ? options->device : "",
                 at && options->hmm ? ",hmm=allow" : "", at ? at + strlen("@DEV") : "");
        list[i] = text[i];
    }
    rc = vgpud_start(&machine->d, list, vms);
    if (rc) {
        gpu_check(GPU_FAIL, "vgpud", "does not start: %s; its log is above", strerror(-rc));
        return -1;
    }
    for (unsigned int i = 0; i < vms; i++) {
        struct gs_vm_config config = {.socket = machine->d.sockets[i], .ram_bytes = ram_bytes};

        rc = gs_vm_open(&config, &machine->vm[i]);
        if (rc) {
            gpu_check(GPU_FAIL, "vgpud", "VM %u can't attach: %s", i, gpu_status_name(rc));
            show_log(&machine->d);
            gpu_machine_close(machine, "vgpud");
            return -1;
        }
        machine->vms = i + 1;
    }
    return 0;
}

void gpu_machine_close(struct gpu_machine *machine, const char *name)
{
    int rc;

    for (unsigned int i = 0; i < machine->vms; i++)
        gs_vm_close(machine->vm[i]);
    rc = vgpud_stop(&machine->d);
    gpu_check(rc ? GPU_FAIL : GPU_PASS, name,
              rc ? "vgpud did not end well (%s): its log is on standard error"
                 : "vgpud and all its processes ended%s",
              rc ? strerror(-rc) : "");
}

int gpu_ctx_kernel(struct gs_ctx *ctx, const char *image, size_t bytes, const char *name,
                   uint32_t *module, uint32_t *function, char *why, size_t why_bytes)
{
    char log[300] = "";
    int rc = gs_module_load(ctx, image, bytes, log, sizeof(log), module);

    if (rc) {
        snprintf(why, why_bytes, "loading the module: %s: %s", gpu_status_name(rc), log);
        return rc;
    }
    rc = gs_func_lookup(ctx, *module, name, function, NULL, NULL, 0);
    if (rc) {
        snprintf(why, why_bytes, "looking up %s: %s", name, gpu_status_name(rc));
        gs_module_unload(ctx, *module);
    }
    return rc;
}

/* What is asked of the context, once its memory and buffer are there. */
static int add(struct gs_ctx *ctx, uint32_t function, const struct gs_buf *buf, uint64_t addr[3],
               uint32_t *bad)
{
    float *host = (float *)(void *)buf->ptr;
    const size_t bytes = ADD_ELEMENTS * sizeof(float);
    struct {
        uint64_t a, b, c;
        uint32_t n;
    } params = {addr[0], addr[1], addr[2], ADD_ELEMENTS};
    int rc = 0;

    for (uint32_t i = 0; i < 2 * ADD_ELEMENTS; i++)
        host[i] = (float)(i % 977) * 0.25f;
    for (unsigned int i = 0; i < 2 && !rc; i++)
        rc = gs_copy_h2d(ctx, addr[i], buf, i * bytes, bytes);
    if (!rc)
        rc = gs_launch(ctx, function, ADD_ELEMENTS / 256, 256, &params, 28);
    memset(host + 2 * ADD_ELEMENTS, 0xff, bytes);
    if (!rc)
        rc = gs_copy_d2h(ctx, buf, 2 * bytes, addr[2], bytes);
    *bad = 0;
    for (uint32_t i = 0; i < ADD_ELEMENTS && !rc; i++)
        *bad += host[2 * ADD_ELEMENTS + i] != host[i] + host[ADD_ELEMENTS + i];
    return rc;
}

int gpu_ctx_works(struct gs_ctx *ctx, const char *image, size_t bytes, char *why, size_t why_bytes)
{
    uint32_t module, function, bad = 0;
    uint64_t addr[3] = {0};
    struct gs_buf buf;
    int rc = gpu_ctx_kernel(ctx, image, bytes, "vecadd", &module, &function, why, why_bytes);

    if (rc)
        return -1;
    rc = gs_buf_create(ctx, 3 * ADD_ELEMENTS * sizeof(float), 0, VGPU_BUF_FLAGS, &buf);
    if (rc) {
        snprintf(why, why_bytes, "registering a buffer: %s", gpu_status_name(rc));
        return -1;
    }
    for (unsigned int i = 0; i < 3 && !rc; i++)
        rc = gs_mem_alloc(ctx, ADD_ELEMENTS * sizeof(float), &addr[i]);
    if (!rc)
        rc = add(ctx, function, &buf, addr, &bad);
    for (unsigned int i = 0; i < 3 && !rc; i++)
        rc = gs_mem_free(ctx, addr[i]);
    if (!rc)
        rc = gs_module_unload(ctx, module);
    if (rc)
        snprintf(why, why_bytes, "vector add: %s", gpu_status_name(rc));
    else if (bad)
        snprintf(why, why_bytes, "vector add: %u of %u elements are wrong", bad, ADD_ELEMENTS);
    gs_buf_destroy(&buf);
    return rc || bad ? -1 : 0;
}
