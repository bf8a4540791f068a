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
    uint16_t kind;
};

/* A walk over the entries of one or more containers. */
struct walk {
    const uint8_t *at;
    uint64_t left;   /* of the image */
    uint64_t inside; /* of the container that `at` is in */
};

static enum vgpu_ptx_status damaged(struct ptx_log *log, const char *input, const char *what)
{
    ptx_log_add(log, "%s: error: damaged fatbin: %s\n", input, what);
    return VGPU_PTX_BAD_IMAGE;
}

static bool container_enter(struct walk *walk, const char **wrong)
{
    uint32_t header = get16(walk->at + 6);
    uint64_t payload = get64(walk->at + 8);

    if (header < FATBIN_HEADER_BYTES || header > walk->left || payload > walk->left - header) {
        *wrong = "the header's size is out of range";
        return false;
    }
    walk->at += header;
    walk->left -= header;
    walk->inside = payload;
    return true;
}

/* 1 with the next entry, 0 at the end, -1 with what is wrong. */
static int walk_next(struct walk *walk, struct entry *entry, const char **wrong)
{
    const uint8_t *at;
    uint32_t header;

    while (walk->inside == 0) {
        if (walk->left < FATBIN_HEADER_BYTES || get32(walk->at) != FATBIN_MAGIC)
            return 0;
        if (!container_enter(walk, wrong))
            return -1;
    }
    at = walk->at;
    if (walk->inside < FATBIN_ENTRY_BYTES) {
        *wrong = "an entry is cut off";
        return -1;
    }
    header = get32(at + 4);
    *entry = (struct entry){
        .bytes = get64(at + 8),
        .compressed_bytes = get32(at + 16),
        .full_bytes = get64(at + 56),
        .flags = get64(at + 40),
        .sm = get32(at + 28),
        .kind = get16(at),
    };
    if (header < FATBIN_ENTRY_BYTES || header > walk->inside ||
        entry->bytes > walk->inside - header) {
        *wrong = "an entry is larger than its container";
        return -1;
    }
    entry->payload = at + header;
    walk->at += header + entry->bytes;
    walk->left -= header + entry->bytes;
    walk->inside -= header + entry->bytes;
    return 1;
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
    struct walk walk = {.at = image, .left = bytes};
    struct entry entry, best = {0};
    const char *wrong;
    int more;

    while ((more = walk_next(&walk, &entry, &wrong)) > 0) {
        if (entry.kind == FATBIN_KIND_PTX && entry.sm >= best.sm)
            best = entry;
    }
    if (more < 0)
        return damaged(log, input, wrong);
    if (!best.payload) {
        ptx_log_add(log, "%s: error: the fatbin has no PTX, only code for particular GPUs\n",
                    input);
        return VGPU_PTX_NO_PTX;
    }
    return expand(&best, text, text_bytes, log, input);
}

bool vgpu_ptx_fatbin_each(const void *image, size_t bytes, uint64_t budget,
                          void (*visit)(void *opaque, const void *data, size_t bytes, bool ptx),
                          void *opaque)
{
    struct walk walk = {.at = image, .left = bytes};
    struct ptx_log none = {0};
    struct entry entry;
    const char *wrong;
    bool all = true;
    int more;

    while ((more = walk_next(&walk, &entry, &wrong)) > 0) {
        char *data;
        size_t full;

        if (entry.full_bytes > budget || expand(&entry, &data, &full, &none, "") != VGPU_PTX_OK) {
            all = false;
            continue;
        }
        budget -= entry.full_bytes;
        visit(opaque, data, full, entry.kind == FATBIN_KIND_PTX);
        free(data);
    }
    return all && more == 0;
}
