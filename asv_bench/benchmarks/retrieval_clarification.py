"""Learning to rank beside NumPy, scikit-learn, LightGBM and torch; one thread each, in turn in one
process."""

import time

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.examples.retrieval.ranking_losses import broadcast_lambdarank
from numcore.retrieval import (
    ClarificationRanker,
    LambdaMART,
    hash_features,
    ranking_loss,
    ranking_metrics,
)

SECONDS = 2


class _OneThread:
    unit = "× (the other's time / numcore's)"
    timeout = 600

    def setup(self):
        numcore.set_num_threads(1)
        self.rng = np.random.default_rng(0)
        self.make()

    def teardown(self):
        numcore.set_num_threads(None)


class Losses(_OneThread):
    def make(self):
        self.scores, self.relevance = (
            self.rng.standard_normal((1000, 200)),
            self.rng.integers(0, 5, (1000, 200)),
        )
        self.many = (
            self.rng.standard_normal((2000, 1000)).astype(np.float32),
            self.rng.integers(0, 5, (2000, 1000)).astype(np.float32),
        )
        self.time_lambdarank()

    def time_lambdarank(self):
        ranking_loss(self.scores, self.relevance, loss="lambdarank")

    def peakmem_lambdarank_of_2000_lists_of_1000(self):
        ranking_loss(*self.many, loss="lambdarank")

    def track_ratio_to_numpy_broadcasting(self):
        """NumPy takes 50 of the lists at a time, as its arrays of all pairs would not fit
        otherwise."""

        def theirs():
            for first in range(0, 1000, 50):
                broadcast_lambdarank(
                    self.scores[first : first + 50], self.relevance[first : first + 50]
                )

        ours, numpy = median_seconds([self.time_lambdarank, theirs], SECONDS)
        return numpy / ours


class Metrics(_OneThread):
    def make(self):
        self.scores, self.relevance = (
            self.rng.standard_normal((200, 200)),
            self.rng.integers(0, 5, (200, 200)),
        )
        self.time_metrics()

    def time_metrics(self):
        ranking_metrics(
            self.scores,
            self.relevance,
            metrics=("ndcg", "precision", "hit", "mrr", "map"),
            cutoffs=(1, 3, 5),
            gain="exponential",
        )

    def track_ratio_to_scikit_learn(self):
        try:
            from sklearn.metrics import ndcg_score
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error
        ours, theirs = median_seconds(
            [
                self.time_metrics,
                lambda: [
                    ndcg_score(y[None], s[None], k=k)
                    for y, s in zip(self.relevance, self.scores, strict=True)
                    for k in (1, 3, 5)
                ],
            ],
            SECONDS,
        )
        return theirs / ours


class Trees(_OneThread):
    """20 000 rows of 50 features in 400 lists, 100 trees of 31 leaves."""

    def make(self):
        x = self.rng.standard_normal((40000, 50))
        hidden = (
            x[:, 0]
            + 0.5 * x[:, 1] * x[:, 2]
            + np.sin(2 * x[:, 3])
            + 0.7 * self.rng.standard_normal(len(x))
        )
        y, self.groups = (
            np.digitize(hidden, np.quantile(hidden, [0.5, 0.75, 0.9, 0.97])),
            np.full(400, 50),
        )
        self.train, self.held_out = (x[:20000], y[:20000]), (x[20000:], y[20000:])
        LambdaMART(n_estimators=1).fit(*self.train, self.groups)

    def ours(self):
        return LambdaMART().fit(*self.train, self.groups)

    def theirs(self):
        try:
            from lightgbm import LGBMRanker
        except ImportError as error:
            raise NotImplementedError("lightgbm is not installed") from error
        return LGBMRanker(n_jobs=1, verbose=-1).fit(*self.train, group=self.groups)

    def time_fit(self):
        self.ours()

    def track_ratio_to_lightgbm(self):
        ours, theirs = median_seconds([self.ours, self.theirs], SECONDS)
        return theirs / ours

    def track_ndcg_less_lightgbms(self):
        x, y = self.held_out
        first, second = (
            np.nanmean(
                ranking_metrics(
                    m.predict(x), y, self.groups, metrics=("ndcg@10",), gain="exponential"
                )["ndcg@10"]
            )
            for m in (self.ours(), self.theirs())
        )
        return first - second

    track_ndcg_less_lightgbms.unit = "NDCG@10 on held-out lists"


class Ranker(_OneThread):
    """2500 queries of about ten words, 33 questions: the time of an epoch."""

    def make(self):
        lengths = self.rng.integers(5, 15, 2500)
        words = (self.rng.pareto(1, int(lengths.sum())) * 20).astype(int) % 4000
        self.indices, self.offsets = hash_features(words, np.cumsum([0, *lengths]))
        self.labels = self.rng.integers(0, 33, 2500)
        self.relevance = np.eye(33, dtype=np.float32)[self.labels]

    def seconds_of_an_epoch(self):
        ends = []
        ClarificationRanker(n_epochs=6, rng=0).fit(
            self.indices,
            self.offsets,
            self.relevance,
            callback=lambda epoch, loss: ends.append(time.perf_counter()),
        )
        return float(np.median(np.diff(ends)))

    def track_ratio_to_torch(self):
        """An EmbeddingBag with sparse gradients and lazy Adam, and Adam for the rest."""
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            ours, theirs = zip(
                *(
                    (self.seconds_of_an_epoch(), self.seconds_of_torchs_epoch(torch))
                    for _ in range(3)
                ),
                strict=True,
            )
        finally:
            torch.set_num_threads(before)
        return float(np.median(theirs) / np.median(ours))

    def seconds_of_torchs_epoch(self, torch):
        bag, questions = (
            torch.nn.EmbeddingBag(2**14, 64, sparse=True),
            torch.nn.Parameter(0.1 * torch.randn(33, 64)),
        )
        inner, outer = torch.nn.Linear(64, 64), torch.nn.Linear(64, 64)
        rest = torch.optim.Adam([*inner.parameters(), *outer.parameters(), questions], lr=5e-3)
        rows, labels = (
            torch.optim.SparseAdam(bag.parameters(), lr=5e-3),
            torch.from_numpy(self.labels),
        )
        times = []
        for _ in range(4):
            start = time.perf_counter()
            order = np.random.default_rng(0).permutation(2500)
            for first in range(0, 2500, 64):
                batch = order[first : first + 64]
                parts = [self.indices[self.offsets[q] : self.offsets[q + 1]] for q in batch]
                offsets = torch.from_numpy(np.cumsum([0] + [len(p) for p in parts[:-1]]))
                mean = bag(torch.from_numpy(np.concatenate(parts)), offsets)
                scores = (mean + outer(torch.relu(inner(mean)))) @ questions.T
                loss = torch.nn.functional.cross_entropy(scores, labels[torch.from_numpy(batch)])
                rest.zero_grad()
                rows.zero_grad()
                loss.backward()
                rest.step()
                rows.step()
            times.append(time.perf_counter() - start)
        return float(np.median(times))
