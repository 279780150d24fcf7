"""numcore.nn."""

from . import _Memory, _Ratio, _Time


class Time(_Time, room="nn"):
    pass


class Memory(_Memory, room="nn"):
    pass


class Ratio(_Ratio, room="nn"):
    pass
