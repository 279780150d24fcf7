"""Gradient matching: splits a weight-sharing network (a supernet) so that only operations with
similar gradients share weights.

A supernet has several operations on every edge, one of which is active at a time, and weights that
all of them share. For each operation of an edge the gradient at the shared weights is taken with
that operation alone; operations whose gradients point apart hinder each other. Each edge's
operations are parted into groups of small distances; the edge where this separates best is split:
each group gets a copy of the supernet. The same functions tell which tasks should share weights. S.
Hu, R. Wang, L. Hong, Z. Li, C.-J. Hsieh, J. Feng, "Generalizing Few-Shot NAS with Gradient
Matching", ICLR 2022.
"""

from .distances import gradient_distance, gradient_distance_matrix
from .partitions import Partition, min_cut_partition, select_split
from .splitting import split_supernet
