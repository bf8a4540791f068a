/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * ioctls of /dev/vgpuN (spec 13).
 *
 * One open file is one context: everything it holds dies with the file
 * descriptor.  All calls return 0, or -1 with errno; unknown flags and non-zero
 * reserved fields give EINVAL; every call on a lost context gives EIO at once
 * (VGPU_IOCTL_STATUS and close always work); a device whose back end is away
 * gives ENODEV from open().  A forked child may not use the parent's context:
 * its calls give EPERM.
 */
#ifndef VGPU_UAPI_H
#define VGPU_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VGPU_UAPI_VERSION 1

/**
 * struct vgpu_info - what this device is and may do
 * @size: In: bytes of this struct the caller has; out: bytes the kernel knows.  The kernel fills
 *	the smaller of both; a caller newer than the kernel finds zeroes.
 * @uapi_version: Out: VGPU_UAPI_VERSION of the driver
 * @abi_version: Out: VGPU_REG_ABI_VERSION of the device
 * @generation: Out: generation of the back end
 * @exec_kind: Out: VGPU_EXEC_*
 * @flags: Out: VGPU_INFO_*
 * @state: Out: VGPU_STATE_* of the device as the driver last saw it
 * @max_contexts: Out: contexts of the device
 * @min_ring_log2: Out: smallest queue
 * @max_ring_log2: Out: largest queue
 * @max_buffers: Out: buffer ids per context, the arena's included
 * @max_param_bytes: Out: largest parameter block
 * @max_buffer_bytes: Out: largest buffer
 * @max_image_bytes: Out: largest module image
 * @max_arena_bytes: Out: largest argument arena
 * @admin_timeout_ms: Out: after this time the driver declares the back end gone
 * @name: Out: device name, NUL terminated
 * @memory_bytes: Out: device memory limit of the VM
 * @compute_major: Out: compute capability (likewise the following, as struct vgpu_device_props)
 */
struct vgpu_info {
	__u32 size;
	__u32 uapi_version;
	__u32 abi_version;
	__u32 generation;
	__u32 exec_kind;
	__u32 flags;
	__u32 state;
	__u32 max_contexts;
	__u32 min_ring_log2;
	__u32 max_ring_log2;
	__u32 max_buffers;
	__u32 max_param_bytes;
	__u64 max_buffer_bytes;
	__u64 max_image_bytes;
	__u32 max_arena_bytes;
	__u32 admin_timeout_ms;
	__u8 name[64];
	__u64 memory_bytes;
	__u32 compute_major;
	__u32 compute_minor;
	__u32 multiprocessors;
	__u32 warp_size;
	__u32 max_threads_per_block;
	__u32 max_block[3];
	__u32 max_grid[3];
	__u32 max_shared_per_block;
	__u32 max_ptx_version;
	__u32 clock_khz;
	__u32 driver_version;
	__u32 deadline_ms;
	__u8 uuid[16];
};

#define VGPU_INFO_MUST_STAGE (1u << 0) /* user memory can't be registered here: use BUF_ALLOC */

/**
 * struct vgpu_queue_setup - create the context's queue pair and arena; once per open file
 * @sq_log2: In: log2 of submission entries
 * @cq_log2: In: log2 of completion entries, at least @sq_log2
 * @flags: In: VGPU_QUEUE_*
 * @arena_bytes: In: size of buffer 0, multiple of 4096
 * @ctx: Out: context id
 * @generation: Out: back end's generation
 * @ro_off: Out: mmap offset of the read-only half of the queue block
 * @rw_off: Out: mmap offset of the writable half; 0 with VGPU_QUEUE_KERNEL_SUBMIT
 * @doorbell_off: Out: mmap offset of the doorbell page; 0 with VGPU_QUEUE_KERNEL_SUBMIT
 * @arena_off: Out: mmap offset of the arena
 * @ro_bytes: Out: size of the read-only half
 * @rw_bytes: Out: size of the writable half
 */
struct vgpu_queue_setup {
	__u32 sq_log2;
	__u32 cq_log2;
	__u32 flags;
	__u32 arena_bytes;
	__u32 ctx;
	__u32 generation;
	__u64 ro_off;
	__u64 rw_off;
	__u64 doorbell_off;
	__u64 arena_off;
	__u32 ro_bytes;
	__u32 rw_bytes;
};

#define VGPU_QUEUE_KERNEL_SUBMIT (1u << 0) /* SUBMIT and REAP instead of mapped rings */

/**
 * struct vgpu_buf_register - pin user memory and register it with the device
 * @addr: In: start, any alignment
 * @bytes: In: length, 1..max_buffer_bytes
 * @flags: In: VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES
 * @buf: Out: buffer id; VGPU_BUF_NONE when @result is MUST_STAGE
 * @result: Out: VGPU_BUF_RESULT_*
 * @rsvd: must be 0
 *
 * ENOMEM: RLIMIT_MEMLOCK; ENOSPC: no buffer id left; EFAULT: not mapped (or read-only).
 */
struct vgpu_buf_register {
	__u64 addr;
	__u64 bytes;
	__u32 flags;
	__u32 buf;
	__u32 result;
	__u32 rsvd;
};

#define VGPU_BUF_NONE              0xffffffffu
#define VGPU_BUF_RESULT_REGISTERED 0
#define VGPU_BUF_RESULT_MUST_STAGE 1 /* DMA would bounce: copy through BUF_ALLOC memory */

/**
 * struct vgpu_buf_alloc - allocate coherent memory and register it, both directions
 * @bytes: In: length, rounded up to 4096
 * @mmap_off: Out: mmap offset
 * @buf: Out: buffer id
 * @flags: In: must be 0
 */
struct vgpu_buf_alloc {
	__u64 bytes;
	__u64 mmap_off;
	__u32 buf;
	__u32 flags;
};

/**
 * struct vgpu_buf_unregister - let go of a buffer
 * @buf: In: buffer id.  EBUSY while a mapping of a BUF_ALLOC buffer exists.
 * @rsvd: must be 0
 *
 * Returns once the device has let go of the memory.
 */
struct vgpu_buf_unregister {
	__u32 buf;
	__u32 rsvd;
};

/**
 * struct vgpu_submit - submit entries (VGPU_QUEUE_KERNEL_SUBMIT)
 * @entries: In: user pointer to struct vgpu_sqe[]
 * @count: In: entries; out: entries accepted, may be fewer when the queue is full.
 *	EAGAIN if none fits.
 * @rsvd: must be 0
 */
struct vgpu_submit {
	__u64 entries;
	__u32 count;
	__u32 rsvd;
};

/**
 * struct vgpu_reap - fetch completions (VGPU_QUEUE_KERNEL_SUBMIT)
 * @entries: In: user pointer to struct vgpu_cqe[]
 * @count: In: room; out: completions copied
 * @rsvd: must be 0
 */
struct vgpu_reap {
	__u64 entries;
	__u32 count;
	__u32 rsvd;
};

/**
 * struct vgpu_wait - sleep until the completion queue has moved
 * @timeout_ns: In: absolute CLOCK_MONOTONIC time; ~0: for ever
 * @cq_idx: In: wait until cq_prod has passed this index (cq_prod - cq_idx > 0, modulo 2^32)
 * @cq_prod: Out: the index seen
 *
 * ETIMEDOUT; EINTR is restarted; EIO when the context is lost.
 */
struct vgpu_wait {
	__u64 timeout_ns;
	__u32 cq_idx;
	__u32 cq_prod;
};

/**
 * struct vgpu_status_query - state of the context
 * @state: Out: VGPU_CTX_STATE_*; 0 before queue setup
 * @status: Out: VGPU_ST_* that lost the context
 * @fault_addr: Out: device address the fault is about
 * @generation: Out: the context's
 * @device_generation: Out: the back end's now; 0 if it is away
 * @message: Out: NUL terminated reason
 */
struct vgpu_status_query {
	__u32 state;
	__u32 status;
	__u64 fault_addr;
	__u32 generation;
	__u32 device_generation;
	__u8 message[232];
};

/**
 * struct vgpu_set_eventfd - have an eventfd signalled at every move of the completion queue
 * @fd: In: eventfd, or -1 to stop
 * @rsvd: must be 0
 */
struct vgpu_set_eventfd {
	__s32 fd;
	__u32 rsvd;
};

#define VGPU_IOCTL_BASE           'v'
#define VGPU_IOCTL_INFO           _IOWR(VGPU_IOCTL_BASE, 0x40, struct vgpu_info)
#define VGPU_IOCTL_QUEUE_SETUP    _IOWR(VGPU_IOCTL_BASE, 0x41, struct vgpu_queue_setup)
#define VGPU_IOCTL_BUF_REGISTER   _IOWR(VGPU_IOCTL_BASE, 0x42, struct vgpu_buf_register)
#define VGPU_IOCTL_BUF_ALLOC      _IOWR(VGPU_IOCTL_BASE, 0x43, struct vgpu_buf_alloc)
#define VGPU_IOCTL_BUF_UNREGISTER _IOW(VGPU_IOCTL_BASE, 0x44, struct vgpu_buf_unregister)
#define VGPU_IOCTL_SUBMIT         _IOWR(VGPU_IOCTL_BASE, 0x45, struct vgpu_submit)
#define VGPU_IOCTL_REAP           _IOWR(VGPU_IOCTL_BASE, 0x46, struct vgpu_reap)
#define VGPU_IOCTL_WAIT           _IOWR(VGPU_IOCTL_BASE, 0x47, struct vgpu_wait)
#define VGPU_IOCTL_STATUS         _IOR(VGPU_IOCTL_BASE, 0x48, struct vgpu_status_query)
#define VGPU_IOCTL_SET_EVENTFD    _IOW(VGPU_IOCTL_BASE, 0x49, struct vgpu_set_eventfd)

#endif /* VGPU_UAPI_H */
