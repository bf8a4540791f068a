/* SPDX-License-Identifier: MIT */
/*
 * Interrupt vectors: see irqs.h.
 *
 * Raising writes 1 to an eventfd.  A client's eventfd may be full or closed at the other end: that
 * loses nothing, a full one is signalled already, so the result of the write is of no interest.
 */
#include <bus/irqs.h>

#include <assert.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/vfs.h>
#include <unistd.h>

void vgpu_irqs_init(struct vgpu_irqs *irqs)
{
    *irqs = (struct vgpu_irqs){0};
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++)
        irqs->fd[v] = -1;
}

void vgpu_irqs_fini(struct vgpu_irqs *irqs)
{
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++) {
        if (irqs->fd[v] >= 0)
            close(irqs->fd[v]);
        irqs->fd[v] = -1;
    }
}

int vgpu_irqs_fd(const struct vgpu_irqs *irqs, unsigned int vector)
{
    assert(vector < VGPU_MSIX_VECTORS);
    return irqs->masked[vector] ? -1 : irqs->fd[vector];
}

void vgpu_irqs_raise(struct vgpu_irqs *irqs, unsigned int vector)
{
    struct pollfd pfd = {.fd = vgpu_irqs_fd(irqs, vector), .events = POLLOUT};
    const uint64_t one = 1;

    irqs->pending[vector] = pfd.fd < 0;
    /* A full one would block us, if its owner made it blocking. */
    if (pfd.fd < 0 || poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLOUT))
        return;
    if (write(pfd.fd, &one, sizeof(one)) < 0)
        return;
}

bool vgpu_irqs_fd_is_fit(int fd)
{
    struct statfs fs;

    return !fstatfs(fd, &fs) && fs.f_type == ANON_INODE_FS_MAGIC;
}

static void irqs_flush(struct vgpu_irqs *irqs, unsigned int vector)
{
    if (irqs->pending[vector] && vgpu_irqs_fd(irqs, vector) >= 0)
        vgpu_irqs_raise(irqs, vector);
}

bool vgpu_irqs_set_fd(struct vgpu_irqs *irqs, unsigned int vector, int fd)
{
    int old;

    assert(vector < VGPU_MSIX_VECTORS);
    old = irqs->fd[vector];
    if (old >= 0)
        close(old);
    irqs->fd[vector] = fd;
    /* One may have gone to the old descriptor after its reader had left it. */
    irqs->pending[vector] |= old >= 0 && fd >= 0;
    irqs_flush(irqs, vector);
    return (old >= 0 || fd >= 0) && !irqs->masked[vector];
}

bool vgpu_irqs_set_masked(struct vgpu_irqs *irqs, unsigned int vector, bool masked)
{
    assert(vector < VGPU_MSIX_VECTORS);
    if (irqs->masked[vector] == masked)
        return false;
    irqs->masked[vector] = masked;
    irqs_flush(irqs, vector);
    return irqs->fd[vector] >= 0;
}
