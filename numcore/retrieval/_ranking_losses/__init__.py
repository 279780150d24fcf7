"""Losses of ranked lists."""

from .routines import RankingLoss, ranking_loss
