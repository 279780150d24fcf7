"""The machine code of a kernel on this CPU, to see whether its loops are made of vectors."""

import re

import pytest

from numcore import _bitcode, _native
from numcore.simd import host_vector_bits


def assembly(kernel, dtype):
    if host_vector_bits() < 256:
        pytest.skip("the CPU has no AVX2")
    unit = kernel.unit({"T": dtype})
    return _native.assembly(unit.name, _bitcode.bitcode(unit), unit.entries)


def vector_instructions(code, name):
    """How many instructions such as "addps" work on whole registers of 256 or 512 bits."""
    return len(re.findall(rf"^\s+v{name}\b.*%[yz]mm", code, re.MULTILINE))
