"""Codes of sets of vectors beside the loop over cells that ports write; Chamfer similarity beside
einsum; search beside brute force."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import (
    FixedDimensionalEncoder,
    ProductQuantizer,
    chamfer_similarity,
    multi_vector_search,
    topk_inner_product,
)

SECONDS = 2


def documents_of(count, size=64, width=128, topics=200):
    """Unit vectors around the four topics of each document, and eight queries of 32 vectors near
    those of one document."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((topics, width), dtype=np.float32)
    which = rng.integers(0, topics, (count, 4))[
        np.arange(count)[:, None], rng.integers(0, 4, (count, size))
    ]
    vectors = centers[which] + rng.standard_normal((count, size, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    asked = vectors[rng.integers(0, count, 8)[:, None], rng.integers(0, size, (8, 32))]
    queries = asked + rng.standard_normal(asked.shape, dtype=np.float32) / 16
    return (
        queries.reshape(-1, width),
        np.arange(0, 257, 32),
        vectors.reshape(-1, width),
        np.arange(0, count * size + 1, size),
    )


def encoder_of(**options):
    return FixedDimensionalEncoder(
        128, **{"n_repetitions": 20, "n_bits": 4, "projection_dim": 16, "rng": 0} | options
    )


def loop_over_cells(encoder, vectors, offsets):
    """A mask for every cell, as in ports to NumPy."""
    normals, projections = (
        encoder.hyperplanes_.astype(np.float32),
        encoder.projections_.astype(np.float32),
    )
    bits_of_cell = np.array(list(np.ndindex(*(2,) * encoder.n_bits)))
    codes = np.empty(
        (len(offsets) - 1, encoder.n_repetitions, len(bits_of_cell), encoder.projection_dim),
        np.float32,
    )
    for i, code in enumerate(codes):
        points = vectors[offsets[i] : offsets[i + 1]]
        for r in range(encoder.n_repetitions):
            bits, short = points @ normals[r] > 0, points @ projections[r]
            for c, pattern in enumerate(bits_of_cell):
                distances = (bits != pattern).sum(axis=1)
                mask = distances == 0
                code[r, c] = short[mask].mean(axis=0) if mask.any() else short[distances.argmin()]
    return codes.reshape(len(codes), -1)


class Encode:
    param_names, params = ("documents",), ([1000, 10000],)

    def setup(self, documents):
        self.sets, self.encoder = documents_of(documents)[2:], encoder_of()
        self.encoder.encode_documents(*self.sets)

    def time_documents(self, documents):
        self.encoder.encode_documents(*self.sets)

    def time_queries(self, documents):
        self.encoder.encode_queries(*self.sets)

    def peakmem_documents_with_a_final_sketch(self, documents):
        encoder_of(final_dim=1024).encode_documents(*self.sets)

    def track_ratio_to_loop_over_cells(self, documents):
        part = self.sets[0][: 64 * 100], self.sets[1][:101]
        ours, theirs = median_seconds(
            [
                lambda: self.encoder.encode_documents(*part),
                lambda: loop_over_cells(self.encoder, *part),
            ],
            SECONDS,
        )
        return theirs / ours


class Growth:
    """Time at four times the size by that at the size, over four: 1 where the cost grows as
    counted."""

    def setup(self):
        self.sets = documents_of(2000)[2:]

    def factor(self, small, large):
        first, last = median_seconds([small, large], SECONDS)
        return last / first / 4

    def track_scaling_with_documents(self):
        encoder, part = encoder_of(), (self.sets[0][: 500 * 64], self.sets[1][:501])
        return self.factor(
            lambda: encoder.encode_documents(*part), lambda: encoder.encode_documents(*self.sets)
        )

    def track_scaling_with_repetitions(self):
        few, many = encoder_of(n_repetitions=5), encoder_of()
        return self.factor(
            lambda: few.encode_documents(*self.sets), lambda: many.encode_documents(*self.sets)
        )

    def track_scaling_with_points(self):
        encoder, sparse = encoder_of(), (self.sets[0][: 500 * 64], np.arange(0, 500 * 64 + 1, 16))
        return self.factor(
            lambda: encoder.encode_documents(*sparse), lambda: encoder.encode_documents(*self.sets)
        )


class Similarity:
    """1000 documents of 64 vectors and one query."""

    param_names, params = ("query_vectors",), ([8, 32, 128],)

    def setup(self, query_vectors):
        _, _, self.documents, self.offsets = documents_of(1000)
        self.query = self.documents[::501][:query_vectors].copy()
        self.ours()

    def ours(self):
        return chamfer_similarity(self.query, self.documents, self.offsets)

    def time_chamfer(self, query_vectors):
        self.ours()

    def peakmem_chamfer(self, query_vectors):
        self.ours()

    def track_ratio_to_numpy(self, query_vectors):
        documents = self.documents.reshape(1000, 64, 128)

        def einsum():
            return (
                np.einsum("id,njd->nij", self.query, documents, optimize=True)
                .max(axis=2)
                .sum(axis=1)
            )

        ours, theirs = median_seconds([self.ours, einsum], SECONDS)
        return theirs / ours

    def track_ratio_to_torch(self, query_vectors):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        query, documents = (
            torch.from_numpy(self.query),
            torch.from_numpy(self.documents.reshape(1000, 64, 128)),
        )

        def einsum():
            return torch.einsum("id,njd->nij", query, documents).amax(2).sum(1)

        ours, theirs = median_seconds([self.ours, einsum], SECONDS)
        return theirs / ours


class Search:
    """10000 documents, encoded beforehand; ten are found among as many candidates as there are by
    default."""

    timeout = 300

    def setup(self):
        self.sets, self.encoder = documents_of(10000), encoder_of()
        self.codes = self.encoder.encode_documents(*self.sets[2:])

    def find(self):
        return multi_vector_search(
            *self.sets,
            10,
            encoder=self.encoder,
            search=lambda queries, k: topk_inner_product(queries, self.codes, k),
        )

    def brute_force(self):
        """Every query against blocks of documents, so that the products fit into memory."""
        queries, documents = self.sets[0].reshape(8, 32, 128), self.sets[2].reshape(-1, 64, 128)
        scores = np.concatenate(
            [
                [
                    np.einsum("id,njd->nij", query, block, optimize=True).max(axis=2).sum(axis=1)
                    for query in queries
                ]
                for block in np.split(documents, 10)
            ],
            axis=1,
        )
        return np.argsort(-scores, axis=1, kind="stable")[:, :10]

    def time_search(self):
        self.find()

    def track_ratio_to_brute_force(self):
        ours, theirs = median_seconds([self.find, self.brute_force], SECONDS)
        return theirs / ours

    def track_recall_at_10(self):
        exact = self.brute_force()
        return float(
            np.mean(
                [len(set(a) & set(b)) / 10 for a, b in zip(self.find().indices, exact, strict=True)]
            )
        )


class Quantized:
    """Codes of 5120 numbers as 640 bytes."""

    timeout = 600

    def setup_cache(self):
        queries, query_offsets, documents, offsets = documents_of(2000)
        encoder = encoder_of()
        codes = encoder.encode_documents(documents, offsets)
        quantizer = ProductQuantizer(codes.shape[1] // 8, rng=0).fit(codes)
        return (
            encoder.encode_queries(queries, query_offsets),
            codes,
            quantizer,
            quantizer.encode(codes),
        )

    def time_inner_product(self, cache):
        queries, _, quantizer, short = cache
        quantizer.inner_product(queries, short)

    def track_ratio_to_decoded_product(self, cache):
        queries, _, quantizer, short = cache
        ours, theirs = median_seconds(
            [
                lambda: quantizer.inner_product(queries, short),
                lambda: queries @ quantizer.decode(short).T,
            ],
            SECONDS,
        )
        return theirs / ours

    def track_bytes_saved(self, cache):
        return cache[1].nbytes / cache[3].nbytes
