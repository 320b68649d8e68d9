// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_expr.c - a small stack machine over values of the form "register + constant".
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state
 * Allocates:  never
 * Fails:      with a negative errno; operations and stack depth are bounded
 */
#include "unwind/unwind_expr.h"

#include <errno.h>

#include "unwind/unwind_cursor.h"

enum { MAX_OPS = 24, MAX_STACK = 4 };

/* DW_OP_* that CFI of real programs uses. */
enum {
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08,
    OP_CONST1S = 0x09,
    OP_CONST2U = 0x0a,
    OP_CONST2S = 0x0b,
    OP_CONST4U = 0x0c,
    OP_CONST4S = 0x0d,
    OP_AND = 0x1a,
    OP_MINUS = 0x1c,
    OP_PLUS = 0x22,
    OP_PLUS_UCONST = 0x23,
    OP_SHL = 0x24,
    OP_GE = 0x2a,
    OP_LIT0 = 0x30,
    OP_LIT31 = 0x4f,
    OP_BREG0 = 0x70,
    OP_BREG31 = 0x8f,
};

struct machine {
    struct rtd_unwind_linear stack[MAX_STACK];
    unsigned depth;
    uintptr_t pc;
};

static int push(struct machine *machine, uint8_t reg, int64_t offset)
{
    if (machine->depth >= MAX_STACK) {
        return -ENOTSUP;
    }
    machine->stack[machine->depth++] =
        (struct rtd_unwind_linear){.offset = offset, .reg = reg, .is_deref = false};
    return 0;
}

static int push_register(struct machine *machine, uint8_t reg, int64_t offset)
{
    if (reg == RTD_UNWIND_REG_RIP) {
        return push(machine, RTD_UNWIND_REG_NONE,
                    (int64_t)((uint64_t)machine->pc + (uint64_t)offset));
    }
    if (reg != RTD_UNWIND_REG_RSP && reg != RTD_UNWIND_REG_RBP) {
        return -ENOTSUP;
    }
    return push(machine, reg, offset);
}

static bool is_constant(const struct rtd_unwind_linear *value)
{
    return value->reg == RTD_UNWIND_REG_NONE && !value->is_deref;
}

/* left = left OP right; at most one of them may contain a register, and only under plus, minus. */
static int apply(struct machine *machine, uint8_t op)
{
    if (machine->depth < 2) {
        return -EBADMSG;
    }
    struct rtd_unwind_linear *const left = &machine->stack[machine->depth - 2];
    const struct rtd_unwind_linear right = machine->stack[machine->depth - 1];
    machine->depth--;
    const uint64_t a = (uint64_t)left->offset;
    const uint64_t b = (uint64_t)right.offset;

    if (op == OP_PLUS && is_constant(left) && !right.is_deref) {
        *left = right;
        left->offset = (int64_t)(a + b);
        return 0;
    }
    if (!is_constant(&right) || left->is_deref) {
        return -ENOTSUP;
    }
    if (op != OP_PLUS && op != OP_MINUS && !is_constant(left)) {
        return -ENOTSUP;
    }
    if (op == OP_PLUS) {
        left->offset = (int64_t)(a + b);
    } else if (op == OP_MINUS) {
        left->offset = (int64_t)(a - b);
    } else if (op == OP_AND) {
        left->offset = (int64_t)(a & b);
    } else if (op == OP_GE) {
        left->offset = left->offset >= right.offset;
    } else if (op == OP_SHL && b < 64) {
        left->offset = (int64_t)(a << b);
    } else {
        return -ENOTSUP;
    }
    return 0;
}

static int deref(struct machine *machine)
{
    if (machine->depth == 0) {
        return -EBADMSG;
    }
    struct rtd_unwind_linear *const top = &machine->stack[machine->depth - 1];
    if (top->is_deref || is_constant(top)) {
        return -ENOTSUP;
    }
    top->is_deref = true;
    return 0;
}

static int add_constant(struct machine *machine, uint64_t value)
{
    if (machine->depth == 0) {
        return -EBADMSG;
    }
    struct rtd_unwind_linear *const top = &machine->stack[machine->depth - 1];
    if (top->is_deref) {
        return -ENOTSUP;
    }
    top->offset = (int64_t)((uint64_t)top->offset + value);
    return 0;
}

static int step(struct machine *machine, struct rtd_unwind_cursor *code)
{
    const uint8_t op = (uint8_t)rtd_unwind_cursor_fixed(code, 1);

    if (op >= OP_LIT0 && op <= OP_LIT31) {
        return push(machine, RTD_UNWIND_REG_NONE, op - OP_LIT0);
    }
    if (op >= OP_BREG0 && op <= OP_BREG31) {
        return push_register(machine, (uint8_t)(op - OP_BREG0), rtd_unwind_cursor_sleb(code));
    }

    switch (op) {
    case OP_CONST1U:
        return push(machine, RTD_UNWIND_REG_NONE, (int64_t)rtd_unwind_cursor_fixed(code, 1));
    case OP_CONST1S:
        return push(machine, RTD_UNWIND_REG_NONE, (int8_t)rtd_unwind_cursor_fixed(code, 1));
    case OP_CONST2U:
        return push(machine, RTD_UNWIND_REG_NONE, (int64_t)rtd_unwind_cursor_fixed(code, 2));
    case OP_CONST2S:
        return push(machine, RTD_UNWIND_REG_NONE, (int16_t)rtd_unwind_cursor_fixed(code, 2));
    case OP_CONST4U:
        return push(machine, RTD_UNWIND_REG_NONE, (int64_t)rtd_unwind_cursor_fixed(code, 4));
    case OP_CONST4S:
        return push(machine, RTD_UNWIND_REG_NONE, (int32_t)rtd_unwind_cursor_fixed(code, 4));
    case OP_PLUS_UCONST:
        return add_constant(machine, rtd_unwind_cursor_uleb(code));
    case OP_DEREF:
        return deref(machine);
    default:
        return apply(machine, op);
    }
}

int rtd_unwind_expr_eval(const uint8_t *expression, const uint8_t *end, uintptr_t pc,
                         struct rtd_unwind_linear *result)
{
    struct machine machine = {.depth = 0, .pc = pc};
    struct rtd_unwind_cursor code = {.at = expression, .end = end, .bad = false};
    const uint64_t size = rtd_unwind_cursor_uleb(&code);

    if (code.bad || size > (uint64_t)(end - code.at)) {
        return -EBADMSG;
    }
    code.end = code.at + size;

    for (unsigned ops = 0; code.at < code.end; ops++) {
        const int status = ops < MAX_OPS ? step(&machine, &code) : -ENOTSUP;
        if (status < 0) {
            return status;
        }
    }
    if (code.bad || machine.depth == 0) {
        return -EBADMSG;
    }
    *result = machine.stack[machine.depth - 1];
    return 0;
}
