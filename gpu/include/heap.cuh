// The k best so far as a heap whose first entry is the worst; of equal scores the larger index is
// worse.
#pragma once
#include "numcore.cuh"

template <typename T>
__device__ __forceinline__ bool is_worse(T score, i64 i, T other, i64 j) {
  return score < other || (score == other && i > j);
}

// Put a score in the place of the worst.
template <typename T>
__device__ void replace_worst(T* best, i64* at, index_t k, T score, i64 i) {
  index_t place = 0;
  for (index_t child = 1; child < k; child = 2 * place + 1) {
    if (child + 1 < k && is_worse(best[child + 1], at[child + 1], best[child], at[child])) child++;
    if (!is_worse(best[child], at[child], score, i)) break;
    best[place] = best[child], at[place] = at[child];
    place = child;
  }
  best[place] = score, at[place] = i;
}
