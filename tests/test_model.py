"""Models by scikit-learn's protocol: constructor, parameters, fitted or not, pickling, cloning."""

import pickle
from typing import Annotated, Literal

import numpy as np
import pytest

from numcore import dispatch
from numcore.arguments import RNG, Array, Float, nonnegative
from numcore.model import NotFittedError, model
from numcore.testing import simulated_gpu


@model(fitted="coef_", kind="regressor", features="d")
class Ridge:
    """Least squares with a penalty."""

    def __init__(
        self,
        *,
        penalty: Annotated[float, nonnegative] = 1.0,
        method: Literal["normal", "qr"] = "normal",
        rng: RNG = None,
    ):
        self.penalty, self.method, self.rng = penalty, method, rng

    def fit(self, X: Float[Array, "n d"], y: Float[Array, "n"]) -> "Ridge":
        gram = X.T @ X + self.penalty * np.eye(X.shape[1], dtype=X.dtype)
        self.coef_ = np.linalg.solve(gram, X.T @ y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Float[Array, "n d"]) -> Array:
        return X @ self.coef_

    def score(self, X: Float[Array, "n d"], y: Float[Array, "n"]) -> float:
        return 1 - float(((self.predict(X) - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())


dispatch._models.pop((Ridge.__module__, "Ridge"))  # of this test alone
X = np.random.default_rng(0).standard_normal((30, 3))
Y = X @ np.array([1.0, -2.0, 3.0])


def test_parameters_are_stored_and_shown():
    ridge = Ridge(penalty=2)
    assert ridge.get_params() == {"penalty": 2.0, "method": "normal", "rng": None}
    assert repr(ridge) == "Ridge(penalty=2.0)" and repr(Ridge()) == "Ridge()"
    assert ridge.set_params(method="qr") is ridge and ridge.method == "qr"


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: Ridge(penalty=-1), ValueError, "penalty must be >= 0 (got -1.0)"),
        (lambda: Ridge(penalty="0.1"), TypeError, "penalty must be a number (got '0.1')"),
        (lambda: Ridge(penalty=True), TypeError, "penalty must be a number (got True)"),
        (lambda: Ridge(method="svd"), ValueError, "method must be one of"),
        (lambda: Ridge().set_params(penalty=-1), ValueError, "penalty must be >= 0"),
        (lambda: Ridge().set_params(alpha=1), ValueError, "alpha must be a parameter of Ridge"),
        (lambda: Ridge().fit(X, Y[:-1]), ValueError, "y must have shape (n,) with n = 30"),
        (lambda: Ridge().fit(None, Y), TypeError, "X must be an array (got None)"),
        (lambda: Ridge().fit(X, Y).predict(X[:, :2]), ValueError,
         "X must have shape (n, d) with d = 3 (got (30, 2))"),
        (lambda: Ridge().predict(X), NotFittedError, "Ridge must be fitted first"),
        (lambda: Ridge().score(X, Y), NotFittedError, "Ridge must be fitted first"),
    ],
)  # fmt: skip
def test_errors(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_the_number_of_features_is_that_of_the_last_fit():
    ridge = Ridge().fit(X, Y)
    for _ in range(2):
        assert ridge.predict(X).shape == (30,)
    ridge.fit(X[:, :2], Y)
    assert ridge.predict(X[:, :2]).shape == (30,)
    with pytest.raises(ValueError, match="with d = 2"):
        ridge.predict(X)


def test_a_model_survives_pickling():
    ridge = pickle.loads(pickle.dumps(Ridge(penalty=0.5).fit(X, Y)))
    assert ridge.penalty == 0.5 and ridge.predict(X).shape == (30,)


def test_scikit_learn_takes_it():
    base = pytest.importorskip("sklearn.base")
    from sklearn.exceptions import NotFittedError as Theirs
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.utils import get_tags

    ridge = Ridge(penalty=0.5)
    twin = base.clone(ridge)
    assert twin is not ridge and twin.get_params() == ridge.get_params()
    assert cross_val_score(ridge, X, Y, cv=3).min() > 0.9
    search = GridSearchCV(ridge, {"penalty": [0.0, 100.0]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"penalty": 0.0}
    assert get_tags(ridge).estimator_type == "regressor" and base.is_regressor(ridge)
    with pytest.raises(Theirs):
        Ridge().predict(X)


def test_a_model_without_a_gpu_form_says_so():
    @model(fitted="x_", host_only="it draws trees")
    class Tree:
        def __init__(self):
            pass

        def fit(self, X: Float[Array, "n d"]) -> "Tree":
            self.x_ = X
            return self

    dispatch._models.pop((Tree.__module__, "Tree"))
    with simulated_gpu() as xp, pytest.raises(TypeError, match="only: it draws trees"):
        Tree().fit(xp.ones((2, 2)))
