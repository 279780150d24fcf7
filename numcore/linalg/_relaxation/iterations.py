"""The iterations on one system: SOR sweeps, and conjugate gradients with symmetric SOR. A kernel
call does many iterations, or one color of one iteration."""

import itertools
import math

import numpy as np

from ...dispatch import namespace_of
from ...progress import progress_bar
from .._sparse import spmv
from .kernels import (
    BREAKDOWN,
    CONVERGED,
    FRESH,
    N_DONE,
    NOT_FINITE,
    RUNNING,
    STAGNATED,
    STATUS,
    VECTORS,
    backward_color,
    forward_color,
    sor_color,
    sor_rows,
    ssor_cg_rows,
)
from .systems import difference, norm_of, parts_of

# matrix entries read per kernel call, about 30 ms: a call cannot be interrupted
CALL = 1 << 24
MAX_SWEEPS = 4096  # per kernel call
# up to this size one kernel call does all iterations: on a GPU, one block with 64 KiB of shared
# memory; on the CPU, one thread for colored systems
FEW_ROWS = 4000
REASONS = {
    RUNNING: "max_iter",
    CONVERGED: "converged",
    NOT_FINITE: "diverged",
    BREAKDOWN: "breakdown",
    STAGNATED: "stagnated",
}


class Iteration:
    """State of a method on one system. `advance` iterates and computes the residual norm of every x
    up to the current one.

    `count` is the number of norms, `last` the last of them.
    """

    def __init__(self, matrix, start, omega, target):
        self.a, self.xp = matrix.a, namespace_of(start.b)
        self.b, self.omega, self.target = start.b, omega, target
        eps = float(np.finfo(self.a.dtype).eps)
        self.reached = max(target, self.lowest_norm * eps * start.reference)
        by_color = matrix.coloring is not None and len(self.b) > FEW_ROWS
        self.colors = matrix.coloring.starts if by_color else None  # None: complete solves
        indptr, indices, data, at, inverse = parts_of(self.a)
        self.batch = indptr, indices, data[None], at, inverse[None], matrix.starts
        self.limits = self.xp.asarray(np.array([[omega, self.reached]]))
        self.parts, self.count, self.last, self.status = [], 0, math.nan, RUNNING
        self.begin(start.r, start.x0)

    def norms(self):
        return np.concatenate(self.parts)

    def advance(self, n_steps):
        if self.colors is None:
            norms = self.xp.empty((1, n_steps))
            self.kernel(norms)
            (state,) = self.state.tolist()
            n_done, self.status = state[N_DONE], state[STATUS]
            norms = norms[0, :n_done] if self.xp is np else self.xp.asnumpy(norms[0, :n_done])
        else:
            norms = []
            with np.errstate(all="ignore"):
                while len(norms) < n_steps and self.status == RUNNING:
                    norms.append(self.by_colors())
            norms = np.array(norms)
        self.parts.append(norms)
        self.count, self.last = self.count + len(norms), float(norms[-1])

    def update_status(self, norm):
        if norm <= self.reached:
            self.status = CONVERGED
        elif not norm < math.inf:
            self.status = NOT_FINITE


class SORIteration(Iteration):
    """SOR sweeps; each computes a new x from the old one and the residual of the old one."""

    lowest_norm, relative_to_b = 0.0, False

    def begin(self, r, x):
        self.pair = self.xp.empty((1, 2, len(self.b)), self.b.dtype)
        self.pair[0, 0] = 0 if x is None else x
        self.state = self.xp.zeros((1, 3), np.int64)
        self.turn = 0

    def kernel(self, norms):
        sor_rows(*self.batch, self.b[None], self.pair, self.limits, norms, self.state)

    def by_colors(self):
        old, new = self.pair[0, self.turn], self.pair[0, 1 - self.turn]
        self.turn = 1 - self.turn
        new[...] = old
        residual = self.xp.empty_like(old)
        for first, last in itertools.pairwise(self.colors):
            sor_color(
                *parts_of(self.a),
                self.b[first:last],
                residual[first:last],
                old,
                new,
                self.omega,
                first,
            )
        norm = norm_of(residual)
        self.update_status(norm)
        return norm

    def confirm(self):
        """Norms of SOR are those of b - A x."""

    def solution(self):
        return self.pair[0, (self.count - 1) % 2].copy()


class SSORCGIteration(Iteration):
    """Conjugate gradients for (D' + L)⁻¹ A (D' + U)⁻¹ with D' = D / ω, preconditioned by D'
    (Eisenstat's trick); x is stored in the original variables."""

    # in units of roundoff of the reference: below it, the recurrence no longer tracks b - A x
    lowest_norm = 1 / 64
    relative_to_b = True
    restarted = math.inf  # the norm at the last restart

    def begin(self, r, x):
        # r: at first b - A x, then (D' + L)⁻¹ times it
        self.vectors = self.xp.zeros((1, VECTORS, len(self.b)), self.b.dtype)
        self.x, self.r, self.p, self.t, self.w = self.vectors[0]
        self.x[...], self.r[...] = 0 if x is None else x, r
        self.energies = self.xp.zeros((1, 3))
        self.state = self.xp.asarray(np.array([[0, FRESH]]))
        if self.colors is not None:
            self.diagonal = 1 / (self.omega * self.a.inverse_diagonal)
            self.forward(self.r)
            self.r, self.w = self.w, self.r
            self.energy, self.change = self.sum(self.diagonal * self.r * self.r), 0.0
            self.curvature = 0.0

    def kernel(self, norms):
        ssor_cg_rows(*self.batch, self.vectors, self.limits, self.energies, norms, self.state)

    def by_colors(self):
        if self.curvature > 0:
            self.step()
        for first, last in reversed(list(itertools.pairwise(self.colors))):
            backward_color(
                *parts_of(self.a),
                self.r[first:last],
                self.p[first:last],
                self.t,
                self.omega,
                self.change,
                first,
            )
        norm = norm_of(self.forward(self.p))
        self.curvature = self.sum(self.p * (self.t + self.w))
        self.update_status(norm)
        if self.status == RUNNING and not (self.curvature > 0 and self.energy > 0):
            self.status = BREAKDOWN
        return norm

    def step(self):
        alpha = np.asarray(self.energy / self.curvature, self.x.dtype)[()]
        self.x += alpha * self.t
        self.r -= alpha * (self.t + self.w)
        before, self.energy = self.energy, self.sum(self.diagonal * self.r * self.r)
        self.change = self.energy / before

    def forward(self, p):
        """w = (D' + L)⁻¹ (p - (2 D' - D) t), and the residual (D' + L) r."""
        residual = self.xp.empty_like(p)
        for first, last in itertools.pairwise(self.colors):
            forward_color(
                *parts_of(self.a),
                self.r,
                p[first:last],
                self.t[first:last],
                self.w,
                residual[first:last],
                self.omega,
                first,
            )
        return residual

    def sum(self, products):
        return float(self.xp.sum(products, dtype=np.float64))

    def confirm(self):
        """Replace the last norm, computed by recurrence, with that of b - A x; restart from x if it
        is too large."""
        r = difference(self.b, spmv(self.a, self.x))
        self.parts[-1][-1] = self.last = norm = norm_of(r)
        if self.status == CONVERGED and norm > self.target:
            self.status = RUNNING if norm < self.restarted / 2 else STAGNATED
            if self.status == RUNNING:
                self.restarted = norm
                # the first iteration computes it again
                self.parts[-1], self.count = self.parts[-1][:-1], self.count - 1
                self.begin(r, self.x)

    def solution(self):
        return self.x.copy()


# --- running them ---------------------------------------------------------------------------------


def target_of(kind, tol, reference):
    """The norm at which a solve stops: `ssor_cg` tests <=, `sor` tests <."""
    goal = tol * reference
    return goal if kind.relative_to_b else math.nextafter(goal, 0.0)


def run_iterations(iteration, entries, max_iter, callback, progress):
    """Iterate in calls of bounded length, so that callbacks and interrupts are handled in between;
    returns why it stopped."""
    bar = progress_bar(None, "iterations") if progress else None
    max_steps = 1 if callback else max(1, min(CALL // max(entries, 1), MAX_SWEEPS))
    try:
        while iteration.status == RUNNING and iteration.count <= max_iter:
            before = iteration.count
            iteration.advance(min(max_steps, max_iter + 1 - before))
            if iteration.status != RUNNING:
                iteration.confirm()
            if bar is not None:
                bar.update(iteration.count - before)
            if callback and 0 < before < iteration.count:
                ended = callback(before, iteration.last) is True
                if ended and iteration.status == RUNNING:
                    return "callback"
    finally:
        if bar is not None:
            bar.close()
    return REASONS[iteration.status]
