"""Clarification questions."""

from .hashing import HashedTexts, hash_features
from .ranker import ClarificationRanker
