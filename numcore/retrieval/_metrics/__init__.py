"""Metrics of ranked lists."""

from .routines import ranking_metrics

__all__ = ["ranking_metrics"]
