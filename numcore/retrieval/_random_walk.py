"""The formula of PageRank: one node's step, where walks continue from dangling nodes, and when to
stop. The CUDA bodies have the same in gpu/include/random_walk.cuh."""


def next_score(damping, inflow, stuck, target, seed):
    """The next score of a node: what flows in over its edges, its share `target` of the scores
    that are `stuck` in nodes without outgoing edges, and its share `seed` of the restarts."""
    return damping * (inflow + stuck * target) + (1 - damping) * seed


def is_last(step, change, tol, max_iter):
    """Whether a walk ends with a step, counted from 1, which changed its scores by `change`, the
    sum of absolute values."""
    return (change <= tol) | (step == max_iter)
