// Kernels of wide networks with one hidden layer of ReLUs: from cosines to kernels in place, and a
// step of gradient descent.
#include "numcore.cuh"

// --- sin θ + weight (π - θ) cos θ
// ----------------------------------------------------------------------------------------------------

// (asin(r)/r - 1)/r² for r² = z <= 1/4: the polynomials of the Python file, with fused
// multiply-adds.
__device__ __forceinline__ float asin_tail(float z) {
  float t = 0.04216629f;
  t = __fmaf_rn(t, z, 0.024179524f);
  t = __fmaf_rn(t, z, 0.045470376f);
  t = __fmaf_rn(t, z, 0.074952975f);
  return __fmaf_rn(t, z, 0.16666752f);
}
__device__ __forceinline__ double asin_tail(double z) {
  double t = 0.03191215889254635;
  t = __fma_rn(t, z, -0.01622408818201368);
  t = __fma_rn(t, z, 0.019528158480225946);
  t = __fma_rn(t, z, 0.006528014964315211);
  t = __fma_rn(t, z, 0.01216920227569633);
  t = __fma_rn(t, z, 0.013885236933147657);
  t = __fma_rn(t, z, 0.017359704607956408);
  t = __fma_rn(t, z, 0.022371758061468072);
  t = __fma_rn(t, z, 0.03038195913646122);
  t = __fma_rn(t, z, 0.0446428568283422);
  t = __fma_rn(t, z, 0.07500000000336994);
  return __fma_rn(t, z, 0.16666666666665408);
}

constexpr REAL HALF_PI = 1.57079632679489661923;

__device__ __forceinline__ REAL magnitude(REAL x) { return x < 0 ? -x : x; }

// cos θ = c; z = c² where is_small (|c| < 1/2), else (1 - |c|)/2 = sin²(θ/2).
__device__ __forceinline__ REAL arc_cosine(REAL c, REAL z, bool is_small, REAL weight) {
  const REAL r = is_small ? magnitude(c) : sqrt(z);
  const REAL a = r + r * z * asin_tail(z);
  const REAL near = is_small ? HALF_PI - a : 2 * a;
  const REAL sine = sqrt(1 - z) * (is_small ? (REAL)1 : 2 * r);
  return sine + weight * c * (c > 0 ? 2 * HALF_PI - near : near);
}

// c (n, m) holds products of the unit rows of u (n, d) and v (m, d). A block takes a row; its
// threads walk along it. The rare pairs of almost one direction are computed again from their
// difference, each by its own thread.
extern "C" __global__ void numcore_arc_cosine_gram(const REAL* __restrict__ u,
                                                   const REAL* __restrict__ v,
                                                   const REAL* __restrict__ left,
                                                   const REAL* __restrict__ right, REAL weight,
                                                   REAL scale, REAL* __restrict__ c, index_t n,
                                                   index_t d, index_t m) {
  for (index_t i = block_index(); i < n; i += block_count()) {
    for (index_t j = index_in_block(); j < m; j += block_size()) {
      REAL x = c[i * m + j];
      REAL z;
      bool is_small = magnitude(x) < (REAL)0.5;
      if (magnitude(x) > REAL(NEAR)) {
        const REAL sign = x > 0 ? 1 : -1;
        z = 0;
        for (index_t e = 0; e < d; e++) z += square(u[i * d + e] - sign * v[j * d + e]);
        z *= (REAL)0.25;
        x = sign * (1 - z - z);
      } else {
        z = is_small ? x * x : (REAL)0.5 * (1 - magnitude(x));
      }
      c[i * m + j] = arc_cosine(x, z, is_small, weight) * (left[i] * right[j]) * scale;
    }
  }
}

// --- a step of gradient descent
// ------------------------------------------------------------------------------------------------------

__device__ __forceinline__ REAL relu(REAL x) { return x <= 0 ? 0 : x; }

// Networks w2 (p, q, m) relu(w1 (p, d, m) x (h, d)) with residuals (p, n, q). A block takes UNITS
// hidden units of a network. First each thread moves its own units: neighboring threads have
// neighboring units, so that all of it is coalesced; w2 goes to another array, as the gradient of
// w1 needs the old one. Then each warp sums products of activations and output weights over the
// block's units.
extern "C" __global__ void numcore_descend(const REAL* __restrict__ x,
                                           const REAL* __restrict__ residual, REAL* __restrict__ w1,
                                           const REAL* __restrict__ w2, REAL* __restrict__ w2_next,
                                           REAL* __restrict__ z, REAL* __restrict__ outputs,
                                           REAL rate_1, REAL rate_2, index_t h, index_t d,
                                           index_t networks, index_t n, index_t q, index_t m,
                                           index_t items) {
  const index_t parts = ceil_div(m, UNITS);
  for (index_t item = block_index(); item < items; item += block_count()) {
    const index_t network = item / parts, first = item % parts * UNITS,
                  last = min(m, first + UNITS);
    const REAL* r = residual + network * n * q;
    REAL* hidden = h ? z + network * h * m : w1 + network * d * m;  // before the ReLU
    REAL* in = w1 + network * d * m;
    const REAL* out = w2 + network * q * m;
    REAL* moved = w2_next + network * q * m;
    for (index_t unit = first + index_in_block(); unit < last; unit += block_size()) {
      for (index_t o = 0; o < q; o++) {
        REAL change = 0;
        for (index_t i = 0; i < n; i++) change += r[i * q + o] * relu(hidden[i * m + unit]);
        moved[o * m + unit] = out[o * m + unit] - rate_2 * change;
      }
      for (index_t i = 0; i < n; i++) {
        REAL change = 0;
        for (index_t o = 0; o < q; o++) change += r[i * q + o] * out[o * m + unit];
        if (hidden[i * m + unit] <= 0) change = 0;
        if (!h) in[i * m + unit] -= rate_1 * change;
        for (index_t j = 0; j < (h ? d : 0); j++)
          in[j * m + unit] -= rate_1 * x[i * d + j] * change;
      }
      for (index_t i = 0; i < h; i++) {
        REAL sum = 0;
        for (index_t j = 0; j < d; j++) sum += x[i * d + j] * in[j * m + unit];
        hidden[i * m + unit] = sum;
      }
    }
    __syncthreads();
    for (index_t pair = warp_index(); pair < n * q; pair += warp_count()) {
      REAL sum = 0;
      for (index_t unit = first + lane_index(); unit < last; unit += 32)
        sum += relu(hidden[pair / q * m + unit]) * moved[pair % q * m + unit];
      sum = warp_sum(sum);
      if (lane_index() == 0) outputs[item * n * q + pair] = sum;
    }
    __syncthreads();
  }
}
