// Elementary functions, element by element: y[i] = f(x[i]), x and y of n elements. One thread takes
// one element, then the one a grid further. The functions are those of elementary.cuh; REAL is
// float or double. Reading x and writing y takes longer than the arithmetic in between.
#include "elementary.cuh"

#define NUMCORE_ELEMENTWISE(name)                                                             \
  extern "C" __global__ void numcore_##name(const REAL* __restrict__ x, REAL* __restrict__ y, \
                                            index_t n) {                                      \
    for (index_t i = thread_index(); i < n; i += thread_count()) y[i] = numcore::name(x[i]);  \
  }

NUMCORE_ELEMENTWISE(exp)
NUMCORE_ELEMENTWISE(exp2)
NUMCORE_ELEMENTWISE(expm1)
NUMCORE_ELEMENTWISE(log)
NUMCORE_ELEMENTWISE(log2)
NUMCORE_ELEMENTWISE(log1p)
NUMCORE_ELEMENTWISE(sin)
NUMCORE_ELEMENTWISE(cos)
NUMCORE_ELEMENTWISE(tanh)
NUMCORE_ELEMENTWISE(sigmoid)
NUMCORE_ELEMENTWISE(softplus)
NUMCORE_ELEMENTWISE(erf)
