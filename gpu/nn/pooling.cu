// Pooling: the largest or the mean value under each window, and the gradients, which every pixel
// collects from the windows over it.
//
// x, grad_x (planes, h, w); y, where, grad_y (planes, rows, cols). A block takes one plane, a
// thread one entry of the result at a time.
#include "numcore.cuh"

__device__ __forceinline__ index_t at_least(index_t a, index_t b) { return a > b ? a : b; }
__device__ __forceinline__ index_t at_most(index_t a, index_t b) { return a < b ? a : b; }

// The windows [low, high) over a pixel that is `at` pixels from the padding's edge.
__device__ __forceinline__ void windows_over(index_t at, index_t size, index_t step, index_t count,
                                             index_t& low, index_t& high) {
  low = at < size ? 0 : (at - size) / step + 1;
  high = at_most(count, at / step + 1);
}

extern "C" __global__ void numcore_max_pool(const REAL* __restrict__ x,
                                            const i64* __restrict__ window, REAL* __restrict__ y,
                                            int* __restrict__ where, index_t planes, index_t h,
                                            index_t w, index_t rows, index_t cols) {
  for (index_t p = block_index(); p < planes; p += block_count()) {
    const REAL* plane = x + p * h * w;
    for (index_t at = index_in_block(); at < rows * cols; at += block_size()) {
      const index_t row = at / cols * window[DOWN] - window[TOP],
                    column = at % cols * window[RIGHT] - window[LEFT];
      const index_t top = at_least(row, 0), bottom = at_most(row + window[HEIGHT], h);
      const index_t left = at_least(column, 0), right = at_most(column + window[WIDTH], w);
      REAL best = -Limits<REAL>::infinity();
      index_t best_at = top * w + left;
      for (index_t r = top; r < bottom; r++)
        for (index_t c = left; c < right; c++) {
          const REAL value = plane[r * w + c];
          if (best == best && !(value <= best)) best = value, best_at = r * w + c;
        }
      y[p * rows * cols + at] = best;
      where[p * rows * cols + at] = static_cast<int>(best_at);
    }
  }
}

extern "C" __global__ void numcore_max_pool_backward(
    const REAL* __restrict__ grad_y, const int* __restrict__ where, const i64* __restrict__ window,
    REAL* __restrict__ grad_x, index_t planes, index_t rows, index_t cols, index_t h, index_t w) {
  for (index_t p = block_index(); p < planes; p += block_count())
    for (index_t at = index_in_block(); at < h * w; at += block_size()) {
      index_t top, bottom, left, right;
      windows_over(at / w + window[TOP], window[HEIGHT], window[DOWN], rows, top, bottom);
      windows_over(at % w + window[LEFT], window[WIDTH], window[RIGHT], cols, left, right);
      REAL total = 0;
      for (index_t i = top; i < bottom; i++)
        for (index_t j = left; j < right; j++) {
          const index_t place = (p * rows + i) * cols + j;
          if (where[place] == at) total += grad_y[place];
        }
      grad_x[p * h * w + at] = total;
    }
}

extern "C" __global__ void numcore_avg_pool(const REAL* __restrict__ x,
                                            const i64* __restrict__ window, REAL* __restrict__ y,
                                            index_t planes, index_t h, index_t w, index_t rows,
                                            index_t cols) {
  const REAL pixels = static_cast<REAL>(window[HEIGHT] * window[WIDTH]);
  for (index_t p = block_index(); p < planes; p += block_count())
    for (index_t at = index_in_block(); at < rows * cols; at += block_size()) {
      const index_t row = at / cols * window[DOWN] - window[TOP],
                    column = at % cols * window[RIGHT] - window[LEFT];
      REAL total = 0;
      for (index_t r = at_least(row, 0); r < at_most(row + window[HEIGHT], h); r++)
        for (index_t c = at_least(column, 0); c < at_most(column + window[WIDTH], w); c++)
          total += x[(p * h + r) * w + c];
      y[p * rows * cols + at] = total / pixels;
    }
}

extern "C" __global__ void numcore_avg_pool_backward(const REAL* __restrict__ grad_y,
                                                     const i64* __restrict__ window,
                                                     REAL* __restrict__ grad_x, index_t planes,
                                                     index_t rows, index_t cols, index_t h,
                                                     index_t w) {
  const REAL pixels = static_cast<REAL>(window[HEIGHT] * window[WIDTH]);
  for (index_t p = block_index(); p < planes; p += block_count())
    for (index_t at = index_in_block(); at < h * w; at += block_size()) {
      index_t top, bottom, left, right;
      windows_over(at / w + window[TOP], window[HEIGHT], window[DOWN], rows, top, bottom);
      windows_over(at % w + window[LEFT], window[WIDTH], window[RIGHT], cols, left, right);
      REAL total = 0;
      for (index_t i = top; i < bottom; i++)
        for (index_t j = left; j < right; j++) total += grad_y[(p * rows + i) * cols + j] / pixels;
      grad_x[p * h * w + at] = total;
    }
}
