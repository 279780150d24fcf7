// Top-k of rows of scores, rows of length one, distances of chosen pairs.
// scores (n, b), best and at (n, k): heaps of the best scores and of their places.
#include "heap.cuh"
#include "numcore.cuh"

// One block takes a row: its threads compare, 128 scores at a time, and the first one puts what
// beats the k-th best into the heap, which lies in shared memory. Few scores do, so that most steps
// end with the vote.
extern "C" __global__ void numcore_scan_rows(const REAL* __restrict__ scores, REAL* best, i64* at,
                                             u8* wrong, REAL lowest, i64 first, index_t n,
                                             index_t b, index_t k) {
  DYNAMIC_SHARED(unsigned char, memory);
  i64* mine_at = reinterpret_cast<i64*>(memory);
  REAL* mine = reinterpret_cast<REAL*>(mine_at + k);
  int thread = index_in_block();
  for (index_t i = block_index(); i < n; i += block_count()) {
    for (index_t c = thread; c < k; c += block_size())
      mine[c] = best[i * k + c], mine_at[c] = at[i * k + c];
    __syncthreads();
    bool finite = true;
    for (index_t low = 0; low < b; low += block_size()) {
      index_t j = low + thread;
      REAL score = j < b ? scores[i * b + j] : lowest;
      if (j < b && score - score != 0) finite = false;
      if (!__syncthreads_or(score > mine[0])) continue;
      if (thread == 0)
        for (index_t c = low; c < min(b, low + block_size()); c++)
          if (scores[i * b + c] > mine[0])
            replace_worst(mine, mine_at, k, scores[i * b + c], first + c);
      __syncthreads();
    }
    if (__syncthreads_or(!finite) && thread == 0) wrong[i] = 1;
    for (index_t c = thread; c < k; c += block_size())
      best[i * k + c] = mine[c], at[i * k + c] = mine_at[c];
    __syncthreads();
  }
}

// One warp takes a row.
__device__ __forceinline__ double warp_squares(const REAL* row, index_t d, double scale) {
  double sum = 0;
  for (index_t j = lane_index(); j < d; j += 32) sum += square(row[j] / scale);
  return warp_sum(sum);
}

extern "C" __global__ void numcore_unit_rows(const REAL* __restrict__ x, REAL* __restrict__ y,
                                             double* __restrict__ norms, index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
    const REAL* row = x + i * d;
    double squares = warp_squares(row, d, 1), scale = 1;
    if (!(LEAST_SQUARE < squares && squares < LARGEST_SQUARE)) {
      double largest = 0;
      for (index_t j = lane_index(); j < d; j += 32) largest = max(largest, fabs((double)row[j]));
      largest = warp_max(largest);
      if (largest > 0) scale = largest, squares = warp_squares(row, d, scale);
    }
    double root = sqrt(squares), inverse = root > 0 ? 1 / root : 0;
    if (lane_index() == 0) norms[i] = scale * root;
    for (index_t j = lane_index(); j < d; j += 32) y[i * d + j] = row[j] / scale * inverse;
  }
}

// One warp takes a query.
extern "C" __global__ void numcore_distances_of(const REAL* __restrict__ queries,
                                                const REAL* __restrict__ database,
                                                const i64* __restrict__ at,
                                                REAL* __restrict__ scores, index_t n, index_t d,
                                                index_t m, index_t k) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32)
    for (index_t c = 0; c < k; c++) {
      const REAL *query = queries + i * d, *row = database + at[i * k + c] * d;
      double sum = 0;
      for (index_t j = lane_index(); j < d; j += 32)
        sum += square((double)query[j] - (double)row[j]);
      sum = warp_sum(sum);
      if (lane_index() == 0) scores[i * k + c] = sum;
    }
}
