"""Kernels: inner loops with one contract and two bodies, Numba for the CPU and CUDA C++ for the
GPU.

An author writes the contract, the Numba body, and beside them the CUDA body of the same name::

    @kernel("in T x[n, d]; out T y[n]", split="n", gpu="warp")
    def log_sum_exp_rows(x, y, start, stop):
        for i in range(start, stop):
            ...

The call ``log_sum_exp_rows(x, y)`` checks the arrays against the contract and runs the body on the
device where they live: on the CPU in chunks ``start, stop`` of the split axis on numcore's threads,
on the GPU as the CUDA entry point ``numcore_log_sum_exp_rows`` with the arguments in the same
order, followed by the extents ``n, d`` as 64-bit integers.

Numbers that the body, the contract and the CUDA body share are declared once::

    QUERIES = 192  # rows of a tile

    @kernel("in T x[n]; out T y[n]; scratch T row[QUERIES]", split="n", constants=("QUERIES",))
"""

import ctypes
import functools
import itertools
import math
import sys

import numpy as np

from . import _bitcode, _entry, _native, _pool
from ._contract import C_TYPES, Contract
from .dispatch import CPU, device_of, room_of

CHUNK_BYTES = 1 << 16  # less work than this many bytes touched is not worth a thread's waking up
MOST_PREPARED = 512  # combinations of shapes that a kernel remembers
ALIGNMENT = 64  # of scratch arrays: a cache line, and the longest vector

# NumPy's ABI puts an array's data pointer behind the head that all objects have: reading it there
# is quicker than array.ctypes.data.
_HEAD = object.__basicsize__
_read_at = ctypes.c_void_p.from_address


def pointer(array):
    return _read_at(id(array) + _HEAD).value


_READ_POINTER = "_read_at(id({0}) + _HEAD).value"
if (
    pointer(_probe := np.empty(1)) != _probe.ctypes.data
):  # an interpreter whose objects are laid out otherwise

    def pointer(array):
        return array.ctypes.data

    _READ_POINTER = "_pointer({0})"


def _look_up(kernel):
    """A function that runs a kernel: what was checked once for these dtypes, shapes and layouts is
    not checked again.

    It is written for the contract, so that a call is one look-up and no loop over the arguments.
    """
    arrays = [p.name for p in kernel.passed if p.extents]
    given = ", ".join(p.name for p in kernel.passed)
    seen = " ".join(f"{name}.dtype, {name}.shape, {name}.flags.num," for name in arrays)
    values = ", ".join(_READ_POINTER.format(p.name) if p.extents else p.name for p in kernel.passed)
    scope = {
        "_ndarray": np.ndarray,
        "_prepared": kernel._prepared,
        "_first": kernel._first_call,
        "_read_at": _read_at,
        "_HEAD": _HEAD,
        "_pointer": pointer,
    }
    if kernel.takes_arrays:  # the arrays themselves, not their addresses
        values = given
    exec(
        f"def run({given}, /):\n"
        f"    if {' is '.join(f'type({name})' for name in arrays)} is _ndarray:\n"
        f"        _plan = _prepared.get(({seen}))\n"
        f"        if _plan is not None:\n"
        f"            _plan({values})\n"
        f"            return\n"
        f"    _first(({given},))\n",
        scope,
    )
    return scope["run"]


def _converter(dtype):
    """A function that makes of a scalar what ctypes takes for `dtype`; OverflowError where an
    integer does not fit."""
    if dtype.kind == "f":
        return float
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return lambda value: (
        value if type(value) is int and least <= value <= most else dtype.type(value).item()
    )


class Kernel(Contract):
    """The contract of a kernel with its two bodies. Made by the decorator :func:`kernel`.

    Attributes
    ----------
    name, room : str
    cuda_source : pathlib.Path or None
        The file of the CUDA body; None of a kernel that has none.
    cuda_entry : str
        Its entry point.
    host_only : str or None
        Why there is no CUDA body.
    constants : dict of str to int or float
        The named numbers that the contract and the two bodies share.
    variants : tuple of dict
        The dtypes of the type variables, one dict for each variant that exists.
    """

    takes_arrays = False  # whether what runs on the CPU takes arrays rather than their addresses

    def __init__(self, body, contract, **options):
        super().__init__(body, contract, **options)
        self.module, self.room = body.__module__, room_of(body.__module__)
        self.__doc__, self.__module__, self.__name__ = body.__doc__, body.__module__, body.__name__
        self._loaded, self._prepared = {}, {}
        self._run = _look_up(self)

    @property
    def where(self):
        """Name, file and first line of the body, for messages."""
        return _bitcode.place(self.name, self.body)

    def __repr__(self):
        return f"<kernel {self.room}.{self.name}: {self.contract}>"

    def __call__(self, *arguments):
        if len(arguments) != len(self.passed):
            raise TypeError(
                f"kernel {self.name} takes {len(self.passed)} arguments (got {len(arguments)})"
            )
        self._run(*arguments)

    def _first_call(self, arguments):
        """Check arguments that were not seen before, and run."""
        variant, dims = self.bind(arguments)
        arrays = [a for a, p in zip(arguments, self.passed, strict=True) if p.extents]
        device = device_of(arrays[0])
        if device is not CPU:
            if self.host_only:
                raise TypeError(f"kernel {self.name} runs on the CPU only: {self.host_only}")
            device.launch(self, variant, arguments, dims)
            return
        plan = self._prepare(variant, arguments, dims)
        if len(self._prepared) >= MOST_PREPARED:
            self._prepared.clear()
        key = itertools.chain.from_iterable((a.dtype, a.shape, a.flags.num) for a in arrays)
        self._prepared[tuple(key)] = plan
        self._run(*arguments)

    # --- the CPU

    def _prepare(self, variant, arguments, dims):
        """A function of the addresses of arrays of these dtypes and shapes, and of scalars, that
        runs the CPU body."""
        count, least = dims[self.split], self._least(arguments, dims)
        if count == 0:
            return lambda *arguments: None
        dtypes = [np.dtype(variant.get(p.type_name, p.type_name)) for p in self.passed]
        scalars = [
            (i, _converter(dtypes[i])) for i, p in enumerate(self.passed) if p.extents is None
        ]
        scratch, scratch_bytes = self._scratch(variant, dims)
        function = self._function(variant)
        extents = [ctypes.c_int64(dims[d]) for d in self.dims]
        whole = [*extents, ctypes.c_int64(0), ctypes.c_int64(count)]

        def part(row, free, *tail):
            if not scratch:
                function(*row, *tail)
                return
            memory = free.pop() if free else np.empty(scratch_bytes, np.uint8)
            start, row = -(-pointer(memory) // ALIGNMENT) * ALIGNMENT, list(row)
            for i, offset in scratch:
                row.insert(i, start + offset)
            function(*row, *tail)
            free.append(memory)

        def plan(*row):
            if scalars:
                row = list(row)
                for i, convert in scalars:
                    row[i] = convert(row[i])
            if count > least:
                free = []  # scratch memory of chunks that are done
                _pool.run_chunks(lambda *chunk: part(row, free, *extents, *chunk), count, least)
            else:
                part(row, [], *whole)

        return plan

    def _scratch(self, variant, dims):
        """(place in the parameters, offset) of each scratch array in one piece of memory, and the
        bytes of this piece."""
        places, total = [], 0
        for i, p in enumerate(self.parameters):
            if p.role == "scratch":
                size = math.prod(self.extent(e, dims) for e in p.extents)
                places.append((i, total))
                nbytes = size * np.dtype(variant.get(p.type_name, p.type_name)).itemsize
                total += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return places, total + ALIGNMENT

    def _least(self, arguments, dims):
        """Items of the split axis that are worth a chunk."""
        if self.grain is not None:
            return max(1, self.extent(self.grain, dims))
        touched = sum(a.nbytes for a, p in zip(arguments, self.passed, strict=True) if p.extents)
        return max(1, dims[self.split] * CHUNK_BYTES // max(touched, 1))

    def _function(self, variant):
        key = tuple(variant.values())
        function = self._loaded.get(key)
        if function is None:
            (address,) = _bitcode.load(self.unit(variant)).values()
            types = [
                ctypes.c_void_p if p.extents else C_TYPES[variant.get(p.type_name, p.type_name)]
                for p in self.parameters
            ]
            function = _native.c_function(
                address, None, *types, *[ctypes.c_int64] * (len(self.dims) + 2)
            )
            self._loaded[key] = function
        return function

    def address(self, **variant):
        """The address of the compiled CPU body, for C, Cython or Numba callers.

        The C signature is the contract's arguments in their order (pointers for arrays, scratch
        included), the extents, start and stop as 64-bit integers.
        """
        if variant not in self.variants:
            raise ValueError(f"variant must be one of {list(self.variants)} (got {variant})")
        return ctypes.cast(self._function(variant), ctypes.c_void_p).value

    def unit(self, variant):
        """What the bitcode store knows a variant by."""
        symbol = f"numcore_{self.name}"
        return _bitcode.Unit(
            f"{self.room}.{self.name}",
            [self.body],
            (self.contract, variant, sorted(self.constants.items())),
            (symbol,),
            lambda: {symbol: _entry.entry(self, variant)},
        )

    # --- the GPU

    @property
    def cuda_entry(self):
        return f"numcore_{self.name}"

    @property
    def cuda_source(self):
        from pathlib import Path

        if self.host_only:
            return None
        parts = self.module.split(".")
        if parts[0] != "numcore":
            return Path(sys.modules[self.module].__file__).with_suffix(".cu")
        import numcore.gpu

        gpu = Path(numcore.gpu.__file__).parent
        return gpu.joinpath(*(part.lstrip("_") for part in parts[1:])).with_suffix(".cu")

    @property
    def cuda_constants(self):
        """The constants of all kernels of the CUDA file, which is compiled for them together."""
        return _constants_of(self.module)


# --- the decorator and the registry ---------------------------------------------------------------

_kernels = {}


def enter(made):
    """Put a kernel into the registry; ValueError where it disagrees with another one of its module
    about a constant."""
    for (module, name), other in _kernels.items():
        if module != made.module or name == made.name:
            continue
        for constant in made.constants.keys() & other.constants.keys():
            if made.constants[constant] != other.constants[constant]:
                raise ValueError(
                    f"constant {constant} must be the same for the kernels of one CUDA file: "
                    f"{other.where} has {other.constants[constant]!r}, {made.where} has "
                    f"{made.constants[constant]!r}"
                )
    _kernels[made.module, made.name] = made
    _constants_of.cache_clear()


@functools.cache
def _constants_of(module):
    constants = {}
    for (home, _), made in sorted(_kernels.items()):
        if home == module:
            constants |= made.constants
    return constants


def kernel(
    contract,
    *,
    split,
    gpu="thread",
    threads=256,
    shared="0",
    grain=None,
    types=None,
    constants=(),
    host_only=None,
    twin_tolerance=None,
):
    """Decorator: a Numba body and its contract become a :class:`Kernel`.

    Parameters
    ----------
    contract : str
        Arguments separated by ``;``. ``in|out|inout T name[extents]`` is a C-contiguous array,
        ``T name`` a scalar, ``scratch T name[extents]`` memory of one chunk that is not passed by
        the caller. ``T`` stands for float32 and float64. Extents are names, which the arrays'
        shapes define, or expressions of names, constants and integers with ``+``, ``*`` and
        parentheses.
    split : str
        The extent whose items are independent; the body works on items ``start`` to ``stop``.
    gpu : {"thread", "warp", "block"} or None
        What takes one item of the split axis on the GPU; None if there is no CUDA body.
    threads : int
        Threads in a block.
    shared : str
        Dynamic shared memory of a block, in bytes, as an extent expression, in which ``itemsize``
        stands for that of T.
    grain : str, optional
        Items below which a chunk is not worth a thread, as an extent expression; by default from
        the bytes touched.
    types : dict of str to tuple of str, optional
        More type variables, ``{"I": ("int32", "int64")}``.
    constants : dict of str to int or float, or tuple of str, optional
        Numbers that extents may name, and that the CUDA body reads as macros (``-DQUERIES=192``).
        A tuple names constants of the module, whose values the Numba body reads; ``"ITEM_*"`` names
        all that start so. Kernels of one module agree about them.
    host_only : str, optional
        Why there is no CUDA body: required where `gpu` is None.
    twin_tolerance : dict of str to float, optional
        How far the two bodies may differ, by dtype, relative to the largest entry; by default 1e-5
        and 1e-13.
    """

    def decorate(body):
        made = Kernel(
            body,
            contract,
            split=split,
            gpu=gpu,
            threads=threads,
            shared=shared,
            grain=grain,
            types=types,
            constants=constants,
            host_only=host_only,
            twin_tolerance=twin_tolerance,
        )
        enter(made)
        return made

    return decorate


def kernels():
    """Every kernel of numcore: a tuple of :class:`Kernel`, sorted by room and name."""
    from .dispatch import import_rooms

    import_rooms()
    ours = (k for (module, _), k in _kernels.items() if module.startswith("numcore."))
    return tuple(sorted(ours, key=lambda k: (k.room, k.name)))
