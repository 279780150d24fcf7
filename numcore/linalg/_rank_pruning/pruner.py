"""Training towards low rank."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import numpy as np

from ...arguments import Array, Float, at_least, checked, nonnegative, own_dtype
from ...dispatch import device_of, namespace_of
from .decompositions import Decomposition, Scheme, TruncatedKernel, scaled, solve
from .routines import Share

AnyKernel: TypeAlias = Float[Array, "_ _ _ _", own_dtype] | Float[Array, "_ _", own_dtype]


class RankPruner:
    """Train towards low rank: truncate kernels every few steps and penalize their nuclear norm.

    Parameters
    ----------
    scheme : {"channel", "spatial", "decouple"}, default "channel"
        See `truncate_kernel`.
    energy : float in (0, 1], default 0.98
        Share of the sum of squares that a truncation keeps.
    period : int >= 1, default 5
        Steps from one truncation to the next.
    nuclear_weight : float >= 0, default 0.0003
        Weight λ of the nuclear norm in the loss.
    truncate : bool, default True
        If False, the weights are not changed and only the subgradient acts: that of the sum of the
        largest singular values.

    Attributes
    ----------
    n_iter_ : int
        Steps so far.
    ranks_ : list of int or None
        Ranks of the kernels at the last truncation.

    Raises
    ------
    ValueError
        An option out of range, or an unknown scheme.
    TypeError
        An option of another type.

    Notes
    -----
    A training step::

        pruned = pruner.step(weights)
        if pruned is not None:
            weights = [kernel.weight for kernel in pruned]
        ...  # forward and backward pass with these weights
        grads = pruner.add_subgradient(grads)
        ...  # the optimizer's step

    Gradients are computed at the truncated weights. Momentum and weight decay are unchanged. It is
    better not to prune the first and the last layer.

    References
    ----------
    Y. Xu et al., "Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, algorithm
    1.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.linalg import RankPruner
    >>> pruner, w = (
    ...     RankPruner(energy=0.9, period=2, nuclear_weight=0.5),
    ...     np.diag([3.0, 2.0, 1.0, 0.5]),
    ... )
    >>> [kernel.rank for kernel in pruner.step([w])], pruner.step([w])
    ([2], None)
    """

    @checked
    def __init__(
        self,
        *,
        scheme: Scheme = "channel",
        energy: Share = 0.98,
        period: Annotated[int, at_least(1)] = 5,
        nuclear_weight: Annotated[float, nonnegative] = 3e-4,
        truncate: bool = True,
    ):
        self.scheme, self.energy, self.period = scheme, energy, period
        self.nuclear_weight, self.truncate = nuclear_weight, truncate
        self.n_iter_, self.ranks_, self._subgradients = 0, None, None

    @checked
    def step(
        self,
        weights: Sequence[AnyKernel],
        grads: Sequence[Float[Array, "...", own_dtype]] | None = None,
    ) -> list[TruncatedKernel] | tuple[list[TruncatedKernel] | None, list[Array]] | None:
        """Begin a training step; truncate on the first step and then every `period` steps.

        Parameters
        ----------
        weights : sequence of (_, _, _, _) array of float32 or float64 or (_, _) array of float32 or float64
            (n, c, kh, kw) or (n, c); not changed.
        grads : sequence of (...) array of float32 or float64, optional
            Gradients, if already known; used as the gradients at the truncated weights.

        Returns
        -------
        list of TruncatedKernel, or None on the steps in between; with `grads`, a pair of this and
        the list of new gradients.

        Raises
        ------
        TypeError
            `weights` is not a list of arrays of floats, or as for `add_subgradient`.
        ValueError
            As for `truncate_kernel` and `add_subgradient`; the step is then not counted.
        """  # noqa: E501
        pruned = None if self.n_iter_ % self.period else self._truncated(weights)
        subgradients = None if pruned is None else [kernel.subgradient for kernel in pruned]
        new_grads = None if grads is None else self._added(grads, subgradients)
        self.n_iter_, self._subgradients = self.n_iter_ + 1, subgradients
        if pruned is not None:
            self.ranks_ = [kernel.rank for kernel in pruned]
        return pruned if grads is None else (pruned, new_grads)

    @checked
    def add_subgradient(self, grads: Sequence[Float[Array, "...", own_dtype]]) -> list[Array]:
        """Add the subgradient, g + λ U_r V_rᵀ, if the last step truncated; otherwise return the
        gradients unchanged.

        Parameters
        ----------
        grads : sequence of (...) array of float32 or float64
            The gradients with respect to the weights passed to the last `step`, in the same order.

        Returns
        -------
        list of arrays

        Raises
        ------
        TypeError
            `grads` is not a list of arrays, or has other dtypes or another device than the weights.
        ValueError
            The number or the shapes of the gradients differ from those of the weights.
        """
        return self._added(grads, self._subgradients)

    def _truncated(self, weights):
        for i, w in enumerate(weights):
            _check_entries(f"weights[{i}]", w)
        xp = namespace_of(*weights)
        pairs = [scaled(xp, w) for w in weights]
        decompositions = [Decomposition(xp, w, self.scheme) for w, _ in pairs]
        solve(decompositions)
        pruned = [
            d.truncated("energy", self.energy, exponent)
            for d, (_, exponent) in zip(decompositions, pairs, strict=True)
        ]
        if self.truncate:
            return pruned
        return [k._replace(weight=w.copy()) for k, w in zip(pruned, weights, strict=True)]

    def _added(self, grads, subgradients):
        if subgradients is None:
            return list(grads)
        if len(grads) != len(subgradients):
            n = len(subgradients)
            raise ValueError(f"grads must have {n} arrays, one for each weight (got {len(grads)})")
        for i, (g, subgradient) in enumerate(zip(grads, subgradients, strict=True)):
            _check_gradient(f"grads[{i}]", g, subgradient)
        with np.errstate(over="ignore"):
            return [
                g + self.nuclear_weight * subgradient
                for g, subgradient in zip(grads, subgradients, strict=True)
            ]


def _check_entries(name, w):
    if not w.size:
        raise ValueError(f"{name} must have no axis of length zero (got shape {w.shape})")
    if not bool(namespace_of(w).isfinite(w).all()):
        raise ValueError(f"{name} must be finite (got nan or inf)")


def _check_gradient(name, g, subgradient):
    if device_of(g) is not device_of(subgradient):
        where = f"{name} on {device_of(g)}, its weight on {device_of(subgradient)}"
        raise TypeError(f"arguments must live on one device (got {where})")
    if g.dtype != subgradient.dtype:
        like = f"{subgradient.dtype} like its weight"
        raise TypeError(f"{name} must have dtype {like} (got {g.dtype})")
    if g.shape != subgradient.shape:
        raise ValueError(f"{name} must have shape {subgradient.shape} (got {g.shape})")
