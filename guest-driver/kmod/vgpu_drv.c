// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * vgpu: driver for the shared virtual GPU, PCI 1234:7667.
 *
 * This file is the PCI driver: probe and remove, function reset, suspend, shutdown.
 * Probe claims what belongs to the function (BARs, vectors, node) and then asks the
 * recovery work to bring the device up; with no back end on the host it succeeds
 * all the same and the device comes alive later.
 *
 * Remove is the reverse, and must leave nothing the device could still write into:
 * no new users, every context lost, the device reset; with the proof that its DMA
 * has ended the memory of contexts is freed, even under open files (their mappings
 * are replaced first).  Without that proof - the back end is away and its executors
 * may run on - the memory is left behind, and a message says how many contexts.
 */
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "vgpu.h"

#define VGPU_MINORS 64

unsigned int vgpu_stall_ms;
module_param_named(stall_ms, vgpu_stall_ms, uint, 0444);
MODULE_PARM_DESC(stall_ms, "silence in ms after which the back end counts as gone (0: derived from what the device says it needs; refused if shorter than that)");

struct class *vgpu_class;
static dev_t drv_devt;
static DEFINE_IDA(drv_minors);

static void drv_dev_release(struct device *dev)
{
	struct vgpu_dev *vd = container_of(dev, struct vgpu_dev, dev);

	ida_free(&drv_minors, vd->idx);
	cleanup_srcu_struct(&vd->srcu);
	destroy_workqueue(vd->wq);
	pci_dev_put(vd->pdev);
	kfree(vd->vec);
	kfree(vd);
}

static void drv_init_fields(struct vgpu_dev *vd)
{
	spin_lock_init(&vd->lock);
	spin_lock_init(&vd->admin.lock);
	mutex_init(&vd->admin.query_mutex);
	mutex_init(&vd->files_mutex);
	init_waitqueue_head(&vd->admin.wq);
	init_waitqueue_head(&vd->irq_wq);
	init_waitqueue_head(&vd->slot_wq);
	INIT_LIST_HEAD(&vd->files);
	INIT_LIST_HEAD(&vd->quarantine);
	/* Until the end of probe: an early interrupt starts nothing that an error would have to undo. */
	vd->state = VGPU_DEV_HELD;
	/* Until the device says what it needs. */
	vd->lim.stall_ms = 1000;
	vd->lim.heartbeat_ms = 100;
	vgpu_reset_init(vd);
}

/* An object that drv_dev_release() can take apart.  ERR_PTR on failure. */
static struct vgpu_dev *drv_dev_create(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = kzalloc(sizeof(*vd), GFP_KERNEL);
	int err = -ENOMEM;

	if (!vd)
		return ERR_PTR(-ENOMEM);
	drv_init_fields(vd);
	vd->idx = ida_alloc_max(&drv_minors, VGPU_MINORS - 1, GFP_KERNEL);
	if (vd->idx < 0) {
		err = vd->idx;
		goto err_free;
	}
	err = init_srcu_struct(&vd->srcu);
	if (err)
		goto err_minor;
	vd->wq = alloc_workqueue("vgpu%d", WQ_UNBOUND, 0, vd->idx);
	if (!vd->wq) {
		err = -ENOMEM;
		goto err_srcu;
	}
	vd->pdev = pci_dev_get(pdev);
	device_initialize(&vd->dev);
	vd->dev.class = vgpu_class;
	vd->dev.parent = &pdev->dev;
	vd->dev.devt = MKDEV(MAJOR(drv_devt), vd->idx);
	vd->dev.groups = vgpu_attr_groups;
	vd->dev.release = drv_dev_release;
	err = dev_set_name(&vd->dev, VGPU_DRV_NAME "%d", vd->idx);
	if (err) {
		put_device(&vd->dev);
		return ERR_PTR(err);
	}
	return vd;

err_srcu:
	cleanup_srcu_struct(&vd->srcu);
err_minor:
	ida_free(&drv_minors, vd->idx);
err_free:
	kfree(vd);
	return ERR_PTR(err);
}

static int drv_check_bar(struct pci_dev *pdev, int bar, resource_size_t least)
{
	if (pci_resource_flags(pdev, bar) & IORESOURCE_MEM && pci_resource_len(pdev, bar) >= least)
		return 0;
	dev_err(&pdev->dev, "BAR %d is %pR, at least %pa bytes of memory are needed\n", bar,
		&pdev->resource[bar], &least);
	return -ENODEV;
}

static int drv_map_bars(struct vgpu_dev *vd)
{
	struct pci_dev *pdev = vd->pdev;
	int err;

	err = drv_check_bar(pdev, VGPU_BAR_REGS, VGPU_BAR_REGS_SIZE);
	if (!err)
		err = drv_check_bar(pdev, VGPU_BAR_DOORBELL, VGPU_BAR_DOORBELL_SIZE);
	if (err)
		return err;
	err = pci_request_mem_regions(pdev, VGPU_DRV_NAME);
	if (err)
		return err;
	vd->doorbell_phys = pci_resource_start(pdev, VGPU_BAR_DOORBELL);
	vd->regs = pci_ioremap_bar(pdev, VGPU_BAR_REGS);
	vd->doorbells = pci_ioremap_bar(pdev, VGPU_BAR_DOORBELL);
	if (vd->regs && vd->doorbells)
		return 0;
	if (vd->regs)
		iounmap(vd->regs);
	pci_release_mem_regions(pdev);
	return -ENOMEM;
}

static void drv_unmap_bars(struct vgpu_dev *vd)
{
	iounmap(vd->doorbells);
	iounmap(vd->regs);
	pci_release_mem_regions(vd->pdev);
}

static int drv_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vgpu_dev *vd;
	int err;

	vd = drv_dev_create(pdev);
	if (IS_ERR(vd))
		return PTR_ERR(vd);
	err = pci_enable_device_mem(pdev);
	if (err)
		goto err_put;
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		goto err_disable;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	err = drv_map_bars(vd);
	if (err)
		goto err_disable;
	pci_set_master(pdev);
	err = vgpu_irq_init(vd);
	if (err)
		goto err_bars;
	pci_set_drvdata(pdev, vd);
	cdev_init(&vd->cdev, &vgpu_fops);
	vd->cdev.owner = THIS_MODULE;
	err = cdev_device_add(&vd->cdev, &vd->dev);
	if (err)
		goto err_irq;
	/* The first attempt belongs to probe, so that modprobe returns with a ready device. */
	vgpu_reset_release(vd);
	flush_delayed_work(&vd->recover);
	return 0;

err_irq:
	vgpu_irq_fini(vd);
err_bars:
	pci_clear_master(pdev);
	drv_unmap_bars(vd);
err_disable:
	pci_disable_device(pdev);
err_put:
	put_device(&vd->dev);
	return err;
}

/* Every context that still has a file: take the memory away under it. */
static unsigned int drv_strip_files(struct vgpu_dev *vd, bool quiet)
{
	struct vgpu_ctx *ctx;
	unsigned int kept = 0;

	/* Keeps the files, and so their inodes, from going away meanwhile. */
	mutex_lock(&vd->files_mutex);
	list_for_each_entry(ctx, &vd->files, file_link) {
		spin_lock_irq(&vd->lock);
		if (!quiet && ctx->exposed && !ctx->reaped && ctx->epoch == vd->epoch) {
			ctx->leaked = true;
			kept++;
		}
		spin_unlock_irq(&vd->lock);
		if (ctx->state == VGPU_CTX_NEW)
			continue;
		vgpu_ctx_zap(ctx);
		if (!ctx->leaked)
			vgpu_ctx_free_dma(ctx);
	}
	mutex_unlock(&vd->files_mutex);
	return kept;
}

/* Contexts closed before, still waiting for a proof that will not come. */
static unsigned int drv_abandon_quarantine(struct vgpu_dev *vd)
{
	struct vgpu_ctx *ctx, *next;
	unsigned int kept = 0;
	LIST_HEAD(abandoned);

	spin_lock_irq(&vd->lock);
	vd->leaking = true;
	list_splice_init(&vd->quarantine, &abandoned);
	spin_unlock_irq(&vd->lock);
	list_for_each_entry_safe(ctx, next, &abandoned, quarantine_link) {
		list_del_init(&ctx->quarantine_link);
		ctx->leaked = true;
		kept++;
		vgpu_ctx_free(ctx);
	}
	return kept;
}

/* Is there anything the device has been told of since it was last seen quiet? */
static bool drv_is_exposed(struct vgpu_dev *vd)
{
	return vd->admin.exposed;
}

static void drv_remove(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = pci_get_drvdata(pdev);
	unsigned int kept;
	bool quiet;

	vgpu_reset_hold(vd, VGPU_DEV_GONE, VGPU_ST_REMOVED);
	cdev_device_del(&vd->cdev, &vd->dev);
	mutex_lock(&vd->recover_mutex);
	quiet = !drv_is_exposed(vd) || vgpu_dev_reset_wait(vd, VGPU_REMOVE_WAIT_MS);
	mutex_unlock(&vd->recover_mutex);
	kept = drv_strip_files(vd, quiet);
	if (!quiet)
		kept += drv_abandon_quarantine(vd);
	if (!quiet)
		dev_warn(&pdev->dev, "the back end does not answer, its executors may still write: memory of %u contexts and of the admin queue is left behind\n",
			 kept);
	vgpu_irq_fini(vd);
	/* A handler that saw AWAY may have been overtaken: draining ends no timers. */
	cancel_delayed_work_sync(&vd->recover);
	drain_workqueue(vd->wq);
	vgpu_admin_fini(vd, !quiet);
	pci_clear_master(pdev);
	drv_unmap_bars(vd);
	pci_disable_device(pdev);
	pci_set_drvdata(pdev, NULL);
	put_device(&vd->dev);
}

/* Leave the function quiet for whoever comes next. */
static void drv_quiesce(struct vgpu_dev *vd, unsigned int limit_ms)
{
	vgpu_reset_hold(vd, VGPU_DEV_HELD, VGPU_ST_RESET);
	mutex_lock(&vd->recover_mutex);
	if (drv_is_exposed(vd) && !vgpu_dev_reset_wait(vd, limit_ms))
		dev_warn(&vd->dev, "the device did not become quiet in %u ms\n", limit_ms);
	mutex_unlock(&vd->recover_mutex);
}

static void drv_shutdown(struct pci_dev *pdev)
{
	struct vgpu_dev *vd = pci_get_drvdata(pdev);

	drv_quiesce(vd, vd->lim.stall_ms);
	pci_clear_master(pdev);
}

static void drv_reset_prepare(struct pci_dev *pdev)
{
	vgpu_reset_hold(pci_get_drvdata(pdev), VGPU_DEV_HELD, VGPU_ST_RESET);
}

static void drv_reset_done(struct pci_dev *pdev)
{
	vgpu_reset_release(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers drv_err_handler = {
	.reset_prepare = drv_reset_prepare,
	.reset_done = drv_reset_done,
};

static int __maybe_unused drv_suspend(struct device *dev)
{
	struct vgpu_dev *vd = dev_get_drvdata(dev);

	drv_quiesce(vd, VGPU_REMOVE_WAIT_MS);
	return 0;
}

static int __maybe_unused drv_resume(struct device *dev)
{
	vgpu_reset_release(dev_get_drvdata(dev));
	return 0;
}

static SIMPLE_DEV_PM_OPS(drv_pm_ops, drv_suspend, drv_resume);

static const struct pci_device_id drv_ids[] = {
	{ PCI_DEVICE(VGPU_PCI_VENDOR_ID, VGPU_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, drv_ids);

static struct pci_driver drv_driver = {
	.name = VGPU_DRV_NAME,
	.id_table = drv_ids,
	.probe = drv_probe,
	.remove = drv_remove,
	.shutdown = drv_shutdown,
	.err_handler = &drv_err_handler,
	.driver.pm = &drv_pm_ops,
};

static int __init drv_init(void)
{
	int err;

	vgpu_class = vgpu_class_create(VGPU_DRV_NAME);
	if (IS_ERR(vgpu_class))
		return PTR_ERR(vgpu_class);
	err = alloc_chrdev_region(&drv_devt, 0, VGPU_MINORS, VGPU_DRV_NAME);
	if (err)
		goto err_class;
	err = pci_register_driver(&drv_driver);
	if (err)
		goto err_region;
	return 0;

err_region:
	unregister_chrdev_region(drv_devt, VGPU_MINORS);
err_class:
	class_destroy(vgpu_class);
	return err;
}

static void __exit drv_exit(void)
{
	pci_unregister_driver(&drv_driver);
	unregister_chrdev_region(drv_devt, VGPU_MINORS);
	class_destroy(vgpu_class);
	ida_destroy(&drv_minors);
}

module_init(drv_init);
module_exit(drv_exit);

MODULE_DESCRIPTION("Shared virtual GPU, guest driver");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("Dual MIT/GPL");
