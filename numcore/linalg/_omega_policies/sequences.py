"""Solving sequences of systems with the omega that a policy chooses for each."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sized
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ...arguments import Array, at_least, between, nonnegative
from ...dispatch import routine
from ...progress import progress_bar
from .._relaxation import SolveResult, sor, ssor_cg

METHODS = {"sor": sor, "ssor_cg": ssor_cg}


@runtime_checkable
class Policy(Protocol):
    """An object that chooses omega for each system by `sample`, which may take a context, and
    learns by `update`."""

    sample: Callable[..., float]
    update: Callable[[float], Any]


class SequenceResult(NamedTuple):
    """Solutions and iteration counts of a sequence of T systems.

    Attributes
    ----------
    solutions : list of T arrays, or None
    omegas : (T,) NumPy array
    n_iter : (T,) NumPy array of int64
        Iterations per system; `max_iter` if it did not converge.
    n_iter_total : int
    """

    solutions: list[Array] | None
    omegas: np.ndarray
    n_iter: np.ndarray
    n_iter_total: int


@routine
def solve_sequence(
    systems: Iterable[Any],
    policy: Annotated[float, between(0, 2)] | Policy,
    *,
    method: Literal["sor", "ssor_cg"] = "sor",
    contexts: Iterable[float] | None = None,
    warm_start: bool = False,
    tol: Annotated[float, nonnegative] = 1e-8,
    max_iter: Annotated[int, at_least(1)] = 10_000,
    keep_solutions: bool = True,
    callback: Callable[[int, float, SolveResult], bool | None] | None = None,
    progress: bool = False,
) -> SequenceResult:
    """Solve a sequence of linear systems, with a policy choosing omega for each from earlier
    iteration counts.

    Parameters
    ----------
    systems : Iterable
        Pairs (a, b) as for `sor`, or functions without arguments that return such a pair and are
        called one by one.
    policy : float in (0, 2) or Policy
        A number is used as omega for all systems.
    method : {"sor", "ssor_cg"}, default "sor"
    contexts : Iterable, optional
        One number per system; if given, omega is chosen by ``policy.sample(context)``.
    warm_start : bool, default False
        Start from the previous solution if its size matches, otherwise from zero.
    tol : float >= 0, default 1e-08
    max_iter : int >= 1, default 10000
        Maximum number of iterations per system. A system that does not converge costs `max_iter`,
        which is also reported to the policy.
    keep_solutions : bool, default True
        Return the solutions.
    callback : callable, optional
        ``callback(t, omega, result)`` is called after every system with its SolveResult; the
        sequence stops when it returns True.
    progress : bool, default False
        Show a progress bar over the systems (needs tqdm).

    Returns
    -------
    SequenceResult
        Every solution meets `tol` as documented by its method, unless its number of iterations is
        `max_iter`.

    Raises
    ------
    ValueError
        There are fewer contexts than systems, an option is out of range, or the method or the
        policy raises it.
    TypeError
        `policy` is neither a number nor a Policy, or a system is not a pair.

    Notes
    -----
    A KeyboardInterrupt is passed on; the policy keeps its state and can be used again. Costs are
    iteration counts, not times, which are too noisy for small systems.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters
    across a sequence of linear system instances", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import CSR, TsallisINF
    >>> a = CSR.from_dense(2 * np.eye(20) - np.eye(20, k=1) - np.eye(20, k=-1))
    >>> learned = solve_sequence([(a, np.ones(20))] * 300, TsallisINF(rng=0))
    >>> fixed = solve_sequence([(a, np.ones(20))] * 300, 1.0)
    >>> learned.n_iter_total < fixed.n_iter_total / 2
    True
    """
    solver = METHODS[method]
    policy = _Fixed(policy) if isinstance(policy, float) else policy
    contexts = None if contexts is None else iter(contexts)
    total = len(systems) if isinstance(systems, Sized) else None
    omegas, n_iter, solutions, x = [], [], [], None
    with progress_bar(total, "systems") if progress else contextlib.nullcontext() as bar:
        for t, system in enumerate(systems):
            a, b = _pair(t, system)
            omega = policy.sample() if contexts is None else policy.sample(_next(t, contexts))
            start = x if warm_start and x is not None and x.shape == b.shape else None
            result = solver(a, b, omega=omega, x0=start, tol=tol, max_iter=max_iter)
            cost = result.n_iter if result.converged else max_iter
            policy.update(float(max(1, cost)))
            x = result.x if math.isfinite(result.relative_residual) else None
            omegas.append(omega)
            n_iter.append(cost)
            if keep_solutions:
                solutions.append(result.x)
            if bar is not None:
                bar.update(1)
            if callback is not None and callback(t, omega, result) is True:
                break
    n_iter = np.array(n_iter, np.int64)
    solutions = solutions if keep_solutions else None
    return SequenceResult(solutions, np.array(omegas, float), n_iter, int(n_iter.sum()))


class _Fixed:
    """One omega for all systems."""

    def __init__(self, omega):
        self.omega = omega

    def sample(self, context=None):
        return self.omega

    def update(self, cost):
        """Ignore the cost."""


def _pair(t, system):
    system = system() if callable(system) else system
    if not isinstance(system, (tuple, list)) or len(system) != 2:
        raise TypeError(
            f"systems must be pairs (a, b) or functions that return them (got "
            f"{type(system).__name__} at {t})"
        )
    return system


def _next(t, contexts):
    for context in contexts:
        return context
    raise ValueError(f"contexts must be as many as systems (got {t})")
