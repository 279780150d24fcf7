"""What a result is: accurate, of the dtype of the input, for any size and memory layout."""

import copy

import numpy as np

from ..examples.errors import largest_error, leaves
from .promises import SEED, arguments_of, call, close, promise, require


@promise("the error must stay within the promised bound")
def accurate(function, example, dtype):
    arguments = arguments_of(example, dtype)
    error = largest_error(
        call(function, arguments), example.reference(**copy.deepcopy(arguments)), example.error
    )
    require(
        error <= example.bound[dtype],
        f"error {error:.3g} exceeds the promised {example.bound[dtype]:.3g} ({example.error}, "
        f"{dtype})",
    )


@promise("float results must have the dtype of the input")
def preserves_dtype(function, example, dtype):
    for leaf in leaves(call(function, arguments_of(example, dtype))):
        kind = np.asarray(leaf).dtype
        require(kind.kind != "f" or kind == dtype, f"dtype {dtype} in, {kind} out")


@promise("the sizes 0, 1, a prime and one past a tile must work")
def any_size(function, example, dtype):
    for n in (0, 1, 2, 31, 257) if example.sizes else ():
        arguments = example.sizes(np.random.default_rng(SEED), np.dtype(dtype), n)
        error = largest_error(
            call(function, arguments), example.reference(**copy.deepcopy(arguments)), example.error
        )
        require(
            error <= example.bound[dtype],
            f"error {error:.3g} exceeds the promised {example.bound[dtype]:.3g} at size {n}",
        )


@promise(
    "strided, reversed, Fortran-ordered and unaligned arrays must give what contiguous ones give"
)
def any_strides(function, example, dtype):
    arguments = arguments_of(example, dtype)
    expected = call(function, arguments)
    for layout in (_every_other, _reversed, np.asfortranarray, _unaligned):
        result = function(
            **{
                k: layout(v) if k in example.arrays else v
                for k, v in copy.deepcopy(arguments).items()
            }
        )
        require(
            close(result, expected, example, dtype),
            f"another result for the memory layout {layout.__name__.strip('_')}",
        )


def _every_other(array):
    wide = np.repeat(array, 2, axis=-1) if array.ndim else array
    return wide[..., ::2] if array.ndim else wide


def _reversed(array):
    return array[::-1].copy()[::-1] if array.ndim else array


def _unaligned(array):
    moved = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


@promise("NaN must do what the documentation says")
def nan_policy(function, example, dtype):
    for name in example.arrays if example.nan != "ignore" else ():
        arguments = arguments_of(example, dtype)
        arguments[name] = np.full_like(arguments[name], np.nan)
        try:
            result = call(function, arguments)
        except ValueError as error:
            require(example.nan == "raise" and name in str(error), f"NaN in {name} raised {error}")
        else:
            require(example.nan == "propagate", f"NaN in {name} must raise a ValueError")
            require(
                any(
                    np.isnan(np.asarray(leaf)).any()
                    for leaf in leaves(result)
                    if np.asarray(leaf).dtype.kind == "f"
                ),
                f"NaN in {name} must reach the result",
            )
