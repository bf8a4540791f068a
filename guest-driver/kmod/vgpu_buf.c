// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Buffers: memory a context's commands may name (spec 8.4, 13.3).
 *
 * Two kinds.  BUF_REGISTER pins the program's own memory and maps it with the DMA
 * API; where that would bounce it answers MUST_STAGE and registers nothing.
 * BUF_ALLOC makes coherent memory out of pieces, the largest the page allocator
 * gives, so that hundreds of MiB need neither CMA nor luck.
 *
 * Either is described to the device by a chain of vgpu_sg_page.  The device reads
 * the chain while it executes BUF_REGISTER only; it is freed after that.
 *
 * A buffer is in ctx->bufs from before the device hears of it until after the
 * device has let go; its state says who may use it:
 *
 *   REGISTERING -> LIVE -> DYING -> gone
 *
 * DYING is also where a buffer stays whose command was overtaken by the loss of
 * the device: it then goes with the context.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vgpu.h"

#define BUF_CHUNK_MAX (4ul << 20)

int vgpu_dma_alloc(struct vgpu_dev *vd, struct vgpu_dma *mem, size_t bytes, gfp_t gfp)
{
	mem->cpu = dma_alloc_coherent(&vd->pdev->dev, bytes, &mem->addr, gfp);
	if (!mem->cpu)
		return -ENOMEM;
	mem->bytes = bytes;
	return 0;
}

void vgpu_dma_free(struct vgpu_dev *vd, struct vgpu_dma *mem)
{
	if (!mem->cpu)
		return;
	dma_free_coherent(&vd->pdev->dev, mem->bytes, mem->cpu, mem->addr);
	mem->cpu = NULL;
}

/* ---- the scatter list the device reads ---- */

static void buf_free_list(struct vgpu_buf *buf)
{
	unsigned int i;

	for (i = 0; i < buf->nlist; i++)
		vgpu_dma_free(buf->ctx->vd, &buf->list[i]);
	kvfree(buf->list);
	buf->list = NULL;
	buf->nlist = 0;
	buf->sg_count = 0;
}

static int buf_alloc_list(struct vgpu_buf *buf, u32 entries)
{
	u32 pages = DIV_ROUND_UP(entries, VGPU_SG_PER_PAGE);
	int err;

	buf->list = kvcalloc(pages, sizeof(*buf->list), GFP_KERNEL_ACCOUNT);
	if (!buf->list)
		return -ENOMEM;
	for (; buf->nlist < pages; buf->nlist++) {
		err = vgpu_dma_alloc(buf->ctx->vd, &buf->list[buf->nlist],
				     sizeof(struct vgpu_sg_page), GFP_KERNEL_ACCOUNT);
		if (err) {
			buf_free_list(buf);
			return err;
		}
		if (buf->nlist) {
			struct vgpu_sg_page *prev = buf->list[buf->nlist - 1].cpu;

			prev->next = cpu_to_le64(buf->list[buf->nlist].addr);
		}
	}
	return 0;
}

static void buf_list_add(struct vgpu_buf *buf, dma_addr_t addr, u64 bytes)
{
	struct vgpu_sg_page *page = buf->list[buf->sg_count / VGPU_SG_PER_PAGE].cpu;
	u32 i = buf->sg_count % VGPU_SG_PER_PAGE;

	page->sg[i].addr = cpu_to_le64(addr);
	page->sg[i].bytes = cpu_to_le64(bytes);
	page->count = cpu_to_le32(i + 1);
	buf->sg_count++;
}

static int buf_list_user(struct vgpu_buf *buf)
{
	struct scatterlist *sg;
	int i, err;

	if (buf->sgt.nents > buf->ctx->vd->lim.max_sg)
		return -ENOTSUPP;
	err = buf_alloc_list(buf, buf->sgt.nents);
	if (err)
		return err;
	for_each_sgtable_dma_sg(&buf->sgt, sg, i)
		buf_list_add(buf, sg_dma_address(sg), sg_dma_len(sg));
	return 0;
}

static int buf_list_chunks(struct vgpu_buf *buf)
{
	unsigned int i;
	int err = buf_alloc_list(buf, buf->nchunks);

	if (err)
		return err;
	for (i = 0; i < buf->nchunks; i++)
		buf_list_add(buf, buf->chunks[i].addr, buf->chunks[i].bytes);
	return 0;
}

/* ---- coherent memory in pieces ---- */

static void buf_free_chunks(struct vgpu_buf *buf)
{
	unsigned int i;

	for (i = 0; i < buf->nchunks; i++)
		vgpu_dma_free(buf->ctx->vd, &buf->chunks[i]);
	kvfree(buf->chunks);
	buf->chunks = NULL;
	buf->nchunks = 0;
}

/* The table grows as needed: how many pieces it takes is known only at the end. */
static int buf_reserve_chunk(struct vgpu_buf *buf, unsigned int *room)
{
	struct vgpu_dma *bigger;

	if (buf->nchunks >= buf->ctx->vd->lim.max_sg)
		return -ENOMEM;
	if (buf->nchunks < *room)
		return 0;
	bigger = kvcalloc(*room * 2, sizeof(*bigger), GFP_KERNEL_ACCOUNT);
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger, buf->chunks, buf->nchunks * sizeof(*bigger));
	kvfree(buf->chunks);
	buf->chunks = bigger;
	*room *= 2;
	return 0;
}

static int buf_alloc_chunks(struct vgpu_buf *buf)
{
	struct vgpu_dev *vd = buf->ctx->vd;
	size_t piece = BUF_CHUNK_MAX;
	unsigned int room = 64;
	u64 done = 0;
	int err;

	buf->chunks = kvcalloc(room, sizeof(*buf->chunks), GFP_KERNEL_ACCOUNT);
	if (!buf->chunks)
		return -ENOMEM;
	while (done < buf->bytes) {
		gfp_t gfp = GFP_KERNEL_ACCOUNT;

		while (piece > PAGE_SIZE && piece > buf->bytes - done)
			piece /= 2;
		if (piece > PAGE_SIZE)
			gfp |= __GFP_NOWARN | __GFP_NORETRY;
		if (fatal_signal_pending(current)) {
			buf_free_chunks(buf);
			return -EINTR;
		}
		err = buf_reserve_chunk(buf, &room);
		if (!err)
			err = vgpu_dma_alloc(vd, &buf->chunks[buf->nchunks], piece, gfp);
		if (!err) {
			buf->nchunks++;
			done += piece;
			cond_resched();
		} else if (piece > PAGE_SIZE) {
			piece /= 2;
		} else {
			buf_free_chunks(buf);
			return -ENOMEM;
		}
	}
	return 0;
}

/**
 * vgpu_buf_free_dma - give back the memory; the object stays.  May be called twice.
 * @buf: the buffer
 */
void vgpu_buf_free_dma(struct vgpu_buf *buf)
{
	buf_free_list(buf);
	buf_free_chunks(buf);
	vgpu_buf_unpin(buf);
}

/* Process context, under no lock: uncounting takes mmap_lock. */
static void buf_free(struct vgpu_buf *buf)
{
	vgpu_buf_free_dma(buf);
	vgpu_buf_unaccount(buf);
	kfree(buf);
}

/* ---- registration ---- */

static void buf_set_state(struct vgpu_buf *buf, enum vgpu_buf_state state)
{
	spin_lock(&buf->ctx->buf_lock);
	buf->state = state;
	spin_unlock(&buf->ctx->buf_lock);
}

/* Inside vd->srcu, with the list built.  On an error *@keep says whether the buffer stays. */
static int buf_tell_device(struct vgpu_buf *buf, bool *keep)
{
	struct vgpu_ctx *ctx = buf->ctx;
	struct vgpu_admin_req *req = vgpu_admin_req_alloc(VGPU_ADMIN_BUF_REGISTER);
	struct vgpu_admin_buf_register *cmd;
	int err;

	*keep = false;
	if (!req)
		return -ENOMEM;
	err = xa_alloc(&ctx->bufs, &buf->id, buf, XA_LIMIT(1, ctx->vd->lim.max_buffers - 1),
		       GFP_KERNEL_ACCOUNT);
	if (err) {
		err = err == -EBUSY ? -ENOSPC : err;
		goto out;
	}
	cmd = &req->sqe.u.buf_register;
	cmd->sg_addr = cpu_to_le64(buf->list[0].addr);
	cmd->bytes = cpu_to_le64(buf->bytes);
	cmd->ctx = cpu_to_le32(ctx->id);
	cmd->buf = cpu_to_le32(buf->id);
	cmd->flags = cpu_to_le32(buf->flags);
	cmd->sg_count = cpu_to_le32(buf->sg_count);
	err = vgpu_admin_exec_slow(ctx->vd, req);
	if (!err) {
		buf_free_list(buf);
		buf_set_state(buf, VGPU_BUF_LIVE);
	} else if (!req->answered) {
		*keep = true;
		buf_set_state(buf, VGPU_BUF_DYING);
	} else {
		xa_erase(&ctx->bufs, buf->id);
	}
out:
	vgpu_admin_req_put(req);
	return err;
}

static struct vgpu_buf *buf_new(struct vgpu_ctx *ctx, u64 bytes, u32 flags)
{
	struct vgpu_buf *buf = kzalloc(sizeof(*buf), GFP_KERNEL_ACCOUNT);

	if (!buf)
		return NULL;
	buf->ctx = ctx;
	buf->bytes = bytes;
	buf->flags = flags;
	buf->state = VGPU_BUF_REGISTERING;
	return buf;
}

static int buf_validate_register(struct vgpu_ctx *ctx, const struct vgpu_buf_register *arg)
{
	u64 end;

	if (arg->rsvd || !arg->flags || arg->flags & ~VGPU_BUF_FLAGS)
		return -EINVAL;
	if (!arg->bytes || arg->bytes > ctx->vd->lim.max_buffer_bytes)
		return -EINVAL;
	if (check_add_overflow(arg->addr, arg->bytes, &end) || end > TASK_SIZE)
		return -EFAULT;
	return 0;
}

/* Is the context usable at all?  Asked before the expensive part. */
static int buf_check_ctx(struct vgpu_ctx *ctx)
{
	int srcu_idx, err = vgpu_ctx_enter(ctx, &srcu_idx);

	if (!err)
		vgpu_dev_exit(ctx->vd, srcu_idx);
	return err;
}

static int buf_register_pinned(struct vgpu_buf *buf, u64 addr, bool *keep)
{
	int srcu_idx, err;

	err = vgpu_ctx_enter(buf->ctx, &srcu_idx);
	if (err)
		return err;
	err = vgpu_buf_map_dma(buf, addr);
	if (!err)
		err = buf_list_user(buf);
	if (!err)
		err = buf_tell_device(buf, keep);
	/* Unmapped while the device is bound, for the DMA API's sake. */
	if (err && !*keep)
		vgpu_buf_free_dma(buf);
	vgpu_dev_exit(buf->ctx->vd, srcu_idx);
	return err;
}

int vgpu_buf_register(struct vgpu_ctx *ctx, struct vgpu_buf_register *arg)
{
	struct vgpu_buf *buf;
	bool keep = false;
	int err;

	err = buf_check_ctx(ctx);
	if (!err)
		err = buf_validate_register(ctx, arg);
	if (err)
		return err;
	arg->buf = VGPU_BUF_NONE;
	arg->result = VGPU_BUF_RESULT_MUST_STAGE;
	if (ctx->vd->must_stage)
		return 0;
	buf = buf_new(ctx, arg->bytes, arg->flags);
	if (!buf)
		return -ENOMEM;
	err = vgpu_buf_pin(buf, arg->addr);
	if (!err)
		err = buf_register_pinned(buf, arg->addr, &keep);
	if (!err) {
		arg->buf = buf->id;
		arg->result = VGPU_BUF_RESULT_REGISTERED;
		return 0;
	}
	if (!keep)
		buf_free(buf);
	return err == -ENOTSUPP ? 0 : err;
}

int vgpu_buf_alloc(struct vgpu_ctx *ctx, struct vgpu_buf_alloc *arg)
{
	struct vgpu_buf *buf;
	int srcu_idx, err;
	bool keep = false;

	err = buf_check_ctx(ctx);
	if (err)
		return err;
	if (arg->flags || !arg->bytes || arg->bytes > ctx->vd->lim.max_buffer_bytes ||
	    arg->bytes > (u64)totalram_pages() << PAGE_SHIFT)
		return arg->flags || !arg->bytes ? -EINVAL : -ENOMEM;
	buf = buf_new(ctx, PAGE_ALIGN(arg->bytes), VGPU_BUF_FLAGS);
	if (!buf)
		return -ENOMEM;
	err = vgpu_buf_account(buf, buf->bytes >> PAGE_SHIFT);
	if (err)
		goto err_free;
	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		goto err_free;
	err = buf_alloc_chunks(buf);
	if (!err)
		err = buf_list_chunks(buf);
	if (!err)
		err = buf_tell_device(buf, &keep);
	if (err && !keep)
		vgpu_buf_free_dma(buf);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	if (err)
		goto err_free;
	arg->bytes = buf->bytes;
	arg->buf = buf->id;
	arg->mmap_off = (u64)(VGPU_MMAP_BUF + buf->id) << VGPU_MMAP_SHIFT;
	return 0;

err_free:
	if (!keep)
		buf_free(buf);
	return err;
}

static void buf_unregistered(struct vgpu_admin_req *req)
{
	struct vgpu_buf *buf = req->buf;
	struct vgpu_ctx *ctx = req->ctx;

	if (!req->error && (req->status == VGPU_ST_OK || req->status == VGPU_ST_NO_BUFFER)) {
		xa_erase(&ctx->bufs, buf->id);
		buf_free(buf);
	}
	vgpu_ctx_put(ctx);
}

/* LIVE -> DYING, unless a mapping exists. */
static int buf_begin_unregister(struct vgpu_ctx *ctx, u32 id, struct vgpu_buf **out)
{
	struct vgpu_buf *buf;
	int err = 0;

	xa_lock(&ctx->bufs);
	spin_lock(&ctx->buf_lock);
	buf = xa_load(&ctx->bufs, id);
	if (!buf || buf->state != VGPU_BUF_LIVE)
		err = -EINVAL;
	else if (buf->maps)
		err = -EBUSY;
	else
		buf->state = VGPU_BUF_DYING;
	spin_unlock(&ctx->buf_lock);
	xa_unlock(&ctx->bufs);
	*out = buf;
	return err;
}

int vgpu_buf_unregister(struct vgpu_ctx *ctx, struct vgpu_buf_unregister *arg)
{
	struct vgpu_admin_req *req;
	struct vgpu_buf *buf;
	int srcu_idx, err;

	if (arg->rsvd)
		return -EINVAL;
	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		return err;
	req = vgpu_admin_req_alloc(VGPU_ADMIN_BUF_UNREGISTER);
	err = req ? buf_begin_unregister(ctx, arg->buf, &buf) : -ENOMEM;
	if (err)
		goto out;
	req->sqe.u.buf_unregister.ctx = cpu_to_le32(ctx->id);
	req->sqe.u.buf_unregister.buf = cpu_to_le32(arg->buf);
	req->ctx = ctx;
	req->buf = buf;
	req->fn = buf_unregistered;
	vgpu_ctx_get(ctx);
	err = vgpu_admin_submit_killable(ctx->vd, req);
	if (err)
		vgpu_ctx_put(ctx);
	else
		err = vgpu_admin_wait_killable(ctx->vd, req) ?: vgpu_errno_of_status(req->status);
out:
	vgpu_dev_exit(ctx->vd, srcu_idx);
	if (req)
		vgpu_admin_req_put(req);
	return err;
}

/* ---- mappings of allocated buffers ---- */

/* For mmap(): the buffer must be allocated, live and of exactly that size. */
struct vgpu_buf *vgpu_buf_map_get(struct vgpu_ctx *ctx, u32 id, u64 bytes)
{
	struct vgpu_buf *buf;

	xa_lock(&ctx->bufs);
	spin_lock(&ctx->buf_lock);
	buf = xa_load(&ctx->bufs, id);
	if (buf && buf->state == VGPU_BUF_LIVE && buf->nchunks && buf->bytes == bytes)
		buf->maps++;
	else
		buf = NULL;
	spin_unlock(&ctx->buf_lock);
	xa_unlock(&ctx->bufs);
	return buf;
}

void vgpu_buf_map_again(struct vgpu_buf *buf)
{
	spin_lock(&buf->ctx->buf_lock);
	buf->maps++;
	spin_unlock(&buf->ctx->buf_lock);
}

void vgpu_buf_map_put(struct vgpu_buf *buf)
{
	spin_lock(&buf->ctx->buf_lock);
	buf->maps--;
	spin_unlock(&buf->ctx->buf_lock);
}
