// Convolution as a product of matrices whose operands are gathered from the images: y, and the
// gradients of the weights.
//
// x (n, c, h, w), weights (o, g, down, right), y and grad_y (n, o, high, broad), grads (parts, o,
// g, down · right); g channels in a group. A block takes one item of the work table: some rows of
// the output, counted through the batch, for some channels. It walks over tiles of 64 × 64 results;
// slices of both operands, 16 deep, go through shared memory, and every thread sums 4 × 4 results
// in registers. Columns of the tables: numcore/nn/_convolution_kernels.py.
#include "numcore.cuh"

constexpr int TILE = 64, SLICE = 16, EACH = 4,
              PITCH =
                  TILE + 1;  // the one more keeps lanes of a transposed store in different banks

// Calls store(i, j, Σ_k a(i, k) b(k, j)) for all i < rows, j < cols; neighboring threads ask b for
// neighboring k if ALONG_DEPTH, else j.
template <bool ALONG_DEPTH, typename A, typename B, typename Store>
__device__ void product(index_t rows, index_t cols, index_t depth, A a, B b, Store store) {
  __shared__ REAL as[SLICE][PITCH], bs[SLICE][PITCH];
  const int thread = index_in_block(), down = thread / 16, across = thread % 16;
  for (index_t row = 0; row < rows; row += TILE)
    for (index_t col = 0; col < cols; col += TILE) {
      REAL sums[EACH][EACH] = {};
      for (index_t from = 0; from < depth; from += SLICE) {
        for (int s = thread; s < TILE * SLICE; s += block_size()) {
          const int k = s % SLICE, i = s / SLICE;
          as[k][i] = row + i < rows && from + k < depth ? a(row + i, from + k) : REAL(0);
          const int l = ALONG_DEPTH ? k : s / TILE, j = ALONG_DEPTH ? i : s % TILE;
          bs[l][j] = col + j < cols && from + l < depth ? b(from + l, col + j) : REAL(0);
        }
        __syncthreads();
        for (int k = 0; k < SLICE; k++)
          for (int i = 0; i < EACH; i++)
            for (int j = 0; j < EACH; j++)
              sums[i][j] += as[k][down + 16 * i] * bs[k][across + 16 * j];
        __syncthreads();
      }
      for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
          if (row + down + 16 * i < rows && col + across + 16 * j < cols)
            store(row + down + 16 * i, col + across + 16 * j, sums[i][j]);
    }
}

// Which pixel a tap reads at a place.
struct Pixels {
  const REAL* x;
  const index_t *geometry, *lines, *reads, *columns;
  index_t c, h, w, high, broad, down, right;

  // `channel` counts from the image's first; `place` from that of row 0 of the batch.
  __device__ REAL operator()(index_t channel, index_t tap, index_t place) const {
    const index_t line = place / broad,
                  row = geometry[TOP] + line % high * geometry[STEP] + lines[tap / right];
    const index_t column = columns[reads[tap % right] + place % broad];
    const bool inside = row >= 0 && row < h && column >= 0 && column < w;
    return inside ? x[((line / high * c + channel) * h + row) * w + column] : REAL(0);
  }
};

extern "C" __global__ void numcore_convolve(
    const REAL* __restrict__ x, const REAL* __restrict__ weights, const REAL* __restrict__ bias,
    const i64* __restrict__ items, const i64* __restrict__ geometry,
    const i64* __restrict__ channels, const i64* __restrict__ rows, const i64* __restrict__ lines,
    const i64* __restrict__ reads, const i64* __restrict__ columns, REAL* __restrict__ y, index_t n,
    index_t c, index_t h, index_t w, index_t size, index_t biases, index_t count, index_t chunk,
    index_t strip, index_t down, index_t right, index_t wide, index_t o, index_t high,
    index_t broad) {
  const Pixels pixels = {x, geometry, lines, reads, columns, c, h, w, high, broad, down, right};
  const index_t taps = down * right, inputs = geometry[GROUP_CHANNELS], depth = inputs * taps;
  for (index_t at = block_index(); at < count; at += block_count()) {
    const i64* item = items + at * ITEM_COLUMNS;
    const index_t out = item[ITEM_OUT], first = item[ITEM_ROW] * broad,
                  channel = item[ITEM_GROUP] * inputs;
    product<false>(
        item[ITEM_OUT_END] - out, (item[ITEM_ROW_END] - item[ITEM_ROW]) * broad, depth,
        [&](index_t e, index_t k) { return weights[(out + e) * depth + k]; },
        [&](index_t k, index_t p) { return pixels(channel + k / taps, k % taps, first + p); },
        [&](index_t e, index_t p, REAL sum) {
          const index_t place = first + p, line = place / broad;
          y[((line / high * o + out + e) * high + line % high) * broad + place % broad] =
              sum + (biases ? bias[out + e] : REAL(0));
        });
  }
}

extern "C" __global__ void numcore_convolve_weights(
    const REAL* __restrict__ x, const REAL* __restrict__ grad_y, const i64* __restrict__ items,
    const i64* __restrict__ geometry, const i64* __restrict__ channels,
    const i64* __restrict__ rows, const i64* __restrict__ lines, const i64* __restrict__ reads,
    const i64* __restrict__ columns, REAL* __restrict__ grads, index_t n, index_t c, index_t h,
    index_t w, index_t o, index_t high, index_t broad, index_t count, index_t chunk, index_t strip,
    index_t down, index_t right, index_t wide, index_t parts, index_t inputs, index_t taps) {
  const Pixels pixels = {x, geometry, lines, reads, columns, c, h, w, high, broad, down, right};
  for (index_t at = block_index(); at < count; at += block_count()) {
    const i64* item = items + at * ITEM_COLUMNS;
    const index_t out = item[ITEM_OUT], first = item[ITEM_ROW] * broad, channel = item[ITEM_IN];
    const index_t base = item[ITEM_GROUP] * geometry[GROUP_CHANNELS] + channel;
    product<true>(
        item[ITEM_OUT_END] - out, (item[ITEM_IN_END] - channel) * taps,
        (item[ITEM_ROW_END] - item[ITEM_ROW]) * broad,
        [&](index_t e, index_t p) {
          const index_t place = first + p, line = place / broad;
          return grad_y[((line / high * o + out + e) * high + line % high) * broad + place % broad];
        },
        [&](index_t p, index_t k) { return pixels(base + k / taps, k % taps, first + p); },
        [&](index_t e, index_t k, REAL sum) {
          grads[((item[ITEM_PART] * o + out + e) * inputs + channel) * taps + k] = sum;
        });
  }
}
