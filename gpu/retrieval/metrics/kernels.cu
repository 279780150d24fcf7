// Metrics of ranked lists: the places of the relevant documents (z of them, those of query i being
// offsets[i] to offsets[i + 1]) in lists of documents (q, k) or by scores (n), then the metrics (q,
// m).
#include "elementary.cuh"
#include "numcore.cuh"

#ifndef REAL
#define REAL float
#endif

// One warp takes a list, each lane every 32nd document of it, and looks it up among the query's
// documents, which ascend.
extern "C" __global__ void numcore_places_in_lists(const i64* __restrict__ lists,
                                                   const i64* __restrict__ offsets,
                                                   const i64* __restrict__ documents, i64* places,
                                                   index_t q, index_t k, index_t z) {
  for (index_t i = thread_index() / 32; i < q; i += thread_count() / 32)
    for (index_t j = lane_index(); j < k; j += 32) {
      i64 document = lists[i * k + j], low = offsets[i], high = offsets[i + 1];
      while (low < high) {
        i64 middle = (low + high) / 2;
        if (documents[middle] < document)
          low = middle + 1;
        else
          high = middle;
      }
      if (document >= 0 && low < offsets[i + 1] && documents[low] == document)
        atomicMin(reinterpret_cast<long long*>(places + low), static_cast<long long>(j));
    }
}

// One warp takes a query; its lanes share the scores of each entry's list.
extern "C" __global__ void numcore_places_by_counting(
    const REAL* __restrict__ scores, const i64* __restrict__ begins, const i64* __restrict__ ends,
    const i64* __restrict__ offsets, const i64* __restrict__ entries, i64* __restrict__ places,
    i64 later_first, index_t n, index_t q, index_t z) {
  for (index_t i = thread_index() / 32; i < q; i += thread_count() / 32)
    for (i64 e = offsets[i]; e < offsets[i + 1]; e++) {
      REAL score = scores[entries[e]];
      i64 count = 0;
      for (i64 j = begins[i] + lane_index(); j < ends[i]; j += 32)
        count += scores[j] > score ||
                 (scores[j] == score && (later_first ? j > entries[e] : j < entries[e]));
      count = warp_sum(count);
      if (lane_index() == 0) places[e] = count;
    }
}

// One thread takes a query.
extern "C" __global__ void numcore_metrics_of_lists(
    const i64* __restrict__ places, const u8* __restrict__ relevant,
    const double* __restrict__ gains, const double* __restrict__ ideal,
    const i64* __restrict__ offsets, const i64* __restrict__ lengths,
    const double* __restrict__ discounts, const i64* __restrict__ kinds,
    const i64* __restrict__ cuts, const i64* __restrict__ size, double* __restrict__ values,
    i64 by_cut, index_t z, index_t q, index_t c, index_t m) {
  for (index_t item = thread_index(); item < q; item += thread_count()) {
    i64 first = offsets[item], last = offsets[item + 1], total = 0;
    for (i64 e = first; e < last; e++) total += relevant[e];
    for (index_t i = 0; i < m; i++) {
      i64 kind = kinds[i], cut = kind == R_PRECISION ? min(total, cuts[i]) : cuts[i],
          best = lengths[item], hits = 0;
      i64 deepest = size[i] && size[i] < c ? size[i] : c;
      double precisions = 0, gained = 0, most = 0;
      for (i64 e = first; e < last; e++) {
        bool inside = places[e] < cut;
        if (inside && relevant[e]) {
          hits++;
          best = min(best, places[e]);
          precisions += (double)hits / (double)(places[e] + 1);
        }
        if (inside && kind >= DCG) gained += gains[e] * discounts[places[e]];
        if (kind >= DCG && e - first < deepest) most += ideal[e] * discounts[e - first];
      }
      i64 asked = size[i] ? size[i] : lengths[item];
      double value;
      if (kind >= DCG)
        value = most == 0 ? (double)NAN : kind == DCG ? gained : gained / most;
      else if (total == 0)
        value = NAN;
      else if (kind == MRR)
        value = hits ? 1.0 / (best + 1) : 0;
      else if (kind == RECALL || kind == R_PRECISION)
        value = (double)hits / total;
      else if (kind == PRECISION)
        value = (double)hits / max(asked, 1ll);
      else if (kind == HIT)
        value = hits > 0;
      else
        value = precisions / max(by_cut && asked < total ? asked : total, 1ll);
      values[item * m + i] = value;
    }
  }
}

__device__ double gain_of(double relevance, i64 exponential) {
  return relevance <= 0 ? 0 : exponential ? numcore::exp2(relevance) - 1 : relevance;
}

// One block takes a list: a thread counts the places of one candidate at a time, then all share
// the sums of each metric.
extern "C" __global__ void numcore_metrics_of_scores(
    const REAL* __restrict__ scores, const double* __restrict__ relevance,
    const i64* __restrict__ offsets, const double* __restrict__ discounts,
    const i64* __restrict__ kinds, const i64* __restrict__ size, double min_relevance,
    i64 later_first, i64 exponential, i64 by_cut, double* __restrict__ values, i64* places,
    i64* ideal, index_t n, index_t d, index_t m_count, index_t q_count) {
  for (index_t q = block_index(); q < q_count; q += block_count()) {
    const index_t first = offsets[q], m = offsets[q + 1] - first;
    const REAL* s = scores + first;
    const double* y = relevance + first;
    i64 *place = places + first, *right = ideal + first;
    double counted = 0;
    for (index_t i = index_in_block(); i < m; i += block_size()) {
      i64 by_score = 0, by_relevance = 0;
      for (index_t j = 0; j < m; j++) {
        by_score += s[j] > s[i] || (s[j] == s[i] && (later_first ? j > i : j < i));
        by_relevance += y[j] > y[i] || (y[j] == y[i] && j < i);
      }
      place[i] = by_score, right[i] = by_relevance;
      counted += y[i] >= min_relevance;
    }
    const i64 total = (i64)block_sum(counted);  // its barriers also make the places visible
    for (index_t k = 0; k < m_count; k++) {
      const i64 kind = kinds[k], asked = size[k] ? size[k] : m;
      const i64 wanted = kind == R_PRECISION ? total : asked, cut = wanted < m ? wanted : m;
      double hits = 0, top = m, precisions = 0, gained = 0, most = 0;
      for (index_t i = index_in_block(); i < m; i += block_size()) {
        if (kind >= DCG) {
          const double gain = gain_of(y[i], exponential);
          if (place[i] < cut) gained += gain * discounts[place[i]];
          if (right[i] < cut) most += gain * discounts[right[i]];
        } else if (place[i] < cut && y[i] >= min_relevance) {
          i64 found = 1;
          if (kind == MAP)
            for (index_t j = 0; j < m; j++) found += y[j] >= min_relevance && place[j] < place[i];
          hits += 1, top = min(top, (double)place[i]);
          precisions += (double)found / (double)(place[i] + 1);
        }
      }
      hits = block_sum(hits), top = block_min(top), precisions = block_sum(precisions);
      gained = block_sum(gained), most = block_sum(most);
      if (index_in_block() == 0) {
        double value;
        if (kind >= DCG)
          value = most == 0 ? (double)NAN : kind == DCG ? gained : gained / most;
        else if (total == 0)
          value = NAN;
        else if (kind == MRR)
          value = hits > 0 ? 1 / (top + 1) : 0;
        else if (kind == RECALL || kind == R_PRECISION)
          value = hits / total;
        else if (kind == PRECISION)
          value = hits / max(asked, 1ll);
        else if (kind == HIT)
          value = hits > 0;
        else
          value = precisions / max(by_cut && asked < total ? asked : total, 1ll);
        values[q * m_count + k] = value;
      }
    }
  }
}
