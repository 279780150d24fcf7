"""Building blocks of kernels that only LLVM has: fused multiply-add, bit casts, population count,
the register tile of matrix products, loops lane by lane.

Each is an :class:`Intrinsic`: a Python function that says what it computes (and computes it,
slowly, on NumPy scalars and arrays) together with the LLVM instructions that a compiled body gets
instead. They work in Numba bodies of kernels and in a user's own ``@njit`` code alike; numba itself
is imported only when something is compiled. :func:`gemm_rows` and :func:`map_in_place` are plain
functions for bodies of kernels.
"""

from ._blocks import WIDE, add_scaled, signed_sums, transpose8
from ._copies import copy_tile_row
from ._dots import dot, dots_2_by_4, squares_2_by_4
from ._intrinsic import LANES, Intrinsic, host_vector_bits, intrinsic, vector_bits
from ._max_tile import WIDEST_PANEL, max_tile, panel_cols, panel_rows
from ._panels import panel_exp2, panel_max
from ._rotations import rotate
from ._rows import PAD, map_in_place
from ._scalars import (
    add,
    add_product,
    asin_tail,
    exp2,
    float_bits,
    float_from_bits,
    fma,
    from_ordered,
    ldexp,
    ordered,
    popcount,
)
from ._tile import TALLEST, WIDEST, gemm_row, gemm_rows, gemm_tile, tile_cols, tile_rows

__all__ = [
    "LANES",
    "PAD",
    "TALLEST",
    "WIDE",
    "WIDEST",
    "WIDEST_PANEL",
    "Intrinsic",
    "add",
    "add_product",
    "add_scaled",
    "asin_tail",
    "copy_tile_row",
    "dot",
    "dots_2_by_4",
    "exp2",
    "float_bits",
    "float_from_bits",
    "fma",
    "from_ordered",
    "gemm_row",
    "gemm_rows",
    "gemm_tile",
    "host_vector_bits",
    "intrinsic",
    "ldexp",
    "map_in_place",
    "max_tile",
    "ordered",
    "panel_cols",
    "panel_exp2",
    "panel_max",
    "panel_rows",
    "popcount",
    "rotate",
    "signed_sums",
    "squares_2_by_4",
    "tile_cols",
    "tile_rows",
    "transpose8",
    "vector_bits",
]
