"""Linking names by loops over all pairs; Markov clustering by dense matrices; modularity by its
definition."""

import math

import numpy as np

from tests.naive.retrieval.strings import edit_distance, gram_distance, jaro


def trigrams(name):
    return {name[i : i + 3] for i in range(max(len(name) - 2, 1))} if name else set()


def distance(a, b, measure, q=2):
    return {
        "qgram_jaccard": lambda: gram_distance(a, b, q),
        "osa": lambda: edit_distance(a, b, swaps=True),
        "jaro_winkler": lambda: 1 - jaro(a, b, 0.1),
    }[measure]()


def links(left, right, measure, max_distance, least_share, q=2):
    """(left, right) → distance for candidates that are near; names are normalized already."""
    found = {}
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            shared = len(trigrams(a) & trigrams(b))
            if (
                shared >= max(1, math.ceil(least_share * len(trigrams(a))))
                and distance(a, b, measure, q) <= max_distance
            ):
                found[i, j] = distance(a, b, measure, q)
    return found


def markov(a, inflation, rounds=60):
    """Labels of Markov clustering without pruning, of a dense symmetric matrix."""
    a = a.copy()
    np.fill_diagonal(a, 0)
    np.fill_diagonal(a, np.where(a.max(axis=0) > 0, a.max(axis=0), 1))
    m = a / a.sum(axis=0)
    for _ in range(rounds):
        m = (m @ m) ** inflation
        m /= m.sum(axis=0)
    reach = np.linalg.matrix_power(((m + m.T) > 1e-6).astype(float) + np.eye(len(a)), len(a)) > 0
    return [int(np.flatnonzero(row)[0]) for row in reach]


def modularity(a, labels):
    total, result = a.sum(), 0.0
    for label in set(labels):
        these = [i for i, other in enumerate(labels) if other == label]
        result += a[np.ix_(these, these)].sum() / total - (a[these].sum() / total) ** 2
    return result
