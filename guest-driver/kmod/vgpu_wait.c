// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Waiting for completions, and submission by the kernel (spec 7.3, 13.4).
 *
 * The guest kernel is the one writer of cq_event.  Several threads may sleep for
 * different indices: the event index is always the earliest of those that have not
 * passed, everybody wakes when it passes, and who isn't done arms again.  A stale
 * arm (its waiter timed out) costs one interrupt.  eventfd and poll() ask for the
 * next completion, whatever it is.
 *
 * Rule R4 on this side: write cq_event, full barrier, read cq_prod again; only
 * then sleep.  An index that moves each time could go on for ever - a program that
 * submits fast enough or a hostile device will do - so the interrupt handler leaves
 * the rest to the watchdog after a few rounds.
 *
 * VGPU_QUEUE_KERNEL_SUBMIT contexts pass entries through SUBMIT and REAP.  The
 * kernel copies, it does not look inside: validation is the device's, exactly as
 * for a mapped queue.  User memory is never touched inside vd->srcu.
 */
#include <linux/hrtimer.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "vgpu.h"

#define KSUBMIT_BATCH 8
#define WAKE_ROUNDS   16	/* signals in a row with interrupts off */

/* Holds ev_lock.  Returns cq_prod as it is after arming. */
static u32 wait_arm_locked(struct vgpu_ctx *ctx, u32 idx)
{
	u32 prod = vgpu_ctx_cq_prod(ctx);

	if ((s32)(prod - ctx->armed) > 0 || (s32)(idx - ctx->armed) < 0) {
		ctx->armed = idx;
		WRITE_ONCE(vgpu_ctx_ro(ctx)->cq_event, cpu_to_le32(idx));
	}
	/* Full: cq_event before cq_prod.  Pairs with the device's fence between its
	 * release of cq_prod and its read of cq_event (R4).
	 */
	smp_mb();
	return vgpu_ctx_cq_prod(ctx);
}

static u32 wait_arm(struct vgpu_ctx *ctx, u32 idx)
{
	unsigned long flags;
	u32 prod;

	spin_lock_irqsave(&ctx->ev_lock, flags);
	prod = wait_arm_locked(ctx, idx);
	spin_unlock_irqrestore(&ctx->ev_lock, flags);
	return prod;
}

/**
 * vgpu_ctx_wake - the completion queue may have moved: tell who waits
 * @ctx: the context
 *
 * Interrupt handler and watchdog, with the vector's lock held and interrupts off.
 * Returns false if the queue still moved after a few rounds: no interrupt may come for
 * that, so the watchdog has to look again.
 */
bool __must_check vgpu_ctx_wake(struct vgpu_ctx *ctx)
{
	u32 prod = vgpu_ctx_cq_prod(ctx);
	unsigned int rounds;

	for (rounds = 0; prod != ctx->seen_prod; rounds++) {
		if (rounds == WAKE_ROUNDS)
			return false;
		ctx->seen_prod = prod;
		wake_up_all(&ctx->wq);
		spin_lock(&ctx->ev_lock);
		if (ctx->eventfd) {
			vgpu_eventfd_signal(ctx->eventfd);
			prod = wait_arm_locked(ctx, prod);
		}
		spin_unlock(&ctx->ev_lock);
	}
	return true;
}

static void ctx_ring(struct vgpu_ctx *ctx)
{
	writel(1, ctx->vd->doorbells + ctx->id * VGPU_DOORBELL_STRIDE + VGPU_DOORBELL_OFFSET);
}

/**
 * vgpu_ctx_ring_again - ring for commands that the device does not seem to know of
 * @ctx: an ACTIVE context
 *
 * Watchdog only.  That a doorbell is not missing rests on a full barrier of the guest (R3),
 * which may be none: QEMU 7.2's TCG leaves barriers out of the code of a guest with one
 * processor, although other threads share its memory.  Rings if there are commands to fetch
 * and none was fetched since the last look.
 */
void vgpu_ctx_ring_again(struct vgpu_ctx *ctx)
{
	u32 prod = le32_to_cpu(READ_ONCE(vgpu_ctx_rw(ctx)->sq_prod));
	u32 cons = le32_to_cpu(READ_ONCE(vgpu_ctx_ro(ctx)->sq_cons));

	if (prod != cons && cons == ctx->seen_cons)
		ctx_ring(ctx);
	ctx->seen_cons = cons;
}

/* Does anybody need the watchdog?  Sleepers of WAIT, poll and epoll are in wq. */
bool vgpu_ctx_is_watched(struct vgpu_ctx *ctx)
{
	/* Acquire: an ACTIVE context has its queue.  Pairs with set-up. */
	if (smp_load_acquire(&ctx->state) != VGPU_CTX_ACTIVE || READ_ONCE(ctx->closing))
		return false;
	/* A sleeper missed here kicks the watchdog after it has joined the queue. */
	return waitqueue_active(&ctx->wq) || READ_ONCE(ctx->eventfd);
}

/* Arms and looks.  1: passed, 0: not yet, and the watchdog runs; else an error. */
static int wait_look(struct vgpu_ctx *ctx, struct vgpu_wait *arg)
{
	int srcu_idx, err = vgpu_ctx_enter(ctx, &srcu_idx);
	bool passed;
	u32 prod;

	if (err)
		return err;
	prod = vgpu_ctx_cq_prod(ctx);
	if ((s32)(prod - arg->cq_idx) <= 0)
		prod = wait_arm(ctx, arg->cq_idx);
	passed = (s32)(prod - arg->cq_idx) > 0;
	if (!passed)
		vgpu_watchdog_kick(ctx->vd);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	if (passed)
		arg->cq_prod = prod;
	return passed;
}

/* Absolute CLOCK_MONOTONIC time, so a restarted call ends when the first would have. */
int vgpu_ctx_wait(struct vgpu_ctx *ctx, struct vgpu_wait *arg)
{
	bool forever = arg->timeout_ns >= KTIME_MAX;
	ktime_t until = ns_to_ktime(forever ? KTIME_MAX : arg->timeout_ns);
	bool expired = false;
	DEFINE_WAIT(wait);
	int ret;

	for (;;) {
		prepare_to_wait(&ctx->wq, &wait, TASK_INTERRUPTIBLE);
		ret = wait_look(ctx, arg);
		if (ret)
			break;
		if (expired) {
			ret = -ETIMEDOUT;
			break;
		}
		if (signal_pending(current)) {
			ret = -ERESTARTSYS;
			break;
		}
		if (forever)
			schedule();
		else
			expired = !schedule_hrtimeout(&until, HRTIMER_MODE_ABS);
	}
	finish_wait(&ctx->wq, &wait);
	return ret > 0 ? 0 : ret;
}

/* Readable: completions to fetch.  Error: the context is lost (or not set up). */
__poll_t vgpu_ctx_poll(struct vgpu_ctx *ctx, struct file *file, struct poll_table_struct *pt)
{
	__poll_t mask = 0;
	int srcu_idx;
	u32 cons;

	poll_wait(file, &ctx->wq, pt);
	if (vgpu_ctx_enter(ctx, &srcu_idx))
		return EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLRDNORM;
	cons = le32_to_cpu(READ_ONCE(vgpu_ctx_rw(ctx)->cq_cons));
	if (vgpu_ctx_cq_prod(ctx) != cons || wait_arm(ctx, cons) != cons)
		mask = EPOLLIN | EPOLLRDNORM;
	else
		vgpu_watchdog_kick(ctx->vd);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	return mask;
}

int vgpu_ctx_set_eventfd(struct vgpu_ctx *ctx, struct vgpu_set_eventfd *arg)
{
	struct eventfd_ctx *old, *new = NULL;
	int srcu_idx, err;
	bool settled;
	u32 prod;

	if (arg->rsvd || arg->fd < -1)
		return -EINVAL;
	if (arg->fd >= 0) {
		new = eventfd_ctx_fdget(arg->fd);
		if (IS_ERR(new))
			return PTR_ERR(new);
	}
	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err) {
		if (new)
			eventfd_ctx_put(new);
		return err;
	}
	spin_lock_irq(&ctx->vec->lock);
	spin_lock(&ctx->ev_lock);
	old = ctx->eventfd;
	ctx->eventfd = new;
	if (new) {
		/* What completed before counts as moved: say so once rather than never. */
		prod = wait_arm_locked(ctx, vgpu_ctx_cq_prod(ctx));
		if (prod != le32_to_cpu(READ_ONCE(vgpu_ctx_rw(ctx)->cq_cons)))
			vgpu_eventfd_signal(new);
		wait_arm_locked(ctx, prod);
		ctx->seen_prod = prod;
	}
	spin_unlock(&ctx->ev_lock);
	settled = vgpu_ctx_wake(ctx);
	spin_unlock_irq(&ctx->vec->lock);
	if (!settled)
		vgpu_watchdog_now(ctx->vd);
	else if (new)
		vgpu_watchdog_kick(ctx->vd);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	if (old)
		eventfd_ctx_put(old);
	return 0;
}

/* ---- submission by the kernel ---- */

static struct vgpu_sqe *ksubmit_sqe(struct vgpu_ctx *ctx, u32 idx)
{
	struct vgpu_sqe *ring = ctx->queue.cpu + vgpu_queue_sq_offset(ctx->cq_log2);

	return &ring[idx & ((1u << ctx->sq_log2) - 1)];
}

static struct vgpu_cqe *ksubmit_cqe(struct vgpu_ctx *ctx, u32 idx)
{
	struct vgpu_cqe *ring = ctx->queue.cpu + vgpu_queue_cq_offset();

	return &ring[idx & ((1u << ctx->cq_log2) - 1)];
}

static void ksubmit_publish(struct vgpu_ctx *ctx, u32 old)
{
	u32 event;

	/* Release: entries before the index (R1). */
	smp_store_release((__force u32 *)&vgpu_ctx_rw(ctx)->sq_prod,
			  (__force u32)cpu_to_le32(ctx->k_sq_prod));
	/* Full: the index is visible before sq_event is read.  Pairs with the device's
	 * fence between sq_event and its second look at sq_prod (R3).
	 */
	smp_mb();
	event = le32_to_cpu(READ_ONCE(vgpu_ctx_ro(ctx)->sq_event));
	if (vgpu_ring_need_event(event, ctx->k_sq_prod, old))
		ctx_ring(ctx);
}

/* Puts up to @n entries into the ring.  Returns how many, or an error. */
static int ksubmit_push(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe, u32 n)
{
	u32 size = 1u << ctx->sq_log2;
	u32 old, room, used, cons, i;
	int srcu_idx, err;

	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		return err;
	old = ctx->k_sq_prod;
	/* Acquire: the device has read a slot before we write it again (R2). */
	cons = smp_load_acquire((__force u32 *)&vgpu_ctx_ro(ctx)->sq_cons);
	used = old - le32_to_cpu((__force __le32)cons);
	/* An impossible index of the device leaves no room rather than too much. */
	room = used <= size ? size - used : 0;
	n = min(n, room);
	for (i = 0; i < n; i++)
		*ksubmit_sqe(ctx, ctx->k_sq_prod++) = sqe[i];
	if (n)
		ksubmit_publish(ctx, old);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	return n;
}

int vgpu_ctx_submit(struct vgpu_ctx *ctx, struct vgpu_submit *arg)
{
	const struct vgpu_sqe __user *user = u64_to_user_ptr(arg->entries);
	struct vgpu_sqe batch[KSUBMIT_BATCH];
	u32 count, done = 0, n;
	int ret = 0;

	if (arg->rsvd || !arg->count)
		return -EINVAL;
	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	if (ctx->state == VGPU_CTX_NEW || !(ctx->flags & VGPU_QUEUE_KERNEL_SUBMIT))
		ret = -EINVAL;
	/* A ring's worth, however fast the device is: a call has an end. */
	count = min(arg->count, 1u << ctx->sq_log2);
	while (!ret && done < count) {
		n = min_t(u32, count - done, KSUBMIT_BATCH);
		if (copy_from_user(batch, user + done, n * sizeof(*batch))) {
			ret = -EFAULT;
			break;
		}
		ret = ksubmit_push(ctx, batch, n);
		if (ret < 0)
			break;
		done += ret;
		if (ret < n)
			break;
		ret = 0;
	}
	mutex_unlock(&ctx->lock);
	if (ret < 0 && !done)
		return ret;
	if (!done)
		return -EAGAIN;
	arg->count = done;
	return 0;
}

/* Copies up to @n completions out of the ring; they stay there until consumed. */
static int ksubmit_peek(struct vgpu_ctx *ctx, struct vgpu_cqe *cqe, u32 n)
{
	int srcu_idx, err;
	u32 ready, i;

	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		return err;
	ready = vgpu_ctx_cq_prod(ctx) - ctx->k_cq_cons;
	n = min3(n, ready, 1u << ctx->cq_log2);
	for (i = 0; i < n; i++)
		cqe[i] = *ksubmit_cqe(ctx, ctx->k_cq_cons + i);
	vgpu_dev_exit(ctx->vd, srcu_idx);
	return n;
}

static int ksubmit_consume(struct vgpu_ctx *ctx, u32 n)
{
	int srcu_idx, err;

	err = vgpu_ctx_enter(ctx, &srcu_idx);
	if (err)
		return err;
	ctx->k_cq_cons += n;
	/* Release: the slots were read before they are given back (R2). */
	smp_store_release((__force u32 *)&vgpu_ctx_rw(ctx)->cq_cons,
			  (__force u32)cpu_to_le32(ctx->k_cq_cons));
	vgpu_dev_exit(ctx->vd, srcu_idx);
	return 0;
}

int vgpu_ctx_reap(struct vgpu_ctx *ctx, struct vgpu_reap *arg)
{
	struct vgpu_cqe __user *user = u64_to_user_ptr(arg->entries);
	struct vgpu_cqe batch[KSUBMIT_BATCH];
	u32 count, done = 0;
	int ret = 0;

	if (arg->rsvd)
		return -EINVAL;
	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	if (ctx->state == VGPU_CTX_NEW || !(ctx->flags & VGPU_QUEUE_KERNEL_SUBMIT))
		ret = -EINVAL;
	count = min(arg->count, 1u << ctx->cq_log2);
	while (!ret && done < count) {
		int n = ksubmit_peek(ctx, batch, min_t(u32, count - done, KSUBMIT_BATCH));

		if (n <= 0) {
			ret = n;
			break;
		}
		/* First out, then consumed: a bad pointer loses no completion. */
		if (copy_to_user(user + done, batch, n * sizeof(*batch)))
			ret = -EFAULT;
		else
			ret = ksubmit_consume(ctx, n);
		if (!ret)
			done += n;
	}
	mutex_unlock(&ctx->lock);
	if (ret && !done)
		return ret;
	arg->count = done;
	return 0;
}
