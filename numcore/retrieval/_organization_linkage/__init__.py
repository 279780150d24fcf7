"""Linkage of organization names: links two lists of names by strings that look alike among those
that share letters, by embeddings, and through a directory of names known to mean the same. After
Libgober and Jerzak (2024), with Markov clustering (van Dongen 2000) and greedy modularity (Clauset,
Newman, Moore 2004) to find which names of a network belong together."""

from .calibration import calibrate_distance
from .directory import DirectoryLinks, LinkageQuality, link_through_directory, linkage_quality
from .joins import embedding_link, fuzzy_link
from .names import normalize_names
from .networks import name_network, network_clusters
from .pairs import LinkedPairs
from .probability import MatchProbability
