"""The language of declarations: what is accepted, what is refused, and what the errors say."""

import gc
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pytest

from numcore.arguments import (
    RNG,
    Array,
    Bool,
    ComplexDType,
    DType,
    Float,
    Inexact,
    Integer,
    Namespace,
    Real,
    ShapeLike,
    any_device,
    at_least,
    at_most,
    below,
    between,
    checked,
    declaration,
    finite,
    infinite,
    interval,
    nonempty,
    nonnegative,
    own_dtype,
    positive,
    within,
    written,
)
from numcore.testing import simulated_gpu


class Cache(NamedTuple):
    x: Array


@checked
def scores(
    queries: Float[Array, "*batch n d"],
    keys: Float[Array, "*batch m d"],
    weights: Float[Array, "m", finite, nonnegative] | None = None,
    *,
    scale: Annotated[float, positive] | None = None,
    causal: bool = False,
    k: Annotated[int, at_least(1), at_most("m")] = 1,
    metric: Literal["dot", "cosine"] = "dot",
    tol: Annotated[float, within(0, 1)] = 1e-3,
    depth: Annotated[int, at_least(1)] | Literal["auto"] = "auto",
    callback: Callable[..., bool] | None = None,
    rng: RNG = None,
):
    return locals()


Q, K = np.ones((2, 4, 8), np.float32), np.ones((2, 6, 8), np.float32)


@pytest.mark.parametrize(
    "arguments, options, kind, message",
    [
        ((None, K), {}, TypeError, "queries must be an array (got None)"),
        (("text", K), {}, TypeError, "queries must be an array (got str)"),
        ((Q.astype(int), K), {}, TypeError,
         "queries must have dtype float32 or float64 (got int64)"),
        ((Q, K.astype(float)), {}, TypeError,
         "keys must have dtype float32 like queries (got float64)"),
        ((Q, K[..., :7]), {}, ValueError,
         "keys must have shape (..., m, d) with d = 8 (got (2, 6, 7))"),
        ((Q, K[:1]), {}, ValueError,
         "keys must have shape (2, m, d) like queries (got (1, 6, 8))"),
        ((Q[0, 0], K), {}, ValueError, "queries must have shape (..., n, d) (got (8,))"),
        ((Q, K, np.ones(5, np.float32)), {}, ValueError,
         "weights must have shape (m,) with m = 6 (got (5,))"),
        ((Q, K, np.array([1, 1, math.nan, 1, 1, 1], np.float32)), {}, ValueError,
         "weights must be finite (got nan at [2])"),
        ((Q, K, np.array([1, 1, 1, 1, 1, -2], np.float32)), {}, ValueError,
         "weights must be >= 0 (got -2.0 at [5])"),
        ((Q, K), {"scale": 0}, ValueError, "scale must be > 0 (got 0.0)"),
        ((Q, K), {"scale": math.inf}, ValueError, "scale must be finite (got inf)"),
        ((Q, K), {"scale": "1"}, TypeError, "scale must be a number (got '1')"),
        ((Q, K), {"scale": True}, TypeError, "scale must be a number (got True)"),
        ((Q, K), {"causal": "yes"}, TypeError, "causal must be True or False (got 'yes')"),
        ((Q, K), {"k": 0}, ValueError, "k must be >= 1 (got 0)"),
        ((Q, K), {"k": 7}, ValueError, "k must be <= m with m = 6 (got 7)"),
        ((Q, K), {"k": 2.5}, TypeError, "k must be an integer (got 2.5)"),
        ((Q, K), {"metric": "l1"}, ValueError,
         "metric must be one of \"dot\", \"cosine\" (got 'l1')"),
        ((Q, K), {"metric": 1}, TypeError, 'metric must be one of "dot", "cosine" (got 1)'),
        ((Q, K), {"tol": 1.5}, ValueError, "tol must be in [0, 1] (got 1.5)"),
        ((Q, K), {"depth": "some"}, ValueError,
         "depth must be one of \"auto\" (got 'some')"),
        ((Q, K), {"depth": None}, TypeError,
         'depth must be an integer or one of "auto" (got None)'),
        ((Q, K), {"callback": 3}, TypeError, "callback must be callable (got 3)"),
        ((Q, K), {"rng": [1, 2]}, TypeError, "rng must be None, int >= 0, SeedSequence, "
         "BitGenerator or Generator (got [1, 2])"),
        ((Q, K), {"rng": -1}, ValueError, "rng must be a seed >= 0 (got -1)"),
        ((np.ma.masked_array(Q, Q > 0), K), {}, TypeError,
         "queries must be an array without a mask (got MaskedArray)"),
        (([["a"]], K), {}, TypeError, "queries must be an array of numbers (got dtype <U1)"),
        (([[1.0], [1.0, 2.0]], K), {}, TypeError,
         "queries must be an array of numbers (got a ragged sequence)"),
    ],
)  # fmt: skip
def test_an_error_names_the_argument_the_constraint_and_the_value(
    arguments, options, kind, message
):
    for _ in range(2):  # an error is not remembered as something seen
        with pytest.raises(kind) as caught:
            scores(*arguments, **options)
        assert str(caught.value) == message


def test_wrong_and_missing_names_are_pythons_own_errors():
    with pytest.raises(TypeError, match="metrics"):
        scores(Q, K, metrics="dot")
    with pytest.raises(TypeError, match="keys"):
        scores(Q)


def test_what_is_converted():
    got = scores([[1, 2.0]], [[3.0, 4]], scale=np.float32(2), causal=np.True_, k=np.int8(1))
    assert got["queries"].dtype == np.float64 and got["queries"].shape == (1, 2)
    assert type(got["scale"]) is float and got["causal"] is True and type(got["k"]) is int
    assert scores(Q, K, depth=3)["depth"] == 3


def test_an_array_that_passes_is_passed_on_itself():
    strided = np.ones((2, 4, 16), np.float32)[..., ::2]
    for _ in range(2):
        assert scores(strided, K)["queries"] is strided


def test_arrays_that_are_not_aligned_are_copied():
    packed = np.zeros(4, np.dtype([("a", np.int8), ("x", np.float32, (8,))]))["x"]
    assert not packed.flags.aligned
    for _ in range(2):
        assert scores(packed, K[0])["queries"].flags.aligned


def test_arrays_of_another_byte_order_are_converted():
    turned = K[0].astype(K.dtype.newbyteorder())
    assert not turned.dtype.isnative
    found = scores(turned, K[0])["queries"]
    assert found.dtype.isnative and (found == K[0]).all()


def test_an_array_that_fits_the_second_alternative_only_is_not_held():
    @checked
    def rows(x: Float[Array, "n"] | Float[Array, "n d"]) -> int:
        return len(x)

    gc.disable()
    try:
        x = np.ones((3, 2))
        held = weakref.ref(x)
        assert rows(x) == 3
        del x
        assert held() is None
    finally:
        gc.enable()


def test_devices_are_not_mixed():
    with simulated_gpu() as xp:
        with pytest.raises(TypeError, match=r"one device \(got queries on cpu, keys on simulated"):
            scores(Q, xp.asarray(K))
        assert type(scores(xp.asarray(Q), xp.asarray(K))["keys"]) is xp.ndarray


def test_scalars_go_to_the_device_of_the_arrays():
    @checked
    def shifted(x: Float[Array, "n"], by: Float[Array, "..."]):
        return x, by

    with simulated_gpu() as xp:
        assert all(type(a) is xp.ndarray for a in shifted(xp.ones(3), 2.0))
    assert type(shifted(np.ones(3), 2.0)[1]) is np.ndarray


def test_expressions_of_sizes():
    @checked
    def f(offsets: Integer[Array, "n+1"], x: Float[Array, "n 3"], y: Real[Array, "2*n _"]):
        return offsets, x, y

    f(np.arange(3), np.ones((2, 3)), np.ones((4, 1), int))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\) with n = 2 \(got \(3, 3\)\)"):
        f(np.arange(3), np.ones((3, 3)), np.ones((6, 1)))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\) \(got \(2, 4\)\)"):
        f(np.arange(3), np.ones((2, 4)), np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"y must have shape \(2\*n, _\) with 2\*n = 4"):
        f(np.arange(3), np.ones((2, 3)), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"offsets must have shape \(n\+1,\)"):
        f(np.arange(0), np.ones((0, 3)), np.ones((0, 1)))


def test_any_number_of_axes_may_stand_last():
    @checked
    def f(x: Float[Array, "n *k"], y: Float[Array, "n *k"]):
        return x, y

    f(np.ones(3), np.ones(3))
    f(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"y must have shape \(n, 2\) like x \(got \(3,\)\)"):
        f(np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match=r"y must have shape \(n, ...\) with n = 3 \(got \(2,\)\)"):
        f(np.ones(3), np.ones(2))


@checked
def options(
    x: Float[Array, "n", nonempty],
    y: Float[Array, "n", own_dtype] | None = None,
    at: Integer[Array, "k", nonnegative, below("n")] | None = None,
    mask: Bool[Array, "..."] | None = None,
    ends: Integer[Array, "_", any_device] | None = None,
    *,
    share: Annotated[float, interval("[0, 1)")] | None = None,
    omega: Annotated[float, between(0, 2)] = 1.0,
    limit: Annotated[float, infinite] = math.inf,
    weights: Sequence[Float[Array, "_ _", finite]] = (),
    size: tuple[int, int] | None = None,
    shape: ShapeLike = (),
    dtype: DType = np.float64,
    xp: Namespace = np,
    cache: Cache | None = None,
    name: str = "",
):
    return locals()


X = np.ones(3)


@pytest.mark.parametrize(
    "given, kind, message",
    [
        ({"x": np.ones(0)}, ValueError, "x must have no axis of length zero (got shape (0,))"),
        ({"at": [0, 3]}, ValueError, "at must be < n with n = 3 (got 3 at [1])"),
        ({"at": [-1]}, ValueError, "at must be >= 0 (got -1 at [0])"),
        ({"at": [0.5]}, TypeError, "at must have dtype integers (got float64)"),
        ({"mask": np.ones(3, int)}, TypeError, "mask must have dtype bool (got int64)"),
        ({"share": 1}, ValueError, "share must be in [0, 1) (got 1.0)"),
        ({"omega": 2}, ValueError, "omega must be in (0, 2) (got 2.0)"),
        ({"limit": math.nan}, ValueError, "limit must be finite (got nan)"),
        ({"weights": [np.ones(2)]}, ValueError, "weights[0] must have shape (_, _) (got (2,))"),
        ({"weights": [np.full((1, 1), np.inf)]}, ValueError,
         "weights[0] must be finite (got inf at [0, 0])"),
        ({"weights": np.ones((2, 2))}, TypeError,
         "weights must be a list or tuple (got ndarray)"),
        ({"size": (1,)}, ValueError, "size must have 2 items (got 1)"),
        ({"size": (1, 2.5)}, TypeError, "size[1] must be an integer (got 2.5)"),
        ({"shape": -1}, ValueError, "shape must be >= 0 (got (-1,))"),
        ({"dtype": int}, TypeError, "dtype must be float32 or float64 (got <class 'int'>)"),
        ({"xp": 3}, TypeError, "xp must be module, numpy or cupy (got 3)"),
        ({"cache": (X,)}, TypeError, "cache must be a Cache (got (array([1., 1., 1.]),))"),
        ({"name": 1}, TypeError, "name must be a string (got 1)"),
    ],
)  # fmt: skip
def test_more_errors(given, kind, message):
    with pytest.raises(kind) as caught:
        options(**({"x": X} | given))
    assert str(caught.value) == message


def test_more_conversions():
    got = options(X, np.ones(3, np.float32), [], shape=3, dtype="float32", size=[1, 2])
    assert got["at"].dtype == np.int64 and got["shape"] == (3,) and got["dtype"] == np.float32
    cache, weights = Cache(X), [np.ones((1, 1))]
    got = options(X, cache=cache, weights=weights)
    assert got["cache"] is cache and got["weights"] is weights


def test_some_arrays_may_stay_on_the_host():
    with simulated_gpu() as xp:
        got = options(xp.ones(3), ends=np.arange(2), xp=xp)
        assert type(got["ends"]) is np.ndarray and type(got["x"]) is xp.ndarray


def test_host_only_says_why():
    from numcore.arguments import checked

    def f(x: Float[Array, "n"]):
        return x

    with simulated_gpu() as xp, pytest.raises(TypeError, match="only: names are short"):
        checked(f, host_only="names are short")(xp.ones(3))


def test_what_docstrings_say():
    lines = {p.name: p.type_line for p in declaration(options)}
    assert lines["x"] == "(n,) array of float32 or float64, without an axis of length zero"
    assert lines["share"] == "float in [0, 1), optional"
    assert lines["omega"] == "float in (0, 2), default 1.0"
    assert lines["weights"] == "sequence of (_, _) array of float32 or float64, finite, default ()"
    lines = {p.name: p.type_line for p in declaration(scores)}
    assert lines["keys"] == "(..., m, d) array of float32 or float64"
    assert lines["metric"] == '{"dot", "cosine"}, default "dot"'
    assert lines["depth"] == 'int >= 1 or {"auto"}, default "auto"'
    assert lines["k"] == "int >= 1 and <= m, default 1"


def test_real_and_complex_arrays_share_a_dtype():
    @checked
    def f(a: Inexact[Array, "n"], b: Inexact[Array, "n"], *, dtype: ComplexDType = np.complex128):
        return dtype

    assert f(X, X) == np.complex128 and f(X + 0j, X + 0j, dtype="complex64") == np.complex64
    with pytest.raises(TypeError, match="b must have dtype float64 like a"):
        f(X, X + 0j)
    with pytest.raises(TypeError, match="a must have dtype float32, float64, complex64 or"):
        f(X.astype(int), X)
    with pytest.raises(TypeError, match="dtype must be complex64 or complex128"):
        f(X, X, dtype=np.float64)


def test_alternatives_with_arrays_inside():
    class Pair(NamedTuple):
        x: Float[Array, "n"]

    class Other(NamedTuple):
        y: Float[Array, "m"]

    @checked
    def f(pair: Pair | Other, x: Float[Array, "n"]):
        return pair

    for _ in range(2):  # checked, then remembered
        for pair in (Pair(X), Other(np.ones(5))):
            assert f(pair, X) is pair
        with pytest.raises(ValueError, match="x must have shape"):
            f(Pair(np.ones(2)), X)


def test_many_threads_may_make_the_first_call():
    @checked
    def f(x: Float[Array, "n"], y: Float[Array, "n"] | None = None, *, k: int = 3):
        return k

    barrier, wrong = threading.Barrier(8), []

    def work():
        barrier.wait()
        try:
            wrong.extend(k for k in (f(X), f(X, X), f(X, k=3)) if k != 3)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


class Inner(NamedTuple):
    mean: Float[Array, "d"]


class Outer(NamedTuple):
    x: Float[Array, "n d"]
    running: Inner | None
    n: int


@checked
def nested(x: Float[Array, "n d"], cache: Outer) -> Array:
    return x


def test_a_cache_in_a_cache_shares_sizes_and_is_remembered():
    x, running = np.ones((2, 3)), Inner(np.ones(3))
    assert nested(x, Outer(x, running, 1)) is x and nested(x, Outer(x, None, 1)) is x
    slow = nested.__globals__["_slow"]
    assert len(slow.known) == 2 and nested(x, Outer(x, running, 1)) is x and len(slow.known) == 2
    with pytest.raises(ValueError, match=r"cache.running.mean must have shape \(d,\) with d = 3"):
        nested(x, Outer(x, Inner(np.ones(2)), 1))
    with pytest.raises(TypeError, match=r"cache.running.mean must be an array \(got None\)"):
        nested(x, Outer(x, Inner(None), 1))


@checked
def labelled(
    logits: Float[Array, "*batch k"],
    labels: Integer[Array, "*batch", any_device] | Float[Array, "*batch k"],
) -> Array:
    return labels


def test_an_error_is_about_the_shape_where_the_dtype_is_one_of_several():
    logits = np.ones((2, 3))
    assert labelled(logits, [0, 1]).dtype == np.int64 and labelled(logits, logits) is logits
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\) like logits"):
        labelled(logits, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"labels must have shape \(2, k\) like logits"):
        labelled(logits, np.ones((3, 3)))
    with pytest.raises(TypeError, match="labels must have dtype float64 like logits"):
        labelled(logits, np.ones((2, 3), "f4"))


@checked
def zero(params: Sequence[Float[Array, "...", written]]) -> None:
    for p in params:
        p[...] = 0


def test_arrays_that_are_written_to_are_never_converted():
    x = np.ones(3)
    zero([x])
    assert not x.any()
    with pytest.raises(TypeError, match=r"params\[0\] must be an array, which is written to"):
        zero([[1.0]])
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"params\[0\] must be writeable and aligned"):
        zero([x])


@checked
def any_names(
    sizes: Sequence[int],
    seen: Float[Array, "n"],
    body: Annotated[int, at_most("n")] = 1,
    inf: float = 1.0,
    ndarray: Literal["a"] = "a",
) -> tuple:
    return sizes, seen, body, inf, ndarray


def test_arguments_may_have_any_name():
    assert any_names([1], [1.0], 1, 2.0)[0] == [1]
    with pytest.raises(ValueError, match=r"body must be <= n with n = 1 \(got 2\)"):
        any_names([1], [1.0], 2)
    with pytest.raises(ValueError, match="inf must be finite"):
        any_names([1], [1.0], 1, math.inf)


@checked
def listed(grads: Sequence[Float[Array, "..."] | None] | Float[Array, "..."]) -> object:
    return grads


def test_a_list_is_no_array_where_it_may_be_a_sequence():
    x = np.ones(2)
    assert listed([x, None])[0] is x and listed(x) is x
    with pytest.raises(TypeError, match=r"grads\[1\] must have dtype float64 like grads\[0\]"):
        listed([x, np.ones(2, "f4")])


def test_alternatives_of_arrays_are_checked_in_every_call():
    @checked
    def f(
        a: Sequence[Annotated[float, positive]] | Real[Array, "n", positive],
        b: Annotated[float, positive] | Real[Array, "n"] = 1.0,
    ) -> None: ...

    f([1.0, 2.0], 2.0)
    for bad, name in (([0.0], "a"), ([np.nan], "a"), (np.zeros(2), "a")):
        with pytest.raises(ValueError, match=f"{name}"):
            f(bad)
    with pytest.raises(TypeError, match="a"):
        f(["x"])


class Operator:
    """What may be in place of an array."""


@checked
def layers(weights: Sequence[Float[Array, "_ _", finite] | Operator | None]) -> object:
    return weights


def test_items_that_are_not_arrays_have_no_entries_to_check():
    assert len(layers([np.ones((2, 2)), Operator(), None])) == 3
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite"):
        layers([None, np.full((1, 1), np.nan)])
