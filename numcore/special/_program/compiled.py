"""Programs as compiled functions of arrays and of scalars."""

import functools
from hashlib import sha256

import numpy as np

from ...dispatch import CPU, device_of
from ...elementwise import SMALL, Elementwise


class CompiledProgram(Elementwise):
    """The elementwise kernel of one program: compiled on the CPU, run by the register machine on a
    GPU."""

    def __init__(self, function, program, dtype, body):
        self.program = program
        super().__init__(function, {dtype: body}, {})

    def __call__(self, x, y):
        if device_of(x) is CPU:
            super().__call__(x, y)
        else:
            y[...] = self.program(x)


@functools.lru_cache(maxsize=256)
def compiled(program, dtype):
    """The public function of a compiled program."""
    from ..._numba import register_scalar

    title = f"program_{sha256(repr((program._bytes(), dtype)).encode()).hexdigest()[:16]}"
    scope = {"__name__": __name__}
    exec(compile(program.to_source(title, dtype), f"<{title}>", "exec"), scope)

    def public(x, *, out=None):
        if out is None and type(x) is np.ndarray and x.size <= SMALL and x.ndim:
            loop = made.loops.get(x.dtype)
            if loop is not None:
                return loop(x)
        return made.apply(x, out)

    public.__name__ = public.__qualname__ = title
    public.__doc__ = f"A compiled program:\n\n{program}"
    made = CompiledProgram(public, program, dtype, scope[title])
    public.kernel, public.scalar_bodies, public.program = made, made.bodies, program
    register_scalar(public)
    return public
