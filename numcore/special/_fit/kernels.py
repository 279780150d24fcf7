"""Levenberg–Marquardt steps inside Lawson's reweighting, for many programs at once."""

import math

import numpy as np

from ...kernel import kernel
from ...simd import dot
from .._program import DIV, run_instruction, within

HOST_ONLY = "programs are fitted within a search that runs on the host"
BOLD_STEPS = 8
ENOUGH = 1.005  # largest error over its lower bound, where reweighting ends
MIN_DAMPING, MAX_DAMPING = 1e-22, 1e12  # good programs have Jacobians of condition 1e9 and more
PROBE = 0.1  # part of a step after which its curvature is measured
TINY = 1e-300


def square(x):
    return x * x


def run_forward(registers, code, i, rows, k, constants):
    """Evaluate program i at all points with these constants."""
    n = registers.shape[1]
    for r in range(k):
        for j in range(n):
            registers[1 + r, j] = constants[r]
    for s in range(rows):
        run_instruction(registers, code[i, s], k + s, n)


def run_backward(registers, adjoints, code, i, rows, k, result, weight):
    """adjoints[r, j] = derivative of weight[j] * result at x[j] by register r."""
    n = registers.shape[1]
    for r in range(k + rows + 1):
        for j in range(n):
            adjoints[r, j] = 0.0
    for j in range(n):
        adjoints[result, j] = weight[j]
    for s in range(rows - 1, -1, -1):
        opcode, to, last = code[i, s, 0], k + s + 1, k + s
        a, b = within(code[i, s, 1], last), within(code[i, s, 2], last)
        c = within(code[i, s, 3], last)
        if opcode < 2:
            sign = 1.0 if opcode == 0 else -1.0
            for j in range(n):
                adjoints[a, j] += adjoints[to, j]
            for j in range(n):
                adjoints[b, j] += sign * adjoints[to, j]
        elif opcode == DIV:
            for j in range(n):
                adjoints[a, j] += adjoints[to, j] / registers[b, j]
            for j in range(n):
                adjoints[b, j] -= adjoints[to, j] * registers[to, j] / registers[b, j]
        else:
            for j in range(n):
                adjoints[a, j] += adjoints[to, j] * registers[b, j]
            for j in range(n):
                adjoints[b, j] += adjoints[to, j] * registers[a, j]
            if opcode > DIV:
                for j in range(n):
                    adjoints[c, j] += adjoints[to, j]


# Rows of the scratch arrays: numbers at the points, and numbers for the constants.
RESIDUAL, LAWSON, SENSITIVITY, RIGHT, CURVATURE = range(5)
PROJECTION, SCALE, STEP, SECOND, BEND, TRIAL, BEST = range(7)
POINT_ROWS, VECTORS = 5, 7


def orthogonalize(rows, size, points, triangle, vectors):
    """Modified Gram–Schmidt: the derivatives J, a column in each row from 1 to size, become QR, and
    the right side loses its part Q Qᵀ right.

    Normal equations would square the condition of J, and good programs have constants that nearly
    make up for one another.
    """
    n = rows.shape[1]
    for r in range(size):
        vectors[SCALE, r] = math.sqrt(dot(rows[1 + r], rows[1 + r])) + TINY
    for r in range(size):
        norm = math.sqrt(dot(rows[1 + r], rows[1 + r])) + TINY
        triangle[r, r] = norm
        for j in range(n):
            rows[1 + r, j] /= norm
        for c in range(r + 1, size):
            triangle[r, c] = dot(rows[1 + r], rows[1 + c])
            for j in range(n):
                rows[1 + c, j] -= triangle[r, c] * rows[1 + r, j]
        vectors[PROJECTION, r] = dot(rows[1 + r], points[RIGHT])
        for j in range(n):
            points[RIGHT, j] -= vectors[PROJECTION, r] * rows[1 + r, j]


def damped_step(triangle, vectors, side, to, damping, size, work):
    """vectors[to] = the step that minimizes |triangle step - vectors[side]|² + damping |scale
    step|²; the decrease that it promises.

    The rows of sqrt(damping) scale are rotated into a copy of the triangle, one after the other;
    work[:, size] is the right side.
    """
    projection, scale, step = vectors[side], vectors[SCALE], vectors[to]
    for r in range(size):
        for c in range(r, size):
            work[r, c] = triangle[r, c]
        work[r, size] = projection[r]
    root = math.sqrt(damping)
    extra = size  # the row of `work` that holds what is rotated in
    for first in range(size):
        for c in range(size + 1):
            work[extra, c] = 0.0
        work[extra, first] = root * scale[first]
        for r in range(first, size):
            length = math.hypot(work[r, r], work[extra, r])
            cosine, sine = work[r, r] / length, work[extra, r] / length
            for c in range(r, size + 1):
                u, v = work[r, c], work[extra, c]
                work[r, c], work[extra, c] = cosine * u + sine * v, cosine * v - sine * u
    for r in range(size - 1, -1, -1):
        total = work[r, size]
        for c in range(r + 1, size):
            total -= work[r, c] * step[c]
        step[r] = total / work[r, r]
    promised = TINY
    for r in range(size):
        gradient = 0.0
        for t in range(r + 1):
            gradient += triangle[t, r] * projection[t]
        promised += step[r] * (damping * scale[r] * scale[r] * step[r] + gradient)
    return promised


def curvature_step(result_row, basis, target, points, triangle, vectors, damping, size, work):
    """vectors[SECOND] = the correction of the step for the curvature along it; whether it is
    smaller than the step, so that it can be trusted.

    The result is that after PROBE of the step. What the residual has there beyond its linear part
    is half its second derivative.
    """
    scale, step, second, bend = vectors[SCALE], vectors[STEP], vectors[SECOND], vectors[BEND]
    for r in range(size):
        bend[r] = 0.0
        for c in range(r, size):
            bend[r] += triangle[r, c] * step[c]
    for j in range(points.shape[1]):
        e = (
            points[SENSITIVITY, j] * (result_row[j] - target[j])
            - math.sqrt(points[LAWSON, j]) * points[RESIDUAL, j]
        )
        slope = 0.0
        for r in range(size):
            slope += basis[1 + r, j] * bend[r]
        points[CURVATURE, j] = (e / PROBE + slope) / PROBE
    for r in range(size):
        bend[r] = dot(basis[1 + r], points[CURVATURE])
    damped_step(triangle, vectors, BEND, SECOND, damping, size, work)
    straight = turned = TINY
    for r in range(size):
        straight += square(scale[r] * step[r])
        turned += square(scale[r] * second[r])
    return turned < straight


def measure(registers, result, target, weight, points):
    """Residuals weight (result - target); their largest magnitude, inf where a value is NaN."""
    largest = 0.0
    for j in range(registers.shape[1]):
        e = weight[j] * (registers[result, j] - target[j])
        points[RESIDUAL, j] = e
        largest = max(largest, abs(e)) if e == e else np.inf
    return largest


def reweight(points, largest):
    """Lawson's step; the sum of weights stays that of ones."""
    n, total = points.shape[1], 0.0
    for j in range(n):
        points[LAWSON, j] *= abs(points[RESIDUAL, j]) / largest
        total += points[LAWSON, j]
    for j in range(n):
        points[LAWSON, j] *= n / total


def weighted_cost(points):
    cost = 0.0
    for j in range(points.shape[1]):
        cost += points[LAWSON, j] * points[RESIDUAL, j] * points[RESIDUAL, j]
    return cost


def differentiate(program, weight, scratch):
    """Derivatives of the weighted residuals by the constants, as a QR factorization."""
    code, i, rows, k, result, size = program
    registers, adjoints, points, triangle, work, vectors = scratch
    for j in range(points.shape[1]):
        root = math.sqrt(points[LAWSON, j])
        points[RIGHT, j] = root * points[RESIDUAL, j]
        points[SENSITIVITY, j] = root * weight[j]
    run_backward(registers, adjoints, code, i, rows, k, result, points[SENSITIVITY])
    orthogonalize(adjoints, size, points, triangle, vectors)


def try_step(program, constants, target, weight, damping, scratch):
    """vectors[TRIAL] = the constants after a step; the decrease of the cost that it promises, and
    the cost there."""
    code, i, rows, k, result, size = program
    registers, adjoints, points, triangle, work, vectors = scratch
    trial, step, second = vectors[TRIAL], vectors[STEP], vectors[SECOND]
    promised = damped_step(triangle, vectors, PROJECTION, STEP, damping, size, work)
    for r in range(size):
        trial[r] = constants[r] - PROBE * step[r]
    run_forward(registers, code, i, rows, k, trial)
    bent = curvature_step(
        registers[result], adjoints, target, points, triangle, vectors, damping, size, work
    )
    for r in range(size):
        trial[r] = constants[r] - step[r]
        if bent:
            trial[r] -= second[r]
    run_forward(registers, code, i, rows, k, trial)
    cost = 0.0
    for j in range(points.shape[1]):
        e = weight[j] * (registers[result, j] - target[j])
        cost += points[LAWSON, j] * e * e
    return promised, cost


def walk(program, constants, target, weight, n_steps, bold, state, scratch):
    """Steps from the constants, which are changed; vectors[BEST] keeps the best ones. Bold steps
    are undamped and are taken whatever the error does.

    `state` is (cost, damping, growth of the damping, least largest error); the new one is returned.
    """
    size, result = program[5], program[4]
    registers, points, vectors = scratch[0], scratch[2], scratch[5]
    cost, damping, growth, least = state
    # whether residual and registers are those of the constants, and derivatives are not
    current = True
    for _ in range(n_steps):
        if current:
            differentiate(program, weight, scratch)
        promised, trial_cost = try_step(program, constants, target, weight, damping, scratch)
        current = trial_cost < cost or (trial_cost < np.inf and (bold or not cost < np.inf))
        if not current:
            damping *= growth
            growth *= 2.0
            if damping > MAX_DAMPING:
                break
            continue
        trust = 2.0 * min((cost - trial_cost) / promised, 1.0) - 1.0
        damping = max(damping * max(0.1, 1.0 - trust * trust * trust), MIN_DAMPING)
        growth = 2.0
        converged = trial_cost > (1.0 - 1e-6) * cost and damping < 1e-15
        cost = trial_cost
        for r in range(size):
            constants[r] = vectors[TRIAL, r]
        largest = measure(registers, result, target, weight, points)
        if largest < least:
            least = largest
            for r in range(size):
                vectors[BEST, r] = vectors[TRIAL, r]
        if converged and not bold:
            break
        if bold:
            damping = MIN_DAMPING
    return cost, damping, growth, least


@kernel(
    "in int32 code[p, m, 4]; in int32 ends[p, 2]; in int32 counts[p]; "
    "inout float64 constants[p, k]; in float64 x[n]; "
    "in float64 target[n]; in float64 weight[n]; int32 steps; int32 rounds; out float64 error[p]; "
    "scratch float64 registers[k+m+1, n]; scratch float64 adjoints[k+m+1, n]; "
    "scratch float64 points[POINT_ROWS, n]; scratch float64 triangle[k, k]; "
    "scratch float64 work[k+1, k+1]; scratch float64 vectors[VECTORS, k]",
    constants=("POINT_ROWS", "VECTORS"),
    split="p",
    gpu=None,
    host_only=HOST_ONLY,
    grain="1",
    twin_tolerance={"float64": 1e-6},
)
def fit_programs(
    code,
    ends,
    counts,
    constants,
    x,
    target,
    weight,
    steps,
    rounds,
    error,
    registers,
    adjoints,
    points,
    triangle,
    work,
    vectors,
    start,
    stop,
):
    """constants[i] ← those that minimize error[i] = max over j of weight[j] |program i at x[j] -
    target[j]|, begun at constants[i].

    `steps` Levenberg–Marquardt steps with the second-order correction of Transtrum and Sethna,
    which follows bent valleys; then, if there are to be rounds, a few undamped steps whatever the
    error does in between, since a valley can be too narrow and bent to be walked along; then
    `rounds` times: lawson *= |residual|, and two more steps. The best constants seen are kept. The
    weighted mean square is a lower bound of the squared minimax error, exactly so where constants
    enter linearly: rounds end where the largest error comes near it.
    """
    k, n = constants.shape[1], x.shape[0]
    scratch = (registers, adjoints, points, triangle, work, vectors)
    for j in range(n):
        registers[0, j] = x[j]
    for i in range(start, stop):
        rows, size = int(within(ends[i, 0], code.shape[1])), int(within(counts[i], k))
        result = within(ends[i, 1], k + rows)
        program = (code, i, rows, k, result, size)
        for j in range(n):
            points[LAWSON, j] = 1.0
        for r in range(k):
            vectors[BEST, r] = vectors[TRIAL, r] = constants[i, r]
        least, damping, growth = np.inf, 1e-2, 2.0
        for lap in range(rounds + 2 if rounds > 0 else 1):
            bold = lap == 1
            if lap == 2:
                for r in range(size):
                    constants[i, r] = vectors[BEST, r]
            run_forward(registers, code, i, rows, k, constants[i])
            largest = measure(registers, result, target, weight, points)
            if lap > 1:
                reweight(points, largest)
            state = (weighted_cost(points), damping, growth, min(least, largest))
            n_steps = steps if lap == 0 else BOLD_STEPS if bold else 2
            cost, damping, growth, least = walk(
                program, constants[i], target, weight, n_steps, bold, state, scratch
            )
            damping, growth = MIN_DAMPING if lap == 0 else min(damping, 1.0), 2.0
            if not bold and (
                not cost < np.inf or cost == 0.0 or least * least * n < ENOUGH * ENOUGH * cost
            ):
                break
        for r in range(size):
            constants[i, r] = vectors[BEST, r]
        error[i] = least
