"""Kernels of the policies: the probabilities of Tsallis-INF, and bounded least squares."""

import math

from ...kernel import kernel

HOST_ONLY = "a policy processes only a few numbers between solves"
RIDGE = 1e-12  # relative to the trace: the minimum-norm fit up to relative errors of 1e-4
MAX_CHANGES = 100  # of the set of coefficients at their bounds
MAX_NEWTON = 100  # steps; about ten are enough
ROUNDING = 1e-9  # relative: smaller slopes into the box are rounding errors


@kernel(
    "in float64 estimates[g, d]; out float64 p[g, d]; out int64 arm[g]; float64 scale; "
    "float64 root; float64 u",
    split="g",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
)
def tsallis_rows(estimates, p, arm, scale, root, u, start, stop):
    """Probabilities p_i = (gap_i - y)⁻² with Σ p = 1, where gap = (κ - min κ) / √t, κ = estimates /
    scale, root = √t; and the arm selected by the uniform random number u.

    In the paper's notation y = (x - min κ) / √t. Newton's method starts from y = -1, where the sum
    is at least 1; the sum is convex and increasing in y, so y descends to the root.
    """
    d = p.shape[1]
    for g in range(start, stop):
        min_estimate = estimates[g, 0]
        for i in range(d):
            min_estimate = min(min_estimate, estimates[g, i])
        y, before, total = -1.0, math.inf, 0.0
        for _ in range(MAX_NEWTON):
            total, slope = 0.0, 0.0
            for i in range(d):
                part = 1 / ((estimates[g, i] - min_estimate) / (scale * root) - y)
                p[g, i] = part * part
                total += part * part
                slope += 2 * part * part * part
            if not 1e-14 <= total - 1 < before:  # solved, or stalled by rounding
                break
            before = total - 1
            y -= before / slope
        arm[g], rest = d - 1, u * total
        for i in range(d):
            if 0 <= rest < p[g, i] and arm[g] == d - 1:
                arm[g] = i
            rest -= p[g, i]
            p[g, i] /= total


@kernel(
    "in float64 gram[d, m, m]; in float64 moments[d, m]; in float64 squares[d]; in float64 box[m]; "
    "inout float64 theta[d, m];"
    " inout float64 misfit[d]; inout float64 work[d, m+2, m]",
    split="d",
    gpu=None,
    host_only=HOST_ONLY,
    grain="64",
)
def bounded_least_squares(gram, moments, squares, box, theta, misfit, work, start, stop):
    """Minimize θᵀ G θ - 2 hᵀ θ: the minimizer of minimum norm if it satisfies |θ_j| <= box_j, else
    an active-set method in this box from the given θ; misfit is the minimum plus `squares`.

    The active-set method moves to the minimum over the free coordinates or until one of them meets
    its bound. At the minimum it frees the bound coordinate with the steepest slope into the box.
    """
    m = theta.shape[1]
    for k in range(start, stop):
        free, step, inside = work[k, m], work[k, m + 1], True
        ridge = 1e-300
        for j in range(m):
            ridge += RIDGE * gram[k, j, j]
            free[j] = 1.0
        _newton_step(gram[k], moments[k], theta[k], ridge, work[k], free, step)
        for j in range(m):
            inside = inside and abs(theta[k, j] + step[j]) <= box[j]
        misfit[k] = 0.0
        if inside:
            for j in range(m):
                theta[k, j] += step[j]
            continue
        for j in range(m):
            theta[k, j] = min(box[j], max(-box[j], theta[k, j]))
            free[j] = 1.0 if abs(theta[k, j]) < box[j] else 0.0
        for _ in range(MAX_CHANGES):
            _newton_step(gram[k], moments[k], theta[k], ridge, work[k], free, step)
            if not _changed(gram[k], moments[k], box, theta[k], ridge, free, step):
                break
        value = squares[k]
        for j in range(m):
            value -= theta[k, j] * (moments[k, j] + _slope(j, gram[k], moments[k], theta[k], 0.0))
        misfit[k] = max(0.0, value)


def _slope(j, gram, moments, theta, ridge):
    """h_j - (G θ)_j, the descent along θ_j."""
    slope = moments[j] - ridge * theta[j]
    for i in range(len(theta)):
        slope -= gram[j, i] * theta[i]
    return slope


def _newton_step(gram, moments, theta, ridge, factor, free, step):
    """The step to the minimum of the free coordinates, by Cholesky's method; rows of the others are
    those of the identity."""
    m = len(theta)
    for j in range(m):
        step[j] = free[j] * _slope(j, gram, moments, theta, ridge)
        for i in range(j + 1):
            value = free[i] * free[j] * gram[j, i]
            if i == j:
                value += ridge if free[j] == 1 else 1.0
            for n in range(i):
                value -= factor[j, n] * factor[i, n]
            factor[j, i] = math.sqrt(value) if i == j else value / factor[i, i]
        for i in range(j):
            step[j] -= factor[j, i] * step[i]
        step[j] /= factor[j, j]
    for back in range(m):
        j = m - 1 - back
        for i in range(j + 1, m):
            step[j] -= factor[i, j] * step[i]
        step[j] /= factor[j, j]


def _changed(gram, moments, box, theta, ridge, free, step):
    """Move along the step; whether a coordinate has met its bound or has been freed."""
    m = len(theta)
    reach, hit = 1.0, -1
    for j in range(m):
        if step[j] != 0:
            limit = (math.copysign(box[j], step[j]) - theta[j]) / step[j]
            if limit < reach:
                reach, hit = limit, j
    for j in range(m):
        theta[j] += reach * step[j]
    if hit >= 0:
        theta[hit] = math.copysign(box[hit], step[hit])
        free[hit] = 0.0
        return True
    steepest, top = -1, 0.0
    for j in range(m):
        inward = -math.copysign(1.0, theta[j]) * _slope(j, gram, moments, theta, ridge)
        if free[j] == 0 and box[j] > 0 and inward > ROUNDING * abs(moments[j]) and inward > top:
            steepest, top = j, inward
    if steepest >= 0:
        free[steepest] = 1.0
    return steepest >= 0
