// Adam, one thread to an entry: everything is read once and written once. Sums of squares, a block
// of threads to 4096 entries.
#include "numcore.cuh"

struct Rates {
  REAL beta1, rest1, beta2, rest2, lr, eps, shrink, added;
};

__device__ __forceinline__ void move_means(REAL g, REAL w, REAL& m, REAL& v, const Rates& r) {
  const REAL slope = g + r.added * w;
  m = r.beta1 * m + r.rest1 * slope;
  v = r.beta2 * v + r.rest2 * (slope * slope);
}

__device__ __forceinline__ REAL moved(REAL w, REAL m, REAL v, const Rates& r) {
  return r.shrink * w - r.lr * m / (sqrt(v) + r.eps);
}

extern "C" __global__ void numcore_adam_update(const REAL* __restrict__ g, REAL* __restrict__ w,
                                               REAL* __restrict__ m, REAL* __restrict__ v,
                                               REAL beta1, REAL rest1, REAL beta2, REAL rest2,
                                               REAL lr, REAL eps, REAL shrink, REAL added,
                                               index_t n) {
  const Rates rates{beta1, rest1, beta2, rest2, lr, eps, shrink, added};
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    REAL mean = m[i], square = v[i];
    const REAL before = w[i];
    move_means(g[i], before, mean, square, rates);
    m[i] = mean, v[i] = square, w[i] = moved(before, mean, square, rates);
  }
}

extern "C" __global__ void numcore_amsgrad_update(const REAL* __restrict__ g, REAL* __restrict__ w,
                                                  REAL* __restrict__ m, REAL* __restrict__ v,
                                                  REAL* __restrict__ largest, REAL beta1,
                                                  REAL rest1, REAL beta2, REAL rest2, REAL lr,
                                                  REAL eps, REAL shrink, REAL added, index_t n) {
  const Rates rates{beta1, rest1, beta2, rest2, lr, eps, shrink, added};
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    REAL mean = m[i], square = v[i], top = largest[i];
    const REAL before = w[i];
    move_means(g[i], before, mean, square, rates);
    top = top > square ? top : square;  // a NaN stays
    m[i] = mean, v[i] = square, largest[i] = top, w[i] = moved(before, mean, top, rates);
  }
}

extern "C" __global__ void numcore_squares_in_blocks(const REAL* __restrict__ x,
                                                     double* __restrict__ part, index_t n,
                                                     index_t blocks) {
  for (index_t b = block_index(); b < blocks; b += block_count()) {
    const index_t end = (b + 1) * BLOCK < n ? (b + 1) * BLOCK : n;
    double sum = 0;
    for (index_t i = b * BLOCK + index_in_block(); i < end; i += block_size())
      sum += square(static_cast<double>(x[i]));
    sum = block_sum(sum);
    if (index_in_block() == 0) part[b] = sum;
  }
}
