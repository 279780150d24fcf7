"""Kernels of the cosine adapter: scores of results, their loss and its gradients."""

import math

import numpy as np

from ...kernel import kernel
from ...special import exp, log, log1p, softplus

MAPPINGS = ("linear", "sqrt", "power", "quadratic")
LINEAR, SQRT, POWER, QUADRATIC = range(len(MAPPINGS))
LEAST_POWER = 0.05
# results that one loop after the other goes over, sums that run side by side, sums of a query
BLOCK, LANES, MOMENTS = 256, 16, 6
CONSTANTS = (
    *("LINEAR", "SQRT", "POWER", "QUADRATIC", "LEAST_POWER"),
    *("BLOCK", "LANES", "MOMENTS"),
)


@kernel(
    "in T raw[q, p]; in int64 begins[q]; in int64 ends[q]; in T cosines[n]; in T relevance[n]; "
    "out T losses[q]; out T grad[q, p]; "
    "int64 code; T pos_weight; scratch T f[BLOCK]; scratch T h[BLOCK]; scratch T dz[BLOCK]; "
    "scratch T loss[BLOCK]; scratch float64 sums[4*LANES]",
    constants=CONSTANTS,
    split="q",
    gpu="warp",
)
def adapter_loss(
    raw,
    begins,
    ends,
    cosines,
    relevance,
    losses,
    grad,
    code,
    pos_weight,
    f,
    h,
    dz,
    loss,
    sums,
    start,
    stop,
):
    """Mean loss of each query and its gradient by the raw parameters."""
    zero = raw.dtype.type(0)
    for q in range(start, stop):
        a, b, third = softplus(raw[q, 0]), raw[q, 1], zero
        if code >= POWER:
            third = softplus(raw[q, 2])
        c = third + raw.dtype.type(LEAST_POWER)
        for s in range(4 * LANES):
            sums[s] = 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            size = last - first
            blocks = in_lanes(cosines, first, last, f)
            in_lanes(relevance, first, last, loss)
            features(blocks, code, c, f, h)
            slopes(blocks, a, b, third if code == QUADRATIC else zero, pos_weight, f, h, dz, loss)
            for j in range(size, blocks * LANES):
                dz[j] = loss[j] = f[j] = h[j] = 0
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    sums[lane] += float(loss[j])
                    sums[LANES + lane] += float(dz[j]) * float(f[j])
                    sums[2 * LANES + lane] += float(dz[j])
                    sums[3 * LANES + lane] += float(dz[j]) * float(h[j])
        for s in range(4):
            for lane in range(1, LANES):
                sums[s * LANES] += sums[s * LANES + lane]
        count = max(ends[q] - begins[q], 1)
        losses[q] = sums[0] / count
        grad[q, 0] = sums[LANES] / count * -math.expm1(-float(a))  # softplus' = 1 - exp(-softplus)
        grad[q, 1] = sums[2 * LANES] / count
        if code >= POWER:
            grad[q, 2] = (
                sums[3 * LANES]
                / count
                * (float(a) if code == POWER else 1.0)
                * -math.expm1(-float(third))
            )


def in_lanes(x, first, last, copy):
    """How many times `LANES` the numbers x[first:last] fill, here with zeros behind: loops over so
    many are vector instructions alone."""
    first, size = np.uintp(first), np.uintp(last - first)
    blocks = (size + np.uintp(LANES - 1)) // np.uintp(LANES)
    for j in range(size):
        copy[j] = x[first + j]
    for j in range(size, np.uintp(LANES) * blocks):
        copy[j] = 0
    return blocks


def features(blocks, code, c, f, h):
    """z = a f + b, and e h more for "quadratic"; for "power" a h is the derivative of z by c. f are
    cosines first, clipped to [-1, 1]."""
    zero, half, one = f.dtype.type(0), f.dtype.type(0.5), f.dtype.type(1)
    for block in range(blocks):
        for lane in range(LANES):
            j = block * np.uintp(LANES) + np.uintp(lane)
            x = min(max(f[j], -one), one)
            f[j], h[j] = x if code == LINEAR else half + half * x, zero
    if code == SQRT:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                f[j] = math.sqrt(f[j])
    elif code == QUADRATIC:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                h[j] = f[j]
                f[j] = f[j] * f[j]
    elif code == POWER:
        for block in range(blocks):
            for lane in range(LANES):
                j = block * np.uintp(LANES) + np.uintp(lane)
                logarithm = log(f[j] if f[j] > zero else one)
                f[j] = exp(c * logarithm) if f[j] > zero else zero
                h[j] = f[j] * logarithm


def slopes(blocks, a, b, e, pos_weight, f, h, dz, loss):
    """The loss of each result, in place of its relevance, and its derivative by z."""
    zero, one = f.dtype.type(0), f.dtype.type(1)
    for block in range(blocks):
        for lane in range(LANES):
            j = block * np.uintp(LANES) + np.uintp(lane)
            y, z = loss[j], a * f[j] + e * h[j] + b
            tail = exp(-abs(z))
            weight = one + (pos_weight - one) * y
            loss[j] = (one - y) * z + weight * (max(-z, zero) + log1p(tail))
            dz[j] = one - y - weight * ((tail if z >= zero else one) / (one + tail))


@kernel(
    "in T parameters[q, p]; in int64 begins[q]; in int64 ends[q]; in T cosines[n]; "
    "out T scores[n]; out int64 wrong[q]; "
    "int64 code; T limit; scratch T f[BLOCK]; scratch T h[BLOCK]",
    constants=CONSTANTS,
    split="q",
    gpu="warp",
)
def adapter_scores(
    parameters, begins, ends, cosines, scores, wrong, code, limit, f, h, start, stop
):
    """`wrong` counts the cosines that are none, which is quicker here than in a pass of its own."""
    zero, one = scores.dtype.type(0), scores.dtype.type(1)
    for q in range(start, stop):
        a, b, third = parameters[q, 0], parameters[q, 1], parameters[q, parameters.shape[1] - 1]
        e, count = third if code == QUADRATIC else zero, 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            blocks = in_lanes(cosines, first, last, f)
            for block in range(blocks):
                for lane in range(LANES):
                    count += not abs(f[block * np.uintp(LANES) + np.uintp(lane)]) <= limit
            features(blocks, code, third, f, h)
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    z = a * f[j] + e * h[j] + b
                    tail = exp(-abs(z))
                    h[j] = (one if z >= zero else tail) / (one + tail)
            for j in range(np.uintp(last - first)):
                scores[np.uintp(first) + j] = h[j]
        wrong[q] = count


@kernel(
    "in int64 begins[q]; in int64 ends[q]; in T cosines[n]; in T relevance[n]; "
    "out T moments[q, MOMENTS]; int64 code; T slope; "
    "T b; T pos_weight; scratch T f[BLOCK]; scratch T h[BLOCK]; scratch T dz[BLOCK]; "
    "scratch T loss[BLOCK]; scratch float64 sums[MOMENTS*LANES]",
    constants=CONSTANTS,
    split="q",
    gpu="warp",
)
def logistic_moments(
    begins,
    ends,
    cosines,
    relevance,
    moments,
    code,
    slope,
    b,
    pos_weight,
    f,
    h,
    dz,
    loss,
    sums,
    start,
    stop,
):
    """Loss, gradient and Hessian in (slope, b) of σ(slope f + b), f being the cosine, √u, or u:
    means over each query's results."""
    zero, half, one = f.dtype.type(0), f.dtype.type(0.5), f.dtype.type(1)
    for q in range(start, stop):
        for s in range(MOMENTS * LANES):
            sums[s] = 0
        for first in range(begins[q], ends[q], BLOCK):
            last = min(first + BLOCK, ends[q])
            size, blocks = last - first, in_lanes(cosines, first, last, f)
            in_lanes(relevance, first, last, loss)
            features(blocks, min(code, SQRT), one, f, h)
            if code > SQRT:
                for j in range(size):
                    f[j] = half + half * min(max(cosines[first + j], -one), one)
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    y, z = loss[j], slope * f[j] + b
                    tail = exp(-abs(z))
                    weight = one + (pos_weight - one) * y
                    miss = (tail if z >= zero else one) / (one + tail)
                    loss[j] = (one - y) * z + weight * (max(-z, zero) + log1p(tail))
                    dz[j] = one - y - weight * miss
                    h[j] = weight * miss * (one - miss)
            for j in range(size, blocks * LANES):
                dz[j] = loss[j] = f[j] = h[j] = 0
            for block in range(blocks):
                for lane in range(LANES):
                    j = block * np.uintp(LANES) + np.uintp(lane)
                    value, slope_of, curvature = float(f[j]), float(dz[j]), float(h[j])
                    sums[lane] += float(loss[j])
                    sums[LANES + lane] += slope_of * value
                    sums[2 * LANES + lane] += slope_of
                    sums[3 * LANES + lane] += curvature * value * value
                    sums[4 * LANES + lane] += curvature * value
                    sums[5 * LANES + lane] += curvature
        for s in range(MOMENTS):
            for lane in range(1, LANES):
                sums[s * LANES] += sums[s * LANES + lane]
            moments[q, s] = sums[s * LANES] / max(ends[q] - begins[q], 1)
