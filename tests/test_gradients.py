"""The check of gradients sees what is wrong, and passes what is right."""

import numpy as np
import pytest

from numcore.testing import check_vjp


def product(x, w, b=None):
    y = x @ w
    return (y if b is None else y + b), (x, w, b is not None)


def product_vjp(grad_y, cache):
    x, w, has_bias = cache
    return grad_y @ w.T, x.T @ grad_y, grad_y.sum(axis=0) if has_bias else None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_right_gradient_passes(n, dtype):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((n, 4), (4, 3), 3))
    assert check_vjp(product, product_vjp, (x, w, b), rng=1) < 1e-9
    assert check_vjp(product, product_vjp, (x, w, None), rng=1) < 1e-9


def test_a_gradient_off_by_a_thousandth_is_seen():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((7, 4)), rng.standard_normal((4, 3))
    wrong = check_vjp(
        product,
        lambda g, cache: (product_vjp(g, cache)[0], 1.001 * product_vjp(g, cache)[1], None),
        (x, w),
        rng=2,
    )
    assert 1e-5 < wrong < 1e-2


def test_several_outputs():
    def f(x):
        return (np.sin(x), x**2), x

    assert (
        check_vjp(f, lambda g, h, x: g * np.cos(x) + 2 * h * x, (np.linspace(-1, 1, 5),), rng=3)
        < 1e-8
    )


def test_bad_input():
    x = np.ones(2)
    with pytest.raises(ValueError, match="gradients of shapes"):
        check_vjp(lambda x: (x, None), lambda g, cache: g[:1], (x,))
    for option in ({"eps": 0.0}, {"n_directions": 0}):
        with pytest.raises(ValueError, match="must be > 0"):
            check_vjp(lambda x: (x, None), lambda g, cache: g, (x,), **option)
