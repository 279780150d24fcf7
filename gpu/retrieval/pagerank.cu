// One step of PageRank: y = damping (P^T x + mass * target) + (1 - damping) v, x is (n, k), k is 1
// or 8, P^T in rows of incoming edges. An edge carries the flow x * share of its source, times its
// probability unless there are none; onward is the next flow. A block takes BLOCK nodes and sums up
// their changes |y - x| and their scores without outgoing edges.
#include "numcore.cuh"
#include "random_walk.cuh"

#ifndef INDEX
#define INDEX int
#endif

// What flows into column c of node i, by the 32 / k lanes of a warp that share the column; the
// lanes of one column get the same sum.
__device__ double inflow(const INDEX* indptr, const INDEX* sources, const double* probabilities,
                         const double* flow, index_t i, int k, bool plain) {
  double sum = 0;
  for (index_t e = indptr[i] + lane_index() / k; e < indptr[i + 1]; e += 32 / k)
    sum += (plain ? 1 : probabilities[e]) * flow[sources[e] * k + lane_index() % k];
  for (int distance = 16; distance >= k; distance >>= 1)
    sum += __shfl_xor_sync(FULL_WARP, sum, distance);
  return sum;
}

extern "C" __global__ void numcore_pagerank_step(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ sources,
    const double* __restrict__ probabilities, const double* __restrict__ share,
    const u8* __restrict__ stuck, const double* __restrict__ flow, const double* __restrict__ x,
    const double* __restrict__ v, const double* __restrict__ target,
    const double* __restrict__ mass, double* __restrict__ y, double* __restrict__ onward,
    double* __restrict__ sums, double damping, index_t z, index_t q, index_t n, index_t k,
    index_t g) {
  const bool plain = q == 0;
  for (index_t block = block_index(); block < g; block += block_count()) {
    index_t first = block * BLOCK, last = first + BLOCK < n ? first + BLOCK : n;
    // few edges and one column: a thread takes a node; else a warp does, its lanes share the edges
    bool alone = k == 1 && indptr[last] - indptr[first] < 8 * (last - first);
    double change = 0, remaining = 0;
    for (index_t i = first + (alone ? index_in_block() : warp_index()); i < last;
         i += alone ? block_size() : warp_count()) {
      double sum = 0;
      if (alone)
        for (index_t e = indptr[i]; e < indptr[i + 1]; e++)
          sum += (plain ? 1 : probabilities[e]) * flow[sources[e]];
      else
        sum = inflow(indptr, sources, probabilities, flow, i, k, plain);
      int c = alone ? 0 : lane_index();
      if (c < k) {
        double now = next_score(damping, sum, mass[c], target[i * k + c], v[i * k + c]);
        y[i * k + c] = now;
        onward[i * k + c] = now * share[i];
        change += fabs(now - x[i * k + c]);
        remaining += now * stuck[i];
      }
    }
    for (int c = 0; c < k; c++) {
      bool mine = alone || lane_index() == c;
      double total = block_sum(mine ? change : 0), left = block_sum(mine ? remaining : 0);
      if (index_in_block() == 0) {
        sums[(2 * block) * k + c] = total;
        sums[(2 * block + 1) * k + c] = left;
      }
    }
  }
}
