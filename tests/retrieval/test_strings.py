"""Distances of strings: known answers, naive tables, packed strings on the simulated GPU, bad
input."""

import unicodedata

import numpy as np
import pytest

import numcore
from numcore.examples.retrieval.strings import MEASURES as NAIVE, gram_distance, random_strings
from numcore.retrieval import PackedStrings, pack_strings, string_similarity
from numcore.testing import simulated_gpu

EDITS = ("levenshtein", "osa")


def one(a, b, measure, **options):
    return string_similarity([a], [b], measure=measure, **options)[0, 0]


def table(left, right, measure):
    return np.array([[NAIVE[measure](a, b) for b in right] for a in left], float).reshape(
        len(left), len(right)
    )


@pytest.mark.parametrize(
    "a, b, measure, value",
    [
        ("kitten", "sitting", "levenshtein", 3),
        ("goldman sachs", "goldmn sachs", "levenshtein", 1),
        ("ca", "abc", "osa", 3),
        ("ca", "ac", "osa", 1),
        ("ca", "ac", "levenshtein", 2),
        ("MARTHA", "MARHTA", "jaro", 0.944444),
        ("MARTHA", "MARHTA", "jaro_winkler", 0.961111),
        ("DIXON", "DICKSONX", "jaro_winkler", 0.813333),
        ("DWAYNE", "DUANE", "jaro_winkler", 0.84),
        ("apple", "apple corp", "qgram_jaccard", 0.555556),
        ("oracle", "oracle inc", "qgram_jaccard", 0.444444),
        ("goldman sachs", "goldmn sachs", "qgram_jaccard", 0.230769),
        ("fannie mae", "federal national mortgage association", "qgram_jaccard", 0.944444),
        ("aab", "ab", "qgram_cosine", 0.292893),
    ],
)
def test_known_answers(a, b, measure, value):
    assert one(a, b, measure) == pytest.approx(value, abs=5e-7)  # six digits are known


@pytest.mark.parametrize("measure", NAIVE)
@pytest.mark.parametrize(
    "letters, longest", [("ab", 6), ("abcdefgh ", 20), ("aé木😀", 12), ("abc", 70)]
)
def test_agrees_with_naive(measure, letters, longest):
    rng = np.random.default_rng(len(letters))
    left, right = (["", "a", *random_strings(rng, count, longest, letters)] for count in (12, 37))
    result = string_similarity(left, right, measure=measure)
    assert result.dtype == (np.int32 if measure in EDITS else np.float64)
    np.testing.assert_allclose(
        result, table(left, right, measure), rtol=0, atol=0 if measure in EDITS else 4e-16
    )


@pytest.mark.parametrize("swaps", EDITS)
def test_edit_distance_at_the_borders_of_words(swaps):
    rng = np.random.default_rng(0)
    sizes = [31, 32, 33, 63, 64, 65, 127, 128, 129]
    left = ["".join(rng.choice(list("abc"), n)) for n in sizes]
    right = [a[:30] + a[31:29:-1] + a[32:] + "b" for a in left] + [
        a[:61] + a[63:61:-1] + a[64:] + a[64:63:-1] for a in left
    ]
    np.testing.assert_array_equal(
        string_similarity(left, right, measure=swaps), table(left, right, swaps)
    )


@pytest.mark.parametrize("swaps", EDITS)
@pytest.mark.parametrize("letters", [0, 1 << 14])  # of an alphabet for patterns side by side
def test_edit_distance_is_the_same_from_both_sides(swaps, letters, monkeypatch):
    """Patterns are the side with more short strings."""
    monkeypatch.setattr("numcore.retrieval._strings.edits.MAX_LETTERS", letters)
    rng = np.random.default_rng(1)
    few, many = (
        random_strings(rng, 3, 90, "abcé"),
        ["", "é" * 70, *random_strings(rng, 70, 40, "abcd")],
    )
    expected = table(few, many, swaps)
    np.testing.assert_array_equal(string_similarity(few, many, measure=swaps), expected)
    np.testing.assert_array_equal(string_similarity(many, few, measure=swaps), expected.T)


@pytest.mark.parametrize("at", range(60, 68))
def test_swaps_across_words(at):
    a = "".join(np.random.default_rng(at).permutation([chr(200 + i) for i in range(150)]))
    b = a[:at] + a[at + 1] + a[at] + a[at + 2 :]
    assert one(a, b, "osa") == 1 and one(a, b, "levenshtein") == 2


@pytest.mark.parametrize("measure", NAIVE)
def test_properties(measure):
    strings = ["", "x", *random_strings(np.random.default_rng(1), 30, 15)]
    result = string_similarity(strings, measure=measure)
    assert (np.diag(result) == (1 if measure.startswith("jaro") else 0)).all()
    if measure not in ("jaro", "jaro_winkler"):
        np.testing.assert_array_equal(result, result.T)
    np.testing.assert_array_equal(
        result, string_similarity(tuple(strings), np.array(strings, object), measure=measure)
    )


@pytest.mark.parametrize("q", [1, 2, 3, 5])
def test_grams_of_any_length(q):
    left, right = (random_strings(np.random.default_rng(seed), 20, 9, "ab") for seed in (2, 3))
    for measure in ("qgram_jaccard", "qgram_cosine"):
        expected = [
            [gram_distance(a, b, q, measure == "qgram_cosine") for b in right] for a in left
        ]
        np.testing.assert_allclose(
            string_similarity(left, right, measure=measure, q=q), expected, rtol=0, atol=4e-16
        )


def test_cutoffs():
    assert (
        one("kitten", "sitting", "levenshtein", cutoff=3) == 3
        and one("kitten", "sitting", "levenshtein", cutoff=1.5) == 2
    )
    assert one("kitten", "sitting", "osa", cutoff=1e300) == 3
    assert (
        one("MARTHA", "MARHTA", "jaro", cutoff=0.95) == 0
        and one("MARTHA", "MARHTA", "jaro", cutoff=0.9) > 0.9
    )
    assert (
        one("apple", "apple corp", "qgram_jaccard", cutoff=0.5) == 1
        and one("apple", "apple corp", "qgram_jaccard", cutoff=0.6) < 0.6
    )


def test_prefix_weight():
    assert one("MARTHA", "MARHTA", "jaro_winkler", prefix_weight=0) == one(
        "MARTHA", "MARHTA", "jaro"
    )
    assert one("abcdX", "abcdY", "jaro_winkler", prefix_weight=0.25) == 1


@pytest.mark.parametrize("measure", NAIVE)
def test_nothing(measure):
    assert string_similarity([], ["a"], measure=measure).shape == (0, 1)
    assert string_similarity(["a"], [], measure=measure).shape == (1, 0)
    assert string_similarity([], measure=measure).shape == (0, 0)
    assert string_similarity([""], ["", ""], measure=measure).tolist() == [
        [float(measure.startswith("jaro"))] * 2
    ]


def test_surrogates_and_combined_letters():
    assert one("\ud800a", "a", "levenshtein") == 1
    assert one("é", unicodedata.normalize("NFD", "é"), "levenshtein") == 2


def test_many_letters():
    """More than 256 letters share the slots of the GPU's tables."""
    a = "".join(chr(0x4E00 + i) for i in range(0, 5000, 100))
    b = "".join(chr(0x4E00 + i) for i in range(5000))
    assert one(a, b, "levenshtein") == 5000 - 50
    with simulated_gpu() as xp:
        packed = [PackedStrings(*map(xp.asarray, pack_strings([s]))) for s in (a, b[:600])]
        assert (
            int(string_similarity(*packed, measure="levenshtein")[0, 0]) == 600 - 6
        )  # 6 letters are equal, 44 replaced


@pytest.mark.parametrize("measure", NAIVE)
def test_gpu(measure):
    rng = np.random.default_rng(4)
    left, right = random_strings(rng, 9, 30) + ["abcd" * 20], random_strings(rng, 35, 12) + [""]
    expected = string_similarity(left, right, measure=measure)
    with simulated_gpu() as xp:
        packed = [PackedStrings(*map(xp.asarray, pack_strings(side))) for side in (left, right)]
        result = string_similarity(*packed, measure=measure)
        assert type(result) is type(xp.ones(1)) and result.dtype == expected.dtype
        np.testing.assert_allclose(result.get(), expected, rtol=0, atol=4e-16)
    again = string_similarity(pack_strings(left), pack_strings(right), measure=measure)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("measure", NAIVE)
def test_threads_do_not_matter(measure):
    strings, before, results = (
        random_strings(np.random.default_rng(5), 100, 80),
        numcore.get_num_threads(),
        [],
    )
    try:
        for threads in (1, 3):
            numcore.set_num_threads(threads)
            results.append(string_similarity(strings, measure=measure))
    finally:
        numcore.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_packed_inputs_are_only_read():
    codes, offsets = pack_strings(["ab", "b"])
    for array in (codes, offsets):
        array.flags.writeable = False
    assert string_similarity(PackedStrings(codes, offsets), measure="osa").tolist() == [
        [0, 1],
        [1, 0],
    ]
    wide = np.repeat(codes, 2)[::2]
    assert string_similarity(PackedStrings(wide, offsets), measure="osa").tolist() == [
        [0, 1],
        [1, 0],
    ]


CODES, OFFSETS = np.array([97], np.uint32), np.array([0, 1])


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        ({"left": ["a", None]}, TypeError, r"left\[1\] must be a string \(got None\)"),
        ({"right": ["a", float("nan")]}, TypeError, r"right\[1\] must be a string \(got nan\)"),
        ({"left": "text"}, TypeError, "left must be a sequence of strings or a PackedStrings"),
        (
            {"left": PackedStrings(CODES, np.array([0, 2]))},
            ValueError,
            r"left.offsets must ascend from 0 to 1 \(got 0 … 2\)",
        ),
        ({"left": PackedStrings(CODES, np.array([0, 1, 0, 1]))}, ValueError, "must ascend"),
        ({"left": PackedStrings(CODES, np.zeros(0, int))}, ValueError, "must ascend"),
        (
            {"right": PackedStrings(CODES.astype(int), OFFSETS)},
            TypeError,
            r"right.codes must have dtype uint32 \(got int64\)",
        ),
        (
            {"left": PackedStrings(CODES[None], OFFSETS)},
            ValueError,
            r"left.codes must have shape \(_,\) \(got \(1, 1\)\)",
        ),
    ],
)
def test_bad_input(arguments, kind, message):
    with pytest.raises(kind, match=message):
        string_similarity(**{"left": ["a", "b"], "measure": "osa"} | arguments)


def test_mixed_devices():
    with simulated_gpu() as xp:
        there = PackedStrings(xp.asarray(CODES), xp.asarray(OFFSETS))
        for here in (PackedStrings(CODES, OFFSETS), ["a"]):
            with pytest.raises(TypeError, match="one device"):
                string_similarity(there, here, measure="osa")
