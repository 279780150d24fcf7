// Losses of linear models, in place of the products x.w: logistic (0), hinge (1), squared (2), with
// labels or targets y.
#include "elementary.cuh"
#include "numcore.cuh"

extern "C" __global__ void numcore_margin_losses(REAL* __restrict__ loss,
                                                 const REAL* __restrict__ y, REAL b, REAL each,
                                                 i64 kind, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    REAL margin = loss[i] + b, label = y[i];
    if (kind == SQUARED) {
      loss[i] = square(margin - label) + each;
    } else {
      margin = (label > 0 ? -margin : margin) + (label - label);  // NaN for the label NaN
      if (kind == HINGE) margin = 1 + margin < 0 ? REAL(0) : 1 + margin;
      loss[i] = (kind == LOGISTIC ? numcore::softplus(margin) : margin) + each;
    }
  }
}
