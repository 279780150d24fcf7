"""Bitext mining: finds pairs of sentences that translate each other from the embeddings of two
collections.

A cosine alone misleads: some sentences are near to everything. Each cosine is therefore weighed
against the mean cosine of the nearest neighbors of both sides (a margin). One product of the
embeddings, made in blocks, gives the neighbors in both directions. Method: Artetxe and Schwenk
2019; documents and pivots as in Samanantar (Ramesh et al. 2022).
"""

from .neighbors import NeighborStatistics, neighbor_statistics
from .pivots import PivotPairs, pivot_pairs
from .routines import MinedPairs, align_documents, margin_scores, mine_pairs
