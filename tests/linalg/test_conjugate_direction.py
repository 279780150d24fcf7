"""Conjugate directions: conjugate gradients as a special case, monotone errors, the loss and its
gradient, training; bad input.

Longer training, as published: ``pytest -m slow tests/linalg/test_conjugate_direction.py``.
"""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

from numcore.linalg import (
    CSR,
    DirectionNetwork,
    conjugate_direction_solve,
    direction_loss,
    ritz_training_set,
)
from numcore.linalg._conjugate_direction.network import forward, initial_parameters
from numcore.model import NotFittedError
from numcore.random import key_from_rng
from numcore.testing import check_vjp, simulated_gpu


def poisson(side):
    t = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    return CSR.from_dense(np.kron(np.eye(side), t) + np.kron(t, np.eye(side)))


def stencil(v):
    """The same operator without a matrix."""
    grid = v.reshape((round(v.size**0.5),) * 2)
    out = 4 * grid
    out[1:] -= grid[:-1]
    out[:-1] -= grid[1:]
    out[:, 1:] -= grid[:, :-1]
    out[:, :-1] -= grid[:, 1:]
    return out.ravel()


def identity(r):
    return r


A, B = poisson(32), np.random.default_rng(0).standard_normal(1024)


# --- the solver -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kept, iterations", [(0, 3202), (1, 102), (2, 102), (3, 102)])
def test_the_identity_gives_conjugate_gradients(kept, iterations):
    result = conjugate_direction_solve(A, B, identity, tol=1e-8, max_iter=5000, n_orthogonal=kept)
    assert (
        abs(result.n_iter - iterations) <= (2 if kept == 0 else 1)
        and result.converged
        and result.reason == "converged"
    )
    assert len(result.residual_norms) == result.n_iter + 1


def test_residuals_are_those_of_conjugate_gradients():
    ours = conjugate_direction_solve(A, B, identity, tol=1e-8, max_iter=500, n_orthogonal=1)
    dense, x, r = A.toarray(), np.zeros(1024), B.copy()
    p, norms = r.copy(), [np.linalg.norm(r)]
    for _ in range(ours.n_iter):
        w = dense @ p
        alpha = (r @ r) / (p @ w)
        x, new = x + alpha * p, r - alpha * w
        p, r = new + (new @ new) / (r @ r) * p, new
        norms.append(np.linalg.norm(r))
    np.testing.assert_allclose(ours.residual_norms[:41], norms[:41], rtol=1e-12)
    assert np.linalg.norm(ours.x - x) < 1e-11 * np.linalg.norm(x)


@pytest.mark.parametrize("scale", [1, -3.7, 1e-6])
def test_the_exact_direction_takes_one_iteration(scale):
    inverse = np.linalg.inv(A.toarray())
    assert conjugate_direction_solve(A, B, lambda r: scale * (inverse @ r), tol=1e-8).n_iter == 1


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_the_error_never_grows_whatever_the_direction(kept):
    rng, dense = np.random.default_rng(1), poisson(8).toarray()
    solution, errors = np.linalg.solve(dense, B[:64]), []

    def record(iteration, x, norm):
        errors.append((x - solution) @ dense @ (x - solution))

    conjugate_direction_solve(
        dense,
        B[:64],
        lambda r: rng.standard_normal(64) * np.sign(r),
        max_iter=60,
        n_orthogonal=kept,
        callback=record,
    )
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(errors))


def test_all_forms_of_a_matrix_give_the_same():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    expected = conjugate_direction_solve(A, B, identity, tol=1e-6, max_iter=500).x
    for form in (A.toarray(), scipy_sparse.csr_array(A.toarray()), stencil):
        np.testing.assert_allclose(
            conjugate_direction_solve(form, B, identity, tol=1e-6, max_iter=500).x,
            expected,
            rtol=1e-8,
            atol=1e-10,
        )


def test_starts_ends_and_callbacks():
    dense = poisson(4).toarray()
    solution = np.linalg.solve(dense, B[:16])
    at_once = conjugate_direction_solve(dense, dense @ solution, identity, x0=solution)
    assert at_once.n_iter == 0 or at_once.residual_norms[0] < 1e-12
    assert conjugate_direction_solve(dense, np.zeros(16), identity).n_iter == 0
    assert conjugate_direction_solve(dense, B[:16], identity, max_iter=2).reason == "max_iter"
    assert (
        conjugate_direction_solve(
            dense, B[:16], identity, callback=lambda i, x, norm: i == 3
        ).n_iter
        == 3
    )
    start = np.ones(16)
    assert (
        conjugate_direction_solve(dense, B[:16], identity, x0=start, tol=1e-10).converged
        and (start == 1).all()
    )


def test_unusable_and_indefinite_directions():
    dense = poisson(4).toarray()
    result = conjugate_direction_solve(dense, B[:16], np.zeros_like, tol=1e-8)
    assert result.converged and result.reason == "converged"
    assert result.n_fallbacks == result.n_iter > 0
    assert conjugate_direction_solve(-dense, B[:16], identity).reason == "indefinite"


def test_memory_is_a_few_vectors():
    side = 256
    b = np.random.default_rng(2).standard_normal(side * side)
    conjugate_direction_solve(stencil, b, identity, max_iter=3)
    tracemalloc.start()
    try:
        conjugate_direction_solve(stencil, b, identity, max_iter=20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 14 * b.nbytes  # twelve vectors, and temporaries of the stencil


def test_on_the_simulated_gpu():
    with simulated_gpu() as xp:
        a = CSR(*(xp.asarray(part) for part in (A.indptr, A.indices, A.data)), A.shape)
        result = conjugate_direction_solve(a, xp.asarray(B), identity, tol=1e-6, max_iter=500)
    np.testing.assert_allclose(
        result.x.get(),
        conjugate_direction_solve(A, B, identity, tol=1e-6, max_iter=500).x,
        rtol=1e-8,
        atol=1e-10,
    )


# --- loss, training set, network ------------------------------------------------------------------


def test_loss_by_differences_and_its_invariance():
    rng, dense = np.random.default_rng(3), poisson(4).toarray()
    z, b = rng.standard_normal((2, 5, 16))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    loss, grad = direction_loss(dense, z, b)
    assert np.abs(np.einsum("ij,ij->i", grad, z)).max() < 1e-13
    assert abs(direction_loss(dense, -7.5 * z, b)[0] - loss) < 1e-13
    assert (
        check_vjp(
            lambda z: (np.asarray(direction_loss(dense, z, b)[0]), z),
            lambda g, z: g * direction_loss(dense, z, b)[1],
            (z,),
            rng=4,
        )
        < 1e-6
    )
    assert direction_loss(dense, np.linalg.solve(dense, b.T).T, b)[0] < 1e-25
    np.testing.assert_allclose(direction_loss(stencil, z, b)[1], grad, atol=1e-12)
    assert direction_loss(dense, np.zeros((2, 16)), b[:2])[0] == pytest.approx(1)


def test_the_loss_may_exceed_the_residual():
    """A step that minimizes the error may increase the residual: diag(1, 100), b = e1, z = (1,
    1)."""
    assert direction_loss(np.diag([1.0, 100.0]), np.ones((1, 2)), np.array([[1.0, 0.0]]))[0] > 1.9


def test_training_set():
    a = poisson(12)
    samples = ritz_training_set(a, 60, 400, theta=5, rng=0)
    assert samples.shape == (400, 144) and samples.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(samples, axis=1), 1, rtol=1e-6)
    values, vectors = np.linalg.eigh(a.toarray())
    energy = (samples.astype(float) @ vectors) ** 2
    assert (
        energy[:, values < np.median(values)].sum() > 0.8 * energy.sum()
    )  # weighted by 9² on half of the vectors
    np.testing.assert_array_equal(samples, ritz_training_set(a, 60, 400, theta=5, rng=0))
    assert ritz_training_set(np.eye(5), 5, 3, rng=0).shape == (
        3,
        5,
    )  # one step spans an invariant space


@pytest.mark.parametrize("shape, levels", [((8, 8), 2), ((4, 6), 1), ((4, 4, 8), 2)])
def test_gradients_of_the_network(shape, levels):
    rng = np.random.default_rng(5)
    parameters = initial_parameters(len(shape), 2, levels, np.random.default_rng(key_from_rng(0)))
    parameters = [  # without biases relu would be at its kink
        p + 0.1 * rng.standard_normal(p.shape) for p in parameters
    ]
    x = rng.standard_normal((2, 1, *shape))

    def f(*parameters):
        tape, out = forward(parameters, x, levels)
        return tape.values[out], (tape, out)

    worst = check_vjp(
        f, lambda g, cache: tuple(cache[0].gradients(cache[1], g)), tuple(parameters), rng=6
    )
    assert worst < 1e-5  # kinks of relu within a step


def required(network, side, share):
    a, rng = poisson(side), np.random.default_rng(7)
    points = np.arange(side) / side
    bump = np.exp(-50 * ((points[:, None] - 0.4) ** 2 + (points - 0.6) ** 2)).ravel()
    for b in (rng.standard_normal(side * side), bump):
        ours, cg = (
            conjugate_direction_solve(a, b, d, max_iter=500).n_iter for d in (network, identity)
        )
        assert ours <= share * cg, (side, ours, cg)


def test_a_short_training_already_helps():
    a = poisson(16)
    network = DirectionNetwork((16, 16), n_filters=8, max_iter=400, rng=0).fit(
        a, ritz_training_set(a, 100, 500, theta=10, rng=0)
    )
    assert network.loss_history_[-1] < 0.1 * network.loss_history_[0]
    required(network, 16, 1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("steps, share", [(500, 1 / 4), (1500, 1 / 6)])
def test_training_on_one_grid_helps_on_larger_ones(steps, share):
    samples = ritz_training_set(A, 300, 2000, theta=15, rng=0)
    network = DirectionNetwork((32, 32), n_filters=8, max_iter=steps, rng=0).fit(A, samples)
    required(network, 32, share)
    required(network, 64, share)


def fitted():
    a = poisson(8)
    return DirectionNetwork((8, 8), n_filters=2, max_iter=3, rng=0).fit(
        a, ritz_training_set(a, 8, 5, rng=0)
    )


def test_a_network_is_a_model():
    network, r = fitted(), np.ones(64) / 8
    assert len(network.loss_history_) == 3
    np.testing.assert_array_equal(network(r), fitted().predict(r))
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(again(r), network(r))
    base = pytest.importorskip("sklearn.base")
    twin = base.clone(network)
    assert twin.get_params() == network.get_params() and not hasattr(twin, "parameters_")


def test_a_network_on_the_simulated_gpu():
    a = poisson(8)
    samples = ritz_training_set(a, 8, 5, rng=0)
    with simulated_gpu() as xp:
        network = DirectionNetwork((8, 8), n_filters=2, max_iter=3, rng=0)
        there = network.fit(a.map(xp.asarray), xp.asarray(samples))(xp.ones(64) / 8)
        np.testing.assert_allclose(there.get(), fitted()(np.ones(64) / 8), rtol=1e-4, atol=1e-6)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (dict(b=np.ones(5)), ValueError, "b must have shape"),
        (dict(a=np.ones((4, 3))), ValueError, r"a must have shape \(n, n\)"),
        (dict(x0=np.ones(3)), ValueError, "x0 must have shape"),
        (dict(direction=lambda r: r[:2]), ValueError, "in iteration 1"),
        (dict(direction=lambda r: r * np.nan), ValueError, "finite"),
        (dict(a=lambda v: v[:1]), ValueError, "a must return"),
        (dict(a="matrix"), TypeError, "a must be an array or a CSR or a sparse array or callable"),
    ],
)
def test_solver_errors(change, kind, message):
    with pytest.raises(kind, match=message):
        conjugate_direction_solve(
            **{"a": np.eye(4), "b": np.ones(4), "direction": identity} | change
        )


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: direction_loss(np.eye(3), np.ones((2, 3)), np.ones((2, 4))),
            ValueError,
            "target must have shape",
        ),
        (
            lambda: ritz_training_set(np.eye(3), 4, 1),
            ValueError,
            "n_vectors must be <= n",
        ),
        (lambda: ritz_training_set(np.eye(3, dtype=np.float32), 1, 1), TypeError, "float64"),
        (
            lambda: ritz_training_set(CSR.from_dense(np.eye(3, dtype="f4")), 1, 1),
            TypeError,
            r"float64 \(got float32\)",
        ),
        (lambda: ritz_training_set(np.zeros((3, 3)), 2, 1), ValueError, "not be zero"),
        (lambda: DirectionNetwork((8,)), ValueError, "shape must have 2 items"),
        (lambda: DirectionNetwork((8, 8), n_levels=3), ValueError, r"in \[1, 2\]"),
        (lambda: DirectionNetwork(8), TypeError, "shape must be a list or tuple"),
        (lambda: DirectionNetwork((8, 8))(np.ones(64)), NotFittedError, "fitted first"),
        (lambda: fitted()(np.ones(60)), ValueError, "points of a grid"),
        (
            lambda: DirectionNetwork((6, 8)).fit(np.eye(48), np.ones((3, 48))),
            ValueError,
            "multiples of 4",
        ),
        (
            lambda: DirectionNetwork((8, 8)).fit(np.eye(60), np.ones((3, 60))),
            ValueError,
            r"samples must have shape \(size, 64\)",
        ),
        (
            lambda: DirectionNetwork((8, 8)).fit(np.eye(64), np.ones((3, 60))),
            ValueError,
            "samples must have shape",
        ),
    ],
)
def test_other_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
