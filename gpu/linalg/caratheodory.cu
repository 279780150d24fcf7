// Sums of groups of weighted rows p (n, t), and Caratheodory's elimination: weights u (k) of points
// a (k, m) that keep sum u a.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// One block per group. Neighboring threads read neighboring columns, up to SUM_THREADS at once;
// spare threads read the same columns of further rows.
extern "C" __global__ void numcore_group_sums(const REAL* __restrict__ p,
                                              const double* __restrict__ u,
                                              double* __restrict__ sums, index_t n, index_t t,
                                              index_t q, index_t k) {
  __shared__ double part[2][SUM_THREADS];
  for (index_t group = block_index(); group < k; group += block_count()) {
    index_t first = group * n / k, last = (group + 1) * n / k;
    double* out = sums + group * (2 * t + 1);
    double weight = 0;
    for (index_t i = first + index_in_block(); i < last; i += block_size())
      weight += q > 1 ? u[i] : u[0];
    weight = block_sum(weight);
    if (index_in_block() == 0) out[2 * t] = weight;
    for (index_t low = 0; low < t; low += SUM_THREADS) {
      int width = (int)min(t - low, (index_t)SUM_THREADS), rows = SUM_THREADS / width;
      int row = index_in_block() / width, c = index_in_block() % width;
      double sum = 0, size = 0;
      for (index_t i = first + row; row < rows && i < last; i += rows) {
        double value = (q > 1 ? u[i] : u[0]) * p[i * t + low + c];
        sum += value, size += fabs(value);
      }
      part[0][index_in_block()] = sum, part[1][index_in_block()] = size;
      __syncthreads();
      if (row == 0) {
        for (int r = 1; r < rows; r++)
          sum += part[0][r * width + c], size += part[1][r * width + c];
        out[low + c] = sum, out[t + low + c] = size;
      }
      __syncthreads();
    }
  }
}

// The functions below are called by all threads of a block, or, where noted, by all lanes of a
// warp.

// Called by a warp: the inner product of n numbers.
__device__ double warp_dot(const double* x, const double* y, index_t n) {
  double sum = 0;
  for (index_t i = lane_index(); i < n; i += 32) sum += x[i] * y[i];
  return warp_sum(sum);
}

// Called by a warp: x - w (w.x).
__device__ void reflect(const double* w, double* x, index_t n) {
  double d = warp_dot(w, x, n);
  for (index_t i = lane_index(); i < n; i += 32) x[i] -= d * w[i];
  __syncwarp();
}

// Householder vectors of the m columns (rows of `columns`, 2 m apart), and an orthonormal basis of
// the orthogonal complement of the columns.
__device__ void factorize(double* columns, double* null, index_t m, index_t count) {
  index_t stride = 2 * m;
  for (index_t c = 0; c < m; c++) {
    double *w = columns + c * stride + c, first = w[0];
    index_t n = count - c;
    __syncthreads();
    if (warp_index() == 0) {
      double length = sqrt(warp_dot(w, w, n));
      if (lane_index() == 0) w[0] = first + (first >= 0 ? length : -length);
      __syncwarp();
      double squares = warp_dot(w, w, n), scale = squares > NOTHING ? sqrt(2 / squares) : 0.0;
      for (index_t i = lane_index(); i < n; i += 32) w[i] *= scale;
    }
    __syncthreads();
    for (index_t other = c + 1 + warp_index(); other < m; other += warp_count())
      reflect(w, columns + other * stride + c, n);
    __syncthreads();
  }
  for (index_t f = warp_index(); f < count - m; f += warp_count()) {
    double* v = null + f * stride;
    for (index_t i = lane_index(); i < count; i += 32) v[i] = i == m + f;
    __syncwarp();
    for (index_t c = m - 1; c >= 0; c--) reflect(columns + c * stride + c, v + c, count - c);
  }
  __syncthreads();
}

// Moves along null vector number `free` until a weight reaches zero, makes the other null vectors
// zero there, and returns how many weights became zero.
__device__ index_t step(double* weights, const i64* points, double* null, index_t stride,
                        index_t free, index_t count) {
  double* v = null + free * stride;
  double least = INFINITY, total = 0;
  index_t j = count;
  for (index_t i = index_in_block(); i < count; i += block_size()) total += v[i];
  double sign = block_sum(total) < -LEVEL
                    ? -1
                    : 1;  // the direction in which the sum of the weights does not grow
  for (index_t i = index_in_block(); i < count; i += block_size()) v[i] *= sign;
  for (index_t i = index_in_block(); i < count; i += block_size())
    if (v[i] > 0 && weights[points[i]] < least * v[i]) least = weights[points[i]] / v[i], j = i;
  double mine = least;
  least = block_min(mine);
  j = block_min(mine == least ? (double)j : (double)count);
  if (j >= count) j = 0;
  double zeros = 0;
  for (index_t i = index_in_block(); i < count; i += block_size()) {
    double before = weights[points[i]], after = i != j ? max(before - least * v[i], 0.0) : 0.0;
    weights[points[i]] = after;
    zeros += before > 0 && after == 0;
  }
  zeros = block_sum(zeros);  // also a barrier: null[., j] is read above and changed below
  double squares = 0;
  for (index_t f = 0; f <= free; f++) squares += null[f * stride + j] * null[f * stride + j];
  if (squares > 0) {
    double last = v[j], pivot = last + (last >= 0 ? sqrt(squares) : -sqrt(squares));
    double scale = 2 / (squares - last * last + pivot * pivot);
    __syncthreads();
    for (index_t i = index_in_block(); i < count; i += block_size()) {
      double total = v[i] * pivot;
      for (index_t f = 0; f < free; f++) total += null[f * stride + j] * null[f * stride + i];
      v[i] = total;
    }
    __syncthreads();
    for (index_t f = warp_index(); f < free; f += warp_count()) {
      double factor = scale * null[f * stride + j];
      __syncwarp();
      for (index_t i = lane_index(); i < count; i += 32)
        null[f * stride + i] = i == j ? 0.0 : null[f * stride + i] - factor * v[i];
    }
  }
  __syncthreads();
  return (index_t)zeros;
}

// One block per problem.
extern "C" __global__ void numcore_eliminate(const double* __restrict__ a, double* u, double* work,
                                             i64* active, i64 least, index_t g, index_t k,
                                             index_t m) {
  __shared__ index_t shared_count, shared_taken;
  for (index_t problem = block_index(); problem < g; problem += block_count()) {
    const double* rows = a + problem * k * m;
    double *weights = u + problem * k, *columns = work + problem * 4 * m * m,
           *null = columns + 2 * m * m;
    i64* points = active + problem * 2 * m;
    double positive = 0;
    for (index_t i = index_in_block(); i < k; i += block_size()) positive += weights[i] > 0;
    index_t left = (index_t)block_sum(positive), count = 0, taken = 0;
    for (index_t window = 0; window < k && left > least; window++) {
      __syncthreads();
      if (index_in_block() == 0) {
        index_t remaining = 0;
        for (index_t i = 0; i < count; i++)
          if (weights[points[i]] > 0) points[remaining++] = points[i];
        for (; taken < k && remaining < 2 * m; taken++)
          if (weights[taken] > 0) points[remaining++] = taken;
        shared_count = remaining, shared_taken = taken;
      }
      __syncthreads();
      count = shared_count, taken = shared_taken;
      for (index_t e = index_in_block(); e < count * m; e += block_size())
        columns[e % m * 2 * m + e / m] = rows[points[e / m] * m + e % m];
      __syncthreads();
      factorize(columns, null, m, count);
      for (index_t free = count - m; free > 0 && left > least;) {
        free--;
        left -= step(weights, points, null, 2 * m, free, count);
      }
    }
    __syncthreads();
  }
}
