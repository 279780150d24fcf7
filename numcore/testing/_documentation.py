"""GPU arrays in, GPU arrays out; docstrings say what signatures say, and their examples run."""

import copy
import doctest
import inspect
import io
import re

import numpy as np

from ..arguments import declaration
from ..examples import moved
from ..examples.errors import leaves
from .device import SimulatedArray, simulated_gpu
from .promises import arguments_of, call, close, must_raise, promise, require


@promise("the simulated GPU must give an array of the GPU, with the result of the CPU")
def same_on_gpu(function, example, dtype):
    arguments = arguments_of(example, dtype)
    if reason := getattr(function, "host_only", None):
        _refuses_gpu(function, example, arguments, reason)
        return
    expected = call(function, arguments)
    result = leaves(on_simulated_gpu(function, example, arguments))
    arrays = [
        leaf
        for leaf, there in zip(result, leaves(expected), strict=True)
        if np.ndim(there) and not isinstance(leaf, SimulatedArray)
    ]
    require(not arrays, "a result is no array of the GPU")
    result = [leaf.get() if isinstance(leaf, SimulatedArray) else leaf for leaf in result]
    require(close(result, leaves(expected), example, dtype), "another result on the simulated GPU")


def on_simulated_gpu(function, example, arguments):
    """What a routine gives when the arrays of an example's arguments are on the simulated GPU."""
    with simulated_gpu() as xp:
        on_gpu = copy.deepcopy(arguments)
        for name, value in on_gpu.items():
            if name in example.arrays or not isinstance(value, np.ndarray):
                on_gpu[name] = moved(value, xp.asarray)
        if "xp" in inspect.signature(function).parameters:
            on_gpu["xp"] = xp
        return function(**on_gpu)


def _refuses_gpu(function, example, arguments, reason):
    """A routine that runs on the host only says why when it is given an array of a GPU."""
    with simulated_gpu() as xp:
        for name in example.arrays:
            moved_one = arguments | {name: moved(arguments[name], xp.asarray)}
            must_raise(TypeError, function, moved_one, reason, f"{name} on the GPU")


@promise("the docstring must say shapes, errors and source, and its example must run", plain=True)
def documented(function, example, dtype):
    text = function.__doc__ or ""
    for section in ("Parameters", "Returns", "Raises", "References", "Examples"):
        require(
            f"{section}\n" in text and f"{'-' * len(section)}\n" in text,
            f"the docstring has no section {section}",
        )
    said = _type_lines(inspect.cleandoc(text))
    for p in declaration(function):
        require(
            said.get(p.name) == p.type_line,
            f"the docstring must say `{p.name} : {p.type_line}` (got {said.get(p.name)!r})",
        )
    scope = {function.__name__: function, "np": np}
    tests = doctest.DocTestFinder(recurse=False).find(
        function, function.__name__, module=False, globs=scope
    )
    require(any(t.examples for t in tests), "the docstring's example has no code")
    report = io.StringIO()
    for t in tests:
        failed = doctest.DocTestRunner(verbose=False).run(t, out=report.write).failed
        require(not failed, f"the docstring's example fails: {report.getvalue()[:500]}")


def _type_lines(text):
    """What the section Parameters of a docstring says after the name of each argument."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", text, re.DOTALL | re.MULTILINE
    )
    entries = re.findall(r"^(\S.*?) : (.*)$", section[1] if section else "", re.MULTILINE)
    return {name.strip(): line for names, line in entries for name in names.split(",")}
