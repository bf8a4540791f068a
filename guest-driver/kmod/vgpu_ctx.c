// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Contexts: one per open file (spec 8.2, 8.3).
 *
 * A context is NEW from open(), ACTIVE once its queue exists, and LOST for good
 * when it faults, when the back end goes, or when the device does.  Its id is the
 * number of its doorbell page, and stays taken until the memory is freed, so that
 * an old mapping never rings for somebody else.
 *
 * The end of a context has three separate moments:
 *   close          the file is gone: no user can reach it; CTX_DESTROY is sent
 *   quiet          the device provably uses none of its memory any more
 *   free           memory, pins and the id return
 * Close does not wait long for quiet.  The last reference decides: quiet already
 * -> free; else the context goes into vd->quarantine, which recovery empties at
 * the next proof (vgpu_dev_proved_quiet()).
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "vgpu.h"

struct vgpu_ctx *vgpu_ctx_open(struct vgpu_dev *vd, struct file *file)
{
	struct vgpu_ctx *ctx;

	if (!current->mm)
		return ERR_PTR(-EPERM);
	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return ERR_PTR(-ENOMEM);
	kref_init(&ctx->kref);
	mutex_init(&ctx->lock);
	INIT_LIST_HEAD(&ctx->file_link);
	INIT_LIST_HEAD(&ctx->vec_link);
	INIT_LIST_HEAD(&ctx->quarantine_link);
	init_waitqueue_head(&ctx->wq);
	spin_lock_init(&ctx->ev_lock);
	spin_lock_init(&ctx->buf_lock);
	xa_init_flags(&ctx->bufs, XA_FLAGS_ALLOC1);
	ctx->state = VGPU_CTX_NEW;
	ctx->vd = vd;
	ctx->mm = current->mm;
	mmgrab(ctx->mm);
	ctx->mapping = file->f_mapping;
	get_device(&vd->dev);

	mutex_lock(&vd->files_mutex);
	list_add_tail(&ctx->file_link, &vd->files);
	mutex_unlock(&vd->files_mutex);
	return ctx;
}

void vgpu_ctx_get(struct vgpu_ctx *ctx)
{
	kref_get(&ctx->kref);
}

/* After this no interrupt handler looks at the queue. */
static void ctx_leave_vector(struct vgpu_ctx *ctx)
{
	if (!ctx->vec)
		return;
	spin_lock_irq(&ctx->vec->lock);
	list_del_init(&ctx->vec_link);
	spin_unlock_irq(&ctx->vec->lock);
}

/* Frees what the device knew about.  Only when it is quiet; may be called twice. */
void vgpu_ctx_free_dma(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	struct vgpu_buf *buf;
	unsigned long id;

	ctx_leave_vector(ctx);
	xa_for_each(&ctx->bufs, id, buf)
		vgpu_buf_free_dma(buf);
	vgpu_dma_free(vd, &ctx->queue);
	vgpu_dma_free(vd, &ctx->arena);
}

static void ctx_release_id(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;

	spin_lock_irq(&vd->lock);
	if (ctx->has_id) {
		ctx->has_id = false;
		vd->ctxs[ctx->id] = NULL;
		vd->nctx--;
		ctx->vec->nctx--;
		vd->ndestroying -= ctx->closing;
	}
	spin_unlock_irq(&vd->lock);
	wake_up_all(&vd->slot_wq);
}

/**
 * vgpu_ctx_free - the end of the object; no reference is left
 * @ctx: the context
 *
 * The device is quiet, or it is gone without a proof and the memory stays behind.
 */
void vgpu_ctx_free(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	struct vgpu_buf *buf;
	unsigned long id;

	if (!ctx->leaked)
		vgpu_ctx_free_dma(ctx);
	xa_for_each(&ctx->bufs, id, buf) {
		vgpu_buf_unaccount(buf);
		kfree(buf);
	}
	xa_destroy(&ctx->bufs);
	ctx_release_id(ctx);
	if (ctx->tombstone)
		__free_page(ctx->tombstone);
	if (ctx->sink)
		__free_page(ctx->sink);
	if (ctx->destroy_req)
		vgpu_admin_req_put(ctx->destroy_req);
	mmdrop(ctx->mm);
	kfree(ctx);
	put_device(&vd->dev);
}

static bool ctx_is_quiet(struct vgpu_ctx *ctx)
{
	return !ctx->exposed || ctx->reaped || ctx->epoch != ctx->vd->epoch;
}

static void ctx_last_put(struct kref *kref)
{
	struct vgpu_ctx *ctx = container_of(kref, struct vgpu_ctx, kref);
	struct vgpu_dev *vd = ctx->vd;
	bool keep = false;

	spin_lock_irq(&vd->lock);
	if (!ctx_is_quiet(ctx) && !ctx->leaked) {
		if (vd->state == VGPU_DEV_GONE && vd->leaking)
			ctx->leaked = true;
		else
			keep = true;
	}
	if (keep)
		list_add_tail(&ctx->quarantine_link, &vd->quarantine);
	spin_unlock_irq(&vd->lock);
	if (!keep)
		vgpu_ctx_free(ctx);
}

/* Process context: freeing may sleep. */
void vgpu_ctx_put(struct vgpu_ctx *ctx)
{
	kref_put(&ctx->kref, ctx_last_put);
}

/**
 * vgpu_ctx_mark_lost - for good, with a reason
 * @ctx: the context
 * @status: VGPU_ST_* that says why
 * @fault_addr: device address the fault is about, or 0
 * @message: what the device says, or NULL for the status's own text
 *
 * The first reason stays.  The program's state word follows the reason, so who
 * sees LOST sees why.  Returns whether it was usable until now.
 */
bool vgpu_ctx_mark_lost(struct vgpu_ctx *ctx, u16 status, u64 fault_addr, const u8 *message)
{
	struct vgpu_dev *vd = ctx->vd;
	struct vgpu_queue_ro *ro;
	bool was_usable = false;

	spin_lock_irq(&vd->lock);
	if (ctx->state == VGPU_CTX_ACTIVE || ctx->state == VGPU_CTX_SETUP) {
		was_usable = !ctx->closing;
		ctx->lost_status = status;
		ctx->fault_addr = fault_addr;
		strscpy(ctx->message, message && *message ? (const char *)message :
							    vgpu_status_text(status),
			sizeof(ctx->message));
		ro = vgpu_ctx_ro(ctx);
		WRITE_ONCE(ro->lost_status, cpu_to_le32(status));
		/* Release: pairs with the library's acquire of ctx_state. */
		smp_store_release((__force u32 *)&ro->ctx_state,
				  (__force u32)cpu_to_le32(VGPU_CTX_STATE_LOST));
		/* Release: the reason before the state.  Pairs with vgpu_ctx_enter(). */
		smp_store_release(&ctx->state, VGPU_CTX_LOST);
	}
	spin_unlock_irq(&vd->lock);
	wake_up_all(&ctx->wq);
	spin_lock_irq(&ctx->ev_lock);
	if (was_usable && ctx->eventfd)
		vgpu_eventfd_signal(ctx->eventfd);
	spin_unlock_irq(&ctx->ev_lock);
	return was_usable;
}

/**
 * vgpu_ctx_enter - the context is ACTIVE and the device stays until vgpu_dev_exit()
 * @ctx: the context
 * @srcu_idx: for vgpu_dev_exit(), set on success
 */
int vgpu_ctx_enter(struct vgpu_ctx *ctx, int *srcu_idx)
{
	int err = vgpu_dev_enter(ctx->vd, srcu_idx);

	/* Acquire: a set-up that was seen ACTIVE was seen whole.  Pairs with set-up. */
	switch (smp_load_acquire(&ctx->state)) {
	case VGPU_CTX_ACTIVE:
		return err ? -EIO : 0;
	case VGPU_CTX_LOST:
		if (!err)
			vgpu_dev_exit(ctx->vd, *srcu_idx);
		return -EIO;
	default:
		if (!err)
			vgpu_dev_exit(ctx->vd, *srcu_idx);
		return err ?: -EINVAL;
	}
}

/* The device says what happened to a context. */
static void ctx_learn_reason(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	struct vgpu_ctx_status rec;
	u16 status;

	if (vgpu_admin_query(vd, VGPU_QUERY_CTX, ctx->id, &rec, sizeof(rec))) {
		vgpu_ctx_mark_lost(ctx, VGPU_ST_EXEC_FAILED, 0, NULL);
		return;
	}
	rec.message[sizeof(rec.message) - 1] = '\0';
	status = le32_to_cpu(rec.status) ?: VGPU_ST_EXEC_FAILED;
	vgpu_ctx_mark_lost(ctx, status, le64_to_cpu(rec.fault_addr), rec.message);
}

/*
 * 32 context ids from @base: who of them is usable for us, as a mask, and in @held with a reference
 * each: none of these ids can be somebody else's when the device has said what it is about.
 */
static u32 ctx_hold_usable(struct vgpu_dev *vd, u32 base, struct vgpu_ctx **held)
{
	u32 mask = 0, i;

	spin_lock_irq(&vd->lock);
	for (i = 0; i < 32; i++) {
		struct vgpu_ctx *ctx = vd->ctxs[base + i];

		if (ctx && !ctx->closing && ctx->state == VGPU_CTX_ACTIVE &&
		    kref_get_unless_zero(&ctx->kref)) {
			held[i] = ctx;
			mask |= 1u << i;
		}
	}
	spin_unlock_irq(&vd->lock);
	return mask;
}

/**
 * vgpu_ctx_scan_lost - read the lost bitmap and tell the contexts concerned
 * @vd: the device
 *
 * Inside vd->srcu.  Words without a usable context are not read: a read costs an exit.
 */
void vgpu_ctx_scan_lost(struct vgpu_dev *vd)
{
	struct vgpu_ctx *held[32];
	unsigned int word;

	for (word = 0; word * 32 < vd->lim.max_contexts; word++) {
		u32 mask = ctx_hold_usable(vd, word * 32, held);
		bool alive = true;
		u32 lost;

		if (!mask)
			continue;
		lost = vgpu_read(vd, VGPU_REG_CTX_LOST + 4 * word);
		if (lost == VGPU_ALL_ONES)
			alive = vgpu_dev_check_alive(vd);
		for (; mask; mask &= mask - 1) {
			struct vgpu_ctx *ctx = held[__ffs(mask)];

			if (alive && lost & mask & -mask)
				ctx_learn_reason(ctx);
			vgpu_ctx_put(ctx);
		}
		if (!alive)
			return;
	}
}

/* ---- set-up ---- */

static int ctx_validate_setup(struct vgpu_dev *vd, const struct vgpu_queue_setup *arg)
{
	if (arg->sq_log2 < vd->lim.min_ring_log2 || arg->sq_log2 > vd->lim.max_ring_log2)
		return -EINVAL;
	if (arg->cq_log2 < arg->sq_log2 || arg->cq_log2 > vd->lim.max_ring_log2)
		return -EINVAL;
	if (arg->flags & ~VGPU_QUEUE_KERNEL_SUBMIT)
		return -EINVAL;
	if (arg->arena_bytes < VGPU_MIN_ARENA_BYTES ||
	    arg->arena_bytes > vd->lim.max_arena_bytes || arg->arena_bytes % VGPU_PAGE_BYTES)
		return -EINVAL;
	return 0;
}

/* Takes an id, if one is free, and with it a place in the device's epoch. */
static bool ctx_try_take_id(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	unsigned int v, best = VGPU_VECTOR_CTX_FIRST;
	unsigned int nvec = min_t(unsigned int, vd->nvec, vd->lim.msix_vectors);
	u32 id;

	if (ctx->has_id)
		return true;
	spin_lock_irq(&vd->lock);
	for (id = 0; id < vd->lim.max_contexts; id++)
		if (!vd->ctxs[id])
			break;
	if (id < vd->lim.max_contexts && vd->state == VGPU_DEV_READY) {
		for (v = best; v < nvec; v++)
			if (vd->vec[v].nctx < vd->vec[best].nctx)
				best = v;
		ctx->id = id;
		ctx->has_id = true;
		ctx->vec = &vd->vec[best];
		ctx->vec->nctx++;
		vd->ctxs[id] = ctx;
		vd->nctx++;
	}
	spin_unlock_irq(&vd->lock);
	return ctx->has_id;
}

static bool ctx_may_get_id(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;

	return ctx_try_take_id(ctx) || !READ_ONCE(vd->ndestroying) ||
	       READ_ONCE(vd->state) != VGPU_DEV_READY;
}

/* Ids of contexts that were closed come back when the device has let go of them. */
static int ctx_take_id(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	long left = wait_event_interruptible_timeout(vd->slot_wq, ctx_may_get_id(ctx),
						     msecs_to_jiffies(vd->lim.stall_ms));

	if (ctx->has_id)
		return 0;
	if (left < 0)
		return -ERESTARTSYS;
	return READ_ONCE(vd->state) == VGPU_DEV_READY ? -ENOSPC : -ENODEV;
}

static int ctx_alloc_memory(struct vgpu_ctx *ctx, const struct vgpu_queue_setup *arg)
{
	struct vgpu_dev *vd = ctx->vd;
	struct vgpu_queue_ro *ro;
	int err;

	ctx->sq_log2 = arg->sq_log2;
	ctx->cq_log2 = arg->cq_log2;
	ctx->flags = arg->flags;
	ctx->generation = vd->generation;
	err = vgpu_dma_alloc(vd, &ctx->queue, vgpu_queue_bytes(arg->cq_log2, arg->sq_log2),
			     GFP_KERNEL_ACCOUNT);
	if (err)
		return err;
	err = vgpu_dma_alloc(vd, &ctx->arena, arg->arena_bytes, GFP_KERNEL_ACCOUNT);
	if (err)
		goto err_queue;
	ctx->tombstone = ctx->tombstone ?: alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	ctx->sink = ctx->sink ?: alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	ctx->destroy_req = ctx->destroy_req ?: vgpu_admin_req_alloc(VGPU_ADMIN_CTX_DESTROY);
	if (!ctx->tombstone || !ctx->sink || !ctx->destroy_req) {
		err = -ENOMEM;
		goto err_arena;
	}
	ro = vgpu_ctx_ro(ctx);
	ro->generation = cpu_to_le32(ctx->generation);
	ro->ctx_state = cpu_to_le32(VGPU_CTX_STATE_ACTIVE);
	/* Just behind the first index: nobody waits yet, so no interrupt is wanted. */
	ctx->armed = (u32)-1;
	ro->cq_event = cpu_to_le32(ctx->armed);
	return 0;

err_arena:
	vgpu_dma_free(vd, &ctx->arena);
err_queue:
	vgpu_dma_free(vd, &ctx->queue);
	return err;
}

/* From here the device may know the memory.  False: it was lost just now. */
static bool ctx_expose(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	bool ready;

	spin_lock_irq(&vd->lock);
	ready = vd->state == VGPU_DEV_READY && vd->generation == ctx->generation;
	if (ready) {
		ctx->exposed = true;
		ctx->epoch = vd->epoch;
		ctx->state = VGPU_CTX_SETUP;
	}
	spin_unlock_irq(&vd->lock);
	if (!ready)
		return false;
	spin_lock_irq(&ctx->vec->lock);
	list_add_tail(&ctx->vec_link, &ctx->vec->ctxs);
	spin_unlock_irq(&ctx->vec->lock);
	return true;
}

static int ctx_create_on_device(struct vgpu_ctx *ctx)
{
	struct vgpu_admin_req *req = vgpu_admin_req_alloc(VGPU_ADMIN_CTX_CREATE);
	struct vgpu_admin_ctx_create *cmd;
	int err;

	if (!req)
		return -ENOMEM;
	if (!ctx_expose(ctx)) {
		vgpu_admin_req_put(req);
		return -ENODEV;
	}
	cmd = &req->sqe.u.ctx_create;
	cmd->queue_addr = cpu_to_le64(ctx->queue.addr);
	cmd->arena_addr = cpu_to_le64(ctx->arena.addr);
	cmd->ctx = cpu_to_le32(ctx->id);
	cmd->arena_bytes = cpu_to_le32(ctx->arena.bytes);
	cmd->vector = cpu_to_le16(ctx->vec->idx);
	cmd->sq_log2 = ctx->sq_log2;
	cmd->cq_log2 = ctx->cq_log2;
	err = vgpu_admin_exec_slow(ctx->vd, req);
	if (err && req->answered)
		dev_warn_ratelimited(&ctx->vd->dev, "context %u refused: status %#x (%s)\n",
				     ctx->id, req->status, vgpu_status_text(req->status));

	spin_lock_irq(&ctx->vd->lock);
	if (err && req->answered) {
		/* Refused: the device knows nothing of it. */
		ctx->exposed = false;
		ctx->state = VGPU_CTX_NEW;
	} else if (!err && ctx->state == VGPU_CTX_SETUP) {
		/* Release: what set-up wrote is visible before.  Pairs with vgpu_ctx_enter(). */
		smp_store_release(&ctx->state, VGPU_CTX_ACTIVE);
	} else if (!err) {
		err = -EIO;	/* lost in between */
	}
	spin_unlock_irq(&ctx->vd->lock);
	vgpu_admin_req_put(req);
	return err;
}

static u64 ctx_mmap_off(u32 kind)
{
	return (u64)kind << VGPU_MMAP_SHIFT;
}

static void ctx_describe(struct vgpu_ctx *ctx, struct vgpu_queue_setup *arg)
{
	bool mapped = !(ctx->flags & VGPU_QUEUE_KERNEL_SUBMIT);

	arg->ctx = ctx->id;
	arg->generation = ctx->generation;
	arg->ro_off = ctx_mmap_off(VGPU_MMAP_RO);
	arg->rw_off = mapped ? ctx_mmap_off(VGPU_MMAP_RW) : 0;
	arg->doorbell_off = mapped ? ctx_mmap_off(VGPU_MMAP_DOORBELL) : 0;
	arg->arena_off = ctx_mmap_off(VGPU_MMAP_ARENA);
	arg->ro_bytes = vgpu_queue_rw_offset(ctx->cq_log2);
	arg->rw_bytes = ctx->queue.bytes - arg->ro_bytes;
}

static int ctx_setup_locked(struct vgpu_ctx *ctx, struct vgpu_queue_setup *arg)
{
	int err;

	err = ctx_validate_setup(ctx->vd, arg);
	if (err)
		return err;
	err = ctx_take_id(ctx);
	if (err)
		return err;
	err = ctx_alloc_memory(ctx, arg);
	if (err)
		goto err_id;
	err = ctx_create_on_device(ctx);
	if (!err) {
		ctx_describe(ctx, arg);
		return 0;
	}
	/* Lost or killed in mid-creation: the memory stays until the device is quiet. */
	if (ctx->exposed)
		return err;
	vgpu_ctx_free_dma(ctx);
err_id:
	ctx_release_id(ctx);
	return err;
}

int vgpu_ctx_setup(struct vgpu_ctx *ctx, struct vgpu_queue_setup *arg)
{
	int srcu_idx, err;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	if (ctx->state == VGPU_CTX_NEW) {
		err = vgpu_dev_enter(ctx->vd, &srcu_idx);
		if (!err) {
			err = ctx_setup_locked(ctx, arg);
			vgpu_dev_exit(ctx->vd, srcu_idx);
		}
	} else {
		err = READ_ONCE(ctx->state) == VGPU_CTX_LOST ? -EIO : -EINVAL;
	}
	mutex_unlock(&ctx->lock);
	return err;
}

/* ---- close ---- */

static void ctx_destroyed(struct vgpu_admin_req *req)
{
	struct vgpu_ctx *ctx = req->ctx;

	/* Not knowing the context is as good as having let go of it. */
	if (!req->error && (req->status == VGPU_ST_OK || req->status == VGPU_ST_NO_CONTEXT))
		ctx->reaped = true;
	else if (!req->error)
		dev_warn_ratelimited(&ctx->vd->dev,
				     "context %u not destroyed: status %#x (%s); its memory is kept until the next reset\n",
				     ctx->id, req->status, vgpu_status_text(req->status));
	vgpu_ctx_put(ctx);
}

/* Waits a moment, so that what a program held is normally free when it has ended. */
static void ctx_destroy_on_device(struct vgpu_ctx *ctx)
{
	struct vgpu_admin_req *req = ctx->destroy_req;
	int srcu_idx;

	if (vgpu_dev_enter(ctx->vd, &srcu_idx))
		return;
	req->sqe.u.ctx_destroy.ctx = cpu_to_le32(ctx->id);
	req->ctx = ctx;
	req->fn = ctx_destroyed;
	ctx->destroy_req = NULL;
	vgpu_ctx_get(ctx);
	if (vgpu_admin_submit(ctx->vd, req))
		vgpu_ctx_put(ctx);
	else
		vgpu_admin_wait_limited(ctx->vd, req, VGPU_CLOSE_WAIT_MS);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	vgpu_admin_req_put(req);
}

/**
 * vgpu_ctx_close - the file was released: no call and no mapping is left
 * @ctx: the context
 */
void vgpu_ctx_close(struct vgpu_ctx *ctx)
{
	struct vgpu_dev *vd = ctx->vd;
	struct eventfd_ctx *eventfd;
	bool destroy;

	ctx_leave_vector(ctx);
	spin_lock_irq(&ctx->ev_lock);
	eventfd = ctx->eventfd;
	ctx->eventfd = NULL;
	spin_unlock_irq(&ctx->ev_lock);
	if (eventfd)
		eventfd_ctx_put(eventfd);

	/* After this nobody uses ctx->mapping: the inode may go. */
	mutex_lock(&vd->files_mutex);
	list_del_init(&ctx->file_link);
	mutex_unlock(&vd->files_mutex);
	spin_lock_irq(&vd->lock);
	ctx->closing = true;
	if (ctx->has_id)
		vd->ndestroying++;
	destroy = ctx->exposed && ctx->epoch == vd->epoch && vd->state == VGPU_DEV_READY;
	spin_unlock_irq(&vd->lock);

	if (destroy)
		ctx_destroy_on_device(ctx);
	vgpu_ctx_put(ctx);
}
