/* SPDX-License-Identifier: MIT */
/*
 * What kernels print, from the driver to the guest (spec 10.4).
 *
 * The driver formats the text of device printf on the host and writes it to the process's standard
 * output, but only in certain calls ("Formatted Output" of the CUDA programming guide lists them;
 * cuEventSynchronize() is one).  A process that serves a context has nothing else to say there, so
 * its standard output becomes a pipe that ends in the FIFO of output.h:
 *
 *   - a thread empties the pipe, since the driver may write from any call and more than a pipe holds;
 *   - when a mark that covers a kernel which may print has happened, the drain synchronises with that
 *     mark's event, which waits for nothing any more but has the text written, and empties the pipe
 *     itself: so the text is there before the kernel's completion is reported.
 *
 * The pipe knows no calls of printf, only bytes.  Whole lines go into the FIFO, so that what is dropped
 * there for lack of room is whole lines.  What the GPU's own buffer loses (CU_LIMIT_PRINTF_FIFO_SIZE:
 * it is circular, the oldest text is overwritten) nobody learns of.
 *
 * Text of a guest is data: it is never looked at, nor does it reach a log.
 *
 * Locking: the lock, for the pipe's reading end and the line that has not ended yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <exec/cuda/cuda_exec.h>

#define TEXT_BYTES (64u << 10)

/* Whole lines to the FIFO, and what follows them to the start of the buffer.  A line longer than
 * the buffer goes in pieces. */
static void put_lines(struct cuda_print *print)
{
    size_t done = 0;

    while (done < print->used) {
        const char *end = memchr(print->text + done, '\n', print->used - done);
        size_t bytes = end ? (size_t)(end - (print->text + done)) + 1 : print->used - done;

        if (!end && !(done == 0 && bytes == TEXT_BYTES))
            break;
        vgpu_output_put(&print->output, print->text + done, bytes);
        done += bytes;
    }
    memmove(print->text, print->text + done, print->used - done);
    print->used -= done;
}

/* Empty the pipe. */
static void take(struct cuda_print *print)
{
    ssize_t n;

    while ((n = read(print->read_fd, print->text + print->used, TEXT_BYTES - print->used)) > 0 ||
           (n < 0 && errno == EINTR)) {
        if (n > 0)
            print->used += (size_t)n;
        put_lines(print);
    }
}

static void *print_main(void *opaque)
{
    struct cuda_print *print = opaque;
    struct pollfd pfd = {.fd = print->read_fd, .events = POLLIN};

    /* Without POLLIN it is the end: nobody can write any more. */
    while (poll(&pfd, 1, -1) < 0 || (pfd.revents & POLLIN)) {
        pthread_mutex_lock(&print->lock);
        take(print);
        pthread_mutex_unlock(&print->lock);
    }
    return NULL;
}

int cuda_print_open(struct cuda_print *print)
{
    int fds[2] = {-1, -1};
    int ret;

    vgpu_output_init(&print->output);
    pthread_mutex_init(&print->lock, NULL);
    print->usable = true;
    print->text = malloc(TEXT_BYTES);
    if (!print->text)
        return -ENOMEM;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    print->read_fd = fds[0];
    print->saved_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (print->saved_fd < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ||
        dup2(fds[1], STDOUT_FILENO) < 0)
        ret = -errno;
    else
        ret = -pthread_create(&print->thread, NULL, print_main, print);
    close(fds[1]);
    print->started = ret == 0;
    return ret;
}

void cuda_print_close(struct cuda_print *print)
{
    if (!print->usable)
        return;
    /* Gives the pipe's last writing end up, which ends the thread. */
    if (print->saved_fd >= 0) {
        fflush(stdout);
        (void)dup2(print->saved_fd, STDOUT_FILENO);
        close(print->saved_fd);
    }
    if (print->started)
        pthread_join(print->thread, NULL);
    if (print->read_fd >= 0)
        close(print->read_fd);
    free(print->text);
    pthread_mutex_destroy(&print->lock);
    vgpu_output_fini(&print->output);
}

void cuda_print_collect(struct vgpu_exec *exec, CUevent happened)
{
    struct cuda_print *print = &exec->print;
    CUresult result;

    if (!print->started)
        return;
    result = exec->cu.cuEventSynchronize(happened);
    if (result != CUDA_SUCCESS) {
        /* The text would come late or not at all, and nobody would know. */
        cuda_lose(exec, result, "collecting printed text");
        return;
    }
    fflush(stdout);
    pthread_mutex_lock(&print->lock);
    take(print);
    if (print->used > 0) /* a line without an end is readable as well */
        vgpu_output_put(&print->output, print->text, print->used);
    print->used = 0;
    pthread_mutex_unlock(&print->lock);
}

size_t cuda_output_read(struct vgpu_exec *exec, void *buf, size_t room, uint64_t *lost)
{
    *lost = 0;
    return exec->print.usable ? vgpu_output_get(&exec->print.output, buf, room, lost) : 0;
}
