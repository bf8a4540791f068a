// SPDX-License-Identifier: MIT
/*
 * PTX parser: directives that say something about a function or a variable (PTX ISA "Performance-Tuning Directives",
 * "Cluster Dimension Directives", "Variable Attribute Directive: .attribute", ".pragma").
 *
 * Hints are read and dropped. What changes how the text has to run is kept, or refused by name where this machine
 * cannot do it: a launch has no clusters, so each block is a cluster of its own, and a kernel that needs more blocks
 * in one would wait for blocks that are not there.
 */
#include "parse.h"

#include <string.h>

/* .pragma "string", ...; whatever the strings say, it has no effect on what the text means */
bool ptx_parse_pragma(struct ptx_parser *p)
{
    ptx_next(p);
    do {
        if (p->tok.kind != PTX_TOK_STRING)
            return ptx_unexpected(p, "a string");
        ptx_next(p);
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ';');
}

static bool parse_uuid_half(struct ptx_parser *p)
{
    if (p->tok.kind != PTX_TOK_INT)
        return ptx_unexpected(p, "an integer");
    ptx_next(p);
    return true;
}

/*
 * .attribute(.managed), of global variables: the host may use the variable, too.  That is the business of whoever
 * places it; kernels see a variable like any other.  .attribute(.unified(u, v)): one address on all devices.
 */
bool ptx_parse_attributes(struct ptx_parser *p, enum ptx_space space)
{
    ptx_next(p);
    if (!ptx_expect(p, '('))
        return false;
    do {
        uint32_t line = p->tok.line;

        if (ptx_take_dot(p, "managed")) {
            if (space != PTX_SPACE_GLOBAL)
                return ptx_error(p, line, ".attribute(.managed) is for .global variables");
        } else if (ptx_take_dot(p, "unified")) {
            if (space != PTX_SPACE_GLOBAL && space != PTX_SPACE_GENERIC)
                return ptx_error(p, line,
                                 ".attribute(.unified) is for .global variables and functions");
            if (!ptx_expect(p, '(') || !parse_uuid_half(p) || !ptx_expect(p, ',') ||
                !parse_uuid_half(p) || !ptx_expect(p, ')'))
                return false;
            ptx_unsupported(p, line,
                            "'.attribute(.unified)': addresses that are the same on all devices");
        } else {
            return ptx_unexpected(p, "an attribute");
        }
    } while (ptx_take_punct(p, ','));
    return ptx_expect(p, ')');
}

static bool parse_dims(struct ptx_parser *p, uint32_t dims[3])
{
    uint32_t i = 0;

    dims[0] = dims[1] = dims[2] = 1;
    do {
        uint64_t value;
        bool is_float;

        if (i == 3)
            return ptx_error(p, p->tok.line, "more than three dimensions");
        if (!ptx_parse_constant(p, &value, &is_float))
            return false;
        if (is_float || !value || value > UINT32_MAX)
            return ptx_error(p, p->tok.line, "a dimension out of range");
        dims[i++] = (uint32_t)value;
    } while (ptx_take_punct(p, ','));
    return true;
}

/* One number that only helps a compiler; false also if it is none of these, without an error. */
static bool parse_hint(struct ptx_parser *p)
{
    static const char *const hints[] = {"minnctapersm",        "maxnctapersm",  "maxnreg",
                                        "maxclusterrank",      "local_maxnreg", "abi_preserve",
                                        "abi_preserve_control"};

    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        uint64_t value;
        bool is_float;
        uint32_t line = p->tok.line;

        if (!ptx_take_dot(p, hints[i]))
            continue;
        if (!ptx_parse_constant(p, &value, &is_float))
            return false;
        return !is_float || ptx_error(p, line, ".%s wants an integer", hints[i]);
    }
    return false;
}

/* What the directives of a function say of clusters, with the line of each (0: not there). */
struct cluster {
    uint32_t required, is_explicit, blocks_are_clusters;
    uint32_t dims[3];
};

static bool check_cluster(struct ptx_parser *p, const struct ptx_func *func,
                          const struct cluster *c)
{
    if (c->blocks_are_clusters && (!c->required || !func->reqntid[0]))
        return ptx_error(p, c->blocks_are_clusters,
                         ".blocksareclusters needs .reqntid and .reqnctapercluster");
    if (c->required && (c->dims[0] > 1 || c->dims[1] > 1 || c->dims[2] > 1))
        ptx_unsupported(p, c->required,
                        "'.reqnctapercluster %u, %u, %u': a cluster of more than one block",
                        c->dims[0], c->dims[1], c->dims[2]);
    if (c->is_explicit && !c->required)
        ptx_unsupported(p, c->is_explicit,
                        "'.explicitcluster' without .reqnctapercluster: a launch can't say how "
                        "many blocks a cluster has");
    return true;
}

bool ptx_parse_func_directives(struct ptx_parser *p, struct ptx_func *func)
{
    struct cluster cluster = {.required = 0};

    while (p->tok.kind == PTX_TOK_DOT) {
        uint32_t line = p->tok.line;

        if (ptx_take_dot(p, "maxntid")) {
            if (!parse_dims(p, func->maxntid))
                return false;
        } else if (ptx_take_dot(p, "reqntid")) {
            if (!parse_dims(p, func->reqntid))
                return false;
        } else if (ptx_take_dot(p, "reqnctapercluster")) {
            cluster.required = line;
            if (!parse_dims(p, cluster.dims))
                return false;
        } else if (ptx_take_dot(p, "explicitcluster")) {
            cluster.is_explicit = line;
        } else if (ptx_take_dot(p, "blocksareclusters")) {
            cluster.blocks_are_clusters = line;
        } else if (ptx_is_dot(p, "pragma")) {
            if (!ptx_parse_pragma(p))
                return false;
        } else if (!ptx_take_dot(p, "noreturn") && !parse_hint(p)) {
            return ptx_unexpected(p, "a function directive");
        }
    }
    return check_cluster(p, func, &cluster);
}
