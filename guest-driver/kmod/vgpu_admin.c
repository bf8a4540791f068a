// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The admin queue (spec 8): how the driver creates contexts and registers memory.
 *
 * A command is a struct vgpu_admin_req.  Submitting puts it into one of 64 slots;
 * the cookie is slot and salt, so a completion that answers nothing in flight is
 * dropped and never touches a request.  The queue has as many entries as slots,
 * or more, so it can't overflow.
 *
 * Completions are drained in process context only: by the work that vector 0
 * queues, and by every waiter whose time slice ran out (an interrupt may have
 * been missed).  A waiter never waits on a device that is silent: between slices
 * it checks the heartbeat, and declaring the device lost completes every request
 * with -EIO.  So each wait ends, without a time-out of its own for commands that
 * legitimately wait for an executor to die.
 *
 * Locking: admin.lock for the queue; never held while a request finishes.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vgpu.h"

#define ADMIN_SLICE_MAX_MS 500

static struct vgpu_queue_ro *admin_ro(struct vgpu_admin *aq)
{
	return aq->mem.cpu;
}

static struct vgpu_queue_rw *admin_rw(struct vgpu_admin *aq)
{
	return aq->mem.cpu + vgpu_queue_rw_offset(aq->log2);
}

static struct vgpu_admin_sqe *admin_sqe(struct vgpu_admin *aq, u32 idx)
{
	struct vgpu_admin_sqe *ring = aq->mem.cpu + vgpu_queue_sq_offset(aq->log2);

	return &ring[idx & ((1u << aq->log2) - 1)];
}

static struct vgpu_cqe *admin_cqe(struct vgpu_admin *aq, u32 idx)
{
	struct vgpu_cqe *ring = aq->mem.cpu + vgpu_queue_cq_offset();

	return &ring[idx & ((1u << aq->log2) - 1)];
}

/* Whose fault a refusal was decides little here: the caller only needs an errno. */
int vgpu_errno_of_status(u16 status)
{
	switch (status) {
	case VGPU_ST_OK:
		return 0;
	case VGPU_ST_OUT_OF_MEMORY:
	case VGPU_ST_HOST_MEMORY:
		return -ENOMEM;
	case VGPU_ST_LIMIT:
		return -ENOSPC;
	case VGPU_ST_HOST_RESOURCES:
	case VGPU_ST_BUSY:
		return -EAGAIN;
	case VGPU_ST_ADMIN_VALUE:
		return -EINVAL;
	case VGPU_ST_HOST_NO_DEVICE:
		return -ENODEV;
	default:
		return -EIO;
	}
}

static void admin_req_free(struct kref *kref)
{
	kfree(container_of(kref, struct vgpu_admin_req, kref));
}

struct vgpu_admin_req *vgpu_admin_req_alloc(u16 opcode)
{
	struct vgpu_admin_req *req = kzalloc(sizeof(*req), GFP_KERNEL);

	if (!req)
		return NULL;
	kref_init(&req->kref);
	init_completion(&req->done);
	INIT_LIST_HEAD(&req->link);
	req->sqe.opcode = cpu_to_le16(opcode);
	return req;
}

void vgpu_admin_req_put(struct vgpu_admin_req *req)
{
	kref_put(&req->kref, admin_req_free);
}

/* The outcome is known: run the callback, wake the waiter, drop the queue's reference. */
static void admin_finish(struct list_head *done)
{
	struct vgpu_admin_req *req, *next;

	list_for_each_entry_safe(req, next, done, link) {
		list_del_init(&req->link);
		if (req->fn)
			req->fn(req);
		complete_all(&req->done);
		vgpu_admin_req_put(req);
	}
}

/* Takes the request a cookie names out of its slot; NULL if there is none. */
static struct vgpu_admin_req *admin_take(struct vgpu_admin *aq, u64 cookie)
{
	unsigned int slot = cookie & 0xffff;
	struct vgpu_admin_req *req;

	if (slot >= VGPU_ADMIN_SLOTS || cookie >> 16 != aq->slot_salt[slot])
		return NULL;
	req = aq->slot[slot];
	if (req) {
		aq->slot[slot] = NULL;
		aq->used--;
	}
	return req;
}

/*
 * Consumes what is there.  Returns false if the device's index is impossible: outside the ring,
 * or further on than all commands in flight can have brought it, which could go on for ever.
 */
static bool admin_consume(struct vgpu_dev *vd, struct list_head *done, unsigned int *stray)
{
	struct vgpu_admin *aq = &vd->admin;
	struct vgpu_queue_ro *ro = admin_ro(aq);
	u32 start = aq->cq_cons;
	u32 prod;

	for (;;) {
		/* Acquire: entries are read after the index.  Pairs with the device's R1. */
		prod = (__force u32)smp_load_acquire((__force u32 *)&ro->cq_prod);
		prod = le32_to_cpu((__force __le32)prod);
		if (prod - aq->cq_cons > 1u << aq->log2 || prod - start > 1u << aq->log2)
			return false;
		if (prod == aq->cq_cons)
			return true;
		while (aq->cq_cons != prod) {
			struct vgpu_cqe cqe = *admin_cqe(aq, aq->cq_cons);
			struct vgpu_admin_req *req = admin_take(aq, le64_to_cpu(cqe.cookie));

			aq->cq_cons++;
			if (!req) {
				(*stray)++;
				continue;
			}
			req->cqe = cqe;
			req->status = le16_to_cpu(cqe.status);
			list_add_tail(&req->link, done);
		}
		/* Release: the slots were read before the device may reuse them (R2). */
		smp_store_release((__force u32 *)&admin_rw(aq)->cq_cons,
				  (__force u32)cpu_to_le32(aq->cq_cons));
		WRITE_ONCE(ro->cq_event, cpu_to_le32(aq->cq_cons));
		/* Full: the event index is visible before cq_prod is read again.  Pairs
		 * with the device's fence between cq_prod and cq_event (R4).
		 */
		smp_mb();
	}
}

/**
 * vgpu_admin_drain - finish every command the device has completed
 * @vd: the device
 *
 * Process context.  Harmless at any time.
 */
void vgpu_admin_drain(struct vgpu_dev *vd)
{
	struct vgpu_admin *aq = &vd->admin;
	unsigned int stray = 0;
	LIST_HEAD(done);
	bool sane = true;

	spin_lock(&aq->lock);
	if (aq->live)
		sane = admin_consume(vd, &done, &stray);
	spin_unlock(&aq->lock);

	if (!list_empty(&done))
		wake_up_all(&aq->wq);
	admin_finish(&done);
	if (stray)
		dev_warn_ratelimited(&vd->dev, "%u admin completions answer nothing, ignored\n",
				     stray);
	if (!sane)
		vgpu_dev_lost(vd, VGPU_ST_BACKEND_LOST,
			      "admin completion index outside the ring");
}

static bool admin_has_room(struct vgpu_admin *aq)
{
	return !READ_ONCE(aq->live) || READ_ONCE(aq->used) < VGPU_ADMIN_SLOTS;
}

/* Writes the entry and rings.  False: no slot now.  Caller holds the lock. */
static bool admin_push(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	struct vgpu_admin *aq = &vd->admin;
	unsigned int slot;

	for (slot = 0; slot < VGPU_ADMIN_SLOTS; slot++)
		if (!aq->slot[slot])
			break;
	if (slot == VGPU_ADMIN_SLOTS)
		return false;
	aq->slot_salt[slot] = ++aq->salt;
	aq->slot[slot] = req;
	aq->used++;
	kref_get(&req->kref);
	req->sqe.cookie = cpu_to_le64(slot | (u64)aq->slot_salt[slot] << 16);
	*admin_sqe(aq, aq->sq_prod) = req->sqe;
	aq->sq_prod++;
	/* Release: the entry is visible before the index (R1). */
	smp_store_release((__force u32 *)&admin_rw(aq)->sq_prod,
			  (__force u32)cpu_to_le32(aq->sq_prod));
	/* Admin commands are rare: ringing always costs less than being clever. */
	vgpu_write(vd, VGPU_REG_ADMIN_DOORBELL, 1);
	return true;
}

/* Waits for a free slot.  -EINTR: the caller is being killed, and may be. */
static int admin_submit(struct vgpu_dev *vd, struct vgpu_admin_req *req, bool killable)
{
	struct vgpu_admin *aq = &vd->admin;
	unsigned long slice = msecs_to_jiffies(ADMIN_SLICE_MAX_MS);
	bool live, pushed;
	long left;

	for (;;) {
		spin_lock(&aq->lock);
		live = aq->live;
		pushed = live && admin_push(vd, req);
		spin_unlock(&aq->lock);
		if (!live)
			return -EIO;
		if (pushed)
			return 0;
		if (killable)
			left = wait_event_killable_timeout(aq->wq, admin_has_room(aq), slice);
		else
			left = wait_event_timeout(aq->wq, admin_has_room(aq), slice);
		if (left < 0)
			return -EINTR;
		if (!left) {
			vgpu_admin_drain(vd);
			vgpu_dev_check_alive(vd);
		}
	}
}

/**
 * vgpu_admin_submit - put a command into the queue
 * @vd: the device
 * @req: the command
 *
 * Waits for a free slot.  Returns -EIO when the device was lost first; then the
 * callback has not been and will not be called.
 */
int vgpu_admin_submit(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	return admin_submit(vd, req, false);
}

/* The same for a program that may be killed: -EINTR then, as if the device had been lost. */
int vgpu_admin_submit_killable(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	return admin_submit(vd, req, true);
}

static unsigned long admin_slice(struct vgpu_dev *vd)
{
	return msecs_to_jiffies(clamp_t(u32, vd->lim.heartbeat_ms, 10, ADMIN_SLICE_MAX_MS));
}

/* A slice passed: an interrupt may have been missed, or the device may be gone. */
static void admin_poke(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	vgpu_admin_drain(vd);
	if (!completion_done(&req->done))
		vgpu_dev_check_alive(vd);
}

/**
 * vgpu_admin_wait_killable - wait for a command for as long as the device's heart beats
 * @vd: the device
 * @req: the command
 *
 * Returns 0 when the device answered (the status may be a refusal), -EIO when it
 * was lost, -EINTR when the caller is being killed: then the command goes on.
 */
int vgpu_admin_wait_killable(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	long left;

	for (;;) {
		left = wait_for_completion_killable_timeout(&req->done, admin_slice(vd));
		if (left > 0)
			return req->error;
		if (left < 0)
			return -EINTR;
		admin_poke(vd, req);
	}
}

/* The same, for @ms at most; the command goes on by itself after that. */
void vgpu_admin_wait_limited(struct vgpu_dev *vd, struct vgpu_admin_req *req, unsigned int ms)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(ms);

	while (!wait_for_completion_timeout(&req->done, admin_slice(vd))) {
		admin_poke(vd, req);
		if (time_after(jiffies, deadline))
			return;
	}
}

/**
 * vgpu_admin_exec_slow - submit a command that may have to wait for an executor
 * @vd: the device
 * @req: the command
 *
 * Waits while the heart beats, until the caller is killed.  Returns 0 if it succeeded,
 * the errno of its status if it was refused; otherwise req->answered is false and
 * what became of it is not known.
 */
int vgpu_admin_exec_slow(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	int err = vgpu_admin_submit_killable(vd, req);

	if (!err)
		err = vgpu_admin_wait_killable(vd, req);
	if (err)
		return err;
	req->answered = true;
	return vgpu_errno_of_status(req->status);
}

/**
 * vgpu_admin_exec - submit a command the device must answer in ADMIN_MAX_MS, and wait
 * @vd: the device
 * @req: the command
 *
 * A device that lives but does not answer in time is declared lost, which resets it.
 * Returns as vgpu_admin_exec_slow().
 */
int vgpu_admin_exec(struct vgpu_dev *vd, struct vgpu_admin_req *req)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(vd->lim.stall_ms);
	int err = vgpu_admin_submit(vd, req);

	if (err)
		return err;
	while (!wait_for_completion_timeout(&req->done, admin_slice(vd))) {
		admin_poke(vd, req);
		if (time_after(jiffies, deadline) && !completion_done(&req->done))
			vgpu_dev_lost(vd, VGPU_ST_BACKEND_LOST, "admin command unanswered");
	}
	if (req->error)
		return req->error;
	req->answered = true;
	return vgpu_errno_of_status(req->status);
}

/**
 * vgpu_admin_query - read a record; @bytes at most a page
 * @vd: the device
 * @what: VGPU_QUERY_*
 * @ctx: context id, for VGPU_QUERY_CTX
 * @out: where the record goes
 * @bytes: of the record, at most a page
 */
int vgpu_admin_query(struct vgpu_dev *vd, u32 what, u32 ctx, void *out, size_t bytes)
{
	struct vgpu_admin *aq = &vd->admin;
	struct vgpu_admin_req *req = vgpu_admin_req_alloc(VGPU_ADMIN_QUERY);
	int err;

	if (!req)
		return -ENOMEM;
	mutex_lock(&aq->query_mutex);
	memset(aq->page.cpu, 0, aq->page.bytes);
	req->sqe.u.query.out_addr = cpu_to_le64(aq->page.addr);
	req->sqe.u.query.out_bytes = cpu_to_le32(bytes);
	req->sqe.u.query.what = cpu_to_le32(what);
	req->sqe.u.query.ctx = cpu_to_le32(ctx);
	err = vgpu_admin_exec(vd, req);
	if (!err)
		memcpy(out, aq->page.cpu, bytes);
	mutex_unlock(&aq->query_mutex);
	vgpu_admin_req_put(req);
	return err;
}

/**
 * vgpu_admin_init - memory for the queue, of the smallest size the device takes
 * @vd: the device
 *
 * Called at each bring-up, when the device provably uses none of it.
 */
int vgpu_admin_init(struct vgpu_dev *vd)
{
	struct vgpu_admin *aq = &vd->admin;
	u8 log2 = max_t(u32, vd->lim.min_ring_log2, VGPU_MIN_RING_LOG2);
	int err;

	if (aq->mem.cpu && aq->log2 != log2)
		vgpu_dma_free(vd, &aq->mem);
	if (!aq->mem.cpu) {
		err = vgpu_dma_alloc(vd, &aq->mem, vgpu_queue_bytes(log2, log2), GFP_KERNEL);
		if (err)
			return err;
	}
	if (!aq->page.cpu) {
		err = vgpu_dma_alloc(vd, &aq->page, PAGE_SIZE, GFP_KERNEL);
		if (err)
			return err;
	}
	aq->log2 = log2;
	memset(aq->mem.cpu, 0, aq->mem.bytes);
	aq->sq_prod = 0;
	aq->cq_cons = 0;
	return 0;
}

/* Tells the device where the queue is; ENABLE starts it. */
void vgpu_admin_expose(struct vgpu_dev *vd)
{
	struct vgpu_admin *aq = &vd->admin;

	aq->exposed = true;
	vgpu_write64(vd, VGPU_REG_ADMIN_BASE_LO, aq->mem.addr);
	vgpu_write(vd, VGPU_REG_ADMIN_LOG2, aq->log2 << 8 | aq->log2);
}

void vgpu_admin_start(struct vgpu_dev *vd)
{
	spin_lock(&vd->admin.lock);
	vd->admin.live = true;
	spin_unlock(&vd->admin.lock);
}

/* No more commands; those in flight finish with -EIO.  Process context. */
void vgpu_admin_stop(struct vgpu_dev *vd)
{
	struct vgpu_admin *aq = &vd->admin;
	LIST_HEAD(done);
	unsigned int i;

	spin_lock(&aq->lock);
	aq->live = false;
	for (i = 0; i < VGPU_ADMIN_SLOTS; i++) {
		struct vgpu_admin_req *req = aq->slot[i];

		if (!req)
			continue;
		aq->slot[i] = NULL;
		req->error = -EIO;
		list_add_tail(&req->link, &done);
	}
	aq->used = 0;
	spin_unlock(&aq->lock);
	wake_up_all(&aq->wq);
	admin_finish(&done);
}

/* @leak: the device may still write into the queue, keep its memory for ever. */
void vgpu_admin_fini(struct vgpu_dev *vd, bool leak)
{
	if (leak && vd->admin.exposed)
		return;
	vgpu_dma_free(vd, &vd->admin.mem);
	vgpu_dma_free(vd, &vd->admin.page);
}
