// Philox4x32-10: the four random words of a counter, the same as numcore/random.py makes.
#pragma once
#include "numcore.cuh"

struct Words {
  u32 a, b, c, d;
};

// The words of the 128-bit counter (second, first) under the key (k0, k1).
__device__ __forceinline__ Words philox4x32(u64 first, u64 second, u32 k0, u32 k1) {
  u32 c0 = (u32)first, c1 = (u32)(first >> 32), c2 = (u32)second, c3 = (u32)(second >> 32);
  for (int round = 0; round < 10; round++) {
    u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    u32 h2 = __umulhi(0xCD9E8D57u, c2), l2 = 0xCD9E8D57u * c2;
    c0 = h2 ^ c1 ^ k0, c1 = l2, c2 = h0 ^ c3 ^ k1, c3 = l0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// A number of 53 bits in [0, 1).
__device__ __forceinline__ double uniform53(u32 high, u32 low) {
  return ((high >> 5) * 67108864.0 + (low >> 6)) * (1.0 / 9007199254740992.0);
}
