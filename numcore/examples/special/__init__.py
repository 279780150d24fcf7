"""Example calls of numcore.special."""

from .. import gathered

EXAMPLES, KERNELS = gathered(__name__, __path__)
