// Power normalization; the formulas are in numcore/nn/_power_norm/kernels.py.
//
// x, y, grad_y, grad_x are (n, d), row_scale is (n, k), parts is (m, sums, d): block b owns rows 32
// b to 32 b + 31. Its warps take rows where a group of columns is summed, its threads take columns
// where columns are summed. k = 0: columns are not scaled in groups.
#include "numcore.cuh"

__device__ __forceinline__ index_t end_of_block(index_t b, index_t n) {
  return b * ROWS + ROWS < n ? b * ROWS + ROWS : n;
}

// row_scale of the rows low to high; all threads of the block see it.
__device__ void scale_groups(const REAL* x, REAL* row_scale, REAL eps, index_t low, index_t high,
                             index_t d, index_t k) {
  const index_t size = d / k;
  for (index_t at = low * k + warp_index(); at < high * k; at += warp_count()) {
    const REAL* group = x + at / k * d + at % k * size;
    REAL squares = 0;
    for (index_t j = lane_index(); j < size; j += 32) squares += group[j] * group[j];
    squares = warp_sum(squares);
    if (lane_index() == 0) row_scale[at] = 1 / sqrt(squares / size + eps);
  }
  __syncthreads();
}

extern "C" __global__ void numcore_power_columns(const REAL* __restrict__ x,
                                                 const REAL* __restrict__ scale,
                                                 const REAL* __restrict__ weight,
                                                 const REAL* __restrict__ bias,
                                                 REAL* __restrict__ z, REAL* __restrict__ y,
                                                 index_t n, index_t d) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32)
    for (index_t j = lane_index(); j < d; j += 32) {
      REAL scaled = x[i * d + j] * scale[j];
      z[i * d + j] = scaled;
      y[i * d + j] = scaled * weight[j] + bias[j];
    }
}

extern "C" __global__ void numcore_power_sums(const REAL* __restrict__ x,
                                              const u8* __restrict__ live, REAL eps,
                                              REAL* row_scale, REAL* __restrict__ parts, index_t n,
                                              index_t d, index_t k, index_t m) {
  const index_t size = k ? d / k : d;
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    if (k) scale_groups(x, row_scale, eps, low, high, d, k);
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL squares = 0;
      for (index_t i = low; i < high; i++)
        if (live[i])
          squares += square(k ? x[i * d + j] * row_scale[i * k + j / size] : x[i * d + j]);
      parts[b * d + j] = squares;
    }
  }
}

extern "C" __global__ void numcore_power_rows(
    const REAL* __restrict__ x, const u8* __restrict__ live, const REAL* __restrict__ factor,
    const REAL* __restrict__ bias, REAL eps, REAL* row_scale, REAL* __restrict__ y,
    REAL* __restrict__ parts, index_t n, index_t d, index_t k, index_t m) {
  const index_t size = k ? d / k : d;
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    if (k) scale_groups(x, row_scale, eps, low, high, d, k);
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL squares = 0;
      for (index_t i = low; i < high; i++) {
        REAL scaled = k ? x[i * d + j] * row_scale[i * k + j / size] : x[i * d + j];
        y[i * d + j] = scaled * factor[j] + bias[j];
        if (live[i]) squares += scaled * scaled;
      }
      parts[b * d + j] = squares;
    }
  }
}

extern "C" __global__ void numcore_power_rows_backward(
    const REAL* __restrict__ grad_y, const REAL* __restrict__ x, const REAL* __restrict__ row_scale,
    const u8* __restrict__ live, const REAL* __restrict__ factor, const REAL* __restrict__ slope,
    REAL* grad_x, REAL* __restrict__ parts, index_t n, index_t d, index_t k, index_t m,
    index_t sums) {
  const index_t size = k ? d / k : d;
  for (index_t b = block_index(); b < m; b += block_count()) {
    const index_t low = b * ROWS, high = end_of_block(b, n);
    for (index_t j = index_in_block(); j < d; j += block_size()) {
      REAL products = 0, totals = 0, hidden = 0, squares = 0;
      for (index_t i = low; i < high; i++) {
        REAL g = grad_y[i * d + j],
             scaled = k ? x[i * d + j] * row_scale[i * k + j / size] : x[i * d + j];
        grad_x[i * d + j] = factor[j] * g - slope[j] * scaled;
        products += g * scaled;
        totals += g;
        if (!live[i])
          hidden += g * scaled;
        else
          squares += scaled * scaled;
      }
      parts[sums * b * d + j] = products;
      parts[(sums * b + 1) * d + j] = totals;
      if (sums > 2) {
        parts[(sums * b + 2) * d + j] = hidden;
        parts[(sums * b + 3) * d + j] = squares;
      }
    }
    if (!k) continue;
    __syncthreads();  // warps read what other threads have written to grad_x
    for (index_t at = low * k + warp_index(); at < high * k; at += warp_count()) {
      const index_t first = at / k * d + at % k * size;
      const REAL s = row_scale[at];
      REAL along = 0;
      for (index_t j = lane_index(); j < size; j += 32) along += grad_x[first + j] * x[first + j];
      along = warp_sum(along) * (s * s / size);
      for (index_t j = lane_index(); j < size; j += 32)
        grad_x[first + j] = s * (grad_x[first + j] - x[first + j] * along);
    }
  }
}
