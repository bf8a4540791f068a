/* SPDX-License-Identifier: MIT */
/*
 * vgpud: options, the start in order, signals, and the roles of the binary (role.h).
 *
 * The start: configuration (exit 2 if it is wrong), runtime directory, one probe per VM, sockets,
 * control socket last - when that exists, everything does.  From then on only the event loop runs.
 */
#include <daemon/isolation.h>
#include <daemon/kernel.h>
#include <daemon/server.h>
#include <daemon/spawn.h>
#include <exec/process.h>
#include <exec/proto.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2

static const char usage_text[] =
    "Usage: vgpud --vm KEY=VALUE,... [--vm ...] [--config FILE] [OPTION...]\n"
    "Give virtual machines a share of a GPU.\n"
    "\n"
    "  --vm KEY=VALUE,...    serve a VM; keys: name, socket, executor (cpu, null, cuda),\n"
    "                        xen, slot, memory, deadline, contexts, poll-us, threads, device,\n"
    "                        hmm, socket-mode, socket-group\n"
    "  --config FILE         read VMs and settings from FILE (see vgpud.conf(5))\n"
    "  --no-vm               begin without a VM: Xen domains are attached later\n"
    "  --control PATH        control socket for vgpuctl\n"
    "  --runtime-dir DIR     generation files, and the control socket if none is given\n"
    "  --user NAME           run guests' processes as NAME when started as root (nobody)\n"
    "  --log-level LEVEL     error, warning, info (the default) or debug\n"
    "  --debug control|data  show what happens on the control path or the data path\n"
    "  --probe               check the executor, print a line for each check, and end\n"
    "  --executor KIND       with --probe: cuda (the default), cpu or null\n"
    "  --device GPU          with --probe: UUID or PCI address of the GPU\n"
    "  --hmm refuse|allow    with --probe: whether HMM is a failure (refuse)\n"
    "  --help, --version\n";

enum {
    OPT_VM = 256,
    OPT_NO_VM,
    OPT_CONFIG,
    OPT_HELP,
    OPT_VERSION,
    OPT_SETTING,
    OPT_PROBE,
    OPT_EXECUTOR,
    OPT_DEVICE,
    OPT_HMM
};

static const struct option options[] = {
    {"vm", required_argument, NULL, OPT_VM},
    {"no-vm", no_argument, NULL, OPT_NO_VM},
    {"hmm", required_argument, NULL, OPT_HMM},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"control", required_argument, NULL, OPT_SETTING},
    {"runtime-dir", required_argument, NULL, OPT_SETTING},
    {"user", required_argument, NULL, OPT_SETTING},
    {"log-level", required_argument, NULL, OPT_SETTING},
    {"debug", required_argument, NULL, OPT_SETTING},
    {"probe", no_argument, NULL, OPT_PROBE},
    {"executor", required_argument, NULL, OPT_EXECUTOR},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* ---- Roles ---- */

/* Guests' processes must not take a terminal's ^C for themselves: vgpud ends them in order. */
static void role_begin(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

static int role_fail(const char *what, int err)
{
    vgpu_log(VGPU_LOG_ERROR, "%s: can't isolate itself: %s", what, strerror(-err));
    return 1;
}

static int role_exec(char **argv)
{
    char tag[128];
    int ret;

    role_begin("vgpu-exec");
    snprintf(tag, sizeof(tag), "%s %s", argv[3] ? argv[3] : "?",
             argv[3] && argv[4] ? argv[4] : "?");
    vgpu_log_setup(VGPU_LOG_INFO, 0, tag);
    ret = vgpu_isolate_start();
    if (!ret && argv[3] && argv[4] && argv[5] && !strcmp(argv[5], VGPU_ROLE_EXEC_ROOTED)) {
        ret = vgpu_isolate_root(VGPU_XFD_ROOT);
        if (!ret)
            ret = vgpu_isolate_capabilities();
    }
    if (!ret)
        ret = vgpu_isolate_tie(getppid());
    if (ret)
        return role_fail("exec process", ret);
    vgpu_exec_set_lockdown(vgpu_isolate_exec);
    return vgpu_exec_main();
}

static int role_probe(char **argv)
{
    long uid = argv[2] ? strtol(argv[2], NULL, 10) : -1;
    long gid = argv[2] && argv[3] ? strtol(argv[3], NULL, 10) : -1;
    int ret;

    role_begin("vgpu-probe");
    ret = vgpu_isolate_start();
    if (!ret && uid >= 0)
        ret = vgpu_isolate_user((uid_t)uid, (gid_t)gid);
    if (!ret)
        ret = vgpu_isolate_tie(getppid());
    return ret ? role_fail("probe process", ret) : vgpu_exec_probe_main();
}

/* The exit status of a role, or -1: this is vgpud itself. */
static int role_run(int argc, char **argv)
{
    if (argc < 2 || strncmp(argv[1], "--role=", 7))
        return -1;
    if (!strcmp(argv[1], "--role=vm")) {
        role_begin("vgpu-vm");
        return vgpu_vm_main();
    }
    if (!strcmp(argv[1], "--role=exec"))
        return role_exec(argv);
    if (!strcmp(argv[1], "--role=probe"))
        return role_probe(argv);
    return EXIT_USAGE;
}

/* ---- Options ---- */

struct probe_options {
    bool wanted;
    const char *executor; /* NULL: not given */
    const char *device;
    const char *hmm;
};

/* A probe is of the one VM that these options describe; the VM is never served. */
static VGPU_MUST_CHECK int probe_finish(const struct probe_options *probe, struct vgpu_config *cfg,
                                        char *why)
{
    const char *executor = probe->executor ? probe->executor : "cuda";
    char vm[256];

    if (!probe->wanted && !probe->executor && !probe->device && !probe->hmm)
        return 0;
    if (!probe->wanted || cfg->vm_count) {
        snprintf(why, VGPU_WHY_BYTES, "%s",
                 probe->wanted ? "--probe serves no VM: leave out --vm and --config's VMs, give "
                                 "--executor, --device and --hmm"
                               : "--executor, --device and --hmm belong to --probe: a VM has them "
                                 "as keys of --vm");
        return -EINVAL;
    }
    if (strchr(executor, ',') || (probe->device && strchr(probe->device, ',')) ||
        (probe->hmm && strchr(probe->hmm, ','))) {
        snprintf(why, VGPU_WHY_BYTES,
                 "--executor, --device and --hmm take one name, without a comma");
        return -EINVAL;
    }
    snprintf(vm, sizeof(vm),
             "name=probe,socket=/nonexistent/probe,executor=%.60s,hmm=%.20s%s%.120s", executor,
             probe->hmm ? probe->hmm : "refuse", probe->device ? ",device=" : "",
             probe->device ? probe->device : "");
    if (vgpu_config_add_vm(cfg, vm, why) < 0)
        return -EINVAL;
    cfg->vms[0].memory_bytes = 0; /* what the executor has: no VM's limit is probed */
    return 0;
}

/* -1: go on; else the exit status. */
static int options_read(int argc, char **argv, struct vgpu_config *cfg, struct probe_options *probe)
{
    char why[VGPU_WHY_BYTES];
    int opt, idx, ret = 0;

    while (!ret && (opt = getopt_long(argc, argv, "", options, &idx)) != -1) {
        switch (opt) {
        case OPT_VM: ret = vgpu_config_add_vm(cfg, optarg, why); break;
        case OPT_NO_VM: cfg->no_vm = true; break;
        case OPT_CONFIG: ret = vgpu_config_load(cfg, optarg, why); break;
        case OPT_SETTING: ret = vgpu_config_set(cfg, options[idx].name, optarg, why); break;
        case OPT_PROBE: probe->wanted = true; break;
        case OPT_EXECUTOR: probe->executor = optarg; break;
        case OPT_DEVICE: probe->device = optarg; break;
        case OPT_HMM: probe->hmm = optarg; break;
        case OPT_HELP: fputs(usage_text, stdout); return EXIT_SUCCESS;
        case OPT_VERSION: puts("vgpud " VGPU_VERSION); return EXIT_SUCCESS;
        default: fputs("Try 'vgpud --help'.\n", stderr); return EXIT_USAGE;
        }
    }
    if (!ret && optind < argc) {
        snprintf(why, sizeof(why), "unexpected argument '%.100s'", argv[optind]);
        ret = -EINVAL;
    }
    if (!ret)
        ret = probe_finish(probe, cfg, why);
    if (!ret)
        ret = vgpu_config_finish(cfg, why);
    if (!ret)
        return -1;
    fprintf(stderr, "vgpud: %s\n", why);
    return EXIT_USAGE;
}

/* ---- The start ---- */

static VGPU_MUST_CHECK int start_find_user(struct vgpu_server *server)
{
    struct passwd pw, *found = NULL;
    char buf[4096];

    if (geteuid() != 0)
        return 0;
    if (getpwnam_r(server->config->user, &pw, buf, sizeof(buf), &found) || !found || !pw.pw_uid) {
        vgpu_log(VGPU_LOG_ERROR, "user '%s' %s", server->config->user,
                 found ? "is root: guests' processes need another one" : "does not exist");
        return -EINVAL;
    }
    server->drop_user = true;
    server->uid = pw.pw_uid;
    server->gid = pw.pw_gid;
    return 0;
}

static VGPU_MUST_CHECK int start_runtime_dir(const char *path)
{
    struct stat st;

    if (mkdir(path, 0755) && errno != EEXIST) {
        vgpu_log(VGPU_LOG_ERROR, "runtime directory %s: %s", path, strerror(errno));
        return -errno;
    }
    if (stat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0022)) {
        vgpu_log(VGPU_LOG_ERROR, "runtime directory %s must be a directory that only vgpud writes",
                 path);
        return -EPERM;
    }
    return 0;
}

static VGPU_MUST_CHECK int start_probe_all(struct vgpu_server *server)
{
    for (size_t i = 0; i < server->config->vm_count; i++) {
        struct server_vm *vm = &server->vms[i];
        char why[VGPU_WHY_BYTES];
        int ret;

        ret = server_probe(server, vm, why);
        if (ret) {
            vgpu_log(VGPU_LOG_ERROR, "vm%u(%s): executor %s can't be used: %s", vm->id,
                     vm->config->name, vm->config->executor, why);
            return ret;
        }
        vgpu_log(VGPU_LOG_INFO, "vm%u(%s): executor %s: %s", vm->id, vm->config->name,
                 vm->config->executor, (const char *)vm->props.name);
    }
    return 0;
}

static void start_raise_limits(void)
{
    struct rlimit fds;

    if (!getrlimit(RLIMIT_NOFILE, &fds)) {
        fds.rlim_cur = fds.rlim_max;
        setrlimit(RLIMIT_NOFILE, &fds);
    }
}

/*
 * Isolated processes execute vgpud anew as the user they run as.  One who may not (a file made under a
 * strict umask) would lose every context a guest opens.
 */
static VGPU_MUST_CHECK int start_check_exe(const struct vgpu_server *server)
{
    char path[PATH_MAX] = "vgpud";
    int ret, err;

    if (!server->drop_user)
        return 0;
    setfsgid(server->gid);
    setfsuid(server->uid); /* and without root's rights over files */
    ret = faccessat(server->exe_fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS);
    err = errno;
    setfsuid(0);
    setfsgid(0);
    if (!ret || err != EACCES)
        return 0;
    if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
        vgpu_debug(VGPU_LOG_CONTROL, "/proc/self/exe: %s", strerror(errno));
    vgpu_log(VGPU_LOG_ERROR,
             "can't start: user '%s', whom guests' processes run as, may not "
             "execute %s: chmod a+rx it",
             server->config->user, path);
    return -EACCES;
}

/* What a probe needs too: whom to run as, the binary, the VMs. */
static VGPU_MUST_CHECK int start_prepare(struct vgpu_server *server)
{
    char why[160];
    int ret = vgpu_kernel_check(why, sizeof(why));

    if (ret) {
        vgpu_log(VGPU_LOG_ERROR, "can't start: %s", why);
        return ret;
    }
    ret = start_find_user(server);
    if (ret)
        return ret;
    server->exe_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (server->exe_fd < 0 || server_alloc_vms(server)) {
        vgpu_log(VGPU_LOG_ERROR, "can't start: %s", strerror(errno));
        return -errno;
    }
    return start_check_exe(server);
}

static VGPU_MUST_CHECK int start(struct vgpu_server *server)
{
    int ret = start_prepare(server);

    if (ret)
        return ret;
    start_raise_limits();
    ret = vgpu_loop_init(&server->loop);
    if (!ret)
        ret = start_runtime_dir(server->config->runtime_dir);
    if (!ret)
        ret = start_probe_all(server);
    if (!ret)
        ret = server_listen(server);
    if (ret)
        return ret;
    ret = control_start(server);
    if (ret)
        vgpu_log(VGPU_LOG_ERROR, "control socket %s: %s", server->config->control,
                 ret == -EADDRINUSE ? "another vgpud listens there" : strerror(-ret));
    return ret;
}

/* ---- Running ---- */

struct signal_source {
    struct vgpu_server *server;
    struct vgpu_source source;
    int fd;
};

static void signal_event(void *opaque, uint32_t events)
{
    struct signal_source *sig = opaque;
    struct signalfd_siginfo si;

    (void)events;
    if (read(sig->fd, &si, sizeof(si)) != sizeof(si))
        return;
    if (si.ssi_signo == SIGCHLD) {
        server_reap_orphans(sig->server);
        return;
    }
    vgpu_log(VGPU_LOG_INFO, "%s: ending", strsignal((int)si.ssi_signo));
    server_stop(sig->server);
}

static VGPU_MUST_CHECK int serve(struct vgpu_server *server)
{
    struct signal_source sig = {.server = server};
    sigset_t set;
    int ret;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* What a killed vm process leaves behind dies too (isolation.h), and is reaped here. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ret = start(server);
    if (ret)
        return ret;
    sig.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (sig.fd < 0)
        return -errno;
    ret = vgpu_source_add(&server->loop, &sig.source, sig.fd, EPOLLIN, signal_event, &sig);
    if (!ret)
        ret = vgpu_loop_run(&server->loop);
    vgpu_source_remove(&server->loop, &sig.source);
    close(sig.fd);
    return ret;
}

/* vgpud --probe. */
static VGPU_MUST_CHECK int probe_run(struct vgpu_server *server)
{
    int ret = start_prepare(server);

    return ret ? ret : server_probe_report(server, &server->vms[0]);
}

int main(int argc, char **argv)
{
    struct vgpu_server server = {.exe_fd = -1, .loop.epoll_fd = -1};
    struct probe_options probe = {0};
    struct vgpu_config cfg;
    int status = role_run(argc, argv);

    if (status >= 0)
        return status;
    vgpu_config_init(&cfg);
    status = options_read(argc, argv, &cfg, &probe);
    if (status < 0) {
        vgpu_log_setup(cfg.log_level, cfg.debug, "");
        server.config = &cfg;
        status = (probe.wanted ? probe_run(&server) : serve(&server)) ? EXIT_FAILURE : EXIT_SUCCESS;
        server_fini(&server);
    }
    vgpu_config_fini(&cfg);
    return status;
}
