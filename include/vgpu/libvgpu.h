/* SPDX-License-Identifier: MIT */
/*
 * libvgpu: programs' access to a vgpu device.
 *
 * A struct vgpu_ctx is one open /dev/vgpuN: one context on the device, with its
 * memory, modules and streams.  Commands go through rings that are mapped into the
 * program; submitting and polling make no system call.
 *
 * Conventions for every function
 *   Returns 0, or a negative errno.  Output parameters are written only on success.
 *   vgpu_last_status() then says what the device answered.  Among all others:
 *     -EINVAL  an argument is wrong         -ENOMEM  host or device memory
 *     -EIO     the context is lost; vgpu_get_status() says why
 *     -EPERM   called in a child after fork(): only vgpu_close() works there
 *     -ENOSPC  a limit on objects           -ENODEV  the device is not usable
 *   Sizes, offsets and device addresses are in bytes, times in nanoseconds.
 *   Any thread may call any function; objects must not be used during or after
 *   the call that ends them.  Closing the context ends everything it holds.
 *
 * Order.  Commands of one stream run in the order of the calls; streams run
 * independently.  A NULL stream is the context's default stream, a stream like any
 * other.  vgpu_launch(), vgpu_memset(), vgpu_copy_d2d(), the _async copies and
 * event records return at once; if such a command fails, vgpu_stream_sync() of its
 * stream or vgpu_sync() returns that first error, once.
 */
#ifndef VGPU_LIBVGPU_H
#define VGPU_LIBVGPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vgpu/cmd.h>
#include <vgpu/hw.h>
#include <vgpu/ring.h>
#include <vgpu/status.h>
#include <vgpu/uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VGPU_API __attribute__((visibility("default")))

struct vgpu_ctx;
struct vgpu_host;
struct vgpu_module;
struct vgpu_function;
struct vgpu_stream;
struct vgpu_event;

/* ---- Library and errors ---- */

/* Version of the library, "major.minor.patch". */
VGPU_API const char *vgpu_version(void);

/* Name ("BAD_PTX") and explanation of a status; never NULL. */
VGPU_API const char *vgpu_status_name(uint16_t status);
VGPU_API const char *vgpu_status_text(uint16_t status);

/* Whose fault it was: VGPU_BLAME_*. */
VGPU_API unsigned int vgpu_status_blame(uint16_t status);

/* The CUDA driver API's result for the same situation (CUresult), 999 if unknown. */
VGPU_API int vgpu_status_cuda(uint16_t status);

/* The negative errno a function returns for it, 0 for VGPU_ST_OK. */
VGPU_API int vgpu_status_errno(uint16_t status);

/* What the device answered to the calling thread's last failed call: VGPU_ST_*, or
 * VGPU_ST_OK if that failure did not come from the device. */
VGPU_API uint16_t vgpu_last_status(void);

/* "CPU executor", "null executor", "CUDA on NAME": the executor in words, into @buf.
 * Returns @buf. */
VGPU_API char *vgpu_executor_text(const struct vgpu_info *info, char *buf, size_t bytes);

/* ---- Context ---- */

struct vgpu_options {
	uint32_t sq_log2;     /* log2 of submissions in flight; 0: 10 */
	uint32_t arena_bytes; /* argument arena, multiple of 4096; 0: 512 KiB */
	uint32_t spin_us;     /* poll this long before sleeping, at most; 0: 50 */
	uint32_t flags;       /* VGPU_OPEN_* */
};

#define VGPU_OPEN_NEVER_SPIN   (1u << 0) /* always sleep in the kernel */
#define VGPU_OPEN_NEVER_SLEEP  (1u << 1) /* always poll (for measuring) */
#define VGPU_OPEN_ALWAYS_STAGE (1u << 2) /* behave as if user memory could not be registered */

/* Opens @path (NULL: /dev/vgpu0) with @options (NULL: defaults, all limited to what
 * the device takes).  The caller owns *@ctx until vgpu_close().
 * -ENOENT: no such device; -ENODEV: its back end is away; -ENOSPC: no context is free. */
VGPU_API int vgpu_open(const char *path, const struct vgpu_options *options,
		       struct vgpu_ctx **ctx);

/* Ends the context and frees all it holds, also what was not freed.  NULL is allowed. */
VGPU_API void vgpu_close(struct vgpu_ctx *ctx);

/* What the device is, as it was when the context was opened. */
VGPU_API int vgpu_get_info(struct vgpu_ctx *ctx, struct vgpu_info *info);

/* State of the context; works on a lost one: status, address and message of the fault. */
VGPU_API int vgpu_get_status(struct vgpu_ctx *ctx, struct vgpu_status_query *status);

/* The file descriptor, for poll(): readable when something completed, error when lost. */
VGPU_API int vgpu_get_fd(struct vgpu_ctx *ctx);

/* Waits until everything submitted by any thread before has completed. */
VGPU_API int vgpu_sync(struct vgpu_ctx *ctx);

/* One empty command, there and back: what a round trip costs. */
VGPU_API int vgpu_nop(struct vgpu_ctx *ctx, struct vgpu_stream *stream);

/* Submits @sqe as it is (but for the cookie) and waits for its completion, which is
 * stored whatever its status: for tests and tools.  Returns 0 once it completed. */
VGPU_API int vgpu_raw_command(struct vgpu_ctx *ctx, const struct vgpu_sqe *sqe,
			      struct vgpu_cqe *cqe);

/* ---- Device memory ---- */

/* Allocates @bytes (1..) of device memory, aligned for any type (256 at least). */
VGPU_API int vgpu_mem_alloc(struct vgpu_ctx *ctx, uint64_t bytes, uint64_t *addr);

/* Frees it when all earlier commands have completed; waits for them.  0 is allowed. */
VGPU_API int vgpu_mem_free(struct vgpu_ctx *ctx, uint64_t addr);

/* Bytes still free for this VM, and (@info may be NULL) the accounts. */
VGPU_API int vgpu_mem_info(struct vgpu_ctx *ctx, uint64_t *free_bytes, struct vgpu_mem_info *info);

/* Stores @count elements of @width (1, 2, 4) bytes, each @value.  Asynchronous. */
VGPU_API int vgpu_memset(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t addr,
			 uint32_t value, uint32_t width, uint64_t count);

/* ---- Copies ----
 * vgpu_copy_h2d() and _d2h() take any memory and return when the copy is done.
 * Memory inside a vgpu_host is used directly; other memory is registered for the
 * time of the copy if that pays, or goes through buffers of the library. */
VGPU_API int vgpu_copy_h2d(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst,
			   const void *src, size_t bytes);
VGPU_API int vgpu_copy_d2h(struct vgpu_ctx *ctx, struct vgpu_stream *stream, void *dst,
			   uint64_t src, size_t bytes);

/* Between device addresses; overlap gives memmove's result.  Asynchronous. */
VGPU_API int vgpu_copy_d2d(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst,
			   uint64_t src, uint64_t bytes);

/* From or to @offset of registered memory.  Asynchronous: the memory must not be
 * touched until the stream was synchronised. */
VGPU_API int vgpu_copy_h2d_async(struct vgpu_ctx *ctx, struct vgpu_stream *stream, uint64_t dst,
				 struct vgpu_host *src, uint64_t offset, uint64_t bytes);
VGPU_API int vgpu_copy_d2h_async(struct vgpu_ctx *ctx, struct vgpu_stream *stream,
				 struct vgpu_host *dst, uint64_t offset, uint64_t src,
				 uint64_t bytes);

/* ---- Host memory the device can reach ---- */

/* Registers [@addr, @addr + @bytes) of the program for @flags, VGPU_BUF_DEVICE_*.  The
 * memory stays the caller's and must stay mapped until vgpu_host_free().
 * -ENOMEM: RLIMIT_MEMLOCK; -EFAULT: not mapped; -EOPNOTSUPP: user memory can't be
 * registered on this machine (bounce buffers): use vgpu_host_alloc() or plain copies. */
VGPU_API int vgpu_host_register(struct vgpu_ctx *ctx, void *addr, size_t bytes, uint32_t flags,
				struct vgpu_host **host);

/* Allocates memory that the device reaches in both directions; counts against
 * RLIMIT_MEMLOCK; zeroed; not inherited by fork(). */
VGPU_API int vgpu_host_alloc(struct vgpu_ctx *ctx, size_t bytes, struct vgpu_host **host);

/* Where it is, and its size (rounded up to pages for vgpu_host_alloc()). */
VGPU_API void *vgpu_host_addr(const struct vgpu_host *host);
VGPU_API size_t vgpu_host_bytes(const struct vgpu_host *host);

/* Ends the registration; waits until the device has let go.  NULL is allowed. */
VGPU_API int vgpu_host_free(struct vgpu_host *host);

/* ---- Modules and kernels ---- */

/* Loads an image (PTX text, cubin or fatbin) of @bytes.  The compiler's log is stored
 * in @log (NUL terminated, cut to @log_bytes; may be NULL) whether it loads or not.
 * -EBADMSG: it does not compile; -EOPNOTSUPP: an instruction or version is not
 * supported; -ENOEXEC: not an image this device understands. */
VGPU_API int vgpu_module_load(struct vgpu_ctx *ctx, const void *image, size_t bytes,
			      struct vgpu_module **module, char *log, size_t log_bytes);

/* The same from a file. */
VGPU_API int vgpu_module_load_file(struct vgpu_ctx *ctx, const char *path,
				   struct vgpu_module **module, char *log, size_t log_bytes);

/* Unloads it with all its functions, when earlier commands have completed.  NULL is allowed. */
VGPU_API int vgpu_module_unload(struct vgpu_module *module);

/* A kernel by name; lives as long as its module.  -ENOENT: no such name. */
VGPU_API int vgpu_module_function(struct vgpu_module *module, const char *name,
				  struct vgpu_function **function);

/* Address and size of a global variable.  -ENOENT: no such name. */
VGPU_API int vgpu_module_global(struct vgpu_module *module, const char *name, uint64_t *addr,
				uint64_t *bytes);

/* Attributes, and the place of parameter @index in the parameter block. */
VGPU_API void vgpu_function_info(const struct vgpu_function *function,
				 struct vgpu_func_info *info);
VGPU_API int vgpu_function_param(const struct vgpu_function *function, uint32_t index,
				 struct vgpu_param_info *param);

struct vgpu_launch_config {
	uint32_t grid[3];         /* thread blocks, each >= 1 */
	uint16_t block[3];        /* threads of a block, each >= 1 */
	uint16_t rsvd;            /* 0 */
	uint32_t shared_bytes;    /* dynamic shared memory */
	struct vgpu_stream *stream;
};

/* Launches with a parameter block of exactly the kernel's size.  Asynchronous; @params
 * is copied before it returns. */
VGPU_API int vgpu_launch(struct vgpu_function *function, const struct vgpu_launch_config *config,
			 const void *params, size_t param_bytes);

/* Launches with one pointer per parameter, each to a value of the parameter's size. */
VGPU_API int vgpu_launch_args(struct vgpu_function *function,
			      const struct vgpu_launch_config *config, const void *const *args,
			      uint32_t nargs);

/* ---- What kernels print ----
 * Text that kernels print comes out when the program waits: in vgpu_sync(),
 * vgpu_stream_sync(), vgpu_event_sync() and vgpu_copy_d2h(), and as far as it is there in
 * vgpu_close().  The device keeps 1 MiB; a call to printf that finds no room is dropped whole. What a
 * context has not handed out when it is lost is lost with it. */

/* Receives @bytes of text, not NUL terminated; before it, @lost bytes were dropped.
 * Called by the thread that waits, one at a time; must not use the context. */
typedef void vgpu_output_fn(void *opaque, const char *text, size_t bytes, uint64_t lost);

/* Where the text goes; NULL: to stdout, and to stderr a line about what was dropped
 * (as it is to begin with). */
VGPU_API int vgpu_set_output(struct vgpu_ctx *ctx, vgpu_output_fn *fn, void *opaque);

/* Hands out what kernels that have ended printed, without waiting for others. */
VGPU_API int vgpu_output_flush(struct vgpu_ctx *ctx);

/* ---- Streams and events ---- */

/* Lower @priority is more urgent; clamped to what the executor knows. */
VGPU_API int vgpu_stream_create(struct vgpu_ctx *ctx, int32_t priority,
				struct vgpu_stream **stream);

/* When its commands have completed; waits for them.  NULL is allowed. */
VGPU_API int vgpu_stream_destroy(struct vgpu_stream *stream);

/* Waits for what was submitted to it before (@stream NULL: the default stream). */
VGPU_API int vgpu_stream_sync(struct vgpu_ctx *ctx, struct vgpu_stream *stream);

VGPU_API int vgpu_event_create(struct vgpu_ctx *ctx, struct vgpu_event **event);
VGPU_API int vgpu_event_destroy(struct vgpu_event *event);

/* The event happens when the stream reaches this point.  Asynchronous. */
VGPU_API int vgpu_event_record(struct vgpu_event *event, struct vgpu_stream *stream);

/* Later commands of @stream wait until the event's last record has happened. */
VGPU_API int vgpu_event_wait(struct vgpu_event *event, struct vgpu_stream *stream);

/* -EAGAIN: not yet.  Else the device's time of it, in ns of a clock of the device. */
VGPU_API int vgpu_event_query(struct vgpu_event *event, uint64_t *time_ns);

/* Waits until the last record has happened (at once if there was none). */
VGPU_API int vgpu_event_sync(struct vgpu_event *event);

#ifdef __cplusplus
}
#endif

#endif /* VGPU_LIBVGPU_H */
