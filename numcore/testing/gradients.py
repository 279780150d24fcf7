"""A check of gradients by finite differences, for the layers of numcore and for those that users
write."""

import numpy as np

from ..random import generator_from_rng

__all__ = ["check_vjp"]

# about the cube root of the unit roundoff: truncation and rounding of a central difference are then
# equally large
STEP = 6e-6


def check_vjp(f, vjp, args, *, eps=None, n_directions=3, rng=None):
    """Largest relative error of a backward function, by central differences in random directions.

    For a random direction v of all arguments and a random cotangent g, the derivative
    ``<g, (f(x + h v) - f(x - h v)) / 2>`` must equal ``<vjp(g), h v>``, with steps
    ``h = eps (1 + |x|)``.

    Parameters
    ----------
    f : callable
        ``f(*args)`` → ``(y, cache)``; y is an array or a tuple of arrays.
    vjp : callable
        ``vjp(*grad_y, cache)`` → the gradients of all float arguments in their order: an array for
        one, a tuple for several.
    args : tuple
        Arguments of `f`. NumPy arrays of floats are differentiated, in float64; all else, None and
        integer arrays, stays as it is.
    eps : float, optional
        Relative step, 6e-6 by default.
    n_directions : int
        How many random directions.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        Makes the directions and cotangents.

    Returns
    -------
    float
        The largest difference, in units of the root mean square of ``<vjp(g), h v>`` over all
        directions v: below 1e-7 for smooth functions whose gradient is right; a function with kinks
        close to `args` may give more.

    Raises
    ------
    ValueError
        `vjp` returns another number of gradients or another shape than `args` has; `eps` or
        `n_directions` is not positive.

    Notes
    -----
    Memory: a few copies of the arguments.

    References
    ----------
    Griewank and Walther, "Evaluating Derivatives", SIAM 2008, chapter 3.

    Examples
    --------
    >>> from numcore.testing import check_vjp
    >>> f = lambda x: (x**3, x)
    >>> bool(check_vjp(f, lambda grad, x: 3 * x**2 * grad, (np.array([1.0, -2.0]),), rng=0) < 1e-7)
    True
    """
    eps = STEP if eps is None else eps
    if not eps > 0 or not n_directions > 0:
        raise ValueError(f"eps and n_directions must be > 0 (got {eps} and {n_directions})")
    rng = generator_from_rng(rng)
    args = [
        a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
        for a in args
    ]
    moving = [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    h = [eps * (1 + np.abs(args[i])) for i in moving]
    y, cache = f(*args)
    g = [rng.standard_normal(part.shape) for part in _parts(y)]
    gradients = [part for part in _parts(vjp(*g, cache)) if part is not None]
    if [part.shape for part in gradients] != [args[i].shape for i in moving]:
        raise ValueError(
            f"vjp must return gradients of shapes {[args[i].shape for i in moving]} "
            f"(got {[part.shape for part in gradients]})"
        )
    scale = np.sqrt(
        sum(np.sum((part * step) ** 2) for part, step in zip(gradients, h, strict=True))
    )
    worst = 0.0
    for _ in range(n_directions):
        v = [step * rng.standard_normal(step.shape) for step in h]
        ends = []
        for sign in (1, -1):
            moved = list(args)
            for i, step in zip(moving, v, strict=True):
                moved[i] = args[i] + sign * step
            ends.append(_parts(f(*moved)[0]))
        numeric = (
            sum(np.sum(part * (up - down)) for part, up, down in zip(g, *ends, strict=True)) / 2
        )
        analytic = sum(np.sum(part * step) for part, step in zip(gradients, v, strict=True))
        if numeric != analytic:
            worst = max(
                worst, float(abs(numeric - analytic) / max(scale, abs(numeric), abs(analytic)))
            )
    return worst


def _parts(value):
    return value if isinstance(value, tuple) else (value,)
