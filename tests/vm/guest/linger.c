/* SPDX-License-Identifier: MIT */
/*
 * guest-linger: memory that a device goes on writing to, and the memory beside it.
 *
 *   guest-linger victim BYTES MS    registers a buffer with a rogue executor (tests/daemon/rogue), which
 *                                   writes into it without end, and for MS when it was killed; prints
 *                                   "aimed" once that is seen, and waits to be killed
 *   guest-linger watch MB SECONDS   takes that much memory, fills it, and looks for that long
 *                                   whether any of it changes
 *
 * Pages that the victim gave up and the kernel handed out again would show the rogue's bytes in
 * the watcher's memory.  Exit status 0 if all was as it should be, 1 with the reason if not.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <vgpu/libvgpu.h>

#include "../../daemon/rogue/rogue.h"

#define AIM_TIMEOUT_MS 30000u
#define WATCH_PAUSE_US 100000u
#define PATTERN        0x5a5aa5a5u

static int fail(const char *what, int err)
{
    printf("%s: %s\n", what, err ? strerror(-err) : "failed");
    return EXIT_FAILURE;
}

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static void *take(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static int victim(size_t bytes, const char *ms)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    volatile uint8_t *memory = take(bytes);
    struct vgpu_module *module;
    struct vgpu_host *host;
    struct vgpu_ctx *ctx;
    char image[64];
    uint64_t src, end;
    int err;

    if (!memory || setrlimit(RLIMIT_MEMLOCK, &all))
        return fail("memory", 0);
    err = vgpu_open(NULL, NULL, &ctx);
    if (err)
        return fail("vgpu_open", err);
    err = vgpu_host_register(ctx, (void *)memory, bytes, VGPU_BUF_DEVICE_WRITES, &host);
    if (err)
        return fail("vgpu_host_register", err);
    snprintf(image, sizeof(image), "%s %s", ROGUE_DIE_SLOWLY, ms);
    err = vgpu_module_load(ctx, image, strlen(image) + 1, &module, NULL, 0);
    if (!err)
        err = vgpu_mem_alloc(ctx, bytes, &src);
    if (!err)
        err = vgpu_copy_d2h_async(ctx, NULL, host, 0, src, bytes);
    if (err)
        return fail("telling the rogue", err);
    for (end = now_ms() + AIM_TIMEOUT_MS; memory[bytes - 1] != ROGUE_BYTE; usleep(1000))
        if (now_ms() > end)
            return fail("the rogue writes nothing", 0);
    puts("aimed");
    fflush(stdout);
    for (;;)
        pause();
}

static int watch(size_t bytes, unsigned int seconds)
{
    uint64_t end = now_ms() + seconds * 1000u;
    size_t words = bytes / sizeof(uint32_t);
    uint32_t *memory = take(bytes);
    unsigned int rounds = 0;

    if (!memory)
        return fail("memory", 0);
    for (size_t i = 0; i < words; i++)
        memory[i] = PATTERN;
    do {
        for (size_t i = 0; i < words; i++) {
            uint32_t seen = __atomic_load_n(&memory[i], __ATOMIC_RELAXED);

            if (seen != PATTERN) {
                printf("byte %zu of %zu became %#x\n", i * sizeof(uint32_t), bytes, seen);
                return EXIT_FAILURE;
            }
        }
        rounds++;
        usleep(WATCH_PAUSE_US);
    } while (now_ms() < end);
    printf("%zu bytes stayed as they were, looked at %u times\n", bytes, rounds);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "victim"))
        return victim(strtoul(argv[2], NULL, 0), argv[3]);
    if (argc == 4 && !strcmp(argv[1], "watch"))
        return watch(strtoul(argv[2], NULL, 0) << 20, (unsigned int)strtoul(argv[3], NULL, 0));
    fputs("usage: guest-linger victim BYTES MS | watch MB SECONDS\n", stderr);
    return 2;
}
