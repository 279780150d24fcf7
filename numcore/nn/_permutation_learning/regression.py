"""Regression by infinitely wide networks that gradient descent has trained."""

import math
from typing import Annotated

import numpy as np

from ...arguments import Array, Float, Real, finite, infinite, nonempty, nonnegative, positive
from ...dispatch import CPU, device_of, namespace_of
from ...model import model
from .covariance import nngp, ntk


@model(fitted="X_", kind="regressor", features="d")
class NTKRegressor:
    """What infinitely wide networks with one hidden layer of ReLUs predict after training by
    gradient descent: mean and covariance.

    Parameters
    ----------
    sigma_w : float > 0, default 1.0
        As for :func:`ntk`; > 0. The mean does not depend on it after infinite time, the covariance
        does.
    ridge : float >= 0, default 0.0
        Weight of a penalty on the distance from the initial weights, added to the diagonal of Θ; >=
        0.

    Notes
    -----
    With A = Θ(x, X) (Θ(X, X) + ridge)⁻¹ (1 - exp(-t (Θ(X, X) + ridge))) the mean is A y, the
    covariance of two inputs ``K(x, x') + A K(X, X) A'ᵀ - A K(X, x') - K(x, X) A'ᵀ``, the same for
    every output; outputs are independent. Everything is computed in float64, and returned in the
    dtype of the inputs. O(n³) operations for n training inputs.

    References
    ----------
    J. Lee, L. Xiao, S. Schoenholz, et al., "Wide Neural Networks of Any Depth Evolve as Linear
    Models Under Gradient Descent", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import NTKRegressor
    >>> model = NTKRegressor().fit(np.eye(3), np.eye(3)[[1, 2, 0]])
    >>> model.predict(np.array([[1.0, 1.0, 0.0]]) / np.sqrt(2)).round(6)
    array([[-0.018175,  0.557097,  0.557097]])
    """

    def __init__(
        self,
        *,
        sigma_w: Annotated[float, positive] = 1.0,
        ridge: Annotated[float, nonnegative] = 0.0,
    ):
        self.sigma_w, self.ridge = sigma_w, ridge

    def fit(
        self,
        X: Float[Array, "n d", finite, nonempty],
        y: Real[Array, "n *outputs", finite, nonempty],
    ) -> "NTKRegressor":
        """Solve for the training data.

        Parameters
        ----------
        X : (n, d) array of float32 or float64, finite, without an axis of length zero
            Training inputs, none of them 0.
        y : (n, ...) array of float32, float64 or integers, finite, without an axis of length zero
            Their values.

        Returns
        -------
        NTKRegressor
            Itself.

        Raises
        ------
        TypeError
            Other or mixed dtypes, arrays on different devices.
        ValueError
            Shapes that do not fit, no rows, a row of zeros, entries that are not finite, or Θ(X, X)
            + ridge not positive definite: two rows of one direction and no ridge.
        """
        check_rows(X)
        xp, x, n = namespace_of(X), X.astype(np.float64), len(X)
        gram = ntk(x, x, sigma_w=self.sigma_w)
        gram[xp.arange(n), xp.arange(n)] += self.ridge
        if not _is_definite(xp, gram):
            raise ValueError(
                f"ridge must be > 0 where two rows of X have one direction: Θ(X, X) is singular "
                f"(got ridge={self.ridge})"
            )
        self.X_, self.dtype_, self.n_features_in_ = x, X.dtype, X.shape[1]
        self._gram, self._spectrum, self._y = gram, None, y.astype(np.float64)
        self._dual = xp.linalg.solve(gram, self._y.reshape(n, -1))
        return self

    def predict(
        self,
        X: Float[Array, "t d", finite],
        *,
        return_cov: bool = False,
        time: Annotated[float, nonnegative, infinite] | None = None,
    ) -> Array | tuple[Array, Array]:
        """Mean of the trained networks' outputs, and their covariance.

        Parameters
        ----------
        X : (t, d) array of float32 or float64, finite
        return_cov : bool, default False
            Also return the covariance.
        time : float >= 0, optional
            How long the training went on, >= 0: steps times learning rate, for the loss sum((f(X) -
            y)**2) / 2. None is for ever.

        Returns
        -------
        mean : (t, ...) array
            As `y` in :meth:`fit`.
        covariance : (t, t) array, if `return_cov`
            Of one output at the t inputs, over random initial weights.

        Raises
        ------
        TypeError
            Another dtype or device than that of the training inputs.
        ValueError
            Not fitted; a shape that does not fit; entries that are not finite; a negative time.
        """
        check_like_training(X, self.X_, self.dtype_)
        xp, x = namespace_of(X), X.astype(np.float64)
        across = ntk(x, self.X_, sigma_w=self.sigma_w)
        if time is None and not return_cov:
            mean = across @ self._dual
        else:
            a = self._solved(xp, across, time)
            mean = a @ self._y.reshape(len(self._y), -1)
        mean = mean.reshape(len(x), *self._y.shape[1:]).astype(self.dtype_)
        if not return_cov:
            return mean
        mixed = a @ nngp(self.X_, x, sigma_w=self.sigma_w)
        covariance = (
            nngp(x, x, sigma_w=self.sigma_w)
            + a @ nngp(self.X_, self.X_, sigma_w=self.sigma_w) @ a.T
            - mixed
            - mixed.T
        )
        return mean, ((covariance + covariance.T) / 2).astype(self.dtype_)

    def score(self, X: Float[Array, "t d", finite], y: Real[Array, "t *outputs", finite]) -> float:
        """Coefficient of determination R² of the predictions, the mean over the outputs.

        Parameters
        ----------
        X : (t, d) array of float32 or float64, finite
        y : (t, ...) array of float32, float64 or integers, finite
            The true values.

        Returns
        -------
        float
        """
        squares = ((y - self.predict(X)) ** 2).sum(axis=0)
        spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        return float((1 - squares / spread).mean())

    def _solved(self, xp, across, time):
        """A of the class's notes."""
        if time is None or time == math.inf:
            return xp.linalg.solve(self._gram, across.T).T
        if self._spectrum is None:
            self._spectrum = xp.linalg.eigh(self._gram)
        values, vectors = self._spectrum
        return (across @ vectors) * (-xp.expm1(-time * values) / values) @ vectors.T


def check_rows(X):
    """ValueError if a row of training inputs is 0."""
    if bool((X == 0).all(axis=1).any()):
        raise ValueError("X must have no row of zeros (got one)")


def check_like_training(X, trained, dtype=None):
    """TypeError if inputs are not on the device of the training inputs, or, where it is given, not
    of the dtype."""
    here, there = device_of(trained) or CPU, device_of(X) or CPU
    if here is not there:
        raise TypeError(f"X must live on {here.name} like the training inputs (got {there.name})")
    if dtype is not None and X.dtype != dtype:
        raise TypeError(f"X must have dtype {dtype} like the training inputs (got {X.dtype})")


def _is_definite(xp, gram):
    try:
        pivots = xp.diagonal(xp.linalg.cholesky(gram)) ** 2
    except np.linalg.LinAlgError:
        return False
    # False for NaN, too
    return bool(pivots.min() > len(gram) * np.finfo(np.float64).eps * gram.diagonal().max())
