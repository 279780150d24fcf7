// The gradient of an embedding's table: row i is the sum of grad_y (m, d) over the places
// places[ends[i]] ... places[ends[i + 1] - 1].
//
// A warp takes one row of the table, its lanes 32 columns at a time, so that a place is read as one
// piece. The order of places is that of the CPU, and so are the bits of the sum.
#include "numcore.cuh"

extern "C" __global__ void numcore_sum_places(const REAL* __restrict__ grad_y,
                                              const i64* __restrict__ places,
                                              const i64* __restrict__ ends,
                                              REAL* __restrict__ grad_table, index_t m, index_t d,
                                              index_t n) {
  const index_t warps = thread_count() / 32;
  for (index_t i = thread_index() / 32; i < n; i += warps) {
    for (index_t j = lane_index(); j < d; j += 32) {
      double total = 0;
      for (index_t p = ends[i]; p < ends[i + 1]; p++) total += grad_y[places[p] * d + j];
      grad_table[i * d + j] = static_cast<REAL>(total);
    }
  }
}
