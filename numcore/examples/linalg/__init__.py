"""Example calls of numcore.linalg."""

from .. import gathered

EXAMPLES, KERNELS = gathered(__name__, __path__)
