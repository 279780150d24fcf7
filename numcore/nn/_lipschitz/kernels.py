"""Kernels of linear bounds: rows taken through the lines of one layer of nodes."""

from ...kernel import kernel


@kernel(
    "inout float64 a[m, d]; inout float64 c[m]; in float64 w[r, n]; in float64 su[g, n]; "
    "in float64 sl[g, n]; in float64 tu[g, n]; "
    "in float64 tl[g, n]; int64 at",
    split="m",
    gpu="block",
)
def relax(a, c, w, su, sl, tu, tl, at, start, stop):
    """a y <= a' x + c' for y between sl x + tl and su x + tu, a being n columns from `at` on: in
    place, m / g rows for each pair of lines.

    If there are rows w, they are first added to r rows of a, then taken from r rows, and so on.
    """
    r, n = w.shape
    for i in range(start, stop):
        k, row = i // (a.shape[0] // su.shape[0]), a[i, at : at + n]
        if r:
            sign, more = 1.0 if i // r % 2 == 0 else -1.0, w[i % r]
            for j in range(n):
                row[j] += sign * more[j]
        c[i] += constant(row, tu[k], tl[k])
        scale(row, su[k], sl[k])


@kernel(
    "in float64 w[r, n]; in float64 su[g, n]; in float64 sl[g, n]; in float64 tu[g, n]; "
    "in float64 tl[g, n]; int64 at; "
    "inout float64 a[m, d]; out float64 c[m]",
    split="m",
    gpu="block",
)
def relax_rows(w, su, sl, tu, tl, at, a, c, start, stop):
    """The same of the rows w and then of -w, for each pair of lines: m = 2 g r."""
    r, n = w.shape
    for i in range(start, stop):
        k, row = i // (2 * r), a[i, at : at + n]
        sign, here = 1.0 if i // r % 2 == 0 else -1.0, w[i % r]
        for j in range(n):
            row[j] = sign * here[j]
        c[i] = constant(row, tu[k], tl[k])
        scale(row, su[k], sl[k])


def constant(row, tu, tl):
    """Sum over j of row[j] tu[j] where row[j] > 0, and of row[j] tl[j] elsewhere."""
    n = row.size
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for j in range(0, n - 7, 8):
        p0 = row[j] if row[j] > 0 else 0.0
        s0 += p0 * tu[j] + (row[j] - p0) * tl[j]
        p1 = row[j + 1] if row[j + 1] > 0 else 0.0
        s1 += p1 * tu[j + 1] + (row[j + 1] - p1) * tl[j + 1]
        p2 = row[j + 2] if row[j + 2] > 0 else 0.0
        s2 += p2 * tu[j + 2] + (row[j + 2] - p2) * tl[j + 2]
        p3 = row[j + 3] if row[j + 3] > 0 else 0.0
        s3 += p3 * tu[j + 3] + (row[j + 3] - p3) * tl[j + 3]
        p4 = row[j + 4] if row[j + 4] > 0 else 0.0
        s4 += p4 * tu[j + 4] + (row[j + 4] - p4) * tl[j + 4]
        p5 = row[j + 5] if row[j + 5] > 0 else 0.0
        s5 += p5 * tu[j + 5] + (row[j + 5] - p5) * tl[j + 5]
        p6 = row[j + 6] if row[j + 6] > 0 else 0.0
        s6 += p6 * tu[j + 6] + (row[j + 6] - p6) * tl[j + 6]
        p7 = row[j + 7] if row[j + 7] > 0 else 0.0
        s7 += p7 * tu[j + 7] + (row[j + 7] - p7) * tl[j + 7]
    for j in range(n - n % 8, n):
        p0 = row[j] if row[j] > 0 else 0.0
        s0 += p0 * tu[j] + (row[j] - p0) * tl[j]
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))


def scale(row, su, sl):
    for j in range(row.size):
        positive = row[j] if row[j] > 0 else 0.0  # a choice between slopes would be a branch
        row[j] = positive * su[j] + (row[j] - positive) * sl[j]
