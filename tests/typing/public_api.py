"""Calls that must type-check, as users write them, and run: a few of every subpackage."""

import numpy as np

import numcore
from numcore.linalg import (
    CSR,
    caratheodory,
    color_graph,
    fwht,
    leverage_scores,
    monarch_to_dense,
    optimal_omega,
    randomized_svd,
    range_finder,
    sor,
    spmv,
    srht,
    ssor_cg,
    triangular_sweep,
)
from numcore.nn import (
    activation,
    attention,
    avg_pool2d,
    conv2d,
    dense,
    dense_vjp,
    embedding,
    huber,
    layer_norm,
    max_pool2d,
    mse,
    ntk,
    rms_norm,
    softmax_cross_entropy,
)
from numcore.random import generator_from_rng, key_from_rng, normal, philox_uint32, uniform
from numcore.retrieval import (
    chamfer_similarity,
    hamming_distances,
    hamming_within,
    mine_pairs,
    packed_hamming,
    ranking_metrics,
    similarity_matrix,
    topk_inner_product,
)
from numcore.special import erf, exp, log1p, max_ulp_error, sigmoid, tanh

# --- random ---------------------------------------------------------------------------------------

a: np.ndarray = normal((32, 8), rng=0)
b = uniform(32, rng=np.random.default_rng(0), dtype="float32")
c = normal([2, 3], rng=np.random.SeedSequence(1), dtype=np.float64, xp=np)
words = philox_uint32((4,), key=(1, 2), offset=3)
key = key_from_rng(np.random.PCG64(0))
permutation = generator_from_rng(None).permutation(8)

# --- linalg ---------------------------------------------------------------------------------------

transformed = fwht(a, axis=0)
scores = leverage_scores(a)
svd = randomized_svd(a, 3, rng=0)
basis = range_finder(a, 3, rng=1)
sketch = srht(a, 16, rng=0)
dense_matrix = monarch_to_dense(normal((2, 2, 2), rng=0), normal((2, 2, 2), rng=1))
weights = caratheodory(a)
laplacian = CSR.from_dense(np.diag(np.full(8, 2.0)) - np.eye(8, k=1) - np.eye(8, k=-1))
product = spmv(laplacian, a[0])
swept = triangular_sweep(laplacian, a[0], np.zeros(8), omega=1.2, direction="symmetric")
coloring = color_graph(laplacian)
solved = sor(laplacian, a[0], omega=1.2, tol=1e-6, max_iter=1000)
converged: bool = solved.converged
n_iter: int = solved.n_iter
x, found = ssor_cg(laplacian, a[0]).x, optimal_omega(laplacian).omega

# --- nn -------------------------------------------------------------------------------------------

y, cache = dense(a, normal((8, 4), rng=2), normal(4, rng=3))
grads = dense_vjp(np.ones_like(y), cache)
grad_w: np.ndarray = grads.w
q = normal((1, 2, 16, 8), rng=4, dtype="float32")
attended = attention(q, q, q, causal=True)
images = normal((2, 3, 8, 8), rng=5)
convolved = conv2d(images, normal((4, 3, 3, 3), rng=6), padding=1)[0]
pooled = max_pool2d(images, 2)[0]
averaged = avg_pool2d(images, 2, stride=2)[0]
activated = activation(a, kind="gelu", approximate="tanh")[0]
normalized = layer_norm(a, np.ones(8), np.zeros(8), eps=1e-5)[0]
scaled = rms_norm(a, np.ones(8))[0]
looked_up = embedding(np.arange(4), a)[0]
loss, gradient = mse(a, np.zeros_like(a))
robust = huber(a, np.zeros_like(a), delta=0.5, reduction="sum")[0]
entropy = softmax_cross_entropy(a, np.zeros(32, np.int64), label_smoothing=0.1)[0]
kernel_matrix = ntk(a, a, sigma_w=1.5)

# --- retrieval ------------------------------------------------------------------------------------

top = topk_inner_product(a, a, 3, metric="cosine")
bits = packed_hamming(philox_uint32((4, 2), key=(0, 0)).astype(np.uint64))
distances = hamming_distances(np.arange(9, dtype=np.uint8), np.arange(3, dtype=np.uint8))
within = hamming_within(np.arange(9, dtype=np.uint8), np.arange(3, dtype=np.uint8), 1)
similarities = similarity_matrix(a, metric="cosine", condensed=True)
chamfer = chamfer_similarity(a, a, np.array([0, 16, 32]))
pairs = mine_pairs(a, a, k=4)
metrics = ranking_metrics(a, (a > 0).astype(np.float64), metrics=("ndcg@10",))

# --- special --------------------------------------------------------------------------------------

probabilities = sigmoid(a)
exp(a, out=np.empty_like(a))
others = erf(a) + log1p(a * a) - tanh(a)
largest: float = max_ulp_error("exp", "float32").max_ulp

# --- the package ----------------------------------------------------------------------------------

numcore.set_num_threads(1)
names = [f"{r.room}.{r.name}" for r in (*numcore.routines(), *numcore.models())]
numcore.set_num_threads(None)
version: str = numcore.__version__
exp_too = numcore.special.exp(a)
