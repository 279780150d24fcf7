// Distances of strings: code points in one array, where each string starts in another.
#include "numcore.cuh"

#define NOTHING 0xffffffffu
#define SLOTS 256

// The place of a code point in the sorted alphabet, or its size.
__device__ index_t letter_number(const u32* alphabet, index_t a, u32 code) {
  index_t low = 0, high = a;
  while (low < high) {
    index_t middle = (low + high) / 2;
    if (alphabet[middle] < code)
      low = middle + 1;
    else
      high = middle;
  }
  return low < a && alphabet[low] == code ? low : a;
}

// Where at most 64 letters occur in a piece of the left string, one bit for each place. A table
// with 256 slots serves alphabets of any size; letters with numbers below 256 are found at once.
struct Masks {
  u32* keys;
  u64* bits;

  __device__ void fill(const u32* alphabet, index_t a, const u32* piece, int m) const {
    for (int slot = index_in_block(); slot < SLOTS; slot += block_size()) {
      keys[slot] = NOTHING;
      bits[slot] = 0;
    }
    __syncthreads();
    for (int j = index_in_block(); j < m; j += block_size()) {
      index_t letter = letter_number(alphabet, a, piece[j]);
      if (letter == a) continue;
      u32 slot = letter % SLOTS, found;
      while ((found = atomicCAS(&keys[slot], NOTHING, (u32)letter)) != NOTHING &&
             found != (u32)letter)
        slot = (slot + 1) % SLOTS;
      atomicOr(&bits[slot], 1ull << j);
    }
    __syncthreads();
  }

  __device__ u64 of(u32 letter) const {
    u32 slot = letter % SLOTS;
    while (keys[slot] != letter && keys[slot] != NOTHING) slot = (slot + 1) % SLOTS;
    return bits[slot];
  }
};

// One block takes a pattern of at most 64 letters, one thread a text.
extern "C" __global__ void numcore_edit_distance_lanes(
    const u32* __restrict__ alphabet, const u32* __restrict__ codes, const i64* __restrict__ starts,
    const i64* __restrict__ columns, const u32* __restrict__ letters,
    const i64* __restrict__ offsets, int* distance, i64 step, i64 text_step, i64 swaps, index_t a,
    index_t r, index_t n, index_t g, index_t t, index_t m, index_t z) {
  __shared__ u32 keys[SLOTS];
  __shared__ u64 bits[SLOTS];
  Masks masks = {keys, bits};
  for (index_t k = block_index(); k < LANES * g; k += block_count()) {
    index_t i = columns[k];
    if (i < 0) continue;
    int length = starts[i + 1] - starts[i];
    u64 low = length ? ~0ull >> (64 - length) : 0;
    masks.fill(alphabet, a, codes + starts[i], length);
    for (index_t j = index_in_block(); j < m - 1; j += block_size()) {
      u64 vp = ~0ull, vn = 0, d0 = 0, before = 0;
      for (index_t p = offsets[j]; p < offsets[j + 1]; p++) {
        u64 pm = masks.of(letters[p]), swap = ((~d0 & pm) << 1) & before;
        d0 = (((pm & vp) + vp) ^ vp) | pm | vn | (swaps ? swap : 0);
        before = pm;
        u64 hp = (vn | ~(d0 | vp)) << 1 | 1, hn = (d0 & vp) << 1;
        vp = hn | ~(d0 | hp);
        vn = hp & d0;
      }
      distance[i * step + j * text_step] =
          offsets[j + 1] - offsets[j] + __popcll(vp & low) - __popcll(vn & low);
    }
    __syncthreads();  // before the masks are filled again
  }
}

// One block takes a pattern of any length, 64 letters at a time; one thread takes a text.
extern "C" __global__ void numcore_edit_distance_blocks(
    const u32* __restrict__ alphabet, const u32* __restrict__ codes, const i64* __restrict__ starts,
    const i64* __restrict__ chosen, const u32* __restrict__ letters,
    const i64* __restrict__ offsets, u8* carry, int* distance, i64 step, i64 text_step, i64 swaps,
    index_t a, index_t r, index_t n, index_t c, index_t t, index_t m, index_t z) {
  __shared__ u32 keys[SLOTS];
  __shared__ u64 bits[SLOTS];
  Masks masks = {keys, bits};
  for (index_t k = block_index(); k < c; k += block_count()) {
    index_t i = chosen[k], length = starts[i + 1] - starts[i];
    for (index_t j = index_in_block(); j < m - 1 && !length; j += block_size())
      distance[i * step + j * text_step] = offsets[j + 1] - offsets[j];
    for (index_t first = 0; first < length; first += 64) {
      int here = length - first < 64 ? length - first : 64;
      masks.fill(alphabet, a, codes + starts[i] + first, here);
      for (index_t j = index_in_block(); j < m - 1; j += block_size()) {
        u64 vp = ~0ull, vn = 0, d0 = 0, before = 0;
        index_t result = length;
        for (index_t p = offsets[j]; p < offsets[j + 1]; p++) {
          u64 above = first ? carry[k * t + p] : 1, pm = masks.of(letters[p]), swap = ~d0 & pm,
              x = pm | (above >> 1 & 1);
          d0 = (((x & vp) + vp) ^ vp) | x | vn | (swaps ? (swap << 1 | above >> 2) & before : 0);
          before = pm;
          u64 hp = vn | ~(d0 | vp), hn = d0 & vp;
          carry[k * t + p] = hp >> 63 | hn >> 63 << 1 | swap >> 63 << 2;
          result += (index_t)(hp >> (here - 1) & 1) - (index_t)(hn >> (here - 1) & 1);
          hp = hp << 1 | (above & 1);
          hn = hn << 1 | (above >> 1 & 1);
          vp = hn | ~(d0 | hp);
          vn = hp & d0;
        }
        distance[i * step + j * text_step] = result;
      }
      __syncthreads();
    }
  }
}

// One warp takes a left string; its lanes look for a right letter in 32 places at once. m + n
// flags, zero before and after, say which letters have a partner.
extern "C" __global__ void numcore_jaro_similarity(const u32* __restrict__ left,
                                                   const i64* __restrict__ left_offsets,
                                                   const u32* __restrict__ right,
                                                   const i64* __restrict__ right_offsets, u8* taken,
                                                   double* __restrict__ similarity,
                                                   double prefix_weight, index_t t, index_t r,
                                                   index_t nl, index_t w, index_t nr) {
  for (index_t i = thread_index() / 32; i < nl; i += thread_count() / 32)
    for (index_t j = 0; j < nr; j++) {
      const u32 *a = left + left_offsets[i], *b = right + right_offsets[j];
      index_t m = left_offsets[i + 1] - left_offsets[i],
              n = right_offsets[j + 1] - right_offsets[j];
      u8* flags = taken + i * w;
      index_t half = (m > n ? m : n) / 2, window = half > 1 ? half - 1 : 0, matches = 0;
      for (index_t s = 0; s < n; s++) {
        index_t low = s > window ? s - window : 0, high = s + window + 1 < m ? s + window + 1 : m;
        for (index_t base = low; base < high; base += 32) {
          index_t k = base + lane_index();
          u32 hits = __ballot_sync(FULL_WARP, k < high && !flags[k] && a[k] == b[s]);
          if (hits) {
            if (lane_index() == 0) flags[base + __ffs(hits) - 1] = flags[m + s] = 1;
            matches++;
            break;
          }
        }
        __syncwarp();
      }
      if (lane_index() == 0) {
        double result = m || n ? 0 : 1;
        if (matches) {
          index_t out_of_order = 0, k = 0;
          for (index_t s = 0; s < n; s++)
            if (flags[m + s]) {
              while (!flags[k]) k++;
              out_of_order += a[k++] != b[s];
            }
          result = ((double)matches / m + (double)matches / n +
                    (double)(matches - out_of_order / 2) / matches) /
                   3;
          int prefix = 0;
          while (prefix < MAX_PREFIX && prefix < m && prefix < n && a[prefix] == b[prefix])
            prefix++;
          if (result > BOOSTED) result += prefix * prefix_weight * (1 - result);
        }
        similarity[i * nr + j] = result;
      }
      __syncwarp();
      for (index_t k = lane_index(); k < m + n; k += 32) flags[k] = 0;
      __syncwarp();
    }
}

// One block takes a left string: for each of its grams in turn, the threads share the right strings
// that have it, each has it once.
extern "C" __global__ void numcore_gram_overlap(
    const i64* __restrict__ offsets, const i64* __restrict__ grams, const i64* __restrict__ counts,
    const i64* __restrict__ postings, const i64* __restrict__ strings,
    const i64* __restrict__ right_counts, i64* overlap, index_t x, index_t u, index_t y, index_t nl,
    index_t nr) {
  for (index_t i = block_index(); i < nl; i += block_count()) {
    i64* row = overlap + i * nr;
    for (index_t j = index_in_block(); j < nr; j += block_size()) row[j] = 0;
    __syncthreads();
    for (index_t e = offsets[i]; e < offsets[i + 1]; e++) {
      for (index_t at = postings[grams[e]] + index_in_block(); at < postings[grams[e] + 1];
           at += block_size())
        row[strings[at]] += counts[e] * right_counts[at];
      __syncthreads();
    }
  }
}
