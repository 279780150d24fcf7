"""MUVERA: search with a set of vectors per item; each set becomes one vector whose inner products
approximate the similarity of sets.

Late-interaction models give a query and a document a set of vectors each. Their similarity is
Chamfer's, which such models call MaxSim,

    Chamfer(Q, D) = Σ over q in Q of max over p in D of ⟨q, p⟩.

Random hyperplanes cut the space into cells. A query's code has for every cell the sum of the
query's vectors in it, a document's code the mean of its vectors there, or the vector whose cell is
nearest: ⟨F(Q), F(D)⟩ then pairs each q with vectors close to it. Repetitions with other hyperplanes
are put one after the other. A plain search by inner products gives candidates, and exact
similarities rank these. From L. Dhulipala, M. Hadian, R. Jayaram, J. Lee, V. Mirrokni, "MUVERA:
multi-vector retrieval via fixed dimensional encodings", NeurIPS 2024.
"""

from .encoder import FixedDimensionalEncoder
from .quantizer import ProductQuantizer
from .routines import MultiVectorResult, chamfer_similarity, multi_vector_search
