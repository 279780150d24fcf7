"""Models of similarity judgments: similarity matrices of stimuli, their agreement with human
ratings, and weights of features that improve it.

People rate how similar pairs of n stimuli are; embeddings or tags of the stimuli predict it. Here
are the model's similarities, the reliability of the ratings, which bounds what a model can reach,
correlations of similarity matrices with tests that respect that pairs share stimuli, stacked
features, and weights of features by ridge regression. After R. Marjieh, P. van Rijn, I.
Sucholutsky, T. R. Sumers, H. Lee, T. L. Griffiths, N. Jacoby, "Words are all you need? Language as
an approximation for human similarity judgments", ICLR 2023.
"""

from .agreement import RSAResult, representational_similarity
from .regression import SimilarityRegression
from .reliability import Reliability, rating_reliability
from .similarities import similarity_matrix, stack_features
from .tags import tag_similarity
