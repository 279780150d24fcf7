"""Example calls of numcore.nn."""

from .. import gathered

EXAMPLES, KERNELS = gathered(__name__, __path__)
