"""Calls that a type checker must refuse: each line that is marked, and no other."""

import numpy as np

import numcore
from numcore.linalg import CSR, triangular_sweep
from numcore.nn import dense, dense_vjp
from numcore.random import normal, philox_uint32, uniform
from numcore.special import exponential  # error

a = normal((4, 4), rng=0)
laplacian = CSR.from_dense(a)

# --- names that do not exist ----------------------------------------------------------------------

normal((4, 4), seed=0)  # error
uniform((4, 4), rng=0, type="float32")  # error
dense(a, a, bias=a[0])  # error
triangular_sweep(laplacian, a[0], a[0], relaxation=1.2)  # error
numcore.set_threads(1)  # error
print(numcore.fourier)  # error

# --- missing and superfluous arguments ------------------------------------------------------------

normal()  # error
philox_uint32((4,))  # error
dense(a)  # error
dense(a, a, a[0], a)  # error
triangular_sweep(laplacian, a[0])  # error

# --- options by position --------------------------------------------------------------------------

normal((4, 4), 0)  # error
triangular_sweep(laplacian, a[0], a[0], 1.2)  # error

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

# --- results --------------------------------------------------------------------------------------

y, cache, more = dense(a, a)  # error
print(dense_vjp(a, dense(a, a)[1]).gradient)  # error
text: str = uniform(4)  # error
print(exponential, y, cache, more, text, np.asarray(uniform(4)))
