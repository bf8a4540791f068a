/* SPDX-License-Identifier: MIT */
/*
 * The vm process: one VM's device, its client, and the exec processes of its contexts.
 *
 * Private to the vm process's files:
 *
 *   vm.c        start, the event loop's sources, the generation lock, the end
 *   vm_dev.c    what the device core and the bus ask for
 *   vm_ctx.c    contexts: their processes from spawning to reaping
 *   vm_output.c what these processes print, on its way to the log
 *   vm_exec.c   the conversation with one exec process
 *   vm_buf.c    buffers, and memory that is unmapped under them
 *   vm_xen.c    in place of a client: a Xen domain
 *   vm_report.c the account
 *
 * One thread.  Contexts move FREE -> STARTING -> LIVE -> ENDING -> FREE or DEAD: STARTING until the
 * exec process answered START; ENDING from the moment its end was decided until it has been *reaped*,
 * which alone proves that it no longer touches guest memory; DEAD is a lost context, reaped,
 * which the guest has not destroyed yet.
 *
 * Answers to the device are never given from inside its own calls: they go through vm_answer().
 */
#ifndef VGPU_DAEMON_VM_H
#define VGPU_DAEMON_VM_H

#include <stdatomic.h>
#include <bus/vfio_user.h>
#include <bus/xen.h>
#include <daemon/config.h>
#include <daemon/log.h>
#include <daemon/loop.h>
#include <daemon/quota.h>
#include <daemon/report.h>
#include <daemon/role.h>
#include <daemon/spawn.h>
#include <exec/proto.h>

/* How long an exec process may take before it is killed. */
#define VM_START_MS  30000u /* opening an executor, a GPU's included */
#define VM_REPLY_MS  20000u /* it may be compiling a module meanwhile */
#define VM_REVOKE_MS 1000u  /* the client waits with an unmap, and its guest with it */
#define VM_STOP_MS   200u   /* from STOP, or from its own LOST, to the end */
/*
 * What VGPU_REG_ADMIN_MAX_MS promises.  The vm process itself never waits: what it does takes
 * milliseconds, and the times above are an executor's, which the promise leaves out (spec 5.4).
 * So this is air for a host short of processors; a guest's stall window follows from it.
 */
#define VM_ADMIN_MAX_MS 10000u

#define VM_MAX_SG  262144u
#define VM_MAX_OUT 8192u /* messages waiting for one exec process */
/* Mappings of one exec process, of which the kernel allows 65530 unless told otherwise; bounds what
 * the vm process keeps of a context's buffers, too. */
#define VM_MAX_CTX_RUNS  57344u
#define VM_MESSAGE_BYTES (sizeof(struct vgpu_xmsg) + VGPU_X_MAX_RUNS * sizeof(struct vgpu_xrun))

enum vm_ctx_state { VM_CTX_FREE, VM_CTX_STARTING, VM_CTX_LIVE, VM_CTX_ENDING, VM_CTX_DEAD };

/* Guest memory [addr, last]. */
struct vm_interval {
    uint64_t addr;
    uint64_t last;
};

enum vm_buf_state {
    VM_BUF_ADDING, /* COMMIT not answered */
    VM_BUF_LIVE,
    VM_BUF_DROPPING, /* DROP not answered */
    VM_BUF_GONE,     /* dropped because its memory was unmapped; the guest still has the id */
};

struct vm_buf {
    uint32_t id;
    enum vm_buf_state state;
    bool revoked;         /* memory of it was unmapped */
    bool register_owed;   /* the device waits for vgpu_dev_buf_registered() */
    bool unregister_owed; /* ... for vgpu_dev_buf_unregistered() */
    uint64_t bytes;
    uint32_t runs; /* counted against VM_MAX_CTX_RUNS: runs or intervals, whichever are more */
    uint32_t interval_count;
    struct vm_interval *intervals; /* by address, without overlap */
};

/* A message that the exec process has not answered. */
struct vm_req {
    struct vm_req *next;
    uint32_t seq;
    uint32_t type;
    uint32_t buf;
    uint64_t due_ms;
};

struct vm_out; /* a message the socket had no room for */

struct vm_ctx {
    struct vm *vm;
    uint32_t id;
    enum vm_ctx_state state;
    struct vgpu_dev_ctx_params params;
    uint32_t serial; /* of the spawn request */

    pid_t pid; /* 0: not known yet */
    int pidfd; /* -1: not known yet */
    int sock;
    struct vgpu_source pid_source;
    struct vgpu_source sock_source;
    struct vgpu_timer end_timer; /* in ENDING: when patience ends */
    bool kill_wanted;            /* before the pidfd is there */

    bool create_owed;     /* the device waits for vgpu_dev_ctx_created() */
    bool destroy_owed;    /* ... for vgpu_dev_ctx_destroyed() */
    uint16_t lost_status; /* VGPU_ST_*; 0: not lost */
    uint64_t lost_addr;
    char lost_message[232];

    struct vm_req *req_first;
    struct vm_req *req_last;
    struct vm_out *out_first;
    struct vm_out *out_last;
    uint32_t out_count;
    uint32_t next_seq;
    bool irq_busy;  /* an IRQ is not answered yet */
    bool irq_stale; /* and the descriptor has changed again since */

    uint64_t granted_bytes; /* of the VM's quota */
    struct vm_buf **bufs;   /* by id */
    uint32_t buf_count;
    uint64_t buf_bytes;
    uint32_t runs;
    struct vgpu_xstats *stats; /* shared with the exec process, written by it */
    struct vgpu_log_limit log;
};

/* An answer to the device that must not be given inside the device's own call. */
enum vm_answer_kind {
    VM_ANSWER_CREATED,
    VM_ANSWER_DESTROYED,
    VM_ANSWER_UNREGISTERED,
    VM_ANSWER_REGISTERED,
    VM_ANSWER_RESET
};

struct vm_answer {
    struct vm_answer *next;
    enum vm_answer_kind kind;
    uint32_t ctx;
    uint32_t buf;
    uint16_t status;
};

/* An unmap that somebody still holds up. */
struct vm_unmap {
    struct vm_unmap *next;
    struct vm_interval where;
    uint64_t cookie;
};

/* What exec processes print: see vm_output.c. */
struct vm_output {
    struct vgpu_source source;
    int fd;             /* -1: none */
    uint32_t budget;    /* bytes that may be logged now */
    uint64_t refill_ms; /* when the budget last grew; 0: never used */
    uint64_t left_out;  /* lines since the last one logged */
    size_t used;
    char line[512];
};

struct vm {
    struct vgpu_vm_setup setup;
    struct vgpu_loop loop;
    struct vgpu_dev *dev;
    struct vgpu_dma *dma;
    struct vgpu_irqs irqs;
    struct vgpu_vfio_user *bus; /* NULL once the client is gone, and on Xen */
    struct vgpu_xen *xen;       /* NULL once the domain is gone, and without Xen */
    struct vm_xen_vector *xen_vectors;
    struct vgpu_timer xen_timer;

    struct vgpu_source bus_source;
    struct vgpu_source control_source;
    struct vgpu_source spawner_source;
    struct vm_output output;
    int control_sock;
    int spawner_sock;
    int lock_fd;
    int max_fds;
    pid_t spawner_pid;
    int irq_sink;   /* where interrupts go that nobody wants */
    int *doorbells; /* eventfd per context */

    struct vgpu_timer lock_timer;
    struct vgpu_timer watchdog;
    struct vgpu_work dev_work;
    struct vgpu_work answer_work;
    struct vgpu_work close_work;
    struct vm_answer *answer_first;
    struct vm_answer *answer_last;
    struct vm_unmap *unmaps;

    struct vm_ctx *ctxs; /* config.contexts of them */
    uint32_t alive;      /* contexts in STARTING, LIVE or ENDING */
    uint32_t next_serial;
    bool resetting;
    bool closing; /* end when nothing is alive any more */
    uint64_t lock_since_ms;
    bool lock_noted;
    uint32_t generation;

    struct vgpu_quota quota;
    struct vgpu_report_totals totals; /* of contexts that have ended */
    uint64_t totals_created;
    uint64_t totals_lost;
    struct vgpu_log_limit dev_log;
    struct vgpu_log_limit bus_log;
    uint8_t message[VM_MESSAGE_BYTES]; /* scratch for one message to or from an exec process */
};

/* vm.c */
void vm_close(struct vm *vm, const char *why);
void vm_maybe_finish(struct vm *vm);
void vm_bus_update(struct vm *vm);

/* vm_dev.c */
extern const struct vgpu_dev_ops vm_dev_ops;
extern const struct vgpu_bus_ops vm_bus_ops;
void vm_answer(struct vm *vm, enum vm_answer_kind kind, uint32_t ctx, uint32_t buf,
               uint16_t status);
void vm_answers_drop(struct vm *vm);

/* vm_ctx.c */
VGPU_MUST_CHECK int vm_ctxs_init(struct vm *vm);
void vm_ctx_create(void *opaque, uint32_t ctx, const struct vgpu_dev_ctx_params *params);
void vm_ctx_destroy(void *opaque, uint32_t ctx);
void vm_ctx_reset_all(void *opaque);
bool vm_ctx_is_alive(const struct vm_ctx *ctx);
/* The context is lost: tell the device, end the process. `grace`: it exits by itself. */
void vm_ctx_lose(struct vm_ctx *ctx, uint16_t status, uint64_t addr, const char *message,
                 bool grace);
void vm_ctx_kill(struct vm_ctx *ctx);
void vm_spawner_event(void *opaque, uint32_t events);
void vm_ctx_log(struct vm_ctx *ctx, enum vgpu_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* vm_output.c */
/* The pipe: its end for the writers, which is the caller's; or -errno. */
VGPU_MUST_CHECK int vm_output_open(struct vm_output *out);
VGPU_MUST_CHECK int vm_output_watch(struct vm *vm);
/* After the last writer's end. */
void vm_output_close(struct vm *vm);
/* May a line of that length be logged at this time? */
bool vm_output_pass(struct vm_output *out, size_t bytes, uint64_t now_ms);

/* vm_exec.c */
/* Send a request (or, with track false, a message without an answer); fds are not consumed.
 * A failure ends the context. */
void vm_exec_send(struct vm_ctx *ctx, struct vgpu_xmsg *msg, const struct vgpu_xrun *runs,
                  uint32_t run_count, const int *fds, size_t fd_count, uint32_t timeout_ms,
                  bool track);
void vm_exec_event(void *opaque, uint32_t events);
/* Take in all that is there already, before its sender's death is judged. */
void vm_exec_drain(struct vm_ctx *ctx);
void vm_exec_forget(struct vm_ctx *ctx);
/* The answer to the buffer's DROP is wanted by then. */
void vm_exec_hurry(struct vm_ctx *ctx, uint32_t buf, uint32_t timeout_ms);
/* The vector's effective descriptor changed: hand it over, now or when the one before was taken. */
void vm_exec_irq_changed(struct vm_ctx *ctx);
void vm_exec_hung_up(void *opaque);
void vm_watchdog(void *opaque);

/* vm_buf.c */
struct vm_runs {
    struct vgpu_xrun *runs;
    uint32_t count;
    uint32_t room;
    uint32_t max;
    uint32_t barrier; /* runs before this one are not merged with */
    uint32_t files[VGPU_X_MAX_FDS];
    uint32_t file_count;
    uint32_t max_files;
};
/* Append the pages of [addr, addr + bytes) as runs. VGPU_ST_*. */
VGPU_MUST_CHECK uint16_t vm_runs_add(struct vm *vm, struct vm_runs *runs, uint64_t addr,
                                     uint64_t bytes, uint32_t prot);
void vm_runs_fini(struct vm_runs *runs);
/* The descriptor of runs->files[idx]; stays its owner's. */
int vm_runs_fd(const struct vm *vm, const struct vm_runs *runs, uint32_t idx);
void vm_buf_register(void *opaque, uint32_t ctx, uint32_t buf, uint32_t flags,
                     const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes);
void vm_buf_unregister(void *opaque, uint32_t ctx, uint32_t buf);
void vm_buf_replied(struct vm_ctx *ctx, uint32_t buf, uint32_t type, uint16_t status);
/* The process is reaped: answer what is owed (unless silent), forget all buffers. */
void vm_bufs_reaped(struct vm_ctx *ctx, bool silent);
bool vm_dma_unmapped(void *opaque, uint64_t addr, uint64_t bytes, uint64_t cookie);
/* Something was dropped or reaped: answer unmaps that nobody holds up any more. */
void vm_unmaps_check(struct vm *vm);

/* vm.c: why the domain can't be served, for the log and for who asked vgpud to attach it */
void vm_tell_failed(struct vm *vm, const char *why);

/* vm_xen.c */
/* Before privileges go, and the last step before the system call filter.  0 or -errno, logged. */
VGPU_MUST_CHECK int vm_xen_open(struct vm *vm);
VGPU_MUST_CHECK int vm_xen_attach(struct vm *vm);
void vm_xen_leave(void) __attribute__((noreturn));
void vm_xen_close(struct vm *vm);
/* As vgpu_dma_resolve(); file 0 is the domain's memory.  VGPU_ST_*. */
VGPU_MUST_CHECK uint16_t vm_xen_run(struct vm *vm, uint64_t addr, uint64_t bytes, uint32_t prot,
                                    struct vgpu_dma_piece *piece);

/* vm_report.c */
void vm_report_send(struct vm *vm);
void vm_totals_add(struct vgpu_report_totals *totals, const struct vgpu_xstats *stats);

#endif /* VGPU_DAEMON_VM_H */
