"""certify, its unit, and the table of contracts."""

import builtins
import dataclasses
import math

import mpmath
import numpy as np
import pytest

from numcore import special
from numcore.examples.special.elementary import error_in_ulp
from numcore.special import UlpContract, certify, max_ulp_error
from numcore.special._certify import (
    _from_row,
    _to_row,
    certify_float64,
    main,
    references,
    ulp_error,
)


def test_unit_agrees_with_exact_arithmetic():
    rng = np.random.default_rng(0)
    t = np.exp(rng.uniform(-105, 88, 300)) * rng.choice([-1, 1], 300)
    y = (t * (1 + 3e-7 * rng.standard_normal(300))).astype(np.float32)
    want = [error_in_ulp(a, mpmath.mpf(b)) for a, b in zip(y, t, strict=True)]
    np.testing.assert_allclose(ulp_error(y, t), want, rtol=1e-6, atol=1e-6)
    wide = t.astype(np.longdouble) * (1 + np.longdouble(2) ** -60)
    with mpmath.workprec(100):
        want = [error_in_ulp(a, mpmath.mpf(a) * (1 + mpmath.mpf(2) ** -60)) for a in t]
    np.testing.assert_allclose(ulp_error(t, wide), want, atol=1e-3)


INF, NAN = math.inf, math.nan
MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    "y, t, error",
    [
        (1.0, 1.0, 0.0),
        (1.0 + 2.0**-23, 1.0, 1.0),
        (0.5, 1.0 - 2.0**-30, 2.0**23 - 2.0**-6),
        (2.0**-149, 0.0, 1.0),
        (0.0, 2.0**-149, 1.0),
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, INF),
        (INF, INF, 0.0),
        (INF, 1e39, 0.0),
        (-INF, 1e39, INF),
        (MAX, 1e39, INF),
        (INF, MAX, INF),
        (NAN, NAN, 0.0),
        (1.0, NAN, INF),
        (NAN, 1.0, INF),
    ],
)
def test_unit_at_the_edges(y, t, error):
    with np.errstate(all="ignore"):
        got = ulp_error(np.array([y], np.float32), np.array([t]))[0]
    assert got == pytest.approx(error, rel=1e-12)


def test_finds_the_worst_input():
    def off_by_two_at_three(x):
        y = np.sqrt(x)
        y[x == 3] += 2 * np.spacing(np.float32(1))
        return y

    contract = certify(
        off_by_two_at_three, np.sqrt, lo_bits=0x3F800000, hi_bits=0x41000000, chunk=2**19
    )
    assert contract.worst_input == 3.0
    assert contract.max_ulp == pytest.approx(2, abs=0.5)
    assert contract.domain == (1.0, float(np.nextafter(np.float32(8), np.float32(0))))
    assert contract.inputs_checked == 0x41000000 - 0x3F800000
    assert not contract.exhaustive


def test_infinities_belong_to_the_domain_and_nans_do_not():
    whole = certify(np.abs, np.abs, lo_bits=0x7F800000, hi_bits=0x7F800010)
    assert whole.domain == (np.inf, np.inf)
    assert certify(np.abs, np.abs, lo_bits=0x7F000000, hi_bits=0x80000001, chunk=2**20).domain == (
        -0.0,
        np.inf,
    )


def test_a_wrong_nan_is_an_infinite_error():
    assert (
        certify(np.abs, lambda x: np.sqrt(x) ** 2, lo_bits=0xBF800000, hi_bits=0xBF800010).max_ulp
        == np.inf
    )


def test_callback_sees_every_chunk():
    calls = []
    certify(
        np.sqrt, np.sqrt, lo_bits=0, hi_bits=1000, chunk=300, callback=lambda *a: calls.append(a)
    )
    assert calls == [(300, 1000), (600, 1000), (900, 1000), (1000, 1000)]


@pytest.mark.parametrize("lo, hi", [(5, 5), (6, 5)])
def test_bits_out_of_order(lo, hi):
    with pytest.raises(ValueError, match=r"lo_bits must be < hi_bits with hi_bits = 5 \(got"):
        certify(np.sqrt, np.sqrt, lo_bits=lo, hi_bits=hi)


def test_func_must_keep_the_dtype():
    with pytest.raises(TypeError, match="must return float32"):
        certify(lambda x: np.sqrt(x.astype(np.float64)), np.sqrt, hi_bits=10)


def test_progress_needs_tqdm(monkeypatch):
    real = builtins.__import__

    def without_tqdm(name, *args, **kwargs):
        if name == "tqdm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    with pytest.raises(ImportError, match="progress=True needs tqdm"):
        certify(np.sqrt, np.sqrt, hi_bits=10, progress=True)


def test_progress_bar_counts_inputs(capsys):
    pytest.importorskip("tqdm")
    certify(np.sqrt, np.sqrt, hi_bits=2**10, progress=True)
    assert "1.02k/1.02k" in capsys.readouterr().err


def test_float64_sample_holds_the_special_values():
    seen = []
    certify_float64(lambda x: seen.append(x) or np.sqrt(x), np.sqrt, n_samples=1000, chunk=300)
    x = np.concatenate(seen)
    assert x.size == 2**12 * 8 + 1000
    for value in (
        0.0,
        np.inf,
        -np.inf,
        np.finfo(float).max,
        np.finfo(float).tiny,
        np.finfo(float).smallest_subnormal,
        1.0,
        -1.0,
    ):
        assert (x == value).any()
    assert np.isnan(x).any()


def test_contract_is_frozen():
    contract = max_ulp_error("exp", "float32")
    assert isinstance(contract, UlpContract)
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.max_ulp = 0


def test_table_has_every_function_and_dtype():
    for name in references():
        for dtype in ("float32", np.float32, np.dtype("float64")):
            assert 0.5 < max_ulp_error(name, dtype).max_ulp < 2


def test_rows_survive_json():
    contract = UlpContract(0.75, (-math.inf, 3.5), 1e-40, False, 12)
    assert _from_row(_to_row(contract)) == contract


def test_command_writes_a_row(tmp_path, monkeypatch, capsys):
    from numcore.special import _certify

    monkeypatch.setattr(_certify, "TABLE", tmp_path / "table.json")
    monkeypatch.setattr(_certify, "progress_bar", lambda total, unit: None)
    main(["--function", "tanh", "--dtype", "float64", "--samples", "5000"])
    assert "tanh float64" in capsys.readouterr().out
    row = _from_row(_certify._read_rows()["tanh"]["float64"])
    assert row.inputs_checked == 2**12 * 8 + 5000
    assert row.max_ulp <= max_ulp_error("tanh", "float64").max_ulp + 0.1


def test_recipe_of_the_paper_holds_on_its_worst_block():
    contract = certify(special.exp, np.exp, lo_bits=0x42600000, hi_bits=0x42700000)
    assert contract.max_ulp == pytest.approx(0.9875905, abs=1e-6)
