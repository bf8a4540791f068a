/* SPDX-License-Identifier: MIT */
/*
 * vgpuctl: asks a running vgpud over its control socket and shows the answer.
 *
 * The conversation is one line and one JSON text (control.c); --json prints it as it came, otherwise
 * it becomes a table.  Exit status: 0; 1 when vgpud can't be reached or refuses; 2 for
 * wrong usage.
 */
#include <daemon/control_client.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTL_TIMEOUT_MS 20000u
#define CTL_ATTACH_MS  60000u
#define CTL_MAX_DOMID  32751u /* Xen reserves what is above */
#define EXIT_USAGE     2

static const char usage_text[] =
    "Usage: vgpuctl [--control PATH] [--json] list|stats [NAME]\n"
    "       vgpuctl [--control PATH] [--json] version\n"
    "       vgpuctl [--control PATH] attach --domid N --executor KIND [OPTION...]\n"
    "       vgpuctl [--control PATH] detach --domid N\n"
    "Show what a running vgpud does, and tell it which Xen domains to serve.\n"
    "\n"
    "  list            the VMs: attached or not, executor, process\n"
    "  stats [NAME]    accounts of all VMs, or of one: contexts, memory, buffers, commands\n"
    "  version         of vgpuctl and of vgpud\n"
    "  attach          give a Xen domain that was created paused (xl create -p) its vGPU\n"
    "  detach          take it away again, before the domain runs or after it is gone\n"
    "\n"
    "  --control PATH  vgpud's control socket (" VGPU_CONTROL_PATH ")\n"
    "  --json          print the answer as JSON\n"
    "  --help, --version\n"
    "attach and detach:\n"
    "  --domid N       the domain's id, as xl domid NAME prints it\n"
    "  --executor KIND cpu, cuda or null\n"
    "  --slot SLOT     of its PCI bus, 0x2 to 0x1f (0x10)\n"
    "  --memory SIZE   device memory (1G)\n"
    "  --name NAME     in list and the log (xen-N)\n"
    "  --set KEY=VALUE,...\n"
    "                  other keys of a VM, see vgpud(8)\n";

/* What the command line says. */
struct ctl_options {
    const char *control;
    bool json;
    const char *domid; /* this and the next: NULL if not given */
    const char *executor;
    const char *slot;
    const char *memory;
    const char *name;
    const char *set;
};

/* ---- Tables ---- */

static void show_list(struct json_object *vms)
{
    printf("%-20s %-8s %-9s %8s %10s  %s\n", "NAME", "EXECUTOR", "ATTACHED", "PID", "GENERATION",
           "DEVICE");
    for (size_t i = 0; i < json_object_array_length(vms); i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);

        printf("%-20s %-8s %-9s %8" PRIu64 " %10" PRIu64 "  %s\n", vgpu_json_text(vm, "name"),
               vgpu_json_text(vm, "executor"), vgpu_json_bool(vm, "attached") ? "yes" : "no",
               vgpu_json_u64(vm, "pid"), vgpu_json_u64(vm, "generation"),
               vgpu_json_text(vm, "device"));
    }
}

static void show_context(struct json_object *ctx)
{
    printf("  ctx %-3" PRIu64 " pid %-7" PRIu64 " %-8s %" PRIu64 " KiB in device, %" PRIu64
           " buffers (%" PRIu64 " KiB), %" PRIu64 " commands, %" PRIu64 " kernels in %" PRIu64
           " us\n",
           vgpu_json_u64(ctx, "ctx"), vgpu_json_u64(ctx, "pid"), vgpu_json_text(ctx, "state"),
           vgpu_json_u64(ctx, "memory_bytes") / 1024, vgpu_json_u64(ctx, "buffers"),
           vgpu_json_u64(ctx, "buffer_bytes") / 1024, vgpu_json_u64(ctx, "commands"),
           vgpu_json_u64(ctx, "kernels"), vgpu_json_u64(ctx, "kernel_ns") / 1000);
    if (vgpu_json_u64(ctx, "lost_status"))
        printf("          lost, status 0x%" PRIx64 ": %s\n", vgpu_json_u64(ctx, "lost_status"),
               vgpu_json_text(ctx, "lost_message"));
}

static void show_vm_stats(struct json_object *vm)
{
    struct json_object *list;

    printf("%s: %s, %s%s\n", vgpu_json_text(vm, "name"), vgpu_json_text(vm, "device"),
           vgpu_json_bool(vm, "attached") ? vgpu_json_text(vm, "state") : "not attached",
           vgpu_json_bool(vm, "responding") ? "" : ", NOT RESPONDING");
    printf("  generation %" PRIu64 ", process %" PRIu64 ", %" PRIu64
           " executor process(es), %" PRIu64 " descriptors\n",
           vgpu_json_u64(vm, "generation"), vgpu_json_u64(vm, "pid"),
           vgpu_json_u64(vm, "exec_processes"), vgpu_json_u64(vm, "open_fds"));
    printf("  device memory %" PRIu64 " of %" PRIu64 " KiB; guest memory mapped %" PRIu64
           " KiB in %" PRIu64 " range(s)\n",
           vgpu_json_u64(vm, "memory_bytes") / 1024, vgpu_json_u64(vm, "memory_limit_bytes") / 1024,
           vgpu_json_u64(vm, "dma_bytes") / 1024, vgpu_json_u64(vm, "dma_ranges"));
    printf("  contexts %" PRIu64 " (created %" PRIu64 ", lost %" PRIu64 "), buffers %" PRIu64
           " (%" PRIu64 " KiB)\n",
           vgpu_json_u64(vm, "contexts"), vgpu_json_u64(vm, "contexts_created"),
           vgpu_json_u64(vm, "contexts_lost"), vgpu_json_u64(vm, "buffers"),
           vgpu_json_u64(vm, "buffer_bytes") / 1024);
    printf("  commands %" PRIu64 " (%" PRIu64 " failed), kernels %" PRIu64 " in %" PRIu64
           " us, copied in %" PRIu64 " KiB, out %" PRIu64 " KiB (staged %" PRIu64 " KiB)\n",
           vgpu_json_u64(vm, "commands"), vgpu_json_u64(vm, "command_errors"),
           vgpu_json_u64(vm, "kernels"), vgpu_json_u64(vm, "kernel_ns") / 1000,
           vgpu_json_u64(vm, "bytes_h2d") / 1024, vgpu_json_u64(vm, "bytes_d2h") / 1024,
           vgpu_json_u64(vm, "bytes_staged") / 1024);
    printf("  admin commands %" PRIu64 ", guest errors %" PRIu64 ", messages %" PRIu64 " (%" PRIu64
           " refused)\n",
           vgpu_json_u64(vm, "admin_commands"), vgpu_json_u64(vm, "guest_errors"),
           vgpu_json_u64(vm, "messages"), vgpu_json_u64(vm, "messages_refused"));
    if (!json_object_object_get_ex(vm, "context_list", &list))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        show_context(json_object_array_get_idx(list, i));
}

static int show(struct json_object *root, const char *verb)
{
    struct json_object *vms;

    if (!strcmp(verb, "version")) {
        printf("vgpuctl %s\nvgpud %s\n", VGPU_VERSION, vgpu_json_text(root, "version"));
        return EXIT_SUCCESS;
    }
    if (!json_object_object_get_ex(root, "vms", &vms) ||
        !json_object_is_type(vms, json_type_array)) {
        fputs("vgpuctl: the answer has no VMs\n", stderr);
        return EXIT_FAILURE;
    }
    if (!strcmp(verb, "list"))
        show_list(vms);
    else
        for (size_t i = 0; i < json_object_array_length(vms); i++)
            show_vm_stats(json_object_array_get_idx(vms, i));
    return EXIT_SUCCESS;
}

static int ctl_fail(const char *why)
{
    fprintf(stderr, "vgpuctl: %s\n", why);
    return EXIT_FAILURE;
}

/* Print the answer in the form asked for, and put it. */
static int ctl_show(const struct ctl_options *opts, struct json_object *answer, const char *verb)
{
    int status = EXIT_SUCCESS;

    if (opts->json)
        puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY));
    else
        status = show(answer, verb);
    json_object_put(answer);
    return status;
}

static int ctl_ask(const struct ctl_options *opts, const char *verb, const char *name)
{
    char request[VGPU_CONTROL_LINE], why[VGPU_WHY_BYTES];
    struct json_object *answer;

    if (snprintf(request, sizeof(request), "%s%s%s", verb, name ? " " : "", name ? name : "") >=
        (int)sizeof(request))
        return ctl_fail("the name is too long");
    if (vgpu_control_call(opts->control, request, CTL_TIMEOUT_MS, &answer, why))
        return ctl_fail(why);
    return ctl_show(opts, answer, verb);
}

/* ---- Xen domains ---- */

/* 1 to 32751, or 0 after a message. */
static unsigned long ctl_domid(const struct ctl_options *opts)
{
    unsigned long domid;
    char *end;

    if (!opts->domid) {
        fputs("vgpuctl: --domid is missing: give the number that `xl domid NAME` prints\n", stderr);
        return 0;
    }
    domid = strtoul(opts->domid, &end, 10);
    if (opts->domid[0] >= '0' && opts->domid[0] <= '9' && !*end && domid && domid <= CTL_MAX_DOMID)
        return domid;
    fprintf(stderr,
            "vgpuctl: --domid %.40s is no guest's domain id (1 to 32751): `xl domid NAME` prints "
            "it\n",
            opts->domid);
    return 0;
}

/* The VM in the form of vgpud's --vm. */
static bool attach_compose(const struct ctl_options *opts, unsigned long domid, const char *name,
                           char vm[VGPU_CONTROL_LINE])
{
    int n = snprintf(vm, VGPU_CONTROL_LINE, "name=%s,xen=%lu,executor=%s%s%s%s%s%s%s", name, domid,
                     opts->executor, opts->slot ? ",slot=" : "", opts->slot ? opts->slot : "",
                     opts->memory ? ",memory=" : "", opts->memory ? opts->memory : "",
                     opts->set ? "," : "", opts->set ? opts->set : "");

    return n < VGPU_CONTROL_LINE;
}

static void attach_undo(const struct ctl_options *opts, unsigned long domid)
{
    char request[32], why[VGPU_WHY_BYTES];
    struct json_object *answer;

    snprintf(request, sizeof(request), "detach %lu", domid);
    if (!vgpu_control_call(opts->control, request, CTL_TIMEOUT_MS, &answer, why))
        json_object_put(answer);
}

static int ctl_attach(const struct ctl_options *opts)
{
    unsigned long domid = ctl_domid(opts);
    char vm[VGPU_CONTROL_LINE], why[VGPU_WHY_BYTES], name[VGPU_VM_NAME_BYTES];
    struct json_object *answer;
    int ret;

    if (!domid)
        return EXIT_USAGE;
    if (!opts->executor) {
        fputs("vgpuctl: --executor is missing: cpu, cuda or null\n", stderr);
        return EXIT_USAGE;
    }
    snprintf(name, sizeof(name), "xen-%lu", domid);
    if (!attach_compose(opts, domid, opts->name ? opts->name : name, vm)) {
        fputs("vgpuctl: the options are too long\n", stderr);
        return EXIT_USAGE;
    }
    ret = vgpu_control_attach(opts->control, vm, opts->name ? opts->name : name, CTL_ATTACH_MS,
                              &answer, why);
    if (ret) {
        /* What vgpud refused it has not begun; the rest may be. */
        if (ret != -EREMOTEIO)
            attach_undo(opts, domid);
        return ctl_fail(why);
    }
    return ctl_show(opts, answer, "list");
}

static int ctl_detach(const struct ctl_options *opts)
{
    unsigned long domid = ctl_domid(opts);
    char request[32], why[VGPU_WHY_BYTES];
    struct json_object *answer;

    if (!domid)
        return EXIT_USAGE;
    if (opts->executor || opts->slot || opts->memory || opts->name || opts->set) {
        fputs("vgpuctl: detach takes --domid only\n", stderr);
        return EXIT_USAGE;
    }
    snprintf(request, sizeof(request), "detach %lu", domid);
    if (vgpu_control_call(opts->control, request, CTL_TIMEOUT_MS, &answer, why))
        return ctl_fail(why);
    return ctl_show(opts, answer, "list");
}

/* ---- Command line ---- */

/* -1: go on; else the exit status. */
static int options_read(int argc, char **argv, struct ctl_options *opts)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"domid", required_argument, NULL, 'd'},
        {"slot", required_argument, NULL, 's'},
        {"executor", required_argument, NULL, 'x'},
        {"memory", required_argument, NULL, 'm'},
        {"name", required_argument, NULL, 'n'},
        {"set", required_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'c': opts->control = optarg; break;
        case 'j': opts->json = true; break;
        case 'd': opts->domid = optarg; break;
        case 's': opts->slot = optarg; break;
        case 'x': opts->executor = optarg; break;
        case 'm': opts->memory = optarg; break;
        case 'n': opts->name = optarg; break;
        case 'k': opts->set = optarg; break;
        case 'h': fputs(usage_text, stdout); return EXIT_SUCCESS;
        case 'V': puts("vgpuctl " VGPU_VERSION); return EXIT_SUCCESS;
        default: fputs("Try 'vgpuctl --help'.\n", stderr); return EXIT_USAGE;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct ctl_options opts = {.control = VGPU_CONTROL_PATH};
    const char *verb, *name;
    int status = options_read(argc, argv, &opts);
    bool domain, with_name;

    if (status >= 0)
        return status;
    verb = optind < argc ? argv[optind] : "";
    name = optind + 1 < argc ? argv[optind + 1] : NULL;
    domain = !strcmp(verb, "attach") || !strcmp(verb, "detach");
    with_name = !strcmp(verb, "list") || !strcmp(verb, "stats");
    if (argc - optind > (with_name ? 2 : 1) ||
        (!domain &&
         (opts.domid || opts.executor || opts.slot || opts.memory || opts.name || opts.set)) ||
        (!domain && !with_name && strcmp(verb, "version"))) {
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    if (domain)
        return verb[0] == 'a' ? ctl_attach(&opts) : ctl_detach(&opts);
    return ctl_ask(&opts, verb, name);
}
