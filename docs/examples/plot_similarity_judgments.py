"""
Models of similarity judgments: compare image features with human ratings
=========================================================================

People rate how similar two stimuli are, and a computer describes the stimuli by
features. How well do the similarities of the features agree with the ratings, and what
is the best possible agreement, since people do not even agree with each other? Here the
stimuli are 150 images of handwritten digits and the raters are simulated: ten raters
judge every pair by whether both images show the same digit and by how alike they look,
with random errors. :func:`~numcore.retrieval.similarity_matrix` and
:func:`~numcore.retrieval.representational_similarity` compare two kinds of features.
They capture different aspects, and their combination agrees best.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from numcore.retrieval import (
    SimilarityRegression,
    rating_reliability,
    representational_similarity,
    similarity_matrix,
    stack_features,
    tag_similarity,
)

digits = load_digits()
images, labels = digits.data[:150], digits.target[:150]
rng = np.random.default_rng(0)
i, j = np.triu_indices(len(images), 1)
truth = 2.5 * (labels[i] == labels[j]) + 3.5 * similarity_matrix(
    images, metric="correlation", condensed=True
)
ratings = truth[:, None] + 1.5 * rng.standard_normal((len(truth), 10))
ratings[rng.random(ratings.shape) < 0.1] = np.nan  # not everyone rates every pair
mean = np.nanmean(ratings, axis=1)

# %%
# The ratings of each pair are split into two random halves a thousand times, and the
# means of the halves are correlated. The reliability of the mean of all ratings follows
# from this correlation; its square root is the highest correlation that a model can be
# expected to reach.

reliability = rating_reliability(ratings, rng=0)
print(
    f"correlation of two halves {reliability.split_half:.3f}, reliability of all "
    f"{reliability.spearman_brown:.3f}, "
    f"ceiling {reliability.noise_ceiling:.3f}"
)

# %%
# One set of features is the brightness of every pixel. Another is a caption: the word
# for the digit shown and the words for two similar digits, with weights. The two are
# also stacked, either unscaled or with equal influence.

LOOKS_LIKE = {
    0: [6, 8],
    1: [7, 4],
    2: [7, 3],
    3: [8, 5],
    4: [9, 1],
    5: [3, 6],
    6: [8, 0],
    7: [1, 9],
    8: [3, 9],
    9: [4, 8],
}
caption = np.eye(10)[labels] + 0.3 * np.array(
    [np.eye(10)[LOOKS_LIKE[k]].sum(axis=0) for k in labels]
)
features = {
    "image": images,
    "caption": caption,
    "both, unscaled": stack_features([images, caption], scaling="none"),
    "both, scaled": stack_features([images, caption]),
}
predictions = {name: similarity_matrix(f) for name, f in features.items()}

# %%
# Captions can also be compared directly, by the number of words that they share.

rows, words = np.nonzero(caption)
predictions["common words"] = tag_similarity(
    words, np.searchsorted(rows, np.arange(len(images) + 1)), method="jaccard"
)

# %%
# Every correlation comes with a confidence interval, from a bootstrap over images, and
# a p-value, from permutations of the images of one matrix. Both resample images instead
# of pairs, because pairs that share an image are not independent.

results = {
    name: representational_similarity(
        s, mean, n_permutations=500, n_bootstrap=500, rng=0
    )
    for name, s in predictions.items()
}

# %%
# Finally, each feature gets its own weight. The weights are learned on some of the
# images and evaluated on pairs of others. There are 11175 pairs and 74 features, but a
# table of that size is never formed.

model = SimilarityRegression(rng=0).fit(features["both, scaled"], mean)
for name, r in results.items():
    print(
        f"{name:18}: correlation {r.correlation:.3f}, from {r.interval[0]:.3f} to "
        f"{r.interval[1]:.3f}, p = {r.pvalue:.3f}"
    )
print(
    f"both, weighted    : correlation {model.cv_correlation_:.3f} for held-out images, "
    f"penalty {model.alpha_:g}"
)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
)
names = ["common words", "image", "caption", "both, unscaled", "both, scaled"]
for place, name in enumerate(names):
    r = results[name]
    color = "#c4581a" if "both" in name else "#0b6e99"
    left.bar(place, r.correlation, color=color)
    left.plot([place, place], r.interval, color="black")
left.bar(len(names), model.cv_correlation_, color="#7b4fa3")
left.set_xticks(
    range(6),
    [
        "common\nwords",
        "image",
        "caption",
        "both,\nunscaled",
        "both,\nscaled",
        "both,\nweighted",
    ],
)
left.axhline(reliability.noise_ceiling, color="#5a7d2a", linestyle="--")
left.text(-0.4, reliability.noise_ceiling + 0.01, "noise ceiling", color="#5a7d2a")
left.set_ylim(0, 1.05)
left.set_ylabel("correlation with the mean ratings")

order = np.argsort(labels, kind="stable")
ratings_matrix = np.zeros((150, 150))
ratings_matrix[i, j] = ratings_matrix[j, i] = mean
right.imshow(
    np.where(
        np.tri(150, k=-1, dtype=bool),
        ratings_matrix[np.ix_(order, order)] / 6,
        predictions["both, scaled"][np.ix_(order, order)],
    ),
    cmap="viridis",
    vmin=0,
    vmax=1,
)
right.set_title("below: ratings; above: both, scaled")
right.set_xlabel("images, ordered by digit")
