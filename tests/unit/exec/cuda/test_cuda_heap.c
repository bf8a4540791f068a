// SPDX-License-Identifier: MIT
/*
 * The heap for malloc in kernels: counted with the first module that uses it, if CUDA loads that module.
 */
#include "../cpu_guest.h"
#include "cuda_suites.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MIB  (1ull << 20)
#define HEAP (8 * MIB)
#define PAGE (2 * MIB) /* what a module and other small things share */

#define MALLOC ".extern .func (.param .b64 r) malloc(.param .b64 n);\n"

static const char uses_heap[] = PTX_HEADER MALLOC ".visible .entry none() { ret; }\n";
static const char broken[] = PTX_HEADER MALLOC ".visible .entry none() { no_such_thing; }\n";

static struct fake_vm vm;

static void unload(uint32_t module)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);

    sqe.u.module_unload.module = module;
    (void)cg_ok(&vm, sqe);
}

START_TEST(a_module_that_is_refused_has_no_heap)
{
    cg_start(&vm, NULL);
    for (int i = 0; i < 3; i++) {
        cg_refused(&vm, cg_load_sqe(&vm, broken), VGPU_ST_BAD_PTX);
        ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    }
    for (int i = 0; i < 3; i++) {
        uint32_t module = cg_load(&vm, uses_heap);

        ck_assert_uint_eq(fake_vm_quota(&vm), HEAP + PAGE);
        unload(module);
        ck_assert_uint_eq(fake_vm_quota(&vm), HEAP);
        /* That it was made for another module makes it no less there. */
        cg_refused(&vm, cg_load_sqe(&vm, broken), VGPU_ST_BAD_PTX);
        ck_assert_uint_eq(fake_vm_quota(&vm), HEAP);
    }
    fake_vm_stop(&vm);
}
END_TEST

/* The quota has room, the GPU has not. */
START_TEST(a_heap_that_does_not_fit_is_out_of_memory)
{
    uint64_t addr;

    setenv("VGPU_FAKECUDA_MEMORY", "12582912", 1);
    cg_start(&vm, NULL);
    addr = cg_alloc(&vm, 4 * MIB);
    cg_refused(&vm, cg_load_sqe(&vm, uses_heap), VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), 4 * MIB);
    cg_free(&vm, addr);
    unload(cg_load(&vm, uses_heap));
    ck_assert_uint_eq(fake_vm_quota(&vm), HEAP);
    /* Then it is full indeed, however much the quota has. */
    cg_refused(&vm, (struct vgpu_sqe){.opcode = VGPU_CMD_MEM_ALLOC, .u.mem_alloc.bytes = 4 * MIB},
               VGPU_ST_OUT_OF_MEMORY);
    fake_vm_stop(&vm);
}
END_TEST

Suite *cuda_heap_suite(void)
{
    Suite *s = suite_create("cuda heap");
    TCase *tc = tcase_create("heap");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_module_that_is_refused_has_no_heap);
    tcase_add_test(tc, a_heap_that_does_not_fit_is_out_of_memory);
    suite_add_tcase(s, tc);
    return s;
}
