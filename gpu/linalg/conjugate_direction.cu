// What conjugate directions do with vectors: multiples that are added, and rows of a sparse product with the sums that come with them.
#include "numcore.cuh"

#ifndef INDEX
#define INDEX int
#endif
#ifndef REAL
#define REAL float
#endif
#define BLOCK 2048

extern "C" __global__ void numcore_add_multiple(const REAL* __restrict__ x, REAL* y, double factor, index_t n) {
    for (index_t i = thread_index(); i < n; i += thread_count()) y[i] += (REAL)factor * x[i];
}

// One block of threads takes a block of rows, a thread a row.
extern "C" __global__ void numcore_rows_and_sums(const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
                                                 const REAL* __restrict__ data, const REAL* __restrict__ x, const REAL* __restrict__ b,
                                                 double sign, REAL* __restrict__ y, double* __restrict__ parts, index_t z, index_t n,
                                                 index_t q, index_t g) {
    for (index_t block = block_index(); block < g; block += block_count()) {
        double squares = 0, both = 0, own = 0;
        for (index_t i = block * BLOCK + index_in_block(); i < min((block + 1) * BLOCK, n); i += block_size()) {
            double sum = 0;
            for (index_t e = indptr[i]; e < indptr[i + 1]; e++) sum += data[e] * (double)x[indices[e]];
            y[i] = sign * sum + (q > 0 ? b[i] : 0);
            double value = y[i], other = x[i];
            squares += value * value, both += other * value, own += other * other;
        }
        squares = block_sum(squares), both = block_sum(both), own = block_sum(own);
        if (index_in_block() == 0) parts[3 * block] = squares, parts[3 * block + 1] = both, parts[3 * block + 2] = own;
    }
}
