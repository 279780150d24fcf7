"""Similarity judgments beside the scripts that researchers write: explicit designs, loops over
permutations and splits. float64."""

import time

import numpy as np

from numcore._measure import median_seconds
from numcore.retrieval import (
    SimilarityRegression,
    rating_reliability,
    representational_similarity,
    similarity_matrix,
    tag_similarity,
)

SECONDS = 2


def problem(n, d, seed=0):
    """Features, and similarities of others that share half of them."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d))
    return features, similarity_matrix(features[:, ::2] + rng.standard_normal((n, (d + 1) // 2)))


class Weights:
    """Nine alphas, six folds, 300 stimuli, 256 features: the explicit design has 92 MB."""

    timeout = 600

    def setup(self):
        self.features, self.target = problem(300, 256)
        self.fit()

    def fit(self):
        SimilarityRegression(rng=0).fit(self.features, self.target)

    def time_fit(self):
        self.fit()

    def time_fit_nonnegative(self):
        SimilarityRegression(nonnegative=True, rng=0).fit(self.features, self.target)

    def track_ratio_to_sklearn_on_the_design(self):
        try:
            from sklearn.linear_model import Ridge
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error
        order = np.random.default_rng(0).permutation(300)

        def explicit():
            i, j = np.triu_indices(300, 1)
            design, target = self.features[i] * self.features[j], self.target[i, j]
            predictions = np.zeros((9, 0))
            for fold in np.array_split(order, 6):
                held = np.isin(np.arange(300), fold)
                train, test = ~held[i] & ~held[j], held[i] & held[j]
                x, y, new = design[train], target[train], design[test]
                predictions = np.hstack(
                    [
                        predictions,
                        [Ridge(alpha).fit(x, y).predict(new) for alpha in 10.0 ** np.arange(-3, 6)],
                    ]
                )

        start = time.perf_counter()
        explicit()
        theirs = time.perf_counter() - start
        (ours,) = median_seconds([self.fit], SECONDS)
        return theirs / ours


class LargeWeights:
    """1000 stimuli, 512 features: the explicit design would have 2 GB."""

    def setup(self):
        self.features, self.target = problem(1000, 512)

    def time_fit(self):
        SimilarityRegression(rng=0).fit(self.features, self.target)

    def peakmem_fit(self):
        SimilarityRegression(rng=0).fit(self.features, self.target)


class Permutations:
    """Mantel's test with 1000 permutations of 500 stimuli."""

    def setup(self):
        features, self.target = problem(500, 64)
        self.predicted = similarity_matrix(features)
        self.test(2)

    def test(self, count):
        representational_similarity(self.predicted, self.target, n_permutations=count, rng=0)

    def time_permutations(self):
        self.test(1000)

    def time_bootstrap(self):
        representational_similarity(self.predicted, self.target, n_bootstrap=1000, rng=0)

    def ratio_to(self, of_permuted):
        """A tenth of the permutations for both."""
        rng = np.random.default_rng(0)

        def loop():
            for _ in range(100):
                p = rng.permutation(500)
                of_permuted(self.target[p][:, p])

        ours, theirs = median_seconds([lambda: self.test(100), loop], SECONDS)
        return theirs / ours

    def track_ratio_to_numpy_loop(self):
        """The pairs of Z[p][:, p] and np.corrcoef."""
        pairs = np.triu_indices(500, 1)
        x = self.predicted[pairs]
        return self.ratio_to(lambda z: np.corrcoef(x, z[pairs]))

    def track_ratio_to_leanest_numpy_loop(self):
        """One inner product of all entries, diagonals included: it takes knowing that means and
        variances do not change."""
        return self.ratio_to(lambda z: np.vdot(self.predicted, z))


class Splits:
    """1000 splits of the ratings of 5000 pairs by ten raters, all known or nine in ten."""

    param_names, params = ("known",), ([1.0, 0.9],)

    def setup(self, known):
        rng = np.random.default_rng(0)
        self.ratings = rng.standard_normal((5000, 1)) + rng.standard_normal((5000, 10))
        self.ratings[rng.random(self.ratings.shape) > known] = np.nan
        self.reliability(2)

    def reliability(self, count):
        rating_reliability(self.ratings, n_splits=count, rng=0)

    def time_reliability(self, known):
        self.reliability(1000)

    def track_ratio_to_numpy_loop(self, known):
        """With missing ratings the loop sorts random keys, NaN last, and takes means of the first
        and the second half of each row."""
        rng, x = np.random.default_rng(0), self.ratings
        count = (~np.isnan(x)).sum(axis=1, keepdims=True)
        place = np.arange(10)
        first, second = place < count // 2, (place >= count // 2) & (place < count // 2 * 2)

        def by_raters():
            order = rng.permutation(10)
            return x[:, order[:5]].mean(1), x[:, order[5:]].mean(1)

        def by_pairs():
            keys = np.where(np.isnan(x), 2, rng.random(x.shape))
            shuffled = np.nan_to_num(np.take_along_axis(x, keys.argsort(axis=1), 1))
            return (shuffled * first).sum(1) / first.sum(1), (shuffled * second).sum(
                1
            ) / second.sum(1)

        def loop():
            for _ in range(100):
                np.corrcoef(*(by_raters() if known == 1 else by_pairs()))

        start = time.perf_counter()
        loop()
        theirs = 10 * (time.perf_counter() - start)
        (ours,) = median_seconds([lambda: self.reliability(1000)], SECONDS)
        return theirs / ours


class Similarities:
    param_names, params = ("metric",), (["cosine", "correlation", "neg_euclidean"],)

    def setup(self, metric):
        self.features, _ = problem(1000, 512)

    def time_similarities(self, metric):
        similarity_matrix(self.features, metric=metric)

    def track_ratio_to_pdist(self, metric):
        try:
            from scipy.spatial.distance import pdist
        except ImportError as error:
            raise NotImplementedError("SciPy is not installed") from error
        name = {"neg_euclidean": "euclidean"}.get(metric, metric)
        ours, theirs = median_seconds(
            [
                lambda: similarity_matrix(self.features, metric=metric, condensed=True),
                lambda: pdist(self.features, name),
            ],
            SECONDS,
        )
        return theirs / ours


class Tags:
    """2000 stimuli with 20 tags each of 5000, rare ones rarer."""

    param_names, params = ("method",), (["jaccard", "rouge1", "bm25"],)

    def setup(self, method):
        rng = np.random.default_rng(0)
        self.offsets, self.ids = (
            np.arange(0, 40_001, 20),
            (5000 * rng.random(40_000) ** 2).astype(np.int64),
        )

    def time_tags(self, method):
        tag_similarity(self.ids, self.offsets, method=method)
