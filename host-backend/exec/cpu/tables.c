// SPDX-License-Identifier: MIT
/*
 * The tables behind the parser: instructions, modifiers, types, special registers, all generated from the
 * .def files. Name look-up goes through maps in a small arena that lives as long as the process; it is
 * filled in once (ptx_tables_init) and read-only after that.
 */
#include "ir.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct op_row {
    const char *name, *need, *signature, *types, *mods;
    uint32_t flags;
};

static const struct op_row op_rows[] = {
#define OP(id, name, need, sig, types, mods, flags) {name, need, sig, types, mods, flags},
#include "opcodes.def"
#undef OP
};

static const char *const mod_names[] = {
#define MOD(id, text) text,
#include "mods.def"
#undef MOD
};

static const char *const type_names[] = {
#define T(name, bytes) #name,
    PTX_TYPES(T)
#undef T
};

static const uint8_t type_bytes[] = {
#define T(name, bytes) bytes,
    PTX_TYPES(T)
#undef T
};

static const struct ptx_sreg_info sreg_infos[] = {
    {"", 0, false},
#define SREG(id, text, bytes, is_volatile) {text, bytes, is_volatile},
#include "sregs.def"
#undef SREG
};

static struct ptx_op_info op_infos[PTX_OP_COUNT];
static struct vgpu_arena tables_arena;
static struct vgpu_map op_map, mod_map, type_map, sreg_map;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

/* Calls `each` for every word of a space-separated list. */
static const char *word_next(const char *list, const char **word, uint32_t *bytes)
{
    while (*list == ' ')
        list++;
    *word = list;
    while (*list && *list != ' ' && *list != '/')
        list++;
    *bytes = (uint32_t)(list - *word);
    return list;
}

static void words_to_mods(const char *list, struct ptx_mods *mods)
{
    const char *word;
    uint32_t bytes;

    for (list = word_next(list, &word, &bytes); bytes; list = word_next(list, &word, &bytes)) {
        enum ptx_mod mod = ptx_mod_find(word, bytes);

        if (mod == PTX_M_COUNT)
            abort(); /* our own table is wrong */
        ptx_mods_set(mods, mod);
    }
}

static void words_to_types(const char *list, uint64_t types[3])
{
    const char *word;
    uint32_t bytes, which = 0;

    for (;;) {
        list = word_next(list, &word, &bytes);
        if (bytes) {
            enum ptx_type type = ptx_type_find(word, bytes);

            if (type == PTX_T_none)
                abort(); /* our own table is wrong */
            types[which] |= 1ull << type;
        }
        if (*list == '/') {
            which++;
            list++;
        } else if (!bytes) {
            return;
        }
    }
}

static void map_put(struct vgpu_map *map, const char *name, uintptr_t value)
{
    if (!vgpu_map_insert(&tables_arena, map, name, (uint32_t)strlen(name), (void *)(value + 1)))
        abort(); /* 100 KiB of memory at the first use: there is no way to go on */
}

static void tables_fill(void)
{
    _Static_assert(PTX_T_COUNT <= 64, "type sets are 64 bits");
    vgpu_arena_init(&tables_arena, 1u << 20);
    for (uint32_t i = 0; i < PTX_M_COUNT; i++)
        map_put(&mod_map, mod_names[i], i);
    for (uint32_t i = 1; i < PTX_T_COUNT; i++)
        map_put(&type_map, type_names[i], i);
    for (uint32_t i = 1; i < PTX_SR_COUNT; i++)
        map_put(&sreg_map, sreg_infos[i].name, i);
    for (uint32_t i = PTX_OP_COUNT; i-- > 0;) {
        const struct op_row *row = &op_rows[i];
        struct ptx_op_info *info = &op_infos[i];

        map_put(&op_map, row->name, i);
        info->name = row->name;
        info->signature = row->signature;
        info->flags = row->flags;
        words_to_mods(row->need, &info->need);
        words_to_mods(row->mods, &info->allowed);
        for (uint32_t w = 0; w < PTX_MOD_WORDS; w++)
            info->allowed.word[w] |= info->need.word[w];
        words_to_types(row->types, info->types);
    }
}

void ptx_tables_init(void)
{
    pthread_once(&tables_once, tables_fill);
}

static uintptr_t map_get(const struct vgpu_map *map, const char *name, uint32_t bytes,
                         uintptr_t missing)
{
    void *value = vgpu_map_find(map, name, bytes);

    return value ? (uintptr_t)value - 1 : missing;
}

const struct ptx_op_info *ptx_op_info(enum ptx_opcode op)
{
    return &op_infos[op];
}

enum ptx_opcode ptx_op_find(const char *name, uint32_t bytes)
{
    return (enum ptx_opcode)map_get(&op_map, name, bytes, PTX_OP_COUNT);
}

/* Cache hints are many and change nothing here: they share one modifier, and L2::cache_hint brings an operand. */
enum ptx_mod ptx_mod_find(const char *name, uint32_t bytes)
{
    enum ptx_mod mod = (enum ptx_mod)map_get(&mod_map, name, bytes, PTX_M_COUNT);

    if (mod == PTX_M_COUNT && bytes > 4 && (!memcmp(name, "L1::", 4) || !memcmp(name, "L2::", 4)))
        return PTX_M_hint;
    return mod;
}

enum ptx_type ptx_type_find(const char *name, uint32_t bytes)
{
    return (enum ptx_type)map_get(&type_map, name, bytes, PTX_T_none);
}

uint32_t ptx_type_bytes(enum ptx_type type)
{
    return type_bytes[type];
}

const char *ptx_type_name(enum ptx_type type)
{
    return type_names[type];
}

const char *ptx_mod_name(enum ptx_mod mod)
{
    return mod_names[mod];
}

bool ptx_type_is_float(enum ptx_type type)
{
    return type >= PTX_T_f16 && type <= PTX_T_bf16x2;
}

bool ptx_type_is_pair(enum ptx_type type)
{
    return type == PTX_T_f16x2 || type == PTX_T_bf16x2 || type == PTX_T_e4m3x2 ||
           type == PTX_T_e5m2x2;
}

bool ptx_type_is_signed(enum ptx_type type)
{
    return type >= PTX_T_s8 && type <= PTX_T_s64;
}

enum ptx_sreg ptx_sreg_find(const char *name, uint32_t bytes, const char *suffix,
                            uint32_t suffix_bytes)
{
    char full[48];
    uint32_t total = bytes;

    if (bytes + suffix_bytes + 1 >= sizeof(full))
        return PTX_SR_none;
    memcpy(full, name, bytes);
    if (suffix_bytes) {
        full[total++] = '.';
        memcpy(full + total, suffix, suffix_bytes);
        total += suffix_bytes;
    }
    return (enum ptx_sreg)map_get(&sreg_map, full, total, PTX_SR_none);
}

const struct ptx_sreg_info *ptx_sreg_info(enum ptx_sreg sreg)
{
    return &sreg_infos[sreg];
}
