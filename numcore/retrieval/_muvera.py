"""Search by sets of vectors: each set becomes one vector, so that inner products stand for the
similarity of sets, MUVERA.

Late-interaction models give a query and a document a set of vectors each. Their similarity is
Chamfer's, which such models call MaxSim,

    Chamfer(Q, D) = Σ over q in Q of max over p in D of ⟨q, p⟩.

Random hyperplanes cut the space into cells. A query's code has for every cell the sum of the
query's vectors in it, a document's code the mean of its vectors there, or the vector whose cell is
nearest: ⟨F(Q), F(D)⟩ then pairs each q with vectors close to it. Repetitions with other hyperplanes
are put one after the other. A plain search by inner products gives candidates, and exact
similarities rank these. From L. Dhulipala, M. Hadian, R. Jayaram, J. Lee, V. Mirrokni, "MUVERA:
multi-vector retrieval via fixed dimensional encodings", NeurIPS 2024.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from ..arguments import (
    RNG,
    Array,
    Float,
    Int64,
    Integer,
    UInt8,
    any_device,
    at_least,
    checked,
    finite,
    interval,
    within,
)
from ..dispatch import device_of, namespace_of, routine
from ..kernel import kernel
from ..linalg import CSR, spmv
from ..model import model
from ..random import generator_from_rng
from ..simd import (
    LANES,
    WIDE,
    add_scaled,
    float_bits,
    gemm_tile,
    max_tile,
    panel_cols,
    panel_rows,
    popcount,
    signed_sums,
    tile_cols,
    tile_rows,
    transpose8,
)
from ._kmeans import kmeans, nearest_centroid
from ._topk import topk_inner_product

POINTS = 1 << 14, 1 << 16  # vectors whose cells are held at once, on the CPU and on a GPU
PANEL = 48  # vectors that lie side by side for products with hyperplanes: columns of register tiles
TILE_ROWS = 8  # hyperplanes are filled up to a multiple of this, the rows of any register tile
NUMBERS = 1 << 22  # numbers of codes that are not final yet, held at once
ROWS_PER_CODE = 64  # rows that are enough to train a code of a quantizer


class MultiVectorResult(NamedTuple):
    """The best documents of each query, best first: exact scores and document numbers; and the
    candidates of the search by codes."""

    scores: Float[Array, "n_queries k"]
    indices: Int64[Array, "n_queries k"]
    candidates: Int64[Array, "n_queries n_candidates"]


# --- codes ----------------------------------------------------------------------------------------


class FixedDimensionalEncoder:
    """Codes of sets of vectors, such that inner products of codes approximate Chamfer similarity.

    Parameters
    ----------
    dim : int >= 1
        Length of the vectors, d.
    n_repetitions : int >= 1, default 20
        R: how often the space is cut, each time by other hyperplanes.
    n_bits : int in [0, 20], default 5
        k: hyperplanes of a repetition, 0 to 20. They make 2^k cells.
    projection_dim : int >= 1, optional
        d' <= d: numbers that a cell keeps of a vector. None or d keep the vector as it is.
    final_dim : int >= 1, optional
        Numbers that are kept of a code: its entries go, with random signs, to random ones of so
        many sums.
    fill_empty : bool, default True
        Give an empty cell of a document the vector whose cell differs from it by the fewest
        hyperplanes, the first of these.
    projection : {"count_sketch", "dense"}, default "count_sketch"
        How a vector is shortened: its entries go with random signs to random ones of d' sums, or it
        is multiplied by a random matrix of ±1/√d'. Both keep inner products in the mean; the first
        takes d operations instead of d d'.
    scale : {"sum", "mean"}, default "sum"
        "mean" divides the queries' codes by R, so that ⟨F(Q), F(D)⟩ is on the scale of Chamfer(Q,
        D). The ranking is the same.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For hyperplanes and signs, which are the same for queries and documents.

    Attributes
    ----------
    output_dim : int
        R 2^k d', or `final_dim`.
    hyperplanes_ : (R, d, k) array of float64
        Normals; a vector is on the positive side where its product with a normal is > 0.
    projections_ : (R, d, d') array of float64, or None

    Raises
    ------
    ValueError, TypeError
        An option is outside its range or of another type.

    Notes
    -----
    With whole vectors and `fill_empty`, ⟨F(Q), F(D)⟩ / R <= Chamfer(Q, D): a mean of products is
    not more than their maximum. For unit vectors, m in a set, the error of one repetition is at
    most ε \\|Q\\| with probability 1 - δ if k = O(log(m / δ) / ε) and d' = O(log(m / (ε δ)) / ε²).
    Sums have the dtype of the vectors: that of n vectors is off by n roundoffs of the sum of
    absolute values.

    Encoding takes R (k + 1) d operations for a vector, R d' d instead of R d with dense
    projections, and R 2^k d' for a set. The entry of repetition r, cell c and coordinate j is at (r
    2^k + c) d' + j; neighbouring cells differ by one hyperplane (Gray's order). Beyond the result
    some MB are held, and R + d' numbers for each vector of the largest set. Arrays may be of any
    device, which gets copies of the hyperplanes.

    References
    ----------
    L. Dhulipala et al., "MUVERA: multi-vector retrieval via fixed dimensional encodings", NeurIPS
    2024.

    Examples
    --------
    >>> encoder = FixedDimensionalEncoder(2, n_repetitions=1, n_bits=0, rng=0)
    >>> encoder.encode_queries(np.array([[1.0, 2.0], [3.0, 4.0]]), [0, 2])
    array([[4., 6.]])
    >>> encoder.encode_documents(np.array([[1.0, 2.0], [3.0, 4.0]]), [0, 2])
    array([[2., 3.]])
    """

    @checked
    def __init__(
        self,
        dim: Annotated[int, at_least(1)],
        *,
        n_repetitions: Annotated[int, at_least(1)] = 20,
        n_bits: Annotated[int, within(0, 20)] = 5,
        projection_dim: Annotated[int, at_least(1)] | None = None,
        final_dim: Annotated[int, at_least(1)] | None = None,
        fill_empty: bool = True,
        projection: Literal["count_sketch", "dense"] = "count_sketch",
        scale: Literal["sum", "mean"] = "sum",
        rng: RNG = None,
    ) -> None:
        projection_dim = dim if projection_dim is None else projection_dim
        inner = n_repetitions * 2**n_bits * projection_dim
        if projection_dim > dim:
            raise ValueError(
                f"projection_dim must be <= dim with dim = {dim} (got {projection_dim})"
            )
        if final_dim is not None and final_dim > inner:
            raise ValueError(
                f"final_dim must be <= n_repetitions 2^n_bits projection_dim = {inner} "
                f"(got {final_dim})"
            )
        self.dim, self.n_repetitions, self.n_bits = dim, n_repetitions, n_bits
        self.projection_dim, self.output_dim = projection_dim, final_dim or inner
        self.fill_empty, self.projection, self.scale = fill_empty, projection, scale
        self._make_tables(generator_from_rng(rng), None if final_dim is None else inner)

    def _make_tables(self, rng, sketched):
        shape, width = (self.n_repetitions, self.dim), self.projection_dim
        self.hyperplanes_ = rng.standard_normal((*shape, self.n_bits))
        self.projections_, self._final = None, None
        buckets, signs = np.zeros(shape, np.int32), np.ones(shape)
        if width < self.dim and self.projection == "dense":
            self.projections_ = rng.choice([-1.0, 1.0], (*shape, width)) / np.sqrt(width)
        elif width < self.dim:
            buckets, signs = (
                rng.integers(0, width, shape, dtype=np.int32),
                rng.choice([-1.0, 1.0], shape),
            )
            self.projections_ = signs[:, :, None] * (buckets[:, :, None] == np.arange(width))
        # the coordinates of each bucket one after the other
        self._order = buckets.argsort(axis=1, kind="stable").astype(np.int32)
        self._ordered_signs = np.take_along_axis(signs, self._order, 1)
        self._starts = np.array(
            [np.searchsorted(np.sort(row), np.arange(width + 1)) for row in buckets], np.int32
        )
        if sketched is not None:
            rows = rng.integers(0, self.output_dim, sketched)
            self._final = CSR.from_coo(
                rows,
                np.arange(sketched),
                rng.choice([-1.0, 1.0], sketched),
                (self.output_dim, sketched),
            )

    @checked
    def encode_queries(
        self,
        vectors: Float[Array, "total d"],
        offsets: Integer[Array, "n_sets+1", any_device],
    ) -> Array:
        """Codes of queries: for every cell the sum of the vectors in it.

        Parameters
        ----------
        vectors : (total, d) array of float32 or float64
            The vectors of all sets, one set after the other; finite.
        offsets : (n_sets+1,) array of integers
            Set i has the vectors ``offsets[i]`` to ``offsets[i + 1]``; from 0, ascending, to total.
            An empty set has a code of zeros. They may be a NumPy array beside vectors of a GPU.

        Returns
        -------
        (n_sets, output_dim) array of the same dtype

        Raises
        ------
        ValueError
            The width is not d, the offsets do not ascend or do not cover the vectors, or entries
            are not finite.
        TypeError
            Other dtypes, or arguments on different devices.
        """
        return self._encode("vectors", vectors, offsets, documents=False)

    @checked
    def encode_documents(
        self,
        vectors: Float[Array, "total d"],
        offsets: Integer[Array, "n_sets+1", any_device],
    ) -> Array:
        """Codes of documents: for every cell the mean of the vectors in it, see `fill_empty` for
        empty cells.

        Parameters, result and errors are those of `encode_queries`, but no set may be empty.
        """
        return self._encode("vectors", vectors, offsets, documents=True)

    def _encode(self, name, vectors, offsets, documents):
        xp, dtype = namespace_of(vectors), vectors.dtype
        if vectors.shape[1] != self.dim:
            raise ValueError(
                f"{name} must have shape (total, d) with d = {self.dim} (got {vectors.shape})"
            )
        offsets = _checked_offsets("offsets", offsets, len(vectors), filled=documents)
        tables = self._tables(xp, dtype)
        codes = xp.empty((len(offsets) - 1, self.output_dim), dtype)
        width = self.projection_dim if self.projection == "count_sketch" else self.dim
        most = max(1, NUMBERS // (self.n_repetitions * 2**self.n_bits * width))
        first, ends, points_most = 0, offsets.tolist(), POINTS[xp is not np]
        while first < len(codes):
            last = max(
                first + 1, min(first + most, bisect_right(ends, ends[first] + points_most) - 1)
            )
            points = xp.ascontiguousarray(vectors[ends[first] : ends[last]])
            self._encode_into(
                xp,
                name,
                points,
                xp.asarray(offsets[first : last + 1] - ends[first]),
                documents,
                tables,
                codes[first:last],
            )
            first = last
        return codes / self.n_repetitions if self.scale == "mean" and not documents else codes

    def _tables(self, xp, dtype):
        """Hyperplanes (R k, d) and zeros, the count sketch, dense projections and the final sketch,
        on the device and in the dtype of the vectors."""
        planes = self.n_repetitions * self.n_bits
        normals = np.zeros((-(-planes // TILE_ROWS) * TILE_ROWS, self.dim), dtype)
        normals[:planes] = self.hyperplanes_.transpose(0, 2, 1).reshape(planes, self.dim)
        dense = self.projections_ if self.projection == "dense" else None
        final = self._final
        if final is not None:
            final = CSR(
                xp.asarray(final.indptr),
                xp.asarray(final.indices),
                xp.asarray(final.data.astype(dtype)),
                final.shape,
            )
        return (
            xp.asarray(normals),
            *map(xp.asarray, (self._starts, self._order, self._ordered_signs.astype(dtype))),
            None if dense is None else xp.asarray(dense.astype(dtype)),
            final,
        )

    def _encode_into(self, xp, name, points, offsets, documents, tables, codes):
        normals, starts, order, signs, dense, final = tables
        n, repetitions, cells_count = len(codes), self.n_repetitions, 2**self.n_bits
        cells = xp.empty((repetitions, len(points)), np.int32)
        gray_cells(points, normals, cells, self.n_bits)
        if bool((cells[0] < 0).any()):
            raise ValueError(f"{name} must be finite (got nan or inf)")
        sketched = self.projections_ is not None and dense is None
        shape = (n * repetitions, cells_count, self.projection_dim if sketched else self.dim)
        blocks = (
            codes.reshape(shape)
            if dense is None and final is None
            else xp.empty(shape, codes.dtype)
        )
        encode_cells(
            points,
            offsets,
            cells,
            starts,
            order,
            signs,
            blocks,
            sketched,
            documents,
            documents and self.fill_empty,
        )
        if dense is not None:
            with np.errstate(all="ignore"):
                blocks = blocks.reshape(n, repetitions, cells_count, self.dim) @ dense
        if final is not None:
            codes[...] = spmv(final, xp.ascontiguousarray(blocks.reshape(n, -1).T)).T
        elif dense is not None:
            codes[...] = blocks.reshape(n, -1)


def _checked_finite(xp, name, array):
    if not bool(xp.isfinite(array).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")


def _checked_offsets(name, offsets, total, *, filled):
    """Offsets of sets as int64 of the host: from 0, ascending, to `total`, and with no empty set
    where the sets must be `filled`."""
    offsets = offsets.get() if hasattr(offsets, "get") else offsets
    if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(
            f"{name} must ascend from 0 to the number of vectors, {total} (got {offsets[0]} … "
            f"{offsets[-1]})"
        )
    empty = offsets[1:] == offsets[:-1]
    if filled and empty.any():
        raise ValueError(
            f"{name} must give every document a vector (got none for document {empty.argmax()})"
        )
    return offsets.astype(np.int64)


@kernel(
    "in T points[m, d]; in T normals[h, d]; out int32 cells[r, m]; int64 bits; "
    "scratch T columns[48*d]; scratch T products[48*h]",
    split="m",
)
def gray_cells(points, normals, cells, bits, columns, products, start, stop):
    """The cell of each vector in each repetition: the place in Gray's order of the bits [product
    with a normal > 0], the first being the highest; -1 for vectors that are not finite. Repetition
    r has the normals r bits to (r + 1) bits; those that fill up h are zero."""
    rows, cols, d, p = tile_rows(products[0]), tile_cols(products[0]), points.shape[1], start
    while p < stop:
        count = min(PANEL, stop - p)
        pack_points(points, p, count, PANEL, columns, 0)
        column = 0
        while column < count:
            h = 0
            while h < len(normals):
                gemm_tile(
                    normals,
                    h * d,
                    d,
                    1,
                    columns,
                    column,
                    PANEL,
                    products,
                    h * PANEL + column,
                    PANEL,
                    d,
                    0,
                )
                h += rows
            column += cols
        for r in range(cells.shape[0]):
            read_gray(products, r * bits, bits, cells[r, p : p + count])
        for i in range(count):
            if not all_finite(points[p + i]):
                cells[:, p + i] = -1
        p += PANEL


def read_gray(products, first, bits, cells):
    cells[:] = 0
    for b in range(first, first + bits):
        at = np.uintp(PANEL * b)
        for i in range(np.uintp(len(cells))):
            cells[i] = np.int32(2 * cells[i] + (np.int32(products[at + i] > 0) ^ (cells[i] & 1)))


def all_finite(row):
    """By the bits of the numbers: the largest of integers is found in vectors."""
    largest, exponent = float_bits(row[0] * 0), float_bits(row.dtype.type(np.inf))
    for e in range(len(row)):
        largest = max(largest, float_bits(abs(row[e])))
    return largest < exponent


def pack_points(points, p, count, width, columns, begin):
    """The coordinates of points p to p + count side by side, those of one place in a row of `width`
    numbers; the last are zeros."""
    d, i = points.shape[1], 0
    while i < count:
        e = 0
        while i + 8 <= count and e + 8 <= d:
            transpose8(points, (p + i) * d + e, d, columns, begin + e * width + i, width)
            e += 8
        while e < d:
            at = np.uintp(begin + e * width + i)
            for j in range(8):
                columns[at + np.uintp(j)] = (
                    points[np.uintp(p + i + j), np.uintp(e)] if i + j < count else 0
                )
            e += 1
        i += 8
    for e in range(d):
        columns[begin + e * width + i : begin + (e + 1) * width] = 0


@kernel(
    "in T points[m, d]; in int64 offsets[o]; in int32 cells[r, m]; in int32 starts[r, v]; "
    "in int32 order[r, d]; in T signs[r, d];"
    " out T codes[t, b, w]; int64 sketched; int64 mean; int64 fill; scratch int64 firsts[b]; "
    "scratch int64 counts[b];"
    " scratch T columns[1024*d]; scratch T sums[32*w+256]; scratch T short[m+32, w]",
    split="t",
    gpu="block",
)
def encode_cells(
    points,
    offsets,
    cells,
    starts,
    order,
    signs,
    codes,
    sketched,
    mean,
    fill,
    firsts,
    counts,
    columns,
    sums,
    short,
    start,
    stop,
):
    """codes[s R + r] of set s in repetition r: for each cell the sum or mean of the set's points in
    it, shortened where `sketched`: number j of a short one is the sum of signs[r, e] point[order[r,
    e]] for e from starts[r, j] to starts[r, j + 1]."""
    current = -1
    for t in range(start, stop):
        s, r = t // cells.shape[0], t % cells.shape[0]
        first, count = offsets[s], offsets[s + 1] - offsets[s]
        mine = cells[r, first : first + count]
        if sketched:
            shorten_points(
                points,
                first,
                count,
                starts[r],
                order,
                signs,
                r,
                s != current or count > 1024,
                columns,
                sums,
                short,
            )
            sum_cells(short, 0, mine, codes[t], mean, fill, firsts, counts)
            current = s
        else:
            sum_cells(points, first, mine, codes[t], mean, fill, firsts, counts)


def shorten_points(points, first, count, starts, order, signs, r, fresh, columns, sums, short):
    """short[i] = the count sketch of point first + i, 32 points at once; their coordinates lie in
    `columns`, old or `fresh`."""
    d, w, i = points.shape[1], short.shape[1], 0
    while i < count:
        begin, some = i % 1024 * d, min(WIDE, count - i)
        if fresh:
            pack_points(points, first + i, some, WIDE, columns, begin)
        for j in range(w):
            place = r * d + starts[j]
            signed_sums(
                sums,
                WIDE * j,
                columns,
                begin,
                order,
                place,
                signs,
                place,
                starts[j + 1] - starts[j],
            )
        unpack_sums(sums, some, short, i)
        i += WIDE


def unpack_sums(sums, some, short, first):
    """Rows of short from columns of 32 sums; those behind the last point, up to eight, are of no
    use."""
    i, w = 0, short.shape[1]
    while i < some:
        j = 0
        while j + 8 <= w:
            transpose8(sums, WIDE * j + i, WIDE, short, (first + i) * w + j, w)
            j += 8
        while j < w:
            for k in range(8):
                short[np.uintp(first + i + k), np.uintp(j)] = sums[np.uintp(WIDE * j + i + k)]
            j += 1
        i += 8


def sum_cells(rows, at, cells, code, mean, fill, firsts, counts):
    """code[c] = the sum or the mean of the rows of cell c; those of all points lie one after the
    other in rows, from `at` on."""
    w = np.uintp(code.shape[1])
    code[:] = 0
    firsts[:] = len(cells)
    counts[:] = 0
    for p in range(np.uintp(len(cells))):
        cell, row = np.uintp(cells[p]), np.uintp(at) + p
        counts[cell] += 1
        bits = cell ^ (cell >> np.uintp(1))
        firsts[bits] = min(firsts[bits], np.int64(p))
        if w == LANES:
            add_scaled(code, cell * w, code.dtype.type(1), rows, row * w)
        else:
            for j in range(w):
                code[cell, j] += rows[row, j]
    for c in range(np.uintp(len(code))):
        count = counts[c]
        if count == 0 and fill:
            row = np.uintp(at + nearest_point(cells, np.int64(c), firsts))
            for j in range(w):
                code[c, j] = rows[row, j]
        elif mean and count > 1:
            for j in range(w):
                code[c, j] /= count


def nearest_point(cells, cell, firsts):
    """The first point whose cell differs by the fewest bits from an empty one: among those of one
    bit, firsts knows it."""
    bits, best, flipped = cell ^ (cell >> 1), len(cells), 1
    while flipped < len(firsts):
        best = min(best, firsts[bits ^ flipped])
        flipped *= 2
    if best < len(cells):
        return best
    least = np.int32(32)
    for p in range(np.uintp(len(cells))):
        distance = popcount(np.int32(bits ^ (cells[p] ^ (cells[p] >> 1))))
        if distance < least:
            least, best = distance, np.int64(p)
    return best


# --- exact similarity and search ------------------------------------------------------------------


@routine
def chamfer_similarity(
    query_vectors: Float[Array, "nq d", finite],
    document_vectors: Float[Array, "total d"],
    document_offsets: Integer[Array, "n_docs+1", any_device],
    *,
    query_offsets: Integer[Array, "n_queries+1", any_device] | None = None,
    normalize: bool = False,
) -> Array:
    """Chamfer similarity (MaxSim) of queries and documents: Σ over q in Q of max over p in D of ⟨q,
    p⟩.

    Parameters
    ----------
    query_vectors : (nq, d) array of float32 or float64, finite
        The vectors of one query, or, with `query_offsets`, those of several, one query after the
        other. Finite.
    document_vectors : (total, d) array of float32 or float64
        Of the same dtype, finite.
    document_offsets : (n_docs+1,) array of integers
        Document i has the vectors ``document_offsets[i]`` to ``document_offsets[i + 1]``, at least
        one. Offsets may be NumPy arrays beside vectors of a GPU.
    query_offsets : (n_queries+1,) array of integers, optional
        The same for queries, which may be empty.
    normalize : bool, default False
        Divide by the number of the query's vectors.

    Returns
    -------
    (n_docs,) array, or (n_queries, n_docs) with `query_offsets`
        0 for an empty query, NaN where a product exceeds the range of the dtype. Products are sums
        of d terms in the dtype of the vectors, their error at most d roundoffs times the same sum
        of absolute values.

    Raises
    ------
    ValueError
        The widths differ, offsets do not ascend or do not cover the vectors, a document is empty,
        or entries are not finite.
    TypeError
        Other dtypes, or arguments on different devices.

    Notes
    -----
    2 \\|Q\\| \\|D\\| d operations for a pair; products are not kept, so that the memory beyond the
    result does not grow with the vectors.

    References
    ----------
    O. Khattab, M. Zaharia, "ColBERT: efficient and effective passage search via contextualized late
    interaction over BERT", SIGIR 2020.

    Examples
    --------
    >>> chamfer_similarity(np.eye(2), np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]), [0, 2, 3])
    array([4., 4.])
    """
    one = query_offsets is None
    if one:
        query_offsets = np.array([0, len(query_vectors)])
    xp, queries, query_offsets, documents, document_offsets = _checked_sets(
        query_vectors, query_offsets, document_vectors, document_offsets
    )
    scores = _chamfer(
        xp,
        queries,
        query_offsets,
        documents,
        document_offsets,
        xp.arange(len(document_offsets) - 1)[None],
    )
    if normalize:
        scores = scores / xp.asarray(
            np.maximum(np.diff(query_offsets), 1)[:, None].astype(scores.dtype)
        )
    return scores[0] if one else scores


def _checked_sets(query_vectors, query_offsets, document_vectors, document_offsets):
    """The array namespace; queries and documents, contiguous, each with the offsets of its sets on
    the host."""
    xp = namespace_of(query_vectors)
    query_offsets = _checked_offsets(
        "query_offsets", query_offsets, len(query_vectors), filled=False
    )
    document_offsets = _checked_offsets(
        "document_offsets", document_offsets, len(document_vectors), filled=True
    )
    queries, documents = map(xp.ascontiguousarray, (query_vectors, document_vectors))
    if not len(queries):
        _checked_finite(xp, "document_vectors", documents)
    return xp, queries, query_offsets, documents, document_offsets


def _chamfer(xp, queries, query_offsets, documents, document_offsets, candidates):
    """(n_queries, c) similarities of each query and its row of candidates, or the one row of
    all."""
    scores = xp.empty((len(query_offsets) - 1) * candidates.shape[1], queries.dtype)
    max_sim(
        queries,
        xp.asarray(query_offsets),
        documents,
        xp.asarray(document_offsets),
        xp.ascontiguousarray(candidates),
        scores,
    )
    if bool(xp.isnan(scores).any()):  # as the products of documents that are not finite are
        _checked_finite(xp, "document_vectors", documents)
    return scores.reshape(len(query_offsets) - 1, candidates.shape[1])


@kernel(
    "in T queries[a, d]; in int64 query_offsets[o]; in T documents[p, d]; "
    "in int64 document_offsets[f]; in int64 candidates[l, c];"
    " out T scores[t]; scratch T packed[a*d+32*d]; scratch T best[64]",
    split="t",
    gpu="block",
)
def max_sim(
    queries,
    query_offsets,
    documents,
    document_offsets,
    candidates,
    scores,
    packed,
    best,
    start,
    stop,
):
    """scores[q c + i] of query q and document candidates[q % l, i], NaN where a product is not
    finite. The query's vectors are the columns of register tiles."""
    width, current = panel_cols(packed), -1
    for t in range(start, stop):
        q = t // candidates.shape[1]
        first, count = query_offsets[q], query_offsets[q + 1] - query_offsets[q]
        if q != current:
            pack_columns(queries, first, count, packed)
            current = q
        document = candidates[q % candidates.shape[0], t % candidates.shape[1]]
        total, column = 0.0, 0
        while column < count:
            column_maxima(
                documents,
                document_offsets[document],
                document_offsets[document + 1],
                packed,
                column,
                best,
            )
            for j in range(min(width, count - column)):
                total += best[j] + best[width + j]
            column += width
        scores[t] = total


def pack_columns(queries, first, count, packed):
    """Panels (d, width) of the transposed vectors, filled up with zeros."""
    d, width, column = queries.shape[1], panel_cols(packed), 0
    while column < count:
        for e in range(d):
            for j in range(width):
                packed[(column * d) + e * width + j] = (
                    queries[first + column + j, e] if column + j < count else 0
                )
        column += width


def column_maxima(documents, first, last, packed, column, best):
    """best[j] = max over vectors first to last of their product with column + j; the last tile
    overlaps the one before."""
    d, width, height, row = documents.shape[1], panel_cols(packed), panel_rows(), first
    for j in range(width):
        best[j], best[width + j] = -np.inf, 0
    while row < last:
        at = max(min(row, last - height), first)
        max_tile(documents, at * d, d, last - at, packed, column * d, best, 0, d)
        row = at + height


@routine
def multi_vector_search(
    query_vectors: Float[Array, "total_q d", finite],
    query_offsets: Integer[Array, "n_queries+1", any_device],
    document_vectors: Float[Array, "total d"],
    document_offsets: Integer[Array, "n_docs+1", any_device],
    k: Annotated[int, interval("[1, n_docs]")],
    *,
    encoder: FixedDimensionalEncoder | None = None,
    n_candidates: Annotated[int, interval("[1, n_docs]")] | None = None,
    search: Callable[[Array, int], tuple[Any, Array]] | None = None,
) -> MultiVectorResult:
    """The k documents of the largest Chamfer similarity: candidates by inner products of codes,
    ranked by exact similarities.

    Parameters
    ----------
    query_vectors : (total_q, d) array of float32 or float64, finite
        The vectors of all queries, one query after the other. Finite.
    query_offsets : (n_queries+1,) array of integers
        Query i has the vectors ``query_offsets[i]`` to ``query_offsets[i + 1]``.
    document_vectors : (total, d) array of float32 or float64
        Of the same dtype, finite.
    document_offsets : (n_docs+1,) array of integers
        The same for documents, each with one vector at least.
    k : int in [1, n_docs]
        1 <= k <= n_docs.
    encoder : FixedDimensionalEncoder, optional
        By default one of 20 repetitions, 16 cells and at most 16 numbers a cell, from a fixed seed.
    n_candidates : int in [1, n_docs], optional
        k <= n_candidates <= n_docs; by default 10 k or 3 % of the documents, whichever is more, or
        all where there are fewer.
    search : callable, optional
        ``search(codes, n_candidates)`` → (scores, indices), both (n_queries, n_candidates): an
        index of the documents' codes, made by ``encoder.encode_documents`` beforehand. By default
        documents are encoded in the call, and searched exactly.

    Returns
    -------
    MultiVectorResult
        Best first, ties by the smaller index. Scores are exact similarities, those of
        `chamfer_similarity`; a document is missed where it is no candidate, so that more candidates
        give a higher recall, and n_candidates = n_docs the exact result.

    Raises
    ------
    ValueError
        k or n_candidates is outside its range, widths differ, offsets do not ascend or do not cover
        the vectors, a document is empty, entries are not finite, or `search` gives other shapes or
        indices of no document.
    TypeError
        Other dtypes, arguments on different devices, or an `encoder` or a `search` that is none.

    Notes
    -----
    The codes of all documents, n_docs × output_dim numbers, are held during the call; give `search`
    to keep them between calls. Then only candidates are read, and only their vectors are checked.

    References
    ----------
    L. Dhulipala et al., "MUVERA: multi-vector retrieval via fixed dimensional encodings", NeurIPS
    2024.

    Examples
    --------
    >>> documents = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [2.0, 2.0]])
    >>> multi_vector_search(np.eye(2), [0, 1, 2], documents, [0, 2, 3, 4], 2).indices
    array([[2, 0],
           [1, 2]])
    """
    xp, queries, query_offsets, documents, document_offsets = _checked_sets(
        query_vectors, query_offsets, document_vectors, document_offsets
    )
    n = len(document_offsets) - 1
    n_candidates = min(max(10 * k, -(-3 * n // 100)), n) if n_candidates is None else n_candidates
    if n_candidates < k:
        raise ValueError(f"n_candidates must be >= k with k = {k} (got {n_candidates})")
    if encoder is None:
        dim = queries.shape[1]
        encoder = FixedDimensionalEncoder(
            max(dim, 1), n_bits=4, projection_dim=max(min(dim, 16), 1), rng=0
        )
    codes = encoder._encode("query_vectors", queries, query_offsets, documents=False)
    if search is None:
        found = topk_inner_product(
            codes,
            encoder._encode("document_vectors", documents, document_offsets, documents=True),
            n_candidates,
        )
    else:
        found = search(codes, n_candidates)
    candidates = _checked_candidates(found, queries, n_candidates, len(query_offsets) - 1, n)
    ascending = xp.sort(candidates, axis=1)
    scores = _chamfer(xp, queries, query_offsets, documents, document_offsets, ascending)
    order = xp.argsort(-scores, axis=1, kind="stable")[:, :k]
    return MultiVectorResult(
        xp.take_along_axis(scores, order, 1), xp.take_along_axis(ascending, order, 1), candidates
    )


def _checked_candidates(found, queries, n_candidates, n_queries, n):
    """The indices that a search gave, as int64."""
    try:
        _, indices = found
    except (TypeError, ValueError):
        raise TypeError(
            f"search must return (scores, indices) (got {type(found).__name__})"
        ) from None
    if device_of(indices) is not device_of(queries) or indices.dtype.kind not in "iu":
        got = getattr(indices, "dtype", type(indices).__name__)
        raise TypeError(
            f"search must return indices of integers on the device of the queries (got {got})"
        )
    if indices.shape != (n_queries, n_candidates):
        raise ValueError(
            f"search must return indices of shape {(n_queries, n_candidates)} (got {indices.shape})"
        )
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < n:
        low, high = int(indices.min()), int(indices.max())
        raise ValueError(f"search must return indices in [0, {n}) (got {low} … {high})")
    return indices.astype(np.int64, copy=False)


# --- shorter codes --------------------------------------------------------------------------------


@model(fitted="codebooks_", features="d")
class ProductQuantizer:
    """Vectors as a byte for each group of coordinates: the number of the nearest of up to 256
    centroids of the group.

    With eight coordinates of float32 a group the codes take 1/32 of the memory. Inner products with
    queries are sums of looked-up products with centroids, for queries are not quantized.

    Parameters
    ----------
    n_subspaces : int >= 1
        M: groups of coordinates, a divisor of the vectors' length.
    n_codes : int in [1, 256], default 256
        Centroids of a group, 1 to 256.
    rng : None, int >= 0, SeedSequence, BitGenerator or Generator, optional
        For the rows that the training starts from.

    Attributes
    ----------
    codebooks_ : (M, n_codes, d / M) array
        The centroids, after `fit`, on the device and in the dtype of what was fitted.

    Raises
    ------
    ValueError, TypeError
        An option is outside its range or of another type; methods: the length of vectors does not
        fit, entries are not finite, or `fit` was not called.

    Notes
    -----
    ⟨q, x⟩ - ⟨q, decode(encode(x))⟩ is at most ‖q‖ ‖x - decode(encode(x))‖. Training takes ten steps
    of Lloyd's method on at most 64 rows a centroid.

    References
    ----------
    H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI,
    2011.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [0.0, 5.0], [2.0, 1.0]])
    >>> quantizer = ProductQuantizer(2, n_codes=2, rng=0).fit(x)
    >>> quantizer.decode(quantizer.encode(x))
    array([[0., 1.],
           [0., 5.],
           [2., 1.]])
    """

    def __init__(
        self,
        n_subspaces: Annotated[int, at_least(1)],
        *,
        n_codes: Annotated[int, within(1, 256)] = 256,
        rng: RNG = None,
    ) -> None:
        self.n_subspaces, self.n_codes, self.rng = n_subspaces, n_codes, rng

    def fit(self, x: Float[Array, "n d", finite]) -> "ProductQuantizer":
        """Learn the centroids.

        Parameters
        ----------
        x : (n, d) array of float32 or float64, finite
            n >= n_codes vectors.

        Returns
        -------
        ProductQuantizer
            Itself.
        """
        xp, (n, d) = namespace_of(x), x.shape
        if d % self.n_subspaces or not d:
            raise ValueError(
                f"n_subspaces must be a divisor of d with d = {d} (got {self.n_subspaces})"
            )
        if n < self.n_codes:
            raise ValueError(f"n_codes must be <= n with n = {n} (got {self.n_codes})")
        rng, max_rows = generator_from_rng(self.rng), ROWS_PER_CODE * self.n_codes
        if n > max_rows:
            x = x[xp.asarray(np.sort(rng.choice(n, max_rows, replace=False)))]
        parts = self._parts(x)
        with np.errstate(all="ignore"):
            self.codebooks_ = xp.stack([kmeans(xp, part, self.n_codes, rng) for part in parts])
        self.n_features_in_ = d
        return self

    def encode(self, x: Float[Array, "n d", finite]) -> Array:
        """Codes of vectors.

        Parameters
        ----------
        x : (n, d) array of float32 or float64, finite

        Returns
        -------
        (n, n_subspaces) array of uint8
        """
        self._at_home("x", x)
        xp = namespace_of(x)
        codes = xp.empty((len(x), self.n_subspaces), np.uint8)
        for g, (part, centroids) in enumerate(zip(self._parts(x), self.codebooks_, strict=True)):
            with np.errstate(all="ignore"):
                codes[:, g] = nearest_centroid(xp, part, centroids.astype(x.dtype, copy=False))[0]
        return codes

    def _parts(self, x):
        """The groups of coordinates, each contiguous."""
        size = x.shape[1] // self.n_subspaces
        return [
            namespace_of(x).ascontiguousarray(x[:, g * size : (g + 1) * size])
            for g in range(self.n_subspaces)
        ]

    def decode(self, codes: UInt8[Array, "n m"]) -> Array:
        """The centroids that codes stand for.

        Parameters
        ----------
        codes : (n, m) array of uint8
            m is n_subspaces.

        Returns
        -------
        (n, d) array
        """
        self._check_codes(codes)
        groups = namespace_of(codes).arange(self.n_subspaces)
        return self.codebooks_[groups, codes].reshape(len(codes), -1)

    def inner_product(
        self, queries: Float[Array, "n_queries d", finite], codes: UInt8[Array, "n m"]
    ) -> Array:
        """Inner products of queries with what codes stand for, by tables of each query.

        Parameters
        ----------
        queries : (n_queries, d) array of float32 or float64, finite
        codes : (n, m) array of uint8
            m is n_subspaces.

        Returns
        -------
        (n_queries, n) array
        """
        self._check_codes(codes)
        xp = namespace_of(queries)
        codes = xp.ascontiguousarray(codes)
        centroids = self.codebooks_.astype(queries.dtype, copy=False)
        products = xp.empty((len(queries), len(codes)), queries.dtype)
        for first in range(0, len(queries), LANES):
            part = queries[first : first + LANES]
            # some are padded, as a fixed number is faster
            lanes = LANES if len(part) > LANES // 4 else len(part)
            padded = xp.zeros((lanes, queries.shape[1]), queries.dtype)
            padded[: len(part)] = part
            with np.errstate(all="ignore"):
                tables = centroids @ padded.reshape(lanes, self.n_subspaces, -1).transpose(1, 2, 0)
            sums = xp.empty((len(codes), lanes), queries.dtype)
            look_up_sums(xp.ascontiguousarray(tables), codes, sums)
            products[first : first + LANES] = sums[:, : len(part)].T
        return products

    def _at_home(self, name, array):
        """Arrays must live where the model was fitted."""
        here, there = device_of(array), device_of(self.codebooks_)
        if here is not there:
            raise TypeError(
                f"arguments must live on one device (got {name} on {here.name}, codebooks_ on "
                f"{there.name})"
            )

    def _check_codes(self, codes):
        self._at_home("codes", codes)
        if codes.shape[1] != self.n_subspaces:
            raise ValueError(
                f"codes must have shape (n, m) with m = n_subspaces = {self.n_subspaces} "
                f"(got {codes.shape})"
            )
        if codes.size and int(codes.max()) >= self.n_codes:
            raise ValueError(
                f"codes must be < n_codes with n_codes = {self.n_codes} (got {int(codes.max())})"
            )


@kernel("in T tables[m, c, q]; in uint8 codes[n, m]; out T sums[n, q]", split="n", gpu="warp")
def look_up_sums(tables, codes, sums, start, stop):
    """sums[i, q] = Σ over m of tables[m, codes[i, m], q]. Some rows pass by the table of one m
    after the other: all stays in the cache."""
    groups, size, lanes = tables.shape
    first = start
    while first < stop:
        last = min(first + 128, stop)
        for i in range(first, last):
            for q in range(lanes):
                sums[i, q] = 0
        for m in range(groups):
            for i in range(np.uintp(first), np.uintp(last)):
                at = (m * size + codes[i, m]) * lanes
                if lanes == LANES:
                    add_scaled(sums, i * np.uintp(LANES), sums.dtype.type(1), tables, at)
                else:
                    for q in range(lanes):
                        sums[i, q] += tables[m, np.uintp(codes[i, m]), q]
        first = last
