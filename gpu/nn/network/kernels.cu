// A nonlinear layer on Taylor coefficients. Elements are rows of h numbers behind each other; u
// (size) holds the values, `more` (e, p) the u_k of D directions, then the u_kk. They repeat after
// p elements: in the first layer p = h, and there is no u_kk; else p = size. y and g (c, size) have
// all coefficients. m is the order: 0, 1 or 2. A thread takes one element with all its
// coefficients, so that neighbors read neighbors in every row.
#include "activation.cuh"

// y = coefficients of s(u + b); u becomes s', and `higher` (m, size) s'' and s'''.
template <typename Kind>
__device__ __forceinline__ void layer(REAL* u, const REAL* more, const REAL* b, REAL* y,
                                      REAL* higher, index_t size, index_t e, index_t p, index_t h,
                                      index_t c, index_t m) {
  const index_t d = (c - 1) / (m > 1 ? m : 1);
  for (index_t i = thread_index(); i < size; i += thread_count()) {
    const numcore::Derivatives<REAL> at = Kind::at(u[i] + b[i % h]);
    y[i] = at.s;
    u[i] = at.s1;
    if (m > 0) higher[i] = at.s2;
    if (m > 1) higher[size + i] = at.s3;
    for (index_t k = 0; m > 0 && k < d; k++) {
      const REAL u_k = more[k * p + i % p];
      y[(1 + k) * size + i] = at.s1 * u_k;
      if (m > 1)
        y[(1 + d + k) * size + i] = at.s2 * u_k * u_k + at.s1 * (e > d ? more[(d + k) * p + i] : 0);
    }
  }
}

#define LAYER(name, Kind)                                                                  \
  extern "C" __global__ void numcore_mlp_layer_##name(                                     \
      REAL* __restrict__ u, const REAL* __restrict__ more, const REAL* __restrict__ b,     \
      REAL* __restrict__ y, REAL* __restrict__ higher, index_t size, index_t e, index_t p, \
      index_t h, index_t c, index_t m) {                                                   \
    layer<numcore::Kind>(u, more, b, y, higher, size, e, p, h, c, m);                      \
  }

LAYER(relu, Relu)
LAYER(tanh, Tanh)
LAYER(gelu, Gelu)
LAYER(silu, Silu)
LAYER(sigmoid, Sigmoid)
LAYER(sin, Sin)
LAYER(softplus, Softplus)

// Cotangents g of the coefficients of s(u) become those of u; u holds s', `higher` s'' and s'''.
extern "C" __global__ void numcore_mlp_layer_vjp(const REAL* __restrict__ u,
                                                 const REAL* __restrict__ more,
                                                 const REAL* __restrict__ higher,
                                                 REAL* __restrict__ g, index_t size, index_t e,
                                                 index_t p, index_t m, index_t c) {
  const index_t d = (c - 1) / (m > 1 ? m : 1);
  for (index_t i = thread_index(); i < size; i += thread_count()) {
    const REAL s1 = u[i], s2 = m > 0 ? higher[i] : 0, s3 = m > 1 ? higher[size + i] : 0;
    REAL sum = s1 * g[i];
    for (index_t k = 0; m > 0 && k < d; k++) {
      const REAL u_k = more[k * p + i % p], bend = s2 * u_k, g_k = g[(1 + k) * size + i];
      REAL cotangent = s1 * g_k;
      sum += bend * g_k;
      if (m > 1) {
        const REAL u_kk = e > d ? more[(d + k) * p + i] : 0, second = g[(1 + d + k) * size + i];
        sum += (s3 * u_k * u_k + s2 * u_kk) * second;
        cotangent += (bend + bend) * second;
        g[(1 + d + k) * size + i] = s1 * second;
      }
      g[(1 + k) * size + i] = cotangent;
    }
    g[i] = sum;
  }
}
