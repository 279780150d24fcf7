"""Vectors in a few bytes."""

from typing import Annotated, Any

import numpy as np

from ...arguments import RNG, Array, Float, UInt8, at_least, finite, within
from ...dispatch import check_one_device, namespace_of
from ...model import model
from ...random import generator_from_rng
from .._kmeans import kmeans, nearest_centroid
from .kernels import LANES, look_up_sums

ROWS_PER_CODE = 64  # rows that are enough to train a code of a quantizer


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

    def fit(self, X: Float[Array, "n d", finite], y: Any = None) -> "ProductQuantizer":
        """Learn the centroids.

        Parameters
        ----------
        X : (n, d) array of float32 or float64, finite
            n >= n_codes vectors.
        y : anything, optional
            Is not used: the argument is scikit-learn's protocol.

        Returns
        -------
        ProductQuantizer
            Itself.
        """
        xp, (n, d) = namespace_of(X), X.shape
        if d % self.n_subspaces or not d:
            raise ValueError(
                f"n_subspaces must be a divisor of d with d = {d} (got {self.n_subspaces})"
            )
        if n < self.n_codes:
            raise ValueError(f"n_codes must be <= n with n = {n} (got {self.n_codes})")
        rng, max_rows = generator_from_rng(self.rng), ROWS_PER_CODE * self.n_codes
        if n > max_rows:
            X = X[xp.asarray(np.sort(rng.choice(n, max_rows, replace=False)))]
        parts = self._parts(X)
        with np.errstate(all="ignore"):
            self.codebooks_ = xp.stack([kmeans(xp, part, self.n_codes, rng) for part in parts])
        self.n_features_in_ = d
        return self

    def encode(self, X: Float[Array, "n d", finite]) -> Array:
        """Codes of vectors.

        Parameters
        ----------
        X : (n, d) array of float32 or float64, finite

        Returns
        -------
        (n, n_subspaces) array of uint8
        """
        check_one_device(X=X, codebooks_=self.codebooks_)
        xp = namespace_of(X)
        codes = xp.empty((len(X), self.n_subspaces), np.uint8)
        for g, (part, centroids) in enumerate(zip(self._parts(X), self.codebooks_, strict=True)):
            with np.errstate(all="ignore"):
                codes[:, g] = nearest_centroid(xp, part, centroids.astype(X.dtype, copy=False))[0]
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

    def _check_codes(self, codes):
        check_one_device(codes=codes, codebooks_=self.codebooks_)
        if codes.shape[1] != self.n_subspaces:
            raise ValueError(
                f"codes must have shape (n, m) with m = n_subspaces = {self.n_subspaces} "
                f"(got {codes.shape})"
            )
        if codes.size and int(codes.max()) >= self.n_codes:
            raise ValueError(
                f"codes must be < n_codes with n_codes = {self.n_codes} (got {int(codes.max())})"
            )
