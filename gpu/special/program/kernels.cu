// Register machines for straight-line programs: values at points.
// code is (p, m, 4) rows (opcode, a, b, c), ends (p, 2) the number of rows and the result's
// register, constants (p, k), x (n). A thread takes a point through the whole program; its
// registers lie in local memory, which neighbouring threads read side by side.
#include "program.cuh"

// values: y is (p, n). One thread takes a point of all programs, then the point a grid further.
extern "C" __global__ void numcore_program_values(const int* __restrict__ code,
                                                  const int* __restrict__ ends,
                                                  const REAL* __restrict__ constants,
                                                  const REAL* __restrict__ x, REAL* __restrict__ y,
                                                  index_t p, index_t m, index_t k, index_t n) {
  REAL registers[MAX_REGISTERS];
  for (index_t j = thread_index(); j < n; j += thread_count())
    for (index_t i = 0; i < p; i++) {
      numcore::load_registers(registers, x[j], constants + i * k, int(k));
      y[i * n + j] = numcore::run(registers, code + i * m * 4, ends + 2 * i, int(k), int(m));
    }
}
