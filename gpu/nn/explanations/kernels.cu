// Kernels of the explanations: coalitions as bits, the points that they stand for, and sums over
// their rows. removed (m, w): bit j of row i, in word j / 64, says that sample i has feature j
// removed; it belongs to row i / samples of x (n, d).
#include "elementary.cuh"
#include "philox.cuh"

#ifndef REAL
#define REAL float
#endif

__device__ __forceinline__ bool is_removed(const u64* removed, index_t i, index_t w, index_t j) {
  return (removed[i * w + j / 64] >> (j % 64)) & 1;
}

// size, low, width (k); removed (m, w). One thread takes one coalition: the subset of `size`
// features at a random place of [low, low + width) of all, in the order of the bits.
extern "C" __global__ void numcore_draw_coalitions(const i64* __restrict__ size,
                                                   const double* __restrict__ low,
                                                   const double* __restrict__ width,
                                                   u64* __restrict__ removed, i64 features,
                                                   i64 first, u32 k0, u32 k1, index_t k, index_t m,
                                                   index_t w) {
  const double to53 = 1.0 / 9007199254740992.0;
  for (index_t i = thread_index(); i < m; i += thread_count()) {
    u64 word = 0, draw = 0;
    i64 s = size[i % k];
    Words words = philox4x32((u64)(first + i), 0, k0, k1);
    double v = low[i % k] + width[i % k] * uniform53(words.a, words.b), grain = width[i % k] * to53;
    for (index_t j = 0; j < 64 * w; j++) {
      index_t left = features - j;
      if (j < features && s > 0) {
        if (s == left || v * left < s) {
          word |= 1ull << (j % 64);
          double spread = (double)left / s;
          v = v * spread, grain = grain * spread;
          s--;
        } else {
          double spread = 1.0 / (left - s);
          v = (v * left - s) * spread, grain = grain * left * spread;
        }
        if (grain > FEW_BITS) {
          words = philox4x32((u64)(first + i), ++draw, k0, k1);
          v = v + grain * uniform53(words.a, words.b), grain = to53;
        }
      }
      if (j % 64 == 63) removed[i * w + j / 64] = word, word = 0;
    }
  }
}

// points (m, d) = baseline where a feature is removed, else x. A warp takes a sample: its lanes
// write neighbors.
extern "C" __global__ void numcore_mask_points(const u64* __restrict__ removed,
                                               const REAL* __restrict__ x,
                                               const REAL* __restrict__ baseline,
                                               REAL* __restrict__ points, i64 samples, u64 flip,
                                               index_t m, index_t w, index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
    index_t row = i / samples;
    for (index_t j = lane_index(); j < d; j += 32)
      points[i * d + j] =
          is_removed(removed, i, w, j) != (flip != 0) ? baseline[row * d + j] : x[row * d + j];
  }
}

// sums (m) = the terms (n, d) of the removed features. A warp takes a sample.
extern "C" __global__ void numcore_mask_sums(const u64* __restrict__ removed,
                                             const double* __restrict__ terms,
                                             double* __restrict__ sums, i64 samples, index_t m,
                                             index_t w, index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
    double total = 0;
    for (index_t j = lane_index(); j < d; j += 32)
      if (is_removed(removed, i, w, j)) total += terms[i / samples * d + j];
    total = warp_sum(total);
    if (lane_index() == 0) sums[i] = total;
  }
}

// Cosine and sine of word / 2^32 turns: the series of numcore/nn/kernels.py.
__device__ __forceinline__ void cos_sin_turn(u32 word, float& cosine, float& sine) {
  float t = (float)(int)(word << 2) * 2.32830644e-10f, x = t * t;
  u32 quarter = (word + 0x20000000u) >> 30;
  float s = t * numcore::horner(x, 1.57079637f, -0.645964086f, 0.0796926245f, -0.00468175393f,
                                0.000160441181f);
  float c = numcore::horner(x, 1.0f, -1.23370051f, 0.2536695f, -0.0208634809f, 0.000919260259f,
                            -2.52020418e-05f);
  cosine = quarter & 1 ? s : c, sine = quarter & 1 ? c : s;
  if ((quarter + 1) & 2) cosine = -cosine;
  if (quarter & 2) sine = -sine;
}

// points, offsets (m, d): x plus normal numbers by the Box–Muller transform. A warp takes a sample,
// and of NORMALS features at a time a lane takes one in each quarter, so that neighboring lanes
// write neighbors.
extern "C" __global__ void numcore_gaussian_points(const REAL* __restrict__ x,
                                                   REAL* __restrict__ points,
                                                   double* __restrict__ offsets, double scale,
                                                   i64 samples, i64 first, u32 k0, u32 k1,
                                                   index_t n, index_t d, index_t m) {
  for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
    const REAL* row = x + i / samples * d;
    for (index_t begin = 0; begin < d; begin += NORMALS) {
      index_t count = min(d - begin, (index_t)NORMALS), quarter = ceil_div(count, 4),
              q = lane_index();
      if (q >= quarter) continue;
      Words words = philox4x32((u64)(first + i), (u64)(begin / 4 + q), k0, k1);
      float noise[4];
#pragma unroll
      for (int p = 0; p < 2; p++) {
        float r = sqrtf(-2.0f *
                        numcore::log(((float)(p ? words.b : words.a) + 1.0f) * 2.32830644e-10f)),
              cosine, sine;
        cos_sin_turn(p ? words.d : words.c, cosine, sine);
        noise[p] = r * cosine, noise[p + 2] = r * sine;
      }
#pragma unroll
      for (int k = 0; k < 4; k++) {
        index_t j = k * quarter + q;
        if (j < count) {
          REAL point = (REAL)(row[begin + j] + scale * noise[k]);
          points[i * d + begin + j] = point;
          offsets[i * d + begin + j] = (double)point - (double)row[begin + j];
        }
      }
    }
  }
}
