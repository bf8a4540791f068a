/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: hostile PTX and fatbins against the loader and, where they load, against the engine.
 *
 * The input is an image. Text that does not begin with .version gets the usual first lines in front, so that the
 * fuzzer spends its time on statements. Each kernel of a module that loads runs with one block of 40 threads,
 * every 8 bytes of its parameters holding the address of a small buffer, within a budget of instructions.
 * Afterwards nothing may be left: memory held is what it was before the load.
 */
#include "exec/cpu/ptx.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 4096u
#define BUDGET       20000u
#define KERNELS_MAX  4u

static struct vgpu_ptx_machine *machine;
static uint64_t buffer;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void start(void)
{
    struct vgpu_ptx_options options = {.threads = 1,
                                       .deterministic = true,
                                       .instruction_budget = BUDGET,
                                       .mem_limit_bytes = 64u << 20,
                                       .max_registers_bytes = 64u << 20};

    if (vgpu_ptx_machine_create(&options, &machine) ||
        vgpu_ptx_mem_alloc(machine, BUFFER_BYTES, &buffer))
        abort();
}

static void run_kernel(const struct vgpu_ptx_function *function)
{
    struct vgpu_ptx_launch launch = {
        .function = function, .grid = {1, 1, 1}, .block = {40, 1, 1}, .dynamic_shared_bytes = 256};
    struct vgpu_ptx_attributes attributes;
    struct vgpu_ptx_fault fault;
    uint64_t *params;

    vgpu_ptx_function_attributes(function, &attributes);
    if (attributes.reqntid[0])
        memcpy(launch.block, attributes.reqntid, sizeof(launch.block));
    params = calloc(1, attributes.param_bytes + 8);
    if (!params)
        return;
    for (uint32_t k = 0; k < attributes.param_bytes / 8; k++)
        params[k] = buffer;
    launch.params = params;
    launch.param_bytes = attributes.param_bytes;
    if (vgpu_ptx_launch_run(machine, &launch, &fault, NULL) == VGPU_PTX_FAULT && !fault.text[0])
        abort(); /* a fault without a word about it */
    free(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char head[] = ".version 8.0\n.target sm_90\n.address_size 64\n";
    struct vgpu_ptx_module *module = NULL;
    size_t prefix =
        bytes && (data[0] == '.' || data[0] == 0x50 || data[0] == 0x7f) ? 0 : sizeof(head) - 1;
    char *image = malloc(prefix + bytes + 1), log[512];
    uint64_t held;

    if (!image)
        return 0;
    if (!machine)
        start();
    held = vgpu_ptx_mem_held(machine);
    memcpy(image, head, prefix);
    if (bytes)
        memcpy(image + prefix, data, bytes);
    if (vgpu_ptx_module_load(machine, image, prefix + bytes, log, sizeof(log), &module) ==
        VGPU_PTX_OK) {
        for (uint32_t k = 0; k < KERNELS_MAX && vgpu_ptx_module_kernel(module, k); k++)
            run_kernel(vgpu_ptx_module_kernel(module, k));
        vgpu_ptx_module_unload(module);
    } else if (!log[0]) {
        abort(); /* a refusal without a reason */
    }
    if (vgpu_ptx_mem_held(machine) != held)
        abort();
    free(image);
    return 0;
}
