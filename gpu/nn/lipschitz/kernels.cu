// Bounds of A y where every y_j lies between two lines: A y <= A' x + c', with A' = max(A, 0) su +
// min(A, 0) sl and c' = sum over j of max(A, 0) tu + min(A, 0) tl. A is (m, n) and the lines are
// (g, n); see numcore/nn/_lipschitz/kernels.py. One block takes one row of A, its threads neighbouring columns,
// and the constants are summed over the block.
#include "numcore.cuh"

namespace {

// One row; every thread returns the constant.
__device__ double relaxed_row(const double* w, double sign, const double* su, const double* sl,
                              const double* tu, const double* tl, double* a, index_t n) {
  double sum = 0;
  for (index_t j = index_in_block(); j < n; j += block_size()) {
    double v = sign * w[j], positive = v > 0 ? v : 0, negative = v - positive;
    sum += positive * tu[j] + negative * tl[j];
    a[j] = positive * su[j] + negative * sl[j];
  }
  return block_sum(sum);
}

}  // namespace

// a is (m, d), of which the n columns from `at` on are taken. The rows of w, (r, n), if there are
// any, are first added to r rows of a, then taken from r rows, and so on.
extern "C" __global__ void numcore_relax(double* a, double* c, const double* __restrict__ w,
                                         const double* __restrict__ su,
                                         const double* __restrict__ sl,
                                         const double* __restrict__ tu,
                                         const double* __restrict__ tl, i64 at, index_t m,
                                         index_t d, index_t r, index_t n, index_t g) {
  for (index_t i = block_index(); i < m; i += block_count()) {
    index_t lines = i / (m / g) * n;
    double* row = a + i * d + at;
    if (r) {  // every thread adds to the columns that it reads below
      double sign = i / r % 2 == 0 ? 1 : -1;
      for (index_t j = index_in_block(); j < n; j += block_size())
        row[j] += sign * w[i % r * n + j];
    }
    double constant = relaxed_row(row, 1, su + lines, sl + lines, tu + lines, tl + lines, row, n);
    if (index_in_block() == 0) c[i] += constant;
  }
}

// w is (r, n) and m = 2 g r: for each pair of lines the rows of w, then those of -w.
extern "C" __global__ void numcore_relax_rows(
    const double* __restrict__ w, const double* __restrict__ su, const double* __restrict__ sl,
    const double* __restrict__ tu, const double* __restrict__ tl, i64 at, double* __restrict__ a,
    double* __restrict__ c, index_t r, index_t n, index_t g, index_t m, index_t d) {
  for (index_t i = block_index(); i < m; i += block_count()) {
    index_t lines = i / (2 * r) * n;
    double sign = i / r % 2 == 0 ? 1 : -1;
    double constant = relaxed_row(w + i % r * n, sign, su + lines, sl + lines, tu + lines,
                                  tl + lines, a + i * d + at, n);
    if (index_in_block() == 0) c[i] = constant;
  }
}
