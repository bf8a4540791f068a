/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * vgpu: guest driver, shared declarations.
 *
 * Objects and who keeps them alive:
 *
 *   struct vgpu_dev   one PCI function.  Lives in its embedded struct device:
 *                     references are the bound PCI driver and every open file.
 *   struct vgpu_ctx   one open file = one context.  References: the file, every
 *                     admin command in flight about it, and the lost-context scan.
 *   struct vgpu_buf   one registered buffer; owned by its context.
 *
 * Locks, outermost first (mmap_lock only inside files_mutex and ctx->lock):
 *
 *   vd->recover_mutex  bring-up, reset, FLR, remove
 *   vd->files_mutex    the list of open files
 *   vd->srcu           read side: "the device is READY and stays mapped"
 *   ctx->lock          queue set-up and kernel-mode submission of one context; the
 *                      one lock under which user memory is copied, so mmap never takes it
 *   vd->admin.lock, vd->lock, vec->lock, ctx->buf_lock, ctx->ev_lock   spinlocks
 *
 * Whoever marks the device not READY first wakes every sleeper, so the read
 * side of vd->srcu is always short once that has happened.
 *
 * When may memory the device can reach be freed?  When the device said so
 * (CTX_DESTROY or BUF_UNREGISTER completed), or when it was seen in a state that
 * proves that all older DMA has ended (DISABLED after a reset, or a new
 * generation): vd->epoch counts those proofs.  Memory without either is kept in
 * quarantine, see vgpu_ctx_put().
 */
#ifndef VGPU_KMOD_H
#define VGPU_KMOD_H

#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "vgpu_compat.h"
#include <vgpu/cmd.h>
#include <vgpu/hw.h>
#include <vgpu/layout.h>
#include <vgpu/ring.h>
#include <vgpu/uapi.h>

#define VGPU_DRV_NAME "vgpu"

/* The back end owes an answer in ADMIN_MAX_MS; we wait this many heartbeats more. */
#define VGPU_STALL_HEARTBEATS 4
/* Retry period while nothing answers, and while the device is busy with itself. */
#define VGPU_AWAY_RETRY_MS    1000
#define VGPU_BUSY_RETRY_MS    20
/* How long close() waits for CTX_DESTROY before it leaves it to the work queue. */
#define VGPU_CLOSE_WAIT_MS    2000
/* How long remove() waits for the proof that DMA has ended while the heart beats. */
#define VGPU_REMOVE_WAIT_MS   60000

enum vgpu_dev_state {
	VGPU_DEV_AWAY,	/* not usable now: recovery is under way or waits for the back end */
	VGPU_DEV_READY,
	VGPU_DEV_HELD,	/* probe, a function reset or suspend is in progress: recovery waits */
	VGPU_DEV_GONE,	/* the driver was unbound: for good */
};

enum vgpu_ctx_state {
	VGPU_CTX_NEW,	/* open, no queue yet */
	VGPU_CTX_SETUP,	/* CTX_CREATE in flight */
	VGPU_CTX_ACTIVE,
	VGPU_CTX_LOST,
};

/**
 * struct vgpu_limits - what the device reports, checked against the ABI's constants
 */
struct vgpu_limits {
	u32 max_contexts;
	u32 min_ring_log2;
	u32 max_ring_log2;
	u32 max_buffers;
	u32 msix_vectors;
	u32 max_param_bytes;
	u32 max_sg;
	u32 max_arena_bytes;
	u64 max_buffer_bytes;
	u64 max_image_bytes;
	u32 heartbeat_ms;
	u32 admin_max_ms;
	u32 stall_ms;	/* derived: silence longer than this means gone */
};

/**
 * struct vgpu_vec - one MSI-X vector
 * @lock: guards @ctxs
 * @ctxs: contexts whose completions it announces
 * @seen: interrupts so far; the interrupt test waits for it
 */
struct vgpu_vec {
	struct vgpu_dev *vd;
	unsigned int idx;
	int irq;
	spinlock_t lock;		/* guards the next */
	struct list_head ctxs;
	unsigned int nctx;	/* vd->lock */
	atomic_t seen;
	char name[24];
};

/**
 * struct vgpu_dma - one coherent allocation
 */
struct vgpu_dma {
	void *cpu;
	dma_addr_t addr;
	size_t bytes;
};

/**
 * struct vgpu_admin_req - one admin command
 * @kref: one reference for the submitter, one for the queue while it is in flight
 * @fn: if set, called in process context once the outcome is known
 * @error: 0 when the device answered (see @cqe), -EIO when it was lost before
 */
struct vgpu_admin_req {
	struct kref kref;
	struct vgpu_admin_sqe sqe;
	struct vgpu_cqe cqe;
	u16 status;
	bool answered;	/* set by the submitter once it has seen the answer */
	int error;
	struct completion done;
	struct list_head link;
	void (*fn)(struct vgpu_admin_req *req);
	struct vgpu_ctx *ctx;
	struct vgpu_buf *buf;
};

#define VGPU_ADMIN_SLOTS 64	/* smallest legal ring: a slot always has a place */

/**
 * struct vgpu_admin - the admin queue
 * @lock: guards all fields
 * @mem: the queue block
 * @page: one page the device writes query results into, under @query_mutex
 * @exposed: the device has been told @mem's address since the last proof
 * @live: commands may be submitted
 */
struct vgpu_admin {
	spinlock_t lock;		/* guards all fields */
	struct vgpu_dma mem;
	struct vgpu_dma page;
	struct mutex query_mutex;	/* one user of @page at a time */
	u8 log2;
	bool exposed;
	bool live;
	u32 sq_prod;
	u32 cq_cons;
	u16 salt;
	struct vgpu_admin_req *slot[VGPU_ADMIN_SLOTS];
	u16 slot_salt[VGPU_ADMIN_SLOTS];
	unsigned int used;
	wait_queue_head_t wq;
};

/**
 * struct vgpu_dev - one device
 * @epoch: proofs seen so far that all earlier DMA has ended (vd->lock)
 * @quarantine: contexts closed without such a proof (vd->lock)
 * @heartbeat_at: jiffies when @heartbeat was first seen at its present value
 */
struct vgpu_dev {
	struct device dev;
	struct cdev cdev;
	struct pci_dev *pdev;
	int idx;
	void __iomem *regs;
	void __iomem *doorbells;
	resource_size_t doorbell_phys;
	struct srcu_struct srcu;
	struct workqueue_struct *wq;

	spinlock_t lock;		/* guards the following group */
	enum vgpu_dev_state state;
	u32 generation;
	u64 epoch;
	struct vgpu_ctx *ctxs[VGPU_MAX_CONTEXTS];
	unsigned int nctx;
	unsigned int ndestroying;
	struct list_head quarantine;
	bool leaking;			/* GONE, and without a proof that DMA has ended */
	wait_queue_head_t slot_wq;	/* a context id was freed */

	struct mutex files_mutex;	/* guards files; held while their mappings change */
	struct list_head files;		/* every open context, by file_link */

	struct vgpu_limits lim;
	struct vgpu_device_props props;
	u32 abi_version;
	bool must_stage;
	bool must_stage_told;

	struct vgpu_vec *vec;
	unsigned int nvec;
	wait_queue_head_t irq_wq;	/* the interrupt test */

	struct vgpu_admin admin;

	struct mutex recover_mutex;	/* bring-up, reset and remove exclude each other */
	struct delayed_work recover;
	bool bringing_up;
	struct work_struct drain;
	struct work_struct scan;
	struct delayed_work watchdog;
	bool reset_written;		/* RESET was written in this bring-up */
	int last_trouble;		/* recovery's last reported error */
	u32 last_detail;

	spinlock_t beat_lock;		/* guards the next four */
	u32 heartbeat;
	unsigned long heartbeat_at;
	unsigned long heartbeat_checked;
	bool heartbeat_valid;
};

/**
 * struct vgpu_ctx - one open file
 * @mm: who opened it; the only address space that may use it
 * @mapping: the inode's, to zap user mappings when the device goes; valid while the
 *	context is in vd->files
 * @epoch: vd->epoch when the device was told of the memory
 * @reaped: the device said that it has let go of everything
 */
struct vgpu_ctx {
	struct kref kref;
	struct vgpu_dev *vd;
	struct list_head file_link;	/* vd->files, vd->files_mutex */
	struct list_head vec_link;	/* vec->ctxs */
	struct list_head quarantine_link;
	struct vgpu_admin_req *destroy_req;	/* set aside at set-up: close can't fail */
	struct mm_struct *mm;
	struct address_space *mapping;

	struct mutex lock;		/* set-up, kernel submission */
	enum vgpu_ctx_state state;	/* written under vd->lock */
	bool closing;			/* the file is gone (vd->lock) */
	bool leaked;			/* the device went without a proof: keep the memory */
	u16 lost_status;
	u64 fault_addr;
	u8 message[sizeof_field(struct vgpu_ctx_status, message)];

	u32 id;
	bool has_id;			/* vd->lock */
	bool reaped;
	bool exposed;			/* the device may know the memory */
	u64 epoch;
	u32 generation;
	u32 flags;
	u8 sq_log2;
	u8 cq_log2;
	struct vgpu_vec *vec;
	struct vgpu_dma queue;
	struct vgpu_dma arena;
	struct page *tombstone;		/* stands in for page 0 of the queue block once zapped */
	struct page *sink;		/* stands in for all other mapped memory */

	wait_queue_head_t wq;
	u32 seen_prod;			/* vec->lock: the interrupt handler's */
	u32 seen_cons;			/* the watchdog's */
	spinlock_t ev_lock;		/* guards cq_event, too */
	u32 armed;			/* what cq_event is */
	struct eventfd_ctx *eventfd;	/* ev_lock */

	u32 k_sq_prod;			/* kernel submission, ctx->lock */
	u32 k_cq_cons;

	spinlock_t buf_lock;		/* guards states and map counts of bufs */
	struct xarray bufs;
};

enum vgpu_buf_state {
	VGPU_BUF_REGISTERING,
	VGPU_BUF_LIVE,
	VGPU_BUF_DYING,
};

/**
 * struct vgpu_buf - one registered buffer
 * @maps: user mappings of an allocated buffer (ctx->buf_lock)
 * @chunks: coherent pieces of an allocated buffer
 * @pages: pinned pages of a user buffer
 * @list: pages of the scatter list the device reads
 */
struct vgpu_buf {
	struct vgpu_ctx *ctx;
	u32 id;
	u32 flags;
	enum vgpu_buf_state state;	/* ctx->buf_lock */
	u64 bytes;
	unsigned int maps;
	unsigned long npages;
	unsigned long accounted;

	struct vgpu_dma *chunks;
	unsigned int nchunks;

	struct page **pages;
	struct sg_table sgt;
	bool mapped;
	enum dma_data_direction dir;

	struct vgpu_dma *list;
	unsigned int nlist;
	u32 sg_count;
};

/* ---- registers ---- */
static inline u32 vgpu_read(struct vgpu_dev *vd, u32 reg)
{
	return readl(vd->regs + reg);
}

static inline void vgpu_write(struct vgpu_dev *vd, u32 reg, u32 value)
{
	writel(value, vd->regs + reg);
}

static inline u64 vgpu_read64(struct vgpu_dev *vd, u32 reg_lo)
{
	return vgpu_read(vd, reg_lo) | (u64)vgpu_read(vd, reg_lo + 4) << 32;
}

static inline void vgpu_write64(struct vgpu_dev *vd, u32 reg_lo, u64 value)
{
	vgpu_write(vd, reg_lo, lower_32_bits(value));
	vgpu_write(vd, reg_lo + 4, upper_32_bits(value));
}

/* ---- queue block of a context ---- */
static inline struct vgpu_queue_ro *vgpu_ctx_ro(struct vgpu_ctx *ctx)
{
	return ctx->queue.cpu;
}

static inline struct vgpu_queue_rw *vgpu_ctx_rw(struct vgpu_ctx *ctx)
{
	return ctx->queue.cpu + vgpu_queue_rw_offset(ctx->cq_log2);
}

static inline u32 vgpu_ctx_cq_prod(struct vgpu_ctx *ctx)
{
	/* Acquire: entries up to the index may be read.  Pairs with the device's release (R1). */
	return le32_to_cpu((__force __le32)smp_load_acquire((__force u32 *)
							   &vgpu_ctx_ro(ctx)->cq_prod));
}

/* ---- vgpu_drv.c ---- */
extern unsigned int vgpu_stall_ms;
extern struct class *vgpu_class;

/* ---- vgpu_probe.c: prove the device, then bring it up ---- */
int __must_check vgpu_dev_bring_up(struct vgpu_dev *vd);
bool vgpu_dma_is_translated(struct vgpu_dev *vd);
bool vgpu_dma_bounces(struct vgpu_dev *vd, struct page *page, size_t offset, dma_addr_t addr);

/* ---- vgpu_reset.c ---- */
void vgpu_reset_init(struct vgpu_dev *vd);
void vgpu_reset_hold(struct vgpu_dev *vd, enum vgpu_dev_state next, u16 status);
void vgpu_reset_release(struct vgpu_dev *vd);
void vgpu_dev_lost(struct vgpu_dev *vd, u16 status, const char *why);
bool vgpu_dev_check_alive(struct vgpu_dev *vd);
void vgpu_dev_proved_quiet(struct vgpu_dev *vd);
bool vgpu_dev_reset_wait(struct vgpu_dev *vd, unsigned int limit_ms);
void vgpu_watchdog_kick(struct vgpu_dev *vd);
void vgpu_watchdog_now(struct vgpu_dev *vd);
const char *vgpu_status_text(u16 status);

/* Enter and leave the region in which a READY device stays usable. */
static inline int __must_check vgpu_dev_enter(struct vgpu_dev *vd, int *srcu_idx)
{
	int err = 0;

	*srcu_idx = srcu_read_lock(&vd->srcu);
	if (READ_ONCE(vd->state) != VGPU_DEV_READY) {
		srcu_read_unlock(&vd->srcu, *srcu_idx);
		__acquire(&vd->srcu);
		err = -ENODEV;
	}
	/* The caller keeps it when the answer is 0, which sparse can't express. */
	__release(&vd->srcu);
	return err;
}

static inline void vgpu_dev_exit(struct vgpu_dev *vd, int srcu_idx)
{
	__acquire(&vd->srcu);
	srcu_read_unlock(&vd->srcu, srcu_idx);
}

/* ---- vgpu_admin.c ---- */
int __must_check vgpu_admin_init(struct vgpu_dev *vd);
void vgpu_admin_fini(struct vgpu_dev *vd, bool leak);
void vgpu_admin_expose(struct vgpu_dev *vd);
void vgpu_admin_start(struct vgpu_dev *vd);
void vgpu_admin_stop(struct vgpu_dev *vd);
void vgpu_admin_drain(struct vgpu_dev *vd);
struct vgpu_admin_req *vgpu_admin_req_alloc(u16 opcode);
void vgpu_admin_req_put(struct vgpu_admin_req *req);
int __must_check vgpu_admin_submit(struct vgpu_dev *vd, struct vgpu_admin_req *req);
int __must_check vgpu_admin_submit_killable(struct vgpu_dev *vd, struct vgpu_admin_req *req);
void vgpu_admin_wait_limited(struct vgpu_dev *vd, struct vgpu_admin_req *req, unsigned int ms);
int __must_check vgpu_admin_wait_killable(struct vgpu_dev *vd, struct vgpu_admin_req *req);
int __must_check vgpu_admin_exec_slow(struct vgpu_dev *vd, struct vgpu_admin_req *req);
int __must_check vgpu_admin_exec(struct vgpu_dev *vd, struct vgpu_admin_req *req);
int __must_check vgpu_admin_query(struct vgpu_dev *vd, u32 what, u32 ctx, void *out, size_t bytes);
int vgpu_errno_of_status(u16 status);

/* ---- vgpu_irq.c ---- */
int __must_check vgpu_irq_init(struct vgpu_dev *vd);
void vgpu_irq_fini(struct vgpu_dev *vd);

/* ---- vgpu_ctx.c ---- */
struct vgpu_ctx *vgpu_ctx_open(struct vgpu_dev *vd, struct file *file);
void vgpu_ctx_close(struct vgpu_ctx *ctx);
int __must_check vgpu_ctx_setup(struct vgpu_ctx *ctx, struct vgpu_queue_setup *arg);
void vgpu_ctx_get(struct vgpu_ctx *ctx);
void vgpu_ctx_put(struct vgpu_ctx *ctx);
bool vgpu_ctx_mark_lost(struct vgpu_ctx *ctx, u16 status, u64 fault_addr, const u8 *message);
int __must_check vgpu_ctx_enter(struct vgpu_ctx *ctx, int *srcu_idx);
void vgpu_ctx_free_dma(struct vgpu_ctx *ctx);
void vgpu_ctx_free(struct vgpu_ctx *ctx);
void vgpu_ctx_scan_lost(struct vgpu_dev *vd);

/* ---- vgpu_wait.c ---- */
bool __must_check vgpu_ctx_wake(struct vgpu_ctx *ctx);
void vgpu_ctx_ring_again(struct vgpu_ctx *ctx);
int vgpu_ctx_wait(struct vgpu_ctx *ctx, struct vgpu_wait *arg);
__poll_t vgpu_ctx_poll(struct vgpu_ctx *ctx, struct file *file, struct poll_table_struct *pt);
int vgpu_ctx_set_eventfd(struct vgpu_ctx *ctx, struct vgpu_set_eventfd *arg);
int vgpu_ctx_submit(struct vgpu_ctx *ctx, struct vgpu_submit *arg);
int vgpu_ctx_reap(struct vgpu_ctx *ctx, struct vgpu_reap *arg);
bool vgpu_ctx_is_watched(struct vgpu_ctx *ctx);

/* ---- vgpu_buf.c, vgpu_pin.c ---- */
int __must_check vgpu_buf_register(struct vgpu_ctx *ctx, struct vgpu_buf_register *arg);
int __must_check vgpu_buf_alloc(struct vgpu_ctx *ctx, struct vgpu_buf_alloc *arg);
int __must_check vgpu_buf_unregister(struct vgpu_ctx *ctx, struct vgpu_buf_unregister *arg);
struct vgpu_buf *vgpu_buf_map_get(struct vgpu_ctx *ctx, u32 id, u64 bytes);
void vgpu_buf_map_again(struct vgpu_buf *buf);
void vgpu_buf_map_put(struct vgpu_buf *buf);
void vgpu_buf_free_dma(struct vgpu_buf *buf);
int __must_check vgpu_dma_alloc(struct vgpu_dev *vd, struct vgpu_dma *mem, size_t bytes,
				gfp_t gfp);
void vgpu_dma_free(struct vgpu_dev *vd, struct vgpu_dma *mem);
int __must_check vgpu_buf_pin(struct vgpu_buf *buf, u64 addr);
int __must_check vgpu_buf_map_dma(struct vgpu_buf *buf, u64 addr);
void vgpu_buf_unpin(struct vgpu_buf *buf);
int __must_check vgpu_buf_account(struct vgpu_buf *buf, unsigned long pages);
void vgpu_buf_unaccount(struct vgpu_buf *buf);

/* ---- vgpu_mmap.c ---- */
#define VGPU_MMAP_SHIFT    36	/* one region per kind or buffer, as large as a buffer may be */
#define VGPU_MMAP_RO       1
#define VGPU_MMAP_RW       2
#define VGPU_MMAP_DOORBELL 3
#define VGPU_MMAP_ARENA    4
#define VGPU_MMAP_BUF      16	/* + buffer id */
int vgpu_ctx_mmap(struct vgpu_ctx *ctx, struct vm_area_struct *vma);
void vgpu_ctx_zap(struct vgpu_ctx *ctx);

/* ---- vgpu_file.c, vgpu_sysfs.c ---- */
extern const struct file_operations vgpu_fops;
extern const struct attribute_group *vgpu_attr_groups[];
const char *vgpu_exec_name(u32 kind);

#endif /* VGPU_KMOD_H */
