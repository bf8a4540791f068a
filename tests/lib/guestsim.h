/* SPDX-License-Identifier: MIT */
/*
 * guestsim: a guest without a virtual machine.
 *
 * Plays both halves of a guest - its kernel driver and its programs - against a
 * real vgpud.  The machine's RAM is a memfd shared through vfio-user, registers
 * are reached by region messages, doorbells and interrupts by eventfds, exactly
 * as a virtual machine monitor would wire them.  It shares no code with the
 * device, the daemon or the guest driver, only the ABI headers: what passes here
 * was understood twice.
 *
 * Layers, each usable alone (hostile tests start in the middle):
 *
 *   gs_vfu   the vfio-user client: calls, raw bytes, file descriptors
 *   gs_ram   guest memory, its DMA addresses, a page allocator
 *   gs_vm    one machine: attach, registers, interrupts, admin queue
 *   gs_ring  one queue block seen from the guest
 *   gs_ctx   one context, with its queue, arena and buffers
 *   gs_*()   one function per context command
 *
 * Results.  0 or -errno.  Functions that run a command return its status
 * (VGPU_ST_*, >= 0; 0 is success) or -errno when there was none:
 *   -EOWNERDEAD  the context is lost; gs_ctx_status() says why
 *   -ETIMEDOUT   nothing came in time
 *   -ENOMSG      the completion is there, but its interrupt never came
 *   -ECONNRESET  the daemon closed the connection
 *
 * Threads.  A gs_vm may be used by any thread; a gs_ctx by one at a time.
 */
#ifndef VGPU_TESTS_GUESTSIM_H
#define VGPU_TESTS_GUESTSIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vgpu/layout.h>

/* Long enough for a sanitizer build on a busy machine; a pass never waits it out. */
#define GS_TIMEOUT_MS 30000

#define GS_MAX_FDS 253 /* what one message can carry (SCM_MAX_FD) */

/* ---- Time ---- */
uint64_t gs_now_ns(void);
static inline uint64_t gs_deadline(unsigned int ms)
{
    return gs_now_ns() + (uint64_t)ms * 1000000u;
}

/* ---- vfio-user client ---- */
enum gs_vfu_cmd {
    GS_VFU_VERSION = 1,
    GS_VFU_DMA_MAP,
    GS_VFU_DMA_UNMAP,
    GS_VFU_GET_INFO,
    GS_VFU_GET_REGION_INFO,
    GS_VFU_GET_REGION_IO_FDS,
    GS_VFU_GET_IRQ_INFO,
    GS_VFU_SET_IRQS,
    GS_VFU_REGION_READ,
    GS_VFU_REGION_WRITE,
    GS_VFU_DMA_READ,
    GS_VFU_DMA_WRITE,
    GS_VFU_DEVICE_RESET,
};

#define GS_VFU_REPLY    0x1u
#define GS_VFU_NO_REPLY 0x10u
#define GS_VFU_ERROR    0x20u

struct gs_vfu_hdr {
    uint16_t id;
    uint16_t command;
    uint32_t size; /* header included */
    uint32_t flags;
    uint32_t error;
};

struct gs_vfu {
    int fd;
    pthread_mutex_t lock; /* one call at a time */
    uint16_t next_id;
    unsigned int timeout_ms;
    bool dead; /* the stream is closed or out of step */
};

/* One call's buffers.  `data` follows `req` in the message. */
struct gs_vfu_call {
    enum gs_vfu_cmd command;
    const void *req;
    size_t req_bytes;
    const void *data;
    size_t data_bytes;
    const int *fds;
    size_t fd_count;
    bool no_reply;
    void *reply; /* filled with the reply's payload */
    size_t reply_room;
    size_t reply_bytes; /* of the payload, also what did not fit */
    int *reply_fds;     /* the caller closes them */
    size_t reply_fd_room;
    size_t reply_fd_count;
};

int gs_vfu_connect(struct gs_vfu *vfu, const char *path);
void gs_vfu_close(struct gs_vfu *vfu);
/* 0, the server's error reply as -errno, or a transport error with vfu->dead set. */
int gs_vfu_call(struct gs_vfu *vfu, struct gs_vfu_call *call);
/* Raw: exactly these bytes, this many fds.  0 or -errno. */
int gs_vfu_send_raw(struct gs_vfu *vfu, const void *bytes, size_t count, const int *fds,
                    size_t fd_count);
/* Raw: one message; the payload is cut to `room`.  0, -ECONNRESET, -ETIMEDOUT. */
int gs_vfu_recv_raw(struct gs_vfu *vfu, struct gs_vfu_hdr *hdr, void *payload, size_t room,
                    int *fds, size_t fd_room, size_t *fd_count);
int gs_vfu_version(struct gs_vfu *vfu, uint16_t major, uint16_t minor, unsigned int max_msg_fds);
int gs_vfu_dma_map(struct gs_vfu *vfu, uint64_t addr, uint64_t bytes, int fd, uint64_t offset,
                   uint32_t prot);
int gs_vfu_dma_unmap(struct gs_vfu *vfu, uint64_t addr, uint64_t bytes);
int gs_vfu_region_read(struct gs_vfu *vfu, uint32_t region, uint64_t offset, void *data,
                       uint32_t bytes);
int gs_vfu_region_write(struct gs_vfu *vfu, uint32_t region, uint64_t offset, const void *data,
                        uint32_t bytes, bool posted);
int gs_vfu_set_irq_fds(struct gs_vfu *vfu, uint32_t start, const int *fds, uint32_t count);
int gs_vfu_mask_irqs(struct gs_vfu *vfu, uint32_t start, uint32_t count, bool masked);
/* No vector has an eventfd any more. */
int gs_vfu_disable_irqs(struct gs_vfu *vfu);

/* ---- Guest memory ---- */
struct gs_region {
    uint64_t dma;    /* where the device sees it */
    uint64_t offset; /* in the memfd */
    uint64_t bytes;
};

#define GS_RAM_REGIONS 2

struct gs_ram {
    int fd;
    uint8_t *base;
    uint64_t bytes;
    struct gs_region region[GS_RAM_REGIONS]; /* below and above the PCI hole */
    pthread_mutex_t lock;                    /* used */
    uint8_t *used;                           /* one byte per page */
};

int gs_ram_init(struct gs_ram *ram, uint64_t bytes);
void gs_ram_fini(struct gs_ram *ram);
/* Pages with consecutive DMA addresses, zeroed; NULL when there are none. */
void *gs_ram_alloc(struct gs_ram *ram, size_t bytes);
void gs_ram_free(struct gs_ram *ram, void *ptr, size_t bytes);
uint64_t gs_ram_dma(const struct gs_ram *ram, const void *ptr);
uint64_t gs_ram_pages_used(struct gs_ram *ram);

/* ---- Rings ---- */
struct gs_ring {
    struct vgpu_queue_ro *ro;
    struct vgpu_queue_rw *rw;
    struct vgpu_cqe *cq;
    struct vgpu_sqe *sq;
    uint32_t sq_mask;
    uint32_t cq_mask;
    uint32_t sq_prod;      /* filled, maybe not yet published */
    uint32_t sq_published;
    uint32_t sq_cons;      /* last seen */
    uint32_t cq_prod;      /* last seen */
    uint32_t cq_cons;
};

/* Lay out a zeroed block.  All six indices start at `first`. */
void gs_ring_init(struct gs_ring *ring, void *block, unsigned int sq_log2, unsigned int cq_log2,
                  uint32_t first);

/* A free submission slot, or NULL when the ring is full. */
static inline struct vgpu_sqe *gs_ring_slot(struct gs_ring *ring)
{
    if (__builtin_expect(ring->sq_prod - ring->sq_cons > ring->sq_mask, 0)) {
        /* acquire: the device has finished reading a slot before it is rewritten (R2) */
        ring->sq_cons = __atomic_load_n(&ring->ro->sq_cons, __ATOMIC_ACQUIRE);
        if (ring->sq_prod - ring->sq_cons > ring->sq_mask)
            return NULL;
    }
    return &ring->sq[ring->sq_prod++ & ring->sq_mask];
}

/* Publish what was filled; true when the doorbell must be rung (R1, R3). */
static inline bool gs_ring_publish(struct gs_ring *ring)
{
    uint32_t old = ring->sq_published;

    if (ring->sq_prod == old)
        return false;
    __atomic_store_n(&ring->rw->sq_prod, ring->sq_prod, __ATOMIC_RELEASE);
    ring->sq_published = ring->sq_prod;
    /* pairs with the device's fence between writing sq_event and its last look at sq_prod */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vgpu_ring_need_event(__atomic_load_n(&ring->ro->sq_event, __ATOMIC_RELAXED),
                                ring->sq_prod, old);
}

/* The oldest completion not yet taken; its slot stays the guest's until gs_ring_release(). */
static inline const struct vgpu_cqe *gs_ring_peek(struct gs_ring *ring)
{
    if (ring->cq_cons == ring->cq_prod) {
        ring->cq_prod = __atomic_load_n(&ring->ro->cq_prod, __ATOMIC_ACQUIRE);
        if (ring->cq_cons == ring->cq_prod)
            return NULL;
    }
    return &ring->cq[ring->cq_cons & ring->cq_mask];
}

/* Take `count` completions off and give their slots back (R2). */
static inline void gs_ring_release(struct gs_ring *ring, uint32_t count)
{
    ring->cq_cons += count;
    __atomic_store_n(&ring->rw->cq_cons, ring->cq_cons, __ATOMIC_RELEASE);
}

/* Ask for an interrupt at the next completion: true if one is already there (R4). */
static inline bool gs_ring_arm(struct gs_ring *ring)
{
    __atomic_store_n(&ring->ro->cq_event, ring->cq_cons, __ATOMIC_RELAXED);
    /* pairs with the device's fence between cq_prod and its look at cq_event */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&ring->ro->cq_prod, __ATOMIC_ACQUIRE) != ring->cq_cons;
}

/* ---- A machine ---- */
#define GS_VM_NO_IO_FDS (1u << 0) /* doorbells travel as posted region writes */
#define GS_VM_NO_ENABLE (1u << 1) /* stop after attach: the test drives the registers */

struct gs_vm_config {
    const char *socket;
    uint64_t ram_bytes;       /* 0: 64 MiB */
    unsigned int max_msg_fds; /* announced; 0: GS_MAX_FDS */
    unsigned int flags;       /* GS_VM_* */
    uint32_t admin_first_idx;
};

struct gs_ctx;

struct gs_vm {
    struct gs_vfu vfu;
    struct gs_ram ram;
    unsigned int flags;
    uint32_t max_contexts;
    uint32_t vectors;
    int irq_fds[VGPU_MSIX_VECTORS];
    pthread_mutex_t ctx_lock;            /* ctxs */
    int doorbell_fds[VGPU_MAX_CONTEXTS]; /* -1: by message */
    struct gs_ctx *ctxs[VGPU_MAX_CONTEXTS];
    pthread_mutex_t admin_lock; /* the admin ring and its interrupt */
    void *admin_block;
    struct gs_ring admin;
    uint32_t generation;
};

/* Connect, map RAM, wire interrupts and, unless told not to, bring the device to READY. */
int gs_vm_open(const struct gs_vm_config *config, struct gs_vm **vm);
/* Drops the connection, the memory and the guest's side of all contexts, whatever still runs, as
 * a killed guest does. */
void gs_vm_close(struct gs_vm *vm);

uint32_t gs_reg_read(struct gs_vm *vm, uint32_t reg);
void gs_reg_write(struct gs_vm *vm, uint32_t reg, uint32_t value);
/* Poll a register until (value & mask) == want.  0 or -ETIMEDOUT. */
int gs_reg_wait(struct gs_vm *vm, uint32_t reg, uint32_t mask, uint32_t want,
                unsigned int timeout_ms);
/* The driver's proof that MMIO, MSI-X and DMA work (spec 4.8). */
int gs_vm_test_registers(struct gs_vm *vm);
int gs_vm_enable(struct gs_vm *vm, uint32_t first_idx);
/* RESET through the control register, and back to READY. */
int gs_vm_reset(struct gs_vm *vm);
void gs_vm_ring(struct gs_vm *vm, uint32_t ctx);
/* Wait for an interrupt on a vector and consume it. 0 or -ETIMEDOUT. */
int gs_irq_wait(struct gs_vm *vm, unsigned int vector, unsigned int timeout_ms);
/* Replace a vector's eventfd, as QEMU does when routes change. */
int gs_irq_swap(struct gs_vm *vm, unsigned int vector);
bool gs_ctx_is_lost(struct gs_vm *vm, uint32_t ctx);

/* ---- Admin queue ---- */
/* Post a command without waiting. -EAGAIN: the queue is full. */
int gs_admin_submit(struct gs_vm *vm, const struct vgpu_admin_sqe *sqe);
/* The next completion, whichever command's. -ETIMEDOUT, -ENODEV: not READY, -ECONNRESET. */
int gs_admin_wait(struct gs_vm *vm, struct vgpu_cqe *cqe, unsigned int timeout_ms);
/* One admin command, any bytes. */
int gs_admin(struct gs_vm *vm, const struct vgpu_admin_sqe *sqe, struct vgpu_cqe *cqe);
int gs_admin_query(struct gs_vm *vm, uint32_t what, uint32_t ctx, void *out, size_t bytes);

/* ---- Contexts ---- */
struct gs_ctx_config {
    unsigned int sq_log2;   /* 0: 8 */
    unsigned int cq_log2;   /* 0: sq_log2 */
    uint32_t arena_bytes;   /* 0: 256 KiB */
    unsigned int vector;    /* 0: spread over 1.. */
    uint32_t first_idx;
    uint32_t poll_us;       /* spin this long before sleeping on the interrupt */
};

#define GS_STASH 8192 /* completions kept for a caller still to come */

struct gs_ctx {
    struct gs_vm *vm;
    uint32_t id;
    unsigned int vector;
    uint32_t poll_us;
    struct gs_ring ring;
    void *block;
    size_t block_bytes;
    uint8_t *arena;
    uint32_t arena_bytes;
    int peer_fd; /* a context sharing the vector saw its interrupt */
    uint64_t next_cookie;
    uint32_t next_buf;
    uint32_t next_slot; /* parameter slots of the arena, used in turn */
    struct vgpu_cqe *stash;
    uint32_t stash_count;
    uint64_t interrupts; /* times a wait was ended by one */
};

int gs_ctx_create(struct gs_vm *vm, const struct gs_ctx_config *config, struct gs_ctx **ctx);
/* CTX_DESTROY and free.  The admin command's status or -errno; the memory goes in any case. */
int gs_ctx_destroy(struct gs_ctx *ctx);
/* Free the guest's side only: the machine is gone or the test destroyed it by hand. */
void gs_ctx_forget(struct gs_ctx *ctx);
int gs_ctx_status(struct gs_ctx *ctx, struct vgpu_ctx_status *status);
/* Wait for the context to be lost; its status (VGPU_ST_*), or -ETIMEDOUT. */
int gs_ctx_wait_lost(struct gs_ctx *ctx, struct vgpu_ctx_status *status);

/* Queue one submission under a cookie of its own; -EAGAIN when the ring is full. */
int gs_submit(struct gs_ctx *ctx, const struct vgpu_sqe *sqe, uint64_t *cookie);
/* Publish and ring if asked. */
void gs_flush(struct gs_ctx *ctx);
/* The next completion, whichever. */
int gs_wait_any(struct gs_ctx *ctx, struct vgpu_cqe *cqe, unsigned int timeout_ms);
/* The completion of one cookie: its status or -errno. */
int gs_wait(struct gs_ctx *ctx, uint64_t cookie, struct vgpu_cqe *cqe);
/* submit + flush + wait */
int gs_run(struct gs_ctx *ctx, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe);

/* ---- Buffers ---- */
#define GS_BUF_SCATTER (1u << 8) /* pages in no order, no two adjacent */

struct gs_buf {
    struct gs_vm *vm;
    uint32_t ctx;
    uint32_t id;
    uint8_t *ptr; /* contiguous here, whatever its pages are */
    size_t bytes;
    /* private */
    uint8_t *map;
    size_t map_bytes;
    uint8_t *pages;
    size_t page_bytes;
};

/* `flags`: VGPU_BUF_DEVICE_* and GS_BUF_*; `first` bytes into the first page it starts. */
int gs_buf_create(struct gs_ctx *ctx, size_t bytes, uint32_t first, uint32_t flags,
                  struct gs_buf *buf);
int gs_buf_destroy(struct gs_buf *buf);
/* Guest memory only, when the context is gone. */
void gs_buf_forget(struct gs_buf *buf);
/* The admin command for given pieces; no memory of its own stays in use. */
int gs_buf_register_raw(struct gs_vm *vm, uint32_t ctx, uint32_t buf, uint32_t flags,
                        const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes);
int gs_buf_unregister_raw(struct gs_vm *vm, uint32_t ctx, uint32_t buf);

/* ---- Context commands; the default arena layout ---- */
#define GS_ARENA_NAME   0x0000u /* names */
#define GS_ARENA_RECORD 0x1000u /* records the device writes */
#define GS_ARENA_LOG    0x4000u
#define GS_ARENA_LOG_BYTES 0x4000u
#define GS_ARENA_PARAMS 0x8000u /* parameter slots of 4 KiB to the end */

int gs_nop(struct gs_ctx *ctx);
int gs_fence(struct gs_ctx *ctx);
int gs_mem_alloc(struct gs_ctx *ctx, uint64_t bytes, uint64_t *addr);
int gs_mem_free(struct gs_ctx *ctx, uint64_t addr);
int gs_mem_info(struct gs_ctx *ctx, struct vgpu_mem_info *info);
int gs_copy_h2d(struct gs_ctx *ctx, uint64_t dev, const struct gs_buf *buf, uint64_t off,
                uint64_t bytes);
int gs_copy_d2h(struct gs_ctx *ctx, const struct gs_buf *buf, uint64_t off, uint64_t dev,
                uint64_t bytes);
int gs_copy_d2d(struct gs_ctx *ctx, uint64_t dst, uint64_t src, uint64_t bytes);
int gs_memset(struct gs_ctx *ctx, uint64_t dev, uint32_t value, uint32_t width, uint64_t count);
/* The log is copied out, NUL-terminated, when log_room is not 0. */
int gs_module_load(struct gs_ctx *ctx, const void *image, size_t bytes, char *log, size_t log_room,
                   uint32_t *module);
int gs_module_unload(struct gs_ctx *ctx, uint32_t module);
/* Up to `room` parameters are copied out. */
int gs_func_lookup(struct gs_ctx *ctx, uint32_t module, const char *name, uint32_t *function,
                   struct vgpu_func_info *info, struct vgpu_param_info *params, uint32_t room);
/* Up to GS_ARENA_LOG_BYTES of what kernels printed; *lost (may be NULL): the completion's aux. */
int gs_output_read(struct gs_ctx *ctx, void *text, size_t room, size_t *bytes, uint32_t *lost);
int gs_global_lookup(struct gs_ctx *ctx, uint32_t module, const char *name,
                     struct vgpu_global_info *info);
int gs_stream_create(struct gs_ctx *ctx, uint32_t *stream);
int gs_stream_destroy(struct gs_ctx *ctx, uint32_t stream);
int gs_event_create(struct gs_ctx *ctx, uint32_t *event);
/* opcode: VGPU_CMD_EVENT_*; *time_ns (may be NULL) is the completion's result. */
int gs_event(struct gs_ctx *ctx, uint16_t opcode, uint32_t stream, uint32_t event,
             uint64_t *time_ns);

/* A launch, ready to be changed and submitted; parameters go to the next arena slot. */
struct vgpu_sqe gs_launch_sqe(struct gs_ctx *ctx, uint32_t function, uint32_t grid, uint32_t block,
                              const void *params, uint16_t param_bytes);
int gs_launch(struct gs_ctx *ctx, uint32_t function, uint32_t grid, uint32_t block,
              const void *params, uint16_t param_bytes);

#endif /* VGPU_TESTS_GUESTSIM_H */
