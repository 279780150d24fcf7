// Mining of pairs: neighbors down the columns of scores, cosines of pairs, a greedy choice,
// nearest rows of a range, groups by key.
#include "heap.cuh"
#include "numcore.cuh"

#ifndef REAL  // kernels of integers alone
#define REAL float
#endif

// scores (n, b), best and at (b, k). One thread takes a column, so that neighboring threads read
// neighboring scores.
extern "C" __global__ void numcore_scan_columns(const REAL* __restrict__ scores, REAL* best,
                                                i64* at, i64 first, index_t n, index_t b,
                                                index_t k) {
  for (index_t c = thread_index(); c < b; c += thread_count()) {
    REAL* mine = best + c * k;
    for (index_t i = 0; i < n; i++) {
      REAL score = scores[i * b + c];
      if (score > mine[0]) replace_worst(mine, at + c * k, k, score, first + i);
    }
  }
}

// One warp takes a pair; NaN where squares leave the range of double.
__device__ __forceinline__ double warp_cosine(const REAL* x, const REAL* y, index_t d,
                                              double scale_x, double scale_y) {
  double xx = 0, yy = 0, xy = 0;
  for (index_t j = lane_index(); j < d; j += 32) {
    double a = x[j] / scale_x, b = y[j] / scale_y;
    xx += a * a, yy += b * b, xy += a * b;
  }
  xx = warp_sum(xx), yy = warp_sum(yy), xy = warp_sum(xy);
  bool inside =
      LEAST_SQUARE < xx && xx < LARGEST_SQUARE && LEAST_SQUARE < yy && yy < LARGEST_SQUARE;
  return inside ? xy / (sqrt(xx) * sqrt(yy)) : Limits<double>::nan();
}

__device__ __forceinline__ double warp_largest(const REAL* row, index_t d) {
  double most = 0;
  for (index_t j = lane_index(); j < d; j += 32) most = max(most, fabs((double)row[j]));
  return warp_max(most);
}

extern "C" __global__ void numcore_cosines_of(const REAL* __restrict__ source,
                                              const REAL* __restrict__ target,
                                              const i64* __restrict__ rows,
                                              const i64* __restrict__ columns,
                                              REAL* __restrict__ result, index_t n, index_t d,
                                              index_t m, index_t p) {
  for (index_t e = thread_index() / 32; e < p; e += thread_count() / 32) {
    const REAL *x = source + rows[e] * d, *y = target + columns[e] * d;
    double value = warp_cosine(x, y, d, 1, 1);
    if (value != value) value = warp_cosine(x, y, d, warp_largest(x, d), warp_largest(y, d));
    if (lane_index() == 0) result[e] = value;
  }
}

// One block takes a problem. A pair that is the first of the free ones at both its ends is what the
// greedy choice takes there, whatever comes before it elsewhere; all such pairs are taken at once,
// again and again until no pair has two free ends. While a block works, ends that are taken hold
// the pair's place less 2^62.
extern "C" __global__ void numcore_take_greedily(const i64* __restrict__ rows,
                                                 const i64* __restrict__ columns, i64* row_taken,
                                                 i64* column_taken, u8* taken, index_t g, index_t p,
                                                 index_t n, index_t m) {
  const i64 done = 1ll << 62;
  for (index_t problem = block_index(); problem < g; problem += block_count()) {
    const i64 *i = rows + problem * p, *j = columns + problem * p;
    i64 *row = row_taken + problem * n, *column = column_taken + problem * m;
    u8* mine = taken + problem * p;
    for (index_t e = index_in_block(); e < p; e += block_size()) mine[e] = 0;
    __syncthreads();
    for (bool more = true; more;) {
      bool alive = false;
      for (index_t e = index_in_block(); e < p; e += block_size())
        if (row[i[e]] >= 0 && column[j[e]] >= 0) {
          atomicMin(row + i[e], e), atomicMin(column + j[e], e);
          alive = true;
        }
      more = __syncthreads_or(alive);
      for (index_t e = index_in_block(); e < p; e += block_size())
        if (row[i[e]] == e && column[j[e]] == e) {
          mine[e] = 1;
          row[i[e]] = column[j[e]] = e - done;
        }
      __syncthreads();
      for (index_t r = index_in_block(); r < n; r += block_size())
        if (row[r] >= 0) row[r] = FREE;
      for (index_t c = index_in_block(); c < m; c += block_size())
        if (column[c] >= 0) column[c] = FREE;
      __syncthreads();
    }
    for (index_t r = index_in_block(); r < n; r += block_size())
      if (row[r] < 0) row[r] += done;
    for (index_t c = index_in_block(); c < m; c += block_size())
      if (column[c] < 0) column[c] += done;
    __syncthreads();
  }
}

// rows (n, d), others (m, d). One warp takes a row; a product has the same bits whichever side a
// row stands on.
extern "C" __global__ void numcore_nearest_of_range(
    const REAL* __restrict__ rows, const REAL* __restrict__ others, const i64* __restrict__ begins,
    const i64* __restrict__ ends, i64* __restrict__ nearest, REAL* __restrict__ score, index_t n,
    index_t d, index_t m) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
    i64 best = -1;
    REAL most = -Limits<REAL>::infinity();
    for (i64 j = begins[i]; j < ends[i]; j++) {
      REAL sum = 0;
      for (index_t c = lane_index(); c < d; c += 32) sum += rows[i * d + c] * others[j * d + c];
      sum = warp_sum(sum);
      if (sum > most) most = sum, best = j;
    }
    if (lane_index() == 0) nearest[i] = best, score[i] = most;
  }
}

// One warp takes a range of the n keys. Of 32 keys at a time those with equal digits keep their
// order.
extern "C" __global__ void numcore_count_digits(const i64* __restrict__ keys, i64* counts,
                                                i64 shift, index_t n, index_t g, index_t d) {
  const index_t size = (n + g - 1) / g;
  for (index_t range = thread_index() / 32; range < g; range += thread_count() / 32)
    for (index_t i = range * size + lane_index(); i < min((range + 1) * size, n); i += 32)
      atomicAdd(
          reinterpret_cast<unsigned long long*>(counts + range * d + (keys[i] >> shift & (d - 1))),
          1ull);
}

extern "C" __global__ void numcore_move_by_digit(const i64* __restrict__ keys,
                                                 const i64* __restrict__ values,
                                                 const REAL* __restrict__ scores, i64* places,
                                                 i64* new_keys, i64* new_values, REAL* new_scores,
                                                 i64 shift, index_t n, index_t g, index_t d) {
  const index_t size = (n + g - 1) / g;
  for (index_t range = thread_index() / 32; range < g; range += thread_count() / 32) {
    const index_t end = min((range + 1) * size, n);
    for (index_t base = range * size; base < end; base += 32) {
      const index_t i = base + lane_index();
      const int digit = i < end ? int(keys[i] >> shift & (d - 1)) : -1;
      u32 same = 0;
      for (int lane = 0; lane < 32; lane++)
        same |= u32(__shfl_sync(FULL_WARP, digit, lane) == digit) << lane;
      i64* place = places + range * d + digit;
      const i64 at = digit < 0 ? 0 : *place + __popc(same & ((1u << lane_index()) - 1));
      __syncwarp();
      if (digit >= 0) {
        if (same >> lane_index() == 1) *place = at + 1;
        new_keys[at] = keys[i], new_values[at] = values[i], new_scores[at] = scores[i];
      }
      __syncwarp();
    }
  }
}

// One thread takes a place of the keys, of which equal ones stand together: the first of them has
// the place of their best score, the others have -1.
extern "C" __global__ void numcore_best_of_equal(const i64* __restrict__ keys,
                                                 const REAL* __restrict__ scores,
                                                 i64* __restrict__ best, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    i64 mine = i;
    bool first = i == 0 || keys[i - 1] != keys[i];
    for (index_t e = i + 1; first && e < n && keys[e] == keys[i]; e++)
      if (scores[e] > scores[mine]) mine = e;
    best[i] = first ? mine : -1;
  }
}

// The first of the others that is not less, or, with `above`, that is greater.
__device__ __forceinline__ i64 place_of(const i64* others, index_t q, i64 key, bool above) {
  i64 low = 0, high = q;
  while (low < high) {
    i64 middle = (low + high) / 2;
    if (others[middle] < key || (above && others[middle] == key))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

extern "C" __global__ void numcore_partners(const i64* __restrict__ keys,
                                            const i64* __restrict__ others,
                                            i64* __restrict__ begins, i64* __restrict__ counts,
                                            index_t p, index_t q) {
  for (index_t i = thread_index(); i < p; i += thread_count()) {
    i64 begin = place_of(others, q, keys[i], false);
    begins[i] = begin, counts[i] = place_of(others, q, keys[i], true) - begin;
  }
}

// One thread takes a sentence of the first side with all its partners; the results have z places.
extern "C" __global__ void numcore_join_sides(
    const i64* __restrict__ keys, const i64* __restrict__ first,
    const REAL* __restrict__ first_score, const i64* __restrict__ begins,
    const i64* __restrict__ counts, const i64* __restrict__ ends, const i64* __restrict__ second,
    const REAL* __restrict__ second_score, i64* pairs, i64* pivot, REAL* score, i64 bits, index_t p,
    index_t q, index_t z) {
  for (index_t i = thread_index(); i < p; i += thread_count()) {
    i64 at = ends[i] - counts[i];
    for (i64 e = begins[i]; e < begins[i] + counts[i]; e++, at++) {
      pairs[at] = first[i] << bits | second[e], pivot[at] = keys[i];
      score[at] = min(first_score[i], second_score[e]);
    }
  }
}
