/* SPDX-License-Identifier: MIT */
/*
 * guestsim: one machine - attach, registers, interrupts.
 *
 * Plays what a virtual machine monitor does at realize (version, DMA maps, device
 * and region information, doorbell fds, interrupt eventfds) and then what the
 * guest's kernel driver does at probe (identification, test registers, ENABLE).
 *
 * Locking: ctx_lock guards the context table.  An interrupt's descriptor number never changes while
 * the machine lives.
 */
#include "guestsim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VM_RAM_BYTES (64ull << 20)
#define ADMIN_LOG2   6
#define IRQ_CHUNK    8 /* eventfds per message, as QEMU sends them */
#define LOST_POLL_MS 20

uint32_t gs_reg_read(struct gs_vm *vm, uint32_t reg)
{
    uint32_t value;

    if (gs_vfu_region_read(&vm->vfu, VGPU_BAR_REGS, reg, &value, sizeof(value)))
        return VGPU_ALL_ONES;
    return value;
}

void gs_reg_write(struct gs_vm *vm, uint32_t reg, uint32_t value)
{
    /* A failed write is what a guest can't see either: the next read tells. */
    (void)gs_vfu_region_write(&vm->vfu, VGPU_BAR_REGS, reg, &value, sizeof(value), true);
}

int gs_reg_wait(struct gs_vm *vm, uint32_t reg, uint32_t mask, uint32_t want,
                unsigned int timeout_ms)
{
    uint64_t deadline = gs_deadline(timeout_ms);

    while ((gs_reg_read(vm, reg) & mask) != want) {
        if (vm->vfu.dead)
            return -ECONNRESET;
        if (gs_now_ns() > deadline)
            return -ETIMEDOUT;
        poll(NULL, 0, 1);
    }
    return 0;
}

/* ---- What the monitor does ---- */

static int vm_map_ram(struct gs_vm *vm)
{
    for (unsigned int r = 0; r < GS_RAM_REGIONS; r++) {
        const struct gs_region *region = &vm->ram.region[r];
        int rc = gs_vfu_dma_map(&vm->vfu, region->dma, region->bytes, vm->ram.fd, region->offset,
                                VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);

        if (rc)
            return rc;
    }
    return 0;
}

static int vm_check_info(struct gs_vm *vm)
{
    struct vfio_device_info info = {.argsz = 16};
    struct gs_vfu_call call = {.command = GS_VFU_GET_INFO,
                               .req = &info,
                               .req_bytes = 16,
                               .reply = &info,
                               .reply_room = 16};
    static const uint64_t bar_bytes[6] = {VGPU_BAR_REGS_SIZE, 0, VGPU_BAR_DOORBELL_SIZE, 0,
                                          VGPU_BAR_MSIX_SIZE, 0};
    uint16_t ids[2];
    int rc;

    rc = gs_vfu_call(&vm->vfu, &call);
    if (rc)
        return rc;
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX ||
        info.num_irqs <= VFIO_PCI_MSIX_IRQ_INDEX)
        return -EPROTO;
    for (uint32_t i = 0; i < 6; i++) {
        struct vfio_region_info region = {.argsz = sizeof(region), .index = i};
        struct gs_vfu_call get = {.command = GS_VFU_GET_REGION_INFO,
                                  .req = &region,
                                  .req_bytes = sizeof(region),
                                  .reply = &region,
                                  .reply_room = sizeof(region)};

        rc = gs_vfu_call(&vm->vfu, &get);
        if (rc)
            return rc;
        if (region.size != bar_bytes[i])
            return -EPROTO;
    }
    rc = gs_vfu_region_read(&vm->vfu, VFIO_PCI_CONFIG_REGION_INDEX, 0, ids, sizeof(ids));
    if (rc)
        return rc;
    return ids[0] == VGPU_PCI_VENDOR_ID && ids[1] == VGPU_PCI_DEVICE_ID ? 0 : -ENODEV;
}

struct io_fds_head {
    uint32_t argsz, flags, index, count;
};

struct io_fd {
    uint64_t offset, bytes;
    uint32_t fd_index, type, flags, pad;
    uint64_t datamatch;
};

/* The doorbells' ioeventfds.  A server without them, or with fewer than there are
 * contexts, is rung by messages. */
static int vm_get_doorbells(struct gs_vm *vm)
{
    struct io_fds_head req = {.index = VGPU_BAR_DOORBELL};
    struct {
        struct io_fds_head head;
        struct io_fd sub[VGPU_MAX_CONTEXTS];
    } reply;
    int fds[GS_MAX_FDS];
    struct gs_vfu_call call = {.command = GS_VFU_GET_REGION_IO_FDS,
                               .req = &req,
                               .req_bytes = sizeof(req),
                               .reply = &reply,
                               .reply_room = sizeof(reply),
                               .reply_fds = fds,
                               .reply_fd_room = GS_MAX_FDS};
    int rc;

    req.argsz = sizeof(reply);
    rc = gs_vfu_call(&vm->vfu, &call);
    if (rc)
        return vm->vfu.dead ? rc : 0;
    if (call.reply_bytes < sizeof(req) || call.reply_bytes > sizeof(reply) ||
        call.reply_bytes < sizeof(req) + (uint64_t)reply.head.count * sizeof(struct io_fd))
        rc = -EPROTO;
    for (uint32_t i = 0; !rc && i < reply.head.count; i++) {
        const struct io_fd *sub = &reply.sub[i];

        if (sub->fd_index >= call.reply_fd_count || sub->type != 0 ||
            sub->offset % VGPU_DOORBELL_STRIDE || sub->offset >= VGPU_BAR_DOORBELL_SIZE ||
            sub->bytes != 4) {
            rc = -EPROTO;
            break;
        }
        vm->doorbell_fds[sub->offset / VGPU_DOORBELL_STRIDE] = fds[sub->fd_index];
        fds[sub->fd_index] = -1;
    }
    for (size_t i = 0; i < call.reply_fd_count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

static int vm_set_irqs(struct gs_vm *vm)
{
    struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX};
    struct gs_vfu_call call = {.command = GS_VFU_GET_IRQ_INFO,
                               .req = &info,
                               .req_bytes = sizeof(info),
                               .reply = &info,
                               .reply_room = sizeof(info)};
    int rc;

    rc = gs_vfu_call(&vm->vfu, &call);
    if (rc)
        return rc;
    if (!(info.flags & VFIO_IRQ_INFO_EVENTFD) || info.count < 2 || info.count > VGPU_MSIX_VECTORS)
        return -EPROTO;
    vm->vectors = info.count;
    for (uint32_t v = 0; v < vm->vectors; v++) {
        vm->irq_fds[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (vm->irq_fds[v] < 0)
            return -errno;
    }
    for (uint32_t v = 0; v < vm->vectors && !rc; v += IRQ_CHUNK) {
        uint32_t n = vm->vectors - v < IRQ_CHUNK ? vm->vectors - v : IRQ_CHUNK;

        rc = gs_vfu_set_irq_fds(&vm->vfu, v, vm->irq_fds + v, n);
    }
    return rc;
}

static int vm_attach(struct gs_vm *vm, const struct gs_vm_config *config)
{
    int rc;

    rc = gs_vfu_connect(&vm->vfu, config->socket);
    if (!rc)
        rc = gs_vfu_version(&vm->vfu, 0, 0, config->max_msg_fds ? config->max_msg_fds : GS_MAX_FDS);
    if (!rc)
        rc = vm_map_ram(vm);
    if (!rc)
        rc = vm_check_info(vm);
    if (!rc && !(config->flags & GS_VM_NO_IO_FDS))
        rc = vm_get_doorbells(vm);
    if (!rc)
        rc = vm_set_irqs(vm);
    return rc;
}

int gs_vm_open(const struct gs_vm_config *config, struct gs_vm **out)
{
    struct gs_vm *vm = calloc(1, sizeof(*vm));
    int rc;

    if (!vm)
        return -ENOMEM;
    vm->vfu.fd = -1;
    vm->flags = config->flags;
    for (unsigned int i = 0; i < VGPU_MSIX_VECTORS; i++)
        vm->irq_fds[i] = -1;
    for (unsigned int i = 0; i < VGPU_MAX_CONTEXTS; i++)
        vm->doorbell_fds[i] = -1;
    pthread_mutex_init(&vm->ctx_lock, NULL);
    pthread_mutex_init(&vm->admin_lock, NULL);
    rc = gs_ram_init(&vm->ram, config->ram_bytes ? config->ram_bytes : VM_RAM_BYTES);
    if (!rc)
        rc = vm_attach(vm, config);
    if (!rc && !(config->flags & GS_VM_NO_ENABLE)) {
        rc = gs_vm_test_registers(vm);
        if (!rc)
            rc = gs_vm_enable(vm, config->admin_first_idx);
    }
    if (rc) {
        gs_vm_close(vm);
        return rc;
    }
    *out = vm;
    return 0;
}

void gs_vm_close(struct gs_vm *vm)
{
    if (!vm)
        return;
    gs_vfu_close(&vm->vfu);
    for (unsigned int i = 0; i < VGPU_MAX_CONTEXTS; i++)
        if (vm->ctxs[i])
            gs_ctx_forget(vm->ctxs[i]);
    for (unsigned int i = 0; i < VGPU_MSIX_VECTORS; i++)
        if (vm->irq_fds[i] >= 0)
            close(vm->irq_fds[i]);
    for (unsigned int i = 0; i < VGPU_MAX_CONTEXTS; i++)
        if (vm->doorbell_fds[i] >= 0)
            close(vm->doorbell_fds[i]);
    gs_ram_fini(&vm->ram);
    pthread_mutex_destroy(&vm->ctx_lock);
    pthread_mutex_destroy(&vm->admin_lock);
    free(vm);
}

/* ---- What the guest's driver does ---- */

static int test_echo(struct gs_vm *vm)
{
    static const uint32_t patterns[] = {0, 0xffffffff, 0x5a5a1234, 0xa5a5edcb};

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        gs_reg_write(vm, VGPU_REG_TEST_ECHO, patterns[i]);
        if (gs_reg_read(vm, VGPU_REG_TEST_ECHO) != ~patterns[i])
            return -EIO;
    }
    return 0;
}

static int test_dma(struct gs_vm *vm)
{
    uint32_t *page = gs_ram_alloc(&vm->ram, VGPU_PAGE_BYTES);
    uint64_t dma;
    int rc = 0;

    if (!page)
        return -ENOMEM;
    dma = gs_ram_dma(&vm->ram, page);
    for (uint32_t i = 0; i < 64; i++)
        page[i] = i * 0x01010101u;
    gs_reg_write(vm, VGPU_REG_TEST_DMA_LO, (uint32_t)dma);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_HI, (uint32_t)(dma >> 32));
    gs_reg_write(vm, VGPU_REG_TEST_DMA_LEN, 256);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_GO, 1);
    if (gs_reg_read(vm, VGPU_REG_TEST_DMA_STATUS) != VGPU_ST_OK)
        rc = -EFAULT;
    for (uint32_t i = 0; !rc && i < 64; i++)
        if (page[64 + i] != ~(i * 0x01010101u) || page[i] != i * 0x01010101u)
            rc = -EIO;
    gs_ram_free(&vm->ram, page, VGPU_PAGE_BYTES);
    return rc;
}

int gs_vm_test_registers(struct gs_vm *vm)
{
    int rc;

    if (gs_reg_read(vm, VGPU_REG_MAGIC) != VGPU_MAGIC ||
        gs_reg_read(vm, VGPU_REG_ABI_VERSION) >> 16 != VGPU_ABI_MAJOR)
        return -ENODEV;
    rc = gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS);
    if (rc)
        return rc;
    rc = test_echo(vm);
    if (rc)
        return rc;
    for (uint32_t v = 0; v < vm->vectors; v++) {
        gs_reg_write(vm, VGPU_REG_TEST_IRQ, v);
        rc = gs_irq_wait(vm, v, GS_TIMEOUT_MS);
        if (rc)
            return rc;
    }
    return test_dma(vm);
}

int gs_vm_enable(struct gs_vm *vm, uint32_t first_idx)
{
    uint32_t bytes = vgpu_queue_bytes(ADMIN_LOG2, ADMIN_LOG2);
    uint64_t dma;
    int rc;

    if (!vm->admin_block)
        vm->admin_block = gs_ram_alloc(&vm->ram, bytes);
    if (!vm->admin_block)
        return -ENOMEM;
    memset(vm->admin_block, 0, bytes);
    gs_ring_init(&vm->admin, vm->admin_block, ADMIN_LOG2, ADMIN_LOG2, first_idx);
    dma = gs_ram_dma(&vm->ram, vm->admin_block);
    gs_reg_write(vm, VGPU_REG_ADMIN_BASE_LO, (uint32_t)dma);
    gs_reg_write(vm, VGPU_REG_ADMIN_BASE_HI, (uint32_t)(dma >> 32));
    gs_reg_write(vm, VGPU_REG_ADMIN_LOG2, ADMIN_LOG2 << 8 | ADMIN_LOG2);
    gs_reg_write(vm, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE);
    rc = gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_READY, GS_TIMEOUT_MS);
    if (rc)
        return rc;
    vm->generation = gs_reg_read(vm, VGPU_REG_GENERATION);
    vm->max_contexts = gs_reg_read(vm, VGPU_REG_MAX_CONTEXTS);
    return vm->generation && vm->max_contexts <= VGPU_MAX_CONTEXTS ? 0 : -EPROTO;
}

int gs_vm_reset(struct gs_vm *vm)
{
    int rc;

    gs_reg_write(vm, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    rc = gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS);
    return rc ? rc : gs_vm_enable(vm, 0);
}

void gs_vm_ring(struct gs_vm *vm, uint32_t ctx)
{
    static const uint64_t one = 1;
    static const uint32_t value = 1;

    if (ctx < VGPU_MAX_CONTEXTS && vm->doorbell_fds[ctx] >= 0) {
        /* A full eventfd counter is a rung doorbell all the same. */
        if (write(vm->doorbell_fds[ctx], &one, sizeof(one)) < 0 && errno != EAGAIN)
            abort();
        return;
    }
    (void)gs_vfu_region_write(&vm->vfu, VGPU_BAR_DOORBELL,
                              (uint64_t)ctx * VGPU_DOORBELL_STRIDE + VGPU_DOORBELL_OFFSET, &value,
                              sizeof(value), true);
}

int gs_irq_wait(struct gs_vm *vm, unsigned int vector, unsigned int timeout_ms)
{
    uint64_t deadline = gs_deadline(timeout_ms), count;

    for (;;) {
        struct pollfd pfd = {.fd = vm->irq_fds[vector], .events = POLLIN};
        uint64_t now = gs_now_ns();

        if (read(pfd.fd, &count, sizeof(count)) == sizeof(count))
            return 0;
        if (now >= deadline)
            return -ETIMEDOUT;
        /* In slices: the eventfd may be replaced meanwhile. */
        poll(&pfd, 1, LOST_POLL_MS);
    }
}

int gs_irq_swap(struct gs_vm *vm, unsigned int vector)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    rc = gs_vfu_set_irq_fds(&vm->vfu, vector, &fd, 1);
    /* Whatever is pending in the old eventfd is lost with it: the device's one spurious
     * signal on the new one must make up for that.  The number stays, so that a thread
     * about to poll it finds the new eventfd. */
    if (!rc && dup3(fd, vm->irq_fds[vector], O_CLOEXEC) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

bool gs_ctx_is_lost(struct gs_vm *vm, uint32_t ctx)
{
    /* all-ones, a vanished device, counts as lost too */
    return gs_reg_read(vm, VGPU_REG_CTX_LOST + ctx / 32 * 4) >> (ctx % 32) & 1;
}
