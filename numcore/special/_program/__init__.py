"""Straight-line programs of one variable: data that can be checked, run on arrays, printed as
source, and compiled.

A program has numbered registers: register 0 holds x, the next ones its constants, and each
instruction writes one more. An instruction is a row (opcode, a, b, c) that reads earlier registers;
the last register is the result. The kernels are register machines that take an instruction through
a block of points at a time, so that no candidate of a search needs to be compiled.
"""

from .batches import max_errors, packed
from .instructions import ADD, DIV, FMA, MAX_REGISTERS, MUL, OPERATIONS, SUB, operands
from .kernels import program_errors, program_values, run_instruction, within
from .program import Program, simplified
