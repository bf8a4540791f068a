/* SPDX-License-Identifier: MIT */
/*
 * Loading: what is refused, and how; hostile text ends in bounded time and memory; memory bookkeeping.
 */
#include "ptx_run.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define HEAD          ".version 8.0\n.target sm_90\n.address_size 64\n"
#define HOSTILE_BYTES (4u << 20)

static struct vgpu_ptx_machine *machine;

static void setup(void)
{
    machine = ptx_test_machine(1, VGPU_PTX_CPU_AUTO);
}

static void teardown(void)
{
    vgpu_ptx_machine_destroy(machine);
}

/* A body that loads; each refusal breaks one thing in it. */
#define BODY                                                                                       \
    ".reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<4>; .reg .b16 %h<4>; .reg .f32 %f<4>;\n"      \
    ".shared .align 4 .b8 s[16]; .local .align 4 .b8 l[16];\n"

static const struct {
    const char *code;
    enum vgpu_ptx_status status;
    const char *log;
} refusals[] = {
    {"add.u32 %r0, %r1;", VGPU_PTX_SYNTAX, "too few operands"},
    {"add.u32 %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "too many operands"},
    {"add.u32 %d0, %r1, %r2;", VGPU_PTX_SYNTAX, "wrong size"},
    {"add.u32 %r0, %h1, %r2;", VGPU_PTX_SYNTAX, "wrong size"},
    {"add.u32 %p0, %r1, %r2;", VGPU_PTX_SYNTAX, "predicate"},
    {"add.u32 1, %r1, %r2;", VGPU_PTX_SYNTAX, "not a register"},
    {"add.u32 %r0, %r1, %r9;", VGPU_PTX_SYNTAX, "'%r9' is not declared"},
    {"add.u32 %r0, %r1, %r01;", VGPU_PTX_SYNTAX, "'%r01' is not declared"},
    {"add.f32 %f0, %f1, 7;", VGPU_PTX_SYNTAX, "integer constant"},
    {"add.u32 %r0, %r1, 1.5;", VGPU_PTX_SYNTAX, "floating-point constant"},
    {"add.u32 %r0, %r1, 99999999999999999999;", VGPU_PTX_SYNTAX, "does not fit in 64 bits"},
    {"add.u32 %r0, %r1, 0f12;", VGPU_PTX_SYNTAX, "too few hexadecimal digits"},
    {"add.u32 %r0, %r1, 1/0;", VGPU_PTX_SYNTAX, "division by zero"},
    {"add.u32 %r0, %r1, 9 %r2;", VGPU_PTX_SYNTAX, "near"},
    {"add.u32 %r0, %r1, %r2", VGPU_PTX_SYNTAX, "';'"},
    {"cvt.sat.s32.u16 %r0, %h1;", VGPU_PTX_SYNTAX, "can't hold every value"},
    {"cvt.sat.u64.u32 %d0, %r1;", VGPU_PTX_SYNTAX, "can't hold every value"},
    {"cvt.sat.s32.s32 %r0, %r1;", VGPU_PTX_SYNTAX, "can't hold every value"},
    {"cvt.rn.bf16.u8 %h0, %h1;", VGPU_PTX_SYNTAX, "8-bit integers to bf16"},
    {"bra nowhere;", VGPU_PTX_SYNTAX, "not a label"},
    {"{ in: ret; } bra in;", VGPU_PTX_SYNTAX, "not a label"},
    {"x: x: ret;", VGPU_PTX_SYNTAX, "declared twice"},
    {".reg .b32 %r<2>;", VGPU_PTX_SYNTAX, "declared twice"},
    {".reg .b32 t; .reg .b64 t;", VGPU_PTX_SYNTAX, "declared twice"},
    {"@%r0 ret;", VGPU_PTX_SYNTAX, "not a predicate"},
    {"@%q ret;", VGPU_PTX_SYNTAX, "not a register"},
    {"ld.param.u32 %r0, [out+8];", VGPU_PTX_SYNTAX, "beyond the kernel's parameters"},
    {"ld.param.u32 %r0, [out+-4];", VGPU_PTX_SYNTAX, "beyond the kernel's parameters"},
    {"ld.param.u64 %d0, [out+4];", VGPU_PTX_SYNTAX, "beyond the kernel's parameters"},
    {"st.param.u32 [out], %r0;", VGPU_PTX_SYNTAX, "kernel's parameters"},
    {"ld.global.u32 %r0, %d0;", VGPU_PTX_SYNTAX, "brackets"},
    {"ld.global.u32 %r0, [%h0];", VGPU_PTX_SYNTAX, "address register"},
    {"ld.global.v4.u64 {%d0,%d1,%d2,%d3}, [%d0];", VGPU_PTX_SYNTAX, "16 bytes"},
    {"ld.global.v2.u32 {%r0,%r1,%r2}, [%d0];", VGPU_PTX_SYNTAX, "number of elements"},
    {"ld.global.v2.u32 {%r0,{%r1,{%r2,%r3}}}, [%d0];", VGPU_PTX_SYNTAX, "nested"},
    {"mov.b64 %d0, {%r0,%r1,%r2};", VGPU_PTX_SYNTAX, "vector"},
    {"mov.b32 %r0, %tid.w;", VGPU_PTX_SYNTAX, "not declared"},
    {"lop3.b32 %r0, %r1, %r2, %r3, 256;", VGPU_PTX_SYNTAX, "one byte"},
    {"call nobody, ();", VGPU_PTX_SYNTAX, "'nobody' is not declared"},
    {"call f, (%r0, %r1);", VGPU_PTX_SYNTAX, "number of arguments"},
    {"call f, (%h0);", VGPU_PTX_SYNTAX, "size differs"},
    {"call k, (%d0);", VGPU_PTX_SYNTAX, "calls a kernel"},
    {"call %d0, (%r0);", VGPU_PTX_SYNTAX, "without a prototype"},
    {"call undefined, (%r0);", VGPU_PTX_UNSUPPORTED, "called and not defined"},
    {"brx.idx %r0, nolist;", VGPU_PTX_SYNTAX, "not a label"},
    {"cp.async.ca.shared.global [s], [%d0], 5;", VGPU_PTX_SYNTAX, "4, 8 or 16"},
    {".shared .align 4 .b8 huge[300000];", VGPU_PTX_SYNTAX, "larger than"},
    {".local .align 4 .b8 huge[600000];", VGPU_PTX_SYNTAX, "local memory"},
    {".local .align 3 .b8 odd[4];", VGPU_PTX_SYNTAX, "power of two"},
    {".local .b8 big[0xffffffffffffffff][16];", VGPU_PTX_SYNTAX, "out of range"},
    {".local .b8 open[];", VGPU_PTX_SYNTAX, "no size"},
    {"add.sat.u64 %d0, %d1, %d2;", VGPU_PTX_UNSUPPORTED, "add.sat.u64"},
    {"frobnicate.u32 %r0, %r1;", VGPU_PTX_UNSUPPORTED, "frobnicate"},
    {"add.u32.f32 %r0, %r1, %r2;", VGPU_PTX_UNSUPPORTED, "number of types"},
    {"add.sparkly.u32 %r0, %r1, %r2;", VGPU_PTX_UNSUPPORTED, "sparkly"},
    {"tex.2d.v4.f32.f32 {%f0,%f1,%f2,%f3}, [t, {%f0,%f1}];", VGPU_PTX_UNSUPPORTED, "textures"},
    {"wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r0}, [%d0];", VGPU_PTX_UNSUPPORTED, "matrix"},
    {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0}, {%r0}, {%r1}, {%f1};",
     VGPU_PTX_UNSUPPORTED, "matrix"},
    {"vadd2.s32.s32.s32 %r0, %r1.h4, %r2, %r3;", VGPU_PTX_SYNTAX, "does not exist"},
    {"vadd2.s32.s32.s32 %r0, %r1.b3210, %r2, %r3;", VGPU_PTX_SYNTAX, "half-words"},
    {"vadd4.s32.s32.s32 %r0, %r1.b10, %r2, %r3;", VGPU_PTX_SYNTAX, "for every lane"},
    {"vadd4.s32.s32.s32 %r0.b01, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "from left to right"},
    {"vadd4.s32.s32.s32.sat.add %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, ".sat does not go"},
    {"vset4.s32.s32 %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "one comparison"},
    {"add.u32 %r0, %r1.h0, %r2;", VGPU_PTX_SYNTAX, "too few operands"},
    {"vadd2.s32.s32.s32 %r0, -%r1, %r2, %r3;", VGPU_PTX_SYNTAX, "only vmad negates"},
    {"vadd.s32.s32.s32 %r0, %r1, -%r2;", VGPU_PTX_SYNTAX, "only vmad negates"},
    {"vmad.s32.s32.s32 -%r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "only vmad negates"},
    {"vadd.s32.s32.s32 %r0, %r1.b10, %r2;", VGPU_PTX_SYNTAX, "expected one part"},
    {"vadd.s32.s32.s32 %r0, %r1.b4, %r2;", VGPU_PTX_SYNTAX, "expected one part"},
    {"vadd.s32.s32.s32 %r0, %r1.h2, %r2;", VGPU_PTX_SYNTAX, "expected one part"},
    {"vadd.s32.s32.s32 %r0.b0, %r1, %r2, %r3.b0;", VGPU_PTX_SYNTAX, "no parts to choose"},
    {"vadd.s32.s32.s32 %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "third source goes with"},
    {"vadd.s32.s32.s32 %r0.b0, %r1, %r2;", VGPU_PTX_SYNTAX, "third source goes with"},
    {"vadd.s32.s32.s32.add %r0, %r1, %r2;", VGPU_PTX_SYNTAX, "third source goes with"},
    {"vadd.s32.s32.s32.add %r0.b0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "one second operation"},
    {"vadd.s32.s32.s32.add.min %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "one second operation"},
    {"vadd.s32.s32.s32 %r0, %r1;", VGPU_PTX_SYNTAX, "too few operands"},
    {"vshl.s32.s32.u32 %r0, %r1, %r2;", VGPU_PTX_SYNTAX, "expected .clamp or .wrap"},
    {"vset.s32.s32 %r0, %r1, %r2;", VGPU_PTX_SYNTAX, "expected one comparison"},
    {"vmad.s32.s32.s32 %r0.b0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "destination has no parts"},
    {"vmad.s32.s32.s32 %r0, -%r1, %r2, -%r3;", VGPU_PTX_SYNTAX, "expected one of"},
    {"vmad.s32.s32.s32.po %r0, %r1, %r2, -%r3;", VGPU_PTX_SYNTAX, "expected one of"},
    {"vmad.s32.s32.s32.po %r0, -%r1, -%r2, %r3;", VGPU_PTX_SYNTAX, ".po does not go"},
    {"vmad.s32.s32.s32.shr7.shr15 %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "one scale"},
    {"cvt.pack.u8.s32.b32 %r0, %r1, %r2, %r3;", VGPU_PTX_UNSUPPORTED, "cvt.pack.u8"},
    {"cvt.pack.sat.u8.s32 %r0, %r1, %r2;", VGPU_PTX_UNSUPPORTED, "a type that is not"},
    {"cvt.pack.sat.u16.s32 %r0, %r1, %r2, %r3;", VGPU_PTX_SYNTAX, "too many operands"},
    {"add.s32 %r0, %r1, -%r2;", VGPU_PTX_SYNTAX, "expected"},
    {"\"unterminated\n", VGPU_PTX_SYNTAX, "unterminated"},
    {"/* unterminated", VGPU_PTX_SYNTAX, "unterminated"},
    {"\x01", VGPU_PTX_SYNTAX, "character"},
    {"}", VGPU_PTX_SYNTAX, "directive"},
};

static void with_body(char *text, size_t bytes, const char *code)
{
    snprintf(text, bytes,
             HEAD ".extern .func undefined(.param .b32 a);\n.func f(.param .b32 a) { ret; }\n"
                  ".visible .entry k(.param .u64 out) {\n%s%s\nret; }\n",
             BODY, code);
}

START_TEST(bad_code_is_refused_with_its_reason)
{
    char text[4096], line[64];

    with_body(text, sizeof(text), refusals[_i].code);
    ptx_test_refused(machine, text, refusals[_i].status, refusals[_i].log);
    if (refusals[_i].status == VGPU_PTX_UNSUPPORTED) {
        snprintf(line, sizeof(line), "ptx:9:");
        ptx_test_refused(machine, text, refusals[_i].status, line);
    }
}
END_TEST

START_TEST(the_same_body_without_a_fault_loads)
{
    char text[4096];

    with_body(text, sizeof(text), "add.u32 %r0, %r1, %r2; call f, (%r0);");
    vgpu_ptx_module_unload(ptx_test_load(machine, text));
}
END_TEST

static const struct {
    const char *text;
    enum vgpu_ptx_status status;
    const char *log;
} modules[] = {
    {"", VGPU_PTX_SYNTAX, ".version"},
    {"garbage", VGPU_PTX_SYNTAX, ".version"},
    {".version 99.0\n", VGPU_PTX_TOO_NEW, "99.0"},
    {".version 2.3\n", VGPU_PTX_TOO_NEW, "2.3"},
    {".version 8.0\n.target sm_90\n.address_size 32\n", VGPU_PTX_UNSUPPORTED, "address_size"},
    {"\177ELF\2\1\1", VGPU_PTX_NO_PTX, "cubin"},
    {HEAD ".global .texref t;\n", VGPU_PTX_UNSUPPORTED, "texref"},
    {HEAD ".global .u32 a;\n.global .u32 a;\n", VGPU_PTX_SYNTAX, "declared twice"},
    {HEAD ".global .u32 a[2] = {1,2,3};\n", VGPU_PTX_SYNTAX, "more initial values"},
    {HEAD ".global .u32 a = nothing;\n", VGPU_PTX_SYNTAX, "no address"},
    {HEAD ".extern .global .u32 a;\n", VGPU_PTX_SYNTAX, "nobody defines"},
    {HEAD ".shared .u32 a = 1;\n", VGPU_PTX_SYNTAX, "initialiser"},
    {HEAD ".entry k() { ret; }\n.entry k() { ret; }\n", VGPU_PTX_SYNTAX, "defined twice"},
    {HEAD ".entry k() {\n", VGPU_PTX_SYNTAX, "ends inside"},
    {HEAD ".entry k(.param .b8 a[40000]) { ret; }\n", VGPU_PTX_SYNTAX, "parameter"},
    {HEAD ".entry k() .reqntid 0 { ret; }\n", VGPU_PTX_SYNTAX, "dimension"},
    {HEAD ".const .b8 c[70000];\n", VGPU_PTX_SYNTAX, "constant memory"},
    {HEAD ".entry k(.reg .u32 a) { ret; }\n", VGPU_PTX_UNSUPPORTED, ".reg parameters"},
    {HEAD ".entry k()\n.reqnctapercluster 2\n{ ret; }\n", VGPU_PTX_UNSUPPORTED,
     "ptx:5: error: unsupported: '.reqnctapercluster 2, 1, 1': a cluster of more than one block"},
    {HEAD ".entry k() .reqnctapercluster 1, 1, 8 .explicitcluster { ret; }\n", VGPU_PTX_UNSUPPORTED,
     "'.reqnctapercluster 1, 1, 8'"},
    {HEAD ".entry k()\n\n.explicitcluster { ret; }\n", VGPU_PTX_UNSUPPORTED,
     "ptx:6: error: unsupported: '.explicitcluster' without .reqnctapercluster"},
    {HEAD ".entry k()\n.blocksareclusters .reqnctapercluster 1 { ret; }\n", VGPU_PTX_SYNTAX,
     "ptx:5: error: .blocksareclusters needs .reqntid"},
    {HEAD ".entry k() .maxnreg { ret; }\n", VGPU_PTX_SYNTAX, "ptx:4:"},
    {HEAD ".entry k() .maxnreg 1.5 { ret; }\n", VGPU_PTX_SYNTAX, ".maxnreg wants an integer"},
    {HEAD ".entry k() .unlikely { ret; }\n", VGPU_PTX_SYNTAX, "expected a function directive"},
    {HEAD ".shared .attribute(.managed) .u32 a;\n", VGPU_PTX_SYNTAX,
     "ptx:4: error: .attribute(.managed) is for .global variables"},
    {HEAD ".const .attribute(.managed) .u32 a;\n", VGPU_PTX_SYNTAX, "is for .global variables"},
    {HEAD ".func .attribute(.managed) f();\n", VGPU_PTX_SYNTAX, "is for .global variables"},
    {HEAD ".global .attribute(.managed,\n.unified(0x13, 95)) .u32 a;\n", VGPU_PTX_UNSUPPORTED,
     "ptx:5: error: unsupported: '.attribute(.unified)'"},
    {HEAD ".func .attribute(.unified(1, 2)) f() { ret; }\n", VGPU_PTX_UNSUPPORTED,
     "ptx:4: error: unsupported: '.attribute(.unified)'"},
    {HEAD ".shared .attribute(.unified(1, 2)) .u32 a;\n", VGPU_PTX_SYNTAX,
     ".global variables and functions"},
    {HEAD ".global .attribute(.unified(1)) .u32 a;\n", VGPU_PTX_SYNTAX, "expected ','"},
    {HEAD ".global .attribute(.unified(a, 1)) .u32 a;\n", VGPU_PTX_SYNTAX, "expected an integer"},
    {HEAD ".global .attribute(.sticky) .u32 a;\n", VGPU_PTX_SYNTAX, "expected an attribute"},
    {HEAD ".global .attribute(.managed .u32 a;\n", VGPU_PTX_SYNTAX, "expected ')'"},
    {HEAD ".pragma nounroll;\n", VGPU_PTX_SYNTAX, "expected a string"},
    {HEAD ".pragma \"nounroll\", ;\n", VGPU_PTX_SYNTAX, "expected a string"},
    {HEAD ".entry k() .pragma \"a\" { ret; }\n", VGPU_PTX_SYNTAX, "expected ';'"},
    {HEAD ".entry k() { .pragma 1; ret; }\n", VGPU_PTX_SYNTAX, "expected a string"},
};

/* Every directive that says something and changes nothing. */
START_TEST(hints_and_attributes_are_taken)
{
    struct vgpu_ptx_module *module = ptx_test_load(
        machine,
        ".version 9.0\n.target sm_90\n.address_size 64\n.pragma \"nounroll\", \"frequency 5\";\n"
        ".global .attribute(.managed) .align 4 .u32 a = 7;\n"
        ".global .align 8 .attribute(.managed) .b64 b;\n"
        ".func f() .noreturn .abi_preserve 4 .abi_preserve_control 2 { exit; }\n"
        ".visible .entry k() .maxntid 32 .minnctapersm 2 .maxnreg 64 .local_maxnreg 40\n"
        ".pragma \"enable_smem_spilling\"; { .pragma \"nounroll\"; ret; }\n"
        ".visible .entry l() .maxclusterrank 8 { ret; }\n"
        ".visible .entry m() .reqnctapercluster 1, 1, 1 .explicitcluster { ret; }\n"
        ".visible .entry n() .blocksareclusters .reqntid 64 .reqnctapercluster 1 { ret; }\n");
    struct vgpu_ptx_attributes a;

    vgpu_ptx_function_attributes(ptx_test_function(module, "k"), &a);
    ck_assert_uint_eq(a.max_threads, 32);
    vgpu_ptx_function_attributes(ptx_test_function(module, "n"), &a);
    ck_assert_uint_eq(a.reqntid[0], 64);
    vgpu_ptx_module_unload(module);
}
END_TEST

START_TEST(bad_modules_are_refused)
{
    ptx_test_refused(machine, modules[_i].text, modules[_i].status, modules[_i].log);
}
END_TEST

START_TEST(the_log_names_every_unsupported_line)
{
    char text[4096];

    with_body(text, sizeof(text),
              "tex.x.y;\nadd.u32 %r0, %r1, %r2;\nwmma.z;\nsuld.b;\nadd.sat.u64 %d0, %d1, %d2;");
    ptx_test_refused(machine, text, VGPU_PTX_UNSUPPORTED, "ptx:9:");
    ptx_test_refused(machine, text, VGPU_PTX_UNSUPPORTED, "ptx:11:");
    ptx_test_refused(machine, text, VGPU_PTX_UNSUPPORTED, "ptx:12:");
}
END_TEST

/* --- hostile text: repeated pieces, some megabytes of them --- */
static const struct {
    const char *start, *piece, *end;
    int loads; /* a valid module that just is large */
} hostile[] = {
    {"", "\xff\xfe", "", 0},
    {"", "{", "", 0},
    {HEAD, "{", "", 0},
    {HEAD ".entry k() {", "{", "", 0},
    {HEAD ".global .u32 a = ", "(", "", 0},
    {HEAD ".global .u32 a = ", "-", "1;", 0},
    {HEAD ".global .u32 a = 1", "?1:1", ";", 0},
    {HEAD ".global .u32 a[] = ", "{", "", 0},
    {HEAD ".global .u8 a[] = {1", ",1", "};", 1},
    {HEAD ".entry k() { .reg .b32 %r<4000000000>; ret; ", "nop", "", 0},
    {HEAD ".entry k() { .reg .b32 a", ", a", "; ret; }", 0},
    {HEAD ".entry k() { .reg .b32 a; ", "mov.u32 a, 1;\n", "ret; }", 1},
    {HEAD ".entry k() { .reg .pred p; l:", "@p bra l;\n", "ret; }", 1},
    {HEAD ".entry k() { ", "bra l;\n", "l: ret; }", 1},
    {HEAD ".entry k() { ", "tex;", "ret; }", 0},
    {HEAD ".entry k(", ".param .u64 a,", ".param .u32 b) { ret; }", 0},
    {HEAD ".entry k() { .reg .b32 ", "a", "; ret; }", 1},
    {HEAD ".file 1 \"", "x", "\n", 0},
    {HEAD, "/* ", "", 0},
    {HEAD, ".section .x {", "", 0},
    {HEAD, ".pragma \"\";\n", "", 1},
    {HEAD ".entry k() { .reg .b32 a; mov.u32 a, ", "0", ";ret;}", 1},
    {HEAD ".entry k() { .reg .f64 a; mov.f64 a, 0.", "0", ";ret;}", 0},
};

START_TEST(hostile_text_ends)
{
    size_t piece = strlen(hostile[_i].piece), start = strlen(hostile[_i].start);
    char *text = malloc(HOSTILE_BYTES + 4096), *at = text, log[4096];
    struct vgpu_ptx_module *module = NULL;
    enum vgpu_ptx_status status;

    ck_assert_ptr_nonnull(text);
    memcpy(at, hostile[_i].start, start);
    for (at += start; at + piece < text + HOSTILE_BYTES; at += piece)
        memcpy(at, hostile[_i].piece, piece);
    memcpy(at, hostile[_i].end, strlen(hostile[_i].end) + 1);
    status = vgpu_ptx_module_load(machine, text, strlen(text), log, sizeof(log), &module);
    ck_assert_msg((status == VGPU_PTX_OK) == hostile[_i].loads, "%s: %.200s",
                  vgpu_ptx_status_name(status), log);
    vgpu_ptx_module_unload(module);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), 0);
    free(text);
}
END_TEST

/* Names by the hundred thousand: declared, used, and called in a chain. */
START_TEST(many_names_load_in_bounded_time)
{
    enum { COUNT = 50000 };
    char *text = malloc(COUNT * 120), *at = text, *end = text + COUNT * 120;
    struct vgpu_ptx_module *module;

    ck_assert_ptr_nonnull(text);
    at += snprintf(at, (size_t)(end - at), HEAD ".func f0() { ret; }\n");
    for (int k = 1; k < COUNT; k++)
        at += snprintf(at, (size_t)(end - at),
                       ".func f%d() { .reg .b32 r%d; l%d: call f%d, (); ret; }\n", k, k, k, k - 1);
    snprintf(at, (size_t)(end - at), ".entry k() { call f%d, (); ret; }\n", COUNT - 1);
    module = ptx_test_load(machine, text);
    /* running it is a recursion bomb: a fault, not a crash */
    ck_assert_int_eq(
        ptx_test_launch(machine, ptx_test_function(module, "k"), 1, 32, NULL, 0).fault.kind,
        VGPU_PTX_FAULT_STACK);
    vgpu_ptx_module_unload(module);
    free(text);
}
END_TEST

/* --- memory --- */
START_TEST(memory_is_accounted_zeroed_and_bounded)
{
    struct vgpu_ptx_options options = {.threads = 1, .mem_limit_bytes = 1 << 20};
    uint64_t a, b, base, bytes;
    uint8_t *host;

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, 0, &a), VGPU_PTX_INVALID);
    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, UINT64_MAX, &a), VGPU_PTX_NO_MEMORY);
    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, 5000, &a), VGPU_PTX_OK);
    ck_assert_uint_eq(a % 256, 0);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), 8192);
    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, (1 << 20) - 8191, &b), VGPU_PTX_NO_MEMORY);
    ck_assert_int_eq(vgpu_ptx_mem_alloc(machine, (1 << 20) - 8192, &b), VGPU_PTX_OK);
    host = vgpu_ptx_mem_translate(machine, a, 5000);
    for (int k = 0; k < 5000; k++)
        ck_assert_uint_eq(host[k], 0);
    ck_assert_ptr_eq(vgpu_ptx_mem_translate(machine, a + 4999, 1), host + 4999);
    ck_assert_ptr_null(vgpu_ptx_mem_translate(machine, a, 5001));
    ck_assert_ptr_null(vgpu_ptx_mem_translate(machine, a + 5000, 1));
    ck_assert_ptr_null(vgpu_ptx_mem_translate(machine, a - 1, 1));
    ck_assert_ptr_null(vgpu_ptx_mem_translate(machine, a + 8, UINT64_MAX));
    ck_assert_int_eq(vgpu_ptx_mem_range(machine, a + 77, &base, &bytes), VGPU_PTX_OK);
    ck_assert(base == a && bytes == 5000);
    ck_assert_int_eq(vgpu_ptx_mem_fill(machine, a + 1, 7, 2, 1), VGPU_PTX_INVALID);
    ck_assert_int_eq(vgpu_ptx_mem_fill(machine, a, 7, 3, 1), VGPU_PTX_INVALID);
    ck_assert_int_eq(vgpu_ptx_mem_fill(machine, a, 7, 4, 1251), VGPU_PTX_NOT_FOUND);
    ck_assert_int_eq(vgpu_ptx_mem_fill(machine, a, 7, 4, UINT64_MAX / 2), VGPU_PTX_INVALID);
    ck_assert_int_eq(vgpu_ptx_mem_fill(machine, a + 2, 0x11223344, 2, 2), VGPU_PTX_OK);
    ck_assert(host[1] == 0 && host[2] == 0x44 && host[3] == 0x33 && host[5] == 0x33 &&
              host[6] == 0);
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, a + 1), VGPU_PTX_NOT_FOUND);
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, a), VGPU_PTX_OK);
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, a), VGPU_PTX_NOT_FOUND);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), (1 << 20) - 8192);
}
END_TEST

START_TEST(a_modules_variables_cannot_be_freed_as_memory)
{
    struct vgpu_ptx_module *module =
        ptx_test_load(machine, HEAD ".visible .global .align 4 .u32 v = 9;\n");
    uint64_t va, bytes;

    ck_assert_int_eq(vgpu_ptx_module_global(module, "v", &va, &bytes), VGPU_PTX_OK);
    ck_assert_uint_eq(bytes, 4);
    ck_assert_uint_eq(*(uint32_t *)vgpu_ptx_mem_translate(machine, va, 4), 9);
    ck_assert_int_eq(vgpu_ptx_mem_free(machine, va), VGPU_PTX_NOT_FOUND);
    ck_assert_int_eq(vgpu_ptx_module_global(module, "w", &va, &bytes), VGPU_PTX_NOT_FOUND);
    vgpu_ptx_module_unload(module);
    ck_assert_uint_eq(vgpu_ptx_mem_held(machine), 0);
}
END_TEST

START_TEST(attributes_and_parameter_layout_are_reported)
{
    struct vgpu_ptx_module *module = ptx_test_load(
        machine, HEAD ".visible .entry k(.param .u8 a, .param .align 8 .b8 b[12], .param .u16 c, "
                      ".param .f64 d) .maxntid 16, 4 {\n"
                      ".shared .align 4 .b8 s[100]; .local .align 8 .b8 l[24]; ret; }\n");
    struct vgpu_ptx_function *k = ptx_test_function(module, "k");
    static const struct vgpu_ptx_param want[4] = {{0, 1, 1}, {8, 12, 8}, {20, 2, 2}, {24, 8, 8}};
    struct vgpu_ptx_attributes a;
    struct vgpu_ptx_param param;

    vgpu_ptx_function_attributes(k, &a);
    ck_assert_uint_eq(a.max_threads, 64);
    ck_assert_uint_eq(a.static_shared_bytes, 100);
    ck_assert_uint_ge(a.local_bytes, 24);
    ck_assert_uint_eq(a.ptx_version, 80);
    ck_assert_uint_eq(a.param_count, 4);
    ck_assert_uint_eq(a.param_bytes, 32);
    for (uint32_t n = 0; n < 4; n++) {
        ck_assert_int_eq(vgpu_ptx_function_param(k, n, &param), VGPU_PTX_OK);
        ck_assert_mem_eq(&param, &want[n], sizeof(param));
    }
    ck_assert_int_eq(vgpu_ptx_function_param(k, 4, &param), VGPU_PTX_NOT_FOUND);
    ck_assert_str_eq(vgpu_ptx_function_name(k), "k");
    ck_assert_ptr_eq(vgpu_ptx_module_kernel(module, 0), k);
    ck_assert_ptr_null(vgpu_ptx_module_kernel(module, 1));
    vgpu_ptx_module_unload(module);
}
END_TEST

static const uint8_t fatbins[][80] = {
    /* header alone, larger than the image, entry cut off, entry larger than the container */
    {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0},
    {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 64, 0, 0, 0, 0, 0,
     0,    0,    1,    0,    1, 1, 64, 0, 0,  0, 1, 0, 0, 0},
    {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 64, 0, 0, 0, 0, 0,
     0,    0,    1,    0,    1, 1, 1,  0, 0,  0, 0, 0, 0, 0},
};
static const enum vgpu_ptx_status fatbin_status[] = {VGPU_PTX_NO_PTX, VGPU_PTX_BAD_IMAGE,
                                                     VGPU_PTX_BAD_IMAGE, VGPU_PTX_BAD_IMAGE,
                                                     VGPU_PTX_BAD_IMAGE};

START_TEST(damaged_fatbins_are_refused)
{
    struct vgpu_ptx_module *module = NULL;
    char log[256];
    size_t bytes = _i < 2 ? 16 : 80;

    ck_assert_int_eq(vgpu_ptx_module_load(machine, fatbins[_i], bytes, log, sizeof(log), &module),
                     fatbin_status[_i]);
    ck_assert_ptr_null(module);
}
END_TEST

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

static Suite *ptx_load_suite(void)
{
    Suite *s = suite_create("ptx_load");
    TCase *tc = tcase_create("load");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, the_same_body_without_a_fault_loads);
    tcase_add_loop_test(tc, bad_code_is_refused_with_its_reason, 0, COUNT_OF(refusals));
    tcase_add_loop_test(tc, bad_modules_are_refused, 0, COUNT_OF(modules));
    tcase_add_test(tc, hints_and_attributes_are_taken);
    tcase_add_test(tc, the_log_names_every_unsupported_line);
    tcase_add_loop_test(tc, hostile_text_ends, 0, COUNT_OF(hostile));
    tcase_add_test(tc, many_names_load_in_bounded_time);
    tcase_add_test(tc, memory_is_accounted_zeroed_and_bounded);
    tcase_add_test(tc, a_modules_variables_cannot_be_freed_as_memory);
    tcase_add_test(tc, attributes_and_parameter_layout_are_reported);
    tcase_add_loop_test(tc, damaged_fatbins_are_refused, 0, COUNT_OF(fatbins));
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_load_suite)
