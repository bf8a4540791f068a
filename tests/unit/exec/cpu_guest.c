// SPDX-License-Identifier: MIT
/*
 * A program in a guest of the cpu executor; see cpu_guest.h.
 */
#include "cpu_guest.h"

#include <check.h>
#include <string.h>

const char vecadd_ptx[] = PTX_HEADER
    ".global .align 4 .u32 counter = 41;\n"
    ".visible .entry vecadd(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {\n"
    "  .reg .pred %p; .reg .b32 %r<8>; .reg .b64 %d<8>; .reg .f32 %f<4>;\n"
    "  ld.param.u64 %d0, [a];\n"
    "  ld.param.u64 %d1, [b];\n"
    "  ld.param.u64 %d2, [c];\n"
    "  ld.param.u32 %r0, [n];\n"
    "  mov.u32 %r1, %ctaid.x;\n"
    "  mov.u32 %r2, %ntid.x;\n"
    "  mov.u32 %r3, %tid.x;\n"
    "  mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "  setp.ge.u32 %p, %r4, %r0;\n"
    "  @%p bra done;\n"
    "  mul.wide.u32 %d3, %r4, 4;\n"
    "  add.s64 %d4, %d0, %d3;\n"
    "  add.s64 %d5, %d1, %d3;\n"
    "  add.s64 %d6, %d2, %d3;\n"
    "  ld.global.f32 %f0, [%d4];\n"
    "  ld.global.f32 %f1, [%d5];\n"
    "  add.f32 %f2, %f0, %f1;\n"
    "  st.global.f32 [%d6], %f2;\n"
    "done:\n"
    "  ret;\n"
    "}\n";

void cg_start(struct fake_vm *vm, const struct fake_vm_config *extra)
{
    struct fake_vm_config cfg = extra ? *extra : (struct fake_vm_config){0};

    cfg.exec_kind = CG_EXEC_KIND;
    cfg.threads = 2;
    ck_assert_uint_eq(fake_vm_start(vm, &cfg), VGPU_ST_OK);
}

uint64_t cg_ok(struct fake_vm *vm, struct vgpu_sqe sqe)
{
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == VGPU_ST_OK, "opcode 0x%x: status 0x%x", sqe.opcode, cqe.status);
    return cqe.result;
}

void cg_refused(struct fake_vm *vm, struct vgpu_sqe sqe, uint16_t status)
{
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == status, "opcode 0x%x: status 0x%x, not 0x%x", sqe.opcode,
                  cqe.status, status);
}

uint64_t cg_alloc(struct fake_vm *vm, uint64_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);

    sqe.u.mem_alloc.bytes = bytes;
    return cg_ok(vm, sqe);
}

void cg_free(struct fake_vm *vm, uint64_t addr)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_FREE, 0, 1);

    sqe.u.mem_free.addr = addr;
    (void)cg_ok(vm, sqe);
}

struct vgpu_sqe cg_copy(uint16_t opcode, uint32_t stream, uint64_t cookie, uint64_t addr,
                        uint32_t buf, uint64_t off, uint64_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(opcode, stream, cookie);

    sqe.u.copy =
        (struct vgpu_cmd_copy){.dev_addr = addr, .buf = buf, .buf_off = off, .bytes = bytes};
    return sqe;
}

struct vgpu_sqe cg_load_sqe(struct fake_vm *vm, const char *ptx)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MODULE_LOAD, 0, 1);

    ck_assert_uint_lt(strlen(ptx), LOG_OFF - IMAGE_OFF);
    memcpy(vm->arena + IMAGE_OFF, ptx, strlen(ptx));
    sqe.u.module_load = (struct vgpu_cmd_module_load){.image_off = IMAGE_OFF,
                                                      .image_bytes = strlen(ptx),
                                                      .log_off = LOG_OFF,
                                                      .log_bytes = LOG_BYTES};
    return sqe;
}

uint32_t cg_load(struct fake_vm *vm, const char *ptx)
{
    struct vgpu_sqe sqe = cg_load_sqe(vm, ptx);
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == VGPU_ST_OK, "0x%x: %s", cqe.status, vm->arena + LOG_OFF);
    return (uint32_t)cqe.result;
}

struct vgpu_sqe cg_lookup_sqe(struct fake_vm *vm, uint16_t opcode, uint32_t module,
                              const char *name, uint32_t out_bytes)
{
    struct vgpu_sqe sqe = sqe_make(opcode, 0, 1);

    memcpy(vm->arena, name, strlen(name));
    sqe.u.lookup = (struct vgpu_cmd_lookup){.module = module,
                                            .name_bytes = (uint32_t)strlen(name),
                                            .out_off = INFO_OFF,
                                            .out_bytes = out_bytes};
    return sqe;
}

uint32_t cg_lookup(struct fake_vm *vm, uint32_t module, const char *name)
{
    return (uint32_t)cg_ok(vm, cg_lookup_sqe(vm, VGPU_CMD_FUNC_LOOKUP, module, name, 512));
}

struct vgpu_sqe cg_launch(struct fake_vm *vm, uint32_t stream, uint64_t cookie, uint32_t function,
                          uint32_t grid, uint16_t block, const void *params, uint16_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_LAUNCH, stream, cookie);

    memcpy(vm->arena + 1024, params, bytes);
    sqe.u.launch = (struct vgpu_cmd_launch){.function = function,
                                            .grid = {grid, 1, 1},
                                            .block = {block, 1, 1},
                                            .param_off = 1024,
                                            .param_bytes = bytes};
    return sqe;
}

uint32_t cg_stream(struct fake_vm *vm)
{
    return (uint32_t)cg_ok(vm, sqe_make(VGPU_CMD_STREAM_CREATE, 0, 1));
}

uint32_t cg_event(struct fake_vm *vm)
{
    return (uint32_t)cg_ok(vm, sqe_make(VGPU_CMD_EVENT_CREATE, 0, 1));
}

struct vgpu_sqe cg_event_sqe(uint16_t opcode, uint32_t stream, uint64_t cookie, uint32_t event)
{
    struct vgpu_sqe sqe = sqe_make(opcode, stream, cookie);

    sqe.u.event.id = event;
    return sqe;
}
