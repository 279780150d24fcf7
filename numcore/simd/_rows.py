"""Functions of the entries of a row, in whole vectors."""

PAD = 16  # entries in a piece, a multiple of every vector's length


def map_in_place(function, row, size):
    """The elementwise `function` of the first `size` entries, in place; up to a whole piece of
    those behind them is overwritten."""
    whole = (size + PAD - 1) // PAD * PAD
    row[size:whole] = 0
    for j in range(0, whole, PAD):
        part = row[j : j + PAD]
        for lane in range(PAD):
            part[lane] = function(part[lane])
