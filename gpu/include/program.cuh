// One point through one straight-line program, for the register machine of special/program.cu.
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

template <typename T>
__device__ __forceinline__ void load_registers(T* registers, T x, const T* constants, int k) {
  registers[0] = x;
  for (int r = 0; r < k; r++) registers[1 + r] = constants[r];
}

// registers[0] is x, registers[1 .. k] are constants; row s writes registers[1 + k + s].
template <typename T>
__device__ T run(T* registers, const int* code, const int* ends, int k, int m) {
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
    registers[last + 1] = value;
  }
  return registers[within(ends[1], k + m)];
}

}  // namespace numcore
