// Losses with their gradients.
//
// Of single entries: one thread takes one. Of rows of logits (n, k): a block of 128 threads takes
// one row and reads it twice, the second time from the cache; the exponentials stay in grad until
// their sum is known.
#include "elementary.cuh"
#include "numcore.cuh"

// --- single entries ---

extern "C" __global__ void numcore_mse_pointwise(const REAL* __restrict__ y,
                                                 const REAL* __restrict__ t, REAL scale,
                                                 REAL* __restrict__ loss, REAL* __restrict__ grad,
                                                 index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    const REAL d = y[i] - t[i];
    loss[i] = d * d;
    grad[i] = scale * (d + d);
  }
}

extern "C" __global__ void numcore_huber_pointwise(const REAL* __restrict__ y,
                                                   const REAL* __restrict__ t, REAL delta,
                                                   REAL scale, REAL* __restrict__ loss,
                                                   REAL* __restrict__ grad, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    const REAL d = y[i] - t[i], below = d > delta ? delta : d, slope = d < -delta ? -delta : below;
    loss[i] = slope * (d - (REAL)0.5 * slope);
    grad[i] = scale * slope;
  }
}

extern "C" __global__ void numcore_binary_pointwise(const REAL* __restrict__ z,
                                                    const REAL* __restrict__ t, REAL scale,
                                                    REAL* __restrict__ loss,
                                                    REAL* __restrict__ grad, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    const REAL x = z[i], step = x > 0 ? 1 : 0;
    loss[i] = numcore::softplus(x > 0 ? -x : x) + x * (step - t[i]);
    grad[i] = scale * (numcore::sigmoid(x) - t[i]);
  }
}

// --- rows ---

__device__ REAL largest(const REAL* z, index_t k) {
  REAL top = -Limits<REAL>::infinity();
  for (index_t j = index_in_block(); j < k; j += block_size()) top = max(top, z[j]);
  return block_max(top);
}

extern "C" __global__ void numcore_label_cross_entropy(
    const REAL* __restrict__ logits, const i64* __restrict__ labels, REAL smoothing, REAL scale,
    REAL* __restrict__ loss, REAL* __restrict__ grad, index_t n, index_t k) {
  const REAL keep = 1 - smoothing, share = smoothing / k;
  for (index_t i = block_index(); i < n; i += block_count()) {
    const REAL* z = logits + i * k;
    REAL* out = grad + i * k;
    const index_t label = labels[i];
    if (label < 0) {  // ignored
      for (index_t j = index_in_block(); j < k; j += block_size()) out[j] = 0;
      if (index_in_block() == 0) loss[i] = 0;
      continue;
    }
    const REAL top = largest(z, k);
    REAL total = 0, shifted = 0;
    for (index_t j = index_in_block(); j < k; j += block_size()) {
      total += out[j] = numcore::exp(z[j] - top);
      shifted += z[j] - top;
    }
    total = block_sum(total);
    shifted = block_sum(shifted);
    const REAL p = scale / total, less = scale * share;
    for (index_t j = index_in_block(); j < k; j += block_size())
      out[j] = p * out[j] - less - (j == label ? scale * keep : 0);
    if (index_in_block() == 0)
      loss[i] =
          numcore::log(total) - keep * (z[label] - top) - (smoothing > 0 ? share * shifted : 0);
  }
}

extern "C" __global__ void numcore_distribution_cross_entropy(
    const REAL* __restrict__ logits, const REAL* __restrict__ targets, REAL smoothing, REAL scale,
    REAL* __restrict__ loss, REAL* __restrict__ grad, index_t n, index_t k) {
  const REAL keep = 1 - smoothing, share = smoothing / k;
  for (index_t i = block_index(); i < n; i += block_count()) {
    const REAL *z = logits + i * k, *target = targets + i * k;
    REAL* out = grad + i * k;
    const REAL top = largest(z, k);
    REAL total = 0, linear = 0, weight = 0;
    for (index_t j = index_in_block(); j < k; j += block_size()) {
      const REAL u = z[j] - top, t = keep * target[j] + share;
      total += out[j] = numcore::exp(u);
      linear += t * u;
      weight += t;
    }
    total = block_sum(total);
    linear = block_sum(linear);
    weight = block_sum(weight);
    const REAL p = weight / total;
    for (index_t j = index_in_block(); j < k; j += block_size())
      out[j] = scale * (p * out[j] - (keep * target[j] + share));
    if (index_in_block() == 0) loss[i] = weight * numcore::log(total) - linear;
  }
}
