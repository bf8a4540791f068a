/* SPDX-License-Identifier: MIT */
/*
 * vgpu-gpu-check STAGE --data DIR [--device GPU] [--hmm] [--quick]
 *
 * STAGE is identity (which GPU and driver, as facts), conformance, faults, quota or bench.  Exit status:
 * 0; 1 when a check failed; 2 for wrong usage.
 */
#include "gpu.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static int stage_identity(const struct gpu_options *options)
{
    struct gpu_native native;
    struct utsname host;
    char driver[16], memory[32];

    if (gpu_native_open(&native, options) < 0)
        return 1;
    uname(&host);
    snprintf(driver, sizeof(driver), "%d.%d", native.driver / 1000, native.driver % 1000 / 10);
    snprintf(memory, sizeof(memory), "%zu", native.memory_bytes >> 20);
    gpu_facts("name", native.name, "uuid", native.uuid, "pci", native.pci, "cuda", driver,
              "memory_mib", memory, "kernel", host.release, NULL);
    vgpu_cu_unload(&native.cu);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const struct gpu_options *options);
} stages[] = {
    {"identity", stage_identity}, {"conformance", gpu_stage_conformance},
    {"faults", gpu_stage_faults}, {"quota", gpu_stage_quota},
    {"bench", gpu_stage_bench},
};

static int usage(void)
{
    fprintf(stderr, "usage: vgpu-gpu-check identity|conformance|faults|quota|bench --data DIR "
                    "[--device GPU] [--hmm] [--quick]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option longopts[] = {
        {"data", required_argument, NULL, 'd'},   {"device", required_argument, NULL, 'g'},
        {"hmm", no_argument, NULL, 'm'},          {"quick", no_argument, NULL, 'q'},
        {"worker", required_argument, NULL, 'w'}, {0}};
    struct gpu_options options = {0};
    const char *worker = NULL;
    int opt;

    while ((opt = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
        switch (opt) {
        case 'd': options.data = optarg; break;
        case 'g': options.device = optarg; break;
        case 'm': options.hmm = true; break;
        case 'q': options.quick = true; break;
        case 'w': worker = optarg; break;
        default: return usage();
        }
    }
    if (!options.data || optind + 1 != argc)
        return usage();
    if (worker)
        return gpu_worker(&options, worker);
    for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
        if (strcmp(stages[i].name, argv[optind]) == 0)
            return stages[i].run(&options) || gpu_failures() ? 1 : 0;
    }
    return usage();
}
