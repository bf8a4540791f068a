/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to the back end: made, kept, lost, made again.
 *
 * Theory of operation.  The device does not need a back end to exist.  While
 * there is none its registers read as all ones and swallow writes, which is
 * what a PCI device that has gone looks like, and a timer tries to connect.  A
 * connection is brought up in the states of VgpuConnState, in order:
 *
 *      state       asks the back end for                         and checks
 *      VERSION     protocol version, its limits                  both
 *      INFO        device, regions 0 2 4 7, MSI-X                they are ours
 *      IDENTITY    the head of config space                      IDs, class
 *      DOORBELLS   eventfds of the doorbell pages                each of them
 *      IRQS        to signal our eventfds                        that it will
 *      MAPS        to map guest memory                           nothing more
 *      LIVE        whatever the guest does
 *
 * A state's requests are sent at its entry; when the last reply has come the
 * next state is entered.  All of this is driven by the main loop and blocks
 * nobody.  Each reply postpones the handshake's time limit.  Only a LIVE device
 * makes vCPUs wait, each time for a bounded time, after which the connection is
 * given up: so a back end that hangs costs one guest access timeout_ms, once.
 * One that always comes back only to hang again would stall the guest for good;
 * the pause before the next attempt doubles each time that happens.
 *
 * Every failure ends in conn_down(), called from the main loop only: it undoes
 * whatever has been done, in reverse order, and starts the timer.  Since the
 * device of a new connection is a new device (another generation), nothing is
 * carried over but what QEMU itself knows: eventfds and memory.
 *
 * Register writes are posted: like PCI's own they have no completion, the
 * socket keeps them in order with the reads and resets that follow, and an
 * error shows in the device's error register.  The device is nudged into the
 * driver's view by one interrupt on vector 0 when it goes or comes.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/pci/pci.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "vgpu-device.h"
#include "vgpu-trace.h"

/* Messages per period; what exceeds them is counted, and the count reported. */
#define MESSAGES_BURST      8
#define MESSAGES_PERIOD_MS  60000

/*
 * Longest pause after stalls, and how long a connection must last to be trusted
 * again.
 */
#define STALLED_PAUSE_MAX_MS 30000
#define STALLED_FORGIVEN_MS  60000

static const char *const state_names[] = {
    [VGPU_CONN_DOWN] = "down",
    [VGPU_CONN_VERSION] = "version",
    [VGPU_CONN_INFO] = "info",
    [VGPU_CONN_IDENTITY] = "identity",
    [VGPU_CONN_DOORBELLS] = "doorbells",
    [VGPU_CONN_IRQS] = "irqs",
    [VGPU_CONN_MAPS] = "maps",
    [VGPU_CONN_LIVE] = "live",
};

static void conn_enter(VgpuDevice *dev, VgpuConnState state);

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

/* ---- Messages to the operator ---- */

/* The id that the operator gave, else the address; to be freed. */
static char *conn_name(VgpuDevice *dev)
{
    DeviceState *qdev = DEVICE(dev);
    PCIDevice *pci = PCI_DEVICE(dev);

    if (qdev->id) {
        return g_strdup(qdev->id);
    }
    return g_strdup_printf("%02x:%02x.%x", pci_dev_bus_num(pci),
                           PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn));
}

/* May one more message go out?  First says what has been held back. */
static bool message_allowed(VgpuDevice *dev)
{
    VgpuConn *conn = &dev->conn;
    int64_t now = now_ms();

    if (now - conn->messages_since_ms >= MESSAGES_PERIOD_MS) {
        conn->messages_since_ms = now;
        conn->messages = 0;
    }
    if (conn->messages++ >= MESSAGES_BURST) {
        conn->suppressed++;
        return false;
    }
    if (conn->suppressed) {
        g_autofree char *name = conn_name(dev);

        warn_report("vgpu-pci %s: %u messages suppressed", name,
                    conn->suppressed);
        conn->suppressed = 0;
    }
    return true;
}

void vgpu_conn_complain(VgpuDevice *dev, const char *fmt, ...)
{
    VgpuConn *conn = &dev->conn;
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (g_strcmp0(text, conn->last_complaint) != 0 && message_allowed(dev)) {
        g_autofree char *name = conn_name(dev);

        warn_report("vgpu-pci %s: %s", name, text);
        g_free(conn->last_complaint);
        conn->last_complaint = g_steal_pointer(&text);
    }
}

/* ---- LIVE ---- */

static void enter_live(VgpuDevice *dev)
{
    dev->conn.live_since_ms = now_ms();
    timer_del(dev->conn.timer);
    vgpu_doorbell_wire(dev);
    if (message_allowed(dev)) {
        g_autofree char *name = conn_name(dev);

        info_report("vgpu-pci %s: connected to %s", name, dev->socket);
    }
    g_free(dev->conn.last_complaint);
    dev->conn.last_complaint = NULL;
    VGPU_TRACE(conn_live, "%s", dev->socket);
    vgpu_irq_nudge(dev, VGPU_VECTOR_ADMIN);
}

/* ---- The state machine ---- */

static void (*const state_enter[])(VgpuDevice *dev) = {
    [VGPU_CONN_VERSION] = vgpu_handshake_version,
    [VGPU_CONN_INFO] = vgpu_handshake_info,
    [VGPU_CONN_IDENTITY] = vgpu_handshake_identity,
    [VGPU_CONN_DOORBELLS] = vgpu_handshake_doorbells,
    [VGPU_CONN_IRQS] = vgpu_handshake_irqs,
    [VGPU_CONN_MAPS] = vgpu_handshake_maps,
    [VGPU_CONN_LIVE] = enter_live,
};

static void conn_enter(VgpuDevice *dev, VgpuConnState state)
{
    VGPU_TRACE(conn_state, "%s -> %s", state_names[dev->conn.state],
               state_names[state]);
    dev->conn.state = state;
    state_enter[state](dev);
}

/* Called after each reply. */
static void conn_progress(void *opaque)
{
    VgpuDevice *dev = opaque;
    VgpuConn *conn = &dev->conn;

    if (conn->state == VGPU_CONN_DOWN || conn->state == VGPU_CONN_LIVE) {
        return;
    }
    timer_mod(conn->timer, now_ms() + dev->timeout_ms);
    /* A state may have nothing to ask: MAPS, while bus mastering is off. */
    while (conn->state != VGPU_CONN_LIVE && vgpu_client_is_up(&conn->client) &&
           vgpu_client_is_idle(&conn->client)) {
        conn_enter(dev, conn->state + 1);
    }
}

/* How long to wait after the connection that has just ended? */
static unsigned conn_pause_ms(VgpuDevice *dev, bool was_live)
{
    VgpuConn *conn = &dev->conn;
    uint64_t pause = dev->reconnect_ms;

    if (was_live && (!conn->client.timed_out ||
                     now_ms() - conn->live_since_ms >= STALLED_FORGIVEN_MS)) {
        conn->stalls = 0;
    }
    if (was_live && conn->client.timed_out) {
        conn->stalls = MIN(conn->stalls + 1, 16);
    }
    if (conn->stalls) {
        pause = MIN(pause << conn->stalls,
                    MAX(STALLED_PAUSE_MAX_MS, dev->reconnect_ms));
    }
    return pause;
}

/* The connection is over: back to where none was, and try again later. */
static void conn_down(VgpuDevice *dev)
{
    VgpuConn *conn = &dev->conn;
    bool was_live = conn->state == VGPU_CONN_LIVE;
    unsigned pause_ms = conn_pause_ms(dev, was_live);

    VGPU_TRACE(conn_lost, "state %s: %s; pause %u ms",
               state_names[conn->state],
               conn->client.reason ? conn->client.reason : "shut down",
               pause_ms);
    conn->state = VGPU_CONN_DOWN;
    vgpu_client_stop(&conn->client);
    vgpu_doorbell_drop(dev);
    vgpu_dma_stop(dev);
    if (conn->discard_disabled) {
        ram_block_uncoordinated_discard_disable(false);
        conn->discard_disabled = false;
    }
    if (was_live) {
        vgpu_irq_nudge(dev, VGPU_VECTOR_ADMIN);
    }
    timer_mod(conn->timer, now_ms() + pause_ms);
}

static void conn_broken(void *opaque)
{
    VgpuDevice *dev = opaque;

    vgpu_conn_complain(dev, "connection to %s lost: %s", dev->socket,
                       dev->conn.client.reason);
    conn_down(dev);
}

/* An AF_UNIX socket connects at once or not at all. */
static int conn_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -errno;
    }
    pstrcpy(addr.sun_path, sizeof(addr.sun_path), path);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int err = errno;

        close(fd);
        return -err;
    }
    return fd;
}

static void conn_timer(void *opaque)
{
    VgpuDevice *dev = opaque;
    VgpuConn *conn = &dev->conn;
    int fd;

    if (conn->state != VGPU_CONN_DOWN) {
        vgpu_client_break(&conn->client, "handshake: no answer within %u ms "
                          "(state %s)", dev->timeout_ms,
                          state_names[conn->state]);
        return;
    }
    fd = conn_connect(dev->socket);
    VGPU_TRACE(conn_attempt, "%s: %d", dev->socket, fd);
    if (fd < 0) {
        vgpu_conn_complain(dev, "cannot connect to %s: %s; the device has no "
                           "back end until that succeeds", dev->socket,
                           strerror(-fd));
        timer_mod(conn->timer, now_ms() + dev->reconnect_ms);
        return;
    }
    vgpu_client_start(&conn->client, fd);
    timer_mod(conn->timer, now_ms() + dev->timeout_ms);
    conn_enter(dev, VGPU_CONN_VERSION);
}

/* ---- What the guest does ---- */

uint64_t vgpu_conn_read(VgpuDevice *dev, unsigned bar, uint64_t offset,
                        unsigned size)
{
    struct {
        VfuRegionAccess acc;
        uint8_t data[8];
    } QEMU_PACKED reply;
    VfuRegionAccess acc = {
        .offset = offset,
        .region = bar,
        .count = size,
    };
    VgpuClientMessage msg = {
        .command = VFU_REGION_READ,
        .data[0] = &acc,
        .len[0] = sizeof(acc),
    };
    uint64_t value = 0;
    ssize_t ret;

    assert(size <= sizeof(reply.data));
    if (!vgpu_conn_is_live(dev)) {
        return UINT64_MAX;
    }
    ret = vgpu_client_call(&dev->conn.client, &msg, &reply,
                           sizeof(acc) + size, dev->timeout_ms,
                           "a register read");
    if (ret != (ssize_t)(sizeof(acc) + size) ||
        memcmp(&reply.acc, &acc, sizeof(acc)) != 0) {
        vgpu_client_break(&dev->conn.client, "a register read is answered "
                          "with %s", ret < 0 ? strerror(-ret) :
                          "something else");
        return UINT64_MAX;
    }
    vgpu_irq_flush(dev);
    memcpy(&value, reply.data, size);
    value = le64_to_cpu(value);
    VGPU_TRACE(reg_read, "bar %u offset 0x%" PRIx64 " size %u value 0x%" PRIx64,
               bar, offset, size, value);
    return value;
}

void vgpu_conn_write(VgpuDevice *dev, unsigned bar, uint64_t offset,
                     uint64_t value, unsigned size)
{
    VfuRegionAccess acc = {
        .offset = offset,
        .region = bar,
        .count = size,
    };
    uint64_t data = cpu_to_le64(value);
    VgpuClientMessage msg = {
        .command = VFU_REGION_WRITE,
        .no_reply = true,
        .data = { &acc, &data },
        .len = { sizeof(acc), size },
    };

    assert(size <= sizeof(data));
    VGPU_TRACE(reg_write, "bar %u offset 0x%" PRIx64 " size %u value 0x%"
               PRIx64, bar, offset, size, value);
    if (vgpu_conn_is_live(dev) && vgpu_client_send(&dev->conn.client, &msg)) {
        /* a guest that writes faster than the back end reads waits for it */
        vgpu_client_wait(&dev->conn.client, NULL, NULL, dev->timeout_ms,
                         "register writes");
    }
}

void vgpu_conn_reset(VgpuDevice *dev)
{
    VgpuClientMessage msg = { .command = VFU_DEVICE_RESET };
    ssize_t ret;

    VGPU_TRACE(device_reset, "live %d", vgpu_conn_is_live(dev));
    if (!vgpu_conn_is_live(dev)) {
        return;
    }
    ret = vgpu_client_call(&dev->conn.client, &msg, NULL, 0,
                           dev->release_timeout_ms, "a reset");
    if (ret < 0) {
        vgpu_client_break(&dev->conn.client, "a reset is answered with %s",
                          strerror(-ret));
    }
}

/* ---- Life ---- */

void vgpu_conn_init(VgpuDevice *dev)
{
    VgpuConn *conn = &dev->conn;

    conn->state = VGPU_CONN_DOWN;
    vgpu_client_init(&conn->client, conn_broken, conn_progress, dev);
    conn->timer = timer_new_ms(QEMU_CLOCK_REALTIME, conn_timer, dev);
    /* the main loop makes the first attempt */
    timer_mod(conn->timer, now_ms());
}

void vgpu_conn_fini(VgpuDevice *dev)
{
    VgpuConn *conn = &dev->conn;

    vgpu_conn_reset(dev);
    conn_down(dev);
    timer_free(conn->timer);
    vgpu_client_fini(&conn->client);
    g_free(conn->last_complaint);
    conn->last_complaint = NULL;
}
