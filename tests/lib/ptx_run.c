/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the PTX tests; see ptx_run.h for what each promises.
 */
#include "ptx_run.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAUNCH_TIMEOUT_MS 60000u

struct vgpu_ptx_machine *ptx_test_machine(uint32_t threads, enum vgpu_ptx_isa isa)
{
    struct vgpu_ptx_options options = {
        .threads = threads, .isa = isa, .launch_timeout_ms = LAUNCH_TIMEOUT_MS};
    struct vgpu_ptx_machine *machine = NULL;

    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    return machine;
}

int ptx_test_has(enum vgpu_ptx_isa isa)
{
    struct vgpu_ptx_options options = {.threads = 1, .isa = isa};
    struct vgpu_ptx_machine *machine = NULL;

    if (vgpu_ptx_machine_create(&options, &machine) != VGPU_PTX_OK)
        return 0;
    vgpu_ptx_machine_destroy(machine);
    return 1;
}

char *ptx_test_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *text;
    long size;

    ck_assert_msg(file != NULL, "cannot open %s", path);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    ck_assert_int_ge(size, 0);
    rewind(file);
    text = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_eq(fread(text, 1, (size_t)size, file), (size_t)size);
    text[size] = '\0';
    fclose(file);
    if (bytes)
        *bytes = (size_t)size;
    return text;
}

struct vgpu_ptx_module *ptx_test_load(struct vgpu_ptx_machine *machine, const char *text)
{
    struct vgpu_ptx_module *module = NULL;
    char log[2048];
    enum vgpu_ptx_status status =
        vgpu_ptx_module_load(machine, text, strlen(text), log, sizeof(log), &module);

    ck_assert_msg(status == VGPU_PTX_OK, "load: %s: %s", vgpu_ptx_status_name(status), log);
    return module;
}

struct vgpu_ptx_module *ptx_test_load_file(struct vgpu_ptx_machine *machine, const char *path)
{
    char *text = ptx_test_read(path, NULL);
    struct vgpu_ptx_module *module = NULL;
    char log[2048];
    enum vgpu_ptx_status status =
        vgpu_ptx_module_load(machine, text, strlen(text), log, sizeof(log), &module);

    ck_assert_msg(status == VGPU_PTX_OK, "%s: %s: %s", path, vgpu_ptx_status_name(status), log);
    free(text);
    return module;
}

struct vgpu_ptx_function *ptx_test_function(struct vgpu_ptx_module *module, const char *name)
{
    struct vgpu_ptx_function *function = NULL;

    ck_assert_msg(vgpu_ptx_module_function(module, name, &function) == VGPU_PTX_OK, "no kernel %s",
                  name);
    return function;
}

void ptx_test_refused(struct vgpu_ptx_machine *machine, const char *text,
                      enum vgpu_ptx_status status, const char *log_has)
{
    struct vgpu_ptx_module *module = NULL;
    uint64_t held = vgpu_ptx_mem_held(machine);
    char log[4096];
    enum vgpu_ptx_status got =
        vgpu_ptx_module_load(machine, text, strlen(text), log, sizeof(log), &module);

    ck_assert_msg(got == status, "%s instead of %s: %s", vgpu_ptx_status_name(got),
                  vgpu_ptx_status_name(status), log);
    ck_assert_ptr_null(module);
    ck_assert_msg(strstr(log, log_has) != NULL, "'%s' is not in: %s", log_has, log);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), held);
}

uint64_t ptx_test_alloc(struct vgpu_ptx_machine *machine, size_t bytes, void **host)
{
    uint64_t va = 0;

    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, bytes, &va), VGPU_PTX_OK);
    if (host) {
        *host = vgpu_ptx_mem_translate(machine, va, bytes);
        ck_assert_ptr_nonnull(*host);
    }
    return va;
}

struct ptx_run_result ptx_test_launch_3d(struct vgpu_ptx_machine *machine,
                                         struct vgpu_ptx_function *function, const uint32_t grid[3],
                                         const uint32_t block[3], uint32_t shared, uint32_t flags,
                                         const uint64_t *params, uint32_t count)
{
    struct vgpu_ptx_attributes attributes;
    struct vgpu_ptx_launch launch = {
        .function = function, .dynamic_shared_bytes = shared, .flags = flags};
    struct ptx_run_result result;
    uint8_t packed[1024] = {0};

    vgpu_ptx_function_attributes(function, &attributes);
    ck_assert_uint_eq(attributes.param_count, count);
    ck_assert_uint_le(attributes.param_bytes, sizeof(packed));
    for (uint32_t k = 0; k < count; k++) {
        struct vgpu_ptx_param param;

        ck_assert_int_eq(vgpu_ptx_function_param(function, k, &param), VGPU_PTX_OK);
        memcpy(packed + param.offset, &params[k], param.bytes < 8 ? param.bytes : 8);
    }
    memcpy(launch.grid, grid, sizeof(launch.grid));
    memcpy(launch.block, block, sizeof(launch.block));
    launch.params = packed;
    launch.param_bytes = attributes.param_bytes;
    result.status = vgpu_ptx_launch_run(machine, &launch, &result.fault, &result.counters);
    return result;
}

struct ptx_run_result ptx_test_launch(struct vgpu_ptx_machine *machine,
                                      struct vgpu_ptx_function *function, uint32_t blocks,
                                      uint32_t threads, const uint64_t *params, uint32_t count)
{
    const uint32_t grid[3] = {blocks, 1, 1}, block[3] = {threads, 1, 1};

    return ptx_test_launch_3d(machine, function, grid, block, 0, 0, params, count);
}
