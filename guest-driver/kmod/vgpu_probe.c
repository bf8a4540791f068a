// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Bringing the device up (spec 5.3, 6): prove it, then use it.
 *
 * vgpu_dev_bring_up() runs from the recovery work alone, with recover_mutex held
 * and nobody else using the device.  It never waits long: while the device is
 * busy with itself it returns and is called again.
 *
 *   -EAGAIN  nothing answers (all-ones), try again later
 *   -EBUSY   QUIESCING, RESETTING: try again soon
 *   other    the device or this machine is wrong; reported once, tried again later
 *
 * Order: identity, quiet (a reset, whatever was before), limits, then the test registers - echo
 * proves MMIO, an interrupt on every vector proves MSI-X, a transfer proves DMA -
 * and only then the admin queue, ENABLE, and the executor's properties.  A back end
 * that was replaced in between is noticed at the end, by its generation.
 */
#include <linux/delay.h>
#include <linux/iommu.h>

#include "vgpu.h"

#define PROBE_POLL_US      200
#define PROBE_SETTLE_POLLS 100

/* Reports each kind of trouble once, until something else happens. */
static __printf(4, 5) void probe_trouble(struct vgpu_dev *vd, int err, u32 detail, const char *fmt,
					 ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (vd->last_trouble == err && vd->last_detail == detail)
		return;
	vd->last_trouble = err;
	vd->last_detail = detail;
	va_start(args, fmt);
	vaf.va = &args;
	dev_err(&vd->dev, "%pV", &vaf);
	va_end(args);
}

static int probe_identity(struct vgpu_dev *vd)
{
	u32 magic = vgpu_read(vd, VGPU_REG_MAGIC);
	u32 abi;

	if (magic == VGPU_ALL_ONES) {
		vd->reset_written = false;
		probe_trouble(vd, -EAGAIN, 0,
			      "no back end answers (registers read all-ones): is vgpud running on the host? Waiting for it\n");
		return -EAGAIN;
	}
	if (magic != VGPU_MAGIC) {
		probe_trouble(vd, -ENODEV, magic, "magic %#x instead of %#x: not a vgpu device\n",
			      magic, VGPU_MAGIC);
		return -ENODEV;
	}
	abi = vgpu_read(vd, VGPU_REG_ABI_VERSION);
	if (abi >> 16 != VGPU_ABI_MAJOR) {
		probe_trouble(vd, -EPROTO, abi,
			      "device speaks ABI %u.%u, this driver %u.x: update the older of them\n",
			      abi >> 16, abi & 0xffff, VGPU_ABI_MAJOR);
		return -EPROTO;
	}
	vd->abi_version = abi;
	return 0;
}

/* STATE, after giving a reset that has nothing to wait for the time it takes. */
static u32 probe_settled_state(struct vgpu_dev *vd)
{
	unsigned int i;
	u32 state;

	for (i = 0; i < PROBE_SETTLE_POLLS; i++) {
		state = vgpu_read(vd, VGPU_REG_STATE);
		if (state != VGPU_STATE_RESETTING && state != VGPU_STATE_QUIESCING)
			break;
		usleep_range(PROBE_POLL_US, 2 * PROBE_POLL_US);
	}
	return state;
}

/* Resets to DISABLED, which proves that nothing older writes any more. */
static int probe_quiet(struct vgpu_dev *vd)
{
	u32 state = probe_settled_state(vd);
	u32 generation;

	if (state == VGPU_STATE_READY || state == VGPU_STATE_FAILED ||
	    (state == VGPU_STATE_DISABLED && !vd->reset_written)) {
		vgpu_write(vd, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
		vd->reset_written = true;
		state = probe_settled_state(vd);
	}
	if (state == VGPU_ALL_ONES)
		return -EAGAIN;
	if (state != VGPU_STATE_DISABLED)
		return -EBUSY;
	generation = vgpu_read(vd, VGPU_REG_GENERATION);
	if (!generation || generation == VGPU_ALL_ONES)
		return -EBUSY;
	WRITE_ONCE(vd->generation, generation);
	vgpu_dev_proved_quiet(vd);
	vgpu_write(vd, VGPU_REG_ERR_STATUS, vgpu_read(vd, VGPU_REG_ERR_STATUS));
	return 0;
}

static void probe_read_limits(struct vgpu_dev *vd, struct vgpu_limits *lim)
{
	u32 ring = vgpu_read(vd, VGPU_REG_RING_LOG2);

	lim->max_contexts = vgpu_read(vd, VGPU_REG_MAX_CONTEXTS);
	lim->min_ring_log2 = ring & 0xff;
	lim->max_ring_log2 = ring >> 8 & 0xff;
	lim->max_buffers = vgpu_read(vd, VGPU_REG_MAX_BUFFERS);
	lim->msix_vectors = vgpu_read(vd, VGPU_REG_MSIX_VECTORS);
	lim->max_param_bytes = vgpu_read(vd, VGPU_REG_MAX_PARAM);
	lim->max_sg = vgpu_read(vd, VGPU_REG_MAX_SG);
	lim->max_arena_bytes = vgpu_read(vd, VGPU_REG_MAX_ARENA);
	lim->max_buffer_bytes = vgpu_read64(vd, VGPU_REG_MAX_BUFFER_LO);
	lim->max_image_bytes = vgpu_read64(vd, VGPU_REG_MAX_IMAGE_LO);
	lim->heartbeat_ms = vgpu_read(vd, VGPU_REG_HEARTBEAT_MS);
	lim->admin_max_ms = vgpu_read(vd, VGPU_REG_ADMIN_MAX_MS);
}

/* Limits outside the ABI's constants would break sizes we computed from those. */
static bool probe_limits_are_sane(const struct vgpu_limits *lim)
{
	return lim->max_contexts >= 1 && lim->max_contexts <= VGPU_MAX_CONTEXTS &&
	       lim->min_ring_log2 >= VGPU_MIN_RING_LOG2 &&
	       lim->min_ring_log2 <= lim->max_ring_log2 &&
	       lim->max_ring_log2 <= VGPU_MAX_RING_LOG2 &&
	       lim->max_buffers >= 2 && lim->max_buffers <= VGPU_MAX_BUFFERS &&
	       lim->max_param_bytes <= VGPU_MAX_PARAM_BYTES && lim->max_sg >= 1 &&
	       lim->max_arena_bytes >= VGPU_MIN_ARENA_BYTES &&
	       lim->max_arena_bytes <= VGPU_MAX_ARENA_BYTES &&
	       lim->max_buffer_bytes >= PAGE_SIZE &&
	       lim->max_buffer_bytes <= VGPU_MAX_BUFFER_BYTES &&
	       lim->max_image_bytes <= VGPU_MAX_IMAGE_BYTES && lim->msix_vectors >= 2 &&
	       lim->heartbeat_ms >= 1 && lim->heartbeat_ms <= 1000 &&
	       lim->admin_max_ms >= 1 && lim->admin_max_ms <= 600000;
}

static int probe_limits(struct vgpu_dev *vd)
{
	struct vgpu_limits lim;
	u32 least;

	probe_read_limits(vd, &lim);
	if (!probe_limits_are_sane(&lim)) {
		if (vgpu_read(vd, VGPU_REG_MAGIC) != VGPU_MAGIC)
			return -EAGAIN;
		probe_trouble(vd, -ERANGE, 0,
			      "limits out of the ABI's range: contexts %u, rings 2^%u..2^%u, buffers %u of %#llx bytes, arena %u, vectors %u, heartbeat %u ms, admin %u ms\n",
			      lim.max_contexts, lim.min_ring_log2, lim.max_ring_log2,
			      lim.max_buffers, lim.max_buffer_bytes, lim.max_arena_bytes,
			      lim.msix_vectors, lim.heartbeat_ms, lim.admin_max_ms);
		return -ERANGE;
	}
	least = lim.admin_max_ms + 2 * lim.heartbeat_ms;
	lim.stall_ms = vgpu_stall_ms ?: lim.admin_max_ms + VGPU_STALL_HEARTBEATS * lim.heartbeat_ms;
	if (lim.stall_ms < least) {
		probe_trouble(vd, -EDOM, least,
			      "stall_ms=%u is too short: the back end may need %u ms for a command and beats every %u ms, so %u is the least\n",
			      vgpu_stall_ms, lim.admin_max_ms, lim.heartbeat_ms, least);
		return -EDOM;
	}
	vd->lim = lim;
	return 0;
}

static int probe_test_echo(struct vgpu_dev *vd)
{
	static const u32 patterns[] = { 0x12345678, 0xa5a5a5a5, 0x00000000, 0x80000001 };
	unsigned int i;
	u32 got;

	for (i = 0; i < ARRAY_SIZE(patterns); i++) {
		vgpu_write(vd, VGPU_REG_TEST_ECHO, patterns[i]);
		got = vgpu_read(vd, VGPU_REG_TEST_ECHO);
		if (got != ~patterns[i]) {
			if (got == VGPU_ALL_ONES && vgpu_read(vd, VGPU_REG_MAGIC) != VGPU_MAGIC)
				return -EAGAIN;
			probe_trouble(vd, -EIO, 1,
				      "register test: wrote %#x, read %#x instead of %#x\n",
				      patterns[i], got, ~patterns[i]);
			return -EIO;
		}
	}
	return 0;
}

static int probe_test_irqs(struct vgpu_dev *vd)
{
	unsigned int n = min_t(unsigned int, vd->nvec, vd->lim.msix_vectors);
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct vgpu_vec *vec = &vd->vec[i];
		int before = atomic_read(&vec->seen);

		vgpu_write(vd, VGPU_REG_TEST_IRQ, i);
		if (wait_event_timeout(vd->irq_wq, atomic_read(&vec->seen) != before,
				       msecs_to_jiffies(vd->lim.stall_ms)))
			continue;
		if (vgpu_read(vd, VGPU_REG_MAGIC) != VGPU_MAGIC)
			return -EAGAIN;
		probe_trouble(vd, -ETIME, i,
			      "interrupt test: vector %u (irq %d) did not fire in %u ms\n",
			      i, vec->irq, vd->lim.stall_ms);
		return -ETIME;
	}
	return 0;
}

static int probe_wait_dma_test(struct vgpu_dev *vd, u32 *status)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(vd->lim.stall_ms);

	do {
		*status = vgpu_read(vd, VGPU_REG_TEST_DMA_STATUS);
		if (*status == VGPU_ALL_ONES)
			return -EAGAIN;
		if (*status != VGPU_ST_BUSY)
			return 0;
		usleep_range(PROBE_POLL_US, 2 * PROBE_POLL_US);
	} while (!time_after(jiffies, deadline));
	return 0;
}

static bool probe_dma_result_is_right(const u32 *word, u32 words)
{
	u32 i;

	for (i = 0; i < words; i++)
		if (READ_ONCE(word[words + i]) != ~(i * 2654435761u))
			return false;
	return true;
}

/* The admin queue's query page serves: nothing else uses it before ENABLE. */
static int probe_test_dma(struct vgpu_dev *vd)
{
	struct vgpu_dma *mem = &vd->admin.page;
	u32 words = VGPU_TEST_DMA_MAX / 4;
	u32 *word = mem->cpu;
	u32 status, i;
	int err;

	for (i = 0; i < words; i++) {
		word[i] = i * 2654435761u;
		word[words + i] = 0;
	}
	vd->admin.exposed = true;
	vgpu_write64(vd, VGPU_REG_TEST_DMA_LO, mem->addr);
	vgpu_write(vd, VGPU_REG_TEST_DMA_LEN, VGPU_TEST_DMA_MAX);
	vgpu_write(vd, VGPU_REG_TEST_DMA_GO, 1);
	err = probe_wait_dma_test(vd, &status);
	if (err)
		return err;
	if (status == VGPU_ST_OK && probe_dma_result_is_right(word, words))
		return 0;
	probe_trouble(vd, -EFAULT, status, "DMA test at %pad: status %#x (%s), data %s\n",
		      &mem->addr, status, vgpu_status_text(status),
		      probe_dma_result_is_right(word, words) ? "right" : "wrong");
	return -EFAULT;
}

static int probe_enable(struct vgpu_dev *vd)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(vd->lim.stall_ms);
	u32 state, detail;

	vgpu_admin_expose(vd);
	vgpu_write64(vd, VGPU_REG_DRV_FEATURES_LO,
		     vgpu_read64(vd, VGPU_REG_FEATURES_LO) & VGPU_FEATURES_KNOWN);
	vgpu_admin_start(vd);
	vgpu_write(vd, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
	for (;;) {
		state = vgpu_read(vd, VGPU_REG_STATE);
		if (state == VGPU_STATE_READY)
			return 0;
		if (state == VGPU_ALL_ONES)
			return -EAGAIN;
		if (state == VGPU_STATE_FAILED || time_after(jiffies, deadline))
			break;
		usleep_range(PROBE_POLL_US, 2 * PROBE_POLL_US);
	}
	detail = vgpu_read(vd, VGPU_REG_ERR_DETAIL);
	probe_trouble(vd, -EREMOTEIO, detail,
		      "ENABLE: state %u, status %#x (%s): see the host's log\n",
		      state, detail, vgpu_status_text(detail));
	return -EREMOTEIO;
}

/* Is there an IOMMU that the DMA API manages, on a machine with coherent DMA? */
bool vgpu_dma_is_translated(struct vgpu_dev *vd)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&vd->pdev->dev);

	return IS_ENABLED(CONFIG_X86) && domain && (domain->type & __IOMMU_DOMAIN_DMA_API);
}

/**
 * vgpu_dma_bounces - would a streaming transfer go through a bounce buffer?
 * @vd: the device
 * @page: what was mapped
 * @offset: in the page
 * @addr: DMA address it was given
 *
 * A program's mapped submission never passes the kernel, so nobody could
 * synchronise one.  Behind an IOMMU dma_need_sync() says yes to be safe; there
 * the page tables tell whether the device reaches the page itself.
 */
bool vgpu_dma_bounces(struct vgpu_dev *vd, struct page *page, size_t offset, dma_addr_t addr)
{
	struct device *dev = &vd->pdev->dev;

	if (!dma_need_sync(dev, addr))
		return false;
	return !vgpu_dma_is_translated(vd) ||
	       iommu_iova_to_phys(iommu_get_domain_for_dev(dev), addr) !=
		       page_to_phys(page) + offset;
}

/* Asks the DMA API with one page, so that the answer is known before any pinning. */
static int probe_must_stage(struct vgpu_dev *vd)
{
	struct device *dev = &vd->pdev->dev;
	struct page *page = alloc_page(GFP_KERNEL);
	dma_addr_t addr;

	if (!page)
		return -ENOMEM;
	addr = dma_map_page(dev, page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(dev, addr)) {
		vd->must_stage = true;
	} else {
		vd->must_stage = vgpu_dma_bounces(vd, page, 0, addr);
		dma_unmap_page(dev, addr, PAGE_SIZE, DMA_BIDIRECTIONAL);
	}
	__free_page(page);
	if (vd->must_stage && !vd->must_stage_told) {
		vd->must_stage_told = true;
		dev_info(&vd->dev, "DMA from user memory would go through bounce buffers (swiotlb): programs copy through coherent buffers instead\n");
	}
	return 0;
}

static int probe_set_ready(struct vgpu_dev *vd)
{
	bool ready;

	spin_lock_irq(&vd->lock);
	ready = vd->state == VGPU_DEV_AWAY;
	if (ready)
		vd->state = VGPU_DEV_READY;
	spin_unlock_irq(&vd->lock);
	if (!ready)
		return 0; /* held or removed meanwhile: whoever did that cleans up */
	vd->last_trouble = 0;
	/* %pE: the back end chose the name, and shall not write lines of the log. */
	dev_info(&vd->dev, "%*pE, executor %s, generation %u, ABI %u.%u, %u contexts, %u vectors, %llu MiB\n",
		 (int)strlen(vd->props.name), vd->props.name, vgpu_exec_name(le32_to_cpu(vd->props.exec_kind)),
		 vd->generation, vd->abi_version >> 16, vd->abi_version & 0xffff,
		 vd->lim.max_contexts, vd->nvec, le64_to_cpu(vd->props.memory_bytes) >> 20);
	/* What happened between the query and now raised vector 0 when it was ignored. */
	queue_work(vd->wq, &vd->scan);
	return 0;
}

int vgpu_dev_bring_up(struct vgpu_dev *vd)
{
	int (*const steps[])(struct vgpu_dev *vd) = {
		probe_identity, probe_quiet,    probe_limits, vgpu_admin_init, probe_test_echo,
		probe_test_irqs, probe_test_dma, probe_enable,
	};
	unsigned int i;
	int err;

	vd->heartbeat_valid = false;
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		err = steps[i](vd);
		if (err)
			return err;
	}
	vd->reset_written = false;
	err = vgpu_admin_query(vd, VGPU_QUERY_PROPS, 0, &vd->props, sizeof(vd->props));
	if (err) {
		probe_trouble(vd, -ENOMSG, -err,
			      "the device does not tell its properties: error %d\n",
			      err);
		return -ENOMSG;
	}
	vd->props.name[sizeof(vd->props.name) - 1] = '\0';
	if (vgpu_read(vd, VGPU_REG_GENERATION) != vd->generation)
		return -EBUSY;
	err = probe_must_stage(vd);
	return err ?: probe_set_ready(vd);
}
