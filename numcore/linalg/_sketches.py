"""Random sketches: maps S from many rows to few that preserve the geometry of a column space, E SᵀS
= I, and are never formed.

A sampled transform computes only some of its outputs. With H_N = H_h ⊗ H_l, a block of l rows is
transformed in the cache, and each sampled row sums one row of every block with the signs of H_h: A
is read once, without a padded copy.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from ..arguments import RNG, Array, Float, at_least, at_most, nonempty
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..random import generator_from_rng, key_from_rng, normal
from ..simd import popcount
from ._csr import CSR
from ._hadamard import _butterflies, next_power_of_two
from ._sparse import spmv

PANEL = 64  # columns that are transformed together
GAUSSIAN_ROWS = 1 << 10  # rows for which random numbers are generated at once


@routine
def srht(
    a: Float[Array, "n d", nonempty] | Float[Array, "n", nonempty],
    sketch_size: Annotated[int, at_least(1)],
    *,
    rng: RNG = None,
) -> Array:
    """Subsampled randomized Hadamard transform (SRHT) S A: random signs, Walsh–Hadamard transform,
    uniform sample of rows.

    S = P H E D / √m, where D has random signs, H has entries ±1 for the next power of two N ≥ n, E
    inserts rows of zeros in random positions, and P selects m of the N rows without replacement.
    The expectation of SᵀS is I, and m = N gives ‖S A x‖ = ‖A x‖ for every x.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, without an axis of length zero or (n,) array of float32 or float64, without an axis of length zero
    sketch_size : int >= 1
        m, at most N.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        D is ``2 * rng.integers(0, 2, n) - 1``; then, if n < N, E puts the rows of A in order into
        the positions ``sorted(rng.choice(N, n, replace=False, shuffle=False))``; then P selects the
        rows ``rng.choice(N, m, replace=False)``, in this order.

    Returns
    -------
    (m, d) or (m,) array
        For fixed x, ‖S A x‖² = ‖A x‖² (1 ± O(√(log(n/δ) / m))) with probability 1 - δ.

    Raises
    ------
    ValueError
        `a` is empty or has other dimensions, or `sketch_size` is out of range.
    TypeError
        `a` has another dtype.

    Notes
    -----
    If the zeros were at the end and n were slightly above a power of two, rows of H would agree on
    most of A, and a sketch with about n rows would lose rank.

    About log2(l) + m / l additions per entry of `a`, with blocks of l rows, 1024 for 64 columns of
    float64. Memory: the result, at most 64 N additional numbers, and copies of 64 columns at a time
    if `a` is not C-contiguous.

    References
    ----------
    J. A. Tropp, "Improved analysis of the subsampled randomized Hadamard transform", Advances in
    Adaptive Data Analysis, 2011.

    Examples
    --------
    >>> x = np.arange(8.0)
    >>> bool(np.isclose(np.linalg.norm(srht(x, 8, rng=0)), np.linalg.norm(x)))
    True
    """  # noqa: E501
    xp, n, m = namespace_of(a), len(a), sketch_size
    if m > next_power_of_two(n):
        raise ValueError(f"sketch_size must be <= N with N = {next_power_of_two(n)} (got {m})")
    sketch = hadamard_sketch(xp, n, m, a.dtype, generator_from_rng(rng))
    return sketch(a.reshape(n, -1))[0].reshape(m, *a.shape[1:])


@routine
def src(
    a: Float[Array, "n d", nonempty] | Float[Array, "n", nonempty],
    sketch_size: Annotated[int, at_least(1), at_most("n")],
    *,
    rng: RNG = None,
) -> Array:
    """Subsampled random circulant (SRC) sketch S A: random signs, random circulant matrix, uniform
    sample of rows; any n.

    S = P C D / √m, where D has random signs, C_ij = c_(i - j mod n) for a vector c of random signs,
    and P selects m of the n rows without replacement. The expectation of SᵀS is I. Unlike `srht`, S
    is not an isometry for m = n.

    Parameters
    ----------
    a : (n, d) array of float32 or float64, without an axis of length zero or (n,) array of float32 or float64, without an axis of length zero
    sketch_size : int >= 1 and <= n
        m.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        D and c are ``2 * rng.integers(0, 2, (2, n)) - 1``, then P selects the rows ``rng.choice(n,
        m, replace=False)``, in this order.

    Returns
    -------
    (m, d) or (m,) array
        For fixed x, ‖S A x‖² = ‖A x‖² (1 ± O(log(n/δ)^1.5 / √m)) with probability 1 - δ.

    Raises
    ------
    ValueError
        `a` is empty or has other dimensions, or `sketch_size` is out of range.
    TypeError
        `a` has another dtype.

    Notes
    -----
    Two Fourier transforms per column, O(n log n) even if n is prime; memory: the result, and a few
    times 64 n numbers.

    References
    ----------
    Z. Song, M. Ye, J. Yin, L. Zhang, "A nearly-optimal bound for fast regression with ℓ∞
    guarantee", ICML 2023.

    Examples
    --------
    >>> src(np.arange(7.0), 3, rng=0).shape
    (3,)
    """  # noqa: E501
    xp, n, m = namespace_of(a), len(a), sketch_size
    sketch = circulant_sketch(xp, n, m, a.dtype, generator_from_rng(rng))
    return sketch(a.reshape(n, -1))[0].reshape(m, *a.shape[1:])


@routine
def tensor_srht(
    factors: Sequence[Float[Array, "_ _", nonempty]],
    sketch_size: Annotated[int, at_least(1)],
    *,
    rng: RNG = None,
) -> Array:
    """Sketch of a Kronecker product A1 ⊗ A2 ⊗ … without forming it, from Hadamard transforms of the
    factors.

    Row t of the result is (H D1 A1)[i1] ⊗ (H D2 A2)[i2] ⊗ … / √m, with random signs D and a uniform
    random i for each factor; rows are drawn with replacement. This is S (A1 ⊗ A2 ⊗ …), where the
    expectation of SᵀS is I.

    Parameters
    ----------
    factors : sequence of (_, _) array of float32 or float64, without an axis of length zero
    sketch_size : int >= 1
        m.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        First D and the padding to N_j rows are drawn for each factor in turn, as in `srht`; then i,
        ``rng.integers(0, N_j, m)``, for each factor in turn.

    Returns
    -------
    (m, d_1 d_2 …) array
        Columns in the order of ``numpy.kron``.

    Raises
    ------
    ValueError
        A factor is empty or not a matrix, there are no factors, or `sketch_size` is out of range.
    TypeError
        Other dtypes, or factors on several devices.

    Notes
    -----
    Each factor is transformed once, at a cost of O(n_j d_j log n_j), plus that of the result.

    References
    ----------
    Z. Song, M. Ye, J. Yin, L. Zhang, "A nearly-optimal bound for fast regression with ℓ∞
    guarantee", ICML 2023.

    Examples
    --------
    >>> tensor_srht([np.eye(4), np.ones((3, 2))], 5, rng=0).shape
    (5, 8)
    """
    if not factors:
        raise ValueError(f"factors must hold at least one array (got {factors!r})")
    lengths = [len(a) for a in factors]
    sketch = TensorSketch(namespace_of(*factors), lengths, sketch_size, generator_from_rng(rng))
    return sketch.product(factors)


# --- sketches as functions: S is drawn once and applied to several matrices of n rows -------------


def _signs(xp, rng, shape, dtype):
    return xp.asarray(2 * rng.integers(0, 2, shape).astype(dtype) - 1)


def _slots(xp, rng, n):
    """E D of `srht`: for each of N rows, ±(i + 1) with the index i of the row of A placed there, or
    0."""
    size, numbers = next_power_of_two(n), (2 * rng.integers(0, 2, n) - 1) * np.arange(1, n + 1)
    slots = np.zeros(size, np.int64)
    slots[
        np.sort(rng.choice(size, n, replace=False, shuffle=False)) if n < size else slice(None)
    ] = numbers
    return xp.asarray(slots)


def hadamard_sketch(xp, n, m, dtype, rng):
    """S of `srht` as a function that maps any number of (n, d) arrays to a list of sketches."""
    slots = _slots(xp, rng, n)
    rows = xp.asarray(rng.choice(len(slots), m, replace=False))
    return lambda *matrices: [hadamard_rows_of(xp, a, slots, rows) * m**-0.5 for a in matrices]


def circulant_sketch(xp, n, m, dtype, rng):
    """S of `src` as such a function."""
    signs, c = _signs(xp, rng, (2, n), dtype)
    rows, spectrum = xp.asarray(rng.choice(n, m, replace=False)), xp.fft.rfft(c)

    def sketched(a):
        result = xp.empty((m, a.shape[1]), dtype)
        with np.errstate(invalid="ignore", over="ignore"):
            for first in range(0, a.shape[1], PANEL):
                panel = xp.ascontiguousarray((signs[:, None] * a[:, first : first + PANEL]).T)
                result[:, first : first + PANEL] = xp.fft.irfft(xp.fft.rfft(panel) * spectrum, n)[
                    :, rows
                ].T
        return result * m**-0.5

    return lambda *matrices: [sketched(a) for a in matrices]


def gaussian_sketch(xp, n, m, dtype, rng):
    """S with independent normal entries of variance 1 / m, as such a function; S is generated in
    blocks of columns."""
    key = key_from_rng(rng)

    def sketched(*matrices):
        numbers = np.random.default_rng(key)
        results = [xp.zeros((m, a.shape[1]), dtype) for a in matrices]
        for first in range(0, n, GAUSSIAN_ROWS):
            s = normal((m, min(GAUSSIAN_ROWS, n - first)), rng=numbers, dtype=dtype, xp=xp)
            for a, result in zip(matrices, results, strict=True):
                result += s @ a[first : first + GAUSSIAN_ROWS]
        return [result * m**-0.5 for result in results]

    return sketched


def count_sketch(xp, n, m, dtype, rng):
    """S with one random sign in a random row of every column, as such a function."""
    rows, signs = xp.asarray(rng.integers(0, m, n)), _signs(xp, rng, n, dtype)
    s = CSR.from_coo(rows, xp.arange(n), signs, (m, n))
    return lambda *matrices: [spmv(s, a) for a in matrices]


class TensorSketch:
    """S of `tensor_srht` for factors with `lengths` rows."""

    def __init__(self, xp, lengths, m, rng):
        self.xp, self.m, self.lengths = xp, m, lengths
        self.slots = [_slots(xp, rng, n) for n in lengths]
        self.rows = [xp.asarray(rng.integers(0, len(slots), m)) for slots in self.slots]

    def product(self, factors):
        """S (A1 ⊗ A2 ⊗ …)."""
        result = None
        for a, slots, rows in zip(factors, self.slots, self.rows, strict=True):
            sampled = hadamard_rows_of(self.xp, a, slots, rows)
            result = (
                sampled
                if result is None
                else (result[:, :, None] * sampled[:, None, :]).reshape(self.m, -1)
            )
        return result * self.m**-0.5

    def vector(self, b):
        """S b for any (n_1 n_2 …, c) array."""
        y = b.reshape(*self.lengths, b.shape[1])
        for j, slots in enumerate(self.slots):
            y = self.xp.moveaxis(y, j, 0)
            y = hadamard_rows_of(
                self.xp, y.reshape(len(y), -1), slots, self.xp.arange(len(slots))
            ).reshape(-1, *y.shape[1:])
            y = self.xp.moveaxis(y, 0, j)
        return y[tuple(self.rows)] * self.m**-0.5


# --- the sampled transform ------------------------------------------------------------------------


def hadamard_rows_of(xp, a, slots, rows):
    """Selected rows of H E D A: an (m, d) array for a (n, d), the slots (N,) of E D, and row
    indices (m,) below N."""
    d, dtype = a.shape[1], a.dtype
    # columns per panel in the cache, or in a GPU's shared memory
    width = 1 if d == 1 else PANEL if xp is np and d > 16 else 8
    slots = slots.reshape(
        -1, min(len(slots), ((1 << 19) if xp is np else (1 << 15)) // (width * dtype.itemsize))
    )
    step = d if a.flags.c_contiguous else PANEL
    result = xp.empty((len(rows), d), dtype)
    for first in range(0, d, step):
        part = xp.ascontiguousarray(a[:, first : first + step])
        panels = -(-part.shape[1] // width)
        # keeps the sums of all groups within the size of a panel
        max_groups = max(1, PANEL * slots.size // (len(rows) * panels * width))
        groups = min(len(slots), max_groups, -(-(16 if xp is np else 1024) // panels))
        sums = xp.empty((groups * panels, len(rows), width), dtype)
        sampled_hadamard(part, slots, rows, panels, sums)
        sums = sums.reshape(groups, panels, len(rows), width).sum(axis=0)
        result[:, first : first + step] = sums.swapaxes(0, 1).reshape(len(rows), -1)[
            :, : part.shape[1]
        ]
    return result


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in T a[n, d]; in int64 slots[h, l]; in int64 rows[m]; int64 panels; out T sums[q, m, w]; "
    "scratch T block[l*w]",
    split="q",
    gpu="block",
    shared="itemsize*l*w",
    grain="1",
)
def sampled_hadamard(a, slots, rows, panels, sums, block, start, stop):
    """Partial sums of the sampled rows of H E D A: item q covers a panel of w columns and a group
    of blocks of l rows."""
    d = a.shape[1]
    h, length = slots.shape
    m, w = sums.shape[1:]
    groups, piece = sums.shape[0] // panels, min(length, 64)
    for q in range(start, stop):
        first, group = q % panels * w, q // panels
        width = max(0, min(w, d - first))
        sums[q] = 0
        for b in range(group * h // groups, (group + 1) * h // groups):
            # 64 rows at a time, so that the first levels stay in the L1 cache
            for k in range(length // piece):
                for i in range(k * piece, (k + 1) * piece):
                    _signed_row(a, slots[b, i], first, width, block[w * i : w * (i + 1)])
                _butterflies(block[k * piece * w : (k + 1) * piece * w], piece * w, w)
            _butterflies(block, length * w, piece * w)
            for t in range(m):
                low, high = rows[t] & (length - 1), rows[t] // length
                source, target = block[w * low : w * (low + 1)], sums[q, t]
                if popcount(high & b) & 1:
                    for j in range(w):
                        target[j] -= source[j]
                else:
                    for j in range(w):
                        target[j] += source[j]


def _signed_row(a, slot, first, width, target):
    """target ← `width` entries of ± the row of a given by the slot, then zeros."""
    if slot > 0:
        source = a[slot - 1, first : first + width]
        for j in range(width):
            target[j] = source[j]
    elif slot < 0:
        source = a[-slot - 1, first : first + width]
        for j in range(width):
            target[j] = -source[j]
    for j in range(width if slot else 0, len(target)):
        target[j] = 0
