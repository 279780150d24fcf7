// Candidates by common grams, distances of candidates, and products of sparse stochastic matrices.
#include "numcore.cuh"

// One block takes a left string: for each of its grams in turn, the threads share the right strings
// that have it, each has it once.
extern "C" __global__ void numcore_count_shared_grams(const i64* __restrict__ offsets,
                                                      const i64* __restrict__ grams,
                                                      const i64* __restrict__ postings,
                                                      const i64* __restrict__ strings, u16* shared,
                                                      const i64* __restrict__ sizes, index_t x,
                                                      index_t u, index_t y, index_t c, index_t nr) {
  for (index_t i = block_index(); i < c; i += block_count()) {
    u16* row = shared + i * nr;
    for (index_t j = index_in_block(); j < nr; j += block_size()) row[j] = 0;
    __syncthreads();
    for (index_t e = offsets[i]; e < offsets[i] + sizes[i]; e++) {
      for (index_t at = postings[grams[e]] + index_in_block(); at < postings[grams[e] + 1];
           at += block_size())
        row[strings[at]] += row[strings[at]] < 65535;
      __syncthreads();
    }
  }
}

// One block takes a left string; its threads share the right ones.
extern "C" __global__ void numcore_count_candidates(u16* shared, const u16* __restrict__ need,
                                                    const u16* common,
                                                    const float* __restrict__ sizes,
                                                    const float* __restrict__ right_sizes,
                                                    i64* __restrict__ enough, float similarity,
                                                    index_t c, index_t nr) {
  for (index_t i = block_index(); i < c; i += block_count()) {
    index_t mine = 0;
    for (index_t j = index_in_block(); j < nr; j += block_size()) {
      u16 both = common[i * nr + j];
      if ((float)both * (1 + similarity) < similarity * (sizes[i] + right_sizes[j]) && both < 65535)
        shared[i * nr + j] = 0;
      mine += shared[i * nr + j] >= need[i];
    }
    mine = block_sum(mine);
    if (index_in_block() == 0) enough[i] = mine;
  }
}

// One warp takes a left string; a vote of its lanes says where each candidate goes.
extern "C" __global__ void numcore_list_candidates(const u16* __restrict__ shared,
                                                   const u16* __restrict__ need,
                                                   const i64* __restrict__ starts, i64* found,
                                                   index_t c, index_t nr, index_t f) {
  for (index_t i = thread_index() / 32; i < c; i += thread_count() / 32) {
    index_t at = starts[i];
    for (index_t base = 0; base < nr; base += 32) {
      index_t j = base + lane_index();
      bool hit = j < nr && shared[i * nr + j] >= need[i];
      u32 hits = __ballot_sync(FULL_WARP, hit);
      if (hit) found[at + __popc(hits & ((1u << lane_index()) - 1))] = j;
      at += __popc(hits);
    }
  }
}

// One warp takes a left string and votes on where a near one goes: its lanes share the right
// strings that have a gram.
extern "C" __global__ void numcore_near_by_rare_grams(
    const i64* __restrict__ rows, const i64* __restrict__ offsets, const int* __restrict__ grams,
    const i64* __restrict__ rare, const u64* __restrict__ signatures,
    const i64* __restrict__ postings, const int* __restrict__ strings,
    const int* __restrict__ posted_sizes, const u64* __restrict__ posted_signatures,
    const i64* __restrict__ right_offsets, const int* __restrict__ right_grams, int* found,
    i64* __restrict__ counts, double similarity, index_t c, index_t nl, index_t x, index_t n,
    index_t u, index_t z, index_t nr, index_t y, index_t room) {
  double share = similarity / (1 + similarity), spread = (1 - similarity) / (1 + similarity);
  for (index_t k = thread_index() / 32; k < c; k += thread_count() / 32) {
    index_t i = rows[k], first = offsets[i], last = offsets[i + 1], count = 0;
    for (index_t e = first; e < first + rare[i]; e++)
      for (index_t base = postings[grams[e]]; base < postings[grams[e] + 1]; base += 32) {
        index_t at = base + lane_index();
        bool near = false;
        if (at < postings[grams[e] + 1]) {
          double both = last - first + posted_sizes[at];
          if (__popcll(signatures[i] ^ posted_signatures[at]) <= spread * both) {
            index_t a = first, b = right_offsets[strings[at]], end = right_offsets[strings[at] + 1],
                    common = 0;
            bool rarest = true;  // no common gram before this one
            while (a < last && b < end) {
              int one = grams[a], other = right_grams[b];
              rarest = rarest && !(one == other && one < grams[e]);
              common += one == other;
              a += one <= other;
              b += other <= one;
            }
            near = rarest && common >= share * both;
          }
        }
        u32 hits = __ballot_sync(FULL_WARP, near);
        index_t place = count + __popc(hits & ((1u << lane_index()) - 1));
        if (near && place < room) found[k * room + place] = strings[at];
        count += __popc(hits);
      }
    if (lane_index() == 0) counts[k] = count;
  }
}

// One thread takes a candidate, here and below.
extern "C" __global__ void numcore_pair_common_grams(
    const i64* __restrict__ offsets, const i64* __restrict__ grams,
    const i64* __restrict__ right_offsets, const i64* __restrict__ right_grams,
    const i64* __restrict__ rows, const i64* __restrict__ cols, i64* __restrict__ common,
    index_t nl, index_t x, index_t nr, index_t y, index_t c) {
  for (index_t k = thread_index(); k < c; k += thread_count()) {
    index_t a = offsets[rows[k]], a_end = offsets[rows[k] + 1], b = right_offsets[cols[k]],
            b_end = right_offsets[cols[k] + 1];
    index_t count = 0;
    while (a < a_end && b < b_end) {
      i64 one = grams[a], other = right_grams[b];
      count += one == other;
      a += one <= other;
      b += other <= one;
    }
    common[k] = count;
  }
}

extern "C" __global__ void numcore_pair_osa(const u32* __restrict__ left,
                                            const i64* __restrict__ left_offsets,
                                            const u32* __restrict__ right,
                                            const i64* __restrict__ right_offsets,
                                            const i64* __restrict__ rows,
                                            const i64* __restrict__ cols, int* work,
                                            double* __restrict__ distance, index_t t, index_t nl,
                                            index_t r, index_t nr, index_t c, index_t w) {
  for (index_t k = thread_index(); k < c; k += thread_count()) {
    const u32 *a = left + left_offsets[rows[k]], *b = right + right_offsets[cols[k]];
    int m = left_offsets[rows[k] + 1] - left_offsets[rows[k]],
        n = right_offsets[cols[k] + 1] - right_offsets[cols[k]];
    int* table = work + k * w;
    for (int j = 0; j <= n; j++) table[j] = j;
    for (int i = 1; i <= m; i++) {
      int *now = table + i % 3 * (n + 1), *above = table + (i + 2) % 3 * (n + 1),
          *before = table + (i + 1) % 3 * (n + 1);
      now[0] = i;
      for (int j = 1; j <= n; j++) {
        int best = min(min(above[j], now[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          best = min(best, before[j - 2] + 1);
        now[j] = best;
      }
    }
    distance[k] = table[m % 3 * (n + 1) + n];
  }
}

extern "C" __global__ void numcore_pair_jaro_winkler(
    const u32* __restrict__ left, const i64* __restrict__ left_offsets,
    const u32* __restrict__ right, const i64* __restrict__ right_offsets,
    const i64* __restrict__ rows, const i64* __restrict__ cols, int* work,
    double* __restrict__ distance, index_t t, index_t nl, index_t r, index_t nr, index_t c,
    index_t w) {
  for (index_t k = thread_index(); k < c; k += thread_count()) {
    const u32 *a = left + left_offsets[rows[k]], *b = right + right_offsets[cols[k]];
    int m = left_offsets[rows[k] + 1] - left_offsets[rows[k]],
        n = right_offsets[cols[k] + 1] - right_offsets[cols[k]];
    int *taken = work + k * w, window = max(0, max(m, n) / 2 - 1), matches = 0, out_of_order = 0,
        prefix = 0;
    for (int i = 0; i < m + n; i++) taken[i] = 0;
    for (int s = 0; s < n; s++)
      for (int i = max(0, s - window); i < min(m, s + window + 1); i++)
        if (!taken[i] && a[i] == b[s]) {
          taken[i] = taken[m + s] = 1;
          matches++;
          break;
        }
    double jaro = m || n ? 0 : 1;
    if (matches) {
      for (int s = 0, i = 0; s < n; s++)
        if (taken[m + s]) {
          while (!taken[i]) i++;
          out_of_order += a[i++] != b[s];
        }
      jaro = ((double)matches / m + (double)matches / n +
              (double)(matches - out_of_order / 2) / matches) /
             3;
      while (prefix < 4 && prefix < m && prefix < n && a[prefix] == b[prefix]) prefix++;
      if (jaro > 0.7) jaro += prefix * 0.1 * (1 - jaro);
    }
    distance[k] = 1 - jaro;
  }
}

// One warp takes a row of the product; its lanes share the search for a column among the entries so
// far.
extern "C" __global__ void numcore_stochastic_product(
    const i64* __restrict__ rows, const i64* __restrict__ outer_indptr,
    const i64* __restrict__ outer_indices, const double* __restrict__ outer_data,
    const i64* __restrict__ inner_indptr, const i64* __restrict__ inner_indices,
    const double* __restrict__ inner_data, i64* indices, double* data, i64* __restrict__ counts,
    double* __restrict__ chaos, double inflation, double prune, index_t c, index_t m, index_t x,
    index_t p, index_t y, index_t room) {
  for (index_t k = thread_index() / 32; k < c; k += thread_count() / 32) {
    i64* index = indices + k * room;
    double *entry = data + k * room, total = 0, largest = 0, kept_total = 0, squares = 0;
    index_t count = 0, kept = 0;
    for (index_t e = outer_indptr[rows[k]]; e < outer_indptr[rows[k] + 1] && count <= room; e++)
      for (index_t f = inner_indptr[outer_indices[e]];
           f < inner_indptr[outer_indices[e] + 1] && count <= room; f++) {
        double value = outer_data[e] * inner_data[f];
        if (!(value > 0)) continue;
        index_t place = count;
        for (index_t base = 0; base < count && place == count; base += 32) {
          bool here = base + lane_index() < count && index[base + lane_index()] == inner_indices[f];
          u32 hits = __ballot_sync(FULL_WARP, here);
          if (hits) place = base + __ffs(hits) - 1;
        }
        if (lane_index() == 0 && place < room) {
          if (place == count) index[place] = inner_indices[f];
          entry[place] = place == count ? value : entry[place] + value;
        }
        count += place == count;
        __syncwarp();
      }
    if (count > room)
      for (index_t at = lane_index(); at < room; at += 32) {
        index[at] = 0;
        entry[at] = 0;
      }
    else if (lane_index() == 0) {
      for (index_t at = 0; at < count; at++) {
        entry[at] = inflation == 2 ? entry[at] * entry[at] : pow(entry[at], inflation);
        total += entry[at];
        largest = max(largest, entry[at]);
      }
      for (index_t at = 0; at < count; at++)
        if (entry[at] > 0 && (entry[at] >= prune * total || entry[at] == largest)) {
          index[kept] = index[at];
          entry[kept] = entry[at];
          kept_total += entry[kept++];
        }
      for (index_t at = 0; at < kept; at++) {
        entry[at] /= kept_total;
        squares += entry[at] * entry[at];
      }
    }
    if (lane_index() == 0) {
      counts[k] = count > room ? room + 1 : kept;
      chaos[k] = kept ? largest / kept_total - squares : 0;
    }
    __syncwarp();
  }
}
