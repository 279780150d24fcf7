// CUDA bodies of the kernels in toys.py.
#include "elementary.cuh"
#include "numcore.cuh"

#ifndef I
#define I u32
#endif
#ifndef REAL
#define REAL float
#endif

extern "C" __global__ void numcore_row_statistic(const REAL* __restrict__ a, REAL* __restrict__ y,
                                                 REAL scale, index_t n, index_t d) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    REAL low = a[i * d], high = low, total = 0;
    for (index_t j = 0; j < d; j++) {
      REAL x = a[i * d + j];
      low = min(low, x), high = max(high, x);
      total += (j == 0 || j == d - 1 ? REPEATS - 1 : REPEATS) * x * x;
    }
    if (d == 1) total = 0;
    y[i] = scale * total + exp((double)low) / (1 + high * high);
  }
}

extern "C" __global__ void numcore_count_ones(const I* __restrict__ words, i64* __restrict__ ones,
                                              index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) ones[i] = __popcll(words[i]);
}

extern "C" __global__ void numcore_scaled_tanh(const REAL* __restrict__ x, REAL* __restrict__ y,
                                               REAL scale, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) y[i] = scale * numcore::tanh(x[i]);
}

extern "C" __global__ void numcore_halve(const REAL* __restrict__ x, REAL* __restrict__ y,
                                         index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) y[i] = x[i] * (REAL)0.5;
}
