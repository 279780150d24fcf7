"""numcore.linalg."""

from . import _Memory, _Ratio, _Time


class Time(_Time, room="linalg"):
    pass


class Memory(_Memory, room="linalg"):
    pass


class Ratio(_Ratio, room="linalg"):
    pass
