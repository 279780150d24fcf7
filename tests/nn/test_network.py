"""Multilayer perceptrons: known answers, 40-digit references, torch, differences, real problems,
bad input, memory."""

import doctest
import threading
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.nn import MLP
from numcore.testing import check_vjp, simulated_gpu
from tests.naive.nn import network as naive

KINDS = ("tanh", "relu", "gelu", "silu", "sigmoid", "sin", "softplus")
SMOOTH = tuple(kind for kind in KINDS if kind != "relu")


def network_of(sizes, kind="tanh", dtype="float64", seed=0):
    """A network whose biases are not zero."""
    network, rng = (
        MLP(sizes, activation=kind, rng=seed, dtype=dtype),
        np.random.default_rng(seed + 1),
    )
    for b in network.parameters[1::2]:
        b[:] = 0.3 * rng.standard_normal(b.shape)
    return network


def as_function(network, directions=None, order=0):
    """The network as a function of its input and its parameters, and its backward function."""

    def f(x, *parameters):
        network.parameters[:] = parameters
        return network.taylor(x, directions, order=order) if order else network.forward(x)

    def vjp(*arguments):
        *grads, cache = arguments
        none = [None] * (order == 1)
        grad_x, grads = (
            network.taylor_vjp(*grads, *none, cache) if order else network.vjp(*grads, cache)
        )
        return grad_x, *grads

    return f, vjp


# --- known answers and references -----------------------------------------------------------------


def test_known_taylor_coefficients():
    network = MLP((1, 1, 1), dtype="float64")
    for parameter, value in zip(network.parameters, (1.5, -0.1, 1.0, 0.0), strict=True):
        parameter[:] = value
    outputs, _ = network.taylor(np.array([[0.4]]), np.array([[1.0]]))
    for part, value in zip(outputs, (0.4621171573, 1.1796715994, -1.6354394581), strict=True):
        assert part.item() == pytest.approx(value, abs=5e-11)  # ten digits are known
    assert network.forward(np.array([[0.4]]))[0].item() == pytest.approx(0.4621171573, abs=5e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype, tolerance", [("float64", 2e-13), ("float32", 2e-5)]
)  # sums of a few dozen terms of size 1 to 10
def test_against_40_digits(kind, dtype, tolerance):
    order = 1 if kind == "relu" else 2
    network, rng = network_of((3, 6, 5, 2), kind, dtype), np.random.default_rng(2)
    x, directions = (
        rng.standard_normal((4, 3)).astype(dtype),
        rng.standard_normal((2, 3)).astype(dtype),
    )
    (y, *derivatives), _ = network.taylor(x, directions, order=order)
    assert y.dtype == dtype
    np.testing.assert_allclose(network.forward(x)[0], y, rtol=0, atol=tolerance)
    for i, point in enumerate(x):
        for k, direction in enumerate(directions):
            want = naive.taylor(network.parameters, kind, point, direction, order)
            np.testing.assert_allclose(y[i], want[0], rtol=0, atol=tolerance)
            for part, exact in zip(derivatives, want[1:], strict=True):
                np.testing.assert_allclose(part[k, i], exact, rtol=0, atol=tolerance)


def torch_network(torch, network):
    modules = torch.nn
    kinds = {
        "tanh": modules.Tanh,
        "relu": modules.ReLU,
        "gelu": modules.GELU,
        "silu": modules.SiLU,
        "sigmoid": modules.Sigmoid,
        "softplus": lambda: modules.Softplus(threshold=100),
        "sin": lambda: type("Sin", (modules.Module,), {"forward": _sin})(),
    }
    layers = []
    for w, b in zip(network.parameters[::2], network.parameters[1::2], strict=True):
        linear = modules.Linear(*w.shape)
        linear.weight, linear.bias = (
            modules.Parameter(torch.from_numpy(w.T.copy())),
            modules.Parameter(torch.from_numpy(b)),
        )
        layers += [linear, kinds[network.activation]()]
    return modules.Sequential(*layers[:-1])


def _sin(self, x):
    return x.sin()


def assert_same_gradients(grad_x, grads, x, there):
    np.testing.assert_allclose(grad_x, x.grad.numpy(), rtol=0, atol=1e-10)
    for i, (grad, parameter) in enumerate(zip(grads, there.parameters(), strict=True)):
        np.testing.assert_allclose(
            grad,
            parameter.grad.numpy().T if i % 2 == 0 else parameter.grad.numpy(),
            rtol=0,
            atol=1e-10,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_against_torch(kind):
    torch = pytest.importorskip("torch")
    network, rng = network_of((5, 17, 8, 3), kind), np.random.default_rng(3)
    x, g = rng.standard_normal((21, 5)), rng.standard_normal((21, 3))
    y, cache = network.forward(x)
    there, on_torch = torch_network(torch, network), torch.from_numpy(x).requires_grad_()
    expected = there(on_torch)
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=1e-10)
    assert_same_gradients(*network.vjp(g, cache), on_torch, there)


@pytest.mark.parametrize("kind", SMOOTH)
def test_taylor_against_differentiating_twice_in_torch(kind):
    torch = pytest.importorskip("torch")
    network, rng = network_of((2, 9, 7, 1), kind), np.random.default_rng(4)
    x = rng.standard_normal((13, 2))
    g, g_first, g_second = (rng.standard_normal(s) for s in ((13, 1), (2, 13, 1), (2, 13, 1)))
    (y, first, second), cache = network.taylor(x, np.eye(2))
    there, on_torch = torch_network(torch, network), torch.from_numpy(x).requires_grad_()
    value = there(on_torch)
    (slope,) = torch.autograd.grad(value.sum(), on_torch, create_graph=True)
    bend = torch.stack(
        [
            torch.autograd.grad(slope[:, k].sum(), on_torch, create_graph=True)[0][:, k]
            for k in range(2)
        ]
    )
    np.testing.assert_allclose(y, value.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(first[..., 0], slope.detach().numpy().T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(second[..., 0], bend.detach().numpy(), rtol=0, atol=1e-10)
    loss = (
        (value * torch.from_numpy(g)).sum()
        + (slope.T[..., None] * torch.from_numpy(g_first)).sum()
        + (bend[..., None] * torch.from_numpy(g_second)).sum()
    )
    loss.backward()
    assert_same_gradients(*network.taylor_vjp(g, g_first, g_second, cache), on_torch, there)


# --- differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, order",
    [(kind, order) for kind in KINDS for order in (0, 1, 2) if (kind, order) != ("relu", 2)],
)
@pytest.mark.parametrize(
    "shape, d", [((7, 3), 2), ((1, 3), 1), ((0, 3), 2), ((2, 4, 3), 3), ((3,), 1), ((5, 3), 0)]
)
def test_gradients_by_differences(kind, order, shape, d):
    network, rng = network_of((3, 5, 4, 2), kind), np.random.default_rng(5)
    f, vjp = as_function(network, rng.standard_normal((d, 3)), order)
    x = rng.standard_normal(shape)
    assert check_vjp(f, vjp, (x, *network.parameters), rng=6) < (1e-5 if kind == "relu" else 1e-7)
    if x.ndim == 2:
        assert (
            check_vjp(
                lambda x, *p: f(np.repeat(x, 2, axis=1)[:, ::2], *p),
                vjp,
                (x, *network.parameters),
                rng=6,
            )
            < 1e-5
        )


@pytest.mark.parametrize("kind", SMOOTH)
def test_taylor_by_differences(kind):
    network, rng, h = network_of((3, 8, 8, 2), kind), np.random.default_rng(7), 1e-4
    x, directions = rng.standard_normal((6, 3)), rng.standard_normal((2, 3))
    (y, first, second), _ = network.taylor(x, directions)
    for k, v in enumerate(directions):
        up, down = network.forward(x + h * v)[0], network.forward(x - h * v)[0]
        np.testing.assert_allclose(first[k], (up - down) / (2 * h), rtol=0, atol=1e-5)
        np.testing.assert_allclose(second[k], (up + down - 2 * y) / h**2, rtol=0, atol=1e-5)


def test_mixed_derivative_by_two_directions():
    network, h = network_of((2, 8, 1)), 1e-4
    x = np.random.default_rng(8).standard_normal((6, 2))
    (_, _, (plus, minus)), _ = network.taylor(x, np.array([[1.0, 1.0], [1.0, -1.0]]))
    corners = [
        network.forward(x + h * np.array([a, b]))[0] * a * b for a in (1, -1) for b in (1, -1)
    ]
    np.testing.assert_allclose((plus - minus) / 4, sum(corners) / (4 * h * h), rtol=0, atol=1e-6)


# --- shapes, start, purity ------------------------------------------------------------------------


def test_start():
    network = MLP((30, 50, 2), rng=0)
    shapes = [p.shape for p in network.parameters]
    assert shapes == [(30, 50), (50,), (50, 2), (2,)] and all(
        p.dtype == np.float32 for p in network.parameters
    )
    w = network.parameters[0]
    bound = np.sqrt(6 / 80)
    assert (
        bound * 0.98 < np.abs(w).max() <= bound
        and abs(w.mean()) < 0.05 * bound
        and not network.parameters[1].any()
    )
    again = MLP((30, 50, 2), rng=np.random.default_rng(0))
    assert all(
        np.array_equal(p, q) for p, q in zip(network.parameters, again.parameters, strict=True)
    )
    assert not np.array_equal(MLP((30, 50, 2), rng=1).parameters[0], w)


def test_one_layer_is_affine():
    network, x = network_of((3, 2)), np.random.default_rng(9).standard_normal((5, 3))
    w, b = network.parameters
    np.testing.assert_allclose(network.forward(x)[0], x @ w + b, rtol=0, atol=1e-15)
    (_, first, second), _ = network.taylor(x, np.eye(3))
    np.testing.assert_allclose(first, np.broadcast_to(w[:, None], (3, 5, 2)), rtol=0, atol=1e-15)
    assert not second.any()


@pytest.mark.parametrize("lead", [(), (5,), (0,), (2, 3), (2, 0)])
@pytest.mark.parametrize("order", [1, 2])
def test_leading_axes(lead, order):
    network = network_of((3, 4, 2))
    x = np.random.default_rng(10).standard_normal((*lead, 3))
    y, cache = network.forward(x)
    assert y.shape == (*lead, 2) and network.vjp(y, cache)[0].shape == x.shape
    outputs, cache = network.taylor(x, np.eye(3)[:2], order=order)
    assert [part.shape for part in outputs] == [(*lead, 2)] + order * [(2, *lead, 2)]
    grad_x, grads = network.taylor_vjp(*outputs, *[None] * (2 - order), cache)
    assert grad_x.shape == x.shape and [g.shape for g in grads] == [
        p.shape for p in network.parameters
    ]


def test_no_gradient_is_a_gradient_of_zeros():
    network, x = network_of((3, 4, 2)), np.random.default_rng(11).standard_normal((5, 3))
    (y, first, second), cache = network.taylor(x, np.eye(3))
    some, all_given = (
        network.taylor_vjp(None, None, second, cache),
        network.taylor_vjp(0 * y, 0 * first, second, cache),
    )
    for a, b in zip([some[0], *some[1]], [all_given[0], *all_given[1]], strict=True):
        np.testing.assert_array_equal(a, b)
    plain = network.vjp(y, network.forward(x)[1])
    for a, b in zip(plain[1], network.taylor_vjp(y, None, None, cache)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def results_of(network, x, directions):
    y, cache = network.forward(x)
    grad_x, grads = network.vjp(y, cache)
    outputs, cache = network.taylor(x, directions)
    taylor_x, taylor_grads = network.taylor_vjp(*outputs, cache)
    return [y, grad_x, *grads, *outputs, taylor_x, *taylor_grads]


def test_caches_are_pure_and_inputs_stay():
    network, rng = network_of((3, 9, 2)), np.random.default_rng(12)
    x, directions = rng.standard_normal((5, 3)), np.eye(3)
    for array in (x, directions, *network.parameters):
        array.flags.writeable = False
    outputs, cache = network.taylor(x, directions)
    for part in outputs:
        part.flags.writeable = False
    (a, first), (b, second) = (
        network.taylor_vjp(*outputs, cache),
        network.taylor_vjp(*outputs, cache),
    )
    for one, other in zip([a, *first], [b, *second], strict=True):
        np.testing.assert_array_equal(one, other)
    y, cache = network.forward(x)
    np.testing.assert_array_equal(network.vjp(y, cache)[0], network.vjp(y, cache)[0])


def test_strides_of_inputs_and_parameters():
    network, rng = network_of((3, 9, 2)), np.random.default_rng(13)
    x = rng.standard_normal((8, 3))
    expected = results_of(network, x, np.eye(3))
    network.parameters[:] = [
        np.asfortranarray(p) if p.ndim == 2 else np.repeat(p, 2)[::2] for p in network.parameters
    ]
    for a, b in zip(
        results_of(network, np.asfortranarray(x), np.asfortranarray(np.eye(3))),
        expected,
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_simulated_gpu(kind, dtype):
    rng = np.random.default_rng(14)
    x, directions = rng.standard_normal((6, 3)).astype(dtype), np.eye(3, dtype=dtype)[:2]
    here = network_of((3, 5, 2), kind, dtype)
    order = 1 if kind == "relu" else 2
    with simulated_gpu(checked=True) as xp:
        there = MLP((3, 5, 2), activation=kind, rng=0, dtype=dtype, xp=xp)
        assert (there.parameters[0].get() == here.parameters[0]).all()
        there.parameters[:] = [xp.asarray(p) for p in here.parameters]
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        (y, cache), (y_there, cache_there) = here.forward(x), there.forward(xp.asarray(x))
        pairs = [(y, y_there)]
        (grad_x, grads), (grad_x_there, grads_there) = (
            here.vjp(y, cache),
            there.vjp(y_there, cache_there),
        )
        pairs += [(grad_x, grad_x_there), *zip(grads, grads_there, strict=True)]
        (out, cache), (out_there, cache_there) = (
            here.taylor(x, directions, order=order),
            there.taylor(xp.asarray(x), xp.asarray(directions), order=order),
        )
        (grad_x, grads), (grad_x_there, grads_there) = (
            here.taylor_vjp(*out, *[None] * (2 - order), cache),
            there.taylor_vjp(*out_there, *[None] * (2 - order), cache_there),
        )
        pairs += [
            *zip(out, out_there, strict=True),
            (grad_x, grad_x_there),
            *zip(grads, grads_there, strict=True),
        ]
        for a, b in pairs:
            np.testing.assert_allclose(b.get(), a, rtol=0, atol=tolerance * max(1, np.abs(a).max()))
        for call in (
            lambda: there.forward(x),
            lambda: there.taylor(xp.asarray(x), directions, order=1),
            lambda: there.vjp(y, cache_there.layers),
        ):
            with pytest.raises(TypeError, match="one device"):
                call()


def test_results_do_not_depend_on_threads():
    network = network_of((3, 50, 40, 2), dtype="float32")
    x, results = np.random.default_rng(15).standard_normal((1501, 3)).astype("f4"), []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append(results_of(network, x, np.eye(3, dtype="f4")))
    finally:
        numcore.set_num_threads(None)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sixteen_threads_at_once():
    network, x = network_of((3, 16, 2)), np.random.default_rng(16).standard_normal((100, 3))
    expected, wrong = results_of(network, x, np.eye(3)), []

    def work():
        for _ in range(3):
            wrong.extend(
                1
                for a, b in zip(results_of(network, x, np.eye(3)), expected, strict=True)
                if not np.array_equal(a, b)
            )

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nan_reaches_the_result():
    network, x = network_of((3, 4, 2)), np.zeros((5, 3))
    x[2, 1] = np.nan
    for part in network.taylor(x, np.eye(3))[0]:
        assert np.isnan(part[..., 2, :]).any() and np.isfinite(part[..., 3, :]).all()


def test_memory():
    """A pass keeps 2 c + order numbers for each hidden unit and row, c = 1 + order D being the
    number of coefficients."""
    network, x, c = (
        network_of((2, 64, 64, 1)),
        np.random.default_rng(17).standard_normal((2048, 2)),
        5,
    )
    unit = 2 * 64 * 2048 * 8  # one number for each hidden unit and row
    tracemalloc.start()
    outputs, cache = network.taylor(x, np.eye(2))
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows = 2048 * 8 * c * (2 + 1)  # what goes in and comes out
    assert (
        held < (2 * c + 2) * unit + rows + 50_000 and most < held + 200_000
    )  # NumPy buffers what it broadcasts, kernels have scratch
    assert np.shares_memory(network.forward(x)[1].inputs[0], x)


def test_examples_of_the_documentation_run():
    tests = doctest.DocTestFinder().find(MLP, "MLP", globs={"MLP": MLP})
    assert sum(bool(t.examples) for t in tests) == 2
    for t in tests:
        assert not doctest.DocTestRunner(verbose=False).run(t).failed


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (((3,),), ValueError, "sizes must hold at least two numbers (got 1)"),
        (((3, 0, 1),), ValueError, "sizes[1] must be >= 1 (got 0)"),
        (((3, 2.0),), TypeError, "sizes[1] must be an integer (got 2.0)"),
        (((3, True),), TypeError, "sizes[1] must be an integer (got True)"),
        ((3,), TypeError, "sizes must be a list or tuple"),
        ((None,), TypeError, "sizes must be a list or tuple (got None)"),
    ],
)
def test_bad_sizes(arguments, error, words):
    with pytest.raises(error) as info:
        MLP(*arguments)
    assert words in str(info.value)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"activation": "elu"}, ValueError, 'activation must be one of "relu", "tanh"'),
        ({"dtype": "float16"}, TypeError, "dtype must be float32 or float64 (got 'float16')"),
        ({"rng": "seed"}, TypeError, "rng must be"),
        ({"rng": -1}, ValueError, "rng must be a seed >= 0 (got -1)"),
        ({"xp": "numpy"}, TypeError, "xp must be"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error) as info:
        MLP((3, 2), **options)
    assert words in str(info.value)


X = np.ones((5, 3))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda n: n.forward(X[:, :2]),
            ValueError,
            "x must have shape (..., n_in) with n_in = 3 (got (5, 2))",
        ),
        (lambda n: n.forward(X[0, 0]), ValueError, "x must have shape (..., n_in)"),
        (lambda n: n.forward(None), TypeError, "x must be an array (got None)"),
        (
            lambda n: n.forward(X.astype("f4")),
            TypeError,
            "x must have dtype float64 like the parameters (got float32)",
        ),
        (
            lambda n: n.forward(X.astype(int)),
            TypeError,
            "x must have dtype float32 or float64 (got int64)",
        ),
        (
            lambda n: n.vjp(X, n.forward(X)[1]),
            ValueError,
            "grad_y must have shape (5, 2) (got (5, 3))",
        ),
        (
            lambda n: n.vjp(None, n.forward(X)[1]),
            TypeError,
            "grad_y must be an array (got None)",
        ),
        (
            lambda n: n.vjp(np.ones((5, 2), "f4"), n.forward(X)[1]),
            TypeError,
            "grad_y must have dtype float64 like the parameters (got float32)",
        ),
        (lambda n: n.vjp(X[:, :2], n.taylor(X, X)[1]), TypeError, "cache must be an MLPCache"),
        (lambda n: n.taylor(X, X[0]), ValueError, "directions must have shape (D, n_in)"),
        (
            lambda n: n.taylor(X, X[:, :2]),
            ValueError,
            "directions must have shape (D, n_in) with n_in = 3 (got (5, 2))",
        ),
        (lambda n: n.taylor(X, None), TypeError, "directions must be an array (got None)"),
        (
            lambda n: n.taylor(X, X.astype("f4")),
            TypeError,
            "directions must have dtype float64 like x (got float32)",
        ),
        (lambda n: n.taylor(X, X, order=3), ValueError, "order must be one of 1, 2 (got 3)"),
        (lambda n: n.taylor(X, X, order=True), TypeError, "order must be one of 1, 2 (got True)"),
        (lambda n: n.taylor(X, X, order=2.0), TypeError, "order must be one of 1, 2 (got 2.0)"),
        (
            lambda n: n.taylor_vjp(None, None, np.ones((5, 5, 2)), n.taylor(X, X, order=1)[1]),
            ValueError,
            "grad_second must be None after order=1",
        ),
        (
            lambda n: n.taylor_vjp(None, None, None, n.forward(X)[1]),
            TypeError,
            "cache must be an MLPTaylorCache",
        ),
        (
            lambda n: n.taylor_vjp(None, X, None, n.taylor(X, X)[1]),
            ValueError,
            "grad_first must have shape (5, 5, 2) (got (5, 3))",
        ),
        (
            lambda n: n.taylor_vjp(None, None, np.ones((5, 5, 2), "f4"), n.taylor(X, X)[1]),
            TypeError,
            "grad_second must have dtype float64 like the parameters",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error) as info:
        call(network_of((3, 4, 2)))
    assert words in str(info.value)


def test_relu_has_no_second_order():
    network = network_of((3, 4, 2), "relu")
    with pytest.raises(ValueError, match='order must be 1 for activation="relu"'):
        network.taylor(X, X)
    assert len(network.taylor(X, X, order=1)[0]) == 2


# --- real problems --------------------------------------------------------------------------------


class Adam:
    """D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, as written
    there."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.t = parameters, lr, 0
        self.m, self.v = (
            [np.zeros_like(p) for p in parameters],
            [np.zeros_like(p) for p in parameters],
        )

    def step(self, grads):
        self.t += 1
        for p, g, m, v in zip(self.parameters, grads, self.m, self.v, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= self.lr * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)


@pytest.mark.parametrize("seed", [0, 1])
def test_poisson_problem(seed):
    """u'' = -pi² sin(pi x), u(0) = u(1) = 0, whose solution is sin(pi x)."""
    network = MLP((1, 20, 20, 1), rng=seed, dtype=np.float64)
    x, ends, along = np.linspace(0, 1, 100)[:, None], np.array([[0.0], [1.0]]), np.ones((1, 1))
    force, adam, least = -(np.pi**2) * np.sin(np.pi * x), Adam(network.parameters, 3e-3), np.inf
    for _ in range(2000):
        (_, _, second), cache = network.taylor(x, along)
        u, ends_cache = network.forward(ends)
        loss = np.mean((second - force) ** 2) + 10 * np.mean(u**2)
        if (
            loss < least
        ):  # long steps make the loss rise now and then, at times that depend on rounding
            least, best = loss, network.forward(x)[0]
        _, inside = network.taylor_vjp(None, None, 2 * (second - force) / len(x), cache)
        _, outside = network.vjp(10 * 2 * u / len(u), ends_cache)
        adam.step([a + b for a, b in zip(inside, outside, strict=True)])
    exact = np.sin(np.pi * x)
    assert np.linalg.norm(best - exact) < 2e-4 * np.linalg.norm(exact)


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    x, labels = datasets.load_digits(return_X_y=True)
    x, train = (x / 16).astype("f4"), np.arange(len(x)) % 4 != 0
    network, rng = MLP((64, 32, 10), activation="relu", rng=0), np.random.default_rng(0)
    adam, hot = Adam(network.parameters, 3e-3), np.eye(10, dtype="f4")[labels]
    for _ in range(15):
        for batch in np.array_split(rng.permutation(np.flatnonzero(train)), 21):
            logits, cache = network.forward(x[batch])
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            _, grads = network.vjp(
                (weights / weights.sum(axis=1, keepdims=True) - hot[batch])
                / np.float32(len(batch)),
                cache,
            )
            adam.step(grads)
    right = network.forward(x[~train])[0].argmax(axis=1) == labels[~train]
    assert right.mean() > 0.95
