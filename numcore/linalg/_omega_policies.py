"""Which omega to relax the next system with: bandit learners that see only how many iterations the
systems before took.

A time-stepping code solves thousands of related systems, each of which has a best `omega` that is
costly to compute. `TsallisINF` learns the best one of a grid for all of them; `ChebCB` sees one
number of each system, its context, and learns the costs as polynomials of it. `solve_sequence` lets
a policy choose, solves, and tells it the cost. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar,
"Learning to relax: setting solver parameters across a sequence of linear system instances", ICLR
2024.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import routine
from ..kernel import kernel
from ..progress import progress_bar
from ._relaxation import sor, ssor_cg

GRID = np.linspace(1, 1.95, 20)  # towards 2 SOR comes to a standstill
# relative: contexts may lie so far outside of their interval, slopes into a box be so small
ROUNDING = 1e-9
# relative to the trace: few contexts give the fit of minimum norm, but for roundings of 1e-4
RIDGE = 1e-12
MOST_CHANGES = 100  # of the set of coefficients at their bounds
MOST_NEWTON = 100  # steps; some ten are enough
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
    """A learner whose total cost comes near that of the best omega of a grid, kept for the whole
    sequence.

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
        The grid is empty, does not ascend, or leaves (0, 2); `update` before `sample`; a cost that
        is below 1 or not finite.

    Notes
    -----
    Follows the regularised leader with Tsallis' entropy: ``p_i = 4 / (η (κ_i - x))²`` with the x
    below min κ for which they sum to 1. κ_i are estimates of the sum of what omega i would have
    cost, each cost less one divided by the probability of seeing it, in units of the mean cost, and
    η = 2 / √t. The excess over the best omega after t rounds is O(√(d t)) mean costs, without
    knowing t. A round costs some 10 microseconds.

    References
    ----------
    J. Zimmert, Y. Seldin, "Tsallis-INF: an optimal algorithm for stochastic and adversarial
    bandits", JMLR, 2021. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax", ICLR
    2024.

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
        return self._round(0.0)[0]

    def sample(self, context=None):
        """The omega for the next system; a context is not looked at."""
        self._drawn, self._played = self._round(self._rng.random())
        return float(self.grid[self._played])

    def update(self, cost):
        """Tell how many iterations the last omega took, at least 1."""
        i, cost = self._paid(cost)
        self._estimates[i] += (cost - 1) / float(self._drawn[i])
        self._total += cost
        self.num_rounds_ += 1

    def _round(self, u):
        scale = self._total / self.num_rounds_ - 1 if self.num_rounds_ else 1.0
        return tsallis_round(self._estimates, scale or 1.0, self.num_rounds_ + 1, u)


def tsallis_round(estimates, scale, t, u):
    """The probabilities of round t, losses being estimates / scale, and the arm whose share of [0,
    1) has u."""
    p, arm = np.empty((1, len(estimates))), np.empty(1, np.int64)
    tsallis_rows(estimates[None], p, arm, scale, math.sqrt(t), u)
    return p[0], int(arm[0])


class ChebCB(_Policy):
    """A learner whose total cost comes near that of the best omega for each system, found from one
    number that describes the system.

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
        The grid is empty, does not ascend, or leaves (0, 2); a context outside of `interval`;
        `update` before `sample`; a cost that is below 1 or not finite.

    Notes
    -----
    Costs less one are fitted by least squares for each omega, of minimum norm where contexts are
    few, with coefficients bounded as those of a function with the Lipschitz constant Λ that has
    been seen, |θ_j| <= 2 Λ (b - a) / j. The omega with the least predicted cost is played most,
    another one with the probability ``1 / (d + η gap)``. Sums over the rounds are kept, so that a
    round costs O(d + m³) for m = `degree`, whatever their number.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax", ICLR 2024. D. Foster, A.
    Rakhlin, "Beyond UCB: optimal and efficient contextual bandits with regression oracles", ICML
    2020.

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
        self._gram, self._moments, self._squares = (
            np.zeros((d, m, m)),
            np.zeros((d, m)),
            np.zeros(d),
        )
        self._theta = np.zeros((d, m))  # coefficients of cost - 1
        self._box, self._misfit = (
            np.zeros(m),
            np.zeros(d),
        )  # bounds of the coefficients; what fits that meet their bounds miss
        self._work = np.empty((d, m + 2, m))
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
        arm = int(self.probabilities_.cumsum().searchsorted(self._rng.random()))
        self._played = min(arm, len(self.grid) - 1)  # the sum may be 1 less a rounding
        return float(self.grid[self._played])

    def update(self, cost):
        """Tell how many iterations the last omega took, at least 1."""
        i, cost = self._paid(cost)
        f, y = self._features, cost - 1
        self._regret += float(self._predicted[i] - y) ** 2
        self._gram[i] += f[:, None] * f
        self._moments[i] += y * f
        self._squares[i] += y * y
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
        """The coefficients of omega i, and those of all omegas where the bounds are new."""
        arms = slice(i, i + 1)
        if not self._least <= cost <= self._most:
            self._least, self._most = min(self._least, cost), max(self._most, cost)
            self._box[1:] = 2 * (self._most - self._least) / np.arange(1, len(self._box))
            self._box[0] = self._most
            arms = slice(None)
        bounded_least_squares(
            self._gram[arms],
            self._moments[arms],
            self._squares[arms],
            self._box,
            self._theta[arms],
            self._misfit[arms],
            self._work[arms],
        )

    def _learn(self):
        """The rate η by which the next round prefers the best prediction."""
        t, (d, m) = self.num_rounds_, self._theta.shape
        alpha = (
            (math.pi + 2 / math.pi * math.log(2 * m + 1))
            * (self._most - self._least)
            / (2 * (m + 1))
        )
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


# --- sequences ------------------------------------------------------------------------------------


@routine
def solve_sequence(
    systems,
    policy,
    *,
    method="sor",
    contexts=None,
    warm_start=False,
    tol=1e-8,
    max_iter=10_000,
    keep_solutions=True,
    callback=None,
    progress=False,
):
    """Solve a sequence of systems, with the omega that a policy chooses for each.

    Parameters
    ----------
    systems : iterable
        Pairs (a, b) as `sor` takes them, or functions without arguments that return such a pair
        when the system's turn comes.
    policy : TsallisINF, ChebCB, float, or any object with ``sample()`` and ``update(cost)``
        A number is an omega for all systems.
    method : {"sor", "ssor_cg"}
    contexts : iterable of float, optional
        One number for each system; where given, the policy is asked by ``sample(context)``.
    warm_start : bool
        Start from the solution before, where it has the size of the system, else from zero.
    tol, max_iter
        Of each solve. A system that does not converge costs `max_iter`, which the policy is told
        too.
    keep_solutions : bool
        Return the solutions.
    callback : callable, optional
        ``callback(t, omega, result)`` is called after every system with its SolveResult; the
        sequence ends when it returns True.
    progress : bool
        Show a bar of the systems.

    Returns
    -------
    SequenceResult
        Every solution is within `tol`, as its method documents it, unless its number of iterations
        is `max_iter`.

    Raises
    ------
    ValueError
        Contexts are fewer than systems, or `method` is none of the above, and what the method and
        the policy raise.
    TypeError
        `policy` is none of the above, or a system is no pair.

    Notes
    -----
    An interrupt passes through; the policy keeps what it has learnt, and may be used again. Costs
    are iterations, never times, which are noise for small systems.

    References
    ----------
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters
    across a sequence of linear system instances", ICLR 2024.

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
    tol, max_iter = (
        checked_number("tol", tol, least=0),
        checked_count("max_iter", max_iter, least=1),
    )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable (got {type(callback).__name__})")
    contexts = None if contexts is None else iter(contexts)
    bar = (
        progress_bar(len(systems) if hasattr(systems, "__len__") else None, "systems")
        if progress
        else None
    )
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
    return SequenceResult(
        np.array(omegas, float),
        iterations,
        int(iterations.sum()),
        solutions if keep_solutions else None,
    )


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
    raise TypeError(
        f"policy must be a number or have the methods sample and update (got {policy!r})"
    )


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


# --- kernels --------------------------------------------------------------------------------------


@kernel(
    "in float64 estimates[g, d]; out float64 p[g, d]; out int64 arm[g]; float64 scale; "
    "float64 root; float64 u",
    split="g",
    threads=32,
    grain="1",
)
def tsallis_rows(estimates, p, arm, scale, root, u, start, stop):
    """p_i = (gap_i - y)⁻² with Σ p = 1, where gap = (κ - min κ) / √t, κ = estimates / scale, root =
    √t; and the arm that u falls to.

    In the paper's terms y = (x - min κ) / √t. Newton's method from y = -1, where the sum is at
    least 1: it is convex and increasing in y, so that y descends to the root.
    """
    d = p.shape[1]
    for g in range(start, stop):
        least = estimates[g, 0]
        for i in range(d):
            least = min(least, estimates[g, i])
        y, before, total = -1.0, math.inf, 0.0
        for _ in range(MOST_NEWTON):
            total, slope = 0.0, 0.0
            for i in range(d):
                part = 1 / ((estimates[g, i] - least) / (scale * root) - y)
                p[g, i] = part * part
                total += part * part
                slope += 2 * part * part * part
            if not 1e-14 <= total - 1 < before:  # solved, or no longer descending for rounding
                break
            before = total - 1
            y -= before / slope
        arm[g], rest = d - 1, u * total
        for i in range(d):
            if 0 <= rest < p[g, i] and arm[g] == d - 1:
                arm[g] = i
            rest -= p[g, i]
            p[g, i] /= total


@kernel(
    "in float64 gram[d, m, m]; in float64 moments[d, m]; in float64 squares[d]; in float64 box[m]; "
    "inout float64 theta[d, m];"
    " inout float64 misfit[d]; inout float64 work[d, m+2, m]",
    split="d",
    threads=32,
    grain="64",
)
def bounded_least_squares(gram, moments, squares, box, theta, misfit, work, start, stop):
    """The θ with the least θᵀ G θ - 2 hᵀ θ, of minimum norm, if it is in |θ_j| <= box_j. Else the
    best θ there, from a given θ on: to the minimum of the free coordinates or until one meets its
    bound, then with one set free that is held against its slope; and misfit, its value plus
    `squares`."""
    m = theta.shape[1]
    for k in range(start, stop):
        free, step, inside = work[k, m], work[k, m + 1], True
        ridge = 1e-300
        for j in range(m):
            ridge += RIDGE * gram[k, j, j]
            free[j] = 1.0
        _newton_step(gram[k], moments[k], theta[k], ridge, work[k], free, step)
        for j in range(m):
            inside = inside and abs(theta[k, j] + step[j]) <= box[j]
        misfit[k] = 0.0
        if inside:
            for j in range(m):
                theta[k, j] += step[j]
            continue
        for j in range(m):
            theta[k, j] = min(box[j], max(-box[j], theta[k, j]))
            free[j] = 1.0 if abs(theta[k, j]) < box[j] else 0.0
        for _ in range(MOST_CHANGES):
            _newton_step(gram[k], moments[k], theta[k], ridge, work[k], free, step)
            if not _changed(gram[k], moments[k], box, theta[k], ridge, free, step):
                break
        value = squares[k]
        for j in range(m):
            value -= theta[k, j] * (moments[k, j] + _slope(j, gram[k], moments[k], theta[k], 0.0))
        misfit[k] = max(0.0, value)


def _slope(j, gram, moments, theta, ridge):
    """h_j - (G θ)_j, the descent along θ_j."""
    slope = moments[j] - ridge * theta[j]
    for i in range(len(theta)):
        slope -= gram[j, i] * theta[i]
    return slope


def _newton_step(gram, moments, theta, ridge, factor, free, step):
    """The step to the minimum of the free coordinates, by Cholesky's method; rows of the others are
    those of the identity."""
    m = len(theta)
    for j in range(m):
        step[j] = free[j] * _slope(j, gram, moments, theta, ridge)
        for i in range(j + 1):
            value = free[i] * free[j] * gram[j, i]
            if i == j:
                value += ridge if free[j] == 1 else 1.0
            for n in range(i):
                value -= factor[j, n] * factor[i, n]
            factor[j, i] = math.sqrt(value) if i == j else value / factor[i, i]
        for i in range(j):
            step[j] -= factor[j, i] * step[i]
        step[j] /= factor[j, j]
    for back in range(m):
        j = m - 1 - back
        for i in range(j + 1, m):
            step[j] -= factor[i, j] * step[i]
        step[j] /= factor[j, j]


def _changed(gram, moments, box, theta, ridge, free, step):
    """Go along the step; whether a coordinate has met its bound, or been set free from it."""
    m = len(theta)
    reach, hit = 1.0, -1
    for j in range(m):
        if step[j] != 0:
            room = (math.copysign(box[j], step[j]) - theta[j]) / step[j]
            if room < reach:
                reach, hit = room, j
    for j in range(m):
        theta[j] += reach * step[j]
    if hit >= 0:
        theta[hit] = math.copysign(box[hit], step[hit])
        free[hit] = 0.0
        return True
    worst, most = -1, 0.0
    for j in range(m):
        inward = -math.copysign(1.0, theta[j]) * _slope(j, gram, moments, theta, ridge)
        if free[j] == 0 and box[j] > 0 and inward > ROUNDING * abs(moments[j]) and inward > most:
            worst, most = j, inward
    if worst >= 0:
        free[worst] = 1.0
    return worst >= 0
