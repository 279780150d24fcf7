"""Explanations of a logistic model of the breast cancer data beside shap's and lime's: time, error,
memory."""

import warnings

import numpy as np

from numcore._measure import median_seconds
from numcore.nn import explain, faithfulness

SECONDS = 5
N, SAMPLES = 100, 2000


class Logistic:
    """All 30 features, standardized, of the first rows; f is one NumPy expression, cheap beside the
    baselines' own work."""

    def setup(self, *_):
        try:
            from sklearn.datasets import load_breast_cancer
        except ImportError as error:
            raise NotImplementedError("scikit-learn is not installed") from error
        table, target = load_breast_cancer(return_X_y=True)
        self.table = (table - table.mean(axis=0)) / table.std(axis=0)
        self.x = self.table[:N]
        self.w = np.linalg.lstsq(self.table, 4.0 * target - 2, rcond=None)[0]

    def f(self, u):
        return 1 / (1 + np.exp(-(u @ self.w)))

    def grad(self, u):
        p = self.f(u)
        return (p * (1 - p))[:, None] * self.w

    def explain(self, method, **options):
        return explain(
            self.f,
            self.x,
            method=method,
            grad=self.grad,
            n_samples=SAMPLES,
            kernel_width=0.75 * np.sqrt(30),
            rng=0,
            **options,
        )


class Methods(Logistic):
    param_names = ("method",)
    params = (
        [
            "lime",
            "c_lime",
            "kernel_shap",
            "occlusion",
            "gradient",
            "smooth_grad",
            "integrated_gradients",
        ],
    )

    def time_explain(self, method):
        self.explain(method)

    def peakmem_explain(self, method):
        self.explain(method)


class Baselines(Logistic):
    """The baselines go over the rows one by one; they explain a tenth of them, and their time is
    multiplied by ten."""

    unit = "× (baseline's time / numcore's)"

    def _ratio(self, method, peer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine, theirs = median_seconds(
                [lambda: self.explain(method), lambda: peer(self.x[::10])], SECONDS
            )
        return 10 * theirs / mine

    def track_ratio_to_shap(self):
        try:
            import shap
        except ImportError as error:
            raise NotImplementedError("shap is not installed") from error
        explainer = shap.KernelExplainer(self.f, np.zeros((1, 30)))
        return self._ratio(
            "kernel_shap",
            lambda x: explainer.shap_values(x, nsamples=SAMPLES, l1_reg=False, silent=True),
        )

    def _lime(self, method, **options):
        try:
            from lime.lime_tabular import LimeTabularExplainer
        except ImportError as error:
            raise NotImplementedError("lime is not installed") from error
        explainer = LimeTabularExplainer(self.table, mode="regression", random_state=0, **options)
        return self._ratio(
            method,
            lambda x: [
                explainer.explain_instance(row, self.f, num_features=30, num_samples=SAMPLES)
                for row in x
            ],
        )

    def track_ratio_to_lime(self):
        """Binary features, as lime takes them unless told otherwise."""
        return self._lime("lime")

    def track_ratio_to_lime_of_continuous_features(self):
        return self._lime("c_lime", discretize_continuous=False)

    def track_ratio_to_captum_integrated_gradients(self):
        """captum takes all rows at once; the model is one linear layer and a sigmoid of torch, one
        thread each."""
        try:
            import torch
            from captum.attr import IntegratedGradients
        except ImportError as error:
            raise NotImplementedError("captum is not installed") from error
        w, x = torch.from_numpy(self.w), torch.from_numpy(self.x)
        theirs = IntegratedGradients(lambda u: torch.sigmoid(u @ w))
        mine, peer = median_seconds(
            [
                lambda: explain(
                    self.f, self.x, method="integrated_gradients", grad=self.grad, n_samples=200
                ),
                lambda: theirs.attribute(
                    x, n_steps=200, method="riemann_middle", internal_batch_size=4096
                ),
            ],
            SECONDS,
        )
        return peer / mine

    track_ratio_to_shap.unit = track_ratio_to_lime.unit = (
        track_ratio_to_lime_of_continuous_features.unit
    ) = unit
    track_ratio_to_captum_integrated_gradients.unit = unit


class Errors(Logistic):
    """The root mean square error of shap's values by ours, at the same number of evaluations of a
    model with interactions, d = 12.

    Both are drawn anew for several copies of each row, so that chance matters little.
    """

    param_names, params, unit = ("n_samples",), ([100, 500, 2000],), "× (shap's error / numcore's)"

    def track_ratio_of_errors_to_shap(self, n_samples):
        try:
            import shap
        except ImportError as error:
            raise NotImplementedError("shap is not installed") from error
        inner, outer = (
            np.random.default_rng(0).standard_normal((12, 6)) / 2,
            np.random.default_rng(1).standard_normal(6),
        )
        f, x = lambda u: np.tanh(u @ inner) @ outer, np.repeat(self.x[:30, :12], 5, axis=0)
        exact = explain(f, x, method="kernel_shap", exact=True).attributions
        mine = explain(
            f, x, method="kernel_shap", exact=False, n_samples=n_samples, rng=0
        ).attributions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = shap.KernelExplainer(f, np.zeros((1, 12))).shap_values(
                x, nsamples=n_samples, l1_reg=False, silent=True
            )
        return float(np.sqrt(np.mean((theirs - exact) ** 2) / np.mean((mine - exact) ** 2)))


class ManySamples(Logistic):
    """Time grows with the samples, memory does not."""

    param_names = ("method", "n_samples")
    params = (["lime", "c_lime", "kernel_shap"], [4000, 40_000, 400_000])

    def setup(self, method, n_samples):
        super().setup()
        self.call = lambda: explain(
            self.f, self.x[0], method=method, n_samples=n_samples, kernel_width=4.0, rng=0
        )
        self.call()

    def time_samples(self, method, n_samples):
        self.call()

    def peakmem_samples(self, method, n_samples):
        self.call()


class Faithfulness(Logistic):
    def setup(self):
        super().setup()
        self.explanations = [
            self.explain(method)
            for method in ("lime", "gradient", "kernel_shap", "integrated_gradients")
        ]

    def time_faithfulness(self):
        faithfulness(
            self.f, self.x, self.explanations, neighborhood="gaussian", n_samples=500, rng=0
        )
