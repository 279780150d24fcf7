"""Example calls of randomized factorizations. Random results are compared through quantities that
are not random: projections, exact factors."""

import numpy as np

from .. import Example


def low_rank(rng, dtype, m, n, k):
    return (rng.standard_normal((m, k)) @ rng.standard_normal((k, n))).astype(dtype)


def _projector(q):
    return q @ q.swapaxes(-1, -2)


def _range(a, size, oversample, rng):
    u = np.linalg.svd(a.astype(np.float64), full_matrices=False)[0][:, :size]
    return _projector(u)


def _product(result):
    return (result.u * result.s) @ result.vh


def _svd(a, rank, rng):
    return a.astype(np.float64)


def _sklearn(a, rank, rng):
    from sklearn.utils.extmath import randomized_svd

    return randomized_svd(
        a, rank, n_oversamples=8, n_iter=2, random_state=0, power_iteration_normalizer="QR"
    )


EXAMPLES = {
    "range_finder": Example(
        lambda rng, dtype: {
            "a": low_rank(rng, dtype, 40, 30, 5),
            "size": 5,
            "oversample": 0,
            "rng": 1,
        },
        ("a",),
        _range,
        {"float32": 1e-5, "float64": 1e-13},
        result=_projector,
        nan="raise",
    ),
    "randomized_svd": Example(
        lambda rng, dtype: {"a": low_rank(rng, dtype, 40, 30, 5), "rank": 5, "rng": 1},
        ("a",),
        _svd,
        {"float32": 1e-5, "float64": 1e-13},
        result=_product,
        nan="raise",
        peer=("sklearn randomized_svd", _sklearn),
    ),
}
