"""Ranking metrics: reciprocal rank, recall, precision, average precision and discounted gain."""

from .routines import ranking_metrics
