"""AutoCoreset: a small weighted subset of the points that gives nearly the same loss as training on
all of them, for any model.

The user provides `fit` and a loss per point. The losses of all points under a few models form a
matrix. Weighted rows whose sum approximates the sum of all rows summarize the data for these
models. The model trained on this summary adds a column to the matrix, from which the next summary
is built, and the best summary is kept. A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An
Automatic Practical Coreset Construction Framework", ICML 2023.
"""

from .._caratheodory import WeightedSubset, caratheodory
from .routines import auto_coreset, coreset_loss, vector_sum_coreset
from .search import CoresetResult
