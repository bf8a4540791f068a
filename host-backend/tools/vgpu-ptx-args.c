// SPDX-License-Identifier: MIT
/*
 * Kernel arguments on the command line of vgpu-ptx: scalars, and buffers that come from and go to files.
 */
#include "vgpu-ptx.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int buffer_new(struct ptxtool_args *args, const void *data, size_t bytes,
                      const char *out_path, uint64_t *va)
{
    void *host;

    if (!bytes)
        return ptxtool_fail("%s", "an empty buffer");
    if (vgpu_ptx_mem_alloc(args->machine, bytes, va) ||
        !(host = vgpu_ptx_mem_translate(args->machine, *va, bytes)))
        return ptxtool_fail("%s", "no memory for a buffer");
    if (data)
        memcpy(host, data, bytes);
    args->buffers[args->buffer_count].va = *va;
    args->buffers[args->buffer_count].bytes = bytes;
    args->buffers[args->buffer_count++].out_path = out_path;
    return 0;
}

static int buffer_from(struct ptxtool_args *args, const char *path, size_t path_bytes,
                       const char *out_path, uint64_t *va)
{
    char *name = strndup(path, path_bytes);
    size_t bytes;
    void *data;
    int status;

    if (!name)
        return ptxtool_fail("%s", "out of memory");
    data = ptxtool_read(name, &bytes);
    free(name);
    if (!data)
        return PTXTOOL_USAGE;
    status = buffer_new(args, data, bytes, out_path, va);
    free(data);
    return status;
}

static int buffer_sized(struct ptxtool_args *args, const char *text, bool has_path, uint64_t *va)
{
    char *end;
    unsigned long long bytes = strtoull(text, &end, 0);

    if (end == text || (has_path ? *end != ':' || !end[1] : *end != '\0'))
        return ptxtool_fail("bad argument '%s'", text);
    return buffer_new(args, NULL, (size_t)bytes, has_path ? end + 1 : NULL, va);
}

/* hex:0011ff... : a structure passed by value; 0 with *bytes set */
static int parse_hex(const char *text, unsigned char *out, size_t limit, size_t *bytes)
{
    size_t n = 0;

    for (; text[2 * n]; n++) {
        char pair[3] = {text[2 * n], text[2 * n + 1], '\0'};

        if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]) || n == limit)
            return ptxtool_fail("bad hexadecimal argument '%s'", text);
        out[n] = (unsigned char)strtoul(pair, NULL, 16);
    }
    *bytes = n;
    return 0;
}

static int parse_scalar(const char *text, unsigned char *out, size_t *bytes)
{
    const char *number = strchr(text, ':') + 1;
    uint32_t bits = (uint32_t)strtoul(text + 1, NULL, 10);
    char *end;

    errno = 0;
    if (*text == 'f' && bits == 32) {
        float f = strtof(number, &end);

        memcpy(out, &f, 4);
    } else if (*text == 'f' && bits == 64) {
        double d = strtod(number, &end);

        memcpy(out, &d, 8);
    } else if ((*text == 'u' || *text == 's') &&
               (bits == 8 || bits == 16 || bits == 32 || bits == 64)) {
        uint64_t value =
            *number == '-' ? (uint64_t)strtoll(number, &end, 0) : strtoull(number, &end, 0);
        int64_t top = *text == 's' || *number == '-' ? (int64_t)value >> (bits - 1)
                      : bits < 64                    ? (int64_t)(value >> bits)
                                                     : 0;

        if (top != 0 && top != -1)
            return ptxtool_fail("'%s' does not fit its type", text);
        memcpy(out, &value, bits / 8);
    } else {
        return ptxtool_fail("bad argument '%s'", text);
    }
    if (end == number || *end || errno)
        return ptxtool_fail("bad argument '%s'", text);
    *bytes = bits / 8;
    return 0;
}

static int pack_one(struct ptxtool_args *args, const char *text, unsigned char *out, size_t limit,
                    size_t *bytes)
{
    const char *colon = strchr(text, ':'), *second;
    uint64_t va = 0;
    int status;

    if (!colon)
        return ptxtool_fail("bad argument '%s'", text);
    if (!strncmp(text, "in:", 3)) {
        status = buffer_from(args, text + 3, strlen(text + 3), NULL, &va);
    } else if (!strncmp(text, "inout:", 6)) {
        second = strchr(text + 6, ':');
        if (!second || !second[1])
            return ptxtool_fail("bad argument '%s'", text);
        status = buffer_from(args, text + 6, (size_t)(second - text - 6), second + 1, &va);
    } else if (!strncmp(text, "out:", 4)) {
        status = buffer_sized(args, text + 4, true, &va);
    } else if (!strncmp(text, "zero:", 5)) {
        status = buffer_sized(args, text + 5, false, &va);
    } else if (!strncmp(text, "hex:", 4)) {
        return parse_hex(text + 4, out, limit, bytes);
    } else {
        return parse_scalar(text, out, bytes);
    }
    memcpy(out, &va, 8);
    *bytes = 8;
    return status;
}

int ptxtool_args_pack(struct ptxtool_args *args, const struct vgpu_ptx_function *function,
                      const char *const *texts, uint32_t count)
{
    static unsigned char value[VGPU_PTX_MAX_PARAM_BYTES + 8];
    struct vgpu_ptx_attributes attributes;

    vgpu_ptx_function_attributes(function, &attributes);
    if (attributes.param_count != count) {
        fprintf(stderr, "vgpu-ptx: %s has %u parameters, %u were given\n",
                vgpu_ptx_function_name(function), attributes.param_count, count);
        return PTXTOOL_USAGE;
    }
    args->packed_bytes = attributes.param_bytes;
    args->packed = calloc(1, attributes.param_bytes + 8);
    if (!args->packed)
        return ptxtool_fail("%s", "out of memory");
    for (uint32_t k = 0; k < count; k++) {
        struct vgpu_ptx_param param;
        size_t bytes = 0;
        int status = pack_one(args, texts[k], value, sizeof(value), &bytes);

        if (status)
            return status;
        if (vgpu_ptx_function_param(function, k, &param) || param.bytes != bytes) {
            fprintf(stderr, "vgpu-ptx: argument %u has %zu bytes, the kernel's parameter %u\n", k,
                    bytes, param.bytes);
            return PTXTOOL_USAGE;
        }
        memcpy(args->packed + param.offset, value, bytes);
    }
    return 0;
}

int ptxtool_args_write(struct ptxtool_args *args)
{
    for (uint32_t k = 0; k < args->buffer_count; k++) {
        const char *path = args->buffers[k].out_path;
        const void *host;
        FILE *file;
        bool good;

        if (!path)
            continue;
        host = vgpu_ptx_mem_translate(args->machine, args->buffers[k].va, args->buffers[k].bytes);
        file = fopen(path, "wb");
        good =
            host && file && fwrite(host, 1, args->buffers[k].bytes, file) == args->buffers[k].bytes;
        if (file && fclose(file))
            good = false;
        if (!good) {
            fprintf(stderr, "vgpu-ptx: %s: %s\n", path, strerror(errno));
            return PTXTOOL_USAGE;
        }
    }
    return 0;
}

void ptxtool_args_free(struct ptxtool_args *args)
{
    free(args->packed);
    args->packed = NULL;
}
