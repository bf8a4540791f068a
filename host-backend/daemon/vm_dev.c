/* SPDX-License-Identifier: MIT */
/*
 * What the device core and the bus ask of the vm process, and the answers that must wait.
 *
 * The device forbids an answer inside its own call (device.h).  Such answers are queued
 * here and given by a work of the event loop, in their order.  A reset drops those still owed,
 * as the device demands.
 */
#include <daemon/vm.h>

#include <stdlib.h>
#include <unistd.h>

#define DEV_BUDGET 32u /* steps of admin work between two looks at everything else */

/* ---- Answers ---- */

static void answers_give(void *opaque)
{
    struct vm *vm = opaque;

    while (vm->answer_first) {
        struct vm_answer a = *vm->answer_first;

        free(vm->answer_first);
        vm->answer_first = a.next;
        if (!vm->answer_first)
            vm->answer_last = NULL;
        switch (a.kind) {
        case VM_ANSWER_CREATED: vgpu_dev_ctx_created(vm->dev, a.ctx, a.status); break;
        case VM_ANSWER_DESTROYED: vgpu_dev_ctx_destroyed(vm->dev, a.ctx); break;
        case VM_ANSWER_REGISTERED: vgpu_dev_buf_registered(vm->dev, a.ctx, a.buf, a.status); break;
        case VM_ANSWER_UNREGISTERED: vgpu_dev_buf_unregistered(vm->dev, a.ctx, a.buf); break;
        case VM_ANSWER_RESET:
            vm->resetting = false;
            vgpu_dev_reset_done(vm->dev);
            if (vm->bus)
                vgpu_vfio_user_reset_done(vm->bus);
            vm_bus_update(vm);
            break;
        }
    }
}

void vm_answer(struct vm *vm, enum vm_answer_kind kind, uint32_t ctx, uint32_t buf, uint16_t status)
{
    struct vm_answer *a = malloc(sizeof(*a));

    if (!a) {
        /* A device that waits for ever is worse than one that starts again. */
        vm_close(vm, "out of memory");
        return;
    }
    *a = (struct vm_answer){.kind = kind, .ctx = ctx, .buf = buf, .status = status};
    if (vm->answer_last)
        vm->answer_last->next = a;
    else
        vm->answer_first = a;
    vm->answer_last = a;
    vgpu_work_queue(&vm->loop, &vm->answer_work, answers_give, vm);
}

void vm_answers_drop(struct vm *vm)
{
    while (vm->answer_first) {
        struct vm_answer *a = vm->answer_first;

        vm->answer_first = a->next;
        free(a);
    }
    vm->answer_last = NULL;
}

/* ---- Ops of the device ---- */

static int dev_dma_read(void *opaque, uint64_t addr, void *buf, size_t bytes)
{
    struct vm *vm = opaque;

    return vm->xen ? vgpu_xen_dma_read(vm->xen, addr, buf, bytes)
                   : vgpu_dma_read(vm->dma, addr, buf, bytes);
}

static int dev_dma_write(void *opaque, uint64_t addr, const void *buf, size_t bytes)
{
    struct vm *vm = opaque;

    return vm->xen ? vgpu_xen_dma_write(vm->xen, addr, buf, bytes)
                   : vgpu_dma_write(vm->dma, addr, buf, bytes);
}

static int dev_dma_load32(void *opaque, uint64_t addr, uint32_t *value)
{
    struct vm *vm = opaque;

    return vm->xen ? vgpu_xen_dma_load32(vm->xen, addr, value)
                   : vgpu_dma_load32(vm->dma, addr, value);
}

static int dev_dma_store32(void *opaque, uint64_t addr, uint32_t value)
{
    struct vm *vm = opaque;

    return vm->xen ? vgpu_xen_dma_store32(vm->xen, addr, value)
                   : vgpu_dma_store32(vm->dma, addr, value);
}

static void dev_irq(void *opaque, unsigned int vector)
{
    vgpu_irqs_raise(&((struct vm *)opaque)->irqs, vector);
}

static void dev_work_run(void *opaque)
{
    struct vm *vm = opaque;

    if (vgpu_dev_work(vm->dev, DEV_BUDGET))
        vgpu_work_queue(&vm->loop, &vm->dev_work, dev_work_run, vm);
}

static void dev_kick(void *opaque)
{
    struct vm *vm = opaque;

    if (!vm->closing)
        vgpu_work_queue(&vm->loop, &vm->dev_work, dev_work_run, vm);
}

static uint64_t dev_now_ms(void *opaque)
{
    (void)opaque;
    return vgpu_now_ms();
}

static enum vgpu_log_level dev_level(enum vgpu_dev_log level)
{
    static const enum vgpu_log_level levels[] = {
        [VGPU_DEV_LOG_ERROR] = VGPU_LOG_ERROR,
        [VGPU_DEV_LOG_WARN] = VGPU_LOG_WARN,
        [VGPU_DEV_LOG_INFO] = VGPU_LOG_INFO,
        [VGPU_DEV_LOG_DEBUG] = VGPU_LOG_DEBUG,
    };

    return levels[level];
}

static void dev_log(void *opaque, enum vgpu_dev_log level, const char *message)
{
    struct vm *vm = opaque;

    if (level == VGPU_DEV_LOG_DEBUG)
        vgpu_debug(VGPU_LOG_CONTROL, "%s", message);
    else
        vgpu_log_limited(&vm->dev_log, dev_level(level), "%s", message);
}

const struct vgpu_dev_ops vm_dev_ops = {
    .dma_read = dev_dma_read,
    .dma_write = dev_dma_write,
    .dma_load32 = dev_dma_load32,
    .dma_store32 = dev_dma_store32,
    .irq = dev_irq,
    .ctx_create = vm_ctx_create,
    .ctx_destroy = vm_ctx_destroy,
    .buf_register = vm_buf_register,
    .buf_unregister = vm_buf_unregister,
    .reset = vm_ctx_reset_all,
    .kick = dev_kick,
    .now_ms = dev_now_ms,
    .log = dev_log,
};

/* ---- Ops of the bus ---- */

static void bus_doorbell(void *opaque, uint32_t ctx)
{
    const uint64_t one = 1;
    struct vm *vm = opaque;

    if (write(vm->doorbells[ctx], &one, sizeof(one)) < 0)
        return; /* full: it has been rung */
}

static int bus_doorbell_fd(void *opaque, uint32_t ctx)
{
    return ((struct vm *)opaque)->doorbells[ctx];
}

/* Hand the new descriptor to every executor that signals this vector. */
static void bus_irq_changed(void *opaque, unsigned int vector)
{
    struct vm *vm = opaque;

    for (uint32_t i = 0; vm->alive && i < vm->setup.config.contexts; i++) {
        struct vm_ctx *ctx = &vm->ctxs[i];

        if ((ctx->state == VM_CTX_STARTING || ctx->state == VM_CTX_LIVE) &&
            ctx->params.vector == vector)
            vm_exec_irq_changed(ctx);
    }
}

static void bus_log(void *opaque, enum vgpu_dev_log level, const char *message)
{
    struct vm *vm = opaque;

    if (level == VGPU_DEV_LOG_DEBUG)
        vgpu_debug(VGPU_LOG_DATA, "client: %s", message);
    else
        vgpu_log_limited(&vm->bus_log, dev_level(level), "client: %s", message);
}

const struct vgpu_bus_ops vm_bus_ops = {
    .doorbell = bus_doorbell,
    .doorbell_fd = bus_doorbell_fd,
    .irq_changed = bus_irq_changed,
    .dma_unmapped = vm_dma_unmapped,
    .log = bus_log,
};
