// Selected rows of the Walsh-Hadamard transform, H_N = H_h x H_l, of the N rows given by slots (h,
// l): +-(i + 1) means +- row i of a (n, d), 0 a row of zeros. Blocks of l rows and w columns are
// transformed in shared memory; a sampled row is the sum of one row of every block with the signs
// of H_h. sums (q, m, w): item q holds panel q % panels of the columns, summed over group q /
// panels of the blocks.
#include "butterflies.cuh"

extern "C" __global__ void numcore_sampled_hadamard(const REAL* a, const i64* slots,
                                                    const i64* rows, i64 panels, REAL* sums,
                                                    index_t n, index_t d, index_t h, index_t l,
                                                    index_t m, index_t q, index_t w) {
  DYNAMIC_SHARED(REAL, block);
  index_t groups = q / panels;
  for (index_t item = block_index(); item < q; item += block_count()) {
    index_t first = item % panels * w, group = item / panels;
    REAL* mine = sums + item * m * w;
    for (index_t e = index_in_block(); e < m * w; e += block_size()) mine[e] = 0;
    for (index_t b = group * h / groups; b < (group + 1) * h / groups; b++) {
      for (index_t e = index_in_block(); e < l * w; e += block_size()) {
        index_t slot = slots[b * l + e / w], j = first + e % w;
        block[e] = j >= d || slot == 0 ? REAL(0)
                   : slot > 0          ? a[(slot - 1) * d + j]
                                       : -a[(-slot - 1) * d + j];
      }
      butterflies(block, l * w, w);
      for (index_t e = index_in_block(); e < m * w;
           e += block_size()) {  // each sum belongs to one thread
        index_t row = rows[e / w];
        REAL value = block[row % l * w + e % w];
        mine[e] += __popcll((unsigned long long)(row / l & b)) & 1 ? -value : value;
      }
      __syncthreads();
    }
  }
}
