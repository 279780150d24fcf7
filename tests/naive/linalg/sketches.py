"""Sketches as matrices, entry by entry, from the same draws; least squares in extended
precision."""

import numpy as np

from tests.naive.linalg.kernels import hadamard


def padded_signs(rng, n):
    """The matrix E D: signs, in random places where n is no power of two."""
    size = 1
    while size < n:
        size *= 2
    signs = 2 * rng.integers(0, 2, n) - 1
    places = sorted(rng.choice(size, n, replace=False, shuffle=False)) if n < size else range(n)
    ed = np.zeros((size, n))
    for i in range(n):
        ed[places[i], i] = signs[i]
    return ed


def srht_matrix(n, m, seed):
    rng = np.random.default_rng(seed)
    ed = padded_signs(rng, n)
    rows = rng.choice(len(ed), m, replace=False)
    return hadamard(len(ed))[rows] @ ed / np.sqrt(m)


def src_matrix(n, m, seed):
    rng = np.random.default_rng(seed)
    signs, c = 2 * rng.integers(0, 2, (2, n)) - 1
    s = np.zeros((m, n))
    for t, i in enumerate(rng.choice(n, m, replace=False)):
        for j in range(n):
            s[t, j] = c[(i - j) % n] * signs[j] / np.sqrt(m)
    return s


def tensor_srht_matrix(lengths, m, seed):
    rng, s = np.random.default_rng(seed), []
    padded = [padded_signs(rng, n) for n in lengths]
    rows = [rng.integers(0, len(ed), m) for ed in padded]
    for t in range(m):
        row = np.ones(1)
        for ed, i in zip(padded, rows, strict=True):
            row = np.kron(row, hadamard(len(ed))[i[t]] @ ed)
        s.append(row / np.sqrt(m))
    return np.array(s)


def exact_solution(a, b):
    """Least squares by orthogonalising column after column, twice, in extended precision."""
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    d = a.shape[1]
    q, r = a.copy(), np.zeros((d, d), np.longdouble)
    for j in range(d):
        for _ in range(2):
            inner = q[:, :j].T @ q[:, j]
            r[:j, j] += inner
            q[:, j] -= q[:, :j] @ inner
        r[j, j] = np.sqrt(q[:, j] @ q[:, j])
        q[:, j] /= r[j, j]
    x = q.T @ b
    for j in range(d)[::-1]:
        x[j] = (x[j] - r[j, j + 1 :] @ x[j + 1 :]) / r[j, j]
    return x
