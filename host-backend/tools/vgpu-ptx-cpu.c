// SPDX-License-Identifier: MIT
/*
 * `vgpu-ptx run` on the CPU executor's machine, which is used as the library it is: its faults name lines, and it
 * counts what it executes.
 */
#include "vgpu-ptx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_BYTES (1u << 20)

int ptxtool_load(struct vgpu_ptx_machine *machine, char *const *files, uint32_t count,
                 struct vgpu_ptx_module **module)
{
    struct vgpu_ptx_input *inputs = calloc(count, sizeof(*inputs));
    char *log = calloc(1, LOG_BYTES);
    enum vgpu_ptx_status status;
    int result = inputs && log ? 0 : ptxtool_fail("out of memory");

    for (uint32_t k = 0; k < count && !result; k++) {
        inputs[k].name = files[k];
        inputs[k].image = ptxtool_read(files[k], &inputs[k].bytes);
        if (!inputs[k].image)
            result = PTXTOOL_USAGE;
    }
    if (!result) {
        status = vgpu_ptx_module_link(machine, inputs, count, log, LOG_BYTES, module);
        if (status && !*log)
            snprintf(log, LOG_BYTES, "%s: error: %s\n", files[0], vgpu_ptx_status_name(status));
        fputs(log, stderr);
        result = status ? PTXTOOL_FAULT : 0;
    }
    for (uint32_t k = 0; inputs && k < count; k++)
        free((void *)inputs[k].image);
    free(inputs);
    free(log);
    return result;
}

static void show_stats(const struct vgpu_ptx_counters *c)
{
    printf("blocks                %llu\n", (unsigned long long)c->blocks);
    printf("warp instructions     %llu\n", (unsigned long long)c->warp_instructions);
    printf(
        "lane instructions     %llu (%.1f of 32 lanes)\n", (unsigned long long)c->lane_instructions,
        c->warp_instructions ? (double)c->lane_instructions / (double)c->warp_instructions : 0.0);
    printf("divergent branches    %llu of %llu\n", (unsigned long long)c->divergent_branches,
           (unsigned long long)c->branches);
    printf("barrier arrivals      %llu\n", (unsigned long long)c->barriers);
    printf("global loads          %llu bytes\n", (unsigned long long)c->global_load_bytes);
    printf("global stores         %llu bytes\n", (unsigned long long)c->global_store_bytes);
    printf("atomic operations     %llu\n", (unsigned long long)c->atomics);
}

static bool memory_alloc(void *machine, size_t bytes, uint64_t *va)
{
    return vgpu_ptx_mem_alloc(machine, bytes, va) == VGPU_PTX_OK;
}

static bool memory_write(void *machine, uint64_t va, const void *data, size_t bytes)
{
    void *host = vgpu_ptx_mem_translate(machine, va, bytes);

    if (host)
        memcpy(host, data, bytes);
    return host != NULL;
}

static bool memory_read(void *machine, uint64_t va, void *data, size_t bytes)
{
    const void *host = vgpu_ptx_mem_translate(machine, va, bytes);

    if (host)
        memcpy(data, host, bytes);
    return host != NULL;
}

static int args_pack(struct ptxtool_args *args, const struct ptxtool_run *run,
                     const struct vgpu_ptx_function *function)
{
    struct vgpu_param_info params[PTXTOOL_ARGS_MAX];
    struct vgpu_ptx_attributes attributes;
    struct vgpu_func_info info = {0};
    struct vgpu_ptx_param param;

    vgpu_ptx_function_attributes(function, &attributes);
    info.param_count = attributes.param_count;
    info.param_bytes = attributes.param_bytes;
    for (uint32_t k = 0; k < PTXTOOL_ARGS_MAX && !vgpu_ptx_function_param(function, k, &param);
         k++) {
        params[k].offset = param.offset;
        params[k].bytes = param.bytes;
    }
    return ptxtool_args_pack(args, run, &info, params);
}

static int launch(struct vgpu_ptx_machine *machine, const struct ptxtool_run *run,
                  const struct vgpu_ptx_function *function, struct ptxtool_args *args)
{
    const struct vgpu_ptx_launch launch = {
        .function = function,
        .grid = {run->grid[0], run->grid[1], run->grid[2]},
        .block = {run->block[0], run->block[1], run->block[2]},
        .dynamic_shared_bytes = run->shared_bytes,
        .flags = run->cooperative ? VGPU_PTX_LAUNCH_COOPERATIVE : 0,
        .params = args->packed,
        .param_bytes = args->packed_bytes,
        .timeout_ms = run->timeout_ms,
    };
    struct vgpu_ptx_counters counters = {0};
    struct vgpu_ptx_fault fault;
    struct timespec start, end;
    enum vgpu_ptx_status status;
    int result = PTXTOOL_FAULT;

    clock_gettime(CLOCK_MONOTONIC, &start);
    status = vgpu_ptx_launch_run(machine, &launch, &fault, &counters);
    clock_gettime(CLOCK_MONOTONIC, &end);
    fflush(stdout);
    if (status == VGPU_PTX_FAULT || status == VGPU_PTX_CANCELLED)
        fprintf(stderr, "%s:%u: error: %s\n", run->files[fault.input], fault.line, fault.text);
    else if (status)
        fprintf(stderr, "%s: error: launch: %s\n", run->files[0], vgpu_ptx_status_name(status));
    else
        result = ptxtool_args_write(args);
    if (run->show_time)
        ptxtool_show_time((double)(end.tv_sec - start.tv_sec) +
                          (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    if (run->show_stats)
        show_stats(&counters);
    return result;
}

static int run_kernel(struct vgpu_ptx_machine *machine, struct vgpu_ptx_module *module,
                      const struct ptxtool_run *run)
{
    struct ptxtool_args args = {
        .memory = {memory_alloc, memory_write, memory_read, machine},
    };
    struct vgpu_ptx_function *function;
    int result;

    if (vgpu_ptx_module_function(module, run->kernel, &function)) {
        fprintf(stderr, "%s: error: no kernel '%s'\n", run->files[0], run->kernel);
        return PTXTOOL_FAULT;
    }
    result = args_pack(&args, run, function);
    if (!result)
        result = launch(machine, run, function, &args);
    ptxtool_args_free(&args);
    return result;
}

static void print_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
}

int ptxtool_run_cpu(const struct ptxtool_run *run)
{
    const struct vgpu_ptx_options options = {.threads = run->threads, .print = print_text};
    struct vgpu_ptx_machine *machine;
    struct vgpu_ptx_module *module;
    int status;

    if (vgpu_ptx_machine_create(&options, &machine))
        return ptxtool_fail("the machine cannot be created");
    status = ptxtool_load(machine, run->files, run->file_count, &module);
    if (!status) {
        status = run_kernel(machine, module, run);
        vgpu_ptx_module_unload(module);
    }
    vgpu_ptx_machine_destroy(machine);
    return status;
}
