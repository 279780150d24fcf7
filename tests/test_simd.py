"""Building blocks: what they say in Python is what their LLVM instructions do."""

import math
import re
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import pytest

import numcore
from numcore.simd import (
    dot,
    float_bits,
    float_from_bits,
    fma,
    gemm_row,
    gemm_rows,
    gemm_tile,
    host_vector_bits,
    ldexp,
    popcount,
    tile_cols,
    tile_rows,
    vector_bits,
)


@pytest.fixture(scope="module")
def compiled():
    f = numba.njit
    return {
        "fma": f(lambda a, b, c: fma(a, b, c)),
        "float_bits": f(lambda x: float_bits(x)),
        "float_from_bits": f(lambda i: float_from_bits(i)),
        "popcount": f(lambda i: popcount(i)),
        "ldexp": f(lambda x, k: ldexp(x, k)),
        "vector_bits": f(lambda: vector_bits()),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_rounds_once(compiled, dtype):
    rng = np.random.default_rng(0)
    for a, b, c in rng.standard_normal((300, 3)).astype(dtype):
        c = dtype(-a * b) if c > 0 else c  # cancellation shows a second rounding
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        result = compiled["fma"](a, b, c)
        assert fma(a, b, c) == result
        neighbours = (np.nextafter(result, dtype(-np.inf)), np.nextafter(result, dtype(np.inf)))
        assert all(
            abs(Fraction(float(result)) - exact) <= abs(Fraction(float(n)) - exact)
            for n in neighbours
        )


@pytest.mark.parametrize("dtype, integer", [(np.float32, np.int32), (np.float64, np.int64)])
def test_bits_there_and_back(compiled, dtype, integer):
    for x in (0.0, -0.0, 1.0, -1.5, 1e-40, np.inf, np.nan):
        x = dtype(x)
        bits = compiled["float_bits"](x)
        assert bits == float_bits(x) == x.view(integer)
        assert dtype(
            compiled["float_from_bits"](integer(bits))
        ).tobytes() == x.tobytes() or np.isnan(x)
        assert float_from_bits(integer(bits)).tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_popcount(compiled, dtype):
    for i in (0, 1, np.iinfo(dtype).max, np.iinfo(dtype).min, 0x5A):
        i = dtype(i)
        assert (
            compiled["popcount"](i)
            == popcount(i)
            == sum((int(i) >> k) & 1 for k in range(8 * i.itemsize))
        )


@pytest.mark.parametrize("dtype, least, most", [(np.float32, -151, 128), (np.float64, -1076, 1024)])
def test_ldexp_rounds_once_down_to_subnormals(compiled, dtype, least, most):
    for x in (1.0, 0.75, np.nextafter(dtype(1), dtype(2)), -1.3, 1.9999999):
        for k in range(least, most + 1):
            with np.errstate(all="ignore"):
                expected = dtype(np.ldexp(dtype(x), k))
            assert compiled["ldexp"](dtype(x), np.int32(k)) == expected
    assert math.isnan(compiled["ldexp"](dtype(np.nan), np.int32(3)))


def test_vector_bits(compiled):
    assert compiled["vector_bits"]() == vector_bits() == host_vector_bits()
    assert host_vector_bits() in (128, 256, 512)


def test_they_do_not_take_what_they_cannot(compiled):
    with pytest.raises(numba.TypingError):
        compiled["fma"](np.float32(1), 1.0, 1.0)
    with pytest.raises(numba.TypingError):
        compiled["popcount"](1.0)
    with pytest.raises(numba.TypingError):
        compiled["float_bits"](np.int32(1))


# --- the register tile ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiles():
    @numba.njit
    def tile(*args):
        gemm_tile(*args)

    @numba.njit
    def row(*args):
        gemm_row(*args)

    return {gemm_tile: tile, gemm_row: row}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", [gemm_tile, gemm_row])
@pytest.mark.parametrize("depth", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("row_major", [True, False])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_tile(tiles, dtype, part, depth, row_major, accumulate):
    rng = np.random.default_rng(depth)
    rows, cols = (tile_rows(dtype(0)) if part is gemm_tile else 1), tile_cols(dtype(0))
    a, b, c = (
        rng.standard_normal((rows, depth)),
        rng.standard_normal((depth, cols + 3)),
        rng.standard_normal((rows + 2, cols + 5)),
    )
    a, b, c = a.astype(dtype), b.astype(dtype), c.astype(dtype)
    flat_a = np.concatenate([np.full(9, np.nan, dtype), (a if row_major else a.T).reshape(-1)])
    expected = c.copy()
    expected[1 : rows + 1, 2 : cols + 2] = (
        c[1 : rows + 1, 2 : cols + 2] if accumulate else 0
    ) + a.astype(float) @ b[:, :cols].astype(float)
    places = (flat_a, 9, *((depth, 1) if row_major else (1, rows)), b.reshape(-1), 0, cols + 3)
    for run in (tiles[part], part):
        result = c.copy()
        run(*places, result.reshape(-1), cols + 5 + 2, cols + 5, depth, accumulate)
        np.testing.assert_allclose(result, expected, rtol=0, atol=depth * 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("rows", [0, 1, 5, 8, 19])
def test_rows_are_tiles_and_what_is_left_over(rows):
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((rows, 7)), rng.standard_normal((7, tile_cols(np.float64(0))))
    c = np.full((rows + 1, b.shape[1]), 3.0)
    gemm_rows(rows, a, 0, 7, 1, b, 0, b.shape[1], c.reshape(-1), 0, b.shape[1], 7, 1)
    np.testing.assert_allclose(c[:rows], 3 + a @ b, rtol=0, atol=1e-14)
    assert (c[rows] == 3).all()


def test_tile_stays_in_registers():
    """One fused multiply-add for each accumulator and step, and no accumulator in memory inside the
    loop."""
    from numcore import _native, _numba

    rows, vectors = {512: (8, 3), 256: (4, 3), 128: (4, 2)}[host_vector_bits()]

    def body(a, b, c, depth):
        a, b, c = numba.carray(a, (1000,)), numba.carray(b, (1000,)), numba.carray(c, (1000,))
        gemm_tile(a, 0, depth, 1, b, 0, 24, c, 0, 24, depth, 0)

    body.__globals__["numba"] = numba
    pointer = numba.types.CPointer(numba.types.float32)
    code = _numba.compile_bitcode(
        {"body": (body, numba.types.void(pointer, pointer, pointer, numba.types.int64))}
    )
    assembly = _native.assembly("body", code, ("body",))
    loops = [
        block
        for block in assembly.split(".LBB")
        if block.count("fmadd") + block.count("vfmadd") or block.count("mulps")
    ]
    inner = min(loops, key=len)
    count = inner.count("vfmadd") if host_vector_bits() >= 256 else inner.count("mulps")
    assert count == rows * vectors
    assert "(%rsp)" not in inner


# --- inner products -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dot(dtype):
    compiled, rng = numba.njit(lambda x, y: dot(x, y)), np.random.default_rng(1)
    for n in (0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 100):
        for start in (0, 1, 3):  # not aligned to vectors
            x, y = (
                rng.standard_normal(n + 3).astype(dtype)[start : start + n],
                rng.standard_normal(n + 3)[start : start + n],
            )
            expected = float(
                sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True))
            )
            for run in (compiled, dot):
                assert abs(run(x, y) - expected) <= n * np.finfo(np.float64).eps * float(
                    np.abs(x * y).sum()
                )
    with pytest.raises(numba.TypingError):
        compiled(np.ones(3), np.ones(3, np.float32))
    with pytest.raises(numba.TypingError):
        compiled(np.ones((3, 3)), np.ones(3))


# --- where LLVM is --------------------------------------------------------------------------------


def test_llvm_is_nowhere_else():
    root = Path(numcore.__file__).parent
    allowed = {"_native.py", "_numba.py", "_bitcode.py"}
    elsewhere = [
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if file.parent != root / "simd" and not (file.parent == root and file.name in allowed)
        if re.search(r"^\s*(from|import) llvmlite", file.read_text(), re.M)
    ]
    assert not elsewhere, f"LLVM is emitted in numcore/simd only (got {elsewhere})"
    assert all(len(file.read_text().splitlines()) < 500 for file in (root / "simd").glob("*.py"))
