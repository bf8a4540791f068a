/* SPDX-License-Identifier: MIT */
/*
 * The interrupt vectors of one device, as the client of a bus set them up.
 *
 * A vector has an eventfd or none, and may be masked.  What an interrupt goes to is its
 * *effective* descriptor: none while it is masked.  The vm process raises vector 0
 * itself and hands the effective descriptors of the others to exec processes; it
 * is told of every change, and after a change has taken effect everywhere it signals the
 * vector once more, because an interrupt may have gone to the old descriptor.
 */
#ifndef VGPU_BUS_IRQS_H
#define VGPU_BUS_IRQS_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/hw.h>

struct vgpu_irqs {
    int fd[VGPU_MSIX_VECTORS]; /* owned; -1: none */
    bool masked[VGPU_MSIX_VECTORS];
    bool pending[VGPU_MSIX_VECTORS]; /* raised here while there was no effective descriptor */
};

void vgpu_irqs_init(struct vgpu_irqs *irqs);
void vgpu_irqs_fini(struct vgpu_irqs *irqs);

/* Each returns true if the effective descriptor changed.  `fd` (or -1) is consumed. */
bool vgpu_irqs_set_fd(struct vgpu_irqs *irqs, unsigned int vector, int fd);
bool vgpu_irqs_set_masked(struct vgpu_irqs *irqs, unsigned int vector, bool masked);

/* The effective descriptor, owned by the table; -1: none. */
int vgpu_irqs_fd(const struct vgpu_irqs *irqs, unsigned int vector);

/* Could it be an eventfd?  (Files, sockets and pipes can't; what else there is without a name
 * takes no writes and so does no harm.) */
bool vgpu_irqs_fd_is_fit(int fd);

/* Signal the vector, or remember to when it gets a descriptor. */
void vgpu_irqs_raise(struct vgpu_irqs *irqs, unsigned int vector);

#endif /* VGPU_BUS_IRQS_H */
