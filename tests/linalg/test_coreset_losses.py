"""Losses of points: against scikit-learn and formulas, at extreme values, and invalid input."""

import types

import numpy as np
import pytest

from numcore.linalg import hinge_loss, kmeans_loss, logistic_loss, squared_loss

LINEAR = [logistic_loss, hinge_loss, squared_loss]


def data(n=400, d=6):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    return x, np.where(x[:, 0] + rng.standard_normal(n) > 0, 1, -1), (rng.standard_normal(d), 0.3)


def test_the_sum_is_what_scikit_learn_minimizes():
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.metrics import log_loss

    x, y, _ = data()
    model = linear_model.LogisticRegression(C=0.5).fit(x, y)
    expected = (
        log_loss(y, model.predict_proba(x), normalize=False) + (model.coef_**2).sum() / 2 / 0.5
    )
    assert abs(logistic_loss(x, y, model, penalty=1 / 0.5).sum() - expected) < 1e-9 * expected
    model = linear_model.Ridge(alpha=3).fit(x, 1.0 * y)
    expected = ((y - model.predict(x)) ** 2).sum() + 3 * (model.coef_**2).sum()
    assert abs(squared_loss(x, y, model, penalty=3).sum() - expected) < 1e-11 * expected


def test_the_hinge_loss_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    x, y, (w, b) = data()
    assert abs(hinge_loss(x, y, (w, b)).mean() - metrics.hinge_loss(y, x @ w + b)) < 1e-12


def test_the_sum_of_k_means():
    cluster = pytest.importorskip("sklearn.cluster")
    from sklearn.datasets import load_digits

    x = load_digits().data / 16
    model = cluster.KMeans(10, n_init=1, random_state=0).fit(x)
    assert abs(kmeans_loss(x, None, model).sum() - model.inertia_) < 1e-11 * model.inertia_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steep_margins(dtype):
    x, w = np.array([[1000.0], [-1000.0], [0.0]], dtype), np.ones(1, dtype)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(
            logistic_loss(x, np.ones(3), (w, 0.0)), np.array([0, 1000, np.log(2)], dtype)
        )
        np.testing.assert_array_equal(hinge_loss(x, np.ones(3), (w, 0.0)), [0, 1001, 1])


@pytest.mark.parametrize("loss", [logistic_loss, hinge_loss])
def test_any_labels_that_say_the_sign(loss):
    x, y, model = data()
    expected = loss(x, y, model)
    for labels in (y > 0, (y > 0).astype(np.uint8), 1.0 * y, (3 * y).tolist()):
        np.testing.assert_array_equal(loss(x, labels, model), expected)
    assert np.isnan(loss(x, np.full(len(x), np.nan), model)).all()


@pytest.mark.parametrize("loss", LINEAR)
def test_any_form_of_a_linear_model(loss):
    x, y, (w, b) = data()
    expected = loss(x, y, (w, b))
    for model in (
        [w.tolist(), b],
        (w[None], np.array([b])),
        types.SimpleNamespace(coef_=w[None], intercept_=np.array([b])),
        types.SimpleNamespace(coef_=w, intercept_=b),
    ):
        np.testing.assert_array_equal(loss(x, y, model), expected)
    np.testing.assert_allclose(
        loss(x[::2, ::-1], y[::2], (w[::-1], b)), expected[::2], rtol=1e-11, atol=1e-14
    )
    factor = 1 if loss is squared_loss else 0.5
    np.testing.assert_allclose(
        loss(x, y, (w, b), penalty=7.0).sum(), expected.sum() + factor * 7 * (w @ w), rtol=1e-12
    )


def test_centers_far_from_the_origin():
    """Without subtracting a mean, 1e6² = 1e12 would leave no digits for a distance of 1e-4 in
    double precision, nor 1e3² in single."""
    rng = np.random.default_rng(1)
    x, centers = rng.standard_normal((200, 3)), rng.standard_normal((4, 3))
    expected = ((x[:, None] - centers) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(
        kmeans_loss(x + 2.0**20, None, centers + 2.0**20), expected, atol=1e-8
    )
    np.testing.assert_allclose(
        kmeans_loss((x + 1000).astype(np.float32), None, (centers + 1000).astype(np.float32)),
        expected,
        atol=2e-3,
    )
    assert (kmeans_loss(x, None, x[:50])[:50] < 1e-14).all() and (
        kmeans_loss(x, None, x[:50]) >= 0
    ).all()


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097])
def test_rows_beyond_a_block(n):
    rng = np.random.default_rng(2)
    x, centers = rng.standard_normal((n, 2)), rng.standard_normal((3, 2))
    np.testing.assert_allclose(
        kmeans_loss(x, None, centers),
        ((x[:, None] - centers) ** 2).sum(axis=2).min(axis=1),
        atol=1e-13,
    )


@pytest.mark.parametrize("loss", LINEAR)
@pytest.mark.parametrize(
    "kind, model, message",
    [
        (ValueError, (np.ones(3), 0.0), "model must have d = 2 coefficients and one intercept"),
        (ValueError, (np.ones((2, 2)), 0.0), "model must have d = 2 coefficients"),
        (ValueError, (np.ones(2), np.ones(2)), "one intercept"),
        (TypeError, (np.ones(2), 1j), r"model\[1\] must have real numbers"),
        (TypeError, types.SimpleNamespace(coef_=None, intercept_=0.0), "model.coef_ must be"),
    ],
)
def test_linear_models_that_do_not_fit(loss, kind, model, message):
    with pytest.raises(kind, match=message):
        loss(np.ones((3, 2)), np.ones(3), model)


@pytest.mark.parametrize(
    "kind, model, message",
    [
        (ValueError, np.ones((3, 3)), r"shape \(k, d\) with d = 2"),
        (ValueError, np.ones((0, 2)), "model must have at least one center"),
        (TypeError, np.ones((1, 2), complex), "model must have dtype"),
        (ValueError, types.SimpleNamespace(cluster_centers_=np.ones((3, 3))), "with d = 2"),
    ],
)
def test_centers_that_do_not_fit(kind, model, message):
    with pytest.raises(kind, match=message):
        kmeans_loss(np.ones((3, 2)), None, model)
