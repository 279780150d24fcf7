"""The softmax of attention on register tiles: vectors over queries, keys one below the other, so
that nothing is summed across lanes.

A panel is a C-contiguous (keys, `tile_cols`) piece of the transposed scores, as `gemm_tile` leaves
it. Scores are in units of log2.
"""

from ._intrinsic import by_vector_width, flat_arguments, intrinsic, vector_bits
from ._scalars import emit_exp2, exp2
from ._tile import tile_shape


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

        real = context.get_value_type(signature.args[0].dtype)
        bitwidth = signature.args[0].dtype.bitwidth

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
        before, body = builder.block, builder.append_basic_block("rows")
        done = builder.append_basic_block("rows.done")
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
