/* SPDX-License-Identifier: MIT */
/*
 * The approximate functions against MPFR: thousands of operands each, over all exponents and where the function is
 * hard, in both builds of the engine.
 *
 * Two bounds hold for each result. The first is the PTX ISA's, of the section that the table names. The second is
 * the machine's own promise, which is that it computes in double precision and rounds once: no result is more than
 * one float from the correctly rounded one, also where the ISA promises nothing (angles beyond 100 pi). Special
 * operands give what the ISA's tables say, and NaNs are 0x7fffffff.
 */
#include "ptx_run.h"
#include "unit.h"

#include <math.h>
#include <mpfr.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define COUNT     16384u
#define BLOCK     256u
#define PRECISION 120 /* bits of the reference: far beyond what a tie or a bound could hide in */

enum function { SIN, COS, EX2, LG2, RCP, SQRT, RSQRT, TANH, DIV, DIV_APPROX };

/* How the ISA states the greatest error. */
enum measure {
    ANGLE,     /* absolute, 2^-20.5 within 2 pi, 2^-14.7 within 100 pi */
    LOGARITHM, /* absolute within (0.5, 2), relative elsewhere */
    RELATIVE,
    ULPS, /* from the correctly rounded result */
};

struct operation {
    const char *text;    /* of %a, %b to %d */
    const char *section; /* of the PTX ISA 9.1 */
    enum function function;
    enum measure measure;
    double bound;
    double low, high; /* where half of the operands are */
    bool ftz;
};

static const struct operation operations[] = {
    {"sin.approx.f32 %d, %a;", "9.7.3.18", SIN, ANGLE, 0, -320, 320, false},
    {"sin.approx.ftz.f32 %d, %a;", "9.7.3.18", SIN, ANGLE, 0, -7, 7, true},
    {"cos.approx.f32 %d, %a;", "9.7.3.19", COS, ANGLE, 0, -320, 320, false},
    {"cos.approx.ftz.f32 %d, %a;", "9.7.3.19", COS, ANGLE, 0, -7, 7, true},
    {"lg2.approx.f32 %d, %a;", "9.7.3.20", LG2, LOGARITHM, 0x1p-22, 0.25, 4, false},
    {"lg2.approx.ftz.f32 %d, %a;", "9.7.3.20", LG2, LOGARITHM, 0x1p-22, 0.9, 1.1, true},
    {"ex2.approx.f32 %d, %a;", "9.7.3.21", EX2, ULPS, 2, -152, 130, false},
    {"ex2.approx.ftz.f32 %d, %a;", "9.7.3.21", EX2, ULPS, 2, -130, 130, true},
    {"tanh.approx.f32 %d, %a;", "9.7.3.22", TANH, RELATIVE, 0x1p-11, -10, 10, false},
    {"rcp.approx.f32 %d, %a;", "9.7.3.13", RCP, ULPS, 1, 0x1p125, 0x1.fffffep127, false},
    {"rcp.approx.ftz.f32 %d, %a;", "9.7.3.13", RCP, ULPS, 1, 0x1p125, 0x1.fffffep127, true},
    {"sqrt.approx.f32 %d, %a;", "9.7.3.15", SQRT, RELATIVE, 0x1p-23, 0, 4, false},
    {"sqrt.approx.ftz.f32 %d, %a;", "9.7.3.15", SQRT, RELATIVE, 0x1p-23, 0, 4, true},
    {"rsqrt.approx.f32 %d, %a;", "9.7.3.16", RSQRT, RELATIVE, 0x1.125fp-23, 0, 4, false},
    {"rsqrt.approx.ftz.f32 %d, %a;", "9.7.3.16", RSQRT, RELATIVE, 0x1.125fp-23, 0, 4, true},
    {"div.approx.f32 %d, %a, %b;", "9.7.3.8", DIV_APPROX, ULPS, 2, 0x1p125, 0x1.fffffep127, false},
    {"div.approx.ftz.f32 %d, %a, %b;", "9.7.3.8", DIV_APPROX, ULPS, 2, -4, 4, true},
    {"div.full.f32 %d, %a, %b;", "9.7.3.8", DIV, ULPS, 2, 0x1p125, 0x1.fffffep127, false},
    {"div.full.ftz.f32 %d, %a, %b;", "9.7.3.8", DIV, ULPS, 2, -4, 4, true},
};

/* --- words --- */
static float float_of(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float flush(float f)
{
    return fabsf(f) < 0x1p-126f ? copysignf(0, f) : f;
}

/* Floats in order: neighbours are one apart, and the zeros are equal. */
static int64_t ordered(float f)
{
    uint32_t bits = bits_of(f);

    return bits >> 31 ? -(int64_t)(bits & 0x7fffffffu) : (int64_t)bits;
}

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint64_t random_word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static double random_unit(void)
{
    return (double)(random_word() >> 11) * 0x1p-53;
}

static const uint32_t edges[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000,
    0x00800001, 0x3f7fffff, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f000000, 0x40000000, 0x40490fdb,
    0x3fc90fdb, 0xc2fc0000, 0xc2fe0000, 0xc3150000, 0xc3160000, 0x43000000, 0x42ffffff, 0x7e7fffff,
    0x7e800000, 0x7e800001, 0xfe800001, 0x7f000000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000,
    0x7f800001, 0x7fc00000, 0xffc00000, 0x7fffffff,
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))

/* Edges first, each of a with each of b; then all exponents, and every other one in the range of interest. */
static void operands_fill(const struct operation *op, uint32_t *a, uint32_t *b)
{
    for (uint32_t k = 0; k < COUNT; k++) {
        uint64_t word = random_word();

        a[k] = (uint32_t)word;
        b[k] = (uint32_t)(word >> 32);
        if (k < EDGES * EDGES) {
            a[k] = edges[k % EDGES];
            b[k] = edges[k / EDGES];
        } else if (k % 2) {
            uint32_t in_range = bits_of((float)(op->low + (op->high - op->low) * random_unit()));

            /* of a quotient, the divisor */
            if (op->function == DIV || op->function == DIV_APPROX)
                b[k] = in_range;
            else
                a[k] = in_range;
        }
    }
}

/* --- the reference --- */
static void evaluate(enum function function, mpfr_t value, float a, float b)
{
    mpfr_set_flt(value, a, MPFR_RNDN);
    switch (function) {
    case SIN: mpfr_sin(value, value, MPFR_RNDN); break;
    case COS: mpfr_cos(value, value, MPFR_RNDN); break;
    case EX2: mpfr_exp2(value, value, MPFR_RNDN); break;
    case LG2: mpfr_log2(value, value, MPFR_RNDN); break;
    case TANH: mpfr_tanh(value, value, MPFR_RNDN); break;
    case RCP: mpfr_ui_div(value, 1, value, MPFR_RNDN); break;
    case SQRT: mpfr_sqrt(value, value, MPFR_RNDN); break;
    case RSQRT:
        /* of -0 MPFR gives +Inf, the ISA -Inf */
        if (a == 0)
            mpfr_set_inf(value, signbit(a) ? -1 : 1);
        else
            mpfr_rec_sqrt(value, value, MPFR_RNDN);
        break;
    case DIV:
    case DIV_APPROX: mpfr_div_d(value, value, (double)b, MPFR_RNDN); break;
    }
}

static bool is_tiny(const mpfr_t value)
{
    return mpfr_zero_p(value) || (mpfr_regular_p(value) && mpfr_get_exp(value) < -125);
}

/* "For 2^126 < |b| < 2^128, if a is infinity, NaN, otherwise a sign-preserving zero" (9.7.3.8). */
static bool is_beyond(const struct operation *op, float b)
{
    return op->function == DIV_APPROX && fabsf(b) > 0x1p126f && !isinf(b);
}

struct wanted {
    float rounded; /* correctly, and flushed if the operation flushes */
    double exact;  /* to 53 bits */
};

/* `value` is for this to compute in. */
static struct wanted want(const struct operation *op, mpfr_t value, float a, float b)
{
    struct wanted w;

    if (op->ftz) {
        a = flush(a);
        b = flush(b);
    }
    mpfr_set_prec(value, PRECISION);
    evaluate(op->function, value, a, b);
    w.exact = mpfr_get_d(value, MPFR_RNDN);
    if (op->ftz) /* tiny after rounding without a bound on the exponent (docs/decisions/0005) */
        mpfr_prec_round(value, 24, MPFR_RNDN);
    w.rounded = op->ftz && is_tiny(value) ? copysignf(0, mpfr_signbit(value) ? -1.0f : 1.0f)
                                          : mpfr_get_flt(value, MPFR_RNDN);
    if (is_beyond(op, b)) {
        w.rounded = isinf(a) || isnan(a) ? NAN : copysignf(0, w.rounded);
        w.exact = (double)w.rounded;
    }
    return w;
}

/* Is the result within the ISA's bound?  Overflows and zeros are left to the comparison of bits. */
static bool isa_allows(const struct operation *op, float a, float got, const struct wanted *w)
{
    double error = fabs((double)got - w->exact), x = fabs((double)a);

    if (!isfinite(got) || !isfinite(w->rounded) || w->rounded == 0)
        return true;
    switch (op->measure) {
    case ANGLE: return x > 100 * M_PI || error <= (x <= 2 * M_PI ? exp2(-20.5) : exp2(-14.7));
    case LOGARITHM: return error <= (x > 0.5 && x < 2 ? op->bound : op->bound * fabs(w->exact));
    case RELATIVE: return error <= op->bound * fabs(w->exact);
    case ULPS: return llabs(ordered(got) - ordered(w->rounded)) <= (int64_t)op->bound;
    }
    return false;
}

static bool machine_keeps(const struct operation *op, float got, float rounded)
{
    int64_t apart = llabs(ordered(got) - ordered(rounded));

    if (isnan(rounded))
        return bits_of(got) == 0x7fffffffu;
    if (isnan(got))
        return false;
    if (rounded == 0 || isinf(rounded) || got == 0 || isinf(got)) /* the sign, too */
        return bits_of(got) == bits_of(rounded);
    return apart <= 1 && !(op->ftz && fabsf(got) < 0x1p-126f);
}

/* --- the machine --- */
static const char kernel[] =
    ".version 8.0\n.target sm_90\n.address_size 64\n"
    ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pd) {\n"
    ".reg .%s %%a, %%b, %%d; .reg .b64 %%pa, %%pb, %%pd, %%o; .reg .b32 %%i, %%n;\n"
    "ld.param.u64 %%pa, [pa]; ld.param.u64 %%pb, [pb]; ld.param.u64 %%pd, [pd];\n"
    "mov.u32 %%i, %%ctaid.x; mov.u32 %%n, %%ntid.x; mul.lo.u32 %%i, %%i, %%n;\n"
    "mov.u32 %%n, %%tid.x; add.u32 %%i, %%i, %%n; mul.wide.u32 %%o, %%i, %u;\n"
    "add.u64 %%pa, %%pa, %%o; add.u64 %%pb, %%pb, %%o; add.u64 %%pd, %%pd, %%o;\n"
    "ld.global.%s %%a, [%%pa]; ld.global.%s %%b, [%%pb];\n%s\nst.global.%s [%%pd], %%d; ret; }\n";

static void compute(enum vgpu_ptx_isa isa, const char *instruction, const char *type, const void *a,
                    const void *b, void *d)
{
    struct vgpu_ptx_machine *machine = ptx_test_machine(1, isa);
    uint32_t bytes = type[1] == '6' ? 8 : 4;
    struct vgpu_ptx_module *module;
    struct ptx_run_result r;
    void *host[3];
    uint64_t at[3];
    char text[2048];

    snprintf(text, sizeof(text), kernel, type, bytes, type, type, instruction, type);
    module = ptx_test_load(machine, text);
    for (int k = 0; k < 3; k++)
        at[k] = ptx_test_alloc(machine, (size_t)COUNT * bytes, &host[k]);
    memcpy(host[0], a, (size_t)COUNT * bytes);
    memcpy(host[1], b, (size_t)COUNT * bytes);
    r = ptx_test_launch(machine, ptx_test_function(module, "k"), COUNT / BLOCK, BLOCK, at, 3);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    memcpy(d, host[2], (size_t)COUNT * bytes);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

static uint32_t a[COUNT], b[COUNT], d[COUNT];
static uint64_t a64[COUNT], d64[COUNT];
static struct wanted wanted[COUNT];
static const enum vgpu_ptx_isa builds[] = {VGPU_PTX_CPU_BASELINE, VGPU_PTX_CPU_AVX2};

START_TEST(f32_results_are_within_the_isas_bounds_and_the_machines)
{
    const struct operation *op = &operations[_i];
    mpfr_t value;

    mpfr_init2(value, PRECISION);
    operands_fill(op, a, b);
    for (uint32_t k = 0; k < COUNT; k++)
        wanted[k] = want(op, value, float_of(a[k]), float_of(b[k]));
    mpfr_clear(value);
    mpfr_free_cache();
    for (int v = 0; v < 2; v++) {
        if (!ptx_test_has(builds[v]))
            continue;
        compute(builds[v], op->text, "f32", a, b, d);
        for (uint32_t k = 0; k < COUNT; k++) {
            float got = float_of(d[k]);

            unit_check(machine_keeps(op, got, wanted[k].rounded),
                       "%s of %08x, %08x: %08x (%a) instead of %08x (%a)", op->text, a[k], b[k],
                       d[k], (double)got, bits_of(wanted[k].rounded), (double)wanted[k].rounded);
            unit_check(isa_allows(op, float_of(a[k]), got, &wanted[k]),
                       "%s of %08x, %08x: %a instead of %a, beyond the bound of section %s",
                       op->text, a[k], b[k], (double)got, wanted[k].exact, op->section);
        }
    }
}
END_TEST

/* --- f64: the gross approximations of the upper words, and rsqrt --- */
static const uint64_t edges64[] = {
    0x0000000000000000, 0x8000000000000000, 0x0000000000000001, 0x800fffffffffffff,
    0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0xbff0000000000000,
    0x3ff00000ffffffff, 0x7fcfffffffffffff, 0x7fd0000000000000, 0x7fdfffffffffffff,
    0x7fe0000000000000, 0x7fefffffffffffff, 0xffefffffffffffff, 0x7ff0000000000000,
    0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000001, 0x7ff0000000000001,
};

static const struct {
    const char *text, *section;
    bool is_gross, is_root;
    double bound;
} wide[] = {
    /* The sections give no number: 20 bits of mantissa hold an error below 2^-20. */
    {"rcp.approx.ftz.f64 %d, %a;", "9.7.3.14", true, false, 0x1p-20},
    {"rsqrt.approx.ftz.f64 %d, %a;", "9.7.3.17", true, true, 0x1p-20},
    /* Nor does this; two roundings are the machine's. */
    {"rsqrt.approx.f64 %d, %a;", "9.7.3.16", false, true, 0x1p-52},
};

static double double_of(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

static double flush64(double x)
{
    return fabs(x) < 0x1p-1022 ? copysign(0, x) : x;
}

static void wide_check(uint32_t row, uint64_t operand, uint64_t result, mpfr_t value)
{
    double x = double_of(operand), got = double_of(result), exact;

    if (wide[row].is_gross) {
        /* the upper word alone counts: a NaN whose payload is in the lower one is none to it */
        x = flush64(double_of(operand & ~0ull << 32));
        unit_check((uint32_t)result == 0, "%s of %016llx: lower word %08x", wide[row].text,
                   (unsigned long long)operand, (uint32_t)result);
    }
    mpfr_set_d(value, x, MPFR_RNDN);
    if (!wide[row].is_root)
        mpfr_ui_div(value, 1, value, MPFR_RNDN);
    else if (x == 0)
        mpfr_set_inf(value, signbit(x) ? -1 : 1);
    else
        mpfr_rec_sqrt(value, value, MPFR_RNDN);
    exact = mpfr_get_d(value, MPFR_RNDN);
    if (wide[row].is_gross)
        exact = flush64(exact);
    if (isnan(exact))
        unit_check(wide[row].is_gross ? result == 0x7fffffffull << 32 : isnan(got),
                   "%s of %016llx: %016llx is not the NaN", wide[row].text,
                   (unsigned long long)operand, (unsigned long long)result);
    else if (exact == 0 || isinf(exact))
        unit_check(got == exact && signbit(got) == signbit(exact), "%s of %a: %a instead of %a",
                   wide[row].text, x, got, exact);
    else
        unit_check(fabs(got - exact) <= wide[row].bound * fabs(exact),
                   "%s of %a: %a instead of %a (section %s)", wide[row].text, x, got, exact,
                   wide[row].section);
}

START_TEST(f64_results_are_as_near_as_their_format_lets_them)
{
    uint32_t first = sizeof(edges64) / sizeof(edges64[0]);
    mpfr_t value;

    mpfr_init2(value, PRECISION);
    for (uint32_t k = 0; k < COUNT; k++)
        a64[k] = k < first ? edges64[k] : random_word();
    for (int v = 0; v < 2; v++) {
        if (!ptx_test_has(builds[v]))
            continue;
        compute(builds[v], wide[_i].text, "f64", a64, a64, d64);
        for (uint32_t k = 0; k < COUNT; k++)
            wide_check((uint32_t)_i, a64[k], d64[k], value);
    }
    mpfr_clear(value);
    mpfr_free_cache();
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

static Suite *ptx_approx_suite(void)
{
    Suite *s = suite_create("ptx_approx");
    TCase *tc = tcase_create("mpfr");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, f32_results_are_within_the_isas_bounds_and_the_machines, 0,
                        COUNT_OF(operations));
    tcase_add_loop_test(tc, f64_results_are_as_near_as_their_format_lets_them, 0, COUNT_OF(wide));
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_approx_suite)
