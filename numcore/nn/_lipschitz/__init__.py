"""Certified bounds of the outputs, derivatives and Lipschitz constants of ReLU networks."""

from .operators import Conv2d
from .routines import LipschitzBound, jacobian_bounds, local_lipschitz, monotonicity, output_bounds
