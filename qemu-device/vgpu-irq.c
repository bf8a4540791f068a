/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X vectors on eventfds.
 *
 * Theory of operation.  Each vector has one eventfd for the device's whole
 * life.  The back end gets all of them at connect and signals them; who listens
 * is decided here:
 *
 *   - KVM, through an irqfd, while MSI-X is enabled and the vector is unmasked
 *     and KVM can do it;
 *   - else the main loop, which calls msix_notify().  That sends the message,
 *     or sets the pending bit if the vector is masked.
 *
 * vector_update() moves a vector to the listener it should have and may be
 * called at any time, any number of times: QEMU's mask notifiers come unpaired
 * around resets, and none comes when MSI-X is disabled as a whole.  No
 * interrupt is lost in the move: the eventfd stays the same, its count is kept
 * while nobody listens, and KVM as well as the main loop look at the count
 * when they begin to listen.
 *
 * PCI orders a device's interrupts before the completion of a read that it
 * answers later: a driver that has read "reset done" may free its handlers.  An
 * eventfd that waits for the main loop would break that, so each register read
 * is followed by vgpu_irq_flush().  (An irqfd acts when it is signalled.)
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include <poll.h>
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "sysemu/kvm.h"
#include "vgpu-device.h"
#include "vgpu-trace.h"

static unsigned vector_index(const VgpuVector *vec)
{
    return vec - vec->dev->vectors;
}

static void vector_deliver(VgpuVector *vec)
{
    PCIDevice *pci = PCI_DEVICE(vec->dev);
    unsigned index = vector_index(vec);

    VGPU_TRACE(irq_notify, "vector %u enabled %d masked %d", index,
               !!msix_enabled(pci), msix_is_masked(pci, index));
    /* After a reset QEMU's own idea of "function masked" lags behind. */
    if (msix_enabled(pci)) {
        msix_notify(pci, index);
    } else {
        msix_set_pending(pci, index);
    }
}

static void vector_readable(void *opaque)
{
    VgpuVector *vec = opaque;

    if (event_notifier_test_and_clear(&vec->notifier)) {
        vector_deliver(vec);
    }
}

static void vector_listen(VgpuVector *vec, bool listen)
{
    qemu_set_fd_handler(event_notifier_get_fd(&vec->notifier),
                        listen ? vector_readable : NULL, NULL, vec);
}

/* Give the vector to KVM.  False: it won't have it. */
static bool vector_route(VgpuVector *vec)
{
    KVMRouteChange change = kvm_irqchip_begin_route_changes(kvm_state);
    int virq = kvm_irqchip_add_msi_route(&change, vector_index(vec),
                                         PCI_DEVICE(vec->dev));

    if (virq < 0) {
        return false;
    }
    kvm_irqchip_commit_route_changes(&change);
    vector_listen(vec, false);
    if (kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &vec->notifier, NULL,
                                           virq) < 0) {
        kvm_irqchip_release_virq(kvm_state, virq);
        vector_listen(vec, true);
        return false;
    }
    vec->virq = virq;
    return true;
}

static void vector_unroute(VgpuVector *vec)
{
    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &vec->notifier, vec->virq);
    kvm_irqchip_release_virq(kvm_state, vec->virq);
    vec->virq = -1;
    vector_listen(vec, true);
}

static void vector_update(VgpuVector *vec, bool unmasked)
{
    bool want = unmasked && msix_enabled(PCI_DEVICE(vec->dev)) &&
                kvm_msi_via_irqfd_enabled();

    if (want == (vec->virq >= 0)) {
        return;
    }
    if (!want) {
        vector_unroute(vec);
    } else {
        want = vector_route(vec);
    }
    VGPU_TRACE(irq_route, "vector %u irqfd %d", vector_index(vec), want);
}

/* Never fails: MSI-X core does not expect it, and there is the main loop. */
static int vector_use(PCIDevice *pci, unsigned vector, MSIMessage msg)
{
    vector_update(&VGPU_PCI(pci)->vectors[vector], true);
    return 0;
}

static void vector_release(PCIDevice *pci, unsigned vector)
{
    vector_update(&VGPU_PCI(pci)->vectors[vector], false);
}

void vgpu_irq_flush(VgpuDevice *dev)
{
    struct pollfd fds[VGPU_MSIX_VECTORS];
    int ready;

    for (unsigned i = 0; i < VGPU_MSIX_VECTORS; i++) {
        VgpuVector *vec = &dev->vectors[i];

        fds[i].fd = vec->virq < 0 ? event_notifier_get_fd(&vec->notifier) : -1;
        fds[i].events = POLLIN;
    }
    ready = poll(fds, VGPU_MSIX_VECTORS, 0);
    for (unsigned i = 0; ready > 0 && i < VGPU_MSIX_VECTORS; i++) {
        if (fds[i].fd >= 0 && (fds[i].revents & POLLIN)) {
            vector_readable(&dev->vectors[i]);
            ready--;
        }
    }
}

/* The guest reads the PBA: what was signalled and not yet seen is pending. */
static void vector_poll(PCIDevice *pci, unsigned start, unsigned end)
{
    VgpuDevice *dev = VGPU_PCI(pci);

    for (unsigned i = start; i < MIN(end, VGPU_MSIX_VECTORS); i++) {
        VgpuVector *vec = &dev->vectors[i];

        if (vec->virq < 0 && event_notifier_test_and_clear(&vec->notifier)) {
            vector_deliver(vec);
        }
    }
}

void vgpu_irq_config_changed(VgpuDevice *dev)
{
    PCIDevice *pci = PCI_DEVICE(dev);

    for (unsigned i = 0; i < VGPU_MSIX_VECTORS; i++) {
        vector_update(&dev->vectors[i], !msix_is_masked(pci, i));
    }
}

void vgpu_irq_drain(VgpuDevice *dev)
{
    for (unsigned i = 0; i < VGPU_MSIX_VECTORS; i++) {
        if (dev->vectors[i].virq < 0) {
            event_notifier_test_and_clear(&dev->vectors[i].notifier);
        }
    }
}

void vgpu_irq_nudge(VgpuDevice *dev, unsigned vector)
{
    if (msix_enabled(PCI_DEVICE(dev))) {
        event_notifier_set(&dev->vectors[vector].notifier);
    }
}

void vgpu_irq_get_fds(VgpuDevice *dev, int *fds)
{
    for (unsigned i = 0; i < VGPU_MSIX_VECTORS; i++) {
        fds[i] = event_notifier_get_wfd(&dev->vectors[i].notifier);
    }
}

static void irq_close(VgpuDevice *dev, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        VgpuVector *vec = &dev->vectors[i];

        if (vec->virq >= 0) {
            vector_unroute(vec);
        }
        vector_listen(vec, false);
        event_notifier_cleanup(&vec->notifier);
    }
}

bool vgpu_irq_init(VgpuDevice *dev, Error **errp)
{
    PCIDevice *pci = PCI_DEVICE(dev);
    int ret;

    ret = msix_init(pci, VGPU_MSIX_VECTORS,
                    &dev->bar_msix, VGPU_BAR_MSIX, VGPU_MSIX_TABLE_OFFSET,
                    &dev->bar_msix, VGPU_BAR_MSIX, VGPU_MSIX_PBA_OFFSET,
                    0, errp);
    if (ret < 0) {
        return false;
    }
    for (unsigned i = 0; i < VGPU_MSIX_VECTORS; i++) {
        VgpuVector *vec = &dev->vectors[i];

        vec->dev = dev;
        vec->virq = -1;
        ret = event_notifier_init(&vec->notifier, 0);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "cannot create an eventfd");
            irq_close(dev, i);
            msix_uninit(pci, &dev->bar_msix, &dev->bar_msix);
            return false;
        }
        vector_listen(vec, true);
        msix_vector_use(pci, i);
    }
    msix_set_vector_notifiers(pci, vector_use, vector_release, vector_poll);
    return true;
}

void vgpu_irq_fini(VgpuDevice *dev)
{
    PCIDevice *pci = PCI_DEVICE(dev);

    msix_unset_vector_notifiers(pci);
    irq_close(dev, VGPU_MSIX_VECTORS);
    msix_unuse_all_vectors(pci);
    msix_uninit(pci, &dev->bar_msix, &dev->bar_msix);
}
