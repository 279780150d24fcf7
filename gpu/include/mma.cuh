// Tensor cores: c += a · b for a 16 × 8, b 8 × 8, c 16 × 8, spread over the lanes of a warp, in
// float and in double alike.
//
// With g = lane / 4 and t = lane % 4 a lane holds   a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t +
// 4)   b: (t, g), (t + 4, g) c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).   All lanes of
// the warp must call.
#pragma once
#include "numcore.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800

// A float is the sum of two numbers of 11 bits and a rest below 2**-22 of it; of their four
// products the smallest is left out.
__device__ __forceinline__ void split_tf32(float x, unsigned& high, unsigned& low) {
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(high) : "f"(x));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(low) : "f"(x - __uint_as_float(high)));
}

__device__ __forceinline__ void mma_tf32(float (&c)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  asm volatile(  // volatile: all lanes meet here, so it must not move into a branch
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
      "%9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_16x8x8(float (&c)[4], const float (&a)[4],
                                           const float (&b)[2]) {
  unsigned a_high[4], a_low[4], b_high[2], b_low[2];
#pragma unroll
  for (int i = 0; i < 4; i++) split_tf32(a[i], a_high[i], a_low[i]);
#pragma unroll
  for (int i = 0; i < 2; i++) split_tf32(b[i], b_high[i], b_low[i]);
  mma_tf32(c, a_low, b_high);  // small terms first
  mma_tf32(c, a_high, b_low);
  mma_tf32(c, a_high, b_high);
}

__device__ __forceinline__ void mma_8x8x4(double& c0, double& c1, double a, double b) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+d"(c0), "+d"(c1)
               : "d"(a), "d"(b));
}

__device__ __forceinline__ void mma_16x8x8(double (&c)[4], const double (&a)[4],
                                           const double (&b)[2]) {
  mma_8x8x4(c[0], c[1], a[0], b[0]);
  mma_8x8x4(c[2], c[3], a[1], b[0]);
  mma_8x8x4(c[0], c[1], a[2], b[1]);
  mma_8x8x4(c[2], c[3], a[3], b[1]);
}

#else

// Devices without these instructions, and the simulated device: the lanes exchange a and b through
// shared memory.
constexpr int MMA_WARPS = 4;  // warps of a block at most

template <typename T>
__device__ __forceinline__ void mma_16x8x8(T (&c)[4], const T (&a)[4], const T (&b)[2]) {
  __shared__ T held[MMA_WARPS][32][6];
  T(*lanes)[6] = held[warp_index()];
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++) lanes[lane][i] = a[i];
  for (int i = 0; i < 2; i++) lanes[lane][4 + i] = b[i];
  __syncwarp();
#pragma unroll 1
  for (int k = 0; k < 8; k++) {
    const T *left = lanes[4 * g + k % 4] + k / 4 * 2, *right = &lanes[8 * t + k % 4][4 + k / 4];
    c[0] = fma(left[0], right[0], c[0]), c[1] = fma(left[0], right[4 * 6], c[1]);
    c[2] = fma(left[1], right[0], c[2]), c[3] = fma(left[1], right[4 * 6], c[3]);
  }
  __syncwarp();
}

#endif
