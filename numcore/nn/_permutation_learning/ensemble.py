"""Ensembles of networks that learn a permutation of bits and decide together."""

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import numpy as np

from ...arguments import (
    RNG,
    Array,
    Float,
    Num,
    Real,
    at_least,
    finite,
    nonempty,
    nonnegative,
    positive,
)
from ...dispatch import namespace_of
from ...model import model
from ...progress import progress_bar
from ...random import generator_from_rng, normal
from .closed_forms import Threshold, moments
from .covariance import directions, ntk
from .kernels import UNITS, descend
from .regression import NTKRegressor, check_like_training, check_rows

PIECE = 1 << 22  # entries of the largest intermediate array when an ensemble predicts
ON_TRAINING = 1e-6  # 1 - cosine below which a test input is a training input


class Members(NamedTuple):
    """The weights of an ensemble's networks: f(x) = output relu(hidden x).

    Attributes
    ----------
    hidden : (n_models, width, d) array
    output : (n_models, q, width) array
    """

    hidden: Array
    output: Array


@model(fitted="n_iter_", features="k")
class PermutationEnsemble:
    """Networks with one hidden layer of ReLUs that learn a permutation of bits from its k basis
    vectors, and decide together.

    Parameters
    ----------
    n_models : int >= 1
        Networks, see :func:`ensemble_size`.
    width : int >= 1
        Hidden units of each, >= 1. Not used by ``mode="sample"``, which stands for infinitely many.
    learning_rate : float > 0, optional
        Of gradient descent on sum((f(X) - y)**2) / 2 in the parameterization of :func:`ntk`; by
        default 1 / (largest eigenvalue of Θ).
    max_iter : int >= 0, default 2500
        Steps at most.
    tol : float >= 0, default 1e-06
        Training ends when the mean squared error of every network is below.
    sigma_w : float > 0, default 1.0
        As for :func:`ntk`.
    mode : {"train", "sample"}, default "train"
        Train networks by gradient descent on all rows, or draw their outputs from the Gaussian
        process of infinite width.
    threshold : {"zero", "midpoint"}, default "zero"
        As for :func:`ensemble_size`; "midpoint" needs the basis vectors as training inputs.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional

    Attributes
    ----------
    members_ : Members
        The trained weights; None for ``mode="sample"``.
    n_iter_ : int
        Steps made; 0 for ``mode="sample"``.
    loss_ : (n_models,) array
        Mean squared errors at the end; None for ``mode="sample"``.

    Notes
    -----
    A step of a network costs about 6 n q operations for each hidden unit if X is the basis, which
    is recognized: a hidden unit's activations are then its own weights, and there is no product in
    the first layer. In the parameterization of :func:`ntk` both layers move at rates that keep
    their parts of Θ apart from the width: sigma_w²/d and sigma_w²/width times the learning rate.
    Equal seeds give equal results at any number of threads.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning of Permutations for Nonzero
    Binary Inputs with Logarithmic Training Size and Quadratic Ensemble Complexity", arXiv
    2502.16763, 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.nn import PermutationEnsemble
    >>> permutation = np.array([2, 0, 3, 1])
    >>> model = PermutationEnsemble(n_models=200, width=1, mode="sample", rng=0).fit(
    ...     np.eye(4), np.eye(4)[permutation]
    ... )
    >>> model.predict(np.array([[1, 0, 0, 1], [0, 1, 1, 1]]))
    array([[0, 1, 1, 0],
           [1, 1, 0, 1]], dtype=uint8)
    """

    def __init__(
        self,
        *,
        n_models: Annotated[int, at_least(1)],
        width: Annotated[int, at_least(1)],
        learning_rate: Annotated[float, positive] | None = None,
        max_iter: Annotated[int, nonnegative] = 2500,
        tol: Annotated[float, nonnegative] = 1e-6,
        sigma_w: Annotated[float, positive] = 1.0,
        mode: Literal["train", "sample"] = "train",
        threshold: Threshold = "zero",
        rng: RNG = None,
    ):
        self.n_models, self.width, self.learning_rate = n_models, width, learning_rate
        self.max_iter, self.tol, self.sigma_w = max_iter, tol, sigma_w
        self.mode, self.threshold, self.rng = mode, threshold, rng

    def fit(
        self,
        X: Float[Array, "n k", finite, nonempty],
        y: Real[Array, "n q", finite, nonempty],
        *,
        callback: Callable[[int, Array], bool | None] | None = None,
        progress: bool = False,
    ) -> "PermutationEnsemble":
        """Train the networks, or solve for their Gaussian process.

        Parameters
        ----------
        X : (n, k) array of float32 or float64, finite, without an axis of length zero
            Training inputs, k >= 2, none of them 0: the basis vectors, say.
        y : (n, q) array of float32, float64 or integers, finite, without an axis of length zero
            Their images.
        callback : callable, optional
            ``callback(step, losses)`` after every step; training ends when it returns True.
        progress : bool, default False
            Show the steps; needs tqdm.

        Returns
        -------
        PermutationEnsemble
            Itself. An interrupt or an error leaves it as it was.

        Raises
        ------
        TypeError
            Other or mixed dtypes, arrays on different devices, `rng` or `callback` are of the wrong
            kind.
        ValueError
            Shapes that do not fit, k < 2, a row of zeros, entries that are not finite, a learning
            rate at which training diverges; with ``mode="sample"`` rows of one direction; with
            ``threshold="midpoint"`` training inputs other than the basis.
        """
        check_rows(X)
        xp, y = namespace_of(X), y.astype(X.dtype)
        if X.shape[1] < 2:
            raise ValueError(f"X must have k >= 2 columns (got shape {X.shape})")
        is_basis = X.shape[0] == X.shape[1] and bool((X == xp.eye(len(X), dtype=X.dtype)).all())
        if self.threshold == "midpoint" and not is_basis:
            raise ValueError(
                "threshold must be 'zero' for training inputs other than the basis vectors (got "
                "'midpoint')"
            )
        rng = generator_from_rng(self.rng)
        if self.mode == "sample":
            process = NTKRegressor(sigma_w=self.sigma_w).fit(X, y)
            found = {
                "_process": process,
                "_seed": int(rng.integers(2**63)),
                "members_": None,
                "n_iter_": 0,
                "loss_": None,
            }
        else:
            found = self._trained(X, y, is_basis, rng, callback, progress)
        self._x, self._q, self.n_features_in_ = X, y.shape[1], X.shape[1]
        for name, value in found.items():
            setattr(self, name, value)
        return self

    def _trained(self, X, y, is_basis, rng, callback, progress):
        xp, (n, d), q, dtype = namespace_of(X), X.shape, y.shape[1], X.dtype
        models, width = self.n_models, self.width
        rate = self.learning_rate or 1 / float(
            xp.linalg.eigvalsh(ntk(X, X, sigma_w=self.sigma_w).astype(np.float64))[-1]
        )
        rate_1, rate_2 = rate * self.sigma_w**2 / d, rate * self.sigma_w**2 / width
        w1 = normal((models, d, width), rng=rng, dtype=dtype, xp=xp) * dtype.type(
            self.sigma_w / math.sqrt(d)
        )
        w2 = normal((models, q, width), rng=rng, dtype=dtype, xp=xp) * dtype.type(
            self.sigma_w / math.sqrt(width)
        )
        x = xp.ascontiguousarray(X[:0] if is_basis else X)
        z = xp.ascontiguousarray(xp.matmul(x, w1))
        # the CPU's body reads all of a block before it writes any: one array is enough
        w2_next = w2 if xp is np else xp.empty_like(w2)
        residual = xp.zeros((models, n, q), dtype)
        parts = -(-width // UNITS)
        outputs = xp.empty((models * parts, n, q), dtype)
        bar = progress_bar(self.max_iter, "steps") if progress else None
        try:
            for step in range(self.max_iter + 1):
                # the first pass is one with residual 0: it changes no weight
                with np.errstate(all="ignore"):
                    descend(x, residual, w1, w2, w2_next, z, outputs, rate_1, rate_2)
                    w2, w2_next = w2_next, w2
                    residual = outputs.reshape(models, parts, n, q).sum(axis=1) - y
                    losses = (residual**2).mean(axis=(1, 2))
                    worst = float(losses.max())
                if not math.isfinite(worst):
                    raise ValueError(
                        f"learning_rate must be small enough for training to converge (got {rate}, "
                        f"a loss of {worst} after "
                        f"{step} steps)"
                    )
                if bar is not None and step:
                    bar.update()
                if worst <= self.tol or (
                    step and callback is not None and callback(step, losses) is True
                ):
                    break
        finally:
            if bar is not None:
                bar.close()
        return {
            "_w1": w1,
            "_w2": w2,
            "members_": Members(w1.swapaxes(1, 2), w2),
            "n_iter_": step,
            "loss_": losses,
        }

    def member_outputs(self, X: Float[Array, "t k", finite]) -> Array:
        """Outputs of each network.

        Parameters
        ----------
        X : (t, k) array of float32 or float64, finite
            As it is, of any length.

        Returns
        -------
        (n_models, t, q) array
            With ``mode="sample"`` a draw for these t inputs together, the same for equal inputs.

        Raises
        ------
        TypeError
            Another dtype or device than that of the training inputs.
        ValueError
            Not fitted; a shape that does not fit; entries that are not finite.
        """
        check_like_training(X, self._x, self._x.dtype)
        xp, pieces = namespace_of(X), list(self._outputs(X))
        return xp.concatenate(pieces) if pieces else xp.empty((self.n_models, 0, self._q), X.dtype)

    def decision_function(self, X: Float[Array, "t k", finite]) -> Array:
        """Mean output of the networks; parameters and errors as for :meth:`member_outputs`.

        Returns
        -------
        (t, q) array
        """
        check_like_training(X, self._x, self._x.dtype)
        return self._mean(X)

    def predict(self, X: Num[Array, "t k"]) -> Array:
        """Image of binary inputs.

        Parameters
        ----------
        X : (t, k) array
            Zeros and ones of any dtype, none of the rows 0; each is scaled to length 1.

        Returns
        -------
        (t, q) array of uint8
            1 where the mean output exceeds the threshold, which is 1/2 for training inputs.

        Raises
        ------
        TypeError
            An array on another device than the training inputs.
        ValueError
            Not fitted; a shape that does not fit; other numbers than 0 and 1, a row of zeros.
        """
        inputs, thresholds = self._binary(X)
        return (self._mean(inputs) > thresholds).astype(np.uint8)

    def agreement(self, X: Num[Array, "t k"]) -> Array:
        """Share of the networks that, rounded alone, give the prediction in all bits.

        Parameters
        ----------
        X : (t, k) array
            As for :meth:`predict`.

        Returns
        -------
        (t,) array
        """
        inputs, thresholds = self._binary(X)
        rounded = self._mean(inputs) > thresholds
        agreeing = namespace_of(X).zeros(len(X), inputs.dtype)
        for outputs in self._outputs(inputs):
            agreeing += ((outputs > thresholds) == rounded).all(axis=2).sum(axis=0)
        return agreeing / inputs.dtype.type(self.n_models)

    def _mean(self, X):
        """Mean output of the networks."""
        total = namespace_of(X).zeros((len(X), self._q), X.dtype)
        for outputs in self._outputs(X):
            total += outputs.sum(axis=0)
        return total / X.dtype.type(self.n_models)

    def _binary(self, X):
        """Binary inputs scaled to length 1, and the thresholds of their outputs, a column."""
        check_like_training(X, self._x)
        if not bool(((X == 0) | (X == 1)).all()):
            raise ValueError("X must consist of zeros and ones (got another number)")
        n_ones = (X == 1).sum(axis=1)
        if not bool((n_ones > 0).all()):
            raise ValueError("X must have no row of zeros (got one)")
        X = X.astype(self._x.dtype)
        X = X / namespace_of(X).sqrt(n_ones.astype(X.dtype))[:, None]
        return X, self._thresholds(X, n_ones)[:, None]

    def _thresholds(self, X, n_ones):
        """The number above which an output of a row of X is a one."""
        xp, (trained, _) = namespace_of(X), directions("X", self._x)
        known = xp.matmul(X, trained.T).max(axis=1) > 1 - ON_TRAINING
        if self.threshold == "midpoint":
            mu_one, mu_zero, _ = moments(xp, n_ones.astype(np.float64), float(X.shape[1]))
            middle = ((mu_one + mu_zero) / 2).astype(X.dtype)
        else:
            middle = xp.zeros(len(X), X.dtype)
        return xp.where(known, X.dtype.type(0.5), middle)

    def _outputs(self, X):
        """Pieces (some models, t, q) of all outputs."""
        if self.mode == "train":
            return self._outputs_of_networks(X)
        return self._draws(X)

    def _outputs_of_networks(self, X):
        xp = namespace_of(X)
        rows = max(1, PIECE // self.width)
        for at in range(self.n_models if len(X) else 0):
            pieces = []
            for first in range(0, len(X), rows):
                hidden = xp.matmul(X[first : first + rows], self._w1[at])
                xp.maximum(hidden, 0, out=hidden)
                pieces.append(xp.matmul(hidden, self._w2[at].T))
            yield xp.concatenate(pieces)[None]

    def _draws(self, X):
        """The covariance is singular at training inputs, which Cholesky's method does not bear: its
        root comes from its eigenvectors."""
        xp = namespace_of(X)
        mean, covariance = self._process.predict(X, return_cov=True)
        rng, models = generator_from_rng(self._seed), max(1, PIECE // max(1, mean.size))
        values, vectors = xp.linalg.eigh(covariance.astype(np.float64))
        root = (vectors * xp.sqrt(xp.maximum(values, 0))).astype(X.dtype)
        for first in range(0, self.n_models if len(X) else 0, models):
            z = normal(
                (min(models, self.n_models - first), *mean.shape), rng=rng, dtype=X.dtype, xp=xp
            )
            yield mean + xp.matmul(root, z)
