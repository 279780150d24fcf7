// Codes of sets of vectors (cells by hyperplanes, sums in the cells), Chamfer similarities of sets,
// and sums of looked-up products.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

#define TILE 32
#define PITCH 33  // columns of a tile then lie in different banks

// Of two tiles in shared memory, rows ty and ty + 16 of the left one with tx and tx + 16 of the
// right one.
__device__ __forceinline__ void add_products(const REAL* left, const REAL* right, int tx, int ty,
                                             REAL (&sums)[2][2]) {
  for (int k = 0; k < TILE; k++)
    for (int i = 0; i < 2; i++)
      for (int j = 0; j < 2; j++)
        sums[i][j] += left[(ty + 16 * i) * PITCH + k] * right[(tx + 16 * j) * PITCH + k];
}

// points (m, d), normals (h, d), cells (r, m). A block takes 32 vectors and the normals of so many
// repetitions as fit into 32, 16 x 16 threads with two by two products; the bits of a repetition
// are then read as a Gray code. x - x is zero for finite numbers alone.
extern "C" __global__ void numcore_gray_cells(const REAL* __restrict__ points,
                                              const REAL* __restrict__ normals,
                                              int* __restrict__ cells, i64 bits, index_t m,
                                              index_t d, index_t h, index_t r) {
  __shared__ REAL left[TILE * PITCH], right[TILE * PITCH];
  __shared__ u8 positive[TILE * PITCH], wrong[TILE];
  const int tx = index_in_block() % 16, ty = index_in_block() / 16;
  const index_t group = bits ? TILE / bits : TILE;
  for (index_t p0 = block_index() * TILE; p0 < m; p0 += block_count() * TILE)
    for (index_t r0 = 0; r0 < r; r0 += group) {
      const index_t h0 = r0 * bits, planes = min(static_cast<index_t>(group * bits), h - h0);
      REAL sums[2][2] = {};
      if (index_in_block() < TILE) wrong[index_in_block()] = 0;
      __syncthreads();
      for (index_t d0 = 0; d0 < d; d0 += TILE) {
        for (int e = index_in_block(); e < TILE * TILE; e += block_size()) {
          const index_t i = e / TILE, k = d0 + e % TILE;
          const REAL x = p0 + i < m && k < d ? points[(p0 + i) * d + k] : REAL(0);
          if (x - x != 0) wrong[i] = 1;
          left[i * PITCH + e % TILE] = x;
          right[i * PITCH + e % TILE] = i < planes && k < d ? normals[(h0 + i) * d + k] : REAL(0);
        }
        __syncthreads();
        add_products(left, right, tx, ty, sums);
        __syncthreads();
      }
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) positive[(ty + 16 * i) * PITCH + tx + 16 * j] = sums[i][j] > 0;
      __syncthreads();
      for (index_t e = index_in_block(); e < TILE * group; e += block_size()) {
        const index_t p = e % TILE, i = e / TILE;
        if (p0 + p >= m || r0 + i >= r) continue;
        int cell = 0;
        for (index_t b = i * bits; b < (i + 1) * bits; b++)
          cell = 2 * cell + (positive[p * PITCH + b] ^ (cell & 1));
        cells[(r0 + i) * m + p0 + p] = wrong[p] ? -1 : cell;
      }
      __syncthreads();
    }
}

__device__ index_t nearest_point(const int* cells, index_t first, index_t last, int cell) {
  index_t best = first;
  int least = 32;
  for (index_t p = first; p < last && least > 1; p++) {
    const int other = cells[p], distance = __popc((cell ^ (cell >> 1)) ^ (other ^ (other >> 1)));
    if (distance < least) least = distance, best = p;
  }
  return best;
}

// Coordinate j of a vector, shortened by a count sketch where there is one.
__device__ REAL coordinate(const REAL* point, const int* starts, const int* order,
                           const REAL* signs, index_t j, i64 sketched) {
  if (!sketched) return point[j];
  REAL sum = 0;
  for (int e = starts[j]; e < starts[j + 1]; e++) sum += signs[e] * point[order[e]];
  return sum;
}

// codes (sets r, b, w). One block takes a set in one repetition; a thread takes entries (cell,
// coordinate), so that no two write to one.
extern "C" __global__ void numcore_encode_cells(
    const REAL* __restrict__ points, const i64* __restrict__ offsets, const int* __restrict__ cells,
    const int* __restrict__ starts, const int* __restrict__ order, const REAL* __restrict__ signs,
    REAL* __restrict__ codes, i64 sketched, i64 mean, i64 fill, index_t m, index_t d, index_t o,
    index_t r, index_t v, index_t t, index_t b, index_t w) {
  for (index_t item = block_index(); item < t; item += block_count()) {
    const index_t first = offsets[item / r], last = offsets[item / r + 1];
    const int* cell_of = cells + item % r * m;
    const int *start = starts + item % r * v, *order_of = order + item % r * d;
    const REAL* sign_of = signs + item % r * d;
    for (index_t e = index_in_block(); e < b * w; e += block_size()) {
      const index_t c = e / w, j = e % w;
      REAL sum = 0;
      index_t count = 0;
      for (index_t p = first; p < last; p++)
        if (cell_of[p] == c)
          sum += coordinate(points + p * d, start, order_of, sign_of, j, sketched), count++;
      if (!count && fill)
        sum = coordinate(points + nearest_point(cell_of, first, last, static_cast<int>(c)) * d,
                         start, order_of, sign_of, j, sketched);
      codes[(item * b + c) * w + j] = mean && count > 1 ? sum / count : sum;
    }
  }
}

__device__ __forceinline__ REAL half_warp_max(REAL value) {
  for (int distance = 8; distance; distance >>= 1)
    value = max(value, __shfl_xor_sync(FULL_WARP, value, distance));
  return value;
}

// One block takes a query and a document: tiles of 32 vectors of each, 16 x 16 threads with two by
// two products; the maxima of a query's vectors stay in registers. Marks are zeros that become NaN
// where a product is not finite.
extern "C" __global__ void numcore_max_sim(
    const REAL* __restrict__ queries, const i64* __restrict__ query_offsets,
    const REAL* __restrict__ documents, const i64* __restrict__ document_offsets,
    const i64* __restrict__ candidates, REAL* __restrict__ scores, index_t a, index_t d, index_t o,
    index_t p, index_t f, index_t l, index_t c, index_t t) {
  __shared__ REAL left[TILE * PITCH], right[TILE * PITCH];
  const int tx = index_in_block() % 16, ty = index_in_block() / 16;
  for (index_t item = block_index(); item < t; item += block_count()) {
    const index_t q = item / c, document = candidates[q % l * c + item % c];
    const index_t q_first = query_offsets[q], q_last = query_offsets[q + 1];
    const index_t first = document_offsets[document], last = document_offsets[document + 1];
    double total = 0;
    for (index_t q0 = q_first; q0 < q_last; q0 += TILE) {
      REAL best[2] = {-Limits<REAL>::infinity(), -Limits<REAL>::infinity()}, mark[2] = {};
      for (index_t row0 = first; row0 < last; row0 += TILE) {
        REAL sums[2][2] = {};
        for (index_t d0 = 0; d0 < d; d0 += TILE) {
          for (int e = index_in_block(); e < TILE * TILE; e += block_size()) {
            const index_t i = e / TILE, k = d0 + e % TILE;
            left[i * PITCH + e % TILE] =
                q0 + i < q_last && k < d ? queries[(q0 + i) * d + k] : REAL(0);
            right[i * PITCH + e % TILE] =
                row0 + i < last && k < d ? documents[(row0 + i) * d + k] : REAL(0);
          }
          __syncthreads();
          add_products(left, right, tx, ty, sums);
          __syncthreads();
        }
        for (int i = 0; i < 2; i++)
          for (int j = 0; j < 2; j++)
            if (row0 + tx + 16 * j < last)
              best[i] = max(best[i], sums[i][j]), mark[i] += sums[i][j] * 0;
      }
      for (int i = 0; i < 2; i++) {
        const REAL top = half_warp_max(best[i]);
        if (q0 + ty + 16 * i < q_last) total += (tx == 0 ? top : REAL(0)) + mark[i];
      }
    }
    total = block_sum(total);
    if (index_in_block() == 0) scores[item] = total;
  }
}

// tables (m, c, q), codes (n, m), sums (n, q). Neighboring threads take neighboring queries of
// one row.
extern "C" __global__ void numcore_look_up_sums(const REAL* __restrict__ tables,
                                                const u8* __restrict__ codes,
                                                REAL* __restrict__ sums, index_t m, index_t c,
                                                index_t q, index_t n) {
  for (index_t e = thread_index(); e < n * q; e += thread_count()) {
    const index_t row = e / q, lane = e % q;
    REAL sum = 0;
    for (index_t g = 0; g < m; g++) sum += tables[(g * c + codes[row * m + g]) * q + lane];
    sums[e] = sum;
  }
}
