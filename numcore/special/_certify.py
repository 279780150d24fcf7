"""Measured error bounds of the elementary functions: every float32 there is, and a stratified
sample of float64.

The unit is the ULP of the exact value t, u(t) = 2^(max(floor(log2 |t|), e_min) - p + 1) with p =
24, e_min = -126 for float32 and p = 53, e_min = -1022 for float64; the error of y is |y - t| /
u(t). A finite y where t rounds to an infinity, a wrong infinity, a wrong NaN and a wrong sign of an
exact zero count as infinite errors. The table that :func:`max_ulp_error` reads is made by::

    python -m numcore.special._certify [--function NAME ...] [--dtype DTYPE ...]
"""

import argparse
import functools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from .._kinds import ArrayKind
from ..arguments import RNG, Array, DType, Float, at_least, nonnegative, within
from ..dispatch import routine
from ..progress import progress_bar
from ..random import generator_from_rng

TABLE = Path(__file__).with_name("ulp_contracts.json")
CACHED = 2**14  # inputs whose temporaries stay in the L2 cache
EXTREME_MANTISSAS = (0, 1, 2, 2**51 - 1, 2**51, 2**51 + 1, 2**52 - 2, 2**52 - 1)


CALLS_PYTHON = "it calls a Python function of NumPy arrays"
Bits: TypeAlias = Annotated[int, within(0, 2**32)]
ChunkSize: TypeAlias = Annotated[int, at_least(1)]
Progress: TypeAlias = Callable[[int, int], object] | None


class _Exact:
    """The dtypes in which exact values come."""

    name, shared = "Exact", False
    dtypes = tuple(dict.fromkeys(("float64", np.dtype(np.longdouble).name)))
    text = " or ".join(dtypes)


Exact: TypeAlias = Annotated[Array, ArrayKind(_Exact, "*shape", ())]


@dataclass(frozen=True)
class UlpContract:
    """The measured maximum error of a function.

    Attributes
    ----------
    max_ulp : float
        Largest error, in ULP of the exact value.
    domain : (float, float)
        Smallest and largest input checked, infinities included.
    worst_input : float
        An input with the largest error.
    exhaustive : bool
        Whether every value of the dtype was checked.
    inputs_checked : int
    """

    max_ulp: float
    domain: tuple[float, float]
    worst_input: float
    exhaustive: bool
    inputs_checked: int


@routine(host_only=CALLS_PYTHON)
def certify(
    func: Callable[..., Any],
    reference: Callable[..., Any],
    *,
    lo_bits: Bits = 0,
    hi_bits: Bits = 2**32,
    chunk: ChunkSize = 2**20,
    callback: Progress = None,
    progress: bool = False,
) -> UlpContract:
    """Measure the maximum ULP error of a float32 function over all bit patterns of a range.

    Parameters
    ----------
    func : callable
        The function, from float32 arrays of shape (n,) to float32 arrays of shape (n,).
    reference : callable
        The same function in float64, from float64 arrays of shape (n,) to float64 arrays of shape
        (n,). An error of one ULP of float64 moves the result by 2e-9.
    lo_bits : int in [0, 2**32], default 0
    hi_bits : int in [0, 2**32], default 4294967296
        Bit patterns lo_bits <= bits < hi_bits are checked, read as unsigned integers: 0x00000000 is
        +0, 0x7F800000 inf, 0x80000000 -0.
    chunk : int >= 1, default 1048576
        Patterns in one call of `func`.
    callback : callable, optional
        ``callback(checked, total)`` is called after every chunk.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    UlpContract

    Raises
    ------
    ValueError
        Unless 0 <= lo_bits < hi_bits <= 2**32 and chunk >= 1.
    TypeError
        If `func` does not return float32.
    ImportError
        If `progress` is asked for and tqdm is missing.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import certify
    >>> one_to_two = certify(np.sqrt, np.sqrt, lo_bits=0x3F800000, hi_bits=0x40000000)
    >>> one_to_two.max_ulp <= 0.5, one_to_two.domain, one_to_two.inputs_checked
    (True, (1.0, 1.9999998807907104), 8388608)
    """
    if lo_bits >= hi_bits:
        raise ValueError(f"lo_bits must be < hi_bits with hi_bits = {hi_bits} (got {lo_bits})")
    chunks = (
        np.arange(start, min(start + chunk, hi_bits), dtype=np.uint32).view(np.float32)
        for start in range(lo_bits, hi_bits, chunk)
    )
    return _measure(
        func,
        reference,
        chunks,
        hi_bits - lo_bits,
        np.float64,
        hi_bits - lo_bits == 2**32,
        callback,
        progress,
    )


@routine(host_only=CALLS_PYTHON)
def certify_float64(
    func: Callable[..., Any],
    reference: Callable[..., Any],
    *,
    n_samples: Annotated[int, nonnegative] = 2**22,
    rng: RNG = 0,
    chunk: ChunkSize = 2**18,
    callback: Progress = None,
    progress: bool = False,
) -> UlpContract:
    """Measure the maximum ULP error of a float64 function over a stratified sample.

    The sample holds, for both signs, every exponent with extreme mantissas (which covers the zeros,
    the infinities, NaN, the subnormal and the largest numbers), and `n_samples` random mantissas:
    half spread evenly over all exponents, half over those of magnitudes from 2^-12 to 2^11.

    Parameters
    ----------
    func : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,).
    reference : callable
        The same function in numpy.longdouble, or any other precise enough to leave the error in its
        result negligible.
    n_samples : int >= 0, default 4194304
        Random inputs.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, default 0
        Source of the random mantissas. The default is a fixed seed, so that a contract can be
        measured again.
    chunk : int >= 1, default 262144
    callback : callable, optional
    progress : bool, default False
        As in :func:`certify`.

    Returns
    -------
    UlpContract

    Raises
    ------
    ValueError
        If `n_samples` is negative or `chunk` less than 1.
    TypeError
        If `func` does not return float64.
    RuntimeError
        If numpy.longdouble is no wider than float64 on this platform.
    ImportError
        If `progress` is asked for and tqdm is missing.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import certify_float64
    >>> certify_float64(np.sqrt, np.sqrt, n_samples=1000).max_ulp < 0.501
    True
    """
    if np.finfo(np.longdouble).nmant < 63:
        raise RuntimeError(
            "certify_float64 needs a numpy.longdouble that is wider than float64; "
            "this platform has none"
        )
    exponents = np.arange(2**12, dtype=np.uint64) << np.uint64(52)  # the sign is their highest bit
    extremes = (
        (exponents[:, None] | np.array(EXTREME_MANTISSAS, np.uint64)).reshape(-1).view(np.float64)
    )
    total = extremes.size + n_samples
    chunks = _random_chunks(extremes, n_samples, generator_from_rng(rng), chunk)
    return _measure(func, reference, chunks, total, np.longdouble, False, callback, progress)


def _random_chunks(extremes, n_samples, rng, chunk):
    yield extremes
    for start in range(0, n_samples, chunk):
        n = min(chunk, n_samples - start)
        exponents = rng.integers(0, 2047, n, dtype=np.uint64)
        usual = rng.integers(1023 - 12, 1023 + 11, n, dtype=np.uint64)
        exponents = np.where(rng.random(n) < 0.5, exponents, usual)
        signs = rng.integers(0, 2, n, dtype=np.uint64)
        mantissas = rng.integers(0, 2**52, n, dtype=np.uint64)
        yield (signs << np.uint64(63) | exponents << np.uint64(52) | mantissas).view(np.float64)


def _measure(func, reference, chunks, total, wide, exhaustive, callback, progress):
    bar = progress_bar(total, "inputs") if progress else None
    worst, worst_input, checked, lowest, highest = -1.0, math.nan, 0, math.inf, -math.inf
    for x in chunks:
        with np.errstate(all="ignore"):
            y, t = np.asarray(func(x)), np.asarray(reference(x.astype(wide)))
        if y.dtype != x.dtype or y.shape != x.shape:
            raise TypeError(
                f"func must return {x.dtype} of shape {x.shape} (got {y.dtype} of shape {y.shape})"
            )
        with np.errstate(all="ignore"):
            errors = _ulp_errors(y, t)
        i = int(np.argmax(errors))
        if errors[i] > worst:
            worst, worst_input = float(errors[i]), float(x[i])
        numbers = x[~np.isnan(x)]
        lowest = min(lowest, float(numbers.min(initial=np.inf)))
        highest = max(highest, float(numbers.max(initial=-np.inf)))
        checked += x.size
        if bar is not None:
            bar.update(x.size)
        if callback is not None:
            callback(checked, total)
    if bar is not None:
        bar.close()
    return UlpContract(worst, (lowest, highest), worst_input, exhaustive, checked)


@routine(host_only="it measures in numpy.longdouble")
def ulp_error(y: Float[Array, "*shape"], t: Exact) -> Array:
    """The error of y in ULP of the exact values t.

    Where t is NaN, y must be; where t rounds to an infinity, y must be that infinity: anything else
    is an infinite error.

    Parameters
    ----------
    y : (...) array of float32 or float64
        Computed values.
    t : (...) array of float64 or float128
        Exact values, of a wider type than `y`.

    Returns
    -------
    (...) array of float64

    Raises
    ------
    TypeError
        Other dtypes.
    ValueError
        Another shape.

    References
    ----------
    J.-M. Muller, "On the definition of ulp(x)", INRIA report 5504, 2005.

    Examples
    --------
    >>> ulp_error(np.array([1.0, 3.0], np.float32), np.array([1.0, 3 + 2**-23]))
    array([0. , 0.5])
    """
    with np.errstate(all="ignore"):
        return _ulp_errors(y, t)


def _ulp_errors(y, t):
    if not y.size:
        return np.zeros(y.shape)
    t = np.ascontiguousarray(t)
    info = np.finfo(y.dtype)
    if t.dtype == np.float64:
        biased = (t.view(np.int64) >> 52) & 0x7FF
        limits = biased.min() == 0 or biased.max() >= 1023 + info.maxexp - 1
        inverse_ulp = ((2 * 1023 + info.nmant - np.maximum(biased, 1023 + info.minexp)) << 52).view(
            np.float64
        )
    else:
        limits = True
        exponent = np.maximum(np.frexp(t)[1] - 1, info.minexp)
        inverse_ulp = np.ldexp(np.ones(1, t.dtype), info.nmant - exponent)
    errors = (np.abs(y.astype(t.dtype) - t) * inverse_ulp).astype(np.float64, copy=False)
    if limits or not np.isfinite(errors.max(initial=0)):
        unusual = ~np.isfinite(errors) | (t == 0) | np.isinf(t.astype(y.dtype))
        errors[unusual] = _error_at_limits(y[unusual], t[unusual])
    return errors


def _error_at_limits(y, t):
    """Errors where the exact value is zero, infinite or NaN, or rounds to an infinity, or where y
    is one of these."""
    rounded = t.astype(y.dtype)
    same = (y == rounded) & (np.signbit(y) == np.signbit(rounded)) | np.isnan(y) & np.isnan(rounded)
    limits = ~np.isfinite(rounded) | ~np.isfinite(y) | (y == 0)
    # from an exact zero
    distance = np.abs(y.astype(t.dtype) / np.finfo(y.dtype).smallest_subnormal).astype(np.float64)
    return np.where(same, 0.0, np.where(limits, np.inf, distance))


# --- the table of the package ---------------------------------------------------------------------


Name: TypeAlias = Literal[
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log1p",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "softplus",
    "erf",
]


@routine(host_only="it looks a number up")
def max_ulp_error(name: Name, dtype: DType) -> UlpContract:
    """The measured maximum error of an elementary function of this package.

    Parameters
    ----------
    name : {"exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "erf"}
        Name of the function, such as ``"exp"``.
    dtype : dtype, float32 or float64
        float32 or float64.

    Returns
    -------
    UlpContract

    Raises
    ------
    ValueError
        If `name` is not an elementary function.
    TypeError
        If `dtype` is neither float32 nor float64.

    Notes
    -----
    The contracts of float32 come from :func:`certify` over all 2^32 bit patterns, those of float64
    from :func:`certify_float64`.

    References
    ----------
    J.-M. Muller, "On the definition of ulp(x)", INRIA report 5504, 2005.

    Examples
    --------
    >>> from numcore.special import max_ulp_error
    >>> contract = max_ulp_error("exp", "float32")
    >>> contract.max_ulp < 1, contract.exhaustive
    (True, True)
    """  # noqa: E501
    return _table()[name][np.dtype(dtype).name]


@functools.cache
def _table():
    return {
        name: {dtype: _from_row(row) for dtype, row in rows.items()}
        for name, rows in _read_rows().items()
    }


def _read_rows():
    return json.loads(TABLE.read_text()) if TABLE.exists() else {}


def _from_row(row):
    number = float.fromhex  # exact, and it knows inf, which JSON does not
    return UlpContract(
        **row
        | {"domain": tuple(map(number, row["domain"])), "worst_input": number(row["worst_input"])}
    )


def _to_row(contract):
    exact = {
        "domain": [x.hex() for x in contract.domain],
        "worst_input": contract.worst_input.hex(),
    }
    return asdict(contract) | exact


def references():
    """The functions in float64 or long double, by name; long double erf is computed by mpmath,
    slowly."""
    from scipy.special import erf as erf64

    def sigmoid(x):
        t = np.exp(-np.abs(x))
        return np.where(x < 0, t, np.ones_like(x)) / (1 + t)

    def softplus(x):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def erf(x):
        return erf64(x) if x.dtype == np.float64 else _erf_long_double(x)

    names = ("exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tanh")
    return {name: getattr(np, name) for name in names} | {
        "sigmoid": sigmoid,
        "softplus": softplus,
        "erf": erf,
    }


def _erf_long_double(x):
    import mpmath

    def one(v):
        if not np.isfinite(v) or abs(v) > 7 or v == 0:
            return np.sign(v) if v else v
        with mpmath.workprec(80):
            return np.longdouble(mpmath.nstr(mpmath.erf(mpmath.mpf(float(v))), 24))

    return np.array([one(v) for v in x], np.longdouble)


def main(arguments=None):
    from . import _elementary as elementary

    known = references()
    parser = argparse.ArgumentParser(
        prog="python -m numcore.special._certify", description="Measure the table of ULP contracts."
    )
    parser.add_argument(
        "--function",
        nargs="+",
        choices=list(known),
        default=list(known),
        help="functions to measure (default: all)",
    )
    parser.add_argument(
        "--dtype", nargs="+", choices=["float32", "float64"], default=["float32", "float64"]
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=2**24,
        help="random float64 inputs (default: %(default)s; erf takes 1/64 of it)",
    )
    options = parser.parse_args(arguments)
    for name in options.function:
        func, reference = getattr(elementary, name), known[name]
        for dtype in options.dtype:
            if dtype == "float32":
                contract = certify(func, reference, chunk=CACHED, progress=True)
            else:
                samples = options.samples // 64 if name == "erf" else options.samples
                contract = certify_float64(
                    func, reference, n_samples=samples, chunk=CACHED, progress=True
                )
            rows = _read_rows()
            rows.setdefault(name, {})[dtype] = _to_row(contract)
            ordered = {n: dict(sorted(rows[n].items())) for n in known if n in rows}
            TABLE.write_text(json.dumps(ordered, indent=1) + "\n")
            print(
                f"{name} {dtype}: {contract.max_ulp:.5f} ULP at {contract.worst_input!r}",
                flush=True,
            )


if __name__ == "__main__":
    main()
