// Items to buckets of equal sizes: g sets of n items with distances (g, n, b) to the centers of b
// buckets, taken in a given order.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// One warp takes a set, as each item waits for the one before; its lanes share the buckets. Of
// equal distances the first bucket wins.
extern "C" __global__ void numcore_assign_evenly(const REAL* __restrict__ distances,
                                                 const i64* __restrict__ order,
                                                 i64* __restrict__ bucket, i64* counts, index_t g,
                                                 index_t n, index_t b) {
  for (index_t set = thread_index() / 32; set < g; set += thread_count() / 32) {
    i64 larger = n % b, *count = counts + set * b;
    for (index_t step = 0; step < n; step++) {
      index_t i = order[set * n + step];
      const REAL* row = distances + (set * n + i) * b;
      index_t best = b;
      for (index_t c = lane_index(); c < b; c += 32) {
        bool full = count[c] > n / b || (count[c] == n / b && larger == 0);
        if (!full && (best == b || row[c] < row[best])) best = c;
      }
      for (int distance = 16; distance; distance >>= 1) {
        index_t other = __shfl_xor_sync(FULL_WARP, best, distance);
        if (other < b &&
            (best == b || row[other] < row[best] || (row[other] == row[best] && other < best)))
          best = other;
      }
      if (count[best] == n / b) larger--;
      __syncwarp();
      if (lane_index() == 0) count[best]++, bucket[set * n + i] = best;
      __syncwarp();
    }
  }
}
