// Losses of linear models: logistic (0), hinge (1), squared (2) of rows x (n, d) with labels y, coefficients w (d), intercept b.
#include "elementary.cuh"
#include "numcore.cuh"

// One warp takes a row.
extern "C" __global__ void numcore_linear_losses(const REAL* __restrict__ x, const REAL* __restrict__ y, const REAL* __restrict__ w, REAL b,
                                                 REAL each, i64 kind, REAL* __restrict__ loss, index_t n, index_t d) {
    for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
        REAL sum = 0;
        for (index_t c = lane_index(); c < d; c += 32) sum += x[i * d + c] * w[c];
        sum = warp_sum(sum);
        if (lane_index()) continue;
        REAL margin = sum + b;
        if (kind == 2) {
            loss[i] = square(margin - y[i]) + each;
        } else {
            margin = (y[i] > 0 ? -margin : margin) + (y[i] - y[i]);  // NaN for the label NaN
            if (kind == 1) margin = 1 + margin < 0 ? REAL(0) : 1 + margin;
            loss[i] = (kind == 0 ? numcore::softplus(margin) : margin) + each;
        }
    }
}
