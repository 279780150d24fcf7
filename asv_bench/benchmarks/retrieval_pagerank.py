"""PageRank from seeds on a Barabási–Albert graph of 20000 nodes with 5 edges each, beside networkx
and a loop over a SciPy matrix."""

import numpy as np

from numcore._measure import median_seconds
from numcore.retrieval import personalized_pagerank

SECONDS, NODES = 3, 20_000


def graph():
    try:
        import networkx
    except ImportError as error:
        raise NotImplementedError("networkx is not installed") from error
    return networkx.barabasi_albert_graph(NODES, 5, seed=0)


def scipy_loop(a, seeds, damping=0.85, tol=1e-9):
    """The same steps by SciPy's products; seeds are (b, n)."""
    from scipy.sparse import csr_array, diags_array

    walk = csr_array((diags_array(1 / a.sum(axis=1)) @ a).T)
    v = (seeds / seeds.sum(axis=1, keepdims=True)).T.copy()
    v = v[:, 0].copy() if v.shape[1] == 1 else v
    x = v
    while True:
        y = damping * (walk @ x) + (1 - damping) * v
        if np.abs(y - x).sum(axis=0).max() <= tol:
            return y
        x = y


class PageRank:
    param_names, params, timeout = ("seed vectors",), ([1, 8],), 300

    def setup(self, b):
        import networkx

        self.graph = graph()
        self.a = networkx.to_scipy_sparse_array(self.graph, dtype=np.float64)
        self.seeds = np.zeros((b, NODES))
        self.seeds[np.arange(b), 100 * np.arange(b)] = 1
        self.ours()

    def ours(self):
        return personalized_pagerank(self.a, self.seeds)

    def time_pagerank(self, b):
        self.ours()

    def peakmem_pagerank(self, b):
        self.ours()

    def track_ratio_to_scipy(self, b):
        ours, theirs = median_seconds([self.ours, lambda: scipy_loop(self.a, self.seeds)], SECONDS)
        return theirs / ours

    def track_ratio_to_networkx(self, b):
        """At the accuracy of networkx, which stops at n times its tolerance."""
        import networkx

        def peer():
            for row in self.seeds:
                networkx.pagerank(
                    self.graph,
                    personalization={int(row.argmax()): 1},
                    tol=1e-9 / NODES,
                    max_iter=400,
                )

        ours, theirs = median_seconds([self.ours, peer], SECONDS)
        return theirs / ours
