"""Adam against one number at a time and against torch; clipped gradients; what a class must keep as
routines do."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest

import numcore
from numcore.examples.nn import optim as naive
from numcore.nn import Adam, clip_grad_norm
from numcore.nn._optim import adam_update, amsgrad_update, squares_in_blocks
from numcore.testing import simulated_gpu
from tests.nn.assembly import assembly, vector_instructions

OPTIONS = [
    {},
    {"learning_rate": 0.1, "betas": (0.5, 0.7), "eps": 1e-3},
    {"betas": (0.0, 0.0)},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"weight_decay": 0.1, "decoupled": False},
    {"weight_decay": 0.1, "decoupled": False, "amsgrad": True},
]


def test_known_first_step():
    w = np.zeros(2)
    Adam([w], learning_rate=1e-3).step([np.array([0.1, -20.0])])
    np.testing.assert_allclose(
        w, [-1e-3, 1e-3], rtol=0, atol=1.001e-10
    )  # eps takes 1e-8 / 0.1 of the step


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-14)]
)  # a few roundings in 20 steps
def test_every_option_is_the_definition(dtype, tolerance, options):
    rng = np.random.default_rng(0)
    w, grads = rng.standard_normal(33).astype(dtype), rng.standard_normal((20, 33)).astype(dtype)
    expected = [
        naive.adam(float(w[i]), grads[:, i].astype(float).tolist(), **options) for i in range(33)
    ]
    adam = Adam([w], **options)
    for g in grads:
        adam.step([g])
    np.testing.assert_allclose(w, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))
    assert w.dtype == dtype and adam.n_steps == 20


@pytest.mark.parametrize("options", OPTIONS)
def test_torch_agrees(options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    params = [rng.standard_normal(shape) for shape in ((5, 7), (3,), (2, 3, 4))]
    theirs = [torch.from_numpy(p.copy()).requires_grad_() for p in params]
    there = {k: v for k, v in options.items() if k not in ("decoupled", "learning_rate")}
    there |= {"lr": options["learning_rate"]} if "learning_rate" in options else {}
    peer = (torch.optim.Adam if not options.get("decoupled", True) else torch.optim.AdamW)(
        theirs, **{"weight_decay": 0.0} | there
    )
    adam = Adam(params, **options)
    for _ in range(30):
        grads = [rng.standard_normal(p.shape) for p in params]
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.from_numpy(g.copy())
        peer.step()
        adam.step(grads)
    for mine, its in zip(params, theirs, strict=True):
        np.testing.assert_allclose(mine, its.detach().numpy(), rtol=0, atol=1e-10)


def test_a_rate_that_changes():
    w, v = np.zeros(3), np.zeros(3)
    adam, other = Adam([w], learning_rate=0.1), Adam([v], learning_rate=0.1)
    for step in range(5):
        adam.learning_rate = 0.1 / (1 + step)
        adam.step([np.ones(3)])
        other.learning_rate = 0.1
        other.step([np.ones(3)])
    np.testing.assert_allclose(
        w, -0.1 * sum(1 / k for k in range(1, 6)), rtol=1e-6
    )  # a constant gradient moves by learning_rate
    np.testing.assert_allclose(v, -0.5, rtol=1e-6)


def test_arrays_of_any_layout_and_no_gradient():
    rng = np.random.default_rng(2)
    plain, g = rng.standard_normal((6, 8)), rng.standard_normal((6, 8))
    wide = np.zeros((6, 16))
    strided, fortran, untouched, empty = (
        wide[:, ::2],
        np.asfortranarray(plain),
        np.ones(3),
        np.empty((0, 4)),
    )
    strided[...] = plain
    adam = Adam([plain, strided, fortran, untouched, empty])
    for _ in range(3):
        adam.step([g, np.asfortranarray(g), g[::-1][::-1], None, empty])
    np.testing.assert_array_equal(strided, plain)
    np.testing.assert_array_equal(fortran, plain)
    assert not wide[:, 1::2].any() and (untouched == 1).all()


def test_inputs_that_are_read_only_are_left_alone():
    g = np.random.default_rng(3).standard_normal(9)
    g.flags.writeable = False
    before, w = g.copy(), np.ones(9)
    Adam([w]).step([g])
    np.testing.assert_array_equal(g, before)


def test_nan_stays_where_it_is():
    for amsgrad in (False, True):
        w = np.ones(5)
        adam = Adam([w], amsgrad=amsgrad)
        adam.step([np.array([1, np.nan, 1, 1, 1])])
        adam.step([np.ones(5)])
        np.testing.assert_array_equal(np.isnan(w), [False, True, False, False, False])


@pytest.mark.parametrize("options", OPTIONS)
def test_same_on_gpu(options):
    rng = np.random.default_rng(4)
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-15)):
        w, grads = (
            rng.standard_normal((20, 15)).astype(dtype),
            rng.standard_normal((3, 20, 15)).astype(dtype),
        )
        with simulated_gpu(checked=True) as xp:
            there = xp.asarray(w)
            adam = Adam([there], **options)
            for g in grads:
                adam.step([xp.asarray(g)])
            with pytest.raises(TypeError, match="one device"):
                adam.step([grads[0]])
        adam = Adam([w], **options)
        for g in grads:
            adam.step([g])
        np.testing.assert_allclose(there.get(), w, rtol=0, atol=tolerance)


def test_threads_change_no_bit():
    rng = np.random.default_rng(5)
    start, grads = (
        rng.standard_normal(200_001).astype(np.float32),
        rng.standard_normal((3, 200_001)).astype(np.float32),
    )
    results = []
    try:
        for n in (1, 2, 7):
            numcore.set_num_threads(n)
            w = start.copy()
            adam = Adam([w], amsgrad=True)
            for g in grads:
                adam.step([g])
            results.append((w, *clip_grad_norm([w, *grads], 0.5)))
    finally:
        numcore.set_num_threads(None)
    for w, clipped, norm in results[1:]:
        np.testing.assert_array_equal(w, results[0][0])
        assert norm == results[0][2]
        for a, b in zip(clipped, results[0][1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_step_makes_no_array():
    w, g = np.ones(100_000), np.ones(100_000)
    adam = Adam([w])
    adam.step([g])
    tracemalloc.start()
    adam.step([g])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < w.nbytes / 10


def test_it_can_be_stored():
    w, g = np.ones(4), np.arange(4.0)
    adam = Adam([w])
    adam.step([g])
    other = pickle.loads(pickle.dumps(adam))
    adam.step([g])
    other.step([g])
    np.testing.assert_array_equal(other.params[0], w)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"learning_rate": 0}, ValueError, r"learning_rate must be > 0 \(got 0.0\)"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": math.inf}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": None}, TypeError, "learning_rate must be a number"),
        ({"betas": (0.9, 1.0)}, ValueError, r"betas\[1\] must be in \[0, 1\) \(got 1.0\)"),
        ({"betas": 0.9}, TypeError, "betas must be a list or tuple"),
        ({"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\] must be in \[0, 1\)"),
        ({"betas": (0.9,)}, ValueError, r"betas must have 2 items \(got 1\)"),
        ({"eps": 0}, ValueError, r"eps must be > 0"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be >= 0"),
        ({"decoupled": 1}, TypeError, "decoupled must be True or False"),
        ({"amsgrad": None}, TypeError, "amsgrad must be True or False"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Adam([np.zeros(2)], **options)


def test_bad_params():
    fixed = np.zeros(2)
    fixed.flags.writeable = False
    for params, error, message in (
        (np.zeros(2), TypeError, "params must be a list or tuple"),
        ([1.0], TypeError, r"params\[0\] must be an array, which is written to"),
        ([[1.0]], TypeError, r"params\[0\] must be an array, which is written to"),
        ([None], TypeError, r"params\[0\] must be an array"),
        ([], TypeError, "params must hold at least one array"),
        ([np.zeros(2, int)], TypeError, r"params\[0\] must have dtype float32 or float64"),
        (
            [np.zeros(2), np.zeros(2, np.float32)],
            TypeError,
            r"params\[1\] must have dtype float64 like params\[0\]",
        ),
        ([fixed], ValueError, r"params\[0\] must be writeable"),
        ([fixed.copy()] * 2, ValueError, "params must be different arrays"),
    ):
        with pytest.raises(error, match=message):
            Adam(params)


def test_bad_gradients_change_nothing():
    w = [np.zeros(2), np.zeros(3)]
    adam = Adam(w)
    good = np.ones(2)
    for grads, error, message in (
        ([good], ValueError, r"grads must hold one array for each of the 2 params \(got 1\)"),
        (good, TypeError, "grads must be a list or tuple"),
        ([good, good], ValueError, r"grads\[1\] must have shape \(3,\) \(got \(2,\)\)"),
        ([good, np.ones(3, np.float32)], TypeError, r"grads\[1\] must have dtype float64"),
        (
            [np.ones(2, "f4"), np.ones(3, "f4")],
            TypeError,
            r"grads\[0\] must have dtype float64 like params\[0\]",
        ),
        ([good, "abc"], TypeError, r"grads\[1\] must be an array"),
    ):
        with pytest.raises(error, match=message):
            adam.step(grads)
    assert adam.n_steps == 0 and not any(p.any() for p in w)
    with pytest.raises(ValueError, match="learning_rate must be > 0"):
        adam.learning_rate = 0


# --- clipping -------------------------------------------------------------------------------------


def test_known_clipping():
    grads = [np.array([3.0, 0.0]), None, np.array([[4.0]])]
    clipped, norm = clip_grad_norm(grads, 1.0)
    assert norm == 5 and clipped[1] is None
    np.testing.assert_allclose(clipped[0], [0.6, 0], rtol=1e-15)
    np.testing.assert_allclose(clipped[2], [[0.8]], rtol=1e-15)
    assert grads[0].tolist() == [3, 0]
    clipped, norm = clip_grad_norm(grads, 5.0)
    assert clipped[0] is grads[0] and norm == 5


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 4095, 4096, 4097, 10_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_of_any_length(n, dtype):
    g = np.random.default_rng(n).standard_normal(n).astype(dtype)
    clipped, norm = clip_grad_norm([g], 1e9)
    assert norm.dtype == dtype and clipped[0] is g
    expected = math.sqrt(math.fsum(float(x) ** 2 for x in g))
    assert abs(norm - expected) <= (6e-8 if dtype == np.float32 else 4e-16) * expected


def test_large_and_broken_gradients():
    clipped, norm = clip_grad_norm(np.full(4, 1e30, np.float32), 1.0)  # the squares are no float32
    assert norm == np.float32(2e30)
    np.testing.assert_allclose(clipped, 0.5, rtol=2e-7)
    clipped, norm = clip_grad_norm([np.array([1, np.nan]), np.ones(2)], 1.0)
    assert np.isnan(norm) and all(np.isnan(g).all() for g in clipped)
    clipped, norm = clip_grad_norm([np.array([1, np.inf])], 1.0)
    assert norm == np.inf and clipped[0][0] == 0 and np.isnan(clipped[0][1])


def test_torch_clips_alike():
    torch = pytest.importorskip("torch")
    grads = [np.random.default_rng(6).standard_normal(shape) for shape in ((4, 5), 7)]
    there = [torch.zeros(g.shape, dtype=torch.float64).requires_grad_() for g in grads]
    for p, g in zip(there, grads, strict=True):
        p.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(there, 0.3)
    clipped, mine = clip_grad_norm(grads, 0.3)
    assert abs(mine - norm.item()) < 1e-14
    for g, p in zip(clipped, there, strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-6)  # torch adds 1e-6 to the norm


@pytest.mark.parametrize(
    "grads, max_norm, error, message",
    [
        ([], 1, ValueError, "grads must hold at least one array"),
        ([None], 1, ValueError, "grads must hold at least one array"),
        (
            [np.ones(2), np.ones(2, np.float32)],
            1,
            TypeError,
            r"grads\[1\] must have dtype float64 like grads\[0\]",
        ),
        (["a"], 1, TypeError, r"grads\[0\] must be"),
        ([np.ones(2, int)], 1, TypeError, r"grads\[0\] must have dtype"),
    ],
)
def test_bad_clipping(grads, max_norm, error, message):
    with pytest.raises(error, match=message):
        clip_grad_norm(grads, max_norm)


@pytest.mark.parametrize(
    "kernel, float32, float64",
    [
        (adam_update, "sqrtps", "sqrtpd"),
        (adam_update, "divps", "divpd"),
        (amsgrad_update, "sqrtps", "sqrtpd"),
        (amsgrad_update, "pmaxsd", "p(cmpgt|maxs)q"),
        (squares_in_blocks, "addpd", "addpd"),
    ],
)
def test_kernels_are_made_of_vectors(kernel, float32, float64):
    for dtype, name in (("float32", float32), ("float64", float64)):
        code = assembly(kernel, dtype)
        assert vector_instructions(code, name) >= 1
        assert "call" not in code


def test_the_example_of_the_class_runs():
    import doctest

    (test,) = doctest.DocTestFinder(recurse=False).find(Adam, "Adam", module=False, globs={})
    assert (
        test.examples
        and not doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed
    )
