"""Deep conjugate directions: a solver of A x = b for symmetric positive definite A that accepts
search directions from any function, and a small network that learns them.

The directions come from a cheap map d = f(r / ‖r‖) that points roughly along A⁻¹ r: a smoother, a
coarse solve or a trained network. It need not be linear or symmetric. Each d is made A-orthogonal
to the last few directions and followed by an exact line search, so the error in the A-norm never
grows. With f the identity, this is the conjugate gradient method. A. Kaneda, O. Akar, J. Chen, V.
A. Trevino Kala, D. Hyde, J. Teran, "A Deep Conjugate Direction Method for Iteratively Solving
Linear Systems", ICML 2023.
"""

from .network import DirectionNetwork
from .routines import (
    ConjugateDirectionResult,
    conjugate_direction_solve,
    direction_loss,
    ritz_training_set,
)
