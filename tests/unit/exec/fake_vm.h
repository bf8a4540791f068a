/* SPDX-License-Identifier: MIT */
/*
 * A vm process for tests: starts a real exec process (fork, then vgpu_exec_main()), speaks proto.h to
 * it, keeps the quota, and owns the guest's RAM, a memfd whose pages it hands over in scrambled
 * order, so that nothing works by accident of contiguity.
 *
 * Everything waits with a deadline and fails the Check test that runs when it passes.
 */
#ifndef VGPU_TESTS_EXEC_FAKE_VM_H
#define VGPU_TESTS_EXEC_FAKE_VM_H

#include "guest.h"

#include <exec/proto.h>
#include <sys/types.h>

struct fake_vm_config {
    uint32_t exec_kind;
    unsigned int sq_log2; /* 0: 6 */
    unsigned int cq_log2; /* 0: 6 */
    uint32_t first_idx;
    uint32_t poll_us;
    uint32_t budget; /* 0: 64 */
    uint32_t deadline_ms;
    uint32_t max_inflight; /* 0: 64 */
    uint32_t threads;
    uint64_t memory_limit; /* 0: 64 MiB */
};

struct fake_vm {
    struct fake_vm_config cfg;
    struct vgpu_x_start start;
    int sock;
    pid_t pid; /* -1: reaped */
    int ram_fd;
    uint8_t *ram; /* as the test process maps it: linear */
    size_t ram_bytes;
    size_t ram_next; /* first page not handed out */
    int doorbell_fd;
    int irq_fd;
    struct vgpu_xstats *stats;
    uint8_t *block; /* the queue block, linear for the guest */
    size_t block_bytes;
    uint8_t *arena;
    struct guest guest;
    uint64_t quota_held;
    bool quota_refuse;
    uint32_t seq;
    uint32_t replies; /* that came */
    bool lost;        /* LOST came */
    struct vgpu_x_lost lost_msg;
};

#define FAKE_ARENA_BYTES (64u << 10)

/* Start, and wait for the reply: its status. */
uint16_t fake_vm_start(struct fake_vm *vm, const struct fake_vm_config *cfg);
/* The same, with a chance to spoil START before it is sent. */
uint16_t fake_vm_start_with(struct fake_vm *vm, const struct fake_vm_config *cfg,
                            void (*spoil)(struct vgpu_xmsg *msg, struct vgpu_xrun *runs));
/* Stop it and check that it exited with 0. */
void fake_vm_stop(struct fake_vm *vm);
/* Wait for its end: the wait status. */
int fake_vm_reap(struct fake_vm *vm);
/* Release what the test process holds. */
void fake_vm_free(struct fake_vm *vm);

/* Pages of RAM for a buffer, scrambled: linear memory for the test, runs for the exec process. */
uint8_t *fake_vm_pages(struct fake_vm *vm, size_t bytes, struct vgpu_xrun *runs, uint32_t *count);

/* Register [off, off + bytes) of such pages; the status of COMMIT. */
uint16_t fake_vm_add_buf(struct fake_vm *vm, uint32_t id, uint32_t flags,
                         const struct vgpu_xrun *runs, uint32_t count, uint64_t off,
                         uint64_t bytes);
/* Allocate and register in one go: where the test sees the buffer. */
uint8_t *fake_vm_buf(struct fake_vm *vm, uint32_t id, uint32_t flags, uint64_t off, size_t bytes);

/* Send a request (`fd` -1: none) and return its sequence number; wait for the reply to one. */
uint32_t fake_vm_send(struct fake_vm *vm, struct vgpu_xmsg *msg, const struct vgpu_xrun *runs,
                      int fd);
uint16_t fake_vm_reply(struct fake_vm *vm, uint32_t seq);
bool fake_vm_has_message(struct fake_vm *vm);
/* Bytes of quota held, by all the messages sent so far. */
uint64_t fake_vm_quota(struct fake_vm *vm);

/* Submit one command and wait for its completion. */
struct vgpu_cqe fake_vm_run(struct fake_vm *vm, const struct vgpu_sqe *sqe);
/* Submit without waiting; wait for the next completion (by polling the ring). */
void fake_vm_submit(struct fake_vm *vm, const struct vgpu_sqe *sqe);
struct vgpu_cqe fake_vm_next(struct fake_vm *vm);
/* Wait for LOST and the process's end. */
const struct vgpu_x_lost *fake_vm_wait_lost(struct fake_vm *vm);

struct vgpu_sqe sqe_make(uint16_t opcode, uint32_t stream, uint64_t cookie);

#endif
