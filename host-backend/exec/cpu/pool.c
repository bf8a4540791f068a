// SPDX-License-Identifier: MIT
/*
 * Worker threads of a machine. A launch is handed to all of them at once; each takes blocks until none are
 * left (launch.c). With one worker there are no threads: the launching thread does the work.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pool_thread {
    struct ptx_pool *pool;
    uint32_t index;
};

static void *pool_main(void *argument)
{
    struct pool_thread self = *(struct pool_thread *)argument;
    struct ptx_pool *pool = self.pool;
    uint64_t seen = 0;

    free(argument);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct ptx_run *run;

        while (pool->generation == seen && !pool->quit)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->quit)
            break;
        seen = pool->generation;
        run = pool->run;
        pthread_mutex_unlock(&pool->lock);
        ptx_worker_run(run, self.index);
        pthread_mutex_lock(&pool->lock);
        if (!--pool->busy)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int pool_start(struct ptx_pool *pool, uint32_t index)
{
    struct pool_thread *self = malloc(sizeof(*self));
    pthread_attr_t attr;
    int status;

    if (!self)
        return -ENOMEM;
    self->pool = pool;
    self->index = index;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 512u << 10);
    status = -pthread_create(&pool->threads[index], &attr, pool_main, self);
    pthread_attr_destroy(&attr);
    if (status)
        free(self);
    return status;
}

int ptx_pool_init(struct ptx_pool *pool, uint32_t count)
{
    memset(pool, 0, sizeof(*pool));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    if (count < 2)
        return 0;
    pool->threads = calloc(count, sizeof(*pool->threads));
    if (!pool->threads)
        return -ENOMEM;
    for (; pool->count < count; pool->count++) {
        int status = pool_start(pool, pool->count);

        if (status)
            return status; /* the caller's ptx_pool_fini ends those that run */
    }
    return 0;
}

void ptx_pool_fini(struct ptx_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->quit = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t k = 0; k < pool->count; k++)
        pthread_join(pool->threads[k], NULL);
    free(pool->threads);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
}

void ptx_pool_run(struct ptx_pool *pool, struct ptx_run *run)
{
    if (!pool->count || run->total_blocks == 1) {
        ptx_worker_run(run, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->run = run;
    pool->busy = pool->count;
    pool->generation++;
    pthread_cond_broadcast(&pool->work);
    while (pool->busy)
        pthread_cond_wait(&pool->done, &pool->lock);
    pool->run = NULL;
    pthread_mutex_unlock(&pool->lock);
}
