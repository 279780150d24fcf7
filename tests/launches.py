"""Small public calls on arrays of a GPU that examples do not make: other options of routines, and
the methods of classes. With the examples they launch every CUDA body.

Each function takes the namespace of the arrays.
"""

from typing import get_args

import numpy as np

from numcore import linalg, nn, retrieval, special
from numcore.examples.linalg.relaxation import positive_definite
from numcore.linalg._relaxation.iterations import FEW_ROWS
from numcore.special._program import MUL


def relaxation(xp):
    for n in (9, FEW_ROWS + 1):  # in one kernel, and color by color
        a = positive_definite(np.random.default_rng(0), np.float64, n).map(xp.asarray)
        b, colors = xp.ones(n), linalg.color_graph(a)
        linalg.sor(a, b, coloring=colors, max_iter=2)
        linalg.ssor_cg(a, b, coloring=colors, max_iter=3)
        linalg.ssor_preconditioner(a, coloring=colors)(b)


def transform_of_columns(xp):
    linalg.fwht(xp.ones((8, 20)), axis=0)


def layers_of_factors(xp):
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    factors = linalg.decompose_kernel(xp.asarray(w), scheme="channel", rank=2)
    linalg.apply_factors(xp.ones((1, 3, 5, 5)), factors)


def half_steps(xp):
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((9, 7)) < 0.6, rng.standard_normal((9, 7)), 0.0)
    rows, cols = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    parts = (indptr, cols, dense[rows, cols])
    a = linalg.CSR(*map(xp.asarray, parts), (9, 7))
    for solver in ("cg", "sketch"):
        linalg.alternating_step(a, xp.asarray(rng.standard_normal((7, 2))), solver=solver)


def activations(xp):
    x = xp.linspace(-2.0, 2.0, 5)
    for kind in get_args(nn.activation.__annotations__["kind"]):
        for approximate in ("none", "tanh") if kind == "gelu" else ("none",):
            y, cache = nn.activation(x, kind=kind, approximate=approximate)
            nn.activation_vjp(y, cache)
        net = nn.MLP((2, 3, 1), activation=kind, rng=0, dtype=np.float64, xp=xp)
        y, cache = net.forward(xp.ones((4, 2)))
        net.vjp(y, cache)


def optimizer(xp):
    for amsgrad in (False, True):
        nn.Adam([xp.ones(5)], amsgrad=amsgrad).step([xp.ones(5)])


def labels(xp):
    nn.softmax_cross_entropy(xp.ones((4, 3)), xp.asarray(np.array([0, 1, 2, 0])))


def power_norm(xp):
    layer = nn.PowerNorm(3)
    layer.forward(xp.ones((4, 3), np.float32), training=False)


def permutations(xp):
    basis = xp.asarray(np.eye(3))
    nn.PermutationEnsemble(n_models=2, width=4, max_iter=2, rng=0).fit(basis, basis)


def explanation(xp):
    nn.explain(lambda x: x.sum(axis=1), xp.ones((1, 3)), method="c_lime", n_samples=20, rng=0)


def cuts(xp):
    d = np.abs(np.random.default_rng(0).standard_normal((30, 30)))
    nn.min_cut_partition(xp.asarray((d + d.T) * (1 - np.eye(30))), balanced=False)


def trees(xp):
    rng = np.random.default_rng(0)
    arguments = rng.standard_normal((20, 2)), rng.integers(0, 3, 20), np.array([10, 10])
    x, *rest = map(xp.asarray, arguments)
    model = retrieval.LambdaMART(n_estimators=2, max_leaves=3, min_child_samples=2)
    model.fit(x, *rest).predict(x)


def adapter(xp):
    rng = np.random.default_rng(0)
    arguments = rng.standard_normal((6, 4)), rng.uniform(-1, 1, (6, 5)), rng.random((6, 5)) < 0.4
    q, cosines, relevance = map(xp.asarray, arguments)
    for mapping in ("linear", "power"):
        model = retrieval.CosineAdapter(mapping=mapping, hidden=(4,), n_epochs=1, rng=0)
        model.fit(q, cosines, relevance).transform(q, cosines)


def ranker(xp):
    rng = np.random.default_rng(0)
    words, offsets = rng.integers(0, 30, 16), np.arange(0, 17, 4)
    arguments = words, offsets, np.eye(4)
    for loss in ("listnet", "ranknet"):
        model = retrieval.ClarificationRanker(
            dim=4, hidden=4, n_buckets=32, loss=loss, n_epochs=1, rng=0
        )
        model.fit(*map(xp.asarray, arguments)).decision_function(*map(xp.asarray, (words, offsets)))


def index(xp):
    points = xp.asarray(np.random.default_rng(0).standard_normal((40, 4)))
    retrieval.InvertedFileIndex(4, rng=0).fit(points).search(points[:3], 2, n_probe=2)
    quantizer = retrieval.ProductQuantizer(2, n_codes=4, rng=0).fit(points)
    quantizer.inner_product(points[:3], quantizer.encode(points))


def judgments(xp):
    rng = np.random.default_rng(0)
    f, s = rng.standard_normal((12, 6)), rng.random(66)
    retrieval.SimilarityRegression(n_folds=3, nonnegative=True, rng=0).fit(
        xp.asarray(f), xp.asarray(s)
    )
    ratings = rng.standard_normal((9, 4))
    ratings[2, 1] = np.nan
    for method in ("pearson", "spearman"):
        retrieval.rating_reliability(xp.asarray(ratings), n_splits=3, missing="drop", method=method)


def texts(xp):
    rng = np.random.default_rng(0)
    text, pattern = (xp.asarray(rng.integers(0, 4, n).astype(np.uint8)) for n in (60, 12))
    for method in ("direct", "pairs"):
        retrieval.hamming_distances(text, pattern, method=method)
    retrieval.hamming_within(text, pattern, 2, method="early_exit")


def words(xp):
    packed = retrieval.pack_strings(["martha", "jones", "dixon" * 20])
    names = retrieval.PackedStrings(*map(xp.asarray, packed))
    for measure in ("levenshtein", "qgram_jaccard"):
        retrieval.string_similarity(names, measure=measure)


def judged_lists(xp):
    n = np.array
    offsets = xp.asarray(n([0, 2, 3]))
    tags = xp.asarray(n([0, 1, 1]))
    retrieval.tag_similarity(tags, offsets, method="jaccard")
    s = np.random.default_rng(0).random((4, 4))
    a = xp.asarray(s + s.T)
    retrieval.representational_similarity(a, a, n_permutations=3, rng=0)
    lists = xp.asarray(n([[0, 1], [1, 2]]))
    judgments = xp.asarray(n([[0, 1, 1], [1, 2, 1]]))
    retrieval.ranking_metrics(lists, judgments, metrics=("mrr@2",))
    sparse = linalg.CSR.from_dense(np.eye(2)).map(xp.asarray)
    retrieval.ranking_metrics(xp.asarray(s[:2, :2]), sparse, metrics=("mrr@2",))


def program(xp):
    square = special.Program([[MUL, 0, 0, 0]], [])
    square(xp.ones(3))


CALLS = [call for call in list(globals().values()) if getattr(call, "__module__", None) == __name__]
