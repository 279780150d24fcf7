"""Linking 20000 and 20000 names, beside rapidfuzz on all pairs and TF-IDF with a sparse product;
Markov clustering beside SciPy."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.linalg import CSR
from numcore.retrieval import fuzzy_link, network_clusters

SECONDS, NAMES, NEAR = 1, 20_000, 0.4
SUFFIXES = ("inc", "gmbh", "ltd", "llc", "corp", "holdings", "group", "sa")


def names(seed, count=NAMES):
    """Two or three real words, names of places, and a suffix of companies."""
    try:
        import pycountry
    except ImportError as error:
        raise NotImplementedError("pycountry is not installed") from error
    words = sorted(
        {
            word.lower()
            for s in pycountry.subdivisions
            for word in s.name.split()
            if word.isalpha() and len(word) > 3
        }
    )
    rng = np.random.default_rng(0)
    full = [
        " ".join(
            [
                *(words[i] for i in rng.integers(0, len(words), 2)),
                SUFFIXES[rng.integers(len(SUFFIXES))],
            ]
        )
        for _ in range(count)
    ]
    rng = np.random.default_rng(seed)
    return [_with_a_typo(name, rng) for name in full] if seed else full


def _with_a_typo(name, rng):
    at = int(rng.integers(1, len(name)))
    return name[: at - 1] + name[at:]


class Linking:
    param_names, params, timeout = ("names",), ([2000, NAMES],), 600

    def setup(self, count):
        self.left, self.right = names(0, count), names(1, count)
        fuzzy_link(self.left[:100], self.right[:100], max_distance=NEAR)

    def ours(self):
        return fuzzy_link(self.left, self.right, max_distance=NEAR)

    def time_fuzzy_link(self, count):
        self.ours()

    def peakmem_fuzzy_link(self, count):
        self.ours()

    def track_ratio_to_rapidfuzz(self, count):
        """All pairs in strips, so that they need not be held at once; OSA's distance, as rapidfuzz
        has none of q-grams."""
        try:
            from rapidfuzz import distance, process
        except ImportError as error:
            raise NotImplementedError("rapidfuzz is not installed") from error

        def peer():
            for first in range(0, count, 1000):
                scores = process.cdist(
                    self.left[first : first + 1000],
                    self.right,
                    scorer=distance.OSA.normalized_distance,
                    dtype=np.float32,
                    score_cutoff=NEAR,
                    workers=numcore.get_num_threads(),
                )
                np.nonzero(scores <= NEAR)

        ours, theirs = median_seconds([self.ours, peer], SECONDS)
        return theirs / ours

    def track_ratio_to_tfidf(self, count):
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error

        def peer():
            vectors = TfidfVectorizer(analyzer="char", ngram_range=(3, 3))
            left, right = vectors.fit_transform(self.left), vectors.transform(self.right).T.tocsr()
            for first in range(0, count, 1000):
                scores = left[first : first + 1000] @ right
                (scores > NEAR).nonzero()

        ours, theirs = median_seconds([self.ours, peer], SECONDS)
        return theirs / ours

    def track_recall(self, count):
        """The share of all pairs within the distance, of 500 left names, that are found."""
        from numcore.retrieval import string_similarity

        near = np.argwhere(
            string_similarity(self.left[:500], self.right, measure="qgram_jaccard") <= NEAR
        )
        found = fuzzy_link(self.left[:500], self.right, max_distance=NEAR)
        return len(found.left) / len(near)


def communities(n=50_000, degree=8):
    """Edges mostly within groups of 25."""
    rng = np.random.default_rng(0)
    a = np.repeat(np.arange(n), degree // 2)
    far = rng.random(len(a)) < 0.05
    b = np.where(
        far,
        rng.integers(0, n, len(a)),
        np.minimum(a // 25 * 25 + rng.integers(0, 25, len(a)), n - 1),
    )
    return CSR.from_coo(np.concatenate([a, b]), np.concatenate([b, a]), np.ones(2 * len(a)), (n, n))


def scipy_markov(a, inflation=2.0, prune=1e-4, tol=1e-6):
    """The same steps by SciPy's sparse products."""
    from scipy.sparse import csc_array, csgraph, csr_array, diags_array

    m = csr_array((a.data, a.indices, a.indptr), a.shape)
    m.setdiag(0)
    m.eliminate_zeros()
    m = csc_array(m + diags_array(m.max(axis=0).toarray().ravel()))
    m = csc_array(m @ diags_array(1 / m.sum(axis=0)))
    while True:
        m = csc_array(m @ m).power(inflation)
        m = csc_array(m @ diags_array(1 / m.sum(axis=0)))
        largest = m.max(axis=0).toarray().ravel()
        m.data[(m.data < prune) & (m.data < np.repeat(largest, np.diff(m.indptr)))] = 0
        m.eliminate_zeros()
        m = csc_array(m @ diags_array(1 / m.sum(axis=0)))
        if (m.max(axis=0).toarray().ravel() - m.power(2).sum(axis=0)).max() < tol:
            return csgraph.connected_components(m, directed=False)[1]


class Clustering:
    timeout = 600

    def setup(self):
        self.a = communities()

    def ours(self):
        return network_clusters(self.a)

    def time_markov(self):
        self.ours()

    def peakmem_markov(self):
        self.ours()

    def track_ratio_to_scipy(self):
        ours, theirs = median_seconds([self.ours, lambda: scipy_markov(self.a)], SECONDS)
        return theirs / ours
