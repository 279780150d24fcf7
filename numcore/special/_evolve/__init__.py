"""Evolution of approximations: finds programs of few operations with small errors, given only
values of the function.

A population of programs is mutated; the constants of every new program are fitted to the function;
parents are chosen by NSGA-II for two aims at once, few operations and a small error. Whatever is
the best of its size so far is kept apart, polished, and measured on points that no fit has seen:
this is the front that the search returns.

E. Real, Y. Chen, M. Rossini, et al., "AutoNumerics-Zero: Automated Discovery of State-of-the-Art
Mathematical Functions", arXiv 2312.08472; K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and
elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

from .front import Front
from .routines import evolve
