"""The softmax of attention on register tiles: vectors over queries, keys one below the other, so
that nothing is summed across lanes.

A panel is a C-contiguous (keys, `tile_cols`) piece of the transposed scores, as `gemm_tile` leaves
it. Scores are in units of log2.
"""

import math

from ...intrinsics import by_vector_width, flat_arguments, intrinsic, tile_shape, vector_bits

__all__ = ["exp2", "panel_exp2", "panel_max"]

# 2**f on [-1/2, 1/2]: minimax in relative error, 7.5e-8 and 3.1e-18 (Remez in 40 digits); ends of
# the exponent; 1.5 units of 2**precision.
EXP2_FLOAT = (
    1.00000007165,
    0.693146967065,
    0.240221197237,
    0.0555071327186,
    0.00967554134312,
    0.0013276472632,
)
EXP2_DOUBLE = (
    1.0,
    0.6931471805599453,
    0.24022650695910155,
    0.055504108664819925,
    0.009618129107588335,
    0.0013333558146789923,
    0.00015403530462514432,
    1.5252733489988525e-05,
    1.32154330896764e-06,
    1.0178198021671931e-07,
    7.074105613508143e-09,
    4.435282706957277e-10,
)
FORMATS = {32: (EXP2_FLOAT, 127, 23), 64: (EXP2_DOUBLE, 1023, 52)}


def emit_exp2(builder, t):
    """2**t of a scalar or a vector, for t below the largest exponent; exactly 0 from -127 (float32)
    or -1023 (float64) down; NaN stays.

    Adding 1.5 · 2**precision + bias leaves the rounded t, biased, in the low bits: shifted up they
    are the power of two.
    """
    from llvmlite import ir

    real = t.type.element if isinstance(t.type, ir.VectorType) else t.type
    width = 32 if isinstance(real, ir.FloatType) else 64
    bits = ir.IntType(width)
    if isinstance(t.type, ir.VectorType):
        bits = ir.VectorType(bits, t.type.count)

    def constant(kind, value):
        return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)

    coefficients, bias, precision = FORMATS[width]
    low, magic = constant(t.type, float(-bias)), constant(t.type, 1.5 * 2.0**precision + bias)
    t = builder.select(builder.fcmp_ordered("<", t, low), low, t)
    shifted = builder.fadd(t, magic)
    power = builder.bitcast(
        builder.shl(builder.bitcast(shifted, bits), constant(bits, precision)), t.type
    )
    fraction = builder.fsub(t, builder.fsub(shifted, magic))
    result = constant(t.type, coefficients[-1])
    for c in coefficients[-2::-1]:  # "contract": one fused instruction where the CPU has it
        product = builder.fmul(result, fraction, flags=("contract",))
        result = builder.fadd(product, constant(t.type, c), flags=("contract",))
    return builder.fmul(result, power)


def _same_float(t):
    from numba import types

    return t if isinstance(t, types.Float) else None


@intrinsic(
    _same_float, lambda context, builder, signature, arguments: emit_exp2(builder, arguments[0])
)
def exp2(t):
    """2**t for t below the largest exponent."""
    return type(t)(math.exp2(t))


def _panel_type(*arguments):
    from numba import types

    arrays = [a for a in arguments if isinstance(a, types.Array)]
    fits = all(
        a.ndim == 1
        and a.layout == "C"
        and isinstance(a.dtype, types.Float)
        and a.dtype == arrays[0].dtype
        for a in arrays
    )
    return types.void if fits else None


def _emit_panel(name, combine):
    """A loop over the keys of a panel, its vectors side by side; `combine` gets (builder, panel,
    pointers of the arrays)."""

    def emit(context, builder, signature, arguments):
        from llvmlite import ir

        real, bitwidth = (
            context.get_value_type(signature.args[0].dtype),
            signature.args[0].dtype.bitwidth,
        )

        def body(builder, width, arguments):
            panel, keys, *states = arguments
            vector = ir.VectorType(real, width // bitwidth)
            combine(
                builder,
                _Panel(builder, ir, vector, tile_shape(width, bitwidth // 8)[1], keys),
                panel,
                *states,
            )

        return by_vector_width(
            context,
            builder,
            name,
            real,
            flat_arguments(context, builder, signature, arguments),
            body,
        )

    return emit


class _Panel:
    """Vectors of a panel's row, and a loop over its rows."""

    def __init__(self, builder, ir, vector, cols, keys):
        self.builder, self.ir, self.vector, self.cols, self.keys = builder, ir, vector, cols, keys
        self.starts = range(0, cols, vector.count)

    def _at(self, pointer, start):
        pointer = self.builder.gep(pointer, [self.ir.Constant(self.ir.IntType(64), start)])
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def load(self, pointer):
        values = [self.builder.load(self._at(pointer, start)) for start in self.starts]
        for value in values:
            value.align = 4
        return values

    def store(self, values, pointer):
        for value, start in zip(values, self.starts, strict=True):
            self.builder.store(value, self._at(pointer, start)).align = 4

    def loop(self, panel, first, step):
        """values = step(row pointer, values) for every row, starting with `first`; their last
        values."""
        builder, i64 = self.builder, self.ir.IntType(64)
        before, body, done = (
            builder.block,
            builder.append_basic_block("rows"),
            builder.append_basic_block("rows.done"),
        )
        builder.cbranch(builder.icmp_signed(">", self.keys, self.ir.Constant(i64, 0)), body, done)
        builder.position_at_end(body)
        row = builder.phi(i64)
        values = [builder.phi(self.vector) for _ in first]
        new = step(builder.gep(panel, [builder.mul(row, self.ir.Constant(i64, self.cols))]), values)
        following = builder.add(row, self.ir.Constant(i64, 1))
        builder.cbranch(builder.icmp_signed("<", following, self.keys), body, done)
        row.add_incoming(self.ir.Constant(i64, 0), before)
        row.add_incoming(following, body)
        builder.position_at_end(done)
        results = [builder.phi(self.vector) for _ in first]
        for phi, result, start, value in zip(values, results, first, new, strict=True):
            for target in (phi, result):
                target.add_incoming(start, before)
                target.add_incoming(value, body)
        return results


def _max(builder, x, y):
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


def _combine_max(builder, rows, panel, top):
    rows.store(
        rows.loop(
            panel,
            rows.load(top),
            lambda row, tops: [
                _max(builder, s, m) for s, m in zip(rows.load(row), tops, strict=True)
            ],
        ),
        top,
    )


def _combine_exp2(builder, rows, panel, top, total):
    tops = rows.load(top)

    def step(row, sums):
        weights = [
            emit_exp2(builder, builder.fsub(s, m))
            for s, m in zip(rows.load(row), tops, strict=True)
        ]
        rows.store(weights, row)
        return [builder.fadd(w, s) for w, s in zip(weights, sums, strict=True)]

    zero = rows.ir.Constant(rows.vector, [0.0] * rows.vector.count)
    sums = rows.loop(panel, [zero for _ in rows.starts], step)
    rows.store([builder.fadd(s, t) for s, t in zip(sums, rows.load(total), strict=True)], total)


@intrinsic(_panel_type, _emit_panel("panel_max", _combine_max))
def panel_max(panel, panel_at, keys, top, top_at):
    """``top[c] = max(top[c], panel[j, c] for all keys j)``; a NaN leaves the maximum as it is."""
    cols = _reference_cols(panel)
    for j in range(keys):
        for c in range(cols):
            top[top_at + c] = max(top[top_at + c], panel[panel_at + j * cols + c])


@intrinsic(_panel_type, _emit_panel("panel_exp2", _combine_exp2))
def panel_exp2(panel, panel_at, keys, top, top_at, total, total_at):
    """``panel[j, c] = 2**(panel[j, c] - top[c])`` for all keys j, and ``total[c]`` grows by their
    sums."""
    cols = _reference_cols(panel)
    for c in range(cols):
        part = panel.dtype.type(0)
        for j in range(keys):
            at = panel_at + j * cols + c
            panel[at] = exp2(panel[at] - top[top_at + c])
            part += panel[at]
        total[total_at + c] += part


def _reference_cols(panel):
    return tile_shape(vector_bits(), panel.itemsize)[1]
