// For each c: bounds on 1 / min ||Qx||_p^p where c'x = 1, by Newton's method on sum (r^2 +
// eps^2)^(p/2) with r = Qx. The formulas are those of numcore/linalg/_sensitivity/kernels.py.
// q (n, d) with `rank` orthonormal columns and the rest zero, its transpose `columns`, c (k, d).
// One block per c. It keeps x, the step and the Gram matrix in shared memory and recomputes
// residuals wherever they are needed: rows of Q are staged in shared memory, TILE at a time, with
// PART threads per row.
#include "elementary.cuh"
#include "numcore.cuh"

constexpr int PART = THREADS / TILE;  // threads to a row

struct Problem {
  const double *q, *c;
  index_t n;
  int d;
  double *gram, *tile, *x, *s, *v, *b;  // shared: d d, TILE d, and d each

  // r and its change along the step for this thread's row of the tile at `first`; both 0 past the
  // end. PART neighboring threads share a row.
  __device__ void row(index_t first, double& r, double& move) const {
    const index_t count = (n - first < TILE ? n - first : TILE) * d;
    __syncthreads();  // the previous tile is no longer needed
    for (int e = index_in_block(); e < TILE * d; e += THREADS)
      tile[e] = e < count ? q[first * d + e] : 0;
    __syncthreads();
    const double* mine = tile + index_in_block() / PART * d;
    r = 0, move = 0;
    for (int j = index_in_block() % PART; j < d; j += PART)
      r += mine[j] * x[j], move += mine[j] * s[j];
    for (int distance = 1; distance < PART; distance *= 2) {
      r += __shfl_xor_sync(FULL_WARP, r, distance);
      move += __shfl_xor_sync(FULL_WARP, move, distance);
    }
  }

  __device__ bool counts(index_t first) const {
    return index_in_block() % PART == 0 && first + index_in_block() / PART < n;
  }
};

__device__ __forceinline__ double power_of(double x, double p) {
  return p == 1 ? x : numcore::exp(p * numcore::log(x));
}

__device__ __forceinline__ void derivatives(double r, double p, double epsilon, double& g,
                                            double& h) {
  const double smooth = r * r + epsilon * epsilon,
               u = numcore::exp((0.5 * p - 1) * numcore::log(smooth));
  g = u * r, h = u * ((p - 1) * r * r + epsilon * epsilon) / smooth;
}

// Called by a warp: the dot product, returned to every lane.
__device__ double warp_dot(const double* a, const double* b, int d) {
  double sum = 0;
  for (int j = lane_index(); j < d; j += 32) sum += a[j] * b[j];
  return warp_sum(sum);
}

// gram = Q' diag(h) Q (lower triangle) and b = Q' g; returns sum g r. Each thread owns its entries
// of both, so no atomics are needed.
__device__ double weighted_gram(const Problem& o, double p, double epsilon) {
  __shared__ double gs[TILE], hs[TILE];
  double slope = 0;
  for (int e = index_in_block(); e < o.d * o.d; e += THREADS) o.gram[e] = 0;
  for (int j = index_in_block(); j < o.d; j += THREADS) o.b[j] = 0;
  for (index_t first = 0; first < o.n; first += TILE) {
    double r, move, g = 0, h = 0;
    o.row(first, r, move);
    if (o.counts(first)) derivatives(r, p, epsilon, g, h), slope += g * r;
    if (index_in_block() % PART == 0)
      gs[index_in_block() / PART] = g, hs[index_in_block() / PART] = h;
    __syncthreads();
    for (int e = index_in_block(); e < o.d * o.d; e += THREADS) {
      const int k = e / o.d, m = e % o.d;
      if (m > k) continue;
      double sum = o.gram[e];
      for (int i = 0; i < TILE; i++) sum += hs[i] * o.tile[i * o.d + k] * o.tile[i * o.d + m];
      o.gram[e] = sum;
    }
    for (int j = index_in_block(); j < o.d; j += THREADS) {
      double sum = o.b[j];
      for (int i = 0; i < TILE; i++) sum += gs[i] * o.tile[i * o.d + j];
      o.b[j] = sum;
    }
  }
  return block_sum(slope);
}

// Called by a warp: factors gram + trace / total c c' in place; lanes split the rows below a pivot.
__device__ void factor(const Problem& o, double total) {
  double trace = 0;
  for (int k = lane_index(); k < o.d; k += 32) trace += o.gram[k * o.d + k];
  const double weight = warp_sum(trace) / total;
  trace = 0;
  for (int k = lane_index(); k < o.d; k += 32) {
    for (int m = 0; m <= k; m++) o.gram[k * o.d + m] += weight * o.c[k] * o.c[m];
    trace += o.gram[k * o.d + k];
  }
  const double least = ROUNDING * warp_sum(trace);
  __syncwarp();
  for (int k = 0; k < o.d; k++) {
    double* row = o.gram + k * o.d;
    double pivot = row[k];
    for (int m = 0; m < k; m++) pivot -= row[m] * row[m];
    const double root = sqrt(max(pivot, least));
    __syncwarp();
    if (lane_index() == 0) row[k] = root;
    for (int i = k + 1 + lane_index(); i < o.d; i += 32) {
      double sum = o.gram[i * o.d + k];
      for (int m = 0; m < k; m++) sum -= o.gram[i * o.d + m] * row[m];
      o.gram[i * o.d + k] = sum / root;
    }
    __syncwarp();
  }
}

// Called by a warp: x <- (L L')^-1 x.
__device__ void solve(const double* gram, double* x, int d) {
  for (int k = 0; k < d; k++) {
    const double value = (x[k] - warp_dot(gram + k * d, x, k)) / gram[k * d + k];
    __syncwarp();
    if (lane_index() == 0) x[k] = value;
    __syncwarp();
  }
  for (int k = d - 1; k >= 0; k--) {
    const double value = x[k] / gram[k * d + k];
    __syncwarp();
    if (lane_index() == 0) x[k] = value;
    for (int m = lane_index(); m < k; m += 32) x[m] -= gram[k * d + m] * value;
    __syncwarp();
  }
}

// s with c's = 0 and G s = lambda c - b, computed by the first warp; returns lambda and the
// decrease -b's to every thread.
__device__ double constrained_step(const Problem& o, double total, double& decrease) {
  __shared__ double results[2];
  __syncthreads();
  if (warp_index() == 0) {
    factor(o, total);
    for (int j = lane_index(); j < o.d; j += 32) o.s[j] = o.b[j], o.v[j] = o.c[j];
    __syncwarp();
    solve(o.gram, o.s, o.d);
    solve(o.gram, o.v, o.d);
    const double multiplier = warp_dot(o.c, o.s, o.d) / warp_dot(o.c, o.v, o.d);
    __syncwarp();
    for (int j = lane_index(); j < o.d; j += 32) o.s[j] = multiplier * o.v[j] - o.s[j];
    __syncwarp();
    const double slope = warp_dot(o.b, o.s, o.d);
    if (lane_index() == 0) results[0] = multiplier, results[1] = -slope;
  }
  __syncthreads();
  decrease = results[1];
  const double multiplier = results[0];
  __syncthreads();
  return multiplier;
}

__device__ double largest_residual(const Problem& o, double t) {
  double top = 0;
  for (index_t first = 0; first < o.n; first += TILE) {
    double r, move;
    o.row(first, r, move);
    top = max(top, fabs(r + t * move));
  }
  return block_max(top);
}

__device__ double power_of_residuals(const Problem& o, double p) {
  double sum = 0;
  for (index_t first = 0; first < o.n; first += TILE) {
    double r, move;
    o.row(first, r, move);
    if (o.counts(first)) sum += power_of(fabs(r), p);
  }
  return block_sum(sum);
}

// Two passes over y = g + h step: the first for max |y| and Q'y, the second for the power sum.
__device__ double dual_bound(const Problem& o, double p, double power, double epsilon,
                             double multiplier) {
  __shared__ double ys[TILE];
  double top = 0, sum = 0, error = 0;
  for (int j = index_in_block(); j < o.d; j += THREADS) o.v[j] = 0;
  for (index_t first = 0; first < o.n; first += TILE) {
    double r, move, g = 0, h = 0;
    o.row(first, r, move);
    if (o.counts(first)) derivatives(r, power, epsilon, g, h);
    const double y = g + h * move;
    top = max(top, fabs(y));
    if (index_in_block() % PART == 0) ys[index_in_block() / PART] = y;
    __syncthreads();
    for (int j = index_in_block(); j < o.d; j += THREADS)
      for (int i = 0; i < TILE; i++) o.v[j] += ys[i] * o.tile[i * o.d + j];
  }
  top = block_max(top);
  for (int j = index_in_block(); j < o.d; j += THREADS)
    error += square(o.v[j] - multiplier * o.c[j]);
  error = block_sum(error);
  double norm = top;
  if (p > 1) {
    for (index_t first = 0; first < o.n; first += TILE) {
      double r, move, g, h;
      o.row(first, r, move);
      if (!o.counts(first)) continue;
      derivatives(r, power, epsilon, g, h);
      sum += power_of(fabs(g + h * move) / top, p / (p - 1));
    }
    norm *= exp((1 - 1 / p) * log(block_sum(sum)));
  }
  const double factor = exp(max(0.5 - 1 / p, 0.0) * log(static_cast<double>(o.n)));
  return exp(p * log((norm + factor * sqrt(error)) / multiplier));
}

// First and second derivative of sum ((r + t step)^2 + eps^2)^(p/2) / p with respect to t.
__device__ double slope_at(const Problem& o, double t, double p, double epsilon,
                           double& curvature) {
  double slope = 0, bend = 0;
  for (index_t first = 0; first < o.n; first += TILE) {
    double r, move, g, h;
    o.row(first, r, move);
    if (!o.counts(first)) continue;
    derivatives(r + t * move, p, epsilon, g, h);
    slope += g * move, bend += h * move * move;
  }
  curvature = block_sum(bend);
  return block_sum(slope);
}

__device__ double line_search(const Problem& o, double p, double epsilon, double decrease,
                              double slope_of_r) {
  if (decrease <= ROUNDING * slope_of_r) return 1;
  double below = 0, above = INFINITY, t = 1;
  for (int trial = 0; trial < MOST_TRIALS; trial++) {
    double curvature;
    const double slope = slope_at(o, t, p, epsilon, curvature);
    if (fabs(slope) <= 0.5 * decrease || (slope < 0 && t >= LONGEST)) return t;
    if (slope > 0)
      above = t;
    else
      below = t;
    t = min(t - slope / curvature, 10 * t);
    if (!(below < t && t < above)) t = above < INFINITY ? 0.5 * (below + above) : 2 * below;
  }
  return below;
}

// x <- (x + t s) / top.
__device__ void move(const Problem& o, double t, double top) {
  __syncthreads();
  for (int j = index_in_block(); j < o.d; j += THREADS) o.x[j] = (o.x[j] + t * o.s[j]) / top;
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    numcore_constrained_norms(const double* __restrict__ q, const double* __restrict__ columns,
                              const double* __restrict__ c, double* __restrict__ lower,
                              double* __restrict__ upper, i64* __restrict__ num_iter, i64 rank,
                              double p, double tol, i64 max_iter, index_t n, index_t d, index_t k) {
  DYNAMIC_SHARED(double, memory);
  Problem o{q, c, n, static_cast<int>(d)};
  o.gram = memory, o.tile = o.gram + d * d, o.x = o.tile + TILE * d, o.s = o.x + d, o.v = o.s + d,
  o.b = o.v + d;
  for (index_t i = block_index(); i < k; i += block_count()) {
    o.c = c + i * d;
    double part = 0;
    for (index_t j = index_in_block(); j < d; j += THREADS)
      part += o.c[j] * o.c[j], o.x[j] = o.c[j], o.s[j] = 0;
    const double total = block_sum(part);
    double low = 0, high = 0;
    i64 done = 0;
    if (total > LEAST_SQUARE) {
      const double shrink = p < 1.1 ? 0.2 : 0.1;
      double epsilon = p >= 2 ? UNSMOOTHED : p < 1.1 ? 1.0 : 0.1, power = min(p, FIRST_POWER);
      bool stuck = false;
      move(o, 0, largest_residual(o, 0));
      high = 1;
      while (done < max_iter) {
        done++;
        double decrease;
        const double slope = weighted_gram(o, power, epsilon),
                     multiplier = constrained_step(o, total, decrease);
        const bool last = stuck || done == max_iter;
        if (last || (power == p && decrease <= NEAR * tol * slope)) {
          const double constraint = warp_dot(o.c, o.x, o.d);
          if (constraint > 0)
            low = max(low, exp(p * log(constraint) - log(power_of_residuals(o, p))));
          if (multiplier > 0) high = min(high, dual_bound(o, p, power, epsilon, multiplier));
          if (last || high - low <= tol * high) break;
        }
        if (p < 2) {
          const double following = max(SHARPEST, shrink * epsilon);
          double curvature;
          if (fabs(slope_at(o, 1, p, following, curvature)) <= 0.5 * decrease) {
            move(o, 1, 1);
            epsilon = following;
            continue;
          }
        }
        const double t = line_search(o, power, epsilon, decrease, slope);
        stuck = t == 0;
        if (p < 2 && (t > 0.5 || decrease < 0.01 * epsilon * slope))
          epsilon = max(SHARPEST, shrink * epsilon);
        if (decrease < CLOSE * slope) power = min(p, RAISE * power);
        move(o, t, largest_residual(o, t));
      }
      low = min(low, high);
    }
    if (index_in_block() == 0) lower[i] = low, upper[i] = high, num_iter[i] = done;
    __syncthreads();
  }
}

// --- all rows at once

// Partial sums of Q' diag(h) Q (lower triangles), each over a range of rows. One block per part,
// entries split over its threads: neighboring threads read neighboring columns.
extern "C" __global__ void numcore_weighted_grams(const double* __restrict__ q,
                                                  const double* __restrict__ h,
                                                  double* __restrict__ grams, index_t n, index_t d,
                                                  index_t parts, index_t e) {
  for (index_t part = block_index(); part < parts; part += block_count()) {
    const index_t begin = part * n / parts, end = (part + 1) * n / parts;
    for (index_t entry = index_in_block(); entry < e * e; entry += block_size()) {
      const index_t k = entry / e, m = entry % e;
      double sum = 0;
      if (m <= k && k < d)
        for (index_t i = begin; i < end; i++)
          sum = numcore::fused(h[i] * q[i * d + k], q[i * d + m], sum);
      grams[part * e * e + entry] = sum;
    }
  }
}

// y_i = ||t' q_i||^2. One warp per row, its lanes split the columns of t.
extern "C" __global__ void numcore_quadratic_forms(const double* __restrict__ q,
                                                   const double* __restrict__ t,
                                                   double* __restrict__ y, index_t n, index_t d,
                                                   index_t e) {
  for (index_t i = thread_index() / 32; i < n; i += thread_count() / 32) {
    double sum = 0;
    for (index_t c = lane_index(); c < e; c += 32) {
      double z = 0;
      for (index_t k = 0; k < d; k++) z = numcore::fused(q[i * d + k], t[k * e + c], z);
      sum += z * z;
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) y[i] = sum;
  }
}
