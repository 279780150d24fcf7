"""
Which description of images is most like people's judgments?
============================================================

People rate how similar two things are; computers describe the things by numbers. How well do
similarities of the descriptions agree with the ratings, and how well could they at best, as people
do not agree among themselves? Here the things are 150 images of handwritten digits, and the raters
are simulated: ten of them judge every pair by whether both show the same digit and by how alike the
images look, with an error of their own each time. Two descriptions see different things, and both
together agree best.
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
# The ratings of each pair are split into two halves at random, a thousand times, and the means of
# the halves are correlated. From that follows how reliable the mean of all ratings is, and its
# square root is the highest correlation that a description can be expected to reach.

reliability = rating_reliability(ratings, rng=0)
print(
    f"correlation of two halves {reliability.split_half:.3f}, reliability of all "
    f"{reliability.spearman_brown:.3f}, "
    f"ceiling {reliability.noise_ceiling:.3f}"
)

# %%
# One description has the brightness of every point of the image. Another is a caption: the word for
# the digit that is shown, and those for two others that look like it, with how strongly each word
# applies. They are also joined, either as they are, or so that both count alike.

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
    "both, as they are": stack_features([images, caption], scaling="none"),
    "both, alike": stack_features([images, caption]),
}
predictions = {name: similarity_matrix(f) for name, f in features.items()}

# %%
# The words can also be compared without numbers: by how many two captions have in common.

rows, words = np.nonzero(caption)
predictions["common words"] = tag_similarity(
    words, np.searchsorted(rows, np.arange(len(images) + 1)), method="jaccard"
)

# %%
# Every correlation comes with an interval, from images drawn again and again with replacement, and
# with the probability to see one as large where the images of one of the two matrices are exchanged
# at random. Pairs that share an image are not independent, so both go by images.

results = {
    name: representational_similarity(s, mean, n_permutations=500, n_bootstrap=500, rng=0)
    for name, s in predictions.items()
}

# %%
# At last, each number of the joint description gets a weight of its own. These are learned from
# some of the images and judged by pairs of others, which the weights have never seen. There are
# 11175 pairs and 74 features, but no table of that size is ever made.

model = SimilarityRegression(rng=0).fit(features["both, alike"], mean)
for name, r in results.items():
    print(
        f"{name:18}: correlation {r.correlation:.3f}, from {r.interval[0]:.3f} to "
        f"{r.interval[1]:.3f}, p = {r.pvalue:.3f}"
    )
print(
    f"both, weighed     : correlation {model.cv_correlation_:.3f} for images left out, penalty "
    f"{model.alpha_:g}"
)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
)
names = ["common words", "image", "caption", "both, as they are", "both, alike"]
for place, name in enumerate(names):
    r = results[name]
    color = "#c4581a" if "both" in name else "#0b6e99"
    left.bar(place, r.correlation, color=color)
    left.plot([place, place], r.interval, color="black")
left.bar(len(names), model.cv_correlation_, color="#7b4fa3")
left.set_xticks(
    range(6),
    ["common\nwords", "image", "caption", "both,\nas they are", "both,\nalike", "both,\nweighed"],
)
left.axhline(reliability.noise_ceiling, color="#5a7d2a", linestyle="--")
left.text(-0.4, reliability.noise_ceiling + 0.01, "highest to be expected", color="#5a7d2a")
left.set_ylim(0, 1.05)
left.set_ylabel("correlation with the mean ratings")

order = np.argsort(labels, kind="stable")
ratings_matrix = np.zeros((150, 150))
ratings_matrix[i, j] = ratings_matrix[j, i] = mean
right.imshow(
    np.where(
        np.tri(150, k=-1, dtype=bool),
        ratings_matrix[np.ix_(order, order)] / 6,
        predictions["both, alike"][np.ix_(order, order)],
    ),
    cmap="viridis",
    vmin=0,
    vmax=1,
)
right.set_title("below: ratings; above: both, alike")
right.set_xlabel("images, ordered by digit")
