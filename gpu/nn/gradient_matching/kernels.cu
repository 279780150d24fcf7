// Distances of all pairs of gradients; the best grouping of few operations in two; the smallest cut
// of a graph.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// --- distances
// -----------------------------------------------------------------------------------------------------------------------

constexpr int TILE = 4;  // gradients times gradients that a warp holds the sums of

__device__ __forceinline__ index_t at_most(index_t a, index_t b) { return a < b ? a : b; }

// A warp takes an item (tensor, first element, rows, elements of a row) and goes through the pairs
// of its k gradients in 4 × 4 tiles; within a tile it walks along each row, its lanes side by side.
// A row is read from memory by the first tile, and from the cache by the others. at (t, k) holds
// addresses; parts (b, k, k).
extern "C" __global__ void numcore_gradient_pairs(const u64* __restrict__ at,
                                                  const i64* __restrict__ items, const REAL*,
                                                  double eps, i64 metric,
                                                  double* __restrict__ parts, index_t, index_t k,
                                                  index_t b, index_t) {
  const index_t warps = block_count() * warp_count();
  for (index_t item = block_index() * warp_count() + warp_index(); item < b; item += warps) {
    const u64* of_tensor = at + items[4 * item] * k;
    const index_t first = items[4 * item + 1], rows = items[4 * item + 2],
                  length = items[4 * item + 3];
    for (index_t i0 = 0; i0 < k; i0 += TILE)
      for (index_t j0 = i0; j0 < k; j0 += TILE) {
        const REAL *a[TILE], *c[TILE];
        double total[TILE][TILE];
        for (int i = 0; i < TILE; i++) {  // a gradient that is missing is another one again
          a[i] = reinterpret_cast<const REAL*>(of_tensor[at_most(i0 + i, k - 1)]) + first;
          c[i] = reinterpret_cast<const REAL*>(of_tensor[at_most(j0 + i, k - 1)]) + first;
          for (int j = 0; j < TILE; j++) total[i][j] = 0;
        }
        for (index_t r = 0; r < rows; r++) {
          REAL sums[TILE][TILE], squares_a[TILE], squares_c[TILE];
          for (int i = 0; i < TILE; i++) {
            squares_a[i] = squares_c[i] = 0;
            for (int j = 0; j < TILE; j++) sums[i][j] = 0;
          }
          for (index_t e = r * length + lane_index(); e < (r + 1) * length; e += 32) {
            REAL x[TILE], y[TILE];
            for (int i = 0; i < TILE; i++) {
              x[i] = a[i][e], y[i] = c[i][e];
              squares_a[i] += x[i] * x[i], squares_c[i] += y[i] * y[i];
            }
            for (int i = 0; i < TILE; i++)
              for (int j = 0; j < TILE; j++)
                sums[i][j] += metric == SQUARES ? square(x[i] - y[j]) : x[i] * y[j];
          }
          double norm_a[TILE], norm_c[TILE];
          for (int i = 0; i < TILE; i++) {
            norm_a[i] = sqrt(warp_sum((double)squares_a[i]));
            norm_c[i] = sqrt(warp_sum((double)squares_c[i]));
          }
          for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++) {
              double value = warp_sum((double)sums[i][j]);
              if (metric == PER_FILTER) {
                const double below = norm_a[i] * norm_c[j] + eps;
                value = below == 0 ? 1.0 : 1.0 - value / below;
                if (value < 0) value = 0;  // rounding
              }
              total[i][j] += value;
            }
        }
        if (lane_index() == 0)
          for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++)
              if (i0 + i <= j0 + j && j0 + j < k)
                parts[(item * k + i0 + i) * k + j0 + j] = parts[(item * k + j0 + j) * k + i0 + i] =
                    total[i][j];
      }
  }
}

// --- groupings
// -----------------------------------------------------------------------------------------------------------------------

// A thread walks through a segment of the Gray code of all groupings in two. The additions are
// those of the CPU, in their order.
extern "C" __global__ void numcore_all_bisections(const double* __restrict__ d,
                                                  const u8* __restrict__ allowed,
                                                  double* __restrict__ within,
                                                  i64* __restrict__ code, index_t, index_t k,
                                                  index_t items) {
  const i64 codes = 1ll << (k - 1), segments = (codes + SEGMENT - 1) / SEGMENT;
  for (index_t b = thread_index(); b < items; b += thread_count()) {
    const double* distance = d + b / segments * k * k;
    const i64 first = b % segments * SEGMENT, last = at_most(first + SEGMENT, codes);
    i64 gray = first ^ (first >> 1), size = 0, best = -1;
    double total = 0, least = INFINITY;
    for (index_t i = 0; i < k; i++) {
      size += gray >> i & 1;
      for (index_t j = 0; j < i; j++)
        if ((gray >> i & 1) == (gray >> j & 1)) total += distance[i * k + j];
    }
    for (i64 step = first; step < last; step++) {
      if (step > first) {
        int moved = 0;
        while (!(step >> moved & 1)) moved++;
        gray ^= 1ll << moved;
        size += 2 * (gray >> moved & 1) - 1;
        for (index_t j = 0; j < k; j++)
          if (j != moved)
            total += (gray >> moved & 1) == (gray >> j & 1) ? distance[moved * k + j]
                                                            : -distance[moved * k + j];
      }
      if (allowed[size] && total < least) least = total, best = gray;
    }
    within[b] = least;
    code[b] = best;
  }
}

// Stoer and Wagner, a block for each graph: vertices are spread over its threads; equal ties are
// decided for the lowest vertex.
extern "C" __global__ void numcore_smallest_cut(double* __restrict__ w, double* __restrict__ tied,
                                                u8* __restrict__ state,
                                                i64* __restrict__ merged_into,
                                                double* __restrict__ cut, u8* __restrict__ side,
                                                index_t graphs, index_t k) {
  for (index_t g = block_index(); g < graphs; g += block_count()) {
    double *weight = w + g * k * k, *tie = tied + g * k;
    u8 *is = state + g * k, *on_side = side + g * k;
    i64* into = merged_into + g * k;
    double least = INFINITY;
    for (index_t v = index_in_block(); v < k; v += block_size())
      is[v] = FREE, into[v] = v, on_side[v] = 0, tie[v] = 0;
    for (index_t left = k; left > 1; left--) {
      for (index_t v = index_in_block(); v < k; v += block_size())
        if (is[v] != MERGED) is[v] = FREE, tie[v] = 0;
      __syncthreads();
      index_t before = 0, last = 0;
      for (index_t added = 0; added < left; added++) {
        before = last;
        double most = -1;
        index_t mine = k;
        for (index_t v = index_in_block(); v < k; v += block_size())
          if (is[v] == FREE && tie[v] > most) most = tie[v], mine = v;
        const double top = block_max(most);
        last = (index_t)block_min(most == top ? (double)mine : (double)k);
        if (index_in_block() == 0) is[last] = ADDED;
        for (index_t v = index_in_block(); v < k; v += block_size())
          if (v != last) tie[v] += weight[last * k + v];
        __syncthreads();
      }
      const bool better = tie[last] < least;
      if (better) least = tie[last];
      for (index_t v = index_in_block(); v < k; v += block_size()) {
        if (better) on_side[v] = into[v] == last;
        if (into[v] == last) into[v] = before;
        weight[before * k + v] += weight[last * k + v];
      }
      __syncthreads();
      for (index_t v = index_in_block(); v < k; v += block_size())
        if (v != before) weight[v * k + before] = weight[before * k + v];
      __syncthreads();
      if (index_in_block() == 0) is[last] = MERGED, weight[before * k + before] = 0;
      __syncthreads();
    }
    if (index_in_block() == 0) cut[g] = least;
    __syncthreads();
  }
}
