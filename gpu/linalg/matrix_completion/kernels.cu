// Matrix completion: for rows i of a sparse matrix (m, n), the x_i (k) that minimize |A x - b|^2 +
// ridge |x|^2, where b are the entries of row i and A the rows of factor (n, k) that belong to
// their columns. A block takes a row; its matrices are in shared memory, in double. Gram matrices
// are kept in the upper triangle, each row followed by its entry of the right-hand side.
#include "numcore.cuh"

#ifndef INDEX
#define INDEX int
#endif
#ifndef REAL
#define REAL float
#endif

#define EACH(c, n) (index_t c = index_in_block(); c < (n); c += block_size())

struct Row {  // the entries of one row, and the factor
  const INDEX* indices;
  const REAL *data, *factor;
  index_t first, last, k;
  double ridge;
  __device__ const REAL* of(index_t e) const { return factor + indices[e] * k; }
};

struct Space {  // shared memory
  double *gram, *basis, *panel, *solution, *left;
  __device__ Space(double* memory, index_t k)
      : gram(memory),
        basis(gram + k * (k + 1)),
        panel(basis + k * (k + 1)),
        solution(panel + PANEL * (k + 1)),
        left(solution + k) {}
};

// --- exact solutions

// gram += the upper triangle of panel^T panel, for `depth` rows of k + 1 numbers
__device__ void add_products(double* gram, const double* panel, index_t depth, index_t k) {
  const index_t wide = k + 1;
    for
      EACH(at, k * wide) {
        const index_t i = at / wide, c = at % wide;
        if (c < i) continue;
        double sum = 0;
        for (index_t e = 0; e < depth; e++) sum += panel[e * wide + i] * panel[e * wide + c];
        gram[at] += sum;
      }
    __syncthreads();
}

__device__ void clear(double* x, index_t n) {
    for
      EACH(c, n) x[c] = 0;
    __syncthreads();
}

__device__ void make_gram(const Row& row, const Space& s) {
  const index_t k = row.k, wide = k + 1;
  clear(s.gram, k * wide);
  for (index_t begin = row.first; begin < row.last; begin += PANEL) {
    const index_t depth = min((index_t)PANEL, row.last - begin);
        for
          EACH(at, depth * wide) {
            const index_t e = begin + at / wide, c = at % wide;
            s.panel[at] = c < k ? row.of(e)[c] : row.data[e];
          }
        __syncthreads();
        add_products(s.gram, s.panel, depth, k);
  }
    for
      EACH(c, k) s.gram[c * wide + c] += row.ridge;
    __syncthreads();
}

// Rows of R, with y behind each, so that G = R^T R and c = R^T y: Cholesky's factorization, the
// largest diagonal entry first. The rank.
__device__ index_t make_basis(const Space& s, index_t k) {
  const index_t wide = k + 1;
    for
      EACH(c, k) s.left[c] = s.gram[c * wide + c];
    __syncthreads();
    double most = 0;
    for (index_t c = 0; c < k; c++) most = max(most, s.left[c]);
    index_t rank = 0;
    for (; rank < k; rank++) {
      index_t q = 0;
      for (index_t c = 1; c < k; c++)
        if (s.left[c] > s.left[q]) q = c;
      const double pivot = s.left[q];
      if (!(pivot > MISSING * most)) break;
      __syncthreads();  // all have seen what is left
        for
          EACH(c, wide) {
            double value = s.gram[min(q, c) * wide + max(q, c)];
            for (index_t t = 0; t < rank; t++)
              value -= s.basis[t * wide + q] * s.basis[t * wide + c];
            value /= sqrt(pivot);
            if (c < k) {
              value = c == q ? sqrt(pivot) : s.left[c] == -1 ? 0 : value;
              s.left[c] = c == q ? -1 : s.left[c] - value * value;
            }
            s.basis[rank * wide + c] = value;
          }
        __syncthreads();
    }
    __syncthreads();
    return rank;
}

// solution = R^T (R R^T)^-1 y; the Cholesky factor of R R^T takes the place of G, in the lower
// triangle
__device__ void smallest_solution(const Space& s, index_t k, index_t rank) {
  const index_t wide = k + 1;
  double* z = s.left;
    for
      EACH(at, rank * rank) {
        const index_t i = at / rank, j = at % rank;
        if (j > i) continue;
        double sum = 0;
        for (index_t c = 0; c < k; c++) sum += s.basis[i * wide + c] * s.basis[j * wide + c];
        s.gram[i * wide + j] = sum;
      }
    for
      EACH(i, rank) z[i] = s.basis[i * wide + k];
    __syncthreads();
    for (index_t t = 0; t < rank; t++) {
      const double pivot = sqrt(max(s.gram[t * wide + t], 0.0)), value = z[t] / pivot;
      __syncthreads();
        for
          EACH(i, rank - t) {
            if (i == 0)
              s.gram[t * wide + t] = pivot, z[t] = value;
            else
              s.gram[(t + i) * wide + t] /= pivot, z[t + i] -= s.gram[(t + i) * wide + t] * value;
          }
        __syncthreads();
        for
          EACH(at, (rank - t - 1) * (rank - t - 1)) {
            const index_t i = t + 1 + at / (rank - t - 1), j = t + 1 + at % (rank - t - 1);
            if (j <= i) s.gram[i * wide + j] -= s.gram[i * wide + t] * s.gram[j * wide + t];
          }
        __syncthreads();
    }
    for (index_t t = rank - 1; t >= 0; t--) {
      const double value = z[t] / s.gram[t * wide + t];
      __syncthreads();
        for
          EACH(i, t + 1) z[i] = i == t ? value : z[i] - s.gram[t * wide + i] * value;
        __syncthreads();
    }
    for
      EACH(c, k) {
        double sum = 0;
        for (index_t t = 0; t < rank; t++) sum += z[t] * s.basis[t * wide + c];
        s.solution[c] = sum;
      }
    __syncthreads();
}

__device__ void solve_exactly(const Row& row, const Space& s, REAL* x, int* found) {
  index_t rank = 0;
  clear(s.solution, row.k);
  if (row.first < row.last) {
    make_gram(row, s);
    rank = make_basis(s, row.k);
    smallest_solution(s, row.k, rank);
  }
    for
      EACH(c, row.k) x[c] = s.solution[c];
    if (index_in_block() == 0) *found = rank;
    __syncthreads();
}

extern "C" __global__ void numcore_solve_directly(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const REAL* __restrict__ factor, const i64* __restrict__ rows,
    REAL* x, int* found, double weight, index_t z, index_t n, index_t k, index_t r, index_t m) {
  DYNAMIC_SHARED(double, memory);
  const Space s(memory, k);
  for (index_t at = block_index(); at < r; at += block_count()) {
    const index_t i = rows[at], first = indptr[i], last = indptr[i + 1];
    solve_exactly(Row{indices, data, factor, first, last, k, weight * (last - first)}, s, x + i * k,
                  found + i);
  }
}

// --- conjugate gradients

__device__ double dot(const double* x, const double* y, index_t n) {
  double sum = 0;
    for
      EACH(c, n) sum += x[c] * y[c];
    return block_sum(sum);
}

// out = -ridge x + sum over rows a of A of (b - a . x) a, or ridge x + sum of (a . x) a where b is
// not wanted; right = A^T b where wanted
__device__ void times_rows(const Row& row, const double* x, double* out, double* right,
                           double* inner) {
  const double sign = right ? -1 : 1;
    for
      EACH(c, row.k) {
        out[c] = sign * row.ridge * x[c];
        if (right) right[c] = 0;
      }
    for (index_t begin = row.first; begin < row.last; begin += PANEL) {
      const index_t depth = min((index_t)PANEL, row.last - begin);
      for (index_t e = warp_index(); e < depth; e += warp_count()) {
        double sum = 0;
        for (index_t c = lane_index(); c < row.k; c += 32) sum += row.of(begin + e)[c] * x[c];
        sum = warp_sum(sum);
        if (lane_index() == 0) inner[e] = right ? row.data[begin + e] - sum : sum;
      }
      __syncthreads();
        for
          EACH(c, row.k)
        for (index_t e = 0; e < depth; e++) {
          const double entry = row.of(begin + e)[c];
          out[c] += inner[e] * entry;
          if (right) right[c] += row.data[begin + e] * entry;
        }
        __syncthreads();
    }
    __syncthreads();
}

// z <- (L D L^T)^-1 z, row i of the upper triangle of gram being d_i times column i of L
__device__ void precondition(const double* gram, double* z, index_t k) {
  const index_t wide = k + 1;
  for (index_t i = 0; i < k; i++) {
    const double share = z[i] / gram[i * wide + i];
    __syncthreads();
        for
          EACH(c, k - i) z[i + c] = c ? z[i + c] - share * gram[i * wide + i + c] : share;
        __syncthreads();
  }
  for (index_t i = k - 1; i > 0; i--) {
    const double value = z[i];
        for
          EACH(j, i) z[j] -= gram[j * wide + i] / gram[j * wide + j] * value;
        __syncthreads();
  }
}

// memory: VECTORS k + PANEL numbers; gram: null where there is no preconditioner
__device__ bool conjugate_gradients(const Row& row, double tolerance, index_t most, double worst,
                                    REAL* x, double* memory, const double* gram) {
  const index_t k = row.k;
  double *p = memory, *gradient = p + k, *product = gradient + k, *z = product + k, *best = z + k,
         *inner = best + k;
    for
      EACH(c, k) best[c] = x[c];
    __syncthreads();
    times_rows(row, best, gradient, product, inner);
    const double limit = tolerance * sqrt(dot(product, product, k));
    for
      EACH(c, k) z[c] = gradient[c];
    __syncthreads();
    if (gram) precondition(gram, z, k);
    for
      EACH(c, k) p[c] = z[c];
    double size = sqrt(dot(gradient, gradient, k)), descent = dot(gradient, z, k), largest = 0,
           least = INFINITY;
    bool good = true;
    for (index_t step = 0; size > limit && descent > 0; step++) {
      if (step == most || largest > worst * least) {
        good = false;
        break;
      }
      times_rows(row, p, product, nullptr, inner);
      const double curvature = dot(p, product, k);
      if (!(curvature > 0)) break;
      const double length = descent / curvature, quotient = curvature / dot(p, p, k);
      largest = max(largest, quotient), least = min(least, quotient);
        for
          EACH(c, k) {
            best[c] += length * p[c];
            gradient[c] -= length * product[c];
            z[c] = gradient[c];
          }
        __syncthreads();
        if (gram) precondition(gram, z, k);
        const double following = dot(gradient, z, k);
        for
          EACH(c, k) p[c] = z[c] + following / descent * p[c];
        size = sqrt(dot(gradient, gradient, k)), descent = following;
        __syncthreads();
    }
    for
      EACH(c, k) x[c] = best[c];
    __syncthreads();
    return good;
}

extern "C" __global__ void numcore_solve_by_gradients(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const REAL* __restrict__ factor, const i64* __restrict__ rows,
    REAL* x, int* found, double weight, double tolerance, i64 k, i64 most, double worst, index_t z,
    index_t n, index_t w, index_t r, index_t m) {
  DYNAMIC_SHARED(double, memory);
  for (index_t at = block_index(); at < r; at += block_count()) {
    const index_t i = rows[at], first = indptr[i], last = indptr[i + 1];
    const Row row = {indices, data, factor, first, last, w, weight * (last - first)};
    if (row.ridge == 0 && last - first < k)
            for
              EACH(c, w) x[i * w + c] = 0;
    __syncthreads();
    const bool good = conjugate_gradients(row, tolerance, most, worst, x + i * w, memory, nullptr);
    if (index_in_block() == 0)
      found[i] = !good ? -1 : row.ridge > 0 ? k : min((index_t)k, last - first);
  }
}

// --- conjugate gradients preconditioned by sketches

__device__ void sketched_gram(const Row& row, const int* places, const Space& s) {
  const index_t k = row.k, wide = k + 1;
  if (row.last - row.first <= SKETCHES * k) {
    make_gram(row, s);
    return;
  }
  clear(s.gram, k * wide);
  for (int part = 0; part < SKETCHES; part++) {
    clear(s.basis, k * wide);
        for
          EACH(c, k)  // a thread has its column to itself
        for (index_t e = row.first; e < row.last; e++) {
          const int place = places[row.indices[e] * SKETCHES + part];
          s.basis[(place >> 1) * wide + c] += (place & 1 ? -1.0 : 1.0) * row.of(e)[c];
        }
        __syncthreads();
        add_products(s.gram, s.basis, k, k);
  }
    for
      EACH(c, k) s.gram[c * wide + c] += row.ridge;
    __syncthreads();
}

// L D L^T in place; false where a pivot is suspiciously small
__device__ bool factorise(const Space& s, index_t k) {
  const index_t wide = k + 1;
    for
      EACH(c, k) s.left[c] = s.gram[c * wide + c];
    __syncthreads();
    for (index_t i = 0; i < k; i++) {
      const double pivot = s.gram[i * wide + i];
      if (!(pivot > SUSPICIOUS * s.left[i])) return false;
      const index_t rest = k - i - 1;
        for
          EACH(at, rest * rest) {
            const index_t a = i + 1 + at / rest, c = i + 1 + at % rest;
            if (c >= a) s.gram[a * wide + c] -= s.gram[i * wide + a] * s.gram[i * wide + c] / pivot;
          }
        __syncthreads();
    }
    return true;
}

extern "C" __global__ void numcore_solve_by_sketch(
    const INDEX* __restrict__ indptr, const INDEX* __restrict__ indices,
    const REAL* __restrict__ data, const REAL* __restrict__ factor, const int* __restrict__ places,
    const i64* __restrict__ rows, REAL* x, int* found, double weight, double tolerance, i64 most,
    index_t z, index_t n, index_t k, index_t r, index_t m) {
  DYNAMIC_SHARED(double, memory);
  const Space s(memory, k);
  for (index_t at = block_index(); at < r; at += block_count()) {
    const index_t i = rows[at], first = indptr[i], last = indptr[i + 1];
    const Row row = {indices, data, factor, first, last, k, weight * (last - first)};
    bool good = last - first >= k || (row.ridge > 0 && last > first);
    if (good) {
      sketched_gram(row, places, s);
      good = factorise(s, k);
    }
    if (good) {
      conjugate_gradients(row, tolerance, most, INFINITY, x + i * k, s.panel, s.gram);
      if (index_in_block() == 0) found[i] = k;
    } else {
      __syncthreads();
      solve_exactly(row, s, x + i * k, found + i);
    }
  }
}

// One thread takes an entry.
extern "C" __global__ void numcore_entry_products(const REAL* __restrict__ u,
                                                  const REAL* __restrict__ v,
                                                  const INDEX* __restrict__ rows,
                                                  const INDEX* __restrict__ cols,
                                                  REAL* __restrict__ y, index_t m, index_t k,
                                                  index_t n, index_t z) {
  for (index_t e = thread_index(); e < z; e += thread_count()) {
    const REAL *left = u + rows[e] * k, *right = v + cols[e] * k;
    double sum = 0;
    for (index_t c = 0; c < k; c++) sum += (double)left[c] * right[c];
    y[e] = sum;
  }
}
