// Elementary functions of float and double: numcore::exp, exp2, expm1, log, log2, log1p, sin, cos,
// tanh, sigmoid, softplus, erf.
//
// These are the formulas of numcore/special/_elementary_float32.py and _elementary_float64.py, with
// the same names and the same operations in the same order; what each polynomial is, and its error,
// is said there. Results equal the CPU's bit by bit, which needs --fmad=false: only fused() may be
// a fused multiply-add.
#pragma once
#include "numcore.cuh"

namespace numcore {

#define NUMCORE_INLINE static __device__ __forceinline__

// --- building blocks ---

NUMCORE_INLINE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
NUMCORE_INLINE double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
NUMCORE_INLINE u32 float_bits(float x) { return __float_as_uint(x); }
NUMCORE_INLINE u64 float_bits(double x) { return static_cast<u64>(__double_as_longlong(x)); }
NUMCORE_INLINE float float_from_bits(u32 i) { return __uint_as_float(i); }
NUMCORE_INLINE double float_from_bits(u64 i) { return __longlong_as_double(static_cast<i64>(i)); }
NUMCORE_INLINE float magnitude(float x) { return float_from_bits(float_bits(x) & 0x7fffffffu); }
NUMCORE_INLINE double magnitude(double x) {
  return float_from_bits(float_bits(x) & 0x7fffffffffffffffull);
}
NUMCORE_INLINE float with_sign_of(float y, float x) {
  return float_from_bits((float_bits(y) & 0x7fffffffu) | (float_bits(x) & 0x80000000u));
}
NUMCORE_INLINE double with_sign_of(double y, double x) {
  return float_from_bits((float_bits(y) & 0x7fffffffffffffffull) |
                         (float_bits(x) & 0x8000000000000000ull));
}

// c0 + c1 x + c2 x^2 + ...
template <typename T>
NUMCORE_INLINE T horner(T, T c0) {
  return c0;
}
template <typename T, typename... More>
NUMCORE_INLINE T horner(T x, T c0, T c1, More... more) {
  return fused(horner(x, c1, more...), x, c0);
}

// min(max(x, lo), hi); NaN stays NaN.
template <typename T>
NUMCORE_INLINE T clamp(T x, T lo, T hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

// k + shift, defined for every k, since NaN makes any k.
NUMCORE_INLINE u32 biased(int k, u32 shift) { return static_cast<u32>(k) + shift; }

template <typename T>
__device__ __forceinline__ T power_of_two(int k);
template <>
__device__ __forceinline__ float power_of_two<float>(int k) {
  return float_from_bits(biased(k, 127) << 23);
}
template <>
__device__ __forceinline__ double power_of_two<double>(int k) {
  return float_from_bits(static_cast<u64>(biased(k, 1023)) << 52);
}

// x 2^k rounded once, also where 2^k is out of range.
template <typename T>
NUMCORE_INLINE T scale(T x, int k) {
  const int half = k >> 1;
  return x * power_of_two<T>(half) * power_of_two<T>(k - half);
}

// Constants that the two types share in meaning.
template <typename T>
struct Elementary;
template <>
struct Elementary<float> {
  static constexpr float LN2_HI = 0.6931472f, LN2_LO = -1.9046542e-09f, LOG2_E = 1.442695f,
                         LOG2_E_LO = 1.925963e-08f, ROUND = 12582912.0f;
  static constexpr float EXP_LOWEST = -104.0f, EXP_HIGHEST = 88.8f, EXP2_LOWEST = -151.0f,
                         EXP2_HIGHEST = 129.0f, EXPM1_LOWEST = -18.0f;
  static constexpr float SIGMOID_LOWEST = -20.0f, SIGMOID_HIGHEST = 104.0f,
                         SOFTPLUS_SEAM = 0.33333334f;
  static constexpr float TANH_SEAM = 0.7f, TANH_ONE = 9.1f, ERF_SEAM = 1.0f, ERF_ONE = 3.95f;
  static constexpr int LARGEST_EXPONENT = 127, LOWEST_EXPONENT = -126;
};
template <>
struct Elementary<double> {
  static constexpr double LN2_HI = 0.6931471805599453, LN2_LO = 2.3190468138462996e-17,
                          LOG2_E = 1.4426950408889634;
  static constexpr double LOG2_E_LO = 2.0355273740931033e-17, ROUND = 6755399441055744.0;
  static constexpr double EXP_LOWEST = -746.0, EXP_HIGHEST = 710.0, EXP2_LOWEST = -1076.0,
                          EXP2_HIGHEST = 1025.0, EXPM1_LOWEST = -38.0;
  static constexpr double SIGMOID_LOWEST = -40.0, SIGMOID_HIGHEST = 746.0,
                          SOFTPLUS_SEAM = 0.41421356237309515;
  static constexpr double TANH_SEAM = 0.6, TANH_ONE = 19.1, ERF_SEAM = 1.0, ERF_ONE = 5.95;
  static constexpr int LARGEST_EXPONENT = 1023, LOWEST_EXPONENT = -1022;
};

// --- polynomials ---

NUMCORE_INLINE float exp_bracket(float r) {
  return horner(r, 0.5f, 0.1666666567325592f, 0.041666291654109955f, 0.008333498612046242f,
                0.0013944876845926046f, 0.00019790127404759428f);
}
NUMCORE_INLINE double exp_bracket(double r) {
  return horner(r, 0.5, 0.16666666666666682, 0.04166666666666608, 0.008333333333316774,
                0.0013888888889119267, 0.00019841269897044597, 2.4801586922130744e-05,
                2.7557234188586358e-06, 2.7557583943719937e-07, 2.5112275687310944e-08,
                2.082642875127792e-09);
}
NUMCORE_INLINE float tanh_bracket(float y) {
  return horner(y, -0.33333325f, 0.13332984f, -0.053920954f, 0.02157106f, -0.00788331f,
                0.0018956673f);
}
NUMCORE_INLINE double tanh_bracket(double y) {
  return horner(y, -0.33333333333333326, 0.1333333333333176, -0.05396825396721106,
                0.021869488501409007, -0.008863234849920694, 0.0035921195382566883,
                -0.0014557632564186223, 0.0005896185883422306, -0.0002375022969757761,
                9.247059309808436e-05, -3.115914559089134e-05, 6.494597580716834e-06);
}
NUMCORE_INLINE float erf_bracket(float y) {
  return horner(y, 0.12837917f, -0.37612626f, 0.112835854f, -0.026853813f, 0.0051883277f,
                -0.0008010195f, 7.853865e-05f);
}
NUMCORE_INLINE double erf_bracket(double y) {
  return horner(y, 0.1283791670955126, -0.3761263890318375, 0.11283791670954857,
                -0.026866170645072896, 0.005223977624780874, -0.0008548326978742587,
                0.00012055331036912506, -1.49255935071793e-05, 1.6460972821407871e-06,
                -1.635002526719581e-07, 1.4657880133560548e-08, -1.1365667071389274e-09,
                5.945263619171512e-11);
}
NUMCORE_INLINE float log_erfc(float x) {
  return horner(x, -1.1285965f, -0.6354236f, -0.10564359f, 0.023065481f, -0.003166242f,
                0.00013317012f, 2.9507035e-05f, -3.6432036e-06f) *
         x;
}
NUMCORE_INLINE double log_erfc(double x) {
  return horner(x, -1.1283791108569716, -0.6366202526836224, -0.10277082708827392,
                0.019124964778872326, 0.0002120361055292816, -0.0016926073233879135,
                0.0005746579039661917, 9.756781801999998e-07, -9.548725100253191e-05,
                5.6038984351773894e-05, -2.0351591093434133e-05, 5.38532772916738e-06,
                -1.0781509985392655e-06, 1.6302823233771195e-07, -1.8131295977963975e-08,
                1.4024677705645247e-09, -6.74497756992527e-11, 1.5188945217249e-12) *
         x;
}

// --- exp and what is made of it ---

// k and r, t with exp(x) = 2^k (1 + r + t).
template <typename T>
struct Exponential {
  int k;
  T r, t;
};

template <typename T>
NUMCORE_INLINE int rounded_integer(T z) {
  return static_cast<int>(float_bits(z) - float_bits(Elementary<T>::ROUND));
}

template <typename T>
NUMCORE_INLINE Exponential<T> reduce(T x) {
  using E = Elementary<T>;
  const T z = fused(x, E::LOG2_E, E::ROUND), n = z - E::ROUND;
  const T r = fused(n, -E::LN2_HI, x), correction = n * -E::LN2_LO, s = r + correction;
  return {rounded_integer(z), r, fused(exp_bracket(s), s * s, correction)};
}

NUMCORE_INLINE float exp(float x) {
  using E = Elementary<float>;
  const float c = clamp(x, E::EXP_LOWEST, E::EXP_HIGHEST), z = fused(c, E::LOG2_E, E::ROUND),
              n = z - E::ROUND;
  const float r = fused(n, -E::LN2_LO, fused(n, -E::LN2_HI, c));
  return scale(fused(exp_bracket(r), r * r, r) + 1.0f, rounded_integer(z));
}

NUMCORE_INLINE double exp(double x) {
  using E = Elementary<double>;
  const Exponential<double> e = reduce(clamp(x, E::EXP_LOWEST, E::EXP_HIGHEST));
  const double h = 1.0 + e.r;
  return scale(h + ((1.0 - h + e.r) + e.t), e.k);
}

NUMCORE_INLINE float exp2(float x) {
  using E = Elementary<float>;
  const float c = clamp(x, E::EXP2_LOWEST, E::EXP2_HIGHEST), z = c + E::ROUND,
              f = c - (z - E::ROUND);
  const float r = f * E::LN2_HI, correction = fused(f, E::LN2_LO, fused(f, E::LN2_HI, -r));
  return scale(r + fused(exp_bracket(r), r * r, correction) + 1.0f, rounded_integer(z));
}

NUMCORE_INLINE double exp2(double x) {
  using E = Elementary<double>;
  const double c = clamp(x, E::EXP2_LOWEST, E::EXP2_HIGHEST), z = c + E::ROUND,
               f = c - (z - E::ROUND);
  const double r = f * E::LN2_HI, correction = fused(f, E::LN2_LO, fused(f, E::LN2_HI, -r)),
               h = 1.0 + r;
  return scale(h + ((1.0 - h + r) + fused(exp_bracket(r), r * r, correction)), rounded_integer(z));
}

template <typename T>
NUMCORE_INLINE T expm1_of(T x) {
  using E = Elementary<T>;
  const Exponential<T> e = reduce(clamp(x, E::EXPM1_LOWEST, E::EXP_HIGHEST));
  const int over = e.k > E::LARGEST_EXPONENT;
  const T s = power_of_two<T>(e.k - over), a = s - T(1), h = fused(s, e.r, a);
  const T low = fused(s, e.r, a - h) + (s - a - T(1));
  return with_sign_of((h + fused(s, e.t, low)) * power_of_two<T>(over), x);
}

NUMCORE_INLINE float tanh_away(Exponential<float> e, float s) {
  return 1.0f - 2.0f / fused(s, e.r + e.t, s + 1.0f);
}
NUMCORE_INLINE double tanh_away(Exponential<double> e, double s) {
  return 1.0 - 2.0 / fused(s, e.t, fused(s, e.r, s + 1.0));
}

template <typename T>
NUMCORE_INLINE T tanh_of(T x) {
  using E = Elementary<T>;
  const T a = magnitude(x), y = x * x, near_zero = fused(a * y, tanh_bracket(y), a);
  const Exponential<T> e = reduce(T(2) * (a > E::TANH_ONE ? E::TANH_ONE : a));
  return with_sign_of(a < E::TANH_SEAM ? near_zero : tanh_away(e, power_of_two<T>(e.k)), x);
}

template <typename T>
NUMCORE_INLINE T sigmoid_of(T x) {
  using E = Elementary<T>;
  const Exponential<T> e = reduce(clamp(-x, E::SIGMOID_LOWEST, E::SIGMOID_HIGHEST));
  const int j = e.k >> 1;
  const T a = power_of_two<T>(e.k - j), b = power_of_two<T>(-j), c = power_of_two<T>(j);
  const T u = e.r + e.t, sum_ab = a + b, second = sum_ab - a;
  const T low_ab = (a - (sum_ab - second)) + (b - second);
  const T d = fused(a, u, sum_ab), low = fused(a, u, sum_ab - d) + low_ab;
  const T y = b / d;
  return fused(fused(-y, d, b) - y * low, y * c, y);
}

// --- log and what is made of it ---

// x = 2^e (1 + f), e as a float and, for log1p, as 2^-e.
template <typename T>
struct Split {
  T e, f, inverse;
};

NUMCORE_INLINE Split<float> split_normal(float x) {
  const u32 bits = float_bits(x);
  const int e = static_cast<int>(bits - 0x3f2aaaabu) >> 23;
  const float f = float_from_bits(bits - (static_cast<u32>(e) << 23)) - 1.0f;
  return {static_cast<float>(e), f, float_from_bits(static_cast<u32>(127 - e) << 23)};
}

NUMCORE_INLINE Split<double> split_normal(double x) {
  const u64 bits = float_bits(x),
            biased = (bits + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull)) >> 52;
  const double f = float_from_bits(bits + 0x3ff0000000000000ull - (biased << 52)) - 1.0;
  return {float_from_bits(biased | 0x4330000000000000ull) - 4503599627371519.0, f,
          float_from_bits((2046ull << 52) - (biased << 52))};
}

NUMCORE_INLINE Split<float> split(float x) {
  const bool subnormal = x < 1.17549435e-38f;
  Split<float> s = split_normal(subnormal ? x * 8388608.0f : x);
  s.e = s.e - (subnormal ? 23.0f : 0.0f);
  return s;
}

NUMCORE_INLINE Split<double> split(double x) {
  const bool subnormal = x < 2.2250738585072014e-308;
  Split<double> s = split_normal(subnormal ? x * 4503599627370496.0 : x);
  s.e = s.e - (subnormal ? 52.0 : 0.0);
  return s;
}

NUMCORE_INLINE float log1p_tail(float f) {
  const float p = horner(f, 0.33333215f, -0.24999797f, 0.20010406f, -0.16680488f, 0.1400587f,
                         -0.12184261f, 0.13984436f, -0.12891684f);
  const float y = f * f;
  return fused(p * f, y, -0.5f * y);
}

struct LogTail {
  double tail, half_square;
};

NUMCORE_INLINE LogTail log1p_tail(double f) {
  const double s = f / (2.0 + f), y = s * s;
  const double p =
      horner(y, 0.6666666666666734, 0.39999999999416086, 0.2857142874208571, 0.22222198602963542,
             0.18183562841942855, 0.15314086917657893, 0.14795601528681918);
  const double half_square = 0.5 * f * f;
  return {s * fused(p, y, half_square), half_square};
}

NUMCORE_INLINE float log_sum(float e, float f, float correction) {
  using E = Elementary<float>;
  const float h = fused(e, E::LN2_HI, f), low = fused(e, E::LN2_HI, -h) + f;
  return h + (low + fused(e, E::LN2_LO, log1p_tail(f) + correction));
}

NUMCORE_INLINE double log_sum(double e, double f, double correction) {
  using E = Elementary<double>;
  const LogTail t = log1p_tail(f);
  const double h = fused(e, E::LN2_HI, f), low = fused(e, E::LN2_HI, -h) + f;
  return h + (low + (fused(e, E::LN2_LO, t.tail + correction) - t.half_square));
}

template <typename T>
NUMCORE_INLINE T log_limits(T x, T y) {
  y = x < Limits<T>::infinity() ? y : x;
  y = x > T(0) || x != x ? y : Limits<T>::nan();
  return x == T(0) ? -Limits<T>::infinity() : y;
}

template <typename T>
NUMCORE_INLINE T log_of(T x) {
  const Split<T> s = split(x);
  return log_limits(x, log_sum(s.e, s.f, T(0)));
}

NUMCORE_INLINE float log2(float x) {
  using E = Elementary<float>;
  const Split<float> p = split(x);
  const float tail = log1p_tail(p.f), h = p.f * E::LOG2_E;
  const float low = fused(tail, E::LOG2_E, fused(p.f, E::LOG2_E_LO, fused(p.f, E::LOG2_E, -h))),
              s = p.e + h;
  return log_limits(x, s + (((p.e - s) + h) + low));
}

NUMCORE_INLINE double log2(double x) {
  using E = Elementary<double>;
  const Split<double> p = split(x);
  const LogTail t = log1p_tail(p.f);
  const double g = p.f - t.half_square, g_low = ((p.f - g) - t.half_square) + t.tail,
               h = g * E::LOG2_E;
  const double low = fused(g_low, E::LOG2_E, fused(g, E::LOG2_E_LO, fused(g, E::LOG2_E, -h))),
               s = p.e + h;
  return log_limits(x, s + (((p.e - s) + h) + low));
}

template <typename T>
NUMCORE_INLINE T log1p_of(T x, T large) {
  const Split<T> p = split_normal(T(1) + x);
  const T s = p.inverse;
  T f = fused(x, s, s - T(1));
  const T low = fused(x, s, (s - T(1)) - f);
  T correction = fused(low, -f, low);
  if (x >= large) {
    f = p.f;
    correction = T(0);
  }
  T y = log_sum(p.e, f, correction);
  y = x < Limits<T>::infinity() ? y : x;
  y = x > T(-1) || x != x ? y : Limits<T>::nan();
  return x == T(-1) ? -Limits<T>::infinity() : with_sign_of(y, x);
}

template <typename T>
NUMCORE_INLINE T softplus_of(T x) {
  using E = Elementary<T>;
  T c = -magnitude(x);
  c = c < E::EXP_LOWEST ? E::EXP_LOWEST : c;
  const Exponential<T> e = reduce(c);
  const T u = e.r + e.t, h = T(1) + u, q = scale(h, e.k);
  T low = ((T(1) - h) + u) * power_of_two<T>(e.k < E::LOWEST_EXPONENT ? E::LOWEST_EXPONENT : e.k);
  const bool up = q > E::SOFTPLUS_SEAM;
  const T s = up ? T(0.5) : T(1), f = fused(q, s, s - T(1));
  low = fused(low, s, fused(q, s, (s - T(1)) - f));
  return (x < T(0) ? T(0) : x) + log_sum(up ? T(1) : T(0), f, fused(low, -f, low));
}

// --- erf ---

template <typename T>
NUMCORE_INLINE T erf_of(T x) {
  using E = Elementary<T>;
  const T a = magnitude(x), near_zero = fused(a, erf_bracket(x * x), a);
  const Exponential<T> e = reduce(log_erfc(a > E::ERF_ONE ? E::ERF_ONE : a));
  const T away = T(1) - (e.r + e.t + T(1)) * power_of_two<T>(e.k);
  return with_sign_of(a < E::ERF_SEAM ? near_zero : away, x);
}

// --- sin and cos ---

NUMCORE_INLINE float sin_quadrants(float x, u64 shift) {
  const float a = magnitude(x);
  const bool band1 = a >= 1.7592186044416e13f, band2 = a >= 3.6893488147419103e19f,
             band3 = a >= 7.737125245533627e25f, band4 = a >= 1.6225927682921336e32f;
  const double hi = band4   ? 7.696704864039572e-26
                    : band3 ? 1.0760572810738749e-19
                    : band2 ? 2.418782397124712e-13
                    : band1 ? 2.0449648759307553e-07
                            : 0.6366197723675813;
  const double lo = band4   ? 4.420676015940119e-42
                    : band3 ? -1.690193447800753e-36
                    : band2 ? 2.471138875912043e-29
                    : band1 ? 6.074026489649846e-24
                            : 7.166494911215068e-17;
  const double wide = x, round = Elementary<double>::ROUND, z = fused(wide, hi, round);
  const double f = fused(wide, lo, fused(wide, hi, -(z - round))), y = f * f;
  const u64 q = float_bits(z) + shift;
  const double s = horner(y, 1.5707963267861706, -0.6459640958599308, 0.07969257621872347,
                          -0.00468121987841465, 0.00015810445787561785);
  const double c = horner(y, 0.9999999999311887, -1.2337005376967753, 0.2536691406146471,
                          -0.020859638719827576, 0.0009027131913266534);
  return static_cast<float>(float_from_bits(float_bits(q & 1 ? c : s * f) ^ ((q & 2) << 62)));
}

// q (in the low bits), r, low with x = q pi/2 + r + low.
struct Quadrant {
  u64 q;
  double r, low;
};

NUMCORE_INLINE double sin_kernel(u64 q, double r, double low) {
  const double y = r * r, half_square = 0.5 * y;
  double p = horner(y, -0.16666666666666666, 0.008333333333333323, -0.0001984126984125478,
                    2.7557319214054634e-06, -2.505210487914781e-08, 1.605836281494482e-10,
                    -7.578522675290888e-13);
  const double s = r + fused(p, r * y, fused(low, -half_square, low));
  p = horner(y, 0.041666666666666595, -0.0013888888888873036, 2.4801587288838277e-05,
             -2.755731417531608e-07, 2.0875700287585466e-09, -1.1358507152304823e-11);
  const double h = 1.0 - half_square,
               c = h + (((1.0 - h) - half_square) + fused(p, y * y, -(r * low)));
  return float_from_bits(float_bits(q & 1 ? c : s) ^ ((q & 2) << 62));
}

constexpr double PI_2_1 = 1.5707963267948966, PI_2_2 = 6.123233995736766e-17,
                 PI_2_3 = -1.4973849048591698e-33;

NUMCORE_INLINE Quadrant reduce_pi(double x) {
  const double z = fused(x, 0.6366197723675814, Elementary<double>::ROUND),
               n = Elementary<double>::ROUND - z;
  const double s = fused(n, PI_2_1, x), w = n * PI_2_2, r = s + w, v = r - s;
  return {float_bits(z), r, (s - (r - v)) + (w - v) + fused(n, PI_2_3, fused(n, PI_2_2, -w))};
}

static __device__ const u64 TWO_OVER_PI_WORDS[20] = {
    0x0000000000000000ull, 0xa2f9836e4e441529ull, 0xfc2757d1f534ddc0ull, 0xdb6295993c439041ull,
    0xfe5163abdebbc561ull, 0xb7246e3a424dd2e0ull, 0x06492eea09d1921cull, 0xfe1deb1cb129a73eull,
    0xe88235f52ebb4484ull, 0xe99c7026b45f7e41ull, 0x3991d639835339f4ull, 0x9c845f8bbdf9283bull,
    0x1ff897ffde05980full, 0xef2f118b5a0a6d1full, 0x6d367ecf27cb09b7ull, 0x4f463f669e5fea2dull,
    0x7527bac7ebe5f17bull, 0x3d0739f78a5292eaull, 0x6bfb5fb11f8d5d08ull, 0x56033046fc7b6babull,
};

// 64 bits of 2/pi from a bit position > -64 on; before the point there are zeros.
NUMCORE_INLINE u64 two_over_pi(i64 position) {
  const i64 i = (position + 64) >> 6;
  const u64 shift = static_cast<u64>(position) & 63;
  return (TWO_OVER_PI_WORDS[i] << shift) | ((TWO_OVER_PI_WORDS[i + 1] >> 1) >> (63 - shift));
}

static __device__ Quadrant reduce_large(double x) {
  const u64 bits = float_bits(magnitude(x)), m = (bits & ((1ull << 52) - 1)) | (1ull << 52);
  const i64 position = static_cast<i64>(bits >> 52) - 1075 - 2;
  const u64 w0 = two_over_pi(position), w1 = two_over_pi(position + 64),
            w2 = two_over_pi(position + 128);
  const u64 low_word = m * w1 + __umul64hi(m, w2), carry = low_word < m * w1;
  const u64 high_word = m * w0 + __umul64hi(m, w1) + carry;
  u64 q = high_word >> 62, high = (high_word << 2) | (low_word >> 62), rest = low_word << 2;
  const bool negative = high >> 63;
  if (negative) {
    q += 1;
    rest = 0 - rest;
    high = 0 - high - (rest != 0);
  }
  const double word = 5.421010862427522e-20;  // 2^-64
  const double top = static_cast<double>(high >> 11) * 2048.0;
  const double middle =
      static_cast<double>(((high & 2047) << 32) | (rest >> 32)) * 2.3283064365386963e-10;
  const double bottom = static_cast<double>(rest & 0xffffffffull) * word;
  const double f = (top + middle) * word, f_low = ((top - (top + middle)) + middle + bottom) * word;
  const double r = f * PI_2_1, low = fused(f, PI_2_1, -r) + fused(f, PI_2_2, f_low * PI_2_1);
  const double flip = negative != (x < 0.0) ? -1.0 : 1.0;
  return {x < 0.0 ? 0 - q : q, r * flip, low * flip};
}

NUMCORE_INLINE Quadrant quadrant(double x) {
  const double a = magnitude(x);
  return a > 140737488355328.0 && a < Limits<double>::infinity() ? reduce_large(x) : reduce_pi(x);
}

NUMCORE_INLINE double sin(double x) {
  const Quadrant at = quadrant(x);
  return x == 0.0 ? x : sin_kernel(at.q, at.r, at.low);
}

NUMCORE_INLINE double cos(double x) {
  const Quadrant at = quadrant(x);
  return sin_kernel(at.q + 1, at.r, at.low);
}

// --- the overloads that are one formula for both types ---

NUMCORE_INLINE float sin(float x) { return sin_quadrants(x, 0); }
NUMCORE_INLINE float cos(float x) { return sin_quadrants(x, 1); }
NUMCORE_INLINE float expm1(float x) { return expm1_of(x); }
NUMCORE_INLINE double expm1(double x) { return expm1_of(x); }
NUMCORE_INLINE float log(float x) { return log_of(x); }
NUMCORE_INLINE double log(double x) { return log_of(x); }
NUMCORE_INLINE float log1p(float x) { return log1p_of(x, 8388608.0f); }
NUMCORE_INLINE double log1p(double x) { return log1p_of(x, 4503599627370496.0); }
NUMCORE_INLINE float tanh(float x) { return tanh_of(x); }
NUMCORE_INLINE double tanh(double x) { return tanh_of(x); }
NUMCORE_INLINE float sigmoid(float x) { return sigmoid_of(x); }
NUMCORE_INLINE double sigmoid(double x) { return sigmoid_of(x); }
NUMCORE_INLINE float softplus(float x) { return softplus_of(x); }
NUMCORE_INLINE double softplus(double x) { return softplus_of(x); }
NUMCORE_INLINE float erf(float x) { return erf_of(x); }
NUMCORE_INLINE double erf(double x) { return erf_of(x); }

#undef NUMCORE_INLINE

}  // namespace numcore
