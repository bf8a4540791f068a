/* SPDX-License-Identifier: MIT */
/*
 * Random programs (ptx_random.h), run in different ways that must agree to the bit: in warps of 32 diverging lanes,
 * with one thread in each block (where nothing ever diverges), in both builds of the engine, on one worker and on
 * four, and in deterministic mode.
 */
#include "ptx_random.h"
#include "ptx_run.h"
#include "unit.h"

#include <string.h>

#define PROGRAMS       40
#define BLOCK_PROGRAMS 30
#define THREADS        PTX_RANDOM_THREADS
#define BLOCK          PTX_RANDOM_BLOCK

/* How a program is run; `workers` 0: deterministic mode. */
struct way {
    const char *name;
    enum vgpu_ptx_isa isa;
    uint32_t workers, blocks, threads;
};

static struct vgpu_ptx_machine *way_machine(const struct way *way)
{
    struct vgpu_ptx_options options = {.threads = way->workers,
                                       .deterministic = way->workers == 0,
                                       .isa = way->isa,
                                       .launch_timeout_ms = 100000};
    struct vgpu_ptx_machine *machine = NULL;

    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    return machine;
}

static void run_way(const char *text, const struct way *way, uint32_t *out)
{
    struct vgpu_ptx_machine *machine = way_machine(way);
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result result;
    void *host;
    uint64_t va = ptx_test_alloc(machine, THREADS * 128, &host);

    result =
        ptx_test_launch(machine, ptx_test_function(module, "k"), way->blocks, way->threads, &va, 1);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s", result.fault.text);
    memcpy(out, host, THREADS * 128);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

/* Runs the program in every way that this CPU has, and compares each with the first. */
static void agree(unsigned seed, const char *text, const struct way *ways, size_t count)
{
    static uint32_t first[THREADS * 32], got[THREADS * 32];

    run_way(text, &ways[0], first);
    for (size_t w = 1; w < count; w++) {
        if (!ptx_test_has(ways[w].isa))
            continue;
        run_way(text, &ways[w], got);
        for (unsigned k = 0; k < THREADS * 32; k++)
            unit_check(first[k] == got[k], "program %u: thread %u word %u is %08x: %s; %08x: %s",
                       seed, k / 32, k % 32, first[k], ways[0].name, got[k], ways[w].name);
    }
}

/* Every fourth as programs for a GPU are. */
static unsigned flags_of(int seed)
{
    return seed % 4 ? 0 : PTX_RANDOM_PORTABLE;
}

START_TEST(every_way_gives_the_same)
{
    static const struct way ways[] = {
        {"each thread alone", VGPU_PTX_CPU_BASELINE, 1, THREADS, 1},
        {"baseline, warps", VGPU_PTX_CPU_BASELINE, 1, 2, THREADS / 2},
        {"AVX2, warps", VGPU_PTX_CPU_AVX2, 1, 1, THREADS},
        {"best build, four workers, partial warps", VGPU_PTX_CPU_AUTO, 4, THREADS / 48, 48},
    };
    char *text = ptx_random_program((unsigned)_i, flags_of(_i));

    ck_assert_ptr_nonnull(text);
    agree((unsigned)_i, text, ways, sizeof(ways) / sizeof(ways[0]));
    free(text);
}
END_TEST

START_TEST(threads_that_meet_give_the_same_in_every_way)
{
    static const struct way ways[] = {
        {"baseline, deterministic", VGPU_PTX_CPU_BASELINE, 0, THREADS / BLOCK, BLOCK},
        {"AVX2, deterministic", VGPU_PTX_CPU_AVX2, 0, THREADS / BLOCK, BLOCK},
        {"baseline, two workers", VGPU_PTX_CPU_BASELINE, 2, THREADS / BLOCK, BLOCK},
        {"AVX2, two workers", VGPU_PTX_CPU_AVX2, 2, THREADS / BLOCK, BLOCK},
    };
    char *text = ptx_random_block_program((unsigned)_i, flags_of(_i));

    ck_assert_ptr_nonnull(text);
    agree((unsigned)_i, text, ways, sizeof(ways) / sizeof(ways[0]));
    free(text);
}
END_TEST

static Suite *ptx_random_suite(void)
{
    Suite *s = suite_create("ptx_random");
    TCase *tc = tcase_create("differential");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_way_gives_the_same, 0, PROGRAMS);
    tcase_add_loop_test(tc, threads_that_meet_give_the_same_in_every_way, 0, BLOCK_PROGRAMS);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_random_suite)
