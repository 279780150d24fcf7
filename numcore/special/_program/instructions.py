"""Instructions of programs: their opcodes, what they read, how they are checked and written."""

import keyword

import numpy as np

OPERATIONS = ("add", "sub", "mul", "div", "fma")  # the opcode is the place in this tuple
ADD, SUB, MUL, DIV, FMA = range(5)
SYMBOLS = ("+", "-", "*", "/")
MAX_REGISTERS = 256  # as many as a thread of the CUDA bodies keeps


def operands(row):
    """The registers that an instruction reads."""
    return row[1:4] if row[0] == FMA else row[1:3]


def expression(names, row, fused):
    read = [names[r] for r in operands(row)]
    return f"{fused}({', '.join(read)})" if row[0] == FMA else f" {SYMBOLS[row[0]]} ".join(read)


def checked_constants(constants):
    try:
        array = np.asarray(constants)
    except ValueError as error:
        raise ValueError(f"constants must be a sequence of numbers ({error})") from None
    if array.size and array.dtype.kind not in "iuf":
        raise TypeError(f"constants must be real numbers (got dtype {array.dtype})")
    if array.ndim != 1:
        raise ValueError(f"constants must have one dimension (got shape {array.shape})")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"constants must be finite (got {array[~np.isfinite(array)][0]})")
    array.flags.writeable = False
    return array


def checked_code(code, n_constants):
    try:
        array = np.asarray(code)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"code must be a matrix of integers ({error})") from None
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"code must hold integers (got dtype {array.dtype})")
    if array.size == 0 and array.ndim <= 2:
        array = np.empty((0, 4), np.int32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"code must have shape (n_instr, 4) (got {array.shape})")
    if 1 + n_constants + len(array) > MAX_REGISTERS:
        raise ValueError(
            f"a program must have at most {MAX_REGISTERS} registers (got "
            f"{1 + n_constants + len(array)})"
        )
    for i, row in enumerate(array.tolist()):
        if not 0 <= row[0] < len(OPERATIONS):
            raise ValueError(
                f"opcodes must satisfy 0 <= opcode < {len(OPERATIONS)} (got {row[0]} in row {i})"
            )
        for r in operands(row):
            if not 0 <= r < 1 + n_constants + i:
                raise ValueError(
                    f"row {i} must read registers in [0, {1 + n_constants + i}) (got {r})"
                )
    array = array.astype(np.int32)
    array[array[:, 0] != FMA, 3] = 0
    array.flags.writeable = False
    return array


def check_name(name):
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"name must be an identifier (got {name!r})")


def rounded(constant, dtype):
    """A constant in a dtype; ValueError where it is too large."""
    with np.errstate(over="ignore"):
        value = dtype.type(constant)
    if not np.isfinite(value):
        raise ValueError(f"constants must fit {dtype} (got {constant})")
    return value


def hexadecimal(value):
    """The shortest hexadecimal literal of a finite number."""
    mantissa, exponent = float(value).hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa or '0x0'}p{exponent}"
