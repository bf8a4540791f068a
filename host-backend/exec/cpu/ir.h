// SPDX-License-Identifier: MIT
/*
 * The parsed form of a PTX module, between the parser and the decoder.
 *
 * Everything here lives in the module's arena and refers to other parts by index or pointer into the arena.
 * The parser fills it in and guarantees: every operand's register exists and has the width that the
 * instruction wants, every label is inside its function, every type and modifier is in the opcode's row.
 * The decoder relies on exactly that and nothing more.
 */
#ifndef VGPU_EXEC_CPU_IR_H
#define VGPU_EXEC_CPU_IR_H

#include "arena.h"

#include <stdbool.h>
#include <stdint.h>

#define PTX_WARP_LANES       32u
#define PTX_MAX_OPERANDS     8u
#define PTX_MAX_SCOPE_DEPTH  64u
#define PTX_MAX_REGISTERS    (1u << 20) /* per function, declared and used */
#define PTX_MAX_INSTRUCTIONS (1u << 22) /* per function */
#define PTX_MAX_TARGETS      (1u << 20) /* of all brx.idx of a function together */
#define PTX_MAX_PARAMS       4096u
#define PTX_MAX_VAR_BYTES    (1ull << 32)

/* One instruction; see opcodes.def. */
#define PTX_F_CONTROL 1u
#define PTX_F_REFUSE  2u
#define PTX_F_WARP    4u
#define PTX_F_VIDEO   8u

enum ptx_opcode {
#define OP(id, name, need, sig, types, mods, flags) PTX_OP_##id,
#include "opcodes.def"
#undef OP
    PTX_OP_COUNT
};

enum ptx_mod {
#define MOD(id, text) PTX_M_##id,
#include "mods.def"
#undef MOD
    PTX_M_COUNT
};

#define PTX_MOD_WORDS 3u
_Static_assert(PTX_M_COUNT <= PTX_MOD_WORDS * 64, "modifier sets are too small");

struct ptx_mods {
    uint64_t word[PTX_MOD_WORDS];
};

static inline bool ptx_mods_has(const struct ptx_mods *mods, enum ptx_mod mod)
{
    return mods->word[mod / 64] >> (mod % 64) & 1;
}

static inline void ptx_mods_set(struct ptx_mods *mods, enum ptx_mod mod)
{
    mods->word[mod / 64] |= 1ull << (mod % 64);
}

#define PTX_TYPES(T)                                                                               \
    T(none, 0)                                                                                     \
    T(pred, 0)                                                                                     \
    T(b8, 1)                                                                                       \
    T(b16, 2)                                                                                      \
    T(b32, 4)                                                                                      \
    T(b64, 8)                                                                                      \
    T(b128, 16) T(u8, 1) T(u16, 2) T(u32, 4) T(u64, 8) T(s8, 1) T(s16, 2) T(s32, 4) T(s64, 8)      \
        T(f16, 2) T(bf16, 2) T(f32, 4) T(f64, 8) T(f16x2, 4) T(bf16x2, 4) T(u16x2, 4) T(s16x2, 4)  \
            T(tf32, 4) T(u2, 1) T(s2, 1) T(u4, 1) T(s4, 1) T(e4m3x2, 2) T(e5m2x2, 2) T(texref, 8)  \
                T(samplerref, 8) T(surfref, 8)

enum ptx_type {
#define T(name, bytes) PTX_T_##name,
    PTX_TYPES(T)
#undef T
        PTX_T_COUNT
};

enum ptx_space {
    PTX_SPACE_GENERIC,
    PTX_SPACE_GLOBAL,
    PTX_SPACE_SHARED,
    PTX_SPACE_LOCAL,
    PTX_SPACE_PARAM, /* the kernel's parameter block */
    PTX_SPACE_CONST,
    PTX_SPACE_REG,
};

enum ptx_operand_kind {
    PTX_O_NONE,
    PTX_O_REG,   /* id = register */
    PTX_O_IMM,   /* bits; is_float: a double, or f32 bits with is_f32 */
    PTX_O_SREG,  /* id = special register */
    PTX_O_VAR,   /* var + bits: an address */
    PTX_O_FUNC,  /* func: an address */
    PTX_O_LABEL, /* id = instruction index after resolution */
    PTX_O_VEC,   /* vec[count] */
    PTX_O_MEM,   /* base (REG, VAR, IMM) in vec[0], + bits */
    PTX_O_SINK,  /* _ */
};

/* The .h10 or .b3210 behind a register of a video instruction; at[0] is the last digit, the lowest lane. */
struct ptx_parts {
    bool minus;    /* of vmad: -a */
    uint8_t count; /* 0: none given */
    char unit;     /* 'h' or 'b' */
    uint8_t at[4];
};

struct ptx_operand {
    uint8_t kind;
    uint8_t count;
    bool negate; /* !p */
    bool is_float;
    bool is_f32;
    bool pair; /* d|p: vec[0], vec[1]; kind VEC */
    struct ptx_parts parts;
    uint32_t id;
    uint64_t bits;
    union {
        struct ptx_var *var;
        struct ptx_func *func;
        struct ptx_operand *vec;
    };
};

#define PTX_NO_GUARD UINT32_MAX

struct ptx_inst {
    uint16_t op; /* enum ptx_opcode */
    uint8_t type_count;
    uint8_t types[4];
    uint8_t operand_count;
    bool guard_negate;
    uint32_t guard; /* register, or PTX_NO_GUARD */
    uint32_t line;
    struct ptx_mods mods;
    struct ptx_operand *operands;
    struct ptx_call *call; /* of PTX_OP_call and PTX_OP_brx */
};

/* A .reg declaration: `count` registers named prefix0 .. prefix(count-1), or one called prefix. */
struct ptx_reg {
    uint8_t type; /* enum ptx_type */
};

struct ptx_reloc {
    uint64_t offset;
    uint32_t bytes;        /* 4 or 8 */
    struct ptx_var *var;   /* the address of this ... */
    struct ptx_func *func; /* ... or of this */
    int64_t addend;
    bool generic;
    uint8_t shift; /* mask(): which byte, for 1-byte relocations */
    struct ptx_reloc *next;
};

struct ptx_var {
    const char *name;
    uint32_t name_bytes;
    uint32_t line;
    uint8_t space;
    uint8_t type;
    uint8_t vector; /* elements of a .v2/.v4 */
    bool is_extern;
    bool is_weak;
    bool is_visible;
    bool is_array;
    bool is_unsized; /* name[] without initialiser */
    bool has_init;
    uint32_t align;
    uint64_t bytes;
    uint8_t *init; /* the first init_bytes, or NULL; zeros follow */
    uint64_t init_bytes;
    struct ptx_reloc *relocs;
    uint64_t address; /* global, const: VA; shared, param: offset; local: offset in the frame */
    struct ptx_var *target;        /* an extern that another input defines */
    struct ptx_module_ir *module;  /* that declares it */
    struct ptx_func *visit_kernel; /* shared: the last kernel found to reach it */
    bool is_shared_by_many;
    struct ptx_var *next;
};

struct ptx_call {
    struct ptx_func *func;      /* direct */
    struct ptx_func *proto;     /* indirect: the prototype */
    struct ptx_operand *target; /* indirect: the register */
    struct ptx_operand *args;
    struct ptx_operand *rets;
    uint32_t arg_count;
    uint32_t ret_count;
    uint32_t *targets; /* brx.idx: instruction indices */
    uint32_t target_count;
};

struct ptx_code; /* decode.h */

struct ptx_func {
    const char *name;
    uint32_t name_bytes;
    uint32_t line;
    uint32_t index; /* in the module; part of its address */
    bool is_entry;
    bool is_extern;
    bool is_weak;
    bool is_visible;
    bool is_proto;
    bool has_body;
    uint32_t reqntid[3];
    uint32_t maxntid[3];
    struct ptx_var **params;
    struct ptx_var **rets;
    uint32_t param_count;
    uint32_t ret_count;
    uint32_t param_bytes;
    uint32_t local_bytes;
    struct ptx_reg *regs;
    uint32_t reg_count;
    uint32_t reg_capacity;
    struct ptx_inst *insts;
    uint32_t inst_count;
    uint32_t inst_capacity;
    uint32_t target_count;  /* of all PTX_OP_brx */
    struct ptx_var *shared; /* declared inside the function */
    uint32_t shared_count;
    uint32_t shared_bytes;   /* of an entry: static total */
    struct ptx_func *target; /* the definition elsewhere, of a declaration */
    struct ptx_code *code;
    struct ptx_module_ir *module;
    struct ptx_func *next;
    uint32_t visit; /* call graph walks */
};

struct ptx_module_ir {
    struct vgpu_arena *arena;
    const char *input; /* its name, for messages */
    uint32_t index;    /* among the inputs */
    uint32_t version;
    uint32_t target_sm;
    bool asks_reserved; /* for where the reserved shared memory is */
    struct ptx_func *funcs, **funcs_end;
    struct ptx_var *vars, **vars_end;
    struct vgpu_map names;
    uint32_t func_count;
};

/* Static tables, filled in once. */
struct ptx_op_info {
    const char *name;
    const char *signature;
    uint32_t flags;
    struct ptx_mods need;
    struct ptx_mods allowed; /* `need` included */
    uint64_t types[3];       /* bit sets of enum ptx_type */
};

void ptx_tables_init(void);
const struct ptx_op_info *ptx_op_info(enum ptx_opcode op);
/* First row of that mnemonic, PTX_OP_COUNT if unknown; rows of one mnemonic follow each other. */
enum ptx_opcode ptx_op_find(const char *name, uint32_t bytes);
enum ptx_mod ptx_mod_find(const char *name, uint32_t bytes);   /* PTX_M_COUNT: unknown */
enum ptx_type ptx_type_find(const char *name, uint32_t bytes); /* PTX_T_none: unknown */
uint32_t ptx_type_bytes(enum ptx_type type);
const char *ptx_type_name(enum ptx_type type);
const char *ptx_mod_name(enum ptx_mod mod);
bool ptx_type_is_float(enum ptx_type type);
bool ptx_type_is_pair(enum ptx_type type); /* two floating-point numbers */
bool ptx_type_is_signed(enum ptx_type type);

/* Special registers. */
enum ptx_sreg {
    PTX_SR_none,
#define SREG(id, text, bytes, is_volatile) PTX_SR_##id,
#include "sregs.def"
#undef SREG
    PTX_SR_COUNT
};

struct ptx_sreg_info {
    const char *name;
    uint8_t bytes;
    bool is_volatile; /* read anew each time; the others are constant for a frame */
};

enum ptx_sreg ptx_sreg_find(const char *name, uint32_t bytes, const char *suffix,
                            uint32_t suffix_bytes);
const struct ptx_sreg_info *ptx_sreg_info(enum ptx_sreg sreg);

#endif
