"""Programs: data that can be checked, run, simplified, and written as source."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arguments import Array, DType, Float, checked
from ...dispatch import device_of, namespace_of
from ...simd import fma
from .batches import packed
from .instructions import (
    ADD,
    FMA,
    MUL,
    OPERATIONS,
    SUB,
    check_name,
    checked_code,
    checked_constants,
    expression,
    hexadecimal,
    operands,
    rounded,
)
from .kernels import program_values


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

    code: Array
    constants: Array

    def __post_init__(self):
        constants = checked_constants(self.constants)
        object.__setattr__(self, "constants", constants)
        object.__setattr__(self, "code", checked_code(self.code, len(constants)))

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
            f"{names[len(self.constants) + 1 + i]} = {expression(names, row, 'fma')}"
            for i, row in enumerate(self.code.tolist())
        ]
        return "\n".join(lines or [names[-1]])

    def __repr__(self):
        return f"Program({self.code.tolist()}, {self.constants.tolist()})"

    @property
    def n_registers(self) -> int:
        """1 for x, one for each constant, one for each instruction."""
        return 1 + len(self.constants) + len(self.code)

    @functools.cached_property
    def n_ops(self) -> int:
        first = 1 + len(self.constants)
        rows = self.code.tolist()
        varies = [True] + [False] * (self.n_registers - 1)
        reached = [False] * (self.n_registers - 1) + [True]
        for i, row in enumerate(rows, first):
            varies[i] = any(varies[r] for r in operands(row))
        for i, row in reversed(list(enumerate(rows, first))):
            if reached[i]:
                for r in operands(row):
                    reached[r] = True
        return sum(v and r for v, r in zip(varies[first:], reached[first:], strict=True))

    def __call__(self, x: Array) -> Array:
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
        y = self._values(x)
        return y if device_of(x) is not None else y[()]

    @checked
    def _values(self, x: Float[Array, "..."]) -> Array:
        xp = namespace_of(x)
        flat = xp.ascontiguousarray(x).reshape(1, -1)
        y = xp.empty_like(flat)
        program_values(*(xp.asarray(a) for a in packed([self], x.dtype)), flat[0], y)
        return y.reshape(x.shape)

    def with_constants(self, constants: Any) -> "Program":
        """The same code with other constants, as many."""
        constants = checked_constants(constants)
        if constants.shape != self.constants.shape:
            raise ValueError(
                f"constants must have shape {self.constants.shape} (got {constants.shape})"
            )
        return _made(self.code, constants)

    def simplify(self) -> "Program":
        """An equal program without what it does not need.

        Returns
        -------
        Program
            Operations on constants alone are done, in float64; operations that repeat an earlier
            one, or that the result does not depend on, and constants that are not used are gone.
        """
        return simplified(self.code.tolist(), self.constants.tolist())

    def fused(self) -> "Program":
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

    @checked
    def to_source(self, name: str = "program", dtype: DType = np.float32) -> str:
        """Python source of the program, for NumPy arrays and for ``numba.njit``.

        Parameters
        ----------
        name : str, default "program"
            Name of the function.
        dtype : dtype, float32 or float64, default float32
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
        check_name(name)
        dtype = np.dtype(dtype)
        imports = ["import numpy as np", ""]
        if (self.code[:, 0] == FMA).any():
            imports[1:] = ["", "from numcore.simd import fma", ""]
        constants = [
            f"{name}_c{i} = np.{dtype}({rounded(c, dtype)!s})"
            for i, c in enumerate(self.constants, 1)
        ]
        names = ["x"] + [f"{name}_c{i}" for i in range(1, 1 + len(self.constants))]
        body = []
        for row in self.code.tolist():
            body.append(f"    r{len(names)} = {expression(names, row, 'fma')}")
            names.append(f"r{len(names)}")
        if len(self.code) == 0:
            names[-1] = f"{names[-1]} + np.{dtype}(0) * x" if len(self.constants) else "x"
        head = [*imports, *constants, *(["", ""] if constants else [""]), f"def {name}(x):"]
        return "\n".join([*head, *body, f"    return {names[-1]}", ""])

    @checked
    def to_cuda(self, name: str = "program", dtype: DType = np.float32) -> str:
        """The program as a CUDA ``__device__`` function.

        Parameters
        ----------
        name : str, default "program"
            Name of the function.
        dtype : dtype, float32 or float64, default float32

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
        check_name(name)
        dtype = np.dtype(dtype)
        real, letter, suffix = ("float", "f", "f") if dtype == np.float32 else ("double", "d", "")
        fused = "__fmaf_rn" if dtype == np.float32 else "__fma_rn"
        lines = [
            f"const {real} r{i} = {hexadecimal(rounded(c, dtype))}{suffix}; "
            f" // {rounded(c, dtype)!s}"
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

    @checked
    def compile(self, dtype: DType = np.float32, fma: bool = False) -> Callable[..., Any]:
        """Compile the program.

        Parameters
        ----------
        dtype : dtype, float32 or float64, default float32
            Of its argument and its result.
        fma : bool, default False
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
        from .compiled import compiled  # which needs Numba

        program = self.fused() if fma else self
        return compiled(program, np.dtype(dtype).name)


def simplified(rows, constants):
    """The simplified program of instructions and constants, see `Program.simplify`."""
    first, kept = 1 + len(constants), []
    # what each register holds; ("row", i) is kept[i]
    held = ["x", *(("constant", i, value) for i, value in enumerate(constants))]
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
