"""Minimax fitting: the constants of a program that minimize its largest error, by
Levenberg–Marquardt steps inside Lawson's reweighting, or by CMA-ES.

Wanted are constants c that minimise max_j w_j |p(x_j; c) - f(x_j)|. Lawson's iteration replaces the
maximum by weighted sums of squares, sum_j l_j w_j² (p(x_j; c) - f(x_j))², and multiplies each l_j
by its error after every round, so that the weight gathers where the error is largest. Each sum is
minimised by Levenberg–Marquardt steps. The derivatives by all constants come from one sweep back
through the program, at the cost of about three evaluations whatever their number.

C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961; J. J. Moré,
"The Levenberg–Marquardt algorithm: implementation and theory", 1978; N. Hansen, "The CMA evolution
strategy: a tutorial", arXiv 1604.00772.
"""

from .evolution import polished_by_cma
from .float32 import Float32Points, rounded_to_float32
from .kernels import fit_programs
from .problem import Error, Problem, check_interval
from .routines import MAX_CONSTANTS, Method, fit, minimize_error, random_constants
