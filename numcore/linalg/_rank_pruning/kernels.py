"""The 1 × 1 convolution, and eigenvectors of many small matrices by Jacobi rotations."""

import math

from ...kernel import kernel
from ...simd import LANES, WIDEST, gemm_row, gemm_rows, rotate, tile_cols

MAX_SWEEPS = 40  # five or six are usual
NOISE = 1e-17  # what is zero off the diagonal, relative to the trace
SUMS = 8  # that run side by side in `dot`


@kernel(
    "in T w[n, c]; in T x[b, c, p]; out T y[b, n, p]; scratch T panel[WIDEST*c]; "
    "scratch T sums[WIDEST]",
    constants={"WIDEST": WIDEST},
    split="b",
    gpu="block",
    grain="1",
)
def mix_channels(w, x, y, panel, sums, start, stop):
    """y[b] = w x[b], for images of p pixels with c channels."""
    (n, c), p, width = w.shape, x.shape[2], tile_cols(w[0, 0])
    whole = p // width * width
    for b in range(start, stop):
        image, result = x[b], y[b]
        for column in range(0, whole, width):
            gemm_rows(n, w, 0, c, 1, image, column, p, result, column, p, c, 0)
        if whole < p:
            for k in range(c):
                for j in range(width):
                    panel[k * width + j] = image[k, whole + j] if whole + j < p else 0
            for i in range(n):
                gemm_row(w, i * c, c, 1, panel, 0, width, sums, 0, width, c, 0)
                for j in range(whole, p):
                    result[i, j] = sums[j - whole]


@kernel(
    "in T a[n, p, m]; out float64 energies[n, m]; out float64 vectors[n, m, m]; "
    "scratch float64 columns[m*(p+SUMS)]; "
    "scratch float64 g[LANES*m*m]; scratch float64 v[LANES*m*m]; scratch float64 turn[2*LANES]; "
    "scratch float64 noise[LANES]",
    constants=("MAX_SWEEPS", "NOISE", "LANES", "SUMS"),
    split="n",
    gpu="block",
    threads=32,
    shared="2*8*m*m",
    grain="16",
    twin_tolerance={"float32": 1e-9, "float64": 1e-9},
)
def gram_eigh(a, energies, vectors, columns, g, v, turn, noise, start, stop):
    """Eigenvalues (descending) and eigenvectors (columns) of aᵀa of small matrices by Jacobi
    rotations, LANES matrices at a time.

    For a matrix that needs no rotation, the rotation is exactly the identity, so that results do
    not depend on which matrices share a batch.
    """
    m = a.shape[2]
    for first in range(start, stop, LANES):
        count = min(LANES, stop - first)
        for e in range(m * m * LANES):
            g[e] = v[e] = 0
        for lane in range(LANES):
            if lane < count:
                gram(a[first + lane], columns, g, lane)
            noise[lane] = 0
            for i in range(m):
                noise[lane] += NOISE * g[place(m, i, i) + lane]
                v[place(m, i, i) + lane] = 1
        for _ in range(MAX_SWEEPS):
            turned = 0.0
            for p in range(m - 1):
                for q in range(p + 1, m):
                    turns = choose_turns(
                        g, place(m, p, p), place(m, p, q), place(m, q, q), noise, turn
                    )
                    if turns == 0:
                        continue
                    turned += turns
                    for k in range(p):
                        rotate(g, place(m, k, p), g, place(m, k, q), turn, 0)
                    for k in range(p + 1, q):
                        rotate(g, place(m, p, k), g, place(m, k, q), turn, 0)
                    for k in range(q + 1, m):
                        rotate(g, place(m, p, k), g, place(m, q, k), turn, 0)
                    for k in range(m):
                        rotate(v, place(m, k, p), v, place(m, k, q), turn, 0)
            if turned == 0:
                break
        for lane in range(count):
            put_sorted(g, v, lane, energies[first + lane], vectors[first + lane])


def place(m, i, j):
    """Offset of entry (i, j) of the LANES matrices."""
    return (i * m + j) * LANES


def gram(a, columns, g, lane):
    """The upper triangle of aᵀa."""
    p, m = a.shape
    size = (p + SUMS - 1) // SUMS * SUMS
    for j in range(m):
        column = columns[j * size : (j + 1) * size]
        for i in range(p):
            column[i] = a[i, j]
        for i in range(p, size):
            column[i] = 0
    for i in range(m):
        for j in range(i, m):
            g[place(m, i, j) + lane] = dot(
                columns[i * size : (i + 1) * size], columns[j * size : (j + 1) * size]
            )


def dot(x, y):
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for k in range(0, x.size, SUMS):
        s0 += x[k] * y[k]
        s1 += x[k + 1] * y[k + 1]
        s2 += x[k + 2] * y[k + 2]
        s3 += x[k + 3] * y[k + 3]
        s4 += x[k + 4] * y[k + 4]
        s5 += x[k + 5] * y[k + 5]
        s6 += x[k + 6] * y[k + 6]
        s7 += x[k + 7] * y[k + 7]
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))


def choose_turns(g, pp, pq, qq, noise, turn):
    """Cosines and sines that zero the entries pq; returns how many matrices need a rotation."""
    first, middle, last = g[pp : pp + LANES], g[pq : pq + LANES], g[qq : qq + LANES]
    cosine, sine, needed = turn[:LANES], turn[LANES:], 0.0
    for lane in range(LANES):
        x, y, z = first[lane], middle[lane], last[lane]
        needs = abs(y) > noise[lane]
        theta = (z - x) / (2 * (y if needs else 1.0))
        t = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1))
        t = t if needs else 0.0
        c = 1 / math.sqrt(t * t + 1)
        cosine[lane], sine[lane] = c, t * c
        first[lane], middle[lane], last[lane] = x - t * y, (0.0 if needs else y), z + t * y
        needed += 1.0 if needs else 0.0
    return needed


def put_sorted(g, v, lane, energies, vectors):
    m = energies.size
    for k in range(m):
        best = 0
        for i in range(1, m):
            if g[place(m, i, i) + lane] > g[place(m, best, best) + lane]:
                best = i
        energies[k] = g[place(m, best, best) + lane]
        g[place(m, best, best) + lane] = -math.inf
        for i in range(m):
            vectors[i, k] = v[place(m, i, best) + lane]
