"""Attention against the whole matrix of scores, identities, known answers, bad input, memory and
cost."""

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import numcore
from numcore import _numba
from numcore.examples.nn import attention as naive
from numcore.nn import attention, attention_varlen, attention_vjp, merge_attention
from numcore.nn._attention import kernels
from numcore.simd import exp2, panel_exp2, panel_max
from numcore.testing import simulated_gpu

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
SEED = 2022


def arrays(rng, dtype, nq, nk, *, lead=(2,), heads=2, kv_heads=2, d=8, dv=8):
    shapes = (*lead, heads, nq, d), (*lead, kv_heads, nk, d), (*lead, kv_heads, nk, dv)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(result, expected, dtype, factor=1.0):
    """The same infinities, and errors relative to the largest entry."""
    assert result.dtype == dtype and result.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, result), np.where(finite, 0, expected))
    scale = max(np.abs(expected[finite]).max(initial=0), 1e-2)
    np.testing.assert_allclose(
        result[finite],
        expected[finite],
        rtol=0,
        atol=factor * TOLERANCE[np.dtype(dtype).name] * scale,
    )


def check(rng, dtype, q, k, v, factor=1.0, **options):
    """Forward and backward against the naive versions, `factor` times the usual tolerance being
    granted."""
    out, lse = attention(q, k, v, return_lse=True, **options)
    for result, expected in zip((out, lse), naive.attention(q, k, v, **options), strict=True):
        assert_close(result, expected, dtype, factor)
    np.testing.assert_array_equal(attention(q, k, v, **options), out)
    grad_out, grad_lse = (
        rng.standard_normal(out.shape).astype(dtype),
        rng.standard_normal(lse.shape).astype(dtype),
    )
    grads = attention_vjp(grad_out, q, k, v, out, lse, grad_lse=grad_lse, **options)
    grads = [grad for grad in grads if grad is not None]
    expected_grads = naive.attention_vjp(grad_out, q, k, v, grad_lse=grad_lse, **options)
    for result, expected in zip(grads, expected_grads, strict=True):
        assert_close(result, expected, dtype, 5 * factor)


# --- known answers --------------------------------------------------------------------------------

Q, K, V = (
    np.array([[1.0, 0], [0, 1]]),
    np.array([[1.0, 0], [0, 1], [1, 1]]),
    np.array([[1.0, 2], [3, 4], [5, 6]]),
)
UNIT = {"atol": 1e-8, "rtol": 0}


def test_known_forward():
    out, lse = attention(Q, K, V, return_lse=True)
    np.testing.assert_allclose(out, [[3, 4], [3.40667256, 4.40667256]], **UNIT)
    np.testing.assert_allclose(lse, [1.62062114] * 2, **UNIT)


def test_known_causal_stands_at_the_last_key():
    np.testing.assert_allclose(
        attention(Q, K, V, causal=True), [[1.6604769, 2.6604769], [3.40667256, 4.40667256]], **UNIT
    )


def test_known_gradients():
    out, lse = attention(Q, K, V, return_lse=True)
    grad_q, grad_k, grad_v, grad_bias = attention_vjp(np.eye(2), Q, K, V, out, lse)
    assert grad_bias is None
    np.testing.assert_allclose((np.eye(2) * out).sum(axis=1), [3, 4.40667256], **UNIT)
    np.testing.assert_allclose(grad_q, [[0, 0.56725816], [0.11534416, 0.33656984]], **UNIT)
    np.testing.assert_allclose(
        grad_k, [[-0.56725816, -0.33656984], [0, -0.11534416], [0.56725816, 0.451914]], **UNIT
    )
    np.testing.assert_allclose(
        grad_v,
        [[0.40111209, 0.19777581], [0.19777581, 0.40111209], [0.40111209, 0.40111209]],
        **UNIT,
    )


def test_known_merge():
    out, lse = attention(Q, K, V, return_lse=True)
    parts = [attention(Q, K[part], V[part], return_lse=True) for part in (slice(0, 2), slice(2, 3))]
    for result, expected in zip(
        merge_attention(*zip(*parts, strict=True)), (out, lse), strict=True
    ):
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-15 * 8)


# --- against the naive version --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d, dv", [(1, 1), (3, 65), (40, 24), (64, 64), (65, 3), (96, 130)])
@pytest.mark.parametrize("nq, nk", [(1, 1), (7, 31), (193, 97), (65, 257), (97, 500)])
def test_shapes(dtype, nq, nk, d, dv):
    rng = np.random.default_rng(SEED)
    check(rng, dtype, *arrays(rng, dtype, nq, nk, lead=(), d=d, dv=dv), causal=nq % 2 == 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "lead, heads, kv_heads",
    [((), 4, 2), ((2,), 6, 2), ((3,), 3, 1), ((2, 1, 2), 2, 2), ((), 16, 8), ((0,), 2, 1)],
)
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_heads_and_batches(dtype, lead, heads, kv_heads, causal):
    rng = np.random.default_rng(SEED)
    check(
        rng,
        dtype,
        *arrays(rng, dtype, 50, 70, lead=lead, heads=heads, kv_heads=kv_heads),
        causal=causal,
    )


@pytest.mark.parametrize("nq, nk", [(0, 0), (0, 5), (5, 0)])
def test_nothing(nq, nk):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", nq, nk)
    check(rng, "float64", q, k, v)
    check(rng, "float64", q, k, v, bias=np.zeros((1, nk)), mask=np.ones((nq, 1), bool))
    out, lse = attention(q, k, v, return_lse=True)
    assert (out == 0).all() and (lse == -np.inf).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "window", [(0, 0), (5, 0), (0, 7), (None, 3), (40, None), (300, 300), (None, None)]
)
@pytest.mark.parametrize("nq, nk", [(220, 220), (30, 310), (310, 30)])
def test_windows(dtype, window, nq, nk):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, nq, nk, lead=(), kv_heads=1)
    check(rng, dtype, q, k, v, window=window)
    check(rng, dtype, q, k, v, window=window, causal=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"window": (9, 0)}, {"window": (None, 0)}, {"window": (200, 300)}],
    ids=str,
)
def test_one_query(options):
    """The next token beside a cache of keys."""
    rng = np.random.default_rng(SEED)
    check(rng, "float64", *arrays(rng, "float64", 1, 130, heads=6), **options)


def test_a_wide_window_is_no_window_and_causal_is_a_window():
    q, k, v = arrays(np.random.default_rng(SEED), "float64", 40, 40)
    np.testing.assert_array_equal(attention(q, k, v, window=(2**63, 10**30)), attention(q, k, v))
    np.testing.assert_array_equal(
        attention(q, k, v, window=(None, 0)), attention(q, k, v, causal=True)
    )


PATTERNS = list(itertools.product([1, 2], [1, 4], [1, 53], [1, 71])) + [
    (4, 1, 71),
    (53, 71),
    (71,),
    (1,),
    (),
]


@pytest.mark.parametrize("shape", PATTERNS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_a_bias_broadcasts_and_its_gradient_is_summed(shape, causal):
    rng = np.random.default_rng(SEED)
    for dtype in TOLERANCE:
        q, k, v = arrays(rng, dtype, 53, 71, heads=4)
        check(
            rng, dtype, q, k, v, bias=np.asarray(rng.standard_normal(shape), dtype), causal=causal
        )


def test_a_bias_that_was_broadcast_already_is_not_written_out():
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", 1024, 1024, lead=(), heads=4, kv_heads=4)
    bias = np.broadcast_to(rng.standard_normal((1, 1, 1024)), (4, 1024, 1024))
    out = attention(q, k, v, bias=bias)
    tracemalloc.start()
    attention(q, k, v, bias=bias)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < bias.size  # an eighth of its bytes
    np.testing.assert_array_equal(out, attention(q, k, v, bias=np.ascontiguousarray(bias[:1, :1])))


@pytest.mark.parametrize("shape", PATTERNS, ids=str)
def test_a_mask_broadcasts(shape):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", 53, 71, heads=4)
    check(rng, "float64", q, k, v, mask=np.asarray(rng.random(shape) < 0.7))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block_size", [(1, 1), (5, 7), (16, 48), (64, 64), (100, 33), (300, 500)])
@pytest.mark.parametrize("causal", [False, True])
def test_block_masks(dtype, block_size, causal):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, 230, 330, lead=(), kv_heads=1)
    shape = -(-230 // block_size[0]), -(-330 // block_size[1])
    check(
        rng,
        dtype,
        q,
        k,
        v,
        block_mask=rng.random(shape) < 0.4,
        block_size=block_size,
        causal=causal,
    )


def test_everything_at_once():
    rng = np.random.default_rng(SEED)
    for dtype in TOLERANCE:
        q, k, v = arrays(rng, dtype, 150, 170, heads=4)
        check(
            rng,
            dtype,
            q,
            k,
            v,
            scale=-0.3,
            causal=True,
            window=(90, 4),
            bias=rng.standard_normal((2, 1, 150, 170)).astype(dtype),
            mask=rng.random((4, 1, 170)) < 0.9,
            block_mask=rng.random((10, 9)) < 0.7,
            block_size=(16, 20),
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_layouts(dtype):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, 30, 40)
    bias, mask = rng.standard_normal((2, 30, 40)).astype(dtype), rng.random((30, 40)) < 0.8
    expected = attention(q, k, v, bias=bias, mask=mask)
    for layout in (
        np.asfortranarray,
        lambda x: x[..., ::-1].copy()[..., ::-1],
        lambda x: np.repeat(x, 2, axis=-2)[..., ::2, :],
    ):
        changed = [layout(x) for x in (q, k, v, bias, mask)]
        for x in changed:
            x.flags.writeable = False
        np.testing.assert_array_equal(
            attention(*changed[:3], bias=changed[3], mask=changed[4]), expected
        )


LENGTHS = [
    ([5], [9]),
    ([3, 0, 200, 1], [7, 4, 150, 0]),
    ([0, 0], [0, 3]),
    ([], []),
    ([1] * 40, [2] * 40),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths_q, lengths_k", LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
def test_varlen(dtype, lengths_q, lengths_k, causal):
    rng = np.random.default_rng(SEED)
    ends_q, ends_k = np.cumsum([0, *lengths_q]), np.cumsum([0, *lengths_k], dtype=np.int32)
    q, k, v = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((ends_q[-1], 4, 5), (ends_k[-1], 2, 5), (ends_k[-1], 2, 7))
    )
    options = {"causal": causal}
    if lengths_q:
        options["bias"] = rng.standard_normal((len(lengths_q), 1, 1, max(lengths_k))).astype(dtype)
        options["mask"] = rng.random((4, max(lengths_q), 1)) < 0.8
        options |= {
            "block_size": (20, 30),
            "block_mask": rng.random((-(-max(lengths_q) // 20), -(-max(lengths_k) // 30))) < 0.8,
        }
    out, lse = attention_varlen(q, k, v, ends_q, ends_k, return_lse=True, **options)
    expected = naive.attention_varlen(q, k, v, ends_q, ends_k, **options)
    assert_close(out, expected[0], dtype)
    assert_close(lse, expected[1], dtype)
    np.testing.assert_array_equal(
        attention_varlen(q, k, v, list(map(int, ends_q)), ends_k, **options), out
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_merging_key_shards_is_exact(dtype):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, 60, 100)
    mask = rng.random((60, 100)) < 0.5
    mask[:5], mask[5:9, :40] = False, False  # rows without keys, in all shards or in one
    expected = attention(q, k, v, mask=mask, return_lse=True)
    cuts = [0, 40, 41, 100]
    parts = [
        attention(q, k[..., a:b, :], v[..., a:b, :], mask=mask[:, a:b], return_lse=True)
        for a, b in itertools.pairwise(cuts)
    ]
    outs, lses = zip(*parts, strict=True)
    for merged in (merge_attention(outs, lses), merge_attention(np.stack(outs), np.stack(lses))):
        for result, whole in zip(merged, expected, strict=True):
            assert_close(result, whole, dtype, 0.1)


# --- identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_keys", [1024, 4096])
def test_errors_do_not_grow_with_the_number_of_keys(n_keys):
    """Values of one sign: added one by one to a long sum, their rounding errors would add up."""
    rng = np.random.default_rng(0)
    k = (0.25 * rng.standard_normal((n_keys, 64))).astype(np.float32)
    q, v = k[:256], (1 + 0.01 * rng.standard_normal((n_keys, 64))).astype(np.float32)
    scores = q.astype(float) @ k.astype(float).T / 8
    weights = np.exp(scores)
    exact = weights @ v.astype(float) / weights.sum(axis=1, keepdims=True)
    bound = np.finfo(np.float32).eps * (np.abs(scores).max() + 10)
    out = attention(q[None, None], k[None, None], v[None, None])[0, 0]
    assert np.abs(out - exact).max() < bound * np.abs(v).max()


def test_identities():
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", 120, 310)
    out, lse = attention(q, k, v, return_lse=True)
    np.testing.assert_allclose(attention(q, k, np.ones_like(v)), 1, rtol=1e-14)
    mean, uniform = attention(0 * q, k, v, return_lse=True)
    np.testing.assert_allclose(
        mean, np.broadcast_to(v.mean(axis=-2, keepdims=True), mean.shape), atol=1e-15
    )
    np.testing.assert_allclose(uniform, np.log(310), rtol=1e-14)
    shifted, raised = attention(q, k, v, bias=np.array(3.0), return_lse=True)
    np.testing.assert_allclose(shifted, out, atol=1e-14)
    np.testing.assert_allclose(raised, lse + 3, rtol=1e-14)
    order = rng.permutation(310)
    np.testing.assert_allclose(attention(q, k[..., order, :], v[..., order, :]), out, atol=1e-14)
    np.testing.assert_array_equal(
        attention(q, k, v, block_mask=np.ones((2, 4), bool), block_size=(64, 100)), out
    )
    grad_bias = attention_vjp(
        rng.standard_normal(out.shape), q, k, v, out, lse, bias=np.zeros((2, 2, 120, 310))
    ).bias
    np.testing.assert_allclose(grad_bias.sum(axis=-1), 0, atol=1e-14)  # rows of dS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_scores_stay_finite(dtype):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, 100, 300)
    out, lse = attention(q, k, v, scale=1e4, return_lse=True)
    assert np.isfinite(out).all() and np.isfinite(lse).all()
    assert all(np.isfinite(g).all() for g in attention_vjp(out, q, k, v, out, lse, scale=1e4)[:3])
    low, lower = attention(q, k, v, bias=np.array(-1e4, dtype), return_lse=True)
    assert_close(low, attention(q, k, v), dtype, 300 if dtype == "float32" else 1e4)
    assert all(
        np.isfinite(g).all()
        for g in attention_vjp(out, q, k, v, low, lower, bias=np.array(-1e4, dtype))
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [0.01, 1.0, 50.0])
def test_ascending_scores_rescale_in_every_block(dtype, step):
    rng = np.random.default_rng(SEED)
    q, k = np.ones((1, 40, 1), dtype), step * np.arange(1000, dtype=dtype).reshape(1, 1000, 1)
    v = rng.standard_normal((1, 1000, 5)).astype(dtype)
    error = 1 + 20 * step  # of scores of 1000 · step, in which the rounding of scores shows
    check(rng, dtype, q, k, v, error, scale=1.0)
    check(rng, dtype, q, k, v, error, scale=-1.0)


def test_minus_infinity_in_a_bias_masks():
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", 33, 40, lead=())
    mask = rng.random((33, 40)) < 0.5
    mask[3] = False
    for result, expected in zip(
        attention(q, k, v, bias=np.where(mask, 0, -np.inf), return_lse=True),
        attention(q, k, v, mask=mask, return_lse=True),
        strict=True,
    ):
        np.testing.assert_array_equal(result, expected)


def test_more_queries_than_keys_leave_rows_without_keys():
    q, k, v = arrays(np.random.default_rng(SEED), "float64", 10, 4)
    out, lse = attention(q, k, v, causal=True, return_lse=True)
    assert (
        (out[..., :6, :] == 0).all()
        and (lse[..., :6] == -np.inf).all()
        and np.isfinite(lse[..., 6:]).all()
    )
    grad_q = attention_vjp(np.ones_like(out), q, k, v, out, lse, causal=True).q
    assert (grad_q[..., :6, :] == 0).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True, "window": (3, 0)}, {"mask": np.tri(6, 5, dtype=bool)}],
    ids=["all", "window", "mask"],
)
def test_gradients_are_central_differences(options):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float64", 6, 5, lead=(), kv_heads=1, d=3, dv=2)
    inputs = {"q": q, "k": k, "v": v, "bias": rng.standard_normal((2, 1, 5))}
    out, lse = attention(**inputs, return_lse=True, **options)
    reached = np.isfinite(lse)
    grad_out, grad_lse = (
        rng.standard_normal(out.shape),
        np.where(reached, rng.standard_normal(lse.shape), 0),
    )

    def loss(changed):
        out, lse = attention(**changed, return_lse=True, **options)
        return (grad_out * out).sum() + (grad_lse * np.where(reached, lse, 0)).sum()

    grads = attention_vjp(
        grad_out, q, k, v, out, lse, grad_lse=grad_lse, bias=inputs["bias"], **options
    )
    for (name, x), grad in zip(inputs.items(), grads, strict=True):
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = 1e-5
            difference = (loss(inputs | {name: x + step}) - loss(inputs | {name: x - step})) / 2e-5
            assert abs(difference - grad[at]) < 1e-7


def test_exp2_of_a_body_and_of_python_agree():
    import numba

    compiled = numba.njit(_numba.jittable(lambda t: exp2(t), numba.njit))
    for real, low in ((np.float32, -127), (np.float64, -1023)):
        t = np.concatenate([np.linspace(-30, 0, 1001), [-100.3, low, -1e30, -np.inf]]).astype(real)
        expected = np.where(t > low, np.exp2(t.astype(float)), 0)
        result = np.array([compiled(x) for x in t])
        np.testing.assert_allclose(result, expected, rtol=2.5e-7 if real is np.float32 else 1e-15)
        assert np.isnan(compiled(real(np.nan))) and result[-1] == 0
        assert exp2(real(-3)) == real(0.125)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panels_of_a_body_and_of_python_agree(dtype):
    import numba

    def soften(panel, keys, top, total):
        panel_max(panel, 3, keys, top, 1)
        panel_exp2(panel, 3, keys, top, 1, total, 1)

    rng, compiled = np.random.default_rng(SEED), numba.njit(_numba.jittable(soften, numba.njit))
    for keys in (0, 1, 5):
        panel = rng.standard_normal(3 + 5 * 48).astype(dtype)
        states = [panel, np.full(50, -0.5, dtype), np.ones(50, dtype)]
        by_python, by_body = ([x.copy() for x in states] for _ in range(2))
        soften(by_python[0], keys, *by_python[1:])
        compiled(by_body[0], keys, *by_body[1:])
        for a, b in zip(by_python, by_body, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6 if dtype == "float32" else 1e-15)


# --- any options ----------------------------------------------------------------------------------


@st.composite
def calls(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    nq, nk, d, dv = (draw(st.integers(1, n)) for n in (210, 300, 33, 33))
    kv_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    q, k, v = arrays(
        rng, dtype, nq, nk, lead=(), heads=kv_heads * group, kv_heads=kv_heads, d=d, dv=dv
    )
    full, options = (kv_heads * group, nq, nk), {"causal": draw(st.booleans())}

    def shape():
        return tuple(n if draw(st.booleans()) else 1 for n in full)[draw(st.integers(0, 2)) :]

    if draw(st.booleans()):
        options["bias"] = rng.standard_normal(shape()).astype(dtype)
    if draw(st.booleans()):
        options["mask"] = rng.random(shape()) < 0.7
    if draw(st.booleans()):
        options["window"] = draw(st.integers(0, nk)), draw(st.integers(0, nk))
    if draw(st.booleans()):
        block_q, block_k = draw(st.integers(1, 100)), draw(st.integers(1, 100))
        options |= {
            "block_mask": rng.random((-(-nq // block_q), -(-nk // block_k))) < 0.5,
            "block_size": (block_q, block_k),
        }
    return rng, dtype, (q, k, v), options


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(calls())
def test_any_options(call):
    rng, dtype, (q, k, v), options = call
    check(rng, dtype, q, k, v, **options)


# --- bad input ------------------------------------------------------------------------------------

GOOD = {"q": np.ones((2, 4, 3)), "k": np.ones((2, 5, 3)), "v": np.ones((2, 5, 6))}


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"q": np.ones((2, 4, 0)), "k": np.ones((2, 5, 0))}, ValueError, ["q must have d >= 1"]),
        ({"q": np.ones((3, 4, 3))}, ValueError, ["Hkv that divides Hq", "Hkv=2, Hq=3"]),
        ({"q": np.ones((1, 2, 4, 3))}, ValueError, ["k must have the batch axes of q"]),
        ({"q": np.ones(3)}, ValueError, ["q must have shape (..., Nq, d)", "(3,)"]),
        ({"v": np.ones((1, 5, 6))}, ValueError, ["v must have shape (2, Nk, dv) like k"]),
        (
            {"q": np.ones((7, 2, 4, 3)), "k": np.ones((6, 2, 5, 3)), "v": np.ones((6, 2, 5, 6))},
            ValueError,
            ["k must have the batch axes of q"],
        ),
        ({"k": np.ones((2, 5, 3), "f4")}, TypeError, ["k must have dtype float64 like q"]),
        ({"bias": np.ones((4, 4))}, ValueError, ["bias must broadcast to (2, 4, 5)", "(4, 4)"]),
        ({"bias": np.ones((1, 2, 4, 5))}, ValueError, ["bias must broadcast"]),
        ({"bias": np.ones((4, 5), "f4")}, TypeError, ["bias must have dtype float64"]),
        (
            {"mask": np.ones((5, 5), bool)},
            ValueError,
            ["mask must broadcast to (2, 4, 5)", "(5, 5)"],
        ),
        (
            {"block_mask": np.ones((2, 3), bool)},
            ValueError,
            ["block_mask must be given with block_size"],
        ),
        ({"block_size": (2, 2)}, ValueError, ["block_size must be given with block_mask"]),
        (
            {"block_mask": np.ones((2, 2), bool), "block_size": (2, 2)},
            ValueError,
            ["block_mask must have shape (2, 3)", "(2, 2)"],
        ),
        (
            {"block_mask": np.ones((2, 3), bool), "block_size": (2, 0)},
            ValueError,
            ["block_size[1] must be >= 1", "got 0"],
        ),
        (
            {"block_mask": np.ones((2, 3), bool), "block_size": (2, None)},
            TypeError,
            ["block_size[1] must be an integer", "None"],
        ),
        ({"window": (-1, 2)}, ValueError, ["window[0] must be >= 0", "-1"]),
        ({"window": 3}, TypeError, ["window must be"]),
        ({"window": (1.5, 2)}, TypeError, ["window[0] must be an integer", "1.5"]),
        ({"window": (1, 2, 3)}, ValueError, ["window must have 2 items", "3"]),
        ({"return_lse": "yes"}, TypeError, ["return_lse must be True or False"]),
    ],
)
def test_bad_input(change, error, words, monkeypatch):
    monkeypatch.delattr(kernels, "attention_forward")  # refused before the kernel runs
    with pytest.raises(error) as info:
        attention(**GOOD | change)
    assert all(word in str(info.value) for word in words), str(info.value)


PACKED = {
    "q": np.ones((4, 2, 3)),
    "k": np.ones((5, 2, 3)),
    "v": np.ones((5, 2, 6)),
    "cu_seqlens_q": np.array([0, 1, 4]),
    "cu_seqlens_k": np.array([0, 2, 5]),
}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"cu_seqlens_q": np.array([0, 3, 1, 4]), "cu_seqlens_k": [0, 0, 0, 5]}, ["cu_seqlens_q"]),
        ({"cu_seqlens_q": np.array([0, 1, 3])}, ["cu_seqlens_q must rise from 0 to the total, 4"]),
        ({"cu_seqlens_k": np.array([1, 2, 5])}, ["cu_seqlens_k must rise from 0 to the total, 5"]),
        (
            {"cu_seqlens_q": np.array([], int), "cu_seqlens_k": np.array([], int)},
            ["cu_seqlens_q must have shape (batch+1,)"],
        ),
        ({"q": np.ones((4, 3, 3))}, ["Hkv that divides Hq", "Hkv=2, Hq=3"]),
        ({"bias": np.ones((2, 2, 4, 3))}, ["bias must broadcast to (2, 2, 3, 3)"]),
    ],
)
def test_bad_input_of_varlen(change, words):
    with pytest.raises(ValueError) as info:
        attention_varlen(**PACKED | change)
    assert all(word in str(info.value) for word in words), str(info.value)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"out": np.ones((2, 5, 6))}, ["out must have shape (..., Nq, dv) with Nq = 4"]),
        ({"grad_lse": np.ones((2, 1))}, ["grad_lse must have shape"]),
        ({"lse": np.ones((1, 4))}, ["lse must have shape (2, Nq) like grad_out", "(1, 4)"]),
    ],
)
def test_bad_input_of_vjp(change, words):
    good = {"grad_out": np.ones((2, 4, 6)), "out": np.ones((2, 4, 6)), "lse": np.ones((2, 4))}
    with pytest.raises(ValueError) as info:
        attention_vjp(**GOOD | good | change)
    assert all(word in str(info.value) for word in words), str(info.value)


@pytest.mark.parametrize(
    "outs, lses, error, words",
    [
        (np.ones((0, 3, 4)), np.ones((0, 3)), ValueError, ["outs must have at least one part"]),
        (np.ones((2, 3, 4)), [np.ones(3)], ValueError, ["lses must have as many parts as outs, 2"]),
        (
            [np.ones((3, 4)), np.ones((2, 4))],
            np.ones((2, 3)),
            ValueError,
            ["outs[1] must have shape (..., N, dv) with N = 3", "(2, 4)"],
        ),
        ([np.ones((3, 4)), "text"], np.ones((2, 3)), TypeError, ["outs[1] must be"]),
        ([None, np.ones((3, 4))], np.ones((2, 3)), TypeError, ["outs[0] must be"]),
    ],
)
def test_bad_input_of_merge(outs, lses, error, words):
    with pytest.raises(error) as info:
        merge_attention(outs, lses)
    assert all(word in str(info.value) for word in words), str(info.value)


# --- devices, threads, memory, cost ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d, dv", [(10, 7), (70, 140)])
def test_every_option_on_the_simulated_gpu_in_any_thread_order(dtype, d, dv):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, dtype, 70, 75, lead=(), kv_heads=1, d=d, dv=dv)
    options = {
        "bias": rng.standard_normal((1, 75)).astype(dtype),
        "mask": rng.random((70, 75)) < 0.8,
        "block_mask": rng.random((7, 5)) < 0.6,
    }
    rest = {"block_size": (10, 15), "window": (50, 9), "scale": 0.2}
    out, lse = attention(q, k, v, return_lse=True, **options, **rest)
    grad_out, grad_lse = (
        rng.standard_normal(out.shape).astype(dtype),
        rng.standard_normal(lse.shape).astype(dtype),
    )
    grads = attention_vjp(grad_out, q, k, v, out, lse, grad_lse=grad_lse, **options, **rest)
    with simulated_gpu(checked=True) as xp:
        on_gpu = {name: xp.asarray(x) for name, x in options.items()}
        gpu_q, gpu_k, gpu_v, gpu_grad_out, gpu_grad_lse = map(
            xp.asarray, (q, k, v, grad_out, grad_lse)
        )
        gpu_out, gpu_lse = attention(gpu_q, gpu_k, gpu_v, return_lse=True, **on_gpu, **rest)
        gpu_grads = attention_vjp(
            gpu_grad_out,
            gpu_q,
            gpu_k,
            gpu_v,
            gpu_out,
            gpu_lse,
            grad_lse=gpu_grad_lse,
            **on_gpu,
            **rest,
        )
        halves = [
            attention(gpu_q, gpu_k[:, part], gpu_v[:, part], return_lse=True)
            for part in (np.s_[:30], np.s_[30:])
        ]
        merged = merge_attention(*zip(*halves, strict=True))[0]
        ends_q, ends_k = np.array([0, 20, 70]), xp.asarray(np.array([0, 30, 75]))
        packed = attention_varlen(
            *(x.swapaxes(0, 1) for x in (gpu_q, gpu_k, gpu_v)), ends_q, ends_k
        )
    for result, expected in zip((gpu_out, gpu_lse, *gpu_grads), (out, lse, *grads), strict=True):
        assert_close(result.get(), expected.astype(float), dtype, 5)
    assert_close(merged.get(), attention(q, k, v).astype(float), dtype)
    assert_close(
        packed.get()[:20].swapaxes(0, 1),
        attention(q[:, :20], k[:, :30], v[:, :30]).astype(float),
        dtype,
    )


@pytest.mark.parametrize("kv_heads, nq", [(1, 700), (2, 700), (5, 100), (9, 60)])
def test_results_do_not_depend_on_threads(kv_heads, nq):
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float32", nq, nq, lead=(), heads=kv_heads, kv_heads=kv_heads)
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            out, lse = attention(q, k, v, causal=True, return_lse=True)
            results.append((out, lse, *attention_vjp(v, q, k, v, out, lse, causal=True)[:3]))
    finally:
        numcore.set_num_threads(None)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def scratch_of(call):
    """Bytes that a call holds at most beyond what it returns."""
    call()
    tracemalloc.start()
    result = call()
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return most - held


def test_memory_does_not_grow_with_the_square():
    rng = np.random.default_rng(SEED)
    scratch = []
    for n in (1024, 4096):
        q, k, v = arrays(rng, "float32", n, n, lead=(), heads=1, kv_heads=1, d=16, dv=16)
        scratch.append(scratch_of(lambda: attention(q, k, v, window=(64, 0))))  # noqa: B023
    tile = 4 * (192 * 32 + 12720)
    assert scratch[1] < scratch[0] + 64 * 4096 and scratch[1] < 8 * tile


@pytest.mark.slow
def test_65536_tokens_run():
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float32", 1 << 16, 1 << 16, lead=(), heads=1, kv_heads=1, d=32, dv=32)
    assert scratch_of(lambda: attention(q, k, v)) < 1 << 25
    at = rng.integers(0, 1 << 16, 3)
    np.testing.assert_allclose(
        attention(q, k, v)[:, at], naive.attention(q[:, at], k, v)[0], rtol=0, atol=1e-6
    )


def least_seconds(calls, rounds=7):
    seconds = np.full(len(calls), np.inf)
    for _, (i, call) in itertools.product(range(rounds), enumerate(calls)):
        start = time.thread_time()
        call()
        seconds[i] = min(seconds[i], time.thread_time() - start)
    return seconds


@pytest.mark.slow
def test_cost_follows_live_blocks():
    rng = np.random.default_rng(SEED)
    q, k, v = arrays(rng, "float32", 2048, 2048, lead=(), d=64, dv=64)
    sparse = rng.permutation(16 * 16).reshape(16, 16) < 64  # a quarter
    numcore.set_num_threads(1)
    try:
        dense, quarter, double = least_seconds(
            [
                lambda: attention(q, k, v),
                lambda: attention(q, k, v, block_mask=sparse, block_size=(128, 128)),
                lambda: attention(*(np.concatenate((x, x), axis=-2) for x in (q, k, v))),
            ]
        )
    finally:
        numcore.set_num_threads(None)
    assert quarter < 0.4 * dense
    assert 3.2 < double / dense < 4.8


@pytest.mark.parametrize("causal", [False, True])
def test_torch_gives_the_same(causal):
    torch = pytest.importorskip("torch", reason="torch is the peer of attention: pip install torch")
    q, k, v = arrays(
        np.random.default_rng(SEED), "float32", 130, 130, heads=3, kv_heads=3, d=64, dv=64
    )
    inputs = [torch.from_numpy(x).requires_grad_() for x in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=causal)
    out, lse = attention(q, k, v, causal=causal, return_lse=True)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=2e-6)
    grads = torch.autograd.grad(expected, inputs, torch.from_numpy(v))
    for ours, theirs in zip(
        attention_vjp(v, q, k, v, out, lse, causal=causal), grads, strict=False
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=5e-6)
