/* SPDX-License-Identifier: MIT */
/*
 * Runs the conformance vectors (see gen-vectors.py for their form) on the PTX machine, in each build of the engine
 * that this CPU can run. Every pair vectors/NAME.ptx, NAME.vec is a test of its own.
 *
 * The folder is $VGPU_CONFORMANCE, or tests/conformance/vectors below the current directory.
 */
#include "ptx_run.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_FAMILIES 4096
#define MAX_CELLS    8
#define MIN_FAMILIES 800 /* fewer means that the vectors are missing */

static char *families[MAX_FAMILIES];
static int family_count;

static const char *folder(void)
{
    const char *path = getenv("VGPU_CONFORMANCE");

    return path ? path : "tests/conformance/vectors";
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_families(void)
{
    DIR *dir = opendir(folder());
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir)) && family_count < MAX_FAMILIES) {
        char *dot = strrchr(entry->d_name, '.');

        if (dot && !strcmp(dot, ".vec"))
            families[family_count++] = strndup(entry->d_name, (size_t)(dot - entry->d_name));
    }
    closedir(dir);
    qsort(families, (size_t)family_count, sizeof(families[0]), by_name);
}

struct vectors {
    unsigned inputs, outputs, rows;
    char tolerance[MAX_CELLS][24];
    uint64_t *in, *expected;
};

static char *next_line(char **text)
{
    char *line = *text, *end = strchr(line, '\n');

    if (!*line)
        return NULL;
    if (end)
        *end = '\0';
    *text = end ? end + 1 : line + strlen(line);
    return line;
}

static void parse_row(struct vectors *v, char *line)
{
    char *at = line;

    for (unsigned k = 0; k < v->inputs + v->outputs; k++) {
        char *end;
        uint64_t cell;

        if (k == v->inputs) {
            at = strchr(at, ':');
            unit_check(at != NULL, "no colon after the inputs: %s", line);
            at++;
        }
        errno = 0;
        cell = strtoull(at, &end, 16);
        unit_check(end != at && !errno, "bad row: %s", line);
        at = end;
        if (k < v->inputs)
            v->in[v->rows * v->inputs + k] = cell;
        else
            v->expected[v->rows * v->outputs + k - v->inputs] = cell;
    }
    v->rows++;
}

static void vectors_read(struct vectors *v, const char *path)
{
    char *text = ptx_test_read(path, NULL), *at = text, *line;
    int n = 0;

    memset(v, 0, sizeof(*v));
    ck_assert_int_eq(sscanf(next_line(&at), "%u %u", &v->inputs, &v->outputs), 2);
    ck_assert(v->inputs && v->inputs <= MAX_CELLS && v->outputs && v->outputs <= MAX_CELLS);
    line = next_line(&at);
    for (unsigned k = 0; k < v->outputs; k++, line += n)
        ck_assert_int_eq(sscanf(line, "%23s%n", v->tolerance[k], &n), 1);
    v->in = calloc(strlen(at) + 1, sizeof(uint64_t));
    v->expected = calloc(strlen(at) + 1, sizeof(uint64_t));
    ck_assert(v->in && v->expected);
    while ((line = next_line(&at)))
        parse_row(v, line);
    ck_assert_uint_gt(v->rows, 0);
    free(text);
}

static int64_t ordered(uint32_t bits)
{
    return bits & 0x80000000u ? -(int64_t)(bits & 0x7fffffffu) : (int64_t)bits;
}

static int within(const char *tolerance, uint64_t got, uint64_t want)
{
    float g, w;
    uint32_t gb = (uint32_t)got, wb = (uint32_t)want;

    if (got == want)
        return 1;
    memcpy(&g, &gb, 4);
    memcpy(&w, &wb, 4);
    if (!strncmp(tolerance, "ulp32:", 6))
        return g == g && w == w &&
               llabs(ordered(gb) - ordered(wb)) <= strtoll(tolerance + 6, NULL, 10);
    if (!strncmp(tolerance, "abs32:", 6))
        return fabs((double)g - w) <= strtod(tolerance + 6, NULL);
    ck_assert_str_eq(tolerance, "exact");
    return 0;
}

static void run_family(const char *name, enum vgpu_ptx_isa isa)
{
    struct vgpu_ptx_machine *machine = ptx_test_machine(1, isa);
    struct vgpu_ptx_module *module;
    struct ptx_run_result result;
    struct vectors v;
    char path[512];
    uint64_t *out, params[3];
    void *host;

    snprintf(path, sizeof(path), "%s/%s.vec", folder(), name);
    vectors_read(&v, path);
    snprintf(path, sizeof(path), "%s/%s.ptx", folder(), name);
    module = ptx_test_load_file(machine, path);
    params[0] = ptx_test_alloc(machine, v.rows * v.inputs * 8, &host);
    memcpy(host, v.in, v.rows * v.inputs * 8);
    params[1] = ptx_test_alloc(machine, v.rows * v.outputs * 8, &host);
    out = host;
    params[2] = v.rows;
    result = ptx_test_launch(machine, ptx_test_function(module, "test"), (v.rows + 63) / 64, 64,
                             params, 3);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s: %s", name, result.fault.text);
    for (unsigned r = 0; r < v.rows; r++)
        for (unsigned k = 0; k < v.outputs; k++)
            unit_check(
                within(v.tolerance[k], out[r * v.outputs + k], v.expected[r * v.outputs + k]),
                "%s row %u output %u: got %llx, expected %llx (%s); inputs %llx %llx %llx", name, r,
                k, (unsigned long long)out[r * v.outputs + k],
                (unsigned long long)v.expected[r * v.outputs + k], v.tolerance[k],
                (unsigned long long)v.in[r * v.inputs],
                (unsigned long long)(v.inputs > 1 ? v.in[r * v.inputs + 1] : 0),
                (unsigned long long)(v.inputs > 2 ? v.in[r * v.inputs + 2] : 0));
    free(v.in);
    free(v.expected);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

START_TEST(vectors_are_there)
{
    ck_assert_int_ge(family_count, MIN_FAMILIES);
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

    find_families();
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
