// Learners of omega, one thread each: the probabilities and the draw of a round (g, d), and
// polynomial fits with bounds (d, m). Small sequential work, here so that learners may live on
// either device.
#include "numcore.cuh"

#define RIDGE 1e-12
#define ROUNDING 1e-9
#define MOST_CHANGES 100
#define MOST_NEWTON 100

// p_i = ((kappa_i - min kappa) / root - y)^-2 with sum 1, by Newton's method from y = -1.
extern "C" __global__ void numcore_tsallis_rows(const double* __restrict__ estimates, double* p,
                                                i64* arm, double scale, double root, double u,
                                                index_t g, index_t d) {
  for (index_t learner = thread_index(); learner < g; learner += thread_count()) {
    const double* losses = estimates + learner * d;
    double *mine = p + learner * d, least = losses[0], y = -1, before = INFINITY, total = 0;
    for (index_t i = 0; i < d; i++) least = min(least, losses[i]);
    for (int n = 0; n < MOST_NEWTON; n++) {
      double slope = 0;
      total = 0;
      for (index_t i = 0; i < d; i++) {
        double part = 1 / ((losses[i] - least) / (scale * root) - y);
        mine[i] = part * part;
        total += part * part;
        slope += 2 * part * part * part;
      }
      if (!(1e-14 <= total - 1 && total - 1 < before)) break;
      before = total - 1;
      y -= before / slope;
    }
    double rest = u * total;
    i64 drawn = d - 1;
    for (index_t i = 0; i < d; i++) {
      if (0 <= rest && rest < mine[i] && drawn == d - 1) drawn = i;
      rest -= mine[i];
      mine[i] /= total;
    }
    arm[learner] = drawn;
  }
}

// h_j - (G theta)_j
__device__ double slope_of(index_t j, const double* gram, const double* moments,
                           const double* theta, double ridge, index_t m) {
  double slope = moments[j] - ridge * theta[j];
  for (index_t i = 0; i < m; i++) slope -= gram[j * m + i] * theta[i];
  return slope;
}

// The step to the minimum of the free coordinates, by Cholesky's method.
__device__ void newton_step(const double* gram, const double* moments, const double* theta,
                            double ridge, double* factor, const double* free, double* step,
                            index_t m) {
  for (index_t j = 0; j < m; j++) {
    step[j] = free[j] * slope_of(j, gram, moments, theta, ridge, m);
    for (index_t i = 0; i <= j; i++) {
      double value = free[i] * free[j] * gram[j * m + i];
      if (i == j) value += free[j] == 1 ? ridge : 1;
      for (index_t l = 0; l < i; l++) value -= factor[j * m + l] * factor[i * m + l];
      factor[j * m + i] = i == j ? sqrt(value) : value / factor[i * m + i];
    }
    for (index_t i = 0; i < j; i++) step[j] -= factor[j * m + i] * step[i];
    step[j] /= factor[j * m + j];
  }
  for (index_t j = m; j-- > 0;) {
    for (index_t i = j + 1; i < m; i++) step[j] -= factor[i * m + j] * step[i];
    step[j] /= factor[j * m + j];
  }
}

// Go along the step; whether a coordinate has met its bound, or been set free from it.
__device__ bool changed(const double* gram, const double* moments, const double* box, double* theta,
                        double ridge, double* free, const double* step, index_t m) {
  double reach = 1, most = 0;
  index_t hit = -1, worst = -1;
  for (index_t j = 0; j < m; j++)
    if (step[j] != 0) {
      double room = (copysign(box[j], step[j]) - theta[j]) / step[j];
      if (room < reach) reach = room, hit = j;
    }
  for (index_t j = 0; j < m; j++) theta[j] += reach * step[j];
  if (hit >= 0) {
    theta[hit] = copysign(box[hit], step[hit]);
    free[hit] = 0;
    return true;
  }
  for (index_t j = 0; j < m; j++) {
    double inward = -copysign(1.0, theta[j]) * slope_of(j, gram, moments, theta, ridge, m);
    if (free[j] == 0 && box[j] > 0 && inward > ROUNDING * fabs(moments[j]) && inward > most)
      worst = j, most = inward;
  }
  if (worst >= 0) free[worst] = 1;
  return worst >= 0;
}

// The theta with the least theta' G theta - 2 h' theta if it is in |theta_j| <= box_j, else the
// best there, and misfit, its value + squares.
extern "C" __global__ void numcore_bounded_least_squares(const double* __restrict__ gram,
                                                         const double* __restrict__ moments,
                                                         const double* __restrict__ squares,
                                                         const double* __restrict__ box,
                                                         double* theta, double* misfit,
                                                         double* work, index_t d, index_t m) {
  for (index_t k = thread_index(); k < d; k += thread_count()) {
    const double *matrix = gram + k * m * m, *h = moments + k * m;
    double *mine = theta + k * m, *factor = work + k * (m + 2) * m, *free = factor + m * m,
           *step = free + m, ridge = 1e-300;
    for (index_t j = 0; j < m; j++) {
      ridge += RIDGE * matrix[j * m + j];
      free[j] = 1;
    }
    newton_step(matrix, h, mine, ridge, factor, free, step, m);
    bool inside = true;
    for (index_t j = 0; j < m; j++) inside = inside && fabs(mine[j] + step[j]) <= box[j];
    double value = 0;
    if (inside) {
      for (index_t j = 0; j < m; j++) mine[j] += step[j];
    } else {
      for (index_t j = 0; j < m; j++) {
        mine[j] = min(box[j], max(-box[j], mine[j]));
        free[j] = fabs(mine[j]) < box[j];
      }
      for (int n = 0; n < MOST_CHANGES; n++) {
        newton_step(matrix, h, mine, ridge, factor, free, step, m);
        if (!changed(matrix, h, box, mine, ridge, free, step, m)) break;
      }
      value = squares[k];
      for (index_t j = 0; j < m; j++)
        value -= mine[j] * (h[j] + slope_of(j, matrix, h, mine, 0, m));
    }
    misfit[k] = max(0.0, value);
  }
}
