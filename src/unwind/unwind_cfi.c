// SPDX-License-Identifier: Apache-2.0
/*
 * unwind_cfi.c - a bounded interpreter for the CFI program of one function and one pc.
 *
 * Runs in:    agent (slow path, first sight of a pc), tests, fuzzers
 * Threads:    no state
 * Allocates:  never
 * Fails:      by the rule NONE
 *
 * Only four columns of DWARF's table matter to a walk: the CFA, and where the caller's rbp, rsp
 * and rip are found. Rules for all other registers are parsed and dropped.
 *
 * Invariant: a rule other than NONE is exactly the row that libgcc's unwinder would apply. In case
 * of doubt the answer is NONE for the row, or LOST for rbp alone, which only a later frame that
 * needs rbp notices.
 */
#include "unwind/unwind_cfi.h"

#include "unwind/unwind_cursor.h"
#include "unwind/unwind_expr.h"

enum column { COLUMN_CFA, COLUMN_RBP, COLUMN_RSP, COLUMN_RIP, COLUMN_COUNT };

/* How a column's value is found. Zero is "never mentioned": unchanged, by the x86-64 ABI. */
enum how {
    HOW_UNSET = 0,
    HOW_UNDEFINED,
    HOW_OFFSET,     /* saved at CFA + value (CFA column: cfa_reg + value) */
    HOW_VAL_OFFSET, /* is CFA + value */
    HOW_EXPR,       /* saved at the address that the expression at low + value gives */
    HOW_OTHER,      /* in another register, or an expression for the value itself */
};

struct row {
    int32_t value[COLUMN_COUNT];
    uint8_t how[COLUMN_COUNT];
    uint8_t cfa_reg;
};

struct machine {
    const struct rtd_unwind_program *program;
    const uint8_t *low; /* expressions are remembered as offsets from here */
    uintptr_t location;
    uintptr_t target;
    uint16_t ops_left;
    uint8_t depth;
    bool bad;
    bool done; /* the next row lies beyond the target */
    struct row row;
    struct row initial; /* what DW_CFA_restore goes back to */
    struct row remembered[RTD_UNWIND_CFI_MAX_DEPTH];
};

/* DW_CFA_*: three with the operand in the low six bits, the rest plain. */
enum {
    CFA_ADVANCE_LOC = 0x40,
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xc0,
    CFA_NOP = 0x00,
    CFA_SET_LOC = 0x01,
    CFA_ADVANCE_LOC1 = 0x02,
    CFA_ADVANCE_LOC2 = 0x03,
    CFA_ADVANCE_LOC4 = 0x04,
    CFA_OFFSET_EXTENDED = 0x05,
    CFA_RESTORE_EXTENDED = 0x06,
    CFA_UNDEFINED = 0x07,
    CFA_SAME_VALUE = 0x08,
    CFA_REGISTER = 0x09,
    CFA_REMEMBER_STATE = 0x0a,
    CFA_RESTORE_STATE = 0x0b,
    CFA_DEF_CFA = 0x0c,
    CFA_DEF_CFA_REGISTER = 0x0d,
    CFA_DEF_CFA_OFFSET = 0x0e,
    CFA_DEF_CFA_EXPRESSION = 0x0f,
    CFA_EXPRESSION = 0x10,
    CFA_OFFSET_EXTENDED_SF = 0x11,
    CFA_DEF_CFA_SF = 0x12,
    CFA_DEF_CFA_OFFSET_SF = 0x13,
    CFA_VAL_OFFSET = 0x14,
    CFA_VAL_OFFSET_SF = 0x15,
    CFA_VAL_EXPRESSION = 0x16,
    CFA_GNU_ARGS_SIZE = 0x2e,
    CFA_GNU_NEGATIVE_OFFSET = 0x2f,
};

/* Offsets beyond this never occur; the limit keeps all later arithmetic in 32 bits. */
#define MAX_OFFSET_BYTES (INT64_C(1) << 28)

static int32_t checked_offset(struct machine *machine, int64_t value)
{
    if (value < -MAX_OFFSET_BYTES || value > MAX_OFFSET_BYTES) {
        machine->bad = true;
        return 0;
    }
    return (int32_t)value;
}

/* A number of data_align units as bytes. */
static int32_t factored(struct machine *machine, int64_t units)
{
    return checked_offset(machine,
                          checked_offset(machine, units) * (int64_t)machine->program->data_align);
}

static int32_t unsigned_offset(struct machine *machine, struct rtd_unwind_cursor *code)
{
    const uint64_t value = rtd_unwind_cursor_uleb(code);
    return checked_offset(machine, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static void set_column(struct machine *machine, uint64_t reg, enum how how, int32_t value)
{
    enum column column;

    if (reg == RTD_UNWIND_REG_RBP) {
        column = COLUMN_RBP;
    } else if (reg == RTD_UNWIND_REG_RSP) {
        column = COLUMN_RSP;
    } else if (reg == RTD_UNWIND_REG_RIP) {
        column = COLUMN_RIP;
    } else {
        return;
    }
    machine->row.how[column] = (uint8_t)how;
    machine->row.value[column] = value;
}

static void restore_column(struct machine *machine, uint64_t reg)
{
    const struct row *const initial = &machine->initial;

    if (reg == RTD_UNWIND_REG_RBP) {
        set_column(machine, reg, initial->how[COLUMN_RBP], initial->value[COLUMN_RBP]);
    } else if (reg == RTD_UNWIND_REG_RSP) {
        set_column(machine, reg, initial->how[COLUMN_RSP], initial->value[COLUMN_RSP]);
    } else if (reg == RTD_UNWIND_REG_RIP) {
        set_column(machine, reg, initial->how[COLUMN_RIP], initial->value[COLUMN_RIP]);
    }
}

static void define_cfa(struct machine *machine, uint64_t reg, int32_t offset)
{
    machine->row.how[COLUMN_CFA] = HOW_OFFSET;
    machine->row.cfa_reg = reg < RTD_UNWIND_REG_NONE ? (uint8_t)reg : RTD_UNWIND_REG_NONE;
    machine->row.value[COLUMN_CFA] = offset;
}

static void advance(struct machine *machine, uint64_t delta)
{
    const uintptr_t next = machine->location + delta * machine->program->code_align;

    if (next > machine->target || next < machine->location) {
        machine->done = true;
        return;
    }
    machine->location = next;
}

/* The place of an expression, as an offset; leaves the cursor behind the expression. */
static int32_t skip_expression(struct machine *machine, struct rtd_unwind_cursor *code)
{
    const int64_t place = code->at - machine->low;

    rtd_unwind_cursor_skip(code, rtd_unwind_cursor_uleb(code));
    return checked_offset(machine, place);
}

static void remember_state(struct machine *machine)
{
    if (machine->depth >= RTD_UNWIND_CFI_MAX_DEPTH) {
        machine->bad = true;
        return;
    }
    machine->remembered[machine->depth++] = machine->row;
}

static void restore_state(struct machine *machine)
{
    if (machine->depth == 0) {
        machine->bad = true;
        return;
    }
    machine->row = machine->remembered[--machine->depth];
}

/* Operations on the location and on the whole row. Returns false for any other. */
static bool step_row(struct machine *machine, struct rtd_unwind_cursor *code, uint8_t op)
{
    switch (op) {
    case CFA_NOP:
        return true;
    case CFA_SET_LOC: {
        const uintptr_t next = rtd_unwind_cursor_pointer(code, machine->program->pointer_encoding);
        machine->done = next > machine->target;
        machine->bad |= next < machine->location;
        machine->location = next;
        return true;
    }
    case CFA_ADVANCE_LOC1:
        advance(machine, rtd_unwind_cursor_fixed(code, 1));
        return true;
    case CFA_ADVANCE_LOC2:
        advance(machine, rtd_unwind_cursor_fixed(code, 2));
        return true;
    case CFA_ADVANCE_LOC4:
        advance(machine, rtd_unwind_cursor_fixed(code, 4));
        return true;
    case CFA_REMEMBER_STATE:
        remember_state(machine);
        return true;
    case CFA_RESTORE_STATE:
        restore_state(machine);
        return true;
    case CFA_GNU_ARGS_SIZE:
        rtd_unwind_cursor_uleb(code);
        return true;
    default:
        return false;
    }
}

/* Operations that define the CFA. Returns false for any other. */
static bool step_cfa(struct machine *machine, struct rtd_unwind_cursor *code, uint8_t op)
{
    uint64_t reg;

    switch (op) {
    case CFA_DEF_CFA:
        reg = rtd_unwind_cursor_uleb(code);
        define_cfa(machine, reg, unsigned_offset(machine, code));
        return true;
    case CFA_DEF_CFA_SF:
        reg = rtd_unwind_cursor_uleb(code);
        define_cfa(machine, reg, factored(machine, rtd_unwind_cursor_sleb(code)));
        return true;
    case CFA_DEF_CFA_REGISTER:
        machine->bad |= machine->row.how[COLUMN_CFA] != HOW_OFFSET;
        define_cfa(machine, rtd_unwind_cursor_uleb(code), machine->row.value[COLUMN_CFA]);
        return true;
    case CFA_DEF_CFA_OFFSET:
        machine->bad |= machine->row.how[COLUMN_CFA] != HOW_OFFSET;
        machine->row.value[COLUMN_CFA] = unsigned_offset(machine, code);
        return true;
    case CFA_DEF_CFA_OFFSET_SF:
        machine->bad |= machine->row.how[COLUMN_CFA] != HOW_OFFSET;
        machine->row.value[COLUMN_CFA] = factored(machine, rtd_unwind_cursor_sleb(code));
        return true;
    case CFA_DEF_CFA_EXPRESSION:
        machine->row.how[COLUMN_CFA] = HOW_EXPR;
        machine->row.value[COLUMN_CFA] = skip_expression(machine, code);
        return true;
    default:
        return false;
    }
}

/* Operations on one register: first its number, then what op says. */
static void step_register(struct machine *machine, struct rtd_unwind_cursor *code, uint8_t op)
{
    const uint64_t reg = rtd_unwind_cursor_uleb(code);

    switch (op) {
    case CFA_OFFSET_EXTENDED:
        set_column(machine, reg, HOW_OFFSET, factored(machine, unsigned_offset(machine, code)));
        break;
    case CFA_OFFSET_EXTENDED_SF:
        set_column(machine, reg, HOW_OFFSET, factored(machine, rtd_unwind_cursor_sleb(code)));
        break;
    case CFA_GNU_NEGATIVE_OFFSET:
        set_column(machine, reg, HOW_OFFSET, -factored(machine, unsigned_offset(machine, code)));
        break;
    case CFA_VAL_OFFSET:
        set_column(machine, reg, HOW_VAL_OFFSET, factored(machine, unsigned_offset(machine, code)));
        break;
    case CFA_VAL_OFFSET_SF:
        set_column(machine, reg, HOW_VAL_OFFSET, factored(machine, rtd_unwind_cursor_sleb(code)));
        break;
    case CFA_RESTORE_EXTENDED:
        restore_column(machine, reg);
        break;
    case CFA_UNDEFINED:
        set_column(machine, reg, HOW_UNDEFINED, 0);
        break;
    case CFA_SAME_VALUE:
        set_column(machine, reg, HOW_UNSET, 0);
        break;
    case CFA_REGISTER:
        rtd_unwind_cursor_uleb(code);
        set_column(machine, reg, HOW_OTHER, 0);
        break;
    case CFA_EXPRESSION:
        set_column(machine, reg, HOW_EXPR, skip_expression(machine, code));
        break;
    case CFA_VAL_EXPRESSION:
        skip_expression(machine, code);
        set_column(machine, reg, HOW_OTHER, 0);
        break;
    default:
        machine->bad = true;
        break;
    }
}

static void step(struct machine *machine, struct rtd_unwind_cursor *code)
{
    const uint8_t op = (uint8_t)rtd_unwind_cursor_fixed(code, 1);

    switch (op & 0xc0) {
    case CFA_ADVANCE_LOC:
        advance(machine, op & 0x3f);
        return;
    case CFA_OFFSET:
        set_column(machine, op & 0x3f, HOW_OFFSET,
                   factored(machine, unsigned_offset(machine, code)));
        return;
    case CFA_RESTORE:
        restore_column(machine, op & 0x3f);
        return;
    default:
        if (!step_row(machine, code, op) && !step_cfa(machine, code, op)) {
            step_register(machine, code, op);
        }
        return;
    }
}

/* Runs instructions until their end or the first row beyond the target. */
static void run(struct machine *machine, const uint8_t *begin, const uint8_t *end)
{
    struct rtd_unwind_cursor code = {.at = begin, .end = end, .bad = false};

    while (code.at < code.end && !machine->done && !machine->bad) {
        if (machine->ops_left == 0) {
            machine->bad = true;
            return;
        }
        machine->ops_left--;
        step(machine, &code);
    }
    machine->bad |= code.bad;
}

/* The row's CFA as "register + constant" or what memory holds there. */
static bool linear_cfa(const struct rtd_unwind_image *image, const struct row *row, uintptr_t pc,
                       struct rtd_unwind_linear *cfa)
{
    if (row->how[COLUMN_CFA] == HOW_OFFSET) {
        *cfa = (struct rtd_unwind_linear){
            .offset = row->value[COLUMN_CFA], .reg = row->cfa_reg, .is_deref = false};
        return true;
    }
    return row->how[COLUMN_CFA] == HOW_EXPR &&
           rtd_unwind_expr_eval(image->low + row->value[COLUMN_CFA], image->high, pc, cfa) == 0;
}

/* Whether a column is saved at rsp + offset: the form of glibc's signal return. */
static bool is_saved_at_rsp(const struct rtd_unwind_image *image, const struct row *row,
                            enum column column, int64_t offset)
{
    struct rtd_unwind_linear place;

    return row->how[column] == HOW_EXPR &&
           rtd_unwind_expr_eval(image->low + row->value[column], image->high, 0, &place) == 0 &&
           place.reg == RTD_UNWIND_REG_RSP && !place.is_deref && place.offset == offset;
}

/* Offsets of rsp, rbp and rip in the ucontext that the kernel leaves at rsp. */
enum { UCONTEXT_RBP_BYTES = 120, UCONTEXT_RSP_BYTES = 160, UCONTEXT_RIP_BYTES = 168 };

static bool is_signal_row(const struct rtd_unwind_image *image, const struct row *row,
                          const struct rtd_unwind_linear *cfa)
{
    return cfa->reg == RTD_UNWIND_REG_RSP && cfa->is_deref && cfa->offset == UCONTEXT_RSP_BYTES &&
           is_saved_at_rsp(image, row, COLUMN_RIP, UCONTEXT_RIP_BYTES) &&
           is_saved_at_rsp(image, row, COLUMN_RBP, UCONTEXT_RBP_BYTES);
}

/* Where the caller's rbp is, relative to the CFA. */
static int32_t rbp_place(const struct rtd_unwind_image *image, const struct row *row, uintptr_t pc,
                         const struct rtd_unwind_linear *cfa)
{
    struct rtd_unwind_linear place;

    switch (row->how[COLUMN_RBP]) {
    case HOW_UNSET:
        return RTD_UNWIND_RBP_SAME;
    case HOW_OFFSET:
        /* Offset 0 would be the caller's own memory, and is our mark for "unchanged". */
        return row->value[COLUMN_RBP] == 0 ? RTD_UNWIND_RBP_LOST : row->value[COLUMN_RBP];
    case HOW_EXPR:
        if (rtd_unwind_expr_eval(image->low + row->value[COLUMN_RBP], image->high, pc, &place) <
                0 ||
            place.is_deref || place.reg != cfa->reg) {
            return RTD_UNWIND_RBP_LOST;
        }
        if (cfa->is_deref) {
            return place.offset == 0 ? RTD_UNWIND_RBP_AT_RBP : RTD_UNWIND_RBP_LOST;
        }
        if (place.offset - cfa->offset < -MAX_OFFSET_BYTES || place.offset >= cfa->offset) {
            return RTD_UNWIND_RBP_LOST;
        }
        return (int32_t)(place.offset - cfa->offset);
    default:
        return RTD_UNWIND_RBP_LOST;
    }
}

static bool is_ordinary_row(const struct row *row)
{
    return row->how[COLUMN_RIP] == HOW_OFFSET && row->value[COLUMN_RIP] == -8 &&
           (row->how[COLUMN_RSP] == HOW_UNSET ||
            (row->how[COLUMN_RSP] == HOW_VAL_OFFSET && row->value[COLUMN_RSP] == 0));
}

/* Not inlined: its locals would lie below the machine of find_row() on the stack. */
__attribute__((noinline)) static void reduce_row(const struct rtd_unwind_image *image,
                                                 const struct row *row, bool is_signal_frame,
                                                 uintptr_t pc, struct rtd_unwind_rule *rule)
{
    struct rtd_unwind_linear cfa;

    if (row->how[COLUMN_RIP] == HOW_UNDEFINED) {
        rule->kind = RTD_UNWIND_KIND_END;
        return;
    }
    if (!linear_cfa(image, row, pc, &cfa) || cfa.offset < -MAX_OFFSET_BYTES ||
        cfa.offset > MAX_OFFSET_BYTES) {
        return;
    }
    if (is_signal_frame) {
        if (is_signal_row(image, row, &cfa)) {
            rule->kind = RTD_UNWIND_KIND_SIGNAL;
        }
        return;
    }
    if (!is_ordinary_row(row)) {
        return;
    }

    rule->cfa_offset_bytes = (int32_t)cfa.offset;
    rule->rbp_offset_bytes = rbp_place(image, row, pc, &cfa);
    if (cfa.reg == RTD_UNWIND_REG_RSP && !cfa.is_deref) {
        rule->kind = RTD_UNWIND_KIND_RSP;
    } else if (cfa.reg == RTD_UNWIND_REG_RBP) {
        rule->kind = cfa.is_deref ? RTD_UNWIND_KIND_DEREF : RTD_UNWIND_KIND_RBP;
    }
}

/* Apart from its caller so that the machine is off the stack when expressions are evaluated. */
__attribute__((noinline)) static bool find_row(const struct rtd_unwind_image *image,
                                               const struct rtd_unwind_program *program,
                                               uintptr_t pc, struct row *row)
{
    struct machine machine;

    machine.program = program;
    machine.low = image->low;
    machine.location = program->pc_begin;
    machine.target = pc;
    machine.ops_left = RTD_UNWIND_CFI_MAX_OPS;
    machine.depth = 0;
    machine.bad = false;
    machine.done = false;
    machine.row = (struct row){.cfa_reg = RTD_UNWIND_REG_NONE};
    machine.initial = machine.row;

    run(&machine, program->initial, program->initial_end);
    machine.initial = machine.row;
    run(&machine, program->body, program->body_end);
    *row = machine.row;
    return !machine.bad;
}

void rtd_unwind_cfi_run(const struct rtd_unwind_image *image,
                        const struct rtd_unwind_program *program, uintptr_t pc,
                        struct rtd_unwind_rule *rule)
{
    struct row row;

    *rule = (struct rtd_unwind_rule){.kind = RTD_UNWIND_KIND_NONE};
    if (find_row(image, program, pc, &row)) {
        reduce_row(image, &row, program->is_signal_frame, pc, rule);
    }
}
