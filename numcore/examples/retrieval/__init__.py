"""Example calls of numcore.retrieval."""

from .. import gathered

EXAMPLES, KERNELS = gathered(__name__, __path__)
