"""Weights of features that make inner products fit similarities, by ridge regression whose design,
one row for each pair, is never formed. J. C. Peterson, J. T. Abbott, T. L. Griffiths, "Evaluating
(and improving) the correspondence between deep neural networks and human representations",
Cognitive Science, 2018.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from ...arguments import RNG, Array, Float, Real, at_least, finite, positive
from ...dispatch import check_one_device, namespace_of
from ...model import model
from ...random import generator_from_rng, key_from_rng
from .kernels import nonnegative_descent
from .pairs import checked_pairs, row_correlations, square, standardized

MAX_FEATURES = 8192  # whose Gram matrix takes 512 MB
ALPHAS = tuple(10.0**e for e in range(-3, 6))


@model(fitted="weights_", features="d")
class SimilarityRegression:
    """Weights of features that make inner products fit similarities: s_ij ≈ Σ_k w_k f_ik f_jk + c,
    by ridge regression.

    The weight of the penalty is chosen by cross-validation over stimuli: a fold's test pairs lie
    within it, training pairs have no end in it. With one row for each pair and one column for each
    feature, f_ik f_jk, the design would have n (n - 1) d / 2 entries. Its Gram matrix ½ [(FᵀF)² -
    (F²)ᵀ(F²)], squares being by elements, and the right-hand sides ½ diag(Fᵀ S F) need no design.

    Parameters
    ----------
    alphas : sequence of float > 0 or (n_alphas,) array of float32, float64 or integers, > 0, default (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0)
        Weights α of the penalty α |w|² to choose from, 10⁻³ … 10⁵ by default.
    n_folds : int >= 2, default 6
        At most half the number of stimuli.
    center : bool, default True
        Fit the constant c, else it is 0.
    nonnegative : bool, default False
        Allow no negative weights: similarities of rescaled features. By coordinate descent, to a
        relative change of 1e-9.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the folds.

    Attributes
    ----------
    weights_ : (d,) array
        w, of the dtype of the features.
    intercept_ : float
        c
    alpha_ : float
        The α of the largest cross-validated correlation, with which all pairs were fitted in the
        end.
    cv_correlation_ : float
        That correlation, over the test pairs of all folds together. As the largest of several it is
        a little too good.
    cv_correlations_ : (number of alphas,) numpy array
        Those of all α; 0 where the predictions are constant.
    converged_ : bool
        Whether all coordinate descents ended before 1000 sweeps; True without `nonnegative`.

    Notes
    -----
    O(n d² + n² d + d³) operations for each fold, however many alphas there are, by one
    eigendecomposition of the Gram matrix; O(d² + n² + n d) memory. All is computed in float64.
    Directions in which the Gram matrix is zero to rounding get no weight.

    References
    ----------
    J. C. Peterson, J. T. Abbott, T. L. Griffiths, "Evaluating (and improving) the correspondence
    between deep neural networks and human representations", Cognitive Science, 2018.

    Examples
    --------
    >>> from numcore.retrieval import SimilarityRegression, similarity_matrix
    >>> f = np.random.default_rng(0).standard_normal((30, 3))
    >>> model = SimilarityRegression(rng=0).fit(f, similarity_matrix(f * [1, 2, 0], metric="dot"))
    >>> (model.weights_.round(3) + 0).tolist(), model.predict(f).shape
    ([1.0, 4.0, 0.0], (30, 30))
    """  # noqa: E501

    def __init__(
        self,
        *,
        alphas: Sequence[Annotated[float, positive]] | Real[Array, "n_alphas", positive] = ALPHAS,
        n_folds: Annotated[int, at_least(2)] = 6,
        center: bool = True,
        nonnegative: bool = False,
        rng: RNG = None,
    ) -> None:
        self.alphas, self.n_folds, self.center = alphas, n_folds, center
        self.nonnegative, self.rng = nonnegative, rng

    def fit(
        self,
        features: Float[Array, "n d", finite],
        target: Float[Array, "n n", finite] | Float[Array, "_", finite],
    ) -> "SimilarityRegression":
        """Fit the weights.

        Parameters
        ----------
        features : (n, d) array of float32 or float64, finite
            d <= 8192.
        target : (n, n) array of float32 or float64, finite or (_,) array of float32 or float64, finite
            Similarities of the stimuli; a diagonal does not count.

        Returns
        -------
        SimilarityRegression
            The same object.

        Raises
        ------
        ValueError
            Shapes that do not fit, n < 3, more folds than n / 2, entries that are not finite, a
            constant target, too many features, a target that is not symmetric.
        TypeError
            Other or mixed dtypes.
        """  # noqa: E501
        xp, dtype = namespace_of(features), features.dtype
        pairs, n = checked_pairs("target", target)
        self._check_sizes(features, n)
        alphas = np.asarray(self.alphas, np.float64)
        standardized(xp, "target", pairs)
        f, s = features.astype(np.float64), square(xp, pairs, n)
        key = key_from_rng(self.rng)
        order = generator_from_rng(np.random.SeedSequence(key)).permutation(n)
        self.converged_, predictions, truths = True, [], []
        for fold in np.array_split(order, self.n_folds):
            train, test = xp.asarray(np.setdiff1d(order, fold)), xp.asarray(np.sort(fold))
            weights, intercepts = self._solve(xp, f[train], s[train[:, None], train], alphas)
            i, j = xp.triu_indices(len(test), 1)
            held = f[test]
            predictions.append(
                xp.stack(
                    [
                        ((held * w) @ held.T)[i, j] + c
                        for w, c in zip(weights, intercepts, strict=True)
                    ]
                )
            )
            truths.append(s[test[:, None], test][i, j])
        self._choose(xp, alphas, xp.concatenate(predictions, axis=1), xp.concatenate(truths))
        weights, intercepts = self._solve(xp, f, s, np.array([self.alpha_]))
        self.n_features_in_, self.intercept_ = features.shape[1], float(intercepts[0])
        self.weights_ = weights[0].astype(dtype)
        return self

    def predict(self, features: Float[Array, "n d", finite]) -> Array:
        """Similarities of stimuli, those that were fitted or others.

        Parameters
        ----------
        features : (n, d) array of float32 or float64, finite

        Returns
        -------
        (n, n) array
            Of the same dtype, with f_i · (w ∘ f_i) + c on its diagonal.

        Raises
        ------
        NotFittedError
            `fit` was not called.
        ValueError
            Another number of features, entries that are not finite.
        TypeError
            Another dtype, or the weights live on another device.
        """
        check_one_device(features=features, weights_=self.weights_)
        f = features.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return ((f * self.weights_) @ f.T + self.intercept_).astype(features.dtype)

    def _check_sizes(self, features, n):
        d = features.shape[1]
        if len(features) != n:
            raise ValueError(f"target must have the pairs of {len(features)} stimuli (got {n})")
        if not 0 < d <= MAX_FEATURES:
            raise ValueError(
                f"features must have d in [1, {MAX_FEATURES}] columns (got {d}); reduce them by a "
                "principal component analysis first"
            )
        if 2 * self.n_folds > n:
            raise ValueError(f"n_folds must be <= n / 2 with n = {n} (got {self.n_folds})")
        if not len(self.alphas):
            raise ValueError("alphas must have at least one number (got none)")

    def _choose(self, xp, alphas, predictions, truths):
        standardized(xp, "target", truths)
        r = row_correlations(xp, predictions, xp.broadcast_to(truths, predictions.shape))
        self.cv_correlations_ = np.array(xp.where(xp.isfinite(r), r, 0).tolist())
        best = int(self.cv_correlations_.argmax())
        self.alpha_, self.cv_correlation_ = float(alphas[best]), float(self.cv_correlations_[best])

    def _solve(self, xp, f, s, alphas):
        """The (a, d) weights and (a,) intercepts for all alphas."""
        gram, right, means, mean = _normal_equations(xp, f, s, self.center)
        if self.nonnegative:
            weights = self._descend(xp, gram, right, xp.asarray(alphas))
        else:
            values, vectors = xp.linalg.eigh(gram)
            least = 4 * np.finfo(np.float64).eps * xp.trace(gram)
            parts = xp.where(values > least, vectors.T @ right, 0) / (
                xp.maximum(values, 0) + xp.asarray(alphas)[:, None]
            )
            weights = parts @ vectors.T
        return weights, mean - weights @ means

    def _descend(self, xp, gram, right, alphas):
        shape = (len(alphas), len(right))
        weights, gradient = xp.empty(shape), xp.empty(shape)
        converged = xp.empty(len(alphas), np.int64)
        nonnegative_descent(
            xp.ascontiguousarray(gram), right, alphas, weights, gradient, converged, 1e-9, 1000
        )
        self.converged_ = self.converged_ and bool(converged.all())
        return weights


def _normal_equations(xp, f, s, center):
    """Of the design with the rows f_ik f_jk for i < j: its Gram matrix, right-hand side, and the
    means of its columns and of the target."""
    pairs = len(f) * (len(f) - 1) / 2
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = f * f
        gram = f.T @ f
        gram *= gram
        gram -= squares.T @ squares
        gram /= 2
        right = (f * (s @ f)).sum(axis=0) / 2
        means = (f.sum(axis=0) ** 2 - squares.sum(axis=0)) / (2 * pairs)
        mean = s.sum() / (2 * pairs)
        if not center:
            means, mean = xp.zeros_like(means), 0.0
        gram -= pairs * means[:, None] * means
        right -= pairs * mean * means
    if not bool(xp.isfinite(gram).all()) or not bool(xp.isfinite(right).all()):
        raise ValueError(
            "features must be small enough for products of four of them (got an overflow)"
        )
    return gram, right, means, mean
