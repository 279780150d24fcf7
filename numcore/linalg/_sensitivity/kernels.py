"""Kernels of ℓp sensitivities and Lewis weights: bounds on 1 / min ‖Qx‖_p^p subject to cᵀx = 1,
weighted Gram matrices, quadratic forms.

Newton's method on Σ (r² + ε²)^(p/2) / p with r = Qx. For p < 2, ε decreases; for p > 2 it is
negligible, and the power increases up to p. The second derivatives h = (r² + ε²)^(p/2-2) ((p - 1)
r² + ε²) are the weights of a least-squares problem for the step. With the first derivatives g, y =
g + h step has Qᵀy = λ c, so that ‖y / λ‖_q^p is the upper bound; 1 / ‖Qx‖_p^p is the lower bound.
"""

import math

from ...kernel import kernel
from ...simd import TALLEST, dot, gemm_row, gemm_rows, gemm_tile, tile_cols, tile_rows
from ...special import exp, log

LANES = 32  # rows processed side by side by SIMD code
PANEL = 128  # rows of a panel of the Gram matrix
VECTORS = 5  # of a problem: x, the step, two for its equations, and a product
THREADS, TILE = 128, 32  # of a block on a GPU, and the rows that it has in shared memory
MOST_TRIALS, LONGEST = 20, 100.0  # of a line search, and the longest step
# final ε for p < 2, and ε for p >= 2, relative to the largest residual
SHARPEST, UNSMOOTHED = 1e-11, 1e-9
ROUNDING = 1e-15
# the power rises up to p, whenever the predicted decrease is small
FIRST_POWER, RAISE, CLOSE = 3.0, 1.5, 0.1
NEAR = (
    30.0  # bounds are computed once the predicted decrease is below this multiple of the tolerance
)
LEAST_SQUARE = 1e-280  # rows with a smaller squared norm have sensitivity 0


@kernel(
    "in float64 q[n, d]; in float64 columns[d, n]; in float64 c[k, d]; out float64 lower[k]; "
    "out float64 upper[k];"
    " out int64 num_iter[k]; int64 rank; float64 p; float64 tol; int64 max_iter; "
    "scratch float64 residuals[4, n];"
    " scratch float64 panel[PANEL, d]; scratch float64 gram[d, d]; "
    "scratch float64 vectors[VECTORS, d]; scratch float64 lanes[4, LANES]",
    constants=(
        "MOST_TRIALS",
        "LONGEST",
        "SHARPEST",
        "UNSMOOTHED",
        "ROUNDING",
        "FIRST_POWER",
        "RAISE",
        "CLOSE",
        "NEAR",
        "LEAST_SQUARE",
        "PANEL",
        "LANES",
        "VECTORS",
        "THREADS",
        "TILE",
    ),
    split="k",
    gpu="block",
    threads=THREADS,
    shared="8*(d*d+TILE*d+4*d)",
    grain="1",
    twin_tolerance={"float64": 1e-9},
)
def constrained_norms(
    q,
    columns,
    c,
    lower,
    upper,
    num_iter,
    rank,
    p,
    tol,
    max_iter,
    residuals,
    panel,
    gram,
    vectors,
    lanes,
    start,
    stop,
):
    """Bounds on 1 / min ‖Qx‖_p^p subject to cᵀx = 1, for each c. Q has `rank` orthonormal columns;
    it is zero-padded so that n is a multiple of LANES and d a multiple of the register tile's
    columns."""
    for i in range(start, stop):
        lower[i], upper[i], num_iter[i] = solve_one(
            q, columns[:rank], c[i, :rank], p, tol, max_iter, residuals, panel, gram, vectors, lanes
        )


def solve_one(q, columns, c, p, tol, max_iter, residuals, panel, gram, vectors, lanes):
    r, step, g, h = residuals[0], residuals[1], residuals[2], residuals[3]
    x, s = vectors[0, : c.size], vectors[1, : c.size]
    v, b = vectors[2, : c.size], vectors[3, : c.size]
    product = vectors[4]  # as wide as Q
    total = dot(c, c)
    if not total > LEAST_SQUARE:
        return 0.0, 0.0, 0
    products(columns, c, r)
    # the minimizer for p = 2, scaled so that its largest residual is 1
    move(x, c, 0.0, c, 1 / rescale(r, lanes))
    low, high, done, stuck, weighed, slope = 0.0, 1.0, 0, False, False, 0.0
    epsilon, shrink = smoothing(p)
    power = min(p, FIRST_POWER)
    while done < max_iter:
        done += 1
        if not weighed:
            slope, _ = weigh(r, 0.0, r, g, h, power, epsilon, lanes)
        weighted_gram(q, h, c.size, panel, gram)
        transposed_product(q, g, product)
        move(b, product, 0.0, product, 1.0)
        stiffen(gram, c, total)
        cholesky(gram, c.size)
        multiplier = constrained_step(gram, b, c, s, v)
        products(columns, s, step)
        decrease = -dot(b, s)
        last = stuck or done == max_iter
        if last or power == p and decrease <= NEAR * tol * slope:
            constraint = dot(c, x)
            if constraint > 0:
                low = max(
                    low, math.exp(p * math.log(constraint) - math.log(power_sum(r, p, lanes)))
                )
            if multiplier > 0:
                high = min(high, dual_bound(q, g, h, step, c, multiplier, p, product, v, lanes))
            if last or high - low <= tol * high:
                break
        weighed = False
        if p < 2:  # most full steps are good: the next weights show whether this one is
            following = max(SHARPEST, shrink * epsilon)
            slope_after, along = weigh(r, 1.0, step, g, h, p, following, lanes)
            weighed = abs(along) <= 0.5 * decrease
        if weighed:
            move(r, r, 1.0, step, 1.0)
            move(x, x, 1.0, s, 1.0)
            epsilon, slope = following, slope_after
            continue
        t = line_search(r, step, power, epsilon, decrease, slope, lanes)
        stuck = t == 0
        if p < 2 and (t > 0.5 or decrease < 0.01 * epsilon * slope):
            epsilon = max(SHARPEST, shrink * epsilon)
        if decrease < CLOSE * slope:
            power = min(p, RAISE * power)
        move(r, r, t, step, 1.0)
        move(x, x, t, s, 1 / rescale(r, lanes))
    return min(low, high), high, done


def smoothing(p):
    """Initial ε, and its factor after a full step. Near p = 1, decreasing it faster costs steps."""
    if p >= 2:
        return UNSMOOTHED, 1.0
    return (1.0, 0.2) if p < 1.1 else (0.1, 0.1)


# --- vectors --------------------------------------------------------------------------------------


def move(y, x, t, step, scale):
    """y = scale (x + t step)."""
    for j in range(y.size):
        y[j] = scale * (x[j] + t * step[j])


def products(columns, x, y):
    """y = Σ_j x_j columns[j]."""
    for i in range(y.size):
        y[i] = 0
    for j in range(x.size):
        factor, column = x[j], columns[j]
        for i in range(y.size):
            y[i] += factor * column[i]


def transposed_product(q, g, b):
    """b = Qᵀ g."""
    d, cols = b.size, tile_cols(g[0])
    for m in range(0, d - cols + 1, cols):
        gemm_row(g, 0, 1, 1, q, m, d, b, m, d, g.size, 0)


def total_of(sums):
    total = 0.0
    for j in range(LANES):
        total += sums[j]
    return total


def rescale(r, lanes):
    """Divide r by its largest magnitude, and return that."""
    largest = lanes[0]
    for j in range(LANES):
        largest[j] = 0
    for first in range(0, r.size - LANES + 1, LANES):
        for j in range(LANES):
            largest[j] = max(largest[j], abs(r[first + j]))
    top = 0.0
    for j in range(LANES):
        top = max(top, largest[j])
    scale = 1 / top
    for i in range(r.size):
        r[i] *= scale
    return top


# --- powers of residuals --------------------------------------------------------------------------


def power_sum(x, p, lanes):
    """Σ |x|^p."""
    sums = lanes[0]
    for j in range(LANES):
        sums[j] = 0
    for first in range(0, x.size - LANES + 1, LANES):
        if p == 1:
            for j in range(LANES):
                sums[j] += abs(x[first + j])
        else:
            for j in range(LANES):
                sums[j] += exp(p * log(abs(x[first + j])))
    return total_of(sums)


def smooth_powers(smooth, u, half):
    """A separate loop, which the compiler turns into SIMD code."""
    for j in range(LANES):
        u[j] = exp(half * log(smooth[j]))


def weigh(r, t, step, g, h, p, epsilon, lanes):
    """First and second derivatives g, h of Σ (z² + ε²)^(p/2) / p at z = r + t step; returns Σ g z
    and Σ g step."""
    sums, smooth, u, along, square = lanes[0], lanes[1], lanes[2], lanes[3], epsilon * epsilon
    for j in range(LANES):
        sums[j], along[j] = 0, 0
    for first in range(0, r.size - LANES + 1, LANES):
        for j in range(LANES):
            z = r[first + j] + t * step[first + j]
            smooth[j] = z * z + square
        smooth_powers(smooth, u, 0.5 * p - 1)
        for j in range(LANES):
            i = first + j
            z = r[i] + t * step[i]
            g[i] = u[j] * z
            h[i] = u[j] * ((p - 1) * z * z + square) / smooth[j]
            sums[j] += u[j] * z * z
            along[j] += u[j] * z * step[i]
    return total_of(sums), total_of(along)


def slope_at(t, r, step, p, epsilon, lanes):
    """First and second derivative of Σ ((r + t step)² + ε²)^(p/2) / p with respect to t."""
    slopes, smooth, u = lanes[0], lanes[1], lanes[2]
    curvatures, square = lanes[3], epsilon * epsilon
    for j in range(LANES):
        slopes[j], curvatures[j] = 0, 0
    for first in range(0, r.size - LANES + 1, LANES):
        for j in range(LANES):
            z = r[first + j] + t * step[first + j]
            smooth[j] = z * z + square
        smooth_powers(smooth, u, 0.5 * p - 1)
        for j in range(LANES):
            i = first + j
            z = r[i] + t * step[i]
            slopes[j] += u[j] * z * step[i]
            curvatures[j] += u[j] * ((p - 1) * z * z + square) / smooth[j] * step[i] * step[i]
    return total_of(slopes), total_of(curvatures)


def line_search(r, step, p, epsilon, decrease, slope_of_r, lanes):
    """A step length t at which the slope is at most half of that at 0, or the largest one found at
    which the objective still decreases; 1 if the predicted decrease is only a rounding error."""
    if decrease <= ROUNDING * slope_of_r:
        return 1.0
    below, above, t = 0.0, math.inf, 1.0
    for _ in range(MOST_TRIALS):
        slope, curvature = slope_at(t, r, step, p, epsilon, lanes)
        if abs(slope) <= 0.5 * decrease or (slope < 0 and t >= LONGEST):
            return t
        if slope > 0:
            above = t
        else:
            below = t
        t = min(t - slope / curvature, 10 * t)
        if not below < t < above:
            t = 0.5 * (below + above) if above < math.inf else 2 * below
    return below


# --- the step -------------------------------------------------------------------------------------


def weighted_gram(q, h, rank, panel, gram):
    """Qᵀ diag(h) Q, at least its lower triangle, on the register tile."""
    (n, d), rows, cols = q.shape, tile_rows(h[0]), tile_cols(h[0])
    for first in range(0, n, PANEL):
        count = min(PANEL, n - first)
        for i in range(count):
            weight, row, out = h[first + i], q[first + i], panel[i]
            for m in range(d):
                out[m] = weight * row[m]
        for k in range(0, min(rank, d - rows + 1), rows):
            for m in range(0, min(k + rows, d - cols + 1), cols):
                gemm_tile(panel, k, 1, d, q, first * d + m, d, gram, k * d + m, d, count, first > 0)


def stiffen(gram, c, total):
    """Add a multiple of c cᵀ, which does not change steps with cᵀ step = 0: otherwise the matrix
    may be singular to rounding along c."""
    d = c.size
    trace = 0.0
    for k in range(d):
        trace += gram[k, k]
    for k in range(d):
        for m in range(k + 1):
            gram[k, m] += trace / total * c[k] * c[m]


def cholesky(gram, d):
    """Cholesky factor in place, in the lower triangle; pivots at rounding level are raised."""
    trace = 0.0
    for k in range(d):
        trace += gram[k, k]
    for k in range(d):
        pivot = gram[k, k]
        for m in range(k):
            pivot -= gram[k, m] * gram[k, m]
        root = math.sqrt(max(pivot, ROUNDING * trace))
        gram[k, k] = root
        for i in range(k + 1, d):
            total = gram[i, k]
            for m in range(k):
                total -= gram[i, m] * gram[k, m]
            gram[i, k] = total / root


def solve(factor, x):
    """x ← (L Lᵀ)⁻¹ x."""
    for k in range(x.size):
        for m in range(k):
            x[k] -= factor[k, m] * x[m]
        x[k] /= factor[k, k]
    for k in range(x.size - 1, -1, -1):
        x[k] /= factor[k, k]
        for m in range(k):
            x[m] -= factor[k, m] * x[k]


def constrained_step(factor, b, c, s, v):
    """s with cᵀs = 0 and G s = λ c - b; returns λ."""
    move(s, b, 0.0, b, 1.0)
    move(v, c, 0.0, c, 1.0)
    solve(factor, s)
    solve(factor, v)
    multiplier = dot(c, s) / dot(c, v)
    for j in range(c.size):
        s[j] = multiplier * v[j] - s[j]
    return multiplier


def dual_bound(q, g, h, step, c, multiplier, p, product, error, lanes):
    """Upper bound ‖y / λ‖_q^p with y = g + h step, enlarged by the residual Qᵀy - λ c, for which
    ‖Qx‖_2 <= n^max(0, 1/2 - 1/p) ‖Qx‖_p is used. y overwrites g."""
    for i in range(g.size):
        g[i] += h[i] * step[i]
    transposed_product(q, g, product)
    move(error, product, -multiplier, c, 1.0)
    norm = rescale(g, lanes)
    if p > 1:
        norm *= math.exp((1 - 1 / p) * math.log(power_sum(g, p / (p - 1), lanes)))
    factor = math.exp(max(0.5 - 1 / p, 0.0) * math.log(g.size))
    return math.exp(p * math.log((norm + factor * math.sqrt(dot(error, error))) / multiplier))


# --- all rows at once -----------------------------------------------------------------------------


@kernel(
    "in float64 q[n, d]; in float64 h[n]; out float64 grams[parts, e, e]; "
    "scratch float64 plain[PANEL, e]; scratch float64 panel[PANEL, e]",
    constants=("PANEL",),
    split="parts",
    gpu="block",
    grain="1",
)
def weighted_grams(q, h, grams, plain, panel, start, stop):
    """Lower triangles of Qᵀ diag(h) Q, each over one part of the rows; e >= d is a multiple of the
    register tile's columns."""
    (n, d), (parts, e, _), rows, cols = q.shape, grams.shape, tile_rows(h[0]), tile_cols(h[0])
    for part in range(start, stop):
        begin, end = part * n // parts, (part + 1) * n // parts
        for k in range(e):
            for m in range(e):
                grams[part, k, m] = 0
        for first in range(begin, end, PANEL):
            count = min(PANEL, end - first)
            for i in range(count):
                for m in range(e):
                    plain[i, m], panel[i, m] = 0, 0
                for m in range(d):
                    plain[i, m] = q[first + i, m]
                    panel[i, m] = h[first + i] * q[first + i, m]
            for k in range(0, e - rows + 1, rows):
                for m in range(0, min(k + rows, e - cols + 1), cols):
                    to = (part * e + k) * e + m
                    gemm_tile(panel, k, 1, e, plain, m, e, grams, to, e, count, 1)
        for k in range(e):
            for m in range(k + 1, e):
                grams[part, k, m] = 0


@kernel(
    "in float64 q[n, d]; in float64 t[d, e]; out float64 y[n]; scratch float64 panel[TALLEST, e]",
    constants={"TALLEST": TALLEST},
    split="n",
    gpu="warp",
)
def quadratic_forms(q, t, y, panel, start, stop):
    """y_i = ‖tᵀ q_i‖²; e is a multiple of the register tile's columns."""
    d, e, rows, cols = q.shape[1], t.shape[1], tile_rows(y[0]), tile_cols(y[0])
    first = start
    while first < stop:
        count = min(rows, stop - first)
        for m in range(0, e - cols + 1, cols):
            gemm_rows(count, q, first * d, d, 1, t, m, e, panel, m, e, d, 0)
        for i in range(count):
            y[first + i] = square_of(panel[i])
        first += rows


def square_of(x):
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for j in range(0, x.size - 3, 4):
        s0 += x[j] * x[j]
        s1 += x[j + 1] * x[j + 1]
        s2 += x[j + 2] * x[j + 2]
        s3 += x[j + 3] * x[j + 3]
    return (s0 + s1) + (s2 + s3)
