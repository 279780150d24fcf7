"""The probability that a pair is a match, from its distances."""

from typing import Annotated

import numpy as np

from ...arguments import Array, Bool, Real, between, finite, positive
from ...model import model


@model(fitted="coef_", features="f", host_only="a few numbers are fitted")
class MatchProbability:
    """The probability that a pair is a match, from its distances: p = 1 / (1 + exp(b0 + b1 d)), b1
    >= 0.

    Parameters
    ----------
    l2 : float > 0, default 0.001
        Weight of the penalty ``l2 / 2 * sum(b1**2)`` beside the mean loss of a pair, so that
        coefficients stay finite.

    Attributes
    ----------
    intercept_ : float
        b0.
    coef_ : (f,) array of float64
        b1, none below zero: more distance never makes a match likelier.

    Raises
    ------
    ValueError, TypeError
        An option is outside of its range or has a wrong type.

    References
    ----------
    B. Libgober, C. T. Jerzak, "Linking datasets on organizations using half a billion
    open-collaborated records", Political Science Research and Methods, 2024.

    Examples
    --------
    >>> model = MatchProbability().fit(
    ...     np.array([0.1, 0.2, 0.5, 0.9]), np.array([True, True, False, False])
    ... )
    >>> model.predict(np.array([0.0, 1.0])).round(1)
    array([1., 0.])
    """

    def __init__(self, *, l2: Annotated[float, positive] = 1e-3) -> None:
        self.l2 = l2

    def fit(
        self,
        X: Real[Array, "n", finite] | Real[Array, "n f", finite],
        y: Bool[Array, "n"],
        *,
        base_rate: Annotated[float, between(0, 1)] | None = None,
    ) -> "MatchProbability":
        """Maximize the likelihood by Newton's method.

        Parameters
        ----------
        X : (n,) array of float32, float64 or integers, finite or (n, f) array of float32, float64 or integers, finite
            Distances of pairs, of one or of several kinds.
        y : (n,) array of bool
            Which pairs are matches.
        base_rate : float in (0, 1), optional
            The share of matches among all pairs: matches and others are weighted to it where they
            were not sampled so.

        Returns
        -------
        MatchProbability
            Itself.
        """  # noqa: E501
        d = _columns(X)
        share = y.mean() if len(y) else 0.0
        if not 0 < share < 1:
            raise ValueError(
                f"y must have both matches and others (got {int(y.sum())} matches of {len(y)})"
            )
        rate = share if base_rate is None else base_rate
        weights = np.where(y, rate / share, (1 - rate) / (1 - share)) / len(y)
        free = np.ones(d.shape[1], bool)
        while True:  # a coefficient that would be negative is held at zero
            b = self._newton(d[:, free], y, weights)
            if (b[1:] >= 0).all():
                break
            free[np.flatnonzero(free)[b[1:] < 0]] = False
        self.intercept_, self.coef_ = float(b[0]), np.zeros(d.shape[1])
        self.coef_[free] = b[1:]
        self.n_features_in_ = d.shape[1]
        return self

    def _newton(self, d, match, weights):
        x = np.column_stack([np.ones(len(d)), d])
        ridge = np.r_[0.0, np.full(d.shape[1], self.l2)]
        b, sign = np.zeros(x.shape[1]), np.where(match, 1.0, -1.0)

        def loss(b):
            return weights @ np.logaddexp(0, sign * (x @ b)) + ridge @ b**2 / 2

        for _ in range(100):
            p = 0.5 * (1 - np.tanh(x @ b / 2))
            gradient = x.T @ (weights * (match - p)) + ridge * b
            curvature = (x * (weights * np.maximum(p * (1 - p), 1e-12))[:, None]).T @ x + np.diag(
                ridge
            )
            step, size, now = np.linalg.solve(curvature, gradient), 1.0, loss(b)
            while loss(b - size * step) > now and size > 1e-10:
                size /= 2
            b = b - size * step
            if np.abs(size * step).max() <= 1e-12 * max(1.0, np.abs(b).max()):
                break
        return b

    def predict(self, X: Real[Array, "n", finite] | Real[Array, "n f", finite]) -> Array:
        """The probability of a match.

        Parameters
        ----------
        X : (n,) array of float32, float64 or integers, finite or (n, f) array of float32, float64 or integers, finite

        Returns
        -------
        (n,) array of float64
        """  # noqa: E501
        d = self._checked(X)
        return 0.5 * (1 - np.tanh((self.intercept_ + d @ self.coef_) / 2))

    def score(
        self, X: Real[Array, "n", finite] | Real[Array, "n f", finite], y: Bool[Array, "n"]
    ) -> float:
        """The mean logarithm of the probability that the model gives to what is true of a pair.

        Parameters
        ----------
        X : (n,) array of float32, float64 or integers, finite or (n, f) array of float32, float64 or integers, finite
        y : (n,) array of bool
            Which pairs are matches.

        Returns
        -------
        float
            At most 0; larger is better.
        """  # noqa: E501
        d = self._checked(X)
        against = np.where(y, 1.0, -1.0) * (self.intercept_ + d @ self.coef_)
        return -float(np.logaddexp(0, against).mean())

    def _checked(self, X):
        """Distances as columns, as many as in the fit."""
        d = _columns(X)
        if d.shape[1] != len(self.coef_):
            raise ValueError(f"X must have {len(self.coef_)} columns (got shape {X.shape})")
        return d


def _columns(x):
    """Distances of one kind are one column."""
    return (x[:, None] if x.ndim == 1 else x).astype(np.float64)
