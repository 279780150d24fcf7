"""The search as a routine."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from ...arguments import RNG, DType, at_least, at_most, nonnegative, positive
from ...dispatch import routine
from ...progress import progress_bar
from .._certify import CALLS_PYTHON
from .._fit import MAX_CONSTANTS, Error, Method, Problem
from .._program import OPERATIONS, Program
from .front import MAX_OPS, Front
from .search import Search

DEFAULT_BUDGET = 20_000

Operation: TypeAlias = Literal["add", "sub", "mul", "div", "fma"]

Count: TypeAlias = Annotated[int, at_least(1)]


@routine(host_only=CALLS_PYTHON)
def evolve(
    target: Callable[..., Any],
    interval: tuple[float, float],
    *,
    ops: Sequence[Operation] = ("add", "sub", "mul", "div"),
    max_ops: Annotated[int, at_least(1), at_most(MAX_OPS)] = 10,
    constants: Literal["free"] | Annotated[int, nonnegative] = "free",
    error: Error = "relative",
    eps: Annotated[float, nonnegative] = 0.0,
    n_points: Annotated[int, at_least(16)] = 512,
    population: tuple[Count, Count] = (5, 10),
    elitism: bool = True,
    coefficient_search: Method = "lm",
    dtype: DType = np.float64,
    budget: Count | None = None,
    time_limit: Annotated[float, positive] | None = None,
    init: Front | Sequence[Program] | None = None,
    rng: RNG = None,
    callback: Callable[[Front], bool | None] | None = None,
    progress: bool = False,
) -> Front:
    """Search for programs that approximate a function with few operations.

    Parameters
    ----------
    target : callable
        The function, from float64 arrays of shape (n,) to float64 arrays of shape (n,), accurate to
        about one unit in the last place. If it has a method ``exact(x)``, which returns
        numpy.longdouble numbers or strings of them, errors are measured against that in long
        double.
    interval : (float, float)
        Finite bounds, lo < hi.
    ops : sequence of {"add", "sub", "mul", "div", "fma"}, default ('add', 'sub', 'mul', 'div')
        Out of "add", "sub", "mul", "div", "fma".
    max_ops : int >= 1 and <= 63, default 10
        Operations in a program. An fma counts as one; operations on constants alone are free.
    constants : {"free"} or int >= 0, default "free"
        "free": any number of them; an int: at most so many.
    error : {"relative", "absolute", "ulp32"}, default "relative"
        ``|p - f| / (eps + |f|)``, ``|p - f|``, or ``|p - f|`` in units in the last place of float32
        at f; the largest one counts.
    eps : float >= 0, default 0.0
        For relative errors of functions with zeros.
    n_points : int >= 16, default 512
        Chebyshev points for training, at least 16. The front is measured on 10 000 evenly spaced
        ones.
    population : (int >= 1, int >= 1), default (5, 10)
        Parents and children of a generation.
    elitism : bool, default True
        Whether parents compete with their children.
    coefficient_search : {"lm", "cma"}, default "lm"
        How constants are fitted: see `minimize_error`. "cma" is some hundred times slower.
    dtype : dtype, float32 or float64, default float64
        float32: the front is measured as its programs run in float32, on 10 000 float32 numbers,
        with constants that are float32 numbers (see `minimize_error`); where `error` is "ulp32"
        that is the error that `certify_program` measures on all of them.
    budget : int >= 1, optional
        Programs to fit; by default 20 000 if there is no `time_limit` either.
    time_limit : float > 0, optional
        Seconds.
    init : Front or sequence of Program, optional
        Where to go on; the evaluations and the history of a Front are continued, the budget counts
        from there.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        With the same seed and no `time_limit` a search gives the same front, at any number of
        threads.
    callback : callable, optional
        ``callback(front)`` is called whenever the front has improved; the search ends when it
        returns True.
    progress : bool, default False
        Show a progress bar (needs tqdm).

    Returns
    -------
    Front
        Ctrl-C ends a search early and returns what has been found, with ``reason == "interrupt"``.

    Raises
    ------
    ValueError
        Bad bounds, an unknown operation or option, a count below its minimum, a target that is not
        finite on the interval, relative error at a zero of the target with eps = 0.
    TypeError
        `target` is not callable or returns another shape; `init` has other items than programs.
    ImportError
        CMA-ES or the progress bar is asked for and not installed.

    Notes
    -----
    A child is its parent with mutations piled up until it computes another function; half of all
    children are unchanged copies. Programs that compute a function that was met before are fitted
    again a few times only. A program with a divisor that changes its sign between points has a pole
    and is rejected; only `certify_program`, over all floats, proves that there is none.

    References
    ----------
    E. Real et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art Mathematical
    Functions", arXiv 2312.08472. K. Deb et al., "A fast and elitist multiobjective genetic
    algorithm: NSGA-II", 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import evolve
    >>> front = evolve(np.exp2, (0, 1), max_ops=4, budget=500, rng=1)
    >>> bool(
    ...     front.errors[front.n_ops <= 4].min() < 1.8e-3
    ... )  # the quadratic polynomial, 4 operations, has 1.7e-3
    True
    """
    search = Search(
        Problem(target, interval, error, eps),
        ops=_opcodes(ops),
        max_ops=max_ops,
        max_constants=MAX_CONSTANTS if constants == "free" else min(constants, MAX_CONSTANTS),
        n_points=n_points,
        population=population,
        elitism=elitism,
        method=coefficient_search,
        dtype=dtype,
        rng=rng,
    )
    if budget is None and time_limit is None:
        budget = DEFAULT_BUDGET
    bar = progress_bar(budget, "programs") if progress else None
    try:
        reason = search.run(init, budget, time_limit, callback, bar)
    except KeyboardInterrupt:
        reason = "interrupt"
    finally:
        if bar is not None:
            bar.close()
    return search.front(reason)


def _opcodes(ops):
    if not ops:
        raise ValueError("ops must have at least one operation (got none)")
    return [OPERATIONS.index(op) for op in dict.fromkeys(ops)]
