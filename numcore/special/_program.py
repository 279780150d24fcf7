"""Straight-line programs of one variable: data that can be checked, run on arrays, printed as
source, and compiled.

A program has numbered registers: register 0 holds x, the next ones its constants, and each
instruction writes one more. An instruction is a row (opcode, a, b, c) that reads earlier registers;
the last register is the result. The kernels are register machines that take an instruction through
a block of points at a time, so that no candidate of a search needs to be compiled.
"""

import functools
import keyword
import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from ..dispatch import CPU, checked_dtype, device_of, on_device
from ..elementwise import SMALL, Elementwise
from ..kernel import kernel
from ..simd import float_bits, float_from_bits, fma

OPERATIONS = ("add", "sub", "mul", "div", "fma")  # the opcode is the place in this tuple
ADD, SUB, MUL, DIV, FMA = range(5)
SYMBOLS = ("+", "-", "*", "/")
MAX_REGISTERS = 256  # as many as a thread of the CUDA bodies keeps
BLOCK = 512  # points that an instruction is applied to at a time


# --- programs -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Program:
    """A straight-line program of one variable.

    Parameters
    ----------
    code : int32 array of shape (n_instr, 4)
        Rows (opcode, a, b, c): the opcodes are 0 ``a + b``, 1 ``a - b``, 2 ``a * b``, 3 ``a / b``,
        4 ``a * b + c`` with one rounding; a, b and c are registers. Register 0 is x, registers 1 to
        n_const the constants, register n_const + 1 + i the result of row i. A row reads only
        registers before its own; c is 0 where it is not read. The last register is the result of
        the program.
    constants : float64 array of shape (n_const,)
        Finite numbers.

    Attributes
    ----------
    n_ops : int
        Operations that depend on x and that the result depends on. What only combines constants is
        free: it can be done beforehand.

    Raises
    ------
    TypeError
        `code` does not hold integers, or `constants` no real numbers.
    ValueError
        Another shape, an unknown opcode, a register that does not exist or is not written yet, a
        constant that is not finite, or more than 256 registers.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import Program
    >>> square_plus_one = Program([[2, 0, 0, 0], [0, 1, 2, 0]], [1.0])
    >>> square_plus_one(np.array([1.0, 2.0, 3.0]))
    array([ 2.,  5., 10.])
    >>> print(square_plus_one)
    r2 = x * x
    r3 = 1.0 + r2
    """

    code: np.ndarray
    constants: np.ndarray

    def __post_init__(self):
        constants = _checked_constants(self.constants)
        object.__setattr__(self, "constants", constants)
        object.__setattr__(self, "code", _checked_code(self.code, len(constants)))

    def __eq__(self, other):
        return self._bytes() == other._bytes() if isinstance(other, Program) else NotImplemented

    def __hash__(self):
        return hash(self._bytes())

    def __reduce__(self):
        return Program, (self.code, self.constants)

    def _bytes(self):
        return self.code.tobytes(), self.constants.tobytes()

    def __str__(self):
        names = ["x", *map(repr, self.constants.tolist())] + [
            f"r{i}" for i in range(len(self.constants) + 1, self.n_registers)
        ]
        lines = [
            f"{names[len(self.constants) + 1 + i]} = {_expression(names, row, 'fma')}"
            for i, row in enumerate(self.code.tolist())
        ]
        return "\n".join(lines or [names[-1]])

    def __repr__(self):
        return f"Program({self.code.tolist()}, {self.constants.tolist()})"

    @property
    def n_registers(self):
        """1 for x, one for each constant, one for each instruction."""
        return 1 + len(self.constants) + len(self.code)

    @functools.cached_property
    def n_ops(self):
        first = 1 + len(self.constants)
        rows = self.code.tolist()
        varies, reached = (
            [True] + [False] * (self.n_registers - 1),
            [False] * (self.n_registers - 1) + [True],
        )
        for i, row in enumerate(rows, first):
            varies[i] = any(varies[r] for r in operands(row))
        for i, row in reversed(list(enumerate(rows, first))):
            if reached[i]:
                for r in operands(row):
                    reached[r] = True
        return sum(v and r for v, r in zip(varies[first:], reached[first:], strict=True))

    def __call__(self, x):
        """The program's values at x.

        Parameters
        ----------
        x : ndarray of float32 or float64, any shape
            NumPy or CuPy.

        Returns
        -------
        ndarray
            Of the shape, dtype and device of `x`. The constants are rounded to its dtype, and every
            operation rounds to it. Where an operation has no value the result is NaN or infinite,
            without a warning.

        Raises
        ------
        TypeError
            `x` is no array of float32 or float64.
        """
        as_array = device_of(x) is not None
        xp, (x,) = on_device(x=x)
        if x is None:
            raise TypeError("x must be a NumPy or CuPy array (got None)")
        dtype = x.dtype.newbyteorder("=")
        if dtype not in (np.float32, np.float64):
            raise TypeError(
                f"x must have dtype float32 or float64 (got {x.dtype}); convert it first"
            )
        flat = xp.ascontiguousarray(x, dtype=dtype).reshape(1, -1)
        y = xp.empty_like(flat)
        program_values(*(xp.asarray(a) for a in packed([self], dtype)), flat[0], y)
        y = y.reshape(x.shape)
        return y if as_array else y[()]

    def with_constants(self, constants):
        """The same code with other constants, as many."""
        constants = _checked_constants(constants)
        if constants.shape != self.constants.shape:
            raise ValueError(
                f"constants must have shape {self.constants.shape} (got {constants.shape})"
            )
        return _made(self.code, constants)

    def simplify(self):
        """An equal program without what it does not need.

        Returns
        -------
        Program
            Operations on constants alone are done, in float64; operations that repeat an earlier
            one, or that the result does not depend on, and constants that are not used are gone.
        """
        return simplified(self.code.tolist(), self.constants.tolist())

    def fused(self):
        """The program with multiplications joined to the additions and subtractions that follow
        them, as one operation with one rounding.

        Returns
        -------
        Program
            A product is joined where nothing else reads it; ``a * b - c`` and ``c - a * b`` where a
            sign can be moved to a constant.
        """
        first, rows = 1 + len(self.constants), self.code.tolist()
        constants = self.constants.tolist()
        uses = [0] * self.n_registers
        for row in rows:
            for r in operands(row):
                uses[r] += 1
        graph = ["x", *(("constant", i, c) for i, c in enumerate(constants))] + [
            ("row", i) for i in range(len(rows))
        ]
        kept = []

        def negative(r):
            return ("constant", -r, -constants[r - 1]) if 1 <= r < first else None

        for row in rows:
            opcode, a, b = row[0], row[1], row[2]
            kept.append((opcode, [graph[r] for r in operands(row)]))
            for product, other in ((a, b), (b, a)) if opcode in (ADD, SUB) else ():
                if (
                    product < first
                    or uses[product] > 1
                    or rows[product - first][0] != MUL
                    or a == b
                ):
                    continue
                u, v = rows[product - first][1:3]
                if opcode == ADD:
                    kept[-1] = (FMA, [graph[u], graph[v], graph[other]])
                elif product == a and negative(other):
                    kept[-1] = (FMA, [graph[u], graph[v], negative(other)])
                elif product == b and (negative(u) or negative(v)):
                    kept[-1] = (
                        FMA,
                        [
                            negative(u) or graph[u],
                            graph[v] if negative(u) else negative(v),
                            graph[other],
                        ],
                    )
                else:
                    continue
                break
        return _in_order(kept, graph[-1])

    # --- source

    def to_source(self, name="program", dtype=np.float32):
        """Python source of the program, for NumPy arrays and for ``numba.njit``.

        Parameters
        ----------
        name : str
            Name of the function.
        dtype : float32 or float64
            Of its constants.

        Returns
        -------
        str
            A module that defines ``name(x)``; it imports numpy, and ``numcore.simd.fma``,
            which takes scalars and works in compiled code only at speed, where the program has
            fused operations.

        Raises
        ------
        TypeError
            `dtype` is neither float32 nor float64.
        ValueError
            `name` is no identifier.

        Examples
        --------
        >>> from numcore.special import Program
        >>> print(Program([[2, 0, 0, 0], [0, 1, 2, 0]], [0.1]).to_source("f"))
        import numpy as np
        <BLANKLINE>
        f_c1 = np.float32(0.1)
        <BLANKLINE>
        <BLANKLINE>
        def f(x):
            r2 = x * x
            r3 = f_c1 + r2
            return r3
        <BLANKLINE>
        """
        name, dtype = _checked_name(name), checked_dtype(dtype)
        imports = ["import numpy as np", ""]
        if (self.code[:, 0] == FMA).any():
            imports[1:] = ["", "from numcore.simd import fma", ""]
        constants = [
            f"{name}_c{i} = np.{dtype}({_rounded(c, dtype)!s})"
            for i, c in enumerate(self.constants, 1)
        ]
        names = ["x"] + [f"{name}_c{i}" for i in range(1, 1 + len(self.constants))]
        body = []
        for row in self.code.tolist():
            body.append(f"    r{len(names)} = {_expression(names, row, 'fma')}")
            names.append(f"r{len(names)}")
        if len(self.code) == 0:
            names[-1] = f"{names[-1]} + np.{dtype}(0) * x" if len(self.constants) else "x"
        head = [*imports, *constants, *(["", ""] if constants else [""]), f"def {name}(x):"]
        return "\n".join([*head, *body, f"    return {names[-1]}", ""])

    def to_cuda(self, name="program", dtype=np.float32):
        """The program as a CUDA ``__device__`` function.

        Parameters
        ----------
        name : str
            Name of the function.
        dtype : float32 or float64

        Returns
        -------
        str
            Every operation is written as an intrinsic with one rounding (``__fmul_rn``, …), which
            no compiler option contracts: the values are those that were certified.

        Raises
        ------
        TypeError
            `dtype` is neither float32 nor float64.
        ValueError
            `name` is no identifier.

        Examples
        --------
        >>> from numcore.special import Program
        >>> print(Program([[2, 0, 0, 0], [0, 1, 2, 0]], [0.5]).to_cuda("f"))
        __device__ __forceinline__ float f(float x) {
          const float r1 = 0x1p-1f;  // 0.5
          const float r2 = __fmul_rn(x, x);
          const float r3 = __fadd_rn(r1, r2);
          return r3;
        }
        <BLANKLINE>
        """
        name, dtype = _checked_name(name), checked_dtype(dtype)
        real, letter, suffix = ("float", "f", "f") if dtype == np.float32 else ("double", "d", "")
        fused = "__fmaf_rn" if dtype == np.float32 else "__fma_rn"
        lines = [
            f"const {real} r{i} = {_hexadecimal(_rounded(c, dtype))}{suffix}; "
            f" // {_rounded(c, dtype)!s}"
            for i, c in enumerate(self.constants, 1)
        ]
        names = ["x"] + [f"r{i}" for i in range(1, self.n_registers)]
        for i, (opcode, *registers) in enumerate(self.code.tolist(), 1 + len(self.constants)):
            read = ", ".join(names[r] for r in operands((opcode, *registers)))
            call = fused if opcode == FMA else f"__{letter}{OPERATIONS[opcode]}_rn"
            lines.append(f"const {real} r{i} = {call}({read});")
        return "\n".join(
            [
                f"__device__ __forceinline__ {real} {name}({real} x) {{",
                *(f"  {line}" for line in lines),
                f"  return {names[-1]};",
                "}",
                "",
            ]
        )

    def compile(self, dtype=np.float32, fma=False):
        """Compile the program.

        Parameters
        ----------
        dtype : float32 or float64
            Of its argument and its result.
        fma : bool
            Join multiplications and additions, see `fused`. This changes the last digits: certify
            ``program.fused()``.

        Returns
        -------
        function
            ``f(x, *, out=None)`` for arrays, like numcore's elementary functions: a loop compiled
            for this CPU, with numcore's threads. Inside ``@njit`` code ``f(x[i])`` is an inlined
            function of a scalar. Its attribute `program` is the program that it computes.

        Raises
        ------
        TypeError
            `dtype` is neither float32 nor float64.

        Notes
        -----
        Numba and LLVM take a fraction of a second, and the code is kept in numcore's cache. A
        search therefore runs its candidates on a register machine and compiles the winner. No
        operations are contracted or reordered: the results are those of calling the program.

        Examples
        --------
        >>> import numpy as np
        >>> from numcore.special import Program
        >>> f = Program([[2, 0, 0, 0], [0, 1, 2, 0]], [1.0]).compile(np.float64)
        >>> f(np.array([1.0, 2.0, 3.0]))
        array([ 2.,  5., 10.])
        """
        program = self.fused() if fma else self
        return _compiled(program, checked_dtype(dtype).name)


def simplified(rows, constants):
    """The simplified program of instructions and constants, see `Program.simplify`."""
    first, kept = 1 + len(constants), []
    held = [
        "x",
        *(("constant", i, value) for i, value in enumerate(constants)),
    ]  # what each register holds; ("row", i) is kept[i]
    rows_by_key = {}
    for i, row in enumerate(rows):
        read = [held[r] for r in operands(row)]
        if all(h[0] == "constant" for h in read):
            value = _folded(row[0], [h[2] for h in read])
            if math.isfinite(value):
                held.append(("constant", first + i, value))
                continue
        key = (row[0], *(sorted(read, key=repr) if row[0] in (ADD, MUL) else read))
        if key not in rows_by_key:
            rows_by_key[key] = ("row", len(kept))
            kept.append((row[0], read))
        held.append(rows_by_key[key])
    return _in_order(kept, held[-1])


def operands(row):
    """The registers that an instruction reads."""
    return row[1:4] if row[0] == FMA else row[1:3]


def _expression(names, row, fused):
    read = [names[r] for r in operands(row)]
    return f"{fused}({', '.join(read)})" if row[0] == FMA else f" {SYMBOLS[row[0]]} ".join(read)


def _folded(opcode, values):
    """The result of an operation on float64 constants."""
    with np.errstate(all="ignore"):
        a, b, *c = map(np.float64, values)
        return float(
            fma(a, b, *c) if opcode == FMA else (a + b, a - b, a * b, np.divide(a, b))[opcode]
        )


def _made(code, constants):
    """A program of a code that was checked before, or written here: a search makes many."""
    program = object.__new__(Program)
    code.flags.writeable = constants.flags.writeable = False
    object.__setattr__(program, "code", code)
    object.__setattr__(program, "constants", constants)
    return program


def _in_order(rows, result):
    """The program of a graph of rows (opcode, what it reads), its instructions and constants in the
    order of their first use."""
    order, constants = {}, {}
    pending = [result]
    while pending:  # depth first; a row is placed when all that it reads is
        node = pending[-1]
        if node == "x" or node in order or node in constants:
            pending.pop()
        elif node[0] == "constant":
            constants[node] = len(constants) + 1
            pending.pop()
        else:
            missing = [
                h for h in rows[node[1]][1] if h != "x" and h not in order and h not in constants
            ]
            if missing:
                pending += reversed(missing)
            else:
                order[node] = len(order)
                pending.pop()

    def register(node):
        return (
            0
            if node == "x"
            else constants[node]
            if node[0] == "constant"
            else 1 + len(constants) + order[node]
        )

    code = [[rows[i][0], *map(register, rows[i][1])] for _, i in order]
    return _made(
        np.array([row + [0] * (4 - len(row)) for row in code], np.int32).reshape(-1, 4),
        np.array([c[2] for c in constants]),
    )


# --- checks ---------------------------------------------------------------------------------------


def _checked_constants(constants):
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


def _checked_code(code, n_constants):
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


def _checked_name(name):
    if (
        not isinstance(name, str)
        or not name.isascii()
        or not name.isidentifier()
        or keyword.iskeyword(name)
    ):
        raise ValueError(f"name must be an identifier (got {name!r})")
    return name


def _rounded(constant, dtype):
    """A constant in a dtype; ValueError where it is too large."""
    with np.errstate(over="ignore"):
        value = dtype.type(constant)
    if not np.isfinite(value):
        raise ValueError(f"constants must fit {dtype} (got {constant})")
    return value


def _hexadecimal(value):
    """The shortest hexadecimal literal of a finite number."""
    mantissa, exponent = float(value).hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa or '0x0'}p{exponent}"


# --- compiled programs ----------------------------------------------------------------------------


class CompiledProgram(Elementwise):
    """The elementwise kernel of one program: compiled on the CPU, run by the register machine on a
    GPU."""

    def __init__(self, function, program, dtype, body):
        self.program = program
        super().__init__(function, {dtype: body}, {})

    def __call__(self, x, y):
        if device_of(x) is CPU:
            super().__call__(x, y)
        else:
            y[...] = self.program(x)


@functools.lru_cache(maxsize=256)
def _compiled(program, dtype):
    """The public function of a compiled program."""
    from .._numba import register_scalar

    title = f"program_{sha256(repr((program._bytes(), dtype)).encode()).hexdigest()[:16]}"
    scope = {"__name__": __name__}
    exec(compile(program.to_source(title, dtype), f"<{title}>", "exec"), scope)

    def public(x, *, out=None):
        if out is None and type(x) is np.ndarray and x.size <= SMALL and x.ndim:
            loop = made.loops.get(x.dtype)
            if loop is not None:
                return loop(x)
        return made.apply(x, out)

    public.__name__ = public.__qualname__ = title
    public.__doc__ = f"A compiled program:\n\n{program}"
    made = CompiledProgram(public, program, dtype, scope[title])
    public.kernel, public.scalar_bodies, public.program = made, made.bodies, program
    register_scalar(public)
    return public


# --- batches of programs --------------------------------------------------------------------------


def packed(programs, dtype=np.float64):
    """Programs as the arrays that the kernels take.

    Returns
    -------
    code : int32 array of shape (p, m, 4)
        Padded with rows that are not run; registers are numbered as if every program had as many
        constants as the one with most.
    ends : int32 array of shape (p, 2)
        How many instructions each program has, and the register of its result.
    constants : array of `dtype`, shape (p, k)
    """
    k = max((len(q.constants) for q in programs), default=0)
    m = max((len(q.code) for q in programs), default=0)
    code, ends = np.zeros((len(programs), m, 4), np.int32), np.zeros((len(programs), 2), np.int32)
    constants = np.zeros((len(programs), k), dtype)
    with np.errstate(over="ignore"):
        for i, q in enumerate(programs):
            own, rows = len(q.constants), len(q.code)
            code[i, :rows] = q.code
            registers = code[i, :rows, 1:]
            registers[registers > own] += k - own
            constants[i, :own] = q.constants
            ends[i] = rows, k + rows if rows else own
    return code, ends, constants


def max_errors(programs, x, target, weight):
    """The largest ``|program(x) - target| * weight`` of each program; inf where a value is not
    finite, or a denominator changes sign."""
    errors = np.empty(len(programs), x.dtype)
    program_errors(*packed(programs, x.dtype), x, target, weight, errors)
    return errors


# --- kernels: the register machine ----------------------------------------------------------------


def run_instruction(registers, to, opcode, a, b, c, count):
    """registers[to, :count] = the operation on rows a, b, c."""
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
                last = k + s
                run_instruction(
                    registers,
                    last + 1,
                    code[i, s, 0],
                    within(code[i, s, 1], last),
                    within(code[i, s, 2], last),
                    within(code[i, s, 3], last),
                    count,
                )
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
                last = k + s
                b = within(code[i, s, 2], last)
                run_instruction(
                    registers,
                    last + 1,
                    code[i, s, 0],
                    within(code[i, s, 1], last),
                    b,
                    within(code[i, s, 3], last),
                    count,
                )
                if code[i, s, 0] == DIV:
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
