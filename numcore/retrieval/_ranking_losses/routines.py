"""Learning to rank: losses on lists of scores with their gradients.

A list holds the candidates of one query. RankNet (C. Burges et al., "Learning to rank using
gradient descent", ICML 2005) and LambdaRank (C. Burges, "From RankNet to LambdaRank to LambdaMART:
an overview", MSR-TR-2010-82) compare pairs of candidates, ListNet (Z. Cao et al., "Learning to
rank: from pairwise approach to listwise approach", ICML 2007) the whole list. No pair is ever
stored.
"""

from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ...arguments import Array, Bool, Float, Integer, any_device, at_least, positive
from ...dispatch import routine
from .lists import MAX_RELEVANCE, count_relevant, list_losses, lists_of

LossName: TypeAlias = Literal["pointwise", "hinge", "ranknet", "listnet", "lambdarank"]


class RankingLoss(NamedTuple):
    """A mean loss over queries; its gradient in the scores; second derivatives (diagonal) of
    "ranknet" and "lambdarank", else None."""

    loss: np.floating
    grad: Array | None
    hess: Array | None


@routine
def ranking_loss(
    scores: Float[Array, "..."],
    relevance: Integer[Array, "...", any_device]
    | Float[Array, "..."]
    | Bool[Array, "...", any_device],
    groups: Integer[Array, "n_lists", any_device] | None = None,
    *,
    loss: LossName = "listnet",
    sigma: Annotated[float, positive] = 1.0,
    margin: Annotated[float, positive] = 1.0,
    k: Annotated[int, at_least(1)] | None = None,
    mask: Bool[Array, "_ _"] | None = None,
    return_grad: bool = True,
) -> RankingLoss:
    """Loss of scores against graded relevance, averaged over the queries that have a relevant
    candidate, and its gradient.

    Parameters
    ----------
    scores : (...) array of float32 or float64
        (Q, D) with one list in each row; or (n,) with `groups`.
    relevance : (...) array of integers or (...) array of float32 or float64 or (...) array of bool
        Of the shape of `scores`; integers may be a NumPy array next to scores on a GPU. At least 0,
        and at most 31 for "lambdarank", 1 for "pointwise".
    groups : (n_lists,) array of integers, optional
        Lengths of the lists that follow each other in `scores`; they sum to n.
    loss : {"pointwise", "hinge", "ranknet", "listnet", "lambdarank"}, default "listnet"
        With P the pairs i, j of a list with ``y_i > y_j``: the mean of ``log(1 + e^s) - y s``; the
        means over P of ``max(0, margin - (s_i - s_j))`` and of
        ``log(1 + exp(-sigma (s_i - s_j)))``; the cross entropy of softmax(s) with ``y / sum y``;
        the sum over P of RankNet's terms, each times the change of NDCG if i and j changed places.
    sigma, margin : float > 0, default 1.0
    k : int >= 1, optional
        "lambdarank" counts ranks below k only; all by default.
    mask : (_, _) array of bool, optional
        Which candidates there are; the others' gradient is 0.
    return_grad : bool, default True
        False gives None for the derivatives.

    Returns
    -------
    RankingLoss
        loss, a scalar; grad and hess of the shape and dtype of `scores`.

    Raises
    ------
    TypeError
        Arrays of other dtypes or devices, group sizes that are not integers, options of another
        type.
    ValueError
        Shapes that do not fit, scores or relevance that are not finite, relevance out of range,
        groups that hold 0 or do not sum to n, no query with a relevant candidate, an option out of
        range.

    Notes
    -----
    Ranks are those of the scores given, ties by position, and LambdaRank's weights count as
    constants. All is computed in float64 and rounded once: errors are about 1e-14 of the largest
    derivative, or half a unit in the last place of float32. Time is O(sum D²) for losses of pairs,
    memory O(n).

    References
    ----------
    C. Burges, "From RankNet to LambdaRank to LambdaMART: an overview", Microsoft Research
    MSR-TR-2010-82, 2010.

    Examples
    --------
    >>> result = ranking_loss(np.array([[2.0, 1.0, 0.0, 0.5]]), np.array([[0, 2, 1, 0]]))
    >>> result.loss.round(6), result.grad.round(4)
    (np.float64(1.87934), array([[ 0.5793, -0.4536, -0.2549,  0.1293]]))
    """
    lists = lists_of(scores, relevance, groups, mask, MAX_RELEVANCE.get(loss))
    counted = count_relevant(lists)
    if not counted:
        raise ValueError(
            f"relevance must be above 0 somewhere (got no relevant candidate in "
            f"{len(lists.offsets) - 1} queries)"
        )
    total, grad, hess = list_losses(lists, loss, 1 / counted, sigma=sigma, margin=margin, k=k)
    value = lists.scores.dtype.type(total / counted)
    if not return_grad:
        return RankingLoss(value, None, None)
    return RankingLoss(value, lists.place(grad), None if hess is None else lists.place(hess))
