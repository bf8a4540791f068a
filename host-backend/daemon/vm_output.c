/* SPDX-License-Identifier: MIT */
/*
 * What exec processes print, on its way to the log.
 *
 * Their standard error is a pipe that the vm process reads: an exec process runs what a guest
 * made up, and may be the guest's altogether.  It must not be able to fill the host's disk, to forge lines
 * of other VMs, or to talk to a terminal.  So each line is written by the vm process as one of its own,
 * cut to a length, and all processes of a VM share a budget of bytes: a burst for a driver's or a
 * sanitizer's report, and a trickle from then on.  What is left out is counted, and told with the next
 * line that is not.
 *
 * A process that prints faster than this is read waits in its write, which costs it alone.
 */
#include <daemon/vm.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_BURST_BYTES   (256u << 10)
#define OUTPUT_PER_S         256u
#define OUTPUT_READ_BYTES    4096u
#define OUTPUT_READ_BUDGET   8u  /* reads per event */
#define OUTPUT_LINE_OVERHEAD 64u /* what the log adds to a line, about */

bool vm_output_pass(struct vm_output *out, size_t bytes, uint64_t now_ms)
{
    uint64_t more = (now_ms - out->refill_ms) * OUTPUT_PER_S / 1000u;

    if (!out->refill_ms) {
        out->budget = OUTPUT_BURST_BYTES;
        out->refill_ms = now_ms;
    } else if (more) {
        out->budget = more > OUTPUT_BURST_BYTES - out->budget ? OUTPUT_BURST_BYTES
                                                              : out->budget + (uint32_t)more;
        out->refill_ms = now_ms;
    }
    bytes += OUTPUT_LINE_OVERHEAD;
    if (bytes > out->budget) {
        out->left_out++;
        return false;
    }
    out->budget -= (uint32_t)bytes;
    return true;
}

static void output_line(struct vm_output *out)
{
    out->line[out->used] = '\0';
    if (out->used && vm_output_pass(out, out->used, vgpu_now_ms())) {
        if (out->left_out)
            vgpu_log(VGPU_LOG_WARN, "executors: %llu lines left out",
                     (unsigned long long)out->left_out);
        out->left_out = 0;
        vgpu_log(VGPU_LOG_WARN, "executor: %s", out->line);
    }
    out->used = 0;
}

/* Without what does not fit a line. */
static void output_take(struct vm_output *out, const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == '\n')
            output_line(out);
        else if (out->used < sizeof(out->line) - 1)
            out->line[out->used++] = data[i];
    }
}

/* 1: there may be more; 0: not now; -1: never again. */
static int output_read(struct vm_output *out)
{
    char data[OUTPUT_READ_BYTES];
    ssize_t n;

    do {
        n = read(out->fd, data, sizeof(data));
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        output_take(out, data, (size_t)n);
    if (n > 0)
        return 1;
    return n < 0 && errno == EAGAIN ? 0 : -1;
}

static void output_event(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    int ret = 1;

    (void)events;
    for (unsigned int i = 0; i < OUTPUT_READ_BUDGET && ret > 0; i++)
        ret = output_read(&vm->output);
    if (ret < 0)
        vgpu_source_remove(&vm->loop, &vm->output.source);
}

int vm_output_open(struct vm_output *out)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -errno;
    out->fd = ends[0];
    /* The writers wait: they expect their standard error to be like that. */
    if (fcntl(ends[1], F_SETFL, 0)) {
        close(ends[0]);
        close(ends[1]);
        return -EIO;
    }
    return ends[1];
}

int vm_output_watch(struct vm *vm)
{
    return vgpu_source_add(&vm->loop, &vm->output.source, vm->output.fd, EPOLLIN, output_event, vm);
}

void vm_output_close(struct vm *vm)
{
    if (vm->output.fd < 0)
        return;
    /* Nobody is left to write: what there is, is bounded by the pipe. */
    while (output_read(&vm->output) > 0)
        ;
    output_line(&vm->output);
    close(vm->output.fd);
    vm->output.fd = -1;
}
