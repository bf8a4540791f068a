// SPDX-License-Identifier: MIT
/*
 * Registered buffers of one context; see gbuf.h for how they come, live and go.
 */
#include <exec/gbuf.h>
#include <exec/foreign.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum gbuf_state { GBUF_BUILDING, GBUF_LIVE, GBUF_DROPPING };

struct vgpu_gbuf {
    enum gbuf_state state;
    uint32_t id;
    uint32_t flags; /* VGPU_BUF_DEVICE_* */
    uint32_t refs;  /* jobs that use it */
    uint64_t bytes;
    uint64_t first_off; /* of the buffer in its first run */
    uint8_t *data;      /* first byte, NULL if staged */
    void *map;
    size_t map_bytes;
    void *priv; /* the executor's */
    /* runs, kept while building and when staged */
    struct vgpu_xrun *runs;
    uint64_t *starts; /* of each run in the concatenation; staged only */
    uint32_t run_count;
    uint32_t run_total; /* announced */
    int fds[VGPU_X_MAX_FDS];
    uint32_t fd_count;
};

static void gbuf_close_fds(struct vgpu_gbuf *buf)
{
    for (uint32_t i = 0; i < buf->fd_count; i++)
        close(buf->fds[i]);
    buf->fd_count = 0;
}

static void gbuf_free_runs(struct vgpu_gbuf *buf)
{
    free(buf->runs);
    free(buf->starts);
    buf->runs = NULL;
    buf->starts = NULL;
    gbuf_close_fds(buf);
}

static bool gbuf_detach(const struct vgpu_gbufs *bufs, struct vgpu_gbuf *buf)
{
    return buf->state == GBUF_BUILDING || !bufs->detach || bufs->detach(bufs->opaque, buf);
}

static void gbuf_destroy(struct vgpu_gbufs *bufs, struct vgpu_gbuf *buf)
{
    if (buf->map) {
        munmap(buf->map, buf->map_bytes);
        bufs->mappings -= buf->run_count;
    }
    if (buf->state == GBUF_LIVE)
        bufs->live--;
    if (buf->state == GBUF_DROPPING)
        bufs->dropping--;
    gbuf_free_runs(buf);
    bufs->slots[buf->id] = NULL;
    free(buf);
}

int vgpu_gbufs_init(struct vgpu_gbufs *bufs, uint32_t max)
{
    memset(bufs, 0, sizeof(*bufs));
    if (max == 0 || max > VGPU_MAX_BUFFERS)
        return -EINVAL;
    bufs->slots = calloc(max, sizeof(*bufs->slots));
    if (!bufs->slots)
        return -ENOMEM;
    bufs->max = max;
    bufs->mappings_max = VGPU_GBUF_MAX_MAPPINGS;
    return 0;
}

void vgpu_gbufs_fini(struct vgpu_gbufs *bufs)
{
    for (uint32_t id = 0; id < bufs->max; id++) {
        if (bufs->slots[id]) {
            (void)gbuf_detach(bufs, bufs->slots[id]);
            gbuf_destroy(bufs, bufs->slots[id]);
        }
    }
    free(bufs->slots);
    bufs->slots = NULL;
    bufs->max = 0;
}

/* ---- Runs ---- */

/* Whole pages inside the file, of a descriptor that came along. */
static int run_check(const struct vgpu_xrun *run, const int *fds, uint32_t fd_count)
{
    uint64_t end;
    struct stat st;

    if (run->rsvd || run->fd >= fd_count || run->bytes == 0 || run->bytes % VGPU_PAGE_BYTES ||
        run->offset % VGPU_PAGE_BYTES)
        return -EINVAL;
    if (__builtin_add_overflow(run->offset, run->bytes, &end) || end > INT64_MAX)
        return -EOVERFLOW;
    if (fstat(fds[run->fd], &st) < 0)
        return -errno;
    /* Mapping past the end works, touching it is SIGBUS: refuse while there is someone to tell. */
    if (S_ISREG(st.st_mode) && end > (uint64_t)st.st_size)
        return -ERANGE;
    return 0;
}

static int runs_sum(const struct vgpu_xrun *runs, uint32_t count, const int *fds, uint32_t fd_count,
                    uint64_t *sum)
{
    *sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        int rc = run_check(&runs[i], fds, fd_count);

        if (rc < 0)
            return rc;
        if (__builtin_add_overflow(*sum, runs[i].bytes, sum) || *sum > SIZE_MAX / 2)
            return -EOVERFLOW;
    }
    return 0;
}

int vgpu_runs_map(const struct vgpu_xrun *runs, uint32_t count, const int *fds, uint32_t fd_count,
                  int prot, void **map, size_t *map_bytes)
{
    uint64_t sum;
    uint8_t *base, *at;
    int rc = runs_sum(runs, count, fds, fd_count, &sum);

    if (rc < 0)
        return rc;
    if (sum == 0)
        return -EINVAL;
    if (vgpu_foreign_is_set()) {
        *map_bytes = sum;
        return vgpu_foreign_map(runs, count, fds[0], sum, prot, map);
    }
    /* cppcheck-suppress invalidFunctionArg ; -1 is what MAP_ANONYMOUS wants */
    base = mmap(NULL, sum, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    at = base;
    for (uint32_t i = 0; i < count; i++) {
        void *piece = mmap(at, runs[i].bytes, prot, MAP_SHARED | MAP_FIXED, fds[runs[i].fd],
                           (off_t)runs[i].offset);

        if (piece == MAP_FAILED) {
            rc = -errno;
            munmap(base, sum);
            return rc;
        }
        at += runs[i].bytes;
    }
    *map = base;
    *map_bytes = sum;
    return 0;
}

/* ---- Registering ---- */

static struct vgpu_gbuf *gbuf_building(const struct vgpu_gbufs *bufs, uint32_t id)
{
    struct vgpu_gbuf *buf = id < bufs->max ? bufs->slots[id] : NULL;

    return buf && buf->state == GBUF_BUILDING ? buf : NULL;
}

static uint16_t gbuf_begin_check(const struct vgpu_gbufs *bufs, const struct vgpu_x_buf *msg,
                                 uint32_t fd_count)
{
    if (msg->id >= bufs->max || msg->rsvd || msg->flags == 0 || (msg->flags & ~VGPU_BUF_FLAGS) ||
        msg->bytes == 0 || msg->bytes > VGPU_MAX_BUFFER_BYTES ||
        msg->first_off >= VGPU_PAGE_BYTES || fd_count == 0 || fd_count > VGPU_X_MAX_FDS)
        return VGPU_ST_ADMIN_VALUE;
    /* No more runs than pages. */
    if (msg->run_count == 0 || msg->run_count > msg->bytes / VGPU_PAGE_BYTES + 2)
        return VGPU_ST_ADMIN_VALUE;
    if (bufs->slots[msg->id])
        return VGPU_ST_BUFFER_EXISTS;
    return VGPU_ST_OK;
}

uint16_t vgpu_gbufs_begin(struct vgpu_gbufs *bufs, const struct vgpu_x_buf *msg, const int *fds,
                          uint32_t fd_count)
{
    uint16_t status = gbuf_begin_check(bufs, msg, fd_count);
    struct vgpu_gbuf *buf = NULL;

    if (status == VGPU_ST_OK) {
        buf = calloc(1, sizeof(*buf));
        if (!buf || !(buf->runs = calloc(msg->run_count, sizeof(*buf->runs)))) {
            free(buf);
            status = VGPU_ST_HOST_MEMORY;
        }
    }
    if (status != VGPU_ST_OK) {
        for (uint32_t i = 0; i < fd_count; i++)
            close(fds[i]);
        return status;
    }
    buf->state = GBUF_BUILDING;
    buf->id = msg->id;
    buf->flags = msg->flags;
    buf->bytes = msg->bytes;
    buf->first_off = msg->first_off;
    buf->run_total = msg->run_count;
    memcpy(buf->fds, fds, fd_count * sizeof(*fds));
    buf->fd_count = fd_count;
    bufs->slots[buf->id] = buf;
    return VGPU_ST_OK;
}

uint16_t vgpu_gbufs_add(struct vgpu_gbufs *bufs, uint32_t id, const struct vgpu_xrun *runs,
                        uint32_t count)
{
    struct vgpu_gbuf *buf = gbuf_building(bufs, id);

    if (!buf)
        return VGPU_ST_NO_BUFFER;
    if (count > buf->run_total - buf->run_count)
        return VGPU_ST_ADMIN_VALUE;
    memcpy(&buf->runs[buf->run_count], runs, count * sizeof(*runs));
    buf->run_count += count;
    return VGPU_ST_OK;
}

/* Prepare for pread()/pwrite(): where each run starts in the concatenation. */
static uint16_t gbuf_stage(struct vgpu_gbuf *buf)
{
    uint64_t at = 0;

    buf->starts = calloc(buf->run_count, sizeof(*buf->starts));
    if (!buf->starts)
        return VGPU_ST_HOST_MEMORY;
    for (uint32_t i = 0; i < buf->run_count; i++) {
        buf->starts[i] = at;
        at += buf->runs[i].bytes;
    }
    return VGPU_ST_OK;
}

static uint16_t gbuf_map(struct vgpu_gbufs *bufs, struct vgpu_gbuf *buf)
{
    int prot = PROT_READ | (buf->flags & VGPU_BUF_DEVICE_WRITES ? PROT_WRITE : 0);
    int rc;

    if (!vgpu_foreign_is_set() && buf->run_count > bufs->mappings_max - bufs->mappings)
        return gbuf_stage(buf);
    rc = vgpu_runs_map(buf->runs, buf->run_count, buf->fds, buf->fd_count, prot, &buf->map,
                       &buf->map_bytes);
    /* ENOMEM: the process's own limit of mappings; EINVAL: pages larger than the run's. */
    if (!vgpu_foreign_is_set() && (rc == -ENOMEM || rc == -EINVAL))
        return gbuf_stage(buf);
    if (rc == -EFAULT)
        return VGPU_ST_BAD_DMA;
    if (rc < 0)
        return VGPU_ST_HOST_ERROR;
    buf->data = (uint8_t *)buf->map + buf->first_off;
    bufs->mappings += buf->run_count;
    gbuf_free_runs(buf);
    return VGPU_ST_OK;
}

uint16_t vgpu_gbufs_commit(struct vgpu_gbufs *bufs, uint32_t id)
{
    struct vgpu_gbuf *buf = gbuf_building(bufs, id);
    uint64_t sum, end;
    uint16_t status;

    if (!buf)
        return VGPU_ST_NO_BUFFER;
    if (buf->run_count != buf->run_total ||
        runs_sum(buf->runs, buf->run_count, buf->fds, buf->fd_count, &sum) < 0 ||
        __builtin_add_overflow(buf->first_off, buf->bytes, &end) || end > sum)
        status = VGPU_ST_HOST_ERROR;
    else
        status = gbuf_map(bufs, buf);
    if (status != VGPU_ST_OK) {
        gbuf_destroy(bufs, buf);
        return status;
    }
    buf->state = GBUF_LIVE;
    bufs->live++;
    return VGPU_ST_OK;
}

/* ---- Dropping ---- */

enum vgpu_gbuf_drop vgpu_gbufs_drop(struct vgpu_gbufs *bufs, uint32_t id)
{
    struct vgpu_gbuf *buf = id < bufs->max ? bufs->slots[id] : NULL;

    if (!buf || buf->state == GBUF_DROPPING)
        return VGPU_GBUF_NONE;
    if (buf->refs == 0 && gbuf_detach(bufs, buf)) {
        gbuf_destroy(bufs, buf);
        return VGPU_GBUF_DROPPED;
    }
    buf->state = GBUF_DROPPING;
    bufs->live--;
    bufs->dropping++;
    return VGPU_GBUF_IN_USE;
}

bool vgpu_gbufs_collect(struct vgpu_gbufs *bufs)
{
    bool any = false;

    if (bufs->dropping == 0)
        return false;
    for (uint32_t id = 0; id < bufs->max; id++) {
        struct vgpu_gbuf *buf = bufs->slots[id];

        if (buf && buf->state == GBUF_DROPPING && buf->refs == 0 && gbuf_detach(bufs, buf)) {
            gbuf_destroy(bufs, buf);
            any = true;
        }
    }
    return any;
}

bool vgpu_gbufs_is_gone(const struct vgpu_gbufs *bufs, uint32_t id)
{
    return id >= bufs->max || !bufs->slots[id];
}

/* ---- Use ---- */

uint16_t vgpu_gbufs_find(const struct vgpu_gbufs *bufs, uint32_t id, uint32_t access, uint64_t off,
                         uint64_t bytes, struct vgpu_gbuf **out)
{
    struct vgpu_gbuf *buf = id < bufs->max ? bufs->slots[id] : NULL;
    uint64_t end;

    if (!buf || buf->state != GBUF_LIVE)
        return VGPU_ST_BAD_BUFFER;
    if (__builtin_add_overflow(off, bytes, &end) || end > buf->bytes)
        return VGPU_ST_BAD_RANGE;
    if ((buf->flags & access) != access)
        return VGPU_ST_BAD_ACCESS;
    *out = buf;
    return VGPU_ST_OK;
}

void vgpu_gbuf_get(struct vgpu_gbuf *buf)
{
    buf->refs++;
}

void vgpu_gbuf_put(struct vgpu_gbuf *buf)
{
    buf->refs--;
}

uint64_t vgpu_gbuf_bytes(const struct vgpu_gbuf *buf)
{
    return buf->bytes;
}

bool vgpu_gbuf_writable(const struct vgpu_gbuf *buf)
{
    return buf->flags & VGPU_BUF_DEVICE_WRITES;
}

void **vgpu_gbuf_priv(struct vgpu_gbuf *buf)
{
    return &buf->priv;
}

/* The run that holds byte `at` of the concatenation (which is inside it). */
static uint32_t gbuf_run_at(const struct vgpu_gbuf *buf, uint64_t at)
{
    uint32_t lo = 0, hi = buf->run_count - 1;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;

        if (buf->starts[mid] <= at)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

/* Move bytes of a staged buffer; one of `dst` and `src` is NULL. */
static int gbuf_transfer(const struct vgpu_gbuf *buf, uint64_t off, uint8_t *dst,
                         const uint8_t *src, size_t bytes)
{
    uint64_t at = buf->first_off + off;

    while (bytes) {
        uint32_t i = gbuf_run_at(buf, at);
        const struct vgpu_xrun *run = &buf->runs[i];
        uint64_t in_run = at - buf->starts[i];
        size_t n = run->bytes - in_run < bytes ? run->bytes - in_run : bytes;
        off_t pos = (off_t)(run->offset + in_run);
        ssize_t done =
            dst ? pread(buf->fds[run->fd], dst, n, pos) : pwrite(buf->fds[run->fd], src, n, pos);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        if (done == 0)
            return -EFAULT;
        if (dst)
            dst += done;
        else
            src += done;
        at += (size_t)done;
        bytes -= (size_t)done;
    }
    return 0;
}

int vgpu_gbuf_read(const struct vgpu_gbuf *buf, uint64_t off, void *dst, size_t bytes)
{
    if (!buf->data)
        return gbuf_transfer(buf, off, dst, NULL, bytes);
    memcpy(dst, buf->data + off, bytes);
    return 0;
}

int vgpu_gbuf_write(const struct vgpu_gbuf *buf, uint64_t off, const void *src, size_t bytes)
{
    if (!buf->data)
        return gbuf_transfer(buf, off, NULL, src, bytes);
    memcpy(buf->data + off, src, bytes);
    return 0;
}

int vgpu_gbuf_spans(const struct vgpu_gbuf *buf, uint64_t off, uint64_t bytes,
                    struct vgpu_span *spans, size_t max)
{
    if (!buf->data)
        return -EOPNOTSUPP;
    if (bytes == 0)
        return 0;
    if (max < 1)
        return -E2BIG;
    spans[0] = (struct vgpu_span){.ptr = buf->data + off, .bytes = bytes};
    return 1;
}
