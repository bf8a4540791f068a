/* SPDX-License-Identifier: MIT */
/*
 * What a tenant may send to the loader to exhaust or break it: texts too large to write down, made here from a
 * start, a piece repeated many times and an end (big_text.h).
 *
 * Each text either loads or is refused with the line and the reason, and in both cases costs no more host memory
 * than the module's limit and the copies of the text. Nothing here looks at the clock: what takes too long runs into
 * the case's timeout.
 *
 * What loads and is only to be caught when it runs is in test_ptx_runaway.c.
 */
#include "big_text.h"
#include "ptx_run.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define HEAD         ".version 8.0\n.target sm_90\n.address_size 64\n"
#define K            HEAD ".entry k() { "
#define MODULE_LIMIT (64ull << 20)
#define DEVICE_LIMIT (64ull << 20)
#define SLACK        (24ull << 20) /* logs, pages of the program itself, what a sanitizer adds */

static struct vgpu_ptx_machine *machine;

static void machine_with(uint64_t module_limit)
{
    struct vgpu_ptx_options options = {
        .threads = 1, .mem_limit_bytes = DEVICE_LIMIT, .max_module_bytes = module_limit};

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
}

static void setup(void)
{
    machine = NULL;
    machine_with(MODULE_LIMIT);
}

static void teardown(void)
{
    vgpu_ptx_machine_destroy(machine);
}

/* --- loading within bounds --- */
/* Every refusal names a line of the text. */
static int names_a_line(const char *log)
{
    const char *at = strstr(log, "ptx:");
    unsigned int line;
    int used = 0;

    return at && sscanf(at, "ptx:%u: error: %n", &line, &used) == 1 && used && line >= 1;
}

static enum vgpu_ptx_status load(const char *text, size_t bytes, char *log, size_t log_bytes,
                                 struct vgpu_ptx_module **module)
{
    uint64_t before = peak_bytes(), grown;
    enum vgpu_ptx_status status =
        vgpu_ptx_module_load(machine, text, bytes, log, log_bytes, module);

    grown = peak_bytes() - before;
    ck_assert_msg(grown <= (MODULE_LIMIT + 2 * bytes) * 9 / 8 + SLACK,
                  "loading %zu bytes of text took %llu bytes", bytes, (unsigned long long)grown);
    if (status != VGPU_PTX_OK) {
        ck_assert_msg(names_a_line(log), "%s: no line: %.200s", vgpu_ptx_status_name(status), log);
        ck_assert_uint_eq(vgpu_ptx_mem_held(machine), 0);
    }
    return status;
}

/* Status OK: loads; otherwise the log has `says`, and a line if one is given. */
static void check_text(struct text *t, enum vgpu_ptx_status want, const char *says)
{
    struct vgpu_ptx_module *module = NULL;
    char log[4096];
    enum vgpu_ptx_status status = load(t->bytes, t->used, log, sizeof(log), &module);

    ck_assert_msg(status == want, "%.60s...: %s: %.300s", t->bytes + strlen(HEAD),
                  vgpu_ptx_status_name(status), log);
    if (want != VGPU_PTX_OK)
        ck_assert_msg(strstr(log, says) != NULL, "%.60s...: '%s' is not in %.300s",
                      t->bytes + strlen(HEAD), says, log);
    vgpu_ptx_module_unload(module);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), 0);
    free(t->bytes);
}

struct hostile {
    const char *start, *piece;
    uint32_t count;
    const char *end;
    enum vgpu_ptx_status status;
    const char *says;
};

#define OK      VGPU_PTX_OK, ""
#define BAD(s)  VGPU_PTX_SYNTAX, s
#define FULL(s) VGPU_PTX_NO_MEMORY, s
#define NO(s)   VGPU_PTX_UNSUPPORTED, s
#define LIMIT   "needs more than 64 MiB of host memory"

/* Very many of something. */
static const struct hostile counts[] = {
    {HEAD, ".func f#() { ret; }\n", 10000, "", OK},
    {HEAD, ".func f#() { ret; }\n", 200000, "", FULL(LIMIT)},
    {HEAD, ".func f#();\n", 100000, "", OK},
    {HEAD, ".entry f#() { ret; }\n", 10000, "", OK},
    {HEAD, ".global .b32 g#;\n", 50000, "", OK},
    {HEAD, ".global .b32 g#;\n", 400000, "", FULL(LIMIT)},
    {HEAD, ".global .b8 g#[4096];\n", 30000, "", FULL("no device memory for the 4096 bytes of 'g")},
    {HEAD ".global .u64 a = a0;\n", ".global .u64 a#;\n", 1, "",
     BAD("4: error: 'a0' has no address")},
    {K, "l#: ", 100000, "}", OK},
    {K, "l#: ", 1000000, "}", FULL(LIMIT)},
    {K ".reg .pred p; ", "l#: @p bra l0; ", 20000, "}", OK},
    {K ".reg .pred p; ", "l#: @p bra l$;\n", 20000, "}",
     BAD("20003: error: 'l20000' is not a label")},
    {K ".reg .b32 ", "r#, ", 200000, "r; }", OK},
    {K ".reg .b32 r<4294967295>; ", "", 1, "mov.b32 r4294967294, 0; }", BAD("is not declared")},
    {K ".reg .b32 r<4294967296>; ", "", 1, "}", BAD("4: error: expected a register count")},
    {K ".reg .b32 r<-1>; ", "", 1, "}", BAD("register count")},
    {K ".reg .b32 r<1.5>; ", "", 1, "}", BAD("register count")},
    {K ".reg .b32 r<1000000>; ", "mov.b32 r#, 0;", 30000, "}", OK},
    {K ".reg .b32 r<1000000>; ", "mov.b32 r#, 0;", 500000, "}", FULL(LIMIT)},
    {K ".reg .b64 r<100000>; ", "add.u64 r#, r$, r#;", 30000, "}", OK},
    {HEAD ".entry k(", ".param .b8 p#, ", 4095, ".param .b8 q) { ret; }", OK},
    {HEAD ".entry k(", ".param .b8 p#, ", 4096, ".param .b8 q) { ret; }",
     BAD("4: error: more than 4096 parameters")},
    {HEAD ".entry k(", ".param .b64 p#, ", 4095, ".param .b64 q) { ret; }",
     BAD("more than 32764 bytes of parameters")},
    {HEAD ".func f(", ".param .b64 p#, ", 4000, ".param .b64 q) { ret; }", OK},
    {HEAD ".func f(.param .b32 a) { ret; }\n.entry k() { .reg .b32 r; call f, (", "r, ", 5000,
     "r); }", BAD("5: error: too many arguments")},
    {HEAD ".func f(.param .b8 a[64]) { ret; }\n.entry k() { ", "{ .param .b8 a[64]; call f, (a); }",
     9000, "}", BAD("more than 524288 bytes of local memory")},
    {K, "{ .local .b64 l; } ", 40000, "}", BAD("more than 524288 bytes of local memory")},
    {K, ".shared .b8 s#; ", 232448, "}", FULL(LIMIT)},
    {HEAD, ".extern .func f#(); ", 50000, ".entry k() { call f7, (); }",
     NO("called and not defined")},
    {HEAD, ".pragma \"p#\";", 100000, "", OK},
    {HEAD, ".file # \"f\"\n", 100000, "", OK},
    {HEAD, ".version 8.0\n", 1, "", BAD("4: error")},
    {K ".reg .b32 r; ", "frobnicate r; ", 100000, "}", NO("frobnicate")},
};

/* Sizes that overflow or that nobody has, and alignments. */
static const struct hostile sizes[] = {
    {HEAD ".global .b8 x[9223372036854775808];", "", 1, "",
     BAD("4: error: the size of 'x' is out of range")},
    {HEAD ".global .b8 x[18446744073709551615];", "", 1, "",
     BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x[18446744073709551616];", "", 1, "", BAD("does not fit in 64 bits")},
    {HEAD ".global .b8 x[-5];", "", 1, "", BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x[-9223372036854775808];", "", 1, "",
     BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x[1.5];", "", 1, "", BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x[4294967297];", "", 1, "", BAD("the size of 'x' is out of range")},
    {HEAD ".global .b64 x[65536][65536][65536];", "", 1, "",
     BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x", "[2]", 64, ";", BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x", "[1]", 100000, ";", OK},
    {HEAD ".global .b8 x[0]", "[9223372036854775807]", 100, ";", OK},
    {HEAD ".global .b8 x", "[]", 2, " = {1};", BAD("only the first dimension may be open")},
    {HEAD ".global .v4 .f32 x[268435457];", "", 1, "", BAD("the size of 'x' is out of range")},
    {HEAD ".global .b8 x[2147483648];", "", 1, "",
     FULL("4: error: no device memory for the 2147483648 bytes of 'x'")},
    {HEAD ".global .b8 x[4294967296] = {1};", "", 1, "",
     FULL("4: error: no device memory for the 4294967296 bytes of 'x'")},
    {HEAD ".const .b8 x[65537];", "", 1, "",
     BAD("4: error: 'x' is more constant memory than there is")},
    {HEAD, ".const .b8 c#[65536];\n", 11, "", BAD("14: error: 'c10' is more constant memory")},
    {HEAD ".shared .b8 s[232449];", "", 1, "", BAD("4: error: 's' is larger than 232448 bytes")},
    {K, ".shared .b8 s#[100000];\n", 3, "}",
     BAD("more than 232448 bytes of shared memory with 's")},
    {HEAD ".func f0() { ret; }\n", ".func f$() { .shared .b8 s[20000]; call f#, (); ret; }\n", 20,
     ".entry k() { call f20, (); }", BAD("more than 232448 bytes of shared memory with 's'")},
    {K ".local .b8 l[524289];", "", 1, "}",
     BAD("4: error: more than 524288 bytes of local memory")},
    {K, ".local .b8 l#[100000];\n", 6, "}", BAD("more than 524288 bytes of local memory")},
    {HEAD ".func f(.param .b8 a[32765]) { ret; }", "", 1, "", BAD("a parameter larger than 32764")},
    {HEAD ".func f(.param .b8 a[18446744073709551615]) { ret; }", "", 1, "", BAD("out of range")},
    {HEAD ".func f(.param .align 4096 .b8 a[32764]) { ret; }", "", 1, "", OK},
    {HEAD ".func f(.param .b8 z, .param .align 4096 .b8 a[32764]) { ret; }", "", 1, "",
     BAD("more than 32764 bytes of parameters")},
    {HEAD ".global .align 0 .b8 x;", "", 1, "", BAD("4: error: .align wants a power of two")},
    {HEAD ".global .align 3 .b8 x;", "", 1, "", BAD(".align wants a power of two")},
    {HEAD ".global .align -8 .b8 x;", "", 1, "", BAD(".align wants a power of two")},
    {HEAD ".global .align 1.0 .b8 x;", "", 1, "", BAD(".align wants a power of two")},
    {HEAD ".global .align 8192 .b8 x;", "", 1, "", BAD(".align wants a power of two up to 4096")},
    {HEAD ".global .align 9223372036854775808 .b8 x;", "", 1, "", BAD(".align wants")},
    {HEAD ".global .align", "", 1, "", BAD(".align wants a power of two")},
    {HEAD ".global ", ".align 8 ", 100000, ".b8 x;", OK},
    {K, ".local .align 4096 .b8 l#; ", 129, "}", BAD("more than 524288 bytes of local memory")},
    {HEAD ".entry k() .maxntid 4294967296 { ret; }", "", 1, "",
     BAD("4: error: a dimension out of range")},
    {HEAD ".entry k() .reqntid 1, 1, 1, 1 { ret; }", "", 1, "", BAD("more than three dimensions")},
    {HEAD ".entry k() .maxntid 4294967295, 4294967295, 4294967295 { ret; }", "", 1, "", OK},
    {HEAD ".entry k() ", ".maxntid 1 ", 100000, "{ ret; }", OK},
};

/* Nesting, cycles and other shapes. */
static const struct hostile shapes[] = {
    {K, "{", 63, "ret;}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}", OK},
    {K, "{", 64, "", BAD("4: error: blocks nested too deeply")},
    {K, "{", 2000000, "", BAD("4: error: blocks nested too deeply")},
    {K, "{ ", 60, "}", BAD("the text ends inside 'k'")},
    {K ".reg .b32 r; mov.b32 r, ", "(", 1000000, "", BAD("4: error: ")},
    {K ".reg .b32 r; mov.b32 r, ", "-", 1000000, "1; }", BAD("4: error: ")},
    {K ".reg .b32 r; mov.b32 r, ", "~", 50, "1; }", OK},
    {K ".reg .b32 r; mov.b32 r, 1", "+1", 500000, "; }", OK},
    {HEAD ".global .u32 x = ", "(", 1000000, "1;",
     BAD("4: error: an expression nested too deeply")},
    {HEAD ".global .u32 x = ", "!", 1000000, "1;",
     BAD("4: error: an expression nested too deeply")},
    {HEAD ".global .u32 x = ", "(.u64)", 200000, "1;", BAD("an expression nested too deeply")},
    {HEAD ".global .u32 x = 1", "?1", 200000, ":1;", BAD("an expression nested too deeply")},
    {HEAD ".global .u32 x = 1", "?1:1", 1000, ";", BAD("an expression nested too deeply")},
    {HEAD ".global .u32 x[4] = ", "{", 1000000, "1", BAD("an initialiser nested too deeply")},
    {HEAD ".global .u32 x[4] = {", "{},", 1000000, "1};", OK},
    {HEAD ".global .u8 x[4] = {", "1,", 1000000, "1};", BAD("more initial values than 'x' has")},
    {HEAD ".global .u64 x[] = {", "x,", 1, "x};", BAD("4: error: 'x' has no address")},
    {HEAD ".global .u64 y; .global .u64 x[] = {", "y+#,", 100000, "y};", OK},
    {HEAD ".global .u64 y; .global .u64 x[] = {", "y+#,", 1000000, "y};", FULL(LIMIT)},
    {HEAD ".global .u64 a = b;\n.global .u64 b = a;\n", "", 1, "",
     BAD("4: error: 'b' has no address")},
    {HEAD ".global .u64 a = a;\n", "", 1, "", BAD("4: error: 'a' has no address")},
    {HEAD ".extern .global .u64 b;\n.global .u64 a = b;\n.global .u64 b = a;\n", "", 1, "", OK},
    {HEAD ".func a();\n.alias a, a;", "", 1, "", BAD("5: error: .alias of something")},
    {HEAD ".func a();\n.func b();\n.alias a, b;\n.alias b, a;", "", 1, "", BAD("6: error: .alias")},
    {HEAD ".func g();\n.func f() { call g, (); }\n.func g() { call f, (); }\n", "", 1, "", OK},
    {HEAD ".func f0();", ".func f$() { call f#, (); } ", 10000, ".func f0() { call f10000, (); }",
     OK},
    {K ".reg .b64 r; ld.u64 ", "{", 1000000, "r", BAD("4: error: ")},
    {HEAD, ".section .x { ", 1000000, "", BAD("the text ends inside a .section")},
    {K ".reg .pred p; ", "@p ", 2, "ret; }", BAD("4: error: ")},
    {K, "l: ", 2, "}", BAD("4: error: 'l' is declared twice")},
};

/* Indirect branches that go wrong. */
static const struct hostile branches[] = {
    {K ".reg .u32 r; t: .branchtargets a, b;\nbrx.idx r, t; a: ret; }", "", 1, "",
     BAD("4: error: 'b' is not a label of this function")},
    {K ".reg .u32 r; t: .branchtargets t; brx.idx r, t; }", "", 1, "", BAD("'t' is not a label")},
    {K ".reg .u32 r; t: .branchtargets u; u: .branchtargets t; brx.idx r, t; }", "", 1, "",
     BAD("is not a label")},
    {K ".reg .u32 r; l: brx.idx r, l; }", "", 1, "", BAD("'l' is not a label")},
    {K "t: .branchtargets l; l: bra t; }", "", 1, "", BAD("'t' is not a label")},
    {K ".reg .u32 r; t: .branchtargets k; brx.idx r, t; }", "", 1, "", BAD("'k' is not a label")},
    {K ".reg .u64 r; l: t: .branchtargets l; brx.idx r, t; }", "", 1, "", BAD("4: error: ")},
    {K "l: t: .branchtargets l; brx.idx k, t; }", "", 1, "", BAD("4: error: ")},
    {K ".reg .u32 r; { l: ret; } t: .branchtargets l; brx.idx r, t; }", "", 1, "",
     BAD("'l' is not a label")},
    {HEAD ".func f() { l: ret; }\n.entry k() { .reg .u32 r; t: .branchtargets l;\nbrx.idx r, t; }",
     "", 1, "", BAD("5: error: 'l' is not a label")},
    {K ".reg .u32 r; t: .branchtargets ", "", 1, "; brx.idx r, t; }", BAD("expected a name")},
    {K ".reg .u32 r; l: t: .branchtargets ", "l,", 200000, "l; brx.idx r, t; }", OK},
    {K ".reg .u32 r; l: t: .branchtargets l", ",l", 3000, ";", BAD("the text ends inside 'k'")},
    {K ".reg .u32 r; l: t: .branchtargets ", "l,\n", 1048576, "l; brx.idx r, t; }",
     BAD("1048580: error: more than 1048576 branch targets")},
};

/* Characters: comments and strings without an end, numbers and names without measure. */
static const struct hostile letters[] = {
    {HEAD, "/*/", 1, "", BAD("4: error: an unterminated comment")},
    {HEAD, "/* ", 1000000, "*", BAD("4: error: an unterminated comment")},
    {HEAD, "/**/", 1000000, "", OK},
    {HEAD, "// ", 1000000, "", OK},
    {HEAD, "/", 1, "", BAD("4: error: ")},
    {HEAD ".file 1 \"", "\\\"", 1000000, "", BAD("4: error: an unterminated string")},
    {HEAD ".file 1 \"x\\", "", 1, "", BAD("an unterminated string")},
    {HEAD ".pragma \"", "x", 3000000, "\";", OK},
    {HEAD ".entry ", "k", 3000000, "() { ret; }", OK},
    {K "bra ", "x", 3000000, "; }", BAD("is not a label of this function")},
    {K "", "x", 3000000, " 1; }", BAD("4: error: expected an instruction")},
    {K ".reg .b32 r; mov.b32 r, ", "x", 3000000, "; }", BAD("is not declared")},
    {K ".reg .b32 r; mov.", "x", 3000000, " r, r; }", NO("unsupported")},
    {HEAD ".", "x", 3000000, " y;", BAD("4: error: expected a directive")},
    {HEAD ".global .", "x", 3000000, " y;", BAD("is not a type")},
    {HEAD ".global .u32 x = ", "9", 1000000, ";",
     BAD("4: error: an integer constant does not fit")},
    {HEAD ".global .u32 x = 0x", "f", 1000000, ";", BAD("does not fit in 64 bits")},
    {HEAD ".global .f64 x = 1.", "9", 1000000, ";", BAD("a floating-point constant is too long")},
    {HEAD ".global .f64 x = 1e", "9", 40, ";", OK},
    {HEAD ".global .f64 x = 1e+", "", 1, ";", OK},
    {HEAD ".global .u32 x = 0x;", "", 1, "", BAD("a malformed number")},
    {HEAD ".global .u32 x = 0b2;", "", 1, "", BAD("a malformed number")},
    {HEAD ".global .u32 x = 08;", "", 1, "", BAD("a malformed number")},
    {HEAD ".global .u32 x = 1UU;", "", 1, "", BAD("a malformed number")},
    {HEAD ".global .f32 x = 0f0;", "", 1, "", BAD("too few hexadecimal digits")},
    {HEAD ".global .f32 x = 0f", "", 1, "", BAD("too few hexadecimal digits")},
    {HEAD ".global .u32 x = 1/0;", "", 1, "", BAD("4: error: division by zero in a constant")},
    {HEAD ".global .u32 x = 1 % 0;", "", 1, "", BAD("division by zero in a constant")},
    {HEAD ".global .u32 x = 1/(2-1-1);", "", 1, "", BAD("division by zero in a constant")},
    {HEAD ".global .s64 x[3] = {-9223372036854775807-1, (-9223372036854775807-1)/-1, "
          "(-9223372036854775807-1)%-1};",
     "", 1, "", OK},
    {HEAD ".global .u64 x[4] = {1<<64, 1<<-1, 1>>99, -1>>0xffffffffffffffff};", "", 1, "", OK},
    {HEAD ".global .b8 x[1/0];", "", 1, "", BAD("division by zero in a constant")},
    {HEAD ".target sm_", "9", 100000, "\n", OK},
    {HEAD ".target ", "sm_90, ", 100000, "sm_90\n", OK},
    {"", "\n", 1000000, "garbage", BAD("1000001: error: PTX text begins with .version")},
};

static const struct {
    const struct hostile *cases;
    int count;
} groups[] = {
#define GROUP(g)                                                                                   \
    {                                                                                              \
        g, (int)(sizeof(g) / sizeof((g)[0]))                                                       \
    }
    GROUP(counts), GROUP(sizes), GROUP(shapes), GROUP(branches), GROUP(letters),
};

START_TEST(it_loads_or_is_refused_with_line_and_reason)
{
    const struct hostile *h = &groups[_i].cases[0];

    for (int k = 0; k < groups[_i].count; k++, h++) {
        struct text t = text_of(h->start, h->piece, h->count, h->end);

        check_text(&t, h->status, h->says);
    }
}
END_TEST

/* Calls that the walk from kernels to shared variables would follow a trillion times. */
START_TEST(the_walk_over_call_graphs_is_bounded)
{
    struct text t = text_of(HEAD ".func f() {", ".shared .b8 s#;", 8000, "ret; }\n");

    text_repeat(&t, ".entry k#() { call f, (); }\n", 9000);
    check_text(&t, VGPU_PTX_NO_MEMORY,
               "error: the call graphs of the module's kernels are too large");
    t = text_of(HEAD ".shared .b8 s;\n", ".func f#() { ret; }\n", 5000,
                ".entry k() { .reg .b64 r; p: .callprototype _ (); ");
    text_repeat(&t, "call r, (), p; ", 20000);
    text_add(&t, "}");
    check_text(&t, VGPU_PTX_OK, "");
}
END_TEST

/* A list of branch targets costs each instruction that names it, and the registers that live across it, too. */
START_TEST(shared_branch_targets_are_bounded)
{
    struct text t = text_of(K ".reg .u32 r; t: .branchtargets ", "l#, ", 16000, "l0; ");

    text_repeat(&t, "l#: ", 16000);
    text_repeat(&t, "brx.idx r, t;\n", 16000);
    text_add(&t, "}");
    check_text(&t, VGPU_PTX_SYNTAX, ": error: brx.idx: more than 1048576 branch targets");
    t = text_of(K ".reg .u32 r; t: .branchtargets ", "l#, ", 1000, "l0; ");
    text_repeat(&t, "l#: brx.idx r, t;\n", 1000);
    text_add(&t, "}");
    check_text(&t, VGPU_PTX_OK, "");
    t = text_of(K ".reg .u32 r<1000000>; ", "mov.u32 r#, 1; ", 100000, "t: .branchtargets ");
    text_repeat(&t, "l#, ", 150);
    text_add(&t, "l0; ");
    text_repeat(&t, "l#: brx.idx r$, t;\n", 150);
    text_repeat(&t, "add.u32 r#, r$, 1; ", 99999);
    text_add(&t, "}");
    machine_with(256ull << 20);
    check_text(&t, VGPU_PTX_OK, "");
}
END_TEST

/* One value may stand before gigabytes of zeros: they cost device memory, which is accounted, and nothing else. */
START_TEST(a_sparse_initialiser_takes_no_memory_of_its_own)
{
    static const char text[] = HEAD ".visible .global .b8 x[50331648] = {7, {8, 9}};\n";
    struct vgpu_ptx_module *module;
    uint64_t va, bytes;
    uint8_t *host;

    machine_with(1 << 20);
    module = ptx_test_load(machine, text);
    ck_assert_int_eq(vgpu_ptx_module_global(module, "x", &va, &bytes), VGPU_PTX_OK);
    ck_assert_uint_eq(bytes, 50331648);
    host = vgpu_ptx_mem_translate(machine, va, bytes);
    ck_assert(host[0] == 7 && host[1] == 8 && host[2] == 9 && host[3] == 0);
    vgpu_ptx_module_unload(module);
}
END_TEST

/* NUL and non-ASCII bytes, each where a name, a number, an operator and a string may stand. */
START_TEST(every_byte_is_taken_anywhere)
{
    static const char *const around[][2] = {
        {HEAD ".global .u32 x", " = 1;\n"},
        {HEAD ".global .u32 x = 1", ";\n"},
        {HEAD, "\n"},
        {HEAD ".file 1 \"a", "\"\n"},
        {HEAD "/* ", " */\n"},
        {".version 8.", "\n"},
        {K ".reg .b32 r; mov.b32 r, ", "1; }"},
    };
    char log[512];

    for (size_t a = 0; a < sizeof(around) / sizeof(around[0]); a++) {
        for (int c = 0; c < 256; c++) {
            struct text t = {0};
            struct vgpu_ptx_module *module = NULL;
            char byte = (char)c;
            enum vgpu_ptx_status status;

            text_add(&t, around[a][0]);
            text_put(&t, &byte, 1);
            text_add(&t, around[a][1]);
            status = load(t.bytes, t.used, log, sizeof(log), &module);
            if (a != 3 && a != 4 && (c < '\t' || c > '~'))
                ck_assert_msg(status != VGPU_PTX_OK, "byte 0x%02x loads in place %zu", c, a);
            if (a == 4)
                ck_assert_msg(status == VGPU_PTX_OK, "byte 0x%02x in a comment: %s", c, log);
            vgpu_ptx_module_unload(module);
            free(t.bytes);
        }
    }
}
END_TEST

/* A text cut off at every byte never loads as something else, nor reads beyond its end. */
START_TEST(every_beginning_of_a_text_ends_well)
{
    static const char whole[] = HEAD
        ".global .align 8 .u64 x[2] = {0x12U, generic(x)+(3*-1)};\n"
        ".func (.param .b32 r) f(.param .b32 a) { .reg .f32 %f<2>; mov.f32 %f1, 0f3f800000; /* */ "
        "{ l: @!%p bra.uni l; } ret; }\n.visible .entry k(.param .u64 out) .maxntid 4, 2 { "
        "t: .branchtargets t; .loc 1 2 3\n ret; }\n";
    char log[512];

    for (size_t bytes = 0; bytes < sizeof(whole); bytes++) {
        struct vgpu_ptx_module *module = NULL;
        char *exact = malloc(bytes ? bytes : 1); /* so that a sanitizer sees the end */

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, whole, bytes);
        load(exact, bytes, log, sizeof(log), &module);
        vgpu_ptx_module_unload(module);
        free(exact);
    }
}
END_TEST

/* Files that disagree on a function: a call would pass what the callee has no place for. */
static const struct {
    const char *a, *b, *says;
} links[] = {
    {".weak .func f(.param .b8 a[4096]) { ret; }\n"
     ".entry k() { { .param .b8 x[4096]; call f, (x); } }",
     ".visible .func f(.param .b32 a) { ret; }",
     "'f' is declared and defined with different parameters"},
    {".weak .func f(.param .b32 a) { ret; }\n.entry k() { .reg .b32 r; call f, (r); }",
     ".visible .func f() { ret; }", "different parameters"},
    {".weak .func (.param .b32 r) f() { ret; }\n.entry k() { .reg .b32 r; call (r), f; }",
     ".visible .func f() { ret; }", "different parameters"},
    {".weak .func (.param .b32 r) f() { ret; }\n", ".visible .func (.param .b64 r) f() { ret; }",
     "different results"},
    {".extern .func f(.param .b64 a);\n.entry k() { .reg .b64 r; call f, (r); }",
     ".entry f(.param .b64 a) { ret; }", "'f' is a kernel in one file and a function in another"},
    {".weak .func f() { ret; }\n.entry k() { call f, (); }", ".entry f() { ret; }", "is a kernel"},
    {".extern .func f();\n.entry k() { call f, (); }", ".visible .global .u32 f;",
     "called and not defined"},
    {".visible .func f() { ret; }", ".visible .global .u32 f;", "is a function and a variable"},
};

START_TEST(files_that_disagree_do_not_link)
{
    for (int order = 0; order < 2; order++) {
        char text[2][512], log[512];
        struct vgpu_ptx_input inputs[2];
        struct vgpu_ptx_module *module = NULL;

        for (int k = 0; k < 2; k++) {
            snprintf(text[k], sizeof(text[k]), HEAD "%s", (k ^ order) ? links[_i].b : links[_i].a);
            inputs[k] = (struct vgpu_ptx_input){text[k], strlen(text[k]), "ptx"};
        }
        ck_assert_int_ne(vgpu_ptx_module_link(machine, inputs, 2, log, sizeof(log), &module),
                         VGPU_PTX_OK);
        ck_assert_msg(strstr(log, links[_i].says) && names_a_line(log), "%s", log);
    }
}
END_TEST

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

static Suite *ptx_hostile_suite(void)
{
    Suite *s = suite_create("ptx_hostile");
    TCase *tc = tcase_create("load");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, it_loads_or_is_refused_with_line_and_reason, 0, COUNT_OF(groups));
    tcase_add_test(tc, the_walk_over_call_graphs_is_bounded);
    tcase_add_test(tc, shared_branch_targets_are_bounded);
    tcase_add_test(tc, a_sparse_initialiser_takes_no_memory_of_its_own);
    tcase_add_test(tc, every_byte_is_taken_anywhere);
    tcase_add_test(tc, every_beginning_of_a_text_ends_well);
    tcase_add_loop_test(tc, files_that_disagree_do_not_link, 0, COUNT_OF(links));
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_hostile_suite)
