"""Kernels of relaxation: complete solves of small systems, and one color of a sweep of large
systems.

D' = D / ω. Rows of one color, from ``starts[c]`` to ``starts[c + 1]``, are not coupled: on a GPU
the threads of a block update them in parallel, color by color; the CPU goes row by row.
"""

import math

import numpy as np

from ...kernel import kernel
from .._sparse import INDICES, left_neighbor, right_neighbor, row_product

# columns of the arrays of complete solves
OMEGA, TARGET = range(2)  # of `limits`; the solve stops at the norm TARGET
N_DONE, STATUS, TURN = range(3)  # of `state`: norms computed in this call, status, index of x
ENERGY, CHANGE, CURVATURE = range(3)  # of `energies`: rᵀ D' r, its ratio to the last, pᵀ Ã p
# values of STATUS
RUNNING, CONVERGED, NOT_FINITE, BREAKDOWN, STAGNATED, FRESH = range(6)
VECTORS = 5  # of conjugate gradients: x, r, p, t, w
CONSTANTS = (
    *("OMEGA", "TARGET", "N_DONE", "STATUS", "TURN", "ENERGY", "CHANGE", "CURVATURE"),
    *("RUNNING", "CONVERGED", "NOT_FINITE", "BREAKDOWN", "STAGNATED", "FRESH"),
    "VECTORS",
)

# --- kernels: complete solves ---------------------------------------------------------------------

TWINS = {"float32": 1e-5, "float64": 1e-6}  # sums of float32 vectors are kept in float64
SYSTEMS = "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[s, z]; in INDEX at[n]; in T inverse[s, n]; in int64 starts[c];"  # noqa: E501


@kernel(
    f"{SYSTEMS} in T b[s, n]; inout T x[s, 2, n]; in float64 limits[s, 2]; "
    f"inout float64 norms[s, q];"
    " inout int64 state[s, 3]",
    constants=CONSTANTS,
    split="s",
    gpu="block",
    threads=128,
    shared="2*n*itemsize",
    grain="1",
    types=INDICES,
    twin_tolerance=TWINS,
)
def sor_rows(indptr, indices, data, at, inverse, starts, b, x, limits, norms, state, start, stop):
    """Up to q sweeps for each of s systems with the same pattern, alternating between two vectors
    x, and the residual norm before each sweep.

    limits: omega, target norm. state: sweeps done, status, index of the current x; only running
    systems are advanced. Only the GPU uses the colors.
    """
    for s in range(start, stop):
        n_done, turn = 0, state[s, TURN]
        while n_done < norms.shape[1] and state[s, STATUS] == RUNNING:
            norm = math.sqrt(
                _sor_pass(
                    indptr,
                    indices,
                    data[s],
                    at,
                    inverse[s],
                    b[s],
                    x[s, turn],
                    x[s, 1 - turn],
                    limits[s, OMEGA],
                )
            )
            norms[s, n_done] = norm
            n_done += 1
            turn = 1 - turn
            if norm <= limits[s, TARGET]:
                state[s, STATUS] = CONVERGED
            elif not norm < math.inf:
                state[s, STATUS] = NOT_FINITE
        state[s, N_DONE], state[s, TURN] = n_done, turn


def _sor_pass(indptr, indices, data, at, inverse, b, old, new, omega):
    """One sweep from `old` to `new`; the squared norm of b - A old. The last x is kept in a
    register: the next row depends on nothing else."""
    squares, last, last_old = 0.0, 0.0, 0.0
    for i in range(len(b)):
        middle = at[i]
        adjacent, end = left_neighbor(i, indptr[i], middle, indices, data)
        below, below_old = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(end)):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            below += value * new[j]
            below_old += value * old[j]
        x = np.float64(old[i])
        rest = (
            b[i]
            - row_product(middle + 1, indptr[i + 1], indices, data, old)
            - data[np.uintp(middle)] * x
        )
        residual = rest - below_old - adjacent * last_old
        squares += residual * residual
        scale = omega * inverse[i]
        new[i] = (x + scale * (rest - below)) - (scale * adjacent) * last
        last, last_old = np.float64(new[i]), x
    return squares


@kernel(
    f"{SYSTEMS} inout T vectors[s, VECTORS, n]; in float64 limits[s, 2];"
    " inout float64 energies[s, 3]; inout float64 norms[s, q]; inout int64 state[s, 2]",
    constants=CONSTANTS,
    split="s",
    gpu="block",
    threads=128,
    grain="1",
    types=INDICES,
    twin_tolerance=TWINS,
)
def ssor_cg_rows(
    indptr, indices, data, at, inverse, starts, vectors, limits, energies, norms, state, start, stop
):
    """Up to q iterations for each of s systems with the same pattern, and the residual norms; see
    SSORCGIteration.

    vectors: x, r, p, t, w. limits: omega, target norm. energies: rᵀ D' r, its ratio to the last
    one, and pᵀ Ã p, 0 before the first direction. state: norms computed, status. An iteration
    computes the norm and the next direction; the next iteration takes the step along it.
    """
    for s in range(start, stop):
        n_done, omega = 0, limits[s, OMEGA]
        x, r, p, t, w = vectors[s, 0], vectors[s, 1], vectors[s, 2], vectors[s, 3], vectors[s, 4]
        if state[s, STATUS] == FRESH:
            _first_residual(indptr, indices, data[s], at, inverse[s], r, omega, energies[s])
            state[s, STATUS] = RUNNING
        while n_done < norms.shape[1] and state[s, STATUS] == RUNNING:
            if energies[s, CURVATURE] > 0:
                _step(inverse[s], x, r, t, w, omega, energies[s])
            _backward(indptr, indices, data[s], at, inverse[s], r, p, t, omega, energies[s, CHANGE])
            squares, energies[s, CURVATURE] = _forward(
                indptr, indices, data[s], at, inverse[s], r, p, t, w, omega
            )
            norm = math.sqrt(squares)
            norms[s, n_done] = norm
            n_done += 1
            if norm <= limits[s, TARGET]:
                state[s, STATUS] = CONVERGED
            elif not norm < math.inf:
                state[s, STATUS] = NOT_FINITE
            elif not (energies[s, CURVATURE] > 0 and energies[s, ENERGY] > 0):
                state[s, STATUS] = BREAKDOWN
        state[s, N_DONE] = n_done


def _first_residual(indptr, indices, data, at, inverse, r, omega, energies):
    """r ← (D' + L)⁻¹ r, and its energy."""
    energy = 0.0
    for i in range(len(r)):
        value = omega * inverse[i] * (r[i] - row_product(indptr[i], at[i], indices, data, r))
        energy += value * value / (omega * inverse[i])
        r[i] = value
    energies[ENERGY], energies[CHANGE], energies[CURVATURE] = energy, 0.0, 0.0


def _backward(indptr, indices, data, at, inverse, r, p, t, omega, change):
    """p ← D' r + change p,  t = (D' + U)⁻¹ p."""
    n, last, shrink = len(p), 0.0, 1 / omega
    for step in range(n):
        i = np.uintp(n - 1 - step)
        scale, end = omega * inverse[i], indptr[i + np.uintp(1)]
        p[i] = data[np.uintp(at[i])] * shrink * r[i] + change * p[i]
        adjacent, first = right_neighbor(n - 1 - step, at[i], end, indices, data)
        t[i] = (
            scale * (p[i] - row_product(first, end, indices, data, t)) - (scale * adjacent) * last
        )
        last = np.float64(t[i])


def _forward(indptr, indices, data, at, inverse, r, p, t, w, omega):
    """w = (D' + L)⁻¹ (p - (2 D' - D) t);  ‖(D' + L) r‖² and pᵀ (t + w)."""
    squares, curvature, last, last_r, shrink = 0.0, 0.0, 0.0, 0.0, 1 / omega
    for i in range(len(p)):
        adjacent, end = left_neighbor(i, indptr[i], at[i], indices, data)
        below, residual = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(end)):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            below += value * w[j]
            residual += value * r[j]
        scale, diagonal = omega * inverse[i], np.float64(data[np.uintp(at[i])])
        residual += adjacent * last_r + diagonal * shrink * r[i]
        squares += residual * residual
        w[i] = (
            scale * (p[i] - (2 * shrink - 1) * diagonal * t[i] - below) - (scale * adjacent) * last
        )
        last, last_r = np.float64(w[i]), np.float64(r[i])
        curvature += p[i] * (np.float64(t[i]) + w[i])
    return squares, curvature


def _step(inverse, x, r, t, w, omega, energies):
    """x ← x + α t,  r ← r - α (t + w),  and the energy rᵀ D' r with its change."""
    alpha, n = energies[ENERGY] / energies[CURVATURE], len(x)
    for i in range(n):
        x[i] += alpha * t[i]
        r[i] -= alpha * (np.float64(t[i]) + w[i])
    a, b, c, d = 0.0, 0.0, 0.0, 0.0  # four sums hide the latency of additions
    for i in range(0, n - n % 4, 4):
        a += np.float64(r[i]) * r[i] / inverse[i]
        b += np.float64(r[i + 1]) * r[i + 1] / inverse[i + 1]
        c += np.float64(r[i + 2]) * r[i + 2] / inverse[i + 2]
        d += np.float64(r[i + 3]) * r[i + 3] / inverse[i + 3]
    for i in range(n - n % 4, n):
        a += np.float64(r[i]) * r[i] / inverse[i]
    energy = ((a + b) + (c + d)) / omega
    energies[CHANGE], energies[ENERGY] = energy / energies[ENERGY], energy


MATRIX = "in INDEX indptr[n+1]; in INDEX indices[z]; in T data[z]; in INDEX at[n]; in T inverse[n];"


@kernel(
    f"{MATRIX} in int64 starts[c]; in T r[k, n]; inout T y[k, n]; float64 omega",
    split="k",
    gpu="block",
    threads=128,
    grain="1",
    types=INDICES,
)
def ssor_rows(indptr, indices, data, at, inverse, starts, r, y, omega, start, stop):
    """y = (2 - ω) (D' + U)⁻¹ D' (D' + L)⁻¹ r for each of k vectors."""
    n = r.shape[1]
    for c in range(start, stop):
        for i in range(n):
            y[c, i] = (
                omega * inverse[i] * (r[c, i] - row_product(indptr[i], at[i], indices, data, y[c]))
            )
        for step in range(n):
            i = n - 1 - step
            y[c, i] = (2 - omega) * y[c, i] - omega * inverse[i] * row_product(
                at[i] + 1, indptr[i + 1], indices, data, y[c]
            )


# --- kernels: one color of a large system, rows from `first` on -----------------------------------


@kernel(
    f"{MATRIX} in T b[k]; out T residual[k]; in T old[n]; inout T x[n]; float64 omega; int64 first",
    split="k",
    types=INDICES,
)
def sor_color(indptr, indices, data, at, inverse, b, residual, old, x, omega, first, start, stop):
    """Update x, which was `old` before the sweep, and compute the residual b - A old."""
    for k in range(start, stop):
        i = first + k
        sum_old, change = 0.0, 0.0
        for e in range(np.uintp(indptr[i]), np.uintp(indptr[i + 1])):
            j, value = np.uintp(indices[e]), np.float64(data[e])
            sum_old += value * old[j]
            change += value * (np.float64(x[j]) - old[j])
        residual[k] = b[k] - sum_old
        x[i] = old[i] + omega * inverse[i] * (b[k] - sum_old - change)


@kernel(
    f"{MATRIX} in T r[k]; inout T p[k]; inout T t[n]; float64 omega; float64 change; int64 first",
    split="k",
    types=INDICES,
)
def backward_color(indptr, indices, data, at, inverse, r, p, t, omega, change, first, start, stop):
    """p ← D' r + change p,  t = (D' + U)⁻¹ p."""
    for k in range(start, stop):
        i = first + k
        p[k] = data[at[i]] / omega * r[k] + change * p[k]
        t[i] = omega * inverse[i] * (p[k] - row_product(at[i] + 1, indptr[i + 1], indices, data, t))


@kernel(
    f"{MATRIX} in T r[n]; in T p[k]; in T t[k]; inout T w[n]; out T residual[k]; float64 omega; "
    f"int64 first",
    split="k",
    types=INDICES,
)
def forward_color(
    indptr, indices, data, at, inverse, r, p, t, w, residual, omega, first, start, stop
):
    """w = (D' + L)⁻¹ (p - (2 D' - D) t) and (D' + L) r."""
    for k in range(start, stop):
        i = first + k
        diagonal = np.float64(data[at[i]])
        residual[k] = diagonal / omega * r[i] + row_product(indptr[i], at[i], indices, data, r)
        w[i] = (
            omega
            * inverse[i]
            * (
                p[k]
                - (2 / omega - 1) * diagonal * t[k]
                - row_product(indptr[i], at[i], indices, data, w)
            )
        )
