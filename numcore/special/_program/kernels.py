"""The register machine: programs run on blocks of points, and their errors."""

import numpy as np

from ...kernel import kernel
from ...simd import float_bits, float_from_bits, fma
from .instructions import ADD, DIV, FMA, MAX_REGISTERS, MUL, SUB  # noqa: F401

BLOCK = 512  # points that an instruction is applied to at a time


def run_instruction(registers, instruction, last, count):
    """registers[last + 1, :count] = the operation of an instruction on rows up to `last`."""
    opcode, to = instruction[0], last + 1
    a, b = within(instruction[1], last), within(instruction[2], last)
    c = within(instruction[3], last)
    if opcode == ADD:
        for j in range(count):
            registers[to, j] = registers[a, j] + registers[b, j]
    elif opcode == SUB:
        for j in range(count):
            registers[to, j] = registers[a, j] - registers[b, j]
    elif opcode == MUL:
        for j in range(count):
            registers[to, j] = registers[a, j] * registers[b, j]
    elif opcode == DIV:
        for j in range(count):
            registers[to, j] = registers[a, j] / registers[b, j]
    else:
        for j in range(count):
            registers[to, j] = fma(registers[a, j], registers[b, j], registers[c, j])


def within(register, last):
    """A register number as one that exists: whatever the code says, no kernel reads outside its
    memory."""
    return np.uint32(min(max(register, 0), last))


def load_constants(registers, constants, i, k):
    for r in range(k):
        for j in range(registers.shape[1]):
            registers[1 + r, j] = constants[i, r]


@kernel(
    "in int32 code[p, m, 4]; in int32 ends[p, 2]; in T constants[p, k]; in T x[n]; out T y[p, n]; "
    "scratch T registers[k+m+1, BLOCK]",
    constants=("ADD", "SUB", "MUL", "DIV", "FMA", "MAX_REGISTERS", "BLOCK"),
    split="n",
    grain="BLOCK",
)
def program_values(code, ends, constants, x, y, registers, start, stop):
    """y[i, j] = the value of program i at x[j]."""
    k = constants.shape[1]
    for i in range(code.shape[0]):
        load_constants(registers, constants, i, k)
        for low in range(start, stop, BLOCK):
            count = min(BLOCK, stop - low)
            for j in range(count):
                registers[0, j] = x[low + j]
            for s in range(within(ends[i, 0], code.shape[1])):
                run_instruction(registers, code[i, s], k + s, count)
            result = within(ends[i, 1], registers.shape[0] - 1)
            for j in range(count):
                y[i, low + j] = registers[result, j]


@kernel(
    "in int32 code[p, m, 4]; in int32 ends[p, 2]; in T constants[p, k]; in T x[n]; in T target[n]; "
    "in T weight[n]; out T error[p]; "
    "scratch T registers[k+m+1, BLOCK]; scratch T divisor[m]",
    constants=("ADD", "SUB", "MUL", "DIV", "FMA", "MAX_REGISTERS", "BLOCK"),
    split="p",
    gpu=None,
    host_only="programs are compared within a search that runs on the host",
    grain="8",
)
def program_errors(
    code, ends, constants, x, target, weight, error, registers, divisor, start, stop
):
    """error[i] = max over j of |program i at x[j] - target[j]| weight[j]; inf for a value that is
    not finite, and for a pole.

    A divisor that changes its sign between points has a zero, or a pole, somewhere between them.
    Errors are compared by their bits, which order as their magnitudes do, with infinity and then
    NaN on top: loops over integers vectorise where loops over floats must not.
    """
    k, points = constants.shape[1], x.shape[0]
    infinite = float_bits(constants.dtype.type(np.inf))
    for i in range(start, stop):
        load_constants(registers, constants, i, k)
        worst, sign = float_bits(constants.dtype.type(0)), float_bits(constants.dtype.type(0))
        for low in range(0, points, BLOCK):
            count = min(BLOCK, points - low)
            for j in range(count):
                registers[0, j] = x[low + j]
            for s in range(within(ends[i, 0], code.shape[1])):
                run_instruction(registers, code[i, s], k + s, count)
                if code[i, s, 0] == DIV:
                    b = within(code[i, s, 2], k + s)
                    if low == 0:
                        divisor[s] = registers[b, 0]
                    first = float_bits(divisor[s])
                    for j in range(count):
                        sign |= float_bits(registers[b, j]) ^ first
            result = within(ends[i, 1], registers.shape[0] - 1)
            for j in range(count):
                worst = max(
                    worst, float_bits(abs(registers[result, j] - target[low + j]) * weight[low + j])
                )
        error[i] = float_from_bits(infinite if worst > infinite or sign < 0 else worst)
