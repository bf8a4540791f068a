/* SPDX-License-Identifier: MIT */
/*
 * What a stage finds, as JSON lines on standard output:
 *
 *   {"kind": "check", "name": ..., "status": "pass"|"fail"|"skip", "detail": ...}
 *   {"kind": "figure", "name": ..., "unit": ..., "native": x, "vgpu": y, "ratio": y/x,
 *    "better": "more"|"less", "bar": b}
 *   {"kind": "value", "name": ..., "unit": ..., "value": x}
 *   {"kind": "facts", KEY: TEXT, ...}
 *
 * Every line is flushed: what a stage found before it was cut off is kept.
 */
#include "gpu.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned int failures;

static void put_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20 || *c > 0x7e)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

void gpu_check(enum gpu_result result, const char *name, const char *format, ...)
{
    static const char *const words[] = {"pass", "fail", "skip"};
    char detail[600];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    printf("{\"kind\": \"check\", \"name\": ");
    put_string(name);
    printf(", \"status\": \"%s\", \"detail\": ", words[result]);
    put_string(detail);
    printf("}\n");
    fflush(stdout);
    if (result == GPU_FAIL) {
        failures++;
        gpu_progress("FAILED %s: %s", name, detail);
    }
}

void gpu_figure(const char *name, const char *unit, double native, double vgpu, bool more,
                double bar)
{
    if (!(native > 0) || !(vgpu > 0) || !isfinite(native) || !isfinite(vgpu)) {
        gpu_check(GPU_FAIL, name, "could not be measured: native %g, vgpu %g %s", native, vgpu,
                  unit);
        return;
    }
    printf("{\"kind\": \"figure\", \"name\": ");
    put_string(name);
    printf(", \"unit\": ");
    put_string(unit);
    printf(
        ", \"native\": %.6g, \"vgpu\": %.6g, \"ratio\": %.5g, \"better\": \"%s\", \"bar\": %g}\n",
        native, vgpu, vgpu / native, more ? "more" : "less", bar);
    fflush(stdout);
}

void gpu_value(const char *name, const char *unit, double value)
{
    printf("{\"kind\": \"value\", \"name\": ");
    put_string(name);
    printf(", \"unit\": ");
    put_string(unit);
    printf(", \"value\": %.6g}\n", value);
    fflush(stdout);
}

void gpu_facts(const char *key, ...)
{
    va_list args;

    va_start(args, key);
    printf("{\"kind\": \"facts\"");
    for (; key; key = va_arg(args, const char *)) {
        printf(", ");
        put_string(key);
        printf(": ");
        put_string(va_arg(args, const char *));
    }
    printf("}\n");
    fflush(stdout);
    va_end(args);
}

void gpu_progress(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "gpu-check: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

unsigned int gpu_failures(void)
{
    return failures;
}

char *gpu_read(const struct gpu_options *options, const char *name, size_t *bytes)
{
    char path[1024], *text = NULL;
    long size = -1;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", options->data, name);
    file = fopen(path, "rbe");
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size > 0)
        text = malloc((size_t)size + 1);
    if (text) {
        rewind(file);
        if (fread(text, 1, (size_t)size, file) != (size_t)size) {
            free(text);
            text = NULL;
        }
    }
    if (file)
        fclose(file);
    if (!text) {
        gpu_check(GPU_FAIL, "data", "%s can't be read: is --data right?", path);
        exit(1);
    }
    text[size] = '\0';
    if (bytes)
        *bytes = (size_t)size;
    return text;
}
