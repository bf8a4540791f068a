// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * User memory for the device: accounting, pinning, DMA mapping.
 *
 * Pinned pages count against RLIMIT_MEMLOCK of the address space that opened the
 * file (CAP_IPC_LOCK is exempt from the limit, not from the count), and so does
 * memory of BUF_ALLOC.  The count goes back when the pages do, which may be long
 * after the file was closed; a dead address space needs none.
 *
 * Pinning may wait for user space (userfaultfd, FUSE), so it happens outside of
 * vd->srcu and under no lock.  Mapping happens inside.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vgpu.h"

#define PIN_BATCH 4096	/* pages between two looks at signals */

/**
 * vgpu_buf_account - count pages of a buffer as locked memory of its program
 * @buf: the buffer
 * @pages: how many
 *
 * Returns -ENOMEM beyond RLIMIT_MEMLOCK; the kernel's log then names it, since the
 * errno could mean any memory.
 */
int vgpu_buf_account(struct vgpu_buf *buf, unsigned long pages)
{
	struct mm_struct *mm = buf->ctx->mm;
	int err = account_locked_vm(mm, pages, true);

	if (!err)
		buf->accounted = pages;
	else if (err == -ENOMEM)
		dev_notice_ratelimited(&buf->ctx->vd->dev,
				       "%s[%d]: a buffer of %lu pages refused: RLIMIT_MEMLOCK allows %lu, %lu are locked\n",
				       current->comm, task_tgid_nr(current), pages,
				       rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT,
				       READ_ONCE(mm->locked_vm));
	return err;
}

void vgpu_buf_unaccount(struct vgpu_buf *buf)
{
	struct mm_struct *mm = buf->ctx->mm;

	if (!buf->accounted)
		return;
	if (mmget_not_zero(mm)) {
		account_locked_vm(mm, buf->accounted, false);
		mmput(mm);
	}
	buf->accounted = 0;
}

static unsigned int pin_flags(struct vgpu_buf *buf)
{
	if (buf->flags & VGPU_BUF_DEVICE_WRITES)
		return FOLL_WRITE | FOLL_LONGTERM;
	return vgpu_pin_flags_read_only();
}

static int pin_some(struct vgpu_buf *buf, unsigned long start, unsigned long n)
{
	struct page **pages = buf->pages + buf->npages;
	unsigned int flags = pin_flags(buf);
	int got = pin_user_pages_fast(start, n, flags, pages);

	/* A shared read-only mapping can't be forced, and needs not be: it has no copies. */
	if (got == -EFAULT && flags & FOLL_FORCE)
		got = pin_user_pages_fast(start, n, FOLL_LONGTERM, pages);
	return got;
}

/**
 * vgpu_buf_pin - pin the pages of [addr, addr + bytes); accounts them
 * @buf: the buffer
 * @addr: where it starts in user memory
 */
int vgpu_buf_pin(struct vgpu_buf *buf, u64 addr)
{
	unsigned long start = addr & PAGE_MASK;
	unsigned long total = (offset_in_page(addr) + buf->bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
	int got, err;

	err = vgpu_buf_account(buf, total);
	if (err)
		return err;
	buf->pages = kvmalloc_array(total, sizeof(*buf->pages), GFP_KERNEL_ACCOUNT);
	if (!buf->pages) {
		err = -ENOMEM;
		goto err_account;
	}
	while (buf->npages < total) {
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			goto err_unpin;
		}
		got = pin_some(buf, start + (buf->npages << PAGE_SHIFT),
			       min_t(unsigned long, total - buf->npages, PIN_BATCH));
		if (got <= 0) {
			err = got ?: -EFAULT;
			goto err_unpin;
		}
		buf->npages += got;
		cond_resched();
	}
	return 0;

err_unpin:
	vgpu_buf_unpin(buf);
err_account:
	vgpu_buf_unaccount(buf);
	return err;
}

/*
 * Nothing is synchronised: what would need it bounces, and is refused.  And a program may register
 * the same page more than once, which DMA-API debugging takes for a mistake without this.
 */
#define PIN_DMA_ATTRS DMA_ATTR_SKIP_CPU_SYNC

/* Does any piece go through a bounce buffer?  Behind an IOMMU only the ends can. */
static bool pin_bounces(struct vgpu_buf *buf, u64 addr)
{
	struct vgpu_dev *vd = buf->ctx->vd;
	struct scatterlist *sg;
	dma_addr_t last = 0;
	int i;

	if (!vgpu_dma_is_translated(vd)) {
		for_each_sgtable_dma_sg(&buf->sgt, sg, i)
			if (dma_need_sync(&vd->pdev->dev, sg_dma_address(sg)))
				return true;
		return false;
	}
	for_each_sgtable_dma_sg(&buf->sgt, sg, i)
		last = (sg_dma_address(sg) + sg_dma_len(sg) - 1) & PAGE_MASK;
	return vgpu_dma_bounces(vd, buf->pages[0], offset_in_page(addr),
				sg_dma_address(buf->sgt.sgl)) ||
	       vgpu_dma_bounces(vd, buf->pages[buf->npages - 1], 0, last);
}

/**
 * vgpu_buf_map_dma - map pinned pages for the device
 * @buf: the buffer
 * @addr: where it starts in user memory
 *
 * Returns -ENOTSUPP if the device can't reach the pages themselves.  Inside vd->srcu.
 */
int vgpu_buf_map_dma(struct vgpu_buf *buf, u64 addr)
{
	struct device *dev = &buf->ctx->vd->pdev->dev;
	int err;

	buf->dir = buf->flags == VGPU_BUF_DEVICE_READS ? DMA_TO_DEVICE :
		   buf->flags == VGPU_BUF_DEVICE_WRITES ? DMA_FROM_DEVICE : DMA_BIDIRECTIONAL;
	err = sg_alloc_table_from_pages_segment(&buf->sgt, buf->pages, buf->npages,
						offset_in_page(addr), buf->bytes,
						dma_get_max_seg_size(dev) & PAGE_MASK, GFP_KERNEL);
	if (err)
		return err;
	err = dma_map_sgtable(dev, &buf->sgt, buf->dir, PIN_DMA_ATTRS);
	if (err) {
		sg_free_table(&buf->sgt);
		return err;
	}
	buf->mapped = true;
	if (!pin_bounces(buf, addr))
		return 0;
	dma_unmap_sgtable(dev, &buf->sgt, buf->dir, PIN_DMA_ATTRS);
	sg_free_table(&buf->sgt);
	buf->mapped = false;
	return -ENOTSUPP;
}

/* Lets go of the pages; unmaps them first if they are mapped. */
void vgpu_buf_unpin(struct vgpu_buf *buf)
{
	if (buf->mapped) {
		dma_unmap_sgtable(&buf->ctx->vd->pdev->dev, &buf->sgt, buf->dir, PIN_DMA_ATTRS);
		sg_free_table(&buf->sgt);
		buf->mapped = false;
	}
	if (!buf->pages)
		return;
	unpin_user_pages_dirty_lock(buf->pages, buf->npages,
				    buf->flags & VGPU_BUF_DEVICE_WRITES);
	kvfree(buf->pages);
	buf->pages = NULL;
	buf->npages = 0;
}
