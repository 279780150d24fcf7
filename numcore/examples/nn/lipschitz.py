"""Example calls of the bounds of ReLU networks. The references go back through the network for one
neuron or one entry at a time."""

import functools
import itertools
from fractions import Fraction

import numpy as np

from ...nn._lipschitz import kernels
from .. import Example

# --- references -----------------------------------------------------------------------------------


def _support(a, lines):
    """The largest of a · y over y_j between two lines of its own v_j, as coefficients of v and a
    constant."""
    coefficients, constant = np.zeros(len(a)), 0.0
    for j, value in enumerate(a):
        slope, intercept = lines[j][0] if value > 0 else lines[j][1]
        coefficients[j], constant = value * slope, constant + value * intercept
    return coefficients, constant


def _largest(a, weights, biases, lines, x0, eps):
    """The largest value of a · (what comes out behind the layers that have lines) on a box, by the
    lines."""
    constant = 0.0
    for w, b, line in zip(weights[::-1], biases[::-1], lines[::-1], strict=True):
        a, more = _support(a, line)
        constant, a = constant + more + a @ b, a @ w
    return constant + a @ x0 + np.abs(a) @ eps


def _relu_line(low, high):
    if low > 0 or high < 0:
        return [(float(low > 0), 0.0)] * 2
    above = (high / (high - low), -high * low / (high - low)) if high > low else (0.0, 0.0)
    return [above, (float(high > -low), 0.0)]


def _neurons(weights, biases, x0, eps, method):
    """Bounds of every layer, the output's too: [(lower, upper), ...], the tighter ones of interval
    arithmetic and CROWN."""
    found, lines, low, high = [], [], x0 - eps, x0 + eps
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        corners = np.stack([w * low, w * high])
        lower, upper = corners.min(axis=0).sum(axis=1) + b, corners.max(axis=0).sum(axis=1) + b
        if method != "interval":
            back = functools.partial(
                _largest, weights=weights[:k], biases=biases[:k], lines=lines, x0=x0, eps=eps
            )
            lower = np.maximum(lower, [c - back(-row) for row, c in zip(w, b, strict=True)])
            upper = np.minimum(upper, [c + back(row) for row, c in zip(w, b, strict=True)])
        found.append((lower, upper))
        lines.append([_relu_line(*ends) for ends in zip(lower, upper, strict=True)])
        low, high = np.maximum(lower, 0), np.maximum(upper, 0)
    return found


def _gradient_line(slope, low, high, method):
    if slope is not None:
        return [(slope, 0.0)] * 2
    if low >= 0:
        return [(1.0, 0.0), (0.0, 0.0)]
    if high <= 0:
        return [(0.0, 0.0), (1.0, 0.0)]
    if method == "recurjac":
        return [(0.0, high), (0.0, low)]
    return [
        (high / (high - low), -high * low / (high - low)),
        (-low / (high - low), low * high / (high - low)),
    ]


def _products(slope, low, high):
    """The smallest and the largest slope times a number between low and high."""
    ends = [d * g for d in ((0.0, 1.0) if slope is None else (slope,)) for g in (low, high)]
    return min(ends), max(ends)


def _row(weights, found, last, method):
    """Bounds of the derivatives of last · (what the last layer takes), and the lines of all nodes,
    outermost first."""
    slopes = [
        [1.0 if low > 0 else 0.0 if high < 0 else None for low, high in zip(*ends, strict=True)]
        for ends in found[:-1]
    ]
    lower, upper, lines = last, last, []
    for i in range(len(slopes) - 1, -1, -1):
        nodes = list(zip(slopes[i], lower, upper, strict=True))
        lines.append([_gradient_line(*node, method) for node in nodes])
        if method == "interval":
            ends = (
                np.array([_products(*node) for node in nodes]).reshape(-1, 2, 1)
                * weights[i][:, None]
            )
            lower, upper = ends.min(axis=1).sum(axis=0), ends.max(axis=1).sum(axis=0)
        else:
            lower = -np.array(
                [_derivative(-column, weights, lines, i, last) for column in weights[i].T]
            )
            upper = np.array(
                [_derivative(column, weights, lines, i, last) for column in weights[i].T]
            )
    return lower, upper, lines


def _derivative(a, weights, lines, i, last):
    constant = 0.0
    for k in range(i, len(weights) - 1):
        a, more = _support(a, lines[len(weights) - 2 - k])
        constant += more
        a = a @ last if k == len(weights) - 2 else weights[k + 1] @ a
    return constant + a


def _norm(weights, lower, upper, lines, last):
    entries = sum(max(-low, high) for low, high in zip(lower, upper, strict=True))
    if len(weights) == 1:
        return entries
    slopes, constant = [], 0.0
    for low, high in zip(lower, upper, strict=True):
        mixed = low < 0 < high
        slopes.append((high + low) / (high - low) if mixed else float(np.sign(high + low)))
        constant += -2 * high * low / (high - low) if mixed else 0.0
    return min(
        entries, constant + _derivative(weights[0] @ np.array(slopes), weights, lines, 0, last)
    )


def _boxes(weights, biases, x0, eps, c=None):
    """Everything in float64, and x0 and eps as the middles and half widths of boxes."""
    weights, biases = [w.astype(float) for w in weights], [b.astype(float) for b in biases]
    x0, eps = (
        np.broadcast_to(part, x0.shape).astype(float).reshape(-1, x0.shape[-1])
        for part in (x0, eps)
    )
    return (
        weights,
        biases,
        list(zip(x0, eps, strict=True)),
        weights[-1] if c is None else c.astype(float) @ weights[-1],
    )


def _output_bounds(weights, biases, x0, eps, method="crown"):
    lead, (weights, biases, boxes, _) = x0.shape[:-1], _boxes(weights, biases, x0, eps)
    ends = np.array([_neurons(weights, biases, *box, method)[-1] for box in boxes]).reshape(
        -1, 2, len(weights[-1])
    )
    return tuple(ends[:, side].reshape(*lead, len(weights[-1])) for side in (0, 1))


def _jacobians(weights, biases, x0, eps, c, method):
    weights, biases, boxes, rows = _boxes(weights, biases, x0, eps, c)
    for box in boxes:
        found = _neurons(weights, biases, *box, method)
        yield [(*_row(weights, found, row, method), row) for row in rows]


def _jacobian_bounds(weights, biases, x0, eps, c=None, method="linear"):
    found = list(_jacobians(weights, biases, x0, eps, c, method))
    q = len(weights[-1] if c is None else c)
    shape = *x0.shape[:-1], q, x0.shape[-1]
    return tuple(
        np.array([[row[side] for row in rows] for rows in found]).reshape(shape) for side in (0, 1)
    )


def _local_lipschitz(weights, biases, x0, eps, c=None, method="linear", **options):
    uppers = []
    wide = [w.astype(float) for w in weights]
    for rows in _jacobians(weights, biases, x0, eps, c, method):
        uppers.append(max((_norm(wide, *row) for row in rows), default=0.0))
    return (
        np.array(uppers).reshape(x0.shape[:-1]),
        *_jacobian_bounds(weights, biases, x0, eps, c, method),
    )


def _monotonicity(weights, biases, x0, eps, features=None):
    lower, upper = _jacobian_bounds(weights, biases, x0, eps)
    signs = (lower >= 0).astype(np.int8) * (upper > 0) - ((upper <= 0) & (lower < 0))
    return signs if features is None else signs[..., features]


# --- networks point by point, exactly in fractions, and region by region --------------------------


def evaluate(weights, biases, x):
    """Outputs and the Jacobian at one point, with slope 0 at 0."""
    a, jacobian = x, np.eye(len(x))
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        a, jacobian = w @ a + b, w @ jacobian
        if k < len(weights) - 1:
            on = a > 0
            a, jacobian = np.where(on, a, 0), jacobian * on[:, None]
    return a, jacobian


def exactly(weights, biases, x):
    """The same in fractions: lists."""

    def product(rows, columns):
        return [
            [
                sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0))
                for column in columns
            ]
            for row in rows
        ]

    a = [Fraction(v) for v in x]
    columns = [[Fraction(int(i == j)) for j in range(len(x))] for i in range(len(x))]
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        rows = [[Fraction(v) for v in row] for row in w.tolist()]
        a = [s[0] + Fraction(v) for s, v in zip(product(rows, [a]), b.tolist(), strict=True)]
        jacobian = product(rows, columns)
        if k < len(weights) - 1:
            jacobian = [
                row if v > 0 else [Fraction(0)] * len(x) for row, v in zip(jacobian, a, strict=True)
            ]
            a = [max(v, Fraction(0)) for v in a]
        columns = [list(column) for column in zip(*jacobian, strict=True)]
    return a, jacobian


def lipschitz(weights, biases, x0, eps):
    """The Lipschitz constant on a box: over all patterns of neurons that are on, if a linear
    program finds a point with that pattern."""
    from scipy.optimize import linprog

    n, widths, largest = len(x0), [len(w) for w in weights[:-1]], 0.0
    for pattern in itertools.product((0.0, 1.0), repeat=sum(widths)):
        constraints, limits, linear, offset, rest = [], [], np.eye(n), np.zeros(n), list(pattern)
        for w, b, width in zip(weights[:-1], biases[:-1], widths, strict=True):
            linear, offset = w @ linear, w @ offset + b
            on, rest = np.array(rest[:width]), rest[width:]
            sign = 2 * on - 1
            # sign (linear x + offset) >= t
            constraints.append(np.column_stack([-sign[:, None] * linear, np.ones(width)]))
            limits.append(sign * offset)
            linear, offset = linear * on[:, None], offset * on
        found = linprog(
            [0.0] * n + [-1.0],
            np.vstack(constraints),
            np.concatenate(limits),
            bounds=[*zip(x0 - eps, x0 + eps, strict=True), (None, 1.0)],
        )
        if found.status == 0 and found.x[-1] > 1e-7:
            largest = max(largest, abs(weights[-1] @ linear).sum(axis=1).max())
    return largest


# --- data -----------------------------------------------------------------------------------------


def _network(rng, dtype, *sizes):
    weights = [
        (rng.standard_normal((o, i)) / np.sqrt(i)).astype(dtype)
        for i, o in itertools.pairwise(sizes)
    ]
    return {
        "weights": weights,
        "biases": [(rng.standard_normal(o) / 4).astype(dtype) for o in sizes[1:]],
    }


def _call(rng, dtype, n=3, **options):
    call = _network(rng, dtype, 3, 5, 4, 2)
    return call | {"x0": rng.standard_normal((n, 3)).astype(dtype), "eps": 0.125} | options


def _with_rows(rng, dtype, n=3, **options):
    return _call(rng, dtype, n, **options) | {"c": rng.standard_normal((2, 2)).astype(dtype)}


def _lipschitz(rng, dtype, n=3):
    return _with_rows(rng, dtype, n, n_lower_samples=8) | {"rng": 1}


def _features(rng, dtype, n=3):
    # one hidden layer: in deeper networks a bound of exactly 0 may come out as rounding error, and
    # no sign is certain then
    return _call(rng, dtype, n, features=[2, 0]) | _network(rng, dtype, 3, 6, 2)


@functools.cache
def _digits():
    """A network that reads digits' images, trained with scikit-learn, and an image that it has not
    seen; random ones without."""
    try:
        import warnings

        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        rng = np.random.default_rng(0)
        network = _network(rng, np.float64, 64, 64, 64, 10)
        return network["weights"], network["biases"], rng.random(64)
    data, labels = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        # a network that could be trained longer is good enough here
        warnings.simplefilter("ignore")
        model = MLPClassifier((64, 64), max_iter=30, random_state=0).fit(
            data[::2] / 16, labels[::2]
        )
    return [w.T for w in model.coefs_], model.intercepts_, data[1] / 16


def _real(dtype, **options):
    weights, biases, x0 = _digits()
    return {
        "weights": [np.ascontiguousarray(w, dtype) for w in weights],
        "biases": [b.astype(dtype) for b in biases],
        "x0": x0.astype(dtype),
        "eps": 0.02,
    } | options


def _example(arguments, reference, **options):
    options = {
        "arrays": ("x0",),
        "bound": {"float32": 1e-6, "float64": 1e-11},
        "nan": "raise",
    } | options
    return Example(arguments, reference=reference, sizes=arguments, **options)


_DATA = "64-64-64-10 network, digits image"
EXAMPLES = {
    "output_bounds": _example(_call, _output_bounds, data=_DATA, real=_real),
    "jacobian_bounds": _example(
        _with_rows, _jacobian_bounds, arrays=("x0", "c"), data=_DATA, real=_real
    ),
    "local_lipschitz": _example(
        _lipschitz,
        _local_lipschitz,
        arrays=("x0", "c"),
        data=_DATA,
        real=functools.partial(_real, rng=0),
        result=lambda r: (r.upper, r.jacobian_lower, r.jacobian_upper),
    ),
    "monotonicity": _example(_features, _monotonicity, error="equal", data=_DATA, real=_real),
}


def _lines(rng, size, g, n):
    return [rng.standard_normal((g, n)) for _ in range(4)]


def _relax_arguments(rng, variant, size):
    """Three rows for each pair of lines, or one; with rows to add or without."""
    g, n, r = (size // 3, 17, 5) if size % 3 == 0 else (size, 40, size % 2)
    return [
        rng.standard_normal((size, n + 4)),
        rng.standard_normal(size),
        rng.standard_normal((r, n)),
        *_lines(rng, size, g, n),
        3,
    ]


def _relax_rows_arguments(rng, variant, size):
    g, r, n = (1, size // 2, 21) if size % 2 == 0 else (size, 1, 9)
    m = 2 * g * r
    return [
        rng.standard_normal((r, n)),
        *_lines(rng, size, g, n),
        2,
        rng.standard_normal((m, n + 2)),
        np.full(m, np.nan),
    ]


KERNELS = {kernels.relax.name: _relax_arguments, kernels.relax_rows.name: _relax_rows_arguments}
