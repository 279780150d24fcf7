// Sparse matrices by rows: products with x (n) and x (n, k), sweeps x_i += omega (b_i - sum_j a_ij
// x_j) / a_ii, and first-fit coloring. Sums are in double.
#include "numcore.cuh"

#ifndef INDEX
#define INDEX int
#endif
#ifndef REAL
#define REAL float
#endif

__device__ double lane_product(const INDEX* indptr, const INDEX* indices, const REAL* data,
                               const REAL* x, index_t i) {
  double sum = 0;
  for (index_t e = indptr[i] + lane_index(); e < indptr[i + 1]; e += 32)
    sum += data[e] * (double)x[indices[e]];
  return sum;
}

__device__ double thread_product(const INDEX* indptr, const INDEX* indices, const REAL* data,
                                 const REAL* x, index_t i) {
  double sum = 0;
  for (index_t e = indptr[i]; e < indptr[i + 1]; e++) sum += data[e] * (double)x[indices[e]];
  return sum;
}

// One warp per row.
extern "C" __global__ void numcore_csr_times_vector(const INDEX* __restrict__ indptr,
                                                    const INDEX* __restrict__ indices,
                                                    const REAL* __restrict__ data,
                                                    const REAL* __restrict__ x,
                                                    REAL* __restrict__ y, index_t z, index_t n,
                                                    index_t m) {
  for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
    double sum = warp_sum(lane_product(indptr, indices, data, x, i));
    if (lane_index() == 0) y[i] = sum;
  }
}

// One warp per row; its lanes read neighboring columns of x.
extern "C" __global__ void numcore_csr_times_matrix(const INDEX* __restrict__ indptr,
                                                    const INDEX* __restrict__ indices,
                                                    const REAL* __restrict__ data,
                                                    const REAL* __restrict__ x,
                                                    REAL* __restrict__ y, index_t z, index_t n,
                                                    index_t k, index_t m) {
  for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32)
    for (index_t c = lane_index(); c < k; c += 32) {
      double sum = 0;
      for (index_t e = indptr[i]; e < indptr[i + 1]; e++)
        sum += data[e] * (double)x[indices[e] * k + c];
      y[i * k + c] = sum;
    }
}

// One thread per graph: first fit is sequential.
extern "C" __global__ void numcore_color_rows(const i64* __restrict__ indptr,
                                              const i64* __restrict__ indices, i64* colors,
                                              index_t g, index_t z, index_t n) {
  for (index_t graph = thread_index(); graph < g; graph += thread_count()) {
    const i64 *first = indptr + graph * (n + 1), *neighbors = indices + graph * z;
    i64* mine = colors + graph * n;
    for (index_t i = 0; i < n; i++) {
      i64 color = -1;
      for (i64 base = 0; color < 0; base += 64) {
        u64 used = 0;
        for (i64 e = first[i]; e < first[i + 1]; e++) {
          i64 j = neighbors[e];
          if (j < i && base <= mine[j] && mine[j] < base + 64) used |= 1ull << (mine[j] - base);
        }
        if (~used) color = base + __popcll(used & ~(used + 1));
      }
      mine[i] = color;
    }
  }
}

// One thread per row of the color.
extern "C" __global__ void numcore_sweep_color(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const i64* __restrict__ rows, const REAL* __restrict__ b, REAL* x, REAL omega, index_t z,
    index_t n, index_t r, index_t k) {
  for (index_t item = thread_index(); item < r; item += thread_count()) {
    index_t i = rows[item];
    for (index_t c = 0; c < k; c++) {
      double residual = b[c * n + i] - thread_product(indptr, indices, data, x + c * n, i);
      x[c * n + i] += omega * inverse[i] * residual;
    }
  }
}
