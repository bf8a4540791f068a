/* SPDX-License-Identifier: MIT */
/*
 * Modules and launches: what bad PTX and bad launches get, and what a kernel's own
 * faults cost.
 */
#include "st.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PTX_HEAD ".version 6.3\n.target sm_70\n.address_size 64\n"

/* out[i] = in[i] + add, one block; and a kernel without parameters. */
static const char good_ptx[] = PTX_HEAD ".visible .global .align 4 .u32 answer = 42;\n"
                                        ".visible .entry add(.param .u64 p, .param .u32 n)\n"
                                        "{\n"
                                        "  .reg .b32 %r<4>;\n"
                                        "  .reg .b64 %rd<4>;\n"
                                        "  ld.param.u64 %rd1, [p];\n"
                                        "  ld.param.u32 %r1, [n];\n"
                                        "  cvta.to.global.u64 %rd2, %rd1;\n"
                                        "  mov.u32 %r2, %tid.x;\n"
                                        "  mul.wide.u32 %rd3, %r2, 4;\n"
                                        "  add.s64 %rd2, %rd2, %rd3;\n"
                                        "  ld.global.u32 %r3, [%rd2];\n"
                                        "  add.s32 %r3, %r3, %r1;\n"
                                        "  st.global.u32 [%rd2], %r3;\n"
                                        "  ret;\n"
                                        "}\n"
                                        ".visible .entry nothing()\n"
                                        "{\n"
                                        "  ret;\n"
                                        "}\n";

static struct vgpu_module *load_good(struct vgpu_ctx *ctx)
{
    struct vgpu_module *module = NULL;
    char log[1024];
    int err = vgpu_module_load(ctx, good_ptx, sizeof(good_ptx), &module, log, sizeof(log));

    ST_CHECK(!err, "loading good PTX: %s; log: %s", vgpu_status_name(vgpu_last_status()), log);
    return module;
}

static void expect_load(struct vgpu_ctx *ctx, const void *image, size_t bytes, uint16_t want,
                        const char *in_log, const char *what)
{
    struct vgpu_module *module;
    char log[2048];
    int err = vgpu_module_load(ctx, image, bytes, &module, log, sizeof(log));

    ST_CHECK(err, "%s: it was loaded", what);
    ST_CHECK(vgpu_last_status() == want, "%s: %s instead of %s; log: %s", what,
             vgpu_status_name(vgpu_last_status()), vgpu_status_name(want), log);
    ST_CHECK(!in_log || strstr(log, in_log), "%s: the log lacks \"%s\": %s", what, in_log, log);
    ST_EQUAL(err, vgpu_status_errno(want), what);
}

static void bad_images(void)
{
    static const char syntax[] = PTX_HEAD ".visible .entry f()\n{\n  add.s32 %r1, ;\n  ret;\n}\n";
    static const char unknown[] = PTX_HEAD ".visible .entry f()\n{\n  frobnicate.b32;\n  ret;\n}\n";
    static const uint8_t garbage[] = {0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3};
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_module *module;

    st_need_compute(ctx);
    expect_load(ctx, syntax, sizeof(syntax), VGPU_ST_BAD_PTX, "6", "a syntax error in line 6");
    ST_CHECK(vgpu_module_load(ctx, garbage, sizeof(garbage), &module, NULL, 0) < 0 &&
                 (vgpu_last_status() == VGPU_ST_BAD_IMAGE || vgpu_last_status() == VGPU_ST_BAD_PTX),
             "garbage: %s", vgpu_status_name(vgpu_last_status()));
    ST_CHECK(vgpu_module_load(ctx, unknown, sizeof(unknown), &module, NULL, 0) < 0,
             "an unknown instruction was loaded");
    ST_CHECK(vgpu_last_status() == VGPU_ST_UNSUPPORTED_PTX || vgpu_last_status() == VGPU_ST_BAD_PTX,
             "an unknown instruction: %s", vgpu_status_name(vgpu_last_status()));
    ST_EQUAL(vgpu_module_load(ctx, good_ptx, 0, &module, NULL, 0), -EINVAL, "an empty image");
    module = load_good(ctx);
    ST_EQUAL(vgpu_module_unload(module), 0, "unloading");
    vgpu_close(ctx);
}

static void unsupported_is_named(void)
{
    static const char ptx[] =
        PTX_HEAD ".visible .entry f(.param .u64 p)\n{\n  .reg .f32 %f<9>;\n"
                 "  wmma.load.a.sync.aligned.row.m16n16k16.f16 {%f1}, [p];\n  ret;\n}\n";
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_module *module;
    struct vgpu_info info;
    char log[2048];

    vgpu_get_info(ctx, &info);
    if (info.exec_kind != VGPU_EXEC_CPU)
        st_skip("only the CPU executor lacks it");
    ST_CHECK(vgpu_module_load(ctx, ptx, sizeof(ptx), &module, log, sizeof(log)) < 0,
             "wmma was loaded");
    ST_CHECK(strstr(log, "wmma"), "the log does not name the instruction: %s", log);
    vgpu_close(ctx);
}

static void lookups(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_function *function;
    struct vgpu_param_info param;
    struct vgpu_func_info info;
    struct vgpu_module *module;
    uint64_t addr, bytes;
    uint32_t value = 0;

    st_need_compute(ctx);
    module = load_good(ctx);
    ST_EQUAL(vgpu_module_function(module, "no_such", &function), -ENOENT, "an unknown function");
    ST_EQUAL(vgpu_last_status(), VGPU_ST_NOT_FOUND, "its status");
    ST_EQUAL(vgpu_module_function(module, "", &function), -EINVAL, "an empty name");
    ST_EQUAL(vgpu_module_function(module, "add", &function), 0, "a kernel");
    vgpu_function_info(function, &info);
    ST_EQUAL(info.param_count, 2, "parameters");
    ST_EQUAL(info.param_bytes, 12, "bytes of the block");
    ST_EQUAL(vgpu_function_param(function, 1, &param), 0, "parameter 1");
    ST_CHECK(param.offset == 8 && param.bytes == 4, "it is %u bytes at %u", param.bytes,
             param.offset);
    ST_EQUAL(vgpu_function_param(function, 2, &param), -EINVAL, "parameter 2");
    ST_EQUAL(vgpu_module_global(module, "no_such", &addr, &bytes), -ENOENT, "unknown global");
    ST_EQUAL(vgpu_module_global(module, "answer", &addr, &bytes), 0, "a global");
    ST_EQUAL(bytes, 4, "its size");
    ST_EQUAL(vgpu_copy_d2h(ctx, NULL, &value, addr, 4), 0, "reading it");
    ST_EQUAL(value, 42, "its value");
    vgpu_close(ctx);
}

static void launches_work(void)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {64, 1, 1}};
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_function *add, *nothing;
    struct vgpu_module *module;
    uint32_t data[64], n = 0;
    uint64_t dev;
    const void *const args[] = {&dev, &n};

    st_need_compute(ctx);
    module = load_good(ctx);
    ST_EQUAL(vgpu_module_function(module, "add", &add), 0, "add");
    ST_EQUAL(vgpu_module_function(module, "nothing", &nothing), 0, "nothing");
    ST_EQUAL(vgpu_mem_alloc(ctx, sizeof(data), &dev), 0, "vgpu_mem_alloc");
    /* Each launch has parameters of its own, though all are in flight together. */
    for (n = 0; n < 100; n++) {
        ST_EQUAL(vgpu_launch_args(add, &config, args, 2), 0, "launch");
        ST_EQUAL(vgpu_launch(nothing, &config, NULL, 0), 0, "launch without parameters");
    }
    ST_EQUAL(vgpu_sync(ctx), 0, "sync");
    ST_EQUAL(vgpu_copy_d2h(ctx, NULL, data, dev, sizeof(data)), 0, "d2h");
    for (int i = 0; i < 64; i++)
        ST_EQUAL(data[i], 4950, "an element");
    ST_EQUAL(vgpu_module_unload(module), 0, "unloading");
    vgpu_close(ctx);
}

/* A refused launch is reported by the next synchronisation, once; nothing else is lost. */
static void expect_launch(struct vgpu_ctx *ctx, struct vgpu_function *function,
                          const struct vgpu_launch_config *config, uint16_t want, const char *what)
{
    const uint8_t params[12] = {0};

    ST_EQUAL(vgpu_launch(function, config, params, sizeof(params)), 0, what);
    ST_CHECK(vgpu_sync(ctx) < 0, "%s: it ran", what);
    ST_CHECK(vgpu_last_status() == want, "%s: %s instead of %s", what,
             vgpu_status_name(vgpu_last_status()), vgpu_status_name(want));
    ST_EQUAL(vgpu_sync(ctx), 0, "reported once");
}

static void launch_refusals(void)
{
    struct vgpu_launch_config config = {.grid = {0, 1, 1}, .block = {32, 1, 1}};
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_sqe raw = {.opcode = VGPU_CMD_LAUNCH,
                           .u.launch = {.function = 123456, .grid = {1, 1, 1}, .block = {1, 1, 1}}};
    struct vgpu_function *add;
    struct vgpu_module *module;
    uint8_t params[16] = {0};

    st_need_compute(ctx);
    module = load_good(ctx);
    ST_EQUAL(vgpu_module_function(module, "add", &add), 0, "add");
    expect_launch(ctx, add, &config, VGPU_ST_BAD_VALUE, "grid 0");
    config = (struct vgpu_launch_config){.grid = {1, 1, 1}, .block = {32, 0, 1}};
    expect_launch(ctx, add, &config, VGPU_ST_BAD_VALUE, "block 0");
    config = (struct vgpu_launch_config){.grid = {1, 1, 1}, .block = {1024, 2, 1}};
    expect_launch(ctx, add, &config, VGPU_ST_LAUNCH_RESOURCES, "2048 threads");
    config = (struct vgpu_launch_config){.grid = {1, 70000, 1}, .block = {1, 1, 1}};
    expect_launch(ctx, add, &config, VGPU_ST_LAUNCH_RESOURCES, "grid over the limit");
    config = (struct vgpu_launch_config){
        .grid = {1, 1, 1}, .block = {1, 1, 1}, .shared_bytes = 1u << 30};
    expect_launch(ctx, add, &config, VGPU_ST_LAUNCH_RESOURCES, "1 GiB of shared memory");
    config = (struct vgpu_launch_config){.grid = {1, 1, 1}, .block = {1, 1, 1}};
    ST_EQUAL(vgpu_launch(add, &config, params, 16), -EINVAL, "16 bytes of parameters");
    ST_EQUAL(vgpu_last_status(), VGPU_ST_BAD_PARAMS, "its status");
    st_expect_status(ctx, &raw, VGPU_ST_BAD_HANDLE, "an unknown function");
    raw.u.launch.param_off = 8;
    st_expect_status(ctx, &raw, VGPU_ST_BAD_VALUE, "misaligned parameters");
    raw.u.launch.param_off = 0;
    raw.u.launch.param_bytes = 4097;
    st_expect_status(ctx, &raw, VGPU_ST_BAD_PARAMS, "4097 bytes of parameters");
    vgpu_close(ctx);
}

static void out_of_bounds_kernel(void)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct vgpu_ctx *ctx = st_open(NULL), *other = st_open(NULL);
    struct vgpu_status_query query;
    struct vgpu_function *function;
    uint64_t p = 0, nop_failed;
    int64_t off = 0x123456780;
    const void *const args[] = {&p, &off};

    st_need_compute(ctx);
    st_kernel(ctx, "fault", &function);
    ST_EQUAL(vgpu_launch_args(function, &config, args, 2), 0, "launch");
    st_expect_lost(ctx, VGPU_ST_ILLEGAL_ADDRESS);
    ST_EQUAL(vgpu_get_status(ctx, &query), 0, "status");
    ST_CHECK(query.fault_addr == (uint64_t)off * 4, "fault address %#llx",
             (unsigned long long)query.fault_addr);
    nop_failed = vgpu_nop(other, NULL) != 0;
    ST_EQUAL(nop_failed, 0, "another context");
    vgpu_close(ctx);
    vgpu_close(other);
    ctx = st_open(NULL);
    ST_EQUAL(vgpu_nop(ctx, NULL), 0, "the next context");
    vgpu_close(ctx);
}

static const struct st_test tests[] = {
    {"module", "bad images: syntax with its line, garbage, nothing", bad_images},
    {"module", "an unsupported instruction is named", unsupported_is_named},
    {"module", "functions, parameter layouts, globals", lookups},
    {"module", "launches in flight keep their own parameters", launches_work},
    {"module", "bad launches are refused, and reported once", launch_refusals},
    {"module", "an out-of-bounds kernel loses its context alone", out_of_bounds_kernel},
};

ST_GROUP(st_group_module, tests);
