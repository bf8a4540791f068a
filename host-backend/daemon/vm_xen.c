/* SPDX-License-Identifier: MIT */
/*
 * A vm process whose VM is a Xen domain: what stands in for the client of vfio-user.
 *
 * Vectors have eventfds as with vfio-user, which exec processes signal; here the vm process itself
 * listens at their other ends, since only it can tell Xen.  The domain's end is found by asking
 * every VM_DOMAIN_MS.
 */
#include <daemon/vm.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VM_DOMAIN_MS 500u

struct vm_xen_vector {
    struct vm *vm;
    unsigned int vector;
    struct vgpu_source source;
};

static void xen_log(void *opaque, enum vgpu_dev_log level, const char *message)
{
    vm_bus_ops.log(opaque, level, message);
}

static void xen_doorbell(void *opaque, uint32_t ctx)
{
    struct vm *vm = opaque;

    if (ctx < vm->setup.config.contexts)
        vm_bus_ops.doorbell(opaque, ctx);
}

static const struct vgpu_xen_ops xen_ops = {.doorbell = xen_doorbell, .log = xen_log};

int vm_xen_open(struct vm *vm)
{
    const struct vgpu_vm_config *cfg = &vm->setup.config;
    char why[VGPU_WHY_BYTES];
    int ret = vgpu_xen_open(cfg->domid, cfg->slot, &vm->xen, why, sizeof(why));

    if (ret)
        vm_tell_failed(vm, why);
    return ret;
}

static void vector_event(void *opaque, uint32_t events)
{
    struct vm_xen_vector *v = opaque;
    uint64_t count;

    (void)events;
    if (read(v->source.fd, &count, sizeof(count)) == sizeof(count) && v->vm->xen)
        vgpu_xen_irq(v->vm->xen, v->vector);
}

static VGPU_MUST_CHECK int vector_init(struct vm *vm, struct vm_xen_vector *v, unsigned int vector)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return -errno;
    v->vm = vm;
    v->vector = vector;
    vgpu_irqs_set_fd(&vm->irqs, vector, fd);
    return vgpu_source_add(&vm->loop, &v->source, fd, EPOLLIN, vector_event, v);
}

static void xen_event(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    int ret = vgpu_xen_receive(vm->xen);

    (void)events;
    if (ret)
        vm_close(vm, strerror(-ret));
}

static void xen_check(void *opaque)
{
    struct vm *vm = opaque;

    if (vgpu_xen_check(vm->xen))
        vm_close(vm, "the domain is gone");
    else
        vgpu_timer_set(&vm->loop, &vm->xen_timer, VM_DOMAIN_MS, xen_check, vm);
}

int vm_xen_attach(struct vm *vm)
{
    char why[VGPU_WHY_BYTES];
    int ret = 0;

    vm->xen_vectors = calloc(VGPU_MSIX_VECTORS, sizeof(*vm->xen_vectors));
    if (!vm->xen_vectors)
        return -ENOMEM;
    for (unsigned int i = 0; i < VGPU_MSIX_VECTORS && !ret; i++)
        ret = vector_init(vm, &vm->xen_vectors[i], i);
    if (ret)
        return ret;
    ret = vgpu_xen_attach(vm->xen, vm->dev, &xen_ops, vm, vm->lock_fd, why, sizeof(why));
    if (ret) {
        vm_tell_failed(vm, why);
        return ret;
    }
    vgpu_log(VGPU_LOG_INFO, "serves domain %u, PCI slot %#x", vm->setup.config.domid,
             vm->setup.config.slot);
    vgpu_timer_set(&vm->loop, &vm->xen_timer, VM_DOMAIN_MS, xen_check, vm);
    return vgpu_source_add(&vm->loop, &vm->bus_source, vgpu_xen_fd(vm->xen), EPOLLIN, xen_event,
                           vm);
}

/*
 * vgpud has died, and this process is about to be killed: not in the middle of taking the device
 * from the guest, but now, while all is as a successor can take it over.
 */
void vm_xen_leave(void)
{
    vgpu_log(VGPU_LOG_WARN, "vgpud is gone: its domain waits for another");
    _exit(EXIT_FAILURE);
}

void vm_xen_close(struct vm *vm)
{
    if (!vm->xen)
        return;
    vgpu_timer_cancel(&vm->loop, &vm->xen_timer);
    for (unsigned int i = 0; vm->xen_vectors && i < VGPU_MSIX_VECTORS; i++)
        vgpu_source_remove(&vm->loop, &vm->xen_vectors[i].source);
    vgpu_xen_destroy(vm->xen);
    vm->xen = NULL;
}

uint16_t vm_xen_run(struct vm *vm, uint64_t addr, uint64_t bytes, uint32_t prot,
                    struct vgpu_dma_piece *piece)
{
    if (!vm->xen)
        return VGPU_ST_BAD_DMA;
    *piece = (struct vgpu_dma_piece){.file = 0, .prot = prot, .offset = addr, .bytes = bytes};
    return VGPU_ST_OK;
}
