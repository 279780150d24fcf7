"""GELU and tanh beside torch and NumPy, on 4 million numbers in float32."""

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.nn import activation, activation_vjp

N, SECONDS = 4_000_000, 2


class Pointwise:
    """Forward and backward; numcore and the baseline with the same number of threads, in turn in
    one process, medians compared."""

    param_names = ("kind",)
    params = (["gelu", "tanh"],)
    unit = "× (the baseline's time / numcore's)"

    def setup(self, kind):
        rng = np.random.default_rng(0)
        self.x, self.g = rng.standard_normal((2, N), dtype=np.float32)

    def ours(self, kind):
        return activation_vjp(self.g, activation(self.x, kind=kind)[1])

    def track_ratio_torch(self, kind):
        try:
            import torch
        except ImportError as error:
            raise NotImplementedError("torch is not installed") from error
        torch.set_num_threads(numcore.get_num_threads())
        function = {"gelu": torch.nn.functional.gelu, "tanh": torch.tanh}[kind]
        x, g = torch.from_numpy(self.x).requires_grad_(), torch.from_numpy(self.g)

        def theirs():
            x.grad = None
            function(x).backward(g)

        return self._ratio(kind, theirs)

    def track_ratio_numpy(self, kind):
        try:
            from scipy.special import erf
        except ImportError as error:
            raise NotImplementedError("SciPy is not installed") from error
        half, root, density = (
            np.float32(0.5),
            np.float32(np.sqrt(0.5)),
            np.float32(1 / np.sqrt(2 * np.pi)),
        )
        x, g = self.x, self.g

        def gelu():
            distribution = half * (1 + erf(x * root))
            return x * distribution, g * (distribution + x * density * np.exp(-half * x * x))

        def tanh():
            t = np.tanh(x)
            return t, g * (1 - t * t)

        return self._ratio(kind, {"gelu": gelu, "tanh": tanh}[kind])

    def _ratio(self, kind, theirs):
        mine, others = median_seconds([lambda: self.ours(kind), theirs], SECONDS)
        return others / mine

    def time_both(self, kind):
        self.ours(kind)

    def peakmem_both(self, kind):
        self.ours(kind)
