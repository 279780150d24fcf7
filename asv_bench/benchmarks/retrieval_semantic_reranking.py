"""SemRe-Rank on 2000 documents of about 60 words out of 8000, which have about 30 related words
each, beside networkx for each document and one product of a matrix and a vector for each word."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import nested_terms, semantic_graph, semantic_importance, term_statistics

SECONDS, DOCUMENTS, WORDS, DIMENSION, SUBJECTS = 5, 2000, 8000, 100, 260
PEER_DOCUMENTS = 40  # networkx takes as many; its time is linear in them


def embeddings(rng):
    """Words in clusters of about 30, with cosines of about 0.6 in a cluster."""
    centers = rng.standard_normal((SUBJECTS, DIMENSION))
    return (
        centers[rng.integers(0, SUBJECTS, WORDS)] + 0.8 * rng.standard_normal((WORDS, DIMENSION))
    ).astype(np.float32)


def documents(rng, count):
    return [rng.integers(0, WORDS, rng.integers(40, 81)) for _ in range(count)]


def networkx_importance(graph, texts, seeds):
    """As the authors' code goes: a graph and a PageRank for each document, at the same accuracy."""
    import networkx

    rows = [
        graph.indices[a:b].tolist()
        for a, b in zip(graph.indptr[:-1], graph.indptr[1:], strict=True)
    ]
    total = dict.fromkeys(range(len(rows)), 0.0)
    for text in texts:
        g = networkx.Graph()
        for w in set(text.tolist()):
            g.add_edges_from((w, v) for v in rows[w])
        known = {s: 1 for s in seeds if s in g}
        scores = networkx.pagerank(
            g, alpha=0.85, personalization=known or None, tol=1e-9 / len(g), max_iter=1000
        )
        most = max(scores.values())
        for w, score in scores.items():
            total[w] += score / most
    most = max(total.values())
    return np.array([t / most for t in total.values()])


class Importance:
    timeout = 600

    def setup(self):
        rng = np.random.default_rng(0)
        self.graph = semantic_graph(embeddings(rng), None)
        self.texts, self.seeds = documents(rng, DOCUMENTS), rng.integers(0, WORDS, 150)
        semantic_importance(self.graph, self.texts[:1], self.seeds)

    def time_importance(self):
        semantic_importance(self.graph, self.texts, self.seeds)

    def peakmem_importance(self):
        semantic_importance(self.graph, self.texts, self.seeds)

    def track_neighbors(self):
        return len(self.graph.indices) / WORDS

    def track_ratio_to_networkx(self):
        """Seconds for each document."""
        try:
            import networkx  # noqa: F401
        except ImportError as error:
            raise NotImplementedError("networkx is not installed") from error
        ours, theirs = median_seconds(
            [
                lambda: semantic_importance(self.graph, self.texts, self.seeds),
                lambda: networkx_importance(
                    self.graph, self.texts[:PEER_DOCUMENTS], self.seeds.tolist()
                ),
            ],
            SECONDS,
        )
        return theirs / PEER_DOCUMENTS / (ours / DOCUMENTS)

    def track_ratio_to_networkx_of_one_thread(self):
        before = numcore.get_num_threads()
        try:
            numcore.set_num_threads(1)
            return self.track_ratio_to_networkx()
        finally:
            numcore.set_num_threads(before)


class RelatedWords:
    timeout = 600

    def setup(self):
        self.embeddings = embeddings(np.random.default_rng(0))

    def ours(self):
        return semantic_graph(self.embeddings, None)

    def word_by_word(self):
        """The loop over most_similar: a product for each word, then its best."""
        unit = self.embeddings / np.linalg.norm(self.embeddings, axis=1, keepdims=True)
        most, result = round(0.15 * WORDS), []
        for i, row in enumerate(unit):
            cosines = unit @ row
            best = np.argpartition(-cosines, most + 1)[: most + 1]
            best = best[np.argsort(-cosines[best])]
            result.append([(j, cosines[j]) for j in best.tolist() if j != i and cosines[j] >= 0.5])
        return result

    def time_graph(self):
        self.ours()

    def peakmem_graph(self):
        self.ours()

    def track_ratio_to_word_by_word(self):
        ours, theirs = median_seconds([self.ours, self.word_by_word], SECONDS)
        return theirs / ours


class Counts:
    def setup(self):
        rng = np.random.default_rng(0)
        self.terms = [rng.integers(0, 3000, rng.integers(1, 5)) for _ in range(20_000)]
        self.texts = documents(rng, DOCUMENTS)

    def time_nested_terms(self):
        nested_terms(self.terms)

    def time_term_statistics(self):
        term_statistics(self.texts)
