// Similarity judgments: overlaps of tags, means of random halves of ratings, permuted inner
// products, coordinate descent. All in double.
#include "numcore.cuh"
#include "philox.cuh"

#define EACH(c, n) (index_t c = index_in_block(); c < (n); c += block_size())

// s (n, n): s_ij = sum_t a_it b_jt, or of min(a_it, b_jt); b is listed by tags. A block takes a row
// i and one tag of it after the other; its threads take stimuli of the tag, each of which is listed
// once.
extern "C" __global__ void numcore_tag_overlaps(
    const i64* __restrict__ indptr, const i64* __restrict__ ids, const double* __restrict__ a,
    const i64* __restrict__ list_indptr, const i64* __restrict__ list_rows,
    const double* __restrict__ list_b, double* s, i64 least, index_t z, index_t q, index_t n) {
  for (index_t i = block_index(); i < n; i += block_count()) {
    double* row = s + i * n;
        for
          EACH(j, n) row[j] = 0;
        __syncthreads();
        for (i64 e = indptr[i]; e < indptr[i + 1]; e++) {
          const double value = a[e];
          const i64 t = ids[e];
          for (i64 p = list_indptr[t] + index_in_block(); p < list_indptr[t + 1]; p += block_size())
            row[list_rows[p]] += least ? min(value, list_b[p]) : value * list_b[p];
          __syncthreads();
        }
  }
}

// The integer part of count * word / 2^64; the fraction stays in word.
__device__ u64 below(u64& word, u64 count) {
  u64 high = __umul64hi(word, count);
  word *= count;
  return high;
}

__device__ u64 joined(u32 low, u32 high) { return (u64)low | (u64)high << 32; }

// halves (s, 2, p): means of two random halves of the values of each pair p. A block takes a split,
// a thread a pair.
extern "C" __global__ void numcore_half_means(const double* __restrict__ values,
                                              const i64* __restrict__ indptr,
                                              double* __restrict__ halves, u32 k0, u32 k1,
                                              i64 first, index_t z, index_t s, index_t pairs) {
  for (index_t at = block_index(); at < s; at += block_count()) {
    const u64 split = (u64)(first + at);
        for
          EACH(p, pairs) {
            const i64 begin = indptr[p], end = indptr[p + 1];
            const u64 count = (u64)(end - begin), half = count >> 1;
            u64 out = count, spent = count, used = 0;
            Words w = philox4x32((u64)p, split, k0, k1);
            u64 word = joined(w.a, w.b), spare = joined(w.c, w.d);
            if (count & 1) out = below(word, count);
            u64 wanted = half, left = 2 * half;
            double one = 0, two = 0;
            for (i64 e = begin; e < end; e++) {
              if ((u64)(e - begin) == out) continue;
              if (spent * left > 0xFFFFFFFFull) {
                if (++used & 1) {
                  word = spare;
                } else {
                  w = philox4x32((u64)p, split | used << 32, k0, k1);
                  word = joined(w.a, w.b), spare = joined(w.c, w.d);
                }
                spent = 1;
              }
              spent *= left;
              if (below(word, left) < wanted)
                one += values[e], wanted--;
              else
                two += values[e];
              left--;
            }
            halves[2 * at * pairs + p] = one / (double)half;
            halves[(2 * at + 1) * pairs + p] = two / (double)half;
          }
  }
}

// products_b = sum_{i < j} x_ij y[o_i, o_j]. A block takes a permutation o, of which a tile is in
// shared memory; a thread takes columns j of the tile, so that reads of x are coalesced and those
// of y stay in one row.
extern "C" __global__ void numcore_permuted_products(const double* __restrict__ x,
                                                     const double* __restrict__ y,
                                                     const int* __restrict__ orders,
                                                     double* __restrict__ products, index_t n,
                                                     index_t b) {
  __shared__ int tile[1024];
  for (index_t at = block_index(); at < b; at += block_count()) {
    const int* order = orders + at * n;
    double sum = 0;
    for (index_t begin = 0; begin < n; begin += 1024) {
      const index_t width = min((index_t)1024, n - begin);
            for
              EACH(c, width) tile[c] = order[begin + c];
            __syncthreads();
            for (index_t i = 0; i < begin + width; i++) {
              const double *row = x + i * n + begin, *other = y + (index_t)order[i] * n;
                for
                  EACH(c, width)
                if (begin + c > i) sum += row[c] * other[tile[c]];
            }
            __syncthreads();
    }
    sum = block_sum(sum);
    if (index_in_block() == 0) products[at] = sum;
  }
}

// w[a] >= 0 minimizes 1/2 w (G + alpha I) w - h w; gradient = G w - h. A block takes an alpha and
// one coordinate after the other, its threads entries of the gradient. Every thread computes the
// step from what all see.
extern "C" __global__ void numcore_nonnegative_descent(const double* __restrict__ gram,
                                                       const double* __restrict__ right,
                                                       const double* __restrict__ alphas, double* w,
                                                       double* gradient, i64* converged, double tol,
                                                       i64 max_sweeps, index_t d, index_t a) {
  for (index_t at = block_index(); at < a; at += block_count()) {
    const double alpha = alphas[at];
    double *weights = w + at * d, *slope = gradient + at * d;
        for
          EACH(k, d) weights[k] = 0, slope[k] = -right[k];
        __syncthreads();
        bool done = false;
        for (i64 sweep = 0; sweep < max_sweeps && !done; sweep++) {
          double moved = 0, largest = 0;
          for (index_t k = 0; k < d; k++) {
            const double curvature = gram[k * d + k] + alpha;
            if (curvature <= 0) continue;
            const double old = weights[k],
                         fresh = max(old - (slope[k] + alpha * old) / curvature, 0.0),
                         step = fresh - old;
            __syncthreads();  // all have read before any writes
                for
                  EACH(m, d) slope[m] += step * gram[k * d + m];
                if (index_in_block() == 0) weights[k] = fresh;
                __syncthreads();
                const double scale = sqrt(curvature);
                moved = max(moved, fabs(step) * scale), largest = max(largest, fresh * scale);
          }
          done = moved <= tol * largest;
        }
        if (index_in_block() == 0) converged[at] = done;
  }
}
