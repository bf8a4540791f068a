// SPDX-License-Identifier: MIT
/*
 * `vgpu-ptx run` on the CUDA executor: the engine of vgpud's exec processes, driven through its seam
 * (exec/exec.h) in this process, as one guest with one stream.
 *
 * Data goes through a window, a registered buffer as a guest's is: the executor knows no other.  The kernel
 * stands between two event records, so its time is the GPU's.  Everything is queued and waited for one step at
 * a time; meanwhile what the kernel prints is passed on.
 *
 * Only when the executor can't be opened is its probe asked, which takes seconds on a GPU: it knows why, and
 * what to do.  After a fault nothing is closed: CUDA can't end a kernel, and a context that is destroyed waits
 * for it.  The process's end does both.
 */
#include "vgpu-ptx.h"

#include <exec/exec.h>
#include <exec/gbuf.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW_ID    0u
#define WINDOW_BYTES (4u << 20)
#define LOG_BYTES    (1u << 20)

struct cuda_run {
    const struct ptxtool_run *run;
    const struct vgpu_exec_ops *ops;
    struct vgpu_exec *exec;
    struct vgpu_gbufs bufs;
    struct vgpu_gbuf *window;
    FILE *out;          /* standard output, which the executor has as its own while it is open */
    uint64_t text_lost; /* bytes of printed text */
    bool faulted;
};

/* ---- What the executor asks of its host ---- */

static int quota_take(void *opaque, uint64_t bytes)
{
    return 0;
}

static void quota_give(void *opaque, uint64_t bytes)
{
}

static void say_fault(const struct ptxtool_run *run, const struct vgpu_exec_fault *fault)
{
    fprintf(stderr, "%s: error: %s\n", run->files[0], fault->message);
}

/* From the executor's guard: its caller hangs in the driver. */
static void lost(void *opaque, const struct vgpu_exec_fault *fault)
{
    const struct cuda_run *cuda = opaque;

    say_fault(cuda->run, fault);
    _exit(PTXTOOL_FAULT);
}

static bool detach(void *opaque, struct vgpu_gbuf *buf)
{
    const struct cuda_run *cuda = opaque;

    return !cuda->exec || cuda->ops->buf_detach(cuda->exec, buf);
}

/* ---- Opening ---- */

static int window_open(struct cuda_run *cuda)
{
    const struct vgpu_x_buf msg = {
        .id = WINDOW_ID, .flags = VGPU_BUF_FLAGS, .bytes = WINDOW_BYTES, .run_count = 1};
    const struct vgpu_xrun run = {.bytes = WINDOW_BYTES};
    int fd = memfd_create("vgpu-ptx", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, WINDOW_BYTES) < 0 || vgpu_gbufs_init(&cuda->bufs, 1) < 0) {
        if (fd >= 0)
            close(fd);
        return ptxtool_fail("no memory for copies: %s", strerror(errno));
    }
    cuda->bufs.detach = detach;
    cuda->bufs.opaque = cuda;
    if (vgpu_gbufs_begin(&cuda->bufs, &msg, &fd, 1) || vgpu_gbufs_add(&cuda->bufs, 0, &run, 1) ||
        vgpu_gbufs_commit(&cuda->bufs, WINDOW_ID) ||
        vgpu_gbufs_find(&cuda->bufs, WINDOW_ID, VGPU_BUF_FLAGS, 0, WINDOW_BYTES, &cuda->window))
        return ptxtool_fail("no memory for copies");
    return 0;
}

/* The first check of the probe that fails, and its remedy.  Its report is for `vgpud --probe`. */
static void probe(const struct cuda_run *cuda, struct vgpu_exec_config cfg, char *why, size_t bytes)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    struct vgpu_device_props props;
    char reason[512] = "";
    uint64_t context_bytes;

    cfg.own_stdout = false;
    fflush(stdout);
    if (null < 0 || saved < 0 || dup2(null, STDOUT_FILENO) < 0)
        return;
    if (cuda->ops->probe(&cfg, &props, &context_bytes, reason, sizeof(reason)) < 0 && reason[0])
        snprintf(why, bytes, "%s", reason);
    (void)dup2(saved, STDOUT_FILENO);
    close(saved);
    close(null);
}

static int executor_open(struct cuda_run *cuda)
{
    const struct vgpu_exec_config cfg = {
        .device = cuda->run->device,
        .allow_hmm = true, /* the memory of this process is its user's own */
        .own_stdout = true,
        .deadline_ms = cuda->run->timeout_ms,
        .max_inflight = 4,
        .quota_take = quota_take,
        .quota_give = quota_give,
        .lost = lost,
        .opaque = cuda,
    };
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    char why[512] = "the executor cannot be opened";

    cuda->out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!cuda->out)
        return ptxtool_fail("standard output: %s", strerror(errno));
    if (cuda->ops->open(&cfg, &cuda->exec, why, sizeof(why)) == 0)
        return 0;
    cuda->exec = NULL;
    probe(cuda, cfg, why, sizeof(why));
    return ptxtool_fail("executor cuda: %s", why);
}

static void cuda_close(struct cuda_run *cuda)
{
    vgpu_gbufs_fini(&cuda->bufs);
    if (cuda->exec)
        cuda->ops->close(cuda->exec);
    if (cuda->out)
        fclose(cuda->out);
}

/* ---- Jobs ---- */

static void pass_text(struct cuda_run *cuda)
{
    char text[4096];
    uint64_t bytes_lost;
    size_t bytes;

    do {
        bytes = cuda->ops->output_read(cuda->exec, text, sizeof(text), &bytes_lost);
        fwrite(text, 1, bytes, cuda->out);
        cuda->text_lost += bytes_lost;
    } while (bytes);
}

/* `count` jobs, all queued before the first is waited for; the first status that is not OK. */
static uint16_t jobs_run(struct cuda_run *cuda, struct vgpu_job *jobs, uint32_t count)
{
    const struct vgpu_exec_ops *ops = cuda->ops;
    struct vgpu_job *done;
    uint32_t left = count;

    for (uint32_t k = 0; k < count; k++)
        left -= ops->submit(cuda->exec, &jobs[k]) == VGPU_SUBMIT_DONE;
    while (left) {
        if (ops->poll(cuda->exec, &done, 1)) {
            left--;
            continue;
        }
        pass_text(cuda);
        if (ops->arm(cuda->exec))
            (void)poll(&(struct pollfd){.fd = ops->wait_fd(cuda->exec), .events = POLLIN}, 1, -1);
    }
    pass_text(cuda);
    for (uint32_t k = 0; k < count; k++)
        if (jobs[k].status != VGPU_ST_OK)
            return jobs[k].status;
    return VGPU_ST_OK;
}

static bool copy(struct cuda_run *cuda, uint16_t opcode, uint64_t va, size_t bytes)
{
    struct vgpu_job job = {.opcode = opcode,
                           .u.copy = {.dev_addr = va, .bytes = bytes, .buf = cuda->window}};

    return jobs_run(cuda, &job, 1) == VGPU_ST_OK;
}

static bool memory_alloc(void *opaque, size_t bytes, uint64_t *va)
{
    const struct cuda_run *cuda = opaque;

    return cuda->ops->mem_alloc(cuda->exec, bytes, va) == VGPU_ST_OK;
}

static bool memory_write(void *opaque, uint64_t va, const void *data, size_t bytes)
{
    struct cuda_run *cuda = opaque;

    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < WINDOW_BYTES ? bytes - at : WINDOW_BYTES;
        if (vgpu_gbuf_write(cuda->window, 0, (const char *)data + at, n) < 0 ||
            !copy(cuda, VGPU_CMD_COPY_H2D, va + at, n))
            return false;
    }
    return true;
}

static bool memory_read(void *opaque, uint64_t va, void *data, size_t bytes)
{
    struct cuda_run *cuda = opaque;

    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < WINDOW_BYTES ? bytes - at : WINDOW_BYTES;
        if (!copy(cuda, VGPU_CMD_COPY_D2H, va + at, n) ||
            vgpu_gbuf_read(cuda->window, 0, (char *)data + at, n) < 0)
            return false;
    }
    return true;
}

/* ---- The kernel ---- */

static const char *status_text(uint16_t status)
{
    switch (status) {
#define STATUS_TEXT(name, value, cuda, lost, text)                                                 \
    case value: return text;
        VGPU_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    default: return "unknown status";
    }
}

/* A failure that may be the context's.  PTXTOOL_FAULT. */
static int say_failure(struct cuda_run *cuda, const char *what, uint16_t status)
{
    struct vgpu_exec_fault fault;

    cuda->faulted = cuda->ops->fault(cuda->exec, &fault);
    if (cuda->faulted)
        say_fault(cuda->run, &fault);
    else
        fprintf(stderr, "%s: error: %s: %s\n", cuda->run->files[0], what, status_text(status));
    return PTXTOOL_FAULT;
}

/*
 * The driver's compiler writes "ptxas application ptx input, line 7; error   : text", or "ptxas fatal   : text"
 * without a line.  A line of a log in our form, or as it is.
 */
static void say_log_line(const char *path, const char *line)
{
    char kind[16];
    unsigned int number;
    int text = 0;

    if (sscanf(line, "ptxas application ptx input, line %u; %15[a-z] : %n", &number, kind, &text) ==
            2 &&
        text)
        fprintf(stderr, "%s:%u: %s: %s\n", path, number, strcmp(kind, "fatal") ? kind : "error",
                line + text);
    else if (sscanf(line, "ptxas %15[a-z] : %n", kind, &text) == 1 && text)
        fprintf(stderr, "%s: %s: %s\n", path, strcmp(kind, "fatal") ? kind : "error", line + text);
    else if (strstr(line, "error:"))
        fprintf(stderr, "%s\n", line);
    else if (*line)
        fprintf(stderr, "%s: error: %s\n", path, line);
}

static int module_load(struct cuda_run *cuda, uint32_t *module)
{
    const char *path = cuda->run->files[0];
    char *log = calloc(1, LOG_BYTES);
    size_t bytes, log_bytes = 0;
    void *image = log ? ptxtool_read(path, &bytes) : NULL;
    uint16_t status;
    int result = 0;

    if (!image) {
        free(log);
        return PTXTOOL_USAGE;
    }
    status = cuda->ops->module_load(cuda->exec, image, bytes, log, LOG_BYTES, &log_bytes, module);
    free(image);
    if (status != VGPU_ST_OK) {
        char *at = log, *line;

        while ((line = strsep(&at, "\n")))
            say_log_line(path, line);
        result = say_failure(cuda, "loading", status);
    }
    free(log);
    return result;
}

static int launch(struct cuda_run *cuda, struct ptxtool_args *args, uint32_t function,
                  uint64_t *elapsed_ns)
{
    const struct ptxtool_run *run = cuda->run;
    const struct vgpu_cmd_launch check = {
        .function = function,
        .grid = {run->grid[0], run->grid[1], run->grid[2]},
        .block = {(uint16_t)run->block[0], (uint16_t)run->block[1], (uint16_t)run->block[2]},
        .shared_bytes = run->shared_bytes,
        .param_bytes = args->packed_bytes,
    };
    struct vgpu_job jobs[3] = {
        {.opcode = VGPU_CMD_EVENT_RECORD},
        {.opcode = VGPU_CMD_LAUNCH,
         .u.launch = {.function = function,
                      .grid = {run->grid[0], run->grid[1], run->grid[2]},
                      .block = {run->block[0], run->block[1], run->block[2]},
                      .shared_bytes = run->shared_bytes,
                      .param_bytes = args->packed_bytes,
                      .params = args->packed}},
        {.opcode = VGPU_CMD_EVENT_RECORD},
    };
    uint32_t events[2] = {0, 0};
    uint16_t status = VGPU_ST_LAUNCH_RESOURCES;

    /* The command's fields are narrower than ours. */
    if (run->block[0] <= UINT16_MAX && run->block[1] <= UINT16_MAX && run->block[2] <= UINT16_MAX)
        status = cuda->ops->launch_check(cuda->exec, &check);
    for (uint32_t k = 0; k < 2 && status == VGPU_ST_OK; k++)
        status = cuda->ops->event_create(cuda->exec, &events[k]);
    jobs[0].u.event = events[0];
    jobs[2].u.event = events[1];
    if (status == VGPU_ST_OK)
        status = jobs_run(cuda, jobs, 3);
    if (status != VGPU_ST_OK)
        return say_failure(cuda, "launch", status);
    *elapsed_ns = jobs[2].result - jobs[0].result;
    return 0;
}

static int run_kernel(struct cuda_run *cuda, uint64_t *elapsed_ns)
{
    struct ptxtool_args args = {
        .memory = {memory_alloc, memory_write, memory_read, cuda},
    };
    static struct vgpu_param_info params[PTXTOOL_ARGS_MAX];
    struct vgpu_func_info info;
    uint32_t module, function;
    uint16_t status;
    int result = module_load(cuda, &module);

    if (result)
        return result;
    status = cuda->ops->func_lookup(cuda->exec, module, cuda->run->kernel, &function, &info, params,
                                    PTXTOOL_ARGS_MAX);
    if (status == VGPU_ST_NOT_FOUND) {
        fprintf(stderr, "%s: error: no kernel '%s'\n", cuda->run->files[0], cuda->run->kernel);
        return PTXTOOL_FAULT;
    }
    if (status != VGPU_ST_OK)
        return say_failure(cuda, cuda->run->kernel, status);
    result = ptxtool_args_pack(&args, cuda->run, &info, params);
    if (!result)
        result = launch(cuda, &args, function, elapsed_ns);
    if (!result)
        result = ptxtool_args_write(&args);
    ptxtool_args_free(&args);
    return result;
}

/* What can't be had on a GPU, and what to do instead. */
static int check_request(const struct ptxtool_run *run)
{
    if (run->show_stats)
        return ptxtool_fail(
            "--stats: a GPU does not count instructions, divergence and memory traffic "
            "for its caller: use -x cpu, or --time");
    if (run->cooperative)
        return ptxtool_fail("--cooperative: executor cuda has no cooperative launches: use -x cpu");
    if (run->threads)
        return ptxtool_fail("-j is for the threads of -x cpu: leave it out");
    if (run->file_count > 1)
        return ptxtool_fail(
            "executor cuda loads one file, %u were given: link them first, or use -x cpu",
            run->file_count);
    return 0;
}

int ptxtool_run_cuda(const struct ptxtool_run *run)
{
    struct cuda_run cuda = {.run = run, .ops = &vgpu_exec_cuda};
    uint64_t elapsed_ns = 0;
    int result = check_request(run);

    if (result)
        return result;
    result = window_open(&cuda);
    if (!result)
        result = executor_open(&cuda);
    if (!result)
        result = run_kernel(&cuda, &elapsed_ns);
    if (cuda.text_lost)
        fprintf(stderr,
                "vgpu-ptx: %llu bytes of printed text were lost: the kernel prints too much\n",
                (unsigned long long)cuda.text_lost);
    if (cuda.faulted) {
        fflush(cuda.out);
        _exit(result);
    }
    cuda_close(&cuda);
    if (!result && run->show_time)
        ptxtool_show_time((double)elapsed_ns * 1e-9);
    return result;
}
