// Graphs of related words and PageRank on each: a block takes a document. Its nodes are the set
// bits of a row of n bits, so that a word's number among the nodes is a count of bits; sums of
// shares are integers (fixed point), which come out the same in any order of the threads.
#include "numcore.cuh"
#include "random_walk.cuh"

#define FIXED_POINT 4503599627370496.0  // 2^52

__device__ __forceinline__ index_t node_of(const u64* present, const int* before, index_t word) {
  return before[word >> 6] + __popcll(present[word >> 6] & ((1ull << (word & 63)) - 1));
}

__device__ __forceinline__ void set_bit(u64* bits, index_t word) {
  atomicOr(&bits[word >> 6], 1ull << (word & 63));
}

extern "C" __global__ void numcore_mark_nodes(const i64* __restrict__ indptr,
                                              const int* __restrict__ neighbors,
                                              const int* __restrict__ words,
                                              const i64* __restrict__ word_at, u64* present,
                                              u64* started, int* before, index_t n, index_t z,
                                              index_t w, index_t g, index_t b) {
  for (index_t k = block_index(); k < g; k += block_count()) {
    u64 *mine = present + k * b, *own = started + k * b;
    int* counts = before + k * (b + 1);
    for (index_t i = index_in_block(); i < b; i += block_size()) mine[i] = own[i] = 0;
    __syncthreads();
    for (index_t p = word_at[k] + warp_index(); p < word_at[k + 1];
         p += warp_count()) {  // a warp takes a word, its lanes the neighbors
      index_t word = words[p];
      if (lane_index() == 0) {
        set_bit(own, word);
        set_bit(mine, word);
      }
      for (i64 q = indptr[word] + lane_index(); q < indptr[word + 1]; q += 32)
        set_bit(mine, neighbors[q]);
    }
    __syncthreads();
    if (warp_index() == 0) {  // running counts, 32 words of bits at a time
      int total = 0;
      for (index_t first = 0; first < b; first += 32) {
        index_t i = first + lane_index();
        int here = i < b ? __popcll(mine[i]) : 0, sum = here;
        for (int distance = 1; distance < 32; distance <<= 1) {
          int other = __shfl_up_sync(FULL_WARP, sum, distance);
          if (lane_index() >= distance) sum += other;
        }
        if (i < b) counts[i] = total + sum - here;
        total += __shfl_sync(FULL_WARP, sum, 31);
      }
      if (lane_index() == 0) counts[b] = total;
    }
    __syncthreads();
  }
}

// Whether the ascending neighbors of a word have another.
__device__ bool lists(const i64* indptr, const int* neighbors, index_t word, index_t other) {
  i64 bottom = indptr[word], top = indptr[word + 1];
  while (bottom < top) {
    i64 middle = (bottom + top) >> 1;
    if (neighbors[middle] < other)
      bottom = middle + 1;
    else
      top = middle;
  }
  return bottom < indptr[word + 1] && neighbors[bottom] == other;
}

extern "C" __global__ void numcore_rank_nodes(
    const i64* __restrict__ indptr, const int* __restrict__ neighbors,
    const u8* __restrict__ is_seed, const int* __restrict__ words, const i64* __restrict__ word_at,
    const i64* __restrict__ edge_at, const i64* __restrict__ node_at,
    const u64* __restrict__ present, const u64* __restrict__ started,
    const int* __restrict__ before, int* nodes, int* degree, int* source, int* target,
    double* scores, double* work, double damping, double tol, i64 max_iter, index_t z, index_t n,
    index_t w, index_t g, index_t b, index_t m, index_t e) {
  for (index_t k = block_index(); k < g; k += block_count()) {
    const u64 *mine = present + k * b, *own = started + k * b;
    const int* counts = before + k * (b + 1);
    index_t first = node_at[k], count = node_at[k + 1] - first;
    int *ids = nodes + first, *edges = degree + first;
    double *x = work + first, *previous = x + m, *inverse = previous + m, *share = inverse + m,
           *y = scores + first;
    i64* sums = reinterpret_cast<i64*>(y);  // y is summed up in fixed point

    // nodes and their edges
    for (index_t i = index_in_block(); i < b; i += block_size()) {
      index_t at = counts[i];
      for (u64 left = mine[i]; left; left &= left - 1)
        ids[at++] = static_cast<int>((i << 6) + __ffsll(static_cast<i64>(left)) - 1);
    }
    for (index_t i = index_in_block(); i < count; i += block_size()) edges[i] = 0;
    __syncthreads();
    int found = 0;
    for (index_t i = index_in_block(); i < count; i += block_size()) found += is_seed[ids[i]];
    double seeds = block_sum(found);
    for (index_t p = word_at[k] + warp_index(); p < word_at[k + 1]; p += warp_count()) {
      index_t word = words[p], i = node_of(mine, counts, word);
      if (lane_index() == 0) source[p] = static_cast<int>(i);
      for (i64 q = indptr[word] + lane_index(); q < indptr[word + 1]; q += 32) {
        index_t other = neighbors[q];
        bool twice = other < word && (own[other >> 6] >> (other & 63) & 1) &&
                     lists(indptr, neighbors, other, word);
        index_t j = node_of(mine, counts, other);
        target[edge_at[p] + q - indptr[word]] = twice ? -1 : static_cast<int>(j);
        if (!twice) {
          atomicAdd(&edges[i], 1);
          atomicAdd(&edges[j], 1);
        }
      }
    }
    __syncthreads();

    // the walk
    for (index_t i = index_in_block(); i < count; i += block_size()) {
      x[i] = seeds ? is_seed[ids[i]] / seeds : 1.0 / count;
      previous[i] = 0;
      inverse[i] = 1.0 / edges[i];
    }
    double omega = 1;
    for (i64 t = 0; t < max_iter; t++) {
      for (index_t i = index_in_block(); i < count; i += block_size()) {
        share[i] = x[i] * inverse[i];
        sums[i] = 0;
      }
      __syncthreads();
      for (index_t p = word_at[k] + warp_index(); p < word_at[k + 1]; p += warp_count()) {
        index_t i = source[p];
        i64 given = static_cast<i64>(share[i] * FIXED_POINT), taken = 0;
        for (i64 q = edge_at[p] + lane_index(); q < edge_at[p + 1]; q += 32) {
          int j = target[q];
          if (j < 0) continue;
          taken += static_cast<i64>(share[j] * FIXED_POINT);
          atomicAdd(reinterpret_cast<u64*>(&sums[j]), static_cast<u64>(given));
        }
        taken = warp_sum(taken);
        if (lane_index() == 0) atomicAdd(reinterpret_cast<u64*>(&sums[i]), static_cast<u64>(taken));
      }
      __syncthreads();
      double change = 0;
      for (index_t i = index_in_block(); i < count; i += block_size()) {
        double weight = seeds ? is_seed[ids[i]] / seeds : 1.0 / count;
        y[i] = next_score(damping, sums[i] / FIXED_POINT, 0, 0, weight);  // no node is dangling
        change += fabs(y[i] - x[i]);
      }
      change = block_sum(change);
      if (is_last(t + 1, change, tol, max_iter)) break;
      for (index_t i = index_in_block(); i < count; i += block_size()) {
        double now = omega * (y[i] - previous[i]) + previous[i];
        previous[i] = x[i];
        x[i] = now;
      }
      omega = t ? 1 / (1 - damping * damping / 4 * omega) : 1 / (1 - damping * damping / 2);
    }
    double largest = 0;
    for (index_t i = index_in_block(); i < count; i += block_size()) largest = max(largest, y[i]);
    largest = block_max(largest);
    for (index_t i = index_in_block(); i < count; i += block_size())
      y[i] = max(y[i], 0.0) / largest;
    __syncthreads();
  }
}
