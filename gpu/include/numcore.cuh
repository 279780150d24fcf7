// What every kernel needs: sizes, thread indices, constants, reductions over a warp and over a
// block.
//
// Compiled by NVRTC for the device and by a C++ compiler for the simulated device, so there is no
// standard header here. Threads are counted in one dimension: threadIdx.x fastest, then y, then z;
// blocks likewise.
#pragma once

typedef long long index_t;
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

#define FULL_WARP 0xffffffffu

// DYNAMIC_SHARED(float, tile);  declares float* tile, the shared memory whose size the launch
// gives, aligned for float4.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(T, name)                                           \
  extern __shared__ __align__(16) unsigned char numcore_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(numcore_dynamic_shared)
#endif

// Numbers of a type

template <typename T>
struct Limits;
template <>
struct Limits<float> {
  static __device__ float infinity() { return __int_as_float(0x7f800000); }
  static __device__ float nan() { return __int_as_float(0x7fc00000); }
  static __device__ float epsilon() { return 1.1920928955078125e-07f; }
  static __device__ float smallest_normal() { return 1.17549435082228750797e-38f; }
};
template <>
struct Limits<double> {
  static __device__ double infinity() { return __longlong_as_double(0x7ff0000000000000ll); }
  static __device__ double nan() { return __longlong_as_double(0x7ff8000000000000ll); }
  static __device__ double epsilon() { return 2.220446049250313080847e-16; }
  static __device__ double smallest_normal() { return 2.22507385850720138309e-308; }
};

template <typename T>
__device__ __forceinline__ T square(T x) {
  return x * x;
}
__device__ __forceinline__ index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

// Indices

__device__ __forceinline__ int block_size() { return blockDim.x * blockDim.y * blockDim.z; }
__device__ __forceinline__ int index_in_block() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ __forceinline__ int lane_index() { return index_in_block() & 31; }
__device__ __forceinline__ int warp_index() { return index_in_block() >> 5; }
__device__ __forceinline__ int warp_count() { return (block_size() + 31) >> 5; }
__device__ __forceinline__ index_t block_index() {
  return blockIdx.x + gridDim.x * (blockIdx.y + static_cast<index_t>(gridDim.y) * blockIdx.z);
}
__device__ __forceinline__ index_t block_count() {
  return static_cast<index_t>(gridDim.x) * gridDim.y * gridDim.z;
}

// for (index_t i = thread_index(); i < n; i += thread_count()): any launch covers any n.
__device__ __forceinline__ index_t thread_index() {
  return block_index() * block_size() + index_in_block();
}
__device__ __forceinline__ index_t thread_count() { return block_count() * block_size(); }

// Reductions: every thread calls, every thread gets the same result.
// A block's size must be a multiple of 32, as the shuffles take full warps. The functors' first
// value is one that changes nothing.

struct Sum {
  template <typename T>
  static __device__ __forceinline__ T first() {
    return T(0);
  }
  template <typename T>
  static __device__ __forceinline__ T join(T a, T b) {
    return a + b;
  }
};
struct Max {  // ignores NaN
  template <typename T>
  static __device__ __forceinline__ T first() {
    return -Limits<T>::infinity();
  }
  template <typename T>
  static __device__ __forceinline__ T join(T a, T b) {
    return max(a, b);
  }
};
struct Min {  // ignores NaN
  template <typename T>
  static __device__ __forceinline__ T first() {
    return Limits<T>::infinity();
  }
  template <typename T>
  static __device__ __forceinline__ T join(T a, T b) {
    return min(a, b);
  }
};

template <typename Operation, typename T>
__device__ __forceinline__ T warp_reduce(T value) {
  for (int distance = 16; distance; distance >>= 1)
    value = Operation::join(value, __shfl_xor_sync(FULL_WARP, value, distance));
  return value;
}

template <typename Operation, typename T>
__device__ T block_reduce(T value) {
  __shared__ T parts[32];
  value = warp_reduce<Operation>(value);
  if (lane_index() == 0) parts[warp_index()] = value;
  __syncthreads();
  value = lane_index() < warp_count() ? parts[lane_index()] : Operation::template first<T>();
  __syncthreads();  // parts may be written again as soon as this function returns
  return warp_reduce<Operation>(value);
}

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce<Sum>(value);
}
template <typename T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce<Max>(value);
}
template <typename T>
__device__ __forceinline__ T warp_min(T value) {
  return warp_reduce<Min>(value);
}
template <typename T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce<Sum>(value);
}
template <typename T>
__device__ __forceinline__ T block_max(T value) {
  return block_reduce<Max>(value);
}
template <typename T>
__device__ __forceinline__ T block_min(T value) {
  return block_reduce<Min>(value);
}
