"""Special functions: certified elementary functions of float32 and float64."""

from typing import TYPE_CHECKING

from ._elementary import cos, erf, exp, exp2, expm1, log, log1p, log2, sigmoid, sin, softplus, tanh

if TYPE_CHECKING:  # what __getattr__ finds
    from ._certify import UlpContract, certify, certify_float64, max_ulp_error, ulp_error
    from ._certify_program import certify_program
    from ._evolve import Front, evolve
    from ._fit import minimize_error
    from ._program import Program

__all__ = [
    "Front",
    "Program",
    "UlpContract",
    "certify",
    "certify_float64",
    "certify_program",
    "cos",
    "erf",
    "evolve",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "max_ulp_error",
    "minimize_error",
    "sigmoid",
    "sin",
    "softplus",
    "tanh",
    "ulp_error",
]

_LATER = {  # not needed for a first result
    "UlpContract": "_certify",
    "certify": "_certify",
    "certify_float64": "_certify",
    "max_ulp_error": "_certify",
    "ulp_error": "_certify",
    "Front": "_evolve",
    "Program": "_program",
    "certify_program": "_certify_program",
    "evolve": "_evolve",
    "minimize_error": "_fit",
}


def __dir__():
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # with this, checkers would believe in every name

    def __getattr__(name):
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = globals()[name] = getattr(
            importlib.import_module(f".{_LATER[name]}", __name__), name
        )
        return value
