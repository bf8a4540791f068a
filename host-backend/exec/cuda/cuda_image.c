/* SPDX-License-Identifier: MIT */
/*
 * Looking at module images before CUDA does.
 *
 * cuModuleLoadDataEx() takes no length: it trusts the sizes an image states of itself.  An image
 * comes from a guest, so those sizes are checked against the bytes there are.  What an image
 * means is left to the driver; its parser works inside this process, which holds nothing but this
 * context.
 *
 * What a module takes of device memory the driver does not tell, so it is read off the image before it is
 * loaded: see cuda_image_needs().
 *
 * Drivers before CUDA 12.4 can't tell a kernel's parameters; for PTX they are read off
 * the text's .entry declaration (PTX ISA, "Kernel Function Parameters").
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <elf.h>
#include <exec/cpu/ptx.h>
#include <exec/cuda/cuda_exec.h>

#define FATBIN_MAGIC        0xba55ed50u
#define FATBIN_HEADER_BYTES 16u
#define EXPAND_BYTES        (1ull << 30) /* of a fatbin's compressed entries, when they are looked at */

static bool inside(uint64_t off, uint64_t len, size_t bytes)
{
    return off <= bytes && len <= bytes - off;
}

static bool elf_inside(const uint8_t *image, size_t bytes)
{
    Elf64_Ehdr header;
    Elf64_Shdr section;
    Elf64_Phdr segment;

    if (bytes < sizeof(header))
        return false;
    memcpy(&header, image, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        (header.e_shnum > 0 && header.e_shentsize != sizeof(section)) ||
        (header.e_phnum > 0 && header.e_phentsize != sizeof(segment)) ||
        !inside(header.e_shoff, (uint64_t)header.e_shnum * sizeof(section), bytes) ||
        !inside(header.e_phoff, (uint64_t)header.e_phnum * sizeof(segment), bytes))
        return false;
    for (unsigned int i = 0; i < header.e_shnum; i++) {
        memcpy(&section, image + header.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NOBITS && !inside(section.sh_offset, section.sh_size, bytes))
            return false;
    }
    for (unsigned int i = 0; i < header.e_phnum; i++) {
        memcpy(&segment, image + header.e_phoff + i * sizeof(segment), sizeof(segment));
        if (!inside(segment.p_offset, segment.p_filesz, bytes))
            return false;
    }
    return true;
}

static bool fatbin_inside(const uint8_t *image, size_t bytes)
{
    uint16_t header_bytes;
    uint64_t body;

    if (bytes < FATBIN_HEADER_BYTES)
        return false;
    memcpy(&header_bytes, image + 6, sizeof(header_bytes));
    memcpy(&body, image + 8, sizeof(body));
    return header_bytes >= FATBIN_HEADER_BYTES && inside(header_bytes, body, bytes);
}

enum cuda_image_kind cuda_image_check(const void *image, size_t bytes)
{
    uint32_t magic = 0;

    if (bytes < sizeof(magic))
        return CUDA_IMAGE_BAD;
    memcpy(&magic, image, sizeof(magic));
    if (memcmp(image, ELFMAG, SELFMAG) == 0)
        return elf_inside(image, bytes) ? CUDA_IMAGE_ELF : CUDA_IMAGE_BAD;
    if (magic == FATBIN_MAGIC)
        return fatbin_inside(image, bytes) ? CUDA_IMAGE_FATBIN : CUDA_IMAGE_BAD;
    /* Text: printable from the start, ended by the NUL the caller appends or an earlier one. */
    for (size_t i = 0; i < 64 && i < bytes; i++) {
        unsigned char c = ((const unsigned char *)image)[i];

        if (c == '\0')
            return i > 0 ? CUDA_IMAGE_TEXT : CUDA_IMAGE_BAD;
        if (!isprint(c) && !isspace(c))
            return CUDA_IMAGE_BAD;
    }
    return CUDA_IMAGE_TEXT;
}

/* ---- The text of PTX ---- */

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

/* Past white space and comments. */
static const char *skip(const char *p)
{
    for (;;) {
        while (isspace((unsigned char)*p))
            p++;
        if (p[0] == '/' && p[1] == '/') {
            p += strcspn(p, "\n");
        } else if (p[0] == '/' && p[1] == '*') {
            const char *end = strstr(p + 2, "*/");

            p = end ? end + 2 : p + strlen(p);
        } else {
            return p;
        }
    }
}

/* Next word, number, string or punctuation character into `word`, cut if it is longer; false at the end of the
 * text. */
static bool next_word(const char **p, char *word, size_t room)
{
    size_t len = 0;
    const char *at = skip(*p);

    if (*at == '\0')
        return false;
    if (*at == '"') {
        word[len++] = *at++;
        at += strcspn(at, "\"");
        at += *at == '"';
    } else {
        const bool directive = *at == '.'; /* ".global.u32" are two, "ld.global" is none */

        do {
            if (len + 1 < room)
                word[len++] = *at;
            at++;
        } while (is_name(at[-1]) && is_name(*at) && !(directive && *at == '.'));
    }
    word[len] = '\0';
    *p = at;
    return true;
}

static unsigned int type_bytes(const char *type)
{
    const char *digits = type + strcspn(type, "0123456789");
    char *end;
    unsigned long bits = strtoul(digits, &end, 10);

    if (strcmp(end, "x2") == 0)
        bits *= 2;

    if (strcmp(type, ".pred") == 0)
        return 1;
    return bits >= 8 && bits <= 128 && bits % 8 == 0 ? (unsigned int)bits / 8 : 0;
}

/* ---- Parameter declarations ---- */

/* One declaration between ".param" and the "," or ")" behind it (left in `word`). */
static bool param_parse(const char **p, char *word, size_t room, uint32_t *bytes, uint32_t *align)
{
    uint64_t count = 1;
    uint32_t size = 0;

    *align = 0;
    while (next_word(p, word, room) && strcmp(word, ",") != 0 && strcmp(word, ")") != 0) {
        if (strcmp(word, ".align") == 0) {
            if (!next_word(p, word, room))
                return false;
            *align = (uint32_t)strtoul(word, NULL, 0);
        } else if (strcmp(word, "[") == 0) {
            if (!next_word(p, word, room))
                return false;
            count = strtoull(word, NULL, 0);
        } else if (word[0] == '.' && size == 0 && type_bytes(word) > 0) {
            size = type_bytes(word);
        }
    }
    if (size == 0 || count == 0 || count > VGPU_MAX_PARAM_BYTES)
        return false;
    if (*align == 0)
        *align = size;
    *bytes = (uint32_t)(size * count);
    return *align > 0 && (*align & (*align - 1)) == 0 && *align <= 256;
}

static int params_parse(const char *p, struct vgpu_param_info *params, unsigned int max)
{
    char word[64];
    uint32_t end = 0;
    unsigned int count = 0;

    if (!next_word(&p, word, sizeof(word)) || strcmp(word, "(") != 0)
        return 0; /* no parameter list at all */
    while (next_word(&p, word, sizeof(word)) && strcmp(word, ".param") == 0) {
        uint32_t bytes, align;

        if (count == max || !param_parse(&p, word, sizeof(word), &bytes, &align))
            return -1;
        params[count].offset = (end + align - 1) & ~(align - 1);
        params[count].bytes = bytes;
        end = params[count].offset + bytes;
        if (end > VGPU_MAX_PARAM_BYTES)
            return -1;
        count++;
        if (strcmp(word, ")") == 0)
            return (int)count;
    }
    return strcmp(word, ")") == 0 ? (int)count : -1;
}

int cuda_image_params(const char *ptx, const char *name, struct vgpu_param_info *params,
                      unsigned int max)
{
    char word[VGPU_MAX_NAME_BYTES + 2];

    while (next_word(&ptx, word, sizeof(word))) {
        if (strcmp(word, ".entry") != 0)
            continue;
        if (!next_word(&ptx, word, sizeof(word)))
            break;
        if (strcmp(word, name) == 0)
            return params_parse(ptx, params, max);
    }
    return -1;
}

/* ---- Device memory ---- */

static uint64_t add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t mul_sat(uint64_t a, uint64_t b)
{
    return b > 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* The number between "[" and "]": 1 where there is none, since an initializer tells; UINT64_MAX for an expression. */
static uint64_t dimension(const char **p, char *word, size_t room)
{
    uint64_t count = 1;
    bool first = true;
    char *end;

    for (; next_word(p, word, room) && strcmp(word, "]") != 0; first = false) {
        if (first && isdigit((unsigned char)word[0]))
            count = strtoull(word, &end, 0);
        if (!first || !isdigit((unsigned char)word[0]) || (*end != '\0' && strcmp(end, "U") != 0))
            count = UINT64_MAX;
    }
    return count;
}

/* Past an initializer; the "," or ";" behind it is left in `word`. */
static void skip_initializer(const char **p, char *word, size_t room)
{
    unsigned int depth = 0;

    while (next_word(p, word, room) &&
           (depth > 0 || (strcmp(word, ",") != 0 && strcmp(word, ";") != 0))) {
        depth += word[0] == '{' || word[0] == '(';
        depth -= depth > 0 && (word[0] == '}' || word[0] == ')');
    }
}

/* The variables of one declaration behind ".global" or ".const" (PTX ISA, "Variables"). */
static uint64_t variables(const char **p, char *word, size_t room)
{
    uint64_t sum = 0, size = 0, count = 1;

    while (next_word(p, word, room)) {
        if (strcmp(word, "=") == 0)
            skip_initializer(p, word, room);
        if (strcmp(word, ",") == 0 || strcmp(word, ";") == 0) {
            sum = add_sat(sum, mul_sat(size, count));
            count = 1;
            if (word[0] == ';')
                break;
        } else if (strcmp(word, ".param") == 0 || strcmp(word, "{") == 0) {
            break; /* the ".global" was of a parameter that points there */
        } else if (strcmp(word, ".align") == 0) {
            (void)next_word(p, word, room);
        } else if (strcmp(word, "[") == 0) {
            count = mul_sat(count, dimension(p, word, room));
        } else if (word[0] == '.' && word[1] == 'v' && isdigit((unsigned char)word[2])) {
            count = mul_sat(count, strtoull(word + 2, NULL, 10));
        } else if (word[0] == '.' && size == 0) {
            size = type_bytes(word);
        }
    }
    return sum;
}

static uint64_t ptx_bytes(const char *text)
{
    char word[64];
    uint64_t sum = strlen(text);

    while (next_word(&text, word, sizeof(word))) {
        if (strcmp(word, ".global") == 0 || strcmp(word, ".const") == 0)
            sum = add_sat(sum, variables(&text, word, sizeof(word)));
    }
    return sum;
}

/* Shared memory is described by sections, too, but is no device memory. */
static bool is_shared(const uint8_t *image, size_t bytes, const Elf64_Ehdr *header, uint32_t name)
{
    static const char prefix[] = ".nv.shared";
    Elf64_Shdr names;

    if (header->e_shstrndx >= header->e_shnum)
        return false;
    memcpy(&names, image + header->e_shoff + header->e_shstrndx * sizeof(names), sizeof(names));
    return names.sh_type != SHT_NOBITS && name < names.sh_size &&
           names.sh_size - name >= strlen(prefix) &&
           inside(names.sh_offset, names.sh_size, bytes) &&
           memcmp(image + names.sh_offset + name, prefix, strlen(prefix)) == 0;
}

/* The sections that occupy memory: code, constants, variables. */
static uint64_t elf_bytes(const uint8_t *image, size_t bytes)
{
    Elf64_Ehdr header;
    Elf64_Shdr section;
    uint64_t sum = 0;

    if (!elf_inside(image, bytes))
        return bytes;
    memcpy(&header, image, sizeof(header));
    for (unsigned int i = 0; i < header.e_shnum; i++) {
        memcpy(&section, image + header.e_shoff + i * sizeof(section), sizeof(section));
        if ((section.sh_flags & SHF_ALLOC) && !is_shared(image, bytes, &header, section.sh_name))
            sum = add_sat(sum, section.sh_size);
    }
    return sum;
}

static bool names(const void *image, size_t bytes, const char *name)
{
    return memmem(image, bytes, name, strlen(name));
}

/* One PTX text, which ends in NUL, or cubin.  Of a fatbin's one is loaded: the largest counts. */
static void needs_of(struct cuda_image_needs *needs, const void *image, size_t bytes, bool ptx)
{
    uint64_t takes = ptx ? ptx_bytes(image) : elf_bytes(image, bytes);

    if (takes > needs->bytes)
        needs->bytes = takes;
    /* PTX and cubins name the driver's functions. */
    needs->prints = needs->prints || names(image, bytes, "vprintf");
    needs->mallocs = needs->mallocs || names(image, bytes, "malloc");
}

static void needs_of_entry(void *opaque, const void *data, size_t bytes, bool ptx)
{
    struct cuda_image_needs *needs = opaque;
    char *text;

    if (!ptx) {
        needs_of(needs, data, bytes, false);
        return;
    }
    text = strndup(data, bytes);
    if (text)
        needs_of(needs, text, strlen(text), true);
    else
        needs->bytes = UINT64_MAX;
    free(text);
}

void cuda_image_needs(enum cuda_image_kind kind, const void *image, size_t bytes,
                      struct cuda_image_needs *needs)
{
    *needs = (struct cuda_image_needs){0};
    if (kind != CUDA_IMAGE_FATBIN)
        needs_of(needs, image, bytes, kind == CUDA_IMAGE_TEXT);
    else if (!vgpu_ptx_fatbin_each(image, bytes, EXPAND_BYTES, needs_of_entry, needs))
        needs->prints = needs->mallocs = true; /* there is more than could be seen */
}
