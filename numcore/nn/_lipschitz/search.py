"""Branch and bound: parts of a box by which neurons are on."""

import contextlib
import heapq
import itertools
import math

import numpy as np

from .crown import derivatives, norms, region
from .task import host


class Search:
    """Parts of one box and one row of outputs each, in order of their upper bounds.

    A part is given by the phases of neurons: 1 on, -1 off, 0 open; those of all layers lie behind
    each other in one int8 array.
    """

    def __init__(self, task, boxes, i, method, uppers, lower):
        self.task, self.method, self.lower, self.n_domains = task, method, lower, 1
        self.n_iter, self.reason = 0, "interrupt"
        self.box = boxes[0][i : i + 1], boxes[1][i : i + 1]
        root = region(task.network, *self.box, crown=method != "interval")
        self.network, self.known = root.network, root.live
        self.last, self.magnitude = task.last(self.network)
        self.ends = np.cumsum([0] + [op.shape[0] for op in self.network.operators[:-1]]).tolist()
        self.order, self.closed = itertools.count(), np.full(len(self.last), -math.inf)
        rows = np.arange(len(self.last))
        self.heap = []
        self._push(rows, np.zeros((len(rows), self.ends[-1]), np.int8), host(uppers))

    def run(self, max_domains, batch_size, tol, callback, bar):
        """Split until the bounds meet; the upper bound of every row."""
        with contextlib.suppress(KeyboardInterrupt):
            while (reason := self._done(max_domains, tol)) is None:
                before = self.n_domains
                self._split(min(batch_size, max_domains - self.n_domains), self._enough(tol))
                self.n_iter += 1
                if bar is not None:
                    bar.update(self.n_domains - before)
                if callback is not None and callback(
                    max(-self.heap[0][0] if self.heap else 0.0, self.closed.max()),
                    self.lower,
                    self.n_domains,
                ):
                    reason = "callback"
                    break
            self.reason = reason
        uppers = self.closed.copy()
        for upper, _, row, *_ in self.heap:
            uppers[row] = max(uppers[row], -upper)
        return self.task.xp.asarray(np.maximum(uppers, 0.0))

    def _done(self, max_domains, tol):
        """Why there is nothing to split, if so."""
        if not self.heap:
            return "exhausted"
        if -self.heap[0][0] <= self._enough(tol):
            return "tol" if -self.heap[0][0] <= self.lower + tol else "exhausted"
        return "max_domains" if self.n_domains >= max_domains else None

    def _enough(self, tol):
        """Upper bounds that need not get better: the lower bound, and those of parts that cannot be
        split."""
        return max(self.lower + tol, self.closed.max())

    def _split(self, count, enough):
        parents = []
        while self.heap and len(parents) < count and -self.heap[0][0] > enough:
            parents.append(heapq.heappop(self.heap))
        try:
            rows = np.repeat([row for _, _, row, _, _ in parents], 2)
            uppers = np.repeat([-upper for upper, *_ in parents], 2)
            phases = np.repeat(np.stack([phases for *_, phases, _ in parents]), 2, axis=0)
            at = np.repeat([neuron for *_, neuron in parents], 2)
            phases[np.arange(len(at)), at] = np.tile(np.array([1, -1], np.int8), len(parents))
            self._push(rows, phases, uppers)
            self.n_domains += len(parents)
        except BaseException:
            for parent in parents:  # so that an interruption loses no part
                heapq.heappush(self.heap, parent)
            raise

    def _push(self, rows, phases, uppers):
        """Bound parts and put them into the heap, or among the closed ones if all their neurons are
        decided."""
        xp, parts = self.task.xp, _by_layer(self.task.xp, phases, self.ends)
        boxes = [xp.broadcast_to(side, (len(rows), side.shape[1])) for side in self.box]
        found = region(
            self.network,
            *boxes,
            crown=self.method != "interval",
            phases=parts,
            known=self.known,
            prune=False,
        )
        last, magnitude = (
            None if side is None else side[xp.asarray(rows)][:, None]
            for side in (self.last, self.magnitude)
        )
        here = derivatives(found, last, magnitude, method=self.method)
        bounds, worth = norms(here, joint=self.method == "linear", scores=True)
        bounds, empty = host(bounds[:, 0]), host(found.empty)
        worth = (
            host(xp.concatenate([part[:, 0] for part in worth], axis=1))
            if worth
            else np.full((len(rows), 1), -1.0)
        )
        entries = []
        for row, part, old, new, none, values in zip(
            rows.tolist(), phases, uppers.tolist(), bounds.tolist(), empty, worth, strict=True
        ):
            if none:
                continue
            entries.append(
                (
                    -min(old, new),
                    next(self.order),
                    row,
                    part,
                    int(values.argmax()) if values.max(initial=-1.0) >= 0 else None,
                )
            )
        for entry in entries:
            if entry[-1] is None:
                self.closed[entry[2]] = max(self.closed[entry[2]], -entry[0])
            else:
                heapq.heappush(self.heap, entry)


def _by_layer(xp, phases, ends):
    """Phases of all layers as one array for each layer."""
    return [xp.asarray(phases[:, a:b]) for a, b in itertools.pairwise(ends)]
