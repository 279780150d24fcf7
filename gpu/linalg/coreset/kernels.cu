// One round of a coreset search over n points: norms of the losses of each point, masses w norm by
// block and class, and draws in proportion to the mass. Arrays of extents q, r, s have n entries,
// or one entry that applies to all points.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// One thread block per block of points.
extern "C" __global__ void numcore_add_losses(const REAL* __restrict__ losses,
                                              const double* __restrict__ w, double* norms,
                                              REAL* __restrict__ column, double* __restrict__ parts,
                                              index_t n, index_t q, index_t b) {
  for (index_t block = block_index(); block < b; block += block_count()) {
    double total = 0, bad = 0;
    for (index_t i = block * BLOCK + index_in_block(); i < min((block + 1) * BLOCK, n);
         i += block_size()) {
      double loss = losses[i], value = fabs(loss), norm = norms[i];
      double larger = max(value, norm),
             ratio = min(value, norm) / max(larger, Limits<double>::smallest_normal());
      norms[i] = larger * sqrt(1 + ratio * ratio);
      column[i] = losses[i];
      total += (q > 1 ? w[i] : w[0]) * loss;
      bad += !(loss >= 0 && loss < INFINITY);
    }
    total = block_sum(total), bad = block_sum(bad);
    if (index_in_block() == 0) parts[2 * block] = total, parts[2 * block + 1] = bad;
  }
}

struct Points {
  const double *norms, *w;
  const int* labels;
  index_t n, q, r, s;
  __device__ double mass(index_t i, index_t c) const {
    if (i >= n || labels[s > 1 ? i : 0] != c) return 0;
    return w[r > 1 ? i : 0] * norms[q > 1 ? i : 0];
  }
};

// One thread block per block of points, one warp per class.
extern "C" __global__ void numcore_block_masses(const double* __restrict__ norms,
                                                const double* __restrict__ w,
                                                const int* __restrict__ labels, i64 n,
                                                double* __restrict__ masses, index_t q, index_t r,
                                                index_t s, index_t b, index_t c) {
  Points points = {norms, w, labels, n, q, r, s};
  for (index_t block = block_index(); block < b; block += block_count())
    for (index_t label = warp_index(); label < c; label += warp_count()) {
      double sum = 0;
      for (int i = lane_index(); i < BLOCK; i += 32) sum += points.mass(block * BLOCK + i, label);
      sum = warp_sum(sum);
      if (lane_index() == 0) masses[block * c + label] = sum;
    }
}

// Partitioned as above. A warp sums 32 masses at a time and resolves the thresholds below the
// running sum.
extern "C" __global__ void numcore_draw_in_blocks(
    const double* __restrict__ norms, const double* __restrict__ w, const int* __restrict__ labels,
    i64 n, const double* __restrict__ thresholds, const i64* __restrict__ firsts,
    const i64* __restrict__ counts, i64* __restrict__ chosen, index_t q, index_t r, index_t s,
    index_t m, index_t b, index_t c) {
  Points points = {norms, w, labels, n, q, r, s};
  for (index_t block = block_index(); block < b; block += block_count())
    for (index_t label = warp_index(); label < c; label += warp_count()) {
      index_t at = firsts[block * c + label], end = at + counts[block * c + label],
              last = block * BLOCK;
      double before = 0;
      for (int low = 0; low < BLOCK && at < end; low += 32) {
        index_t i = block * BLOCK + low;
        double mass = points.mass(i + lane_index(), label), sum = mass;
        for (int distance = 1; distance < 32; distance *= 2) {
          double other = __shfl_up_sync(FULL_WARP, sum, distance);
          if (lane_index() >= distance) sum += other;
        }
        sum += before;
        unsigned some = __ballot_sync(FULL_WARP, mass > 0);
        if (some) last = i + 31 - __clz(some);
        while (at < end) {
          unsigned above = __ballot_sync(FULL_WARP, mass > 0 && thresholds[at] < sum);
          if (!above) break;
          if (lane_index() == 0) chosen[at] = i + __ffs(above) - 1;
          at++;
        }
        before = __shfl_sync(FULL_WARP, sum, 31);
      }
      for (index_t left = at + lane_index(); left < end; left += 32) chosen[left] = last;
    }
}
