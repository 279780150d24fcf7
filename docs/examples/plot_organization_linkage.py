"""
Two lists of names, one of them spelled otherwise
=================================================

Two tables name the same places or companies differently, and one wants to know which rows belong together. Names that look alike are
found by the letters that they share. Names that do not look alike, "Holland" and "Nederland", need a directory: a list of names that are
known to mean the same. This page links the English names of countries with their own ones and shows what each way finds.
"""

import re

import matplotlib.pyplot as plt
import numpy as np

from numcore.retrieval import MatchProbability, fuzzy_link, link_through_directory, linkage_quality, name_network, network_clusters

# %%
# The names of countries in English and those that they have for themselves, written with Latin letters. On the left is the English name,
# on the right the own one, both as somebody typed them who left out a letter.

PLACES = """Albania Shqipëria|Austria Österreich|Belgium Belgique|Brazil Brasil|Croatia Hrvatska|Czechia Česko|Denmark Danmark|
Estonia Eesti|Finland Suomi|France France|Germany Deutschland|Greece Hellas|Hungary Magyarország|Iceland Ísland|Ireland Éire|
Italy Italia|Latvia Latvija|Lithuania Lietuva|Luxembourg Lëtzebuerg|Mexico México|Netherlands Nederland|Norway Norge|
Poland Polska|Portugal Portugal|Romania România|Slovakia Slovensko|Slovenia Slovenija|Spain España|Sweden Sverige|
Switzerland Schweiz|Turkey Türkiye|Japan Nippon|China Zhongguo|Morocco Maghrib|Egypt Misr|Tunisia Tunis|Peru Perú|Panama Panamá|
Canada Canada|Philippines Pilipinas|Indonesia Indonesia|Vietnam Việtnam"""
english, own = zip(*(pair.split() for pair in re.sub(r"\s*\n", "", PLACES).split("|")), strict=True)
rng = np.random.default_rng(0)


def typed(name):
    at = rng.integers(1, len(name))
    return name[:at] + name[at + 1:]


left, right = [typed(name) for name in english], [typed(name) for name in own]
true = list(range(len(left))), list(range(len(right)))

# %%
# The directory says which names occur together, here with three uses of the English name and two of the other in each "profile", and a
# few profiles that mix up two countries, as people do. Names that share profiles form a network: a random walk goes from a name to a
# profile that uses it and on to a name of this profile. Markov clustering finds the groups that such a walk rarely leaves.

n = len(english)
aliases = np.r_[np.arange(n), n + np.arange(n), rng.integers(0, n, 5)]
profiles = np.r_[np.arange(n), np.arange(n), rng.integers(0, n, 5)]
counts = np.r_[np.full(n, 3), np.full(n, 2), np.full(5, 0.3)]
walk = name_network(aliases, profiles, counts)
ids = network_clusters(walk.indptr, walk.indices, walk.data)
print(f"{len(ids)} names in {ids.max() + 1} groups, of {n} countries")

# %%
# For each way, the largest distance that counts as a link goes from 0 to 1. A link is right if it joins a country to itself. Precision is
# the share of links that are right, recall the share of countries that are found.

directory = [*english, *own]
found = {"letters alone": fuzzy_link(left, right, max_distance=1.0),
         "through the directory": link_through_directory(left, right, directory, ids, max_distance=0.6)}
limits = np.linspace(0, 1, 101)
figure, curves = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, links), colour in zip(found.items(), ("#c4581a", "#0b6e99"), strict=True):
    near = [links.distance <= limit for limit in limits]
    quality = [linkage_quality((links.left[keep], links.right[keep]), true, n_left=n, n_right=n) for keep in near]
    curves.plot([q.recall for q in quality if q.tp], [q.precision for q in quality if q.tp], ".-", color=colour, label=name)
    best = max(quality, key=lambda q: q.f_beta)
    print(f"{name}: at the best limit {best.tp} of {n} countries are found, with {best.fp} wrong links")
curves.set_xlabel("recall")
curves.set_ylabel("precision")
curves.set_ylim(0, 1.05)
curves.legend(loc="lower left")

# %%
# A distance becomes a probability by a logistic curve that is fitted to pairs of which one knows whether they match: here those that
# letters found. It is a falling curve whatever the data say, since a larger distance must not make a match likelier.

links = found["letters alone"]
match = links.left == links.right
fitted = MatchProbability().fit(links.distance, match)
figure, model = plt.subplots(figsize=(7, 3.6), layout="constrained")
model.plot(limits, fitted.predict(limits), color="#0b6e99", label="fitted probability")
model.plot(links.distance, match + rng.uniform(-0.02, 0.02, len(match)), ".", color="#c4581a", alpha=0.4, label="pairs: 1 match, 0 none")
model.set_xlabel("distance of the names")
model.set_ylabel("probability of a match")
model.legend(loc="lower left")
