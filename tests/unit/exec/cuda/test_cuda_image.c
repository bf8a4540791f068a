// SPDX-License-Identifier: MIT
/*
 * What an image is said to take of device memory, before a driver has seen it.
 */
#include "cuda_suites.h"

#include <check.h>
#include <elf.h>
#include <exec/cuda/cuda_exec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static struct cuda_image_needs needs_of(enum cuda_image_kind kind, const void *image, size_t bytes)
{
    struct cuda_image_needs needs;

    ck_assert_int_eq(cuda_image_check(image, bytes), kind);
    cuda_image_needs(kind, image, bytes, &needs);
    return needs;
}

#define VERSION ".version 7.0\n.target sm_70\n.address_size 64\n"

/* ---- PTX ---- */

static const struct {
    const char *text;
    uint64_t variables; /* bytes */
} declarations[] = {
    {".global .u32 a;", 4},
    {".visible .global .align 16 .b8 a[1000];", 1000},
    {".const .f64 a[3][5];", 120},
    {".global .v4 .f32 a[2];", 32},
    {".global .b32 a, b[7];", 32},
    {".global .b8 a[0x10] = {1, 2, 3}, b[4];", 20},
    {".global .b64 a[2] = {f, generic(b)+8}; .global .b16 c;", 18},
    {".global .f16x2 a; .global .b128 b;", 20},
    {".global .attribute(.managed) .u32 a[10];", 40},
    {".weak .const .align 4 .b8 a[16U];", 16},
    {".global.b8 a[1073741824];", 1ull << 30},
    {".global .b8 a[4294967296]; .const .b8 b[4294967296];", 1ull << 33},
    {".file 1 \"/*\"\n.global .b8 a[5]; /* */", 5},
    {"/* .global .b8 a[5]; */ // .global .b8 a[5];", 0},
    {".entry k(.param .u64 .ptr .global .align 8 p, .param .u32 n) { ret; }", 0},
    {".entry k() { .reg .b32 %r; ld.global.u32 %r, [a]; st.const.u32 [4096], %r; ret; }", 0},
    {".global .texref a;", 0},
    {".global .b8 a[] = {1, 2, 3};", 1},
    /* what no compiler writes, and nothing that could be counted */
    {".global .b8 a[1<<30];", UINT64_MAX},
    {".global .b8 a[2*(8)];", UINT64_MAX},
    {".global .b8 a[WARP_SZ];", UINT64_MAX},
    {".global .b64 a[4294967296][4294967296];", UINT64_MAX},
};

START_TEST(variables_of_ptx_are_counted)
{
    char text[400];
    struct cuda_image_needs needs;
    uint64_t want;

    snprintf(text, sizeof(text), VERSION "%s\n", declarations[_i].text);
    want = declarations[_i].variables;
    if (want != UINT64_MAX)
        want += strlen(text); /* for code */
    needs = needs_of(CUDA_IMAGE_TEXT, text, strlen(text));
    ck_assert_msg(needs.bytes == want, "%s: %llu bytes, not %llu", text,
                  (unsigned long long)needs.bytes, (unsigned long long)want);
    ck_assert(!needs.prints && !needs.mallocs);
}
END_TEST

START_TEST(calls_of_printf_and_malloc_are_seen)
{
    static const char printer[] = VERSION ".extern .func (.param .b32 r) vprintf(.param .b64 f);";
    static const char taker[] = VERSION ".extern .func (.param .b64 r) malloc(.param .b64 n);";
    struct cuda_image_needs needs = needs_of(CUDA_IMAGE_TEXT, printer, strlen(printer));

    ck_assert(needs.prints && !needs.mallocs);
    needs = needs_of(CUDA_IMAGE_TEXT, taker, strlen(taker));
    ck_assert(!needs.prints && needs.mallocs);
}
END_TEST

/* ---- Cubins ---- */

static const char section_names[] = "\0.text.k\0.nv.global\0.nv.shared.k\0.shstrtab";

/* Code of 640 bytes, variables of 1 GiB that are not in the file, 4 KiB of shared memory. */
static struct elf {
    Elf64_Ehdr header;
    Elf64_Shdr sections[5];
    uint8_t code[640];
    char names[sizeof(section_names)];
} elf;

static void elf_fill(void)
{
    memset(&elf, 0, sizeof(elf));
    memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
    elf.header.e_ident[EI_CLASS] = ELFCLASS64;
    elf.header.e_ident[EI_DATA] = ELFDATA2LSB;
    elf.header.e_shoff = offsetof(struct elf, sections);
    elf.header.e_shentsize = sizeof(Elf64_Shdr);
    elf.header.e_shnum = 5;
    elf.header.e_shstrndx = 4;
    elf.sections[1] = (Elf64_Shdr){.sh_name = 1,
                                   .sh_type = SHT_PROGBITS,
                                   .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                                   .sh_offset = offsetof(struct elf, code),
                                   .sh_size = sizeof(elf.code)};
    elf.sections[2] = (Elf64_Shdr){.sh_name = 9,
                                   .sh_type = SHT_NOBITS,
                                   .sh_flags = SHF_ALLOC | SHF_WRITE,
                                   .sh_size = 1ull << 30};
    elf.sections[3] = (Elf64_Shdr){
        .sh_name = 20, .sh_type = SHT_NOBITS, .sh_flags = SHF_ALLOC | SHF_WRITE, .sh_size = 4096};
    elf.sections[4] = (Elf64_Shdr){.sh_type = SHT_STRTAB,
                                   .sh_offset = offsetof(struct elf, names),
                                   .sh_size = sizeof(elf.names)};
    memcpy(elf.names, section_names, sizeof(elf.names));
}

START_TEST(sections_of_a_cubin_are_counted)
{
    elf_fill();
    ck_assert_uint_eq(needs_of(CUDA_IMAGE_ELF, &elf, sizeof(elf)).bytes, (1ull << 30) + 640);
    /* Names that can't be read leave shared memory in. */
    elf.header.e_shstrndx = 5;
    ck_assert_uint_eq(needs_of(CUDA_IMAGE_ELF, &elf, sizeof(elf)).bytes, (1ull << 30) + 4736);
    elf.header.e_shstrndx = 4;
    elf.sections[3].sh_name = sizeof(elf.names) - 4;
    ck_assert_uint_eq(needs_of(CUDA_IMAGE_ELF, &elf, sizeof(elf)).bytes, (1ull << 30) + 4736);
}
END_TEST

/* ---- Fatbins ---- */

static uint8_t fatbin[8192];
static size_t fatbin_bytes;

static void put(size_t at, uint64_t value, size_t bytes)
{
    memcpy(fatbin + at, &value, bytes);
}

static void fatbin_start(void)
{
    memset(fatbin, 0, sizeof(fatbin));
    put(0, 0xba55ed50, 4);
    put(4, 1, 2);
    put(6, 16, 2);
    fatbin_bytes = 16;
}

static void fatbin_add(uint16_t kind, const void *data, size_t bytes, size_t packed_from)
{
    size_t at = fatbin_bytes;

    put(at, kind, 2);
    put(at + 4, 64, 4);
    put(at + 8, bytes, 8);
    put(at + 16, packed_from ? bytes : 0, 4);
    put(at + 28, 90, 4);
    put(at + 40, packed_from ? 0x8000 : 0, 8);
    put(at + 56, packed_from, 8);
    memcpy(fatbin + at + 64, data, bytes);
    fatbin_bytes += 64 + bytes;
    put(8, fatbin_bytes - 16, 8);
}

START_TEST(the_largest_entry_of_a_fatbin_counts)
{
    static const char text[] = VERSION ".extern .func (.param .b32 r) vprintf(.param .b64 f);\n"
                                       ".global .b8 a[5000000000];";
    uint8_t packed[1024];
    struct cuda_image_needs needs;
    size_t bytes = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 3);

    elf_fill();
    fatbin_start();
    fatbin_add(2, &elf, sizeof(elf), 0);
    needs = needs_of(CUDA_IMAGE_FATBIN, fatbin, fatbin_bytes);
    ck_assert_uint_eq(needs.bytes, (1ull << 30) + 640);
    ck_assert(!needs.prints && !needs.mallocs);
    ck_assert(!ZSTD_isError(bytes));
    fatbin_add(1, packed, bytes, sizeof(text));
    needs = needs_of(CUDA_IMAGE_FATBIN, fatbin, fatbin_bytes);
    ck_assert_uint_eq(needs.bytes, 5000000000u + strlen(text));
    ck_assert(needs.prints && !needs.mallocs);
    /* An entry that can't be opened: who knows. */
    put(fatbin_bytes - bytes, 0, 4);
    needs = needs_of(CUDA_IMAGE_FATBIN, fatbin, fatbin_bytes);
    ck_assert_uint_eq(needs.bytes, (1ull << 30) + 640);
    ck_assert(needs.prints && needs.mallocs);
}
END_TEST

Suite *cuda_image_suite(void)
{
    Suite *s = suite_create("cuda image");
    TCase *tc = tcase_create("needs");

    tcase_add_loop_test(tc, variables_of_ptx_are_counted, 0,
                        (int)(sizeof(declarations) / sizeof(declarations[0])));
    tcase_add_test(tc, calls_of_printf_and_malloc_are_seen);
    tcase_add_test(tc, sections_of_a_cubin_are_counted);
    tcase_add_test(tc, the_largest_entry_of_a_fatbin_counts);
    suite_add_tcase(s, tc);
    return s;
}
