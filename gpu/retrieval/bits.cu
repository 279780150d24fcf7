// Bits in which rows of words differ: a (n, w), b (m, w), distances (n, m).
#include "numcore.cuh"

// One block takes a row of a at a time; each warp takes rows of b, its lanes neighboring words, or
// each thread where rows are short.
extern "C" __global__ void numcore_differing_bits(const u64* __restrict__ a,
                                                  const u64* __restrict__ b,
                                                  int* __restrict__ distances, index_t n, index_t w,
                                                  index_t m) {
  for (index_t i = block_index(); i < n; i += block_count()) {
    if (w < 8) {
      for (index_t j = index_in_block(); j < m; j += block_size()) {
        int ones = 0;
        for (index_t p = 0; p < w; p++) ones += __popcll(a[i * w + p] ^ b[j * w + p]);
        distances[i * m + j] = ones;
      }
      continue;
    }
    for (index_t j = warp_index(); j < m; j += warp_count()) {
      int ones = 0;
      for (index_t p = lane_index(); p < w; p += 32) ones += __popcll(a[i * w + p] ^ b[j * w + p]);
      ones = warp_sum(ones);
      if (lane_index() == 0) distances[i * m + j] = ones;
    }
  }
}
