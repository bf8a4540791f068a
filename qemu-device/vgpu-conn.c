/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to the back end: made, kept, lost, made again.
 *
 * Theory of operation.  The device does not need a back end to exist.  While
 * there is none its registers read as all ones and swallow writes, which is
 * what a PCI device that has gone looks like, and a timer tries to connect.  A
 * connection is brought up in the states of VgpuConnState, in order:
 *
 *      state       asks the back end for                         then checks
 *      VERSION     protocol version, its limits                  both
 *      INFO        device, regions 0 2 4 7, MSI-X                they are ours
 *      IDENTITY    the head of config space                      IDs, class
 *      DOORBELLS   eventfds of the doorbell pages                each of them
 *      IRQS        to signal our eventfds                        that it will
 *      MAPS        to map guest memory                           (may refuse some)
 *      LIVE        whatever the guest does
 *
 * A state's requests are sent at its entry; when the last reply has come the
 * next state is entered.  All of this is driven by the main loop and blocks
 * nobody.  Each reply postpones the handshake's time limit.  Only a LIVE device
 * makes vCPUs wait, each time for a bounded time, after which the connection is
 * given up: so a back end that hangs costs one guest access timeout_ms, once.
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
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "hw/pci/pci.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "vgpu-device.h"
#include "vgpu-trace.h"

/* Largest VERSION reply; a server's list of capabilities is a few lines. */
#define VERSION_REPLY_MAX   8192
/* What of config space identifies a device. */
#define IDENTITY_BYTES      0x40
/* Complaints: this many, then one line per period says how many more. */
#define COMPLAINTS_BURST    8
#define COMPLAINTS_PERIOD_MS 60000

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

/* ---- Complaints ---- */

static const char *conn_name(VgpuDevice *dev)
{
    DeviceState *qdev = DEVICE(dev);

    return qdev->id ? qdev->id : PCI_DEVICE(dev)->name;
}

static bool complaint_allowed(VgpuConn *conn)
{
    int64_t now = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);

    if (now - conn->complain_since_ms >= COMPLAINTS_PERIOD_MS) {
        conn->complain_since_ms = now;
        conn->complaints = 0;
    }
    return conn->complaints++ < COMPLAINTS_BURST;
}

void vgpu_conn_complain(VgpuDevice *dev, const char *fmt, ...)
{
    VgpuConn *conn = &dev->conn;
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (g_strcmp0(text, conn->last_complaint) == 0) {
        return;
    }
    if (!complaint_allowed(conn)) {
        conn->suppressed++;
        return;
    }
    if (conn->suppressed) {
        warn_report("vgpu-pci %s: %u messages suppressed", conn_name(dev),
                    conn->suppressed);
        conn->suppressed = 0;
    }
    warn_report("vgpu-pci %s: %s", conn_name(dev), text);
    g_free(conn->last_complaint);
    conn->last_complaint = g_steal_pointer(&text);
}

/* ---- Helpers of the handshake ---- */

static void conn_fail(VgpuDevice *dev, const char *what)
{
    vgpu_client_break(&dev->conn.client, "handshake: %s", what);
}

static void conn_request(VgpuDevice *dev, uint16_t command, const void *data,
                         size_t len, size_t max_reply, VgpuReplyFunc *reply)
{
    VgpuClientMessage msg = {
        .command = command,
        .data[0] = data,
        .len[0] = len,
        .max_reply = max_reply,
        .reply = reply,
        .opaque = dev,
    };

    vgpu_client_send(&dev->conn.client, &msg);
}

/* Common start of reply functions: false if there is nothing (good) to see. */
static bool conn_reply_ok(VgpuDevice *dev, VgpuReply *reply, size_t min_len,
                          const char *what)
{
    if (reply->error == ECONNABORTED) {
        return false;
    }
    if (reply->error) {
        vgpu_client_break(&dev->conn.client, "handshake: %s: %s", what,
                          strerror(reply->error));
        return false;
    }
    if (reply->len < min_len) {
        vgpu_client_break(&dev->conn.client, "handshake: %s: a reply of only "
                          "%zu bytes", what, reply->len);
        return false;
    }
    return true;
}

/* ---- VERSION ---- */

/* A capability that is a number within bounds; absent it is as given. */
static bool caps_number(QDict *caps, const char *key, uint64_t min,
                        uint64_t *value)
{
    QObject *obj = qdict_get(caps, key);
    QNum *num = obj ? qobject_to(QNum, obj) : NULL;
    uint64_t got;

    if (!obj) {
        return true;
    }
    if (!num || !qnum_get_try_uint(num, &got) || got < min) {
        return false;
    }
    *value = got;
    return true;
}

/* NULL, or what is wrong. */
static const char *caps_take(VgpuConn *conn, QDict *top)
{
    uint64_t fds = VFU_DEFAULT_MSG_FDS, xfer = VFU_DEFAULT_DATA_XFER;
    uint64_t maps = VFU_DEFAULT_DMA_MAPS, pgsizes = VFU_DEFAULT_PGSIZES;
    QDict *caps = qdict_get_qdict(top, "capabilities");

    if (!caps && qdict_haskey(top, "capabilities")) {
        return "the version's capabilities are not an object";
    }
    if (caps && (!caps_number(caps, "max_msg_fds", 1, &fds) ||
                 !caps_number(caps, "max_data_xfer_size", IDENTITY_BYTES,
                              &xfer) ||
                 !caps_number(caps, "max_dma_maps", 1, &maps) ||
                 !caps_number(caps, "pgsizes", 1, &pgsizes))) {
        return "a capability of the version has an impossible value";
    }
    conn->peer_max_fds = MIN(fds, VGPU_CLIENT_MAX_FDS);
    conn->peer_max_maps = MIN(maps, VFU_DEFAULT_DMA_MAPS);
    conn->peer_page_bytes = MAX(pgsizes & -pgsizes, VFU_DEFAULT_PGSIZES);
    return NULL;
}

static const char *caps_parse(VgpuConn *conn, const char *json)
{
    QObject *obj = qobject_from_json(json, NULL);
    QDict *top = qobject_to(QDict, obj);
    const char *wrong = "the version's data are not a JSON object";

    if (top) {
        wrong = caps_take(conn, top);
    }
    qobject_unref(obj);
    return wrong;
}

static void version_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    VfuVersion version;
    const char *json = NULL, *wrong;

    if (!conn_reply_ok(dev, reply, sizeof(version), "version")) {
        return;
    }
    memcpy(&version, reply->data, sizeof(version));
    if (version.major != VFU_MAJOR || version.minor > VFU_MINOR) {
        vgpu_client_break(&dev->conn.client, "handshake: the back end speaks "
                          "vfio-user %u.%u, not %u.%u", version.major,
                          version.minor, VFU_MAJOR, VFU_MINOR);
        return;
    }
    if (reply->len > sizeof(version)) {
        json = (const char *)reply->data + sizeof(version);
        if (json[reply->len - sizeof(version) - 1] != '\0') {
            conn_fail(dev, "the version's capabilities have no end");
            return;
        }
    }
    wrong = caps_parse(&dev->conn, json ? json : "{}");
    if (wrong) {
        conn_fail(dev, wrong);
    }
}

static void enter_version(VgpuDevice *dev)
{
    g_autofree char *json = g_strdup_printf(
        "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
        "\"max_dma_maps\":%u,\"pgsizes\":%u}}",
        VGPU_CLIENT_MAX_FDS, VFU_DEFAULT_DATA_XFER, VFU_DEFAULT_DMA_MAPS,
        VFU_DEFAULT_PGSIZES);
    VfuVersion version = { .major = VFU_MAJOR, .minor = VFU_MINOR };
    VgpuClientMessage msg = {
        .command = VFU_VERSION,
        .data = { &version, json },
        .len = { sizeof(version), strlen(json) + 1 },
        .max_reply = VERSION_REPLY_MAX,
        .reply = version_reply,
        .opaque = dev,
    };

    vgpu_client_send(&dev->conn.client, &msg);
}

/* ---- INFO ---- */

static const struct {
    uint32_t index;
    uint64_t size;
} expected_regions[] = {
    { VGPU_BAR_REGS, VGPU_BAR_REGS_SIZE },
    { VGPU_BAR_DOORBELL, VGPU_BAR_DOORBELL_SIZE },
    { VGPU_BAR_MSIX, VGPU_BAR_MSIX_SIZE },
    { VFU_REGION_CONFIG, PCIE_CONFIG_SPACE_SIZE },
};

static void device_info_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    const uint32_t need = VFU_DEVICE_IS_PCI | VFU_DEVICE_HAS_RESET;
    VfuDeviceInfo info;

    if (!conn_reply_ok(dev, reply, sizeof(info), "device info")) {
        return;
    }
    memcpy(&info, reply->data, sizeof(info));
    if ((info.flags & need) != need || info.num_regions <= VFU_REGION_CONFIG ||
        info.num_irqs <= VFU_IRQ_MSIX) {
        conn_fail(dev, "not a PCI device with MSI-X and reset");
    }
}

static void region_info_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    VfuRegionInfo info;

    if (!conn_reply_ok(dev, reply, sizeof(info), "region info")) {
        return;
    }
    memcpy(&info, reply->data, sizeof(info));
    for (unsigned i = 0; i < ARRAY_SIZE(expected_regions); i++) {
        if (info.index == expected_regions[i].index) {
            if (info.size != expected_regions[i].size) {
                vgpu_client_break(&dev->conn.client, "handshake: region %u has "
                                  "%" PRIu64 " bytes, not %" PRIu64, info.index,
                                  info.size, expected_regions[i].size);
            }
            return;
        }
    }
    conn_fail(dev, "information about a region not asked for");
}

static void irq_info_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    VfuIrqInfo info;

    if (!conn_reply_ok(dev, reply, sizeof(info), "interrupt info")) {
        return;
    }
    memcpy(&info, reply->data, sizeof(info));
    if (info.index != VFU_IRQ_MSIX || info.count != VGPU_MSIX_VECTORS ||
        !(info.flags & VFU_IRQ_FLAG_EVENTFD)) {
        vgpu_client_break(&dev->conn.client, "handshake: not %u MSI-X vectors "
                          "on eventfds", VGPU_MSIX_VECTORS);
    }
}

static void enter_info(VgpuDevice *dev)
{
    VfuDeviceInfo info = { .argsz = sizeof(info) };
    VfuIrqInfo irq = { .argsz = sizeof(irq), .index = VFU_IRQ_MSIX };

    conn_request(dev, VFU_DEVICE_GET_INFO, &info, sizeof(info), sizeof(info),
                 device_info_reply);
    for (unsigned i = 0; i < ARRAY_SIZE(expected_regions); i++) {
        VfuRegionInfo region = {
            .argsz = sizeof(region),
            .index = expected_regions[i].index,
        };

        conn_request(dev, VFU_DEVICE_GET_REGION_INFO, &region, sizeof(region),
                     sizeof(region), region_info_reply);
    }
    conn_request(dev, VFU_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), sizeof(irq),
                 irq_info_reply);
}

/* ---- IDENTITY ---- */

static void identity_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    VfuRegionAccess acc;
    const uint8_t *cfg;

    if (!conn_reply_ok(dev, reply, sizeof(acc) + IDENTITY_BYTES, "identity")) {
        return;
    }
    cfg = (const uint8_t *)reply->data + sizeof(acc);
    if (pci_get_word(cfg + PCI_VENDOR_ID) != VGPU_PCI_VENDOR_ID ||
        pci_get_word(cfg + PCI_DEVICE_ID) != VGPU_PCI_DEVICE_ID ||
        pci_get_byte(cfg + PCI_REVISION_ID) != VGPU_PCI_REVISION ||
        pci_get_long(cfg + PCI_REVISION_ID) >> 8 != VGPU_PCI_CLASS ||
        pci_get_word(cfg + PCI_SUBSYSTEM_VENDOR_ID) != VGPU_PCI_SUBSYS_VENDOR ||
        pci_get_word(cfg + PCI_SUBSYSTEM_ID) != VGPU_PCI_SUBSYS_ID) {
        vgpu_client_break(&dev->conn.client, "handshake: the back end is not a "
                          "vGPU of this revision: it is %04x:%04x class %06x "
                          "revision %02x",
                          pci_get_word(cfg + PCI_VENDOR_ID),
                          pci_get_word(cfg + PCI_DEVICE_ID),
                          pci_get_long(cfg + PCI_REVISION_ID) >> 8,
                          pci_get_byte(cfg + PCI_REVISION_ID));
    }
}

static void enter_identity(VgpuDevice *dev)
{
    VfuRegionAccess acc = {
        .region = VFU_REGION_CONFIG,
        .count = IDENTITY_BYTES,
    };

    conn_request(dev, VFU_REGION_READ, &acc, sizeof(acc),
                 sizeof(acc) + IDENTITY_BYTES, identity_reply);
}

/* ---- DOORBELLS ---- */

static void doorbells_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;
    const char *wrong;

    if (!conn_reply_ok(dev, reply, 0, "doorbells")) {
        return;
    }
    wrong = vgpu_doorbell_parse(dev, reply);
    if (wrong) {
        conn_fail(dev, wrong);
    }
}

static void enter_doorbells(VgpuDevice *dev)
{
    VfuRegionIoFds fds = {
        .argsz = VGPU_DOORBELL_REPLY_MAX,
        .index = VGPU_BAR_DOORBELL,
    };

    conn_request(dev, VFU_DEVICE_GET_REGION_IO_FDS, &fds, sizeof(fds),
                 VGPU_DOORBELL_REPLY_MAX, doorbells_reply);
}

/* ---- IRQS ---- */

static void irqs_reply(void *opaque, VgpuReply *reply)
{
    (void)!conn_reply_ok(opaque, reply, 0, "interrupts");
}

static void enter_irqs(VgpuDevice *dev)
{
    int fds[VGPU_MSIX_VECTORS];
    unsigned count;

    vgpu_irq_get_fds(dev, fds);
    for (unsigned start = 0; start < VGPU_MSIX_VECTORS; start += count) {
        VfuIrqSet set = {
            .flags = VFU_IRQ_SET_DATA_EVENTFD | VFU_IRQ_SET_ACTION_TRIGGER,
            .argsz = sizeof(set),
            .index = VFU_IRQ_MSIX,
            .start = start,
        };
        VgpuClientMessage msg = {
            .command = VFU_DEVICE_SET_IRQS,
            .data[0] = &set,
            .len[0] = sizeof(set),
            .fds = fds + start,
            .max_reply = sizeof(set),
            .reply = irqs_reply,
            .opaque = dev,
        };

        count = MIN(VGPU_MSIX_VECTORS - start, dev->conn.peer_max_fds);
        set.count = count;
        msg.nr_fds = count;
        vgpu_client_send(&dev->conn.client, &msg);
    }
}

/* ---- MAPS ---- */

static void enter_maps(VgpuDevice *dev)
{
    int ret;

    /* The back end sees pages come (it maps them) but never go: whatever would
     * take pages away behind its back, a balloon above all, must not. */
    ret = ram_block_uncoordinated_discard_disable(true);
    if (ret) {
        conn_fail(dev, "another device discards guest memory (a balloon?)");
        return;
    }
    dev->conn.discard_disabled = true;
    vgpu_dma_start(dev, dev->conn.peer_max_maps, dev->conn.peer_page_bytes);
}

/* ---- LIVE ---- */

static void enter_live(VgpuDevice *dev)
{
    timer_del(dev->conn.timer);
    vgpu_doorbell_wire(dev);
    info_report("vgpu-pci %s: connected to %s", conn_name(dev), dev->socket);
    g_free(dev->conn.last_complaint);
    dev->conn.last_complaint = NULL;
    VGPU_TRACE(conn_live, "%s", dev->socket);
    vgpu_irq_nudge(dev, VGPU_VECTOR_ADMIN);
}

/* ---- The state machine ---- */

static void (*const state_enter[])(VgpuDevice *dev) = {
    [VGPU_CONN_VERSION] = enter_version,
    [VGPU_CONN_INFO] = enter_info,
    [VGPU_CONN_IDENTITY] = enter_identity,
    [VGPU_CONN_DOORBELLS] = enter_doorbells,
    [VGPU_CONN_IRQS] = enter_irqs,
    [VGPU_CONN_MAPS] = enter_maps,
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
    timer_mod(conn->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                           dev->timeout_ms);
    /* A state may have nothing to ask: MAPS, while bus mastering is off. */
    while (conn->state != VGPU_CONN_LIVE && vgpu_client_is_up(&conn->client) &&
           vgpu_client_is_idle(&conn->client)) {
        conn_enter(dev, conn->state + 1);
    }
}

/* The connection is over: back to where none was, and try again later. */
static void conn_down(VgpuDevice *dev)
{
    VgpuConn *conn = &dev->conn;
    bool was_live = conn->state == VGPU_CONN_LIVE;

    VGPU_TRACE(conn_lost, "state %s: %s", state_names[conn->state],
               conn->client.reason ? conn->client.reason : "shut down");
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
    timer_mod(conn->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                           dev->reconnect_ms);
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
        timer_mod(conn->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               dev->reconnect_ms);
        return;
    }
    vgpu_client_start(&conn->client, fd);
    timer_mod(conn->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                           dev->timeout_ms);
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
    if (ret != (ssize_t)(sizeof(acc) + size)) {
        vgpu_client_break(&dev->conn.client, "a register read is answered "
                          "with %s", ret < 0 ? strerror(-ret) : "too little");
        return UINT64_MAX;
    }
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
    VGPU_TRACE(reg_write, "bar %u offset 0x%" PRIx64 " size %u value 0x%" PRIx64,
               bar, offset, size, value);
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
    timer_mod(conn->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME));
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
