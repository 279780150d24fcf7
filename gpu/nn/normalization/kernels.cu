// Layer, root-mean-square and batch normalization; the formulas are in
// numcore/nn/_normalization/kernels.py.
//
// x, y, grad_y and grad_x are (n, d), parts is (m, sums, d): block b owns rows 32 b to 32 b + 31. A
// warp takes a row where a row is normalized; a thread owns columns where columns are summed, so
// that neighboring threads read neighboring numbers.
#include "numcore.cuh"

__device__ __forceinline__ index_t end_of_block(index_t b, index_t n) {
  return b * ROWS + ROWS < n ? b * ROWS + ROWS : n;
}

extern "C" __global__ void numcore_norm_rows(const REAL* __restrict__ x,
                                             const REAL* __restrict__ weight,
                                             const REAL* __restrict__ bias, REAL eps, i64 centred,
                                             REAL* __restrict__ y, REAL* __restrict__ mean,
                                             REAL* __restrict__ scale, index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
    const REAL* row = x + i * d;  // read three times, the second and third time from the cache
    REAL m = 0, first = 0, second = 0;
    if (centred) {
      for (index_t j = lane_index(); j < d; j += 32) m += row[j];
      m = warp_sum(m) / d;
    }
    for (index_t j = lane_index(); j < d; j += 32) {
      REAL difference = row[j] - m;
      first += difference;
      second += difference * difference;
    }
    first = warp_sum(first);
    second = warp_sum(second);
    if (centred) {
      m += first / d;
      second -= first * (first / d);
      if (second < 0) second = 0;
    }
    REAL s = 1 / sqrt(second / d + eps);
    if (lane_index() == 0) {
      mean[i] = m;
      scale[i] = s;
    }
    for (index_t j = lane_index(); j < d; j += 32)
      y[i * d + j] = weight[j] * ((row[j] - m) * s) + bias[j];
  }
}

extern "C" __global__ void numcore_norm_rows_backward(
    const REAL* __restrict__ grad_y, const REAL* __restrict__ x, const REAL* __restrict__ weight,
    const REAL* __restrict__ mean, const REAL* __restrict__ scale, i64 centred,
    REAL* __restrict__ grad_x, REAL* __restrict__ parts, index_t n, index_t d, index_t m) {
  __shared__ REAL firsts[ROWS], seconds[ROWS];
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    // warps take rows: mean(w g) and mean(w g z)
    for (index_t i = low + warp_index(); i < high; i += warp_count()) {
      const REAL mid = centred ? mean[i] : 0, s = scale[i];
      REAL first = 0, second = 0;
      for (index_t j = lane_index(); j < d; j += 32) {
        REAL wg = weight[j] * grad_y[i * d + j];
        first += wg;
        second += wg * ((x[i * d + j] - mid) * s);
      }
      first = warp_sum(first);
      second = warp_sum(second);
      if (lane_index() == 0) {
        firsts[i - low] = centred ? first / d : 0;
        seconds[i - low] = second / d;
      }
    }
    __syncthreads();
    // threads take columns: sums stay in registers
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL products = 0, totals = 0;
      for (index_t i = low; i < high; i++) {
        REAL g = grad_y[i * d + j], s = scale[i], z = (x[i * d + j] - (centred ? mean[i] : 0)) * s;
        grad_x[i * d + j] = (weight[j] * g - firsts[i - low] - z * seconds[i - low]) * s;
        products += g * z;
        totals += g;
      }
      parts[2 * b * d + j] = products;
      parts[(2 * b + 1) * d + j] = totals;
    }
    __syncthreads();  // before the next block's rows overwrite the means
  }
}

extern "C" __global__ void numcore_sum_blocks(const REAL* __restrict__ parts,
                                              double* __restrict__ sums, index_t m, index_t d) {
  for (index_t j = thread_index(); j < d; j += thread_count()) {
    double sum = 0;
    for (index_t b = 0; b < m; b++) sum += parts[b * d + j];
    sums[j] = sum;
  }
}

extern "C" __global__ void numcore_scale_columns(
    const REAL* __restrict__ x, const REAL* __restrict__ row_scale, const REAL* __restrict__ centre,
    const REAL* __restrict__ factor, const REAL* __restrict__ shift, REAL* __restrict__ y,
    index_t n, index_t d, index_t k) {
  const index_t size = k ? d / k : d;
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32)
    for (index_t j = lane_index(); j < d; j += 32) {
      REAL s = k ? row_scale[i * k + j / size] : 1;
      y[i * d + j] = (x[i * d + j] * s - centre[j]) * factor[j] + shift[j];
    }
}

extern "C" __global__ void numcore_column_moments(const REAL* __restrict__ x,
                                                  REAL* __restrict__ parts, index_t n, index_t d,
                                                  index_t m) {
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL pivot = 0, first = 0, second = 0;
      for (index_t i = low; i < high; i++) pivot += x[i * d + j];
      pivot /= high > low ? high - low : 1;
      for (index_t i = low; i < high; i++) {
        REAL difference = x[i * d + j] - pivot;
        first += difference;
        second += difference * difference;
      }
      parts[3 * b * d + j] = pivot;
      parts[(3 * b + 1) * d + j] = first;
      parts[(3 * b + 2) * d + j] = second;
    }
  }
}

extern "C" __global__ void numcore_join_moments(const REAL* __restrict__ parts, i64 rows,
                                                double* __restrict__ mean,
                                                double* __restrict__ spread, index_t m, index_t d) {
  for (index_t j = thread_index(); j < d; j += thread_count()) {
    double total = 0, squares = 0;
    for (index_t b = 0; b < m; b++) {
      const double count = end_of_block(b, rows) - b * ROWS;
      total += count * parts[3 * b * d + j] + parts[(3 * b + 1) * d + j];
    }
    const double middle = total / (rows > 1 ? rows : 1);
    for (index_t b = 0; b < m; b++) {
      const double count = end_of_block(b, rows) - b * ROWS,
                   distance = parts[3 * b * d + j] - middle;
      squares +=
          parts[(3 * b + 2) * d + j] +
          distance * (2 * static_cast<double>(parts[(3 * b + 1) * d + j]) + count * distance);
    }
    mean[j] = middle;
    spread[j] = squares < 0 ? 0 : squares;
  }
}

extern "C" __global__ void numcore_column_products(const REAL* __restrict__ grad_y,
                                                   const REAL* __restrict__ x,
                                                   const REAL* __restrict__ centre,
                                                   REAL* __restrict__ parts, index_t n, index_t d,
                                                   index_t m) {
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL products = 0, totals = 0;
      for (index_t i = low; i < high; i++) {
        products += grad_y[i * d + j] * (x[i * d + j] - centre[j]);
        totals += grad_y[i * d + j];
      }
      parts[2 * b * d + j] = products;
      parts[(2 * b + 1) * d + j] = totals;
    }
  }
}

extern "C" __global__ void numcore_combine_columns(
    const REAL* __restrict__ grad_y, const REAL* __restrict__ x, const REAL* __restrict__ centre,
    const REAL* __restrict__ factor, const REAL* __restrict__ slope, const REAL* __restrict__ shift,
    REAL* __restrict__ grad_x, index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32)
    for (index_t j = lane_index(); j < d; j += 32)
      grad_x[i * d + j] =
          factor[j] * grad_y[i * d + j] + slope[j] * (x[i * d + j] - centre[j]) + shift[j];
}
