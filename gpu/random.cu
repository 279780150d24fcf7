// Philox4x32-10: words[i] = P(counter + i) under the key (k0, k1).  words is (n, 4).
// One thread makes the four words of one counter; the 128-bit counter is (high, low), its low 64 bits carry into the high ones.
#include "numcore.cuh"

extern "C" __global__ void numcore_philox_fill(unsigned* __restrict__ words, unsigned k0, unsigned k1, unsigned long long low,
                                               unsigned long long high, index_t n) {
    for (index_t i = thread_index(); i < n; i += thread_count()) {
        unsigned long long first = low + (unsigned long long)i, second = high + (first < low);
        unsigned c0 = (unsigned)first, c1 = (unsigned)(first >> 32), c2 = (unsigned)second, c3 = (unsigned)(second >> 32);
        unsigned a = k0, b = k1;
        for (int round = 0; round < 10; round++) {
            unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
            unsigned h2 = __umulhi(0xCD9E8D57u, c2), l2 = 0xCD9E8D57u * c2;
            c0 = h2 ^ c1 ^ a, c1 = l2, c2 = h0 ^ c3 ^ b, c3 = l0;
            a += 0x9E3779B9u, b += 0xBB67AE85u;
        }
        words[4 * i] = c0, words[4 * i + 1] = c1, words[4 * i + 2] = c2, words[4 * i + 3] = c3;
    }
}
