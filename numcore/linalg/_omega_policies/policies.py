"""The learners: `TsallisINF` for one omega of all systems, `ChebCB` for one that depends on a
number."""

import functools
import math
from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Real, at_least, checked, interval, nonempty, within
from ...random import generator_from_rng
from .kernels import bounded_least_squares, tsallis_rows

GRID = np.linspace(1, 1.95, 20)  # towards 2 SOR comes to a standstill
ROUNDING = 1e-9  # relative: contexts may lie so far outside of their interval

Grid = Real[Array, "d", nonempty, interval("(0, 2)")]
Cost = Annotated[int, at_least(1)] | Annotated[float, at_least(1)]
on_host = functools.partial(checked, host_only="a policy chooses one number")


class _Policy:
    """The grid, the random numbers, and the round whose cost is not yet known."""

    def __init__(self, grid, rng):
        self.grid = _ascending(grid)
        self._rng = generator_from_rng(rng)
        self._played = None

    def _arm_to_update(self):
        """The arm that was played since the last update."""
        if self._played is None:
            raise ValueError("update must follow sample (got no sample since the last update)")
        played, self._played = self._played, None
        return played


def _ascending(grid):
    """A read-only copy of a grid in float64."""
    grid = grid.astype(float)
    if not (grid[1:] > grid[:-1]).all():
        raise ValueError(f"grid must ascend (got {grid})")
    grid.flags.writeable = False
    return grid


class TsallisINF(_Policy):
    """A learner whose total cost comes near that of the best omega of a grid, kept for the whole
    sequence.

    Parameters
    ----------
    grid : (d,) array of float32, float64 or integers, in (0, 2), without an axis of length zero, optional
        Ascending; 20 numbers from 1 to 1.95 by default.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array
        With which the next omega is drawn.
    n_rounds_ : int
        How many costs it has been told.

    Raises
    ------
    ValueError
        The grid is empty, does not ascend, or leaves (0, 2); `update` before `sample`; a cost that
        is below 1 or not finite.

    Notes
    -----
    Follows the regularized leader with Tsallis' entropy: ``p_i = 4 / (η (κ_i - x))²`` with the x
    below min κ for which they sum to 1. κ_i are estimates of the sum of what omega i would have
    cost, each cost less one divided by the probability of seeing it, in units of the mean cost, and
    η = 2 / √t. The excess over the best omega after t rounds is O(√(d t)) mean costs, without
    knowing t. A round costs some 10 microseconds.

    References
    ----------
    J. Zimmert, Y. Seldin, "Tsallis-INF: an optimal algorithm for stochastic and adversarial
    bandits", JMLR, 2021. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax:
    setting solver parameters across a sequence of linear system instances", ICLR 2024.

    Examples
    --------
    >>> policy = TsallisINF([1.0, 1.5], rng=0)
    >>> for _ in range(1000):
    ...     policy.update(20 if policy.sample() == 1.5 else 60)
    >>> bool(policy.probabilities_[1] > 0.95)
    True
    """  # noqa: E501

    @on_host
    def __init__(self, grid: Grid | None = None, *, rng: RNG = None):
        super().__init__(GRID if grid is None else grid, rng)
        self._estimates = np.zeros(len(self.grid))
        self._total, self.n_rounds_ = 0.0, 0

    @property
    def probabilities_(self) -> np.ndarray:
        return self._round(0.0)[0]

    def sample(self, context: object = None) -> float:
        """The omega for the next system.

        Parameters
        ----------
        context : anything, default None
            Not used: every policy is asked in the same way.
        """
        self._drawn, self._played = self._round(self._rng.random())
        return float(self.grid[self._played])

    @on_host
    def update(self, cost: Cost) -> None:
        """Tell the cost of the last omega.

        Parameters
        ----------
        cost : int >= 1 or float >= 1
            How many iterations the solver took.
        """
        i = self._arm_to_update()
        self._estimates[i] += (cost - 1) / float(self._drawn[i])
        self._total += cost
        self.n_rounds_ += 1

    def _round(self, u):
        scale = self._total / self.n_rounds_ - 1 if self.n_rounds_ else 1.0
        return tsallis_round(self._estimates, scale or 1.0, self.n_rounds_ + 1, u)


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
    grid : (d,) array of float32, float64 or integers, in (0, 2), without an axis of length zero
        Ascending.
    interval : (float, float)
        The range of contexts.
    degree : int in [1, 100], default 6
        The number of Chebyshev polynomials T_0, T_1, … of the context that fit the costs.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array or None
        With which the last omega was drawn.
    n_rounds_ : int
        How many costs it has been told.

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
    M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to relax: setting solver parameters
    across a sequence of linear system instances", ICLR 2024. D. Foster, A. Rakhlin, "Beyond UCB:
    optimal and efficient contextual bandits with regression oracles", ICML 2020.

    Examples
    --------
    >>> policy = ChebCB([1.0, 1.5], interval=(0, 1), degree=2, rng=0)
    >>> for t in range(1000):
    ...     context = t % 10 / 10
    ...     policy.update(20 + 50 * (context if policy.sample(context) == 1.0 else 1 - context))
    >>> policy.predict(0.2).round()
    array([30., 60.])
    """

    @on_host
    def __init__(
        self,
        grid: Grid,
        *,
        interval: tuple[float, float],
        degree: Annotated[int, within(1, 100)] = 6,
        rng: RNG = None,
    ):
        super().__init__(grid, rng)
        self._low, self._high = interval
        if not self._low < self._high:
            raise ValueError(f"interval must satisfy interval[0] < interval[1] (got {interval})")
        d, m = len(self.grid), degree
        self._fits = _Fits(
            np.zeros((d, m, m)), np.zeros((d, m)), np.zeros(d), np.zeros((d, m)), np.zeros(d)
        )
        self._box = np.zeros(m)
        self._work = np.empty((d, m + 2, m))
        self._min_cost, self._max_cost, self._regret = math.inf, -math.inf, 0.0
        self._features = self.probabilities_ = None
        self._rate, self.n_rounds_ = 0.0, 0

    @on_host
    def predict(self, context: float) -> np.ndarray:
        """The cost that is expected of every omega, a (d,) array.

        Parameters
        ----------
        context : float
        """
        return self._fits.theta @ self._chebyshev(context) + 1

    @on_host
    def sample(self, context: float) -> float:
        """The omega for the system of this context.

        Parameters
        ----------
        context : float
        """
        self._features = self._chebyshev(context)
        self._predicted = self._fits.theta @ self._features
        self.probabilities_ = inverse_gap_weights(self._predicted, self._rate)
        arm = int(self.probabilities_.cumsum().searchsorted(self._rng.random()))
        self._played = min(arm, len(self.grid) - 1)  # the sum may be 1 less a rounding
        return float(self.grid[self._played])

    @on_host
    def update(self, cost: Cost) -> None:
        """Tell the cost of the last omega.

        Parameters
        ----------
        cost : int >= 1 or float >= 1
            How many iterations the solver took.
        """
        i = self._arm_to_update()
        f, y = self._features, cost - 1
        self._regret += float(self._predicted[i] - y) ** 2
        self._fits.gram[i] += f[:, None] * f
        self._fits.moments[i] += y * f
        self._fits.squares[i] += y * y
        self.n_rounds_ += 1
        self._fit(i, cost)
        self._learn()

    def _chebyshev(self, context):
        """T_j, j < m, at the context mapped to [-1, 1]."""
        low, high = self._low, self._high
        slack = ROUNDING * (high - low)
        if not low - slack <= context <= high + slack:
            raise ValueError(f"context must be in [{low}, {high}] (got {context})")
        u = min(1.0, max(-1.0, 2 * (context - low) / (high - low) - 1))
        return np.cos(math.acos(u) * np.arange(len(self._box)))

    def _fit(self, i, cost):
        """The coefficients of omega i, and those of all omegas where the bounds are new."""
        arms = slice(i, i + 1)
        if not self._min_cost <= cost <= self._max_cost:
            self._min_cost, self._max_cost = min(self._min_cost, cost), max(self._max_cost, cost)
            spread = self._max_cost - self._min_cost
            self._box[1:] = 2 * spread / np.arange(1, len(self._box))
            self._box[0] = self._max_cost
            arms = slice(None)
        gram, moments, squares, theta, misfit = (part[arms] for part in self._fits)
        bounded_least_squares(gram, moments, squares, self._box, theta, misfit, self._work[arms])

    def _learn(self):
        """The rate η by which the next round prefers the best prediction."""
        t, (d, m) = self.n_rounds_, self._fits.theta.shape
        spread = self._max_cost - self._min_cost
        alpha = (math.pi + 2 / math.pi * math.log(2 * m + 1)) * spread / (2 * (m + 1))
        excess = self._regret - float(self._fits.misfit.sum()) + 2 * alpha**2 * t
        self._rate = 2 * t * math.sqrt(d * t / max(excess, 1e-300))


class _Fits(NamedTuple):
    """For each of d omegas: sums over its rounds, from which its fit follows, and that fit.

    Attributes
    ----------
    gram : (d, m, m) array
    moments : (d, m) array
    squares : (d,) array
    theta : (d, m) array
        Coefficients of cost - 1.
    misfit : (d,) array
        The squared error of fits that meet their bounds.
    """

    gram: Array
    moments: Array
    squares: Array
    theta: Array
    misfit: Array


def inverse_gap_weights(predicted, rate):
    """p_i = 1 / (d + η (ŷ_i - min ŷ)), but for the first of the least, which has the rest."""
    best = int(predicted.argmin())
    p = 1 / (len(predicted) + rate * (predicted - predicted[best]))
    p[best] = 0
    p[best] = 1 - p.sum()
    return p
