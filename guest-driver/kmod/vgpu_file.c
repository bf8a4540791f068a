// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /dev/vgpuN: open, ioctls, mmap, poll, release (spec 13).
 *
 * The node exists as long as the driver is bound; while the back end is away open()
 * gives ENODEV.  One open file is one context.  Only the address space that opened
 * the file may use it: after fork() or after the descriptor was passed on, every
 * call gives EPERM, and closing it is all one can do.
 *
 * Arguments are copied in once, worked on in the kernel, and copied out only on
 * success.  Every ioctl but INFO has one size; INFO negotiates.
 */
#include <linux/compat.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#include "vgpu.h"

union file_arg {
	struct vgpu_info info;
	struct vgpu_queue_setup queue_setup;
	struct vgpu_buf_register buf_register;
	struct vgpu_buf_alloc buf_alloc;
	struct vgpu_buf_unregister buf_unregister;
	struct vgpu_submit submit;
	struct vgpu_reap reap;
	struct vgpu_wait wait;
	struct vgpu_status_query status;
	struct vgpu_set_eventfd set_eventfd;
};

static int file_open(struct inode *inode, struct file *file)
{
	struct vgpu_dev *vd = container_of(inode->i_cdev, struct vgpu_dev, cdev);
	struct vgpu_ctx *ctx;
	int srcu_idx, err;

	err = vgpu_dev_enter(vd, &srcu_idx);
	if (err)
		return err;
	/* A device that died while nobody used it is noticed here. */
	if (vgpu_dev_check_alive(vd))
		ctx = vgpu_ctx_open(vd, file);
	else
		ctx = ERR_PTR(-ENODEV);
	vgpu_dev_exit(vd, srcu_idx);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	file->private_data = ctx;
	return nonseekable_open(inode, file);
}

static int file_release(struct inode *inode, struct file *file)
{
	vgpu_ctx_close(file->private_data);
	return 0;
}

static bool file_is_foreign(struct vgpu_ctx *ctx)
{
	return current->mm != ctx->mm;
}

static int file_status(struct vgpu_ctx *ctx, union file_arg *arg)
{
	struct vgpu_status_query *out = &arg->status;
	struct vgpu_dev *vd = ctx->vd;

	memset(out, 0, sizeof(*out));
	spin_lock_irq(&vd->lock);
	if (vd->state == VGPU_DEV_READY)
		out->device_generation = vd->generation;
	switch (ctx->state) {
	case VGPU_CTX_ACTIVE:
		out->state = VGPU_CTX_STATE_ACTIVE;
		out->generation = ctx->generation;
		break;
	case VGPU_CTX_LOST:
		out->state = VGPU_CTX_STATE_LOST;
		out->generation = ctx->generation;
		out->status = ctx->lost_status;
		out->fault_addr = ctx->fault_addr;
		memcpy(out->message, ctx->message, sizeof(out->message));
		break;
	default:
		break;
	}
	spin_unlock_irq(&vd->lock);
	return 0;
}

static int file_queue_setup(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_ctx_setup(ctx, &arg->queue_setup);
}

static int file_buf_register(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_buf_register(ctx, &arg->buf_register);
}

static int file_buf_alloc(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_buf_alloc(ctx, &arg->buf_alloc);
}

static int file_buf_unregister(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_buf_unregister(ctx, &arg->buf_unregister);
}

static int file_submit(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_ctx_submit(ctx, &arg->submit);
}

static int file_reap(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_ctx_reap(ctx, &arg->reap);
}

static int file_wait(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_ctx_wait(ctx, &arg->wait);
}

static int file_set_eventfd(struct vgpu_ctx *ctx, union file_arg *arg)
{
	return vgpu_ctx_set_eventfd(ctx, &arg->set_eventfd);
}

static const struct file_ioctl {
	unsigned int cmd;
	int (*fn)(struct vgpu_ctx *ctx, union file_arg *arg);
} file_ioctls[] = {
	{ VGPU_IOCTL_QUEUE_SETUP, file_queue_setup },
	{ VGPU_IOCTL_BUF_REGISTER, file_buf_register },
	{ VGPU_IOCTL_BUF_ALLOC, file_buf_alloc },
	{ VGPU_IOCTL_BUF_UNREGISTER, file_buf_unregister },
	{ VGPU_IOCTL_SUBMIT, file_submit },
	{ VGPU_IOCTL_REAP, file_reap },
	{ VGPU_IOCTL_WAIT, file_wait },
	{ VGPU_IOCTL_STATUS, file_status },
	{ VGPU_IOCTL_SET_EVENTFD, file_set_eventfd },
};

static void file_fill_info(struct vgpu_dev *vd, struct vgpu_info *info)
{
	const struct vgpu_device_props *props = &vd->props;
	const struct vgpu_limits *lim = &vd->lim;
	unsigned int i;

	info->size = sizeof(*info);
	info->uapi_version = VGPU_UAPI_VERSION;
	info->abi_version = vd->abi_version;
	info->generation = vd->generation;
	info->exec_kind = le32_to_cpu(props->exec_kind);
	info->flags = vd->must_stage ? VGPU_INFO_MUST_STAGE : 0;
	info->state = VGPU_STATE_READY;
	info->max_contexts = lim->max_contexts;
	info->min_ring_log2 = lim->min_ring_log2;
	info->max_ring_log2 = lim->max_ring_log2;
	info->max_buffers = lim->max_buffers;
	info->max_param_bytes = lim->max_param_bytes;
	info->max_buffer_bytes = lim->max_buffer_bytes;
	info->max_image_bytes = lim->max_image_bytes;
	info->max_arena_bytes = lim->max_arena_bytes;
	info->admin_timeout_ms = lim->stall_ms;
	memcpy(info->name, props->name, sizeof(info->name));
	info->memory_bytes = le64_to_cpu(props->memory_bytes);
	info->compute_major = le32_to_cpu(props->compute_major);
	info->compute_minor = le32_to_cpu(props->compute_minor);
	info->multiprocessors = le32_to_cpu(props->multiprocessors);
	info->warp_size = le32_to_cpu(props->warp_size);
	info->max_threads_per_block = le32_to_cpu(props->max_threads_per_block);
	for (i = 0; i < 3; i++) {
		info->max_block[i] = le32_to_cpu(props->max_block[i]);
		info->max_grid[i] = le32_to_cpu(props->max_grid[i]);
	}
	info->max_shared_per_block = le32_to_cpu(props->max_shared_per_block);
	info->max_ptx_version = le32_to_cpu(props->max_ptx_version);
	info->clock_khz = le32_to_cpu(props->clock_khz);
	info->driver_version = le32_to_cpu(props->driver_version);
	info->deadline_ms = le32_to_cpu(props->deadline_ms);
	memcpy(info->uuid, props->uuid, sizeof(info->uuid));
}

/* INFO: the caller says how much it has; what only the caller knows becomes zero. */
static int file_info(struct vgpu_ctx *ctx, void __user *user)
{
	struct vgpu_info info = {};
	int srcu_idx, err;
	u32 size, n;

	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < sizeof(info.size))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = vgpu_dev_enter(ctx->vd, &srcu_idx);
	if (READ_ONCE(ctx->state) == VGPU_CTX_LOST) {
		if (!err)
			vgpu_dev_exit(ctx->vd, srcu_idx);
		return -EIO;
	}
	if (err)
		return err;
	file_fill_info(ctx->vd, &info);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	n = min_t(u32, size, sizeof(info));
	if (copy_to_user(user, &info, n) || clear_user(user + n, size - n))
		return -EFAULT;
	return 0;
}

static bool file_is_info(unsigned int cmd)
{
	return _IOC_TYPE(cmd) == VGPU_IOCTL_BASE && _IOC_NR(cmd) == _IOC_NR(VGPU_IOCTL_INFO) &&
	       _IOC_DIR(cmd) == _IOC_DIR(VGPU_IOCTL_INFO);
}

static long file_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct vgpu_ctx *ctx = file->private_data;
	const struct file_ioctl *entry = NULL;
	union file_arg arg = {};
	unsigned int i;
	int err;

	if (file_is_foreign(ctx))
		return -EPERM;
	if (file_is_info(cmd))
		return file_info(ctx, (void __user *)user);
	for (i = 0; i < ARRAY_SIZE(file_ioctls) && !entry; i++)
		if (file_ioctls[i].cmd == cmd)
			entry = &file_ioctls[i];
	if (!entry)
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE &&
	    copy_from_user(&arg, (void __user *)user, _IOC_SIZE(cmd)))
		return -EFAULT;
	err = entry->fn(ctx, &arg);
	if (err)
		return err;
	if (_IOC_DIR(cmd) & _IOC_READ && copy_to_user((void __user *)user, &arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	return 0;
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vgpu_ctx *ctx = file->private_data;

	if (file_is_foreign(ctx))
		return -EPERM;
	return vgpu_ctx_mmap(ctx, vma);
}

static __poll_t file_poll(struct file *file, struct poll_table_struct *pt)
{
	struct vgpu_ctx *ctx = file->private_data;

	if (file_is_foreign(ctx))
		return EPOLLERR;
	return vgpu_ctx_poll(ctx, file, pt);
}

const struct file_operations vgpu_fops = {
	.owner = THIS_MODULE,
	.open = file_open,
	.release = file_release,
	.unlocked_ioctl = file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = file_mmap,
	.poll = file_poll,
	.llseek = noop_llseek,
};
