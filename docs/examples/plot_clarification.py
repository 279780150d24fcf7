"""
Ranking of clarification questions: ask about a search that found nothing
=========================================================================

A developer types a few words into a search box and finds nothing useful. Instead of
guessing, a search tool can ask a question. Here the queries are real sentences: the
first line of the documentation of every public function of NumPy, SciPy, scikit-learn
and pandas. The possible questions are "do you mean this module?", one for each module
with at least 15 functions. :class:`~numcore.retrieval.ClarificationRanker` and
:class:`~numcore.retrieval.LambdaMART` rank the questions for each query. How often is
the right one first, or among the first three?
"""

import importlib
import inspect
import itertools
import pkgutil
import re
import warnings
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

from numcore.retrieval import (
    ClarificationRanker,
    LambdaMART,
    hash_features,
    ranking_metrics,
)


def first_lines(packages):
    """{first line of a docstring: module} of all public functions and classes."""
    found = {}
    for package in packages:
        try:
            members = pkgutil.iter_modules(importlib.import_module(package).__path__)
        except ImportError:
            continue
        for name in [
            package,
            *(
                f"{package}.{m.name}"
                for m in members
                if not re.match("_|tests|testing|conftest", m.name)
            ),
        ]:
            try:
                module = importlib.import_module(name)
                functions = [
                    getattr(module, n, None)
                    for n in getattr(module, "__all__", dir(module))
                    if not n.startswith("_")
                ]
            except ImportError:
                continue
            for text in (inspect.getdoc(f) or "" for f in functions if callable(f)):
                lines = [
                    line.strip()
                    for line in text.splitlines()
                    if line.strip() and not re.match(r"\w+\(", line)
                ]
                if lines:
                    found.setdefault(lines[0], name)
    return found


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lines = first_lines(("numpy", "scipy", "sklearn", "pandas"))
sizes = Counter(lines.values())
questions = sorted(module for module, size in sizes.items() if size >= 15)
texts = [
    (re.findall("[a-z0-9]+", text.lower()), questions.index(module))
    for text, module in sorted(lines.items())
    if module in questions
]
labels = np.array([label for _, label in texts])
relevant = np.eye(len(questions), dtype=int)[labels]
order = np.random.default_rng(0).permutation(len(texts))
train, test = np.split(order, [int(0.7 * len(order))])
print(
    f"{len(texts)} queries, {len(questions)} questions; {len(train)} training queries"
)

# %%
# Two simple baselines: *popularity* asks about the largest module, whatever the query.
# *Centroids* compares the words of a query, weighted by their rarity, with the mean of
# each module's queries.

vocabulary = {}
for words, _ in texts:
    for word in [*words, *itertools.pairwise(words)]:
        vocabulary.setdefault(word, len(vocabulary))
counts = np.zeros((len(texts), len(vocabulary)), np.float32)
for row, (words, _) in enumerate(texts):
    for word in [*words, *itertools.pairwise(words)]:
        counts[row, vocabulary[word]] += 1
weights = counts * (1 + np.log((1 + len(train)) / (1 + (counts[train] > 0).sum(0))))
weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-9)
centroids = np.array(
    [weights[train[labels[train] == c]].mean(0) for c in range(len(questions))]
)
centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-9)
popularity = np.tile(relevant[train].mean(0), (len(texts), 1))
scores = {
    "popularity": popularity[test],
    "centroids": (weights @ centroids.T)[test].astype(float),
}

# %%
# LambdaMART ranks by four features of each pair of a query and a question: the
# similarity of the nearest query of that module, the mean similarity of the three
# nearest, the cosine with the centroid, and the popularity. In training, a query is
# excluded from its own neighbors and centroid.

totals = np.array(
    [weights[train[labels[train] == c]].sum(0) for c in range(len(questions))]
)


def four_numbers(rows):
    near, products, members_of = (
        weights[rows] @ weights[train].T,
        weights[rows] @ totals.T,
        labels[train],
    )
    near[rows[:, None] == train] = -1
    features = np.empty((len(rows), len(questions), 4))
    for c in range(len(questions)):
        best = -np.sort(-near[:, members_of == c], axis=1)[:, :3]
        features[:, c, 0], features[:, c, 1] = best[:, 0], best.mean(1)
        # a row has length 1, which is subtracted from its own total
        own = (labels[rows] == c) & np.isin(rows, train)
        length = np.sqrt(
            np.maximum(totals[c] @ totals[c] - 2 * own * products[:, c] + own, 1e-9)
        )
        features[:, c, 2] = (products[:, c] - own) / length
        features[:, c, 3] = popularity[0, c]
    return features.reshape(-1, 4)


def groups(rows):
    return np.full(len(rows), len(questions))


trees = LambdaMART(n_estimators=60, max_leaves=8).fit(
    four_numbers(train), relevant[train].ravel(), groups(train)
)
scores["LambdaMART"] = trees.predict(four_numbers(test)).reshape(len(test), -1)

# %%
# The neural ranker needs no such features. It learns a vector for each hashed word and
# each hashed pair of words, so words only have to be numbered and hashed.

numbers = {
    word: i
    for i, word in enumerate(sorted({word for words, _ in texts for word in words}))
}


def hashed(rows):
    words = [texts[row][0] for row in rows]
    return hash_features(
        np.array([numbers[word] for text in words for word in text]),
        np.cumsum([0, *(len(text) for text in words)]),
    )


neural = {}
for name, options in (("neural ranker", {}), ("neural, dropout 0.5", {"dropout": 0.5})):
    neural[name] = ClarificationRanker(rng=0, **options).fit(
        *hashed(train), relevant[train]
    )
    scores[name] = neural[name].decision_function(*hashed(test))

metrics = ("hit@1", "hit@3", "mrr")
results = {
    name: {
        metric: values.mean()
        for metric, values in ranking_metrics(
            s, relevant[test], metrics=metrics
        ).items()
    }
    for name, s in scores.items()
}
for name, m in results.items():
    print(
        f"{name:20} first {m['hit@1']:.3f}, among three {m['hit@3']:.3f}, "
        f"mean reciprocal rank {m['mrr']:.3f}"
    )
shown = int(np.argmax([len(texts[r][0]) == 6 for r in test]))
ids, _ = neural["neural, dropout 0.5"].recommend(*hashed(test[shown : shown + 1]), n=3)
print(
    "query:",
    " ".join(texts[test[shown]][0]),
    "| ask about:",
    [questions[i] for i in ids[0]],
    "| right:",
    questions[labels[test[shown]]],
)

# %%
# The right question is among the first three for about five of six queries, twice as
# often as by popularity; the paper found a valid question for about 80 % of its
# queries. With only about fifty training queries per question, the centroids are as
# good as the network. LambdaMART is best, since it uses the centroids as one of its
# four features.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for i, (metric, label, color) in enumerate(
    (
        ("hit@1", "right question is first", "#0b6e99"),
        ("hit@3", "right question is among three", "#c4581a"),
    )
):
    values = [m[metric] for m in results.values()]
    bars = left.barh(
        np.arange(len(results)) + 0.4 * i - 0.2, values, 0.38, color=color, label=label
    )
    left.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
left.set_yticks(range(len(results)), list(results))
left.invert_yaxis()
left.set_xlim(0, 1.05)
left.set_xlabel("share of held-out queries")
left.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
for (name, ranker), color in zip(neural.items(), ("#5a7d2a", "#7b4fa3"), strict=True):
    right.semilogy(
        np.arange(1, len(ranker.loss_curve_) + 1),
        ranker.loss_curve_,
        color=color,
        label=name,
    )
right.set_xlabel("passes over the queries")
right.set_ylabel("training loss")
right.legend(fontsize=8)
