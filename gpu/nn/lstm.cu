// One step of a long short-term memory, what follows the matrix products: gates, memory, output, and their gradients.
//
// gates (n, 4 h) holds i, f, g and o side by side. A block takes one row of the batch, each thread every 128th unit, so that reads and
// writes of a warp lie side by side.
#include "numcore.cuh"
#include "elementary.cuh"

extern "C" __global__ void numcore_lstm_step(REAL* __restrict__ gates, const REAL* __restrict__ recurrent, const REAL* __restrict__ b,
                                             const REAL* __restrict__ c_before, REAL* __restrict__ c, REAL* __restrict__ y, index_t n,
                                             index_t h) {
    for (index_t s = block_index(); s < n; s += block_count()) {
        REAL* a = gates + s * 4 * h;
        const REAL* r = recurrent + s * 4 * h;
        for (index_t j = index_in_block(); j < h; j += block_size()) {
            const REAL i = numcore::sigmoid(a[j] + r[j] + b[j]);
            const REAL f = numcore::sigmoid(a[h + j] + r[h + j] + b[h + j]);
            const REAL g = numcore::tanh(a[2 * h + j] + r[2 * h + j] + b[2 * h + j]);
            const REAL o = numcore::sigmoid(a[3 * h + j] + r[3 * h + j] + b[3 * h + j]);
            const REAL memory = f * c_before[s * h + j] + i * g;
            a[j] = i, a[h + j] = f, a[2 * h + j] = g, a[3 * h + j] = o;
            c[s * h + j] = memory;
            y[s * h + j] = o * numcore::tanh(memory);
        }
    }
}

extern "C" __global__ void numcore_lstm_step_vjp(const REAL* __restrict__ gates, const REAL* __restrict__ c_before,
                                                 const REAL* __restrict__ c, const REAL* __restrict__ grad_y,
                                                 const REAL* __restrict__ grad_h, REAL* __restrict__ grad_c, REAL* __restrict__ grad_a,
                                                 index_t n, index_t h) {
    for (index_t s = block_index(); s < n; s += block_count()) {
        const REAL* a = gates + s * 4 * h;
        REAL* da = grad_a + s * 4 * h;
        for (index_t j = index_in_block(); j < h; j += block_size()) {
            const REAL i = a[j], f = a[h + j], g = a[2 * h + j], o = a[3 * h + j];
            const REAL t = numcore::tanh(c[s * h + j]), d = grad_y[s * h + j] + grad_h[s * h + j];
            const REAL dc = grad_c[s * h + j] + d * o * (1 - t * t);
            da[j] = dc * g * i * (1 - i);
            da[h + j] = dc * c_before[s * h + j] * f * (1 - f);
            da[2 * h + j] = dc * i * (1 - g * g);
            da[3 * h + j] = d * t * o * (1 - o);
            grad_c[s * h + j] = dc * f;
        }
    }
}
