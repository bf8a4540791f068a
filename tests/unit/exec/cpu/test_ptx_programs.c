/* SPDX-License-Identifier: MIT */
/*
 * Whole programs on the PTX machine: the kernels of tests/kernels in the form kernel(const word *in, word *out, int n),
 * as clang and nvcc compile them, against plain C (programs_*.c). Each runs for several sizes, most of which
 * fill no block; with one worker and with several; in the baseline build of the engine and in the best one.
 * VGPU_TEST_KERNELS names another folder of <file>.nvcc.ptx, for runs over what nvcc gives with other options.
 */
#include "programs.h"
#include "ptx_run.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 256u

static const struct {
    const char *file;
    const struct program *programs;
    const char *compilers[2];
    int floats;
} files[] = {
    {"sorting", programs_sorting, {"clang", "nvcc"}, 0},
    {"sync", programs_sync, {"clang", "nvcc"}, 0},
    {"hashes", programs_hashes, {"clang", "nvcc"}, 0},
    {"numeric", programs_numeric, {"clang", "nvcc"}, 1},
    {"warps", programs_warps, {"clang", "nvcc"}, 0},
    {"modern", programs_modern, {NULL, "nvcc"}, 0},
    {"language", programs_language, {"clang", "nvcc"}, 0},
    {"library", programs_library, {NULL, "nvcc"}, 0},
    {"opencl", programs_opencl, {"clang", NULL}, 0},
};

#define FILES ((int)(sizeof(files) / sizeof(files[0])))

static const int sizes[] = {PROGRAM_WORDS, 1, 1000};

static void make_input(union word *in, int floats)
{
    uint32_t state = 2463534242u;

    for (int i = 0; i < PROGRAM_WORDS; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if (floats)
            in[i].f = (float)((int)(state >> 9 & 0xffff) - 32768) / 4096.0f;
        else
            in[i].u = state;
    }
}

static bool agree(union word got, union word want, double tolerance)
{
    if (got.u == want.u || tolerance == 0)
        return got.u == want.u;
    return fabs((double)got.f - (double)want.f) <= tolerance * (1 + fabs((double)want.f));
}

static void run_program(struct vgpu_ptx_machine *machine, struct vgpu_ptx_module *module,
                        const char *path, const struct program *p, int floats, int n)
{
    static union word in[PROGRAM_WORDS], want[PROGRAM_WORDS];
    uint32_t blocks = p->blocks ? p->blocks : ((uint32_t)n + BLOCK - 1) / BLOCK;
    const uint32_t grid[3] = {blocks, 1, 1}, block[3] = {BLOCK, 1, 1};
    uint64_t params[3] = {0, 0, (uint64_t)n};
    struct ptx_run_result result;
    void *from, *to;

    make_input(in, floats);
    memset(want, 0, sizeof(want));
    p->reference(in, want, n);
    params[0] = ptx_test_alloc(machine, sizeof(in), &from);
    params[1] = ptx_test_alloc(machine, sizeof(want) + PROGRAM_SCRATCH * 4, &to);
    memcpy(from, in, sizeof(in));
    result = ptx_test_launch_3d(machine, ptx_test_function(module, p->name), grid, block, 0,
                                p->flags, params, 3);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s: %s", path, result.fault.text);
    for (int i = 0; i < PROGRAM_WORDS; i++) {
        union word got = ((const union word *)to)[i];

        unit_check(agree(got, want[i], p->tolerance),
                   "%s %s n=%d [%d]: %08x (%g) instead of %08x (%g)", path, p->name, n, i, got.u,
                   (double)got.f, want[i].u, (double)want[i].f);
    }
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, params[0]), VGPU_PTX_OK);
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, params[1]), VGPU_PTX_OK);
}

START_TEST(program_gives_what_c_gives)
{
    int file = _i / 4, way = _i % 4;
    const char *folder = getenv("VGPU_TEST_KERNELS"), *compiler = files[file].compilers[way / 2];
    struct vgpu_ptx_machine *machine;
    struct vgpu_ptx_module *module;
    char path[512];

    if (!compiler || (folder && strcmp(compiler, "nvcc")))
        return; /* that compiler can't read the file; or the folder holds one compiler's output */
    machine =
        ptx_test_machine(way % 2 ? 3 : 1, way % 2 ? VGPU_PTX_CPU_AUTO : VGPU_PTX_CPU_BASELINE);
    snprintf(path, sizeof(path), "%s/%s.%s.ptx", folder ? folder : "tests/kernels",
             files[file].file, compiler);
    module = ptx_test_load_file(machine, path);
    for (const struct program *p = files[file].programs; p->name; p++)
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]) && (s == 0 || !p->whole); s++)
            run_program(machine, module, path, p, files[file].floats, sizes[s]);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

START_TEST(hashes_give_what_their_authors_published)
{
    programs_hashes_check();
}
END_TEST

static Suite *ptx_programs_suite(void)
{
    Suite *s = suite_create("ptx_programs");
    TCase *tc = tcase_create("programs");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, program_gives_what_c_gives, 0, FILES * 4);
    tcase_add_test(tc, hashes_give_what_their_authors_published);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_programs_suite)
