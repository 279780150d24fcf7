"""Distances and similarities of all pairs of short strings: edit distances by bit-parallel steps
(Myers 1999, Hyyrö 2003), Jaro and Winkler, and overlaps of q-grams. Strings become arrays of code
points on the host; all else happens where these arrays live."""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import Array, Int64, Kind, UInt32, at_least, nonnegative, within
from ..dispatch import namespace_of, routine
from ..kernel import kernel
from ..simd import popcount

LANES = 32  # strings whose edit distances advance side by side
MAX_LETTERS = 1 << 14  # of an alphabet for this: 32 masks for each letter
WORD = 64
WORKSPACE = 1 << 26  # bytes for the carries of long strings
TABLE = 1 << 17  # numbers that may be counted in a table rather than sorted, however few they are


class PackedStrings(NamedTuple):
    """Strings as arrays: string i has the code points ``codes[offsets[i]:offsets[i + 1]]``."""

    codes: UInt32[Array, "_"]
    offsets: Int64[Array, "_"]


class StringsKind(Kind):
    """A list, a tuple, an array or another iterable of strings; bodies get a list."""

    text, noun = "sequence of str", "a sequence of strings"

    def fits(self, value):
        return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, PackedStrings))

    def convert(self, name, value, call):
        strings = value if isinstance(value, list) else list(value)
        if not {str}.issuperset(map(type, strings)):
            for i, string in enumerate(strings):
                if not isinstance(string, str):
                    raise TypeError(f"{name}[{i}] must be a string (got {string!r:.80})")
        return strings

    def unfit(self):
        return [("text", TypeError), (b"text", TypeError), (3, TypeError), (["a", 1], TypeError)]


Strings: TypeAlias = Annotated[Iterable[str], StringsKind()]


@routine(host_only="strings live on the host")
def pack_strings(strings: Strings) -> PackedStrings:
    """Strings as NumPy arrays of code points.

    Parameters
    ----------
    strings : sequence of str

    Returns
    -------
    PackedStrings

    Raises
    ------
    TypeError
        `strings` is not a sequence of str; the message names the first item that is not a string.

    References
    ----------
    The Unicode Consortium, "The Unicode Standard", section 3.9: encoding form UTF-32.

    Examples
    --------
    >>> pack_strings(["ab", "c"])
    PackedStrings(codes=array([97, 98, 99], dtype=uint32), offsets=array([0, 2, 3]))
    """
    codes = np.frombuffer(
        "".join(strings).encode("utf-32-le", "surrogatepass"), np.dtype("<u4")
    ).astype(np.uint32)
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(string) for string in strings], out=offsets[1:])
    return PackedStrings(codes, offsets)


@routine
def string_similarity(
    left: Strings | PackedStrings,
    right: Strings | PackedStrings | None = None,
    *,
    measure: Literal["levenshtein", "osa", "jaro", "jaro_winkler", "qgram_jaccard", "qgram_cosine"],
    q: Annotated[int, at_least(1)] = 2,
    prefix_weight: Annotated[float, within(0, 0.25)] = 0.1,
    cutoff: Annotated[float, nonnegative] | None = None,
) -> Array:
    """Distances or similarities of all pairs of strings.

    Parameters
    ----------
    left : sequence of str or PackedStrings
        Or what `pack_strings` makes of it, also with its arrays on a GPU.
    right : sequence of str or PackedStrings, optional
        By default `left`.
    measure : {"levenshtein", "osa", "jaro", "jaro_winkler", "qgram_jaccard", "qgram_cosine"}
        Levenshtein's edit distance; with swaps of neighbours as one edit and no part edited twice
        ("optimal string alignment"); Jaro's similarity, m matches with t of them out of order
        giving (m / \\|a\\| + m / \\|b\\| + (m - t / 2) / m) / 3; Winkler's, which adds to a
        similarity J > 0.7 the length of the common prefix, at most 4, times `prefix_weight` (1 -
        J); one minus the quotient of common to all q-grams, as sets; one minus the cosine of the
        numbers of q-grams.
    q : int >= 1, default 2
        Characters of a q-gram. A string that is shorter has none: its q-gram distance to another
        such string is 0, to others 1.
    prefix_weight : float in [0, 0.25], default 0.1
        What a letter of the common prefix adds to Winkler's similarity.
    cutoff : float >= 0, optional
        What is worse becomes the worst: edit distances above it become the next integer above it,
        q-gram distances 1, similarities below it 0.

    Returns
    -------
    (nl, nr) array
        int32 for the edit distances, else float64, on the device of packed strings. Edit distances
        are exact, the others to a few units of rounding, 1e-15.

    Raises
    ------
    TypeError
        An item is not a string, or packed arrays have other dtypes or live on different devices.
    ValueError
        An option is outside of its range, or offsets do not ascend from 0 to the number of code
        points.

    Notes
    -----
    Characters are code points: combine them first (``unicodedata.normalize``) where composed and
    decomposed forms are mixed. Edit distances cost \\|b\\| ⌈\\|a\\| / 64⌉ word operations for a
    pair, many pairs at once; Jaro's \\|b\\| max(\\|a\\|, \\|b\\|); q-grams the number of pairs of
    equal ones. All pairs are computed: see `fuzzy_link` for lists too long for that.

    References
    ----------
    G. Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
    programming", Journal of the ACM, 1999. H. Hyyrö, "A bit-vector algorithm for computing
    Levenshtein and Damerau edit distances", Nordic Journal of Computing, 2003. W. E. Winkler,
    "String comparator metrics and enhanced decision rules in the Fellegi–Sunter model of record
    linkage", 1990.

    Examples
    --------
    >>> string_similarity(["kitten"], ["sitting", "mitten"], measure="levenshtein")
    array([[3, 1]], dtype=int32)
    """
    left = _packed("left", left)
    right = left if right is None else _packed("right", right)
    xp = namespace_of(left.codes)
    if namespace_of(right.codes) is not xp:
        raise TypeError("left and right must live on one device (got a GPU and the host)")
    if measure in ("levenshtein", "osa"):
        distance = edit_distances(xp, left, right, measure == "osa")
        return (
            distance
            if cutoff is None
            else xp.minimum(distance, np.int32(min(int(cutoff) + 1, 2**31 - 1)))
        )
    if measure in ("jaro", "jaro_winkler"):
        similarity = _jaro(xp, left, right, prefix_weight if measure == "jaro_winkler" else 0.0)
        return similarity if cutoff is None else xp.where(similarity < cutoff, 0.0, similarity)
    distance = _gram_distances(xp, left, right, q, counted=measure == "qgram_cosine")
    return distance if cutoff is None else xp.where(distance > cutoff, 1.0, distance)


def _packed(name, strings):
    """Strings as contiguous code points; the offsets of packed ones must fit to their codes."""
    if not isinstance(strings, PackedStrings):
        return pack_strings(strings)
    codes, offsets = map(namespace_of(strings.codes).ascontiguousarray, strings)
    n = len(codes)
    if (
        not len(offsets)
        or int(offsets[0]) != 0
        or int(offsets[-1]) != n
        or bool((offsets[1:] < offsets[:-1]).any())
    ):
        raise ValueError(f"{name}.offsets must ascend from 0 to the number of codes, {n}")
    return PackedStrings(codes, offsets)


# --- edit distances -------------------------------------------------------------------------------


def edit_distances(xp, left, right, swaps):
    distance = xp.empty((len(left.offsets) - 1, len(right.offsets) - 1), np.int32)
    if not distance.size:
        return distance
    # many short patterns advance side by side along one text
    short = [int((xp.diff(side.offsets) <= WORD).sum()) for side in (left, right)]
    patterns, texts, steps = (
        (left, right, (distance.shape[1], 1))
        if short[0] > short[1]
        else (right, left, (1, distance.shape[1]))
    )
    lengths = xp.diff(patterns.offsets)
    alphabet, letters = xp.unique(texts.codes, return_inverse=True)
    letters = letters.astype(np.uint32)
    lanes = (lengths <= WORD) & (len(alphabet) <= MAX_LETTERS)
    columns = _grouped(xp, lengths, xp.nonzero(lanes)[0])
    if len(columns):
        edit_distance_lanes(
            alphabet,
            *patterns,
            columns,
            letters,
            texts.offsets,
            distance.reshape(-1),
            *steps,
            int(swaps),
        )
    others = xp.nonzero(~lanes)[0]
    batch = max(1, WORKSPACE // max(len(letters), 1))
    for first in range(0, len(others), batch):
        these = others[first : first + batch]
        carry = xp.empty((len(these), len(letters)), np.uint8)
        edit_distance_blocks(
            alphabet,
            *patterns,
            these,
            letters,
            texts.offsets,
            carry,
            distance.reshape(-1),
            *steps,
            int(swaps),
        )
    return distance


def _grouped(xp, lengths, chosen):
    """(g, 32) array of the chosen strings' numbers by length, and -1 for what is missing in the
    last row."""
    columns = xp.full(-(-len(chosen) // LANES) * LANES, -1, np.int64)
    columns[: len(chosen)] = chosen[xp.argsort(lengths[chosen], kind="stable")]
    return columns.reshape(-1, LANES)


def letter_number(alphabet, code):
    """The place of a code point in the sorted alphabet, or the alphabet's size."""
    low, high = np.int64(0), np.int64(len(alphabet))
    while low < high:
        middle = (low + high) // 2
        if alphabet[middle] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < len(alphabet) and alphabet[low] == code else np.int64(len(alphabet))


def along_text(masks, text, swaps, state):
    """Levenshtein's recursion for 32 patterns at once, along one text; rows of the state: VP, VN,
    D0, last masks, swaps, places."""
    word = state.dtype.type
    one = word(1)
    for lane in range(32):
        state[0, lane] = ~word(0)
        state[1, lane] = state[2, lane] = state[3, lane] = state[4, lane] = 0
    for p in range(len(text)):
        row = masks[np.uintp(text[p])]
        if swaps:
            for lane in range(32):
                state[4, lane] = (
                    word(word(word(~state[2, lane]) & row[lane]) << one) & state[3, lane]
                )
                state[3, lane] = row[lane]
        for lane in range(32):
            pm, vp, vn = row[lane], state[0, lane], state[1, lane]
            d0 = word(word(word(word(pm & vp) + vp) ^ vp) | word(pm | word(vn | state[4, lane])))
            hp, hn = word(vn | word(~word(d0 | vp))), word(d0 & vp)
            hp = word(word(hp << one) | one)
            state[0, lane] = word(word(hn << one) | word(~word(d0 | hp)))
            state[1, lane] = word(hp & d0)
            state[2, lane] = d0


def group_distances(
    alphabet,
    codes,
    starts,
    columns,
    letters,
    offsets,
    distance,
    step,
    text_step,
    swaps,
    masks,
    state,
):
    """Up to 32 patterns and all texts. The last column of the table begins with the text's length;
    VP and VN are its rises and falls."""
    word = masks.dtype.type
    for lane in range(32):
        state[5, lane] = 0
        if columns[lane] >= 0:
            first = starts[columns[lane]]
            for j in range(first, starts[columns[lane] + 1]):
                letter, place = letter_number(alphabet, codes[j]), word(1) << word(j - first)
                state[5, lane] |= place
                if letter < len(alphabet):
                    masks[letter, lane] |= place
    for i in range(len(offsets) - 1):
        along_text(masks, letters[offsets[i] : offsets[i + 1]], swaps, state)
        for lane in range(32):
            if columns[lane] >= 0:
                rises, falls = (
                    np.uint64(state[0, lane] & state[5, lane]),
                    np.uint64(state[1, lane] & state[5, lane]),
                )
                distance[np.uintp(columns[lane] * step + i * text_step)] = (
                    offsets[i + 1]
                    - offsets[i]
                    + np.int64(popcount(rises))
                    - np.int64(popcount(falls))
                )
    for lane in range(32):
        if columns[lane] >= 0:
            for j in range(starts[columns[lane]], starts[columns[lane] + 1]):
                letter = letter_number(alphabet, codes[j])
                if letter < len(alphabet):
                    masks[letter, lane] = 0


@kernel(
    "in uint32 alphabet[a]; in uint32 codes[r]; in int64 starts[n]; in int64 columns[g, 32]; "
    "in uint32 letters[t]; "
    "in int64 offsets[m]; inout int32 distance[z]; int64 step; int64 text_step; int64 swaps; "
    "scratch uint32 narrow[a, 32]; "
    "scratch uint64 wide[a, 32]; scratch uint32 narrow_state[6, 32]; "
    "scratch uint64 wide_state[6, 32]",
    split="g",
    gpu="block",
    grain="1",
)
def edit_distance_lanes(
    alphabet,
    codes,
    starts,
    columns,
    letters,
    offsets,
    distance,
    step,
    text_step,
    swaps,
    narrow,
    wide,
    narrow_state,
    wide_state,
    start,
    stop,
):
    """Groups of patterns of at most 64 letters, and all texts, whose letters are numbers in the
    alphabet."""
    narrow[:] = 0
    wide[:] = 0
    for g in range(start, stop):
        longest = np.int64(0)
        for lane in range(32):
            if columns[g, lane] >= 0:
                longest = max(longest, starts[columns[g, lane] + 1] - starts[columns[g, lane]])
        if longest <= 32:
            group_distances(
                alphabet,
                codes,
                starts,
                columns[g],
                letters,
                offsets,
                distance,
                step,
                text_step,
                swaps,
                narrow,
                narrow_state,
            )
        else:
            group_distances(
                alphabet,
                codes,
                starts,
                columns[g],
                letters,
                offsets,
                distance,
                step,
                text_step,
                swaps,
                wide,
                wide_state,
            )


@kernel(
    "in uint32 alphabet[a]; in uint32 codes[r]; in int64 starts[n]; in int64 chosen[c]; "
    "in uint32 letters[t]; in int64 offsets[m]; "
    "inout uint8 carry[c, t]; inout int32 distance[z]; int64 step; int64 text_step; int64 swaps; "
    "scratch uint64 masks[a+1]",
    split="c",
    gpu="block",
    grain="1",
)
def edit_distance_blocks(
    alphabet,
    codes,
    starts,
    chosen,
    letters,
    offsets,
    carry,
    distance,
    step,
    text_step,
    swaps,
    masks,
    start,
    stop,
):
    """The chosen patterns, of any length, 64 letters at a time, which hand on three bits for each
    letter of a text."""
    one = np.uint64(1)
    masks[:] = 0
    for k in range(start, stop):
        i = chosen[k]
        begin, m = starts[i], starts[i + 1] - starts[i]
        if m == 0:
            for j in range(len(offsets) - 1):
                distance[i * step + j * text_step] = offsets[j + 1] - offsets[j]
        for block in range((m + 63) // 64):
            first, last = begin + 64 * block, min(begin + 64 * (block + 1), begin + m)
            for j in range(first, last):
                letter = letter_number(alphabet, codes[j])
                if letter < len(alphabet):
                    masks[letter] |= one << np.uint64(j - first)
            top = np.uint64(last - first - 1)
            for j in range(len(offsets) - 1):
                vp, vn, d0, before = ~np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
                result = np.int64(m)
                for p in range(offsets[j], offsets[j + 1]):
                    bits = (
                        np.uint64(carry[k, p]) if block else one
                    )  # of the block above: HP, HN, what a swap needs
                    pm = masks[letters[p]]
                    swap = ~d0 & pm
                    x = pm | ((bits >> one) & one)
                    new = (((x & vp) + vp) ^ vp) | x | vn
                    if swaps:
                        new |= ((swap << one) | (bits >> np.uint64(2))) & before
                    d0, before = new, pm
                    hp, hn = vn | ~(d0 | vp), d0 & vp
                    high = np.uint64(63)
                    carry[k, p] = (
                        (hp >> high) | ((hn >> high) << one) | ((swap >> high) << np.uint64(2))
                    )
                    result += np.int64((hp >> top) & one) - np.int64((hn >> top) & one)
                    hp, hn = (hp << one) | (bits & one), (hn << one) | ((bits >> one) & one)
                    vp, vn = hn | ~(d0 | hp), hp & d0
                distance[i * step + j * text_step] = result  # the last block's holds
            for j in range(first, last):
                masks[letter_number(alphabet, codes[j])] = 0


# --- Jaro -----------------------------------------------------------------------------------------


def _jaro(xp, left, right, prefix_weight):
    nl, nr = len(left.offsets) - 1, len(right.offsets) - 1
    similarity = xp.empty((nl, nr))
    if similarity.size:
        longest = int(xp.diff(left.offsets).max()) + int(xp.diff(right.offsets).max())
        jaro_similarity(*left, *right, xp.zeros((nl, longest), np.uint8), similarity, prefix_weight)
    return similarity


def with_prefix(a, a_first, m, b, b_first, n, matches, out_of_order, prefix_weight):
    """Jaro's similarity from its counts, with Winkler's addition."""
    jaro = (matches / m + matches / n + (matches - out_of_order // 2) / matches) / 3
    prefix = 0
    while prefix < min(4, min(m, n)) and a[a_first + prefix] == b[b_first + prefix]:
        prefix += 1
    return jaro + prefix * prefix_weight * (1 - jaro) if jaro > 0.7 else jaro


def jaro_pair(a, a_first, m, b, b_first, n, taken, prefix_weight):
    """Jaro's similarity of m letters of a and n of b, with Winkler's addition; `taken` has room for
    m + n flags."""
    for k in range(m + n):
        taken[k] = 0
    if m == 0 or n == 0:
        return 1.0 if m == n else 0.0
    window = max(0, max(m, n) // 2 - 1)
    matches = 0
    for t in range(n):
        for k in range(max(0, t - window), min(m, t + window + 1)):
            if taken[k] == 0 and a[a_first + k] == b[b_first + t]:
                taken[k] = 1
                taken[m + t] = 1
                matches += 1
                break
    if matches == 0:
        return 0.0
    out_of_order, k = 0, np.int64(0)
    for t in range(n):
        if taken[m + t]:
            while taken[k] == 0:
                k += 1
            out_of_order += a[a_first + k] != b[b_first + t]
            k += 1
    return with_prefix(a, a_first, m, b, b_first, n, matches, out_of_order, prefix_weight)


def jaro_bits(a, a_first, m, b, b_first, n, masks, prefix_weight):
    """`jaro_pair` for at most 64 letters each. ``masks[code % 256]`` has a bit for each letter of a
    that may be this one."""
    one = np.uint64(1)
    window, taken, partners, matches = max(0, max(m, n) // 2 - 1), np.uint64(0), np.uint64(0), 0
    for t in range(n):
        code, low, high = b[b_first + t], max(0, t - window), min(m, t + window + 1)
        if low >= high:
            break
        near = (~np.uint64(0) >> np.uint64(64 - (high - low))) << np.uint64(low)
        free = masks[np.uintp(code & np.uint32(255))] & near & ~taken
        while free:
            bit = free & (~free + one)
            if a[a_first + np.int64(popcount(bit - one))] == code:
                taken |= bit
                partners |= one << np.uint64(t)
                matches += 1
                break
            free ^= bit
    if matches == 0:
        return 1.0 if m == n == 0 else 0.0
    out_of_order = 0
    for _ in range(matches):
        bit, partner = taken & (~taken + one), partners & (~partners + one)
        out_of_order += (
            a[a_first + np.int64(popcount(bit - one))]
            != b[b_first + np.int64(popcount(partner - one))]
        )
        taken ^= bit
        partners ^= partner
    return with_prefix(a, a_first, m, b, b_first, n, matches, out_of_order, prefix_weight)


@kernel(
    "in uint32 left[t]; in int64 left_offsets[nl+1]; in uint32 right[r]; "
    "in int64 right_offsets[nr+1]; inout uint8 taken[nl, w]; "
    "out float64 similarity[nl, nr]; float64 prefix_weight; scratch uint64 masks[256]",
    split="nl",
    gpu="warp",
    grain="1",
)
def jaro_similarity(
    left, left_offsets, right, right_offsets, taken, similarity, prefix_weight, masks, start, stop
):
    """All pairs; `taken` is zero before and after."""
    masks[:] = 0
    for i in range(start, stop):
        a, m = left_offsets[i], left_offsets[i + 1] - left_offsets[i]
        for k in range(min(m, 64)):
            masks[left[a + k] & np.uint32(255)] |= np.uint64(1) << np.uint64(k)
        for j in range(similarity.shape[1]):
            b, n = right_offsets[j], right_offsets[j + 1] - right_offsets[j]
            if m <= 64 and n <= 64:
                similarity[i, j] = jaro_bits(left, a, m, right, b, n, masks, prefix_weight)
            else:
                similarity[i, j] = jaro_pair(left, a, m, right, b, n, taken[i], prefix_weight)
                for k in range(m + n):
                    taken[i, k] = 0
        for k in range(min(m, 64)):
            masks[left[a + k] & np.uint32(255)] = 0


# --- q-grams --------------------------------------------------------------------------------------


def numbered_grams(xp, left, right, q):
    """For each side the strings' numbers and the grams' numbers, equal for equal grams of both
    sides."""
    sizes = [len(side.codes) for side in (left, right)]
    codes = xp.concatenate([left.codes, right.codes])
    ends = xp.concatenate([left.offsets[1:], right.offsets[1:] + sizes[0]])
    string = xp.cumsum(
        xp.bincount(ends, minlength=len(codes) + 1)[: len(codes)]
    )  # how many end before
    at = xp.arange(len(codes))
    at = at[ends[string] - at >= q] if len(at) else at
    letters, alphabet = _numbered(xp, codes.astype(np.int64))
    grams = letters[at]
    for step in range(
        1, q if len(at) else 1
    ):  # as a pair of the gram so far and the next letter: numbers never collide
        grams, _ = _numbered(xp, grams * alphabet + letters[at + step])
    string, n = string[at], len(left.offsets) - 1
    ours = string < n
    return (string[ours], grams[ours]), (string[~ours] - n, grams[~ours])


def _numbered(xp, keys):
    """The keys' places among the different ones in ascending order, and how many these are."""
    span = int(keys.max()) + 1 if len(keys) else 0
    if span > TABLE + 4 * len(keys):
        different, places = xp.unique(keys, return_inverse=True)
        return places, len(different)
    table = xp.zeros(span, np.int64)
    table[keys] = 1
    return xp.cumsum(table)[keys] - 1, int(table.sum())


def counted_grams(xp, strings, grams, n, number):
    """Offsets (n + 1,) of each string's grams, these in ascending order without repetition, and how
    often each is there."""
    keys, counts = xp.unique(strings * number + grams, return_counts=True)
    offsets = xp.searchsorted(keys // max(number, 1), xp.arange(n + 1), side="left").astype(
        np.int64
    )
    return offsets, keys % max(number, 1), counts.astype(np.int64)


def _gram_distances(xp, left, right, q, counted):
    nl, nr = len(left.offsets) - 1, len(right.offsets) - 1
    if not nl or not nr:
        return xp.zeros((nl, nr))
    ours, theirs = numbered_grams(xp, left, right, q)
    number = 1 + max((int(grams.max()) for _, grams in (ours, theirs) if len(grams)), default=0)
    offsets, grams, counts = counted_grams(xp, *ours, nl, number)
    right_offsets, right_grams, right_counts = counted_grams(xp, *theirs, nr, number)
    if not counted:
        counts, right_counts = xp.ones(len(counts), np.int64), xp.ones(len(right_counts), np.int64)
    right_strings = xp.searchsorted(right_offsets, xp.arange(len(right_grams)), side="right") - 1
    order = xp.argsort(right_grams * nr + right_strings)
    postings = xp.searchsorted(right_grams[order], xp.arange(number + 1), side="left").astype(
        np.int64
    )
    overlap = xp.empty((nl, nr), np.int64)
    gram_overlap(
        offsets,
        grams,
        counts,
        postings,
        right_strings[order].astype(np.int64),
        right_counts[order],
        overlap,
    )
    size = _sums(xp, counts**2, offsets)[:, None]
    right_size = _sums(xp, right_counts**2, right_offsets)
    all_of_them = (
        xp.sqrt(size * right_size.astype(np.float64)) if counted else size + right_size - overlap
    )
    distance = 1 - overlap / xp.maximum(all_of_them, 1)
    return xp.where((size == 0) & (right_size == 0), 0.0, xp.maximum(distance, 0.0))


def _sums(xp, values, offsets):
    total = xp.zeros(len(values) + 1, np.int64)
    total[1:] = xp.cumsum(values)
    return total[offsets[1:]] - total[offsets[:-1]]


@kernel(
    "in int64 offsets[nl+1]; in int64 grams[x]; in int64 counts[x]; in int64 postings[u]; "
    "in int64 strings[y]; "
    "in int64 right_counts[y]; out int64 overlap[nl, nr]",
    split="nl",
    gpu="block",
    grain="1",
)
def gram_overlap(offsets, grams, counts, postings, strings, right_counts, overlap, start, stop):
    """Products of the numbers of common grams: each left gram walks along the right strings that
    have it."""
    for i in range(start, stop):
        row = overlap[i]
        row[:] = 0
        for e in range(np.uintp(offsets[i]), np.uintp(offsets[i + 1])):
            count = counts[e]
            for at in range(np.uintp(postings[grams[e]]), np.uintp(postings[grams[e] + 1])):
                row[np.uintp(strings[at])] += count * right_counts[at]
