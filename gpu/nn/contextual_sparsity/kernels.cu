// Gated layers that read only the rows of the neurons with the largest gates, and the test of
// drafted tokens.
//
// w, w_up, w_down_t (m, d): a row for each neuron; x (b, d): a few tokens; g (b, m): their gates;
// kept (b, k): rising indices of rows. Everything here waits for memory: rows are read once, by
// neighboring lanes, sixteen bytes to a lane where rows are aligned to that.
#include "activation.cuh"
#include "numcore.cuh"

constexpr int WARPS = THREADS / 32;
constexpr int WIDE = 16 / sizeof(REAL);

struct __align__(16) Pack {
  REAL v[WIDE];
};

__device__ __forceinline__ bool packs(const REAL* p, index_t d) {
  return d % WIDE == 0 && reinterpret_cast<u64>(p) % 16 == 0;
}

// The dot product of two rows, by a warp; every lane gets it.
__device__ __forceinline__ REAL warp_dot(const REAL* a, const REAL* x, index_t d) {
  REAL sum = 0;
  if (packs(a, d) && packs(x, d)) {
    const Pack* wide_a = reinterpret_cast<const Pack*>(a);
    const Pack* wide_x = reinterpret_cast<const Pack*>(x);
#pragma unroll 4
    for (index_t c = lane_index(); c < d / WIDE; c += 32) {
      const Pack p = wide_a[c], q = wide_x[c];
#pragma unroll
      for (int e = 0; e < WIDE; e++) sum = numcore::fused(p.v[e], q.v[e], sum);
    }
  } else {
    for (index_t c = lane_index(); c < d; c += 32) sum = numcore::fused(a[c], x[c], sum);
  }
  return warp_sum(sum);
}

__device__ __forceinline__ REAL activate(REAL z, i64 activation) {
  if (activation == SILU) return numcore::Silu::at(z).s;
  if (activation == RELU) return numcore::Relu::at(z).s;
  if (activation == GELU) return numcore::Gelu::at(z).s;
  return numcore::GeluTanh::at(z).s;
}

// A warp takes a row.
extern "C" __global__ void numcore_gate_rows(const REAL* __restrict__ w, const REAL* __restrict__ x,
                                             REAL* __restrict__ g, i64 activation, index_t m,
                                             index_t d, index_t b) {
  for (index_t j = thread_index() / 32; j < m; j += thread_count() / 32)
    for (index_t t = 0; t < b; t++) {
      const REAL z = warp_dot(w + j * d, x + t * d, d);
      if (lane_index() == 0) g[t * m + j] = activate(z, activation);
    }
}

// --- the k largest of a row
// ----------------------------------------------------------------------------------------------------------

// How many threads of the block before this one have the flag set, and how many of all.
__device__ __forceinline__ int rank_in_block(bool flag, int* counts, int& total) {
  const u32 votes = __ballot_sync(FULL_WARP, flag);
  if (lane_index() == 0) counts[warp_index()] = __popc(votes);
  __syncthreads();
  int rank = __popc(votes & ((1u << lane_index()) - 1));
  total = 0;
  for (int w = 0; w < WARPS; w++) {
    if (w < warp_index()) rank += counts[w];
    total += counts[w];
  }
  __syncthreads();  // counts may be written again
  return rank;
}

__device__ __forceinline__ i64 key_of(REAL x) {
  return static_cast<i64>(numcore::float_bits(numcore::magnitude(x)));
}

// A block takes a row: DIGIT_BITS of the k-th largest at a time from a histogram in shared memory,
// then the kept indices in their order.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    numcore_select_largest(const REAL* __restrict__ g, i64* __restrict__ kept, index_t b, index_t m,
                           index_t k) {
  __shared__ u32 bins[BINS];
  __shared__ i64 found_digit, found_room;
  __shared__ int counts[WARPS];
  for (index_t t = block_index(); t < b; t += block_count()) {
    const REAL* row = g + t * m;
    i64 bound = 0, room = k;
    for (int low = 8 * sizeof(REAL) - 1; low > 0;) {
      const int width = low < DIGIT_BITS ? low : DIGIT_BITS, shift = low - width,
                mask = (1 << width) - 1;
      for (int i = index_in_block(); i < BINS; i += THREADS) bins[i] = 0;
      __syncthreads();
      for (index_t j = index_in_block(); j < m; j += THREADS) {
        const i64 key = key_of(row[j]);
        if (key >> low == bound) atomicAdd(&bins[key >> shift & mask], 1u);
      }
      __syncthreads();
      if (warp_index() == 0) {  // from the top, 32 bins at a time
        i64 left = room;
        int high = mask;
        u32 count, sum;
        while (true) {
          count = high - lane_index() >= 0 ? bins[high - lane_index()] : 0;
          sum = count;  // of the lanes up to this one
          for (int distance = 1; distance < 32; distance *= 2) {
            const u32 below = __shfl_up_sync(FULL_WARP, sum, distance);
            if (lane_index() >= distance) sum += below;
          }
          const u32 reached = __ballot_sync(FULL_WARP, sum >= left);
          if (reached) {
            if (lane_index() == __ffs(reached) - 1)
              found_digit = high - lane_index(), found_room = left - (sum - count);
            break;
          }
          left -= __shfl_sync(FULL_WARP, sum, 31);
          high -= 32;
        }
      }
      __syncthreads();
      bound = bound << width | found_digit, room = found_room, low = shift;
      __syncthreads();
    }
    index_t done = 0;
    for (index_t first = 0; first < m && done < k; first += THREADS) {
      const index_t j = first + index_in_block();
      const i64 key = j < m ? key_of(row[j]) : -1;
      int equals, keeps;
      const bool equal = key == bound;
      const int before = rank_in_block(equal, counts, equals);
      const bool keep = key > bound || (equal && before < room);
      const int rank = rank_in_block(keep, counts, keeps);
      if (keep) kept[t * k + done + rank] = j;
      room -= equals, done += keeps;
    }
  }
}

// --- sums of kept rows
// ---------------------------------------------------------------------------------------------------------------

// A block takes a part of the kept rows of every token: its warps compute the factors of CHUNK
// rows, its threads add the rows to their columns.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    numcore_sum_kept_rows(const REAL* __restrict__ w_up, const REAL* __restrict__ w_down_t,
                          const REAL* __restrict__ x, const REAL* __restrict__ g,
                          const i64* __restrict__ kept, REAL* parts, index_t m, index_t d,
                          index_t b, index_t k, index_t p) {
  __shared__ REAL factors[CHUNK];
  for (index_t part = block_index(); part < p; part += block_count())
    for (index_t t = 0; t < b; t++) {
      const index_t first = part * k / p, last = (part + 1) * k / p;
      REAL* y = parts + (part * b + t) * d;
      for (index_t c = index_in_block(); c < d; c += THREADS) y[c] = 0;
      for (index_t low = first; low < last; low += CHUNK) {
        const i64* rows = kept + t * k + low;
        const int count = int(last - low < CHUNK ? last - low : CHUNK);
        for (int i = warp_index(); i < count; i += WARPS) {
          const REAL u = warp_dot(w_up + rows[i] * d, x + t * d, d);
          if (lane_index() == 0) factors[i] = u * g[t * m + rows[i]];
        }
        __syncthreads();
        for (index_t c = index_in_block(); c < d; c += THREADS) {
          REAL sum = y[c];
#pragma unroll 4
          for (int i = 0; i < count; i++)
            sum = numcore::fused(factors[i], w_down_t[rows[i] * d + c], sum);
          y[c] = sum;
        }
        __syncthreads();
      }
    }
}

// --- the test of a draft
// -------------------------------------------------------------------------------------------------------------

// A block takes a row: its maximum, the sum of exponentials relative to it, and the logarithm of
// the one probability that is asked for.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    numcore_log_probabilities(const REAL* __restrict__ logits, const i64* __restrict__ tokens,
                              REAL* __restrict__ log_q, REAL temperature, index_t n, index_t v) {
  const REAL inverse = 1 / temperature;
  for (index_t i = block_index(); i < n; i += block_count()) {
    const REAL* row = logits + i * v;
    REAL top = -Limits<REAL>::infinity(), wrong = 0, total = 0;
    for (index_t c = index_in_block(); c < v; c += THREADS)
      top = max(top, row[c]), wrong += row[c] * 0;  // infinity times 0 is NaN
    top = block_max(top), wrong = block_sum(wrong);
    for (index_t c = index_in_block(); c < v; c += THREADS)
      total += numcore::exp((row[c] - top) * inverse);
    total = block_sum(total);
    if (index_in_block() == 0)
      log_q[i] = (row[tokens[i]] - top) * inverse - numcore::log(total) + wrong;
  }
}
