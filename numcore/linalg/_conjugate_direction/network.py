"""A small convolutional network that learns directions from residuals alone."""

import contextlib
import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np

from ...arguments import RNG, Array, Float, at_least, nonempty, own_dtype, positive, within
from ...dispatch import namespace_of
from ...model import model
from ...progress import progress_bar
from ...random import key_from_rng
from .._csr import CSR, CSRLike, Sparse
from .operators import is_function
from .routines import direction_loss
from .tape import GridOperations, Tape

Side = Annotated[int, at_least(1)]
Count = Annotated[int, at_least(1)]
MIN_RATE = 1e-9  # fraction of the learning rate at the end of the cosine schedule


@model(fitted="parameters_")
class DirectionNetwork:
    """Convolutional network on a grid that maps a unit residual to a search direction; training
    needs no solutions.

    Parameters
    ----------
    shape : (int >= 1, int >= 1) or (int >= 1, int >= 1, int >= 1)
        The training grid; its sides must be multiples of 2**n_levels.
    n_filters : int >= 1, default 16
        Channels of all hidden layers.
    n_levels : int in [1, 2], default 2
        Number of times the grid is halved.
    max_iter : int >= 1, default 1000
        Training steps.
    batch_size : int >= 1, default 16
        Right-hand sides per step.
    learning_rate : float > 0, default 0.001
        Of Adam.
    schedule : {"cosine", "constant"}, default "cosine"
        The learning rate decays to 0 along half a cosine, or is constant.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the initial weights and the batches.

    Attributes
    ----------
    parameters_ : list of arrays
        Weights and biases, float32.
    loss_history_ : list of float
        The loss of every training step.

    Raises
    ------
    ValueError
        In `fit`: a side of the grid is not a multiple of 2**n_levels.

    Notes
    -----
    Convolutions have width three and zero padding. Residual pairs ``a + relu(conv(relu(conv(a))))``
    act on the halved grid and on one halved again, whose result is interpolated linearly and added;
    the features of the full grid are added last. Residuals are scaled to a root mean square of 1,
    so the network can be used on other grids with the same proportions, provided that their sides
    are multiples of 2**n_levels. A three-dimensional convolution is the sum of three
    two-dimensional ones of shifted planes.

    References
    ----------
    A. Kaneda et al., "A Deep Conjugate Direction Method for Iteratively Solving Linear Systems",
    ICML 2023, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.linalg import CSR, DirectionNetwork, ritz_training_set
    >>> a = CSR.from_dense(2 * np.eye(64) - np.eye(64, k=8) - np.eye(64, k=-8))
    >>> samples = ritz_training_set(a, 8, 20, rng=0)
    >>> network = DirectionNetwork((8, 8), n_filters=4, max_iter=2, rng=0).fit(a, samples)
    >>> network(np.ones(64) / 8).shape
    (64,)
    """

    def __init__(
        self,
        shape: tuple[Side, Side] | tuple[Side, Side, Side],
        *,
        n_filters: Count = 16,
        n_levels: Annotated[int, within(1, 2)] = 2,
        max_iter: Count = 1000,
        batch_size: Count = 16,
        learning_rate: Annotated[float, positive] = 1e-3,
        schedule: Literal["cosine", "constant"] = "cosine",
        rng: RNG = None,
    ):
        self.shape, self.n_filters, self.n_levels = shape, n_filters, n_levels
        self.max_iter, self.batch_size = max_iter, batch_size
        self.learning_rate, self.schedule, self.rng = learning_rate, schedule, rng

    def fit(
        self,
        a: Float[Array, "n n", own_dtype]
        | Sparse[CSRLike, "n n", own_dtype]
        | Callable[[Array], Array],
        samples: Float[Array, "size n", nonempty],
        *,
        callback: Callable[[int, float], bool | None] | None = None,
        progress: bool = False,
    ) -> "DirectionNetwork":
        """Train on right-hand sides by minimizing `direction_loss` with Adam.

        Parameters
        ----------
        a : (n, n) array of float32 or float64 or (n, n) CSR or sparse array or callable
            As for `direction_loss`; a matrix is converted to float32.
        samples : (size, n) array of float32 or float64, without an axis of length zero
            Right-hand sides of length 1, as from `ritz_training_set`.
        callback : callable, optional
            ``callback(step, loss)``; training ends when it returns True.
        progress : bool, default False
            Show a progress bar (needs tqdm).

        Returns
        -------
        DirectionNetwork The fitted network.
        """
        from ...nn import Adam

        xp, n = namespace_of(samples), math.prod(self.shape)
        check_sides(self.shape, self.n_levels)
        if samples.shape[1] != n:
            raise ValueError(f"samples must have shape (size, {n}) (got {samples.shape})")
        weights = np.random.default_rng(key_from_rng(self.rng))
        rng, a = np.random.default_rng(key_from_rng(self.rng)), _single(a)
        parameters = initial_parameters(len(self.shape), self.n_filters, self.n_levels, weights)
        self.parameters_ = [xp.asarray(p) for p in parameters]
        self.loss_history_ = []
        samples = samples.astype(np.float32)
        adam = Adam(self.parameters_, learning_rate=self.learning_rate)
        with progress_bar(self.max_iter, "steps") if progress else contextlib.nullcontext() as bar:
            for step in range(self.max_iter):
                chosen = rng.integers(len(samples), size=self.batch_size)
                adam.learning_rate = self._rate(step)
                loss = self._step(a, samples[xp.asarray(chosen)], adam)
                self.loss_history_.append(loss)
                if bar is not None:
                    bar.update(1)
                if callback is not None and callback(step, loss) is True:
                    break
        return self

    def _rate(self, step):
        if self.schedule == "constant":
            return self.learning_rate
        share = (1 + math.cos(math.pi * step / self.max_iter)) / 2
        return self.learning_rate * max(share, MIN_RATE)

    def _step(self, a, batch, adam):
        """Take one training step on a batch and return its loss."""
        scale = np.float32(math.sqrt(batch.shape[1]))
        x = batch.reshape(len(batch), 1, *self.shape) * scale
        tape, out = forward(self.parameters_, x, self.n_levels)
        z = tape.values[out]
        loss, grad = direction_loss(a, z.reshape(batch.shape), batch)
        adam.step(tape.gradients(out, grad.reshape(z.shape)))
        return float(loss)

    def predict(self, r: Float[Array, "*batch n"]) -> Array:
        """Directions for residuals of length 1 on a grid of n points with the network's
        proportions.

        Parameters
        ----------
        r : (..., n) array of float32 or float64

        Returns
        -------
        (..., n) array
        """
        grid = self._grid(r.shape[-1])
        x = (r.reshape(-1, 1, *grid) * math.sqrt(r.shape[-1])).astype(np.float32)
        tape, out = forward(self.parameters_, x, self.n_levels)
        return tape.values[out].reshape(r.shape).astype(r.dtype)

    def __call__(self, r: Array) -> Array:
        """`predict`, so that a network can be passed to `conjugate_direction_solve` as
        `direction`."""
        return self.predict(r)

    def _grid(self, n):
        """The grid of n points with the proportions of `shape`."""
        scale = (n / math.prod(self.shape)) ** (1 / len(self.shape))
        sides = tuple(round(side * scale) for side in self.shape)
        if math.prod(sides) != n or not n:
            raise ValueError(
                f"r must have the points of a grid with the proportions of {self.shape} (got {n})"
            )
        check_sides(sides, self.n_levels)
        return sides


def check_sides(sides, n_levels):
    step = 2**n_levels
    if any(side % step for side in sides):
        raise ValueError(f"shape must have sides that are multiples of {step} (got {tuple(sides)})")


def initial_parameters(dims, n_filters, n_levels, rng):
    """Alternating weights and biases, float32."""
    parameters, f = [], n_filters
    pairs = 6 if n_levels == 2 else 4
    for out, into, size in [(f, 1, 3), *[(f, f, 3)] * (4 + 2 * pairs), (1, f, 1)]:
        scale = 1 / math.sqrt(3 * into * size**dims)  # small, since residual pairs add up
        weights = scale * rng.standard_normal((out, into, *[size] * dims))
        parameters += [weights.astype(np.float32), np.zeros(out, np.float32)]
    return parameters


def forward(parameters, x, n_levels):
    """The tape of x (B, 1, *grid) → (B, 1, *grid), and the index of the result on it."""
    weights = iter(zip(parameters[::2], parameters[1::2], strict=True))
    tape = Tape(GridOperations(x.ndim - 2))
    a = tape.conv(tape.leaf(x), *next(weights))
    a = tape.relu(tape.conv(a, *next(weights)))
    b = tape.relu(tape.conv(a, *next(weights)))
    a = tape.add(tape.relu(tape.conv(b, *next(weights))), a)
    b = tape.relu(tape.conv(a, *next(weights)))
    a = residual_pairs(tape, tape.pool(b), weights)
    if n_levels == 2:
        a = tape.add(tape.double(residual_pairs(tape, tape.pool(a), weights)), a)
    a = residual_pairs(tape, tape.add(tape.double(a), b), weights)
    return tape, tape.conv(a, *next(weights))


def residual_pairs(tape, a, weights):
    """a + relu(conv(relu(conv(a)))), applied twice."""
    for _ in range(2):
        inner = tape.relu(tape.conv(a, *next(weights)))
        a = tape.add(tape.relu(tape.conv(inner, *next(weights))), a)
    return a


def _single(a):
    """A matrix converted to float32; callables are unchanged."""
    if is_function(a):
        return a
    return a.with_data(a.data.astype(np.float32)) if isinstance(a, CSR) else a.astype(np.float32)
