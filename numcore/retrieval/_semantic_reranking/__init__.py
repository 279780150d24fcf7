"""SemRe-Rank: extracts the terms of a field from its texts. Candidates are scored by how often they
occur, then those are raised whose words are central among words of related meaning, by PageRank on
one graph of related words for each document. The source is Zhang, Gao & Ciravegna (2018)."""

from .counts import TermStatistics, nested_terms, term_statistics
from .importance import semantic_importance
from .lists import TermLists
from .relatedness import semantic_graph
from .scores import RerankedTerms, base_scores, rerank_terms
