"""Training of the cosine adapter beside the same model in torch, and scores of ten million results
beside NumPy."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import CosineAdapter, choose_threshold

SECONDS = 6
QUERIES, RESULTS, WIDTH, HIDDEN, BATCH = 20_000, 100, 384, 64, 256


def _torch():
    try:
        import torch
    except ImportError as error:
        raise NotImplementedError("torch is not installed") from error
    torch.set_num_threads(numcore.get_num_threads())
    return torch


def torch_adapter(torch, q, x, y, *, mapping, hidden, batch, epochs, rate):
    """Train by Adam on the mean cross-entropy; a function from queries and cosines to logits."""
    linear = torch.nn.Linear
    network = torch.nn.Sequential(
        linear(q.shape[1], hidden), torch.nn.ReLU(), linear(hidden, 3 if mapping == "power" else 2)
    )
    adam, softplus = torch.optim.Adam(network.parameters(), lr=rate), torch.nn.functional.softplus

    def logits(q, x):
        raw = network(q)
        if mapping == "power":
            x = ((1 + x) / 2).clamp(min=0) ** (softplus(raw[:, 2:]) + 0.05)
        return softplus(raw[:, :1]) * x + raw[:, 1:2]

    for _ in range(epochs):
        for rows in torch.randperm(len(q)).split(batch):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits(q[rows], x[rows]), y[rows]
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
    return logits


class Training:
    """float32, 20 000 queries of 384 numbers with 100 results each, one epoch."""

    timeout = 600
    param_names, params = ("mapping",), (["linear", "power"],)

    def setup(self, mapping):
        rng = np.random.default_rng(0)
        self.q = (rng.standard_normal((QUERIES, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)
        self.y = (rng.random((QUERIES, RESULTS)) < 0.2).astype(np.float32)
        self.x = np.clip(
            rng.uniform(-0.2, 0.4, (QUERIES, 1))
            + 0.3 * self.y
            + 0.1 * rng.standard_normal(self.y.shape),
            -1,
            1,
        )
        self.x = self.x.astype(np.float32)
        CosineAdapter(mapping=mapping, n_epochs=1).fit(self.q[:500], self.x[:500], self.y[:500])

    def fit(self, mapping, epochs):
        CosineAdapter(
            mapping=mapping,
            hidden=(HIDDEN,),
            n_epochs=epochs,
            batch_size=BATCH,
            validation_fraction=0,
            rng=0,
        ).fit(self.q, self.x, self.y)

    def time_epoch(self, mapping):
        self.fit(mapping, 1)

    def peakmem_epoch(self, mapping):
        self.fit(mapping, 1)

    def track_ratio_of_an_epoch_to_torch(self, mapping):
        """The time of three epochs without that of none, which is the start from the map of all
        queries."""
        torch = _torch()
        q, x, y = map(torch.from_numpy, (self.q, self.x, self.y))
        none, ours, theirs = median_seconds(
            [
                lambda: self.fit(mapping, 0),
                lambda: self.fit(mapping, 3),
                lambda: torch_adapter(
                    torch, q, x, y, mapping=mapping, hidden=HIDDEN, batch=BATCH, epochs=3, rate=1e-3
                ),
            ],
            SECONDS,
        )
        return theirs / (ours - none)


class Scores:
    """float32, 100 000 queries with 100 results each."""

    param_names, params = ("mapping",), (["linear", "power"],)

    def setup(self, mapping):
        rng = np.random.default_rng(0)
        self.q = rng.standard_normal((100_000, 8)).astype(np.float32)
        self.x = rng.uniform(-1, 1, (100_000, 100)).astype(np.float32)
        y = (self.x[:500] > 0.3).astype(np.float32)
        self.adapter = CosineAdapter(mapping=mapping, hidden=(8,), n_epochs=1, rng=0).fit(
            self.q[:500], self.x[:500], y
        )
        self.time_transform(mapping)

    def time_transform(self, mapping):
        self.adapter.transform(self.q, self.x)

    def peakmem_transform(self, mapping):
        self.adapter.transform(self.q, self.x)

    def track_ratio_to_numpy(self, mapping):
        def peer():
            p = self.adapter.parameters(self.q)
            f = self.x if mapping == "linear" else ((1 + self.x) / 2) ** p[:, 2:]
            with np.errstate(over="ignore"):
                return 1 / (1 + np.exp(-(p[:, :1] * f + p[:, 1:2])))

        ours, theirs = median_seconds(
            [lambda: self.adapter.transform(self.q, self.x), peer], SECONDS
        )
        return theirs / ours


class Simulation:
    """Precision at recall 0.95 where each query has a level of its own, less that of torch's
    model."""

    timeout = 300

    def track_precision_less_that_of_torch(self):
        torch, rng = _torch(), np.random.default_rng(0)
        torch.manual_seed(0)
        q = rng.standard_normal((2000, 16))
        q /= np.linalg.norm(q, axis=1, keepdims=True)
        y = (rng.random((2000, 50)) < 0.2).astype(np.float64)
        level = 0.5 + 0.25 * np.tanh(4 * q @ rng.standard_normal(16))
        x = np.minimum(level[:, None] + 0.24 * y - 0.12 + 0.06 * rng.standard_normal(y.shape), 1)
        q, x, y = (a.astype(np.float32) for a in (q, x, y))
        adapter = CosineAdapter(
            mapping="linear",
            hidden=(32,),
            n_epochs=400,
            batch_size=1500,
            learning_rate=1e-2,
            validation_fraction=0,
            rng=0,
        ).fit(q[:1500], x[:1500], y[:1500])
        logits = torch_adapter(
            torch,
            *map(torch.from_numpy, (q[:1500], x[:1500], y[:1500])),
            mapping="linear",
            hidden=32,
            batch=1500,
            epochs=400,
            rate=1e-2,
        )
        theirs = logits(torch.from_numpy(q[1500:]), torch.from_numpy(x[1500:])).detach().numpy()
        ours = adapter.transform(q[1500:], x[1500:])
        return (
            choose_threshold(ours, y[1500:], min_recall=0.95).precision
            - choose_threshold(theirs, y[1500:], min_recall=0.95).precision
        )
