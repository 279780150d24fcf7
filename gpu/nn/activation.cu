// Nonlinearities of every element, y = s(x), and their gradients, grad_x = grad_y s'(x). A thread
// takes one element.
#include "activation.cuh"

template <typename Kind>
__device__ __forceinline__ void forward(const REAL* x, REAL* y, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) y[i] = Kind::at(x[i]).s;
}

template <typename Kind>
__device__ __forceinline__ void backward(const REAL* grad_y, const REAL* x, REAL* grad_x,
                                         index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count())
    grad_x[i] = grad_y[i] * Kind::at(x[i]).s1;
}

#define FORWARD(name, Kind)                                                               \
  extern "C" __global__ void numcore_activation_##name(const REAL* __restrict__ x,        \
                                                       REAL* __restrict__ y, index_t n) { \
    forward<numcore::Kind>(x, y, n);                                                      \
  }
#define BACKWARD(name, Kind)                                                                       \
  extern "C" __global__ void numcore_activation_vjp_##name(const REAL* __restrict__ grad_y,        \
                                                           const REAL* __restrict__ x,             \
                                                           REAL* __restrict__ grad_x, index_t n) { \
    backward<numcore::Kind>(grad_y, x, grad_x, n);                                                 \
  }

FORWARD(relu, Relu)
FORWARD(gelu, Gelu)
FORWARD(gelu_tanh, GeluTanh)
FORWARD(silu, Silu)
BACKWARD(relu, Relu)
BACKWARD(tanh, Tanh)
BACKWARD(gelu, Gelu)
BACKWARD(gelu_tanh, GeluTanh)
BACKWARD(silu, Silu)
BACKWARD(sigmoid, Sigmoid)
BACKWARD(sin, Sin)
BACKWARD(softplus, Softplus)
