/* SPDX-License-Identifier: MIT */
/*
 * Runs the conformance vectors (see gen-vectors.py for their form) on the PTX machine, in each build of the engine
 * that this CPU can run. Every pair vectors/NAME.ptx, NAME.vec is a test of its own.
 *
 * The folder is $VGPU_CONFORMANCE, or tests/conformance/vectors below the current directory.
 */
#include "ptx_run.h"
#include "unit.h"
#include "vectors.h"

#include <stdio.h>
#include <string.h>

static char *families[VECTORS_MAX_FAMILIES];
static int family_count;

static const char *folder(void)
{
    const char *path = getenv("VGPU_CONFORMANCE");

    return path ? path : "tests/conformance/vectors";
}

static void run_family(const char *name, enum vgpu_ptx_isa isa)
{
    struct vgpu_ptx_machine *machine = ptx_test_machine(1, isa);
    struct vgpu_ptx_module *module;
    struct ptx_run_result result;
    struct vectors *v = calloc(1, sizeof(*v));
    const char *wrong;
    char path[512], *text;
    uint64_t *out, params[3];
    void *host;

    snprintf(path, sizeof(path), "%s/%s.vec", folder(), name);
    text = ptx_test_read(path, NULL);
    ck_assert_ptr_nonnull(v);
    wrong = vectors_parse(v, text);
    ck_assert_msg(wrong == NULL, "%s: %s", path, wrong);
    free(text);
    snprintf(path, sizeof(path), "%s/%s.ptx", folder(), name);
    module = ptx_test_load_file(machine, path);
    params[0] = ptx_test_alloc(machine, v->rows * v->inputs * 8, &host);
    memcpy(host, v->in, v->rows * v->inputs * 8);
    params[1] = ptx_test_alloc(machine, v->rows * v->outputs * 8, &host);
    out = host;
    params[2] = v->rows;
    result = ptx_test_launch(machine, ptx_test_function(module, "test"), (v->rows + 63) / 64, 64,
                             params, 3);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s: %s", name, result.fault.text);
    for (unsigned r = 0; r < v->rows; r++)
        for (unsigned k = 0; k < v->outputs; k++)
            unit_check(vectors_within(v->tolerance[k], out[r * v->outputs + k],
                                      v->expected[r * v->outputs + k]),
                       "%s row %u output %u: got %llx, expected %llx (%s); inputs %llx %llx %llx",
                       name, r, k, (unsigned long long)out[r * v->outputs + k],
                       (unsigned long long)v->expected[r * v->outputs + k], v->tolerance[k],
                       (unsigned long long)v->in[r * v->inputs],
                       (unsigned long long)(v->inputs > 1 ? v->in[r * v->inputs + 1] : 0),
                       (unsigned long long)(v->inputs > 2 ? v->in[r * v->inputs + 2] : 0));
    free(v);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

START_TEST(vectors_are_there)
{
    ck_assert_int_ge(family_count, VECTORS_MIN_FAMILIES);
}
END_TEST

START_TEST(baseline)
{
    run_family(families[_i], VGPU_PTX_CPU_BASELINE);
}
END_TEST

START_TEST(avx2)
{
    run_family(families[_i], VGPU_PTX_CPU_AVX2);
}
END_TEST

static Suite *conformance_suite(void)
{
    Suite *s = suite_create("conformance");
    TCase *tc = tcase_create("vectors");

    family_count = (int)vectors_families(folder(), families);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, vectors_are_there);
    tcase_add_loop_test(tc, baseline, 0, family_count);
    if (ptx_test_has(VGPU_PTX_CPU_AVX2))
        tcase_add_loop_test(tc, avx2, 0, family_count);
    suite_add_tcase(s, tc);
    return s;
}

/*
 * In one process unless CK_FORK says otherwise: thousands of forks of a sanitizer build take
 * minutes, and what these vectors can break is a result, not the process.
 */
int main(void)
{
    static const vgpu_suite_fn fns[] = {conformance_suite};

    setenv("CK_FORK", "no", 0);
    return vgpu_unit_run(fns, 1);
}
