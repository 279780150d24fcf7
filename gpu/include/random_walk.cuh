// The formula of PageRank: one node's step, where walks continue from dangling nodes, and when to
// stop; see numcore/retrieval/_random_walk.py.
#pragma once

// inflow: over the edges of the node; stuck: the scores of nodes without outgoing edges, of which
// the node gets the share `target`; seed: its share of the restarts.
static __device__ __forceinline__ double next_score(double damping, double inflow, double stuck,
                                                    double target, double seed) {
  return damping * (inflow + stuck * target) + (1 - damping) * seed;
}

// Whether a walk ends with a step, counted from 1, which changed its scores by `change`.
static __device__ __forceinline__ bool is_last(long long step, double change, double tol,
                                               long long max_iter) {
  return change <= tol || step == max_iter;
}
