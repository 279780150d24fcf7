"""Example calls of leverage scores. The reference makes columns orthonormal one by one, in extended
precision."""

import numpy as np

from .. import Example


def _leverage(a):
    if a.ndim > 2:
        return np.array([_leverage(matrix) for matrix in a]).reshape(a.shape[:-1])
    basis = []
    for column in a.T.astype(np.longdouble):
        rest = column
        for _ in range(2):
            rest = rest - sum((q * (q @ rest) for q in basis), np.zeros_like(rest))
        size = np.sqrt(rest @ rest)
        if size > 1e-12 * np.sqrt(column @ column):
            basis.append(rest / size)
    return sum((q * q for q in basis), np.zeros(len(a), np.longdouble))


def _call(rng, dtype, n):
    return {"a": rng.standard_normal((n, 5)).astype(dtype)}


def _real(dtype):
    from sklearn.datasets import load_digits

    return {"a": load_digits().data.astype(dtype)}


def _qr(a):
    return (np.linalg.qr(a)[0] ** 2).sum(axis=1)


EXAMPLES = {
    "leverage_scores": Example(
        lambda rng, dtype: {"a": rng.standard_normal((2, 50, 7)).astype(dtype)},
        ("a",),
        _leverage,
        {"float32": 1e-5, "float64": 1e-13},
        sizes=_call,
        data="digits images",
        real=_real,
        sample=lambda result, a: (result, {"a": a[:, a.any(axis=0)]}),
        peer=("numpy.linalg.qr", _qr),
        nan="raise",
    ),
}
