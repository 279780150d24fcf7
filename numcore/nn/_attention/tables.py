"""The tables that the kernels of attention run over: what a row of each holds.

A body reads ``item.keys`` where its CUDA twin reads ``item[ITEM_KEYS]``.
"""

from collections import namedtuple

# forward: `rows` queries of a head from number `index` on, whose position among all `keys` keys is
# `position`; `query` and `key` are rows of q and k, `bias` and `mask` places of entries
Item = namedtuple("Item", "query rows index position key keys bias mask")
# backward: queries and keys of `heads` heads that share their keys; `grad` is a row of grad_k
PairItem = namedtuple(
    "PairItem",
    "query heads head_rows low high shift key key_low key_high bias mask grad owns_queries",
)
# a rectangle of grad_bias, for the heads from `head` to `head_end` of their table
BiasItem = namedtuple("BiasItem", "head head_end low high key_low key_high shift grad")
Head = namedtuple("Head", "query key bias mask")
# what all items share: see scores.Scores
Settings = namedtuple(
    "Settings",
    "q_step k_step left right block_q block_k "
    "bias_head bias_row bias_col mask_head mask_row mask_col",
)


def _columns(prefix, row):
    return {f"{prefix}_{field.upper()}": i for i, field in enumerate(row._fields)}


COLUMNS = {
    **_columns("ITEM", Item),
    **_columns("PAIR", PairItem),
    **_columns("BIAS", BiasItem),
    **_columns("HEAD", Head),
    **_columns("OPTION", Settings),
    "ITEM_COLUMNS": len(Item._fields),
    "PAIR_COLUMNS": len(PairItem._fields),
    "BIAS_COLUMNS": len(BiasItem._fields),
    "HEAD_COLUMNS": len(Head._fields),
    "OPTIONS": len(Settings._fields),
}


def item_of(x):
    return Item(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7])


def pair_item_of(x):
    return PairItem(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12])


def bias_item_of(x):
    return BiasItem(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7])


def head_of(x):
    return Head(x[0], x[1], x[2], x[3])


def settings_of(x):
    return Settings(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11])
