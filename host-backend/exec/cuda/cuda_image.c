/* SPDX-License-Identifier: MIT */
/*
 * Looking at module images before CUDA does.
 *
 * cuModuleLoadDataEx() takes no length: it trusts the sizes an image states of itself.  An image
 * comes from a guest, so those sizes are checked against the bytes there are.  What an image
 * means is left to the driver; its parser works inside this process, which holds nothing but this
 * context.
 *
 * Drivers before CUDA 12.4 can't tell a kernel's parameters; for PTX they are read off
 * the text's .entry declaration (PTX ISA, "Kernel Function Parameters").
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <elf.h>
#include <exec/cuda/cuda_exec.h>

#define FATBIN_MAGIC        0xba55ed50u
#define FATBIN_HEADER_BYTES 16u

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

/* PTX and cubin name the driver's function for it; what a fatbin holds may be compressed. */
bool cuda_image_may_print(enum cuda_image_kind kind, const void *image, size_t bytes)
{
    static const char name[] = "vprintf";

    return kind == CUDA_IMAGE_FATBIN || memmem(image, bytes, name, strlen(name));
}

/* ---- Parameter declarations ---- */

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

/* Next word, number or punctuation character into `word`; false at the end of the text. */
static bool next_word(const char **p, char *word, size_t room)
{
    size_t len = 0;
    const char *at = skip(*p);

    if (*at == '\0')
        return false;
    do {
        if (len + 1 < room)
            word[len++] = *at;
        at++;
    } while (is_name(at[-1]) && is_name(*at));
    word[len] = '\0';
    *p = at;
    return true;
}

static unsigned int type_bytes(const char *type)
{
    const char *digits = type + strcspn(type, "0123456789");
    unsigned long bits = strtoul(digits, NULL, 10);

    if (strcmp(type, ".pred") == 0)
        return 1;
    return bits >= 8 && bits <= 128 && bits % 8 == 0 ? (unsigned int)bits / 8 : 0;
}

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
