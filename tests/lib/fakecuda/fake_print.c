/* SPDX-License-Identifier: MIT */
/*
 * Device printf: CUDA programming guide, "Formatted Output".
 *
 * The FIFO has a fixed size, set before the first launch.  It is a ring: a kernel that prints more
 * than fits overwrites what was printed first.  What is in
 * it appears on the process's standard output when a kernel is launched, at synchronisation, at
 * loading and unloading of modules and when the context is destroyed, never by itself.
 *
 * How much of the FIFO a call takes depends on its arguments and is not documented: 64 bytes here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fake.h"

#define PRINT_RECORD_BYTES  64u
#define PRINT_DEFAULT_BYTES (1u << 20)

void fake_print_open(struct CUctx_st *ctx)
{
    pthread_mutex_init(&ctx->print.lock, NULL);
    ctx->print.limit = PRINT_DEFAULT_BYTES;
}

void fake_print_close(struct CUctx_st *ctx)
{
    fake_print_flush(ctx);
    pthread_mutex_destroy(&ctx->print.lock);
}

void fake_print_put(void *opaque, const char *text, size_t bytes)
{
    struct fake_print *print = &((struct CUctx_st *)opaque)->print;
    struct fake_text *made = malloc(sizeof(*made) + bytes);

    if (!made)
        return;
    *made = (struct fake_text){.bytes = bytes};
    memcpy(made->text, text, bytes);
    pthread_mutex_lock(&print->lock);
    print->used = true;
    if (print->last)
        print->last->next = made;
    else
        print->first = made;
    print->last = made;
    if (++print->count > print->limit / PRINT_RECORD_BYTES) {
        struct fake_text *oldest = print->first;

        print->first = oldest->next;
        print->count--;
        free(oldest);
    }
    pthread_mutex_unlock(&print->lock);
}

/* "CU_LIMIT_PRINTF_FIFO_SIZE ... must be performed before launching any kernel that uses the printf()
 * device system call, otherwise CUDA_ERROR_INVALID_VALUE will be returned." */
CUresult fake_print_limit(struct CUctx_st *ctx, size_t bytes)
{
    CUresult result = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&ctx->print.lock);
    if (!ctx->print.used && bytes >= PRINT_RECORD_BYTES) {
        ctx->print.limit = bytes;
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&ctx->print.lock);
    return result;
}

void fake_print_flush(struct CUctx_st *ctx)
{
    struct fake_text *text, *next;

    pthread_mutex_lock(&ctx->print.lock);
    for (text = ctx->print.first; text; text = next) {
        next = text->next;
        fwrite(text->text, 1, text->bytes, stdout);
        free(text);
    }
    ctx->print.first = ctx->print.last = NULL;
    ctx->print.count = 0;
    pthread_mutex_unlock(&ctx->print.lock);
}
