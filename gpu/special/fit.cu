// Constants of programs, fitted: constants[i] ← those that minimise error[i] = max over j of
// weight[j] |program i at x[j] - target[j]|. code is (p, m, 4), ends (p, 2), counts (p), constants
// (p, k), x, target and weight (n), error (p); see numcore/special/_fit.py. One warp takes one
// program: its lanes share out the points, and lane 0 does what is small, on matrices in shared
// memory.
#include "program.cuh"

namespace {

const double ENOUGH = 1.005, LEAST_DAMPING = 1e-22, MOST_DAMPING = 1e12, PROBE = 0.1, TINY = 1e-300;
const int BOLD_STEPS = 8;

struct Fit {
  const int *code, *ends;
  const double *x, *target, *weight;
  int m, k, size, n;
  double* rows;                       // (k, n): the derivatives, then their orthonormal basis
  double *residual, *lawson, *right;  // (n)
  double *triangle, *work;            // (k, k), (k+1, k+1)
  double *projection, *scale, *step, *second, *bend, *here, *trial, *best;  // (k)
  double registers[MAX_REGISTERS], adjoints[MAX_REGISTERS];

  // Difference from the target at x[j] with the given constants.
  __device__ double miss(int j, const double* constants) {
    numcore::load_registers(registers, x[j], constants, k);
    return numcore::run(registers, code, ends, k, m) - target[j];
  }

  // adjoints[r] = factor * derivative of the result by register r, with the registers as `miss`
  // left them.
  __device__ void differentiate(double factor) {
    int count = numcore::within(ends[0], m), result = numcore::within(ends[1], k + count);
    for (int r = 0; r <= k + count; r++) adjoints[r] = 0;
    adjoints[result] = factor;
    for (int s = count - 1; s >= 0; s--) {
      int opcode = code[4 * s], to = k + s + 1, last = k + s;
      int a = numcore::within(code[4 * s + 1], last), b = numcore::within(code[4 * s + 2], last),
          c = numcore::within(code[4 * s + 3], last);
      double d = adjoints[to];
      if (opcode <= numcore::SUB) {
        adjoints[a] += d;
        adjoints[b] += opcode == numcore::ADD ? d : -d;
      } else if (opcode == numcore::DIV) {
        adjoints[a] += d / registers[b];
        adjoints[b] -= d * registers[to] / registers[b];
      } else {
        adjoints[a] += d * registers[b];
        adjoints[b] += d * registers[a];
        if (opcode > numcore::DIV) adjoints[c] += d;
      }
    }
  }

  __device__ double dot(const double* u, const double* v) {
    double sum = 0;
    for (int j = lane_index(); j < n; j += 32) sum += u[j] * v[j];
    return warp_sum(sum);
  }

  // residual at `here`; its largest magnitude, infinity where there is none.
  __device__ double measure() {
    double largest = 0;
    for (int j = lane_index(); j < n; j += 32) {
      residual[j] = weight[j] * miss(j, here);
      largest =
          max(largest, residual[j] == residual[j] ? abs(residual[j]) : Limits<double>::infinity());
    }
    return warp_max(largest);
  }

  __device__ double cost_of_trial() {
    double sum = 0;
    for (int j = lane_index(); j < n; j += 32) {
      double e = weight[j] * miss(j, trial);
      sum += lawson[j] * e * e;
    }
    return warp_sum(sum);
  }

  // Modified Gram–Schmidt of the derivatives at `here`, and the residual's projections.
  __device__ void linearise() {
    for (int j = lane_index(); j < n; j += 32) {
      double root = sqrt(lawson[j]);
      miss(j, here);
      differentiate(root * weight[j]);
      for (int r = 0; r < size; r++) rows[r * n + j] = adjoints[1 + r];
      right[j] = root * residual[j];
    }
    for (int r = 0; r < size; r++) {
      double norm = sqrt(dot(rows + r * n, rows + r * n)) + TINY;
      if (lane_index() == 0) scale[r] = norm;
    }
    for (int r = 0; r < size; r++) {
      double* row = rows + r * n;
      double norm = sqrt(dot(row, row)) + TINY;
      if (lane_index() == 0) triangle[r * k + r] = norm;
      for (int j = lane_index(); j < n; j += 32) row[j] /= norm;
      for (int c = r + 1; c < size; c++) {
        double part = dot(row, rows + c * n);
        if (lane_index() == 0) triangle[r * k + c] = part;
        for (int j = lane_index(); j < n; j += 32) rows[c * n + j] -= part * row[j];
      }
      double part = dot(row, right);
      if (lane_index() == 0) projection[r] = part;
      for (int j = lane_index(); j < n; j += 32) right[j] -= part * row[j];
    }
    __syncwarp();
  }

  // Lane 0: the damped least-squares step for a right side, and the decrease that it promises.
  __device__ double damped_step(const double* side, double damping, double* result) {
    int stride = k + 1;
    for (int r = 0; r < size; r++) {
      for (int c = r; c < size; c++) work[r * stride + c] = triangle[r * k + c];
      work[r * stride + size] = side[r];
    }
    double root = sqrt(damping);
    double* extra = work + size * stride;
    for (int first = 0; first < size; first++) {
      for (int c = 0; c <= size; c++) extra[c] = 0;
      extra[first] = root * scale[first];
      for (int r = first; r < size; r++) {
        double* row = work + r * stride;
        double length = hypot(row[r], extra[r]), cosine = row[r] / length, sine = extra[r] / length;
        for (int c = r; c <= size; c++) {
          double u = row[c], v = extra[c];
          row[c] = cosine * u + sine * v;
          extra[c] = cosine * v - sine * u;
        }
      }
    }
    for (int r = size - 1; r >= 0; r--) {
      double total = work[r * stride + size];
      for (int c = r + 1; c < size; c++) total -= work[r * stride + c] * result[c];
      result[r] = total / work[r * stride + r];
    }
    double promised = TINY;
    for (int r = 0; r < size; r++) {
      double gradient = 0;
      for (int t = 0; t <= r; t++) gradient += triangle[t * k + r] * side[t];
      promised += result[r] * (damping * scale[r] * scale[r] * result[r] + gradient);
    }
    return promised;
  }

  // trial = here - step - the correction for the curvature along the step; what the step promises
  // (in lane 0).
  __device__ double propose(double damping) {
    double promised = 0;
    if (lane_index() == 0) {
      promised = damped_step(projection, damping, step);
      for (int r = 0; r < size; r++) {
        trial[r] = here[r] - PROBE * step[r];
        bend[r] = 0;
        for (int c = r; c < size; c++) bend[r] += triangle[r * k + c] * step[c];
      }
    }
    __syncwarp();
    for (int j = lane_index(); j < n; j += 32) {
      double root = sqrt(lawson[j]), e = root * weight[j] * miss(j, trial) - root * residual[j],
             slope = 0;
      for (int r = 0; r < size; r++) slope += rows[r * n + j] * bend[r];
      right[j] = (e / PROBE + slope) / PROBE;
    }
    __syncwarp();
    for (int r = 0; r < size; r++) {
      double part = dot(rows + r * n, right);
      if (lane_index() == 0) bend[r] = part;
    }
    if (lane_index() == 0) {
      damped_step(bend, damping, second);
      double straight = TINY, turned = TINY;
      for (int r = 0; r < size; r++) {
        straight += square(scale[r] * step[r]);
        turned += square(scale[r] * second[r]);
      }
      for (int r = 0; r < size; r++)
        trial[r] = here[r] - step[r] - (turned < straight ? second[r] : 0.0);
    }
    __syncwarp();
    return __shfl_sync(FULL_WARP, promised, 0);
  }

  __device__ void copy(double* to, const double* from, int count) {
    __syncwarp();
    for (int r = lane_index(); r < count; r += 32) to[r] = from[r];
    __syncwarp();
  }
};

}  // namespace

extern "C" __global__ void numcore_fit_programs(
    const int* __restrict__ code, const int* __restrict__ ends, const int* __restrict__ counts,
    double* __restrict__ constants, const double* __restrict__ x, const double* __restrict__ target,
    const double* __restrict__ weight, int steps, int rounds, double* __restrict__ error, index_t p,
    index_t m, index_t k, index_t n) {
  DYNAMIC_SHARED(double, memory);
  Fit f;
  f.x = x, f.target = target, f.weight = weight, f.m = int(m), f.k = int(k), f.n = int(n);
  f.rows = memory;
  f.residual = f.rows + k * n, f.lawson = f.residual + n, f.right = f.lawson + n;
  f.triangle = f.right + n, f.work = f.triangle + k * k;
  f.projection = f.work + (k + 1) * (k + 1), f.scale = f.projection + k, f.step = f.scale + k,
  f.second = f.step + k;
  f.bend = f.second + k, f.here = f.bend + k, f.trial = f.here + k, f.best = f.trial + k;

  for (index_t i = block_index(); i < p; i += block_count()) {
    f.code = code + i * m * 4, f.ends = ends + 2 * i, f.size = numcore::within(counts[i], int(k));
    f.copy(f.here, constants + i * k, int(k));
    f.copy(f.trial, f.here, int(k));
    f.copy(f.best, f.here, int(k));
    for (int j = lane_index(); j < n; j += 32) f.lawson[j] = 1;
    const double infinity = Limits<double>::infinity();
    double least = infinity, cost = infinity, damping = 1e-2, growth = 2;
    for (int lap = 0; lap < (rounds > 0 ? rounds + 2 : 1); lap++) {
      bool bold = lap == 1;
      if (lap == 2) f.copy(f.here, f.best, f.size);
      double largest = f.measure();
      if (lap > 1) {
        double total = 0;
        for (int j = lane_index(); j < n; j += 32)
          total += f.lawson[j] *= abs(f.residual[j]) / largest;
        total = warp_sum(total);
        for (int j = lane_index(); j < n; j += 32) f.lawson[j] *= n / total;
      }
      cost = 0;
      for (int j = lane_index(); j < n; j += 32)
        cost += f.lawson[j] * f.residual[j] * f.residual[j];
      cost = warp_sum(cost);
      least = min(least, largest);
      bool current = true;
      for (int s = 0; s < (lap == 0 ? steps : bold ? BOLD_STEPS : 2); s++) {
        if (current) f.linearise();
        double promised = f.propose(damping), trial_cost = f.cost_of_trial();
        current = trial_cost < cost || (trial_cost < infinity && (bold || !(cost < infinity)));
        if (!current) {
          damping *= growth;
          growth *= 2;
          if (damping > MOST_DAMPING) break;
          continue;
        }
        double trust = 2 * min((cost - trial_cost) / promised, 1.0) - 1;
        damping = max(damping * max(0.1, 1 - trust * trust * trust), LEAST_DAMPING);
        growth = 2;
        bool converged = trial_cost > (1 - 1e-6) * cost && damping < 1e-15;
        cost = trial_cost;
        f.copy(f.here, f.trial, f.size);
        largest = f.measure();
        if (largest < least) {
          least = largest;
          f.copy(f.best, f.trial, f.size);
        }
        if (converged && !bold) break;
        if (bold) damping = LEAST_DAMPING;
      }
      damping = lap == 0 ? LEAST_DAMPING : min(damping, 1.0);
      growth = 2;
      if (!bold && (!(cost < infinity) || cost == 0 || least * least * n < ENOUGH * ENOUGH * cost))
        break;
    }
    f.copy(constants + i * k, f.best, f.size);
    if (lane_index() == 0) error[i] = least;
  }
}
