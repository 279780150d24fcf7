"""Walsh–Hadamard transform: y = H x with H_1 = [1], H_2N = [[H_N, H_N], [H_N, -H_N]], in N log2 N
additions.

A transform of length N = N1 N2 is H_N1 ⊗ H_N2: one of length N1 down the columns of x as an N1 × N2
matrix, one of length N2 along its rows. Columns are processed in panels that fit in the cache, so
every element is read from memory only two or three times for any N.
"""

from typing import Annotated, Literal

import numpy as np

from ..arguments import Array, Complex, Float, at_least
from ..dispatch import namespace_of, routine
from ..kernel import kernel

# longest row transformed in one piece: it must fit in the L1 cache or a block's shared memory
ROW_BYTES = 1 << 15
LONGEST_COLUMN = 512
PANEL, GPU_PANEL = 64, 8  # columns that are transformed together
FEW_COLUMNS = 16  # fewer columns are faster when transposed to rows


@routine(host_only="its argument is a number")
def next_power_of_two(n: Annotated[int, at_least(1)]) -> int:
    """Smallest power of two that is at least n.

    Parameters
    ----------
    n : int >= 1

    Returns
    -------
    int

    Raises
    ------
    ValueError
        `n` is less than 1.

    References
    ----------
    H. S. Warren, "Hacker's Delight", 2nd edition, Addison-Wesley 2012, section 3-2.

    Examples
    --------
    >>> next_power_of_two(5), next_power_of_two(8)
    (8, 8)
    """
    return 1 << (n - 1).bit_length()


@routine
def fwht(
    x: Float[Array, "..."] | Complex[Array, "..."],
    *,
    axis: int = -1,
    norm: Literal["ortho"] | None = None,
    order: Literal["natural", "sequency"] = "natural",
) -> Array:
    """Walsh–Hadamard transform along one axis.

    Parameters
    ----------
    x : (...) array of float32 or float64 or (...) array of complex64 or complex128
        The extent of `axis`, N, must be a power of two.
    axis : int, default -1
    norm : {"ortho"}, optional
        None keeps the entries of H as ±1, so that applying the transform twice gives N x; "ortho"
        divides by √N, so that norms are preserved.
    order : {"natural", "sequency"}, default "natural"
        The order of the rows of H: that of Sylvester's construction, or by number of sign changes.

    Returns
    -------
    array of the shape and dtype of `x`
        Sums of N terms in log2 N steps: the error is at most log2 N units of roundoff times ‖x‖₁.

    Raises
    ------
    ValueError
        N is not a power of two, `axis` does not exist, or an option is unknown.
    TypeError
        `x` has another dtype; integers must be converted first.

    Notes
    -----
    O(N log N) additions per vector; memory: the result, and one more copy if `axis` must be moved.

    References
    ----------
    J. J. Sylvester (1867); F. Yates, "The design and analysis of factorial experiments", 1937.

    Examples
    --------
    >>> fwht(np.array([1.0, 2.0, 3.0, 4.0]))
    array([10., -2., -4.,  0.])
    """
    xp, axis = namespace_of(x), _checked_axis(x, axis)
    if x.dtype.kind == "c":
        real, imag = (
            fwht(part, axis=axis, norm=norm, order=order) for part in (xp.real(x), xp.imag(x))
        )
        return real + x.dtype.type(1j) * imag
    n, after = x.shape[axis], int(np.prod(x.shape[axis + 1 :]))
    moved = 1 < after < FEW_COLUMNS
    y = xp.array(xp.moveaxis(x, axis, -1) if moved else x, order="C")
    if y.size:
        p = y.size // n if moved else y.size // (n * after)
        _transform(y.reshape(p, n, 1 if moved else after), n**-0.5 if norm == "ortho" else 1.0)
    if moved:
        y = xp.moveaxis(y, -1, axis)
    return xp.take(y, xp.asarray(_sequency(n)), axis=axis) if order == "sequency" else y


def _checked_axis(x, axis):
    """`axis` as a nonnegative number; raises ValueError unless its length is a power of two."""
    if x.ndim == 0:
        raise ValueError("x must have at least one axis (got a scalar)")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be in [{-x.ndim}, {x.ndim}) (got {axis})")
    n = x.shape[axis]
    if n < 1 or n & (n - 1):
        raise ValueError(
            f"x.shape[axis] must be a power of two (got {n}; "
            f"the next one is {next_power_of_two(max(n, 1))})"
        )
    return axis % x.ndim


def _sequency(n):
    """The natural-order row of H with each number of sign changes: the bit-reversed Gray code."""
    s, result = np.arange(n), np.zeros(n, np.int64)
    gray, bits = s ^ (s >> 1), n.bit_length() - 1
    for bit in range(bits):
        result |= ((gray >> bit) & 1) << (bits - 1 - bit)
    return result


def _transform(y, scale):
    """Transform the middle axis of a (p, n, m) array in place and multiply by `scale`."""
    p, n, m = y.shape
    longest = ROW_BYTES // y.dtype.itemsize if m == 1 else LONGEST_COLUMN
    if n > longest:  # n = n1 n2: columns of length n1, then rows of length n2
        n1 = min(LONGEST_COLUMN, n // longest if m == 1 else n // 2)
        hadamard_columns(y.reshape(p, n1, n // n1 * m), 1.0)
        _transform(y.reshape(p * n1, n // n1, m), scale)
    elif m == 1:
        hadamard_rows(y.reshape(p, n), scale)
    else:
        hadamard_columns(y, scale)


# --- kernels --------------------------------------------------------------------------------------


@kernel("inout T x[r, n]; T scale", split="r", gpu="block", shared="itemsize*n")
def hadamard_rows(x, scale, start, stop):
    """Transform rows whose length is a power of two."""
    n = x.shape[1]
    for i in range(start, stop):
        row = x[i]
        h = 1
        if n >= 8:
            for j in range(0, n, 8):
                _eight(row, j, 1)
            h = 8
        _butterflies(row, n, h)
        for j in range(n):
            row[j] *= scale


@kernel(
    "inout T x[p, n, m]; T scale; scratch T panel[PANEL*n]",
    constants=("PANEL", "GPU_PANEL"),
    split="m",
    gpu="block",
    threads=128,
    shared="GPU_PANEL*itemsize*n",
    grain="64",
)
def hadamard_columns(x, scale, panel, start, stop):
    """Transform columns whose length n is a power of two of at most 512, PANEL columns at once on
    the CPU and GPU_PANEL on a GPU."""
    n = x.shape[1]
    for q in range(x.shape[0]):
        for first in range(start, stop, PANEL):
            width = min(PANEL, stop - first)
            for i in range(n):
                source, target = x[q, i, first : first + width], panel[PANEL * i : PANEL * (i + 1)]
                for j in range(width):
                    target[j] = source[j]
                for j in range(width, PANEL):
                    target[j] = 0
            _butterflies(panel, PANEL * n, PANEL)
            for i in range(n):
                source, target = panel[PANEL * i : PANEL * (i + 1)], x[q, i, first : first + width]
                for j in range(width):
                    target[j] = scale * source[j]


def _butterflies(x, n, h):
    """(a, b) ← (a + b, a - b) for elements h apart, then 2 h, … up to n / 2; three levels per pass
    where possible."""
    while h < n:
        radix = 8 if 8 * h <= n else 4 if 4 * h <= n else 2
        for k in range(n // (radix * h)):
            block = x[k * radix * h : (k + 1) * radix * h]
            if radix == 8:
                # with a constant stride the compiler omits the run-time test for overlap of the
                # eight streams
                if h == 8:
                    _stage_8(block, 8)
                elif h == 64:
                    _stage_8(block, 64)
                elif h == 512:
                    _stage_8(block, 512)
                elif h == 4096:
                    _stage_8(block, 4096)
                else:
                    _stage_8(block, h)
            elif radix == 4:
                _stage_4(block, h)
            else:
                _stage_2(block, h)
        h *= radix


def _eight(x, j, h):
    """Three levels for the elements j, j + h, … j + 7 h."""
    a0, a1, a2, a3 = x[j], x[j + h], x[j + 2 * h], x[j + 3 * h]
    a4, a5, a6, a7 = x[j + 4 * h], x[j + 5 * h], x[j + 6 * h], x[j + 7 * h]
    b0, b1, b2, b3 = a0 + a1, a0 - a1, a2 + a3, a2 - a3
    b4, b5, b6, b7 = a4 + a5, a4 - a5, a6 + a7, a6 - a7
    a0, a1, a2, a3 = b0 + b2, b1 + b3, b0 - b2, b1 - b3
    a4, a5, a6, a7 = b4 + b6, b5 + b7, b4 - b6, b5 - b7
    x[j], x[j + h], x[j + 2 * h], x[j + 3 * h] = a0 + a4, a1 + a5, a2 + a6, a3 + a7
    x[j + 4 * h], x[j + 5 * h], x[j + 6 * h], x[j + 7 * h] = a0 - a4, a1 - a5, a2 - a6, a3 - a7


def _stage_8(x, h):
    for j in range(h):
        _eight(x, j, h)


def _stage_4(x, h):
    for j in range(h):
        a, b = x[j] + x[j + h], x[j] - x[j + h]
        c, d = x[j + 2 * h] + x[j + 3 * h], x[j + 2 * h] - x[j + 3 * h]
        x[j], x[j + h], x[j + 2 * h], x[j + 3 * h] = a + c, b + d, a - c, b - d


def _stage_2(x, h):
    for j in range(h):
        x[j], x[j + h] = x[j] + x[j + h], x[j] - x[j + h]
