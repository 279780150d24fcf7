"""What every routine of numcore keeps, whatever it computes: one function for each promise, run
over the registry.

`check_routine` takes a routine and its :class:`~numcore.examples.Example` through all of `CHECKS`;
a broken promise is a `NonConformance` that says which. Other libraries can check their own routines
with it.
"""

from . import _documentation, _manners, _refusals, _results  # noqa: F401  they register checks
from .promises import CHECKS, NonConformance

__all__ = ["CHECKS", "NonConformance", "check_routine"]


def check_routine(function, example, *, only=None):
    """Run every check, or the one named `only`, on a routine."""
    for name, check in CHECKS.items():
        if only in (None, name):
            check(function, example)
