"""Distances of all pairs of 1000 and 3000 names of 8 to 30 letters, beside rapidfuzz."""

import random

import numpy as np

import numcore
from numcore._measure import median_seconds
from numcore.retrieval import string_similarity

SECONDS = 3


def names():
    """The names of parts of countries."""
    try:
        import pycountry
    except ImportError as error:
        raise NotImplementedError("pycountry is not installed") from error
    found = sorted({s.name for s in pycountry.subdivisions if 8 <= len(s.name) <= 30})
    random.Random(0).shuffle(found)
    return found[:1000], found[1000:4000]


class Pairs:
    param_names, params = (
        ("measure",),
        (["levenshtein", "osa", "jaro", "jaro_winkler", "qgram_jaccard", "qgram_cosine"],),
    )

    def setup(self, measure):
        self.left, self.right = names()
        self.ours(measure)

    def ours(self, measure):
        return string_similarity(self.left, self.right, measure=measure)

    def time_pairs(self, measure):
        self.ours(measure)

    def peakmem_pairs(self, measure):
        self.ours(measure)

    def track_ratio_to_rapidfuzz(self, measure):
        try:
            from rapidfuzz import distance, process
        except ImportError as error:
            raise NotImplementedError("rapidfuzz is not installed") from error
        scorer = {
            "levenshtein": (distance.Levenshtein.distance, np.int32),
            "osa": (distance.OSA.distance, np.int32),
            "jaro": (distance.Jaro.similarity, np.float64),
            "jaro_winkler": (distance.JaroWinkler.similarity, np.float64),
        }.get(measure)
        if scorer is None:
            raise NotImplementedError("rapidfuzz has no such measure")
        ours, theirs = median_seconds(
            [
                lambda: self.ours(measure),
                lambda: process.cdist(
                    self.left,
                    self.right,
                    scorer=scorer[0],
                    dtype=scorer[1],
                    workers=numcore.get_num_threads(),
                ),
            ],
            SECONDS,
        )
        return theirs / ours
