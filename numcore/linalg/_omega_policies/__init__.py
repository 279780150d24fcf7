"""Learning to relax: bandit algorithms that choose omega for the next linear system from the
iteration counts of previous systems.

A time-stepping code solves thousands of related systems, each with a best `omega` that is costly to
compute. `TsallisINF` learns the omega of a grid that is best for all of them. `ChebCB` gets one
number per system, its context, and fits the costs by polynomials in it. `solve_sequence` asks a
policy for omega, solves, and reports the cost to the policy. M. Khodak, E. Chow, M.-F. Balcan, A.
Talwalkar, "Learning to relax: setting solver parameters across a sequence of linear system
instances", ICLR 2024.
"""

from .policies import ChebCB, TsallisINF
from .sequences import Policy, SequenceResult, solve_sequence
