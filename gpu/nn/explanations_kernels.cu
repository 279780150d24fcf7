// Kernels of the explanations: coalitions as bits, the points that they stand for, and sums over their rows.
// removed (m, w): bit j of row i, in word j / 64, says that sample i has feature j removed; it belongs to row i / samples of x (n, d).
#include "elementary.cuh"
#include "philox.cuh"

#ifndef REAL
#define REAL float
#endif

__device__ __forceinline__ bool is_removed(const u64* removed, index_t i, index_t w, index_t j) {
    return (removed[i * w + j / 64] >> (j % 64)) & 1;
}

// size, low, width (k); removed (m, w). One thread takes one coalition: the subset of `size` features at a random place of
// [low, low + width) of all, in the order of the bits.
extern "C" __global__ void numcore_draw_coalitions(const i64* __restrict__ size, const double* __restrict__ low,
                                                   const double* __restrict__ width, u64* __restrict__ removed, i64 features, i64 first,
                                                   u32 k0, u32 k1, index_t k, index_t m, index_t w) {
    const double to53 = 1.0 / 9007199254740992.0, few_bits = 1.0 / 16777216.0;
    for (index_t i = thread_index(); i < m; i += thread_count()) {
        u64 word = 0, draw = 0;
        i64 s = size[i % k];
        Words words = philox4x32((u64)(first + i), 0, k0, k1);
        double v = low[i % k] + width[i % k] * uniform53(words.a, words.b), grain = width[i % k] * to53;
        for (index_t j = 0; j < 64 * w; j++) {
            index_t left = features - j;
            if (j < features && s > 0) {
                if (s == left || v * left < s) {
                    word |= 1ull << (j % 64);
                    double spread = (double)left / s;
                    v = v * spread, grain = grain * spread;
                    s--;
                } else {
                    double spread = 1.0 / (left - s);
                    v = (v * left - s) * spread, grain = grain * left * spread;
                }
                if (grain > few_bits) {
                    words = philox4x32((u64)(first + i), ++draw, k0, k1);
                    v = v + grain * uniform53(words.a, words.b), grain = to53;
                }
            }
            if (j % 64 == 63) removed[i * w + j / 64] = word, word = 0;
        }
    }
}

// points (m, d) = baseline where a feature is removed, else x. A warp takes a sample: its lanes write neighbours.
extern "C" __global__ void numcore_mask_points(const u64* __restrict__ removed, const REAL* __restrict__ x, const REAL* __restrict__ baseline,
                                               REAL* __restrict__ points, i64 samples, u64 flip, index_t m, index_t w, index_t n, index_t d) {
    for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
        index_t row = i / samples;
        for (index_t j = lane_index(); j < d; j += 32)
            points[i * d + j] = is_removed(removed, i, w, j) != (flip != 0) ? baseline[row * d + j] : x[row * d + j];
    }
}

// sums (m) = the terms (n, d) of the removed features. A warp takes a sample.
extern "C" __global__ void numcore_mask_sums(const u64* __restrict__ removed, const double* __restrict__ terms, double* __restrict__ sums,
                                             i64 samples, index_t m, index_t w, index_t n, index_t d) {
    for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
        double total = 0;
        for (index_t j = lane_index(); j < d; j += 32)
            if (is_removed(removed, i, w, j)) total += terms[i / samples * d + j];
        total = warp_sum(total);
        if (lane_index() == 0) sums[i] = total;
    }
}

// cos 2πv and sin 2πv for v in [0, 1): the series of numcore/nn/_explanations_kernels.py.
__device__ __forceinline__ void cos_sin_turn(double v, double& cosine, double& sine) {
    double quarter = floor(4.0 * v + 0.5), t = 4.0 * v - quarter, x = t * t;
    double s = t * numcore::horner(
        x, 1.5707963267948966, -0.6459640975062462, 0.07969262624616703, -0.004681754135318687,
        0.00016044118478735975, -3.598843235212084e-06, 5.692172921967924e-08, -6.688035109811464e-10);
    double c = numcore::horner(
        x, 1.0, -1.2337005501361697, 0.253669507901048, -0.020863480763352957, 0.0009192602748394263,
        -2.5202042373060596e-05, 4.710874778818169e-07, -6.386603083791849e-09, 6.565963114979468e-11);
    bool odd = quarter == 1.0 || quarter == 3.0;
    cosine = odd ? s : c, sine = odd ? c : s;
    if (quarter == 1.0 || quarter == 2.0) cosine = -cosine;
    if (quarter == 2.0 || quarter == 3.0) sine = -sine;
}

// points, offsets (m, d): x plus normal numbers by the Box–Muller transform. A warp takes a sample, a lane four neighbouring features.
extern "C" __global__ void numcore_gaussian_points(const REAL* __restrict__ x, REAL* __restrict__ points, double* __restrict__ offsets,
                                                   double scale, i64 samples, i64 first, u32 k0, u32 k1, index_t n, index_t d, index_t m) {
    const double to32 = 1.0 / 4294967296.0;
    for (index_t i = thread_index() / 32; i < m; i += thread_count() / 32) {
        const REAL* row = x + i / samples * d;
        for (index_t j = 4 * lane_index(); j < d; j += 128) {
            Words words = philox4x32((u64)(first + i), (u64)(j / 4), k0, k1);
            double offset[4];
            for (int p = 0; p < 2; p++) {
                double radius = scale * sqrt(-2.0 * numcore::log(((p ? words.b : words.a) + 1.0) * to32));
                double cosine, sine;
                cos_sin_turn((p ? words.d : words.c) * to32, cosine, sine);
                offset[2 * p] = radius * cosine, offset[2 * p + 1] = radius * sine;
            }
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (j + e < d) {
                    REAL point = (REAL)(row[j + e] + offset[e]);
                    points[i * d + j + e] = point;
                    offsets[i * d + j + e] = (double)point - (double)row[j + e];
                }
        }
    }
}
