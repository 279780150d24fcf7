"""The singular values of unfolded kernels, and the truncated kernels that follow from them."""

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array
from ...dispatch import namespace_of
from .kernels import gram_eigh

SLAB = 1 << 16  # entries of an unfolding that are processed at once
SAFE_EXPONENT = 50  # kernels whose largest entry is outside 2**±50 are rescaled

# Limits of σ_r² / σ_1² and of the discarded share of the energy. Forming M Mᵀ loses digits: below
# these limits M itself is decomposed.
MIN_KEPT, MIN_CUT = {"float32": 1e-10, "float64": 1e-6}, {"float32": 0.0, "float64": 1e-8}
FLAT_SPECTRUM = 1 / 64  # σ_r / σ_1 above which V = Mᵀ U / σ loses at most two digits in float32

# Axes of (b, n, c, i, j) that form the rows and the columns of each unfolding. For "decouple", the
# output channels are b and n has size 1.
UNFOLDINGS = {
    "channel": ((1,), (2, 3, 4)),
    "spatial": ((2, 3), (1, 4)),
    "decouple": ((1, 2), (3, 4)),
}

SMALL_GRAM = 32  # Gram matrices up to this size are decomposed in batches
WEIGHT, SUBGRADIENT = range(2)

Scheme: TypeAlias = Literal["channel", "spatial", "decouple"]


class TruncatedKernel(NamedTuple):
    """Low-rank kernel: `weight`, its `rank`, all `singular_values` of the original kernel, the
    `subgradient` of the nuclear norm at `weight`, and `relative_error`, the distance to the
    original kernel divided by its norm."""

    weight: Array
    rank: int
    singular_values: Array
    subgradient: Array
    relative_error: float


def decomposed(w, scheme, rules):
    """The decomposition of a kernel, the rule that determines its rank, and the exponent of its
    scale."""
    xp = namespace_of(w)
    rule = _rule(Decomposition(xp, w, scheme).smaller_side, rules)
    w, exponent = scaled(xp, w)
    decomposition = Decomposition(xp, w, scheme)
    solve([decomposition])
    return decomposition, rule, exponent


def scaled(xp, w):
    """(w, 0), or (w 2**-e, e) if squares might overflow or underflow."""
    largest = max(abs(float(w.max())), abs(float(w.min())))
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= SAFE_EXPONENT or not largest:
        return w, 0
    return xp.ldexp(w, -exponent), exponent


def _rule(smaller_side, rules):
    """The name and the value of the only rule given."""
    given = [name for name, value in rules.items() if value is not None]
    if len(given) != 1:
        got = ", ".join(given) or "none"
        raise ValueError(f"exactly one of {', '.join(rules)} must be given (got {got})")
    name, value = given[0], rules[given[0]]
    if name == "rank" and value > smaller_side:
        raise ValueError(f"rank must be <= {smaller_side}, the smaller side (got {value})")
    if name == "ratio":  # 0.29 · 100 is 28.999999999999996
        return "rank", max(1, int(value * smaller_side * (1 + 1e-12)))
    return name, value


class Decomposition:
    """Singular values of an unfolded kernel, or of a stack of b of them, and singular vectors U of
    the shorter side.

    `short_axes` are the axes of w[b, n, c, i, j] that form the shorter side of M, `long_axes` those
    of the longer one. M is processed in slabs along the first of the latter, so that no unfolded
    copy of w is needed.
    """

    def __init__(self, xp, w, scheme):
        self.xp, self.w, self.scheme = xp, w, scheme
        self.shape = w.shape if w.ndim == 4 else (*w.shape, 1, 1)
        n, *rest = self.shape
        self.stack = (n, 1, *rest) if scheme == "decouple" else (1, n, *rest)
        rows, columns = UNFOLDINGS[scheme]
        self.flipped = self._size(rows) > self._size(columns)
        self.short_axes, self.long_axes = (columns, rows) if self.flipped else (rows, columns)
        self.smaller_side, self.larger_side = (
            self._size(self.short_axes),
            self._size(self.long_axes),
        )
        self.exact = {}  # Vᵀ of the matrices that were decomposed directly

    def _size(self, axes):
        return math.prod(self.stack[axis] for axis in axes)

    def slabs(self):
        """Yield (index of w[b, n, c, i, j], columns of M) for each slab."""
        axis, whole = self.long_axes[0], math.prod(self.stack)
        length, tail = self.stack[axis], self._size(self.long_axes[1:])
        step = max(1, SLAB * length // whole)
        for first in range(0, length, step):
            end = min(first + step, length)
            yield (slice(None),) * axis + (slice(first, end),), slice(first * tail, end * tail)

    def _unfolded(self, index, dtype=np.float64):
        """The unfolded matrices (b, m, p) of a part of w."""
        part = (
            self.w.reshape(self.stack)[index]
            .transpose(0, *self.short_axes, *self.long_axes)
            .astype(dtype, order="C", copy=False)
        )
        return part.reshape(len(part), self.smaller_side, -1)

    def gram(self):
        total = 0
        for index, _ in self.slabs():
            m = self._unfolded(index)
            total = m @ m.swapaxes(1, 2) + total
        return total

    def solve_stack(self):
        """Singular values and vectors of many small matrices by one kernel."""
        xp, (b, m) = self.xp, (self.stack[0], self.smaller_side)
        energies, vectors = xp.empty((b, m)), xp.empty((b, m, m))
        matrices = self._stacked()
        gram_eigh(
            xp.ascontiguousarray(matrices if self.flipped else matrices.swapaxes(1, 2)),
            energies,
            vectors,
        )
        self.set_eigenpairs(energies, vectors)

    def _stacked(self):
        """The matrices of "decouple", (n, c, kh kw)."""
        return self.w.reshape(self.stack[0], self.stack[2], -1)

    def set_eigenpairs(self, energies, vectors):
        """Set singular values and vectors from the eigenvalues, descending, and eigenvectors of the
        Gram matrices."""
        self.sigma, self.u = self.xp.sqrt(self.xp.maximum(energies, 0)), vectors

    def decide(self, rule, value, exponent=0):
        """The rank by a rule and the relative error. Matrices for which M Mᵀ is too inaccurate are
        first decomposed directly."""
        if rule == "threshold":
            with np.errstate(over="ignore", under="ignore"):
                value = float(np.ldexp(value, -exponent))
        inaccurate = True
        while inaccurate:
            r = self._rank(rule, value)
            inaccurate = [
                i
                for i in self.xp.nonzero(self._inaccurate(r, rule, value))[0].tolist()
                if i not in self.exact
            ]
            self._decompose(inaccurate)
        squares = self.sigma**2
        total = float(squares.sum())
        return (r, math.sqrt(float(squares[:, r:].sum()) / total)) if total else (1, 0.0)

    def _rank(self, rule, value):
        xp, sigma = self.xp, self.sigma
        if rule == "rank":
            return value
        if rule == "threshold":
            kept = (sigma >= value).sum(axis=1)
        elif value == 1:
            kept = (sigma > self._noise()).sum(axis=1)
        else:
            energy = xp.cumsum(sigma**2, axis=1)
            kept = 1 + (energy < value * energy[:, -1:]).sum(axis=1)
        return max(1, int(kept.max()))

    def _inaccurate(self, r, rule, value):
        """Mask of the matrices whose results from M Mᵀ are inaccurate."""
        squares, dtype = self.sigma**2, self.w.dtype.name
        largest = squares[:, 0]
        smallest = squares[:, r - 1]
        if rule == "threshold":
            smallest = self.xp.minimum(smallest, min(value, 1.0) ** 2)
        inaccurate = smallest < MIN_KEPT[dtype] * largest
        if rule == "energy" and value > 1 - 1e-12:
            inaccurate = largest > 0
        if r < self.smaller_side:
            inaccurate = inaccurate | (
                squares[:, r:].sum(axis=1) < MIN_CUT[dtype] * squares.sum(axis=1)
            )
        return inaccurate & (largest > 0)

    def _noise(self):
        """Singular values up to this size are rounding errors."""
        return np.finfo(np.float64).eps * self.larger_side * self.sigma[:, :1]

    def _decompose(self, indices):
        """Decompose the matrices with these indices directly by SVD."""
        if indices:
            u, sigma, vh = self.xp.linalg.svd(self._unfolded(indices), full_matrices=False)
            self.u = self.u.copy()
            self.u[indices], self.sigma[indices] = u, sigma
            self.exact.update(zip(indices, vh, strict=True))

    def _leading(self, r):
        """U (b, m, r), σ and 1 / σ (b, 1, r), with 0 for 1 / σ where σ is 0; and the dtype in which
        products of w with them are accurate enough."""
        xp, sigma = self.xp, self.sigma[:, None, :r]
        flat = bool((self.sigma[:, r - 1] > FLAT_SPECTRUM * self.sigma[:, 0]).all())
        inverse = (sigma > self._noise()[:, None]) / xp.where(sigma > 0, sigma, 1)
        return self.u[:, :, :r], sigma, inverse, self.w.dtype if flat else np.dtype(np.float64)

    def projected(self, r):
        """For each slab, its index and columns, and the r rows of UᵀM = Σ Vᵀ and of Vᵀ, zero where
        σ = 0."""
        dtype, (u, sigma, inverse, work_dtype) = self.w.dtype, self._leading(r)
        ut, inverse = (part.swapaxes(1, 2).astype(work_dtype, order="C") for part in (u, inverse))
        for index, columns in self.slabs():
            p = ut @ self._unfolded(index, work_dtype)
            for i, vh in self.exact.items():
                p[i] = sigma[i].T * vh[:r, columns]
            yield (
                index,
                columns,
                p.astype(dtype, copy=False),
                (inverse * p).astype(dtype, copy=False),
            )

    def folded(self, r, which=(WEIGHT, SUBGRADIENT)):
        """The truncated kernel and the subgradient U_r V_rᵀ."""
        if self.scheme == "decouple":
            return self._folded_stack(r, which)
        xp, dtype = self.xp, self.w.dtype
        u, results = self.u[:, :, :r].astype(dtype), [xp.empty(self.stack, dtype) for _ in which]
        for index, _, *parts in self.projected(r):
            for k, result in zip(which, results, strict=True):
                view = result[index].transpose(0, *self.short_axes, *self.long_axes)
                view[...] = (u @ parts[k]).reshape(view.shape)
        return [result.reshape(self.w.shape) for result in results]

    def _folded_stack(self, r, which):
        """U_r U_rᵀ M and U_r Σ_r⁻¹ U_rᵀ M, one product per small matrix."""
        xp, (u, sigma, inverse, work_dtype) = self.xp, self._leading(r)
        matrices, results = self._stacked(), []
        step = len(matrices) if work_dtype == matrices.dtype else max(1, SLAB // matrices[0].size)
        for k in which:
            small = (((u * inverse) if k == SUBGRADIENT else u) @ u.swapaxes(1, 2)).astype(
                work_dtype, copy=False
            )
            result = xp.empty(matrices.shape, matrices.dtype)
            for first in range(0, len(small), step):
                factors = (
                    small[first : first + step],
                    matrices[first : first + step].astype(work_dtype, copy=False),
                )
                xp.matmul(
                    *(factors[::-1] if self.flipped else factors), out=result[first : first + step]
                )
            for i, vh in self.exact.items():
                product = (u[i] * ((inverse[i] > 0) if k == SUBGRADIENT else sigma[i])) @ vh[:r]
                result[i] = product.T if self.flipped else product
            results.append(result.reshape(self.w.shape))
        return results

    def factors(self, r):
        """U (b, rows, r), σ (b, r) and Vᵀ (b, r, columns) of M ≈ U diag(σ) Vᵀ."""
        xp, u = self.xp, self.u[:, :, :r]
        vh = xp.empty((self.stack[0], r, self.larger_side), self.w.dtype)
        for _, columns, _, part in self.projected(r):
            vh[:, :, columns] = part
        sigma = xp.where(self.sigma[:, :r] > self._noise(), self.sigma[:, :r], 0)
        return (vh.swapaxes(1, 2), sigma, u.swapaxes(1, 2)) if self.flipped else (u, sigma, vh)

    def truncated(self, rule, value, exponent):
        r, error = self.decide(rule, value, exponent)
        weight, subgradient = self.folded(r)
        with np.errstate(over="ignore", under="ignore"):
            sigma = self.xp.ldexp(self.sigma, exponent).astype(weight.dtype)
            weight = self.xp.ldexp(weight, exponent) if exponent else weight
        return TruncatedKernel(
            weight, r, sigma if self.scheme == "decouple" else sigma[0], subgradient, error
        )


def solve(decompositions):
    """Solve all decompositions; Gram matrices of equal size are decomposed in one call."""
    sizes = {}
    for d in decompositions:
        if d.scheme == "decouple" and d.smaller_side <= SMALL_GRAM:
            d.solve_stack()
        else:
            sizes.setdefault(d.smaller_side, []).append(d)
    for group in sizes.values():
        grams = [d.gram() for d in group]
        energies, vectors = group[0].xp.linalg.eigh(
            group[0].xp.concatenate(grams) if len(grams) > 1 else grams.pop()
        )
        end = 0
        for d in group:
            first, end = end, end + d.stack[0]
            d.set_eigenpairs(energies[first:end, ::-1], vectors[first:end, :, ::-1])
