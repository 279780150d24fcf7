"""Neighborhoods of the explanations: where a black box is evaluated around each row of x, in
batches over all rows.

A neighborhood gives blocks of samples. A block covers J samples of each of R rows of x, or a part
of the samples of one row where these do not fit into a batch. All random numbers are words of
Philox at the number of the sample, so that samples do not depend on how they are cut into batches.
"""

import itertools
import math

import numpy as np

from ...dispatch import CPU, device_of, namespace_of
from ...random import generator_from_rng, key_from_rng, philox_uint32
from .kernels import draw_coalitions, gaussian_points, mask_points, mask_sums
from .shapley import stratified_sizes

ALL_BITS = 2**64 - 1
# results show what overflowed; around our own arithmetic only, never around the user's functions
quiet = np.errstate(all="ignore")


def returned(name, value, like, what="real numbers"):
    """What a user's function returned, as an array of real numbers on the device of `like`."""
    if device_of(value) is None and value is not None:
        value = np.asarray(value)
    if value is None or value.dtype.kind not in "fiub":
        got = "None" if value is None else value.dtype
        raise TypeError(f"{name} must return {what} (got {got})")
    here, there = device_of(like) or CPU, device_of(value)
    if here is not there:
        raise TypeError(f"{name} must return an array on {here.name} (got one on {there.name})")
    return value


class BlackBox:
    """f, as float64, and its gradient: results are checked, rows are counted."""

    def __init__(self, f, grad, batch_size):
        self._f, self._grad, self.batch_size, self.n_evaluations = f, grad, batch_size, 0

    def f(self, points):
        # a copy: f may return a part of the points
        return self._call("f", self._f, points, points.shape[:1]).astype(np.float64)

    def grad(self, points):
        return self._call("grad", self._grad, points, points.shape)

    def _call(self, name, function, points, shape):
        y = returned(name, function(points), points)
        self.n_evaluations += len(points)
        if y.shape != shape:
            raise ValueError(
                f"{name} must return shape {shape} for points of shape {points.shape} (got "
                f"{y.shape})"
            )
        return y

    def f_of_rows(self, rows):
        """f of the rows of x or of the baseline, in batches."""
        return namespace_of(rows).concatenate(
            [
                self.f(rows[i : i + self.batch_size].copy())
                for i in range(0, len(rows), self.batch_size)
            ]
        )


class Problem:
    """The rows x that are explained, their baseline, the black box, and the memory of one batch."""

    @quiet
    def __init__(self, xp, x, baseline, box, rng):
        self.xp, self.x, self.baseline, self.box, self.rng = xp, x, baseline, box, rng
        self.n, self.d = x.shape
        self.words = -(-self.d // 64)
        self.key = key_from_rng(rng)
        self.difference = x.astype(np.float64) - baseline.astype(np.float64)
        self._memory, self.largest = {}, 0

    def memory(self, name, rows, dtype):
        """(rows, d) of an array that later blocks use again."""
        held = self._memory.get(name)
        if held is None or len(held) < rows:
            held = self._memory[name] = self.xp.empty((max(rows, self.largest), self.d), dtype)
        return held[:rows]

    def points(self, rows):
        return self.memory("points", rows, self.x.dtype)

    def offsets(self, rows):
        """Float64 memory for the coordinates of a block whose points are no longer needed."""
        return (
            self.points(rows)
            if self.x.dtype == np.float64
            else self.memory("offsets", rows, np.float64)
        )

    def groups(self, samples, evaluations=1):
        """Slices of rows with the slices of their samples that fit into a batch."""
        room = max(1, self.box.batch_size // evaluations)
        rows = max(1, room // max(samples, 1))
        parts = max(1, -(-samples // room))
        cuts = [samples * i // parts for i in range(parts + 1)]
        self.largest = min(rows, self.n) * -(-samples // parts)  # memory for all blocks
        for begin in range(0, self.n, rows):
            yield (
                slice(begin, min(begin + rows, self.n)),
                [slice(a, b) for a, b in itertools.pairwise(cuts)],
            )


# --- blocks ---------------------------------------------------------------------------------------


class DenseBlock:
    """J points for each of R rows, with offsets (R, J, d): the coordinates of the linear model less
    their `origin`. Weights (R, J) or None.

    `offsets()` is memory that its caller may use up, after the points.
    """

    def __init__(self, problem, points, offsets, weight, squared_distance, origin=0.0):
        self.xp, self.points, self.weight = problem.xp, points, weight
        self.shape, self._offsets = offsets.shape[:2], offsets
        self.squared_distance, self.origin = squared_distance, origin

    def evaluate(self, function):
        values = function(self.points)
        return values.reshape(*self.shape, *values.shape[1:])

    def offsets(self):
        return self._offsets

    def dot(self, w):
        return self.xp.matmul(self._offsets, w[..., None])[..., 0]


class MaskBlock:
    """Samples with some features removed; their offsets are -1 where a feature is removed, else
    0."""

    origin = 1.0

    def __init__(self, problem, rows, removed, weight=None):
        self.problem, self.rows, self.removed, self.weight = problem, rows, removed, weight
        self.xp, count = problem.xp, rows.stop - rows.start
        self.shape = (count, len(removed) // count)

    def evaluate(self, function, flip=False):
        """A function of the points with these features removed, or just all others."""
        x, baseline = self.problem.x[self.rows], self.problem.baseline[self.rows]
        self.points = self.problem.points(len(self.removed))
        mask_points(self.removed, x, baseline, self.points, self.shape[1], ALL_BITS if flip else 0)
        values = function(self.points)
        return values.reshape(*self.shape, *values.shape[1:])

    def offsets(self):
        made, xp, d = self.problem.offsets(len(self.removed)), self.xp, self.problem.d
        mask_points(self.removed, xp.zeros((1, d)), xp.full((1, d), -1.0), made, len(made), 0)
        return made.reshape(*self.shape, -1)

    def dot(self, w):
        sums = self.xp.empty(len(self.removed))
        mask_sums(self.removed, self.xp.ascontiguousarray(w), sums, self.shape[1])
        return -sums.reshape(*self.shape)

    @quiet
    def squared_distance(self):
        return -self.dot(self.problem.difference[self.rows] ** 2)


# --- neighborhoods -------------------------------------------------------------------------------


class Gaussian:
    """x + ξ, ξ normal with standard deviation `scale` in every feature."""

    multiplicative, sampled = False, True

    def __init__(self, problem, n_samples, scale):
        self.problem, self.n_samples, self.scale = problem, n_samples, scale

    def groups(self):
        for rows, parts in self.problem.groups(self.n_samples):
            yield rows, (self._block(rows, part) for part in parts)

    def _block(self, rows, part):
        problem, count = self.problem, part.stop - part.start
        x = problem.x[rows]
        points = problem.points(len(x) * count)
        offsets = problem.memory("offsets", len(points), np.float64)
        gaussian_points(
            x,
            points,
            offsets,
            self.scale,
            count,
            rows.start * self.n_samples + part.start,
            *problem.key,
        )
        offsets = offsets.reshape(len(x), count, -1)
        return DenseBlock(
            problem,
            points,
            offsets,
            None,
            lambda: problem.xp.einsum("rjd,rjd->rj", offsets, offsets),
        )


class Path:
    """baseline + a (x - baseline) with one a for all features, at the midpoints of n_samples parts
    of [0, 1]."""

    multiplicative, sampled = True, False

    def __init__(self, problem, n_samples):
        self.problem, self.n_samples = problem, n_samples

    def groups(self):
        for rows, parts in self.problem.groups(self.n_samples):
            yield rows, (self._block(rows, part) for part in parts)

    @quiet
    def _block(self, rows, part):
        problem, xp = self.problem, self.problem.xp
        offset = (xp.arange(part.start, part.stop) + 0.5) / self.n_samples - 1
        x, count = problem.x[rows], len(offset)
        points = problem.points(len(x) * count)
        steps = points.reshape(len(x), count, -1)
        xp.multiply(
            problem.difference[rows].astype(x.dtype)[:, None],
            offset.astype(x.dtype)[:, None],
            out=steps,
        )
        steps += x[:, None]
        shape = (len(x), count, problem.d)
        length = xp.einsum("rd,rd->r", problem.difference[rows], problem.difference[rows])
        return PathBlock(problem, points, offset, shape, lambda: length[:, None] * offset**2)


class PathBlock(DenseBlock):
    """The offsets of a path are the same in all features, and are made only where they are asked
    for."""

    origin = 1.0

    def __init__(self, problem, points, offset, shape, squared_distance):
        self.xp, self.problem, self.points, self.offset = problem.xp, problem, points, offset
        self.shape, self.weight, self.squared_distance = shape[:2], None, squared_distance

    def offsets(self):
        made = self.problem.offsets(len(self.points)).reshape(*self.shape, -1)
        made[...] = self.offset[:, None]
        return made

    def dot(self, w):
        return w.sum(axis=1)[:, None] * self.offset


class Masks:
    """x with features removed: all subsets once, random subsets, or one feature at a time."""

    multiplicative = True

    def __init__(self, problem, kind, n_samples=0, with_x=True):
        self.problem, self.kind, self.with_x = problem, kind, with_x
        self.sampled = kind == "random"
        self.n_samples = (
            2**problem.d if kind == "all" else n_samples if kind == "random" else problem.d + with_x
        )

    def groups(self):
        make = {"all": self._all, "random": self._random, "single": self._single}[self.kind]
        for rows, parts in self.problem.groups(self.n_samples):
            yield rows, (MaskBlock(self.problem, rows, make(rows, part)) for part in parts)

    def _all(self, rows, part):
        xp = self.problem.xp
        return xp.tile(xp.arange(part.start, part.stop, dtype=np.uint64), rows.stop - rows.start)[
            :, None
        ]

    def _random(self, rows, part):
        """Two 32-bit words for each 64 features; whole counters to each sample."""
        xp, words = self.problem.xp, self.problem.words
        counters, count = -(-words // 2), (rows.stop - rows.start) * (part.stop - part.start)
        first = (rows.start * self.n_samples + part.start) * counters
        bits = philox_uint32((count, 4 * counters), key=self.problem.key, offset=first, xp=xp).view(
            np.uint64
        )[:, :words]
        last = np.full(words, ALL_BITS, np.uint64)
        last[-1] >>= np.uint64(64 * words - self.problem.d)
        return xp.ascontiguousarray(bits & xp.asarray(last))

    def _single(self, rows, part):
        feature = np.arange(part.start, part.stop) - self.with_x  # -1 removes none
        removed = np.zeros((len(feature), self.problem.words), np.uint64)
        at = feature >= 0
        removed[at, feature[at] // 64] = np.uint64(1) << (feature[at] % 64).astype(np.uint64)
        return self.problem.xp.asarray(np.tile(removed, (rows.stop - rows.start, 1)))


class Coalitions:
    """Pairs of a coalition and its complement with the weights of the Shapley kernel, stratified by
    size and within each size.

    Of size s, m_s of the C_s coalitions are taken, one from each of m_s equal parts of their
    lexicographic order, with equal weights that sum to that of the size. Sizes with m_s = C_s are
    enumerated.
    """

    multiplicative = True

    def __init__(self, problem, pairs):
        self.problem, d = problem, problem.d
        taken, there = stratified_sizes(d, min(pairs, 2 ** (d - 1) - 1))
        self.n_samples = sum(taken)
        self.sampled = taken != there
        sizes = range(1, len(taken) + 1)
        # of the size d / 2 only those that contain the first feature
        half = [0.5 if 2 * s == d else 1.0 for s in sizes]
        self._ends, self._taken, self._half = np.cumsum(taken), np.array(taken), np.array(half)
        weight = [
            2 * h * (d - 1) / (s * (d - s)) / max(m, 1)
            for s, m, h in zip(sizes, taken, half, strict=True)
        ]
        self._weight = np.array(weight)
        self._unseen = np.array([1 - m / c for m, c in zip(taken, there, strict=True)])
        self._stride = next(
            (
                k
                for k in range(int(0.618 * self.n_samples) + 1, 2 * self.n_samples + 2)
                if math.gcd(k, self.n_samples) == 1
            ),
            1,
        )  # every part of the samples has coalitions of all sizes

    def groups(self):
        for rows, parts in self.problem.groups(self.n_samples, 2) if self.n_samples else ():
            yield rows, (self._block(rows, part) for part in parts)

    def _block(self, rows, part):
        """A block of coalitions with their sizes, and the shares of the coalitions that are not
        taken."""
        problem, xp = self.problem, self.problem.xp
        at = np.arange(part.start, part.stop) * self._stride % self.n_samples
        stratum = np.searchsorted(self._ends, at, side="right")
        taken, half = self._taken[stratum], self._half[stratum]
        enumerated = self._unseen[stratum] == 0
        place = at - (self._ends - self._taken)[stratum]
        low, width = half * (place + 0.5 * enumerated) / taken, half * ~enumerated / taken
        removed = xp.empty(((rows.stop - rows.start) * len(at), problem.words), np.uint64)
        draw_coalitions(
            *(xp.asarray(a) for a in (stratum + 1, low, width)),
            removed,
            problem.d,
            rows.start * self.n_samples + part.start,
            *problem.key,
        )
        block = MaskBlock(
            problem,
            rows,
            removed,
            xp.asarray(np.tile(self._weight[stratum], (rows.stop - rows.start, 1))),
        )
        block.removed_size, block.unseen = (
            xp.asarray(stratum + 1.0),
            xp.asarray(self._unseen[stratum]),
        )
        return block


class Custom:
    """A user's function ``(rng, x, n_samples) -> (points, coordinates, weights)``, called for one
    row after the other."""

    multiplicative, sampled = False, True

    def __init__(self, problem, n_samples, function):
        self.problem, self.n_samples, self.function = problem, n_samples, function
        self.generator = generator_from_rng(np.random.SeedSequence(problem.key))

    def groups(self):
        for row in range(self.problem.n):
            yield slice(row, row + 1), self._blocks(self.problem.x[row])

    def _blocks(self, x):
        xp, (points, coordinates, weights) = self._checked(
            x, self.function(self.generator, x.copy(), self.n_samples)
        )
        origin = xp.matmul(weights, coordinates) / weights.sum()
        for begin in range(0, len(points), self.problem.box.batch_size):
            part = slice(begin, begin + self.problem.box.batch_size)
            away = points[part].astype(np.float64) - x.astype(np.float64)
            yield DenseBlock(
                self.problem,
                points[part].copy(),
                (coordinates[part] - origin)[None],
                weights[None, part],
                lambda away=away: (away * away).sum(axis=1)[None],
                origin[None],
            )

    def _checked(self, x, result):
        if not isinstance(result, tuple) or len(result) != 3:
            raise TypeError(
                f"neighborhood must return (points, coordinates, weights) (got "
                f"{type(result).__name__})"
            )
        xp, names = namespace_of(x), ("points", "coordinates", "weights")
        points, coordinates, weights = arrays = [
            returned("neighborhood", array, x, f"{name} of real numbers")
            for name, array in zip(names, result, strict=True)
        ]
        for name, array in zip(names, arrays, strict=True):
            shape = (len(points) if points.ndim else 0, *(() if name == "weights" else x.shape))
            if array.shape != shape or not array.size:
                raise ValueError(
                    f"neighborhood must return {name} of shape (m, {len(x)}), weights (m,) (got "
                    f"{array.shape})"
                )
            if not bool(xp.isfinite(array).all()):
                raise ValueError(f"neighborhood must return finite {name}")
        if bool((weights < 0).any()) or not bool((weights > 0).any()):
            raise ValueError(
                f"neighborhood must return weights >= 0 that are not all 0 (got "
                f"{float(weights.min())})"
            )
        return xp, (
            xp.ascontiguousarray(points.astype(x.dtype)),
            coordinates.astype(np.float64),
            weights.astype(np.float64),
        )
