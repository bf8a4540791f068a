// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Attributes of /sys/class/vgpu/vgpuN, all read-only (vgpu(4)):
 *
 *   state         away | ready | held | gone
 *   generation    of the back end, 0 while it is away
 *   executor      "CPU executor", "null executor" or "CUDA"; "none" while it is away
 *   device_name   what the executor runs on
 *   contexts      ids in use: open contexts, and closed ones whose memory is not free yet
 *   quarantine    of these, how many wait for a proof that DMA into them has ended
 *   must_stage    1 if user memory can't be registered on this machine
 *   stall_ms      silence after which the back end counts as gone
 */
#include <linux/sysfs.h>

#include "vgpu.h"

static struct vgpu_dev *sysfs_vd(struct device *dev)
{
	return container_of(dev, struct vgpu_dev, dev);
}

static bool sysfs_is_ready(struct vgpu_dev *vd)
{
	return READ_ONCE(vd->state) == VGPU_DEV_READY;
}

const char *vgpu_exec_name(u32 kind)
{
	switch (kind) {
	case VGPU_EXEC_NULL:
		return "null executor";
	case VGPU_EXEC_CPU:
		return "CPU executor";
	case VGPU_EXEC_CUDA:
		return "CUDA";
	default:
		return "unknown executor";
	}
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	static const char * const names[] = {
		[VGPU_DEV_AWAY] = "away",
		[VGPU_DEV_READY] = "ready",
		[VGPU_DEV_HELD] = "held",
		[VGPU_DEV_GONE] = "gone",
	};

	return sysfs_emit(buf, "%s\n", names[READ_ONCE(sysfs_vd(dev)->state)]);
}
static DEVICE_ATTR_RO(state);

static ssize_t generation_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct vgpu_dev *vd = sysfs_vd(dev);

	return sysfs_emit(buf, "%u\n", sysfs_is_ready(vd) ? READ_ONCE(vd->generation) : 0);
}
static DEVICE_ATTR_RO(generation);

static ssize_t executor_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct vgpu_dev *vd = sysfs_vd(dev);

	return sysfs_emit(buf, "%s\n",
			  sysfs_is_ready(vd) ? vgpu_exec_name(le32_to_cpu(vd->props.exec_kind)) :
					       "none");
}
static DEVICE_ATTR_RO(executor);

static ssize_t device_name_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct vgpu_dev *vd = sysfs_vd(dev);

	return sysfs_emit(buf, "%.*s\n", VGPU_DEVICE_NAME_BYTES,
			  sysfs_is_ready(vd) ? (const char *)vd->props.name : "");
}
static DEVICE_ATTR_RO(device_name);

static ssize_t contexts_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(sysfs_vd(dev)->nctx));
}
static DEVICE_ATTR_RO(contexts);

static ssize_t quarantine_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct vgpu_dev *vd = sysfs_vd(dev);
	struct list_head *entry;
	unsigned int n = 0;

	spin_lock_irq(&vd->lock);
	list_for_each(entry, &vd->quarantine)
		n++;
	spin_unlock_irq(&vd->lock);
	return sysfs_emit(buf, "%u\n", n);
}
static DEVICE_ATTR_RO(quarantine);

static ssize_t must_stage_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(sysfs_vd(dev)->must_stage));
}
static DEVICE_ATTR_RO(must_stage);

static ssize_t stall_ms_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(sysfs_vd(dev)->lim.stall_ms));
}
static DEVICE_ATTR_RO(stall_ms);

static struct attribute *vgpu_attrs[] = {
	&dev_attr_state.attr,	   &dev_attr_generation.attr, &dev_attr_executor.attr,
	&dev_attr_device_name.attr, &dev_attr_contexts.attr,  &dev_attr_quarantine.attr,
	&dev_attr_must_stage.attr,  &dev_attr_stall_ms.attr,  NULL,
};

static const struct attribute_group vgpu_attr_group = {
	.attrs = vgpu_attrs,
};

const struct attribute_group *vgpu_attr_groups[] = {
	&vgpu_attr_group,
	NULL,
};
