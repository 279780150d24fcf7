"""Which omega to relax the next system with: bandit learners that see only how many iterations the systems before took.

A time-stepping code solves thousands of related systems, each of which has a best `omega` that is costly to compute. `TsallisINF` learns
the best one of a grid for all of them; `ChebCB` sees one number of each system, its context, and learns the costs as polynomials of it.
`solve_sequence` lets a policy choose, solves, and tells it the cost. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax:
setting solver parameters across a sequence of linear system instances", ICLR 2024.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import routine
from ..progress import progress_bar
from .relaxation import sor, ssor_cg

GRID = np.linspace(1, 1.95, 20)  # towards 2 SOR comes to a standstill
ROUNDING = 1e-9  # relative: contexts may lie so far outside of their interval, slopes into a box be so small
MOST_CHANGES = 100  # of the set of coefficients at their bounds
METHODS = {"sor": sor, "ssor_cg": ssor_cg}


class SequenceResult(NamedTuple):
    """What solving a sequence took.

    Attributes
    ----------
    omegas : (T,) NumPy array
    iterations : (T,) NumPy array of int
    total_iterations : int
    solutions : list of T arrays, or None
    """

    omegas: np.ndarray
    iterations: np.ndarray
    total_iterations: int
    solutions: Any


class _Policy:
    """The grid, the random numbers, and the round that is not yet paid for."""

    def __init__(self, grid, rng):
        self.grid = _checked_grid(grid)
        self._rng = np.random.default_rng(rng)
        self._played = None

    def _draw(self, probabilities):
        """An index of the grid; at random, by one uniform number."""
        at = int(np.searchsorted(probabilities.cumsum(), self._rng.random()))
        self._played = min(at, len(probabilities) - 1)  # the sum may be 1 less a rounding
        return float(self.grid[self._played])

    def _paid(self, cost):
        """The arm that was played, and its cost."""
        if self._played is None:
            raise ValueError("update must follow sample (got no sample since the last update)")
        cost = checked_number("cost", cost, least=1)
        played, self._played = self._played, None
        return played, cost


def _checked_grid(grid):
    grid = np.array(grid, dtype=object if isinstance(grid, str) else None)
    if grid.dtype.kind not in "iuf":
        raise TypeError(f"grid must hold real numbers (got dtype {grid.dtype})")
    if grid.ndim != 1 or not grid.size:
        raise ValueError(f"grid must be one-dimensional and not empty (got shape {grid.shape})")
    grid = grid.astype(float)
    if not (grid[0] > 0 and grid[-1] < 2 and (grid[1:] > grid[:-1]).all()):
        raise ValueError(f"grid must ascend and satisfy 0 < grid < 2 (got {grid})")
    grid.flags.writeable = False
    return grid


class TsallisINF(_Policy):
    """A learner whose total cost comes near that of the best omega of a grid, kept for the whole sequence.

    Parameters
    ----------
    grid : (d,) array
        Ascending numbers between 0 and 2.
    rng : None, int or numpy.random.Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array
        With which the next omega is drawn.
    num_rounds_ : int
        Costs that have been told.

    Raises
    ------
    ValueError
        The grid is empty, does not ascend, or leaves (0, 2); `update` before `sample`; a cost that is below 1 or not finite.

    Notes
    -----
    Follows the regularised leader with Tsallis' entropy: ``p_i = 4 / (η (κ_i - x))²`` with the x below min κ for which they sum to 1. κ_i are
    estimates of the sum of what omega i would have cost, each cost less one divided by the probability of seeing it, in units of the mean
    cost, and η = 2 / √t. The excess over the best omega after t rounds is O(√(d t)) mean costs, without knowing t. A round costs some
    50 microseconds.

    References
    ----------
    J. Zimmert, Y. Seldin, "Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits", JMLR, 2021.
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax", ICLR 2024.

    Examples
    --------
    >>> policy = TsallisINF([1.0, 1.5], rng=0)
    >>> for _ in range(1000):
    ...     policy.update(20 if policy.sample() == 1.5 else 60)
    >>> bool(policy.probabilities_[1] > 0.95)
    True
    """

    def __init__(self, grid=GRID, *, rng=None):
        super().__init__(grid, rng)
        self._estimates = np.zeros(len(self.grid))
        self._total, self.num_rounds_ = 0.0, 0

    @property
    def probabilities_(self):
        scale = self._total / self.num_rounds_ - 1 if self.num_rounds_ else 1.0
        return tsallis_probabilities(self._estimates / (scale or 1.0), self.num_rounds_ + 1)

    def sample(self, context=None):
        """The omega for the next system; a context is not looked at."""
        self._drawn = self.probabilities_
        return self._draw(self._drawn)

    def update(self, cost):
        """Tell how many iterations the last omega took, at least 1."""
        i, cost = self._paid(cost)
        self._estimates[i] += (cost - 1) / self._drawn[i]
        self._total += cost
        self.num_rounds_ += 1


def tsallis_probabilities(kappa, t):
    """The probabilities of round t of losses κ: p_i = 4 / (η (κ_i - x))², η = 2 / √t.

    Newton's method for Σ p = 1 from x = min κ - 2 / η, where the sum is at least 1; it is convex and increasing, so that x descends.
    """
    root = math.sqrt(t)
    gaps = (kappa - kappa.min()) / root  # p = (gap - y)⁻² with y = (x - min κ) / √t, from y = -1 on
    y, before = -1.0, math.inf
    while True:
        parts = 1 / (gaps - y)
        p = parts * parts
        excess = float(p.sum()) - 1
        if not 1e-14 <= excess < before:  # solved, or no longer descending for rounding
            return p / p.sum()
        before = excess
        y -= excess / (2 * float(p @ parts))


class ChebCB(_Policy):
    """A learner whose total cost comes near that of the best omega for each system, found from one number that describes the system.

    Parameters
    ----------
    grid : (d,) array
        Ascending numbers between 0 and 2.
    interval : (float, float)
        Between which contexts lie.
    degree : int
        Chebyshev polynomials T_0, T_1, … of the context that the cost of an omega is fitted with.
    rng : None, int or numpy.random.Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array or None
        With which the last omega was drawn.
    num_rounds_ : int
        Costs that have been told.

    Raises
    ------
    ValueError
        The grid is empty, does not ascend, or leaves (0, 2); a context outside of `interval`; `update` before `sample`; a cost that is below
        1 or not finite.

    Notes
    -----
    Costs less one are fitted by least squares for each omega, of minimum norm, or with coefficients bounded as those of a function with the
    Lipschitz constant Λ that has been seen, |θ_j| <= 2 Λ (b - a) / j, where they would exceed that. The omega with the least predicted cost
    is played most, another one with the probability ``1 / (d + η gap)``. Sums over the rounds are kept, so that a round costs O(d + m³) for
    m = `degree`, whatever their number.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax", ICLR 2024.
    D. Foster, A. Rakhlin, "Beyond UCB: optimal and efficient contextual bandits with regression oracles", ICML 2020.

    Examples
    --------
    >>> policy = ChebCB([1.0, 1.5], interval=(0, 1), degree=2, rng=0)
    >>> for t in range(1000):
    ...     context = t % 10 / 10
    ...     policy.update(20 + 50 * (context if policy.sample(context) == 1.0 else 1 - context))
    >>> policy.predict(0.2).round()
    array([30., 60.])
    """

    def __init__(self, grid, *, interval, degree=6, rng=None):
        super().__init__(grid, rng)
        self._low, self._high = _checked_interval(interval)
        d, m = len(self.grid), checked_count("degree", degree, least=1, most=100)
        self._gram, self._moments, self._squares = np.zeros((d, m, m)), np.zeros((d, m)), np.zeros(d)
        self._free, self._theta = np.zeros((d, m)), np.zeros((d, m))  # coefficients of cost - 1, without and with bounds
        self._box, self._misfit = np.zeros(m), np.zeros(d)  # the bounds; what the fit in bounds misses
        self._least, self._most, self._regret = math.inf, -math.inf, 0.0
        self._features = self.probabilities_ = None
        self._rate, self.num_rounds_ = 0.0, 0

    def predict(self, context):
        """(d,) array: the cost that is expected of every omega."""
        return self._theta @ self._chebyshev(context) + 1

    def sample(self, context):
        """The omega for the system of this context."""
        self._features = self._chebyshev(context)
        self._predicted = self._theta @ self._features
        self.probabilities_ = inverse_gap_weights(self._predicted, self._rate)
        return self._draw(self.probabilities_)

    def update(self, cost):
        """Tell how many iterations the last omega took, at least 1."""
        i, cost = self._paid(cost)
        f, y = self._features, cost - 1
        self._regret += float(self._predicted[i] - y)**2
        self._gram[i] += f[:, None] * f
        self._moments[i] += y * f
        self._squares[i] += y * y
        self._free[i] = _least_squares(self._gram[i], self._moments[i])
        self.num_rounds_ += 1
        self._fit(i, cost)
        self._learn()

    def _chebyshev(self, context):
        """T_j, j < m, at the context mapped to [-1, 1]."""
        context, low, high = checked_number("context", context), self._low, self._high
        slack = ROUNDING * (high - low)
        if not low - slack <= context <= high + slack:
            raise ValueError(f"context must satisfy {low} <= context <= {high} (got {context})")
        u = min(1.0, max(-1.0, 2 * (context - low) / (high - low) - 1))
        return np.cos(math.acos(u) * np.arange(self._theta.shape[1]))

    def _fit(self, i, cost):
        """The coefficients of omega i in bounds, and of all omegas where the bounds are new."""
        arms = [i]
        if not self._least <= cost <= self._most:
            self._least, self._most = min(self._least, cost), max(self._most, cost)
            self._box[1:] = 2 * (self._most - self._least) / np.arange(1, len(self._box))
            self._box[0] = self._most
            arms = range(len(self.grid))
        for k in arms:
            inside = (np.abs(self._free[k]) <= self._box).all()
            self._theta[k] = self._free[k] if inside else _box_least_squares(self._gram[k], self._moments[k], self._box, self._theta[k])
            misfit = 0.0 if inside else self._squares[k] + self._theta[k] @ (self._gram[k] @ self._theta[k] - 2 * self._moments[k])
            self._misfit[k] = max(0.0, misfit)

    def _learn(self):
        """The rate η by which the next round prefers the best prediction."""
        t, (d, m) = self.num_rounds_, self._theta.shape
        alpha = (math.pi + 2 / math.pi * math.log(2 * m + 1)) * (self._most - self._least) / (2 * (m + 1))
        excess = self._regret - float(self._misfit.sum()) + 2 * alpha**2 * t
        self._rate = 2 * t * math.sqrt(d * t / max(excess, 1e-300))


def _checked_interval(interval):
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise TypeError(f"interval must be a pair of numbers (got {interval!r})") from None
    low, high = checked_number("interval[0]", low), checked_number("interval[1]", high)
    if not low < high:
        raise ValueError(f"interval must satisfy interval[0] < interval[1] (got {interval})")
    return low, high


def inverse_gap_weights(predicted, rate):
    """p_i = 1 / (d + η (ŷ_i - min ŷ)), but for the first of the least, which has the rest."""
    best = int(predicted.argmin())
    p = 1 / (len(predicted) + rate * (predicted - predicted[best]))
    p[best] = 0
    p[best] = 1 - p.sum()
    return p


def _least_squares(gram, moments):
    """The θ of minimum norm that minimises θᵀ G θ / 2 - hᵀ θ."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-13 * values[-1]
    return vectors @ np.where(kept, (moments @ vectors) / np.where(kept, values, 1), 0)


def _box_least_squares(gram, moments, box, theta):
    """The θ in |θ_j| <= box_j that minimises θᵀ G θ / 2 - hᵀ θ: to the minimum of the free ones, or until one meets its bound, in turn."""
    theta = np.clip(theta, -box, box)
    free = np.abs(theta) < box
    for _ in range(MOST_CHANGES):
        step = np.zeros_like(theta)
        if free.any():
            rest = moments[free] - gram[free][:, ~free] @ theta[~free]
            step[free] = _least_squares(gram[free][:, free], rest) - theta[free]
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(step == 0, math.inf, (np.copysign(box, step) - theta) / step)
        j = int(room.argmin())
        theta += min(1.0, room[j]) * step
        if room[j] < 1:
            theta[j], free[j] = math.copysign(box[j], step[j]), False
            continue
        inward = np.where(free, 0, np.sign(theta) * (gram @ theta - moments))
        j = int(inward.argmax())
        if inward[j] <= ROUNDING * abs(moments[j]):
            break
        free[j] = True
    return theta


# --- sequences ---------------------------------------------------------------------------------------------------------------------


@routine
def solve_sequence(systems, policy, *, method="sor", contexts=None, warm_start=False, tol=1e-8, max_iter=10_000, keep_solutions=True,
                   callback=None, progress=False):
    """Solve a sequence of systems, with the omega that a policy chooses for each.

    Parameters
    ----------
    systems : iterable
        Pairs (a, b) as `sor` takes them, or functions without arguments that return such a pair when the system's turn comes.
    policy : TsallisINF, ChebCB, float, or any object with ``sample()`` and ``update(cost)``
        A number is an omega for all systems.
    method : {"sor", "ssor_cg"}
    contexts : iterable of float, optional
        One number for each system; where given, the policy is asked by ``sample(context)``.
    warm_start : bool
        Start from the solution before, where it has the size of the system, else from zero.
    tol, max_iter
        Of each solve. A system that does not converge costs `max_iter`, which the policy is told too.
    keep_solutions : bool
        Return the solutions.
    callback : callable, optional
        ``callback(t, omega, result)`` is called after every system with its SolveResult; the sequence ends when it returns True.
    progress : bool
        Show a bar of the systems.

    Returns
    -------
    SequenceResult
        Every solution is within `tol`, as its method documents it, unless its number of iterations is `max_iter`.

    Raises
    ------
    ValueError
        Contexts are fewer than systems, or `method` is none of the above, and what the method and the policy raise.
    TypeError
        `policy` is none of the above, or a system is no pair.

    Notes
    -----
    An interrupt passes through; the policy keeps what it has learnt, and may be used again. Costs are iterations, never times, which are
    noise for small systems.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters across a sequence of linear system
    instances", ICLR 2024.

    Examples
    --------
    >>> from numcore.linalg import CSR, TsallisINF
    >>> a = CSR.from_dense(2 * np.eye(20) - np.eye(20, k=1) - np.eye(20, k=-1))
    >>> learnt = solve_sequence([(a, np.ones(20))] * 300, TsallisINF(rng=0))
    >>> fixed = solve_sequence([(a, np.ones(20))] * 300, 1.0)
    >>> learnt.total_iterations < fixed.total_iterations / 2
    True
    """
    solver = METHODS[checked_choice("method", method, tuple(METHODS))]
    policy = _checked_policy(policy)
    tol, max_iter = checked_number("tol", tol, least=0), checked_count("max_iter", max_iter, least=1)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable (got {type(callback).__name__})")
    contexts = None if contexts is None else iter(contexts)
    bar = progress_bar(len(systems) if hasattr(systems, "__len__") else None, "systems") if progress else None
    omegas, iterations, solutions, x = [], [], [], None
    try:
        for t, system in enumerate(systems):
            a, b = _pair(t, system)
            omega = policy.sample() if contexts is None else policy.sample(_next(t, contexts))
            start = x if warm_start and x is not None and x.shape == b.shape else None
            found = solver(a, b, omega=omega, x0=start, tol=tol, max_iter=max_iter)
            cost = found.num_iter if found.converged else max_iter
            policy.update(max(1, cost))
            x = found.x if math.isfinite(found.relative_residual) else None
            omegas.append(omega)
            iterations.append(cost)
            if keep_solutions:
                solutions.append(found.x)
            if bar is not None:
                bar.update(1)
            if callback is not None and callback(t, omega, found) is True:
                break
    finally:
        if bar is not None:
            bar.close()
    iterations = np.array(iterations, np.int64)
    return SequenceResult(np.array(omegas, float), iterations, int(iterations.sum()), solutions if keep_solutions else None)


class _Fixed:
    """One omega for all systems."""

    def __init__(self, omega):
        self.omega = omega

    def sample(self, context=None):
        return self.omega

    def update(self, cost):
        """Learn nothing."""


def _checked_policy(policy):
    if callable(getattr(policy, "sample", None)) and callable(getattr(policy, "update", None)):
        return policy
    if isinstance(policy, (int, float, np.integer, np.floating)):
        return _Fixed(checked_number("policy", policy, above=0, below=2))
    raise TypeError(f"policy must be a number or have the methods sample and update (got {policy!r})")


def _pair(t, system):
    system = system() if callable(system) else system
    if not isinstance(system, (tuple, list)) or len(system) != 2:
        raise TypeError(f"systems must be pairs (a, b) or functions that return them (got {type(system).__name__} at {t})")
    return system


def _next(t, contexts):
    for context in contexts:
        return context
    raise ValueError(f"contexts must be as many as systems (got {t})")
