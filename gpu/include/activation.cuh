// Nonlinearities with their first three derivatives: s, s1, s2, s3 of x. The formulas and the
// CONSTANTS of numcore/nn/_activation.py; what a caller does not use, the compiler drops.
#pragma once
#include "elementary.cuh"

namespace numcore {

template <typename T>
struct Derivatives {
  T s, s1, s2, s3;
};

// x between -bound and bound; NaN stays NaN.
template <typename T>
static __device__ __forceinline__ T within(T x, T bound) {
  return clamp(x, -bound, bound);
}

#define NUMCORE_KIND(kind)                                    \
  struct kind {                                               \
    template <typename T>                                     \
    static __device__ __forceinline__ Derivatives<T> at(T x); \
  };                                                          \
  template <typename T>                                       \
  __device__ __forceinline__ Derivatives<T> kind::at(T x)

NUMCORE_KIND(Relu) { return {x < 0 ? T(0) : x, T(x > 0 ? 1 : 0), T(0), T(0)}; }

// 2^k and q with exp(x) = 2^k (1 + q), for x in [-87.3, 0]
struct ExpParts {
  float power, q;
};

static __device__ __forceinline__ ExpParts exp_parts(float x) {
  const float z = fused(x, 1.442695f, 12582912.0f), r = fused(z - 12582912.0f, -0.6931472f, x);
  const float p = horner(r, 0.49999994f, 0.1666652f, 0.0416684f, 0.008368858f, 0.0013814305f);
  return {float_from_bits((float_bits(z) << 23) + 0x3f800000u), fused(p, r * r, r)};
}

static __device__ __forceinline__ float quick_tanh(float x) {
  float a = magnitude(x);
  a = a > float(TANH_FLAT) ? float(TANH_FLAT) : a;
  const ExpParts e = exp_parts(-2 * a);
  const float e_minus_one = fused(e.power, e.q, e.power - 1);
  return with_sign_of(e_minus_one / (e_minus_one + 2), x);
}

static __device__ __forceinline__ double quick_tanh(double x) { return tanh(x); }

NUMCORE_KIND(Tanh) {
  const T t = quick_tanh(x), s1 = 1 - t * t;
  return {t, s1, -(t + t) * s1, 2 * s1 * (3 * t * t - 1)};
}

NUMCORE_KIND(Sigmoid) {
  const T p = sigmoid(x), q = p * (1 - p);
  return {p, q, q * (1 - 2 * p), q * (1 - 6 * q)};
}

NUMCORE_KIND(Softplus) {
  const T p = sigmoid(x), q = p * (1 - p);
  return {softplus(x), p, q, q * (1 - 2 * p)};
}

NUMCORE_KIND(Sin) {
  const T s = sin(x), s1 = cos(x);
  return {s, s1, -s, -s1};
}

NUMCORE_KIND(Silu) {
  const T a = within(x, T(SILU_FLAT)), p = sigmoid(a), q = p * (1 - p), r = 1 - 2 * p;
  return {x < -T(SILU_FLAT) ? T(0) : x * p, p + a * q, q * (2 + a * r),
          q * (3 * r + a * (1 - 6 * q))};
}

// Phi(x) and exp(-x^2 / 2)
template <typename T>
struct Normal {
  T distribution, bell;
};

static __device__ __forceinline__ Normal<float> normal(float x) {
  float a = magnitude(x);
  a = a > float(FARTHEST) ? float(FARTHEST) : a;
  const ExpParts e = exp_parts(-0.5f * a * a);
  const float bell = e.power * (e.q + 1);
  const float t = 1 / fused(float(MILLS), a, 1.0f);
  const float tail = bell * t *
                     horner(t, 0.08371304f, 0.0850458f, 0.06934615f, 0.12430254f, -0.09264359f,
                            0.3476083f, -0.32872745f, 0.2828649f, -0.07150969f);
  return {x < 0 ? tail : 1 - tail, bell};
}

static __device__ __forceinline__ Normal<double> normal(double x) {
  return {0.5 * (1 + erf(x * SQRT_HALF)), exp(-0.5 * x * x)};
}

NUMCORE_KIND(Gelu) {
  const T a = within(x, T(GELU_FLAT));
  const Normal<T> n = normal(a);
  const T density = T(INVERSE_SQRT_TWO_PI) * n.bell;
  return {x < -T(GELU_FLAT) ? T(0) : x * n.distribution, n.distribution + a * density,
          density * (2 - a * a), density * a * (a * a - 4)};
}

NUMCORE_KIND(GeluTanh) {  // s and s1 only
  const T a = within(x, T(GELU_FLAT)), c = T(SQRT_TWO_OVER_PI), cubic = T(CUBIC);
  const T t = tanh(c * (a + cubic * a * a * a));
  const T slope = c * (1 + 3 * cubic * a * a);
  return {x < -T(GELU_FLAT) ? T(0) : T(0.5) * x * (1 + t),
          T(0.5) * (1 + t) + T(0.5) * a * (1 - t * t) * slope, T(0), T(0)};
}

}  // namespace numcore

#undef NUMCORE_KIND
