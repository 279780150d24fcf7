// Mismatches between a pattern (m) and the windows of each row of a text (b, n): CUDA bodies of
// numcore/retrieval/_text_hamming.py.
//
// A job is a row and a range of windows; a block takes one. Symbols are 8, 16 or 32 bits wide.
#include "numcore.cuh"

#ifndef CODE
#define CODE u8
#endif

#define CHUNK 252  // symbols of the pattern at a time: a counter of 8 bits does not overflow
#define WORDS ((GPU_BLOCK + CHUNK) / 4 + 1)

// 1 in each byte that is equal in a and b.
__device__ __forceinline__ u32 equal_bytes(u32 a, u32 b) {
  u32 z = a ^ b;
  return ~((((z & 0x7f7f7f7fu) + 0x7f7f7f7fu) | z) | 0x7f7f7f7fu) >> 7;
}

// Matches of four neighboring windows for bytes: text and pattern lie in shared memory, four
// symbols are compared in one word.
__device__ void matches_of_bytes(const u8* text, index_t symbols, const u8* pattern, index_t m,
                                 int counts[4]) {
  __shared__ u32 tile[WORDS];
  __shared__ u32 spread[CHUNK];  // each symbol of the pattern in all four bytes
  int t = threadIdx.x;
  for (int i = 0; i < 4; i++) counts[i] = 0;
  for (index_t begin = 0; begin < m; begin += CHUNK) {
    int length = min((index_t)CHUNK, m - begin);
    for (int w = t; w < WORDS; w += blockDim.x) {
      u32 word = 0;
      for (int i = 0; i < 4; i++) {
        index_t at = begin + 4 * w + i;
        if (at < symbols) word |= (u32)text[at] << 8 * i;
      }
      tile[w] = word;
    }
    for (int j = t; j < length; j += blockDim.x) spread[j] = pattern[begin + j] * 0x01010101u;
    __syncthreads();
    u32 four = 0;
    for (int j = 0; j < length; j++) {
      u64 words = tile[t + j / 4] | (u64)tile[t + j / 4 + 1] << 32;
      four += equal_bytes((u32)(words >> 8 * (j % 4)), spread[j]);
    }
    for (int i = 0; i < 4; i++) counts[i] += four >> 8 * i & 255;
    __syncthreads();
  }
}

template <typename Code>
__device__ void matches_of_words(const Code* text, index_t symbols, const Code* pattern, index_t m,
                                 int counts[4]) {
  __shared__ Code tile[GPU_BLOCK + CHUNK];
  __shared__ Code chunk[CHUNK];
  int t = threadIdx.x;
  for (int i = 0; i < 4; i++) counts[i] = 0;
  for (index_t begin = 0; begin < m; begin += CHUNK) {
    int length = min((index_t)CHUNK, m - begin);
    for (int i = t; i < GPU_BLOCK + CHUNK; i += blockDim.x)
      tile[i] = begin + i < symbols ? text[begin + i] : 0;
    for (int j = t; j < length; j += blockDim.x) chunk[j] = pattern[begin + j];
    __syncthreads();
    for (int j = 0; j < length; j++)
      for (int i = 0; i < 4; i++) counts[i] += tile[t + i * 256 + j] == chunk[j];
    __syncthreads();
  }
}

__device__ void window_matches(const u8* text, index_t symbols, const u8* pattern, index_t m,
                               int counts[4]) {
  matches_of_bytes(text, symbols, pattern, m, counts);
}
template <typename Code>
__device__ void window_matches(const Code* text, index_t symbols, const Code* pattern, index_t m,
                               int counts[4]) {
  matches_of_words(text, symbols, pattern, m, counts);
}

// The i-th of the four windows of this thread: neighbors for bytes, 256 apart for wider symbols.
__device__ __forceinline__ int window_in_tile(int i) {
  return sizeof(CODE) == 1 ? 4 * threadIdx.x + i : threadIdx.x + 256 * i;
}

// text (b, n), pattern (m,), jobs (q, 3) → distances (b, w) less the matches
extern "C" __global__ void numcore_direct_distances(const CODE* __restrict__ text,
                                                    const CODE* __restrict__ pattern,
                                                    const i64* __restrict__ jobs,
                                                    int* __restrict__ distances, index_t b,
                                                    index_t n, index_t m, index_t q, index_t w) {
  for (index_t job = block_index(); job < q; job += block_count()) {
    index_t row = jobs[3 * job], last = jobs[3 * job + 2];
    for (index_t first = jobs[3 * job + 1]; first < last; first += GPU_BLOCK) {
      int counts[4];
      window_matches(text + row * n + first, n - first, pattern, m, counts);
      for (int i = 0; i < 4; i++) {
        index_t window = first + window_in_tile(i);
        if (window < last) distances[row * w + window] -= counts[i];
      }
    }
  }
}

// text (b, n), pattern (m,), jobs (q, 3) → distances (b, w) up to k, k + 1 for larger ones. One
// thread takes one window until it has more than k mismatches; neighboring threads read
// neighboring symbols.
extern "C" __global__ void numcore_bounded_distances(const CODE* __restrict__ text,
                                                     const CODE* __restrict__ pattern,
                                                     const i64* __restrict__ jobs,
                                                     int* __restrict__ distances, i64 k, index_t b,
                                                     index_t n, index_t m, index_t q, index_t w) {
  for (index_t job = block_index(); job < q; job += block_count()) {
    index_t row = jobs[3 * job], last = jobs[3 * job + 2];
    for (index_t window = jobs[3 * job + 1] + threadIdx.x; window < last; window += blockDim.x) {
      const CODE* symbols = text + row * n + window;
      i64 unequal = 0;
      for (index_t j = 0; j < m && unequal <= k; j++) unequal += symbols[j] != pattern[j];
      distances[row * w + window] = (int)min(unequal, k + 1);
    }
  }
}

// text (b, n) of codes, places[bounds[c]] the places of letter c in the pattern, ascending →
// distances (b, w) less the equal pairs. One thread for each symbol of the text; windows of one job
// are counted in shared memory.
extern "C" __global__ void numcore_distances_by_pairs(
    const u32* __restrict__ text, const i64* __restrict__ bounds, const i64* __restrict__ places,
    const i64* __restrict__ jobs, int* __restrict__ distances, index_t b, index_t n, index_t s,
    index_t m, index_t q, index_t w) {
  __shared__ int matches[BLOCK];
  for (index_t job = block_index(); job < q; job += block_count()) {
    index_t row = jobs[3 * job], end = jobs[3 * job + 2];
    for (index_t first = jobs[3 * job + 1]; first < end; first += BLOCK) {
      index_t last = min(first + BLOCK, end);
      for (int i = threadIdx.x; i < last - first; i += blockDim.x) matches[i] = 0;
      __syncthreads();
      for (index_t i = first + threadIdx.x; i < last + m - 1; i += blockDim.x) {
        const i64* bound = bounds + 2 * text[row * n + i];
        for (i64 at = bound[0]; at < bound[1]; at++) {
          i64 window = i - places[at];
          if (window < first) break;
          if (window < last) atomicAdd(&matches[window - first], 1);
        }
      }
      __syncthreads();
      for (int i = threadIdx.x; i < last - first; i += blockDim.x)
        distances[row * w + first + i] -= matches[i];
      __syncthreads();
    }
  }
}
