/* SPDX-License-Identifier: MIT */
/*
 * Stage 4 of self-isolation: which system calls the processes may make.
 *
 * What is not listed fails with EPERM: a refused call is a sign of attack or of a libc that works
 * differently, and killing the vm process for the latter would take a device from a guest that did
 * nothing.  The first such call is logged: the filter answers with SIGSYS, whose handler writes a
 * line and makes the call fail.  (Who took the process over can do away with the handler; the call is
 * refused all the same, and kernel audit has it.)  mmap() and mprotect() are allowed without PROT_EXEC
 * only.  clone3 answers ENOSYS, so that libc falls back to clone, whose flags can be looked at; clone
 * fails without the signal, which libc has blocked there.  tgkill is for abort().
 *
 * The cuda executor's list has plain EPERM: its driver's threads block signals.
 *
 * Sanitizer builds run without the filter: their run time makes calls of its own.
 */
#include <daemon/isolation.h>
#include <daemon/log.h>
#include <exec/foreign.h>
#include <vgpu/hw.h>

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Memory, waiting, and what talks over descriptors that are there already. */
static const int seccomp_common[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(close),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(shutdown),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fcntl),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(membarrier),
    SCMP_SYS(getrlimit),
};

/* The vm process reaps and kills its children, and makes sockets and counter pages for them. */
static const int seccomp_vm[] = {
    SCMP_SYS(socketpair),   SCMP_SYS(waitid),    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(flock),
    SCMP_SYS(pread64),      SCMP_SYS(pwrite64),  SCMP_SYS(fstatfs),
};

static const uint32_t seccomp_vm_ioctl[3] = {VGPU_PRIVCMD_DM_OP, VGPU_PRIVCMD_MMAPBATCH,
                                             VGPU_EVTCHN_NOTIFY};
static const uint32_t seccomp_exec_ioctl[1] = {VGPU_PRIVCMD_MMAPBATCH};

/* The cpu executor's threads and timers. */
static const int seccomp_cpu[] = {
    SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(timer_create),
    SCMP_SYS(timer_settime),     SCMP_SYS(timer_delete),      SCMP_SYS(getcpu),
    SCMP_SYS(memfd_create),      SCMP_SYS(ftruncate),         SCMP_SYS(mincore),
    SCMP_SYS(getrusage),         SCMP_SYS(sysinfo),
};

/* What no GPU driver does once it is warm (exec/cuda/cuda_warm.c): the cuda executor may do
 * everything but these, and starting a process. */
static const int seccomp_cuda_refused[] = {
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(add_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(request_key),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(personality),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(perf_event_open),
};

/* ---- What was refused ---- */

#if defined(__x86_64__)
#define SECCOMP_REFUSED SCMP_ACT_TRAP

/* What an intruder tries, by name; everything else by number. */
static const struct {
    int number;
    const char *name;
} seccomp_names[] = {
    {SCMP_SYS(open), "open"},
    {SCMP_SYS(openat), "openat"},
    {SCMP_SYS(socket), "socket"},
    {SCMP_SYS(connect), "connect"},
    {SCMP_SYS(execve), "execve"},
    {SCMP_SYS(ptrace), "ptrace"},
    {SCMP_SYS(kill), "kill"},
    {SCMP_SYS(mmap), "mmap (of executable memory)"},
    {SCMP_SYS(mprotect), "mprotect (to executable)"},
    {SCMP_SYS(process_vm_readv), "process_vm_readv"},
    {SCMP_SYS(prlimit64), "prlimit64"},
    {SCMP_SYS(ioctl), "ioctl"},
};

/* Made beforehand: the handler can't. */
static char seccomp_line[256];
static size_t seccomp_line_bytes;
static atomic_flag seccomp_said = ATOMIC_FLAG_INIT;

static size_t seccomp_describe(int number, char *out)
{
    char digits[12];
    size_t n = 0, d = 0;

    for (size_t i = 0; i < sizeof(seccomp_names) / sizeof(seccomp_names[0]); i++) {
        if (seccomp_names[i].number == number) {
            n = strlen(seccomp_names[i].name);
            memcpy(out, seccomp_names[i].name, n);
            return n;
        }
    }
    for (unsigned int left = (unsigned int)number; left || !d; left /= 10)
        digits[d++] = (char)('0' + left % 10);
    while (d)
        out[n++] = digits[--d];
    return n;
}

static void seccomp_sigsys(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    char line[sizeof(seccomp_line) + 64];
    size_t n = seccomp_line_bytes - 1;

    (void)signal_number;
    uc->uc_mcontext.gregs[REG_RAX] = -EPERM;
    if (atomic_flag_test_and_set(&seccomp_said))
        return;
    memcpy(line, seccomp_line, n);
    n += seccomp_describe(info->si_syscall, line + n);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

static VGPU_MUST_CHECK int seccomp_watch(void)
{
    struct sigaction sa = {.sa_sigaction = seccomp_sigsys, .sa_flags = SA_SIGINFO};

    seccomp_line_bytes =
        vgpu_log_compose(seccomp_line, sizeof(seccomp_line), VGPU_LOG_WARN,
                         "refused a system call that no good code makes here (only the first "
                         "is logged): ");
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGSYS, &sa, NULL) ? -errno : 0;
}
#else
#define SECCOMP_REFUSED SCMP_ACT_ERRNO(EPERM)

static VGPU_MUST_CHECK int seccomp_watch(void)
{
    return 0;
}
#endif

/* ---- The filters ---- */

static VGPU_MUST_CHECK int seccomp_add(scmp_filter_ctx ctx, uint32_t action, const int *calls,
                                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int ret = seccomp_rule_add(ctx, action, calls[i], 0);

        if (ret)
            return ret;
    }
    return 0;
}

static VGPU_MUST_CHECK int seccomp_add_memory(scmp_filter_ctx ctx)
{
    static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    int ret = 0;

    for (size_t i = 0; i < 2 && !ret; i++)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return ret;
}

/* Of all requests to devices, those with which a Xen domain is served. */
static VGPU_MUST_CHECK int seccomp_add_ioctl(scmp_filter_ctx ctx, const uint32_t *requests,
                                             size_t count)
{
    int ret = 0;

    for (size_t i = 0; i < count && !ret; i++)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                               SCMP_A1(SCMP_CMP_EQ, requests[i], 0));
    return ret;
}

/* Threads of this process, or none; never another process. */
static VGPU_MUST_CHECK int seccomp_add_threads(scmp_filter_ctx ctx, bool threads)
{
    int ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));

    if (!ret)
        ret =
            seccomp_rule_add(ctx, threads ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone),
                             1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    return ret ? ret : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* What all allow-lists have. */
static VGPU_MUST_CHECK int seccomp_add_common(scmp_filter_ctx ctx, bool threads)
{
    int ret = seccomp_add(ctx, SCMP_ACT_ALLOW, seccomp_common,
                          sizeof(seccomp_common) / sizeof(seccomp_common[0]));

    if (!ret)
        ret = seccomp_add_memory(ctx);
    if (!ret)
        ret = seccomp_add_threads(ctx, threads);
    if (!ret)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    return ret ? ret : seccomp_watch();
}

static VGPU_MUST_CHECK int seccomp_finish(scmp_filter_ctx ctx, int ret)
{
    /* All threads, also those already running; refusals are logged by audit. */
    if (!ret)
        ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!ret)
        seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
    if (!ret)
        ret = seccomp_load(ctx);
    seccomp_release(ctx);
    return ret;
}

int vgpu_isolate_vm_syscalls(void)
{
    scmp_filter_ctx ctx;
    int ret;

    if (VGPU_SANITIZED) {
        vgpu_log(VGPU_LOG_WARN, "sanitizer build: no system call filter");
        return 0;
    }
    ctx = seccomp_init(SECCOMP_REFUSED);
    if (!ctx)
        return -ENOMEM;
    ret = seccomp_add_common(ctx, false);
    if (!ret)
        ret = seccomp_add(ctx, SCMP_ACT_ALLOW, seccomp_vm,
                          sizeof(seccomp_vm) / sizeof(seccomp_vm[0]));
    if (!ret)
        ret = seccomp_add_ioctl(ctx, seccomp_vm_ioctl, 3);
    return seccomp_finish(ctx, ret);
}

static VGPU_MUST_CHECK int isolate_cuda_syscalls(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int ret;

    if (!ctx)
        return -ENOMEM;
    ret = seccomp_add(ctx, SCMP_ACT_ERRNO(EPERM), seccomp_cuda_refused,
                      sizeof(seccomp_cuda_refused) / sizeof(seccomp_cuda_refused[0]));
    /* Threads, but no processes. */
    if (!ret)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (!ret)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return seccomp_finish(ctx, ret);
}

int vgpu_isolate_exec_syscalls(uint32_t exec_kind)
{
    scmp_filter_ctx ctx;
    int ret;

    if (VGPU_SANITIZED)
        return 0;
    if (exec_kind == VGPU_EXEC_CUDA)
        return isolate_cuda_syscalls();
    ctx = seccomp_init(SECCOMP_REFUSED);
    if (!ctx)
        return -ENOMEM;
    ret = seccomp_add_common(ctx, true);
    if (!ret)
        ret = seccomp_add(ctx, SCMP_ACT_ALLOW, seccomp_cpu,
                          sizeof(seccomp_cpu) / sizeof(seccomp_cpu[0]));
    if (!ret)
        ret = seccomp_add_ioctl(ctx, seccomp_exec_ioctl, 1);
    return seccomp_finish(ctx, ret);
}
