/* SPDX-License-Identifier: MIT */
/*
 * What kernels print, until the guest program reads it (spec 10.4).
 *
 * A FIFO of bytes between whoever prints (an executor's worker threads) and OUTPUT_READ (the drain
 * thread).  It holds VGPU_OUTPUT_BYTES at most.  A call's text is taken whole or not at all, so
 * that no line is cut by a lack of room; what was not taken is counted and the count
 * handed out with the next read.  The memory is allocated with the first text: most contexts never
 * print.  Any thread may call any function.
 */
#ifndef VGPU_EXEC_OUTPUT_H
#define VGPU_EXEC_OUTPUT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct vgpu_output {
    pthread_mutex_t lock;
    uint8_t *bytes; /* lock; VGPU_OUTPUT_BYTES of them, NULL: nothing was printed yet */
    size_t first;   /* lock; where the oldest byte is */
    size_t used;    /* lock */
    uint64_t lost;  /* lock; bytes not taken since the last read */
};

void vgpu_output_init(struct vgpu_output *output);
void vgpu_output_fini(struct vgpu_output *output);

/* The text of one call, any bytes.  Never fails: what there is no room or memory for is lost. */
void vgpu_output_put(struct vgpu_output *output, const void *text, size_t bytes);

/* Moves the oldest `room` bytes at most into `to` and returns how many; *lost: bytes of calls that
 * were not taken since the last read. */
size_t vgpu_output_get(struct vgpu_output *output, void *to, size_t room, uint64_t *lost);

#endif /* VGPU_EXEC_OUTPUT_H */
