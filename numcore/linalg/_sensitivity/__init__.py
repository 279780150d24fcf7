"""ℓp sensitivity sampling: ℓp sensitivities and Lewis weights of the rows of a matrix, and
regression on a few rows sampled by such scores.

The ℓp sensitivity of row i of A is the largest share σ_i = max_x |a_iᵀx|^p / ‖Ax‖_p^p that the row
has in any Ax. Rows that are kept with probabilities in proportion to scores of this kind, and
weighted by the inverse probabilities, keep ‖Ax‖_p of every x. 1/σ_i is the minimum of ‖Ax‖_p^p
where a_iᵀx = 1. Reweighted least squares finds it, with the weights of Newton's method on smoothed
residuals, and any step gives a feasible x and a y with Aᵀy = a_i, so that by Hölder's inequality
1/‖Ax‖_p^p <= σ_i <= ‖y‖_q^p with 1/p + 1/q = 1. Scores and sample sizes: D. P. Woodruff, T. Yasuda,
"Sharper Bounds for ℓp Sensitivity Sampling", ICML 2023. Lewis weights: M. B. Cohen, R. Peng, "ℓp
Row Sampling by Lewis Weights", STOC 2015.
"""

from .regression import LpResult, lp_regression
from .sampling import RowSample, sample_rows
from .scores import Sensitivities, lewis_weights, lp_sensitivities, sampling_scores
