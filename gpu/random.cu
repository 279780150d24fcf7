// Philox4x32-10 and numbers made of its words. One thread takes the four words of one counter.
#include "numcore.cuh"
#include "philox.cuh"

#ifndef REAL
#define REAL float
#endif

// words (n, 4): words[i] are those of the counter (high, low) + i; a carry goes from the low half
// into the high one.
extern "C" __global__ void numcore_philox_fill(u32* __restrict__ words, u32 k0, u32 k1, u64 low,
                                               u64 high, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    u64 first = low + (u64)i;
    Words w = philox4x32(first, high + (first < low), k0, k1);
    words[4 * i] = w.a, words[4 * i + 1] = w.b, words[4 * i + 2] = w.c, words[4 * i + 3] = w.d;
  }
}

// u (n, m): m = 4 numbers of 24 bits or m = 2 numbers of 53 bits in [0, 1) from the words of
// counter i.
extern "C" __global__ void numcore_uniform_fill(REAL* __restrict__ u, u32 k0, u32 k1, index_t n,
                                                index_t m) {
  const double to24 = 1.0 / 16777216, to53 = 1.0 / 9007199254740992, two26 = 67108864;
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    Words w = philox4x32((u64)i, 0, k0, k1);
    if (m == 4) {
      u[4 * i] = (REAL)((w.a >> 8) * to24), u[4 * i + 1] = (REAL)((w.b >> 8) * to24);
      u[4 * i + 2] = (REAL)((w.c >> 8) * to24), u[4 * i + 3] = (REAL)((w.d >> 8) * to24);
    } else if (m == 2) {
      u[2 * i] = (REAL)(((w.a >> 5) * two26 + (w.b >> 6)) * to53),
            u[2 * i + 1] = (REAL)(((w.c >> 5) * two26 + (w.d >> 6)) * to53);
    }
  }
}
