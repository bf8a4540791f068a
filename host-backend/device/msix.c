/* SPDX-License-Identifier: MIT */
/*
 * MSI-X table and pending bits; see msix.h for who uses it.
 *
 * Theory of operation.  A vector is *masked* while its own mask bit or the function's is set.
 * A notification of a masked vector sets its pending bit; each event that can lift a mask
 * (table write, control word) ends in msix_flush(), which sends what is pending and
 * no longer masked.  While MSI-X is disabled nothing is pending: notifications are
 * dropped, and disabling clears the bits.
 */
#include <device/msix.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_WORDS   4
#define ENTRY_BYTES   (ENTRY_WORDS * 4)
#define TABLE_BYTES   (VGPU_MSIX_VECTORS * ENTRY_BYTES)
#define PBA_BYTES     ((VGPU_MSIX_VECTORS + 63) / 64 * 8)
#define ENTRY_ADDR_LO 0
#define ENTRY_ADDR_HI 1
#define ENTRY_DATA    2
#define ENTRY_CONTROL 3
#define CONTROL_MASK  1u

_Static_assert(VGPU_MSIX_VECTORS <= 64, "one 64-bit word of pending bits");
_Static_assert(VGPU_MSIX_TABLE_OFFSET + TABLE_BYTES <= VGPU_MSIX_PBA_OFFSET, "table before PBA");
_Static_assert(VGPU_MSIX_PBA_OFFSET + PBA_BYTES <= VGPU_BAR_MSIX_SIZE, "PBA inside its BAR");

struct vgpu_msix {
    vgpu_msix_deliver_fn deliver;
    void *opaque;
    bool enabled;
    bool function_masked;
    uint64_t pending; /* bit per vector, only while enabled */
    uint32_t table[VGPU_MSIX_VECTORS * ENTRY_WORDS];
};

/* Bits of an entry's words that the guest may write. */
static const uint32_t entry_mask[ENTRY_WORDS] = {0xfffffffcu, 0xffffffffu, 0xffffffffu,
                                                 CONTROL_MASK};

void vgpu_msix_reset(struct vgpu_msix *msix)
{
    msix->enabled = false;
    msix->function_masked = false;
    msix->pending = 0;
    memset(msix->table, 0, sizeof(msix->table));
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++)
        msix->table[v * ENTRY_WORDS + ENTRY_CONTROL] = CONTROL_MASK;
}

struct vgpu_msix *vgpu_msix_create(vgpu_msix_deliver_fn deliver, void *opaque)
{
    struct vgpu_msix *msix = calloc(1, sizeof(*msix));

    if (!msix)
        return NULL;
    msix->deliver = deliver;
    msix->opaque = opaque;
    vgpu_msix_reset(msix);
    return msix;
}

void vgpu_msix_destroy(struct vgpu_msix *msix)
{
    free(msix);
}

bool vgpu_msix_is_masked(const struct vgpu_msix *msix, unsigned int vector)
{
    assert(vector < VGPU_MSIX_VECTORS);
    return !msix->enabled || msix->function_masked ||
           (msix->table[vector * ENTRY_WORDS + ENTRY_CONTROL] & CONTROL_MASK);
}

bool vgpu_msix_is_pending(const struct vgpu_msix *msix, unsigned int vector)
{
    assert(vector < VGPU_MSIX_VECTORS);
    return msix->pending >> vector & 1;
}

static void msix_send(struct vgpu_msix *msix, unsigned int vector)
{
    const uint32_t *entry = &msix->table[vector * ENTRY_WORDS];

    msix->deliver(msix->opaque, vector, (uint64_t)entry[ENTRY_ADDR_HI] << 32 | entry[ENTRY_ADDR_LO],
                  entry[ENTRY_DATA]);
}

static void msix_flush(struct vgpu_msix *msix)
{
    for (unsigned int v = 0; msix->pending >> v != 0; v++) {
        if (!vgpu_msix_is_pending(msix, v) || vgpu_msix_is_masked(msix, v))
            continue;
        msix->pending &= ~(UINT64_C(1) << v);
        msix_send(msix, v);
    }
}

void vgpu_msix_notify(struct vgpu_msix *msix, unsigned int vector)
{
    assert(vector < VGPU_MSIX_VECTORS);
    if (!msix->enabled)
        return;
    if (vgpu_msix_is_masked(msix, vector))
        msix->pending |= UINT64_C(1) << vector;
    else
        msix_send(msix, vector);
}

void vgpu_msix_set_control(struct vgpu_msix *msix, bool enabled, bool function_masked)
{
    msix->enabled = enabled;
    msix->function_masked = function_masked;
    if (!enabled)
        msix->pending = 0;
    msix_flush(msix);
}

static bool access_is_valid(uint64_t offset, size_t bytes)
{
    return (bytes == 4 || bytes == 8) && offset % bytes == 0;
}

static bool access_is_inside(uint64_t offset, uint64_t start, uint64_t size)
{
    return offset >= start && offset - start < size;
}

void vgpu_msix_bar_read(const struct vgpu_msix *msix, uint64_t offset, void *data, size_t bytes)
{
    memset(data, 0, bytes);
    if (!access_is_valid(offset, bytes))
        return;
    if (access_is_inside(offset, VGPU_MSIX_TABLE_OFFSET, TABLE_BYTES))
        memcpy(data, (const uint8_t *)msix->table + (offset - VGPU_MSIX_TABLE_OFFSET), bytes);
    else if (access_is_inside(offset, VGPU_MSIX_PBA_OFFSET, PBA_BYTES))
        memcpy(data, (const uint8_t *)&msix->pending + (offset - VGPU_MSIX_PBA_OFFSET), bytes);
}

void vgpu_msix_bar_write(struct vgpu_msix *msix, uint64_t offset, const void *data, size_t bytes)
{
    uint32_t words[2];
    size_t first;

    if (!access_is_valid(offset, bytes) ||
        !access_is_inside(offset, VGPU_MSIX_TABLE_OFFSET, TABLE_BYTES))
        return;
    memcpy(words, data, bytes);
    first = (offset - VGPU_MSIX_TABLE_OFFSET) / 4;
    for (size_t i = 0; i < bytes / 4; i++)
        msix->table[first + i] = words[i] & entry_mask[(first + i) % ENTRY_WORDS];
    msix_flush(msix);
}
