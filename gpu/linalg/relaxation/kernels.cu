// Successive over-relaxation (SOR) and conjugate gradients preconditioned by symmetric SOR, for A =
// D + L + U in compressed rows. The rows of one color, starts[k] to starts[k + 1], are not coupled:
// threads update them in parallel, color by color.
// First the complete solves, one block per system, for s small systems with the same pattern: x (s,
// 2, n) or vectors (s, 5, n), norms (s, q). Then one color of a large system, one thread per row.
// D' = D / omega. Sums are in double.
#include "numcore.cuh"

#ifndef INDEX
#define INDEX int
#endif
#ifndef REAL
#define REAL float
#endif

__device__ double entries_product(index_t first, index_t last, const INDEX* indices,
                                  const REAL* data, const REAL* x) {
  double sum = 0;
  for (index_t e = first; e < last; e++) sum += data[e] * (double)x[indices[e]];
  return sum;
}

// --- complete solves, one block per system

extern "C" __global__ void numcore_sor_rows(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const i64* __restrict__ starts, const REAL* __restrict__ b, REAL* x,
    const double* __restrict__ limits, double* norms, i64* state, index_t z, index_t s, index_t n,
    index_t c, index_t q) {
  DYNAMIC_SHARED(REAL, both);
  for (index_t system = block_index(); system < s; system += block_count()) {
    const REAL *a = data + system * z, *scales = inverse + system * n, *right = b + system * n;
    i64 status = state[3 * system + STATUS], turn = state[3 * system + TURN], n_done = 0;
    double omega = limits[2 * system + OMEGA], target = limits[2 * system + TARGET];
    for (index_t i = index_in_block(); i < 2 * n; i += block_size())
      both[i] = x[2 * n * system + i];
    __syncthreads();
    while (n_done < q && status == RUNNING) {
      const REAL* old = both + turn * n;
      REAL* now = both + (1 - turn) * n;
      double squares = 0;
      for (index_t color = 0; color + 1 < c; color++) {
        for (index_t i = starts[color] + index_in_block(); i < starts[color + 1];
             i += block_size()) {
          double below = 0, below_old = 0;
          for (index_t e = indptr[i]; e < at[i]; e++) {
            below += a[e] * (double)now[indices[e]];
            below_old += a[e] * (double)old[indices[e]];
          }
          double rest = right[i] - entries_product(at[i], indptr[i + 1], indices, a, old);
          squares += square(rest - below_old);
          now[i] = old[i] + omega * scales[i] * (rest - below);
        }
        __syncthreads();
      }
      double norm = sqrt(block_sum(squares));
      if (index_in_block() == 0) norms[system * q + n_done] = norm;
      n_done++;
      turn = 1 - turn;
      status = norm <= target ? CONVERGED : norm < INFINITY ? RUNNING : NOT_FINITE;
    }
    for (index_t i = index_in_block(); i < 2 * n; i += block_size())
      x[2 * n * system + i] = both[i];
    __syncthreads();
    if (index_in_block() == 0) {
      state[3 * system + N_DONE] = n_done;
      state[3 * system + STATUS] = status;
      state[3 * system + TURN] = turn;
    }
  }
}

// The vectors stay in global memory, cached in L1; barriers order reads and writes of the block.
extern "C" __global__ void numcore_ssor_cg_rows(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const i64* __restrict__ starts, REAL* vectors, const double* __restrict__ limits,
    double* energies, double* norms, i64* state, index_t z, index_t s, index_t n, index_t c,
    index_t q) {
  for (index_t system = block_index(); system < s; system += block_count()) {
    const REAL *a = data + system * z, *scales = inverse + system * n;
    REAL *x = vectors + VECTORS * n * system, *r = x + n, *p = r + n, *t = p + n, *w = t + n;
    i64 status = state[2 * system + STATUS], n_done = 0;
    double omega = limits[2 * system + OMEGA], target = limits[2 * system + TARGET];
    double energy = energies[3 * system + ENERGY], change = energies[3 * system + CHANGE],
           curvature = energies[3 * system + CURVATURE];
    if (status == FRESH) {
      double sum = 0;
      for (index_t color = 0; color + 1 < c; color++) {
        for (index_t i = starts[color] + index_in_block(); i < starts[color + 1];
             i += block_size()) {
          double value =
              omega * scales[i] * (r[i] - entries_product(indptr[i], at[i], indices, a, r));
          sum += value * value / (omega * scales[i]);
          r[i] = value;
        }
        __syncthreads();
      }
      energy = block_sum(sum);
      change = curvature = 0;
      status = RUNNING;
    }
    while (n_done < q && status == RUNNING) {
      if (curvature > 0) {
        double alpha = energy / curvature, sum = 0;
        for (index_t i = index_in_block(); i < n; i += block_size()) {
          x[i] += alpha * t[i];
          r[i] -= alpha * ((double)t[i] + w[i]);
          sum += (double)r[i] * r[i] / (omega * scales[i]);
        }
        sum = block_sum(sum);
        change = sum / energy;
        energy = sum;
      }
      for (index_t color = c - 1; color-- > 0;) {  // p = D' r + change p,  t = (D' + U)^-1 p
        for (index_t i = starts[color] + index_in_block(); i < starts[color + 1];
             i += block_size()) {
          p[i] = a[at[i]] / omega * r[i] + change * p[i];
          t[i] =
              omega * scales[i] * (p[i] - entries_product(at[i] + 1, indptr[i + 1], indices, a, t));
        }
        __syncthreads();
      }
      double squares = 0, products = 0;
      for (index_t color = 0; color + 1 < c; color++) {  // w = (D' + L)^-1 (p - (2 D' - D) t)
        for (index_t i = starts[color] + index_in_block(); i < starts[color + 1];
             i += block_size()) {
          double diagonal = a[at[i]];
          squares +=
              square(diagonal / omega * r[i] + entries_product(indptr[i], at[i], indices, a, r));
          double below = entries_product(indptr[i], at[i], indices, a, w);
          w[i] = omega * scales[i] * (p[i] - (2 / omega - 1) * diagonal * t[i] - below);
          products += p[i] * ((double)t[i] + w[i]);
        }
        __syncthreads();
      }
      double norm = sqrt(block_sum(squares));
      curvature = block_sum(products);
      if (index_in_block() == 0) norms[system * q + n_done] = norm;
      n_done++;
      status = norm <= target                ? CONVERGED
               : !(norm < INFINITY)          ? NOT_FINITE
               : curvature > 0 && energy > 0 ? RUNNING
                                             : BREAKDOWN;
    }
    __syncthreads();
    if (index_in_block() == 0) {
      energies[3 * system + ENERGY] = energy;
      energies[3 * system + CHANGE] = change;
      energies[3 * system + CURVATURE] = curvature;
      state[2 * system + N_DONE] = n_done;
      state[2 * system + STATUS] = status;
    }
  }
}

// y = (2 - omega) (D' + U)^-1 D' (D' + L)^-1 r, one block per vector.
extern "C" __global__ void numcore_ssor_rows(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const i64* __restrict__ starts, const REAL* __restrict__ r, REAL* y, double omega, index_t z,
    index_t n, index_t c, index_t k) {
  for (index_t vector = block_index(); vector < k; vector += block_count()) {
    const REAL* right = r + vector * n;
    REAL* mine = y + vector * n;
    for (index_t color = 0; color + 1 < c; color++) {
      for (index_t i = starts[color] + index_in_block(); i < starts[color + 1]; i += block_size())
        mine[i] = omega * inverse[i] *
                  (right[i] - entries_product(indptr[i], at[i], indices, data, mine));
      __syncthreads();
    }
    for (index_t color = c - 1; color-- > 0;) {
      for (index_t i = starts[color] + index_in_block(); i < starts[color + 1]; i += block_size()) {
        double above = entries_product(at[i] + 1, indptr[i + 1], indices, data, mine);
        mine[i] = (2 - omega) * mine[i] - omega * inverse[i] * above;
      }
      __syncthreads();
    }
  }
}

// --- rows first to first + k, which have one color, one thread per row

extern "C" __global__ void numcore_sor_color(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const REAL* __restrict__ b, REAL* residual, const REAL* __restrict__ old, REAL* x, double omega,
    i64 first, index_t z, index_t n, index_t k) {
  for (index_t row = thread_index(); row < k; row += thread_count()) {
    index_t i = first + row;
    double sum_old = 0, change = 0;
    for (index_t e = indptr[i]; e < indptr[i + 1]; e++) {
      double before = old[indices[e]];
      sum_old += data[e] * before;
      change += data[e] * (x[indices[e]] - before);
    }
    double rest = b[row] - sum_old;
    residual[row] = rest;
    x[i] = old[i] + omega * inverse[i] * (rest - change);
  }
}

// p = D' r + change p,  t = (D' + U)^-1 p
extern "C" __global__ void numcore_backward_color(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const REAL* __restrict__ r, REAL* p, REAL* t, double omega, double change, i64 first, index_t z,
    index_t n, index_t k) {
  for (index_t row = thread_index(); row < k; row += thread_count()) {
    index_t i = first + row;
    p[row] = data[at[i]] / omega * r[row] + change * p[row];
    t[i] =
        omega * inverse[i] * (p[row] - entries_product(at[i] + 1, indptr[i + 1], indices, data, t));
  }
}

// w = (D' + L)^-1 (p - (2 D' - D) t), residual = (D' + L) r
extern "C" __global__ void numcore_forward_color(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const INDEX* __restrict__ at, const REAL* __restrict__ inverse,
    const REAL* __restrict__ r, const REAL* __restrict__ p, const REAL* __restrict__ t, REAL* w,
    REAL* residual, double omega, i64 first, index_t z, index_t n, index_t k) {
  for (index_t row = thread_index(); row < k; row += thread_count()) {
    index_t i = first + row;
    double diagonal = data[at[i]];
    residual[row] = diagonal / omega * r[i] + entries_product(indptr[i], at[i], indices, data, r);
    double below = entries_product(indptr[i], at[i], indices, data, w);
    w[i] = omega * inverse[i] * (p[row] - (2 / omega - 1) * diagonal * t[row] - below);
  }
}
