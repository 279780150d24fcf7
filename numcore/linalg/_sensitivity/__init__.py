"""ℓp sensitivity sampling: ℓp sensitivities and Lewis weights of the rows of a matrix, and
regression on a few rows sampled in proportion to them.

The ℓp sensitivity of row i of A is the largest share σ_i = max_x |a_iᵀx|^p / ‖Ax‖_p^p that the row
has in any ‖Ax‖_p^p. A sample of rows with probabilities proportional to such scores, weighted by
the inverse probabilities, approximately preserves ‖Ax‖_p for every x. 1/σ_i is the minimum of
‖Ax‖_p^p subject to a_iᵀx = 1. It is computed by reweighted least squares with the weights of
Newton's method on smoothed residuals. Every step gives a feasible x and a y with Aᵀy = a_i, so that
by Hölder's inequality 1/‖Ax‖_p^p <= σ_i <= ‖y‖_q^p with 1/p + 1/q = 1. Scores and sample sizes: D.
P. Woodruff, T. Yasuda, "Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023. Lewis weights: M.
B. Cohen, R. Peng, "ℓp Row Sampling by Lewis Weights", STOC 2015.
"""

from .regression import LpResult, lp_regression
from .sampling import RowSample, sample_rows
from .scores import Sensitivities, lewis_weights, lp_sensitivities, sampling_scores
