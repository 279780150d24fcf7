"""Weights of coalitions of features in KernelSHAP, and how samples are shared out by them."""

from typing import Annotated

import numpy as np

from ...arguments import Array, Namespace, interval
from ...dispatch import routine


@routine
def shapley_kernel_weights(
    n_features: Annotated[int, interval(f"[1, {2**20}]")], *, xp: Namespace = np
) -> Array:
    """Weights of coalitions of features by their size, as in KernelSHAP.

    Parameters
    ----------
    n_features : int in [1, 2**20]
        At least 1.
    xp : module, numpy or cupy, default numpy
        numpy, or cupy to have the weights on the GPU.

    Returns
    -------
    (n_features + 1,) array of float64
        Entry s is (d - 1) / (C(d, s) s (d - s)), the weight of each coalition of s features, with a
        relative error below 1e-13 where it is no less than 1e-300; the first and the last are
        infinite.

    Raises
    ------
    TypeError
        n_features is not an integer.
    ValueError
        n_features is not in [1, 2**20].

    References
    ----------
    S. M. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.

    Examples
    --------
    >>> shapley_kernel_weights(4)
    array([  inf, 0.25 , 0.125, 0.25 ,   inf])
    """
    d = n_features
    weights = np.full(d + 1, np.inf)
    choose = 1.0
    for s in range(1, d // 2 + 1):
        choose = choose * (d - s + 1) / s
        weights[s] = weights[d - s] = (d - 1) / (choose * s * (d - s))
    return xp.asarray(weights)


def stratified_sizes(d, pairs):
    """How many of the `pairs` of a coalition and its complement have a member of size 1, 2, ..., d
    // 2.

    In proportion to the total Shapley weight (d - 1) / (s (d - s)) of a size, but no more than
    there are: sizes of few coalitions are enumerated, and what is left goes to the others.

    Returns
    -------
    taken, there : lists of int
        The pairs taken and the pairs there are of each size.
    """
    there, choose = [], 1
    for s in range(1, d // 2 + 1):
        choose = min(choose * (d - s + 1) // s, 2**200)  # as good as infinite
        there.append(choose // 2 if 2 * s == d else choose)
    share = [1 / (s * (d - s)) for s in range(1, d // 2 + 1)]
    taken, left, some = [0] * len(there), pairs, list(range(len(there)))
    while some:
        total = sum(share[i] for i in some)
        full = [i for i in some if left * share[i] >= there[i] * total]
        if not full:
            break
        for i in full:
            taken[i], left = there[i], left - there[i]
        some = [i for i in some if i not in full]
    total = sum(share[i] for i in some)
    for i in some:
        taken[i] = int(left * share[i] / total)
    for i in some[: left - sum(taken[i] for i in some)]:
        taken[i] += 1
    return taken, there
