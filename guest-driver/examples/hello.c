/* SPDX-License-Identifier: MIT */
/*
 * hello: every thread of a grid prints a line; each line is received exactly once.
 *
 * Threads print in no particular order, so lines are told apart by what they say.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64

struct hello {
    struct example *ex;
    char *text;
    size_t bytes, room;
    uint64_t lost;
};

static void hello_receive(void *opaque, const char *text, size_t bytes, uint64_t lost)
{
    struct hello *h = opaque;

    h->lost += lost;
    if (bytes > h->room - h->bytes)
        bytes = h->room - h->bytes;
    memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
}

static int hello_judge(struct hello *h, uint64_t base)
{
    struct example *ex = h->ex;
    uint8_t *seen = calloc(ex->n, 1);
    char *save = NULL;
    uint64_t lines = 0;

    if (!seen)
        return example_fail(ex, "out of memory");
    h->text[h->bytes] = '\0';
    for (char *line = strtok_r(h->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned int thread = 0, block = 0;
        char want[128];
        uint64_t i;

        lines++;
        if (sscanf(line, "thread %u of block %u", &thread, &block) != 2)
            thread = BLOCK;
        i = (uint64_t)block * BLOCK + thread;
        snprintf(want, sizeof(want), "thread %u of block %u: %.4f %s", thread, block,
                 (double)(base + i) / 16.0, i % 2 ? "odd" : "even");
        if (thread >= BLOCK || i >= ex->n || seen[i] || strcmp(line, want) != 0) {
            ex->errors++;
            if (ex->errors == 1)
                example_fail(ex, "unexpected line '%s'", line);
            continue;
        }
        seen[i] = 1;
    }
    free(seen);
    if (h->lost)
        return example_fail(ex, "%llu bytes of output were lost", (unsigned long long)h->lost);
    if (lines != ex->n)
        return example_fail(ex, "%llu lines of %llu threads", (unsigned long long)lines,
                            (unsigned long long)ex->n);
    return ex->errors ? -1 : 0;
}

static int hello_run(struct example *ex, uint64_t seed)
{
    struct hello h = {.ex = ex, .room = ex->n * 80};
    int base = (int)(seed % 1000);
    const void *const args[] = {&base};
    int err, ret = -1;

    h.text = malloc(h.room + 1);
    if (!h.text)
        return example_fail(ex, "out of memory");
    err = vgpu_set_output(ex->ctx, hello_receive, &h);
    if (err)
        example_fail_call(ex, "vgpu_set_output", err);
    else if (!example_launch(ex, (uint32_t)(ex->n / BLOCK), 1, BLOCK, 1, args, 1)) {
        err = vgpu_sync(ex->ctx);
        ret = err ? example_fail_call(ex, "vgpu_sync", err) : hello_judge(&h, (uint64_t)base);
    }
    vgpu_set_output(ex->ctx, NULL, NULL);
    free(h.text);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Hello",
        .kernel = "hello",
        .purpose = "Lets N threads print a line each and checks that every line arrives once.",
        .default_n = 128,
        .max_n = 8192, /* what the device keeps until it is read */
        .multiple_of = BLOCK,
        .run = hello_run,
    };

    return example_main(argc, argv, &spec);
}
