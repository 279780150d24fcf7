"""Maps of the cosine adapter and their loss, result by result; example calls of thresholds and
isotonic maps. The references try every threshold, and every pair of ends of a block."""

import math

import numpy as np

from ...retrieval._cosine_adapter import kernels
from .. import Example

ROUNDED = {"float32": 1e-6, "float64": 1e-13}


def softplus(g):
    return math.log1p(math.exp(g))


def score(mapping, raw, x):
    x = min(max(x, -1.0), 1.0)
    u = (1 + x) / 2
    a, b = softplus(raw[0]), raw[1]
    z = {
        "linear": lambda: a * x + b,
        "sqrt": lambda: a * u**0.5 + b,
        "power": lambda: a * u ** (softplus(raw[2]) + 0.05) + b,
        "quadratic": lambda: a * u * u + softplus(raw[2]) * u + b,
    }[mapping]()
    return 1 / (1 + math.exp(-z))


def loss(mapping, raw, cosines, relevance, pos_weight=1.0):
    terms = []
    for x, y in zip(cosines, relevance, strict=True):
        s = score(mapping, raw, x)
        terms.append(-pos_weight * y * math.log(s) - (1 - y) * math.log1p(-s))
    return math.fsum(terms) / len(terms)


def _scored(rng, dtype, n=30, c=7):
    return {
        "scores": (rng.integers(0, 12, (n, c)) / 12).astype(dtype),
        "relevance": rng.integers(0, 2, (n, c)).astype(dtype),
    }


def _keep(scores, threshold):
    keep = np.array([[s >= threshold for s in row] for row in scores], bool).reshape(scores.shape)
    return keep, np.array([sum(row) for row in keep.tolist()], np.int64)


def choice(scores, relevance, min_recall):
    chosen = None
    for threshold in sorted(set(scores.ravel().tolist())):
        keep = scores >= threshold
        found = relevance[keep].sum()
        if found / relevance.sum() >= min_recall:
            chosen = float(threshold), found / keep.sum(), found / relevance.sum()
    threshold, p, r = chosen
    return threshold, p, r, 2 * p * r / (p + r)


def _curve(scores, relevance):
    rows = []
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        keep = scores >= threshold
        rows.append(
            [
                threshold,
                relevance[keep].sum() / keep.sum(),
                relevance[keep].sum() / relevance.sum(),
                keep.sum() / len(scores),
            ]
        )
    return list(np.array(rows).T)


def _isotonic(cosines, relevance):
    """The values by max over starts of min over ends of means; ends of blocks are where neighbors
    differ."""
    x = np.unique(cosines)
    y, w = (np.array([f(relevance[cosines == v]) for v in x], float) for f in (np.sum, np.size))
    n = len(x)
    fit = np.array(
        [
            max(
                min(y[i : k + 1].sum() / w[i : k + 1].sum() for k in range(j, n))
                for i in range(j + 1)
            )
            for j in range(n)
        ]
    )
    change = np.abs(np.diff(fit)) > 1e-12
    ends = np.concatenate([[True], change]) | np.concatenate([change, [True]])
    return x[ends], fit[ends]


def _digits(dtype, step):
    """Cosines of images of digits, and whether they show the same digit."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.data / np.linalg.norm(digits.data, axis=1, keepdims=True)
    return np.minimum(x[::step] @ x[1::2].T, 1).astype(dtype), (
        digits.target[::step, None] == digits.target[1::2]
    ).astype(float)


def _real(dtype):
    scores, relevance = _digits(dtype, 128)
    return {"scores": scores, "relevance": relevance}


def _real_isotonic(dtype):
    cosines, relevance = _digits(dtype, 4)
    return {"cosines": cosines.ravel().round(2), "relevance": relevance.ravel()}


def _scikit_learn_curve(scores, relevance):
    from sklearn.metrics import precision_recall_curve

    return precision_recall_curve(relevance.ravel(), scores.ravel())


def _scikit_learn_isotonic(cosines, relevance):
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(out_of_bounds="clip").fit(cosines, relevance)


EXAMPLES = {
    "filter_by_score": Example(
        lambda rng, dtype: {"scores": _scored(rng, dtype)["scores"], "threshold": 0.4},
        ("scores",),
        _keep,
        {"float32": 0.0, "float64": 0.0},
        error="equal",
        nan="raise",
        sizes=lambda rng, dtype, n: {"scores": _scored(rng, dtype, n)["scores"], "threshold": 0.4},
    ),
    "choose_threshold": Example(
        lambda rng, dtype: {**_scored(rng, np.float64), "min_recall": 0.7},
        ("scores", "relevance"),
        choice,
        {"float64": 1e-14},
        nan="raise",
        dtypes=("float64",),
        also=("float32", "int64", "bool"),
    ),
    "filtering_curve": Example(
        _scored,
        ("scores", "relevance"),
        _curve,
        ROUNDED,
        nan="raise",
        also=("int64", "bool"),
        data="similarity of the images of digits",
        real=_real,
        peer=("scikit-learn precision_recall_curve", _scikit_learn_curve),
    ),
    "isotonic_adapter": Example(
        lambda rng, dtype: {
            "cosines": (rng.integers(-20, 21, 60) / 20).astype(dtype),
            "relevance": rng.integers(0, 2, 60).astype(dtype),
        },
        ("cosines", "relevance"),
        _isotonic,
        ROUNDED,
        nan="raise",
        also=("int64", "bool"),
        data="similarity of the images of digits in hundredths",
        real=_real_isotonic,
        peer=("scikit-learn IsotonicRegression", _scikit_learn_isotonic),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _pools(rng, variant, size):
    return [
        rng.integers(-5, 6, (size, 40)).astype(float),
        np.ones((size, 40)),
        np.ones((size, 40), np.int64),
        np.full(size, -7, np.int64),
    ]


def _results(rng, variant, size):
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 300, size))]).astype(np.int64)
    cosines = rng.uniform(-1.001, 1.001, offsets[-1]).astype(variant["T"])
    cosines[::7] = -1
    return (
        offsets[:-1].copy(),
        offsets[1:].copy(),
        cosines,
        rng.random(offsets[-1]).astype(variant["T"]),
    )


def _loss(rng, variant, size):
    begins, ends, cosines, relevance = _results(rng, variant, size)
    code = int(rng.integers(4))
    raw = rng.standard_normal((size, 2 + code // 2)).astype(variant["T"])
    return [
        raw,
        begins,
        ends,
        cosines,
        relevance,
        np.full(size, np.nan, raw.dtype),
        np.full_like(raw, np.nan),
        code,
        1.7,
    ]


def _scores(rng, variant, size):
    begins, ends, cosines, _ = _results(rng, variant, size)
    code = int(rng.integers(4))
    parameters = rng.uniform(0.1, 3, (size, 2 + code // 2)).astype(variant["T"])
    return [
        parameters,
        begins,
        ends,
        cosines,
        np.full_like(cosines, np.nan),
        np.full(size, -7, np.int64),
        code,
        1.0005,
    ]


def _moments(rng, variant, size):
    begins, ends, cosines, relevance = _results(rng, variant, size)
    return [
        begins,
        ends,
        cosines,
        relevance,
        np.full((size, kernels.MOMENTS), np.nan, variant["T"]),
        int(rng.integers(4)),
        1.3,
        -0.4,
        1.7,
    ]


KERNELS = {
    "pool_adjacent_violators": _pools,
    "adapter_loss": _loss,
    "adapter_scores": _scores,
    "logistic_moments": _moments,
}
