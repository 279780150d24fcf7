"""Sparse products, sweeps and colorings against dense loops, SciPy, known answers; the container's
checks."""

import numpy as np
import pytest

import numcore
from numcore.examples.linalg.sparse import sweep
from numcore.linalg import CSR, Coloring, _csr, color_graph, spmv, triangular_sweep

PATH = np.array([[4.0, -1, 0], [-1, 4, -1], [0, -1, 4]])


def random_dense(rng, m, n, density=0.3):
    return np.where(rng.random((m, n)) < density, rng.standard_normal((m, n)), 0)


def grid(side):
    t = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    return np.kron(np.eye(side), t) + np.kron(t, np.eye(side))


@pytest.mark.parametrize("m, n", [(0, 0), (0, 3), (3, 0), (1, 1), (1, 9), (9, 1), (31, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_container(m, n, dtype):
    dense = random_dense(np.random.default_rng(0), m, n).astype(dtype)
    a = CSR.from_dense(dense)
    assert a.dtype == dtype and a.indptr.dtype == np.int32 and a.nnz == (dense != 0).sum()
    np.testing.assert_array_equal(a.toarray(), dense)
    np.testing.assert_array_equal(a.T.toarray(), dense.T)
    np.testing.assert_array_equal(a.diagonal(), dense.diagonal())
    np.testing.assert_array_equal(a.rows, np.nonzero(dense)[0])


def test_entries_in_any_order_are_sorted_and_summed():
    a = CSR.from_coo([2, 0, 2, 0], [1, 0, 1, 2], np.array([1.0, 2, 3, 4]), (3, 3))
    assert a.toarray().tolist() == [[2, 0, 4], [0, 0, 0], [0, 4, 0]] and a.nnz == 3
    indices, data = np.array([2, 0, 1, 1]), np.array([1.0, 2, 3, 4])
    b = CSR([0, 2, 4], indices, data, (2, 3))
    assert b.toarray().tolist() == [[2, 0, 1], [0, 7, 0]]
    assert indices.tolist() == [2, 0, 1, 1] and data.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (([0, 1], [0], np.ones(1), (2, 2)), ValueError, r"indptr must have shape \(3,\)"),
        (([0, 2, 1], [0], np.ones(1), (2, 2)), ValueError, "must ascend"),
        (([1, 1, 1], [0], np.ones(1), (2, 2)), ValueError, "must ascend"),
        (([0, 1, 1], [2], np.ones(1), (2, 2)), ValueError, r"indices must be in \[0, 2\)"),
        (([0, 1, 1], [-1], np.ones(1), (2, 2)), ValueError, r"indices must be in \[0, 2\)"),
        (([0, 1, 1], [0.5], np.ones(1), (2, 2)), TypeError, "integers"),
        (([0, 1, 1], [0], np.ones(1, int), (2, 2)), TypeError, "float32 or float64"),
        (([0], [], np.ones(0), -1), TypeError, "shape"),
        (([0], [], np.ones(0), (-1, 2)), ValueError, "shape"),
    ],
)
def test_container_refuses(arguments, kind, message):
    with pytest.raises(kind, match=message):
        CSR(*arguments)


@pytest.mark.parametrize("columns", [None, 0, 1, 5, 33])
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("float64", 1e-14)])
def test_products(columns, dtype, rtol):
    rng = np.random.default_rng(1)
    dense = random_dense(rng, 40, 70).astype(dtype)
    dense[3] = 0
    x = rng.standard_normal((70,) if columns is None else (70, columns)).astype(dtype)
    expected = dense.astype(float) @ x
    result = spmv(CSR.from_dense(dense), x)
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=rtol * np.abs(expected).max(initial=1)
    )


def test_long_rows_of_float32_are_summed_in_float64():
    x = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
    a = CSR([0, len(x)], np.arange(len(x)), np.ones_like(x), (1, len(x)))
    exact = x.astype(float).sum()
    assert abs(spmv(a, x)[0] - exact) <= np.spacing(np.float32(abs(exact)))


@pytest.mark.parametrize("columns", [(), (3,)])
def test_products_of_float32_are_not_rounded_before_they_are_summed(columns):
    a, b = np.float32(1 / 3), np.float32(1 / 7)
    x = np.array([b, np.nextafter(b, np.float32(1))])
    exact = np.float32(float(a) * float(x[0]) - float(a) * float(x[1]))
    product = spmv(
        CSR.from_dense(np.array([[a, -a]])),
        np.broadcast_to(x.reshape(2, *(1 for _ in columns)), (2, *columns)).copy(),
    )
    assert (product == exact).all()


def test_scipy_matrices_are_taken():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    dense = random_dense(np.random.default_rng(2), 12, 9)
    x = np.arange(9.0)
    for make in (
        scipy_sparse.csr_array,
        scipy_sparse.csr_matrix,
        scipy_sparse.csc_array,
        scipy_sparse.coo_array,
    ):
        np.testing.assert_allclose(spmv(make(dense), x), dense @ x, atol=1e-13)
    with pytest.raises(TypeError, match="a must be a CSR"):
        spmv(dense, x)


def test_entries_of_a_scipy_matrix_are_read_anew():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    a, b, x = scipy_sparse.csr_array(grid(4)), np.arange(16.0), np.ones(16)
    for change in (1.0, 3.0, -0.5):
        a.data *= change
        now = CSR.from_dense(a.toarray())
        np.testing.assert_array_equal(spmv(a, x), spmv(now, x))
        np.testing.assert_array_equal(triangular_sweep(a, b, x), triangular_sweep(now, b, x))
        np.testing.assert_array_equal(_csr.as_csr(a).T.data, now.T.data)
    a.data = 2 * a.data  # another array
    np.testing.assert_array_equal(spmv(a, x), 2 * spmv(now, x))
    a.data[a.indices == 0] = 0
    with pytest.raises(ValueError, match="no zero on its diagonal"):
        triangular_sweep(a, b, x)
    a.data = a.data.astype(int)
    with pytest.raises(TypeError, match="dtype"):
        spmv(a, x)


def test_another_pattern_of_a_scipy_matrix_is_seen():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    a, x = scipy_sparse.csr_array(np.diag([1.0, 2, 3])), np.array([1.0, 10, 100])
    assert spmv(a, x).tolist() == [1, 20, 300]
    a.indices = a.indices[::-1].copy()
    assert spmv(a, x).tolist() == [100, 20, 3]
    key = id(a)
    assert key in _csr._patterns
    del a
    assert key not in _csr._patterns


def test_linear_operators_of_scipy():
    linalg = pytest.importorskip("scipy.sparse.linalg")
    dense = random_dense(np.random.default_rng(9), 7, 5)
    a, x, y = CSR.from_dense(dense), np.arange(5.0), np.arange(14.0).reshape(7, 2)
    operator = linalg.aslinearoperator(a)
    assert operator.shape == (7, 5) and operator.dtype == np.float64
    np.testing.assert_allclose(operator @ x, dense @ x, atol=1e-14)
    np.testing.assert_allclose(operator.T @ y, dense.T @ y, atol=1e-13)
    np.testing.assert_allclose(operator.H @ y[:, 0], dense.T @ y[:, 0], atol=1e-13)
    s = linalg.svds(operator, 2, rng=0)[1]
    np.testing.assert_allclose(np.sort(s), np.sort(np.linalg.svd(dense)[1][:2]), rtol=1e-10)
    solution, failed = linalg.cg(CSR.from_dense(grid(4)), np.ones(16))
    assert not failed
    np.testing.assert_allclose(grid(4) @ solution, 1, rtol=1e-4)


# --- sweeps and colorings ------------------------------------------------------------------------


def test_a_sweep_of_three_rows():
    x = triangular_sweep(CSR.from_dense(PATH), np.array([1.0, 2, 3]), np.zeros(3), omega=1.5)
    assert x.tolist() == [0.375, 0.890625, 1.458984375]


@pytest.mark.parametrize("direction", ["forward", "backward", "symmetric"])
@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("colored", [False, True])
def test_sweeps_follow_the_loop(direction, columns, colored):
    rng = np.random.default_rng(3)
    dense = random_dense(rng, 30, 30, 0.1) + 10 * np.eye(30)
    a, shape = CSR.from_dense(dense), (30,) if columns is None else (30, columns)
    b, x = rng.standard_normal((2, *shape))
    coloring = color_graph(a) if colored else None
    order = list(coloring.order) if colored else list(range(30))
    expected = x
    for rows in {"forward": [order], "backward": [order[::-1]], "symmetric": [order, order[::-1]]}[
        direction
    ]:
        expected = np.stack(
            [
                sweep(dense, *pair, 1.3, rows)
                for pair in zip(b.reshape(30, -1).T, expected.reshape(30, -1).T, strict=True)
            ],
            axis=-1,
        ).reshape(shape)
    before = x.copy()
    np.testing.assert_allclose(
        triangular_sweep(a, b, x, omega=1.3, direction=direction, coloring=coloring),
        expected,
        atol=1e-13,
    )
    np.testing.assert_array_equal(x, before)


def test_sweeps_converge_to_the_solution():
    dense = grid(6)
    a, b, x = CSR.from_dense(dense), np.arange(36.0), np.zeros(36)
    for _ in range(200):
        x = triangular_sweep(a, b, x, direction="symmetric", omega=1.2)
    np.testing.assert_allclose(x, np.linalg.solve(dense, b), rtol=1e-10)


def test_a_grid_has_two_colors():
    coloring = color_graph(CSR.from_dense(grid(10)))
    assert coloring.n_colors == 2 and np.diff(coloring.starts).tolist() == [50, 50]


@pytest.mark.parametrize("n, density", [(0, 0), (1, 0), (40, 0.05), (150, 1.0)])
def test_colors_share_no_edge(n, density):
    dense = random_dense(np.random.default_rng(4), n, n, density)
    coloring = color_graph(CSR.from_dense(dense))
    assert sorted(coloring.order.tolist()) == list(range(n))
    for first, last in zip(coloring.starts, coloring.starts[1:], strict=False):
        rows = coloring.order[first:last]
        block = dense[np.ix_(rows, rows)]
        assert not (block - np.diag(block.diagonal())).any()
    if density == 1:
        assert coloring.n_colors == n


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(5)
    a, x = CSR.from_dense(random_dense(rng, 500, 500, 0.1)), rng.standard_normal(500)
    results = []
    try:
        for threads in (1, 2, 5):
            numcore.set_num_threads(threads)
            results.append(spmv(a, x))
    finally:
        numcore.set_num_threads(None)
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


@pytest.mark.parametrize(
    "change, kind, message",
    [
        (dict(a=CSR.from_dense(np.eye(3, k=1))), ValueError, "no zero on its diagonal"),
        (
            dict(coloring=Coloring(np.arange(2), (0, 2), 1)),
            ValueError,
            r"coloring.order must have shape \(n,\) with n = 3|b must",
        ),
        (dict(coloring=Coloring(np.array([0, 1, 7]), (0, 3), 1)), ValueError, "permutation"),
        (dict(coloring=Coloring(np.array([0, 1, 2]), (0, 9), 1)), ValueError, "starts"),
    ],
)
def test_sweep_errors(change, kind, message):
    with pytest.raises(kind, match=message):
        triangular_sweep(**{"a": CSR.from_dense(PATH), "b": np.ones(3), "x": np.ones(3)} | change)
