// One point through one straight-line program: what the register machines of special/program.cu and
// special/fit.cu share.
#pragma once
#include "numcore.cuh"

namespace numcore {

__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

// A register number as one that exists: whatever the code says, nothing outside the registers is
// read.
__device__ __forceinline__ int within(int register_number, int last) {
  return min(max(register_number, 0), last);
}

// The sign of the divisor of every instruction, one bit each.
struct Signs {
  u32 words[MAX_REGISTERS / 32];
  __device__ __forceinline__ Signs() {
    for (int w = 0; w < MAX_REGISTERS / 32; w++) words[w] = 0;
  }
  __device__ __forceinline__ void set(int s, bool negative) {
    words[s >> 5] = (words[s >> 5] & ~(1u << (s & 31))) | (u32(negative) << (s & 31));
  }
  __device__ __forceinline__ bool differ(const Signs& other) const {
    u32 any = 0;
    for (int w = 0; w < MAX_REGISTERS / 32; w++) any |= words[w] ^ other.words[w];
    return any != 0;
  }
};

template <typename T>
__device__ __forceinline__ void load_registers(T* registers, T x, const T* constants, int k) {
  registers[0] = x;
  for (int r = 0; r < k; r++) registers[1 + r] = constants[r];
}

// registers[0] is x, registers[1 .. k] are constants; row s writes registers[1 + k + s].
template <typename T>
__device__ T run(T* registers, const int* code, const int* ends, int k, int m,
                 Signs* signs = nullptr) {
  int rows = within(ends[0], m);
  for (int s = 0; s < rows; s++) {
    int opcode = code[4 * s], last = k + s;
    T a = registers[within(code[4 * s + 1], last)], b = registers[within(code[4 * s + 2], last)];
    T value;
    if (opcode == ADD)
      value = a + b;
    else if (opcode == SUB)
      value = a - b;
    else if (opcode == MUL)
      value = a * b;
    else if (opcode == DIV)
      value = a / b;
    else
      value = fused(a, b, registers[within(code[4 * s + 3], last)]);
    if (opcode == DIV && signs) signs->set(s, copysign(T(1), b) < T(0));
    registers[last + 1] = value;
  }
  return registers[within(ends[1], k + m)];
}

}  // namespace numcore
