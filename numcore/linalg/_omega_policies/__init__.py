"""Learning to relax: bandit algorithms that choose omega for the next linear system from the
iteration counts of the systems before.

A time-stepping code solves thousands of related systems, each of which has a best `omega` that is
costly to compute. `TsallisINF` learns the best one of a grid for all of them; `ChebCB` sees one
number of each system, its context, and learns the costs as polynomials of it. `solve_sequence` lets
a policy choose, solves, and tells it the cost. M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar,
"Learning to relax: setting solver parameters across a sequence of linear system instances", ICLR
2024.
"""

from .policies import ChebCB, TsallisINF
from .sequences import Policy, SequenceResult, solve_sequence
