// Maps from the cosines of a query's results, begins[i] to ends[i] of n, to relevance σ(z): z = a x
// + b, a √u + b, a u^c + b or a u² + e u + b with u = (1 + x) / 2. Their loss and its gradient by
// the raw parameters (q, p), a = softplus(raw0), b = raw1, c = softplus(raw2) + LEAST_POWER, e =
// softplus(raw2); and what Newton's method needs for a map that is the same for all queries.
#include "elementary.cuh"
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

template <typename T>
struct Features {
  T f, h;
};

template <typename T>
__device__ Features<T> features(T x, i64 code, T c) {
  x = min(max(x, T(-1)), T(1));
  if (code == LINEAR) return {x, T(0)};
  T u = T(0.5) + T(0.5) * x;
  if (code == SQRT) return {sqrt(u), T(0)};
  if (code == QUADRATIC) return {u * u, u};
  if (!(u > 0)) return {T(0), T(0)};
  T logarithm = numcore::log(u), f = numcore::exp(c * logarithm);
  return {f, f * logarithm};
}

// One warp takes a query; its lanes share the results, and sum in double.
extern "C" __global__ void numcore_adapter_loss(
    const REAL* __restrict__ raw, const i64* __restrict__ begins, const i64* __restrict__ ends,
    const REAL* __restrict__ cosines, const REAL* __restrict__ relevance, REAL* __restrict__ losses,
    REAL* __restrict__ grad, i64 code, REAL pos_weight, index_t q, index_t p, index_t n) {
  for (index_t i = thread_index() / 32; i < q; i += thread_count() / 32) {
    REAL a = numcore::softplus(raw[i * p]), b = raw[i * p + 1],
         third = code >= POWER ? numcore::softplus(raw[i * p + 2]) : REAL(0);
    double loss = 0, by_a = 0, by_b = 0, by_third = 0;
    for (i64 j = begins[i] + lane_index(); j < ends[i]; j += 32) {
      Features<REAL> x = features(cosines[j], code, third + REAL(LEAST_POWER));
      REAL y = relevance[j], z = a * x.f + (code == QUADRATIC ? third : REAL(0)) * x.h + b;
      REAL tail = numcore::exp(-abs(z)), weight = 1 + (pos_weight - 1) * y;
      loss += (1 - y) * z + weight * (max(-z, REAL(0)) + numcore::log1p(tail));
      REAL miss = (z >= 0 ? tail : REAL(1)) / (1 + tail), dz = 1 - y - weight * miss;
      by_a += (double)dz * x.f, by_b += dz, by_third += (double)dz * x.h;
    }
    loss = warp_sum(loss), by_a = warp_sum(by_a), by_b = warp_sum(by_b),
    by_third = warp_sum(by_third);
    if (lane_index()) continue;
    double count = max(ends[i] - begins[i], 1ll);
    losses[i] = loss / count;
    grad[i * p] = by_a / count * -expm1(-(double)a);
    grad[i * p + 1] = by_b / count;
    if (code >= POWER)
      grad[i * p + 2] =
          by_third / count * (code == POWER ? (double)a : 1.0) * -expm1(-(double)third);
  }
}

// One warp takes a query; its lanes share the results.
extern "C" __global__ void numcore_adapter_scores(
    const REAL* __restrict__ parameters, const i64* __restrict__ begins,
    const i64* __restrict__ ends, const REAL* __restrict__ cosines, REAL* __restrict__ scores,
    i64* __restrict__ wrong, i64 code, REAL limit, index_t q, index_t p, index_t n) {
  for (index_t i = thread_index() / 32; i < q; i += thread_count() / 32) {
    REAL a = parameters[i * p], b = parameters[i * p + 1], third = parameters[i * p + p - 1];
    i64 count = 0;
    for (i64 j = begins[i] + lane_index(); j < ends[i]; j += 32) {
      count += !(abs(cosines[j]) <= limit);
      Features<REAL> x = features(cosines[j], code, third);
      REAL z = a * x.f + (code == QUADRATIC ? third : REAL(0)) * x.h + b,
           tail = numcore::exp(-abs(z));
      scores[j] = (z >= 0 ? REAL(1) : tail) / (1 + tail);
    }
    count = warp_sum(count);
    if (lane_index() == 0) wrong[i] = count;
  }
}

// One warp takes a query; its lanes share the results.
extern "C" __global__ void numcore_logistic_moments(
    const i64* __restrict__ begins, const i64* __restrict__ ends, const REAL* __restrict__ cosines,
    const REAL* __restrict__ relevance, REAL* __restrict__ moments, i64 code, REAL slope, REAL b,
    REAL pos_weight, index_t q, index_t n) {
  for (index_t i = thread_index() / 32; i < q; i += thread_count() / 32) {
    double sums[MOMENTS] = {};
    for (i64 j = begins[i] + lane_index(); j < ends[i]; j += 32) {
      REAL f = min(max(cosines[j], REAL(-1)), REAL(1)), y = relevance[j];
      if (code != LINEAR) f = REAL(0.5) + REAL(0.5) * f;
      if (code == SQRT) f = sqrt(f);
      REAL z = slope * f + b, tail = numcore::exp(-abs(z)), weight = 1 + (pos_weight - 1) * y;
      REAL miss = (z >= 0 ? tail : REAL(1)) / (1 + tail);
      double dz = 1 - y - weight * miss, curvature = weight * miss * (1 - miss), value = f;
      sums[0] += (1 - y) * z + weight * (max(-z, REAL(0)) + numcore::log1p(tail));
      sums[1] += dz * value, sums[2] += dz, sums[3] += curvature * value * value,
          sums[4] += curvature * value, sums[5] += curvature;
    }
    double count = max(ends[i] - begins[i], 1ll);
    for (int s = 0; s < MOMENTS; s++) {
      sums[s] = warp_sum(sums[s]);
      if (lane_index() == 0) moments[i * MOMENTS + s] = sums[s] / count;
    }
  }
}
