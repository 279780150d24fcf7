"""Kernels of nonlinear layers on Taylor coefficients."""

from ...kernel import kernel
from .._activation import CONSTANTS, KINDS, for_kind

# m is the order: 0, 1 or 2. Elements of a layer are rows of h numbers behind each other. u holds
# the values; the rows of `more` the u_k, then the u_kk. These repeat after p elements: in the first
# layer, where x + t v moves all inputs alike, u_k is the same for all, p = h, and there is no u_kk;
# else p is the size. y and g have all coefficients: 1, D, and D of order 2.

BLOCK = 1024  # elements whose coefficients stay in the cache
CONSTANTS = CONSTANTS | {"BLOCK": BLOCK}


def layer(u, more, b, y, higher, work, start, stop):
    """The coefficients y of s(u + b); u becomes s', and `higher` s'' and s''' as far as a backward
    pass of this order needs them."""
    m, size = higher.shape[0], u.size
    d = (y.shape[0] - 1) // max(m, 1)
    tile, zeros = work[2 * BLOCK : 3 * BLOCK], cleared(work[3 * BLOCK :])
    for low in range(start, stop, BLOCK):
        high = min(low + BLOCK, stop)
        add_bias(u, b, low, high)
        s1, s2, s3 = u[low:high], work[: high - low], work[BLOCK : BLOCK + high - low]
        if m > 0:
            s2 = higher[0, low:high]
        if m > 1:
            s3 = higher[1, low:high]
        expand(s1, y[0, low:high], s2, s3)
        for k in range(d):
            u_k = coefficient(more, k, size, low, high, tile)
            if m == 1:
                chain_1(s1, u_k, y[1 + k, low:high])
            elif m == 2:
                u_kk = zeros[: high - low]
                if more.shape[0] > d:
                    u_kk = more[d + k, low:high]
                chain_2(s1, s2, u_k, u_kk, y[1 + k, low:high], y[1 + d + k, low:high])


def cleared(x):
    for i in range(x.size):
        x[i] = x.dtype.type(0)
    return x


def coefficient(more, k, size, low, high, tile):
    """more[k, i % p] for i from low to high."""
    p = more.shape[1]
    if p == size:
        return more[k, low:high]
    i = low
    while i < high:
        column = i % p
        end = min(high, i + p - column)
        part, row = tile[i - low : end - low], more[k, column : column + end - i]
        for j in range(part.size):
            part[j] = row[j]
        i = end
    return tile[: high - low]


def add_bias(u, b, start, stop):
    """u[i] += b[i % h], row by row"""
    while start < stop:
        column = start % b.size
        end = min(stop, start + b.size - column)
        row, bias = u[start:end], b[column : column + end - start]
        for j in range(row.size):
            row[j] += bias[j]
        start = end


def expand(u, s, s2, s3):
    """s, s'' and s''' of u; u becomes s'(u)."""
    real = u.dtype.type
    for i in range(u.size):
        s[i], u[i], s2[i], s3[i] = derivatives(u[i], real)


def chain_1(s1, u_k, y_k):
    for i in range(s1.size):
        y_k[i] = s1[i] * u_k[i]


def chain_2(s1, s2, u_k, u_kk, y_k, y_kk):
    for i in range(s1.size):
        y_k[i] = s1[i] * u_k[i]
        y_kk[i] = s2[i] * u_k[i] * u_k[i] + s1[i] * u_kk[i]


FORWARD = {
    kind: kernel(
        "inout T u[size]; in T more[e, p]; in T b[h]; out T y[c, size]; out T higher[m, size]; "
        "scratch T work[4*BLOCK]",
        constants=CONSTANTS,
        split="size",
        grain="8192",
    )(for_kind(layer, "mlp_layer", kind, (expand,)))
    for kind in KINDS
}


@kernel(
    "in T u[size]; in T more[e, p]; in T higher[m, size]; inout T g[c, size]; "
    "scratch T work[2*BLOCK]",
    constants=CONSTANTS,
    split="size",
    grain="8192",
)
def mlp_layer_vjp(u, more, higher, g, work, start, stop):
    """Cotangents g of the coefficients of s(u) become those of u; u holds s', `higher` s'' and
    s'''."""
    m, size = higher.shape[0], u.size
    d = (g.shape[0] - 1) // max(m, 1)
    tile, zeros = work[:BLOCK], cleared(work[BLOCK:])
    for low in range(start, stop, BLOCK):
        high = min(low + BLOCK, stop)
        s1, g0 = u[low:high], g[0, low:high]
        scale(s1, g0)
        for k in range(d):
            u_k = coefficient(more, k, size, low, high, tile)
            if m == 1:
                pull_1(s1, higher[0, low:high], u_k, g0, g[1 + k, low:high])
            elif m == 2:
                u_kk = zeros[: high - low]
                if more.shape[0] > d:
                    u_kk = more[d + k, low:high]
                pull_2(
                    s1,
                    higher[0, low:high],
                    higher[1, low:high],
                    u_k,
                    u_kk,
                    g0,
                    g[1 + k, low:high],
                    g[1 + d + k, low:high],
                )


def scale(s1, g):
    for i in range(g.size):
        g[i] *= s1[i]


def pull_1(s1, s2, u_k, g, g_k):
    for i in range(g.size):
        g[i] += s2[i] * u_k[i] * g_k[i]
        g_k[i] *= s1[i]


def pull_2(s1, s2, s3, u_k, u_kk, g, g_k, g_kk):
    for i in range(g.size):
        second, bend = g_kk[i], s2[i] * u_k[i]
        g[i] += bend * g_k[i] + (s3[i] * u_k[i] * u_k[i] + s2[i] * u_kk[i]) * second
        g_k[i] = s1[i] * g_k[i] + (bend + bend) * second
        g_kk[i] = s1[i] * second
