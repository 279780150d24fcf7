"""Slow versions of ranking metrics and of balanced assignment, document by document."""

import math


def run_metrics(lists, qrels, metric, *, exponential=False, by_cut=False):
    """A metric of lists of documents, by a dict of judgements for each query."""
    judged = {}
    for query, document, relevance in qrels:
        judged.setdefault(query, {})[document] = relevance
    name, _, cut = metric.partition("@")
    results = []
    for query, documents in enumerate(lists):
        rel = judged.get(query, {})
        k = int(cut) if cut else len(documents)
        found, seen = [], set()
        for document in documents:
            found.append(0 if document in seen or document < 0 else rel.get(document, 0))
            seen.add(document)
        relevant = [j for j, r in enumerate(found[:k], 1) if r >= 1]
        total = sum(r >= 1 for r in rel.values())

        def dcg(rels):
            return sum(
                (2**r - 1 if exponential else max(r, 0)) / math.log2(j + 1)
                for j, r in enumerate(rels, 1)
            )

        best = dcg(sorted(rel.values(), reverse=True)[: int(cut) if cut else None])
        if name in ("dcg", "ndcg"):
            results.append(
                math.nan if not best else dcg(found[:k]) / (best if name == "ndcg" else 1)
            )
        elif not total:
            results.append(math.nan)
        elif name == "map":
            precisions = [sum(i <= j for i in relevant) / j for j in relevant]
            results.append(sum(precisions) / (min(total, k) if by_cut else total))
        else:
            results.append(
                {
                    "mrr": 1 / relevant[0] if relevant else 0,
                    "recall": len(relevant) / total,
                    "precision": len(relevant) / k,
                    "hit": float(bool(relevant)),
                }[name]
            )
    return results


def assign_evenly(distances, order, buckets):
    """Each item in turn to its nearest bucket with room."""
    n = len(distances)
    counts, result = [0] * buckets, [None] * n
    for i in order:
        larger = sum(c > n // buckets for c in counts)
        open_ones = [
            b
            for b in range(buckets)
            if counts[b] < n // buckets or counts[b] == n // buckets and larger < n % buckets
        ]
        result[i] = min(open_ones, key=lambda b: (distances[i][b], b))
        counts[result[i]] += 1
    return result
