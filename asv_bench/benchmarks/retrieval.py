"""numcore.retrieval."""

from . import _Memory, _Ratio, _Time


class Time(_Time, room="retrieval"):
    pass


class Memory(_Memory, room="retrieval"):
    pass


class Ratio(_Ratio, room="retrieval"):
    pass
