"""Mutations of programs: their graphs are grown, shrunk and rewired, until the function that they
compute is another one.

The set of mutations and their weights are those of E. Real et al., "AutoNumerics-Zero: Automated
Discovery of State-of-the-Art Mathematical Functions", arXiv 2312.08472.
"""

import math

from .._program import ADD, DIV, FMA, MUL, SUB, operands, simplified

INSERT, REMOVE, SWITCH, RANDOMISE = range(4)
WEIGHTS = (1, 2, 3, 3)
NEW_CONSTANT = 0.4  # chance that a free port gets a new constant and not a vertex that is there
# chance of one more mutation: a better program can be several away, with worse ones in between
MORE = 0.5
ATTEMPTS = 50
GOLDEN = (math.sqrt(5) - 1) / 2
# places in the interval where functions are told apart
PROBES = tuple(math.fmod(i * GOLDEN, 1.0) for i in range(1, 5))


class Vertex:
    """A vertex of a program's graph: an operation, a constant, or x."""

    __slots__ = ("inputs", "opcode", "value")

    def __init__(self, opcode=None, inputs=(), value=None):
        self.opcode, self.inputs, self.value = opcode, list(inputs), value


def graph_of(program):
    """A vertex above the program's result."""
    vertices = [Vertex(), *(Vertex(value=c) for c in program.constants.tolist())]
    for row in program.code.tolist():
        vertices.append(Vertex(row[0], [vertices[r] for r in operands(row)]))
    return Vertex(inputs=vertices[-1:])


def program_of(root):
    """The program of a graph, simplified; what does not reach the result is dropped."""
    order = below(root)
    constants = [v for v in order if v.value is not None]
    rows = [v for v in order if v.opcode is not None]
    number = {id(v): i for i, v in enumerate(constants, 1)} | {
        id(v): i for i, v in enumerate(rows, 1 + len(constants))
    }
    return simplified(
        [[v.opcode, *(number.get(id(u), 0) for u in v.inputs)] for v in rows],
        [v.value for v in constants],
    )


def below(root):
    """The vertices that root depends on, every one after its inputs."""
    order, seen = [], {id(root)}

    def visit(vertex):
        for u in vertex.inputs:
            if id(u) not in seen:
                seen.add(id(u))
                visit(u)
                order.append(u)

    visit(root)
    return order


def mutated(program, operations, max_ops, places, random):
    """A program that computes another function, or has new random constants.

    Parameters
    ----------
    program : Program
    operations : list of int
        Opcodes to choose from.
    max_ops : int
    places : sequence of float
        Where functions are compared.
    random : random.Random

    Returns
    -------
    program : Program
    key : tuple or Program
        Its fingerprint; the program itself where it was not changed and has none.
    fresh : bool
        Whether the constants are new.
    """
    key = fingerprint(program, places)
    root, fresh, found = graph_of(program), False, (program, key or program, False)
    for _ in range(ATTEMPTS):
        operation_vertices = [v for v in below(root) if v.opcode is not None]
        kind = (
            random.choices((INSERT, REMOVE, SWITCH, RANDOMISE), WEIGHTS)[0]
            if operation_vertices
            else INSERT
        )
        if kind == INSERT:
            insert(root, operations, random)
        elif kind == REMOVE:
            remove(root, random.choice(operation_vertices), random)
        elif kind == SWITCH:
            switch(root, random)
        else:
            fresh = fresh or any(v.value is not None for v in below(root))
            randomise(root, random)
        child = program_of(root)
        if not 1 <= child.n_ops <= max_ops:
            root, fresh = graph_of(program), False
            continue
        child_key = fingerprint(child, places)
        if child_key is not None and (child_key != key or fresh):
            found = child, child_key, fresh
            if random.random() >= MORE:
                break
    return found


def insert(root, operations, random):
    """A new operation on an edge."""
    above, port = _edge(root, random)
    opcode = random.choice(operations)
    inputs = [None] * (3 if opcode == FMA else 2)
    kept = random.randrange(len(inputs))
    for i in range(len(inputs)):
        inputs[i] = above.inputs[port] if i == kept else _source(root, above, random)
    above.inputs[port] = Vertex(opcode, inputs)


def remove(root, vertex, random):
    """One of the vertex's inputs takes its place."""
    heir = random.choice(vertex.inputs)
    for v in (root, *below(root)):
        v.inputs = [heir if u is vertex else u for u in v.inputs]


def switch(root, random):
    """One edge comes from another vertex."""
    above, port = _edge(root, random)
    above.inputs[port] = _source(root, above, random)


def randomise(root, random):
    """New random constants."""
    for v in below(root):
        if v.value is not None:
            v.value = _constant(random, -4, 4)


def _edge(root, random):
    return random.choice([(v, i) for v in (root, *below(root)) for i in range(len(v.inputs))])


def _source(root, above, random):
    """A vertex that an edge into `above` may come from without making a circle."""
    if random.random() < NEW_CONSTANT:
        return Vertex(value=_constant(random, -8, 0))
    order, dependents = below(root), {id(above)}
    for v in order:
        if any(id(u) in dependents for u in v.inputs):
            dependents.add(id(v))
    free = [v for v in order if id(v) not in dependents]
    if not any(v.opcode is None and v.value is None for v in free):
        free.append(Vertex())
    return random.choice(free)


def _constant(random, low, high):
    """±2^u, u uniform between low and high."""
    return random.choice((-1.0, 1.0)) * 2.0 ** random.uniform(low, high)


def fingerprint(program, places):
    """What the program computes at a few places with fixed constants, to nine digits; None where
    that is not finite."""
    values = []
    fixed = [1 + math.fmod(i * GOLDEN, 1.0) for i in range(1, 1 + len(program.constants))]
    rows = program.code.tolist()
    try:
        for x in places:
            registers = [x, *fixed]
            for opcode, a, b, c in rows:
                u, v = registers[a], registers[b]
                if opcode == ADD:
                    u += v
                elif opcode == SUB:
                    u -= v
                elif opcode == MUL:
                    u *= v
                elif opcode == DIV:
                    u /= v
                else:
                    u = u * v + registers[c]
                registers.append(u)
            if not math.isfinite(registers[-1]):
                return None
            values.append(f"{registers[-1]:.9e}")
    except (ZeroDivisionError, OverflowError):
        return None
    return (len(program.constants), *values)
