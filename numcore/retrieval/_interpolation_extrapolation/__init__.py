"""Interpolation and extrapolation splits: evaluates a retrieval model separately on test queries
that resemble training queries and on those that do not.

A retrieval model is trained on queries and tested on others. Test queries close to a training query
ask for interpolation, distant ones for extrapolation, and a benchmark that mixes them says little
about either. Training sets are resampled by the similarity of the embeddings of queries, or both
sets are cut into buckets, of which each is left out of training once.
"""

from .buckets import BucketSplit, resample_train_test
from .reports import LabelOverlap, SplitReport, label_overlap, split_report
from .resampling import nearest_training_similarity, resample_training
