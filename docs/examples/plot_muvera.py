"""
Search by sets of vectors
=========================

A sentence can be kept as a set of vectors, one for each of its words. How well it answers a query is then the sum, over the words of the
query, of the largest inner product with any word of the sentence: Chamfer similarity, also called MaxSim. It is a fine measure and a
slow one. Here every sentence gets a single vector, its code, made such that inner products of codes are close to Chamfer similarity. A
search by codes leaves a few candidates, and only these are compared word by word.
"""

import re
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn import datasets
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from numcore.retrieval import FixedDimensionalEncoder, chamfer_similarity, multi_vector_search

# %%
# The sentences are those of the descriptions that come with scikit-learn's data sets. A word's vector says in which sentences the word
# occurs, shortened to 48 numbers by a singular value decomposition (latent semantic analysis) and to length 1. Pieces of ten words behind
# each other are the documents.

names = ("iris", "digits", "wine", "diabetes", "breast_cancer", "linnerud")
text = " ".join(getattr(datasets, f"load_{name}")().DESCR for name in names)
words = re.findall(r"[a-z]{3,}", text.lower())
pieces = [" ".join(words[i:i + 10]) for i in range(0, len(words) - 10, 2)]
counts = TfidfVectorizer().fit(pieces)
vectors = TruncatedSVD(48, random_state=0).fit_transform(counts.transform(pieces).T).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

sets = [vectors[[counts.vocabulary_[word] for word in piece.split()]] for piece in pieces]
documents, offsets = np.concatenate(sets), np.cumsum([0, *map(len, sets)])
asked = np.random.default_rng(0).choice(len(sets), 100, replace=False)
queries = np.concatenate([sets[i][::2] for i in asked])  # every other word
query_offsets = np.arange(0, len(queries) + 1, 5)
exact = chamfer_similarity(queries, documents, offsets, query_offsets=query_offsets)
print(f"{len(sets)} documents of 10 words, {len(asked)} queries of 5")

# %%
# A code is made so: random planes cut the space into cells, the query's vectors in each cell are summed, the document's are averaged, and
# the results for all cells, and for several random cuts, are put behind each other. A query's word is thus multiplied by document words in
# its own cell, which are similar to it. Without planes there is one cell, and what is compared are the means of all words. An average is
# never more than the largest, so that products of codes lie below the similarity; with more cells they come nearer.

encoders = {"means of all words": {"n_repetitions": 1, "n_bits": 0}, "4 cells, 5 cuts": {"n_repetitions": 5, "n_bits": 2},
            "32 cells, 20 cuts": {"n_repetitions": 20, "n_bits": 5}}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
needed = np.arange(10, 61)
best = np.argsort(-exact, axis=1)[:, :10]
for (name, options), colour in zip(encoders.items(), ("#c4581a", "#5a7d2a", "#0b6e99"), strict=True):
    encoder = FixedDimensionalEncoder(48, scale="mean", rng=0, **options)
    products = encoder.encode_queries(queries, query_offsets) @ encoder.encode_documents(documents, offsets).T
    left.scatter(exact[::10, ::4], products[::10, ::4], s=3, color=colour, label=name, rasterized=True)
    ranks = np.argsort(np.argsort(-products, axis=1), axis=1)
    recall = [(np.take_along_axis(ranks, best, 1) < n).mean() for n in needed]
    right.plot(needed, recall, color=colour, label=name)
    correlation = np.corrcoef(products.ravel(), exact.ravel())[0, 1]
    print(f"{name}: correlation {correlation:.2f}, on average {(exact - products).mean():.2f} too low; {recall[0]:.0%} of the ten best "
          f"among ten candidates, {recall[20]:.0%} among thirty")
left.axline((0, 0), slope=1, color="0.5", linewidth=1)
left.set_xlabel("Chamfer similarity")
left.set_ylabel("inner product of codes")
left.legend(markerscale=4)
right.set_xlabel("candidates")
right.set_ylabel("part of the ten best that is among them")
right.set_ylim(0.6, 1.01)
right.legend(loc="lower right")

# %%
# `multi_vector_search` does all of it: codes, candidates, exact similarities of these. The word vectors in the codes are shortened to a
# third here, by random sums.

encoder = FixedDimensionalEncoder(48, n_repetitions=20, n_bits=5, projection_dim=16, rng=0)
start = time.perf_counter()
found = multi_vector_search(queries, query_offsets, documents, offsets, 10, encoder=encoder, n_candidates=50)
print(f"{time.perf_counter() - start:.2f} s with all codes made in the call; "
      f"{(found.scores >= np.sort(exact, axis=1)[:, -10:-9] - 1e-5).mean():.0%} of what is found is among the ten best")
print("query:", " ".join(pieces[asked[0]].split()[::2]))
for index, score in zip(found.indices[0, :3], found.scores[0], strict=False):
    print(f"{score:.2f}", pieces[index])
