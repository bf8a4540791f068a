/* SPDX-License-Identifier: MIT */
/*
 * A kernel and a device for libvgpu's unit tests: struct vgpu_sys on one side, a
 * thread that drains the ring on the other.
 *
 * The device executes memory, copy, stream, event and module commands on an array,
 * completes them in order or shuffled, and does what a test tells it: lose the
 * context, answer with a wrong cookie, publish an impossible index, stop.  Each
 * kernel call can be made to fail by its number.
 */
#ifndef VGPU_TESTS_FAKE_KERNEL_H
#define VGPU_TESTS_FAKE_KERNEL_H

#include <internal.h>

#define FAKE_DEVICE_BYTES (32u << 20)
#define FAKE_DEVICE_BASE  0x7000000000ull
#define FAKE_BUFFERS      64
#define FAKE_PARAMS       6 /* of the kernel "add"; "wide" has FAKE_WIDE_PARAMS */
#define FAKE_WIDE_PARAMS  600

struct fake_buf {
    uint8_t *addr;
    size_t bytes;
    bool used, owned;
};

struct fake {
    struct vgpu_sys sys;
    struct vgpu_info info;
    uint32_t first_idx; /* where all indices start */

    pthread_mutex_t lock;
    pthread_cond_t moved;
    pthread_t thread;
    bool running, stop;

    uint8_t *block, *arena, *doorbell;
    struct vgpu_queue_setup setup;
    struct fake_buf bufs[FAKE_BUFFERS];
    uint8_t *memory;
    uint64_t next_alloc;

    /* what tests set */
    int fail_call;        /* the Nth kernel call fails; 0: none */
    int fail_alloc;       /* errno of BUF_ALLOC, 0: works */
    int fail_register;    /* errno of BUF_REGISTER */
    bool paused;          /* consume nothing */
    bool shuffle;         /* complete in pairs, swapped */
    bool stray;           /* a wrong completion before each right one */
    uint16_t next_status; /* of the next launch, once */
    char output[16384];   /* what "say" printed and nobody has read */
    uint32_t output_bytes, output_lost;

    /* what tests read */
    int calls, open_fds, maps, registers, allocs;
    uint32_t launches, doorbells, output_reads;
    uint32_t params[FAKE_WIDE_PARAMS];
    uint32_t sum;
};

void fake_init(struct fake *fake);
void fake_fini(struct fake *fake); /* checks that nothing is left open or mapped */
void fake_lose(struct fake *fake, uint16_t status);
void fake_publish(struct fake *fake, uint32_t cq_prod);
void fake_pause(struct fake *fake, bool paused);

#endif
