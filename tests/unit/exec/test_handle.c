// SPDX-License-Identifier: MIT
/*
 * Handle tables: a handle names its object and nothing else, whatever number a guest makes up or
 * keeps from before.
 */
#include "suites.h"

#include <exec/handle.h>

START_TEST(handle_names_its_object_until_removed)
{
    struct vgpu_handles h;
    int a, b;
    uint32_t ha, hb;

    vgpu_handles_init(&h, 100);
    ha = vgpu_handles_add(&h, &a);
    hb = vgpu_handles_add(&h, &b);
    ck_assert_uint_ne(ha, 0);
    ck_assert_uint_ne(ha, hb);
    ck_assert_ptr_eq(vgpu_handles_get(&h, ha), &a);
    ck_assert_ptr_eq(vgpu_handles_remove(&h, ha), &a);
    ck_assert_ptr_eq(vgpu_handles_get(&h, ha), NULL);
    ck_assert_ptr_eq(vgpu_handles_remove(&h, ha), NULL);
    ck_assert_ptr_eq(vgpu_handles_get(&h, hb), &b);
    vgpu_handles_fini(&h);
}
END_TEST

START_TEST(old_handle_does_not_name_the_slots_next_object)
{
    struct vgpu_handles h;
    int a, b;
    uint32_t ha, hb;

    vgpu_handles_init(&h, 1);
    ha = vgpu_handles_add(&h, &a);
    vgpu_handles_remove(&h, ha);
    hb = vgpu_handles_add(&h, &b);
    ck_assert_uint_ne(ha, hb);
    ck_assert_ptr_eq(vgpu_handles_get(&h, ha), NULL);
    ck_assert_ptr_eq(vgpu_handles_get(&h, hb), &b);
    vgpu_handles_fini(&h);
}
END_TEST

START_TEST(limit_holds_and_removing_makes_room)
{
    struct vgpu_handles h;
    uint32_t handles[VGPU_HANDLES_MAX];
    int a;

    vgpu_handles_init(&h, VGPU_HANDLES_MAX + 5);
    for (uint32_t i = 0; i < VGPU_HANDLES_MAX; i++) {
        handles[i] = vgpu_handles_add(&h, &a);
        ck_assert_uint_ne(handles[i], 0);
    }
    ck_assert_uint_eq(vgpu_handles_add(&h, &a), 0);
    for (uint32_t i = 0; i < VGPU_HANDLES_MAX; i += 2)
        ck_assert_ptr_eq(vgpu_handles_remove(&h, handles[i]), &a);
    for (uint32_t i = 0; i < VGPU_HANDLES_MAX; i += 2)
        ck_assert_uint_ne(vgpu_handles_add(&h, &a), 0);
    ck_assert_uint_eq(vgpu_handles_add(&h, &a), 0);
    ck_assert_uint_eq(h.live, VGPU_HANDLES_MAX);
    vgpu_handles_fini(&h);
}
END_TEST

START_TEST(made_up_handles_name_nothing)
{
    static const uint32_t made_up[] = {0, 2, 17, 0xffff, 0x10000, 0x10001, 0xffffffff};
    struct vgpu_handles h;
    int a;

    vgpu_handles_init(&h, 100);
    ck_assert_ptr_eq(vgpu_handles_get(&h, 1), NULL);
    ck_assert_uint_eq(vgpu_handles_add(&h, &a), 1);
    for (size_t i = 0; i < sizeof(made_up) / sizeof(made_up[0]); i++) {
        ck_assert_ptr_eq(vgpu_handles_get(&h, made_up[i]), NULL);
        ck_assert_ptr_eq(vgpu_handles_remove(&h, made_up[i]), NULL);
    }
    vgpu_handles_fini(&h);
}
END_TEST

START_TEST(any_walks_the_table_empty)
{
    struct vgpu_handles h;
    uint32_t handle, n = 0;
    int a;

    vgpu_handles_init(&h, 100);
    for (int i = 0; i < 40; i++)
        (void)vgpu_handles_add(&h, &a);
    while (vgpu_handles_any(&h, &handle)) {
        ck_assert_ptr_eq(vgpu_handles_remove(&h, handle), &a);
        n++;
    }
    ck_assert_uint_eq(n, 40);
    vgpu_handles_fini(&h);
}
END_TEST

Suite *handle_suite(void)
{
    Suite *s = suite_create("handle");
    TCase *tc = tcase_create("handle");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, handle_names_its_object_until_removed);
    tcase_add_test(tc, old_handle_does_not_name_the_slots_next_object);
    tcase_add_test(tc, limit_holds_and_removing_makes_room);
    tcase_add_test(tc, made_up_handles_name_nothing);
    tcase_add_test(tc, any_walks_the_table_empty);
    suite_add_tcase(s, tc);
    return s;
}
