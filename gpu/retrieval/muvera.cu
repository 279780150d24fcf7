// Codes of sets of vectors (cells by hyperplanes, sums in the cells), Chamfer similarities of sets, and sums of looked-up products.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// products (m, r bits), cells (r, m). One thread takes a vector; the bits of a repetition are read as a Gray code.
extern "C" __global__ void numcore_gray_cells(const REAL* __restrict__ products, int* __restrict__ cells, index_t m, index_t q, index_t r) {
    const index_t bits = q / r;
    for (index_t p = thread_index(); p < m; p += thread_count())
        for (index_t i = 0; i < r; i++) {
            int cell = 0;
            for (index_t b = 0; b < bits; b++) cell = 2 * cell + ((products[p * q + i * bits + b] > 0) ^ (cell & 1));
            cells[i * m + p] = cell;
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
__device__ REAL coordinate(const REAL* point, const int* buckets, const REAL* signs, index_t d, index_t j, i64 sketched) {
    if (!sketched) return point[j];
    REAL sum = 0;
    for (index_t e = 0; e < d; e++)
        if (buckets[e] == j) sum += signs[e] * point[e];
    return sum;
}

// codes (sets r, b, w). One block takes a set in one repetition; a thread takes entries (cell, coordinate), so that no two write to one.
extern "C" __global__ void numcore_encode_cells(const REAL* __restrict__ points, const i64* __restrict__ offsets, const int* __restrict__ cells,
                                                const int* __restrict__ buckets, const REAL* __restrict__ signs, REAL* __restrict__ codes,
                                                i64 sketched, i64 mean, i64 fill, index_t m, index_t d, index_t o, index_t r, index_t t,
                                                index_t b, index_t w) {
    for (index_t item = block_index(); item < t; item += block_count()) {
        const index_t first = offsets[item / r], last = offsets[item / r + 1];
        const int* cell_of = cells + item % r * m;
        const int* bucket_of = buckets + item % r * d;
        const REAL* sign_of = signs + item % r * d;
        for (index_t e = index_in_block(); e < b * w; e += block_size()) {
            const index_t c = e / w, j = e % w;
            REAL sum = 0;
            index_t count = 0;
            for (index_t p = first; p < last; p++)
                if (cell_of[p] == c) sum += coordinate(points + p * d, bucket_of, sign_of, d, j, sketched), count++;
            if (!count && fill)
                sum = coordinate(points + nearest_point(cell_of, first, last, static_cast<int>(c)) * d, bucket_of, sign_of, d, j, sketched);
            codes[(item * b + c) * w + j] = mean && count > 1 ? sum / count : sum;
        }
    }
}

#define TILE 32
#define PITCH 33  // columns of a tile then lie in different banks

__device__ __forceinline__ REAL half_warp_max(REAL value) {
    for (int distance = 8; distance; distance >>= 1) value = max(value, __shfl_xor_sync(FULL_WARP, value, distance));
    return value;
}

// One block takes a query and a document: tiles of 32 vectors of each, 16 x 16 threads with two by two products; the maxima of a query's
// vectors stay in registers. Marks are zeros that become NaN where a product is not finite.
extern "C" __global__ void numcore_max_sim(const REAL* __restrict__ queries, const i64* __restrict__ query_offsets,
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
                        left[i * PITCH + e % TILE] = q0 + i < q_last && k < d ? queries[(q0 + i) * d + k] : REAL(0);
                        right[i * PITCH + e % TILE] = row0 + i < last && k < d ? documents[(row0 + i) * d + k] : REAL(0);
                    }
                    __syncthreads();
                    for (int k = 0; k < TILE; k++)
                        for (int i = 0; i < 2; i++)
                            for (int j = 0; j < 2; j++) sums[i][j] += left[(ty + 16 * i) * PITCH + k] * right[(tx + 16 * j) * PITCH + k];
                    __syncthreads();
                }
                for (int i = 0; i < 2; i++)
                    for (int j = 0; j < 2; j++)
                        if (row0 + tx + 16 * j < last) best[i] = max(best[i], sums[i][j]), mark[i] += sums[i][j] * 0;
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

// tables (m, c, q), codes (n, m), sums (n, q). Neighbouring threads take neighbouring queries of one row.
extern "C" __global__ void numcore_look_up_sums(const REAL* __restrict__ tables, const u8* __restrict__ codes, REAL* __restrict__ sums,
                                                index_t m, index_t c, index_t q, index_t n) {
    for (index_t e = thread_index(); e < n * q; e += thread_count()) {
        const index_t row = e / q, lane = e % q;
        REAL sum = 0;
        for (index_t g = 0; g < m; g++) sum += tables[(g * c + codes[row * m + g]) * q + lane];
        sums[e] = sum;
    }
}
