"""Activation functions: pointwise nonlinearities and their first three derivatives, in closed form.

Each kind is one scalar function that gives s(x), s'(x), s''(x) and s'''(x); a kernel stores those
that it needs and the compiler drops the others. The first derivative is for gradients, the second
and third are for Taylor expansions of whole networks. GELU: D. Hendrycks, K. Gimpel, "Gaussian
Error Linear Units (GELUs)", arXiv 1606.08415.
"""

import math
import types
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..arguments import Array, Float
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import float_bits, float_from_bits, fma
from ..special import cos, erf, exp, sigmoid, sin, softplus, tanh

Nonlinearity = Literal["relu", "tanh", "gelu", "silu", "sigmoid", "sin", "softplus"]


class ActivationCache(NamedTuple):
    """What :func:`activation` keeps for its gradient."""

    x: Float[Array, "*shape"]
    kind: str


# --- routines -------------------------------------------------------------------------------------


@routine
def activation(
    x: Float[Array, "*shape"],
    *,
    kind: Nonlinearity = "relu",
    approximate: Literal["none", "tanh"] = "none",
) -> tuple[Array, ActivationCache]:
    """A nonlinearity, applied to every element.

    Parameters
    ----------
    x : (...) array of float32 or float64
    kind : {"relu", "tanh", "gelu", "silu", "sigmoid", "sin", "softplus"}, default "relu"
        relu max(x, 0); gelu x Φ(x), Φ the normal distribution function; silu x σ(x); softplus log(1
        + exp(x)).
    approximate : {"none", "tanh"}, default "none"
        "tanh", for gelu only: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), which differs from x Φ(x)
        by up to 5e-4.

    Returns
    -------
    y : array of the shape of x
    cache : ActivationCache
        For :func:`activation_vjp`; it holds x by reference.

    Raises
    ------
    TypeError
        x is not float32 or float64.
    ValueError
        Another kind, or an approximation that the kind does not have.

    Notes
    -----
    Errors are below 3 eps max(1, abs(x)). NaN stays NaN; at infinities y is the limit.

    References
    ----------
    D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv 1606.08415.

    Examples
    --------
    >>> y, cache = activation(np.array([-1.0, 0.0, 1.0]), kind="gelu")
    >>> y.round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    if approximate == "tanh":
        if kind != "gelu":
            raise ValueError(f'approximate must be "none" for kind="{kind}" (got "tanh")')
        kind = "gelu_tanh"
    if kind in ELEMENTARY:
        return ELEMENTARY[kind](x), ActivationCache(x, kind)
    xp = namespace_of(x)
    y = xp.empty(x.shape, x.dtype)
    FORWARD[kind](_flat(xp, x), y.reshape(-1))
    return y, ActivationCache(x, kind)


@routine
def activation_vjp(grad_y: Float[Array, "*shape"], cache: ActivationCache) -> Array:
    """Gradient of :func:`activation`: grad_y s'(x), in one pass.

    Parameters
    ----------
    grad_y : (...) array of float32 or float64
        Gradient of a loss in y.
    cache : ActivationCache
        What :func:`activation` returned with y.

    Returns
    -------
    grad_x : array of the shape of x

    Raises
    ------
    TypeError
        `cache` is another object, or `grad_y` has another dtype or device than x.
    ValueError
        `grad_y` does not have the shape of y.

    Notes
    -----
    The derivative of relu is 0 at 0.

    References
    ----------
    D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv 1606.08415.

    Examples
    --------
    >>> from numcore.nn import activation
    >>> y, cache = activation(np.array([-1.0, 0.0, 1.0]), kind="gelu")
    >>> activation_vjp(np.ones(3), cache).round(4)
    array([-0.0833,  0.5   ,  1.0833])
    """
    x, xp = cache.x, namespace_of(grad_y)
    grad_x = xp.empty(x.shape, x.dtype)
    BACKWARD[cache.kind](_flat(xp, grad_y), _flat(xp, x), grad_x.reshape(-1))
    return grad_x


def _flat(xp, x):
    return xp.ascontiguousarray(x).reshape(-1)


# --- s, s', s'', s''' -----------------------------------------------------------------------------
# float32 constants that are exact leave float32 and float64 as they are; real makes the others
# numbers of the type of x.

ZERO, HALF, ONE, TWO, THREE, FOUR, SIX = (np.float32(c) for c in (0, 0.5, 1, 2, 3, 4, 6))
SQRT_HALF, INVERSE_SQRT_TWO_PI = 0.7071067811865476, 0.3989422804014327
SQRT_TWO_OVER_PI, CUBIC = 0.7978845608028654, 0.044715
# beyond these gelu and silu are 0 or x in float64
GELU_FLAT, SILU_FLAT = np.float32(40), np.float32(800)


def within(x, bound):
    """x between -bound and bound; NaN stays NaN."""
    x = -bound if x < -bound else x
    return bound if x > bound else x


def relu_derivatives(x, real):
    return (ZERO if x < ZERO else x), (ONE if x > ZERO else ZERO), ZERO, ZERO


# exp(r) = 1 + r + r^2 (B0 + B1 r + ... + B4 r^4), |r| <= 0.3473, error 3.1e-9: this and the next
# are fits of docs/derivations/minimax.py
B0, B1, B2 = np.float32(0.49999994), np.float32(0.1666652), np.float32(0.0416684)
B3, B4 = np.float32(0.008368858), np.float32(0.0013814305)
LOG2_E, LN2 = np.float32(1.442695), np.float32(0.6931472)
ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer, which then stands in the low bits
ONE_BITS, EXPONENT = np.int32(0x3F800000), np.int32(23)


def exp_parts(x):
    """2^k and q with exp(x) = 2^k (1 + q), for float32 x in [-87.3, 0]: a third of the work of exp,
    whose range is wider."""
    z = fma(x, LOG2_E, ROUND)
    r = fma(z - ROUND, -LN2, x)
    p = fma(B4, r, B3)
    p = fma(p, r, B2)
    p = fma(p, r, B1)
    p = fma(p, r, B0)
    return float_from_bits(np.int32((float_bits(z) << EXPONENT) + ONE_BITS)), fma(p, r * r, r)


TANH_FLAT = np.float32(9.1)


def tanh_float32(x):
    """tanh(a) = -(e - 1) / (e + 1) with e = exp(-2 a), to 3 units in the last place: half the work
    of tanh, which is accurate to one."""
    a = abs(x)
    a = TANH_FLAT if a > TANH_FLAT else a
    power, q = exp_parts(-TWO * a)
    e_minus_one = fma(power, q, power - ONE)
    return math.copysign(e_minus_one / (e_minus_one + TWO), x)


def tanh_float64(x):
    return tanh(x)


def quick_tanh(x):
    """tanh(x); compiled code takes the body of the type of x."""


quick_tanh.scalar_bodies = {"float32": tanh_float32, "float64": tanh_float64}


def tanh_derivatives(x, real):
    t = quick_tanh(x)
    s1 = ONE - t * t
    return t, s1, -(t + t) * s1, TWO * s1 * (THREE * t * t - ONE)


# Phi(-a) = exp(-a^2 / 2) t (M0 + M1 t + ... + M8 t^8), t = 1 / (1 + MILLS a), 0 <= a <= 14.2, error
# 1.7e-8
M0, M1, M2 = np.float32(0.08371304), np.float32(0.0850458), np.float32(0.06934615)
M3, M4, M5 = np.float32(0.12430254), np.float32(-0.09264359), np.float32(0.3476083)
M6, M7, M8 = np.float32(-0.32872745), np.float32(0.2828649), np.float32(-0.07150969)
MILLS = np.float32(0.21)
FARTHEST = np.float32(13.2)  # exp(-x^2 / 2) is the smallest normal float32 there


def normal_float32(x):
    """Phi(x) and exp(-x^2 / 2) from one exponential; errors are below (x^2 + 4) eps relative to
    either, tails included."""
    a = abs(x)
    a = FARTHEST if a > FARTHEST else a
    power, q = exp_parts(-HALF * a * a)
    bell = power * (q + ONE)
    t = ONE / fma(MILLS, a, ONE)
    p = fma(M8, t, M7)
    p = fma(p, t, M6)
    p = fma(p, t, M5)
    p = fma(p, t, M4)
    p = fma(p, t, M3)
    p = fma(p, t, M2)
    p = fma(p, t, M1)
    p = fma(p, t, M0)
    tail = bell * t * p
    return (tail if x < ZERO else ONE - tail), bell


def normal_float64(x):
    return np.float64(0.5) * (np.float64(1) + erf(x * SQRT_HALF)), exp(np.float64(-0.5) * x * x)


def normal(x):
    """Distribution function of the normal distribution and exp(-x^2 / 2); compiled code takes the
    body of the type of x."""


normal.scalar_bodies = {"float32": normal_float32, "float64": normal_float64}


def gelu_derivatives(x, real):
    a = within(x, GELU_FLAT)
    distribution, bell = normal(a)
    density = real(INVERSE_SQRT_TWO_PI) * bell
    s = ZERO if x < -GELU_FLAT else x * distribution
    return s, distribution + a * density, density * (TWO - a * a), density * a * (a * a - FOUR)


def gelu_tanh_derivatives(x, real):
    a = within(x, GELU_FLAT)
    t = tanh(real(SQRT_TWO_OVER_PI) * (a + real(CUBIC) * a * a * a))
    s = ZERO if x < -GELU_FLAT else HALF * x * (ONE + t)
    slope = real(SQRT_TWO_OVER_PI) * (ONE + THREE * real(CUBIC) * a * a)
    return s, HALF * (ONE + t) + HALF * a * (ONE - t * t) * slope


def silu_derivatives(x, real):
    a = within(x, SILU_FLAT)
    p = sigmoid(a)
    q = p * (ONE - p)
    r = ONE - TWO * p
    s = ZERO if x < -SILU_FLAT else x * p
    return s, p + a * q, q * (TWO + a * r), q * (THREE * r + a * (ONE - SIX * q))


def sigmoid_derivatives(x, real):
    p = sigmoid(x)
    q = p * (ONE - p)
    return p, q, q * (ONE - TWO * p), q * (ONE - SIX * q)


def sin_derivatives(x, real):
    s, s1 = sin(x), cos(x)
    return s, s1, -s, -s1


def softplus_derivatives(x, real):
    p = sigmoid(x)
    q = p * (ONE - p)
    return softplus(x), p, q, q * (ONE - TWO * p)


# shared with gpu/include/activation.cuh
CONSTANTS = {
    "CUBIC": CUBIC,
    "FARTHEST": FARTHEST,
    "GELU_FLAT": GELU_FLAT,
    "INVERSE_SQRT_TWO_PI": INVERSE_SQRT_TWO_PI,
    "MILLS": MILLS,
    "SILU_FLAT": SILU_FLAT,
    "SQRT_HALF": SQRT_HALF,
    "SQRT_TWO_OVER_PI": SQRT_TWO_OVER_PI,
    "TANH_FLAT": TANH_FLAT,
}
DERIVATIVES = {
    "relu": relu_derivatives,
    "tanh": tanh_derivatives,
    "gelu": gelu_derivatives,
    "silu": silu_derivatives,
    "sigmoid": sigmoid_derivatives,
    "sin": sin_derivatives,
    "softplus": softplus_derivatives,
    "gelu_tanh": gelu_tanh_derivatives,
}
KINDS = get_args(Nonlinearity)
# these have kernels of their own already
ELEMENTARY = {"tanh": tanh, "sigmoid": sigmoid, "sin": sin, "softplus": softplus}


# --- kernels: one for each kind, so that no loop asks for the kind --------------------------------


def for_kind(body, name, kind, helpers=()):
    """The kernel body named ``<name>_<kind>`` in which `derivatives` is the function of that kind,
    as in the helpers that it calls."""

    def filled(function, name, more):
        return types.FunctionType(
            function.__code__,
            function.__globals__ | {"derivatives": DERIVATIVES[kind]} | more,
            name,
        )

    return filled(
        body,
        f"{name}_{kind}",
        {helper.__name__: filled(helper, helper.__name__, {}) for helper in helpers},
    )


def forward(x, y, start, stop):
    """y = s(x)"""
    real = x.dtype.type
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = derivatives(x[i], real)[0]


def backward(grad_y, x, grad_x, start, stop):
    """grad_x = grad_y s'(x)"""
    real = x.dtype.type
    grad_y, x, grad_x = grad_y[start:stop], x[start:stop], grad_x[start:stop]
    for i in range(x.size):
        grad_x[i] = grad_y[i] * derivatives(x[i], real)[1]


FORWARD = {
    kind: kernel("in T x[n]; out T y[n]", constants=CONSTANTS, split="n", grain="16384")(
        for_kind(forward, "activation", kind)
    )
    for kind in DERIVATIVES
    if kind not in ELEMENTARY
}
BACKWARD = {
    kind: kernel(
        "in T grad_y[n]; in T x[n]; out T grad_x[n]",
        constants=CONSTANTS,
        split="n",
        grain="16384",
    )(for_kind(backward, "activation_vjp", kind))
    for kind in DERIVATIVES
}
