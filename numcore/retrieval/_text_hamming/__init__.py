"""Text-to-pattern Hamming distances: the number of mismatches between a pattern and every window of
a text: exact, by whichever of four ways is cheapest for the alphabet at hand (comparing bytes,
visiting equal pairs, one convolution for each letter, or a mix of the two), only those within a
bound, or approximate, from random projections of the alphabet. The four ways are those of Fischer
and Paterson (1974), Abrahamson (1987) and Karloff (1993); that O(n √m) is reached in theory was
shown by Chan, Jin, Vassilevska Williams and Xu (2023), whose survey of the problem this module
follows."""

from .routines import (
    AlphabetProfile,
    ApproximateDistances,
    BoundedMatches,
    alphabet_profile,
    hamming_distances,
    hamming_distances_approx,
    hamming_within,
)
