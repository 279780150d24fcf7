"""Kernels of wide networks: the arc cosine of many products, and a step of gradient descent of many
networks."""

import math

from ...kernel import kernel
from ...simd import TALLEST, asin_tail, dots_2_by_4, gemm_tile, tile_cols, tile_rows

# --- the elementwise part of the kernels ----------------------------------------------------------

# cosines above, in size, are computed again from the difference of the directions
NEAR = 1 - 2.0**-10


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


@kernel(
    "in T x[h, d]; in T residual[p, n, q]; inout T w1[p, d, m]; in T w2[p, q, m]; "
    "out T w2_next[p, q, m]; inout T z[p, h, m]; "
    "out T outputs[b, n, q]; T rate_1; T rate_2; "
    "scratch T step_1[(n+TALLEST)*(q+TALLEST)]; scratch T step_2[(n+TALLEST)*(q+TALLEST)]; "
    "scratch T act[BLOCK*n]; scratch T grad[BLOCK*(n+TALLEST)]; "
    "scratch T weights[BLOCK*(q+TALLEST)]; scratch T sums[2*4]",
    constants=("UNITS", "BLOCK", "TALLEST"),
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
    parts, wide, zero = (m + UNITS - 1) // UNITS, q + TALLEST, rate_1 - rate_1
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
    """c (+)= a b or aᵀ b for a of strides (a_row, a_depth), by tiles; c has room for `TALLEST` more
    rows, and a zeros for them."""
    for i in range(0, rows, tile_rows(a[0])):
        for e in range(0, BLOCK, tile_cols(a[0])):
            at, to = i * a_row, i * BLOCK + e
            gemm_tile(a, at, a_row, a_depth, b, e, BLOCK, c, to, BLOCK, depth, accumulate)


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
            for s in range(2 * 4):
                if i + s // 4 < n and o + s % 4 < q:
                    outputs[i + s // 4, o + s % 4] += sums[s]
