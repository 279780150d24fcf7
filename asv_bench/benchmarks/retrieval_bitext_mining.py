"""Mining of pairs beside two searches of faiss with margins in NumPy, the greedy choice, pivots
beside pandas; float32."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import mine_pairs, pivot_pairs
from numcore.retrieval._bitext_mining.routines import one_to_one_of, ranked

SECONDS = 1


def clouds(n, d):
    """The first half of the rows belong together."""
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((2, n, d)).astype(np.float32)
    target[: n // 2] = source[: n // 2] + 0.7 * target[: n // 2]
    return source, target


def faiss_pairs(faiss, source, target, k):
    """Exact search in both directions, ratios, the best of each row, then the pairs by descending
    score."""
    source, target = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (source, target))
    near = []
    for queries, database in ((source, target), (target, source)):
        index = faiss.IndexFlatIP(database.shape[1])
        index.add(database)
        near.append(index.search(queries, k))
    (forward, forward_ids), (backward, backward_ids) = near
    a, b = forward.mean(axis=1), backward.mean(axis=1)
    ahead, back = (
        forward / ((a[:, None] + b[forward_ids]) / 2),
        backward / ((b[:, None] + a[backward_ids]) / 2),
    )
    y = np.take_along_axis(forward_ids, ahead.argmax(axis=1)[:, None], 1)[:, 0]
    x = np.take_along_axis(backward_ids, back.argmax(axis=1)[:, None], 1)[:, 0]
    x, y = np.concatenate([np.arange(len(y)), x]), np.concatenate([y, np.arange(len(x))])
    used_x, used_y, taken = set(), set(), []
    for e in np.argsort(-np.concatenate([ahead.max(axis=1), back.max(axis=1)])).tolist():
        if x[e] not in used_x and y[e] not in used_y:
            used_x.add(x[e])
            used_y.add(y[e])
            taken.append((x[e], y[e]))
    return taken


class Mining:
    """A ratio above 1: the baseline takes longer. It makes two products, ours makes one."""

    param_names, params = ("n, d",), ([(20_000, 384), (50_000, 128)],)
    timeout = 900

    def setup(self, size):
        self.source, self.target = clouds(*size)
        mine_pairs(self.source[:300], self.target)

    def time_mine(self, size):
        mine_pairs(self.source, self.target)

    def peakmem_mine(self, size):
        mine_pairs(self.source, self.target)

    def track_ratio_to_faiss(self, size):
        try:
            import faiss
        except ImportError as error:
            raise NotImplementedError("faiss is not installed") from error
        faiss.omp_set_num_threads(numcore.get_num_threads())
        ours, theirs = median_seconds(
            [
                lambda: mine_pairs(self.source, self.target),
                lambda: faiss_pairs(faiss, self.source, self.target, 4),
            ],
            SECONDS,
        )
        return theirs / ours


class Growth:
    """Time at twice the rows by that at half of them, over 4: 1 where the cost is as counted."""

    def track_scaling_with_n(self):
        small, large = clouds(10_000, 128), clouds(20_000, 128)
        first, last = median_seconds(
            [lambda: mine_pairs(*small), lambda: mine_pairs(*large)], SECONDS
        )
        return last / first / 4


class Greedy:
    """Half a million candidates of each side."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.n = 500_000
        self.x, self.y = rng.integers(0, self.n, (2, 2 * self.n))
        self.scores = rng.random(2 * self.n).astype(np.float32)
        self.time_greedy_choice()

    def time_greedy_choice(self):
        x, y, *_ = ranked(np, self.x, self.y, self.scores, self.scores, self.n)
        one_to_one_of(np, x, y, self.n, self.n)


class Pivots:
    """A million pairs of each of two languages with a third."""

    param_names, params = ("one_to_one",), ([True, False],)
    timeout = 300

    def setup(self, one_to_one):
        rng = np.random.default_rng(0)
        self.sides = rng.integers(0, 1_000_000, (2, 1_000_000, 2))
        self.scores = rng.random((2, 1_000_000))
        self.time_pivots(one_to_one)

    def time_pivots(self, one_to_one):
        return pivot_pairs(
            *self.sides,
            one_to_one=one_to_one,
            first_score=self.scores[0],
            second_score=self.scores[1],
        )

    def track_ratio_to_pandas(self, one_to_one):
        try:
            import pandas
        except ImportError as error:
            raise NotImplementedError("pandas is not installed") from error

        def peer():
            sides = []
            for name, pairs, scores in zip(("x", "y"), self.sides, self.scores, strict=True):
                side = pandas.DataFrame(
                    {name: pairs[:, 0], "pivot": pairs[:, 1], f"{name}_score": scores}
                )
                if one_to_one:
                    side = side.sort_values(f"{name}_score", ascending=False).drop_duplicates(
                        "pivot"
                    )
                sides.append(side)
            joined = sides[0].merge(sides[1], on="pivot")
            joined["score"] = np.minimum(joined["x_score"], joined["y_score"])
            return joined.sort_values("score", ascending=False).drop_duplicates(["x", "y"])

        ours, theirs = median_seconds([lambda: self.time_pivots(one_to_one), peer], SECONDS)
        return theirs / ours
