// The 1 x 1 convolution y (b, n, p) of x (b, c, p) by w (n, c), and the eigenvectors of many small
// matrices.
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

#define OUTPUTS 8

// One block per image. A thread computes OUTPUTS channels of one pixel; neighboring threads read
// neighboring pixels.
extern "C" __global__ void numcore_mix_channels(const REAL* __restrict__ w,
                                                const REAL* __restrict__ x, REAL* __restrict__ y,
                                                index_t n, index_t c, index_t b, index_t p) {
  for (index_t image = block_index(); image < b; image += block_count()) {
    const index_t groups = ceil_div(n, OUTPUTS);
    for (index_t e = index_in_block(); e < groups * p; e += block_size()) {
      const index_t first = e / p * OUTPUTS, pixel = e % p;
      REAL sums[OUTPUTS] = {};
      for (index_t k = 0; k < c; k++) {
        const REAL value = x[(image * c + k) * p + pixel];
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++)
          if (first + i < n) sums[i] += w[(first + i) * c + k] * value;
      }
#pragma unroll
      for (int i = 0; i < OUTPUTS; i++)
        if (first + i < n) y[(image * n + first + i) * p + pixel] = sums[i];
    }
  }
}

// Eigenvalues (n, m), descending, and eigenvectors (n, m, m), in columns, of the Gram matrices of
// small matrices a (n, p, m), by Jacobi rotations in double. One warp per matrix; its lanes split
// the entries of the Gram matrix, then those of a pair of rows and columns.
__device__ __forceinline__ void rotate(double* x, double* y, double cosine, double sine) {
  double before = *x, after = *y;
  *x = cosine * before - sine * after;
  *y = sine * before + cosine * after;
}

extern "C" __global__ void numcore_gram_eigh(const REAL* __restrict__ a,
                                             double* __restrict__ energies,
                                             double* __restrict__ vectors, index_t n, index_t p,
                                             index_t m) {
  DYNAMIC_SHARED(double, g);  // only the upper triangle is used
  double* v = g + m * m;
  int lane = lane_index();
  for (index_t item = block_index(); item < n; item += block_count()) {
    const REAL* matrix = a + item * p * m;
    for (index_t e = lane; e < m * m; e += 32) {
      index_t i = e / m, j = e % m;
      double sum = 0;
      if (i <= j)
        for (index_t k = 0; k < p; k++)
          sum += (double)matrix[k * m + i] * (double)matrix[k * m + j];
      g[e] = sum;
      v[e] = i == j;
    }
    __syncwarp();
    double noise = 0;
    for (index_t i = 0; i < m; i++) noise += NOISE * g[i * m + i];
    for (int sweep = 0; sweep < MAX_SWEEPS; sweep++) {
      bool turned = false;
      for (index_t i = 0; i < m - 1; i++)
        for (index_t j = i + 1; j < m; j++) {
          double x = g[i * m + i], y = g[i * m + j], z = g[j * m + j];
          __syncwarp();  // all lanes have read
          if (!(fabs(y) > noise)) continue;
          turned = true;
          double theta = (z - x) / (2 * y);
          double t = copysign(1.0, theta) / (fabs(theta) + sqrt(theta * theta + 1));
          double cosine = 1 / sqrt(t * t + 1), sine = t * cosine;
          for (index_t k = lane; k < m; k += 32) {
            rotate(v + k * m + i, v + k * m + j, cosine, sine);
            if (k == i) {
              g[i * m + i] = x - t * y;
              g[j * m + j] = z + t * y;
              g[i * m + j] = 0;
            } else if (k != j) {
              rotate(g + (k < i ? k * m + i : i * m + k), g + (k < j ? k * m + j : j * m + k),
                     cosine, sine);
            }
          }
          __syncwarp();
        }
      if (!turned) break;
    }
    // the rank of an eigenvalue is the number of eigenvalues before it
    for (index_t i = lane; i < m; i += 32) {
      index_t place = 0;
      for (index_t j = 0; j < m; j++)
        place += g[j * m + j] > g[i * m + i] || (g[j * m + j] == g[i * m + i] && j < i);
      energies[item * m + place] = g[i * m + i];
      for (index_t k = 0; k < m; k++) vectors[(item * m + k) * m + place] = v[k * m + i];
    }
    __syncwarp();
  }
}
