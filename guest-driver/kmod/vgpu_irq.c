// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Interrupts (spec 3.3).
 *
 * Vector 0 announces admin completions, state changes and lost contexts: its
 * handler only queues work, since all three need process context.  Vectors 1..
 * are shared by contexts; a handler looks at each of its contexts and wakes those
 * whose completion queue has moved.  An interrupt says "look", never "what": the
 * ring's index is the truth, so a spurious or coalesced one is harmless.
 *
 * Which vectors exist is decided once, at probe: between 2 and what both the
 * platform and the device offer.
 */
#include <linux/interrupt.h>

#include "vgpu.h"

static irqreturn_t vgpu_irq_admin(int irq, void *data)
{
	struct vgpu_vec *vec = data;
	struct vgpu_dev *vd = vec->vd;

	atomic_inc(&vec->seen);
	wake_up_all(&vd->irq_wq);
	queue_work(vd->wq, &vd->drain);
	switch (READ_ONCE(vd->state)) {
	case VGPU_DEV_READY:
		queue_work(vd->wq, &vd->scan);
		break;
	case VGPU_DEV_AWAY:
		/* The back end may have come; not sooner, or our own test would loop. */
		if (!READ_ONCE(vd->bringing_up))
			mod_delayed_work(vd->wq, &vd->recover,
					 msecs_to_jiffies(VGPU_BUSY_RETRY_MS));
		break;
	default:
		break;
	}
	return IRQ_HANDLED;
}

static irqreturn_t vgpu_irq_ctx(int irq, void *data)
{
	struct vgpu_vec *vec = data;
	struct vgpu_ctx *ctx;
	bool settled = true;

	atomic_inc(&vec->seen);
	if (unlikely(READ_ONCE(vec->vd->bringing_up)))
		wake_up_all(&vec->vd->irq_wq);
	spin_lock(&vec->lock);
	list_for_each_entry(ctx, &vec->ctxs, vec_link)
		settled &= vgpu_ctx_wake(ctx);
	spin_unlock(&vec->lock);
	if (unlikely(!settled))
		vgpu_watchdog_now(vec->vd);
	return IRQ_HANDLED;
}

static int vgpu_irq_request(struct vgpu_dev *vd, unsigned int i)
{
	struct vgpu_vec *vec = &vd->vec[i];
	int err;

	vec->vd = vd;
	vec->idx = i;
	vec->irq = pci_irq_vector(vd->pdev, i);
	spin_lock_init(&vec->lock);
	INIT_LIST_HEAD(&vec->ctxs);
	snprintf(vec->name, sizeof(vec->name), "vgpu%d-%s%u", vd->idx,
		 i == VGPU_VECTOR_ADMIN ? "admin" : "ctx", i);
	err = request_irq(vec->irq, i == VGPU_VECTOR_ADMIN ? vgpu_irq_admin : vgpu_irq_ctx, 0,
			  vec->name, vec);
	if (err)
		dev_err(&vd->pdev->dev, "interrupt %d of vector %u: error %d\n", vec->irq, i, err);
	return err;
}

int vgpu_irq_init(struct vgpu_dev *vd)
{
	struct pci_dev *pdev = vd->pdev;
	int n, i, err;

	n = pci_alloc_irq_vectors(pdev, VGPU_VECTOR_CTX_FIRST + 1, VGPU_MSIX_VECTORS, PCI_IRQ_MSIX);
	if (n < 0) {
		dev_err(&pdev->dev,
			"only MSI-X will do and 2 vectors at least: error %d; is it disabled (pci=nomsi)?\n",
			n);
		return n;
	}
	vd->vec = kcalloc(n, sizeof(*vd->vec), GFP_KERNEL);
	if (!vd->vec) {
		err = -ENOMEM;
		goto err_vectors;
	}
	for (i = 0; i < n; i++) {
		err = vgpu_irq_request(vd, i);
		if (err)
			goto err_irqs;
	}
	vd->nvec = n;
	return 0;

err_irqs:
	while (i--)
		free_irq(vd->vec[i].irq, &vd->vec[i]);
	kfree(vd->vec);
	vd->vec = NULL;
err_vectors:
	pci_free_irq_vectors(pdev);
	return err;
}

/* After this no handler runs.  vd->vec stays: contexts that are still open refer to it. */
void vgpu_irq_fini(struct vgpu_dev *vd)
{
	unsigned int i;

	for (i = 0; i < vd->nvec; i++)
		free_irq(vd->vec[i].irq, &vd->vec[i]);
	pci_free_irq_vectors(vd->pdev);
}
