// Vector kernels of the conjugate direction method: adding a multiple of a vector, inner products
// by blocks, and a sparse product fused with them.
#include "numcore.cuh"

#ifndef INDEX
#define INDEX int
#endif
#ifndef REAL
#define REAL float
#endif

extern "C" __global__ void numcore_add_multiple(const REAL* __restrict__ x, REAL* y, double factor,
                                                index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) y[i] += (REAL)factor * x[i];
}

// Sums of x x, x y and y y over a block of numbers.
struct Sums {
  double own = 0, both = 0, squares = 0;
  __device__ void add(double x, double y) { own += x * x, both += x * y, squares += y * y; }
  __device__ void store(double* part) {
    own = block_sum(own), both = block_sum(both), squares = block_sum(squares);
    if (index_in_block() == 0) part[0] = own, part[1] = both, part[2] = squares;
  }
};

extern "C" __global__ void numcore_sums_of_products(const REAL* __restrict__ x,
                                                    const REAL* __restrict__ y,
                                                    double* __restrict__ parts, index_t n,
                                                    index_t g) {
  for (index_t block = block_index(); block < g; block += block_count()) {
    Sums sums;
    for (index_t i = block * BLOCK + index_in_block(); i < min((block + 1) * BLOCK, n);
         i += block_size())
      sums.add(x[i], y[i]);
    sums.store(parts + 3 * block);
  }
}

// One thread block per block of rows, one thread per row.
extern "C" __global__ void numcore_rows_and_sums(const INDEX* __restrict__ indptr,
                                                 const INDEX* __restrict__ indices,
                                                 const REAL* __restrict__ data,
                                                 const REAL* __restrict__ x,
                                                 const REAL* __restrict__ b, double sign,
                                                 REAL* __restrict__ y, double* __restrict__ parts,
                                                 index_t z, index_t n, index_t q, index_t g) {
  for (index_t block = block_index(); block < g; block += block_count()) {
    Sums sums;
    for (index_t i = block * BLOCK + index_in_block(); i < min((block + 1) * BLOCK, n);
         i += block_size()) {
      double sum = 0;
      for (index_t e = indptr[i]; e < indptr[i + 1]; e++) sum += data[e] * (double)x[indices[e]];
      y[i] = sign * sum + (q > 0 ? b[i] : 0);
      sums.add(x[i], y[i]);
    }
    sums.store(parts + 3 * block);
  }
}
