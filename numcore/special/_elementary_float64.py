"""The float64 formulas of :mod:`numcore.special._elementary`, one scalar function each.

The conventions are those of the float32 formulas. Where a loop should vectorise on CPUs with AVX2
only, exponents are moved as unsigned integers and by addition to a large number, since these have
neither an arithmetic shift nor a conversion of 64-bit integers. sin and cos send arguments above
2^47 to a second body, an exact reduction in integers.
"""

import math

import numpy as np

from ..simd import float_bits, float_from_bits, fma, ldexp

ZERO, HALF, ONE, TWO = np.float64(0), np.float64(0.5), np.float64(1), np.float64(2)
INF, NAN = np.float64(np.inf), np.float64(np.nan)
# ln 2 in two parts
LN2_HI, LN2_LO = np.float64(0.6931471805599453), np.float64(2.3190468138462996e-17)
# 1 / ln 2 in two parts
LOG2_E, LOG2_E_LO = np.float64(1.4426950408889634), np.float64(2.0355273740931033e-17)
ROUND = np.float64(1.5 * 2**52)  # adding it rounds to an integer, which then stands in the low bits
ROUND_BITS = np.int64(0x4338000000000000)
EXPONENT = np.uint64(52)  # position of the exponent in the bits of a float64
BIAS, BIAS_BITS = np.int32(1023), np.int64(0x3FF0000000000000)


# --- exp and what is made of it -------------------------------------------------------------------

# exp(r) = 1 + r + r^2 (E0 + E1 r + ... + E10 r^10), |r| <= 0.3473, error 5.5e-20
E0, E1 = np.float64(0.5), np.float64(0.16666666666666682)
E2, E3 = np.float64(0.04166666666666608), np.float64(0.008333333333316774)
E4, E5 = np.float64(0.0013888888889119267), np.float64(0.00019841269897044597)
E6, E7 = np.float64(2.4801586922130744e-05), np.float64(2.7557234188586358e-06)
E8, E9 = np.float64(2.7557583943719937e-07), np.float64(2.5112275687310944e-08)
E10 = np.float64(2.082642875127792e-09)


def _exp_bracket(r):
    """(exp(r) - 1 - r) / r^2."""
    p = fma(E10, r, E9)
    p = fma(p, r, E8)
    p = fma(p, r, E7)
    p = fma(p, r, E6)
    p = fma(p, r, E5)
    p = fma(p, r, E4)
    p = fma(p, r, E3)
    p = fma(p, r, E2)
    p = fma(p, r, E1)
    return fma(p, r, E0)


def _reduce(x):
    """k and r, t with exp(x) = 2^k (1 + r + t): r is exact and at most 0.35 in size, t at most
    0.07."""
    z = fma(x, LOG2_E, ROUND)
    n = z - ROUND
    k = np.int32(float_bits(z) - ROUND_BITS)
    r = fma(n, -LN2_HI, x)
    correction = n * -LN2_LO
    s = r + correction
    return k, r, fma(_exp_bracket(s), s * s, correction)


def _power_of_two(k):
    """2^k for -1022 <= k <= 1023."""
    return float_from_bits(np.uint64(np.int64(k + BIAS)) << EXPONENT)


# exp is 0 below and inf above, and |k| stays small enough for ldexp
EXP_LOWEST, EXP_HIGHEST = np.float64(-746), np.float64(710)


def exp_float64(x):
    c = EXP_LOWEST if x < EXP_LOWEST else x
    c = EXP_HIGHEST if c > EXP_HIGHEST else c
    k, r, t = _reduce(c)
    h = ONE + r
    return ldexp(h + ((ONE - h + r) + t), k)


EXP2_LOWEST, EXP2_HIGHEST = np.float64(-1076), np.float64(1025)


def exp2_float64(x):
    c = EXP2_LOWEST if x < EXP2_LOWEST else x
    c = EXP2_HIGHEST if c > EXP2_HIGHEST else c
    z = c + ROUND
    n = z - ROUND
    k = np.int32(float_bits(z) - ROUND_BITS)
    f = c - n
    r = f * LN2_HI
    correction = fma(f, LN2_LO, fma(f, LN2_HI, -r))  # the rounding of r, and ln 2's low part
    h = ONE + r
    return ldexp(h + ((ONE - h + r) + fma(_exp_bracket(r), r * r, correction)), k)


EXPM1_LOWEST = np.float64(-38)  # exp(x) - 1 rounds to -1


def expm1_float64(x):
    c = EXPM1_LOWEST if x < EXPM1_LOWEST else x
    c = EXP_HIGHEST if c > EXP_HIGHEST else c
    k, r, t = _reduce(c)
    over = np.int32(k > BIAS)  # 2^1024 is no float64, its half is
    s = _power_of_two(k - over)
    a = s - ONE
    h = fma(s, r, a)
    low = fma(s, r, a - h) + (s - a - ONE)  # h + low = 2^k r + 2^k - 1
    return math.copysign((h + fma(s, t, low)) * _power_of_two(over), x)


# tanh(x) = x + x^3 (TANH0 + TANH1 x^2 + ... + TANH11 x^22), |x| <= 0.6, error 1.4e-19
TANH0, TANH1 = np.float64(-0.33333333333333326), np.float64(0.1333333333333176)
TANH2, TANH3 = np.float64(-0.05396825396721106), np.float64(0.021869488501409007)
TANH4, TANH5 = np.float64(-0.008863234849920694), np.float64(0.0035921195382566883)
TANH6, TANH7 = np.float64(-0.0014557632564186223), np.float64(0.0005896185883422306)
TANH8, TANH9 = np.float64(-0.0002375022969757761), np.float64(9.247059309808436e-05)
TANH10, TANH11 = np.float64(-3.115914559089134e-05), np.float64(6.494597580716834e-06)
TANH_SEAM, TANH_ONE = np.float64(0.6), np.float64(19.1)


def tanh_float64(x):
    a = abs(x)
    y = x * x
    p = fma(TANH11, y, TANH10)
    p = fma(p, y, TANH9)
    p = fma(p, y, TANH8)
    p = fma(p, y, TANH7)
    p = fma(p, y, TANH6)
    p = fma(p, y, TANH5)
    p = fma(p, y, TANH4)
    p = fma(p, y, TANH3)
    p = fma(p, y, TANH2)
    p = fma(p, y, TANH1)
    p = fma(p, y, TANH0)
    near_zero = fma(a * y, p, a)
    c = TANH_ONE if a > TANH_ONE else a
    k, r, t = _reduce(TWO * c)
    s = _power_of_two(k)
    away = ONE - TWO / fma(s, t, fma(s, r, s + ONE))  # 1 - 2 / (exp(2 a) + 1)
    return math.copysign(near_zero if a < TANH_SEAM else away, x)


ONE_BIT = np.int32(1)
SIGMOID_LOWEST, SIGMOID_HIGHEST = np.float64(-40), np.float64(746)


def sigmoid_float64(x):
    c = -x
    c = SIGMOID_LOWEST if c < SIGMOID_LOWEST else c
    c = SIGMOID_HIGHEST if c > SIGMOID_HIGHEST else c
    k, r, t = _reduce(c)  # 1 / (1 + exp(-x)), with both halves of 2^k in range:
    j = k >> ONE_BIT
    a, b, c = _power_of_two(k - j), _power_of_two(-j), _power_of_two(j)
    u = r + t
    sum_ab = a + b
    second = sum_ab - a
    low_ab = (a - (sum_ab - second)) + (b - second)
    d = fma(a, u, sum_ab)
    low = fma(a, u, sum_ab - d) + low_ab  # d + low = a (1 + r + t) + b
    y = b / d
    return fma(fma(-y, d, b) - y * low, y * c, y)  # one Newton step, 1 / d being y / b = y c


# --- log and what is made of it -------------------------------------------------------------------

# log(1 + f) = 2 s + s^3 (L0 + L1 s^2 + ... + L6 s^12), s = f / (2 + f), |s| <= 0.1716, error
# 1.2e-18
L0, L1 = np.float64(0.6666666666666734), np.float64(0.39999999999416086)
L2, L3 = np.float64(0.2857142874208571), np.float64(0.22222198602963542)
L4, L5 = np.float64(0.18183562841942855), np.float64(0.15314086917657893)
L6 = np.float64(0.14795601528681918)
SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
SMALLEST_NORMAL, TWO_52, FIFTY_TWO = np.float64(2.0**-1022), np.float64(2**52), np.float64(52)
# 2^52 + e has e in its low bits
INTEGER_BITS, INTEGER_BIAS = np.uint64(0x4330000000000000), np.float64(2**52 + 1023)


def _log1p_tail(f):
    """log(1 + f) - f + f^2/2 and f^2/2 for sqrt(1/2) <= 1 + f <= sqrt(2)."""
    s = f / (TWO + f)
    y = s * s
    p = fma(L6, y, L5)
    p = fma(p, y, L4)
    p = fma(p, y, L3)
    p = fma(p, y, L2)
    p = fma(p, y, L1)
    p = fma(p, y, L0)
    half_square = HALF * f * f
    return s * fma(p, y, half_square), half_square


def _exponent(bits):
    """e in the place of an exponent, biased, for the bits of 2^e m with sqrt(1/2) <= m <
    sqrt(2)."""
    return np.uint64(bits + (BIAS_BITS - SQRT_HALF_BITS)) >> EXPONENT


def _float_exponent(biased):
    """A biased exponent as the float e."""
    return float_from_bits(biased | INTEGER_BITS) - INTEGER_BIAS


def _mantissa(bits, biased):
    """m, given the bits of 2^e m and the biased exponent e."""
    return float_from_bits(np.uint64(bits + BIAS_BITS) - (biased << EXPONENT))


def _split(x):
    """e (as a float) and f with x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for positive finite
    x."""
    subnormal = x < SMALLEST_NORMAL
    bits = float_bits(x * TWO_52 if subnormal else x)
    biased = _exponent(bits)
    return _float_exponent(biased) - (FIFTY_TWO if subnormal else ZERO), _mantissa(
        bits, biased
    ) - ONE


def _log_sum(e, f, correction):
    """e ln 2 + log(1 + f) + correction; the rounding error of the leading sum goes into the small
    terms."""
    tail, half_square = _log1p_tail(f)
    h = fma(e, LN2_HI, f)
    low = fma(e, LN2_HI, -h) + f
    return h + (low + (fma(e, LN2_LO, tail + correction) - half_square))


def log_float64(x):
    e, f = _split(x)
    return _log_limits(x, _log_sum(e, f, ZERO))


def _log_limits(x, y):
    """y, or what a logarithm is at x <= 0, inf and NaN."""
    y = y if x < INF else x
    y = y if x > ZERO or x != x else NAN
    return -INF if x == ZERO else y


def log2_float64(x):
    e, f = _split(x)
    tail, half_square = _log1p_tail(f)
    g = f - half_square
    g_low = ((f - g) - half_square) + tail  # g + g_low = log(1 + f)
    h = g * LOG2_E
    low = fma(g_low, LOG2_E, fma(g, LOG2_E_LO, fma(g, LOG2_E, -h)))
    s = e + h
    return _log_limits(x, s + (((e - s) + h) + low))


TWICE_BIAS_BITS = np.uint64(2 * 1023 << 52)


def log1p_float64(x):
    bits = float_bits(ONE + x)
    biased = _exponent(bits)
    # 2^-e, not needed where it would be subnormal
    s = float_from_bits(TWICE_BIAS_BITS - (biased << EXPONENT))
    f = fma(x, s, s - ONE)
    low = fma(x, s, (s - ONE) - f)  # f + low = 2^-e (1 + x) - 1
    large = x >= TWO_52
    f = _mantissa(bits, biased) - ONE if large else f
    y = _log_sum(_float_exponent(biased), f, ZERO if large else fma(low, -f, low))
    y = y if x < INF else x
    y = y if x > -ONE or x != x else NAN
    return -INF if x == -ONE else math.copysign(y, x)


SQRT_TWO_MINUS_ONE, LOWEST_EXPONENT = np.float64(math.sqrt(2) - 1), np.int32(-1022)


def softplus_float64(x):
    c = -abs(x)
    c = EXP_LOWEST if c < EXP_LOWEST else c
    k, r, t = _reduce(c)
    u = r + t
    h = ONE + u
    q = ldexp(h, k)  # q + low = exp(-|x|)
    low = ((ONE - h) + u) * _power_of_two(LOWEST_EXPONENT if k < LOWEST_EXPONENT else k)
    up = q > SQRT_TWO_MINUS_ONE  # 1 + q = 2^up (1 + f)
    n = ONE if up else ZERO
    s = HALF if up else ONE
    f = fma(q, s, s - ONE)
    low = fma(low, s, fma(q, s, (s - ONE) - f))
    return (ZERO if x < ZERO else x) + _log_sum(n, f, fma(low, -f, low))


# --- erf ------------------------------------------------------------------------------------------

# erf(x) = x + x (ERF0 + ERF1 x^2 + ... + ERF12 x^24), |x| <= 1, error 1.3e-19
ERF0, ERF1 = np.float64(0.1283791670955126), np.float64(-0.3761263890318375)
ERF2, ERF3 = np.float64(0.11283791670954857), np.float64(-0.026866170645072896)
ERF4, ERF5 = np.float64(0.005223977624780874), np.float64(-0.0008548326978742587)
ERF6, ERF7 = np.float64(0.00012055331036912506), np.float64(-1.49255935071793e-05)
ERF8, ERF9 = np.float64(1.6460972821407871e-06), np.float64(-1.635002526719581e-07)
ERF10, ERF11 = np.float64(1.4657880133560548e-08), np.float64(-1.1365667071389274e-09)
ERF12 = np.float64(5.945263619171512e-11)
# log(erfc(x)) = x (C0 + C1 x + ... + C17 x^17), 1 <= x <= 6, error of erfc relative to erf 3.6e-18
C0, C1 = np.float64(-1.1283791108569716), np.float64(-0.6366202526836224)
C2, C3 = np.float64(-0.10277082708827392), np.float64(0.019124964778872326)
C4, C5 = np.float64(0.0002120361055292816), np.float64(-0.0016926073233879135)
C6, C7 = np.float64(0.0005746579039661917), np.float64(9.756781801999998e-07)
C8, C9 = np.float64(-9.548725100253191e-05), np.float64(5.6038984351773894e-05)
C10, C11 = np.float64(-2.0351591093434133e-05), np.float64(5.38532772916738e-06)
C12, C13 = np.float64(-1.0781509985392655e-06), np.float64(1.6302823233771195e-07)
C14, C15 = np.float64(-1.8131295977963975e-08), np.float64(1.4024677705645247e-09)
C16, C17 = np.float64(-6.74497756992527e-11), np.float64(1.5188945217249e-12)
ERF_SEAM, ERF_ONE = np.float64(1), np.float64(5.95)


def _erf_bracket(y):
    """erf(x) / x - 1 as a function of y = x^2."""
    p = fma(ERF12, y, ERF11)
    p = fma(p, y, ERF10)
    p = fma(p, y, ERF9)
    p = fma(p, y, ERF8)
    p = fma(p, y, ERF7)
    p = fma(p, y, ERF6)
    p = fma(p, y, ERF5)
    p = fma(p, y, ERF4)
    p = fma(p, y, ERF3)
    p = fma(p, y, ERF2)
    p = fma(p, y, ERF1)
    return fma(p, y, ERF0)


def _log_erfc(x):
    """log(erfc(x)) for 1 <= x <= 6."""
    p = fma(C17, x, C16)
    p = fma(p, x, C15)
    p = fma(p, x, C14)
    p = fma(p, x, C13)
    p = fma(p, x, C12)
    p = fma(p, x, C11)
    p = fma(p, x, C10)
    p = fma(p, x, C9)
    p = fma(p, x, C8)
    p = fma(p, x, C7)
    p = fma(p, x, C6)
    p = fma(p, x, C5)
    p = fma(p, x, C4)
    p = fma(p, x, C3)
    p = fma(p, x, C2)
    p = fma(p, x, C1)
    return fma(p, x, C0) * x


def erf_float64(x):
    a = abs(x)
    near_zero = fma(a, _erf_bracket(x * x), a)
    c = ERF_ONE if a > ERF_ONE else a
    k, r, t = _reduce(_log_erfc(c))
    away = ONE - (r + t + ONE) * _power_of_two(k)
    return math.copysign(near_zero if a < ERF_SEAM else away, x)


# --- sin and cos ----------------------------------------------------------------------------------

# sin(r) = r + r^3 (S0 + S1 r^2 + ... + S6 r^12), error 2.0e-21; cos(r) = 1 - r^2/2 + r^4 (K0 + K1
# r^2 + ... + K5 r^10), error 5.6e-20
S0, S1 = np.float64(-0.16666666666666666), np.float64(0.008333333333333323)
S2, S3 = np.float64(-0.0001984126984125478), np.float64(2.7557319214054634e-06)
S4, S5 = np.float64(-2.505210487914781e-08), np.float64(1.605836281494482e-10)
S6 = np.float64(-7.578522675290888e-13)
K0, K1 = np.float64(0.041666666666666595), np.float64(-0.0013888888888873036)
K2, K3 = np.float64(2.4801587288838277e-05), np.float64(-2.755731417531608e-07)
K4, K5 = np.float64(2.0875700287585466e-09), np.float64(-1.1358507152304823e-11)
TWO_OVER_PI = np.float64(0.6366197723675814)
PI_2_1, PI_2_2 = np.float64(1.5707963267948966), np.float64(6.123233995736766e-17)
PI_2_3 = np.float64(-1.4973849048591698e-33)
LARGE = np.float64(2.0**47)
ONE64, TWO64, SIGN_SHIFT = np.int64(1), np.int64(2), np.int64(62)


def _sin_kernel(q, r, low):
    """sin(q pi/2 + r + low) for |r| <= pi/4."""
    y = r * r
    p = fma(S6, y, S5)
    p = fma(p, y, S4)
    p = fma(p, y, S3)
    p = fma(p, y, S2)
    p = fma(p, y, S1)
    p = fma(p, y, S0)
    half_square = HALF * y
    s = r + fma(p, r * y, fma(low, -half_square, low))  # sin(r) + low cos(r)
    p = fma(K5, y, K4)
    p = fma(p, y, K3)
    p = fma(p, y, K2)
    p = fma(p, y, K1)
    p = fma(p, y, K0)
    h = ONE - half_square
    c = h + (((ONE - h) - half_square) + fma(p, y * y, -(r * low)))  # cos(r) - low sin(r)
    return float_from_bits(float_bits(c if q & ONE64 else s) ^ ((q & TWO64) << SIGN_SHIFT))


def _reduce_pi(x):
    """q (in the low bits) and r, low with x = q pi/2 + r + low, for |x| <= 2^47: Cody and Waite
    with three parts of pi/2."""
    z = fma(x, TWO_OVER_PI, ROUND)
    n = ROUND - z
    s = fma(n, PI_2_1, x)  # exact
    w = n * PI_2_2
    r = s + w
    v = r - s
    low = (s - (r - v)) + (w - v) + fma(n, PI_2_3, fma(n, PI_2_2, -w))
    return float_bits(z), r, low


def sin_float64(x):
    q, r, low = _reduce_pi(x)
    return x if x == ZERO else _sin_kernel(q, r, low)  # -0 stays -0


def cos_float64(x):
    q, r, low = _reduce_pi(x)
    return _sin_kernel(q + ONE64, r, low)


def is_large(x):
    """Whether sin and cos of x need the exact reduction."""
    return abs(x) > LARGE and abs(x) < INF


# 2 / pi = 0.a2f9836e... in hexadecimal, 64 bits a word, after a word of zeros; 32 words, so that a
# masked index is always in range
TWO_OVER_PI_WORDS = (
    np.uint64(0x0000000000000000), np.uint64(0xA2F9836E4E441529), np.uint64(0xFC2757D1F534DDC0), np.uint64(0xDB6295993C439041),  # noqa: E501
    np.uint64(0xFE5163ABDEBBC561), np.uint64(0xB7246E3A424DD2E0), np.uint64(0x06492EEA09D1921C), np.uint64(0xFE1DEB1CB129A73E),  # noqa: E501
    np.uint64(0xE88235F52EBB4484), np.uint64(0xE99C7026B45F7E41), np.uint64(0x3991D639835339F4), np.uint64(0x9C845F8BBDF9283B),  # noqa: E501
    np.uint64(0x1FF897FFDE05980F), np.uint64(0xEF2F118B5A0A6D1F), np.uint64(0x6D367ECF27CB09B7), np.uint64(0x4F463F669E5FEA2D),  # noqa: E501
    np.uint64(0x7527BAC7EBE5F17B), np.uint64(0x3D0739F78A5292EA), np.uint64(0x6BFB5FB11F8D5D08), np.uint64(0x56033046FC7B6BAB),  # noqa: E501
) + 12 * (np.uint64(0),)  # fmt: skip
WORD, LAST_WORD = np.int64(64), np.int64(31)
HALF_WORD, LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
MANTISSA, IMPLICIT = np.uint64(2**52 - 1), np.uint64(2**52)
U0, U1, U2, U11, U62, U63 = (np.uint64(i) for i in (0, 1, 2, 11, 62, 63))
WORD_SCALE, TWO_11, TWO_MINUS_32 = np.float64(2.0**-64), np.float64(2.0**11), np.float64(2.0**-32)
LOW_11 = np.uint64(2**11 - 1)


def _high_product(a, b):
    """The upper 64 of the 128 bits of a b."""
    a0, a1, b0, b1 = a & LOW_HALF, a >> HALF_WORD, b & LOW_HALF, b >> HALF_WORD
    middle = a1 * b0 + ((a0 * b0) >> HALF_WORD)
    other = a0 * b1 + (middle & LOW_HALF)
    return a1 * b1 + (middle >> HALF_WORD) + (other >> HALF_WORD)


def _two_over_pi(position):
    """64 bits of 2/pi from a bit position > -64 on; before the point there are zeros."""
    i = (position + WORD) >> np.int64(6)
    shift = np.uint64(position & np.int64(63))
    first, second = TWO_OVER_PI_WORDS[i & LAST_WORD], TWO_OVER_PI_WORDS[(i + ONE64) & LAST_WORD]
    return (first << shift) | ((second >> U1) >> (U63 - shift))


def _reduce_large(x):
    """q and r, low with x = q pi/2 + r + low for any finite |x| >= 2^47, after Payne and Hanek.

    x = m 2^e with an integer m < 2^53. The bits of 2/pi above 2^(2 - e) add multiples of 4 to the
    product; m times the 192 bits that follow, modulo 2^192, is the rest of x 2/pi modulo 4 as a
    fixed-point number with two bits before the point.
    """
    bits = np.uint64(float_bits(abs(x)))
    m = (bits & MANTISSA) | IMPLICIT
    position = np.int64(bits >> EXPONENT) - np.int64(1075) - np.int64(2)
    w0, w1 = _two_over_pi(position), _two_over_pi(position + WORD)
    w2 = _two_over_pi(position + WORD + WORD)
    low_word = m * w1 + _high_product(m, w2)
    carry = U1 if low_word < m * w1 else U0
    high_word = m * w0 + _high_product(m, w1) + carry
    q = np.int64(high_word >> U62)
    high, rest = (high_word << U2) | (low_word >> U62), low_word << U2
    negative = high >> U63 == U1  # the nearest multiple of pi/2 is the next one
    if negative:
        q += ONE64
        rest = U0 - rest
        high = U0 - high - (U1 if rest != U0 else U0)
    top = np.float64(high >> U11) * TWO_11  # high and rest in three parts that floats hold exactly
    middle = np.float64(((high & LOW_11) << HALF_WORD) | (rest >> HALF_WORD)) * TWO_MINUS_32
    bottom = np.float64(rest & LOW_HALF) * WORD_SCALE
    f = (top + middle) * WORD_SCALE
    f_low = ((top - (top + middle)) + middle + bottom) * WORD_SCALE
    r = f * PI_2_1
    low = fma(f, PI_2_1, -r) + fma(f, PI_2_2, f_low * PI_2_1)
    flip = -ONE if negative != (x < ZERO) else ONE
    return (-q if x < ZERO else q), r * flip, low * flip


def sin_large(x):
    q, r, low = _reduce_large(x)
    return _sin_kernel(q, r, low)


def cos_large(x):
    q, r, low = _reduce_large(x)
    return _sin_kernel(q + ONE64, r, low)
