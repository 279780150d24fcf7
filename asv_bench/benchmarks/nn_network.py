"""Multilayer perceptrons beside torch: training passes, and losses on second derivatives, which
torch differentiates twice."""

import functools

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import MLP

SECONDS = 2


def torch_like(network):
    """The same network in torch, and torch with as many threads as numcore."""
    try:
        import torch
    except ImportError as error:
        raise NotImplementedError("torch is not installed") from error
    torch.set_num_threads(numcore.get_num_threads())
    layers = []
    for w, b in zip(network.parameters[::2], network.parameters[1::2], strict=True):
        linear = torch.nn.Linear(*w.shape)
        linear.weight, linear.bias = (
            torch.nn.Parameter(torch.from_numpy(w.T.copy())),
            torch.nn.Parameter(torch.from_numpy(b.copy())),
        )
        layers += [linear, torch.nn.Tanh() if network.activation == "tanh" else torch.nn.ReLU()]
    return torch, torch.nn.Sequential(*layers[:-1])


def ten_times(step):
    for _ in range(10):
        step()


class Training:
    """256-512-512-10, 1024 rows, float32: forward and vjp, with the gradient in the input."""

    param_names = ("activation",)
    params = (["tanh", "relu"],)
    unit = "× (torch's time / numcore's)"

    def setup(self, activation):
        rng = np.random.default_rng(0)
        self.network = MLP((256, 512, 512, 10), activation=activation, rng=rng)
        self.x, self.g = (
            rng.standard_normal((1024, 256), dtype=np.float32),
            rng.standard_normal((1024, 10), dtype=np.float32),
        )

    def ours(self):
        return self.network.vjp(self.g, self.network.forward(self.x)[1])

    def track_ratio_torch(self, activation):
        torch, network = torch_like(self.network)
        x, g = torch.from_numpy(self.x).requires_grad_(), torch.from_numpy(self.g)

        def theirs():
            x.grad = None
            network.zero_grad(set_to_none=True)
            network(x).backward(g)

        mine, torchs = median_seconds([self.ours, theirs], SECONDS)
        return torchs / mine

    def time_both(self, activation):
        self.ours()

    def peakmem_both(self, activation):
        self.ours()


class SecondDerivatives:
    """2-32-32-1, tanh, float32: the gradient of the mean square of u_xx + u_yy.

    Ratios are those of ten steps in a row, as training makes them; a step alone between two of
    torch takes longer by a quarter.
    """

    param_names = ("rows",)
    params = ([256, 4096],)
    unit = "× (torch's time / numcore's)"

    def setup(self, rows):
        rng = np.random.default_rng(0)
        self.network, self.x, self.directions = (
            MLP((2, 32, 32, 1), rng=rng),
            rng.random((rows, 2), dtype=np.float32),
            np.eye(2, dtype="f4"),
        )

    def ours(self):
        (_, _, (u_xx, u_yy)), cache = self.network.taylor(self.x, self.directions)
        laplacian = u_xx + u_yy
        grad = np.float32(2 / laplacian.size) * laplacian
        return np.vdot(laplacian, laplacian) / laplacian.size, self.network.taylor_vjp(
            None, None, np.stack([grad, grad]), cache
        )[1]

    def track_ratio_torch(self, rows):
        torch, network = torch_like(self.network)
        points = torch.from_numpy(self.x).requires_grad_()

        def theirs():
            (slope,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
            bend = [
                torch.autograd.grad(slope[:, k].sum(), points, create_graph=True)[0][:, k]
                for k in range(2)
            ]
            loss = ((bend[0] + bend[1]) ** 2).mean()
            return loss, torch.autograd.grad(
                loss, list(network.parameters())[:-1]
            )  # the last bias has no influence

        mine, torchs = median_seconds(
            [functools.partial(ten_times, step) for step in (self.ours, theirs)], SECONDS
        )
        return torchs / mine

    def time_both(self, rows):
        self.ours()

    def peakmem_both(self, rows):
        self.ours()
