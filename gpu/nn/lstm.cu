// A long short-term memory over all steps: the recurrent product, gates, memory and output of a
// step, and their gradients.
//
// gates (steps, n, 4 h) holds i, f, g and o side by side. A block takes 4 rows of the batch through
// all steps, each thread every 128th unit with its four gates: a weight that is read, side by side
// with those of the other threads of a warp, serves 4 rows. Outputs of a step are read by the whole
// block in the next one, so that a barrier stands between.
#include "elementary.cuh"
#include "numcore.cuh"

constexpr int EACH = 4;

extern "C" __global__ void numcore_lstm_steps(const REAL* __restrict__ w_h,
                                              const REAL* __restrict__ b, REAL* __restrict__ gates,
                                              REAL* hs, REAL* __restrict__ cs, index_t h,
                                              index_t steps, index_t n) {
  for (index_t first = block_index() * EACH; first < n; first += block_count() * EACH) {
    const int rows = n - first < EACH ? n - first : EACH;
    for (index_t t = 0; t < steps; t++) {
      const REAL* last = hs + (t * n + first) * h;
      for (index_t j = index_in_block(); j < h; j += block_size()) {
        REAL sums[EACH][4] = {};
        for (index_t p = 0; p < h; p++) {
          const REAL* w = w_h + p * 4 * h + j;
          const REAL weight[4] = {w[0], w[h], w[2 * h], w[3 * h]};
          for (int s = 0; s < EACH; s++) {
            const REAL x = s < rows ? last[s * h + p] : 0;
            for (int k = 0; k < 4; k++) sums[s][k] += x * weight[k];
          }
        }
        for (int s = 0; s < EACH; s++) {
          if (s >= rows) break;
          REAL* a = gates + (t * n + first + s) * 4 * h + j;
          const index_t old = (t * n + first + s) * h + j, now = old + n * h;
          const REAL i = numcore::sigmoid(a[0] + (sums[s][0] + b[j]));
          const REAL f = numcore::sigmoid(a[h] + (sums[s][1] + b[h + j]));
          const REAL g = numcore::tanh(a[2 * h] + (sums[s][2] + b[2 * h + j]));
          const REAL o = numcore::sigmoid(a[3 * h] + (sums[s][3] + b[3 * h + j]));
          const REAL c = f * cs[old] + i * g;
          a[0] = i, a[h] = f, a[2 * h] = g, a[3 * h] = o;
          cs[now] = c;
          hs[now] = o * numcore::tanh(c);
        }
      }
      __syncthreads();
    }
  }
}

extern "C" __global__ void numcore_lstm_steps_vjp(
    const REAL* __restrict__ w_t, const REAL* __restrict__ gates, const REAL* __restrict__ cs,
    const REAL* __restrict__ grad_ys, REAL* __restrict__ grad_h, REAL* __restrict__ grad_c,
    REAL* grad_a, index_t h, index_t steps, index_t n, index_t given) {
  for (index_t first = block_index() * EACH; first < n; first += block_count() * EACH) {
    const int rows = n - first < EACH ? n - first : EACH;
    for (index_t t = steps - 1; t >= 0; t--) {
      for (index_t j = index_in_block(); j < h; j += block_size()) {
        for (int s = 0; s < rows; s++) {
          const index_t row = first + s, here = row * h + j, old = t * n * h + here;
          const REAL* a = gates + (t * n + row) * 4 * h + j;
          REAL* da = grad_a + (t * n + row) * 4 * h + j;
          const REAL i = a[0], f = a[h], g = a[2 * h], o = a[3 * h],
                     u = numcore::tanh(cs[old + n * h]);
          const REAL dh = grad_h[here] + (t < given ? grad_ys[old] : 0),
                     dc = grad_c[here] + dh * o * (1 - u * u);
          da[0] = dc * g * i * (1 - i);
          da[h] = dc * cs[old] * f * (1 - f);
          da[2 * h] = dc * i * (1 - g * g);
          da[3 * h] = dh * u * o * (1 - o);
          grad_c[here] = dc * f;
        }
      }
      __syncthreads();
      const REAL* da = grad_a + (t * n + first) * 4 * h;
      for (index_t j = index_in_block(); j < h; j += block_size()) {
        REAL sums[EACH] = {};
        for (index_t p = 0; p < 4 * h; p++) {
          const REAL weight = w_t[p * h + j];
          for (int s = 0; s < EACH; s++) sums[s] += (s < rows ? da[s * 4 * h + p] : 0) * weight;
        }
        for (int s = 0; s < EACH; s++)
          if (s < rows) grad_h[(first + s) * h + j] = sums[s];
      }
    }
  }
}
