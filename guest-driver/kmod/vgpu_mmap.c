// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Mapping rings, doorbell, arena and allocated buffers into a program (spec 13.2).
 *
 * The offset says what: kind << VGPU_MMAP_SHIFT.  Each mapping is shared, of exactly
 * the region's size, not inherited by fork() and not dumped.  The read-only half of
 * the queue block can't be made writable later.
 *
 * Everything coherent goes through dma_mmap_coherent(): behind an IOMMU such memory
 * is not contiguous, and on encrypted guests its protection differs.  The doorbell
 * page is faulted in, so that it can be taken away again.
 *
 * When the driver is unbound the memory behind mappings is freed while programs
 * still hold them: vgpu_ctx_zap() removes the page table entries, and from then on
 * faults give pages of the context itself: a tombstone for page 0 of the queue
 * block, which says LOST, and a sink for everything else.
 *
 * All of this runs under mmap_lock: no ctx->lock here.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "vgpu.h"

static u32 mmap_kind(struct vm_area_struct *vma)
{
	return vma->vm_pgoff >> (VGPU_MMAP_SHIFT - PAGE_SHIFT);
}

static struct vgpu_buf *mmap_buf(struct vm_area_struct *vma)
{
	struct vgpu_ctx *ctx = vma->vm_private_data;
	u32 kind = mmap_kind(vma);

	return kind >= VGPU_MMAP_BUF ? xa_load(&ctx->bufs, kind - VGPU_MMAP_BUF) : NULL;
}

static void mmap_vma_open(struct vm_area_struct *vma)
{
	struct vgpu_buf *buf = mmap_buf(vma);

	if (buf)
		vgpu_buf_map_again(buf);
}

static void mmap_vma_close(struct vm_area_struct *vma)
{
	struct vgpu_buf *buf = mmap_buf(vma);

	if (buf)
		vgpu_buf_map_put(buf);
}

/* What a fault gives once the device's memory is gone. */
static struct page *mmap_stand_in(struct vgpu_ctx *ctx, struct vm_fault *vmf)
{
	unsigned long page = vmf->pgoff & ((1ul << (VGPU_MMAP_SHIFT - PAGE_SHIFT)) - 1);

	if (mmap_kind(vmf->vma) == VGPU_MMAP_RO && page == 0)
		return ctx->tombstone;
	return ctx->sink;
}

/* dma_mmap_coherent() makes either kind of mapping, and each takes pages its own way. */
static vm_fault_t mmap_insert(struct vm_area_struct *vma, unsigned long addr, struct page *page)
{
	if (vma->vm_flags & VM_MIXEDMAP)
		return vmf_insert_page(vma, addr, page);
	return vmf_insert_pfn(vma, addr, page_to_pfn(page));
}

static vm_fault_t mmap_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct vgpu_ctx *ctx = vma->vm_private_data;
	struct vgpu_dev *vd = ctx->vd;
	vm_fault_t ret;
	int srcu_idx;

	/* Zapping waits for this section before it removes entries. */
	srcu_idx = srcu_read_lock(&vd->srcu);
	if (READ_ONCE(vd->state) == VGPU_DEV_GONE)
		ret = mmap_insert(vma, vmf->address, mmap_stand_in(ctx, vmf));
	else if (mmap_kind(vma) == VGPU_MMAP_DOORBELL)
		ret = vmf_insert_pfn(vma, vmf->address,
				     (vd->doorbell_phys >> PAGE_SHIFT) +
					     ctx->id * (VGPU_DOORBELL_STRIDE >> PAGE_SHIFT));
	else
		ret = VM_FAULT_SIGBUS;
	srcu_read_unlock(&vd->srcu, srcu_idx);
	return ret;
}

static const struct vm_operations_struct mmap_vm_ops = {
	.open = mmap_vma_open,
	.close = mmap_vma_close,
	.fault = mmap_fault,
};

/* Maps @bytes of @mem from @offset on at the start of @vma. */
static int mmap_coherent(struct vgpu_ctx *ctx, struct vm_area_struct *vma, struct vgpu_dma *mem,
			 size_t offset)
{
	unsigned long pgoff = vma->vm_pgoff;
	int err;

	/* dma_mmap_coherent() takes vm_pgoff as the offset inside the allocation. */
	vma->vm_pgoff = offset >> PAGE_SHIFT;
	err = dma_mmap_coherent(&ctx->vd->pdev->dev, vma, mem->cpu, mem->addr, mem->bytes);
	vma->vm_pgoff = pgoff;
	return err;
}

/*
 * Piece by piece.  dma_mmap_coherent() fills a whole vma, so it is shown one that
 * covers just the piece; the vma is ours alone until mmap() returns.
 */
static int mmap_chunks(struct vgpu_ctx *ctx, struct vm_area_struct *vma, struct vgpu_buf *buf)
{
	unsigned long start = vma->vm_start, end = vma->vm_end, at = start;
	unsigned int i;
	int err = 0;

	for (i = 0; i < buf->nchunks && !err; i++) {
		vma->vm_start = at;
		at += buf->chunks[i].bytes;
		vma->vm_end = at;
		err = mmap_coherent(ctx, vma, &buf->chunks[i], 0);
	}
	vma->vm_start = start;
	vma->vm_end = end;
	return err;
}

static int mmap_buffer(struct vgpu_ctx *ctx, struct vm_area_struct *vma, u32 id)
{
	struct vgpu_buf *buf = vgpu_buf_map_get(ctx, id, vma->vm_end - vma->vm_start);
	int err;

	if (!buf)
		return -EINVAL;
	err = mmap_chunks(ctx, vma, buf);
	if (err)
		vgpu_buf_map_put(buf);
	return err;
}

static int mmap_doorbell(struct vm_area_struct *vma)
{
	vgpu_vma_flags(vma, VM_IO | VM_PFNMAP, 0);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	return 0;
}

static int mmap_one(struct vgpu_ctx *ctx, struct vm_area_struct *vma)
{
	u64 bytes = vma->vm_end - vma->vm_start;
	u32 kind = mmap_kind(vma);
	u32 ro_bytes = vgpu_queue_rw_offset(ctx->cq_log2);
	bool mapped = !(ctx->flags & VGPU_QUEUE_KERNEL_SUBMIT);

	if (vma->vm_pgoff & ((1ul << (VGPU_MMAP_SHIFT - PAGE_SHIFT)) - 1))
		return -EINVAL;
	switch (kind) {
	case VGPU_MMAP_RO:
		if (bytes != ro_bytes)
			return -EINVAL;
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		vgpu_vma_flags(vma, 0, VM_MAYWRITE);
		return mmap_coherent(ctx, vma, &ctx->queue, 0);
	case VGPU_MMAP_RW:
		if (!mapped || bytes != ctx->queue.bytes - ro_bytes)
			return -EINVAL;
		return mmap_coherent(ctx, vma, &ctx->queue, ro_bytes);
	case VGPU_MMAP_DOORBELL:
		if (!mapped || bytes != VGPU_DOORBELL_STRIDE)
			return -EINVAL;
		return mmap_doorbell(vma);
	case VGPU_MMAP_ARENA:
		if (bytes != ctx->arena.bytes)
			return -EINVAL;
		return mmap_coherent(ctx, vma, &ctx->arena, 0);
	default:
		if (kind < VGPU_MMAP_BUF)
			return -EINVAL;
		return mmap_buffer(ctx, vma, kind - VGPU_MMAP_BUF);
	}
}

int vgpu_ctx_mmap(struct vgpu_ctx *ctx, struct vm_area_struct *vma)
{
	int srcu_idx, err;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		return err;
	vgpu_vma_flags(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_private_data = ctx;
	vma->vm_ops = &mmap_vm_ops;
	err = mmap_one(ctx, vma);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	return err;
}

/**
 * vgpu_ctx_zap - take the device's memory out of every mapping of this file's inode
 * @ctx: the context
 *
 * The device is GONE and nobody is inside vd->srcu.
 */
void vgpu_ctx_zap(struct vgpu_ctx *ctx)
{
	struct vgpu_queue_ro *ro = page_address(ctx->tombstone);

	/* Indices as they were last: a program that polls sees LOST, and nothing new. */
	if (ctx->queue.cpu)
		memcpy(ro, ctx->queue.cpu, sizeof(*ro));
	/* An mmap() that passed its checks before may not have linked its vma yet. */
	if (mmget_not_zero(ctx->mm)) {
		mmap_read_lock(ctx->mm);
		mmap_read_unlock(ctx->mm);
		mmput(ctx->mm);
	}
	unmap_mapping_range(ctx->mapping, 0, 0, 1);
}
