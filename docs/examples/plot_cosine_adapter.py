"""
Where a list of search results should end
=========================================

A search by nearest neighbors always returns as many results as it is asked for, whether they fit
or not. The obvious remedy is to drop results below some cosine. But how large the cosine of a good
result is differs from query to query. Here images of handwritten digits search for images of the
same digit. A small network reads the query and gives a map from cosine to relevance, which never
changes the order of the results; one threshold on relevance then cuts all lists.
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
    f"{len(test)} queries that were not trained on. Quality of the order (nDCG): {before:.6f} by "
    f"cosine, {after:.6f} by adapted scores"
)

# %%
# The cosine from which on the adapter takes an image for relevant, for each query. A one looks like
# other ones, and needs a large cosine to be told from other digits; other digits vary more.

cutoff = adapter.cosine_cutoff(vectors[test], 0.5)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
shown = [cutoff[(digits.target[test] == digit) & np.isfinite(cutoff)] for digit in range(10)]
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
# Recall is the share of the relevant images that are kept, precision the share of the kept images
# that are relevant. At the same recall, the lists cut by adapted scores are more precise. A map
# from cosine to relevance that is the same for all queries cannot do that: it only changes what a
# score means, not which results of different queries come first. Its curve covers that of the
# cosine.

figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
for name, values, color, style in (
    ("cosine", cosines[test], "#c4581a", "-"),
    ("one map for all queries (isotonic)", same, "#5a7d2a", ":"),
    ("a map for each query", scores, "#0b6e99", "-"),
):
    curve = filtering_curve(values, relevant[test])
    axes.plot(curve.recall, curve.precision, style, color=color, linewidth=2, label=name)
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
        f"at recall {recall}: precision {raw:.3f} by one cosine for all queries, {adapted:.3f} by "
        f"the adapter"
    )
