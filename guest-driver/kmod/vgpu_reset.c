// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Losing the back end, and getting it back (spec 5, 11.5).
 *
 * States of the driver's device, see enum vgpu_dev_state:
 *
 *   AWAY  --recovery work: vgpu_dev_bring_up()-->  READY
 *   READY --vgpu_dev_lost()----------------------> AWAY
 *   any   --function reset, suspend--------------> HELD --done--> AWAY
 *   any   --remove-------------------------------> GONE
 *
 * Leaving READY, in this order: the state changes (new users are refused), the
 * admin queue stops (waiters for commands return), every context is marked lost
 * (its state word, its sleepers).  After that all readers of vd->srcu leave soon.
 *
 * "Slow" and "gone" are told apart by the heartbeat: a back end whose HEARTBEAT
 * register has not moved for stall_ms, or that reads all-ones, is gone.
 * stall_ms is ADMIN_MAX_MS plus VGPU_STALL_HEARTBEATS periods, so never shorter
 * than the time the back end is allowed to need; who waits looks every heartbeat, and
 * gives up one period early, so that calls fail within stall_ms.  The register is read only
 * while somebody waits for the device: by waiters for admin commands, and by the
 * watchdog, which runs while a context sleeps for completions and stops itself.
 */
#include <linux/delay.h>

#include "vgpu.h"

#define RESET_POLL_MS 5

static const struct {
	u16 value;
	const char *text;
} reset_status_texts[] = {
#define VGPU_STATUS_ROW(name, status, cuda, lost, words) { .value = (status), .text = (words) },
	VGPU_STATUS_LIST(VGPU_STATUS_ROW)
#undef VGPU_STATUS_ROW
};

const char *vgpu_status_text(u16 status)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(reset_status_texts); i++)
		if (reset_status_texts[i].value == status)
			return reset_status_texts[i].text;
	return "unknown status";
}

static struct vgpu_ctx *reset_next_ctx(struct vgpu_dev *vd, u32 *id)
{
	struct vgpu_ctx *ctx = NULL;

	spin_lock_irq(&vd->lock);
	for (; *id < VGPU_MAX_CONTEXTS && !ctx; (*id)++) {
		ctx = vd->ctxs[*id];
		if (ctx && !kref_get_unless_zero(&ctx->kref))
			ctx = NULL;
	}
	spin_unlock_irq(&vd->lock);
	return ctx;
}

/* Moves to @next.  Contexts end with @status.  Returns how many, -1 if it was not READY. */
static int reset_leave_ready(struct vgpu_dev *vd, enum vgpu_dev_state next, u16 status)
{
	struct vgpu_ctx *ctx;
	bool was_ready;
	int lost = 0;
	u32 id = 0;

	spin_lock_irq(&vd->lock);
	was_ready = vd->state == VGPU_DEV_READY;
	if (vd->state != VGPU_DEV_GONE && (was_ready || next != VGPU_DEV_AWAY))
		vd->state = next;
	spin_unlock_irq(&vd->lock);

	vgpu_admin_stop(vd);
	while ((ctx = reset_next_ctx(vd, &id))) {
		lost += vgpu_ctx_mark_lost(ctx, status, 0, NULL);
		vgpu_ctx_put(ctx);
	}
	wake_up_all(&vd->slot_wq);
	return was_ready ? lost : -1;
}

/**
 * vgpu_dev_lost - the back end is not usable any more
 * @vd: the device
 * @status: VGPU_ST_* that says why
 * @why: for the log
 *
 * Process context, any number of times, from inside vd->srcu as well.
 */
void vgpu_dev_lost(struct vgpu_dev *vd, u16 status, const char *why)
{
	int lost = reset_leave_ready(vd, VGPU_DEV_AWAY, status);

	if (lost < 0)
		return;
	dev_warn(&vd->dev, "back end of generation %u lost: %s; %d contexts lost with it; waiting for it to come back\n",
		 vd->generation, why, lost);
	mod_delayed_work(vd->wq, &vd->recover, 0);
}

/* Never more than half of the shortest window: ADMIN_MAX_MS + 2 heartbeats. */
static unsigned long reset_watch_period(struct vgpu_dev *vd)
{
	u32 beat_ms = clamp_t(u32, vd->lim.heartbeat_ms, 50, 1000);

	return msecs_to_jiffies(min(beat_ms, vd->lim.stall_ms / 4));
}

/* Silence is measured only over times in which somebody looked often enough. */
static bool reset_is_stalled(struct vgpu_dev *vd, u32 beat)
{
	unsigned long now = jiffies;
	unsigned long window = msecs_to_jiffies(vd->lim.stall_ms) - reset_watch_period(vd);
	bool stalled = false;

	spin_lock(&vd->beat_lock);
	if (!vd->heartbeat_valid || beat != vd->heartbeat ||
	    time_after(now, vd->heartbeat_checked + window / 2)) {
		vd->heartbeat = beat;
		vd->heartbeat_at = now;
		vd->heartbeat_valid = true;
	} else {
		stalled = time_after(now, vd->heartbeat_at + window);
	}
	vd->heartbeat_checked = now;
	spin_unlock(&vd->beat_lock);
	return stalled;
}

/**
 * vgpu_dev_check_alive - apply the rule of the heartbeat; declares the device lost
 * @vd: the device
 *
 * The caller is inside vd->srcu, or holds recover_mutex.
 */
bool vgpu_dev_check_alive(struct vgpu_dev *vd)
{
	u32 beat = vgpu_read(vd, VGPU_REG_HEARTBEAT);

	if (beat == VGPU_ALL_ONES) {
		vgpu_dev_lost(vd, VGPU_ST_BACKEND_LOST, "registers read all-ones");
		return false;
	}
	if (vgpu_read(vd, VGPU_REG_GENERATION) != READ_ONCE(vd->generation)) {
		vgpu_dev_lost(vd, VGPU_ST_GENERATION, "a new one has taken over");
		return false;
	}
	if (reset_is_stalled(vd, beat)) {
		vgpu_dev_lost(vd, VGPU_ST_BACKEND_LOST, "its heartbeat stopped");
		return false;
	}
	return true;
}

/**
 * vgpu_dev_proved_quiet - the device was seen in a state in which older DMA has ended
 * @vd: the device
 *
 * Frees what was waiting for that.  recover_mutex is held, the device is not READY.
 */
void vgpu_dev_proved_quiet(struct vgpu_dev *vd)
{
	struct vgpu_ctx *ctx, *next;
	LIST_HEAD(freed);

	spin_lock_irq(&vd->lock);
	vd->epoch++;
	list_splice_init(&vd->quarantine, &freed);
	spin_unlock_irq(&vd->lock);
	vd->admin.exposed = false;
	list_for_each_entry_safe(ctx, next, &freed, quarantine_link) {
		list_del_init(&ctx->quarantine_link);
		vgpu_ctx_free(ctx);
	}
}

/**
 * vgpu_dev_reset_wait - reset the device and wait for the proof that its DMA has ended
 * @vd: the device
 * @limit_ms: longest wait in ms
 *
 * Waits while the heart beats, @limit_ms at most: executors may take their time to die.
 * recover_mutex is held, the device is not READY.
 */
bool vgpu_dev_reset_wait(struct vgpu_dev *vd, unsigned int limit_ms)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(limit_ms);
	u32 state, beat;

	for (;;) {
		state = vgpu_read(vd, VGPU_REG_STATE);
		if (state == VGPU_STATE_DISABLED) {
			vgpu_dev_proved_quiet(vd);
			return true;
		}
		beat = vgpu_read(vd, VGPU_REG_HEARTBEAT);
		if (state == VGPU_ALL_ONES || beat == VGPU_ALL_ONES ||
		    reset_is_stalled(vd, beat) || time_after(jiffies, deadline))
			return false;
		/* Again if need be: the back end may have been replaced meanwhile. */
		if (state == VGPU_STATE_READY || state == VGPU_STATE_FAILED)
			vgpu_write(vd, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
		msleep(RESET_POLL_MS);
	}
}

static void reset_recover_work(struct work_struct *work)
{
	struct vgpu_dev *vd = container_of(work, struct vgpu_dev, recover.work);
	int err = 0;

	mutex_lock(&vd->recover_mutex);
	if (READ_ONCE(vd->state) != VGPU_DEV_AWAY)
		goto out;
	/* Nobody who saw READY is still inside. */
	synchronize_srcu(&vd->srcu);
	WRITE_ONCE(vd->bringing_up, true);
	err = vgpu_dev_bring_up(vd);
	WRITE_ONCE(vd->bringing_up, false);
	if (err)
		vgpu_admin_stop(vd);
out:
	mutex_unlock(&vd->recover_mutex);
	if (err)
		queue_delayed_work(vd->wq, &vd->recover,
				   msecs_to_jiffies(err == -EBUSY ? VGPU_BUSY_RETRY_MS :
								    VGPU_AWAY_RETRY_MS));
}

static void reset_drain_work(struct work_struct *work)
{
	vgpu_admin_drain(container_of(work, struct vgpu_dev, drain));
}

/* Vector 0 fired: the device may have failed, been replaced, or lost contexts. */
static void reset_scan_work(struct work_struct *work)
{
	struct vgpu_dev *vd = container_of(work, struct vgpu_dev, scan);
	u32 state;
	int srcu_idx;

	if (vgpu_dev_enter(vd, &srcu_idx))
		return;
	state = vgpu_read(vd, VGPU_REG_STATE);
	if (state == VGPU_STATE_FAILED) {
		u16 detail = vgpu_read(vd, VGPU_REG_ERR_DETAIL);

		vgpu_dev_lost(vd, VGPU_ST_BACKEND_LOST, vgpu_status_text(detail));
	} else if (state != VGPU_STATE_READY) {
		if (vgpu_dev_check_alive(vd))
			vgpu_dev_lost(vd, VGPU_ST_RESET, "the device left READY by itself");
	} else {
		vgpu_ctx_scan_lost(vd);
	}
	vgpu_dev_exit(vd, srcu_idx);
}

/*
 * Wakes whom an interrupt should have woken, and rings where a doorbell should have been heard.
 * Returns whether anybody still waits; *@settled says whether all queues stood still for a moment.
 */
static bool reset_watch_ctxs(struct vgpu_dev *vd, bool *settled)
{
	struct vgpu_ctx *ctx;
	bool watched = false, still;
	u32 id = 0;

	*settled = true;

	while ((ctx = reset_next_ctx(vd, &id))) {
		if (vgpu_ctx_is_watched(ctx)) {
			watched = true;
			spin_lock_irq(&ctx->vec->lock);
			still = vgpu_ctx_wake(ctx);
			spin_unlock_irq(&ctx->vec->lock);
			/* The device has heard of a queue that it moves. */
			if (still)
				vgpu_ctx_ring_again(ctx);
			*settled &= still;
		}
		vgpu_ctx_put(ctx);
	}
	return watched;
}

static void reset_watchdog_work(struct work_struct *work)
{
	struct vgpu_dev *vd = container_of(work, struct vgpu_dev, watchdog.work);
	int srcu_idx;
	bool settled;

	if (vgpu_dev_enter(vd, &srcu_idx))
		return;
	if (vgpu_dev_check_alive(vd)) {
		/* Covers a lost interrupt of vector 0 too. */
		vgpu_admin_drain(vd);
		vgpu_ctx_scan_lost(vd);
		if (reset_watch_ctxs(vd, &settled))
			queue_delayed_work(vd->wq, &vd->watchdog,
					   settled ? reset_watch_period(vd) : 0);
	}
	vgpu_dev_exit(vd, srcu_idx);
}

/*
 * Somebody starts to wait.  Does nothing if the watchdog already runs.  Inside vd->srcu, so that
 * vgpu_reset_hold() cancels the last one: a timer must not outlive the device.
 */
void vgpu_watchdog_kick(struct vgpu_dev *vd)
{
	if (!delayed_work_pending(&vd->watchdog))
		queue_delayed_work(vd->wq, &vd->watchdog, reset_watch_period(vd));
}

/* A queue moves too fast to be followed with interrupts off.  Any context, no timer. */
void vgpu_watchdog_now(struct vgpu_dev *vd)
{
	mod_delayed_work(vd->wq, &vd->watchdog, 0);
}

void vgpu_reset_init(struct vgpu_dev *vd)
{
	mutex_init(&vd->recover_mutex);
	spin_lock_init(&vd->beat_lock);
	INIT_DELAYED_WORK(&vd->recover, reset_recover_work);
	INIT_DELAYED_WORK(&vd->watchdog, reset_watchdog_work);
	INIT_WORK(&vd->drain, reset_drain_work);
	INIT_WORK(&vd->scan, reset_scan_work);
}

/**
 * vgpu_reset_hold - leave READY for a function reset, a suspend or for good
 * @vd: the device
 * @status: VGPU_ST_* that says why
 * @next: HELD or GONE
 *
 * When it returns nobody uses the device, and recovery does not start until the
 * state is AWAY again.
 */
void vgpu_reset_hold(struct vgpu_dev *vd, enum vgpu_dev_state next, u16 status)
{
	int lost = reset_leave_ready(vd, next, status);

	if (lost > 0)
		dev_info(&vd->dev, "%d contexts lost: %s\n", lost, vgpu_status_text(status));
	/* A bring-up in progress sees the new state when it is done. */
	mutex_lock(&vd->recover_mutex);
	mutex_unlock(&vd->recover_mutex);
	synchronize_srcu(&vd->srcu);
	/* A bring-up that ran meanwhile has started the queue again. */
	vgpu_admin_stop(vd);
	/* What it had taken out of the queue before it stopped frees memory, too. */
	flush_work(&vd->drain);
	cancel_delayed_work_sync(&vd->recover);
	cancel_delayed_work_sync(&vd->watchdog);
}

/* The end of HELD: look for the back end again. */
void vgpu_reset_release(struct vgpu_dev *vd)
{
	spin_lock_irq(&vd->lock);
	if (vd->state == VGPU_DEV_HELD)
		vd->state = VGPU_DEV_AWAY;
	spin_unlock_irq(&vd->lock);
	mod_delayed_work(vd->wq, &vd->recover, 0);
}
