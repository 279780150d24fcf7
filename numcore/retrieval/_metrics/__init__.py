"""Metrics of ranked lists."""

from .routines import ranking_metrics
