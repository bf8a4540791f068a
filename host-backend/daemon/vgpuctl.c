/* SPDX-License-Identifier: MIT */
/*
 * vgpuctl: asks a running vgpud over its control socket and shows the answer.
 *
 * The conversation is one line and one JSON text (control.c); --json prints it as it came, otherwise
 * it becomes a table.  Exit status: 0; 1 when vgpud can't be reached or refuses; 2 for
 * wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define CTL_DEFAULT   "/run/vgpu/control.sock"
#define CTL_TIMEOUT_S 20
#define CTL_MAX_BYTES (256u << 20)
#define EXIT_USAGE    2

static const char usage_text[] =
    "Usage: vgpuctl [--control PATH] [--json] list|stats [NAME]|version\n"
    "Show what a running vgpud does.\n"
    "\n"
    "  list            the VMs: attached or not, executor, process\n"
    "  stats [NAME]    accounts of all VMs, or of one: contexts, memory, buffers, commands\n"
    "  version         of vgpuctl and of vgpud\n"
    "\n"
    "  --control PATH  vgpud's control socket (" CTL_DEFAULT ")\n"
    "  --json          print the answer as JSON\n"
    "  --help, --version\n";

static int ctl_connect(const char *path)
{
    const struct timeval timeout = {.tv_sec = CTL_TIMEOUT_S};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(sa.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (!connect(fd, (const struct sockaddr *)&sa, sizeof(sa)))
        return fd;
    close(fd);
    return -1;
}

/* The whole answer, NUL-terminated; NULL with errno. */
static char *ctl_read(int fd)
{
    size_t used = 0, room = 65536;
    char *text = malloc(room);

    while (text) {
        ssize_t n = recv(fd, text + used, room - used - 1, 0);
        char *bigger;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        used += (size_t)n;
        text[used] = '\0';
        if (!n && used)
            return text;
        if (!n || used >= CTL_MAX_BYTES) {
            errno = EPROTO;
            break;
        }
        if (used < room - 1)
            continue;
        bigger = realloc(text, room * 2);
        if (!bigger)
            break;
        text = bigger;
        room *= 2;
    }
    free(text);
    return NULL;
}

static char *ctl_ask(const char *path, const char *verb, const char *name)
{
    char line[128], *text;
    int n = snprintf(line, sizeof(line), "%s%s%s\n", verb, name ? " " : "", name ? name : "");
    int fd;

    if (n >= (int)sizeof(line)) {
        errno = EINVAL;
        return NULL;
    }
    fd = ctl_connect(path);
    if (fd < 0)
        return NULL;
    text = send(fd, line, (size_t)n, MSG_NOSIGNAL) == n ? ctl_read(fd) : NULL;
    close(fd);
    return text;
}

/* ---- Tables ---- */

static const char *get_text(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) ? json_object_get_string(value) : "?";
}

static uint64_t get_u64(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) ? json_object_get_uint64(value) : 0;
}

static bool get_bool(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) && json_object_get_boolean(value);
}

static void show_list(struct json_object *vms)
{
    printf("%-20s %-8s %-9s %8s %10s  %s\n", "NAME", "EXECUTOR", "ATTACHED", "PID", "GENERATION",
           "DEVICE");
    for (size_t i = 0; i < json_object_array_length(vms); i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);

        printf("%-20s %-8s %-9s %8" PRIu64 " %10" PRIu64 "  %s\n", get_text(vm, "name"),
               get_text(vm, "executor"), get_bool(vm, "attached") ? "yes" : "no",
               get_u64(vm, "pid"), get_u64(vm, "generation"), get_text(vm, "device"));
    }
}

static void show_context(struct json_object *ctx)
{
    printf("  ctx %-3" PRIu64 " pid %-7" PRIu64 " %-8s %" PRIu64 " KiB in device, %" PRIu64
           " buffers (%" PRIu64 " KiB), %" PRIu64 " commands, %" PRIu64 " kernels in %" PRIu64
           " us\n",
           get_u64(ctx, "ctx"), get_u64(ctx, "pid"), get_text(ctx, "state"),
           get_u64(ctx, "memory_bytes") / 1024, get_u64(ctx, "buffers"),
           get_u64(ctx, "buffer_bytes") / 1024, get_u64(ctx, "commands"), get_u64(ctx, "kernels"),
           get_u64(ctx, "kernel_ns") / 1000);
    if (get_u64(ctx, "lost_status"))
        printf("          lost, status 0x%" PRIx64 ": %s\n", get_u64(ctx, "lost_status"),
               get_text(ctx, "lost_message"));
}

static void show_vm_stats(struct json_object *vm)
{
    struct json_object *list;

    printf("%s: %s, %s%s\n", get_text(vm, "name"), get_text(vm, "device"),
           get_bool(vm, "attached") ? get_text(vm, "state") : "not attached",
           get_bool(vm, "responding") ? "" : ", NOT RESPONDING");
    printf("  generation %" PRIu64 ", process %" PRIu64 ", %" PRIu64
           " executor process(es), %" PRIu64 " descriptors\n",
           get_u64(vm, "generation"), get_u64(vm, "pid"), get_u64(vm, "exec_processes"),
           get_u64(vm, "open_fds"));
    printf("  device memory %" PRIu64 " of %" PRIu64 " KiB; guest memory mapped %" PRIu64
           " KiB in %" PRIu64 " range(s)\n",
           get_u64(vm, "memory_bytes") / 1024, get_u64(vm, "memory_limit_bytes") / 1024,
           get_u64(vm, "dma_bytes") / 1024, get_u64(vm, "dma_ranges"));
    printf("  contexts %" PRIu64 " (created %" PRIu64 ", lost %" PRIu64 "), buffers %" PRIu64
           " (%" PRIu64 " KiB)\n",
           get_u64(vm, "contexts"), get_u64(vm, "contexts_created"), get_u64(vm, "contexts_lost"),
           get_u64(vm, "buffers"), get_u64(vm, "buffer_bytes") / 1024);
    printf("  commands %" PRIu64 " (%" PRIu64 " failed), kernels %" PRIu64 " in %" PRIu64
           " us, copied in %" PRIu64 " KiB, out %" PRIu64 " KiB\n",
           get_u64(vm, "commands"), get_u64(vm, "command_errors"), get_u64(vm, "kernels"),
           get_u64(vm, "kernel_ns") / 1000, get_u64(vm, "bytes_h2d") / 1024,
           get_u64(vm, "bytes_d2h") / 1024);
    printf("  admin commands %" PRIu64 ", guest errors %" PRIu64 ", messages %" PRIu64 " (%" PRIu64
           " refused)\n",
           get_u64(vm, "admin_commands"), get_u64(vm, "guest_errors"), get_u64(vm, "messages"),
           get_u64(vm, "messages_refused"));
    if (!json_object_object_get_ex(vm, "context_list", &list))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        show_context(json_object_array_get_idx(list, i));
}

static int show(struct json_object *root, const char *verb)
{
    struct json_object *vms;

    if (!strcmp(verb, "version")) {
        printf("vgpuctl %s\nvgpud %s\n", VGPU_VERSION, get_text(root, "version"));
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

static int ctl_run(const char *control, const char *verb, const char *name, bool json)
{
    char *text = ctl_ask(control, verb, name);
    struct json_object *root, *error;
    int status = EXIT_FAILURE;

    if (!text) {
        fprintf(stderr, "vgpuctl: %s: %s\n", control,
                errno == EAGAIN ? "no answer in time" : strerror(errno));
        return EXIT_FAILURE;
    }
    root = json_tokener_parse(text);
    if (!json_object_is_type(root, json_type_object)) {
        fprintf(stderr, "vgpuctl: %s: the answer is not JSON\n", control);
    } else if (json_object_object_get_ex(root, "error", &error)) {
        fprintf(stderr, "vgpuctl: %s\n", json_object_get_string(error));
    } else if (json) {
        puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
        status = EXIT_SUCCESS;
    } else {
        status = show(root, verb);
    }
    json_object_put(root);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    const char *control = CTL_DEFAULT, *verb, *name;
    bool json = false, with_name;
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case 'c': control = optarg; break;
        case 'j': json = true; break;
        case 'h': fputs(usage_text, stdout); return EXIT_SUCCESS;
        case 'V': puts("vgpuctl " VGPU_VERSION); return EXIT_SUCCESS;
        default: fputs("Try 'vgpuctl --help'.\n", stderr); return EXIT_USAGE;
        }
    }
    verb = optind < argc ? argv[optind] : "";
    name = optind + 1 < argc ? argv[optind + 1] : NULL;
    with_name = !strcmp(verb, "list") || !strcmp(verb, "stats");
    if ((!with_name && strcmp(verb, "version")) || argc - optind > (with_name ? 2 : 1)) {
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    return ctl_run(control, verb, name, json);
}
