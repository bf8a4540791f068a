// SPDX-License-Identifier: MIT
/*
 * PTX parser: the instructions that have a syntax of their own, and so check their operands themselves: bra, brx.idx and
 * call (PTX ISA "Control Flow Instructions").
 */
#include "parse.h"

bool ptx_parse_bra(struct ptx_parser *p, struct ptx_inst *inst)
{
    const char *name;
    uint32_t bytes;

    inst->operands = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->operands));
    if (!inst->operands)
        return ptx_no_memory(p);
    inst->operand_count = 1;
    inst->operands[0].kind = PTX_O_LABEL;
    return ptx_expect_name(p, &name, &bytes) &&
           ptx_label_use(p, name, bytes, inst->line, &inst->operands[0].id, NULL);
}

bool ptx_parse_brx(struct ptx_parser *p, struct ptx_inst *inst)
{
    const char *name;
    uint32_t bytes;

    inst->operands = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->operands));
    inst->call = vgpu_arena_alloc(p->arena, 1, sizeof(*inst->call));
    if (!inst->operands || !inst->call)
        return ptx_no_memory(p);
    inst->operand_count = 1;
    if (!ptx_parse_operand(p, &inst->operands[0], 0) ||
        !ptx_check_source(p, inst, &inst->operands[0], 4, false, false))
        return false;
    if (!ptx_expect(p, ',') || !ptx_expect_name(p, &name, &bytes))
        return false;
    return ptx_label_use(p, name, bytes, inst->line, NULL, inst->call);
}

/* (a, b, ...) of a call: .param variables, registers or constants. */
static bool parse_call_list(struct ptx_parser *p, struct ptx_operand **list, uint32_t *count)
{
    uint32_t capacity = 0;

    if (!ptx_expect(p, '('))
        return false;
    if (ptx_take_punct(p, ')'))
        return true;
    do {
        struct ptx_operand operand;

        if (*count >= PTX_MAX_PARAMS)
            return ptx_error(p, p->tok.line, "too many arguments");
        if (!ptx_parse_operand(p, &operand, 0))
            return false;
        if (operand.kind != PTX_O_REG && operand.kind != PTX_O_IMM &&
            !(operand.kind == PTX_O_VAR && operand.var->space == PTX_SPACE_LOCAL && !operand.bits))
            return ptx_error(p, p->tok.line,
                             "an argument is neither a .param variable, a register nor a constant");
        if (!vgpu_arena_grow(p->arena, (void **)list, &capacity, *count, sizeof(**list)))
            return ptx_no_memory(p);
        (*list)[(*count)++] = operand;
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ')');
}

static bool parse_call_target(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_operand *target = vgpu_arena_alloc(p->arena, 1, sizeof(*target));

    if (!target)
        return ptx_no_memory(p);
    if (!ptx_parse_operand(p, target, 0))
        return false;
    if (target->kind == PTX_O_FUNC) {
        if (target->func->is_entry)
            return ptx_inst_error(p, inst, "calls a kernel");
        inst->call->func = target->func;
        return true;
    }
    if (target->kind != PTX_O_REG || p->func->regs[target->id].type == PTX_T_pred ||
        ptx_reg_bytes(p, target->id) != 8)
        return ptx_inst_error(p, inst, "the target is neither a function nor a 64-bit register");
    inst->call->target = target;
    return true;
}

static bool check_call_args(struct ptx_parser *p, const struct ptx_inst *inst,
                            const struct ptx_operand *args, uint32_t count,
                            struct ptx_var *const *params, uint32_t param_count)
{
    if (count != param_count)
        return ptx_inst_error(p, inst, "another number of arguments than the function has");
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes = params[i]->bytes;

        if (args[i].kind == PTX_O_VAR && args[i].var->bytes != bytes)
            return ptx_inst_error(p, inst, "an argument's size differs from the parameter's");
        if (args[i].kind == PTX_O_REG && (p->func->regs[args[i].id].type == PTX_T_pred ||
                                          ptx_reg_bytes(p, args[i].id) < bytes || bytes > 8))
            return ptx_inst_error(p, inst, "an argument's size differs from the parameter's");
    }
    return true;
}

bool ptx_parse_call(struct ptx_parser *p, struct ptx_inst *inst)
{
    struct ptx_call *call = vgpu_arena_alloc(p->arena, 1, sizeof(*call));
    struct ptx_func *callee;

    if (!call)
        return ptx_no_memory(p);
    inst->call = call;
    if (ptx_is_punct(p, '(') &&
        (!parse_call_list(p, &call->rets, &call->ret_count) || !ptx_expect(p, ',')))
        return false;
    if (!parse_call_target(p, inst))
        return false;
    if (ptx_take_punct(p, ',')) {
        const char *name = NULL;
        uint32_t bytes = 0;

        if (ptx_is_punct(p, '(') && !parse_call_list(p, &call->args, &call->arg_count))
            return false;
        if ((ptx_take_punct(p, ',') || p->tok.kind == PTX_TOK_NAME) &&
            !ptx_expect_name(p, &name, &bytes))
            return false;
        if (name) {
            struct ptx_sym *sym = ptx_sym_find(p, name, bytes);

            if (!sym || sym->kind != PTX_SYM_PROTO || !sym->func)
                return ptx_inst_error(p, inst, "the prototype is not declared");
            call->proto = sym->func;
        }
    }
    callee = call->func ? call->func : call->proto;
    if (!callee)
        return ptx_inst_error(p, inst, "an indirect call without a prototype");
    for (uint32_t i = 0; i < call->ret_count; i++)
        if (call->rets[i].kind == PTX_O_IMM)
            return ptx_inst_error(p, inst, "a constant cannot receive a result");
    return check_call_args(p, inst, call->args, call->arg_count, callee->params,
                           callee->param_count) &&
           check_call_args(p, inst, call->rets, call->ret_count, callee->rets, callee->ret_count);
}
