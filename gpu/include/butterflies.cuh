// Levels of the Walsh-Hadamard transform in shared memory.
#pragma once
#include "numcore.cuh"

// All threads of the block: levels h = unit, 2 unit, ... below n, over n elements of shared memory.
__device__ void butterflies(REAL* s, index_t n, index_t unit) {
  for (index_t h = unit; h < n; h *= 2) {
    __syncthreads();
    for (index_t k = index_in_block(); k < n / 2; k += block_size()) {
      index_t j = k / h * 2 * h + k % h;
      REAL a = s[j], b = s[j + h];
      s[j] = a + b, s[j + h] = a - b;
    }
  }
  __syncthreads();
}
