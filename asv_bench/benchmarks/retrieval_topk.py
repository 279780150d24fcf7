"""Exact search beside faiss and argpartition, the inverted file beside exact search, Hamming
distances beside NumPy's; float32."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import InvertedFileIndex, packed_hamming, topk_inner_product

SECONDS = 3


def faiss_module():
    try:
        import faiss
    except ImportError as error:
        raise NotImplementedError("faiss is not installed") from error
    faiss.omp_set_num_threads(numcore.get_num_threads())
    return faiss


class Exact:
    """A ratio above 1: the baseline takes longer."""

    param_names = ("nq", "nx", "d", "k")
    params = ([1, 16, 1000], [100_000], [128, 384], [10, 100])
    timeout = 300

    def setup(self, nq, nx, d, k):
        rng = np.random.default_rng(0)
        self.queries, self.database = (
            rng.standard_normal((n, d)).astype(np.float32) for n in (nq, nx)
        )
        topk_inner_product(self.queries, self.database, k)

    def time_search(self, nq, nx, d, k):
        topk_inner_product(self.queries, self.database, k)

    def peakmem_search(self, nq, nx, d, k):
        topk_inner_product(self.queries, self.database, k)

    def track_ratio_to_faiss(self, nq, nx, d, k):
        index = faiss_module().IndexFlatIP(d)
        index.add(self.database)
        ours, theirs = median_seconds(
            [
                lambda: topk_inner_product(self.queries, self.database, k),
                lambda: index.search(self.queries, k),
            ],
            SECONDS,
        )
        return theirs / ours

    def track_ratio_to_argpartition(self, nq, nx, d, k):
        def peer():
            scores = self.queries @ self.database.T
            some = np.argpartition(-scores, k, axis=1)[:, :k]
            best = np.take_along_axis(scores, some, 1)
            return np.take_along_axis(some, np.argsort(-best, axis=1), 1)

        ours, theirs = median_seconds(
            [lambda: topk_inner_product(self.queries, self.database, k), peer], SECONDS
        )
        return theirs / ours

    def track_factor_of_the_product_alone(self, nq, nx, d, k):
        def product():
            for first in range(0, nq, 256):
                self.queries[first : first + 256] @ self.database.T

        ours, product_alone = median_seconds(
            [lambda: topk_inner_product(self.queries, self.database, k), product], SECONDS
        )
        return ours / product_alone


class Metrics:
    param_names, params = ("metric",), (["ip", "cosine", "l2"],)

    def setup(self, metric):
        rng = np.random.default_rng(0)
        self.queries, self.database = (
            rng.standard_normal((n, 128)).astype(np.float32) for n in (1000, 100_000)
        )
        topk_inner_product(self.queries[:300], self.database, 10, metric=metric)

    def time_search(self, metric):
        topk_inner_product(self.queries, self.database, 10, metric=metric)


class InvertedFile:
    """200 000 vectors of 64 numbers in 1000 clusters."""

    timeout = 600

    def setup_cache(self):
        rng = np.random.default_rng(0)
        centers = 2 * rng.standard_normal((1000, 64))
        points = (
            centers[rng.integers(0, 1000, 201_000)] + rng.standard_normal((201_000, 64))
        ).astype(np.float32)
        return InvertedFileIndex(metric="l2", rng=0).fit(points[1000:]), points

    def track_recall(self, cached):
        index, points = cached
        return index.recall_at(points[:1000], 10)

    def track_ratio_of_exact_search(self, cached):
        index, points = cached
        queries, database = points[:1000], points[1000:]
        exact, ours = median_seconds(
            [
                lambda: topk_inner_product(queries, database, 10, metric="l2"),
                lambda: index.search(queries, 10),
            ],
            SECONDS,
        )
        return exact / ours


class Hamming:
    param_names, params = ("words",), ([1, 4, 16],)

    def setup(self, words):
        self.a, self.b = (
            np.random.default_rng(0).integers(0, 2**64, (2000, words), np.uint64) for _ in range(2)
        )
        packed_hamming(self.a[:9], self.b)

    def time_hamming(self, words):
        packed_hamming(self.a, self.b)

    def track_ratio_to_bitwise_count(self, words):
        def peer():
            return np.concatenate(
                [np.bitwise_count(row ^ self.b).sum(axis=1, dtype=np.int32)[None] for row in self.a]
            )

        ours, theirs = median_seconds([lambda: packed_hamming(self.a, self.b), peer], SECONDS)
        return theirs / ours
