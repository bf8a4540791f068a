/* SPDX-License-Identifier: MIT */
/*
 * The account of a vm process: see report.h.
 *
 * Counters of living contexts are read from pages that their exec processes write, with
 * relaxed loads, and each only once: they may be wrong, and nothing is decided by them.
 */
#include <daemon/vm.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static uint64_t stat_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

void vm_totals_add(struct vgpu_report_totals *totals, const struct vgpu_xstats *stats)
{
    totals->commands += stat_load(&stats->commands);
    totals->errors += stat_load(&stats->errors);
    totals->doorbells += stat_load(&stats->doorbells);
    totals->interrupts += stat_load(&stats->interrupts);
    totals->kernels += stat_load(&stats->kernels);
    totals->kernel_ns += stat_load(&stats->kernel_ns);
    totals->bytes_h2d += stat_load(&stats->bytes_h2d);
    totals->bytes_d2h += stat_load(&stats->bytes_d2h);
    totals->bytes_staged += stat_load(&stats->bytes_staged);
    totals->sleeps += stat_load(&stats->sleeps);
}

/* poll() says of many descriptors at once which of them aren't open; the vm process has no /proc. */
static uint32_t report_count_fds(int max_fds)
{
    enum { AT_ONCE = 256 };
    struct pollfd asked[AT_ONCE];
    uint32_t count = 0;
    int n;

    for (int first = 0; first < max_fds; first += n) {
        n = max_fds - first < AT_ONCE ? max_fds - first : AT_ONCE;
        for (int i = 0; i < n; i++)
            asked[i] = (struct pollfd){.fd = first + i};
        if (poll(asked, (nfds_t)n, 0) < 0)
            continue; /* no memory for it: an account that is too small, of this moment only */
        for (int i = 0; i < n; i++)
            count += !(asked[i].revents & POLLNVAL);
    }
    return count;
}

static void report_ctx(const struct vm_ctx *ctx, struct vgpu_report_ctx *out)
{
    *out = (struct vgpu_report_ctx){
        .ctx = ctx->id,
        .pid = (uint32_t)ctx->pid,
        .state = ctx->state,
        .lost_status = ctx->lost_status,
        .memory_held = ctx->granted_bytes,
        .buffers = ctx->buf_count,
        .buffer_bytes = ctx->buf_bytes,
    };
    memcpy(out->lost_message, ctx->lost_message, sizeof(out->lost_message));
    if (ctx->stats) {
        vm_totals_add(&out->totals, ctx->stats);
        out->modules = stat_load(&ctx->stats->modules);
    }
}

static void report_add(struct vgpu_report_totals *to, const struct vgpu_report_totals *from)
{
    to->commands += from->commands;
    to->errors += from->errors;
    to->doorbells += from->doorbells;
    to->interrupts += from->interrupts;
    to->kernels += from->kernels;
    to->kernel_ns += from->kernel_ns;
    to->bytes_h2d += from->bytes_h2d;
    to->bytes_d2h += from->bytes_d2h;
    to->bytes_staged += from->bytes_staged;
    to->sleeps += from->sleeps;
}

static void report_device(const struct vm *vm, struct vgpu_report *report)
{
    struct vgpu_dev_stats dev;
    struct vgpu_dma_stats dma;

    vgpu_dev_get_stats(vm->dev, &dev);
    vgpu_dma_get_stats(vm->dma, &dma);
    report->state = dev.state;
    report->generation = dev.generation;
    report->contexts = dev.contexts;
    report->lost = dev.lost;
    report->buffers = dev.buffers;
    report->buffer_bytes = dev.buffer_bytes;
    report->admin_commands = dev.admin_commands;
    report->guest_errors = dev.guest_errors;
    report->dma_ranges = dma.ranges;
    report->dma_files = dma.files;
    report->dma_bytes = dma.mapped_bytes;
    if (vm->bus)
        vgpu_vfio_user_get_stats(vm->bus, &report->messages, &report->messages_refused);
    if (vm->xen) {
        struct vgpu_xen_stats xen;

        vgpu_xen_get_stats(vm->xen, &xen);
        report->messages = xen.config + xen.mmio;
    }
}

void vm_report_send(struct vm *vm)
{
    uint32_t n = vm->setup.config.contexts;
    struct {
        struct vgpu_report head;
        struct vgpu_report_ctx ctxs[];
    } *msg = calloc(1, sizeof(*msg) + n * sizeof(msg->ctxs[0]));
    struct vgpu_report *report;

    if (!msg)
        return; /* vgpud says that there was no answer */
    report = &msg->head;
    *report = (struct vgpu_report){
        .magic = VGPU_REPORT_MAGIC,
        .exec_alive = vm->alive,
        .open_fds = report_count_fds(vm->max_fds),
        .memory_held = vm->quota.held_bytes,
        .memory_limit = vm->quota.limit_bytes,
        .contexts_created = vm->totals_created,
        .contexts_lost = vm->totals_lost,
        .totals = vm->totals,
    };
    report_device(vm, report);
    for (struct vm_unmap *u = vm->unmaps; u; u = u->next)
        report->unmaps_pending++;
    for (uint32_t i = 0; i < n; i++) {
        struct vgpu_report_ctx *out = &msg->ctxs[report->ctx_count];

        if (vm->ctxs[i].state == VM_CTX_FREE)
            continue;
        report_ctx(&vm->ctxs[i], out);
        report_add(&report->totals, &out->totals);
        report->ctx_count++;
    }
    if (send(vm->control_sock, msg, sizeof(*report) + report->ctx_count * sizeof(msg->ctxs[0]),
             MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        vgpu_debug(VGPU_LOG_CONTROL, "report could not be sent");
    free(msg);
}
