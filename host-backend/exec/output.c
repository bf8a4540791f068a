// SPDX-License-Identifier: MIT
/*
 * The FIFO of what kernels print; see output.h.
 */
#include <exec/output.h>

#include <stdlib.h>
#include <string.h>
#include <vgpu/hw.h>

void vgpu_output_init(struct vgpu_output *output)
{
    memset(output, 0, sizeof(*output));
    pthread_mutex_init(&output->lock, NULL);
}

void vgpu_output_fini(struct vgpu_output *output)
{
    pthread_mutex_destroy(&output->lock);
    free(output->bytes);
    output->bytes = NULL;
}

void vgpu_output_put(struct vgpu_output *output, const void *text, size_t bytes)
{
    pthread_mutex_lock(&output->lock);
    if (!output->bytes)
        output->bytes = malloc(VGPU_OUTPUT_BYTES);
    if (!output->bytes || bytes > VGPU_OUTPUT_BYTES - output->used) {
        output->lost += bytes;
    } else {
        size_t at = (output->first + output->used) % VGPU_OUTPUT_BYTES;
        size_t n = bytes < VGPU_OUTPUT_BYTES - at ? bytes : VGPU_OUTPUT_BYTES - at;

        memcpy(output->bytes + at, text, n);
        memcpy(output->bytes, (const uint8_t *)text + n, bytes - n);
        output->used += bytes;
    }
    pthread_mutex_unlock(&output->lock);
}

size_t vgpu_output_get(struct vgpu_output *output, void *to, size_t room, uint64_t *lost)
{
    size_t bytes;

    pthread_mutex_lock(&output->lock);
    bytes = room < output->used ? room : output->used;
    if (bytes) {
        size_t n = VGPU_OUTPUT_BYTES - output->first;

        n = bytes < n ? bytes : n;
        memcpy(to, output->bytes + output->first, n);
        memcpy((uint8_t *)to + n, output->bytes, bytes - n);
        output->first = (output->first + bytes) % VGPU_OUTPUT_BYTES;
        output->used -= bytes;
    }
    *lost = output->lost;
    output->lost = 0;
    pthread_mutex_unlock(&output->lock);
    return bytes;
}
