"""AutoCoreset: a few weighted points on which training gives nearly the loss of training on all of
them, for any model.

The user gives `fit` and a loss of each point. The losses of all points under a few models form a
matrix; weighted rows whose sum is near the sum of all rows are a summary for these models. The
model that is trained on the summary adds a column, the next summary sees it too, and the best of
all is kept. A. Maalouf, M. Tukan, V. Braverman, D. Rus, "AutoCoreset: An Automatic Practical
Coreset Construction Framework", ICML 2023.
"""

from .._caratheodory import WeightedSubset, caratheodory
from .routines import auto_coreset, coreset_loss, vector_sum_coreset
from .search import CoresetResult
