"""numcore.random."""

from . import _Memory, _Ratio, _Time


class Time(_Time, room="random"):
    pass


class Memory(_Memory, room="random"):
    pass


class Ratio(_Ratio, room="random"):
    pass
