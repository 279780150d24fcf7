"""Calls that a type checker must refuse: each line that is marked, and no other."""

import numpy as np

import numcore
from numcore import special
from numcore.linalg import (
    CSR,
    caratheodory,
    complete_masked,
    monarch_project,
    optimal_omega,
    sor,
    triangular_sweep,
)
from numcore.nn import Adam, activation, attention, conv2d, dense, dense_vjp
from numcore.random import normal, philox_uint32, uniform
from numcore.retrieval import LambdaMART, fuzzy_link, ranking_metrics, topk_inner_product
from numcore.special import exp as elementary

a = normal((4, 4), rng=0)
laplacian = CSR.from_dense(a)

# --- names that do not exist ----------------------------------------------------------------------

normal((4, 4), seed=0)  # error
special.exponential(a)  # error
elementary(a, axis=0)  # error
uniform((4, 4), rng=0, type="float32")  # error
dense(a, a, bias=a[0])  # error
triangular_sweep(laplacian, a[0], a[0], relaxation=1.2)  # error
sor(laplacian, a[0], maxiter=9)  # error
attention(a, a, a, masked=True)  # error
topk_inner_product(a, a, 3, distance="ip")  # error
numcore.set_threads(1)  # error
print(numcore.fourier)  # error

# --- missing and superfluous arguments ------------------------------------------------------------

normal()  # error
philox_uint32((4,))  # error
elementary()  # error
dense(a)  # error
conv2d(a)  # error
ranking_metrics(a)  # error
topk_inner_product(a, a)  # error
sor(laplacian)  # error
dense(a, a, a[0], a)  # error
triangular_sweep(laplacian, a[0])  # error

# --- options by position --------------------------------------------------------------------------

normal((4, 4), 0)  # error
triangular_sweep(laplacian, a[0], a[0], 1.2)  # error
sor(laplacian, a[0], 1.5)  # error

# --- types and choices ----------------------------------------------------------------------------

normal("four")  # error
normal((4, 4), rng="zero")  # error
philox_uint32((4,), key=1)  # error
philox_uint32((4,), key=(1, 2, 3))  # error
dense(a, None)  # error
dense_vjp(a, (a, a))  # error
triangular_sweep(laplacian, a[0], a[0], omega="large")  # error
triangular_sweep(laplacian, a[0], a[0], direction="sideways")  # error
triangular_sweep(a, a[0], a[0])  # error
sor(laplacian, a[0], max_iter=0.5)  # error
sor(laplacian, a[0], progress="yes")  # error
sor(laplacian, "b")  # error
optimal_omega(laplacian, tol=None)  # error
caratheodory(a, size="all")  # error
activation(a, kind="step")  # error
attention(a, a, a, causal="yes")  # error
attention(a, a, a, window=3)  # error
topk_inner_product(a, a, 3, metric="l1")  # error
topk_inner_product(a, a, 2.5)  # error
fuzzy_link(["a"], ["b"], measure="soundex")  # error
fuzzy_link(["a"], ["b"], rng=[1, 2])  # error
monarch_project(a, n_blocks="2")  # error
complete_masked(a, a > 0, rank=1.5)  # error
Adam([a], lr=0.1)  # error
LambdaMART(n_estimators="many")  # error
LambdaMART(callback=print)  # error

# --- results --------------------------------------------------------------------------------------

y, cache, more = dense(a, a)  # error
print(dense_vjp(a, dense(a, a)[1]).gradient)  # error
text: str = uniform(4)  # error
found: bool = sor(laplacian, a[0]).reason  # error
print(sor(laplacian, a[0]).iterations)  # error
print(y, cache, more, text, found, np.asarray(uniform(4)))
