// Walsh-Hadamard transform of rows x (r, n), and of columns x (p, n, m): butterflies (a, b) <- (a +
// b, a - b) in shared memory. n is a power of two; a row fits in the shared memory of a block,
// columns are transformed GPU_PANEL at a time.
#include "butterflies.cuh"

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

// One block per GPU_PANEL neighboring columns.
extern "C" __global__ void numcore_hadamard_columns(REAL* x, REAL scale, index_t p, index_t n,
                                                    index_t m) {
  DYNAMIC_SHARED(REAL, panel);
  index_t panels = ceil_div(m, GPU_PANEL);
  for (index_t b = block_index(); b < p * panels; b += block_count()) {
    REAL* from = x + b / panels * n * m + b % panels * GPU_PANEL;
    index_t width = min((index_t)GPU_PANEL, m - b % panels * GPU_PANEL);
    for (index_t e = index_in_block(); e < n * GPU_PANEL; e += block_size())
      panel[e] = e % GPU_PANEL < width ? from[e / GPU_PANEL * m + e % GPU_PANEL] : REAL(0);
    butterflies(panel, n * GPU_PANEL, GPU_PANEL);
    for (index_t e = index_in_block(); e < n * GPU_PANEL; e += block_size())
      if (e % GPU_PANEL < width) from[e / GPU_PANEL * m + e % GPU_PANEL] = scale * panel[e];
    __syncthreads();
  }
}
