// Products with block-diagonal matrices: y = blockdiag(w) x for rows of x (b, n), and w[g] = sum
// over rows of y_g x_g^T, w (g, i, j). Block g of a row has the entries g J + j, or, interleaved, j
// G + g. Blocks of threads take tiles of 32 x 32 outputs.
#include "numcore.cuh"

#define TILE 32
#define PITCH 33  // columns of a tile then lie in different banks

__device__ index_t place(index_t g, index_t e, index_t count, index_t size, i64 interleaved) {
  return interleaved ? e * count + g : g * size + e;
}

// c (TILE x TILE in shared memory's accumulators): threads 16 x 16, each two by two.
struct Sums {
  REAL s[2][2];
};

__device__ void multiply(Sums& c, const REAL* a, const REAL* b, int ty, int tx) {
  for (int d = 0; d < TILE; d++)
    for (int i = 0; i < 2; i++)
      for (int j = 0; j < 2; j++)
        c.s[i][j] += a[(ty + 16 * i) * PITCH + d] * b[(tx + 16 * j) * PITCH + d];
}

extern "C" __global__ void numcore_block_product(const REAL* __restrict__ x,
                                                 const REAL* __restrict__ w, REAL* __restrict__ y,
                                                 i64 interleaved, i64 transposed, index_t b,
                                                 index_t n, index_t g, index_t i, index_t j,
                                                 index_t m) {
  __shared__ REAL vectors[TILE * PITCH], weights[TILE * PITCH];
  const index_t rows = transposed ? j : i, depth = transposed ? i : j;
  const index_t row_tiles = ceil_div(rows, TILE), tiles = ceil_div(b, TILE) * g * row_tiles;
  const int tx = index_in_block() % 16, ty = index_in_block() / 16;
  for (index_t tile = block_index(); tile < tiles; tile += block_count()) {
    const index_t row0 = tile % row_tiles * TILE, block = tile / row_tiles % g,
                  vector0 = tile / row_tiles / g * TILE;
    Sums c = {};
    for (index_t d0 = 0; d0 < depth; d0 += TILE) {
      for (int e = index_in_block(); e < TILE * TILE; e += block_size()) {
        const index_t r = e / TILE, d = d0 + e % TILE, v = vector0 + r, o = row0 + r;
        vectors[r * PITCH + e % TILE] =
            v < b && d < depth ? x[v * n + place(block, d, g, depth, interleaved)] : REAL(0);
        weights[r * PITCH + e % TILE] =
            o < rows && d < depth
                ? w[block * rows * depth + (transposed ? d * rows + o : o * depth + d)]
                : REAL(0);
      }
      __syncthreads();
      multiply(c, vectors, weights, ty, tx);
      __syncthreads();
    }
    for (int k = 0; k < 4; k++) {
      const index_t v = vector0 + ty + 16 * (k / 2), o = row0 + tx + 16 * (k % 2);
      if (v < b && o < rows) y[v * m + place(block, o, g, rows, interleaved)] = c.s[k / 2][k % 2];
    }
  }
}

extern "C" __global__ void numcore_block_outer(const REAL* __restrict__ y,
                                               const REAL* __restrict__ x, REAL* __restrict__ w,
                                               i64 interleaved, index_t b, index_t m, index_t n,
                                               index_t g, index_t i, index_t j) {
  __shared__ REAL lefts[TILE * PITCH], rights[TILE * PITCH];
  const index_t row_tiles = ceil_div(i, TILE), col_tiles = ceil_div(j, TILE),
                tiles = g * row_tiles * col_tiles;
  const int tx = index_in_block() % 16, ty = index_in_block() / 16;
  for (index_t tile = block_index(); tile < tiles; tile += block_count()) {
    const index_t col0 = tile % col_tiles * TILE, row0 = tile / col_tiles % row_tiles * TILE,
                  block = tile / col_tiles / row_tiles;
    Sums c = {};
    for (index_t v0 = 0; v0 < b; v0 += TILE) {
      for (int e = index_in_block(); e < TILE * TILE; e += block_size()) {
        const index_t v = v0 + e / TILE, r = row0 + e % TILE, k = col0 + e % TILE;
        lefts[e % TILE * PITCH + e / TILE] =
            v < b && r < i ? y[v * m + place(block, r, g, i, interleaved)] : REAL(0);
        rights[e % TILE * PITCH + e / TILE] =
            v < b && k < j ? x[v * n + place(block, k, g, j, interleaved)] : REAL(0);
      }
      __syncthreads();
      multiply(c, lefts, rights, ty, tx);
      __syncthreads();
    }
    for (int k = 0; k < 4; k++) {
      const index_t r = row0 + ty + 16 * (k / 2), column = col0 + tx + 16 * (k % 2);
      if (r < i && column < j) w[(block * i + r) * j + column] = c.s[k / 2][k % 2];
    }
  }
}
