// The columns of a convolution: every plane holds what one tap of the kernel reads of one channel of one image, at all places.
//
// x (n, c, h, w), columns (c, row taps, column taps, n, rows, places). A block takes one plane; its threads write it one after the other.
#include "numcore.cuh"

enum { PLACES, STEP, FIRST, TAPS, TAP, AXIS };  // of the vertical axis, then of the horizontal one

extern "C" __global__ void numcore_unfold(const REAL* __restrict__ x, const i64* __restrict__ geometry, REAL* __restrict__ columns, index_t n,
                                          index_t c, index_t h, index_t w, index_t planes, index_t rows, index_t places) {
  const i64 *down = geometry, *right = geometry + AXIS;
  for (index_t p = block_index(); p < planes; p += block_count()) {
    const index_t image = p % n, tap = p / n;
    const index_t left = right[FIRST] + tap % right[TAPS] * right[TAP];
    const index_t top = down[FIRST] + tap / right[TAPS] % down[TAPS] * down[TAP];
    const REAL* channel = x + (image * c + tap / right[TAPS] / down[TAPS]) * h * w;
    REAL* out = columns + p * rows * places;
    for (index_t at = index_in_block(); at < rows * places; at += block_size()) {
      const index_t row = top + at / places * down[STEP], column = left + at % places * right[STEP];
      const bool inside = row >= 0 && row < h && column >= 0 && column < w;
      out[at] = inside ? channel[row * w + column] : REAL(0);
    }
  }
}
