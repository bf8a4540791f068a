/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake with a back end: what is asked, and what must be answered.
 *
 * One vgpu_handshake_*() function per state of vgpu-conn.c sends that state's
 * requests; the reply functions check the answers.  The first wrong answer
 * breaks the connection with a message that names it.  What a reply says is
 * copied before it is looked at, and nothing is taken over from a back end that
 * is not, field by field, the device of include/vgpu/hw.h.
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "hw/pci/pci.h"
#include "vgpu-device.h"

/* Largest VERSION reply; a server's list of capabilities is a few lines. */
#define VERSION_REPLY_MAX   8192
/* What of config space identifies a device. */
#define IDENTITY_BYTES      0x40

/* ---- Common ---- */

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

void vgpu_handshake_version(VgpuDevice *dev)
{
    g_autofree char *json = g_strdup_printf(
        "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
        "\"max_dma_maps\":%u,\"pgsizes\":%u}}",
        VGPU_CLIENT_MAX_FDS, VGPU_CLIENT_MAX_DATA, VFU_DEFAULT_DMA_MAPS,
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

void vgpu_handshake_info(VgpuDevice *dev)
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

void vgpu_handshake_identity(VgpuDevice *dev)
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

void vgpu_handshake_doorbells(VgpuDevice *dev)
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

void vgpu_handshake_irqs(VgpuDevice *dev)
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

void vgpu_handshake_maps(VgpuDevice *dev)
{
    int ret;

    /*
     * The back end sees pages come (it maps them) but never go: whatever would
     * take pages away behind its back, a balloon above all, must not.
     */
    ret = ram_block_uncoordinated_discard_disable(true);
    if (ret) {
        conn_fail(dev, "another device needs to discard guest memory");
        return;
    }
    dev->conn.discard_disabled = true;
    vgpu_dma_start(dev, dev->conn.peer_max_maps, dev->conn.peer_page_bytes);
}
