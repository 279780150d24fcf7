"""The float32 formulas of :mod:`numcore.special._elementary`, one scalar function each.

They are free of branches, so that a loop over them vectorises; a conditional expression becomes a
select. ``LO if x < LO else x`` and its like pass NaN on. Products and sums are fused only where
``fma`` says so, and gpu/include/elementary.cuh does the same operations in the same order, so that
CPU and GPU agree bit by bit. All polynomials are minimax fits by docs/derivations/minimax.py; the
errors quoted are those of the real polynomial, relative to the function.
"""

import math

import numpy as np

from ..simd import float_bits, float_from_bits, fma, ldexp

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
INF, NAN = np.float32(np.inf), np.float32(np.nan)
LN2_HI, LN2_LO = np.float32(0.6931472), np.float32(-1.9046542e-09)  # ln 2 in two parts
LOG2_E, LOG2_E_LO = np.float32(1.442695), np.float32(1.925963e-08)  # 1 / ln 2 in two parts
ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer, which then stands in the low bits
ROUND_BITS = np.int32(0x4B400000)
EXPONENT = np.int32(23)  # position of the exponent in the bits of a float32
BIAS = np.int32(127)


# --- exp and what is made of it -------------------------------------------------------------------

# exp(r) = 1 + r + r^2 (E0 + E1 r + ... + E5 r^5), |r| <= 0.3473, error 5.3e-11 (the fit agrees with
# these to 2e-7)
E0, E1 = np.float32(0.5), np.float32(0.1666666567325592)
E2, E3 = np.float32(0.041666291654109955), np.float32(0.008333498612046242)
E4, E5 = np.float32(0.0013944876845926046), np.float32(0.00019790127404759428)


def _exp_bracket(r):
    """(exp(r) - 1 - r) / r^2."""
    p = fma(E5, r, E4)
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
    """2^k for -126 <= k <= 127."""
    return float_from_bits(np.int32((k + BIAS) << EXPONENT))


# exp is 0 below and inf above, and |k| stays small enough for ldexp
EXP_LOWEST, EXP_HIGHEST = np.float32(-104), np.float32(88.8)


def exp_float32(x):
    c = EXP_LOWEST if x < EXP_LOWEST else x
    c = EXP_HIGHEST if c > EXP_HIGHEST else c
    z = fma(c, LOG2_E, ROUND)
    n = z - ROUND
    k = np.int32(float_bits(z) - ROUND_BITS)
    r = fma(n, -LN2_HI, c)
    r = fma(n, -LN2_LO, r)
    return ldexp(fma(_exp_bracket(r), r * r, r) + ONE, k)


EXP2_LOWEST, EXP2_HIGHEST = np.float32(-151), np.float32(129)


def exp2_float32(x):
    c = EXP2_LOWEST if x < EXP2_LOWEST else x
    c = EXP2_HIGHEST if c > EXP2_HIGHEST else c
    z = c + ROUND
    n = z - ROUND
    k = np.int32(float_bits(z) - ROUND_BITS)
    f = c - n
    r = f * LN2_HI
    correction = fma(f, LN2_LO, fma(f, LN2_HI, -r))  # the rounding of r, and ln 2's low part
    return ldexp(r + fma(_exp_bracket(r), r * r, correction) + ONE, k)


EXPM1_LOWEST = np.float32(-18)  # exp(x) - 1 rounds to -1


def expm1_float32(x):
    c = EXPM1_LOWEST if x < EXPM1_LOWEST else x
    c = EXP_HIGHEST if c > EXP_HIGHEST else c
    k, r, t = _reduce(c)
    over = np.int32(k > BIAS)  # 2^128 is no float32, its half is
    s = _power_of_two(k - over)
    a = s - ONE
    h = fma(s, r, a)
    low = fma(s, r, a - h) + (s - a - ONE)  # h + low = 2^k r + 2^k - 1
    return math.copysign((h + fma(s, t, low)) * _power_of_two(over), x)


# tanh(x) = x + x^3 (TANH0 + TANH1 x^2 + ... + TANH5 x^10), |x| <= 0.7, error 6.8e-10
TANH0, TANH1, TANH2 = np.float32(-0.33333325), np.float32(0.13332984), np.float32(-0.053920954)
TANH3, TANH4, TANH5 = np.float32(0.02157106), np.float32(-0.00788331), np.float32(0.0018956673)
TANH_SEAM, TANH_ONE = np.float32(0.7), np.float32(9.1)


def tanh_float32(x):
    a = abs(x)
    y = x * x
    p = fma(TANH5, y, TANH4)
    p = fma(p, y, TANH3)
    p = fma(p, y, TANH2)
    p = fma(p, y, TANH1)
    p = fma(p, y, TANH0)
    near_zero = fma(a * y, p, a)
    c = TANH_ONE if a > TANH_ONE else a
    k, r, t = _reduce(TWO * c)
    s = _power_of_two(k)
    away = ONE - TWO / fma(s, r + t, s + ONE)  # 1 - 2 / (exp(2 a) + 1)
    return math.copysign(near_zero if a < TANH_SEAM else away, x)


ONE_BIT = np.int32(1)
SIGMOID_LOWEST, SIGMOID_HIGHEST = np.float32(-20), np.float32(104)


def sigmoid_float32(x):
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

# log(1 + f) = f - f^2/2 + f^3 (L0 + L1 f + ... + L7 f^7), |f| <= 1/3, error 4.6e-9
L0, L1, L2 = np.float32(0.33333215), np.float32(-0.24999797), np.float32(0.20010406)
L3, L4, L5 = np.float32(-0.16680488), np.float32(0.1400587), np.float32(-0.12184261)
L6, L7 = np.float32(0.13984436), np.float32(-0.12891684)
TWO_THIRDS_BITS = np.int32(0x3F2AAAAB)
SMALLEST_NORMAL, TWO_23, TWENTY_THREE = np.float32(2.0**-126), np.float32(2**23), np.float32(23)


def _log1p_tail(f):
    """log(1 + f) - f for |f| <= 1/3."""
    p = fma(L7, f, L6)
    p = fma(p, f, L5)
    p = fma(p, f, L4)
    p = fma(p, f, L3)
    p = fma(p, f, L2)
    p = fma(p, f, L1)
    p = fma(p, f, L0)
    y = f * f
    return fma(p * f, y, -HALF * y)


def _split(x):
    """e (as a float) and f with x = 2^e (1 + f), |f| <= 1/3, for positive finite x."""
    subnormal = x < SMALLEST_NORMAL
    bits = float_bits(x * TWO_23 if subnormal else x)
    e = np.int32(np.int32(bits - TWO_THIRDS_BITS) >> EXPONENT)
    m = float_from_bits(np.int32(bits - np.int32(e << EXPONENT)))
    return np.float32(e) - (TWENTY_THREE if subnormal else ZERO), m - ONE


def _log_sum(e, f, correction):
    """e ln 2 + log(1 + f) + correction; the rounding error of the leading sum goes into the small
    terms."""
    h = fma(e, LN2_HI, f)
    low = fma(e, LN2_HI, -h) + f
    return h + (low + fma(e, LN2_LO, _log1p_tail(f) + correction))


def log_float32(x):
    e, f = _split(x)
    return _log_limits(x, _log_sum(e, f, ZERO))


def _log_limits(x, y):
    """y, or what a logarithm is at x <= 0, inf and NaN."""
    y = y if x < INF else x
    y = y if x > ZERO or x != x else NAN
    return -INF if x == ZERO else y


def log2_float32(x):
    e, f = _split(x)
    tail = _log1p_tail(f)
    h = f * LOG2_E
    low = fma(tail, LOG2_E, fma(f, LOG2_E_LO, fma(f, LOG2_E, -h)))
    s = e + h
    return _log_limits(x, s + (((e - s) + h) + low))


def log1p_float32(x):
    u = ONE + x
    bits = float_bits(u)
    e = np.int32(np.int32(bits - TWO_THIRDS_BITS) >> EXPONENT)
    # 2^-e, not needed where it would be subnormal
    s = float_from_bits(np.int32((BIAS - e) << EXPONENT))
    f = fma(x, s, s - ONE)
    low = fma(x, s, (s - ONE) - f)  # f + low = 2^-e (1 + x) - 1
    large = x >= TWO_23
    f = float_from_bits(np.int32(bits - np.int32(e << EXPONENT))) - ONE if large else f
    y = _log_sum(np.float32(e), f, ZERO if large else fma(low, -f, low))
    y = y if x < INF else x
    y = y if x > -ONE or x != x else NAN
    return -INF if x == -ONE else math.copysign(y, x)


THIRD, LOWEST_EXPONENT = np.float32(1 / 3), np.int32(-126)


def softplus_float32(x):
    c = -abs(x)
    c = EXP_LOWEST if c < EXP_LOWEST else c
    k, r, t = _reduce(c)
    u = r + t
    h = ONE + u
    q = ldexp(h, k)  # q + low = exp(-|x|)
    low = ((ONE - h) + u) * _power_of_two(LOWEST_EXPONENT if k < LOWEST_EXPONENT else k)
    up = q > THIRD  # 1 + q = 2^up (1 + f)
    n = ONE if up else ZERO
    s = HALF if up else ONE
    f = fma(q, s, s - ONE)
    low = fma(low, s, fma(q, s, (s - ONE) - f))
    return (ZERO if x < ZERO else x) + _log_sum(n, f, fma(low, -f, low))


# --- erf ------------------------------------------------------------------------------------------

# erf(x) = x + x (ERF0 + ERF1 x^2 + ... + ERF6 x^12), |x| <= 1, error 1.2e-9
ERF0, ERF1, ERF2 = np.float32(0.12837917), np.float32(-0.37612626), np.float32(0.112835854)
ERF3, ERF4, ERF5 = np.float32(-0.026853813), np.float32(0.0051883277), np.float32(-0.0008010195)
ERF6 = np.float32(7.853865e-05)
# log(erfc(x)) = x (C0 + C1 x + ... + C7 x^7), 1 <= x <= 4, error of erfc relative to erf 1.2e-10
C0, C1, C2 = np.float32(-1.1285965), np.float32(-0.6354236), np.float32(-0.10564359)
C3, C4, C5 = np.float32(0.023065481), np.float32(-0.003166242), np.float32(0.00013317012)
C6, C7 = np.float32(2.9507035e-05), np.float32(-3.6432036e-06)
ERF_SEAM, ERF_ONE = np.float32(1), np.float32(3.95)


def erf_float32(x):
    a = abs(x)
    y = x * x
    p = fma(ERF6, y, ERF5)
    p = fma(p, y, ERF4)
    p = fma(p, y, ERF3)
    p = fma(p, y, ERF2)
    p = fma(p, y, ERF1)
    p = fma(p, y, ERF0)
    near_zero = fma(a, p, a)
    c = ERF_ONE if a > ERF_ONE else a
    p = fma(C7, c, C6)
    p = fma(p, c, C5)
    p = fma(p, c, C4)
    p = fma(p, c, C3)
    p = fma(p, c, C2)
    p = fma(p, c, C1)
    p = fma(p, c, C0)
    k, r, t = _reduce(p * c)
    away = ONE - (r + t + ONE) * _power_of_two(k)  # 1 - erfc(a)
    return math.copysign(near_zero if a < ERF_SEAM else away, x)


# --- sin and cos ----------------------------------------------------------------------------------
# In float64, x = q pi/2 + f pi/2 with |f| <= 1/2 takes two products with 2/pi, and the quadrant q
# is wanted modulo 4 only. From 2^44 on, the parts of 2/pi whose product with any float32 of a band
# of 21 binades is a multiple of 4 are left out; what stays is correct to 2^-58.

ROUND64 = np.float64(1.5 * 2**52)
ZERO64, ONE64, TWO64, SIGN_SHIFT = np.int64(0), np.int64(1), np.int64(2), np.int64(62)
BAND1, BAND2, BAND3 = np.float32(2.0**44), np.float32(2.0**65), np.float32(2.0**86)
BAND4 = np.float32(2.0**107)
# 2 / pi, rounded down: -0 stays -0 if LO > 0
TURN0_HI, TURN0_LO = np.float64(0.6366197723675813), np.float64(7.166494911215068e-17)
# 2 / pi mod 2^-19
TURN1_HI, TURN1_LO = np.float64(2.0449648759307553e-07), np.float64(6.074026489649846e-24)
# 2 / pi mod 2^-40
TURN2_HI, TURN2_LO = np.float64(2.418782397124712e-13), np.float64(2.471138875912043e-29)
# 2 / pi mod 2^-61
TURN3_HI, TURN3_LO = np.float64(1.0760572810738749e-19), np.float64(-1.690193447800753e-36)
# 2 / pi mod 2^-82
TURN4_HI, TURN4_LO = np.float64(7.696704864039572e-26), np.float64(4.420676015940119e-42)

# sin(pi/2 f) = f (S0 + S1 f^2 + ... + S4 f^8), error 5.6e-12; cos(pi/2 f) = K0 + K1 f^2 + ... + K4
# f^8, error 6.9e-11, |f| <= 0.51
S0, S1 = np.float64(1.5707963267861706), np.float64(-0.6459640958599308)
S2, S3 = np.float64(0.07969257621872347), np.float64(-0.00468121987841465)
S4 = np.float64(0.00015810445787561785)
K0, K1 = np.float64(0.9999999999311887), np.float64(-1.2337005376967753)
K2, K3 = np.float64(0.2536691406146471), np.float64(-0.020859638719827576)
K4 = np.float64(0.0009027131913266534)


def _sin_quadrants(x, shift):
    """sin(x + shift pi/2)."""
    a = abs(x)
    hi = TURN1_HI if a >= BAND1 else TURN0_HI
    lo = TURN1_LO if a >= BAND1 else TURN0_LO
    hi = TURN2_HI if a >= BAND2 else hi
    lo = TURN2_LO if a >= BAND2 else lo
    hi = TURN3_HI if a >= BAND3 else hi
    lo = TURN3_LO if a >= BAND3 else lo
    hi = TURN4_HI if a >= BAND4 else hi
    lo = TURN4_LO if a >= BAND4 else lo
    wide = np.float64(x)
    z = fma(wide, hi, ROUND64)
    f = fma(wide, lo, fma(wide, hi, -(z - ROUND64)))
    q = float_bits(z) + shift
    y = f * f
    s = fma(S4, y, S3)
    s = fma(s, y, S2)
    s = fma(s, y, S1)
    s = fma(s, y, S0)
    c = fma(K4, y, K3)
    c = fma(c, y, K2)
    c = fma(c, y, K1)
    c = fma(c, y, K0)
    value = c if q & ONE64 else s * f
    return np.float32(float_from_bits(float_bits(value) ^ ((q & TWO64) << SIGN_SHIFT)))


def sin_float32(x):
    return _sin_quadrants(x, ZERO64)


def cos_float32(x):
    return _sin_quadrants(x, ONE64)
