// Search in lists of rows: queries (n, d), rows (m, d) by list, probes (n, p) the lists of each
// query, best and at (n, k) heaps.
#include "heap.cuh"
#include "numcore.cuh"

// One block takes a query. Each of its warps takes a row of the list and leaves a score; then the
// first thread puts those that are good enough into the heap.
extern "C" __global__ void numcore_scan_lists(
    const REAL* __restrict__ queries, const REAL* __restrict__ rows, const i64* __restrict__ begins,
    const i64* __restrict__ ends, const i64* __restrict__ ids, const i64* __restrict__ probes,
    REAL* best, i64* at, u8* wrong, i64 is_l2, index_t n, index_t d, index_t m, index_t l,
    index_t p, index_t k) {
  __shared__ REAL found[32];
  for (index_t i = block_index(); i < n; i += block_count()) {
    const REAL* query = queries + i * d;
    REAL* mine = best + i * k;
    i64* mine_at = at + i * k;
    for (index_t c = 0; c < p; c++) {
      index_t chosen = probes[i * p + c];
      for (index_t low = begins[chosen]; low < ends[chosen]; low += warp_count()) {
        index_t r = low + warp_index();
        if (r < ends[chosen]) {
          const REAL* row = rows + r * d;
          REAL sum = 0;
          if (is_l2)
            for (index_t j = lane_index(); j < d; j += 32) sum -= square(query[j] - row[j]);
          else
            for (index_t j = lane_index(); j < d; j += 32) sum += query[j] * row[j];
          sum = warp_sum(sum);
          if (lane_index() == 0) found[warp_index()] = sum;
        }
        __syncthreads();
        if (index_in_block() == 0)
          for (index_t w = 0; w < warp_count() && low + w < ends[chosen]; w++) {
            if (is_worse(mine[0], mine_at[0], found[w], ids[low + w]))
              replace_worst(mine, mine_at, k, found[w], ids[low + w]);
            if (!(found[w] - found[w] == 0)) wrong[i] = 1;
          }
        __syncthreads();
      }
    }
  }
}
