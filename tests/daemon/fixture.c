/* SPDX-License-Identifier: MIT */
/*
 * The daemon tests' fixture; see the header.
 */
#include "fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

struct fx fx;

/* ---- The cuda executor in place of the cpu one ---- */

/* A folder that processes which changed their user can read: a copy of the fake driver, and its
 * settings beside it. */
static char fake_dir[64];
const char *fx_fake_first = "";

bool fx_cuda(void)
{
    const char *name = getenv("VGPU_TEST_EXECUTOR");

    if (!name || !strcmp(name, "cpu"))
        return false;
    ck_assert_msg(!strcmp(name, "cuda"), "VGPU_TEST_EXECUTOR is '%s': cpu or cuda", name);
    return true;
}

static void fake_path(const char *name, char *path, size_t room)
{
    ck_assert_int_lt(snprintf(path, room, "%s/%s", fake_dir, name), (int)room);
}

void fx_fake_settings(const char *lines)
{
    char path[PATH_MAX];
    FILE *file;

    fake_path("libcuda.so.1.conf", path, sizeof(path));
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(lines, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0644), 0);
}

/* A copy: isolated processes of the daemon, which load it, may not reach the tree. */
static void copy_library(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    ssize_t n;

    ck_assert_msg(in >= 0, "%s is not built", from);
    ck_assert_int_ge(out, 0);
    do
        n = sendfile(out, in, NULL, 1u << 30);
    while (n > 0);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(fchmod(out, 0755), 0);
    close(in);
    ck_assert_int_eq(close(out), 0);
}

static void fake_setup(void)
{
    char self[PATH_MAX], built[PATH_MAX + 32], copy[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    ck_assert_int_gt(n, 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(built, sizeof(built), "%s/../fakecuda/libcuda.so.1", self);
    snprintf(fake_dir, sizeof(fake_dir), "/tmp/vgpu-fakecuda-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fake_dir));
    ck_assert_int_eq(chmod(fake_dir, 0755), 0);
    fake_path("libcuda.so.1", copy, sizeof(copy));
    copy_library(built, copy);
    fx_fake_settings(fx_fake_first);
    setenv("VGPU_LIBCUDA", copy, 1);
}

static void fake_teardown(void)
{
    char path[PATH_MAX];

    if (!fake_dir[0])
        return;
    fake_path("libcuda.so.1.conf", path, sizeof(path));
    unlink(path);
    fake_path("libcuda.so.1", path, sizeof(path));
    unlink(path);
    rmdir(fake_dir);
    fake_dir[0] = '\0';
}

/* ---- Daemon and machines ---- */

void fx_start(const char *const *options, unsigned int vms)
{
    static const char cpu[] = "executor=cpu";
    char text[FX_MAX_VMS][256];
    const char *chosen[FX_MAX_VMS];

    ck_assert_uint_le(vms, FX_MAX_VMS);
    if (fx_cuda())
        fake_setup();
    for (unsigned int i = 0; i < vms; i++) {
        chosen[i] = options[i];
        if (fx_cuda() && !strncmp(options[i], cpu, strlen(cpu))) {
            snprintf(text[i], sizeof(text[i]), "executor=cuda%s", options[i] + strlen(cpu));
            chosen[i] = text[i];
        }
    }
    fx_is(vgpud_start(&fx.d, chosen, vms), 0);
}

void fx_attach(unsigned int i)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[i]};

    fx_is(gs_vm_open(&config, &fx.vm[i]), 0);
    fx_ok(gs_ctx_create(fx.vm[i], NULL, &fx.ctx[i]));
}

static void setup(const char *a, const char *b, bool attach)
{
    const char *options[FX_MAX_VMS] = {a, b};
    unsigned int vms = b ? 2 : 1;

    memset(&fx, 0, sizeof(fx));
    fx_start(options, vms);
    for (unsigned int i = 0; attach && i < vms; i++)
        fx_attach(i);
}

void fx_setup_cpu(void)
{
    setup(FX_CPU_OPTIONS, NULL, true);
}

void fx_setup_patient(void)
{
    setup(FX_CPU_PATIENT, NULL, true);
}

void fx_setup_two(void)
{
    setup(FX_CPU_OPTIONS, FX_CPU_OPTIONS, true);
}

void fx_setup_null(void)
{
    setup(FX_NULL_OPTIONS, NULL, true);
}

void fx_setup_bare(void)
{
    setup(FX_CPU_OPTIONS, NULL, false);
}

void fx_drop(unsigned int i)
{
    fx.ctx[i] = NULL;
    gs_vm_close(fx.vm[i]);
    fx.vm[i] = NULL;
}

void fx_teardown(void)
{
    for (unsigned int i = 0; i < fx.d.vms; i++)
        fx_drop(i);
    for (unsigned int i = 0; fx.d.pid && i < fx.d.vms; i++)
        fx_wait_clean(i);
    fx_is(vgpud_stop(&fx.d), 0);
    fake_teardown();
}

TCase *fx_tcase(Suite *s, const char *name, void (*setup_fn)(void))
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, FX_TIMEOUT_S);
    if (setup_fn)
        tcase_add_checked_fixture(tc, setup_fn, fx_teardown);
    suite_add_tcase(s, tc);
    return tc;
}

const char *fx_status_name(int rc)
{
    static char text[4][96];
    static unsigned int next;
    char *out = text[next++ % 4];

    if (rc < 0) {
        snprintf(out, sizeof(text[0]), "-errno %d (%s)", -rc, strerror(-rc));
        return out;
    }
    switch (rc) {
#define STATUS_CASE(name, value, cuda, lost, words)                                                \
    case value: return #name;
        VGPU_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    default: snprintf(out, sizeof(text[0]), "status 0x%x", (unsigned int)rc); return out;
    }
}

void fx_explain(void)
{
    char *log = fx.d.pid ? vgpud_log(&fx.d) : NULL;
    size_t length = log ? strlen(log) : 0;
    const char *tail = length > 3000 ? log + length - 3000 : log;

    if (tail)
        fprintf(stderr, "# vgpud's log:\n%s\n", tail);
    free(log);
}

size_t fx_first_other(const uint8_t *data, size_t bytes, uint8_t value)
{
    size_t i = 0;

    while (i < bytes && data[i] == value)
        i++;
    return i;
}

struct fx_kernel fx_kernel(struct gs_ctx *ctx, const char *ptx, const char *name)
{
    struct fx_kernel kernel;
    char log[4096] = "";
    int rc = gs_module_load(ctx, ptx, strlen(ptx) + 1, log, sizeof(log), &kernel.module);

    ck_assert_msg(rc == 0, "module load: %s\n%s", fx_status_name(rc), log);
    fx_ok(gs_func_lookup(ctx, kernel.module, name, &kernel.function, NULL, NULL, 0));
    return kernel;
}

/* Exact in binary32 for every value used, so results compare with ==. */
static float pattern(uint32_t seed, uint32_t i)
{
    return (float)((i * 2654435761u + seed * 40503u) >> 12 & 0xffff) * 0.25f;
}

void fx_vecadd(struct gs_ctx *ctx, uint32_t n, uint32_t seed)
{
    struct fx_kernel kernel = fx_kernel(ctx, fx_ptx_basic, "vecadd");
    size_t bytes = n * sizeof(float);
    struct {
        uint64_t a, b, c;
        uint32_t n;
    } params = {.n = n};
    struct gs_buf buf;
    float *host;
    uint32_t bad = 0;

    fx_ok(gs_buf_create(ctx, bytes, 12, VGPU_BUF_FLAGS | GS_BUF_SCATTER, &buf));
    host = (float *)(void *)buf.ptr;
    fx_ok(gs_mem_alloc(ctx, bytes, &params.a));
    fx_ok(gs_mem_alloc(ctx, bytes, &params.b));
    fx_ok(gs_mem_alloc(ctx, bytes, &params.c));
    for (uint32_t i = 0; i < n; i++)
        host[i] = pattern(seed, i);
    fx_ok(gs_copy_h2d(ctx, params.a, &buf, 0, bytes));
    for (uint32_t i = 0; i < n; i++)
        host[i] = pattern(seed + 1, i);
    fx_ok(gs_copy_h2d(ctx, params.b, &buf, 0, bytes));
    memset(host, 0xff, bytes);
    fx_ok(gs_launch(ctx, kernel.function, (n + 127) / 128, 128, &params, 28));
    fx_ok(gs_copy_d2h(ctx, &buf, 0, params.c, bytes));
    for (uint32_t i = 0; i < n; i++)
        bad += host[i] != pattern(seed, i) + pattern(seed + 1, i);
    ck_assert_msg(bad == 0, "%u of %u elements wrong", bad, n);
    fx_ok(gs_mem_free(ctx, params.a));
    fx_ok(gs_mem_free(ctx, params.b));
    fx_ok(gs_mem_free(ctx, params.c));
    fx_ok(gs_module_unload(ctx, kernel.module));
    fx_ok(gs_buf_destroy(&buf));
}

void fx_works(struct gs_ctx *ctx)
{
    fx_ok(gs_nop(ctx));
    fx_vecadd(ctx, 1000, 7);
}

void fx_pump(struct gs_ctx *ctx, uint32_t total)
{
    const struct vgpu_sqe nop = {.opcode = VGPU_CMD_NOP};
    uint64_t first = ctx->next_cookie, expect = first;
    uint32_t sent = 0, seen = 0, first_idx = ctx->ring.sq_prod;

    while (seen < total) {
        uint32_t burst = 1 + (seen * 7919u >> 3) % (ctx->ring.sq_mask + 1);
        struct vgpu_cqe cqe = {0};
        int rc;

        while (burst-- && sent < total && gs_submit(ctx, &nop, NULL) == 0)
            sent++;
        gs_flush(ctx);
        rc = gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS);
        if (rc || cqe.status || cqe.cookie != expect || cqe.sq_idx != first_idx + seen)
            ck_abort_msg("completion %u of %u: %s, status %s, cookie %llu for %llu, index %u", seen,
                         total, fx_status_name(rc), fx_status_name(cqe.status),
                         (unsigned long long)cqe.cookie, (unsigned long long)expect, cqe.sq_idx);
        expect++;
        seen++;
    }
    ck_assert_ptr_null(gs_ring_peek(&ctx->ring));
}

const char fx_ptx_say[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                          ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
                          ".global .align 1 .b8 text[4] = {37,100,10,0};\n"
                          ".visible .entry say(.param .u32 n) {\n"
                          "  .local .align 8 .b8 args[8]; .reg .b64 %l, %g, %f; .reg .b32 %v;\n"
                          "  ld.param.u32 %v, [n]; mov.u64 %l, args; cvta.local.u64 %g, %l;\n"
                          "  st.local.u32 [%l], %v; mov.u64 %f, text; cvta.global.u64 %f, %f;\n"
                          "  { .param .b64 a; .param .b64 b; .param .b32 c; st.param.b64 [a], %f;\n"
                          "    st.param.b64 [b], %g; call.uni (c), vprintf, (a, b); }\n"
                          "  ret;\n}\n";

/*
 * vecadd(a, b, c, n)   c[i] = a[i] + b[i]
 * fault(p, off)        *(int *)(p + off) = 1
 * spin(p)              loops while *p == 0
 * where(p)             p[global thread] = ctaid.x << 16 | tid.x
 * misaligned(p)        32-bit store at p + 1
 */
const char fx_ptx_basic[] =
    ".version 7.0\n"
    ".target sm_70\n"
    ".address_size 64\n"
    ".global .align 8 .u64 table[4] = {1, 2, 3, 4};\n"
    ".visible .entry vecadd(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)\n"
    "{\n"
    "    .reg .pred %p<2>;\n"
    "    .reg .f32 %f<4>;\n"
    "    .reg .b32 %r<6>;\n"
    "    .reg .b64 %rd<12>;\n"
    "    ld.param.u64 %rd1, [pa];\n"
    "    ld.param.u64 %rd2, [pb];\n"
    "    ld.param.u64 %rd3, [pc];\n"
    "    ld.param.u32 %r2, [pn];\n"
    "    mov.u32 %r3, %ctaid.x;\n"
    "    mov.u32 %r4, %ntid.x;\n"
    "    mov.u32 %r5, %tid.x;\n"
    "    mad.lo.s32 %r1, %r3, %r4, %r5;\n"
    "    setp.ge.s32 %p1, %r1, %r2;\n"
    "    @%p1 bra DONE;\n"
    "    cvta.to.global.u64 %rd4, %rd1;\n"
    "    mul.wide.s32 %rd5, %r1, 4;\n"
    "    add.s64 %rd6, %rd4, %rd5;\n"
    "    cvta.to.global.u64 %rd7, %rd2;\n"
    "    add.s64 %rd8, %rd7, %rd5;\n"
    "    ld.global.f32 %f1, [%rd8];\n"
    "    ld.global.f32 %f2, [%rd6];\n"
    "    add.f32 %f3, %f2, %f1;\n"
    "    cvta.to.global.u64 %rd9, %rd3;\n"
    "    add.s64 %rd10, %rd9, %rd5;\n"
    "    st.global.f32 [%rd10], %f3;\n"
    "DONE:\n"
    "    ret;\n"
    "}\n"
    ".visible .entry fault(.param .u64 pp, .param .u64 poff)\n"
    "{\n"
    "    .reg .b32 %r<2>;\n"
    "    .reg .b64 %rd<5>;\n"
    "    ld.param.u64 %rd1, [pp];\n"
    "    ld.param.u64 %rd2, [poff];\n"
    "    cvta.to.global.u64 %rd3, %rd1;\n"
    "    add.s64 %rd4, %rd3, %rd2;\n"
    "    mov.u32 %r1, 1;\n"
    "    st.global.u32 [%rd4], %r1;\n"
    "    ret;\n"
    "}\n"
    ".visible .entry spin(.param .u64 pp)\n"
    "{\n"
    "    .reg .pred %p<2>;\n"
    "    .reg .b32 %r<2>;\n"
    "    .reg .b64 %rd<3>;\n"
    "    ld.param.u64 %rd1, [pp];\n"
    "    cvta.to.global.u64 %rd2, %rd1;\n"
    "AGAIN:\n"
    "    ld.volatile.global.u32 %r1, [%rd2];\n"
    "    setp.eq.s32 %p1, %r1, 0;\n"
    "    @%p1 bra AGAIN;\n"
    "    ret;\n"
    "}\n"
    ".visible .entry where(.param .u64 pp)\n"
    "{\n"
    "    .reg .b32 %r<7>;\n"
    "    .reg .b64 %rd<5>;\n"
    "    ld.param.u64 %rd1, [pp];\n"
    "    cvta.to.global.u64 %rd2, %rd1;\n"
    "    mov.u32 %r1, %ctaid.x;\n"
    "    mov.u32 %r2, %ntid.x;\n"
    "    mov.u32 %r3, %tid.x;\n"
    "    mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "    shl.b32 %r5, %r1, 16;\n"
    "    or.b32 %r6, %r5, %r3;\n"
    "    mul.wide.u32 %rd3, %r4, 4;\n"
    "    add.s64 %rd4, %rd2, %rd3;\n"
    "    st.global.u32 [%rd4], %r6;\n"
    "    ret;\n"
    "}\n"
    ".visible .entry misaligned(.param .u64 pp)\n"
    "{\n"
    "    .reg .b32 %r<2>;\n"
    "    .reg .b64 %rd<3>;\n"
    "    ld.param.u64 %rd1, [pp];\n"
    "    cvta.to.global.u64 %rd2, %rd1;\n"
    "    mov.u32 %r1, 1;\n"
    "    st.global.u32 [%rd2+1], %r1;\n"
    "    ret;\n"
    "}\n";
