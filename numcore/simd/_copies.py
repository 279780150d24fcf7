"""Copies as wide as the register tile, for panels of convolutions: LLVM does not unroll a loop
whose length only the loader knows."""

from ._intrinsic import by_vector_width, flat_arguments, intrinsic
from ._tile import tile_cols, tile_shape


def _copy_type(source, at, target, to):
    from numba import types

    fits = all(
        isinstance(a, types.Array) and a.ndim == 1 and a.layout == "C" and a.dtype == source.dtype
        for a in (source, target)
    )
    return types.void if fits and isinstance(source.dtype, types.Float) else None


def _emit_copy(context, builder, signature, arguments):
    from llvmlite import ir

    real = context.get_value_type(signature.args[0].dtype)
    itemsize = signature.args[0].dtype.bitwidth // 8

    def body(builder, width, arguments):
        source, target = arguments
        lanes = width // (8 * itemsize)
        vector = ir.VectorType(real, lanes)

        def at(pointer, offset):
            return builder.bitcast(
                builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)]), vector.as_pointer()
            )

        offsets = range(0, tile_shape(width, itemsize)[1], lanes)
        loaded = [builder.load(at(source, offset), align=itemsize) for offset in offsets]
        for offset, value in zip(offsets, loaded, strict=True):
            builder.store(value, at(target, offset), align=itemsize)

    return by_vector_width(
        context,
        builder,
        "copy_row",
        real,
        flat_arguments(context, builder, signature, arguments),
        body,
    )


@intrinsic(_copy_type, _emit_copy)
def copy_tile_row(source, at, target, to):
    """``target[to:to + tile_cols] = source[at:at + tile_cols]``, of flat arrays that do not overlap
    there."""
    cols = tile_cols(source[0])
    target[to : to + cols] = source[at : at + cols]
