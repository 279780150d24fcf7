"""Example calls of leverage scores. The reference takes the pseudo-inverse, row by row."""

import numpy as np

from .. import Example

__all__ = ["EXAMPLES"]


def _leverage(a):
    a = a.astype(np.float64)
    inverse = np.linalg.pinv(a.swapaxes(-1, -2) @ a, hermitian=True)
    return np.einsum("...ij,...jk,...ik->...i", a, inverse, a)


def _call(rng, dtype, n):
    return {"a": rng.standard_normal((n, 5)).astype(dtype)}


def _real(dtype):
    from sklearn.datasets import load_digits

    return {"a": load_digits().data.astype(dtype)}


def _qr(a):
    return (np.linalg.qr(a)[0]**2).sum(axis=1)


EXAMPLES = {
    "leverage_scores": Example(lambda rng, dtype: {"a": rng.standard_normal((2, 50, 7)).astype(dtype)}, ("a",), _leverage,
                               {"float32": 1e-5, "float64": 1e-13}, sizes=_call, data="digits images", real=_real,
                               sample=lambda result, a: (result, {"a": a[:, a.any(axis=0)]}), peer=("numpy.linalg.qr", _qr), nan="raise"),
}
