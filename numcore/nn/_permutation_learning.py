"""Two-layer ReLU networks of infinite width, and how many finite ones it takes to learn a
permutation exactly.

A network f(x) = W2 relu(W1 x), W1 and W2 normal with variances sigma_w²/d and sigma_w²/m for d
inputs and m hidden units, is for m → ∞ a Gaussian process with the arc-cosine covariance K;
gradient descent then moves it as its tangent kernel Θ says, to a Gaussian process whose mean and
covariance are known. Trained on the k basis vectors and their images under a permutation, the mean
has the sign of the permuted image of any other nonzero binary vector, so that enough networks
together answer without an error. G. Giapitzakis, A. Back de Luca, K. Fountoulakis, "Exact Learning
of Permutations for Nonzero Binary Inputs with Logarithmic Training Size and Quadratic Ensemble
Complexity", arXiv 2502.16763, 2025.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..checks import checked_choice, checked_count, checked_number
from ..dispatch import float_dtype, on_device, routine
from ..kernel import kernel
from ..progress import progress_bar
from ..random import key_from_rng, normal
from ..simd import asin_tail, dots_2_by_4, gemm_tile, tile_cols, tile_rows

__all__ = [
    "Members",
    "NTKRegressor",
    "PermutationEnsemble",
    "ensemble_size",
    "nngp",
    "ntk",
    "permutation_mean",
    "permutation_variance",
]

PIECE = 1 << 22  # entries of the largest intermediate array when an ensemble predicts
ON_TRAINING = 1e-6  # 1 - cosine below which a test input is a training input
THRESHOLDS, MODES = ("zero", "midpoint"), ("train", "sample")


# --- kernels of networks --------------------------------------------------------------------------


@routine
def ntk(x1, x2, *, sigma_w=1.0):
    """Neural tangent kernel of an infinitely wide network with one hidden layer of ReLUs and no
    biases.

    Parameters
    ----------
    x1 : (n1, d) array, float32 or float64
        Inputs, d >= 1.
    x2 : (n2, d) array
        Inputs, of the same dtype.
    sigma_w : float, optional
        Weights are normal with standard deviation sigma_w / sqrt(inputs of their layer); > 0.

    Returns
    -------
    (n1, n2) array
        Θ(u, v) for every row u of `x1` and v of `x2`, in the parameterisation where every weight is
        sigma_w / sqrt(inputs) times a trained standard normal number. 0 where u or v is 0.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `sigma_w` is no number.
    ValueError
        Shapes that do not fit, entries or lengths of rows that are not finite, `sigma_w` not
        positive and finite.

    Notes
    -----
    With θ the angle between u and v,
    ``Θ = sigma_w**4 |u| |v| (sin θ + 2 (π - θ) cos θ) / (2 π d)``. Where abs(cos θ) > 0.999, θ
    comes from the difference of the directions, θ = 2 arcsin(|u/|u| - v/|v|| / 2), since the arc
    cosine is of no use there. The error is below 2e-6 of the largest entry in float32 and 1e-14 in
    float64. One product of 2 n1 n2 d operations, then about 40 for each entry, in place; memory:
    the result, and the directions of the rows.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel: Convergence and Generalization in
    Neural Networks", NeurIPS 2018.

    Examples
    --------
    >>> 3 * ntk(np.eye(3), np.eye(3)).round(4)
    array([[0.9999, 0.1593, 0.1593],
           [0.1593, 0.9999, 0.1593],
           [0.1593, 0.1593, 0.9999]])
    """
    return _arc_cosine_kernel(x1, x2, sigma_w, weight=2)


@routine
def nngp(x1, x2, *, sigma_w=1.0):
    """Covariance of the outputs of an infinitely wide network with one hidden layer of ReLUs and no
    biases, before training.

    Parameters
    ----------
    x1 : (n1, d) array, float32 or float64
        Inputs, d >= 1.
    x2 : (n2, d) array
        Inputs, of the same dtype.
    sigma_w : float, optional
        Weights are normal with standard deviation sigma_w / sqrt(inputs of their layer); > 0.

    Returns
    -------
    (n1, n2) array
        K(u, v) for every row u of `x1` and v of `x2`. 0 where u or v is 0.

    Raises
    ------
    TypeError
        Other or mixed dtypes, arrays on different devices, `sigma_w` is no number.
    ValueError
        Shapes that do not fit, entries or lengths of rows that are not finite, `sigma_w` not
        positive and finite.

    Notes
    -----
    With θ the angle between u and v, ``K = sigma_w**4 |u| |v| (sin θ + (π - θ) cos θ) / (2 π d)``.
    Errors and cost as for :func:`ntk`.

    References
    ----------
    Y. Cho, L. K. Saul, "Kernel Methods for Deep Learning", NeurIPS 2009.

    Examples
    --------
    >>> nngp(np.array([[2.0]]), np.array([[3.0], [-3.0]]))
    array([[3., 0.]])
    """
    return _arc_cosine_kernel(x1, x2, sigma_w, weight=1)


def _arc_cosine_kernel(x1, x2, sigma_w, weight):
    xp, (x1, x2) = on_device(x1=x1, x2=x2)
    sigma_w = checked_number("sigma_w", sigma_w, above=0)
    for name, x in (("x1", x1), ("x2", x2)):
        if x is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
        if x.ndim != 2 or not x.shape[1]:
            raise ValueError(f"{name} must have shape (n, d) with d >= 1 (got {x.shape})")
    float_dtype(x1=x1, x2=x2)
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(f"x2 must have the d={x1.shape[1]} columns of x1 (got shape {x2.shape})")
    with np.errstate(all="ignore"):
        u, left = _directions(xp, "x1", x1)
        v, right = (u, left) if x2 is x1 else _directions(xp, "x2", x2)
        c = xp.matmul(u, v.T)
        arc_cosine_gram(u, v, left, right, weight, sigma_w**4 / (2 * math.pi * x1.shape[1]), c)
    return c


def _directions(xp, name, x):
    """Rows divided by their lengths, and the lengths; a row of zeros stays one. Through the largest
    entry, so that no square overflows."""
    one = x.dtype.type(1)
    top = xp.abs(x).max(axis=1)
    u = xp.ascontiguousarray(x / xp.where(top > 0, top, one)[:, None])
    length = xp.sqrt(xp.einsum("ij,ij->i", u, u, dtype=np.float64)).astype(x.dtype)
    u /= xp.where(top > 0, length, one)[:, None]
    length = length * top
    if not bool(xp.isfinite(length).all()):
        raise ValueError(
            f"{name} must have finite entries, and rows of finite length (got a length of "
            f"{float(length[~xp.isfinite(length)][0])})"
        )
    return u, length


# --- regression with the kernels ------------------------------------------------------------------


class NTKRegressor:
    """What infinitely wide networks with one hidden layer of ReLUs predict after training by
    gradient descent: mean and covariance.

    Parameters
    ----------
    sigma_w : float, optional
        As for :func:`ntk`; > 0. The mean does not depend on it after infinite time, the covariance
        does.
    ridge : float, optional
        Weight of a penalty on the distance from the initial weights, added to the diagonal of Θ; >=
        0.

    Notes
    -----
    With A = Θ(x, X) (Θ(X, X) + ridge)⁻¹ (1 - exp(-t (Θ(X, X) + ridge))) the mean is A Y, the
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

    def __init__(self, *, sigma_w=1.0, ridge=0.0):
        self.sigma_w, self.ridge = (
            checked_number("sigma_w", sigma_w, above=0),
            checked_number("ridge", ridge, least=0),
        )

    def fit(self, X, Y):
        """Solve for the training data.

        Parameters
        ----------
        X : (n, d) array, float32 or float64
            Training inputs, none of them 0.
        Y : (n, q) or (n,) array
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
        xp, X, Y = _training_data(X, Y)
        x = X.astype(np.float64)
        gram = ntk(x, x, sigma_w=self.sigma_w)
        n = len(gram)
        gram[xp.arange(n), xp.arange(n)] += self.ridge
        if not _is_definite(xp, gram):
            raise ValueError(
                f"ridge must be > 0 where two rows of X have one direction: Θ(X, X) is singular "
                f"(got ridge={self.ridge})"
            )
        self.X_, self.dtype_, self._gram, self._spectrum = x, X.dtype, gram, None
        self._y = Y.astype(np.float64)
        self._dual = xp.linalg.solve(gram, self._y.reshape(n, -1))
        return self

    def predict(self, X, *, return_cov=False, time=None):
        """Mean of the trained networks' outputs, and their covariance.

        Parameters
        ----------
        X : (t, d) array of the dtype of the training inputs
        return_cov : bool, optional
            Also return the covariance.
        time : float, optional
            How long the training went on, >= 0: steps times learning rate, for the loss sum((f(X) -
            Y)**2) / 2. None is for ever.

        Returns
        -------
        mean : (t, q) or (t,) array
            As `Y` in :meth:`fit`.
        covariance : (t, t) array, if `return_cov`
            Of one output at the t inputs, over random initial weights.

        Raises
        ------
        TypeError
            Another dtype or device than that of the training inputs.
        ValueError
            Not fitted; a shape that does not fit; entries that are not finite; a negative time.
        """
        if not hasattr(self, "X_"):
            raise ValueError(
                "fit must be called before predict (got a model without training data)"
            )
        xp, (X, _) = on_device(X=X, X_of_fit=self.X_)
        _checked_inputs(X, self.X_.shape[1], self.dtype_)
        x = X.astype(np.float64)
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

    def _solved(self, xp, across, time):
        """A of the class's notes."""
        if time is None or time == math.inf:
            return xp.linalg.solve(self._gram, across.T).T
        time = checked_number("time", time, least=0)
        if self._spectrum is None:
            self._spectrum = xp.linalg.eigh(self._gram)
        values, vectors = self._spectrum
        return (across @ vectors) * (-xp.expm1(-time * values) / values) @ vectors.T


def _is_definite(xp, gram):
    try:
        pivots = xp.diagonal(xp.linalg.cholesky(gram)) ** 2
    except np.linalg.LinAlgError:
        return False
    return bool(
        pivots.min() > len(gram) * np.finfo(np.float64).eps * gram.diagonal().max()
    )  # False for NaN, too


# --- permutations in closed form ------------------------------------------------------------------


def permutation_mean(n_ones, k):
    """Mean output of infinitely wide networks that have learned a permutation of k bits from the k
    basis vectors.

    Parameters
    ----------
    n_ones : int, or array of integers
        Ones in the input, 1 <= n_ones <= k; the input is scaled to length 1.
    k : int
        Bits, >= 2.

    Returns
    -------
    mu_one, mu_zero : float64, of the shape of `n_ones`
        Mean of the outputs that should be 1, and of those that should be 0. mu_one > 0 > mu_zero
        for 2 <= n_ones; 1 and 0 for n_ones = 1.

    Raises
    ------
    TypeError
        Numbers that are not integers.
    ValueError
        k < 2, or n_ones outside [1, k].

    Notes
    -----
    Θ of the basis is a 1 + b 11ᵀ, whose inverse is known: with c = 1/sqrt(n_ones), t = k (c) the
    kernel of a one and b that of a zero, mu = (t - b S/(a + b k))/a with S the sum of all kernels.
    O(1) for each entry of `n_ones`; no difference of nearly equal numbers is taken, the relative
    error is below 1e-13.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, arXiv 2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import permutation_mean
    >>> mu_one, mu_zero = permutation_mean(2, 10)
    >>> round(float(mu_one), 6), round(float(mu_zero), 6)
    (0.565422, -0.00985)
    """
    xp, n, k = _checked_bits(n_ones, k)
    return _moments(xp, n, k)[:2]


def permutation_variance(n_ones, k):
    """Variance of one output of infinitely wide networks that have learned a permutation of k bits,
    over their initial weights.

    Parameters
    ----------
    n_ones : int, or array of integers
        Ones in the input, 1 <= n_ones <= k; the input is scaled to length 1.
    k : int
        Bits, >= 2.

    Returns
    -------
    float64, of the shape of `n_ones`
        The same for every output; for sigma_w = 1, it grows as sigma_w**4. 0 for n_ones = 1, the
        training inputs.

    Raises
    ------
    TypeError
        Numbers that are not integers.
    ValueError
        k < 2, or n_ones outside [1, k].

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, arXiv 2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import permutation_variance
    >>> round(float(permutation_variance(2, 10)), 8)
    0.00651873
    """
    xp, n, k = _checked_bits(n_ones, k)
    return _moments(xp, n, k)[2]


def _moments(xp, n, k):
    """mu_one, mu_zero and the variance, kernels in units of 1/(2k): α and β stand for a and b, f
    for the kernel of a one less β."""
    alpha, beta = 2 - 1 / math.pi, 1 / math.pi
    c = 1 / xp.sqrt(n)
    half_turn = c * (math.pi + 2 * xp.arcsin(c))
    bend = c * c / (1 + xp.sqrt(xp.maximum(1 - c * c, 0)))  # 1 - sin θ
    f = (half_turn - bend) * beta
    trained = n == 1
    mu_zero = xp.where(trained, 0.0, -(n * f - alpha) * beta / ((alpha + beta * k) * alpha))
    mu_one = xp.where(trained, 1.0, mu_zero + f / alpha)
    # K of the basis is (1 - β) 1 + β 11ᵀ, K of input and basis vector β + g for a one and β for a
    # zero; A is mu itself
    g = (half_turn / 2 - bend) * beta
    total = n * mu_one + (k - n) * mu_zero
    squares = n * mu_one * mu_one + (k - n) * mu_zero * mu_zero
    variance = (
        1 + (1 - beta) * squares + beta * total * total - 2 * (n * mu_one * g + beta * total)
    ) / (2 * k)
    return mu_one[()], mu_zero[()], xp.where(trained, 0.0, variance)[()]


def ensemble_size(k, *, delta, n_ones=None, sigma_w=1.0, threshold="zero"):
    """How many networks are enough for their rounded mean to be right in all k bits.

    Parameters
    ----------
    k : int
        Bits, >= 2.
    delta : float
        Accepted probability of any error, in (0, 1).
    n_ones : int, optional
        For one input with so many ones; None is for all 2**k - 1 inputs at once.
    sigma_w : float, optional
        As for :func:`ntk`.
    threshold : {"zero", "midpoint"}, optional
        Outputs above this are 1: 0, or the middle between the two means of
        :func:`permutation_mean`, for which far fewer networks are enough.

    Returns
    -------
    int
        N = ceil(2 s²/g² log(k/delta)), with s² the variance of an output and g the distance of the
        threshold from the nearer mean; for all inputs the largest s²/g², and 2**k k in place of k.
        Training inputs (one 1) are left out: networks agree on them, their threshold is 1/2.

    Raises
    ------
    TypeError
        `k` or `n_ones` is no integer, `delta` or `sigma_w` no number.
    ValueError
        k < 2, n_ones outside [1, k], delta outside (0, 1), another threshold.

    Notes
    -----
    A Gaussian tail with a union bound over the bits, or over bits and inputs.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, arXiv 2502.16763, 2025.

    Examples
    --------
    >>> from numcore.nn import ensemble_size
    >>> (
    ...     ensemble_size(10, delta=0.05, n_ones=2),
    ...     ensemble_size(10, delta=0.05, n_ones=2, threshold="midpoint"),
    ... )
    (712, 1)
    """
    k, delta = checked_count("k", k, least=2), checked_number("delta", delta, above=0, below=1)
    sigma_w = checked_number("sigma_w", sigma_w, above=0)
    checked_choice("threshold", threshold, THRESHOLDS)
    if n_ones is not None:
        n_ones = checked_count("n_ones", n_ones, least=1)
    _, n, k = _checked_bits(np.arange(2, k + 1) if n_ones is None else n_ones, k)
    mu_one, mu_zero, variance = _moments(np, n, k)
    if threshold == "midpoint":
        gap = (mu_one - mu_zero) / 2
    else:
        gap = np.where(
            n == k, mu_one, np.minimum(mu_one, -mu_zero)
        )  # without zeros only the ones can go wrong
    gap = np.where(n == 1, 0.5, gap)
    log_cases = math.log(k) - math.log(delta) + (k * math.log(2) if n_ones is None else 0)
    return max(1, math.ceil(2 * sigma_w**4 * float(np.max(variance / gap**2)) * log_cases))


# --- ensembles ------------------------------------------------------------------------------------


class Members(NamedTuple):
    """The weights of an ensemble's networks: f(x) = output relu(hidden x).

    Attributes
    ----------
    hidden : (n_models, width, d) array
    output : (n_models, q, width) array
    """

    hidden: Any
    output: Any


class PermutationEnsemble:
    """Networks with one hidden layer of ReLUs that learn a permutation of bits from its k basis
    vectors, and decide together.

    Parameters
    ----------
    n_models : int
        Networks, see :func:`ensemble_size`.
    width : int
        Hidden units of each, >= 1. Not used by ``mode="sample"``, which stands for infinitely many.
    learning_rate : float, optional
        Of gradient descent on sum((f(X) - Y)**2) / 2 in the parameterisation of :func:`ntk`; by
        default 1 / (largest eigenvalue of Θ).
    max_iter : int, optional
        Steps at most.
    tol : float, optional
        Training ends when the mean squared error of every network is below.
    sigma_w : float, optional
        As for :func:`ntk`.
    mode : {"train", "sample"}, optional
        Train networks by gradient descent on all rows, or draw their outputs from the Gaussian
        process of infinite width.
    threshold : {"zero", "midpoint"}, optional
        As for :func:`ensemble_size`; "midpoint" needs the basis vectors as training inputs.
    rng : None, int or numpy.random.Generator, optional

    Attributes
    ----------
    members_ : Members
        The trained weights; None for ``mode="sample"``.
    agreement_ : (t,) array
        After :meth:`predict`: for each input the share of networks that, rounded alone, give the
        prediction in all bits.
    n_iter_ : int
        Steps made; 0 for ``mode="sample"``.
    loss_ : (n_models,) array
        Mean squared errors at the end; None for ``mode="sample"``.

    Notes
    -----
    A step of a network costs about 6 n q operations for each hidden unit if X is the basis, which
    is recognised: a hidden unit's activations are then its own weights, and there is no product in
    the first layer. In the parameterisation of :func:`ntk` both layers move at rates that keep
    their parts of Θ apart from the width: sigma_w²/d and sigma_w²/width times the learning rate.
    Equal seeds give equal results at any number of threads.

    References
    ----------
    G. Giapitzakis, A. Back de Luca, K. Fountoulakis, arXiv 2502.16763, 2025.

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
        n_models,
        width,
        learning_rate=None,
        max_iter=2500,
        tol=1e-6,
        sigma_w=1.0,
        mode="train",
        threshold="zero",
        rng=None,
    ):
        self.n_models, self.width = (
            checked_count("n_models", n_models, least=1),
            checked_count("width", width, least=1),
        )
        self.max_iter, self.sigma_w = (
            checked_count("max_iter", max_iter, least=0),
            checked_number("sigma_w", sigma_w, above=0),
        )
        self.learning_rate = (
            None
            if learning_rate is None
            else checked_number("learning_rate", learning_rate, above=0)
        )
        self.tol = checked_number("tol", tol, least=0)
        checked_choice("mode", mode, MODES)
        checked_choice("threshold", threshold, THRESHOLDS)
        self.mode, self.threshold, self.rng = mode, threshold, rng

    def fit(self, X, Y, *, callback=None, progress=False):
        """Train the networks, or solve for their Gaussian process.

        Parameters
        ----------
        X : (n, k) array, float32 or float64
            Training inputs, k >= 2, none of them 0: the basis vectors, say.
        Y : (n, q) array
            Their images.
        callback : callable, optional
            ``callback(step, losses)`` after every step; training ends when it returns True.
        progress : bool, optional
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
        xp, X, Y = _training_data(X, Y)
        if Y.ndim != 2:
            raise ValueError(f"Y must have shape (n, q) (got {Y.shape})")
        if X.shape[1] < 2:
            raise ValueError(f"X must have k >= 2 columns (got shape {X.shape})")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable (got {type(callback).__name__})")
        is_basis = X.shape[0] == X.shape[1] and bool((X == xp.eye(len(X), dtype=X.dtype)).all())
        if self.threshold == "midpoint" and not is_basis:
            raise ValueError(
                "threshold must be 'zero' for training inputs other than the basis vectors (got "
                "'midpoint')"
            )
        rng = (
            self.rng
            if isinstance(self.rng, np.random.Generator)
            else np.random.default_rng(key_from_rng(self.rng))
        )
        if self.mode == "sample":
            process = NTKRegressor(sigma_w=self.sigma_w).fit(X, Y)
            found = {
                "_process": process,
                "_seed": int(rng.integers(2**63)),
                "members_": None,
                "n_iter_": 0,
                "loss_": None,
            }
        else:
            found = self._trained(xp, X, Y, is_basis, rng, callback, progress)
        self._shape, self._is_basis, self._q, self._x = X.shape, is_basis, Y.shape[1], X
        for name, value in found.items():
            setattr(self, name, value)
        return self

    def _trained(self, xp, X, Y, is_basis, rng, callback, progress):
        (n, d), q, dtype, models, width = X.shape, Y.shape[1], X.dtype, self.n_models, self.width
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
        w2_next = (
            w2 if xp is np else xp.empty_like(w2)
        )  # the CPU's body reads all of a block before it writes any: one array is enough
        residual = xp.zeros((models, n, q), dtype)
        parts = -(-width // UNITS)
        outputs = xp.empty((models * parts, n, q), dtype)
        bar = progress_bar(self.max_iter, "steps") if progress else None
        try:
            for step in range(self.max_iter + 1):
                with np.errstate(
                    all="ignore"
                ):  # the first pass is one with residual 0: it changes no weight
                    descend(x, residual, w1, w2, w2_next, z, outputs, rate_1, rate_2)
                    w2, w2_next = w2_next, w2
                    residual = outputs.reshape(models, parts, n, q).sum(axis=1) - Y
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

    def member_outputs(self, X):
        """Outputs of each network.

        Parameters
        ----------
        X : (t, k) array of the dtype of the training inputs
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
        xp, X = self._checked(X)
        pieces = list(self._outputs(xp, X))
        return xp.concatenate(pieces) if pieces else xp.empty((self.n_models, 0, self._q), X.dtype)

    def decision_function(self, X):
        """Mean output of the networks; parameters and errors as for :meth:`member_outputs`.

        Returns
        -------
        (t, q) array
        """
        xp, X = self._checked(X)
        total = xp.zeros((len(X), self._q), X.dtype)
        for outputs in self._outputs(xp, X):
            total += outputs.sum(axis=0)
        return total / X.dtype.type(self.n_models)

    def predict(self, X):
        """Image of binary inputs.

        Parameters
        ----------
        X : (t, k) array
            Zeros and ones of any dtype, none of the rows 0; each is scaled to length 1.

        Returns
        -------
        (t, q) array of uint8
            1 where the mean output exceeds the threshold, which is 1/2 for training inputs; sets
            `agreement_`.

        Raises
        ------
        TypeError
            An array on another device than the training inputs.
        ValueError
            Not fitted; a shape that does not fit; other numbers than 0 and 1, a row of zeros.
        """
        self._checked_fitted()
        xp, (X, _) = on_device(X=X, X_of_fit=self._x)
        if X is None or X.ndim != 2 or X.shape[1] != self._shape[1]:
            raise ValueError(
                f"X must have shape (t, {self._shape[1]}) (got {None if X is None else X.shape})"
            )
        if not bool(((X == 0) | (X == 1)).all()):
            raise ValueError("X must consist of zeros and ones (got another number)")
        n_ones = (X == 1).sum(axis=1)
        if not bool((n_ones > 0).all()):
            raise ValueError("X must have no row of zeros (got one)")
        X = X.astype(self._x.dtype)
        X = X / xp.sqrt(n_ones.astype(X.dtype))[:, None]
        threshold = self._thresholds(xp, X, n_ones)[:, None]
        total, agreeing = xp.zeros((len(X), self._q), X.dtype), xp.zeros(len(X), X.dtype)
        for outputs in self._outputs(xp, X):
            total += outputs.sum(axis=0)
        rounded = total / X.dtype.type(self.n_models) > threshold
        for outputs in self._outputs(xp, X):
            agreeing += ((outputs > threshold) == rounded).all(axis=2).sum(axis=0)
        self.agreement_ = agreeing / X.dtype.type(self.n_models)
        return rounded.astype(np.uint8)

    def _thresholds(self, xp, X, n_ones):
        """The number above which an output of a row of X is a one."""
        trained, _ = _directions(xp, "X", self._x)
        known = xp.matmul(X, trained.T).max(axis=1) > 1 - ON_TRAINING
        if self.threshold == "midpoint":
            mu_one, mu_zero, _ = _moments(xp, n_ones.astype(np.float64), float(self._shape[1]))
            middle = ((mu_one + mu_zero) / 2).astype(X.dtype)
        else:
            middle = xp.zeros(len(X), X.dtype)
        return xp.where(known, X.dtype.type(0.5), middle)

    def _outputs(self, xp, X):
        """Pieces (some models, t, q) of all outputs."""
        if self.mode == "train":
            return self._outputs_of_networks(xp, X)
        return self._draws(xp, X)

    def _outputs_of_networks(self, xp, X):
        rows = max(1, PIECE // self.width)
        for model in range(self.n_models if len(X) else 0):
            pieces = []
            for first in range(0, len(X), rows):
                hidden = xp.matmul(X[first : first + rows], self._w1[model])
                xp.maximum(hidden, 0, out=hidden)
                pieces.append(xp.matmul(hidden, self._w2[model].T))
            yield xp.concatenate(pieces)[None]

    def _draws(self, xp, X):
        """The covariance is singular at training inputs, which Cholesky's method does not bear: its
        root comes from its eigenvectors."""
        mean, covariance = self._process.predict(X, return_cov=True)
        rng, models = np.random.default_rng(self._seed), max(1, PIECE // max(1, mean.size))
        values, vectors = xp.linalg.eigh(covariance.astype(np.float64))
        root = (vectors * xp.sqrt(xp.maximum(values, 0))).astype(X.dtype)
        for first in range(0, self.n_models if len(X) else 0, models):
            z = normal(
                (min(models, self.n_models - first), *mean.shape), rng=rng, dtype=X.dtype, xp=xp
            )
            yield mean + xp.matmul(root, z)

    def _checked_fitted(self):
        if not hasattr(self, "_x"):
            raise ValueError("fit must be called first (got an ensemble without training data)")

    def _checked(self, X):
        self._checked_fitted()
        xp, (X, _) = on_device(X=X, X_of_fit=self._x)
        _checked_inputs(X, self._shape[1], self._x.dtype)
        return xp, X


# --- checks ---------------------------------------------------------------------------------------


def _checked_bits(n_ones, k):
    """n_ones as float64 numbers, k as a float."""
    k = checked_count("k", k, least=2)
    xp, (n,) = on_device(n_ones=n_ones)
    if n is None or n.dtype.kind not in "iu":
        raise TypeError(f"n_ones must be an integer or an array of integers (got {n_ones!r})")
    if not bool(((n >= 1) & (n <= k)).all()):
        raise ValueError(f"n_ones must satisfy 1 <= n_ones <= k (got n_ones={n_ones!r}, k={k})")
    return xp, n.astype(np.float64), float(k)


def _checked_inputs(X, d, dtype):
    if X is None:
        raise TypeError("X must be a NumPy or CuPy array (got None)")
    if X.dtype != dtype:
        raise TypeError(f"X must have the dtype of the training inputs, {dtype} (got {X.dtype})")
    if X.ndim != 2 or X.shape[1] != d:
        raise ValueError(f"X must have shape (t, {d}) (got {X.shape})")


def _training_data(X, Y):
    """The namespace, X of shape (n, d) without a row of zeros, and Y of shape (n, ...)."""
    xp, (X, Y) = on_device(X=X, Y=Y)
    for name, array in (("X", X), ("Y", Y)):
        if array is None:
            raise TypeError(f"{name} must be a NumPy or CuPy array (got None)")
    float_dtype(X=X, Y=Y)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X must have shape (n, d) with n, d >= 1 (got {X.shape})")
    if Y.ndim not in (1, 2) or len(Y) != len(X) or not Y.size:
        raise ValueError(
            f"Y must have shape (n, q) or (n,) with the n={len(X)} rows of X (got {Y.shape})"
        )
    for name, array in (("X", X), ("Y", Y)):
        if not bool(xp.isfinite(array).all()):
            raise ValueError(f"{name} must be finite (got a number that is not)")
    if bool((X == 0).all(axis=1).any()):
        raise ValueError("X must have no row of zeros (got one)")
    return xp, X, Y


# --- the elementwise part of the kernels ----------------------------------------------------------

NEAR = (
    1 - 2.0**-10
)  # cosines above, in size, are computed again from the difference of the directions


def arc_cosine(c, z, is_small, weight, half_pi):
    """sin θ + weight (π - θ) cos θ for cos θ = c, and z = c² where `is_small` (abs(c) < 1/2), else
    (1 - abs(c))/2 = sin²(θ/2)."""
    one = half_pi / half_pi
    two, zero = one + one, one - one
    r = abs(c) if is_small else math.sqrt(z)
    a = r + r * z * asin_tail(z)  # asin r
    near = half_pi - a if is_small else two * a  # the angle whose cosine is abs(c)
    sine = math.sqrt(one - z) * (one if is_small else two * r)
    return sine + weight * c * (two * half_pi - near if c > zero else near)


@kernel(
    "in T u[n, d]; in T v[m, d]; in T left[n]; in T right[m]; T weight; T scale; inout T c[n, m]; "
    "scratch T row[m]",
    constants=("NEAR",),
    split="n",
    gpu="block",
    threads=128,
)
def arc_cosine_gram(u, v, left, right, weight, scale, c, row, start, stop):
    """c[i, j] = scale left[i] right[j] (sin θ + weight (π - θ) cos θ) for c[i, j] = cos θ, the
    product of the unit rows u[i] and v[j]."""
    half_pi = c.dtype.type(0.5 * math.pi)
    one, half, near = c.dtype.type(1), c.dtype.type(0.5), c.dtype.type(NEAR)
    quarter = half * half
    for i in range(start, stop):
        for j in range(c.shape[1]):
            row[j] = c[i, j]
            x = -one if row[j] < -one else one if row[j] > one else row[j]
            is_small = abs(x) < half
            z = x * x if is_small else half * (one - abs(x))
            c[i, j] = arc_cosine(x, z, is_small, weight, half_pi) * (left[i] * right[j]) * scale
        for j in range(c.shape[1]):
            if abs(row[j]) > near:
                sign = one if row[j] > 0 else -one
                z = one - one
                for e in range(u.shape[1]):
                    z += (u[i, e] - sign * v[j, e]) * (u[i, e] - sign * v[j, e])
                z *= quarter
                c[i, j] = (
                    arc_cosine(sign * (one - z - z), z, False, weight, half_pi)
                    * (left[i] * right[j])
                    * scale
                )


# --- a step of gradient descent -------------------------------------------------------------------

UNITS = 960  # hidden units whose part of the outputs is one sum
BLOCK = 192  # hidden units that are worked on together, a multiple of all tiles' columns
MARGIN = 8  # rows that a tile may have


@kernel(
    "in T x[h, d]; in T residual[p, n, q]; inout T w1[p, d, m]; in T w2[p, q, m]; "
    "out T w2_next[p, q, m]; inout T z[p, h, m]; "
    "out T outputs[b, n, q]; T rate_1; T rate_2; "
    "scratch T step_1[n*q+MARGIN*n+MARGIN*q+MARGIN*MARGIN]; "
    "scratch T step_2[n*q+MARGIN*n+MARGIN*q+MARGIN*MARGIN]; "
    "scratch T act[BLOCK*n]; scratch T grad[BLOCK*n+BLOCK*MARGIN]; "
    "scratch T weights[BLOCK*q+BLOCK*MARGIN]; "
    "scratch T sums[8]",
    constants=("UNITS", "BLOCK", "MARGIN"),
    split="b",
    gpu="block",
    threads=128,
)
def descend(
    x,
    residual,
    w1,
    w2,
    w2_next,
    z,
    outputs,
    rate_1,
    rate_2,
    step_1,
    step_2,
    act,
    grad,
    weights,
    sums,
    start,
    stop,
):
    """One step of p networks w2 relu(w1 x) with residuals f(x) - y, then parts of their outputs,
    one for each `UNITS` hidden units.

    z = x w1 is kept from step to step. No rows in x and z stand for the basis: then w1 is its own
    z.
    """
    n, q, d, m = residual.shape[1], residual.shape[2], w1.shape[1], w1.shape[2]
    parts, wide, zero = (m + UNITS - 1) // UNITS, q + MARGIN, rate_1 - rate_1
    clear(act)
    clear(weights)
    clear(step_1)
    clear(step_2)
    for item in range(start, stop):
        p = item // parts
        for i in range(n):
            for o in range(q):
                step_1[i * wide + o] = -rate_1 * residual[p, i, o]
                step_2[i * wide + o] = -rate_2 * residual[p, i, o]
            clear(outputs[item, i])
        for first in range(item % parts * UNITS, min(m, (item % parts + 1) * UNITS), BLOCK):
            last = min(m, first + BLOCK)
            size = last - first
            hidden = z[p] if x.shape[0] else w1[p]
            for o in range(q):
                copy(w2[p, o, first:last], row(weights, o, size))
            for i in range(n):
                rectify(hidden[i, first:last], row(act, i, size), zero)
            multiply(step_1, wide, 1, n, weights, q, grad, 0)
            multiply(step_2, 1, wide, q, act, n, weights, 1)
            for o in range(q):
                copy(row(weights, o, size), w2_next[p, o, first:last])
            if x.shape[0] == 0:
                for i in range(n):
                    move(w1[p, i, first:last], row(grad, i, size), row(act, i, size), zero)
            else:
                for i in range(n):
                    mask(z[p, i, first:last], row(grad, i, size), zero)
                    for j in range(d):
                        add(x[i, j], row(grad, i, size), w1[p, j, first:last])
                for i in range(n):
                    clear(z[p, i, first:last])
                    for j in range(d):
                        add(x[i, j], w1[p, j, first:last], z[p, i, first:last])
                    rectify(z[p, i, first:last], row(act, i, size), zero)
            add_products(act, weights, size, outputs[item], sums)


def row(block, i, size):
    return block[i * BLOCK : i * BLOCK + size]


def multiply(a, a_row, a_depth, rows, b, depth, c, accumulate):
    """c (+)= a b or aᵀ b for a of strides (a_row, a_depth), by tiles; c has room for `MARGIN` more
    rows, and a zeros for them."""
    for i in range(0, rows, tile_rows(a[0])):
        for e in range(0, BLOCK, tile_cols(a[0])):
            gemm_tile(
                a,
                i * a_row,
                a_row,
                a_depth,
                b,
                e,
                BLOCK,
                c,
                i * BLOCK + e,
                BLOCK,
                depth,
                accumulate,
            )


def add(factor, x, y):
    for e in range(y.size):
        y[e] += factor * x[e]


def clear(y):
    for e in range(y.size):
        y[e] = 0


def copy(x, y):
    for e in range(y.size):
        y[e] = x[e]


def rectify(z, act, zero):
    """act = relu(z)."""
    for e in range(act.size):
        act[e] = zero if z[e] <= zero else z[e]


def mask(z, grad, zero):
    """grad = 0 where z is not positive."""
    for e in range(grad.size):
        grad[e] = zero if z[e] <= zero else grad[e]


def move(weights, change, act, zero):
    """Weights that are their own z take a step where they are positive; act = relu of the moved
    ones."""
    for e in range(act.size):
        w = weights[e]
        moved = w + change[e]
        w = w if w <= zero else moved
        weights[e] = w
        act[e] = zero if w <= zero else w


def add_products(a, b, size, outputs, sums):
    """outputs[i, o] += Σ_e a[i, e] b[o, e], two rows of a with four of b at once; a row that is
    missing is another one again."""
    n, q = outputs.shape
    at_a, at_b, step = a.ctypes.data, b.ctypes.data, BLOCK * a.itemsize
    for i in range(0, n, 2):
        for o in range(0, q, 4):
            dots_2_by_4(
                at_a + i * step,
                at_a + min(i + 1, n - 1) * step,
                at_b + o * step,
                at_b + min(o + 1, q - 1) * step,
                at_b + min(o + 2, q - 1) * step,
                at_b + min(o + 3, q - 1) * step,
                size,
                sums,
            )
            for s in range(8):
                if i + s // 4 < n and o + s % 4 < q:
                    outputs[i + s // 4, o + s % 4] += sums[s]
