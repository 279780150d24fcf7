"""Codes of sets of vectors."""

from bisect import bisect_right
from typing import Annotated, Literal

import numpy as np

from ...arguments import RNG, Array, Float, Integer, any_device, at_least, checked, within
from ...dispatch import namespace_of
from ...linalg import CSR, spmv
from ...random import generator_from_rng
from .kernels import encode_cells, gray_cells
from .sets import host_offsets

POINTS = 1 << 14, 1 << 16  # vectors whose cells are held at once, on the CPU and on a GPU
TILE_ROWS = 8  # hyperplanes are filled up to a multiple of this, the rows of any register tile
NUMBERS = 1 << 22  # numbers of codes that are not final yet, held at once


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
    2^k + c) d' + j; neighboring cells differ by one hyperplane (Gray's order). Beyond the result
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
            buckets = rng.integers(0, width, shape, dtype=np.int32)
            signs = rng.choice([-1.0, 1.0], shape)
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
        self, vectors: Float[Array, "total d"], offsets: Integer[Array, "n_sets+1", any_device]
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
        self, vectors: Float[Array, "total d"], offsets: Integer[Array, "n_sets+1", any_device]
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
        offsets = host_offsets("offsets", offsets, len(vectors), filled=documents)
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
