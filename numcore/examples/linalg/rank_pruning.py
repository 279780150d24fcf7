"""Example calls of rank pruning. The references unfold kernels entry by entry, and compute their
singular value decompositions.

Signs of factors are arbitrary: factors are compared by the kernel that they represent.
"""

import numpy as np

from .. import Example

SHAPE = (6, 4, 3, 2)


# --- references -----------------------------------------------------------------------------------


def entries(shape, scheme):
    """For each entry of a kernel, its matrix, row and column in the unfolding; and the shape of the
    stack of matrices."""
    n, c, kh, kw = shape
    places = np.empty((*shape, 3), int)
    for o, ch, i, j in np.ndindex(*shape):
        places[o, ch, i, j] = {
            "channel": (0, o, (ch * kh + i) * kw + j),
            "spatial": (0, ch * kh + i, o * kw + j),
            "decouple": (o, ch, i * kw + j),
        }[scheme]
    return places, tuple(places.reshape(-1, 3).max(axis=0) + 1)


def unfolded(w, scheme):
    """The stack of unfolded matrices of w[n, c, i, j]."""
    places, sizes = entries(w.shape, scheme)
    stack = np.zeros(sizes)
    stack[tuple(np.moveaxis(places, -1, 0))] = w
    return stack


def folded(stack, shape, scheme):
    """The inverse of `unfolded`."""
    return stack[tuple(np.moveaxis(entries(shape, scheme)[0], -1, 0))]


def rank_of(sigma, energy):
    kept = 0.0
    for r, s in enumerate(sigma, 1):
        kept += s * s
        if kept >= energy * sum(v * v for v in sigma):
            return r
    return len(sigma)


def truncated(w, scheme, rank=None, energy=None):
    """Low-rank kernel, rank, singular values, subgradient, relative error."""
    w = w.astype(np.float64)
    u, s, vh = np.linalg.svd(unfolded(w, scheme), full_matrices=False)
    r = rank or max(rank_of(sigma, energy) for sigma in s)
    best, direction = (
        folded((u[:, :, :r] * scale[:, None, :r]) @ vh[:, :r], w.shape, scheme)
        for scale in (s, np.ones_like(s))
    )
    error = np.linalg.norm(w - best) / np.linalg.norm(w)
    return best, r, s if scheme == "decouple" else s[0], direction, error


def _apply(x, factors, stride, padding):
    """The convolution with the kernel of the factors, pixel by pixel."""
    w = kernel_of(factors).astype(np.float64)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    high, wide = (
        (size - k) // stride + 1 for size, k in zip(x.shape[2:], w.shape[2:], strict=True)
    )
    y = np.zeros((len(x), len(w), high, wide))
    for i, j in np.ndindex(high, wide):
        window = x[
            :, None, :, i * stride : i * stride + w.shape[2], j * stride : j * stride + w.shape[3]
        ]
        y[:, :, i, j] = (window * w).sum(axis=(2, 3, 4))
    return y


def kernel_of(factors):
    """The kernel w[n, c, i, j] that two layers represent."""
    first, second = factors.first, factors.second
    if factors.scheme == "decouple":
        return (first[:, :, :, None, None] * second[:, :, None]).sum(axis=0)
    # one of the two has height 1, and one width 1, or both
    product = first[None, :, :, :, :] * second[:, :, None, :, :]
    return product.sum(axis=1)


def _floats(result):
    """Python floats converted to the dtype of the arrays."""
    dtype = next(part.dtype for part in result if hasattr(part, "dtype"))
    return [np.asarray(part, dtype) if isinstance(part, float) else part for part in result]


def _represented(factors):
    return _floats((kernel_of(factors), factors.relative_error, factors.n_params))


def _decompose(w, scheme, rank):
    best, _, _, _, error = truncated(w, scheme, rank)
    n, c, kh, kw = w.shape
    numbers = {
        "channel": c * kh * kw + n,
        "spatial": c * kh + n * kw,
        "decouple": n * (c + kh * kw),
    }
    return best, error, rank * numbers[scheme]


def _nuclear(w, scheme):
    _, _, s, direction, _ = truncated(w, scheme, min(entries(w.shape, scheme)[1][1:]))
    return s.sum(), direction


# --- calls ----------------------------------------------------------------------------------------


def _call(rng, dtype, scheme, **options):
    return {"w": rng.standard_normal(SHAPE).astype(dtype), "scheme": scheme} | options


def _apply_call(rng, dtype, b=2):
    from ...linalg import decompose_kernel

    factors = decompose_kernel(rng.standard_normal(SHAPE).astype(dtype), scheme="spatial", rank=5)
    return {
        "x": rng.standard_normal((b, 4, 9, 8)).astype(dtype),
        "factors": factors,
        "stride": 2,
        "padding": 1,
    }


def smooth_kernels(n, c, size, dtype):
    """Oriented wavelets of many scales and angles, mixed at random over the channels: kernels of
    low rank, like trained ones."""
    rng, at = np.random.default_rng(0), np.linspace(-1, 1, size)
    down, right = np.meshgrid(at, at, indexing="ij")
    bank = []
    for angle in np.linspace(0, np.pi, 8, endpoint=False):
        along = np.cos(angle) * right + np.sin(angle) * down
        bank += [
            np.exp(-(down**2 + right**2)) * np.cos(np.pi * f * along + phase)
            for f in (0.5, 1.0)
            for phase in (0, np.pi / 2)
        ]
    channels = rng.standard_normal((len(bank), c))
    pure = np.einsum(
        "nb,bc,bij->ncij", rng.standard_normal((n, len(bank))) / 4, channels, np.stack(bank)
    )
    return (pure + 0.05 * rng.standard_normal(pure.shape)).astype(dtype)


def _real(dtype):
    return {"w": smooth_kernels(256, 256, 3, dtype), "scheme": "channel", "rank": 32}


def _real_images(dtype):
    """Patches of a photograph as images with many channels, and kernels of a quarter of the
    rank."""
    from sklearn.datasets import load_sample_image

    from ...linalg import decompose_kernel

    image = load_sample_image("china.jpg")[:384, :512].astype(dtype) / 255
    x = image.reshape(12, 32, 16, 32, 3).transpose(0, 2, 4, 1, 3).reshape(36, 16, 32, 32)
    factors = decompose_kernel(smooth_kernels(64, 16, 3, dtype), rank=16)
    return {"x": x, "factors": factors, "stride": 1, "padding": 1}


def _numpy_svd(w, scheme, rank):
    u, s, vh = np.linalg.svd(w.reshape(len(w), -1), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ vh[:rank]).reshape(w.shape), u[:, :rank] @ vh[:rank]


def _numpy_nuclear(w, scheme):
    u, s, vh = np.linalg.svd(w.reshape(len(w), -1), full_matrices=False)
    return s.sum(), (u @ vh).reshape(w.shape)


def _torch_conv2d(x, factors, stride, padding):
    import torch

    y = torch.nn.functional.conv2d(
        torch.from_numpy(x), torch.from_numpy(factors.first), stride=stride, padding=padding
    )
    return torch.nn.functional.conv2d(y, torch.from_numpy(factors.second))


BOUND = {"float32": 2e-5, "float64": 1e-12}

EXAMPLES = {
    "truncate_kernel": Example(
        lambda rng, dtype: _call(rng, dtype, "channel", rank=3),
        ("w",),
        truncated,
        BOUND,
        result=_floats,
        nan="raise",
        data="mixtures of oriented wavelets, 256 × 256 × 3 × 3",
        real=_real,
        peer=("numpy svd", _numpy_svd),
    ),
    "decompose_kernel": Example(
        lambda rng, dtype: _call(rng, dtype, "decouple", rank=2),
        ("w",),
        _decompose,
        BOUND,
        result=_represented,
        nan="raise",
        data="mixtures of oriented wavelets, 256 × 256 × 3 × 3",
        real=_real,
        peer=("numpy svd", _numpy_svd),
    ),
    "apply_factors": Example(
        _apply_call,
        ("x",),
        _apply,
        BOUND,
        sizes=_apply_call,
        data="patches of a photograph, 64 kernels of rank 16",
        real=_real_images,
        peer=("torch conv2d twice", _torch_conv2d),
    ),
    "nuclear_norm": Example(
        lambda rng, dtype: _call(rng, dtype, "spatial"),
        ("w",),
        _nuclear,
        BOUND,
        result=_floats,
        nan="raise",
        data="mixtures of oriented wavelets, 256 × 256 × 3 × 3",
        real=lambda dtype: {"w": _real(dtype)["w"], "scheme": "channel"},
        peer=("numpy svd", _numpy_nuclear),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _gram_eigh(rng, variant, size):
    """Matrices with well separated singular values; singular vectors of close ones depend on
    rounding."""
    p, m = int(rng.integers(9, 40)), int(rng.integers(1, 10))
    u, v = (np.linalg.qr(rng.standard_normal((size, rows, m)))[0] for rows in (p, m))
    a = (u * np.arange(1.0, m + 1)) @ v.swapaxes(1, 2)
    return [a.astype(variant["T"]), np.full((size, m), np.nan), np.full((size, m, m), np.nan)]


def _mix_channels(rng, variant, size):
    dtype, n, c, p = variant["T"], *rng.integers(1, 40, 2), int(rng.integers(1, 150))
    w, x = rng.standard_normal((n, c)), rng.standard_normal((size, c, p))
    return [w.astype(dtype), x.astype(dtype), np.full((size, n, p), np.nan, dtype)]


KERNELS = {"mix_channels": _mix_channels, "gram_eigh": _gram_eigh}
