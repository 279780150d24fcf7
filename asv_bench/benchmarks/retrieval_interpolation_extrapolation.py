"""Ranking metrics of 7000 queries beside a loop over dicts and scikit-learn, splits of 200 000
queries beside scikit-learn."""

import math

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import nearest_training_similarity, ranking_metrics, resample_train_test

SECONDS = 4
QUERIES, LENGTH, JUDGED = 7000, 1000, 50
METRICS = ("mrr@10", "ndcg@10", "recall@100")


def dict_loop(lists, judged):
    """The three metrics as scripts compute them: a dict of judgments for each query."""
    results = []
    for documents, relevance in zip(lists, judged, strict=True):
        found = [relevance.get(document, 0) for document in documents]
        reciprocal = next((1 / (j + 1) for j, r in enumerate(found[:10]) if r > 0), 0.0)
        best = sum(
            r / math.log2(j + 2)
            for j, r in enumerate(sorted(relevance.values(), reverse=True)[:10])
        )
        gained = sum(r / math.log2(j + 2) for j, r in enumerate(found[:10]))
        results.append(
            (
                reciprocal,
                gained / best,
                sum(r > 0 for r in found[:100]) / sum(r > 0 for r in relevance.values()),
            )
        )
    return results


class Metrics:
    """Lists of 1000 documents out of 100 000, of which 50 are judged for each query."""

    timeout = 300

    def setup(self):
        rng = np.random.default_rng(0)
        self.lists = (
            np.argsort(rng.random((QUERIES, 2 * LENGTH), dtype=np.float32), axis=1)[:, :LENGTH] * 50
        )
        documents = (
            np.argsort(rng.random((QUERIES, 2 * LENGTH), dtype=np.float32), axis=1)[:, :JUDGED] * 50
        )
        relevance = rng.integers(1, 4, (QUERIES, JUDGED))
        self.qrels = np.stack(
            [np.repeat(np.arange(QUERIES), JUDGED), documents.ravel(), relevance.ravel()], axis=1
        )
        self.scores = rng.standard_normal((QUERIES, LENGTH)).astype(np.float32)
        self.relevance = np.zeros((QUERIES, LENGTH), np.float32)
        np.put_along_axis(self.relevance, documents // 100, relevance.astype(np.float32), axis=1)
        self.time_lists()
        self.time_scores()

    def time_lists(self):
        ranking_metrics(self.lists, self.qrels, metrics=METRICS)

    def peakmem_lists(self):
        self.time_lists()

    def time_scores(self):
        ranking_metrics(self.scores, self.relevance, metrics=("ndcg@10",))

    def track_ratio_to_a_dict_loop(self):
        lists, judged = self.lists.tolist(), [{} for _ in range(QUERIES)]
        for query, document, relevance in self.qrels.tolist():
            judged[query][document] = relevance
        ours, theirs = median_seconds([self.time_lists, lambda: dict_loop(lists, judged)], SECONDS)
        return theirs / ours

    def track_ratio_to_ndcg_score(self):
        from sklearn.metrics import ndcg_score

        ours, theirs = median_seconds(
            [self.time_scores, lambda: ndcg_score(self.relevance, self.scores, k=10)], SECONDS
        )
        return theirs / ours


class Splits:
    """float32, 200 000 training and 5000 test queries of 128 numbers, in 5 clusters of unequal
    size."""

    timeout = 600

    def setup(self):
        rng = np.random.default_rng(0)
        centers = rng.standard_normal((5, 128))
        self.train, self.test = (
            (
                centers[rng.choice(5, n, p=(0.4, 0.2, 0.2, 0.1, 0.1))]
                + rng.standard_normal((n, 128))
            ).astype(np.float32)
            for n in (200_000, 5000)
        )

    def time_nearest(self):
        nearest_training_similarity(self.train, self.test[:1000])

    def peakmem_nearest(self):
        self.time_nearest()

    def track_ratio_of_nearest_to_scikit_learn(self):
        from sklearn.neighbors import NearestNeighbors
        from threadpoolctl import threadpool_limits

        def theirs():
            with threadpool_limits(numcore.get_num_threads()):
                NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(
                    self.train
                ).kneighbors(self.test[:1000])

        ours, theirs = median_seconds([self.time_nearest, theirs], SECONDS)
        return theirs / ours

    def time_buckets(self):
        resample_train_test(self.train, self.test, rng=0)

    def track_ratio_of_buckets_to_scikit_learn(self):
        """Balanced buckets beside plain ones of scikit-learn, one start each."""
        from sklearn.cluster import KMeans

        x = np.concatenate([self.train, self.test])
        ours, theirs = median_seconds(
            [self.time_buckets, lambda: KMeans(5, n_init=1, random_state=0).fit(x)], SECONDS
        )
        return theirs / ours
