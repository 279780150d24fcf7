"""Losses of ranked lists."""

from .routines import RankingLoss, ranking_loss

__all__ = ["RankingLoss", "ranking_loss"]
