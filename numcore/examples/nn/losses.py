"""Example calls of the losses."""

import numpy as np

from .. import Example
from .attention import DATA, HAVE_SKLEARN, _tokens

# --- references -----------------------------------------------------------------------------------


def _wide(*arrays):
    return [np.asarray(a).astype(np.longdouble) for a in arrays]


def _reduced(losses, grad, reduction):
    if reduction == "none":
        return losses, grad
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.longdouble(losses.size if reduction == "mean" else 1)
        return losses.sum() / count, grad / count


def softmax_cross_entropy(logits, labels, label_smoothing=0.0, reduction="mean"):
    """From the probabilities themselves, which extended precision holds over all of the range of
    these examples."""
    z = _wide(logits)[0]
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    target = np.eye(z.shape[-1])[labels] if labels.dtype.kind == "i" else _wide(labels)[0]
    target = (1 - np.longdouble(label_smoothing)) * target + np.longdouble(
        label_smoothing
    ) / z.shape[-1]
    return _reduced(
        -(target * np.log(p)).sum(axis=-1),
        p * target.sum(axis=-1, keepdims=True) - target,
        reduction,
    )


def mse(y, t, reduction="mean"):
    y, t = _wide(y, t)
    return _reduced(y**2 - 2 * y * t + t**2, 2 * y - 2 * t, reduction)


def huber(y, t, delta=1.0, reduction="mean"):
    y, t = _wide(y, t)
    size, sign = np.abs(y - t), np.sign(y - t)
    inside = size <= delta
    return _reduced(
        np.where(inside, size**2 / 2, delta * size - delta**2 / 2),
        np.where(inside, y - t, delta * sign),
        reduction,
    )


def binary_cross_entropy_with_logits(logits, targets, reduction="mean"):
    z, t = _wide(logits, targets)
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    return _reduced(-t * np.log(p) - (1 - t) * np.log(q), p - t, reduction)


# --- calls ----------------------------------------------------------------------------------------


def _logits_call(rng, dtype, n, classes=10):
    return {
        "logits": (3 * rng.standard_normal((n, classes))).astype(dtype),
        "labels": rng.integers(0, classes, n),
    }


def _distribution_call(rng, dtype, n, classes=37):
    labels = rng.exponential(size=(n, classes))
    return {
        "logits": (3 * rng.standard_normal((n, classes))).astype(dtype),
        "labels": (labels / labels.sum(axis=1, keepdims=True)).astype(dtype),
        "label_smoothing": 0.1,
    }


def _real_logits(dtype):
    """Scores of a linear classifier by least squares; the classes are the digits, or where the
    images stand."""
    x = _tokens()
    if HAVE_SKLEARN:
        from sklearn.datasets import load_digits

        labels = load_digits().target
    else:
        labels = np.arange(len(x)) * 10 // len(x)
    weights = np.linalg.lstsq(x, np.eye(10)[labels], rcond=None)[0]
    return {"logits": (10 * x @ weights).astype(dtype), "labels": labels}


def _pair(rng, dtype, n, y="y", t="t"):
    return {
        y: (2 * rng.standard_normal((n, 3))).astype(dtype),
        t: rng.uniform(0, 1, (n, 3)).astype(dtype),
    }


def _real_pair(dtype, y="y", t="t"):
    """Images, and what their first eight singular vectors make of them."""
    x = _tokens()
    u, s, v = np.linalg.svd(x, full_matrices=False)
    return {
        y: ((u[:, :8] * s[:8]) @ v[:8]).astype(dtype),
        t: (x > 0 if t == "targets" else x).astype(dtype),
    }


def _torchs(name):
    def call(*arrays, **options):
        import torch

        y, t = (torch.from_numpy(a) for a in arrays)
        y.requires_grad_()
        loss = getattr(torch.nn.functional, name)(y, t, **options)
        return loss, torch.autograd.grad(loss, y)

    return call


BOUND = {"float32": 1e-6, "float64": 2e-15}  # of the largest loss and of the largest gradient

EXAMPLES = {
    "softmax_cross_entropy": Example(
        arguments=lambda rng, dtype: _distribution_call(rng, dtype, 9),
        arrays=("logits", "labels"),
        reference=softmax_cross_entropy,
        bound=BOUND,
        data=DATA.replace("each a token", "scored by a linear classifier"),
        real=_real_logits,
        sizes=_logits_call,
        peer=(
            "torch cross_entropy and its gradient",
            lambda logits, labels: _torchs("cross_entropy")(logits, labels),
        ),
    ),
    "mse": Example(
        arguments=lambda rng, dtype: _pair(rng, dtype, 11),
        arrays=("y", "t"),
        reference=mse,
        bound=BOUND,
        sizes=_pair,
        data=DATA.replace("each a token", "and their approximation"),
        real=_real_pair,
        peer=("torch mse_loss and its gradient", lambda y, t: _torchs("mse_loss")(y, t)),
    ),
    "huber": Example(
        arguments=lambda rng, dtype: _pair(rng, dtype, 11) | {"reduction": "none"},
        arrays=("y", "t"),
        reference=huber,
        bound=BOUND,
        sizes=_pair,
        data=DATA.replace("each a token", "and their approximation"),
        real=_real_pair,
        peer=("torch huber_loss and its gradient", lambda y, t: _torchs("huber_loss")(y, t)),
    ),
    "binary_cross_entropy_with_logits": Example(
        arguments=lambda rng, dtype: _pair(rng, dtype, 11, "logits", "targets"),
        arrays=("logits", "targets"),
        reference=binary_cross_entropy_with_logits,
        bound=BOUND,
        sizes=lambda rng, dtype, n: _pair(rng, dtype, n, "logits", "targets"),
        data=DATA.replace("each a token", "light or dark"),
        real=lambda dtype: _real_pair(dtype, "logits", "targets"),
        peer=(
            "torch binary_cross_entropy_with_logits and its gradient",
            lambda logits, targets: _torchs("binary_cross_entropy_with_logits")(logits, targets),
        ),
    ),
}


# --- arguments of kernels -------------------------------------------------------------------------


def _rows(rng, variant, size):
    """Some rows are ignored; every other call smooths the labels."""
    dtype, classes = variant["T"], int(rng.integers(1, 90))
    logits = (4 * rng.standard_normal((size, classes))).astype(dtype)
    return [
        logits,
        rng.integers(-1, classes, size),
        0.1 * rng.integers(2),
        0.5,
        np.full(size, np.nan, dtype),
        np.full_like(logits, np.nan),
    ]


KERNELS = {"label_cross_entropy": _rows}
