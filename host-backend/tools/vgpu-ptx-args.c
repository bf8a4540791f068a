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

/* Takes `data` over, which is NULL for zeroes. */
static int buffer_new(struct ptxtool_args *args, void *data, size_t bytes, const char *out_path,
                      uint64_t *va)
{
    const struct ptxtool_memory *memory = &args->memory;
    bool good = bytes > 0 && memory->alloc(memory->opaque, bytes, va) &&
                (!data || memory->write(memory->opaque, *va, data, bytes));

    free(data);
    if (!bytes)
        return ptxtool_fail("an empty buffer");
    if (!good)
        return ptxtool_fail("no memory for a buffer of %zu bytes", bytes);
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

    if (!name)
        return ptxtool_fail("out of memory");
    data = ptxtool_read(name, &bytes);
    free(name);
    return data ? buffer_new(args, data, bytes, out_path, va) : PTXTOOL_USAGE;
}

static int buffer_sized(struct ptxtool_args *args, const char *text, bool has_path, uint64_t *va)
{
    char *end;
    unsigned long long bytes;

    errno = 0;
    bytes = strtoull(text, &end, 0);
    if (errno || *text == '-' || end == text || (has_path ? *end != ':' || !end[1] : *end != '\0'))
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

int ptxtool_args_pack(struct ptxtool_args *args, const struct ptxtool_run *run,
                      const struct vgpu_func_info *info, const struct vgpu_param_info *params)
{
    static unsigned char value[VGPU_PTX_MAX_PARAM_BYTES + 8];

    if (info->param_count != run->arg_count)
        return ptxtool_fail("%s has %u parameters, %u were given", run->kernel, info->param_count,
                            run->arg_count);
    args->packed_bytes = info->param_bytes;
    args->packed = aligned_alloc(16, (info->param_bytes + 16u) & ~15u);
    if (!args->packed)
        return ptxtool_fail("out of memory");
    memset(args->packed, 0, args->packed_bytes);
    for (uint32_t k = 0; k < info->param_count; k++) {
        size_t bytes = 0;
        int status = pack_one(args, run->args[k], value, sizeof(value), &bytes);

        if (status)
            return status;
        if (params[k].bytes != bytes)
            return ptxtool_fail("argument %u has %zu bytes, the kernel's parameter %u", k, bytes,
                                params[k].bytes);
        memcpy(args->packed + params[k].offset, value, bytes);
    }
    return 0;
}

static int write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    bool good = file && fwrite(data, 1, bytes, file) == bytes;

    if (file && fclose(file))
        good = false;
    return good ? 0 : ptxtool_fail("%s: %s", path, strerror(errno));
}

int ptxtool_args_write(struct ptxtool_args *args)
{
    const struct ptxtool_memory *memory = &args->memory;
    int status = 0;

    for (uint32_t k = 0; k < args->buffer_count && !status; k++) {
        const char *path = args->buffers[k].out_path;
        size_t bytes = args->buffers[k].bytes;
        void *data;

        if (!path)
            continue;
        data = malloc(bytes);
        if (data && memory->read(memory->opaque, args->buffers[k].va, data, bytes))
            status = write_file(path, data, bytes);
        else
            status = ptxtool_fail("%s: a buffer of %zu bytes can't be read back", path, bytes);
        free(data);
    }
    return status;
}

void ptxtool_args_free(struct ptxtool_args *args)
{
    free(args->packed);
    args->packed = NULL;
}
