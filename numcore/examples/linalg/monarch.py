"""Example calls of Monarch matrices. The references multiply by the dense block-diagonal matrices
and permutations."""

import numpy as np

from .. import Example

COMPLEX = ("complex64", "complex128")


def dense_factors(right, left):
    """The n × n matrices P_l L P and R, entry by entry."""
    (k, q, p), (count, s, _) = right.shape, left.shape
    dtype = np.result_type(right, np.longdouble)
    first, second = np.zeros((k * q, k * p), dtype), np.zeros((count * s, k * q), dtype)
    for kappa in range(k):
        first[kappa * q : (kappa + 1) * q, kappa * p : (kappa + 1) * p] = right[kappa]
    for lam in range(count):
        for sigma in range(s):
            second[sigma * count + lam, lam::count] = left[lam, sigma]
    return second, first


def _product(x, right, left):
    second, first = dense_factors(right, left)
    return x.astype(np.longdouble) @ first.T @ second.T


def _vjp(x, right, left, grad_out):
    """The entries of the dense matrices' gradients that belong to blocks."""
    (k, q, p), count = right.shape, len(left)
    second, first = dense_factors(right, left)
    grad_second = grad_out.astype(np.longdouble).T @ (x @ first.T)
    grad_first = (grad_out @ second).T @ x
    grad_right = np.stack([grad_first[g * q : (g + 1) * q, g * p : (g + 1) * p] for g in range(k)])
    grad_left = np.stack([grad_second[g::count, g::count] for g in range(count)])
    return grad_out @ second @ first, grad_right, grad_left


def to_dense(right, left):
    second, first = dense_factors(right, left)
    return second @ first


def _project(a, n_blocks):
    """The dense projection, block by block, and the norms."""
    k, count = n_blocks
    best, p = np.array(a, np.float64), a.shape[1] // k
    for kappa in range(k):
        for lam in range(count):
            block = best[lam::count, kappa * p : (kappa + 1) * p]
            u, s, vh = np.linalg.svd(block, full_matrices=False)
            block[...] = s[0] * np.outer(u[:, 0], vh[0])
    residual = np.linalg.norm(a - best)
    return best, residual, residual / np.linalg.norm(a)


def _as_dense(factors):
    from ...linalg import monarch_to_dense

    return (
        monarch_to_dense(factors.right, factors.left),
        factors.residual_norm,
        factors.relative_error,
    )


def _dft(n, dtype):
    return np.fft.fft(np.eye(n), norm="ortho").T.astype(dtype)


def _dft_dense(transform):
    from ...linalg import monarch_to_dense

    dense = monarch_to_dense(transform.right, transform.left)
    return dense[:, transform.permutation.argsort()]


def _call(rng, dtype, b, k=3, q=4, p=5, count=2, s=7):
    shapes = {"x": (b, k * p), "right": (k, q, p), "left": (count, s, k * q // count)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def _vjp_call(rng, dtype, b):
    return _call(rng, dtype, b) | {"grad_out": rng.standard_normal((b, 14)).astype(dtype)}


def _real(dtype):
    """Digits images in their frequencies and back: 1797 vectors of 64 numbers, blocks of 8."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    right, left = (rng.standard_normal((8, 8, 8)).astype(dtype) for _ in range(2))
    return {"x": load_digits().data.astype(dtype), "right": right, "left": left}


def _real_vjp(dtype):
    call = _real(dtype)
    return call | {"grad_out": call["x"][::-1].copy()}


def _image(dtype):
    from sklearn.datasets import load_sample_image

    return {
        "a": load_sample_image("china.jpg")[:400, :640, 1].astype(dtype),
        "n_blocks": (20, 20),
    }


def _torch(x, right, left):
    import torch

    x, right, left = map(torch.from_numpy, (x, right, left))
    b, (k, _, p), (count, s, r) = len(x), right.shape, left.shape
    o = (
        torch.bmm(x.reshape(b, k, p).transpose(0, 1), right.transpose(1, 2))
        .transpose(0, 1)
        .reshape(b, r, count)
    )
    o = o.transpose(1, 2).contiguous().transpose(0, 1)
    return torch.bmm(o, left.transpose(1, 2)).permute(1, 2, 0).reshape(b, s * count)


BOUND, PROJECTION = {"float32": 2e-6, "float64": 2e-15}, {"float32": 1e-5, "float64": 1e-12}

# gradients of weights are sums over all rows, 1797 of the digits
GRADIENT = {"float32": 2e-6, "float64": 4e-15}

EXAMPLES = {
    "monarch_matmul": Example(
        lambda rng, dtype: _call(rng, dtype, 37),
        ("x", "right", "left"),
        _product,
        BOUND,
        also=COMPLEX,
        sizes=_call,
        data="digits images",
        real=_real,
        peer=("torch bmm", _torch),
    ),
    "monarch_matmul_vjp": Example(
        lambda rng, dtype: _vjp_call(rng, dtype, 37),
        ("x", "right", "left", "grad_out"),
        _vjp,
        GRADIENT,
        also=COMPLEX,
        sizes=_vjp_call,
        data="digits images",
        real=_real_vjp,
    ),
    "monarch_to_dense": Example(
        lambda rng, dtype: {k: v for k, v in _call(rng, dtype, 1).items() if k != "x"},
        ("right", "left"),
        to_dense,
        BOUND,
        also=COMPLEX,
    ),
    "monarch_project": Example(
        lambda rng, dtype: {"a": rng.standard_normal((12, 20)).astype(dtype), "n_blocks": (4, 3)},
        ("a",),
        _project,
        PROJECTION,
        result=_as_dense,
        also=COMPLEX,
        nan="raise",
        data="one channel of a photograph",
        real=_image,
    ),
    "monarch_dft": Example(
        lambda rng, dtype: {"n": 12, "dtype": dtype},
        (),
        _dft,
        {"complex64": 1e-6, "complex128": 1e-15},
        result=_dft_dense,
        dtypes=COMPLEX,
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _block_product(rng, variant, size):
    dtype, (g, i, j) = variant["T"], rng.integers(1, 40, 3)
    transposed, interleaved = (int(v) for v in rng.integers(0, 2, 2))
    n, m = (g * i, g * j) if transposed else (g * j, g * i)
    return [
        rng.standard_normal((size, n)).astype(dtype),
        rng.standard_normal((g, i, j)).astype(dtype),
        np.full((size, m), np.nan, dtype),
        interleaved,
        transposed,
    ]


def _block_outer(rng, variant, size):
    dtype, i, j, b = variant["T"], *rng.integers(1, 40, 2), int(rng.integers(1, 300))
    return [
        rng.standard_normal((b, size * i)).astype(dtype),
        rng.standard_normal((b, size * j)).astype(dtype),
        np.full((size, i, j), np.nan, dtype),
        int(rng.integers(0, 2)),
    ]


KERNELS = {"block_product": _block_product, "block_outer": _block_outer}
