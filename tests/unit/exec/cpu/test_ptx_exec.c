/* SPDX-License-Identifier: MIT */
/*
 * How the PTX machine executes: divergence, barriers, calls, atomics between threads, waiting, printing, and how
 * each kind of fault is reported. One instruction's arithmetic is tests/conformance's business.
 */
#include "ptx_run.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HEAD ".version 8.0\n.target sm_90\n.address_size 64\n"
#define TID                                                                                        \
    ".reg .b32 %c, %b, %t, %i; mov.u32 %c, %ctaid.x; mov.u32 %b, %ntid.x; mov.u32 %t, %tid.x; "    \
    "mad.lo.u32 %i, %c, %b, %t;\n"
#define OUT ".reg .b64 %o, %p; ld.param.u64 %o, [out]; mad.wide.u32 %p, %i, 4, %o;\n"

static struct vgpu_ptx_machine *machine;

static void setup(void)
{
    machine = ptx_test_machine(1, VGPU_PTX_CPU_AUTO);
}

static void teardown(void)
{
    vgpu_ptx_machine_destroy(machine);
}

/* Runs kernel k(out) and returns its words. */
static uint32_t *run_words(const char *text, uint32_t blocks, uint32_t threads, uint32_t words)
{
    void *host;
    uint64_t out = ptx_test_alloc(machine, words * 4, &host);
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result r =
        ptx_test_launch(machine, ptx_test_function(module, "k"), blocks, threads, &out, 1);

    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    vgpu_ptx_module_unload(module);
    return host;
}

static struct ptx_run_result run_fault(const char *text, uint32_t blocks, uint32_t threads,
                                       enum vgpu_ptx_fault_kind kind, const char *says)
{
    void *host;
    uint64_t out = ptx_test_alloc(machine, 4096, &host);
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result r =
        ptx_test_launch(machine, ptx_test_function(module, "k"), blocks, threads, &out, 1);

    ck_assert_int_ne(r.status, VGPU_PTX_OK);
    ck_assert_msg(r.fault.kind == kind, "kind %d: %s", (int)r.fault.kind, r.fault.text);
    ck_assert_msg(strstr(r.fault.text, says) != NULL, "'%s' is not in '%s'", says, r.fault.text);
    ck_assert_str_eq(r.fault.kernel, "k");
    vgpu_ptx_module_unload(module);
    return r;
}

/* Each thread iterates tid times through a loop with two ways, then all meet. */
static const char divergent[] = HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
                                     ".reg .b32 %n, %s, %m; .reg .pred %q, %r;\n"
                                     "mov.u32 %n, 0; mov.u32 %s, 0;\n"
                                     "loop: setp.ge.u32 %q, %n, %t; @%q bra done;\n"
                                     "and.b32 %m, %n, 1; setp.eq.u32 %r, %m, 0; @%r bra even;\n"
                                     "mad.lo.u32 %s, %n, 3, %s; bra next;\n"
                                     "even: sub.u32 %s, %s, %n;\n"
                                     "next: add.u32 %n, %n, 1; bra loop;\n"
                                     "done: st.global.u32 [%p], %s; ret; }\n";

START_TEST(diverging_loops_give_each_lane_its_own_result)
{
    uint32_t *got = run_words(divergent, 2, 70, 140);

    for (uint32_t k = 0; k < 140; k++) {
        uint32_t sum = 0;

        for (uint32_t n = 0; n < k % 70; n++)
            sum = n & 1 ? sum + 3 * n : sum - n;
        ck_assert_uint_eq(got[k], sum);
    }
}
END_TEST

START_TEST(lanes_reconverge_after_a_branch)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT ".reg .b32 %m, %x; .reg .pred %q;\n"
             "setp.lt.u32 %q, %t, 7; @%q bra less;\n"
             "mov.u32 %x, 1; bra join;\nless: mov.u32 %x, 2;\n"
             "join: activemask.b32 %m; st.global.u32 [%p], %m; ret; }\n";
    uint32_t *got = run_words(text, 1, 32, 32);

    for (int k = 0; k < 32; k++)
        ck_assert_uint_eq(got[k], 0xffffffffu);
}
END_TEST

START_TEST(barrier_orders_shared_memory_between_warps)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID OUT
        ".shared .align 4 .b8 s[1024]; .reg .b32 %a, %v, %r;\n"
        "mov.u32 %a, s; mad.lo.u32 %a, %t, 4, %a; st.shared.u32 [%a], %t; bar.sync 0;\n"
        "sub.u32 %r, 255, %t; mov.u32 %a, s; mad.lo.u32 %a, %r, 4, %a; ld.shared.u32 %v, [%a];\n"
        "st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 256, 256);

    for (uint32_t k = 0; k < 256; k++)
        ck_assert_uint_eq(got[k], 255 - k);
}
END_TEST

START_TEST(exited_threads_count_as_arrived)
{
    static const char text[] = HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
                                    ".reg .pred %q;\nsetp.lt.u32 %q, %t, 33; @%q exit;\nbar.sync "
                                    "0;\nst.global.u32 [%p], 7;\nret; }\n";
    uint32_t *got = run_words(text, 1, 100, 100);

    for (uint32_t k = 0; k < 100; k++)
        ck_assert_uint_eq(got[k], k < 33 ? 0 : 7);
}
END_TEST

START_TEST(bar_red_combines_over_the_block)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID OUT
        ".reg .b32 %n, %x, %y, %m; .reg .pred %q, %any, %all;\n"
        "and.b32 %m, %t, 3; setp.eq.u32 %q, %m, 1;\n"
        "bar.red.popc.u32 %n, 1, %q; bar.red.or.pred %any, 1, %q; bar.red.and.pred %all, 1, %q;\n"
        "selp.u32 %x, 1000, 0, %any; selp.u32 %y, 2000, 0, %all; add.u32 %n, %n, %x; add.u32 %n, "
        "%n, %y;\n"
        "st.global.u32 [%p], %n; ret; }\n";
    uint32_t *got = run_words(text, 1, 96, 96);

    for (uint32_t k = 0; k < 96; k++)
        ck_assert_uint_eq(got[k], 24 + 1000);
}
END_TEST

START_TEST(named_barriers_pair_producers_and_consumers)
{
    /* warp 0 produces and only arrives, warp 1 waits */
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
             ".shared .align 4 .b8 s[128]; .reg .b32 %a, %v; .reg .pred %q;\n"
             "and.b32 %a, %t, 31; shl.b32 %a, %a, 2; setp.ge.u32 %q, %t, 32; @%q bra consume;\n"
             "add.u32 %v, %t, 100; st.shared.u32 [%a], %v; bar.arrive 3, 64; ret;\n"
             "consume: bar.sync 3, 64; ld.shared.u32 %v, [%a]; st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 64, 64);

    for (uint32_t k = 0; k < 32; k++)
        ck_assert_uint_eq(got[32 + k], 100 + k);
}
END_TEST

START_TEST(a_barrier_that_nobody_can_complete_is_a_deadlock)
{
    struct ptx_run_result r =
        run_fault(HEAD ".visible .entry k(.param .u64 out) {\n" TID
                       ".reg .pred %q;\nsetp.lt.u32 %q, %t, 32;\n@%q bra one;\n"
                       "bar.sync 1;\nret;\none:\nbar.sync 2;\nret; }\n",
                  1, 64, VGPU_PTX_FAULT_DEADLOCK, "deadlock");

    ck_assert_uint_ge(r.fault.line, 9);
    ck_assert_int_eq(r.status, VGPU_PTX_FAULT);
}
END_TEST

START_TEST(a_lock_between_lanes_of_a_warp_makes_progress)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID
        ".reg .b64 %o; ld.param.u64 %o, [out]; .reg .b32 %old, %v; .reg .pred %q;\n"
        "spin: atom.global.cas.b32 %old, [%o], 0, 1; setp.ne.u32 %q, %old, 0; @%q bra spin;\n"
        "ld.volatile.global.u32 %v, [%o+4]; add.u32 %v, %v, 1; st.volatile.global.u32 [%o+4], %v;\n"
        "membar.gl; atom.global.exch.b32 %old, [%o], 0; ret; }\n";
    uint32_t *got = run_words(text, 2, 64, 2);

    ck_assert_uint_eq(got[0], 0);
    ck_assert_uint_eq(got[1], 128);
}
END_TEST

/*
 * Lanes 0 and 1 wait for what lane 2 writes, lane 0 asleep in the deepest frame, lane 1 with a call each time
 * round; the lane that is chosen and the next one are always two that wait.
 */
START_TEST(lanes_that_wait_in_several_places_let_the_others_run)
{
    static const char text[] = HEAD
        ".func (.param .b32 r) wait(.param .b64 at) { .reg .b64 %a; .reg .b32 %v; .reg .pred %q;\n"
        "ld.param.b64 %a, [at]; again: ld.volatile.u32 %v, [%a]; setp.eq.u32 %q, %v, 0;\n"
        "nanosleep.u32 1; @%q bra again; st.param.b32 [r], %v; ret; }\n"
        ".func (.param .b32 r) deeper(.param .b64 at) { .reg .b64 %a; .reg .b32 %v;\n"
        "ld.param.b64 %a, [at]; call.uni (%v), wait, (%a); st.param.b32 [r], %v; ret; }\n"
        ".func (.param .b32 r) next(.param .b32 v) { .reg .b32 %v; ld.param.b32 %v, [v];\n"
        "add.u32 %v, %v, 1; st.param.b32 [r], %v; ret; }\n"
        ".visible .entry k(.param .u64 out) {\n" TID OUT ".reg .b32 %v, %w; .reg .pred %q, %z;\n"
        "mov.u32 %v, 0; mov.u32 %w, 0;\n"
        "setp.eq.u32 %q, %t, 0; @%q bra first; setp.eq.u32 %q, %t, 1; @%q bra second; bra work;\n"
        "first: call.uni (%v), deeper, (%o); bra done;\n"
        "second: call.uni (%w), next, (%w); ld.volatile.global.u32 %v, [%o];\n"
        "setp.eq.u32 %z, %v, 0; @%z bra second; add.u32 %v, %v, 1; bra done;\n"
        "work: call.uni (%v), next, (%v); setp.lt.u32 %z, %v, 500; @%z bra work;\n"
        "st.volatile.global.u32 [%o], %v; done: add.u32 %v, %v, 1; st.global.u32 [%p+64], %v; "
        "ret; }\n";
    uint32_t *got = run_words(text, 1, 3, 32);

    ck_assert_uint_eq(got[16], 501);
    ck_assert_uint_eq(got[17], 502);
    ck_assert_uint_eq(got[18], 501);
}
END_TEST

START_TEST(blocks_that_wait_for_later_blocks_finish)
{
    /* block 0 spins until the last block has stored */
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID
             ".reg .b64 %o; ld.param.u64 %o, [out]; .reg .b32 %v, %n; .reg .pred %q;\n"
             "mov.u32 %n, %nctaid.x; sub.u32 %n, %n, 1; setp.eq.u32 %q, %c, %n; @%q bra last;\n"
             "wait: ld.acquire.gpu.u32 %v, [%o]; setp.eq.u32 %q, %v, 0; @%q bra wait;\n"
             "atom.global.add.u32 %v, [%o+4], 1; ret;\n"
             "last: st.release.gpu.u32 [%o], 5; ret; }\n";
    uint32_t *got = run_words(text, 6, 32, 2);

    ck_assert_uint_eq(got[0], 5);
    ck_assert_uint_eq(got[1], 5 * 32);
}
END_TEST

START_TEST(calls_recurse_and_return_values)
{
    static const char text[] = HEAD ".func (.param .b32 r) fib(.param .b32 n) {\n"
                                    ".reg .b32 %n, %a, %b; .reg .pred %q;\nld.param.b32 %n, [n]; "
                                    "mov.b32 %a, %n; setp.lt.u32 %q, %n, 2; @%q bra end;\n"
                                    "sub.u32 %n, %n, 1;\n"
                                    "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %n; "
                                    "call.uni (y), fib, (x); ld.param.b32 %a, [y]; }\n"
                                    "sub.u32 %n, %n, 1;\n"
                                    "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %n; "
                                    "call.uni (y), fib, (x); ld.param.b32 %b, [y]; }\n"
                                    "add.u32 %a, %a, %b;\n"
                                    "end: st.param.b32 [r], %a; ret; }\n"
                                    ".visible .entry k(.param .u64 out) {\n" TID OUT
                                    ".reg .b32 %v, %m;\nrem.u32 %m, %t, 12;\n"
                                    "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %m; call "
                                    "(y), fib, (x); ld.param.b32 %v, [y]; }\n"
                                    "st.global.u32 [%p], %v; ret; }\n";
    static const uint32_t fib[12] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89};
    uint32_t *got = run_words(text, 1, 64, 64);

    for (uint32_t k = 0; k < 64; k++)
        ck_assert_uint_eq(got[k], fib[k % 12]);
}
END_TEST

START_TEST(indirect_calls_go_where_each_lane_says)
{
    static const char text[] =
        HEAD ".func (.param .b32 r) one(.param .b32 n) { .reg .b32 %n; ld.param.b32 %n, [n]; "
             "add.u32 %n, %n, 1; st.param.b32 [r], %n; ret; }\n"
             ".func (.param .b32 r) two(.param .b32 n) { .reg .b32 %n; ld.param.b32 %n, [n]; "
             "mul.lo.u32 %n, %n, 2; st.param.b32 [r], %n; ret; }\n"
             ".global .align 8 .u64 table[2] = {one, two};\n"
             ".visible .entry k(.param .u64 out) {\n" TID OUT
             ".reg .b32 %m, %v; .reg .b64 %f, %g;\nand.b32 %m, %t, 1; mov.u64 %f, table; "
             "mad.wide.u32 %f, %m, 8, %f; ld.global.u64 %g, [%f];\n"
             "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %t;\n"
             "proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
             "call (y), %g, (x), proto; ld.param.b32 %v, [y]; }\n"
             "st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 40, 40);

    for (uint32_t k = 0; k < 40; k++)
        ck_assert_uint_eq(got[k], k & 1 ? 2 * k : k + 1);
}
END_TEST

START_TEST(brx_goes_where_each_lane_says)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
             ".reg .b32 %m, %v;\nrem.u32 %m, %t, 3;\nts: .branchtargets a, b, c;\nbrx.idx %m, ts;\n"
             "a: mov.u32 %v, 10; bra end;\nb: mov.u32 %v, 20; bra end;\nc: mov.u32 %v, 30;\n"
             "end: st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 33, 33);

    for (uint32_t k = 0; k < 33; k++)
        ck_assert_uint_eq(got[k], 10 * (k % 3 + 1));
}
END_TEST

START_TEST(local_memory_is_each_threads_own)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID OUT
        ".local .align 8 .b8 depot[64]; .reg .b64 %l, %g; .reg .b32 %a, %m, %v; .reg .pred %q;\n"
        "mov.u64 %l, depot; cvta.local.u64 %g, %l; mov.u32 %a, 0;\n"
        "fill: mad.wide.u32 %p, %a, 4, %l; mad.lo.u32 %v, %a, 100, %i; st.local.u32 [%p], %v;\n"
        "add.u32 %a, %a, 1; setp.lt.u32 %q, %a, 16; @%q bra fill;\n"
        "and.b32 %m, %t, 15; mad.wide.u32 %p, %m, 4, %g; ld.u32 %v, [%p];\n"
        "mad.wide.u32 %p, %i, 4, %o; st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 2, 48, 96);

    for (uint32_t k = 0; k < 96; k++)
        ck_assert_uint_eq(got[k], (k % 48 & 15) * 100 + k);
}
END_TEST

START_TEST(shuffles_and_votes_follow_the_manual)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID
        ".reg .b64 %o, %p; ld.param.u64 %o, [out]; mad.wide.u32 %p, %t, 32, %o;\n"
        ".reg .b32 %d<8>, %x; .reg .pred %q, %r;\nadd.u32 %x, %t, 100;\n"
        "shfl.sync.up.b32 %d0|%q, %x, 3, 0, -1; selp.u32 %d1, 1, 0, %q;\n"
        "shfl.sync.down.b32 %d2, %x, 4, 0x181f, -1; shfl.sync.bfly.b32 %d3, %x, 5, 31, -1;\n"
        "shfl.sync.idx.b32 %d4, %x, 9, 0x101f, -1;\n"
        "setp.lt.u32 %r, %t, 5; vote.sync.ballot.b32 %d5, %r, -1; match.any.sync.b32 %d6, %c, -1;\n"
        "redux.sync.add.u32 %d7, %t, -1;\n"
        "st.global.v4.u32 [%p], {%d0, %d1, %d2, %d3}; st.global.v4.u32 [%p+16], {%d4, %d5, %d6, "
        "%d7}; ret; }\n";
    uint32_t *got = run_words(text, 1, 32, 256);

    for (uint32_t k = 0; k < 32; k++, got += 8) {
        ck_assert_uint_eq(got[0], k >= 3 ? 97 + k : 100 + k);
        ck_assert_uint_eq(got[1], k >= 3);
        ck_assert_uint_eq(got[2], k % 8 < 4 ? 104 + k : 100 + k);
        ck_assert_uint_eq(got[3], 100 + (k ^ 5));
        ck_assert_uint_eq(got[4], 100 + (k & 16) + 9);
        ck_assert_uint_eq(got[5], 31);
        ck_assert_uint_eq(got[6], 0xffffffffu);
        ck_assert_uint_eq(got[7], 496);
    }
}
END_TEST

/* What no GPU from sm_70 on takes: without .sync. */
START_TEST(shuffles_and_votes_without_sync_follow_the_manual)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID
        ".reg .b64 %o, %p; ld.param.u64 %o, [out]; mad.wide.u32 %p, %t, 32, %o;\n"
        ".reg .b32 %d<8>, %x; .reg .pred %q, %r;\nadd.u32 %x, %t, 100;\n"
        "shfl.up.b32 %d0|%q, %x, 3, 0; selp.u32 %d1, 1, 0, %q; shfl.idx.b32 %d2, %x, 9, 31;\n"
        "setp.lt.u32 %r, %t, 5; vote.ballot.b32 %d3, %r; vote.any.pred %q, %r; selp.u32 %d4, 1, 0, "
        "%q;\n"
        "st.global.v4.u32 [%p], {%d0, %d1, %d2, %d3}; st.global.v4.u32 [%p+16], {%d4, %d4, %d4, "
        "%d4}; ret; }\n";
    uint32_t *got = run_words(text, 1, 32, 256);

    for (uint32_t k = 0; k < 32; k++, got += 8) {
        ck_assert_uint_eq(got[0], k >= 3 ? 97 + k : 100 + k);
        ck_assert_uint_eq(got[1], k >= 3);
        ck_assert_uint_eq(got[2], 109);
        ck_assert_uint_eq(got[3], 31);
        ck_assert_uint_eq(got[4], 1);
    }
}
END_TEST

/* One instruction, executed by the whole warp, with the lower and the upper half as groups of their own. */
START_TEST(lanes_with_other_members_are_other_groups)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
             ".reg .b32 %m, %v, %w; .reg .pred %h, %q; setp.lt.u32 %h, %t, 16;\n"
             "selp.b32 %m, 0xffff, 0xffff0000, %h; mul.lo.u32 %v, %t, %t;\n"
             "redux.sync.add.u32 %w, %t, %m; st.global.u32 [%p], %w;\n"
             "redux.sync.max.u32 %m, %v, %m; st.global.u32 [%p+128], %m;\n"
             "selp.b32 %m, 0xffff, 0xffff0000, %h; and.b32 %v, %t, 3; setp.eq.u32 %q, %v, 0;\n"
             "vote.sync.ballot.b32 %w, %q, %m; st.global.u32 [%p+256], %w;\n"
             "match.any.sync.b32 %w, %v, %m; st.global.u32 [%p+384], %w;\n"
             "bar.warp.sync %m; elect.sync %w|%q, %m; st.global.u32 [%p+512], %w; ret; }\n";
    uint32_t *got = run_words(text, 1, 32, 160);

    for (uint32_t t = 0; t < 32; t++) {
        uint32_t half = t < 16 ? 0xffff : 0xffff0000u;

        ck_assert_uint_eq(got[t], t < 16 ? 120 : 376);
        ck_assert_uint_eq(got[32 + t], t < 16 ? 225 : 961);
        ck_assert_uint_eq(got[64 + t], 0x11111111 & half);
        ck_assert_uint_eq(got[96 + t], (0x11111111u << t % 4) & half);
        ck_assert_uint_eq(got[128 + t], t & 16);
    }
}
END_TEST

/*
 * Lane 0 waits for the second warp and calls later than the others, so into a frame of its own; the second warp
 * then waits for it, and is never stuck itself.
 */
START_TEST(lanes_meet_at_a_barrier_in_frames_of_their_own)
{
    static const char text[] = HEAD
        ".func (.param .b32 r) meet(.param .b32 v) { .reg .b32 %v; bar.warp.sync 0xffffffff;\n"
        "ld.param.b32 %v, [v]; st.param.b32 [r], %v; ret; }\n"
        ".func (.param .b32 r) first(.param .b32 v) { .reg .b32 %v; .reg .b64 %w; .reg .pred %p;\n"
        "ld.param.b32 %v, [v]; cvt.u64.u32 %w, %v; match.all.sync.b64 %v|%p, %w, 0xffffffff;\n"
        "ld.param.b32 %v, [v]; shfl.sync.idx.b32 %v, %v, 31, 31, 0xffffffff;\n"
        "@%p add.u32 %v, %v, 1; st.param.b32 [r], %v; ret; }\n"
        ".visible .entry k(.param .u64 out) {\n" TID OUT ".reg .b32 %v; .reg .pred %q;\n"
        "setp.ge.u32 %q, %t, 32; @%q bra second; setp.ne.u32 %q, %t, 0; @%q bra go;\n"
        "wait: ld.volatile.global.u32 %v, [%o]; setp.eq.u32 %q, %v, 0; @%q bra wait;\n"
        "go: call.uni (%v), FUNCTION, (%t); st.volatile.global.u32 [%o+4], 1; bra done;\n"
        "second: mov.u32 %v, 0; work: add.u32 %v, %v, 1; setp.lt.u32 %q, %v, 20000; @%q bra work;\n"
        "st.volatile.global.u32 [%o], 1;\n"
        "wait2: ld.volatile.global.u32 %v, [%o+4]; setp.eq.u32 %q, %v, 0; @%q bra wait2;\n"
        "mov.u32 %v, %t; done: st.global.u32 [%p+8], %v; ret; }\n";
    static const char *const functions[] = {"meet", "first"};

    for (int k = 0; k < 2; k++) {
        char full[4096];
        const char *at = strstr(text, "FUNCTION");
        uint32_t *got;

        snprintf(full, sizeof(full), "%.*s%s%s", (int)(at - text), text, functions[k], at + 8);
        got = run_words(full, 1, 64, 66);
        for (uint32_t t = 0; t < 64; t++)
            ck_assert_uint_eq(got[2 + t], k && t < 32 ? 31 : t);
    }
}
END_TEST

START_TEST(atomics_of_many_threads_add_up)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID
             ".reg .b64 %o; ld.param.u64 %o, [out]; .reg .b32 %v; .reg .f32 %f;\n"
             "red.global.add.u32 [%o], 1; atom.global.inc.u32 %v, [%o+4], 9; atom.global.max.s32 "
             "%v, [%o+8], %i;\n"
             "red.global.add.f32 [%o+12], 0f3F800000; atom.global.or.b32 %v, [%o+16], %i; ret; }\n";
    uint32_t *got;

    vgpu_ptx_machine_destroy(machine);
    machine = ptx_test_machine(4, VGPU_PTX_CPU_AUTO);
    got = run_words(text, 64, 256, 5);
    ck_assert_uint_eq(got[0], 16384);
    ck_assert_uint_eq(got[1], 16384 % 10);
    ck_assert_uint_eq(got[2], 16383);
    ck_assert_uint_eq(got[3], 0x46800000);
    ck_assert_uint_eq(got[4], 16383);
}
END_TEST

START_TEST(async_copies_and_mbarriers_complete)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID OUT
        ".shared .align 16 .b8 s[1024]; .shared .align 8 .b8 bar[8]; .reg .b32 %a, %v, %w; .reg "
        ".b64 %st; .reg .pred %q;\n"
        "setp.ne.u32 %q, %t, 0; @%q bra go; mbarrier.init.shared.b64 [bar], %b; go: bar.sync 0;\n"
        "st.global.u32 [%p], %t; mov.u32 %a, s; mad.lo.u32 %a, %t, 4, %a;\n"
        "cp.async.ca.shared.global [%a], [%p], 4; cp.async.commit_group; cp.async.wait_group 0;\n"
        "mbarrier.arrive.shared.b64 %st, [bar];\n"
        "wait: mbarrier.try_wait.shared.b64 %q, [bar], %st; @!%q bra wait;\n"
        "xor.b32 %w, %t, 63; mov.u32 %a, s; mad.lo.u32 %a, %w, 4, %a; ld.shared.u32 %v, [%a];\n"
        "st.global.u32 [%p], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 64, 64);

    for (uint32_t k = 0; k < 64; k++)
        ck_assert_uint_eq(got[k], k ^ 63);
}
END_TEST

START_TEST(an_async_copy_reads_no_more_than_it_takes)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) { .reg .b64 %o, %s; .reg .b32 %v;\n"
             ".shared .align 16 .b8 tile[16]; ld.param.u64 %o, [out]; mov.u64 %s, tile;\n"
             "st.global.u32 [%o+48], 7; cp.async.cg.shared.global [%s], [%o+48], 16, 4; "
             "cp.async.wait_all;\n"
             "ld.shared.u32 %v, [%s]; st.global.u32 [%o], %v; ld.shared.u32 %v, [%s+4]; "
             "st.global.u32 [%o+4], %v; ret; }\n";
    uint32_t *got =
        run_words(text, 1, 1, 13); /* the last of them is read, what follows is not there */

    ck_assert_uint_eq(got[0], 7);
    ck_assert_uint_eq(got[1], 0);
}
END_TEST

START_TEST(globals_hold_their_initial_values)
{
    static const char text[] = HEAD
        ".global .align 4 .u32 a[3] = {1, -2, 0x30};\n.global .align 8 .f64 d = "
        "0d3FF8000000000000;\n"
        ".const .align 2 .u16 c[2] = {7, 8};\n.visible .global .align 8 .u64 ptr = generic(a)+8;\n"
        ".visible .entry k(.param .u64 out) {\n"
        ".reg .b64 %o, %q; .reg .b32 %v; .reg .b16 %h; .reg .f64 %d; ld.param.u64 %o, [out];\n"
        "ld.global.u32 %v, [a+4]; st.global.u32 [%o], %v; ld.global.u64 %q, [ptr]; ld.u32 %v, "
        "[%q]; st.global.u32 [%o+4], %v;\n"
        "ld.const.u16 %h, [c+2]; st.global.u16 [%o+8], %h; ld.global.f64 %d, [d]; cvt.rzi.s32.f64 "
        "%v, %d;\n"
        "st.global.u32 [%o+12], %v; ret; }\n";
    uint32_t *got = run_words(text, 1, 1, 4);

    ck_assert_uint_eq(got[0], (uint32_t)-2);
    ck_assert_uint_eq(got[1], 0x30);
    ck_assert_uint_eq(got[2], 8);
    ck_assert_uint_eq(got[3], 1);
}
END_TEST

START_TEST(dynamic_shared_memory_follows_the_static)
{
    static const char text[] =
        HEAD ".extern .shared .align 16 .b8 dyn[];\n"
             ".visible .entry k(.param .u64 out) {\n" TID OUT
             ".shared .align 4 .b8 own[20]; .reg .b32 %a, %v;\n"
             "mov.u32 %a, dyn; mad.lo.u32 %v, %t, 4, %a; st.shared.u32 [%v], %t; ld.shared.u32 %v, "
             "[%v];\n"
             "add.u32 %v, %v, %a; st.shared.u32 [own], %v; st.global.u32 [%p], %v; ret; }\n";
    const uint32_t one[3] = {1, 1, 1}, many[3] = {32, 1, 1};
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    void *host;
    uint64_t out = ptx_test_alloc(machine, 128, &host);
    struct ptx_run_result r =
        ptx_test_launch_3d(machine, ptx_test_function(module, "k"), one, many, 128, 0, &out, 1);

    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    for (uint32_t k = 0; k < 32; k++)
        ck_assert_uint_eq(((uint32_t *)host)[k], 32 + k);
    /* without it, the same store is beyond the block's memory */
    r = ptx_test_launch_3d(machine, ptx_test_function(module, "k"), one, many, 0, 0, &out, 1);
    ck_assert_int_eq(r.fault.kind, VGPU_PTX_FAULT_ILLEGAL_ADDRESS);
    vgpu_ptx_module_unload(module);
}
END_TEST

START_TEST(several_inputs_link_into_one_module)
{
    static const char a[] = HEAD
        ".extern .func (.param .b32 r) twice(.param .b32 n);\n.extern .global .align 4 .u32 base;\n"
        ".visible .entry k(.param .u64 out) { .reg .b64 %o; .reg .b32 %v, %w; ld.param.u64 %o, "
        "[out]; ld.global.u32 %v, [base];\n"
        "{ .param .b32 x; .param .b32 y; st.param.b32 [x], %v; call (y), twice, (x); ld.param.b32 "
        "%w, [y]; }\n"
        "st.global.u32 [%o], %w; ret; }\n";
    static const char b[] =
        HEAD ".visible .global .align 4 .u32 base = 21;\n"
             ".visible .func (.param .b32 r) twice(.param .b32 n) { .reg .b32 %n; ld.param.b32 %n, "
             "[n]; add.u32 %n, %n, %n; st.param.b32 [r], %n; ret; }\n";
    struct vgpu_ptx_input inputs[2] = {{a, sizeof(a), "a"}, {b, sizeof(b), "b"}};
    struct vgpu_ptx_module *module = NULL;
    char log[512];
    void *host;
    uint64_t out = ptx_test_alloc(machine, 4, &host);

    ck_assert_msg(vgpu_ptx_module_link(machine, inputs, 2, log, sizeof(log), &module) ==
                      VGPU_PTX_OK,
                  "%s", log);
    ck_assert_int_eq(ptx_test_launch(machine, ptx_test_function(module, "k"), 1, 1, &out, 1).status,
                     VGPU_PTX_OK);
    ck_assert_uint_eq(*(uint32_t *)host, 42);
    vgpu_ptx_module_unload(module);
    ck_assert_int_ne(vgpu_ptx_module_link(machine, inputs, 1, log, sizeof(log), &module),
                     VGPU_PTX_OK);
}
END_TEST

static char printed[512];
static size_t printed_bytes;

static void collect(void *user, const char *text, size_t bytes)
{
    ck_assert_ptr_eq(user, printed);
    ck_assert_uint_lt(printed_bytes + bytes, sizeof(printed));
    memcpy(printed + printed_bytes, text, bytes);
    printed_bytes += bytes;
}

START_TEST(printf_formats_its_arguments)
{
    static const char text[] = HEAD
        ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
        /* "%d|%5.2f|%s|%llx|%c|%%\n" */
        ".global .align 1 .b8 fmt[26] = "
        "{37,100,124,37,53,46,50,102,124,37,115,124,37,108,108,120,124,37,99,124,37,37,10,0};\n"
        /* "%hd %hhu\n" */
        ".global .align 1 .b8 shorter[10] = {37,104,100,32,37,104,104,117,10,0};\n"
        ".global .align 1 .b8 str[3] = {104,105,0};\n"
        ".visible .entry k(.param .u64 out) {\n"
        ".local .align 8 .b8 args[40]; .reg .b64 %l, %g, %s, %f; .reg .b32 %r;\n"
        "mov.u64 %l, args; cvta.local.u64 %g, %l; mov.u64 %s, str; mov.u64 %f, fmt;\n"
        "st.local.u32 [%l], -5; st.local.f64 [%l+8], 0d400921FB54442D18; st.local.u64 [%l+16], "
        "%s;\n"
        "st.local.u64 [%l+24], 0x123456789abcd; st.local.u32 [%l+32], 90;\n"
        "{ .param .b64 a; .param .b64 b; .param .b32 c; st.param.b64 [a], %f; st.param.b64 [b], "
        "%g;\n"
        "call.uni (c), vprintf, (a, b); ld.param.b32 %r, [c]; }\n"
        "st.local.u32 [%l], 0x18001; st.local.u32 [%l+4], 0x1ff; mov.u64 %f, shorter;\n"
        "{ .param .b64 a; .param .b64 b; .param .b32 c; st.param.b64 [a], %f; st.param.b64 [b], "
        "%g;\n"
        "call.uni (c), vprintf, (a, b); }\n"
        ".reg .b64 %o; ld.param.u64 %o, [out]; st.global.u32 [%o], %r; ret; }\n";
    struct vgpu_ptx_options options = {.threads = 1, .print = collect, .user = printed};
    uint32_t *got;

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    got = run_words(text, 1, 1, 1);
    ck_assert_str_eq(printed, "-5| 3.14|hi|123456789abcd|Z|%\n-32767 255\n");
    ck_assert_uint_eq(got[0], 5);
}
END_TEST

/* --- faults --- */
static const struct {
    const char *body;
    enum vgpu_ptx_fault_kind kind;
    const char *says;
} faults[] = {
    {"st.global.u32 [%o+4096], 1;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "0 bytes after the 4096 bytes"},
    {"ld.global.u32 %v, [%o+-4];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "4 bytes before"},
    {"ld.global.u32 %v, [0];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "at 0x0"},
    {"ld.global.u32 %v, [%o+2];", VGPU_PTX_FAULT_MISALIGNED, "not aligned to 4"},
    {"ld.global.v4.u32 {%v,%v,%v,%v}, [%o+8];", VGPU_PTX_FAULT_MISALIGNED, "not aligned to 16"},
    {"atom.global.add.u32 %v, [%o+4096], 1;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "atomic"},
    {"atom.global.add.u64 %o, [%o+4], %o;", VGPU_PTX_FAULT_MISALIGNED, "aligned to 8"},
    {"{ .reg .f32 %f; mov.f32 %f, 0f00000000; red.global.add.v2.f32 [%o+4], {%f, %f}; }",
     VGPU_PTX_FAULT_MISALIGNED, "aligned to 8"},
    {"st.shared.u32 [s+16], 1;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "store"},
    {"mov.u32 %v, -4; ld.shared.u32 %v, [%v];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "load"},
    {"mov.u64 %o, l; st.local.u32 [%o+600000], 1;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "store"},
    {"mov.u64 %o, cc; st.global.u32 [%o], 1;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "constant"},
    {"mov.u64 %o, 0x7fffffffffffffff; ld.u8 %h, [%o];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS,
     "0x7fffffffffffffff"},
    {"mov.u64 %o, 0xffffffffffffffff; ld.u8 %h, [%o];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS,
     "0xffffffffffffffff"},
    {"ld.u64 %o, [0x100000100];", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "0x100000100"},
    {"trap;", VGPU_PTX_FAULT_TRAP, "trap"},
    {"brkpt;", VGPU_PTX_FAULT_TRAP, "trap"},
    {"bar.sync 17;", VGPU_PTX_FAULT_INSTRUCTION, "15"},
    {"bar.sync 1, 33;", VGPU_PTX_FAULT_INSTRUCTION, "multiple of 32"},
    {"mov.u32 %v, 9; ts: .branchtargets e; brx.idx %v, ts; e:", VGPU_PTX_FAULT_INSTRUCTION, "brx"},
    {"p: .callprototype _ (); mov.u64 %o, 64; call %o, (), p;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS,
     "indirect"},
    {"p: .callprototype _ (); mov.u64 %o, deep; call %o, (), p;", VGPU_PTX_FAULT_INSTRUCTION,
     "prototype"},
    {"{ .param .b32 x; st.param.b32 [x], 1; call deep, (x); }", VGPU_PTX_FAULT_STACK,
     "stack overflow"},
};

START_TEST(each_fault_names_its_cause)
{
    char text[2048];
    struct ptx_run_result r;

    snprintf(text, sizeof(text),
             HEAD ".const .align 4 .u32 cc = 5;\n"
                  ".func deep(.param .b32 n) { .local .align 8 .b8 big[256]; .reg .b32 %%n; "
                  "ld.param.b32 %%n, [n];\n"
                  "{ .param .b32 x; st.param.b32 [x], %%n; call deep, (x); } ret; }\n"
                  ".visible .entry k(.param .u64 out) { .reg .b64 %%o; .reg .b32 %%v; .reg .b16 "
                  "%%h; .shared .align 4 .b8 s[16];\n"
                  ".local .align 8 .b8 l[16]; ld.param.u64 %%o, [out];\n%s\nret; }\n",
             faults[_i].body);
    r = run_fault(text, 1, 3, faults[_i].kind, faults[_i].says);
    ck_assert_int_eq(r.status, VGPU_PTX_FAULT);
    if (faults[_i].kind != VGPU_PTX_FAULT_STACK)
        ck_assert_uint_eq(r.fault.line, 9);
    ck_assert_uint_eq(r.fault.thread[0], 0);
}
END_TEST

START_TEST(the_faulting_thread_is_named)
{
    struct ptx_run_result r =
        run_fault(HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT ".reg .pred %q;\n"
                       "setp.eq.u32 %q, %i, 173; @%q st.global.u32 [%p+1000000], 1; ret; }\n",
                  3, 64, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "block (2,0,0), thread (45,0,0)");

    ck_assert_uint_eq(r.fault.block[0], 2);
    ck_assert_uint_eq(r.fault.thread[0], 45);
    ck_assert_uint_eq(r.fault.line, 8);
    ck_assert_uint_eq(r.fault.access_bytes, 4);
}
END_TEST

static const char endless[] =
    HEAD ".visible .entry k(.param .u64 out) { .reg .b32 %v; l: add.u32 %v, %v, 1; bra l; }\n";

START_TEST(an_endless_kernel_ends_with_its_budget)
{
    struct vgpu_ptx_options options = {.threads = 2, .instruction_budget = 100000};

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    ck_assert_int_eq(run_fault(endless, 4, 64, VGPU_PTX_FAULT_TIMEOUT, "limit").status,
                     VGPU_PTX_CANCELLED);
}
END_TEST

START_TEST(an_endless_kernel_ends_at_its_deadline)
{
    struct vgpu_ptx_options options = {.threads = 2, .launch_timeout_ms = 50};

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    ck_assert_int_eq(run_fault(endless, 4, 64, VGPU_PTX_FAULT_TIMEOUT, "limit").status,
                     VGPU_PTX_CANCELLED);
}
END_TEST

static int cancel_flag;

static void *canceller(void *arg)
{
    struct timespec pause = {0, 20000000};

    nanosleep(&pause, NULL);
    __atomic_store_n(&cancel_flag, 1, __ATOMIC_RELAXED);
    return arg;
}

START_TEST(a_cancel_flag_ends_a_kernel)
{
    struct vgpu_ptx_module *module = ptx_test_load(machine, endless);
    uint64_t out = 0;
    struct vgpu_ptx_launch launch = {.function = ptx_test_function(module, "k"),
                                     .grid = {4, 1, 1},
                                     .block = {32, 1, 1},
                                     .params = &out,
                                     .param_bytes = 8,
                                     .cancel = &cancel_flag};
    struct vgpu_ptx_fault fault;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, canceller, NULL), 0);
    ck_assert_int_eq(vgpu_ptx_launch_run(machine, &launch, &fault, NULL), VGPU_PTX_CANCELLED);
    ck_assert_int_eq(fault.kind, VGPU_PTX_FAULT_CANCELLED);
    pthread_join(thread, NULL);
    vgpu_ptx_module_unload(module);
}
END_TEST

/* The flag of a subtraction is the carry of adding the complement: nvcc's 128-bit division reads it by addc. */
START_TEST(addc_after_sub_adds_one_where_nothing_was_borrowed)
{
    uint32_t *words = run_words(HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT
                                     ".reg .b32 %r; sub.cc.u32 %r, %t, 2; addc.u32 %r, 0, 0;\n"
                                     "st.global.u32 [%p], %r; ret; }\n",
                                1, 4, 4);

    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_eq(words[i], i >= 2);
}
END_TEST

/* Behind the kernel's own, dynamic included; a kernel that does not ask has none. */
START_TEST(reserved_shared_memory_is_behind_the_kernels_own)
{
    static const char uses[] =
        HEAD ".extern .shared .align 4 .b8 d[];\n"
             ".visible .entry k(.param .u64 out) { .shared .align 4 .b8 s[60];\n" TID OUT
             ".reg .pred %q; .reg .b32 %r, %a, %v, %e; mov.u32 %r, %reserved_smem_offset_1;\n"
             "mov.u32 %e, %reserved_smem_offset_end; mov.u32 %a, s; st.shared.u32 [%a+56], 5;\n"
             "st.shared.u32 [%r], 7; st.shared.u32 [%r+284], 8; st.shared.u32 [%e+-4], 9;\n"
             "ld.shared.u32 %v, [%a+56]; st.global.u32 [%p], %v; ld.shared.u32 %v, [%r]; "
             "st.global.u32 [%p+4], %v;\n"
             "mov.u32 %v, %total_smem_size; st.global.u32 [%p+8], %v; mov.u32 %a, "
             "%aggr_smem_size;\n"
             "sub.u32 %a, %a, %v; mov.u32 %v, %reserved_smem_offset_cap; setp.ge.u32 %q, %a, %v;\n"
             "selp.u32 %v, 1, 0, %q; st.global.u32 [%p+12], %v; ret; }\n";
    static const char beyond[] = HEAD ".visible .entry k(.param .u64 out) { .shared .align 4 .b8 "
                                      "s[60];\nst.shared.u32 [s+60], 1; ret; }\n";
    uint32_t *got = run_words(uses, 1, 1, 4);

    ck_assert_uint_eq(got[0], 5);
    ck_assert_uint_eq(got[1], 7);
    ck_assert_uint_eq(got[2], 60);
    ck_assert_uint_eq(got[3], 1);
    run_fault(beyond, 1, 1, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "illegal address");
}
END_TEST

/* The name %v, %v<2> and what an inner scope calls %v<1> are three things; the register count is a hint. */
START_TEST(a_register_and_a_range_may_share_a_name)
{
    static const char text[] =
        ".version 8.3\n.target sm_90a\n.address_size 64\n"
        ".visible .entry k(.param .u64 out) {\n" TID OUT
        "setmaxnreg.inc.sync.aligned.u32 64; .reg .b32 %v<2>; .reg .b32 %v;\n"
        "mov.u32 %v, 1; mov.u32 %v0, 20; mov.u32 %v1, 300;\n"
        "{ .reg .b32 %v<1>; mov.u32 %v0, 4000; add.u32 %v, %v, %v0; add.u32 %v1, %v1, %v0; }\n"
        "setmaxnreg.dec.sync.aligned.u32 24; add.u32 %v, %v, %v0; add.u32 %v, %v, %v1;\n"
        "st.global.u32 [%p], %v; ret; }\n";

    ck_assert_uint_eq(run_words(text, 1, 1, 1)[0], 1 + 4000 + 20 + 300 + 4000);
}
END_TEST

START_TEST(bad_launches_are_refused)
{
    struct vgpu_ptx_module *module =
        ptx_test_load(machine, HEAD ".visible .entry k(.param .u64 out) .reqntid 32, 2, 1 { ret; "
                                    "}\n.visible .entry m() .maxntid 64 { ret; }\n");
    struct vgpu_ptx_function *k = ptx_test_function(module, "k"),
                             *m = ptx_test_function(module, "m");
    uint64_t out = 0;
    const struct vgpu_ptx_launch good = {
        .function = k, .grid = {1, 1, 1}, .block = {32, 2, 1}, .params = &out, .param_bytes = 8};
    struct vgpu_ptx_launch bad[10];

    ck_assert_int_eq(vgpu_ptx_launch_run(machine, &good, NULL, NULL), VGPU_PTX_OK);
    for (int n = 0; n < 10; n++)
        bad[n] = good;
    bad[0].grid[1] = 0;
    bad[1].block[1] = 1; /* not the required shape */
    bad[2].param_bytes = 4;
    bad[3].params = NULL;
    bad[4].dynamic_shared_bytes = VGPU_PTX_MAX_SHARED_BYTES + 1;
    bad[5].flags = 0x80;
    bad[6].grid[2] = 65536;
    bad[7].function = NULL;
    bad[8] = (struct vgpu_ptx_launch){.function = m, .grid = {1, 1, 1}, .block = {65, 1, 1}};
    bad[9] = (struct vgpu_ptx_launch){.function = m, .grid = {1, 1, 1}, .block = {1, 1, 65}};
    for (int n = 0; n < 10; n++)
        ck_assert_msg(vgpu_ptx_launch_run(machine, &bad[n], NULL, NULL) == VGPU_PTX_INVALID,
                      "launch %d", n);
    vgpu_ptx_module_unload(module);
}
END_TEST

START_TEST(a_launch_that_needs_too_much_host_memory_fails_cleanly)
{
    struct vgpu_ptx_options options = {.threads = 1, .max_registers_bytes = 65536};

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    run_fault(divergent, 1, 1024, VGPU_PTX_FAULT_MEMORY, "memory");
}
END_TEST

static Suite *ptx_exec_suite(void)
{
    Suite *s = suite_create("ptx_exec");
    TCase *tc = tcase_create("run");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, diverging_loops_give_each_lane_its_own_result);
    tcase_add_test(tc, lanes_reconverge_after_a_branch);
    tcase_add_test(tc, barrier_orders_shared_memory_between_warps);
    tcase_add_test(tc, exited_threads_count_as_arrived);
    tcase_add_test(tc, bar_red_combines_over_the_block);
    tcase_add_test(tc, named_barriers_pair_producers_and_consumers);
    tcase_add_test(tc, a_barrier_that_nobody_can_complete_is_a_deadlock);
    tcase_add_test(tc, a_lock_between_lanes_of_a_warp_makes_progress);
    tcase_add_test(tc, lanes_that_wait_in_several_places_let_the_others_run);
    tcase_add_test(tc, blocks_that_wait_for_later_blocks_finish);
    tcase_add_test(tc, calls_recurse_and_return_values);
    tcase_add_test(tc, indirect_calls_go_where_each_lane_says);
    tcase_add_test(tc, brx_goes_where_each_lane_says);
    tcase_add_test(tc, local_memory_is_each_threads_own);
    tcase_add_test(tc, shuffles_and_votes_follow_the_manual);
    tcase_add_test(tc, shuffles_and_votes_without_sync_follow_the_manual);
    tcase_add_test(tc, lanes_with_other_members_are_other_groups);
    tcase_add_test(tc, lanes_meet_at_a_barrier_in_frames_of_their_own);
    tcase_add_test(tc, atomics_of_many_threads_add_up);
    tcase_add_test(tc, async_copies_and_mbarriers_complete);
    tcase_add_test(tc, an_async_copy_reads_no_more_than_it_takes);
    tcase_add_test(tc, globals_hold_their_initial_values);
    tcase_add_test(tc, dynamic_shared_memory_follows_the_static);
    tcase_add_test(tc, several_inputs_link_into_one_module);
    tcase_add_test(tc, printf_formats_its_arguments);
    suite_add_tcase(s, tc);
    tc = tcase_create("fault");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, each_fault_names_its_cause, 0,
                        (int)(sizeof(faults) / sizeof(faults[0])));
    tcase_add_test(tc, the_faulting_thread_is_named);
    tcase_add_test(tc, an_endless_kernel_ends_with_its_budget);
    tcase_add_test(tc, an_endless_kernel_ends_at_its_deadline);
    tcase_add_test(tc, a_cancel_flag_ends_a_kernel);
    tcase_add_test(tc, addc_after_sub_adds_one_where_nothing_was_borrowed);
    tcase_add_test(tc, reserved_shared_memory_is_behind_the_kernels_own);
    tcase_add_test(tc, a_register_and_a_range_may_share_a_name);
    tcase_add_test(tc, bad_launches_are_refused);
    tcase_add_test(tc, a_launch_that_needs_too_much_host_memory_fails_cleanly);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_exec_suite)
