/* SPDX-License-Identifier: MIT */
/*
 * Size and offset of every structure that crosses the ABI, asserted at compile
 * time (spec 2.3).  Including this header is the check; the guest driver, the
 * host and the tests each do.  A line that changes here is an ABI change.
 */
#ifndef VGPU_LAYOUT_H
#define VGPU_LAYOUT_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <stddef.h>
#endif
#include <vgpu/cmd.h>
#include <vgpu/hw.h>
#include <vgpu/ring.h>
#include <vgpu/uapi.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vgpu: little-endian machines only"
#endif

#ifdef __cplusplus
#define VGPU_ABI_ASSERT(expr, text) static_assert(expr, text)
#else
#define VGPU_ABI_ASSERT(expr, text) _Static_assert(expr, text)
#endif
#define VGPU_SIZE(type, bytes) \
	VGPU_ABI_ASSERT(sizeof(struct type) == (bytes), "size of struct " #type)
#define VGPU_OFFSET(type, field, bytes) \
	VGPU_ABI_ASSERT(offsetof(struct type, field) == (bytes), #type "." #field)

/* ---- Rings (spec 7) ---- */

VGPU_SIZE(vgpu_queue_ro, 4096);
VGPU_OFFSET(vgpu_queue_ro, cq_prod, 0);
VGPU_OFFSET(vgpu_queue_ro, sq_cons, 64);
VGPU_OFFSET(vgpu_queue_ro, sq_event, 68);
VGPU_OFFSET(vgpu_queue_ro, cq_event, 128);
VGPU_OFFSET(vgpu_queue_ro, ctx_state, 192);
VGPU_OFFSET(vgpu_queue_ro, lost_status, 196);
VGPU_OFFSET(vgpu_queue_ro, generation, 200);

VGPU_SIZE(vgpu_queue_rw, 4096);
VGPU_OFFSET(vgpu_queue_rw, sq_prod, 0);
VGPU_OFFSET(vgpu_queue_rw, cq_cons, 64);

/* ---- Commands and records (spec 8 to 11) ---- */

VGPU_SIZE(vgpu_cqe, 32);
VGPU_OFFSET(vgpu_cqe, cookie, 0);
VGPU_OFFSET(vgpu_cqe, result, 8);
VGPU_OFFSET(vgpu_cqe, aux, 16);
VGPU_OFFSET(vgpu_cqe, status, 20);
VGPU_OFFSET(vgpu_cqe, sq_idx, 24);

VGPU_SIZE(vgpu_cmd_mem_alloc, 48);
VGPU_OFFSET(vgpu_cmd_mem_alloc, bytes, 0);

VGPU_SIZE(vgpu_cmd_mem_free, 48);
VGPU_OFFSET(vgpu_cmd_mem_free, addr, 0);

VGPU_SIZE(vgpu_cmd_mem_info, 48);
VGPU_OFFSET(vgpu_cmd_mem_info, out_off, 0);
VGPU_OFFSET(vgpu_cmd_mem_info, out_buf, 8);

VGPU_SIZE(vgpu_cmd_copy, 48);
VGPU_OFFSET(vgpu_cmd_copy, dev_addr, 0);
VGPU_OFFSET(vgpu_cmd_copy, buf_off, 8);
VGPU_OFFSET(vgpu_cmd_copy, bytes, 16);
VGPU_OFFSET(vgpu_cmd_copy, buf, 24);

VGPU_SIZE(vgpu_cmd_copy_d2d, 48);
VGPU_OFFSET(vgpu_cmd_copy_d2d, dst, 0);
VGPU_OFFSET(vgpu_cmd_copy_d2d, src, 8);
VGPU_OFFSET(vgpu_cmd_copy_d2d, bytes, 16);

VGPU_SIZE(vgpu_cmd_memset, 48);
VGPU_OFFSET(vgpu_cmd_memset, dev_addr, 0);
VGPU_OFFSET(vgpu_cmd_memset, count, 8);
VGPU_OFFSET(vgpu_cmd_memset, value, 16);
VGPU_OFFSET(vgpu_cmd_memset, width, 20);

VGPU_SIZE(vgpu_cmd_module_load, 48);
VGPU_OFFSET(vgpu_cmd_module_load, image_off, 0);
VGPU_OFFSET(vgpu_cmd_module_load, image_bytes, 8);
VGPU_OFFSET(vgpu_cmd_module_load, log_off, 16);
VGPU_OFFSET(vgpu_cmd_module_load, image_buf, 24);
VGPU_OFFSET(vgpu_cmd_module_load, log_buf, 28);
VGPU_OFFSET(vgpu_cmd_module_load, log_bytes, 32);

VGPU_SIZE(vgpu_cmd_module_unload, 48);
VGPU_OFFSET(vgpu_cmd_module_unload, module, 0);

VGPU_SIZE(vgpu_cmd_lookup, 48);
VGPU_OFFSET(vgpu_cmd_lookup, name_off, 0);
VGPU_OFFSET(vgpu_cmd_lookup, out_off, 8);
VGPU_OFFSET(vgpu_cmd_lookup, module, 16);
VGPU_OFFSET(vgpu_cmd_lookup, name_buf, 20);
VGPU_OFFSET(vgpu_cmd_lookup, name_bytes, 24);
VGPU_OFFSET(vgpu_cmd_lookup, out_buf, 28);
VGPU_OFFSET(vgpu_cmd_lookup, out_bytes, 32);

VGPU_SIZE(vgpu_cmd_launch, 48);
VGPU_OFFSET(vgpu_cmd_launch, function, 0);
VGPU_OFFSET(vgpu_cmd_launch, grid, 4);
VGPU_OFFSET(vgpu_cmd_launch, block, 16);
VGPU_OFFSET(vgpu_cmd_launch, param_bytes, 22);
VGPU_OFFSET(vgpu_cmd_launch, param_off, 24);
VGPU_OFFSET(vgpu_cmd_launch, shared_bytes, 28);

VGPU_SIZE(vgpu_cmd_output_read, 48);
VGPU_OFFSET(vgpu_cmd_output_read, out_off, 0);
VGPU_OFFSET(vgpu_cmd_output_read, out_bytes, 8);
VGPU_OFFSET(vgpu_cmd_output_read, out_buf, 12);

VGPU_SIZE(vgpu_cmd_stream_create, 48);
VGPU_OFFSET(vgpu_cmd_stream_create, priority, 0);

VGPU_SIZE(vgpu_cmd_stream, 48);
VGPU_OFFSET(vgpu_cmd_stream, id, 0);

VGPU_SIZE(vgpu_cmd_event, 48);
VGPU_OFFSET(vgpu_cmd_event, id, 0);

VGPU_SIZE(vgpu_sqe, 64);
VGPU_OFFSET(vgpu_sqe, opcode, 0);
VGPU_OFFSET(vgpu_sqe, flags, 2);
VGPU_OFFSET(vgpu_sqe, stream, 4);
VGPU_OFFSET(vgpu_sqe, cookie, 8);
VGPU_OFFSET(vgpu_sqe, u, 16);

VGPU_SIZE(vgpu_mem_info, 32);
VGPU_OFFSET(vgpu_mem_info, limit_bytes, 0);
VGPU_OFFSET(vgpu_mem_info, held_bytes, 8);
VGPU_OFFSET(vgpu_mem_info, ctx_bytes, 16);

VGPU_SIZE(vgpu_param_info, 8);
VGPU_OFFSET(vgpu_param_info, offset, 0);
VGPU_OFFSET(vgpu_param_info, bytes, 4);

VGPU_SIZE(vgpu_func_info, 64);
VGPU_OFFSET(vgpu_func_info, param_count, 0);
VGPU_OFFSET(vgpu_func_info, param_bytes, 4);
VGPU_OFFSET(vgpu_func_info, max_threads, 8);
VGPU_OFFSET(vgpu_func_info, static_shared_bytes, 12);
VGPU_OFFSET(vgpu_func_info, max_dynamic_shared_bytes, 16);
VGPU_OFFSET(vgpu_func_info, local_bytes, 20);
VGPU_OFFSET(vgpu_func_info, const_bytes, 24);
VGPU_OFFSET(vgpu_func_info, regs, 28);
VGPU_OFFSET(vgpu_func_info, ptx_version, 32);
VGPU_OFFSET(vgpu_func_info, binary_version, 36);
VGPU_OFFSET(vgpu_func_info, flags, 40);

VGPU_SIZE(vgpu_global_info, 16);
VGPU_OFFSET(vgpu_global_info, addr, 0);
VGPU_OFFSET(vgpu_global_info, bytes, 8);

VGPU_SIZE(vgpu_sg_entry, 16);
VGPU_OFFSET(vgpu_sg_entry, addr, 0);
VGPU_OFFSET(vgpu_sg_entry, bytes, 8);

VGPU_SIZE(vgpu_sg_page, 4096);
VGPU_OFFSET(vgpu_sg_page, next, 0);
VGPU_OFFSET(vgpu_sg_page, count, 8);
VGPU_OFFSET(vgpu_sg_page, sg, 16);

VGPU_SIZE(vgpu_admin_ctx_create, 48);
VGPU_OFFSET(vgpu_admin_ctx_create, queue_addr, 0);
VGPU_OFFSET(vgpu_admin_ctx_create, arena_addr, 8);
VGPU_OFFSET(vgpu_admin_ctx_create, ctx, 16);
VGPU_OFFSET(vgpu_admin_ctx_create, arena_bytes, 20);
VGPU_OFFSET(vgpu_admin_ctx_create, vector, 24);
VGPU_OFFSET(vgpu_admin_ctx_create, sq_log2, 26);
VGPU_OFFSET(vgpu_admin_ctx_create, cq_log2, 27);

VGPU_SIZE(vgpu_admin_ctx, 48);
VGPU_OFFSET(vgpu_admin_ctx, ctx, 0);

VGPU_SIZE(vgpu_admin_buf_register, 48);
VGPU_OFFSET(vgpu_admin_buf_register, sg_addr, 0);
VGPU_OFFSET(vgpu_admin_buf_register, bytes, 8);
VGPU_OFFSET(vgpu_admin_buf_register, ctx, 16);
VGPU_OFFSET(vgpu_admin_buf_register, buf, 20);
VGPU_OFFSET(vgpu_admin_buf_register, flags, 24);
VGPU_OFFSET(vgpu_admin_buf_register, sg_count, 28);

VGPU_SIZE(vgpu_admin_buf_unregister, 48);
VGPU_OFFSET(vgpu_admin_buf_unregister, ctx, 0);
VGPU_OFFSET(vgpu_admin_buf_unregister, buf, 4);

VGPU_SIZE(vgpu_admin_query, 48);
VGPU_OFFSET(vgpu_admin_query, out_addr, 0);
VGPU_OFFSET(vgpu_admin_query, out_bytes, 8);
VGPU_OFFSET(vgpu_admin_query, what, 12);
VGPU_OFFSET(vgpu_admin_query, ctx, 16);

VGPU_SIZE(vgpu_admin_sqe, 64);
VGPU_OFFSET(vgpu_admin_sqe, opcode, 0);
VGPU_OFFSET(vgpu_admin_sqe, flags, 2);
VGPU_OFFSET(vgpu_admin_sqe, cookie, 8);
VGPU_OFFSET(vgpu_admin_sqe, u, 16);

VGPU_SIZE(vgpu_device_props, 256);
VGPU_OFFSET(vgpu_device_props, name, 0);
VGPU_OFFSET(vgpu_device_props, memory_bytes, 64);
VGPU_OFFSET(vgpu_device_props, exec_kind, 72);
VGPU_OFFSET(vgpu_device_props, compute_major, 76);
VGPU_OFFSET(vgpu_device_props, compute_minor, 80);
VGPU_OFFSET(vgpu_device_props, multiprocessors, 84);
VGPU_OFFSET(vgpu_device_props, warp_size, 88);
VGPU_OFFSET(vgpu_device_props, max_threads_per_block, 92);
VGPU_OFFSET(vgpu_device_props, max_block, 96);
VGPU_OFFSET(vgpu_device_props, max_grid, 108);
VGPU_OFFSET(vgpu_device_props, max_shared_per_block, 120);
VGPU_OFFSET(vgpu_device_props, max_ptx_version, 124);
VGPU_OFFSET(vgpu_device_props, clock_khz, 128);
VGPU_OFFSET(vgpu_device_props, driver_version, 132);
VGPU_OFFSET(vgpu_device_props, uuid, 136);
VGPU_OFFSET(vgpu_device_props, deadline_ms, 152);

VGPU_SIZE(vgpu_ctx_status, 256);
VGPU_OFFSET(vgpu_ctx_status, state, 0);
VGPU_OFFSET(vgpu_ctx_status, status, 4);
VGPU_OFFSET(vgpu_ctx_status, fault_addr, 8);
VGPU_OFFSET(vgpu_ctx_status, generation, 16);
VGPU_OFFSET(vgpu_ctx_status, message, 24);

/* ---- ioctls (spec 13) ---- */

VGPU_SIZE(vgpu_info, 224);
VGPU_OFFSET(vgpu_info, size, 0);
VGPU_OFFSET(vgpu_info, uapi_version, 4);
VGPU_OFFSET(vgpu_info, abi_version, 8);
VGPU_OFFSET(vgpu_info, generation, 12);
VGPU_OFFSET(vgpu_info, exec_kind, 16);
VGPU_OFFSET(vgpu_info, flags, 20);
VGPU_OFFSET(vgpu_info, state, 24);
VGPU_OFFSET(vgpu_info, max_contexts, 28);
VGPU_OFFSET(vgpu_info, min_ring_log2, 32);
VGPU_OFFSET(vgpu_info, max_ring_log2, 36);
VGPU_OFFSET(vgpu_info, max_buffers, 40);
VGPU_OFFSET(vgpu_info, max_param_bytes, 44);
VGPU_OFFSET(vgpu_info, max_buffer_bytes, 48);
VGPU_OFFSET(vgpu_info, max_image_bytes, 56);
VGPU_OFFSET(vgpu_info, max_arena_bytes, 64);
VGPU_OFFSET(vgpu_info, admin_timeout_ms, 68);
VGPU_OFFSET(vgpu_info, name, 72);
VGPU_OFFSET(vgpu_info, memory_bytes, 136);
VGPU_OFFSET(vgpu_info, compute_major, 144);
VGPU_OFFSET(vgpu_info, compute_minor, 148);
VGPU_OFFSET(vgpu_info, multiprocessors, 152);
VGPU_OFFSET(vgpu_info, warp_size, 156);
VGPU_OFFSET(vgpu_info, max_threads_per_block, 160);
VGPU_OFFSET(vgpu_info, max_block, 164);
VGPU_OFFSET(vgpu_info, max_grid, 176);
VGPU_OFFSET(vgpu_info, max_shared_per_block, 188);
VGPU_OFFSET(vgpu_info, max_ptx_version, 192);
VGPU_OFFSET(vgpu_info, clock_khz, 196);
VGPU_OFFSET(vgpu_info, driver_version, 200);
VGPU_OFFSET(vgpu_info, deadline_ms, 204);
VGPU_OFFSET(vgpu_info, uuid, 208);

VGPU_SIZE(vgpu_queue_setup, 64);
VGPU_OFFSET(vgpu_queue_setup, sq_log2, 0);
VGPU_OFFSET(vgpu_queue_setup, cq_log2, 4);
VGPU_OFFSET(vgpu_queue_setup, flags, 8);
VGPU_OFFSET(vgpu_queue_setup, arena_bytes, 12);
VGPU_OFFSET(vgpu_queue_setup, ctx, 16);
VGPU_OFFSET(vgpu_queue_setup, generation, 20);
VGPU_OFFSET(vgpu_queue_setup, ro_off, 24);
VGPU_OFFSET(vgpu_queue_setup, rw_off, 32);
VGPU_OFFSET(vgpu_queue_setup, doorbell_off, 40);
VGPU_OFFSET(vgpu_queue_setup, arena_off, 48);
VGPU_OFFSET(vgpu_queue_setup, ro_bytes, 56);
VGPU_OFFSET(vgpu_queue_setup, rw_bytes, 60);

VGPU_SIZE(vgpu_buf_register, 32);
VGPU_OFFSET(vgpu_buf_register, addr, 0);
VGPU_OFFSET(vgpu_buf_register, bytes, 8);
VGPU_OFFSET(vgpu_buf_register, flags, 16);
VGPU_OFFSET(vgpu_buf_register, buf, 20);
VGPU_OFFSET(vgpu_buf_register, result, 24);

VGPU_SIZE(vgpu_buf_alloc, 24);
VGPU_OFFSET(vgpu_buf_alloc, bytes, 0);
VGPU_OFFSET(vgpu_buf_alloc, mmap_off, 8);
VGPU_OFFSET(vgpu_buf_alloc, buf, 16);
VGPU_OFFSET(vgpu_buf_alloc, flags, 20);

VGPU_SIZE(vgpu_buf_unregister, 8);
VGPU_OFFSET(vgpu_buf_unregister, buf, 0);

VGPU_SIZE(vgpu_submit, 16);
VGPU_OFFSET(vgpu_submit, entries, 0);
VGPU_OFFSET(vgpu_submit, count, 8);

VGPU_SIZE(vgpu_reap, 16);
VGPU_OFFSET(vgpu_reap, entries, 0);
VGPU_OFFSET(vgpu_reap, count, 8);

VGPU_SIZE(vgpu_wait, 16);
VGPU_OFFSET(vgpu_wait, timeout_ns, 0);
VGPU_OFFSET(vgpu_wait, cq_idx, 8);
VGPU_OFFSET(vgpu_wait, cq_prod, 12);

VGPU_SIZE(vgpu_status_query, 256);
VGPU_OFFSET(vgpu_status_query, state, 0);
VGPU_OFFSET(vgpu_status_query, status, 4);
VGPU_OFFSET(vgpu_status_query, fault_addr, 8);
VGPU_OFFSET(vgpu_status_query, generation, 16);
VGPU_OFFSET(vgpu_status_query, device_generation, 20);
VGPU_OFFSET(vgpu_status_query, message, 24);

VGPU_SIZE(vgpu_set_eventfd, 8);
VGPU_OFFSET(vgpu_set_eventfd, fd, 0);

#endif /* VGPU_LAYOUT_H */
