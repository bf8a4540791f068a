/* SPDX-License-Identifier: MIT */
/*
 * vfio-user commands, interrupts apart (vfio_user_irq.c).
 *
 * Each handler copies its structure out of the message, checks the copy, acts, and leaves a
 * reply payload in vu->reply.  Payload lengths and descriptor counts have been checked
 * against the table in vfio_user.c.
 */
#include <bus/vfio_user_int.h>

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define VU_CAPS_ROOM 256u

static VGPU_MUST_CHECK int reply_with(struct vgpu_vfio_user *vu, struct vu_msg *msg,
                                      const void *data, size_t bytes)
{
    uint8_t *p = vu_reply_room(vu, bytes);

    if (!p)
        return -ENOMEM;
    memcpy(p, data, bytes);
    msg->reply_bytes = bytes;
    return 0;
}

/* ---- VERSION ---- */

struct vu_caps {
    bool has_max_fds;
    bool has_max_data;
    uint32_t max_fds;
};

static VGPU_MUST_CHECK int caps_read(struct json_object *root, struct vu_caps *caps)
{
    struct json_object *obj, *value;

    if (!json_object_is_type(root, json_type_object))
        return -EINVAL;
    if (!json_object_object_get_ex(root, "capabilities", &obj))
        return 0;
    if (!json_object_is_type(obj, json_type_object))
        return -EINVAL;
    caps->has_max_data = json_object_object_get_ex(obj, "max_data_xfer_size", &value);
    if (caps->has_max_data && !json_object_is_type(value, json_type_int))
        return -EINVAL;
    caps->has_max_fds = json_object_object_get_ex(obj, "max_msg_fds", &value);
    if (caps->has_max_fds) {
        int64_t n = json_object_get_int64(value);

        if (!json_object_is_type(value, json_type_int) || n < 0)
            return -EINVAL;
        caps->max_fds = n > VU_MAX_FDS ? VU_MAX_FDS : (uint32_t)n;
    }
    return 0;
}

/* The client's capabilities: optional JSON text, NUL-terminated. */
static VGPU_MUST_CHECK int caps_parse(const uint8_t *text, size_t bytes, struct vu_caps *caps)
{
    struct json_tokener *tok;
    struct json_object *root;
    int ret = -EINVAL;

    if (!bytes || (bytes == 1 && !text[0]))
        return 0;
    if (text[bytes - 1])
        return -EINVAL;
    tok = json_tokener_new_ex(8);
    if (!tok)
        return -ENOMEM;
    root = json_tokener_parse_ex(tok, (const char *)text, (int)bytes);
    if (json_tokener_get_error(tok) == json_tokener_success)
        ret = caps_read(root, caps);
    json_object_put(root);
    json_tokener_free(tok);
    return ret;
}

/*
 * Of the descriptors that a message may carry, what the client is told that we take: all, but
 * QEMU's own client refuses a server that takes more than the client does (16).
 */
static uint32_t max_fds_answer(const struct vu_caps *caps)
{
    return caps->max_fds > VU_LEAST_MAX_FDS ? caps->max_fds : VU_LEAST_MAX_FDS;
}

/* The reply names only capabilities that the client named, as the protocol asks. */
int vu_cmd_version(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_version version;
    struct vu_caps caps = {0};
    char data[sizeof(version) + VU_CAPS_ROOM];
    char *json = data + sizeof(version);
    int n, ret;

    if (vu->negotiated)
        return -EINVAL;
    memcpy(&version, msg->payload, sizeof(version));
    if (version.major != VU_VERSION_MAJOR) {
        vu_log(vu, VGPU_DEV_LOG_WARN, "client speaks vfio-user %u.%u, not %u: refused",
               version.major, version.minor, VU_VERSION_MAJOR);
        return -ENOTSUP;
    }
    ret = caps_parse(msg->payload + sizeof(version), msg->payload_bytes - sizeof(version), &caps);
    if (ret)
        return ret;
    if (version.minor > VU_VERSION_MINOR)
        version.minor = VU_VERSION_MINOR;
    memcpy(data, &version, sizeof(version));
    n = snprintf(json, VU_CAPS_ROOM, "{\"capabilities\":{");
    if (caps.has_max_fds)
        n += snprintf(json + n, VU_CAPS_ROOM - (size_t)n, "\"max_msg_fds\":%u%s",
                      max_fds_answer(&caps), caps.has_max_data ? "," : "");
    if (caps.has_max_data)
        n += snprintf(json + n, VU_CAPS_ROOM - (size_t)n, "\"max_data_xfer_size\":%u", VU_MAX_DATA);
    n += snprintf(json + n, VU_CAPS_ROOM - (size_t)n, "}}");
    ret = reply_with(vu, msg, data, sizeof(version) + (size_t)n + 1);
    if (ret)
        return ret;
    if (caps.has_max_fds)
        vu->client_max_fds = caps.max_fds;
    vu->negotiated = true;
    return 0;
}

/* ---- DMA ---- */

int vu_cmd_dma_map(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_dma_map map;
    uint32_t prot = 0;
    int fd = -1;
    int ret;

    memcpy(&map, msg->payload, sizeof(map));
    if (map.argsz < sizeof(map) || (map.flags & ~(VU_DMA_READABLE | VU_DMA_WRITABLE)))
        return -EINVAL;
    if (map.flags & VU_DMA_READABLE)
        prot |= VGPU_DMA_READ;
    if (map.flags & VU_DMA_WRITABLE)
        prot |= VGPU_DMA_WRITE;
    if (msg->fd_count) {
        fd = msg->fds[0];
        msg->fds[0] = -1;
    }
    ret = vgpu_dma_map(vu->dma, map.addr, map.bytes, map.offset, prot, fd);
    vu_log(vu, ret ? VGPU_DEV_LOG_WARN : VGPU_DEV_LOG_DEBUG,
           "DMA map %#llx+%#llx offset %#llx %s%s%s: %s", (unsigned long long)map.addr,
           (unsigned long long)map.bytes, (unsigned long long)map.offset,
           prot & VGPU_DMA_READ ? "r" : "", prot & VGPU_DMA_WRITE ? "w" : "",
           fd < 0 ? " without memory" : "", ret ? strerror(-ret) : "done");
    return ret;
}

int vu_cmd_dma_unmap(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_dma_unmap unmap;
    bool all, removed = true;
    uint64_t cookie;
    int ret;

    memcpy(&unmap, msg->payload, sizeof(unmap));
    all = unmap.flags & VU_DMA_UNMAP_ALL;
    if (unmap.flags & VU_DMA_UNMAP_DIRTY)
        return -EOPNOTSUPP;
    if (unmap.argsz < sizeof(unmap) || (unmap.flags & ~VU_DMA_UNMAP_ALL) ||
        msg->payload_bytes != sizeof(unmap) || (all && (unmap.addr || unmap.bytes)))
        return -EINVAL;
    if (vu->deferred_count >= VU_MAX_DEFERRED)
        return -ENOBUFS;
    if (all) {
        vgpu_dma_unmap_all(vu->dma);
    } else {
        ret = vgpu_dma_unmap(vu->dma, unmap.addr, unmap.bytes, &removed);
        if (ret)
            return ret;
    }
    vu_log(vu, VGPU_DEV_LOG_DEBUG, "DMA unmap %#llx+%#llx%s", (unsigned long long)unmap.addr,
           (unsigned long long)unmap.bytes,
           all       ? " (all)"
           : removed ? ""
                     : ": nothing was mapped");
    cookie = vu->next_cookie++;
    if (removed &&
        !vu->ops->dma_unmapped(vu->opaque, unmap.addr, all ? UINT64_MAX : unmap.bytes, cookie)) {
        ret = vu_defer(vu, msg, cookie, &unmap);
        return ret ? ret : VU_DEFERRED;
    }
    return reply_with(vu, msg, &unmap, sizeof(unmap));
}

/* ---- Device and regions ---- */

int vu_cmd_get_info(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_device_info info;

    memcpy(&info, msg->payload, sizeof(info));
    if (info.argsz < sizeof(info))
        return -EINVAL;
    info = (struct vu_device_info){.argsz = sizeof(info),
                                   .flags = VU_DEVICE_RESETTABLE | VU_DEVICE_PCI,
                                   .num_regions = VU_REGIONS,
                                   .num_irqs = VU_IRQS};
    return reply_with(vu, msg, &info, sizeof(info));
}

static uint64_t region_bytes(uint32_t index)
{
    if (index == VU_REGION_CONFIG)
        return VGPU_CONFIG_BYTES;
    return index < 6 ? vgpu_dev_bar_bytes(index) : 0;
}

int vu_cmd_get_region_info(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_region_info info;
    uint64_t bytes;

    memcpy(&info, msg->payload, sizeof(info));
    if (info.argsz < sizeof(info) || info.index >= VU_REGIONS)
        return -EINVAL;
    bytes = region_bytes(info.index);
    info = (struct vu_region_info){.argsz = sizeof(info),
                                   .flags = bytes ? VU_REGION_READABLE | VU_REGION_WRITABLE : 0,
                                   .index = info.index,
                                   .bytes = bytes};
    return reply_with(vu, msg, &info, sizeof(info));
}

/*
 * The doorbells: one eventfd per context, as many as the client takes in one message; the
 * others ring by REGION_WRITE.  A client whose argsz is too small learns the size it needs.
 */
int vu_cmd_get_region_io_fds(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_region_io_fds info;
    uint32_t count = 0;
    size_t bytes;
    uint8_t *p;

    memcpy(&info, msg->payload, sizeof(info));
    if (info.argsz < sizeof(info) || info.flags || info.count || info.index >= VU_REGIONS)
        return -EINVAL;
    if (info.index == VGPU_BAR_DOORBELL)
        count = vu->config.contexts < vu->client_max_fds ? vu->config.contexts : vu->client_max_fds;
    bytes = sizeof(info) + count * sizeof(struct vu_io_fd);
    p = vu_reply_room(vu, bytes);
    if (!p)
        return -ENOMEM;
    if (info.argsz < bytes) {
        msg->reply_bytes = sizeof(info);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            struct vu_io_fd io = {
                .offset = (uint64_t)i * VGPU_DOORBELL_STRIDE + VGPU_DOORBELL_OFFSET,
                .bytes = 4,
                .fd_index = i,
                .type = VU_IO_FD_IOEVENTFD,
            };

            memcpy(p + sizeof(info) + i * sizeof(io), &io, sizeof(io));
            msg->reply_fds[i] = vu->ops->doorbell_fd(vu->opaque, i);
        }
        msg->reply_fd_count = count;
        msg->reply_bytes = bytes;
    }
    info.argsz = (uint32_t)bytes;
    info.count = count;
    memcpy(p, &info, sizeof(info));
    return 0;
}

/* Check an access against its region. */
static VGPU_MUST_CHECK int access_check(const struct vu_region_access *access)
{
    uint64_t bytes = access->region < VU_REGIONS ? region_bytes(access->region) : 0;
    uint64_t end;

    if (!bytes || !access->count || access->count > VU_MAX_DATA)
        return -EINVAL;
    if (__builtin_add_overflow(access->offset, access->count, &end) || end > bytes)
        return -EINVAL;
    return 0;
}

/* The device takes register-sized accesses; longer ones are carried out as several. */
static size_t access_step(uint64_t offset, size_t left)
{
    if (left <= 8)
        return left;
    return offset % 4 ? 1 : 4;
}

int vu_cmd_region_read(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vu_region_access access;
    uint8_t *p;
    int ret;

    memcpy(&access, msg->payload, sizeof(access));
    ret = access_check(&access);
    if (ret)
        return ret;
    p = vu_reply_room(vu, sizeof(access) + access.count);
    if (!p)
        return -ENOMEM;
    memcpy(p, &access, sizeof(access));
    msg->reply_bytes = sizeof(access) + access.count;
    p += sizeof(access);
    if (access.region == VU_REGION_CONFIG) {
        vgpu_dev_config_read(vu->dev, (uint32_t)access.offset, p, access.count);
        return 0;
    }
    for (size_t done = 0; done < access.count;) {
        size_t n = access_step(access.offset + done, access.count - done);

        vgpu_dev_bar_read(vu->dev, access.region, access.offset + done, p + done, n);
        done += n;
    }
    return 0;
}

int vu_cmd_region_write(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    const uint8_t *data = msg->payload + sizeof(struct vu_region_access);
    struct vu_region_access access;
    int ret;

    memcpy(&access, msg->payload, sizeof(access));
    ret = access_check(&access);
    if (ret)
        return ret;
    if (msg->payload_bytes - sizeof(access) != access.count)
        return -EINVAL;
    if (access.region == VU_REGION_CONFIG) {
        vgpu_dev_config_write(vu->dev, (uint32_t)access.offset, data, access.count);
        return reply_with(vu, msg, &access, sizeof(access));
    }
    for (size_t done = 0; done < access.count;) {
        size_t n = access_step(access.offset + done, access.count - done);
        uint32_t doorbell = UINT32_MAX;

        vgpu_dev_bar_write(vu->dev, access.region, access.offset + done, data + done, n, &doorbell);
        if (doorbell < vu->config.contexts)
            vu->ops->doorbell(vu->opaque, doorbell);
        done += n;
    }
    return reply_with(vu, msg, &access, sizeof(access));
}

/* Answered once the executors are reaped: the client may reuse the guest's memory then. */
int vu_cmd_reset(struct vgpu_vfio_user *vu, struct vu_msg *msg)
{
    struct vgpu_dev_stats stats;
    int ret;

    vgpu_dev_reset(vu->dev);
    vgpu_dev_get_stats(vu->dev, &stats);
    if (stats.state != VGPU_STATE_RESETTING)
        return 0;
    ret = vu_defer(vu, msg, 0, NULL);
    return ret ? ret : VU_DEFERRED;
}
