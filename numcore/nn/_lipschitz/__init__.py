"""Certified Lipschitz bounds: bounds on the outputs, derivatives and local Lipschitz constants of
ReLU networks."""

from .operators import Conv2d
from .routines import LipschitzBound, jacobian_bounds, local_lipschitz, monotonicity, output_bounds
