"""
Cosine adapter: cut each list of search results at the right place
==================================================================

A nearest-neighbor search always returns as many results as requested, whether they are
relevant or not. An obvious remedy is to drop results below some cosine. But the cosine
of a relevant result differs from query to query.
:class:`~numcore.retrieval.CosineAdapter` is a small network that reads the query and
predicts a map from cosine to relevance. The map never changes the order of the results,
and a single threshold on relevance then cuts all lists. Here images of handwritten
digits search for images of the same digit.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.retrieval import (
    CosineAdapter,
    choose_threshold,
    filtering_curve,
    isotonic_adapter,
    ranking_metrics,
)

digits = load_digits()
vectors = digits.data / np.linalg.norm(digits.data, axis=1, keepdims=True)
documents, train, test = (np.arange(first, len(vectors), 3) for first in range(3))
cosines = np.minimum(vectors @ vectors[documents].T, 1)
relevant = digits.target[:, None] == digits.target[documents]

adapter = CosineAdapter(n_epochs=40, learning_rate=1e-2, rng=0).fit(
    vectors[train], cosines[train], relevant[train]
)
scores = adapter.transform(vectors[test], cosines[test])
same = isotonic_adapter(cosines[train], relevant[train]).transform(cosines[test])
before, after = (
    ranking_metrics(s, relevant[test], metrics=("ndcg",))["ndcg"].mean()
    for s in (cosines[test], scores)
)
print(
    f"{len(test)} test queries. Quality of the order (nDCG): {before:.6f} by cosine, "
    f"{after:.6f} by adapted scores"
)

# %%
# The boxes show, for each query, the cosine at which the adapter considers an image
# relevant. Ones look alike and need a large cosine; other digits vary more.

cutoff = adapter.cosine_cutoff(vectors[test], 0.5)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
shown = [
    cutoff[(digits.target[test] == digit) & np.isfinite(cutoff)] for digit in range(10)
]
axes.boxplot(
    shown,
    positions=range(10),
    widths=0.6,
    patch_artist=True,
    boxprops={"facecolor": "#0b6e99", "alpha": 0.5},
    medianprops={"color": "#c4581a", "linewidth": 2},
    flierprops={"markersize": 3},
)
axes.set_xlabel("digit that the query shows")
axes.set_ylabel("cosine where relevance is 0.5")

# %%
# Recall is the share of relevant images that are kept, precision the share of kept
# images that are relevant. At the same recall, lists cut by adapted scores are more
# precise. A map that is the same for all queries cannot achieve this: it changes the
# meaning of a score, but not the order of results of different queries. Its curve
# therefore coincides with that of the cosine.

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for name, values, color, style in (
    ("cosine", cosines[test], "#c4581a", "-"),
    ("one map for all queries (isotonic)", same, "#5a7d2a", ":"),
    ("a map for each query", scores, "#0b6e99", "-"),
):
    curve = filtering_curve(values, relevant[test])
    axes.plot(
        curve.recall, curve.precision, style, color=color, linewidth=2, label=name
    )
axes.set_xlim(0.3, 1)
axes.set_xlabel("recall")
axes.set_ylabel("precision")
axes.legend()

for recall in (0.8, 0.9, 0.95):
    raw, adapted = (
        choose_threshold(s, relevant[test], min_recall=recall).precision
        for s in (cosines[test], scores)
    )
    print(
        f"at recall {recall}: precision {raw:.3f} by one cosine for all queries, "
        f"{adapted:.3f} by the adapter"
    )
