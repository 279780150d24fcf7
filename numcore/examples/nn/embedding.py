"""Example calls of the embedding."""

import os
from pathlib import Path

import numpy as np

from ...nn import embedding as forward
from .. import Example

WIDTH = 64
ROWS = 23


def _embedding(idx, table):
    return np.array([table[i] for i in idx.reshape(-1)]).reshape(*idx.shape, table.shape[1])


def _embedding_vjp(grad_y, cache):
    """One place after the other."""
    grad_table = np.zeros(cache.table.shape, np.longdouble)
    for i, grad in zip(cache.idx.reshape(-1), grad_y.reshape(-1, grad_y.shape[-1]), strict=True):
        grad_table[i] += grad
    return grad_table


def _call(rng, dtype, n):
    return {
        "idx": rng.integers(0, ROWS, (n, 2)),
        "table": rng.standard_normal((ROWS, 5)).astype(dtype),
    }


def _vjp_call(rng, dtype, call):
    y, cache = forward(**call)
    return {"grad_y": rng.standard_normal(y.shape).astype(dtype), "cache": cache}


def _real(dtype):
    """The letters of a file of source, each by its number."""
    text = np.frombuffer((Path(os.__file__).parent / "argparse.py").read_bytes(), np.uint8)
    return {
        "idx": text.astype(np.int64),
        "table": np.random.default_rng(0).standard_normal((256, WIDTH)).astype(dtype),
    }


def _add_at(grad_y, cache):
    grad_table = np.zeros_like(cache.table)
    np.add.at(grad_table, cache.idx, grad_y)
    return grad_table


EXAMPLES = {
    "embedding": Example(
        arguments=lambda rng, dtype: _call(rng, dtype, 40),
        arrays=("table",),
        reference=_embedding,
        bound={"float32": 0, "float64": 0},
        result=lambda r: r[0],
        sizes=_call,
        data="letters of Python's argparse.py",
        real=_real,
        peer=("indexing with numpy", lambda idx, table: table[idx]),
    ),
    "embedding_vjp": Example(
        arguments=lambda rng, dtype: _vjp_call(rng, dtype, _call(rng, dtype, 40)),
        arrays=("grad_y",),
        reference=_embedding_vjp,
        bound={"float32": 1e-7, "float64": 1e-14},
        sizes=lambda rng, dtype, n: _vjp_call(rng, dtype, _call(rng, dtype, n)),
        data="letters of Python's argparse.py",
        real=lambda dtype: _vjp_call(np.random.default_rng(1), dtype, _real(dtype)),
        peer=("numpy.add.at", _add_at),
    ),
}


def _places(rng, variant, size):
    """A table of `size` rows that occur any number of times."""
    m, d = 3 * size, int(rng.integers(1, 70))
    idx = np.sort(rng.integers(0, size, m)) if size else np.empty(0, np.int64)
    grad_y = rng.standard_normal((m, d)).astype(variant["T"])
    ends = np.searchsorted(idx, np.arange(size + 1)).astype(np.int64)
    return [grad_y, rng.permutation(m), ends, np.full((size, d), np.nan, variant["T"])]


KERNELS = {"sum_places": _places}
