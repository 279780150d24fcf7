"""numcore.special."""

from . import _Memory, _Ratio, _Time


class Time(_Time, room="special"):
    pass


class Memory(_Memory, room="special"):
    pass


class Ratio(_Ratio, room="special"):
    pass
