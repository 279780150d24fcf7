// high + low (g, c, d): the product of u (c, n) and a (n, d) over the rows of each of g groups, in
// twice the precision of double. One block per group; neighboring threads read neighboring columns
// of a.
#include "elementary.cuh"

extern "C" __global__ void numcore_compensated_product(const REAL* a, const REAL* u, double* high,
                                                       double* low, index_t n, index_t d, index_t c,
                                                       index_t g) {
  for (index_t group = block_index(); group < g; group += block_count())
    for (index_t e = index_in_block(); e < c * d; e += block_size()) {
      index_t k = e / d, j = e % d;
      double sum = 0, error = 0;
      for (index_t i = group * n / g; i < (group + 1) * n / g; i++) {
        double x = u[k * n + i], y = a[i * d + j], product = y * x, total = sum + product,
               part = total - sum;
        error += numcore::fused(y, x, -product) + ((sum - (total - part)) + (product - part));
        sum = total;
      }
      high[group * c * d + e] = sum, low[group * c * d + e] = error;
    }
}
