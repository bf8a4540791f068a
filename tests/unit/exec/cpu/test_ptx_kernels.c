/* SPDX-License-Identifier: MIT */
/*
 * Real kernels (tests/kernels), compiled by clang and by nvcc, against plain C. Each runs in both builds of the
 * engine, on one worker and on two; integers and floats must agree to the bit, since the kernels are compiled
 * without contraction.
 */
#include "ptx_run.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define N      4096
#define FOLDER "tests/kernels/"

union word {
    uint32_t u;
    int32_t i;
    float f;
};

static uint32_t input_u[N];
static float input_f[N];

static void make_inputs(void)
{
    uint32_t state = 12345;

    for (int i = 0; i < N; i++) {
        state = state * 1664525u + 1013904223u;
        input_u[i] = state ^ state >> 15;
        input_f[i] = (float)((int)(state >> 8 & 0xffff) - 32768) / 64.0f;
    }
    input_u[5] = 0;
    input_u[6] = 0x80000000u;
    input_u[7] = 0xffffffffu;
}

/* --- references: integers --- */
typedef void reference_fn(union word *out);

static void ref_collatz(union word *out)
{
    for (int i = 0; i < N; i++) {
        uint32_t steps = 0;

        for (uint32_t x = input_u[i] % 10000 + 1; x != 1; steps++)
            x = x % 2 ? 3 * x + 1 : x / 2;
        out[i].u = steps;
    }
}

static uint32_t euclid(uint32_t a, uint32_t b)
{
    return b ? euclid(b, a % b) : a;
}

static void ref_gcd(union word *out)
{
    for (int i = 0; i < N; i++)
        out[i].u = euclid(input_u[i], input_u[(i + 1) % N]);
}

static void ref_crc32(union word *out)
{
    uint32_t table[256];

    for (uint32_t k = 0; k < 256; k++) {
        table[k] = k;
        for (int b = 0; b < 8; b++)
            table[k] = table[k] & 1 ? 0xedb88320u ^ table[k] >> 1 : table[k] >> 1;
    }
    for (int i = 0; i < N; i++) {
        uint32_t crc = 0xffffffffu;

        for (int b = 0; b < 4; b++)
            crc = table[(crc ^ input_u[i] >> (8 * b)) & 255] ^ crc >> 8;
        out[i].u = crc ^ 0xffffffffu;
    }
}

static uint32_t rotl(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

static void ref_murmur3(union word *out)
{
    for (int i = 0; i < N; i++) {
        uint32_t h = 0x9747b28c ^ rotl(input_u[i] * 0xcc9e2d51u, 15) * 0x1b873593u;

        h = rotl(h, 13) * 5 + 0xe6546b64u;
        h ^= 4;
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        out[i].u = h ^ h >> 16;
    }
}

static void ref_philox(union word *out)
{
    for (uint32_t i = 0; i < N; i++) {
        uint32_t c[4] = {i, 0, 0, 0}, k[2] = {input_u[i], 0x1234567};

        for (int r = 0; r < 10; r++) {
            uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];

            c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
            c[1] = (uint32_t)b;
            c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
            c[3] = (uint32_t)a;
            k[0] += 0x9e3779b9u;
            k[1] += 0xbb67ae85u;
        }
        out[i].u = c[0] ^ c[1] ^ c[2] ^ c[3];
    }
}

static void ref_histogram(union word *out)
{
    for (int i = 0; i < N; i++)
        out[input_u[i] % 64].u++;
}

static void ref_scan(union word *out)
{
    for (int i = 0; i < N; i++)
        out[i].u = (input_u[i] & 0xffff) + (i % 256 ? out[i - 1].u : 0);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void ref_bitonic(union word *out)
{
    memcpy(out, input_u, sizeof(input_u));
    for (int b = 0; b < N; b += 256)
        qsort(&out[b], 256, 4, by_value);
}

static void ref_compact(union word *out)
{
    for (int w = 0; w < N; w += 32)
        for (int i = w, at = w; i < w + 32; i++)
            if (input_u[i] & 1)
                out[at++].u = input_u[i];
}

static void ref_transpose(union word *out)
{
    for (int r = 0; r < 64; r++)
        for (int c = 0; c < 64; c++)
            out[c * 64 + r].u = input_u[r * 64 + c];
}

static void ref_popcount_sum(union word *out)
{
    for (int i = 0; i < N; i++)
        out[0].u += (uint32_t)__builtin_popcount(input_u[i]);
}

static void ref_modpow(union word *out)
{
    for (int i = 0; i < N; i++) {
        unsigned __int128 p = 4294967291ull, r = 1, base = input_u[i] % (uint64_t)p;
        uint32_t e = input_u[i] >> 7 | 1;

        for (int bit = 31; bit >= 0; bit--) {
            r = r * r % p;
            if (e >> bit & 1)
                r = r * base % p;
        }
        out[i].u = (uint32_t)r;
    }
}

static uint32_t place(uint32_t row, uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t count = 0;

    if (row == 7)
        return 1;
    for (uint32_t c = 0; c < 7; c++) {
        uint32_t bit = 1u << c;

        if (!((columns | left | right) & bit))
            count += place(row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}

static void ref_queens(union word *out)
{
    for (int i = 0; i < N; i++) {
        uint32_t first = 1u << input_u[i] % 7;

        out[i].u = place(1, first, first << 1, first >> 1);
    }
}

static void ref_automaton(union word *out)
{
    for (int i = 0; i < N; i++) {
        uint32_t state = input_u[i], acc = 0;

        for (uint32_t k = 0; k < 40; k++) {
            uint32_t way = state % 7;

            if (way == 3 && acc & 1)
                continue; /* the state stays */
            acc = way == 0   ? acc + state
                  : way == 1 ? acc ^ state << 3
                  : way == 2 ? acc - k
                  : way == 3 ? acc * 3 + 1
                  : way == 4 ? acc | 1
                  : way == 5 ? rotl(acc, 31)
                             : ~acc;
            state = state * 1664525u + 1013904223u;
            if (state == 0x12345678u)
                break;
        }
        out[i].u = acc;
    }
}

static void ref_recursive(union word *out)
{
    for (int i = 0; i < N; i++)
        out[i].u = 2 * (input_u[i] % 4) + 3; /* A(2, n) */
}

static void ref_cipher(union word *out)
{
    static const uint8_t box[16] = {12, 5, 6, 11, 9, 0, 10, 13, 3, 14, 15, 8, 4, 7, 1, 2};

    for (int i = 0; i < N; i++) {
        uint32_t x = input_u[i];

        for (uint32_t r = 0; r < 12; r++) {
            uint32_t y = 0;

            for (int k = 7; k >= 0; k--)
                y = y << 4 | box[x >> (4 * k) & 15];
            x = rotl(y, 7) ^ 0x9e3779b9u * (r + 1);
        }
        out[i].u = x;
    }
}

static void ref_signed_division(union word *out)
{
    for (uint32_t i = 0; i < N; i++) {
        int64_t a = (int32_t)input_u[i], b = (int32_t)input_u[(i * 7 + 1) % N];
        int16_t c = (int16_t)a, e = (int16_t)b;
        int64_t wide = a * b;

        b = b ? b : 1;
        e = e ? e : 1;
        out[i].u = (uint32_t)(a == INT32_MIN ? 0 : a / b) + (uint32_t)(a == INT32_MIN ? 0 : a % b) +
                   (uint32_t)(c / e) + (uint32_t)(wide / 1000003) + (uint32_t)(wide % 997);
    }
}

static void ref_bytes_and_halves(union word *out)
{
    for (int i = 0; i < N; i++) {
        uint32_t x = input_u[i];
        uint32_t sum = (uint32_t)((int8_t)x + (int8_t)(x >> 24) * 3 - (int)(x >> 16));

        out[i].u = (sum & 0xff00ffffu) | (x >> 8 & 255) << 16;
    }
}

/* --- references: floats --- */
static void ref_stencil(union word *out)
{
    for (int i = 0; i < N; i++) {
        float s[5];

        for (int k = 0; k < 5; k++)
            s[k] = i + k - 2 >= 0 && i + k - 2 < N ? input_f[i + k - 2] : 0;
        out[i].f = 0.1f * s[0] + 0.2f * s[1] + 0.4f * s[2] + 0.2f * s[3] + 0.1f * s[4];
    }
}

static void ref_mandelbrot(union word *out)
{
    for (int i = 0; i < N; i++) {
        float cx = (float)(i % 64) / 32.0f - 1.5f, cy = (float)(i / 64) / 32.0f - 1.0f, x = 0,
              y = 0;
        int k;

        for (k = 0; k < 100 && x * x + y * y < 4.0f; k++) {
            float t = x * x - y * y + cx;

            y = 2 * x * y + cy;
            x = t;
        }
        out[i].f = (float)k;
    }
}

static void ref_nbody(union word *out)
{
    for (int i = 0; i < N; i++) {
        float force = 0;

        for (int k = 0; k < N; k++) {
            float d = input_f[k] - input_f[i];

            force += d / (d * d + 0.01f);
        }
        out[i].f = force;
    }
}

static void ref_normalize(union word *out)
{
    for (int w = 0; w < N; w += 32) {
        float s[32];

        for (int k = 0; k < 32; k++)
            s[k] = input_f[w + k] * input_f[w + k];
        for (int step = 16; step; step /= 2)
            for (int k = 0; k < step; k++)
                s[k] += s[k + step];
        for (int k = 0; k < 32; k++)
            out[w + k].f = input_f[w + k] / sqrtf(s[0] + 1e-6f);
    }
}

static void ref_convolution(union word *out)
{
    for (int i = 0; i < N; i++) {
        float sum = 0;

        for (int y = -1; y <= 1; y++)
            for (int x = -1; x <= 1; x++) {
                int r = i / 64 + y, c = i % 64 + x;

                if (r >= 0 && r < 64 && c >= 0 && c < 64)
                    sum = fmaf(input_f[r * 64 + c], (float)((y + 2) * (x + 2)), sum);
            }
        out[i].f = sum;
    }
}

static void ref_horner(union word *out)
{
    for (int i = 0; i < N; i++) {
        float x = input_f[i] * 0.001f, r = 1;

        for (int k = 12; k; k--)
            r = fmaf(r, x / (float)k, 1.0f);
        out[i].f = r;
    }
}

static void ref_newton(union word *out)
{
    for (int i = 0; i < N; i++) {
        float a = fabsf(input_f[i]), x = a + 1;

        for (int k = 0; k < 60; k++) {
            float next = 0.5f * (x + a / x);

            if (next == x)
                break;
            x = next;
        }
        out[i].f = x;
    }
}

static void ref_doubles(union word *out)
{
    for (int i = 0; i < N; i++) {
        double x = input_f[i], s = 0;

        for (int k = 1; k <= 20; k++)
            s += x / (k * k) - (double)(long long)(x / k);
        out[i].f = (float)s;
    }
}

static void ref_vectors(union word *out)
{
    for (int i = 0; 4 * i + 3 < N; i++) {
        const float *v = &input_f[4 * i];

        out[4 * i].f = v[3] - v[0];
        out[4 * i + 1].f = v[2] * v[1];
        out[4 * i + 2].f = v[0] > v[1] ? v[0] : v[1];
        out[4 * i + 3].f = v[2] + 1.0f;
    }
}

static void ref_radix2(union word *out)
{
    for (int b = 0; b < N; b += 256) {
        float s[256];

        memcpy(s, &input_f[b], sizeof(s));
        for (int h = 1; h < 256; h *= 2)
            for (int k = 0; k < 256; k++)
                if (!(k & h)) {
                    float low = s[k], high = s[k + h];

                    s[k] = low + high;
                    s[k + h] = low - high;
                }
        for (int k = 0; k < 256; k++)
            out[b + k].f = s[k];
    }
}

static void ref_sparse(union word *out)
{
    for (uint32_t i = 0; i < N; i++) {
        float sum = 0;

        for (uint32_t k = 0; k < i % 5; k++)
            sum = fmaf(input_f[(i * 31 + k * 17) % N], (float)(k + 1), sum);
        out[i].f = sum;
    }
}

static void ref_lerp_table(union word *out)
{
    for (int i = 0; i < N; i++) {
        float x = fabsf(input_f[i]), low, high;
        int k;

        while (x >= 8)
            x *= 0.5f;
        k = (int)x;
        low = (float)(k * k) * 0.125f;
        high = (float)((k + 1) * (k + 1)) * 0.125f;
        out[i].f = low + (x - (float)k) * (high - low);
    }
}

static const struct {
    const char *file, *name;
    reference_fn *reference;
} kernels[] = {
#define K(file, name)                                                                              \
    {                                                                                              \
#file, #name, ref_##name                                                                   \
    }
    K(integer, collatz),
    K(integer, gcd),
    K(integer, crc32),
    K(integer, murmur3),
    K(integer, philox),
    K(integer, histogram),
    K(integer, scan),
    K(integer, bitonic),
    K(integer, compact),
    K(integer, transpose),
    K(integer, popcount_sum),
    K(integer, modpow),
    K(integer, queens),
    K(integer, automaton),
    K(integer, recursive),
    K(integer, cipher),
    K(integer, signed_division),
    K(integer, bytes_and_halves),
    K(floating, stencil),
    K(floating, mandelbrot),
    K(floating, nbody),
    K(floating, normalize),
    K(floating, convolution),
    K(floating, horner),
    K(floating, newton),
    K(floating, doubles),
    K(floating, vectors),
    K(floating, radix2),
    K(floating, sparse),
    K(floating, lerp_table),
};

#define KERNELS ((int)(sizeof(kernels) / sizeof(kernels[0])))

static const struct {
    const char *compiler;
    enum vgpu_ptx_isa isa;
    uint32_t threads;
} ways[] = {
    {"clang", VGPU_PTX_CPU_BASELINE, 1},
    {"nvcc", VGPU_PTX_CPU_BASELINE, 2},
    {"clang", VGPU_PTX_CPU_AUTO, 2},
    {"nvcc", VGPU_PTX_CPU_AUTO, 1},
};

START_TEST(kernel_gives_what_c_gives)
{
    int which = _i / 4, way = _i % 4;
    bool floats = !strcmp(kernels[which].file, "floating");
    struct vgpu_ptx_machine *machine = ptx_test_machine(ways[way].threads, ways[way].isa);
    struct vgpu_ptx_module *module;
    struct ptx_run_result result;
    union word *want = calloc(N, sizeof(*want)), *got;
    uint64_t params[3] = {0, 0, N};
    char path[128];
    void *host;

    make_inputs();
    ck_assert_ptr_nonnull(want);
    kernels[which].reference(want);
    snprintf(path, sizeof(path), FOLDER "%s.%s.ptx", kernels[which].file, ways[way].compiler);
    module = ptx_test_load_file(machine, path);
    params[0] = ptx_test_alloc(machine, N * 4, &host);
    memcpy(host, floats ? (const void *)input_f : (const void *)input_u, N * 4);
    params[1] = ptx_test_alloc(machine, N * 4, &host);
    got = host;
    result = ptx_test_launch(machine, ptx_test_function(module, kernels[which].name), N / 256, 256,
                             params, 3);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s: %s", path, result.fault.text);
    for (int i = 0; i < N; i++)
        unit_check(got[i].u == want[i].u, "%s %s[%d]: %08x (%g) instead of %08x (%g)", path,
                   kernels[which].name, i, got[i].u, (double)got[i].f, want[i].u,
                   (double)want[i].f);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
    free(want);
}
END_TEST

static Suite *ptx_kernels_suite(void)
{
    Suite *s = suite_create("ptx_kernels");
    TCase *tc = tcase_create("kernels");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, kernel_gives_what_c_gives, 0, KERNELS * 4);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_kernels_suite)
