/* SPDX-License-Identifier: MIT */
/*
 * vgpu commands: submissions, completions and the records they refer to
 * (spec 8 to 11).
 *
 * Rules for all of them: little-endian; a field named rsvd* must be zero; an
 * unknown opcode or flag is refused; sizes and offsets are asserted in layout.h.
 * A context command never carries a guest address: it names a buffer the guest
 * kernel registered, and an offset in it.
 */
#ifndef VGPU_CMD_H
#define VGPU_CMD_H

#include <linux/types.h>
#include <vgpu/status.h>

/* ---- Completion, 32 bytes (spec 7.6) ---- */
struct vgpu_cqe {
	__le64 cookie;        /* of the submission */
	__le64 result;        /* per command; 0 unless its line says otherwise */
	__le32 aux;           /* per command; 0 unless its line says otherwise */
	__le16 status;        /* VGPU_ST_* */
	__le16 rsvd0;
	__le32 sq_idx;        /* free-running index of the submission */
	__le32 rsvd1;
};

/* ---- Submission, 64 bytes: 16 of header, 48 of payload (spec 7.5) ---- */

/* Context opcodes (spec 9).  Others are reserved.
 * Order: Q = queued, runs in its stream's order; I = immediate, runs when
 * consumed, `stream` must be 0; B = barrier, runs after every earlier submission of
 * the context has completed, and nothing later is consumed before, `stream` 0. */
#define VGPU_CMD_NOP            0x0000 /* Q */
#define VGPU_CMD_FENCE          0x0001 /* B */
#define VGPU_CMD_MEM_ALLOC      0x0010 /* I  result: device address */
#define VGPU_CMD_MEM_FREE       0x0011 /* B */
#define VGPU_CMD_MEM_INFO       0x0012 /* I  result: bytes free; writes struct vgpu_mem_info */
#define VGPU_CMD_COPY_H2D       0x0020 /* Q */
#define VGPU_CMD_COPY_D2H       0x0021 /* Q */
#define VGPU_CMD_COPY_D2D       0x0022 /* Q */
#define VGPU_CMD_MEMSET         0x0023 /* Q */
#define VGPU_CMD_MODULE_LOAD    0x0030 /* I  result: module; aux: log bytes, whatever the status */
#define VGPU_CMD_MODULE_UNLOAD  0x0031 /* B */
#define VGPU_CMD_FUNC_LOOKUP    0x0032 /* I  result: function; aux: bytes of info available */
#define VGPU_CMD_GLOBAL_LOOKUP  0x0033 /* I  result: device address; writes struct vgpu_global_info */
#define VGPU_CMD_LAUNCH         0x0040 /* Q */
#define VGPU_CMD_OUTPUT_READ    0x0041 /* I  result: bytes written; aux: bytes lost before them */
#define VGPU_CMD_STREAM_CREATE  0x0050 /* I  result: stream */
#define VGPU_CMD_STREAM_DESTROY 0x0051 /* B */
#define VGPU_CMD_EVENT_CREATE   0x0058 /* I  result: event */
#define VGPU_CMD_EVENT_RECORD   0x0059 /* Q  result: time in ns, see spec 11.3 */
#define VGPU_CMD_EVENT_WAIT     0x005a /* Q  later work of the stream waits for the event */
#define VGPU_CMD_EVENT_QUERY    0x005b /* I  NOT_READY, or OK with result: time in ns */
#define VGPU_CMD_EVENT_DESTROY  0x005c /* B */

struct vgpu_cmd_mem_alloc {           /* spec 9.2 */
	__le64 bytes;                 /* 1..; counted rounded up to 4 KiB or more */
	__u8 rsvd[40];
};

struct vgpu_cmd_mem_free {
	__le64 addr;                  /* as MEM_ALLOC returned it */
	__u8 rsvd[40];
};

struct vgpu_cmd_mem_info {
	__le64 out_off;               /* where struct vgpu_mem_info goes */
	__le32 out_buf;
	__u8 rsvd[36];
};

struct vgpu_cmd_copy {                /* H2D and D2H, spec 9.3 */
	__le64 dev_addr;
	__le64 buf_off;
	__le64 bytes;                 /* 0 is allowed and does nothing */
	__le32 buf;
	__u8 rsvd[20];
};

struct vgpu_cmd_copy_d2d {            /* overlap gives memmove's result */
	__le64 dst;
	__le64 src;
	__le64 bytes;
	__u8 rsvd[24];
};

struct vgpu_cmd_memset {              /* spec 9.4 */
	__le64 dev_addr;              /* multiple of width */
	__le64 count;                 /* elements */
	__le32 value;                 /* low `width` bytes are used, the rest must be 0 */
	__le32 width;                 /* 1, 2 or 4 bytes */
	__u8 rsvd[24];
};

struct vgpu_cmd_module_load {         /* spec 10.1 */
	__le64 image_off;
	__le64 image_bytes;           /* 1..MAX_IMAGE */
	__le64 log_off;
	__le32 image_buf;
	__le32 log_buf;
	__le32 log_bytes;             /* room for the log, NUL included; 0: no log wanted */
	__u8 rsvd[12];
};

struct vgpu_cmd_module_unload {
	__le32 module;
	__u8 rsvd[44];
};

struct vgpu_cmd_lookup {              /* FUNC_LOOKUP and GLOBAL_LOOKUP, spec 10.2 */
	__le64 name_off;
	__le64 out_off;               /* struct vgpu_func_info + params, or vgpu_global_info */
	__le32 module;
	__le32 name_buf;
	__le32 name_bytes;            /* 1..1024, no NUL */
	__le32 out_buf;
	__le32 out_bytes;             /* room; at least the fixed struct. Params that do not fit
				       * are left out, aux says how many bytes all would be */
	__u8 rsvd[12];
};

struct vgpu_cmd_launch {              /* spec 10.3 */
	__le32 function;
	__le32 grid[3];               /* CTAs, each >= 1 */
	__le16 block[3];              /* threads, each >= 1 */
	__le16 param_bytes;           /* must equal the kernel's */
	__le32 param_off;             /* in the argument arena, multiple of 16 */
	__le32 shared_bytes;          /* dynamic shared memory */
	__u8 rsvd[16];
};

struct vgpu_cmd_output_read {         /* spec 10.4 */
	__le64 out_off;               /* where the text goes */
	__le32 out_bytes;             /* room, 1.. */
	__le32 out_buf;
	__u8 rsvd[32];
};

struct vgpu_cmd_stream_create {       /* spec 11.1 */
	__le32 priority;              /* signed; lower is more urgent; clamped to the executor's */
	__u8 rsvd[44];
};

struct vgpu_cmd_stream {              /* STREAM_DESTROY */
	__le32 id;
	__u8 rsvd[44];
};

struct vgpu_cmd_event {               /* EVENT_RECORD/WAIT/QUERY/DESTROY, spec 11.2 */
	__le32 id;
	__u8 rsvd[44];
};

struct vgpu_sqe {
	__le16 opcode;
	__le16 flags;                 /* none defined: 0 */
	__le32 stream;                /* 0: the default stream, which always exists */
	__le64 cookie;                /* returned in the completion, else unused */
	union {
		__u8 payload[48];
		struct vgpu_cmd_mem_alloc mem_alloc;
		struct vgpu_cmd_mem_free mem_free;
		struct vgpu_cmd_mem_info mem_info;
		struct vgpu_cmd_copy copy;
		struct vgpu_cmd_copy_d2d copy_d2d;
		struct vgpu_cmd_memset memset;
		struct vgpu_cmd_module_load module_load;
		struct vgpu_cmd_module_unload module_unload;
		struct vgpu_cmd_lookup lookup;
		struct vgpu_cmd_launch launch;
		struct vgpu_cmd_output_read output_read;
		struct vgpu_cmd_stream_create stream_create;
		struct vgpu_cmd_stream stream_id;
		struct vgpu_cmd_event event;
	} u;
};

/* ---- Records written into buffers ---- */

struct vgpu_mem_info {                /* spec 9.2 */
	__le64 limit_bytes;           /* of the whole VM */
	__le64 held_bytes;            /* by the whole VM, as counted against the limit */
	__le64 ctx_bytes;             /* held by this context */
	__le64 rsvd;
};

struct vgpu_param_info {              /* spec 10.2 */
	__le32 offset;                /* in the parameter block */
	__le32 bytes;
};

struct vgpu_func_info {               /* spec 10.2 */
	__le32 param_count;
	__le32 param_bytes;           /* of the whole block */
	__le32 max_threads;           /* per block, for this kernel */
	__le32 static_shared_bytes;
	__le32 max_dynamic_shared_bytes;
	__le32 local_bytes;           /* per thread */
	__le32 const_bytes;
	__le32 regs;                  /* per thread */
	__le32 ptx_version;           /* major * 10 + minor, 0 if unknown */
	__le32 binary_version;
	__le32 flags;                 /* VGPU_FUNC_* */
	__le32 rsvd[5];
	/* struct vgpu_param_info params[param_count] follow */
};

#define VGPU_FUNC_MAY_PRINT (1u << 0) /* may leave output: spec 10.4 */

struct vgpu_global_info {             /* spec 10.2 */
	__le64 addr;
	__le64 bytes;
};

/* ---- Admin queue (spec 8), guest kernel only.  Same 64-byte entry ---- */
#define VGPU_ADMIN_CTX_CREATE     0x8001
#define VGPU_ADMIN_CTX_DESTROY    0x8002 /* completes when the executor has been reaped */
#define VGPU_ADMIN_BUF_REGISTER   0x8003
#define VGPU_ADMIN_BUF_UNREGISTER 0x8004 /* completes when the executor has let go */
#define VGPU_ADMIN_QUERY          0x8005

/* DMA address and length of one piece of a buffer; a multiple of 4 KiB both,
 * except that the first may start and the last may end inside a page. */
struct vgpu_sg_entry {
	__le64 addr;
	__le64 bytes;
};

/* One page of a scatter list (spec 8.4); pages are chained, all but the last full. */
#define VGPU_SG_PER_PAGE 255
struct vgpu_sg_page {
	__le64 next;                  /* DMA address of the next page, 0 in the last */
	__le32 count;                 /* entries valid here, 1..VGPU_SG_PER_PAGE */
	__le32 rsvd;
	struct vgpu_sg_entry sg[VGPU_SG_PER_PAGE];
};

#define VGPU_BUF_DEVICE_READS  (1u << 0) /* may be the source of H2D, an image, a name */
#define VGPU_BUF_DEVICE_WRITES (1u << 1) /* may be the target of D2H, a log, a record */
#define VGPU_BUF_FLAGS         (VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES)
#define VGPU_BUF_ARENA         0 /* buffer id of the argument arena, both directions */

struct vgpu_admin_ctx_create {        /* spec 8.2 */
	__le64 queue_addr;            /* DMA address of the queue block, page aligned */
	__le64 arena_addr;            /* DMA address of the argument arena, page aligned */
	__le32 ctx;                   /* 0..MAX_CONTEXTS-1, chosen by the driver; = doorbell page */
	__le32 arena_bytes;           /* multiple of 4 KiB */
	__le16 vector;                /* 1..; interrupts of the completion queue */
	__u8 sq_log2;
	__u8 cq_log2;
	__u8 rsvd[20];
};

struct vgpu_admin_ctx {               /* CTX_DESTROY */
	__le32 ctx;
	__u8 rsvd[44];
};

struct vgpu_admin_buf_register {      /* spec 8.4 */
	__le64 sg_addr;               /* DMA address of the first vgpu_sg_page, page aligned */
	__le64 bytes;                 /* sum of all entries */
	__le32 ctx;
	__le32 buf;                   /* 1..MAX_BUFFERS-1, chosen by the driver */
	__le32 flags;                 /* VGPU_BUF_DEVICE_* */
	__le32 sg_count;              /* entries in all pages */
	__u8 rsvd[16];
};

struct vgpu_admin_buf_unregister {
	__le32 ctx;
	__le32 buf;
	__u8 rsvd[40];
};

#define VGPU_QUERY_PROPS  1           /* struct vgpu_device_props; ctx must be 0 */
#define VGPU_QUERY_CTX    2           /* struct vgpu_ctx_status of context `ctx` */

struct vgpu_admin_query {             /* spec 8.6; aux: bytes written */
	__le64 out_addr;              /* DMA address, inside one page */
	__le32 out_bytes;             /* room; the record is cut to it */
	__le32 what;
	__le32 ctx;
	__u8 rsvd[28];
};

struct vgpu_admin_sqe {
	__le16 opcode;
	__le16 flags;
	__le32 rsvd;
	__le64 cookie;
	union {
		__u8 payload[48];
		struct vgpu_admin_ctx_create ctx_create;
		struct vgpu_admin_ctx ctx_destroy;
		struct vgpu_admin_buf_register buf_register;
		struct vgpu_admin_buf_unregister buf_unregister;
		struct vgpu_admin_query query;
	} u;
};

/* What the executor is (spec 8.6).  Numbers a CUDA program would ask attributes for. */
struct vgpu_device_props {
	__u8 name[64];                /* as VGPU_REG_DEVICE_NAME */
	__le64 memory_bytes;          /* the VM's limit */
	__le32 exec_kind;             /* VGPU_EXEC_* */
	__le32 compute_major;
	__le32 compute_minor;
	__le32 multiprocessors;
	__le32 warp_size;
	__le32 max_threads_per_block;
	__le32 max_block[3];
	__le32 max_grid[3];
	__le32 max_shared_per_block;  /* bytes, static + dynamic */
	__le32 max_ptx_version;       /* major * 10 + minor */
	__le32 clock_khz;
	__le32 driver_version;        /* CUDA driver version * 1000 style, 0 if none */
	__u8 uuid[16];                /* of the GPU, all 0 if none */
	__le32 deadline_ms;           /* for one kernel, 0: none */
	__u8 rsvd[100];
};

/* Why a context is as it is (spec 8.6, 11.5). */
struct vgpu_ctx_status {
	__le32 state;                 /* VGPU_CTX_STATE_* */
	__le32 status;                /* VGPU_ST_* that lost it, 0 while active */
	__le64 fault_addr;            /* device address the fault is about, 0 if none */
	__le32 generation;
	__le32 rsvd;
	__u8 message[232];            /* ASCII, NUL terminated: kernel, line, reason */
};

#endif /* VGPU_CMD_H */
