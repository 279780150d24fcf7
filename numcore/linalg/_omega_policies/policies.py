"""The policies: `TsallisINF` learns one omega for all systems, `ChebCB` one that depends on a
context."""

import functools
import math
from typing import Annotated, NamedTuple

import numpy as np

from ...arguments import RNG, Array, Real, at_least, checked, interval, nonempty, within
from ...random import generator_from_rng
from .kernels import bounded_least_squares, tsallis_rows

GRID = np.linspace(1, 1.95, 20)  # SOR stalls as omega approaches 2
ROUNDING = 1e-9  # relative: how far a context may lie outside its interval

Grid = Real[Array, "d", nonempty, interval("(0, 2)")]
Cost = Annotated[int, at_least(1)] | Annotated[float, at_least(1)]
on_host = functools.partial(checked, host_only="a policy chooses one number")


class _Policy:
    """The grid, the random numbers, and the arm whose cost is not yet known."""

    def __init__(self, grid, rng):
        self.grid = _ascending(grid)
        self._rng = generator_from_rng(rng)
        self._played = None

    def _arm_to_update(self):
        """The arm played since the last update."""
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
    """Bandit policy whose total cost approaches that of the best fixed omega of a grid.

    Parameters
    ----------
    grid : (d,) array of float32, float64 or integers, in (0, 2), without an axis of length zero, optional
        Ascending; 20 numbers from 1 to 1.95 by default.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array
        Probabilities with which the next omega is drawn.
    n_rounds_ : int
        Number of updates.

    Raises
    ------
    ValueError
        The grid is empty, is not ascending, or is not in (0, 2); `update` before `sample`; a cost
        that is below 1 or not finite.

    Notes
    -----
    Follow-the-regularized-leader with Tsallis entropy: ``p_i = 4 / (η (κ_i - x))²`` with the x
    below min κ for which the probabilities sum to 1. κ_i estimates the total cost of omega i: the
    sum of observed costs minus one, each divided by the probability of observing it, in units of
    the mean cost; η = 2 / √t. The excess over the best omega after t rounds is O(√(d t)) mean
    costs, and t need not be known in advance. A round takes about 10 microseconds.

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
        """Choose omega for the next system.

        Parameters
        ----------
        context : anything, default None
            Ignored; all policies have the same signature.
        """
        self._drawn, self._played = self._round(self._rng.random())
        return float(self.grid[self._played])

    @on_host
    def update(self, cost: Cost) -> None:
        """Report the cost of the last omega.

        Parameters
        ----------
        cost : int >= 1 or float >= 1
            The number of iterations of the solver.
        """
        i = self._arm_to_update()
        self._estimates[i] += (cost - 1) / float(self._drawn[i])
        self._total += cost
        self.n_rounds_ += 1

    def _round(self, u):
        scale = self._total / self.n_rounds_ - 1 if self.n_rounds_ else 1.0
        return tsallis_round(self._estimates, scale or 1.0, self.n_rounds_ + 1, u)


def tsallis_round(estimates, scale, t, u):
    """The probabilities of round t for the losses estimates / scale, and the arm whose part of [0,
    1) contains u."""
    p, arm = np.empty((1, len(estimates))), np.empty(1, np.int64)
    tsallis_rows(estimates[None], p, arm, scale, math.sqrt(t), u)
    return p[0], int(arm[0])


class ChebCB(_Policy):
    """Contextual bandit policy that predicts the best omega for each system from one number
    describing it.

    Parameters
    ----------
    grid : (d,) array of float32, float64 or integers, in (0, 2), without an axis of length zero
        Ascending.
    interval : (float, float)
        Range of the contexts.
    degree : int in [1, 100], default 6
        Number of Chebyshev polynomials T_0, T_1, … of the context used to fit the costs.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    probabilities_ : (d,) array or None
        Probabilities with which the last omega was drawn.
    n_rounds_ : int
        Number of updates.

    Raises
    ------
    ValueError
        The grid is empty, is not ascending, or is not in (0, 2); a context outside `interval`;
        `update` before `sample`; a cost that is below 1 or not finite.

    Notes
    -----
    For each omega, the costs minus one are fitted by least squares, of minimum norm if there are
    few contexts. The coefficients are bounded by those of a function with the observed Lipschitz
    constant Λ, |θ_j| <= 2 Λ (b - a) / j. The omega with the lowest predicted cost is played most
    often, each other one with probability ``1 / (d + η gap)``. Only sums over the rounds are
    stored, so that a round costs O(d + m³) for m = `degree`, independent of the number of rounds.

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
        """Predicted cost of every omega, a (d,) array.

        Parameters
        ----------
        context : float
        """
        return self._fits.theta @ self._chebyshev(context) + 1

    @on_host
    def sample(self, context: float) -> float:
        """Choose omega for the system with this context.

        Parameters
        ----------
        context : float
        """
        self._features = self._chebyshev(context)
        self._predicted = self._fits.theta @ self._features
        self.probabilities_ = inverse_gap_weights(self._predicted, self._rate)
        arm = int(self.probabilities_.cumsum().searchsorted(self._rng.random()))
        self._played = min(arm, len(self.grid) - 1)  # the sum may be slightly below 1
        return float(self.grid[self._played])

    @on_host
    def update(self, cost: Cost) -> None:
        """Report the cost of the last omega.

        Parameters
        ----------
        cost : int >= 1 or float >= 1
            The number of iterations of the solver.
        """
        i = self._arm_to_update()
        f, y = self._features, cost - 1
        self._regret += float(self._predicted[i] - y) ** 2
        self._fits.gram[i] += f[:, None] * f
        self._fits.moments[i] += y * f
        self._fits.squares[i] += y * y
        self.n_rounds_ += 1
        self._fit(i, cost)
        self._update_rate()

    def _chebyshev(self, context):
        """T_j, j < m, at the context mapped to [-1, 1]."""
        low, high = self._low, self._high
        slack = ROUNDING * (high - low)
        if not low - slack <= context <= high + slack:
            raise ValueError(f"context must be in [{low}, {high}] (got {context})")
        u = min(1.0, max(-1.0, 2 * (context - low) / (high - low) - 1))
        return np.cos(math.acos(u) * np.arange(len(self._box)))

    def _fit(self, i, cost):
        """Refit the coefficients of omega i, or those of all omegas if the bounds have changed."""
        arms = slice(i, i + 1)
        if not self._min_cost <= cost <= self._max_cost:
            self._min_cost, self._max_cost = min(self._min_cost, cost), max(self._max_cost, cost)
            spread = self._max_cost - self._min_cost
            self._box[1:] = 2 * spread / np.arange(1, len(self._box))
            self._box[0] = self._max_cost
            arms = slice(None)
        gram, moments, squares, theta, misfit = (part[arms] for part in self._fits)
        bounded_least_squares(gram, moments, squares, self._box, theta, misfit, self._work[arms])

    def _update_rate(self):
        """Update the rate η, which sets how strongly the next round favors the best prediction."""
        t, (d, m) = self.n_rounds_, self._fits.theta.shape
        spread = self._max_cost - self._min_cost
        alpha = (math.pi + 2 / math.pi * math.log(2 * m + 1)) * spread / (2 * (m + 1))
        excess = self._regret - float(self._fits.misfit.sum()) + 2 * alpha**2 * t
        self._rate = 2 * t * math.sqrt(d * t / max(excess, 1e-300))


class _Fits(NamedTuple):
    """For each of d omegas, sums over its rounds and the fit that follows from them.

    Attributes
    ----------
    gram : (d, m, m) array
    moments : (d, m) array
    squares : (d,) array
    theta : (d, m) array
        Coefficients of cost - 1.
    misfit : (d,) array
        Squared error of fits that are limited by their bounds.
    """

    gram: Array
    moments: Array
    squares: Array
    theta: Array
    misfit: Array


def inverse_gap_weights(predicted, rate):
    """p_i = 1 / (d + η (ŷ_i - min ŷ)), except that the first minimum gets the remaining
    probability."""
    best = int(predicted.argmin())
    p = 1 / (len(predicted) + rate * (predicted - predicted[best]))
    p[best] = 0
    p[best] = 1 - p.sum()
    return p
