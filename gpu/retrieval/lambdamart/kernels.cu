// Boosted trees. Histograms: a block takes one feature, its sums stand in shared memory; they are
// integers, so that the order in which they are added does not matter. Splits: a thread takes one
// feature. Prediction: a thread takes one row.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

extern "C" __global__ void numcore_gradient_histograms(const u8* __restrict__ codes,
                                                       const i64* __restrict__ rows,
                                                       const i64* __restrict__ slopes,
                                                       const i64* __restrict__ bends,
                                                       i64* __restrict__ histogram, index_t f_count,
                                                       index_t n, index_t r) {
  __shared__ u64 cells[CELLS];
  for (index_t f = block_index(); f < f_count; f += block_count()) {
    for (int c = index_in_block(); c < CELLS; c += block_size()) cells[c] = 0;
    __syncthreads();
    for (index_t i = index_in_block(); i < r; i += block_size()) {
      const int at = 3 * codes[f * n + rows[i]];
      atomicAdd(&cells[at], (u64)slopes[i]);
      atomicAdd(&cells[at + 1], (u64)bends[i]);
      atomicAdd(&cells[at + 2], (u64)1);
    }
    __syncthreads();
    for (int c = index_in_block(); c < CELLS; c += block_size())
      histogram[f * CELLS + c] = (i64)cells[c];
    __syncthreads();
  }
}

__device__ double score(double g, double h) { return h > 0 ? g * g / h : 0; }

extern "C" __global__ void numcore_best_splits(const i64* __restrict__ histogram, double slope_unit,
                                               double bend_unit, double l2, i64 least,
                                               double* __restrict__ gain, int* __restrict__ cut,
                                               int* __restrict__ nan_left, index_t f_count) {
  for (index_t f = thread_index(); f < f_count; f += thread_count()) {
    const i64* cells = histogram + f * CELLS;
    i64 g = 0, h = 0, n = 0;
    for (int b = 0; b < BINS; b++) g += cells[3 * b], h += cells[3 * b + 1], n += cells[3 * b + 2];
    const double whole = score(g * slope_unit, h * bend_unit + l2);
    double best = 0;
    int best_cut = 0, best_side = 0;
    for (int side = 0; side < (cells[3 * MISSING + 2] > 0 ? 2 : 1); side++) {
      i64 gl = side ? cells[3 * MISSING] : 0, hl = side ? cells[3 * MISSING + 1] : 0,
          nl = side ? cells[3 * MISSING + 2] : 0;
      for (int b = 0; b < MISSING; b++) {
        gl += cells[3 * b], hl += cells[3 * b + 1], nl += cells[3 * b + 2];
        const double left = hl * bend_unit + l2, right = (h - hl) * bend_unit + l2;
        if (nl < least || n - nl < least || !(left > LEAST_HESSIAN) || !(right > LEAST_HESSIAN))
          continue;
        const double parts = score(gl * slope_unit, left) + score((g - gl) * slope_unit, right);
        if (parts - whole > best && parts - whole > LEAST_GAIN * parts)
          best = parts - whole, best_cut = b, best_side = side;
      }
    }
    gain[f] = best, cut[f] = best_cut, nan_left[f] = best_side;
  }
}

extern "C" __global__ void numcore_add_tree(
    const REAL* __restrict__ x, const int* __restrict__ feature, const REAL* __restrict__ threshold,
    const int* __restrict__ nan_left, const int* __restrict__ left, const int* __restrict__ right,
    const double* __restrict__ value, double* total, index_t n, index_t f, index_t m) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    int node = 0;
    while (left[node] >= 0) {
      const REAL entry = x[i * f + feature[node]];
      node =
          entry <= threshold[node] || (entry != entry && nan_left[node]) ? left[node] : right[node];
    }
    total[i] += value[node];
  }
}
