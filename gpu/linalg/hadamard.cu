// Walsh-Hadamard transform of rows x (r, n), and of columns x (p, n, m): butterflies (a, b) <- (a +
// b, a - b) in shared memory. n is a power of two; a row fits in the shared memory of a block,
// columns are transformed eight at a time.
#include "butterflies.cuh"

#define COLUMNS 8

// One block per row.
extern "C" __global__ void numcore_hadamard_rows(REAL* x, REAL scale, index_t r, index_t n) {
  DYNAMIC_SHARED(REAL, row);
  for (index_t i = block_index(); i < r; i += block_count()) {
    for (index_t j = index_in_block(); j < n; j += block_size()) row[j] = x[i * n + j];
    butterflies(row, n, 1);
    for (index_t j = index_in_block(); j < n; j += block_size()) x[i * n + j] = scale * row[j];
    __syncthreads();
  }
}

// One block per eight neighboring columns.
extern "C" __global__ void numcore_hadamard_columns(REAL* x, REAL scale, index_t p, index_t n,
                                                    index_t m) {
  DYNAMIC_SHARED(REAL, panel);
  index_t panels = ceil_div(m, COLUMNS);
  for (index_t b = block_index(); b < p * panels; b += block_count()) {
    REAL* from = x + b / panels * n * m + b % panels * COLUMNS;
    index_t width = min((index_t)COLUMNS, m - b % panels * COLUMNS);
    for (index_t e = index_in_block(); e < n * COLUMNS; e += block_size())
      panel[e] = e % COLUMNS < width ? from[e / COLUMNS * m + e % COLUMNS] : REAL(0);
    butterflies(panel, n * COLUMNS, COLUMNS);
    for (index_t e = index_in_block(); e < n * COLUMNS; e += block_size())
      if (e % COLUMNS < width) from[e / COLUMNS * m + e % COLUMNS] = scale * panel[e];
    __syncthreads();
  }
}
