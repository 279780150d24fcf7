// Register machines for straight-line programs: values at points, and largest errors.
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

// errors: target and weight are (n), error is (p). One block takes one program; every thread also
// knows the signs of the divisors at x[0], with which it compares those at its own points.
extern "C" __global__ void numcore_program_errors(
    const int* __restrict__ code, const int* __restrict__ ends, const REAL* __restrict__ constants,
    const REAL* __restrict__ x, const REAL* __restrict__ target, const REAL* __restrict__ weight,
    REAL* __restrict__ error, index_t p, index_t m, index_t k, index_t n) {
  REAL registers[MAX_REGISTERS];
  for (index_t i = block_index(); i < p; i += block_count()) {
    REAL worst = 0;
    numcore::Signs first, here;
    for (index_t j = index_in_block(); j < n; j += block_size()) {
      if (j == index_in_block()) {
        numcore::load_registers(registers, x[0], constants + i * k, int(k));
        numcore::run(registers, code + i * m * 4, ends + 2 * i, int(k), int(m), &first);
      }
      numcore::load_registers(registers, x[j], constants + i * k, int(k));
      REAL value = numcore::run(registers, code + i * m * 4, ends + 2 * i, int(k), int(m), &here);
      REAL e = abs(value - target[j]) * weight[j];
      bool fine = e < Limits<REAL>::infinity() && !here.differ(first);
      worst = max(worst, fine ? e : Limits<REAL>::infinity());
    }
    worst = block_max(worst);
    if (index_in_block() == 0) error[i] = worst;
  }
}
