"""Certified programs: the largest error of a compiled program over every float of an interval."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .._pool import get_num_threads
from ..arguments import DType
from ..dispatch import routine
from ..progress import progress_bar
from ._certify import CALLS_PYTHON, ChunkSize, Progress, UlpContract, _measure, certify
from ._fit import check_interval
from ._program import Program

PIECE = 1 << 25  # bit patterns that one thread takes at a time
SAMPLES = 1 << 22


@routine(host_only=CALLS_PYTHON)
def certify_program(
    program: Program,
    target: Callable[..., Any],
    interval: tuple[float, float],
    *,
    dtype: DType = np.float32,
    chunk: ChunkSize = 2**20,
    callback: Progress = None,
    progress: bool = False,
) -> UlpContract:
    """Measure the largest error of a program over an interval, in units in the last place.

    Parameters
    ----------
    program : Program
        It is compiled as it is: for a program with joined multiplications and additions pass
        ``program.fused()``.
    target : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,), accurate to
        about one unit in the last place. For float64 its method ``exact(x)`` is taken if there is
        one, which returns numpy.longdouble numbers or strings of them; without one the target's own
        error is part of what is measured.
    interval : (float, float)
        Finite bounds, lo < hi.
    dtype : dtype, float32 or float64, default float32
        float32: every float of the interval is tried. float64: both ends and 2^22 random ones, half
        of them evenly, half of them log-uniformly distributed.
    chunk : int >= 1, default 1048576
        Floats evaluated at a time.
    callback : callable, optional
        ``callback(checked, total)`` is called now and then.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    UlpContract
        `exhaustive` says whether every float of the interval was tried. A program with a pole in
        the interval has an infinite or a very large error.

    Raises
    ------
    ValueError
        Bad bounds, an interval without a float in it, or a chunk below 1.
    TypeError
        `program` is not a Program, `target` is not callable, or `dtype` is another type.
    ImportError
        The progress bar is asked for and tqdm is not installed.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import Program, certify_program
    >>> square = Program([[2, 0, 0, 0]], [])
    >>> contract = certify_program(square, np.square, (1.0, 1.5))
    >>> contract.max_ulp <= 0.5, contract.exhaustive, contract.inputs_checked
    (True, True, 4194305)
    """
    lo, hi = check_interval(interval)
    compiled = program.compile(dtype)
    if dtype == np.float64:
        return _sampled(compiled, target, lo, hi, chunk, callback, progress)
    pieces = [
        (start, min(start + PIECE, stop))
        for first, stop in float32_ranges(lo, hi)
        for start in range(first, stop, PIECE)
    ]
    total, checked, lock = sum(stop - start for start, stop in pieces), 0, threading.Lock()
    bar = progress_bar(total, "inputs") if progress else None

    def measure(piece):
        nonlocal checked
        contract = certify(compiled, target, lo_bits=piece[0], hi_bits=piece[1], chunk=chunk)
        with lock:
            checked += contract.inputs_checked
            if bar is not None:
                bar.update(contract.inputs_checked)
            if callback is not None:
                callback(checked, total)
        return contract

    try:
        with ThreadPoolExecutor(get_num_threads()) as threads:
            contracts = list(threads.map(measure, pieces))
    finally:
        if bar is not None:
            bar.close()
    worst = max(contracts, key=lambda c: c.max_ulp)
    return dataclasses.replace(
        worst,
        domain=(min(c.domain[0] for c in contracts), max(c.domain[1] for c in contracts)),
        exhaustive=True,
        inputs_checked=total,
    )


def float32_ranges(lo, hi):
    """Ranges of bit patterns that hold every float32 x with lo <= x <= hi; -0 is there if lo < 0 <=
    hi.

    Raises
    ------
    ValueError
        There is none.
    """
    with np.errstate(over="ignore"):
        low, high = np.float32(lo), np.float32(hi)
    if float(low) < lo:  # compared in float64
        low = np.nextafter(low, np.float32(np.inf))
    if float(high) > hi:
        high = np.nextafter(high, np.float32(-np.inf))
    if not low <= high:
        raise ValueError(f"interval must hold a float32 (got {lo}, {hi})")

    def bits(x):
        return int(np.abs(x).view(np.uint32))

    sign, ranges = 1 << 31, []
    if low < 0:
        ranges.append((sign | (bits(high) if high < 0 else 0), (sign | bits(low)) + 1))
    if high >= 0:
        ranges.append((bits(low) if low > 0 else 0, bits(high) + 1))
    return ranges


def _sampled(compiled, target, lo, hi, chunk, callback, progress):
    """The contract of a float64 program, from a sample."""

    def reference(x):
        narrow = x.astype(np.float64)
        if hasattr(target, "exact"):
            return np.array([np.longdouble(v) for v in target.exact(narrow)], np.longdouble)
        return np.asarray(target(narrow)).astype(np.longdouble)

    def chunks():
        rng = np.random.default_rng(0)
        yield np.array([lo, hi])
        for start in range(0, SAMPLES, chunk):
            n = min(chunk, SAMPLES - start)
            even = rng.uniform(lo, hi, n)
            small = np.exp2(rng.uniform(-60, 0, n)) * np.where(rng.random(n) < 0.5, lo, hi)
            yield np.clip(np.where(rng.random(n) < 0.5, even, small), lo, hi)

    return _measure(
        compiled, reference, chunks(), SAMPLES + 2, np.longdouble, False, callback, progress
    )
