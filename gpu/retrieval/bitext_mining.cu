// Mining of pairs: neighbours down the columns of scores, cosines of pairs, a greedy choice, nearest rows of a range, groups by key.
#include "numcore.cuh"
#include "heap.cuh"

#ifndef REAL  // kernels of integers alone
#define REAL float
#endif

// scores (n, b), best and at (b, k). One thread takes a column, so that neighbouring threads read neighbouring scores.
extern "C" __global__ void numcore_scan_columns(const REAL* __restrict__ scores, REAL* best, i64* at, i64 first, index_t n, index_t b, index_t k) {
    for (index_t c = thread_index(); c < b; c += thread_count()) {
        REAL* mine = best + c * k;
        for (index_t i = 0; i < n; i++) {
            REAL score = scores[i * b + c];
            if (score > mine[0]) replace_worst(mine, at + c * k, k, score, first + i);
        }
    }
}

// One warp takes a pair; NaN where squares leave the range of double.
__device__ __forceinline__ double warp_cosine(const REAL* x, const REAL* y, index_t d, double scale_x, double scale_y) {
    double xx = 0, yy = 0, xy = 0;
    for (index_t j = lane_index(); j < d; j += 32) {
        double a = x[j] / scale_x, b = y[j] / scale_y;
        xx += a * a, yy += b * b, xy += a * b;
    }
    xx = warp_sum(xx), yy = warp_sum(yy), xy = warp_sum(xy);
    bool inside = 1e-280 < xx && xx < 1e280 && 1e-280 < yy && yy < 1e280;
    return inside ? xy / (sqrt(xx) * sqrt(yy)) : Limits<double>::nan();
}

__device__ __forceinline__ double warp_largest(const REAL* row, index_t d) {
    double most = 0;
    for (index_t j = lane_index(); j < d; j += 32) most = max(most, fabs((double)row[j]));
    return warp_max(most);
}

extern "C" __global__ void numcore_cosines_of(const REAL* __restrict__ source, const REAL* __restrict__ target, const i64* __restrict__ rows,
                                              const i64* __restrict__ columns, REAL* __restrict__ result, index_t n, index_t d, index_t m,
                                              index_t p) {
    for (index_t e = thread_index() / 32; e < p; e += thread_count() / 32) {
        const REAL *x = source + rows[e] * d, *y = target + columns[e] * d;
        double value = warp_cosine(x, y, d, 1, 1);
        if (value != value) value = warp_cosine(x, y, d, warp_largest(x, d), warp_largest(y, d));
        if (lane_index() == 0) result[e] = value;
    }
}

// One block takes a problem. A pair that is the first of the free ones at both its ends is what the greedy choice takes there, whatever
// comes before it elsewhere; all such pairs are taken at once, again and again until no pair has two free ends. While a block works,
// ends that are taken hold the pair's place less 2^62.
extern "C" __global__ void numcore_take_greedily(const i64* __restrict__ rows, const i64* __restrict__ columns, i64* row_taken,
                                                 i64* column_taken, u8* taken, index_t g, index_t p, index_t n, index_t m) {
    const i64 none = 0x7fffffffffffffffll, done = 1ll << 62;
    for (index_t problem = block_index(); problem < g; problem += block_count()) {
        const i64 *i = rows + problem * p, *j = columns + problem * p;
        i64 *row = row_taken + problem * n, *column = column_taken + problem * m;
        u8* mine = taken + problem * p;
        for (index_t e = index_in_block(); e < p; e += block_size()) mine[e] = 0;
        __syncthreads();
        for (bool more = true; more;) {
            bool alive = false;
            for (index_t e = index_in_block(); e < p; e += block_size())
                if (row[i[e]] >= 0 && column[j[e]] >= 0) {
                    atomicMin(row + i[e], e), atomicMin(column + j[e], e);
                    alive = true;
                }
            more = __syncthreads_or(alive);
            for (index_t e = index_in_block(); e < p; e += block_size())
                if (row[i[e]] == e && column[j[e]] == e) {
                    mine[e] = 1;
                    row[i[e]] = column[j[e]] = e - done;
                }
            __syncthreads();
            for (index_t r = index_in_block(); r < n; r += block_size())
                if (row[r] >= 0) row[r] = none;
            for (index_t c = index_in_block(); c < m; c += block_size())
                if (column[c] >= 0) column[c] = none;
            __syncthreads();
        }
        for (index_t r = index_in_block(); r < n; r += block_size())
            if (row[r] < 0) row[r] += done;
        for (index_t c = index_in_block(); c < m; c += block_size())
            if (column[c] < 0) column[c] += done;
        __syncthreads();
    }
}

// rows (n, d), others (m, d). One warp takes a row; a product has the same bits whichever side a row stands on.
extern "C" __global__ void numcore_nearest_of_range(const REAL* __restrict__ rows, const REAL* __restrict__ others, const i64* __restrict__ begins,
                                                    const i64* __restrict__ ends, i64* __restrict__ nearest, REAL* __restrict__ score, index_t n,
                                                    index_t d, index_t m) {
    for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
        i64 best = -1;
        REAL most = -Limits<REAL>::infinity();
        for (i64 j = begins[i]; j < ends[i]; j++) {
            REAL sum = 0;
            for (index_t c = lane_index(); c < d; c += 32) sum += rows[i * d + c] * others[j * d + c];
            sum = warp_sum(sum);
            if (sum > most) most = sum, best = j;
        }
        if (lane_index() == 0) nearest[i] = best, score[i] = most;
    }
}

// One thread takes a group.
extern "C" __global__ void numcore_best_of_groups(const i64* __restrict__ begins, const i64* __restrict__ ends, const i64* __restrict__ order,
                                                  const REAL* __restrict__ scores, i64* __restrict__ best, index_t g, index_t p) {
    for (index_t i = thread_index(); i < g; i += thread_count()) {
        i64 mine = order[begins[i]];
        for (i64 e = begins[i] + 1; e < ends[i]; e++)
            if (is_worse(scores[mine], mine, scores[order[e]], order[e])) mine = order[e];
        best[i] = mine;
    }
}

extern "C" __global__ void numcore_join_groups(const i64* __restrict__ begins, const i64* __restrict__ ends, const i64* __restrict__ order,
                                               const i64* __restrict__ other_begins, const i64* __restrict__ other_ends,
                                               const i64* __restrict__ other_order, const i64* __restrict__ at, i64* x, i64* y, index_t g,
                                               index_t p, index_t q, index_t z) {
    for (index_t i = thread_index(); i < g; i += thread_count()) {
        i64 place = at[i];
        for (i64 e = begins[i]; e < ends[i]; e++)
            for (i64 f = other_begins[i]; f < other_ends[i]; f++, place++) x[place] = order[e], y[place] = other_order[f];
    }
}
