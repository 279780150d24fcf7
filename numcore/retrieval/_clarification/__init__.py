"""Ranking of clarification questions: which question to ask when a query failed."""

from .hashing import HashedTexts, hash_features
from .ranker import ClarificationRanker
