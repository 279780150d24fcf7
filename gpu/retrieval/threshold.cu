// Pool adjacent violators: g sequences of n sums and weights, whose means must not descend;
// neighbors that do are joined in place.
#include "numcore.cuh"

// One thread takes a sequence, as each step depends on the one before.
extern "C" __global__ void numcore_pool_adjacent_violators(double* sums, double* weights,
                                                           i64* sizes, i64* blocks, index_t g,
                                                           index_t n) {
  for (index_t item = thread_index(); item < g; item += thread_count()) {
    double *s = sums + item * n, *w = weights + item * n;
    i64 *size = sizes + item * n, top = 0;
    for (index_t i = 0; i < n; i++) {
      s[top] = s[i], w[top] = w[i], size[top] = size[i];
      while (top > 0 && s[top - 1] * w[top] >= s[top] * w[top - 1]) {
        s[top - 1] += s[top], w[top - 1] += w[top], size[top - 1] += size[top];
        top--;
      }
      top++;
    }
    blocks[item] = top;
  }
}
