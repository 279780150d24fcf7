"""Random maps from many rows to few that keep the geometry of a column space: S with E SᵀS = I, never formed."""

import numpy as np

from ..checks import checked_count
from ..dispatch import float_dtype, on_device, routine
from .hadamard import fwht, next_power_of_two

PANEL = 64  # columns that are transformed together, so that the padded copy stays small


@routine
def srht(a, sketch_size, *, rng=None):
    """Subsampled randomised Hadamard transform S A: random signs, Walsh–Hadamard transform, a uniform sample of rows.

    S = P H D / √m, with D of random signs, H of ±1 entries for the next power of two N ≥ n (A is padded with zeros), and P taking m of its
    rows without replacement. E SᵀS = I, and m = N gives ‖S A x‖ = ‖A x‖ for every x.

    Parameters
    ----------
    a : (n, d) or (n,) array of float32 or float64
    sketch_size : int
        m, with 1 <= m <= N.
    rng : None, int or numpy.random.Generator, optional

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
    N log2 N additions for each column; memory: the result, and N × 64 numbers.

    References
    ----------
    J. A. Tropp, "Improved analysis of the subsampled randomized Hadamard transform", Advances in Adaptive Data Analysis, 2011.

    Examples
    --------
    >>> x = np.arange(8.0)
    >>> bool(np.isclose(np.linalg.norm(srht(x, 8, rng=0)), np.linalg.norm(x)))
    True
    """
    xp, (a,) = on_device(a=a)
    float_dtype(a=a)
    if a.ndim not in (1, 2) or not a.size:
        raise ValueError(f"a must have shape (n,) or (n, d) with n, d > 0 (got {a.shape})")
    n, columns = len(a), a.reshape(len(a), -1)
    size = next_power_of_two(n)
    m = checked_count("sketch_size", sketch_size, least=1, most=size)
    rng = np.random.default_rng(rng)
    signs = xp.asarray(2 * rng.integers(0, 2, n).astype(a.dtype) - 1)[:, None]
    rows = xp.asarray(rng.choice(size, m, replace=False))
    result = xp.empty((m, columns.shape[1]), a.dtype)
    for first in range(0, columns.shape[1], PANEL):
        panel = columns[:, first:first + PANEL]
        padded = xp.zeros((size, panel.shape[1]), a.dtype)
        padded[:n] = signs * panel
        result[:, first:first + PANEL] = fwht(padded, axis=0)[rows]
    result *= m**-0.5
    return result.reshape(m, *a.shape[1:])
