// Losses of lists of scores. A block of 128 threads takes one list, a thread one
// candidate i at a time, and walks over all others: it gathers both roles of i in pairs, so that
// nothing is added atomically. Ranks are counted: rank i = #{j: j comes before i}.
#include "elementary.cuh"
#include "numcore.cuh"

__device__ bool before(const REAL* key, index_t j, index_t i) {
  return key[j] > key[i] || (key[j] == key[i] && j < i);
}

__device__ index_t rank_of(const REAL* key, index_t i, index_t m) {
  index_t rank = 0;
  for (index_t j = 0; j < m; j++) rank += before(key, j, i);
  return rank;
}

__device__ double sum_of(const REAL* x, index_t m) {
  double total = 0;
  for (index_t i = index_in_block(); i < m; i += block_size()) total += x[i];
  return block_sum(total);
}

// kind: POINTWISE or LISTNET
extern "C" __global__ void numcore_item_losses(
    const REAL* __restrict__ scores, const REAL* __restrict__ relevance,
    const i64* __restrict__ offsets, const double* __restrict__ discounts, double scale, i64 kind,
    double* __restrict__ loss, REAL* __restrict__ grad, index_t n, index_t d, index_t q_count) {
  for (index_t q = block_index(); q < q_count; q += block_count()) {
    const index_t first = offsets[q], m = offsets[q + 1] - first;
    const REAL *s = scores + first, *y = relevance + first;
    REAL* g = grad + first;
    const double all_y = sum_of(y, m);
    double top = -Limits<double>::infinity(), mass = 0, total = 0;
    for (index_t i = index_in_block(); i < m; i += block_size()) top = max(top, (double)s[i]);
    top = block_max(top);
    for (index_t i = index_in_block(); i < m; i += block_size())
      mass += numcore::exp((double)s[i] - top);
    mass = block_sum(mass);
    for (index_t i = index_in_block(); i < m; i += block_size()) {
      const double x = s[i], e = numcore::exp(x > 0 ? -x : x);
      if (all_y == 0) {
        g[i] = 0;
      } else if (kind == LISTNET) {
        const double t = y[i] / all_y;
        total -= t * (x - top);
        g[i] = scale * (numcore::exp(x - top) / mass - t);
      } else {
        total += (x > 0 ? x : 0) + numcore::log1p(e) - y[i] * x;
        g[i] = scale / m * ((x > 0 ? 1.0 : e) / (1 + e) - y[i]);
      }
    }
    total = block_sum(total);
    if (index_in_block() == 0)
      loss[q] = all_y == 0 ? 0 : kind == LISTNET ? total + numcore::log(mass) : total / m;
  }
}

// kind: HINGE, RANKNET or LAMBDARANK
extern "C" __global__ void numcore_pair_losses(const REAL* __restrict__ scores,
                                               const REAL* __restrict__ relevance,
                                               const i64* __restrict__ offsets,
                                               const double* __restrict__ discounts, double width,
                                               double scale, i64 kind, double* __restrict__ loss,
                                               REAL* __restrict__ grad, REAL* __restrict__ hess,
                                               int* ranks, index_t n, index_t d, index_t q_count) {
  for (index_t q = block_index(); q < q_count; q += block_count()) {
    const index_t first = offsets[q], m = offsets[q + 1] - first;
    const REAL *s = scores + first, *y = relevance + first;
    int* rank = ranks + first;
    double ideal = 0, pairs = 0, total = 0;
    for (index_t i = index_in_block(); i < m; i += block_size()) {
      rank[i] = (int)rank_of(s, i, m);
      ideal += (numcore::exp2((double)y[i]) - 1) * discounts[rank_of(y, i, m)];
      for (index_t j = 0; j < m; j++) pairs += y[i] > y[j];
    }
    ideal = block_sum(ideal), pairs = block_sum(pairs);  // the barriers also make the ranks visible
    const double share = kind == LAMBDARANK || pairs == 0 ? 1 : 1 / pairs;
    for (index_t i = index_in_block(); i < m; i += block_size()) {
      const double gain = numcore::exp2((double)y[i]), at = discounts[rank[i]];
      double g = 0, h = 0;
      for (index_t j = 0; j < m; j++) {
        if (y[i] == y[j]) continue;
        const bool upper = y[i] > y[j];
        const double gap = upper ? (double)s[i] - s[j] : (double)s[j] - s[i], sign = upper ? -1 : 1;
        if (kind == HINGE) {
          const double missing = width - gap;
          if (missing > 0) {
            g += sign;
            if (upper) total += missing;
          }
          continue;
        }
        const double apart = at - discounts[rank[j]], more = gain - numcore::exp2((double)y[j]);
        const double weight = kind == LAMBDARANK
                                  ? (more > 0 ? more : -more) * (apart > 0 ? apart : -apart) / ideal
                                  : 1;
        const double z = width * gap, e = numcore::exp(z > 0 ? -z : z);
        const double slope = weight * width * ((z > 0 ? e : 1.0) / (1 + e));
        g += sign * slope;
        h += slope * width * ((z > 0 ? 1.0 : e) / (1 + e));
        if (upper) total += weight * ((z > 0 ? 0 : -z) + numcore::log1p(e));
      }
      grad[first + i] = scale * share * g;
      hess[first + i] = scale * share * h;
    }
    total = block_sum(total);
    if (index_in_block() == 0) loss[q] = share * total;
  }
}
