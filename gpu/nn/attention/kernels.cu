// Attention in tiles: out = softmax(q kᵀ scale + bias) v with its log-sum-exp, and its gradients.
//
// A block takes one item of the work table. Its tile of scores is GPU_ROWS × COLS, 16 rows to a
// warp: rows are queries, or keys where gradients of keys are summed. Products run on tensor cores
// from tiles in shared memory, whose depth comes in chunks, so that any head dimension fits. Scores
// are in units of log2. Columns of the tables: numcore/nn/_attention/tiles.py.
#include "mma.cuh"
#include "numcore.cuh"

constexpr int COLS = GPU_COL_BYTES / sizeof(REAL);
constexpr int PITCH = GPU_CHUNK + GPU_PAD, P_PITCH = COLS + GPU_PAD;
constexpr int SUMS = sizeof(REAL) == 4 ? GPU_CHUNK : GPU_CHUNK / 2,
              VALUES = 2 * SUMS;  // columns whose sums fit into registers

__device__ __forceinline__ float power_of_two(float x) { return exp2f(x); }
__device__ __forceinline__ double power_of_two(double x) { return exp2(x); }
__device__ __forceinline__ index_t at_least(index_t a, index_t b) { return a > b ? a : b; }
__device__ __forceinline__ index_t at_most(index_t a, index_t b) { return a < b ? a : b; }

// --- which query may attend to which key
// ---------------------------------------------------------------------------------------------

struct Rules {
  const REAL* bias;  // of query 0 and key 0 of the head; null without
  const u8* mask;
  const u8* blocks;
  const index_t* options;
  index_t block_cols, shift;

  // Whether any block of the block mask is live in a tile.
  __device__ bool live(index_t low, index_t high, index_t key_low, index_t key_high) const {
    if (!blocks) return true;
    const index_t block_q = options[OPTION_BLOCK_Q], block_k = options[OPTION_BLOCK_K];
    for (index_t r = low / block_q; r <= (high - 1) / block_q; r++)
      for (index_t c = key_low / block_k; c <= (key_high - 1) / block_k; c++)
        if (blocks[r * block_cols + c]) return true;
    return false;
  }

  // The keys that the window leaves to queries low to high, and the queries that it leaves to keys.
  __device__ void reach(index_t low, index_t high, index_t& key_low, index_t& key_high) const {
    key_low = at_least(key_low, low + shift - options[OPTION_LEFT]);
    key_high = at_most(key_high, high + shift + options[OPTION_RIGHT]);
  }
  __device__ void reached_by(index_t key_low, index_t key_high, index_t& low, index_t& high) const {
    low = at_least(low, key_low - shift - options[OPTION_RIGHT]);
    high = at_most(high, key_high - shift + options[OPTION_LEFT]);
  }

  // The score of query i and key j from their scaled product: biased, -inf where masked.
  __device__ REAL score(REAL s, index_t i, index_t j) const {
    const index_t distance = j - (i + shift);
    bool allowed = distance <= options[OPTION_RIGHT] && distance >= -options[OPTION_LEFT];
    if (mask)
      allowed = allowed && mask[i * options[OPTION_MASK_ROW] + j * options[OPTION_MASK_COL]];
    if (blocks)
      allowed =
          allowed && blocks[i / options[OPTION_BLOCK_Q] * block_cols + j / options[OPTION_BLOCK_K]];
    if (bias) s += REAL(LOG2E) * bias[i * options[OPTION_BIAS_ROW] + j * options[OPTION_BIAS_COL]];
    return allowed ? s : -Limits<REAL>::infinity();
  }
};

// --- tiles
// ---------------------------------------------------------------------------------------------------------------------------

// Where a lane's numbers of a 16 × 8 fragment lie in the tile: number r of fragment n.
__device__ __forceinline__ int row_of(int r) {
  return 16 * warp_index() + lane_index() / 4 + r / 2 * 8;
}
__device__ __forceinline__ int col_of(int n, int r) { return 8 * n + lane_index() % 4 * 2 + r % 2; }

// Rows of a matrix: `rows` of them from `first` on, each `step` after the one before.
struct Rows {
  const REAL* x;
  index_t first, step, rows;
};

// tile[r][e] = x[first + r * step][chunk + e], (TALL, WIDE); 0 beyond the rows and the width.
template <int TALL, int WIDE>
__device__ __forceinline__ void stage(REAL* tile, const Rows& m, index_t width, index_t chunk) {
#pragma unroll(sizeof(REAL) == 4 ? 4 : 1)
  for (int i = index_in_block(); i < TALL * WIDE; i += GPU_THREADS) {
    const int r = i / WIDE, e = i % WIDE;
    tile[r * PITCH + e] =
        r < m.rows && chunk + e < width ? m.x[(m.first + r * m.step) * width + chunk + e] : REAL(0);
  }
}

// c += a · b for the 16 rows of a from `a` on and 8 · TILES columns; (i, k) of a is a[i * a_row +
// k], (k, j) of b is b[k * b_row + j * b_col].
template <int TILES>
__device__ __forceinline__ void multiply(REAL (&c)[TILES][4], const REAL* a, int a_row,
                                         const REAL* b, int b_row, int b_col, int depth) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll 1
  for (int k = 0; k < depth; k += 8) {
    const REAL x[4] = {a[g * a_row + k + t], a[(g + 8) * a_row + k + t], a[g * a_row + k + t + 4],
                       a[(g + 8) * a_row + k + t + 4]};
#pragma unroll
    for (int n = 0; n < TILES; n++) {
      const REAL y[2] = {b[(k + t) * b_row + (8 * n + g) * b_col],
                         b[(k + t + 4) * b_row + (8 * n + g) * b_col]};
      mma_16x8x8(c[n], x, y);
    }
  }
}

template <int TILES>
__device__ __forceinline__ void clear(REAL (&c)[TILES][4]) {
#pragma unroll
  for (int n = 0; n < TILES; n++)
#pragma unroll
    for (int r = 0; r < 4; r++) c[n][r] = REAL(0);
}

// c = a · bᵀ, GPU_ROWS × COLS. `held`: the tile of a still holds its rows, which fit into one
// chunk.
__device__ __forceinline__ void multiply_rows(REAL (&c)[COLS / 8][4], REAL* tile_a, REAL* tile_b,
                                              const Rows& a, const Rows& b, index_t width,
                                              bool held) {
  clear(c);
  for (index_t chunk = 0; chunk < width; chunk += GPU_CHUNK) {
    __syncthreads();
    if (!held || width > GPU_CHUNK) stage<GPU_ROWS, GPU_CHUNK>(tile_a, a, width, chunk);
    stage<COLS, GPU_CHUNK>(tile_b, b, width, chunk);
    __syncthreads();
    multiply(c, tile_a + 16 * warp_index() * PITCH, PITCH, tile_b, 1, PITCH,
             int(at_most(GPU_CHUNK, (width - chunk + 7) / 8 * 8)));
  }
}

// The fragments of a warp's 16 rows to shared memory; only the warp itself reads them.
__device__ __forceinline__ void keep(REAL* tile, const REAL (&c)[COLS / 8][4]) {
#pragma unroll
  for (int n = 0; n < COLS / 8; n++)
#pragma unroll
    for (int r = 0; r < 4; r++) tile[row_of(r) * P_PITCH + col_of(n, r)] = c[n][r];
  __syncwarp();
}

// c += kept · x[:, chunk : chunk + SUMS], x having COLS rows.
__device__ __forceinline__ void multiply_kept(REAL (&c)[SUMS / 8][4], const REAL* kept,
                                              REAL* tile_b, const Rows& b, index_t width,
                                              index_t chunk) {
  __syncthreads();
  stage<COLS, SUMS>(tile_b, b, width, chunk);
  __syncthreads();
  multiply(c, kept + 16 * warp_index() * P_PITCH, P_PITCH, tile_b, PITCH, 1, COLS);
}

// out[first + r * step][chunk + e] = factor * c
__device__ __forceinline__ void write(const REAL (&c)[SUMS / 8][4], REAL* out, index_t first,
                                      index_t step, index_t rows, index_t width, index_t chunk,
                                      REAL factor) {
#pragma unroll
  for (int n = 0; n < SUMS / 8; n++)
#pragma unroll
    for (int r = 0; r < 4; r++)
      if (row_of(r) < rows && chunk + col_of(n, r) < width)
        out[(first + row_of(r) * step) * width + chunk + col_of(n, r)] = factor * c[n][r];
}

// --- forward
// -------------------------------------------------------------------------------------------------------------------------

// Lanes 4g to 4g + 3 share the rows g and g + 8.
template <typename Operation>
__device__ __forceinline__ REAL join_row(REAL x) {
  x = Operation::join(x, __shfl_xor_sync(FULL_WARP, x, 1));
  return Operation::join(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// items (n, 8)  q (q_rows, d)  k (k_rows, d)  v (k_rows, dv)  out (q_rows, dv)  lse (q_rows)
extern "C" __global__ void __launch_bounds__(GPU_THREADS)
    numcore_attention_forward(const index_t* __restrict__ items,
                              const index_t* __restrict__ options, const REAL* __restrict__ q,
                              const REAL* __restrict__ k, const REAL* __restrict__ v,
                              const REAL* __restrict__ bias, const u8* __restrict__ mask,
                              const u8* __restrict__ blocks, REAL scale, REAL* __restrict__ out,
                              REAL* __restrict__ lse, index_t n, index_t q_rows, index_t d,
                              index_t k_size, index_t v_size, index_t bias_size, index_t mask_size,
                              index_t block_rows, index_t block_cols, index_t dv) {
  DYNAMIC_SHARED(REAL, tile_a);
  REAL *tile_b = tile_a + GPU_ROWS * PITCH, *weights = tile_b + COLS * PITCH;
  const REAL factor = scale * REAL(LOG2E);
  for (index_t w = block_index(); w < n; w += block_count()) {
    const index_t *item = items + w * ITEM_COLUMNS, q_step = options[OPTION_Q_STEP],
                  k_step = options[OPTION_K_STEP];
    const index_t index = item[ITEM_INDEX];
    const Rules rules = {
        bias_size ? bias + item[ITEM_BIAS] - index * options[OPTION_BIAS_ROW] : nullptr,
        mask_size ? mask + item[ITEM_MASK] - index * options[OPTION_MASK_ROW] : nullptr,
        block_rows * block_cols ? blocks : nullptr,
        options,
        block_cols,
        item[ITEM_POSITION] - index};
    for (index_t low = index; low < index + item[ITEM_ROWS]; low += GPU_ROWS) {
      const index_t rows = at_most(GPU_ROWS, index + item[ITEM_ROWS] - low),
                    first = item[ITEM_QUERY] + (low - index) * q_step;
      index_t begin = 0, end = item[ITEM_KEYS];
      rules.reach(low, low + rows, begin, end);
      for (index_t value = 0; value == 0 || value < dv;
           value += VALUES) {  // more columns of values: the scores again
        REAL sums[VALUES / SUMS][SUMS / 8][4], top[2] = {REAL(LOWEST), REAL(LOWEST)},
                                               total[2] = {0, 0};
#pragma unroll
        for (int c = 0; c < VALUES / SUMS; c++) clear(sums[c]);
        bool held = false;
        for (index_t key = begin; key < end; key += COLS) {
          const index_t cols = at_most(COLS, end - key);
          if (!rules.live(low, low + rows, key, key + cols)) continue;
          REAL s[COLS / 8][4];
          multiply_rows(s, tile_a, tile_b, {q, first, q_step, rows},
                        {k, item[ITEM_KEY] + key * k_step, k_step, cols}, d, held);
          held = true;
#pragma unroll
          for (int m = 0; m < COLS / 8; m++)
#pragma unroll
            for (int r = 0; r < 4; r++)
              s[m][r] = row_of(r) < rows && col_of(m, r) < cols
                            ? rules.score(factor * s[m][r], low + row_of(r), key + col_of(m, r))
                            : -Limits<REAL>::infinity();
          REAL shrink[2];
#pragma unroll
          for (int half = 0; half < 2; half++) {
            REAL most = top[half];
#pragma unroll
            for (int m = 0; m < COLS / 8; m++)
              most = max(most, max(s[m][2 * half], s[m][2 * half + 1]));
            most = join_row<Max>(most);
            shrink[half] = power_of_two(top[half] - most);
            top[half] = most;
            total[half] *= shrink[half];
#pragma unroll
            for (int m = 0; m < COLS / 8; m++)
#pragma unroll
              for (int r = 2 * half; r < 2 * half + 2; r++)
                total[half] += s[m][r] = power_of_two(s[m][r] - most);
          }
          keep(weights, s);
#pragma unroll
          for (int c = 0; c < VALUES / SUMS; c++) {
            if (value + c * SUMS >= dv) continue;
#pragma unroll
            for (int m = 0; m < SUMS / 8; m++)
#pragma unroll
              for (int r = 0; r < 4; r++) sums[c][m][r] *= shrink[r / 2];
            multiply_kept(sums[c], weights, tile_b,
                          {v, item[ITEM_KEY] + key * k_step, k_step, cols}, dv, value + c * SUMS);
          }
        }
        REAL inverse[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          total[half] = join_row<Sum>(total[half]);
          inverse[half] = total[half] == REAL(0) ? REAL(0) : REAL(1) / total[half];
          const int row = row_of(2 * half);
          if (value == 0 && row < rows && lane_index() % 4 == 0)
            lse[first + row * q_step] = total[half] == REAL(0)
                                            ? -Limits<REAL>::infinity()
                                            : top[half] * REAL(LN2) + log(total[half]);
        }
#pragma unroll
        for (int c = 0; c < VALUES / SUMS; c++) {
#pragma unroll
          for (int m = 0; m < SUMS / 8; m++)
#pragma unroll
            for (int r = 0; r < 4; r++)
              sums[c][m][r] = inverse[r / 2] == REAL(0) ? REAL(0) : sums[c][m][r] * inverse[r / 2];
          write(sums[c], out, first, q_step, rows, dv, value + c * SUMS, REAL(1));
        }
      }
    }
    __syncthreads();  // the tiles are used again
  }
}

// --- backward
// ------------------------------------------------------------------------------------------------------------------------

struct Inputs {
  const REAL *q, *k, *v, *grad_out, *lse, *delta;
  index_t d, dv;
  REAL scale;
};

// P and dS of queries low to high and keys key_low to key_high of a head, whose first rows are
// `query` and `key`.
template <bool KEYS_ARE_ROWS>
__device__ __forceinline__ void pair_slopes(const Inputs& in, const Rules& rules, index_t query,
                                            index_t low, index_t high, index_t key, index_t key_low,
                                            index_t key_high, REAL* tile_a, REAL* tile_b,
                                            REAL (&weights)[COLS / 8][4],
                                            REAL (&slopes)[COLS / 8][4]) {
  const Rows queries = {in.q, query + low, 1, high - low},
             keys = {in.k, key + key_low, 1, key_high - key_low};
  const Rows grads = {in.grad_out, query + low, 1, high - low},
             values = {in.v, key + key_low, 1, key_high - key_low};
  multiply_rows(weights, tile_a, tile_b, KEYS_ARE_ROWS ? keys : queries,
                KEYS_ARE_ROWS ? queries : keys, in.d, false);
  multiply_rows(slopes, tile_a, tile_b, KEYS_ARE_ROWS ? values : grads,
                KEYS_ARE_ROWS ? grads : values, in.dv, false);
#pragma unroll
  for (int n = 0; n < COLS / 8; n++)
#pragma unroll
    for (int r = 0; r < 4; r++) {
      const index_t i = low + (KEYS_ARE_ROWS ? col_of(n, r) : row_of(r)),
                    j = key_low + (KEYS_ARE_ROWS ? row_of(r) : col_of(n, r));
      if (i < high && j < key_high) {
        const REAL lse = in.lse[query + i],
                   s = rules.score(in.scale * REAL(LOG2E) * weights[n][r], i, j);
        weights[n][r] =
            lse == -Limits<REAL>::infinity() ? REAL(0) : power_of_two(s - lse * REAL(LOG2E));
        slopes[n][r] = weights[n][r] * (slopes[n][r] - in.delta[query + i]);
      } else {
        weights[n][r] = slopes[n][r] = REAL(0);
      }
    }
}

// items (n, 13)  q, grad_q (q_rows, d)  k (k_rows, d)  v (k_rows, dv)  grad_out (q_rows, dv) grad_k
// (g_rows, d)  grad_v (g_rows, dv)
extern "C" __global__ void __launch_bounds__(GPU_THREADS) numcore_attention_backward(
    const index_t* __restrict__ items, const index_t* __restrict__ options,
    const REAL* __restrict__ q, const REAL* __restrict__ k, const REAL* __restrict__ v,
    const REAL* __restrict__ grad_out, const REAL* __restrict__ lse, const REAL* __restrict__ delta,
    const REAL* __restrict__ bias, const u8* __restrict__ mask, const u8* __restrict__ blocks,
    REAL scale, REAL* __restrict__ grad_q, REAL* __restrict__ grad_k, REAL* __restrict__ grad_v,
    index_t n, index_t q_size, index_t k_rows, index_t d, index_t dv, index_t o_size,
    index_t q_rows, index_t bias_size, index_t mask_size, index_t block_rows, index_t block_cols,
    index_t g_rows) {
  DYNAMIC_SHARED(REAL, tile_a);
  REAL *tile_b = tile_a + GPU_ROWS * PITCH, *kept_weights = tile_b + COLS * PITCH,
       *kept_slopes = kept_weights + GPU_ROWS * P_PITCH;
  const Inputs in = {q, k, v, grad_out, lse, delta, d, dv, scale};
  for (index_t w = block_index(); w < n; w += block_count()) {
    const index_t* item = items + w * PAIR_COLUMNS;
    const index_t heads = item[PAIR_HEADS], key = item[PAIR_KEY], key_end = item[PAIR_KEY_HIGH],
                  query_end = item[PAIR_HIGH];
    Rules rules = {nullptr, nullptr,    block_rows * block_cols ? blocks : nullptr,
                   options, block_cols, item[PAIR_SHIFT]};
    const auto enter = [&](index_t head) {
      if (bias_size) rules.bias = bias + item[PAIR_BIAS] + head * options[OPTION_BIAS_HEAD];
      if (mask_size) rules.mask = mask + item[PAIR_MASK] + head * options[OPTION_MASK_HEAD];
      return item[PAIR_QUERY] + head * item[PAIR_HEAD_ROWS];
    };
    REAL weights[COLS / 8][4], slopes[COLS / 8][4];
    if (item[PAIR_GRAD] >= 0)  // gradients of keys and values: rows are keys, all queries pass by
      for (index_t low = item[PAIR_KEY_LOW]; low < key_end; low += GPU_ROWS) {
        const index_t high = at_most(low + GPU_ROWS, key_end);
        for (index_t chunk = 0; chunk < d || chunk < dv; chunk += SUMS) {
          REAL sums_k[SUMS / 8][4], sums_v[SUMS / 8][4];
          clear(sums_k), clear(sums_v);
          index_t begin = item[PAIR_LOW], end = query_end;
          rules.reached_by(low, high, begin, end);
          for (index_t head = 0; head < heads; head++) {
            const index_t query = enter(head);
            for (index_t i = begin; i < end; i += COLS) {
              const index_t until = at_most(i + COLS, end);
              if (!rules.live(i, until, low, high)) continue;
              pair_slopes<true>(in, rules, query, i, until, key, low, high, tile_a, tile_b, weights,
                                slopes);
              keep(kept_weights, weights);
              keep(kept_slopes, slopes);
              if (chunk < dv)
                multiply_kept(sums_v, kept_weights, tile_b, {grad_out, query + i, 1, until - i}, dv,
                              chunk);
              if (chunk < d)
                multiply_kept(sums_k, kept_slopes, tile_b, {q, query + i, 1, until - i}, d, chunk);
            }
          }
          write(sums_k, grad_k, item[PAIR_GRAD] + low, 1, high - low, d, chunk, scale);
          write(sums_v, grad_v, item[PAIR_GRAD] + low, 1, high - low, dv, chunk, REAL(1));
        }
      }
    if (item[PAIR_OWNS_QUERIES])  // gradients of queries: rows are queries, all keys pass by
      for (index_t head = 0; head < heads; head++) {
        const index_t query = enter(head);
        for (index_t low = item[PAIR_LOW]; low < query_end; low += GPU_ROWS) {
          const index_t high = at_most(low + GPU_ROWS, query_end);
          for (index_t chunk = 0; chunk < d; chunk += SUMS) {
            REAL sums[SUMS / 8][4];
            clear(sums);
            index_t begin = item[PAIR_KEY_LOW], end = key_end;
            rules.reach(low, high, begin, end);
            for (index_t j = begin; j < end; j += COLS) {
              const index_t until = at_most(j + COLS, end);
              if (!rules.live(low, high, j, until)) continue;
              pair_slopes<false>(in, rules, query, low, high, key, j, until, tile_a, tile_b,
                                 weights, slopes);
              keep(kept_slopes, slopes);
              multiply_kept(sums, kept_slopes, tile_b, {k, key + j, 1, until - j}, d, chunk);
            }
            write(sums, grad_q, query + low, 1, high - low, d, chunk, scale);
          }
        }
      }
    __syncthreads();  // the tiles are used again
  }
}

// --- gradient of the bias
// ------------------------------------------------------------------------------------------------------------

// items (n, 8)  heads (h, 4)  grad_bias[slice + i * row + j * col] += dS over the heads that share
// the slice
extern "C" __global__ void __launch_bounds__(GPU_THREADS) numcore_attention_bias_backward(
    const index_t* __restrict__ items, const index_t* __restrict__ options,
    const index_t* __restrict__ heads, const REAL* __restrict__ q, const REAL* __restrict__ k,
    const REAL* __restrict__ v, const REAL* __restrict__ grad_out, const REAL* __restrict__ lse,
    const REAL* __restrict__ delta, const REAL* __restrict__ bias, const u8* __restrict__ mask,
    const u8* __restrict__ blocks, REAL scale, index_t row, index_t col,
    REAL* __restrict__ grad_bias, index_t n, index_t h, index_t q_size, index_t k_rows, index_t d,
    index_t dv, index_t o_size, index_t q_rows, index_t bias_size, index_t mask_size,
    index_t block_rows, index_t block_cols, index_t grad_size) {
  DYNAMIC_SHARED(REAL, tile_a);
  REAL *tile_b = tile_a + GPU_ROWS * PITCH, *kept = tile_b + COLS * PITCH;
  const Inputs in = {q, k, v, grad_out, lse, delta, d, dv, scale};
  for (index_t w = block_index(); w < n; w += block_count()) {
    const index_t* item = items + w * BIAS_COLUMNS;
    for (index_t number = item[BIAS_HEAD]; number < item[BIAS_HEAD_END]; number++) {
      const index_t* head = heads + number * HEAD_COLUMNS;
      const Rules rules = {bias_size ? bias + head[HEAD_BIAS] : nullptr,
                           mask_size ? mask + head[HEAD_MASK] : nullptr,
                           block_rows * block_cols ? blocks : nullptr,
                           options,
                           block_cols,
                           item[BIAS_SHIFT]};
      for (index_t low = item[BIAS_LOW]; low < item[BIAS_HIGH]; low += GPU_ROWS) {
        const index_t high = at_most(low + GPU_ROWS, item[BIAS_HIGH]);
        index_t begin = item[BIAS_KEY_LOW], end = item[BIAS_KEY_HIGH];
        rules.reach(low, high, begin, end);
        for (index_t j = begin; j < end; j += COLS) {
          const index_t until = at_most(j + COLS, end);
          if (!rules.live(low, high, j, until)) continue;
          REAL weights[COLS / 8][4], slopes[COLS / 8][4];
          pair_slopes<false>(in, rules, head[HEAD_QUERY], low, high, head[HEAD_KEY], j, until,
                             tile_a, tile_b, weights, slopes);
          keep(kept, slopes);
          __syncthreads();
          // One thread for each entry of grad_bias under the tile; it sums over what was broadcast.
          const int rows = int(high - low), cols = int(until - j), own_rows = row ? rows : 1,
                    own_cols = col ? cols : 1;
          for (int e = index_in_block(); e < own_rows * own_cols; e += block_size()) {
            const int r0 = e / own_cols, c0 = e % own_cols;
            REAL sum = 0;
            for (int r = r0; r < (row ? r0 + 1 : rows); r++)
              for (int c = c0; c < (col ? c0 + 1 : cols); c++) sum += kept[r * P_PITCH + c];
            grad_bias[item[BIAS_GRAD] + (low + r0) * row + (j + c0) * col] += sum;
          }
          __syncthreads();
        }
      }
    }
    __syncthreads();  // the tiles are used again
  }
}
