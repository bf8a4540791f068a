// SPDX-License-Identifier: MIT
/*
 * Fatbins: the container that nvcc puts PTX and cubins into.
 *
 * Layout (little-endian): u32 magic 0xBA55ED50, u16 version, u16 header bytes, u64 payload bytes; then entries: u16
 * kind (1 PTX, 2 ELF), u16 version, u32 header bytes, u64 payload bytes, u32 compressed bytes at 16, u32 sm at 28, u64
 * flags at 40 (0x2000 LZ4, 0x8000 zstd), u64 uncompressed bytes at 56. Of several PTX entries the one for the
 * newest architecture is taken. Every size is checked against what is left; decompression has a limit.
 */
#include "machine.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define FATBIN_MAGIC        0xba55ed50u
#define FATBIN_HEADER_BYTES 16u
#define FATBIN_ENTRY_BYTES  64u
#define FATBIN_KIND_PTX     1u
#define FATBIN_FLAG_LZ4     0x2000u
#define FATBIN_FLAG_ZSTD    0x8000u

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

bool ptx_fatbin_is(const void *image, size_t bytes)
{
    return bytes >= 4 && get32(image) == FATBIN_MAGIC;
}

struct entry {
    const uint8_t *payload;
    uint64_t bytes, compressed_bytes, full_bytes;
    uint64_t flags;
    uint32_t sm;
};

static enum vgpu_ptx_status damaged(struct ptx_log *log, const char *input, const char *what)
{
    ptx_log_add(log, "%s: error: damaged fatbin: %s\n", input, what);
    return VGPU_PTX_BAD_IMAGE;
}

static enum vgpu_ptx_status scan(const uint8_t *at, uint64_t left, struct entry *best,
                                 struct ptx_log *log, const char *input)
{
    while (left) {
        uint32_t header;
        uint64_t payload;

        if (left < FATBIN_ENTRY_BYTES)
            return damaged(log, input, "an entry is cut off");
        header = get32(at + 4);
        payload = get64(at + 8);
        if (header < FATBIN_ENTRY_BYTES || header > left || payload > left - header)
            return damaged(log, input, "an entry is larger than its container");
        if (get16(at) == FATBIN_KIND_PTX && get32(at + 28) >= best->sm) {
            best->payload = at + header;
            best->bytes = payload;
            best->compressed_bytes = get32(at + 16);
            best->sm = get32(at + 28);
            best->flags = get64(at + 40);
            best->full_bytes = get64(at + 56);
        }
        at += header + payload;
        left -= header + payload;
    }
    return VGPU_PTX_OK;
}

static enum vgpu_ptx_status expand(const struct entry *entry, char **text, size_t *bytes,
                                   struct ptx_log *log, const char *input)
{
    bool packed = entry->flags & (FATBIN_FLAG_LZ4 | FATBIN_FLAG_ZSTD);
    uint64_t in = packed && entry->compressed_bytes ? entry->compressed_bytes : entry->bytes;
    uint64_t full = packed ? entry->full_bytes : entry->bytes;
    bool good;

    if (in > entry->bytes || full > PTX_MAX_IMAGE_BYTES)
        return damaged(log, input, "a size is out of range");
    *text = malloc(full ? full : 1);
    if (!*text)
        return VGPU_PTX_NO_MEMORY;
    if (entry->flags & FATBIN_FLAG_ZSTD) {
        size_t got = ZSTD_decompress(*text, full, entry->payload, in);

        good = !ZSTD_isError(got) && got == full;
    } else if (entry->flags & FATBIN_FLAG_LZ4) {
        good = LZ4_decompress_safe((const char *)entry->payload, *text, (int)in, (int)full) ==
               (int)full;
    } else {
        memcpy(*text, entry->payload, full);
        good = true;
    }
    if (!good) {
        free(*text);
        return damaged(log, input, "the PTX inside cannot be decompressed");
    }
    *bytes = full;
    return VGPU_PTX_OK;
}

enum vgpu_ptx_status ptx_fatbin_extract(const void *image, size_t bytes, char **text,
                                        size_t *text_bytes, struct ptx_log *log, const char *input)
{
    const uint8_t *at = image;
    struct entry best = {0};

    while (bytes >= FATBIN_HEADER_BYTES && get32(at) == FATBIN_MAGIC) {
        uint32_t header = get16(at + 6);
        uint64_t payload = get64(at + 8);
        enum vgpu_ptx_status status;

        if (header < FATBIN_HEADER_BYTES || header > bytes || payload > bytes - header)
            return damaged(log, input, "the header's size is out of range");
        status = scan(at + header, payload, &best, log, input);
        if (status)
            return status;
        at += header + payload;
        bytes -= header + payload;
    }
    if (!best.payload) {
        ptx_log_add(log, "%s: error: the fatbin has no PTX, only code for particular GPUs\n",
                    input);
        return VGPU_PTX_NO_PTX;
    }
    return expand(&best, text, text_bytes, log, input);
}
