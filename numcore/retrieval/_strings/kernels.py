"""Kernels of distances of strings: edits by words of bits, Jaro's matches, overlaps of q-grams."""

from collections import namedtuple

import numpy as np

from ...kernel import kernel
from ...simd import popcount

# --- edit distances -------------------------------------------------------------------------------

LANES = 32  # patterns whose edit distances advance side by side
VP, VN, D0, BEFORE, SWAPS, LETTERS = range(6)  # rows of the state, and the places of a pattern
STATE = 6
Texts = namedtuple("Texts", "letters offsets")
Table = namedtuple("Table", "distance step text_step")  # steps to the next pattern and text


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
    """Levenshtein's recursion for LANES patterns at once, along one text."""
    word = state.dtype.type
    one = word(1)
    for lane in range(LANES):
        state[VP, lane] = ~word(0)
        state[VN, lane] = state[D0, lane] = state[BEFORE, lane] = state[SWAPS, lane] = 0
    for p in range(len(text)):
        row = masks[np.uintp(text[p])]
        if swaps:
            for lane in range(LANES):
                state[SWAPS, lane] = (
                    word(word(word(~state[D0, lane]) & row[lane]) << one) & state[BEFORE, lane]
                )
                state[BEFORE, lane] = row[lane]
        for lane in range(LANES):
            pm, vp, vn = row[lane], state[VP, lane], state[VN, lane]
            d0 = word(
                word(word(word(pm & vp) + vp) ^ vp) | word(pm | word(vn | state[SWAPS, lane]))
            )
            hp, hn = word(vn | word(~word(d0 | vp))), word(d0 & vp)
            hp = word(word(hp << one) | one)
            state[VP, lane] = word(word(hn << one) | word(~word(d0 | hp)))
            state[VN, lane] = word(hp & d0)
            state[D0, lane] = d0


def group_distances(alphabet, codes, starts, columns, texts, table, swaps, masks, state):
    """Up to LANES patterns and all texts. The last column of the table begins with the text's
    length; VP and VN are its rises and falls."""
    word = masks.dtype.type
    for lane in range(LANES):
        state[LETTERS, lane] = 0
        if columns[lane] >= 0:
            first = starts[columns[lane]]
            for j in range(first, starts[columns[lane] + 1]):
                letter, place = letter_number(alphabet, codes[j]), word(1) << word(j - first)
                state[LETTERS, lane] |= place
                if letter < len(alphabet):
                    masks[letter, lane] |= place
    for i in range(len(texts.offsets) - 1):
        text = texts.letters[texts.offsets[i] : texts.offsets[i + 1]]
        along_text(masks, text, swaps, state)
        for lane in range(LANES):
            if columns[lane] >= 0:
                rises = np.uint64(state[VP, lane] & state[LETTERS, lane])
                falls = np.uint64(state[VN, lane] & state[LETTERS, lane])
                at = np.uintp(columns[lane] * table.step + i * table.text_step)
                change = np.int64(popcount(rises)) - np.int64(popcount(falls))
                table.distance[at] = len(text) + change
    for lane in range(LANES):
        if columns[lane] >= 0:
            for j in range(starts[columns[lane]], starts[columns[lane] + 1]):
                letter = letter_number(alphabet, codes[j])
                if letter < len(alphabet):
                    masks[letter, lane] = 0


@kernel(
    "in uint32 alphabet[a]; in uint32 codes[r]; in int64 starts[n]; in int64 columns[g, LANES]; "
    "in uint32 letters[t]; "
    "in int64 offsets[m]; inout int32 distance[z]; int64 step; int64 text_step; int64 swaps; "
    "scratch uint32 narrow[a, LANES]; scratch uint64 wide[a, LANES]; "
    "scratch uint32 narrow_state[STATE, LANES]; scratch uint64 wide_state[STATE, LANES]",
    constants=("LANES", "STATE"),
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
    texts, table = Texts(letters, offsets), Table(distance, step, text_step)
    narrow[:] = 0
    wide[:] = 0
    for g in range(start, stop):
        longest = np.int64(0)
        for lane in range(LANES):
            if columns[g, lane] >= 0:
                longest = max(longest, starts[columns[g, lane] + 1] - starts[columns[g, lane]])
        if longest <= 32:
            group_distances(
                alphabet, codes, starts, columns[g], texts, table, swaps, narrow, narrow_state
            )
        else:
            group_distances(
                alphabet, codes, starts, columns[g], texts, table, swaps, wide, wide_state
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
                    # of the block above: HP, HN, what a swap needs
                    bits = np.uint64(carry[k, p]) if block else one
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

MASKS = 256  # of letters, by their low bits
MAX_PREFIX = 4
BOOSTED = 0.7  # above this similarity a common prefix counts


def with_prefix(a, a_first, m, b, b_first, n, matches, out_of_order, prefix_weight):
    """Jaro's similarity from its counts, with Winkler's addition."""
    jaro = (matches / m + matches / n + (matches - out_of_order // 2) / matches) / 3
    prefix = 0
    while prefix < min(MAX_PREFIX, min(m, n)) and a[a_first + prefix] == b[b_first + prefix]:
        prefix += 1
    return jaro + prefix * prefix_weight * (1 - jaro) if jaro > BOOSTED else jaro


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
        free = masks[np.uintp(code & np.uint32(MASKS - 1))] & near & ~taken
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
    "out float64 similarity[nl, nr]; float64 prefix_weight; scratch uint64 masks[MASKS]",
    constants=("MASKS", "MAX_PREFIX", "BOOSTED"),
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
            masks[left[a + k] & np.uint32(MASKS - 1)] |= np.uint64(1) << np.uint64(k)
        for j in range(similarity.shape[1]):
            b, n = right_offsets[j], right_offsets[j + 1] - right_offsets[j]
            if m <= 64 and n <= 64:
                similarity[i, j] = jaro_bits(left, a, m, right, b, n, masks, prefix_weight)
            else:
                similarity[i, j] = jaro_pair(left, a, m, right, b, n, taken[i], prefix_weight)
                for k in range(m + n):
                    taken[i, k] = 0
        for k in range(min(m, 64)):
            masks[left[a + k] & np.uint32(MASKS - 1)] = 0


# --- q-grams --------------------------------------------------------------------------------------


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
