// SPDX-License-Identifier: MIT
/*
 * vgpu-ptx: looks at PTX and fatbin files and runs kernels, without a VM.
 *
 *   check FILE...     lists kernels, parameters, resources, and everything unsupported; exit 1 if there is any
 *   run FILE -k ...   runs one kernel with buffers from files, on the CPU or the CUDA executor
 *
 * Exit codes: 0 success, 1 the file or the kernel has a fault, 2 wrong usage, an unreadable file, or an executor
 * that can't be had.  Messages have a compiler's form, file:line: error: ...
 */
#include "vgpu-ptx.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: vgpu-ptx check FILE...\n"
        "       vgpu-ptx check --link FILE...\n"
        "       vgpu-ptx run FILE... -k KERNEL -g X[,Y[,Z]] -b X[,Y[,Z]] [-s BYTES]\n"
        "                [-x cpu|cuda[,device=GPU]] [-j THREADS] [--timeout MS] [--cooperative]\n"
        "                [--time] [--stats] [-a ARG]...\n"
        "ARG: u8: u16: u32: u64: s32: s64: f32: f64: VALUE, in:PATH, out:BYTES:PATH, "
        "inout:PATH:PATH,\n"
        "     zero:BYTES, hex:BYTES\n");
}

int ptxtool_fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "vgpu-ptx: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return PTXTOOL_USAGE;
}

void ptxtool_show_time(double seconds)
{
    printf("time %.6f s\n", seconds);
}

void *ptxtool_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    size_t capacity = 1u << 16, used = 0;
    char *data = malloc(capacity);

    while (file && data) {
        size_t got = fread(data + used, 1, capacity - used, file);

        used += got;
        if (!got)
            break;
        if (used == capacity) {
            char *grown = realloc(data, capacity *= 2);

            if (!grown)
                free(data);
            data = grown;
        }
    }
    if (!file || !data || ferror(file)) {
        fprintf(stderr, "vgpu-ptx: %s: %s\n", path, strerror(errno));
        free(data);
        data = NULL;
    }
    if (file)
        fclose(file);
    *bytes = used;
    return data;
}

static void show_kernel(const struct vgpu_ptx_function *function)
{
    struct vgpu_ptx_attributes a;
    struct vgpu_ptx_param param;

    vgpu_ptx_function_attributes(function, &a);
    printf("kernel %s\n", vgpu_ptx_function_name(function));
    printf("  threads <= %u", a.max_threads);
    if (a.reqntid[0])
        printf(", exactly %u,%u,%u", a.reqntid[0], a.reqntid[1], a.reqntid[2]);
    printf("; shared %u bytes, local %u bytes, %u instructions, %u register slots\n",
           a.static_shared_bytes, a.local_bytes, a.instructions, a.registers);
    printf("  parameters: %u bytes\n", a.param_bytes);
    for (uint32_t k = 0; vgpu_ptx_function_param(function, k, &param) == VGPU_PTX_OK; k++)
        printf("    %u: offset %u, %u bytes, aligned to %u\n", k, param.offset, param.bytes,
               param.align);
}

static int check_files(struct vgpu_ptx_machine *machine, char *const *files, uint32_t count)
{
    struct vgpu_ptx_module *module;
    struct vgpu_ptx_function *function;
    struct vgpu_ptx_attributes a;
    int status = ptxtool_load(machine, files, count, &module);

    if (status)
        return status;
    for (uint32_t k = 0; k < count; k++)
        printf("%s%s", k ? " + " : "", files[k]);
    function = vgpu_ptx_module_kernel(module, 0);
    if (function) {
        vgpu_ptx_function_attributes(function, &a);
        printf(": PTX ISA %u.%u, %u bytes of constants\n", a.ptx_version / 10, a.ptx_version % 10,
               a.const_bytes);
    } else {
        printf(": no kernels\n");
    }
    for (uint32_t k = 0; (function = vgpu_ptx_module_kernel(module, k)); k++)
        show_kernel(function);
    vgpu_ptx_module_unload(module);
    return 0;
}

static int command_check(int argc, char **argv)
{
    struct vgpu_ptx_options options = {.threads = 1};
    struct vgpu_ptx_machine *machine;
    bool together = argc > 0 && !strcmp(argv[0], "--link");
    int worst = 0;

    argc -= together;
    argv += together;
    if (argc < 1 || argv[0][0] == '-') {
        usage(stderr);
        return PTXTOOL_USAGE;
    }
    if (vgpu_ptx_machine_create(&options, &machine))
        return ptxtool_fail("the machine cannot be created");
    for (int k = 0; k < argc; k += together ? argc : 1) {
        int status = check_files(machine, argv + k, together ? (uint32_t)argc : 1);

        worst = status > worst ? status : worst;
    }
    vgpu_ptx_machine_destroy(machine);
    return worst;
}

static bool parse_dims(const char *text, uint32_t dims[3])
{
    dims[0] = dims[1] = dims[2] = 1;
    for (int k = 0; k < 3; k++) {
        char *end;
        unsigned long value = strtoul(text, &end, 0);

        if (end == text || value == 0 || value > UINT32_MAX)
            return false;
        dims[k] = (uint32_t)value;
        if (!*end)
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

static bool parse_count(const char *text, uint32_t *value)
{
    char *end;
    unsigned long number = strtoul(text, &end, 0);

    *value = (uint32_t)number;
    return end != text && !*end && number <= UINT32_MAX;
}

/* -x: as a VM's executor= and device= are given to vgpud */
static bool parse_executor(const char *text, struct ptxtool_run *run)
{
    run->on_cuda = !strncmp(text, "cuda", 4) && (text[4] == ',' || !text[4]);
    run->device = NULL;
    if (!run->on_cuda || !text[4])
        return run->on_cuda || !strcmp(text, "cpu");
    run->device = text + strlen("cuda,device=");
    return !strncmp(text, "cuda,device=", strlen("cuda,device=")) && *run->device;
}

enum { OPT_TIME = 256, OPT_STATS, OPT_TIMEOUT, OPT_COOPERATIVE };

static bool parse_option(int c, struct ptxtool_run *run)
{
    switch (c) {
    case 'k': run->kernel = optarg; return true;
    case 'g': return parse_dims(optarg, run->grid);
    case 'b': return parse_dims(optarg, run->block);
    case 's': return parse_count(optarg, &run->shared_bytes);
    case 'j': return parse_count(optarg, &run->threads) && run->threads <= VGPU_PTX_MAX_THREADS;
    case OPT_TIME: run->show_time = true; return true;
    case OPT_STATS: run->show_stats = true; return true;
    case OPT_TIMEOUT: return parse_count(optarg, &run->timeout_ms);
    case OPT_COOPERATIVE: run->cooperative = true; return true;
    default: return false;
    }
}

static int parse_options(int argc, char **argv, struct ptxtool_run *run)
{
    static const struct option longs[] = {{"time", no_argument, NULL, OPT_TIME},
                                          {"stats", no_argument, NULL, OPT_STATS},
                                          {"timeout", required_argument, NULL, OPT_TIMEOUT},
                                          {"cooperative", no_argument, NULL, OPT_COOPERATIVE},
                                          {NULL, 0, NULL, 0}};
    bool good = true;
    int c;

    while (good && (c = getopt_long(argc, argv, "k:g:b:s:a:x:j:", longs, NULL)) != -1) {
        if (c == 'x' && !parse_executor(optarg, run))
            return ptxtool_fail("no executor '%s': there are cpu, cuda and cuda,device=GPU",
                                optarg);
        if (c == 'a' && run->arg_count == PTXTOOL_ARGS_MAX)
            return ptxtool_fail("more than %u arguments", PTXTOOL_ARGS_MAX);
        if (c == 'a')
            run->args[run->arg_count++] = optarg;
        else
            good = c == 'x' || parse_option(c, run);
    }
    run->files = argv + optind;
    run->file_count = (uint32_t)(argc - optind);
    if (!good || optind >= argc || !run->kernel || !run->grid[0] || !run->block[0]) {
        usage(stderr);
        return PTXTOOL_USAGE;
    }
    return 0;
}

static int command_run(int argc, char **argv)
{
    static struct ptxtool_run run;
    int status = parse_options(argc, argv, &run);

    if (status)
        return status;
    return run.on_cuda ? ptxtool_run_cuda(&run) : ptxtool_run_cpu(&run);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "check"))
        return command_check(argc - 2, argv + 2);
    if (argc > 1 && !strcmp(argv[1], "run"))
        return command_run(argc - 1, argv + 1);
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        usage(stdout);
        return 0;
    }
    usage(stderr);
    return PTXTOOL_USAGE;
}
