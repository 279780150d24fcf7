"""Fitting and scoring the linear models of explanations, block by block: weighted least squares,
and means of gradients.

Both keep sums over the samples seen, in float64 and relative to a shift near their mean, and never
the samples. Standard errors are those of the sandwich estimate; where the samples of a row come in
several blocks, the residuals of a block are those of the fit to the samples up to it.
"""

import math
from typing import NamedTuple

import numpy as np

from .neighborhoods import Path, quiet, returned

# --- the procedure: each function gives attributions, intercepts, losses and standard errors in float  # noqa: E501


def fitted(problem, zone, loss, kernel, intercept=True, ridge=0.0):
    """The linear models that minimize the mean loss in a neighborhood."""
    made = _empty(problem)
    if problem.n:
        if kernel == "shapley":
            _shapley(problem, zone, ridge, *made)
        elif loss == "gradient_matching":
            _mean_gradient(problem, zone, kernel, *made)
        else:
            _least_squares(problem, zone, loss, kernel, intercept, ridge, *made)
    return made


def _empty(problem):
    xp, n, d = problem.xp, problem.n, problem.d
    return xp.zeros((n, d)), xp.zeros(n), xp.zeros(n), xp.zeros((n, d))


def _least_squares(problem, zone, loss, kernel, intercept, ridge, w, b, losses, errors):
    at_x = problem.box.f_of_rows(problem.x) if loss == "difference" else None
    for rows, blocks in zone.groups():
        free = loss == "squared" and intercept
        fit = LeastSquares(problem.xp, "intercept" if free else "none", ridge, zone.sampled)
        for block in blocks:
            target, weight = block.evaluate(problem.box.f), _weights(block, kernel)
            if loss == "difference":
                target -= at_x[rows, None]
            fit.add(
                block.offsets(),
                weight,
                target,
                block.origin - (float(zone.multiplicative) if loss == "difference" else 0.0),
            )
        w[rows], level, losses[rows], errors[rows] = fit.result()
        if free:
            b[rows] = level - (w[rows] * fit.origin).sum(axis=1)
        elif loss == "difference":
            b[rows] = at_x[rows] - (w[rows].sum(axis=1) if zone.multiplicative else 0.0)


def _shapley(problem, zone, ridge, w, b, losses, errors):
    """Least squares with g(baseline) = f(baseline) and g(x) = f(x), that is Σ w = gain: w = gain /
    d + v with Σ v = 0.

    For a coalition with s features removed and its complement v is fitted to half the difference of
    what the equal shares leave.
    """
    xp, d, box = problem.xp, problem.d, problem.box
    b[...] = box.f_of_rows(problem.baseline)
    gain = box.f_of_rows(problem.x) - b
    w[...] = gain[:, None] / d
    for rows, blocks in zone.groups():
        fit = LeastSquares(xp, "sum_zero", ridge, zone.sampled)
        rest, total = xp.zeros(rows.stop - rows.start), 0.0
        for block in blocks:
            first, second = block.evaluate(box.f), block.evaluate(box.f, flip=True)
            half = (first - second - gain[rows, None] * (1 - 2 * block.removed_size / d)) / 2
            mean = (first + second - 2 * b[rows, None] - gain[rows, None]) / 2
            rest = rest + (block.weight * mean**2).sum(axis=1)
            total = total + block.weight.sum(axis=1)
            fit.add(block.offsets(), block.weight, half, block.origin, block.unseen)
        v, _, losses[rows], errors[rows] = fit.result()
        w[rows] += v - v.mean(axis=1, keepdims=True)
        losses[rows] += rest / total


def _mean_gradient(problem, zone, kernel, w, b, losses, errors):
    xp, box = problem.xp, problem.box
    b[...] = box.f_of_rows(problem.x)
    factor = problem.difference if zone.multiplicative else xp.ones((problem.n, problem.d))
    for rows, blocks in zone.groups():
        fit = MeanGradient(xp, factor[rows])
        for block in blocks:
            weight = _weights(block, kernel)
            memory = problem.offsets(math.prod(block.shape)).reshape(*block.shape, -1)
            fit.add(
                block.evaluate(box.grad), xp.ones(block.shape) if weight is None else weight, memory
            )
        w[rows], losses[rows], errors[rows] = fit.result(zone.sampled)
    if isinstance(zone, Path):
        losses[...] = xp.abs(w.sum(axis=1) - (b - box.f_of_rows(problem.baseline)))
    if zone.multiplicative:
        b -= w.sum(axis=1)


def occlusion(problem, zone):
    """f(x) - f(x without a feature)."""
    w, b, losses, errors = made = _empty(problem)
    if problem.n:
        b[...] = problem.box.f_of_rows(problem.x)
    for rows, blocks in zone.groups():
        w[rows] = b[rows, None] - problem.xp.concatenate(
            [block.evaluate(problem.box.f) for block in blocks], axis=1
        )
    b -= w.sum(axis=1)
    return made


def gradient_at(problem, multiplicative):
    """The gradient at x, times x - baseline where it is by the multiplier."""
    w, b, losses, errors = made = _empty(problem)
    size = problem.box.batch_size
    if problem.n:
        b[...] = problem.box.f_of_rows(problem.x)
    for begin in range(0, problem.n, size):
        rows = slice(begin, begin + size)
        w[rows] = problem.box.grad(problem.x[rows].copy())
    if multiplicative:
        w *= problem.difference
        b -= w.sum(axis=1)
    return made


def score(problem, zone, loss, kernel, models):
    """(k, n): the mean losses of models (attributions, intercepts, whether they multiply x -
    baseline) on the same samples."""
    xp, box = problem.xp, problem.box
    scores = xp.zeros((len(models), problem.n))
    if not scores.size:
        return scores
    models = [_in_coordinates(problem, zone.multiplicative, *model) for model in models]
    at_x = box.f_of_rows(problem.x) if loss == "difference" else None
    for rows, blocks in zone.groups():
        total = 0.0
        for block in blocks:
            weight = _weights(block, kernel)
            weight = xp.ones(block.shape) if weight is None else weight
            total = total + weight.sum(axis=1)
            values = block.evaluate(box.grad if loss == "gradient_matching" else box.f)
            for k, (w, b) in enumerate(models):
                scores[k, rows] += (
                    weight * _squared_residual(problem, zone, block, rows, loss, values, at_x, w, b)
                ).sum(axis=1)
        scores[:, rows] /= _checked_total(xp, total)
    return scores


@quiet
def _squared_residual(problem, zone, block, rows, loss, values, at_x, w, b):
    """(R, J): what the loss squares; `values` are those of f, or its gradients."""
    w, xp = w[rows], problem.xp
    if loss == "gradient_matching":
        away = values * problem.difference[rows, None] if zone.multiplicative else values
        away = xp.subtract(
            away, w[:, None], out=problem.offsets(len(block.points)).reshape(values.shape)
        )
        return xp.einsum("rjd,rjd->rj", away, away)
    if loss == "difference":
        at_origin = at_x[rows] + (w * (block.origin - float(zone.multiplicative))).sum(axis=1)
    else:
        at_origin = b[rows] + (w * block.origin).sum(axis=1)
    return (values - at_origin[:, None] - block.dot(w)) ** 2


@quiet
def _in_coordinates(problem, multiplicative, w, b, is_multiplicative):
    """The same function of u in the coordinates of the neighborhood, its value at x being kept."""
    xp = problem.xp
    if multiplicative == is_multiplicative:
        return w, b
    if multiplicative:
        contributions = w * problem.difference
        return contributions, b - contributions.sum(axis=1)
    moves = problem.difference != 0
    return xp.where(moves, w / xp.where(moves, problem.difference, 1.0), 0.0), b + w.sum(axis=1)


def _weights(block, kernel):
    """The samples' weights (R, J), None where all are 1."""
    if kernel is None or kernel == "shapley":
        return block.weight
    distance = block.squared_distance()
    if callable(kernel):
        xp, made = block.xp, returned("kernel", kernel(distance.copy()), distance)
        if made.shape != distance.shape or not bool((xp.isfinite(made) & (made >= 0)).all()):
            raise ValueError(
                f"kernel must return finite weights >= 0 of shape {distance.shape} (got shape "
                f"{made.shape})"
            )
        made = made.astype(np.float64)
    else:
        with np.errstate(all="ignore"):
            made = block.xp.exp(-distance / kernel**2)
    return made if block.weight is None else made * block.weight


def _checked_total(xp, total):
    """The sum of the weights of each row, once all samples are in."""
    if not bool((total > 0).all()):
        raise ValueError(
            f"kernel must give each row weights that are not all 0 (got {int((total <= 0).sum())} "
            f"rows where it is too narrow "
            "for the distances from x)"
        )
    return total


# --- sums over the samples ------------------------------------------------------------------------


class Moments(NamedTuple):
    """Weighted sums over offsets e (d,) and targets t: of 1, e, e eᵀ, t, t e, t²; one for each
    row."""

    weight: object
    first: object
    second: object
    target: object
    cross: object
    square: object


class LeastSquares:
    """Minimizes Σ weight (t - level - w·e)² + ridge |w|², coordinates being c = origin + e.

    Parameters
    ----------
    constraint : {"intercept", "none", "sum_zero"}
        The level is free; the model is w·c; or it is w·e with Σ w = 0.
    """

    def __init__(self, xp, constraint, ridge, sampled):
        self.xp, self.constraint, self.ridge, self.sampled = xp, constraint, ridge, sampled
        self.sums = self.shift = self.spread = self.solved = None

    @quiet
    def add(self, offsets, weight, target, origin, unseen=None):
        """One block: offsets (R, J, d), which are used up; weight (R, J) or None; target (R, J)."""
        xp = self.xp
        self.origin = origin + xp.zeros((len(offsets), offsets.shape[2]))
        root = xp.ones(target.shape) if weight is None else xp.sqrt(weight)
        if self.shift is None:
            self.shift = (
                _weighted_mean(xp, target, root**2)
                if self.constraint == "intercept"
                else xp.zeros(len(target))
            )
        target = (target - self.shift[:, None]) * root
        if weight is not None:
            offsets *= root[..., None]
        sums = (
            *_moments(xp, offsets, root),
            (root * target).sum(axis=1),
            _along(xp, target, offsets),
            (target * target).sum(axis=1),
        )
        self.sums = (
            Moments(*sums)
            if self.sums is None
            else Moments(*(a + b for a, b in zip(self.sums, sums, strict=True)))
        )
        if self.sampled:
            level, w, *_ = self.solved = self._solve()
            residual = target - root * level[:, None] - xp.matmul(offsets, w[..., None])[..., 0]
            if unseen is not None:
                residual *= xp.sqrt(unseen)
            offsets *= residual[..., None]
            spread = _moments(xp, offsets, residual * root)
            self.spread = (
                spread
                if self.spread is None
                else tuple(a + b for a, b in zip(self.spread, spread, strict=True))
            )

    def _constrained(self, weight, first, second):
        """Σ weight c cᵀ of the coordinates that the constraint leaves."""
        xp = self.xp
        if self.constraint == "sum_zero":
            a = second - second.mean(axis=1, keepdims=True)
            return a - a.mean(axis=2, keepdims=True)
        mixed = _outer(first + weight[:, None] / 2 * self.center, self.center)
        return second + mixed + xp.swapaxes(mixed, 1, 2)

    def _normal(self):
        """The matrix and the right-hand side of the normal equations."""
        m = self.sums
        if self.constraint == "sum_zero":
            return self._constrained(m.weight, m.first, m.second), m.cross - m.cross.mean(
                axis=1, keepdims=True
            )
        self.center = (
            -m.first / _nonzero(self.xp, m.weight)[:, None]
            if self.constraint == "intercept"
            else self.origin
        )
        return self._constrained(m.weight, m.first, m.second), m.cross + self.center * m.target[
            :, None
        ]

    def _solve(self):
        """Value at e = 0, w, the inverse of the normal matrix, the normal matrix, the right-hand
        side."""
        xp, m = self.xp, self.sums
        a, q = self._normal()
        d = a.shape[1]
        full = a
        # the direction that the constraint takes away gets an ordinary size
        if self.constraint == "sum_zero":
            full = full + (xp.trace(a, axis1=1, axis2=2) / max(d - 1, 1))[:, None, None] / d
        if self.ridge:
            full = full + self.ridge * xp.eye(d)
        inverse = _inverse(xp, full)
        w = xp.matmul(inverse, q[..., None])[..., 0]
        if self.constraint == "intercept":
            level = (m.target - (w * m.first).sum(axis=1)) / _nonzero(xp, m.weight)
        else:
            level = (self.origin * w).sum(axis=1) if self.constraint == "none" else xp.zeros(len(w))
        return level, w, inverse, a, q

    @quiet
    def result(self):
        """w (R, d), the value at e = 0 (R,), the mean squared residual (R,), the standard error of
        w (R, d)."""
        xp, m = self.xp, self.sums
        _checked_total(xp, m.weight)
        level, w, inverse, a, q = self.solved or self._solve()
        square = m.square - (m.target**2 / m.weight if self.constraint == "intercept" else 0)
        loss = (
            square - 2 * (w * q).sum(axis=1) + (w * xp.matmul(a, w[..., None])[..., 0]).sum(axis=1)
        )
        loss = xp.where(loss < 0, 0.0, loss) / m.weight
        if not self.sampled:
            return w, level + self.shift, loss, xp.zeros(w.shape)
        variance = (xp.matmul(inverse, self._constrained(*self.spread)) * inverse).sum(axis=2)
        return w, level + self.shift, loss, xp.sqrt(xp.where(variance < 0, 0.0, variance))


class MeanGradient:
    """The weighted mean of gradients, which minimizes Σ weight |gradient - w|²; `factor` (R, d) is
    the chain rule's."""

    def __init__(self, xp, factor):
        self.xp, self.factor, self.shift, self.sums = xp, factor, None, None

    @quiet
    def add(self, gradients, weight, memory):
        """One block: gradients (R, J, d), weight (R, J), and memory of the gradients' shape, which
        may be theirs."""
        xp = self.xp
        if self.shift is None:
            self.shift = gradients.mean(axis=1, dtype=np.float64)
        away = xp.subtract(gradients, self.shift[:, None], out=memory)
        weights = xp.stack((weight, weight**2), axis=1)
        first = xp.matmul(weights, away)
        away *= away
        sums = weights.sum(axis=2)[..., None], first, xp.matmul(weights, away)
        self.sums = (
            sums
            if self.sums is None
            else tuple(a + b for a, b in zip(self.sums, sums, strict=True))
        )

    @quiet
    def result(self, sampled):
        """w (R, d), the mean squared distance of the gradients (R,), the standard error of w (R,
        d)."""
        total, first, second = self.sums
        _checked_total(self.xp, total[:, 0, 0])
        mean = first[:, :1] / total[:, :1]
        # with weights, and with squared weights
        around = second - 2 * mean * first + mean**2 * total
        around = self.xp.where(around < 0, 0.0, around) * self.factor[:, None] ** 2
        w = self.factor * (self.shift + mean[:, 0])
        error = self.xp.sqrt(around[:, 1]) / total[:, 0]
        return (
            w,
            around[:, 0].sum(axis=1) / total[:, 0, 0],
            error if sampled else self.xp.zeros(w.shape),
        )


def _weighted_mean(xp, t, weight):
    return (t * weight).sum(axis=1) / _nonzero(xp, weight.sum(axis=1))


def _nonzero(xp, total):
    """A sum of weights to divide by; 1 where all weights so far are 0."""
    return xp.where(total > 0, total, 1.0)


def _outer(a, b):
    return a[:, :, None] * b[:, None, :]


def _moments(xp, e, root):
    """Weighted sums of 1, e and e eᵀ, where e comes multiplied by the root of its weight."""
    return (root * root).sum(axis=1), _along(xp, root, e), xp.matmul(xp.swapaxes(e, 1, 2), e)


def _along(xp, v, e):
    return xp.matmul(v[:, None], e)[:, 0]


def _inverse(xp, a):
    """Inverses of symmetric matrices (R, d, d), of singular ones the inverse on their range: the
    smallest of several solutions.

    Scaled to a unit diagonal. Matrices with NaN or infinities give NaN.
    """
    scale = xp.sqrt(xp.diagonal(a, axis1=1, axis2=2))
    scale = xp.where(scale > 0, scale, 1.0)
    scaled = a / _outer(scale, scale)
    good = xp.isfinite(scaled).all(axis=(1, 2))
    scaled = xp.where(good[:, None, None], scaled, xp.eye(a.shape[1]))
    limit = 1e-13 * a.shape[1]
    try:
        inverse = xp.linalg.inv(scaled)
        regular = bool(
            (
                xp.isfinite(inverse).all(axis=(1, 2))
                & (xp.abs(inverse).max(axis=(1, 2)) * limit < 1)
            ).all()
        )
    except np.linalg.LinAlgError:
        regular = False
    if not regular:
        values, vectors = xp.linalg.eigh(scaled)
        kept = values > limit * values[:, -1:]
        inverse = xp.matmul(
            vectors * (kept / xp.where(kept, values, 1.0))[:, None], xp.swapaxes(vectors, 1, 2)
        )
    return xp.where(good[:, None, None], inverse, np.nan) / _outer(scale, scale)
