// Means of the rows of a table that a query names, and Adam on the rows that a batch touches. A
// warp takes one query or one row, its lanes neighboring columns. Places are summed in the order
// of the CPU.
#include "numcore.cuh"

extern "C" __global__ void numcore_bag_means(const REAL* __restrict__ table,
                                             const i64* __restrict__ indices,
                                             const i64* __restrict__ offsets,
                                             REAL* __restrict__ mean, index_t v, index_t d,
                                             index_t z, index_t b) {
  for (index_t i = thread_index() / 32; i < b; i += thread_count() / 32) {
    const i64 first = offsets[i], last = offsets[i + 1];
    const REAL scale = (REAL)(1.0 / (last > first ? last - first : 1));
    for (index_t j = lane_index(); j < d; j += 32) {
      REAL sum = 0;
      for (i64 p = first; p < last; p++) sum += table[indices[p] * d + j];
      mean[i * d + j] = sum * scale;
    }
  }
}

extern "C" __global__ void numcore_lazy_adam_rows(
    const i64* __restrict__ rows, const i64* __restrict__ ends, const i64* __restrict__ bags,
    const REAL* __restrict__ weights, const REAL* __restrict__ grad, REAL* table, REAL* m, REAL* s,
    REAL beta1, REAL beta2, REAL lr, REAL eps, index_t r, index_t z, index_t b, index_t d,
    index_t v) {
  for (index_t i = thread_index() / 32; i < r; i += thread_count() / 32)
    for (index_t j = lane_index(); j < d; j += 32) {
      REAL slope = 0;
      for (i64 p = ends[i]; p < ends[i + 1]; p++) slope += weights[bags[p]] * grad[bags[p] * d + j];
      const index_t at = rows[i] * d + j;
      m[at] = beta1 * m[at] + (1 - beta1) * slope;
      s[at] = beta2 * s[at] + (1 - beta2) * (slope * slope);
      table[at] -= lr * m[at] / (sqrt(s[at]) + eps);
    }
}
