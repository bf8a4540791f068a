/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What differs between the kernels this driver is built for (6.1 and later), and
 * nothing else: code elsewhere is written for the newest and free of version tests.
 */
#ifndef VGPU_COMPAT_H
#define VGPU_COMPAT_H

#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/version.h>

#define VGPU_KERNEL_HAS(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

static inline void vgpu_eventfd_signal(struct eventfd_ctx *eventfd)
{
#if VGPU_KERNEL_HAS(6, 8)
	eventfd_signal(eventfd);
#else
	eventfd_signal(eventfd, 1);
#endif
}

static inline void vgpu_vma_flags(struct vm_area_struct *vma, unsigned long set,
				  unsigned long clear)
{
#if VGPU_KERNEL_HAS(6, 3)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

static inline struct class *vgpu_class_create(const char *name)
{
#if VGPU_KERNEL_HAS(6, 4)
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

/*
 * Before 6.2 a read-only long-term pin of a private page could keep the old page
 * while the program went on with a copy: breaking the copy-on-write first avoids that.
 */
static inline unsigned int vgpu_pin_flags_read_only(void)
{
#if VGPU_KERNEL_HAS(6, 2)
	return FOLL_LONGTERM;
#else
	return FOLL_WRITE | FOLL_FORCE | FOLL_LONGTERM;
#endif
}

#endif /* VGPU_COMPAT_H */
