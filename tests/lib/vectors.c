/* SPDX-License-Identifier: MIT */
/*
 * Reading and comparing conformance vectors; see the header.
 */
#include "vectors.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *next_line(char **text)
{
    char *line = *text, *end = strchr(line, '\n');

    if (!*line)
        return NULL;
    if (end)
        *end = '\0';
    *text = end ? end + 1 : line + strlen(line);
    return line;
}

static bool parse_row(struct vectors *v, char *line)
{
    char *at = line, *end;

    for (unsigned int k = 0; k < v->inputs + v->outputs; k++) {
        uint64_t cell;

        if (k == v->inputs) {
            at = strchr(at, ':');
            if (!at)
                return false;
            at++;
        }
        errno = 0;
        cell = strtoull(at, &end, 16);
        if (end == at || errno || v->rows == VECTORS_MAX_ROWS)
            return false;
        at = end;
        if (k < v->inputs)
            v->in[v->rows * v->inputs + k] = cell;
        else
            v->expected[v->rows * v->outputs + k - v->inputs] = cell;
    }
    v->rows++;
    return true;
}

const char *vectors_parse(struct vectors *v, char *text)
{
    char *line = next_line(&text);
    int used = 0;

    v->rows = 0;
    if (!line || sscanf(line, "%u %u", &v->inputs, &v->outputs) != 2 || !v->inputs ||
        v->inputs > VECTORS_MAX_CELLS || !v->outputs || v->outputs > VECTORS_MAX_CELLS)
        return "the first line is not two counts";
    line = next_line(&text);
    for (unsigned int k = 0; k < v->outputs; k++, line += used) {
        if (!line || sscanf(line, "%23s%n", v->tolerance[k], &used) != 1)
            return "an output has no tolerance";
    }
    while ((line = next_line(&text))) {
        if (!parse_row(v, line))
            return line;
    }
    return v->rows > 0 ? NULL : "there are no rows";
}

static int64_t ordered(uint32_t bits)
{
    return bits & 0x80000000u ? -(int64_t)(bits & 0x7fffffffu) : (int64_t)bits;
}

static double half_value(uint16_t bits, int fraction_bits, int bias)
{
    int exponent = (bits & 0x7fff) >> fraction_bits;
    int fraction = bits & ((1 << fraction_bits) - 1);

    if (exponent == (0x7fff >> fraction_bits))
        return fraction ? NAN : bits & 0x8000 ? -INFINITY : INFINITY;
    if (exponent)
        fraction |= 1 << fraction_bits;
    return ldexp(bits & 0x8000 ? -fraction : fraction,
                 (exponent ? exponent : 1) - bias - fraction_bits);
}

/* Both halves of 32 bits; of a scalar's result the upper one is zero. */
static bool halves_within(const char *tolerance, uint64_t got, uint64_t want)
{
    bool relative = tolerance[0] == 'r', bf16 = tolerance[3] == 'b';
    double bound = strtod(strchr(tolerance, ':') + 1, NULL);

    if (got >> 32 != want >> 32)
        return false;
    for (unsigned int k = 0; k < 32; k += 16) {
        double g = half_value((uint16_t)(got >> k), bf16 ? 7 : 10, bf16 ? 127 : 15);
        double w = half_value((uint16_t)(want >> k), bf16 ? 7 : 10, bf16 ? 127 : 15);

        if ((uint16_t)(got >> k) != (uint16_t)(want >> k) &&
            !(fabs(g - w) <= (relative ? bound * fabs(w) : bound)))
            return false;
    }
    return true;
}

bool vectors_within(const char *tolerance, uint64_t got, uint64_t want)
{
    uint32_t gb = (uint32_t)got, wb = (uint32_t)want;
    float g, w;

    if (got == want)
        return true;
    memcpy(&g, &gb, sizeof(g));
    memcpy(&w, &wb, sizeof(w));
    if (!strncmp(tolerance, "ulp32:", 6))
        return g == g && w == w &&
               llabs(ordered(gb) - ordered(wb)) <= strtoll(tolerance + 6, NULL, 10);
    if (!strncmp(tolerance, "abs32:", 6))
        return fabs((double)g - (double)w) <= strtod(tolerance + 6, NULL);
    if (!strncmp(tolerance, "rel16:", 6) || !strncmp(tolerance, "abs16:", 6) ||
        !strncmp(tolerance, "relb16:", 7) || !strncmp(tolerance, "absb16:", 7))
        return halves_within(tolerance, got, want);
    if (!strncmp(tolerance, "rel64:", 6)) {
        double gd, wd;

        memcpy(&gd, &got, sizeof(gd));
        memcpy(&wd, &want, sizeof(wd));
        return fabs(gd - wd) <= strtod(tolerance + 6, NULL) * fabs(wd);
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

unsigned int vectors_families(const char *folder, char **names)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    unsigned int count = 0;

    while (dir && (entry = readdir(dir)) && count < VECTORS_MAX_FAMILIES) {
        char *dot = strrchr(entry->d_name, '.');

        if (dot && !strcmp(dot, ".vec"))
            names[count++] = strndup(entry->d_name, (size_t)(dot - entry->d_name));
    }
    if (dir)
        closedir(dir);
    qsort(names, count, sizeof(names[0]), by_name);
    return count;
}
