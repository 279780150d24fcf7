"""Codes of sets, Chamfer similarity, search and product quantization against loops, known answers
and simulations.

The bars of recall at 10,000 documents: ``pytest tests/retrieval/test_muvera.py -m slow``.
"""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval import muvera as naive
from numcore.model import NotFittedError
from numcore.retrieval import (
    FixedDimensionalEncoder,
    ProductQuantizer,
    chamfer_similarity,
    multi_vector_search,
    topk_inner_product,
)
from numcore.retrieval._kmeans import kmeans, nearest_centroid
from numcore.retrieval._muvera.kernels import gray_cells
from numcore.simd import (
    WIDE,
    add_scaled,
    max_tile,
    panel_cols,
    panel_rows,
    signed_sums,
    transpose8,
)
from numcore.testing import simulated_gpu


def ragged(rng, sets, width, least=1, most=9, dtype=np.float64):
    offsets = np.concatenate([[0], np.cumsum(rng.integers(least, most + 1, sets))])
    return rng.standard_normal((offsets[-1], width)).astype(dtype), offsets


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# --- codes ----------------------------------------------------------------------------------------

OPTIONS = [
    {"n_bits": 0},
    {"n_bits": 3},
    {"n_bits": 3, "fill_empty": False},
    {"n_bits": 4, "projection_dim": 5},
    {"n_bits": 1, "projection_dim": 1},
    {"n_bits": 2, "projection_dim": 4, "projection": "dense"},
    {"n_bits": 6},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_codes_equal_loops(options):
    rng = np.random.default_rng(0)
    vectors, offsets = ragged(rng, 12, 7)
    encoder = FixedDimensionalEncoder(7, n_repetitions=3, rng=1, **options)
    assert encoder.hyperplanes_.shape == (3, 7, encoder.n_bits)
    assert (encoder.projections_ is None) == ("projection_dim" not in options)
    for documents, encode in ((False, encoder.encode_queries), (True, encoder.encode_documents)):
        expected = [
            naive.encode(
                points, encoder.hyperplanes_, encoder.projections_, documents, encoder.fill_empty
            )
            for points in naive.sets(vectors, offsets)
        ]
        codes = encode(vectors, offsets)
        assert codes.shape == (12, encoder.output_dim) and codes.dtype == np.float64
        np.testing.assert_allclose(
            codes, expected, atol=1e-13
        )  # sums of at most 9 · 7 numbers of size 4
        single = encode(vectors.astype(np.float32), offsets)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, expected, atol=1e-5)


def test_gray_order():
    bits = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    cells = np.empty((1, 8), np.int32)
    gray_cells(np.where(bits, 1.0, -1.0), np.eye(8, 3), cells, 3)
    assert cells[0].tolist() == [0, 1, 3, 2, 7, 6, 4, 5] == [naive.cell_of(b) for b in bits]
    assert (cells[0] ^ cells[0] >> 1).tolist() == list(range(8))


def test_a_product_of_zero_is_on_the_negative_side_for_both():
    encoder = FixedDimensionalEncoder(3, n_repetitions=2, n_bits=4, fill_empty=False, rng=0)
    zero = np.zeros((1, 3))
    for codes in (
        encoder.encode_queries(np.vstack([zero, -zero]), [0, 2]),
        encoder.encode_documents(zero, [0, 1]),
    ):
        assert not codes.any()
    cells = np.empty((1, 2), np.int32)
    gray_cells(np.array([[0.0, 0.0], [-0.0, 1e-320]]), np.eye(8, 2), cells, 2)
    assert cells.tolist() == [[0, 1]]


def test_ties_between_nearest_points_go_to_the_first():
    encoder = FixedDimensionalEncoder(2, n_repetitions=1, n_bits=2, rng=3)
    normals = encoder.hyperplanes_[0]
    patterns = {}
    for angle in np.linspace(0, 2 * np.pi, 100):
        x = np.array([np.cos(angle), np.sin(angle)])
        patterns.setdefault(tuple(int(b) for b in x @ normals > 0), x)
    left, right = (
        patterns[(0, 1)],
        patterns[(1, 0)],
    )  # both differ by one bit from (0, 0), and from (1, 1)
    for first, second in ((left, right), (right, left)):
        code = encoder.encode_documents(np.array([first, second]), [0, 2]).reshape(4, 2)
        for pattern in ((0, 0), (1, 1)):
            np.testing.assert_array_equal(code[naive.cell_of(pattern)], first)


def test_one_cell_gives_the_product_with_the_mean():
    rng = np.random.default_rng(1)
    query, document = rng.standard_normal((6, 9)), rng.standard_normal((11, 9))
    encoder = FixedDimensionalEncoder(9, n_repetitions=7, n_bits=0, rng=0)
    product = (
        encoder.encode_queries(query, [0, 6])[0] @ encoder.encode_documents(document, [0, 11])[0]
    )
    assert product == pytest.approx(7 * (query @ document.mean(axis=0)).sum(), rel=1e-12)


@pytest.mark.parametrize("n_bits", [0, 1, 3, 5, 8])
def test_documents_of_one_point_are_exact(n_bits):
    rng = np.random.default_rng(2)
    queries, offsets = ragged(rng, 10, 6)
    points = rng.standard_normal((8, 6))
    encoder = FixedDimensionalEncoder(6, n_repetitions=3, n_bits=n_bits, rng=0)
    products = (
        encoder.encode_queries(queries, offsets) @ encoder.encode_documents(points, np.arange(9)).T
    )
    np.testing.assert_allclose(
        products / 3,
        chamfer_similarity(queries, points, np.arange(9), query_offsets=offsets),
        atol=1e-12,
    )


def test_products_of_filled_codes_never_exceed_the_similarity():
    rng = np.random.default_rng(3)
    queries, query_offsets = ragged(rng, 25, 8)
    documents, document_offsets = ragged(rng, 40, 8)
    for n_bits in (0, 2, 4):
        encoder = FixedDimensionalEncoder(
            8, n_repetitions=4, n_bits=n_bits, scale="mean", rng=n_bits
        )
        products = (
            encoder.encode_queries(queries, query_offsets)
            @ encoder.encode_documents(documents, document_offsets).T
        )
        exact = chamfer_similarity(
            queries, documents, document_offsets, query_offsets=query_offsets
        )
        assert products.size == 1000 and (products <= exact + 1e-12).all()


def test_codes_of_queries_add_up_and_of_documents_average():
    rng = np.random.default_rng(4)
    points = rng.standard_normal((15, 10))
    for options in (
        {},
        {"projection_dim": 4},
        {"projection_dim": 4, "projection": "dense"},
        {"final_dim": 50},
    ):
        encoder = FixedDimensionalEncoder(10, n_repetitions=5, n_bits=3, rng=0, **options)
        parts = encoder.encode_queries(points, [0, 6, 15])
        np.testing.assert_allclose(
            parts.sum(axis=0), encoder.encode_queries(points, [0, 15])[0], atol=1e-12
        )
        np.testing.assert_allclose(
            encoder.encode_documents(np.repeat(points, 3, axis=0), [0, 45]),
            encoder.encode_documents(points, [0, 15]),
            atol=1e-12,
        )


@pytest.mark.parametrize("projection", ["count_sketch", "dense"])
def test_projections_keep_products_in_the_mean(projection):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 20))
    projections = FixedDimensionalEncoder(
        20, n_repetitions=4000, n_bits=0, projection_dim=8, projection=projection, rng=0
    ).projections_
    products = ((x @ projections) * (y @ projections)).sum(axis=1)
    assert abs(products.mean() - x @ y) < 4 * products.std() / np.sqrt(4000)  # four standard errors
    if projection == "count_sketch":
        assert (np.abs(projections).sum(axis=2) == 1).all()
    else:
        np.testing.assert_allclose(np.abs(projections), 8**-0.5)


def test_final_sketch_is_one_matrix_for_both_sides():
    rng = np.random.default_rng(6)
    vectors, offsets = ragged(rng, 30, 6)
    whole = FixedDimensionalEncoder(6, n_repetitions=4, n_bits=3, projection_dim=3, rng=7)
    short = FixedDimensionalEncoder(
        6, n_repetitions=4, n_bits=3, projection_dim=3, final_dim=40, rng=7
    )
    assert whole.output_dim == 96 and short.output_dim == 40
    np.testing.assert_array_equal(whole.hyperplanes_, short.hyperplanes_)
    for encode in ("encode_queries", "encode_documents"):
        codes, sums = (
            getattr(whole, encode)(vectors, offsets),
            getattr(short, encode)(vectors, offsets),
        )
        dense = short._final.toarray()
        assert ((dense != 0).sum(axis=0) == 1).all() and set(np.unique(dense)) == {-1, 0, 1}
        np.testing.assert_allclose(sums, codes @ dense.T, atol=1e-12)


def test_seeds():
    rng = np.random.default_rng(0)
    vectors, offsets = ragged(rng, 5, 4)
    codes = [
        FixedDimensionalEncoder(
            4, n_repetitions=2, n_bits=2, projection_dim=2, rng=seed
        ).encode_documents(vectors, offsets)
        for seed in (1, 1, np.random.default_rng(5), np.random.default_rng(5), 2)
    ]
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[2], codes[3])
    assert not np.array_equal(codes[0], codes[4])
    encoder = FixedDimensionalEncoder(4, rng=1)
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(
        again.encode_queries(vectors, offsets), encoder.encode_queries(vectors, offsets)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_codes_on_the_simulated_gpu_in_any_layout_at_any_thread_count(dtype):
    rng = np.random.default_rng(8)
    vectors, offsets = ragged(rng, 40, 9, dtype=dtype)
    before = vectors.copy()
    vectors.flags.writeable = False
    for options in (
        {},
        {"projection_dim": 4},
        {"projection_dim": 4, "projection": "dense"},
        {"projection_dim": 4, "final_dim": 30},
    ):
        encoder = FixedDimensionalEncoder(9, n_repetitions=3, n_bits=3, rng=0, **options)
        for encode in (encoder.encode_queries, encoder.encode_documents):
            expected = encode(vectors, offsets)
            assert expected.dtype == dtype and expected.flags.c_contiguous
            for other in (np.asfortranarray(vectors), np.repeat(vectors, 2, axis=1)[:, ::2]):
                np.testing.assert_array_equal(encode(other, offsets.astype(np.int32)), expected)
            threads = numcore.get_num_threads()
            try:
                for n in (1, 3):
                    numcore.set_num_threads(n)
                    np.testing.assert_array_equal(encode(vectors, offsets.tolist()), expected)
            finally:
                numcore.set_num_threads(threads)
            with simulated_gpu(checked=True) as xp:
                for on_gpu in (offsets, xp.asarray(offsets)):
                    codes = encode(xp.asarray(vectors), on_gpu)
                    np.testing.assert_allclose(
                        codes.get(), expected, atol=1e-5 if dtype == "float32" else 1e-13
                    )
    np.testing.assert_array_equal(vectors, before)


def test_empty_sets():
    encoder = FixedDimensionalEncoder(4, n_repetitions=2, n_bits=2, rng=0)
    assert (
        encoder.encode_queries(np.ones((0, 4)), [0]).shape
        == encoder.encode_documents(np.ones((0, 4)), [0]).shape
        == (0, 32)
    )
    codes = encoder.encode_queries(np.ones((2, 4), np.float32), [0, 0, 2, 2])
    assert codes.dtype == np.float32 and not codes[[0, 2]].any() and codes[1].any()


def test_chunks_do_not_show():
    """More vectors than are worked on at once, and a set larger than that."""
    rng = np.random.default_rng(9)
    lengths = np.array([1, 3000, 2000, 9000, 5, 4096, 4097, 2])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors = (
        rng.integers(-3, 4, (offsets[-1], 3)) + 0.25
    )  # sums are exact in any order; no product is near 0 by chance of rounding
    for options in ({}, {"projection_dim": 2}):
        encoder = FixedDimensionalEncoder(3, n_repetitions=2, n_bits=2, rng=0, **options)
        codes = encoder.encode_queries(vectors, offsets)
        for i, points in enumerate(naive.sets(vectors, offsets)):
            np.testing.assert_array_equal(
                codes[i], encoder.encode_queries(points, [0, len(points)])[0]
            )
            np.testing.assert_array_equal(
                codes[i],
                naive.encode(points, encoder.hyperplanes_, encoder.projections_, documents=False),
            )


def test_long_codes_are_not_held_before_the_final_sketch():
    rng = np.random.default_rng(21)
    vectors, offsets = ragged(rng, 600, 16, dtype=np.float32)
    encoder = FixedDimensionalEncoder(
        16, n_bits=6, final_dim=64, rng=0
    )  # 20 · 64 · 16 numbers a code before: 49 MB for all
    encoder.encode_documents(vectors[: offsets[2]], offsets[:3])
    tracemalloc.start()
    encoder.encode_documents(vectors, offsets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20  # codes of 4 million numbers at once, and their transpose


def test_extreme_numbers_give_no_warnings():
    vectors = np.array(
        [[1e300, -1e300, 5e-324, 0.0], [1e308, 1e308, -1e308, 1.0], [-0.0, 0.0, 1e-310, -1.0]]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in (
            {"projection_dim": 2},
            {"projection_dim": 2, "projection": "dense"},
            {"final_dim": 3},
            {"scale": "mean"},
        ):
            encoder = FixedDimensionalEncoder(4, n_repetitions=2, n_bits=2, rng=0, **options)
            assert (
                encoder.encode_queries(vectors, [0, 2, 3]).shape
                == encoder.encode_documents(vectors, [0, 2, 3]).shape
            )
        quantizer = ProductQuantizer(2, n_codes=3, rng=0).fit(vectors)
        assert quantizer.inner_product(vectors, quantizer.encode(vectors)).shape == (3, 3)


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        ({"dim": 0}, ValueError, r"dim must be >= 1 \(got 0\)"),
        ({"dim": 4, "n_bits": 21}, ValueError, r"n_bits must be in \[0, 20\] \(got 21\)"),
        ({"dim": 4, "projection_dim": 5}, ValueError, r"must be <= dim with dim = 4 \(got 5\)"),
        ({"dim": 4, "n_bits": 0, "final_dim": 81}, ValueError, r"final_dim must be <= .* = 80"),
    ],
)
def test_encoder_refuses_options(arguments, kind, message):
    with pytest.raises(kind, match=message):
        FixedDimensionalEncoder(**arguments)


@pytest.mark.parametrize(
    "vectors, offsets, kind, message",
    [
        (
            np.ones((3, 5)),
            [0, 3],
            ValueError,
            r"vectors must have shape \(total, d\) with d = 4 \(got \(3, 5\)\)",
        ),
        (np.ones((3, 4)), [0, 2], ValueError, "ascend from 0 to 3"),
        (np.ones((3, 4)), [1, 3], ValueError, "ascend"),
        (np.ones((3, 4)), [0, 2, 1, 3], ValueError, "ascend"),
        (np.ones((3, 4)), np.array([], int), ValueError, "offsets must have shape"),
        (np.array([[1.0, 2, np.nan, 4]]), [0, 1], ValueError, "vectors must be finite"),
        (np.array([[1.0, 2, np.inf, 4]]), [0, 1], ValueError, "vectors must be finite"),
    ],
)
def test_encoder_refuses_sets(vectors, offsets, kind, message):
    encoder = FixedDimensionalEncoder(4, n_bits=1, rng=0)
    for encode in (encoder.encode_queries, encoder.encode_documents):
        with pytest.raises(kind, match=message):
            encode(vectors, offsets)


def test_empty_documents_are_refused():
    with pytest.raises(
        ValueError, match="offsets must give every document a vector .got none for document 1"
    ):
        FixedDimensionalEncoder(4, n_bits=1).encode_documents(np.ones((3, 4)), [0, 2, 2, 3])
    with pytest.raises(ValueError, match="document_offsets must give every document a vector"):
        chamfer_similarity(np.ones((1, 4)), np.ones((3, 4)), [0, 0, 3])


# --- exact similarity -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("width", [1, 5, 64])
def test_chamfer_equals_loops(dtype, tolerance, width):
    rng = np.random.default_rng(10)
    queries, query_offsets = ragged(
        rng, 7, width, least=0, most=110, dtype=dtype
    )  # more vectors than a register tile has columns
    documents, document_offsets = ragged(rng, 30, width, most=20, dtype=dtype)
    expected = naive.chamfer(queries, documents, document_offsets, query_offsets).astype(float)
    scores = chamfer_similarity(queries, documents, document_offsets, query_offsets=query_offsets)
    assert scores.dtype == dtype and scores.shape == (7, 30)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    means = chamfer_similarity(
        queries, documents, document_offsets, query_offsets=query_offsets, normalize=True
    )
    np.testing.assert_allclose(
        means * np.maximum(np.diff(query_offsets), 1)[:, None], scores, rtol=1e-6
    )
    one = chamfer_similarity(queries[: query_offsets[1]], documents, document_offsets)
    np.testing.assert_array_equal(one, scores[0])


@pytest.mark.parametrize("total", [1, 2, 3, 5, 7, 8, 9])
def test_fewer_document_vectors_than_a_register_tile_has_rows(total):
    rng = np.random.default_rng(total)
    query, documents = rng.standard_normal((3, 4)), rng.standard_normal((total, 4)) - 3
    offsets = np.arange(total + 1)
    np.testing.assert_allclose(
        chamfer_similarity(query, documents, offsets), (query @ documents.T).sum(axis=0), atol=1e-13
    )
    assert chamfer_similarity(query, documents, [0, total])[0] == pytest.approx(
        (query @ documents.T).max(axis=1).sum()
    )


def test_scores_do_not_depend_on_the_other_documents():
    rng = np.random.default_rng(11)
    query = rng.standard_normal((5, 12)).astype(np.float32)
    documents, offsets = ragged(rng, 20, 12, dtype=np.float32)
    scores = chamfer_similarity(query, documents, offsets)
    for i, points in enumerate(naive.sets(documents, offsets)):
        assert chamfer_similarity(query, points, [0, len(points)])[0] == scores[i]


def test_chamfer_of_nothing():
    assert chamfer_similarity(np.ones((0, 3)), np.ones((2, 3)), [0, 1, 2]).tolist() == [0, 0]
    assert chamfer_similarity(
        np.ones((0, 3)), np.ones((2, 3)), [0, 1, 2], normalize=True
    ).tolist() == [0, 0]
    assert chamfer_similarity(np.ones((2, 3)), np.ones((0, 3)), [0]).shape == (0,)
    assert chamfer_similarity(np.ones((2, 0)), np.ones((3, 0)), [0, 3]).tolist() == [0]
    assert chamfer_similarity(
        np.ones((0, 3)), np.ones((0, 3)), [0], query_offsets=[0, 0, 0]
    ).shape == (2, 0)


def test_chamfer_keeps_no_products():
    rng = np.random.default_rng(12)
    documents = rng.standard_normal((100000, 16)).astype(np.float32)
    query, offsets = documents[:32].copy(), np.arange(0, 100001, 50)
    chamfer_similarity(query, documents, offsets)
    tracemalloc.start()
    chamfer_similarity(query, documents, offsets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    # products would take 12.8 MB; what is held is per document, and a chunk of the check for finite
    # entries


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 4, 40])
def test_any_entry_of_documents_that_is_not_finite_is_found(value, size):
    rng = np.random.default_rng(size)
    for query in (
        rng.standard_normal((3, 5)),
        np.zeros((1, 5)),
        np.zeros((0, 5)),
        rng.standard_normal((50, 5)),
    ):
        for place in (0, 7, 10 * size - 1):
            documents = rng.standard_normal((2 * size, 5))
            documents.reshape(-1)[place] = value
            with pytest.raises(ValueError, match="document_vectors must be finite"):
                chamfer_similarity(query, documents, [0, size, 2 * size])
            with (
                simulated_gpu() as xp,
                pytest.raises(ValueError, match="document_vectors must be finite"),
            ):
                chamfer_similarity(xp.asarray(query), xp.asarray(documents), [0, size, 2 * size])
    documents[:] = 1e200
    assert np.isnan(
        chamfer_similarity(np.full((1, 5), 1e200), documents, [0, size, 2 * size])
    ).all()


def test_chamfer_refuses_offsets():
    with pytest.raises(ValueError, match="query_offsets must ascend from 0 to 1"):
        chamfer_similarity(np.ones((1, 4)), np.ones((3, 4)), [0, 3], query_offsets=[0, 2])


# --- search ---------------------------------------------------------------------------------------


def brute_force(queries, query_offsets, documents, document_offsets, k):
    scores = chamfer_similarity(queries, documents, document_offsets, query_offsets=query_offsets)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def test_all_candidates_give_the_exact_result():
    rng = np.random.default_rng(13)
    queries, query_offsets = ragged(rng, 9, 6, least=0)
    documents, document_offsets = ragged(rng, 40, 6)
    documents[document_offsets[5] : document_offsets[6]] = documents[document_offsets[5]]
    found = multi_vector_search(
        queries, query_offsets, documents, document_offsets, 7, n_candidates=40
    )
    scores, indices = brute_force(queries, query_offsets, documents, document_offsets, 7)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.scores, scores)
    assert found.indices.dtype == np.int64 and found.candidates.shape == (9, 40)


def test_candidates_are_those_of_the_codes():
    rng = np.random.default_rng(14)
    queries, query_offsets = ragged(rng, 9, 6, dtype=np.float32)
    documents, document_offsets = ragged(rng, 60, 6, dtype=np.float32)
    encoder = FixedDimensionalEncoder(6, n_repetitions=3, n_bits=2, projection_dim=3, rng=0)
    found = multi_vector_search(
        queries, query_offsets, documents, document_offsets, 2, encoder=encoder
    )
    codes = encoder.encode_documents(documents, document_offsets)
    expected = topk_inner_product(encoder.encode_queries(queries, query_offsets), codes, 20)
    np.testing.assert_array_equal(found.candidates, expected.indices)
    again = multi_vector_search(
        queries,
        query_offsets,
        documents,
        document_offsets,
        2,
        encoder=encoder,
        search=lambda q, k: topk_inner_product(q, codes, k),
    )
    np.testing.assert_array_equal(again.indices, found.indices)
    exact = chamfer_similarity(queries, documents, document_offsets, query_offsets=query_offsets)
    np.testing.assert_array_equal(np.take_along_axis(exact, found.indices, 1), found.scores)
    best = np.sort(np.take_along_axis(exact, found.candidates, 1), axis=1)[:, ::-1][:, :2]
    np.testing.assert_array_equal(best, found.scores)


def test_equal_documents_are_ranked_by_index():
    rng = np.random.default_rng(15)
    one = rng.standard_normal((3, 5))
    found = multi_vector_search(
        one,
        [0, 3],
        np.tile(one, (6, 1)),
        np.arange(0, 19, 3),
        4,
        n_candidates=4,
        search=lambda q, k: (None, np.array([[5, 1, 3, 2]])),
    )
    assert found.indices.tolist() == [[1, 2, 3, 5]] and found.candidates.tolist() == [[5, 1, 3, 2]]


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        ({"k": 5}, ValueError, r"k must be in \[1, n_docs\] with n_docs = 4 \(got 5\)"),
        ({"n_candidates": 1}, ValueError, r"n_candidates must be >= k with k = 2 \(got 1\)"),
        ({"n_candidates": 5}, ValueError, "n_candidates must be in .*n_docs = 4"),
        (
            {"encoder": FixedDimensionalEncoder(3, n_bits=1)},
            ValueError,
            r"query_vectors must have shape \(total, d\) with d = 3",
        ),
        ({"search": lambda q, k: 1}, TypeError, r"search must return \(scores, indices\)"),
        ({"search": lambda q, k: (0, np.zeros((1, k)))}, TypeError, "indices of integers"),
        ({"search": lambda q, k: (0, np.zeros((1, 1), int))}, ValueError, "indices of shape"),
        ({"search": lambda q, k: (0, np.full((1, k), -1))}, ValueError, r"indices in \[0, 4\)"),
        ({"search": lambda q, k: (0, np.full((1, k), 4))}, ValueError, r"indices in \[0, 4\)"),
        ({"document_offsets": [0, 1, 1, 3, 4]}, ValueError, "document_offsets must give"),
    ],
)
def test_search_refuses(arguments, kind, message):
    sets = {
        "query_vectors": np.ones((1, 4)),
        "query_offsets": [0, 1],
        "document_vectors": np.ones((4, 4)),
        "document_offsets": [0, 1, 2, 3, 4],
        "k": 2,
    }
    with pytest.raises(kind, match=message):
        multi_vector_search(**sets | arguments)


# --- simulations ----------------------------------------------------------------------------------


def rank_of_best(products, exact):
    """Place of each query's best document when documents are ranked by products, 0 the first."""
    best = np.take_along_axis(products, exact.argmax(axis=1)[:, None], 1)
    return (products > best).sum(axis=1)


def sentences(shared, noise):
    """400 documents of 30 unit vectors that share a part, 100 queries of 12 vectors near those of
    one document."""
    rng = np.random.default_rng(0)
    documents = unit(
        rng.standard_normal((400, 30, 64)) + shared * rng.standard_normal((400, 1, 64))
    )
    wanted = rng.integers(0, 400, 100)
    rows = np.array([rng.choice(30, 12, replace=False) for _ in wanted])
    queries = unit(
        documents[wanted[:, None], rows] + noise * rng.standard_normal((100, 12, 64)) / 8
    )
    return (
        queries.reshape(-1, 64),
        np.arange(0, 1201, 12),
        documents.reshape(-1, 64),
        np.arange(0, 12001, 30),
    )


def simulated(sets):
    """Recall of the best document without ranking by exact similarity, correlation and bias, for
    more and more cells."""
    exact = chamfer_similarity(sets[0], sets[2], sets[3], query_offsets=sets[1])
    for n_bits, repetitions in ((0, 1), (2, 5), (4, 20)):
        encoder = FixedDimensionalEncoder(
            64, n_repetitions=repetitions, n_bits=n_bits, scale="mean", rng=1
        )
        products = encoder.encode_queries(*sets[:2]) @ encoder.encode_documents(*sets[2:]).T
        yield (
            (rank_of_best(products, exact) == 0).mean(),
            np.corrcoef(products.ravel(), exact.ravel())[0, 1],
            (products - exact).mean(),
        )


def test_more_cells_come_nearer_to_the_similarity():
    _, correlations, biases = zip(*simulated(sentences(0.45, 0.3)), strict=True)
    np.testing.assert_allclose(
        correlations, [0.79, 0.84, 0.89], atol=0.05
    )  # other seeds differ by 0.02
    np.testing.assert_allclose(biases, [-2.82, -2.57, -2.40], atol=0.08)


def test_more_cells_find_the_best_document_more_often():
    recalls, _, _ = zip(*simulated(sentences(0.0, 0.8)), strict=True)
    assert recalls[0] < 0.9 and recalls[1] >= 0.98 and recalls[2] == 1


def topics(
    rng, documents=1500, size=24, queries=100, query_size=8, centers=60, width=64, noise=0.5
):
    """Documents on four topics each, and queries with vectors near those of one document."""
    center = unit(rng.standard_normal((centers, width)))
    of_document = np.array([rng.choice(centers, 4, replace=False) for _ in range(documents)])
    which = np.take_along_axis(of_document, rng.integers(0, 4, (documents, size)), 1)
    points = unit(
        center[which] + noise * rng.standard_normal((documents, size, width)) / np.sqrt(width) * 2
    )
    wanted = rng.integers(0, documents, queries)
    rows = np.array([rng.choice(size, query_size, replace=False) for _ in wanted])
    asked = unit(
        points[wanted[:, None], rows]
        + 0.3 * rng.standard_normal((queries, query_size, width)) / np.sqrt(width) * 2
    )
    return (
        asked.reshape(-1, width).astype(np.float32),
        np.arange(0, queries * query_size + 1, query_size),
        points.reshape(-1, width).astype(np.float32),
        np.arange(0, documents * size + 1, size),
    )


def test_few_candidates_are_needed():
    sets = topics(np.random.default_rng(1))
    exact = chamfer_similarity(sets[0], sets[2], sets[3], query_offsets=sets[1])
    firsts, ranks = [], []
    for n_bits, repetitions in ((0, 1), (3, 10), (4, 20)):
        encoder = FixedDimensionalEncoder(64, n_repetitions=repetitions, n_bits=n_bits, rng=2)
        rank = rank_of_best(
            encoder.encode_queries(*sets[:2]) @ encoder.encode_documents(*sets[2:]).T, exact
        )
        firsts.append((rank == 0).mean())
        ranks.append(np.sort(rank)[94])
    assert firsts[0] < 0.9 and firsts[1] >= 0.95 and firsts[2] >= 0.99
    assert ranks[0] > ranks[1] and ranks[1] == ranks[2] == 0


# --- k-means and product quantization -------------------------------------------------------------


def test_kmeans_finds_separate_groups_and_fills_lost_centroids():
    rng = np.random.default_rng(16)
    centers = 100 * rng.standard_normal((6, 3))
    x = (centers[rng.integers(0, 6, 500)] + rng.standard_normal((500, 3))).astype(np.float32)
    errors = []
    for seed in range(5):
        centroids = kmeans(np, x, 12, np.random.default_rng(seed))
        labels, scores = nearest_centroid(np, x, centroids)
        distances = ((x[:, None].astype(float) - centroids) ** 2).sum(axis=2)
        assert (
            np.take_along_axis(distances, labels[:, None], 1)[:, 0] <= distances.min(axis=1) + 0.1
        ).all()  # of numbers up to 3e4
        assert len(np.unique(centroids, axis=0)) == 12
        errors.append(distances.min(axis=1).mean())
    assert min(errors) < 4  # the groups' own spread is 3
    same = kmeans(np, np.ones((5, 2)), 5, np.random.default_rng(0))
    np.testing.assert_array_equal(same, np.ones((5, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 8, 9, 16, 17, 40])
def test_looked_up_products_are_those_of_decoded_rows(dtype, count):
    rng = np.random.default_rng(17)
    x, queries = (
        rng.standard_normal((300, 12)).astype(dtype),
        rng.standard_normal((count, 12)).astype(dtype),
    )
    quantizer = ProductQuantizer(4, n_codes=20, rng=0).fit(x)
    codes = quantizer.encode(x)
    assert (
        codes.dtype == np.uint8
        and codes.shape == (300, 4)
        and quantizer.codebooks_.shape == (4, 20, 3)
    )
    decoded = quantizer.decode(codes)
    assert decoded.dtype == dtype
    for g in range(4):
        distances = (
            (x[:, None, 3 * g : 3 * g + 3].astype(float) - quantizer.codebooks_[g]) ** 2
        ).sum(axis=2)
        np.testing.assert_array_equal(codes[:, g], distances.argmin(axis=1))
    products = quantizer.inner_product(queries, codes)
    assert products.dtype == dtype and products.shape == (count, 300)
    np.testing.assert_allclose(
        products,
        queries.astype(float) @ decoded.astype(float).T,
        atol=1e-5 if dtype == "float32" else 1e-13,
    )
    slack = np.linalg.norm(queries.astype(float), axis=1)[:, None] * np.linalg.norm(
        x.astype(float) - decoded, axis=1
    )
    assert (
        np.abs(queries.astype(float) @ x.astype(float).T - products) <= slack * (1 + 1e-5) + 1e-5
    ).all()


def test_as_many_codes_as_different_rows_are_exact():
    x = np.random.default_rng(18).standard_normal((256, 4))
    quantizer = ProductQuantizer(2, rng=0).fit(x)
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(x)), x)


def test_quantizer_on_the_simulated_gpu_and_at_any_thread_count():
    x = np.random.default_rng(19).standard_normal((200, 6)).astype(np.float32)
    x.flags.writeable = False
    expected = ProductQuantizer(3, n_codes=16, rng=1).fit(x)
    codes, threads = expected.encode(x), numcore.get_num_threads()
    products = expected.inner_product(x[:20], codes)
    try:
        for n in (1, 3):
            numcore.set_num_threads(n)
            np.testing.assert_array_equal(
                expected.inner_product(x[:20], np.asfortranarray(codes)), products
            )
    finally:
        numcore.set_num_threads(threads)
    with simulated_gpu(checked=True) as xp:
        quantizer = ProductQuantizer(3, n_codes=16, rng=1).fit(xp.asarray(x))
        on_gpu = quantizer.encode(xp.asarray(x))
        np.testing.assert_array_equal(on_gpu.get(), codes)
        np.testing.assert_array_equal(quantizer.decode(on_gpu).get(), expected.decode(codes))
        np.testing.assert_allclose(
            quantizer.inner_product(xp.asarray(x[:20]), on_gpu).get(), products, atol=1e-5
        )
        with pytest.raises(TypeError, match="codes on cpu, codebooks_ on simulated GPU"):
            quantizer.inner_product(x[:20], codes)
        with pytest.raises(TypeError, match="X on cpu, codebooks_ on simulated GPU"):
            quantizer.encode(x)


def test_quantizer_refuses():
    x = np.random.default_rng(20).standard_normal((30, 6))
    with pytest.raises(ValueError, match=r"divisor of d with d = 6 \(got 4\)"):
        ProductQuantizer(4, n_codes=2).fit(x)
    with pytest.raises(ValueError, match=r"n_codes must be <= n with n = 30 \(got 256\)"):
        ProductQuantizer(2).fit(x)
    quantizer = ProductQuantizer(2, n_codes=4, rng=0)
    for call in (
        lambda: quantizer.encode(x),
        lambda: quantizer.decode(np.zeros((1, 2), np.uint8)),
        lambda: quantizer.inner_product(x, np.zeros((1, 2), np.uint8)),
    ):
        with pytest.raises(NotFittedError, match="ProductQuantizer must be fitted first"):
            call()
    quantizer.fit(x)
    for codes, kind, message in (
        (np.zeros((3, 2), int), TypeError, "codes must have dtype uint8"),
        (np.zeros((3, 3), np.uint8), ValueError, "with m = n_subspaces = 2"),
        (np.full((3, 2), 4, np.uint8), ValueError, r"codes must be < n_codes with n_codes = 4"),
    ):
        for call in (lambda c: quantizer.decode(c), lambda c: quantizer.inner_product(x, c)):
            with pytest.raises(kind, match=message):
                call(codes)
    for queries in (np.ones((1, 5)), np.full((1, 6), np.inf)):
        with pytest.raises(ValueError, match="queries must"):
            quantizer.inner_product(queries, np.zeros((1, 2), np.uint8))


CONVERTED = "arrays are float32 or float64 and never converted silently"
WORDS = "errors have numcore's words"
EXPECTED_FAILURES = {
    "check_do_not_raise_errors_in_init_or_set_params": "parameters are checked when they are set",
    "check_set_params": "parameters are checked when they are set",
    "check_estimators_dtypes": CONVERTED,
    "check_dtype_object": CONVERTED,
    "check_complex_data": WORDS,
    "check_estimators_empty_data_messages": WORDS,
    "check_estimators_nan_inf": WORDS,
    "check_estimator_sparse_tag": WORDS,
    "check_estimator_sparse_array": WORDS,
    "check_estimator_sparse_matrix": WORDS,
    "check_fit2d_1sample": WORDS,
}


@pytest.mark.filterwarnings("ignore:Estimator ProductQuantizer does not inherit")
def test_estimator_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        ProductQuantizer(1, n_codes=4),
        expected_failed_checks=EXPECTED_FAILURES,
        on_skip=None,
        on_fail=None,
    )
    failed = [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"]
    assert not failed, failed


@pytest.mark.slow
def test_recall_of_ten_thousand_documents():
    sets = topics(np.random.default_rng(2), documents=10000, queries=50)
    _, exact = brute_force(*sets, 10)
    encoder = FixedDimensionalEncoder(64, n_repetitions=20, n_bits=4, projection_dim=16, rng=0)
    found = multi_vector_search(*sets, 10, encoder=encoder)
    assert found.candidates.shape == (50, 300)
    assert (
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.indices, exact, strict=True)])
        >= 0.95
    )


@pytest.mark.slow
def test_recall_with_quantized_codes():
    sets = topics(np.random.default_rng(3), documents=5000, queries=100)
    encoder = FixedDimensionalEncoder(64, n_repetitions=20, n_bits=3, projection_dim=8, rng=0)
    queries, documents = encoder.encode_queries(*sets[:2]), encoder.encode_documents(*sets[2:])
    quantizer = ProductQuantizer(encoder.output_dim // 8, rng=0).fit(documents)
    codes = quantizer.encode(documents)
    assert documents.nbytes == 32 * codes.nbytes
    _, exact = brute_force(*sets, 1)
    recalls = [
        (np.argsort(-products, axis=1)[:, :100] == exact).any(axis=1).mean()
        for products in (queries @ documents.T, quantizer.inner_product(queries, codes))
    ]
    assert recalls[1] >= recalls[0] - 0.02


# --- steps in vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_in_vectors_do_what_their_python_bodies_say(dtype):
    numba = pytest.importorskip("numba")
    from numcore._numba import numba_intrinsic

    tile, scaled = numba_intrinsic(max_tile), numba_intrinsic(add_scaled)
    compiled_tile = numba.njit(
        lambda a, count, depth, b, best: tile(a, 2, depth + 1, count, b, 3, best, 1, depth)
    )
    compiled_sum = numba.njit(lambda y, x, factor: scaled(y, 3, factor, x, 5))
    rng, cols, rows = np.random.default_rng(0), panel_cols(np.zeros(0, dtype)), panel_rows()
    for count in (1, 2, rows - 1, rows, rows + 5):
        for depth in (0, 1, 9):
            a, b = (
                rng.standard_normal((rows + 6) * (depth + 1)).astype(dtype),
                rng.standard_normal(3 + depth * cols).astype(dtype),
            )
            best = np.concatenate([[7], rng.standard_normal(cols), np.zeros(cols), [8]]).astype(
                dtype
            )
            products = np.stack(
                [
                    a[2 + i * (depth + 1) :][:depth].astype(float) @ b[3:].reshape(depth, cols)
                    for i in range(min(count, rows))
                ]
            )
            expected = best.copy()
            expected[1 : cols + 1] = np.maximum(best[1 : cols + 1], products.max(axis=0))
            for run in (
                compiled_tile,
                lambda a, count, depth, b, best: max_tile(
                    a, 2, depth + 1, count, b, 3, best, 1, depth
                ),
            ):
                result = best.copy()
                run(a, count, depth, b, result)
                np.testing.assert_allclose(
                    result, expected, rtol=0, atol=100 * np.finfo(dtype).eps
                )  # sums of up to 9 numbers of size 4
    y, x = rng.standard_normal((2, 40)).astype(dtype)
    for run in (compiled_sum, lambda y, x, factor: add_scaled(y, 3, factor, x, 5)):
        result = y.copy()
        run(result, x, y.dtype.type(-1))
        np.testing.assert_array_equal(result[3:19], y[3:19] - x[5:21])
        np.testing.assert_array_equal(np.delete(result, range(3, 19)), np.delete(y, range(3, 19)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_of_sketches_do_what_their_python_bodies_say(dtype):
    numba = pytest.importorskip("numba")
    from numcore._numba import numba_intrinsic

    sums, turned = numba_intrinsic(signed_sums), numba_intrinsic(transpose8)
    compiled_sums = numba.njit(
        lambda y, x, order, signs, count: sums(y, 3, x, 5, order, 2, signs, 1, count)
    )
    compiled_turned = numba.njit(lambda x, y: turned(x, 2, 11, y, 3, 9))
    rng = np.random.default_rng(0)
    x, order = (
        rng.standard_normal(5 + 7 * WIDE).astype(dtype),
        rng.integers(0, 7, 12).astype(np.int32),
    )
    signs, y = rng.choice([-1, 1], 12).astype(dtype), rng.standard_normal(3 + 9 * 8).astype(dtype)
    for run in (
        compiled_sums,
        lambda y, x, order, signs, count: signed_sums(y, 3, x, 5, order, 2, signs, 1, count),
    ):
        for count in (0, 1, 10):
            result = y.copy()
            run(result, x, order, signs, count)
            expected = signs[1 : count + 1].astype(float) @ x[5:].reshape(7, WIDE)[
                order[2 : count + 2]
            ].astype(float)
            np.testing.assert_allclose(
                result[3 : 3 + WIDE], expected, atol=100 * np.finfo(dtype).eps
            )  # sums of ten numbers of size 4
            np.testing.assert_array_equal(
                np.delete(result, range(3, 3 + WIDE)), np.delete(y, range(3, 3 + WIDE))
            )
    for run in (compiled_turned, lambda x, y: transpose8(x, 2, 11, y, 3, 9)):
        result, expected = y.copy(), y.copy()
        expected[3:].reshape(8, 9)[:, :8] = x[2:90].reshape(8, 11)[:, :8].T
        run(x, result)
        np.testing.assert_array_equal(result, expected)


def test_sets_of_any_size_and_cells_far_from_all_points():
    """Whole and partial blocks of 8, 32 and 1024 vectors, and cells that differ by several bits
    from any."""
    rng = np.random.default_rng(22)
    offsets = np.concatenate([[0], np.cumsum([1, 7, 8, 9, 31, 32, 33, 48, 64, 1023, 1100])])
    vectors = rng.integers(-3, 4, (offsets[-1], 19)) + 0.25  # sums are exact in any order
    for width in (8, 11, 16, 19):
        encoder = FixedDimensionalEncoder(
            19, n_repetitions=2, n_bits=5, projection_dim=width, rng=0
        )
        codes = encoder.encode_documents(vectors, offsets)
        expected = [
            naive.encode(points, encoder.hyperplanes_, encoder.projections_, documents=True)
            for points in naive.sets(vectors, offsets)
        ]
        np.testing.assert_allclose(codes, expected, atol=1e-13)


def test_a_number_that_is_not_finite_is_found_wherever_it_stands():
    for place in (0, 47, 48, 5 * 99 + 4, 5 * 60):
        for value in (np.nan, np.inf, -np.inf):
            vectors = np.ones((100, 5), np.float32)
            vectors.reshape(-1)[place] = value
            for n_bits in (0, 3):
                encoder = FixedDimensionalEncoder(5, n_repetitions=2, n_bits=n_bits, rng=0)
                with pytest.raises(ValueError, match="vectors must be finite"):
                    encoder.encode_queries(vectors, [0, 50, 100])
                with (
                    simulated_gpu() as xp,
                    pytest.raises(ValueError, match="vectors must be finite"),
                ):
                    encoder.encode_queries(xp.asarray(vectors), [0, 50, 100])
    vectors[:] = np.finfo(np.float32).max
    assert encoder.encode_queries(vectors, [0, 100]).shape == (1, encoder.output_dim)
