// SPDX-License-Identifier: MIT
/*
 * vgpu-ptx: looks at PTX and fatbin files and runs kernels on the CPU executor, without a VM.
 *
 *   check FILE        lists kernels, parameters, resources, and everything unsupported; exit 1 if there is any
 *   run FILE -k ...   runs one kernel with buffers from files
 *
 * Exit codes: 0 success, 1 the file or the kernel has a fault, 2 wrong usage or an unreadable file. Messages have a
 * compiler's form, file:line: error: ...
 */
#include "exec/cpu/ptx.h"
#include "vgpu-ptx.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_BYTES (1u << 20)

static void usage(FILE *to)
{
    fprintf(to, "usage: vgpu-ptx check FILE...\n"
                "       vgpu-ptx run FILE -k KERNEL -g X[,Y[,Z]] -b X[,Y[,Z]] [-s BYTES] [-x cpu]\n"
                "                [-j THREADS] [--timeout MS] [--cooperative] [--time] [--stats] "
                "[-a ARG]...\n"
                "ARG: u8: u16: u32: u64: s32: s64: f32: f64: VALUE, in:PATH, out:BYTES:PATH, "
                "inout:PATH:PATH,\n"
                "     zero:BYTES, hex:BYTES\n");
}

int ptxtool_fail(const char *format, const char *what)
{
    fprintf(stderr, "vgpu-ptx: ");
    fprintf(stderr, format, what);
    fprintf(stderr, "\n");
    return PTXTOOL_USAGE;
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

static void print_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    fwrite(text, 1, bytes, stdout);
}

int ptxtool_load(struct vgpu_ptx_machine *machine, const char *path,
                 struct vgpu_ptx_module **module)
{
    struct vgpu_ptx_input input = {.name = path};
    char *log = calloc(1, LOG_BYTES);
    enum vgpu_ptx_status status;
    void *data;

    if (!log)
        return ptxtool_fail("%s", "out of memory");
    data = ptxtool_read(path, &input.bytes);
    if (!data) {
        free(log);
        return PTXTOOL_USAGE;
    }
    input.image = data;
    status = vgpu_ptx_module_link(machine, &input, 1, log, LOG_BYTES, module);
    if (status && !*log)
        snprintf(log, LOG_BYTES, "%s: error: %s\n", path, vgpu_ptx_status_name(status));
    fputs(log, stderr);
    free(data);
    free(log);
    return status ? PTXTOOL_FAULT : 0;
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

static int check_file(struct vgpu_ptx_machine *machine, const char *path)
{
    struct vgpu_ptx_module *module;
    struct vgpu_ptx_function *function;
    struct vgpu_ptx_attributes a;
    int status = ptxtool_load(machine, path, &module);

    if (status)
        return status;
    function = vgpu_ptx_module_kernel(module, 0);
    if (function) {
        vgpu_ptx_function_attributes(function, &a);
        printf("%s: PTX ISA %u.%u, %u bytes of constants\n", path, a.ptx_version / 10,
               a.ptx_version % 10, a.const_bytes);
    } else {
        printf("%s: no kernels\n", path);
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
    int worst = 0;

    if (argc < 1) {
        usage(stderr);
        return PTXTOOL_USAGE;
    }
    if (vgpu_ptx_machine_create(&options, &machine))
        return ptxtool_fail("%s", "the machine cannot be created");
    for (int k = 0; k < argc; k++) {
        int status = check_file(machine, argv[k]);

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

struct run_options {
    const char *kernel;
    struct vgpu_ptx_launch launch;
    struct vgpu_ptx_options machine;
    const char *args[PTXTOOL_ARGS_MAX];
    uint32_t arg_count;
    bool show_time, show_stats;
};

enum { OPT_TIME = 256, OPT_STATS, OPT_TIMEOUT, OPT_COOPERATIVE };

static int parse_options(int argc, char **argv, struct run_options *o)
{
    static const struct option longs[] = {{"time", no_argument, NULL, OPT_TIME},
                                          {"stats", no_argument, NULL, OPT_STATS},
                                          {"timeout", required_argument, NULL, OPT_TIMEOUT},
                                          {"cooperative", no_argument, NULL, OPT_COOPERATIVE},
                                          {NULL, 0, NULL, 0}};
    bool good = true;
    int c;

    while ((c = getopt_long(argc, argv, "k:g:b:s:a:x:j:", longs, NULL)) != -1 && good) {
        switch (c) {
        case 'k': o->kernel = optarg; break;
        case 'g': good = parse_dims(optarg, o->launch.grid); break;
        case 'b': good = parse_dims(optarg, o->launch.block); break;
        case 's': good = parse_count(optarg, &o->launch.dynamic_shared_bytes); break;
        case 'j':
            good = parse_count(optarg, &o->machine.threads) &&
                   o->machine.threads <= VGPU_PTX_MAX_THREADS;
            break;
        case 'x':
            if (strcmp(optarg, "cpu"))
                return ptxtool_fail("the executor '%s' is not built into this tool; 'cpu' is",
                                    optarg);
            break;
        case 'a':
            if (o->arg_count == PTXTOOL_ARGS_MAX)
                return ptxtool_fail("%s", "too many arguments");
            o->args[o->arg_count++] = optarg;
            break;
        case OPT_TIME: o->show_time = true; break;
        case OPT_STATS: o->show_stats = true; break;
        case OPT_TIMEOUT: good = parse_count(optarg, &o->launch.timeout_ms); break;
        case OPT_COOPERATIVE: o->launch.flags |= VGPU_PTX_LAUNCH_COOPERATIVE; break;
        default: good = false;
        }
    }
    if (!good || optind != argc - 1 || !o->kernel || !o->launch.grid[0] || !o->launch.block[0]) {
        usage(stderr);
        return PTXTOOL_USAGE;
    }
    return 0;
}

static void show_stats(const struct vgpu_ptx_counters *c)
{
    printf("blocks                %llu\n", (unsigned long long)c->blocks);
    printf("warp instructions     %llu\n", (unsigned long long)c->warp_instructions);
    printf(
        "lane instructions     %llu (%.1f of 32 lanes)\n", (unsigned long long)c->lane_instructions,
        c->warp_instructions ? (double)c->lane_instructions / (double)c->warp_instructions : 0.0);
    printf("divergent branches    %llu of %llu\n", (unsigned long long)c->divergent_branches,
           (unsigned long long)c->branches);
    printf("barrier arrivals      %llu\n", (unsigned long long)c->barriers);
    printf("global loads          %llu bytes\n", (unsigned long long)c->global_load_bytes);
    printf("global stores         %llu bytes\n", (unsigned long long)c->global_store_bytes);
    printf("atomic operations     %llu\n", (unsigned long long)c->atomics);
}

static int run_kernel(struct vgpu_ptx_machine *machine, struct vgpu_ptx_module *module,
                      struct run_options *o, const char *path)
{
    struct vgpu_ptx_function *function;
    struct vgpu_ptx_fault fault;
    struct vgpu_ptx_counters counters;
    struct ptxtool_args args = {.machine = machine};
    struct timespec start, end;
    enum vgpu_ptx_status status;
    int result;

    if (vgpu_ptx_module_function(module, o->kernel, &function)) {
        fprintf(stderr, "%s: error: no kernel '%s'\n", path, o->kernel);
        return PTXTOOL_FAULT;
    }
    result = ptxtool_args_pack(&args, function, o->args, o->arg_count);
    if (result)
        return result;
    o->launch.function = function;
    o->launch.params = args.packed;
    o->launch.param_bytes = args.packed_bytes;
    clock_gettime(CLOCK_MONOTONIC, &start);
    status = vgpu_ptx_launch_run(machine, &o->launch, &fault, &counters);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (status == VGPU_PTX_FAULT || status == VGPU_PTX_CANCELLED) {
        fprintf(stderr, "%s:%u: error: %s\n", path, fault.line, fault.text);
        result = PTXTOOL_FAULT;
    } else if (status) {
        fprintf(stderr, "%s: error: launch: %s\n", path, vgpu_ptx_status_name(status));
        result = PTXTOOL_FAULT;
    } else {
        result = ptxtool_args_write(&args);
    }
    if (o->show_time)
        printf("time %.6f s\n",
               (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    if (o->show_stats)
        show_stats(&counters);
    ptxtool_args_free(&args);
    return result;
}

static int command_run(int argc, char **argv)
{
    struct run_options o = {.machine = {.print = print_text}};
    struct vgpu_ptx_machine *machine;
    struct vgpu_ptx_module *module;
    int status = parse_options(argc, argv, &o);

    if (status)
        return status;
    if (vgpu_ptx_machine_create(&o.machine, &machine))
        return ptxtool_fail("%s", "the machine cannot be created");
    status = ptxtool_load(machine, argv[optind], &module);
    if (!status) {
        status = run_kernel(machine, module, &o, argv[optind]);
        vgpu_ptx_module_unload(module);
    }
    vgpu_ptx_machine_destroy(machine);
    return status;
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
