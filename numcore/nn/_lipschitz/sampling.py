"""Lower bounds of Lipschitz constants, from points that are tried."""

from .task import ENTRIES

CLIMBS, CLIMBERS = 4, 4  # steps from a sampled point to a corner of the box, and points that climb


def sampled(network, last, x0, eps, samples, rng):
    """(boxes,): the largest row sum of |J| at the middle, at random points, and at corners that the
    best of these climb to."""
    xp, (boxes, n) = network.xp, x0.shape
    widest = max([len(last) * max(op.shape[1], 1) for op in network.operators]) * max(boxes, 1)
    step = max(1, ENTRIES // max(widest, 1))
    points = x0[:, None]
    best, _ = _steepest(network, last, points)
    for first in range(0, samples, step):
        more = (
            xp.asarray(rng.uniform(-1.0, 1.0, (min(step, samples - first), boxes, n))).swapaxes(
                0, 1
            )
            * eps[:, None]
            + x0[:, None]
        )
        points = xp.concatenate([points, more], axis=1)
        best = xp.concatenate([best, _steepest(network, last, more)[0]], axis=1)
        order = xp.argsort(-best, axis=1)[:, :CLIMBERS]
        points = xp.take_along_axis(points, order[..., None], axis=1)
        best = xp.take_along_axis(best, order, axis=1)
    for _ in range(CLIMBS if samples else 0):
        _, row = _steepest(network, last, points)
        points = x0[:, None] + xp.sign(row) * eps[:, None]
        best = xp.maximum(best, _steepest(network, last, points)[0])
    return best.max(axis=1, initial=0.0)


def _steepest(network, last, points):
    """The largest row sum of |J| at (boxes, m, n) points, and that row of J."""
    xp, shape = network.xp, points.shape
    jacobians = network.gradients(last, points.reshape(shape[0] * shape[1], shape[2])).reshape(
        *shape[:2], len(last), shape[2]
    )
    sums = abs(jacobians).sum(axis=-1)
    sums = xp.where(xp.isfinite(sums), sums, 0.0)  # what overflowed is no bound
    if not len(last):
        return xp.zeros(shape[:2]), points
    row = xp.take_along_axis(jacobians, sums.argmax(axis=2)[..., None, None], axis=2)[:, :, 0]
    return sums.max(axis=2), row
