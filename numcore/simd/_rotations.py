"""Rotations for Jacobi's method on small matrices side by side: LLVM cannot know that the sines do
not lie in the rotated vectors."""

from ._intrinsic import LANES, flat_arguments, intrinsic

PART = 8  # of LANES matrices in one vector, which LLVM splits where registers are shorter


def _rotate_type(x, x_at, y, y_at, turn, turn_at):
    from numba import types

    fits = all(
        isinstance(v, types.Array) and v.ndim == 1 and v.layout == "C" and v.dtype == types.float64
        for v in (x, y, turn)
    )
    return types.void if fits else None


def _emit_rotate(context, builder, signature, arguments):
    from llvmlite import ir

    x, y, turn = flat_arguments(context, builder, signature, arguments)
    vector = ir.VectorType(ir.DoubleType(), PART)

    def at(pointer, offset):
        return builder.bitcast(
            builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)]), vector.as_pointer()
        )

    for lane in range(0, LANES, PART):
        places = at(x, lane), at(y, lane)
        before, after, cosine, sine = (
            builder.load(p, align=8) for p in (*places, at(turn, lane), at(turn, LANES + lane))
        )
        for sign, (a, b), place in (
            (builder.fsub, (cosine, sine), places[0]),
            (builder.fadd, (sine, cosine), places[1]),
        ):
            builder.store(sign(builder.fmul(a, before), builder.fmul(b, after)), place, align=8)
    return context.get_dummy_value()


@intrinsic(_rotate_type, _emit_rotate)
def rotate(x, x_at, y, y_at, turn, turn_at):
    """x, y = cosine x - sine y, sine x + cosine y for LANES entries of x from x_at on, and of y;
    the cosines, then the sines in turn."""
    for lane in range(LANES):
        c, s = turn[turn_at + lane], turn[turn_at + LANES + lane]
        before, after = x[x_at + lane], y[y_at + lane]
        x[x_at + lane], y[y_at + lane] = c * before - s * after, s * before + c * after
