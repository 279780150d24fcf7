"""SemRe-Rank by dicts, sets and networkx, as the paper tells it."""

import itertools
import math

import networkx


def importance(lists, documents, seeds, n):
    """Sums over documents of networkx's PageRank divided by its maximum, divided by their
    maximum."""
    total = [0.0] * n
    for document in documents:
        graph = networkx.Graph()
        for w in document:
            graph.add_edges_from((w, v) for v in lists[w])
        if not len(graph):
            continue
        known = {s: 1 for s in seeds if s in graph}
        scores = networkx.pagerank(
            graph, alpha=0.85, personalization=known or None, tol=1e-12 / len(graph), max_iter=2000
        )
        most = max(scores.values())
        for w, score in scores.items():
            total[w] += score / most
    most = max(total, default=0)
    return [t / most for t in total] if most else total


def rake(terms, frequency):
    """Degrees of words and their frequencies, over all occurrences of the candidates."""
    degree, at = {}, {}
    for term, f in zip(terms, frequency, strict=True):
        for w in term:
            at[w] = at.get(w, 0) + f
            degree[w] = degree.get(w, 0) + f * len(term)
    return [
        sum(degree[w] / at[w] if at[w] else 0 for w in term) if f else 0
        for term, f in zip(terms, frequency, strict=True)
    ]


def chi_square(documents, n, share):
    """Of the co-occurrence of each term with the frequent ones in documents."""
    f = [sum(d.count(t) for d in documents) for t in range(n)]
    frequent = sorted(range(n), key=lambda t: (-f[t], t))[: max(1, round(share * n))]
    total, result = sum(f), []
    for t in range(n):
        addends = [0.0]
        around = sum(len(d) for d in documents if t in d)
        for g in frequent:
            expected = around * sum(len(d) for d in documents if g in d) / total
            both = sum(t in d and g in d for d in documents)
            if g != t and expected:
                addends.append((both - expected) ** 2 / expected)
        result.append(sum(addends) - max(addends))
    return result


def weirdness(terms, frequency, reference):
    here = [0] * len(reference)
    for term, f in zip(terms, frequency, strict=True):
        for w in term:
            here[w] += f
    v, w_all, r_all = len(reference), sum(here), sum(reference)
    logs = [
        math.log((w + 1) / (w_all + v)) - math.log((r + 1) / (r_all + v))
        for w, r in zip(here, reference, strict=True)
    ]
    return [sum(logs[w] for w in term) / len(term) for term in terms], here


def containing(terms):
    """The longer terms that contain each term, by comparing all windows."""

    def windows(b, size):
        return [b[i : i + size] for i in range(len(b) - size + 1)]

    found = [[] for _ in terms]
    for (i, a), (j, b) in itertools.product(enumerate(terms), repeat=2):
        if len(a) < len(b) and a in windows(b, len(a)):
            found[i].append(j)
    return found
