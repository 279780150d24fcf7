"""Names of countries in many scripts: measures agree with naive ones, links with those of all
pairs, lower case with Python's."""

import gettext
import unicodedata

import numpy as np
import pytest

from numcore.examples.retrieval import organization_linkage as naive
from numcore.examples.retrieval.strings import MEASURES, gram_distance
from numcore.retrieval import fuzzy_link, link_through_directory, normalize_names, string_similarity

pycountry = pytest.importorskip("pycountry")

LANGUAGES = (
    "de",
    "tr",
    "el",
    "ru",
    "hy",
    "ka",
    "he",
    "ar",
    "hi",
    "ta",
    "th",
    "my",
    "ko",
    "ja",
    "zh_CN",
    "vi",
    "am",
    "dv",
    "km",
)
ODD = [
    "",
    " ",
    "a",
    "\ud800",
    "\udfff\ud800",
    "\U0001f1e9\U0001f1ea",
    "\U0010ffff",
    "e\u0301",
    "\u0301\u0301",
    "\u200f",
    "İı",
    "ß",
    "\x00",
    "aaaa",
]


def names_in(language, step, first=0):
    """Every so many countries' names."""
    translate = gettext.translation(
        "iso3166-1", pycountry.LOCALES_DIR, languages=[language]
    ).gettext
    return [translate(country.name) for country in list(pycountry.countries)[first::step]]


def names(step, first=0):
    """Names in all scripts, some composed and some decomposed."""
    found = [name for language in LANGUAGES for name in names_in(language, step, first)]
    return [unicodedata.normalize(("NFC", "NFD")[i % 2], name) for i, name in enumerate(found)]


def test_names_are_of_many_scripts():
    scripts = {
        unicodedata.name(letter, "?").split()[0]
        for name in names(20)
        for letter in name
        if letter.isalpha()
    }
    assert len(scripts) >= 15 and any(
        unicodedata.combining(letter) for name in names(20) for letter in name
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_measures_of_names_in_all_scripts(measure):
    left, right = [*ODD, *names(83)], [*names(125, first=3), *ODD]
    expected = np.array([[MEASURES[measure](a, b) for b in right] for a in left])
    # edit distances are exact; a quotient of sums of up to four terms has a few units of rounding,
    # at most 1
    np.testing.assert_allclose(
        string_similarity(left, right, measure=measure), expected, rtol=0, atol=5e-16
    )


@pytest.mark.parametrize(
    "measure, worst",
    [
        ("levenshtein", 0),
        ("osa", 0),
        ("jaro", 1),
        ("jaro_winkler", 1),
        ("qgram_jaccard", 0),
        ("qgram_cosine", 0),
    ],
)
def test_names_that_are_all_the_same(measure, worst):
    same = string_similarity(["Việt Nam 越南"] * 70, measure=measure)
    np.testing.assert_allclose(same, np.full((70, 70), worst), rtol=0, atol=5e-16)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_very_long_name(measure):
    """Of 100 000 letters, with its answers known without a table."""
    long = "日本é\ud800" * 25_000
    result = string_similarity(["", "é", long, long[1:]], [long, "Ω"], measure=measure)
    if measure in ("levenshtein", "osa"):
        assert result.tolist() == [[100_000, 1], [99_999, 1], [0, 100_000], [1, 99_999]]
    elif measure in ("jaro", "jaro_winkler"):
        one = (1 + 1e-5 + 1) / 3
        # every letter but the first 日 matches its next occurrence, so that all but the last three
        # stand out of order
        shorter = (1 + 99_999 / 1e5 + (99_999 - 99_996 / 2) / 99_999) / 3
        np.testing.assert_allclose(
            result, [[0, 0], [one, 0], [1, 0], [shorter, 0]], rtol=0, atol=5e-16
        )
    else:
        expected = gram_distance(long[1:], long, 2, cosine=measure == "qgram_cosine")
        np.testing.assert_allclose(
            result, [[1, 0], [1, 0], [0, 1], [expected, 1]], rtol=0, atol=5e-16
        )


@pytest.mark.parametrize(
    "measure, most", [("qgram_jaccard", 0.8), ("osa", 5), ("jaro_winkler", 0.35)]
)
def test_links_are_those_of_all_pairs(measure, most):
    left, right = (
        [*ODD, *names(31), *names_in("it", 8)],
        [*names(25, first=1), *names_in("fr", 8), *ODD],
    )
    pairs = fuzzy_link(left, right, measure=measure, max_distance=most)
    found = dict(
        zip(
            zip(pairs.left.tolist(), pairs.right.tolist(), strict=True),
            pairs.distance.tolist(),
            strict=True,
        )
    )
    expected = naive.links(normalize_names(left), normalize_names(right), measure, most, 0.05)
    assert len(found) == len(pairs.left) and len(found) > 50
    assert found.keys() == expected.keys() and found == pytest.approx(expected, abs=5e-16)


def test_every_country_is_linked_with_itself_through_a_directory():
    sides = [names_in(language, 1) for language in ("ru", "ar")]
    links = link_through_directory(
        *sides, sides[0] + sides[1], 2 * [*range(len(sides[0]))], max_distance=0.0
    )
    themselves = {(i, i) for i in range(len(sides[0]))}
    assert (
        themselves <= set(zip(links.left.tolist(), links.right.tolist(), strict=True))
        and not links.distance.any()
    )


def test_normalized_names_are_in_lower_case():
    for name in [
        *names(10),
        *(name.upper() for name in names(10)),
        "İSTANBUL",
        "ΌΔΟΣ ΣΟΦΙΑΣ",
        "STRASSE ẞ",
        "ǅ",
        "Å\u030a",
        *ODD,
    ]:
        kept = "".join(
            letter for letter in name.lower() if not unicodedata.category(letter).startswith("P")
        )
        assert normalize_names([name]) == [" ".join(kept.split())]
        assert normalize_names([name], strip_punctuation=False, collapse_spaces=False) == [
            name.lower()
        ]
