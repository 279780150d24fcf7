"""Ranking losses: losses on lists of scores for learning to rank, with their gradients."""

from .routines import RankingLoss, ranking_loss
