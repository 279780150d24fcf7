"""Where arrays live decides where the work is done: array types to devices, and the registry of
routines.

A routine is written once. It asks :func:`on_device` for the array namespace of its arguments and
goes on with ``xp.matmul``, ``xp.empty`` and kernels, which run on the device of the arrays that
they are given.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# The subpackages of numcore whose routines the registry lists, one per field.
ROOMS = ("linalg", "nn", "random", "retrieval", "special")


class Device:
    """A place where arrays live.

    Attributes
    ----------
    name : str
    owns : function
        Whether a type is the array type of this device.
    namespace : function
        The array namespace (numpy, cupy), imported when first asked for.
    launch : function or None
        ``launch(kernel, variant, arguments, dims)`` runs the CUDA body of a kernel; None on the
        CPU.
    """

    def __init__(self, name, owns, namespace, launch=None):
        self.name, self.owns, self.namespace, self.launch = name, owns, namespace, launch

    def __repr__(self):
        return f"<device {self.name}>"


def _cupy():
    import cupy

    return cupy


def _launch_cuda(*arguments):
    from numcore.gpu import runtime

    runtime.launch(*arguments)


CPU = Device("cpu", lambda kind: kind is np.ndarray, lambda: np)
CUDA = Device(
    "cuda",
    lambda kind: kind.__module__.partition(".")[0] == "cupy" and kind.__name__ == "ndarray",
    _cupy,
    _launch_cuda,
)
_devices = [CPU, CUDA]
_device_of_type = {np.ndarray: CPU}
_namespace_of_type = {np.ndarray: np}


def add_device(device):
    """Let arrays of one more type be recognised; the simulated GPU of :mod:`numcore.testing` comes
    in this way."""
    _devices.append(device)


def device_of(array):
    """The :class:`Device` of an array, None for anything that is no array of a known device."""
    kind = type(array)
    device = _device_of_type.get(kind)
    if device is None:
        for device in _devices:
            if device.owns(kind):
                _device_of_type[kind] = device
                return device
        return None
    return device


def namespace_of(*arrays):
    """The array namespace, numpy or cupy, of the first of `arrays` that is not None."""
    for array in arrays:
        if array is not None:
            return _namespace_of_type.get(type(array)) or device_of(array).namespace()
    return np


def check_one_device(**arrays):
    """TypeError unless all arrays live on one device: arguments and what a model has kept.

    Examples
    --------
    >>> check_one_device(x=np.ones(2), weights_=np.ones(3), bias_=None)
    """
    devices = {name: device_of(a) for name, a in arrays.items() if a is not None}
    if len(set(devices.values())) > 1:
        where = ", ".join(f"{name} on {device.name}" for name, device in devices.items())
        raise TypeError(f"arguments must live on one device (got {where})")


def is_namespace(value):
    """Whether `value` is numpy or the array namespace of another known device."""
    kind = getattr(value, "ndarray", None)
    return isinstance(kind, type) and any(device.owns(kind) for device in _devices)


class Routine:
    """A public function or model in the registry.

    Attributes
    ----------
    function : callable
        The function, or the class of the model.
    name, room : str
    host_only : str or None
        Why it has no GPU form.
    """

    def __init__(self, function, host_only=None):
        self.function, self.name, self.host_only = function, function.__name__, host_only
        self.room = room_of(function.__module__)

    def __repr__(self):
        return f"<routine {self.room}.{self.name}>"


_routines: dict = {}
_models: dict = {}


def room_of(module):
    """``numcore.special._elementary`` → ``special``; a module outside numcore is its own room."""
    parts = module.split(".")
    return parts[1] if parts[0] == "numcore" and len(parts) > 1 else module


@overload
def routine(function: F) -> F: ...
@overload
def routine(*, host_only: str) -> Callable[[F], F]: ...
def routine(function=None, *, host_only=None):
    """Enter a public function into the registry, and check its arguments as its signature declares.

    Tests, benchmarks and ``python -m numcore`` run over the registry.

    Parameters
    ----------
    function : callable
    host_only : str, optional
        Why the function has no GPU form, if so; arrays of a GPU are then refused.
    """
    if function is None:
        return lambda function: routine(function, host_only=host_only)
    from .arguments import checked

    made = checked(function, host_only=host_only)
    made.host_only = host_only
    _routines[function.__module__, function.__name__] = Routine(made, host_only)
    return made


def import_rooms():
    """Import every room with all its modules, so that the registries are full."""
    import importlib
    import pkgutil

    for room in ROOMS:
        module = importlib.import_module(f"numcore.{room}")
        path = getattr(module, "__path__", ())
        for found in pkgutil.walk_packages(path, f"numcore.{room}."):
            importlib.import_module(found.name)


def routines():
    """Every public routine of numcore: a tuple of objects with `name`, `room` and `function`,
    sorted by room and name."""
    return _registered(_routines)


def models():
    """Every model of numcore, a tuple like that of :func:`routines`."""
    return _registered(_models)


def _registered(registry):
    import_rooms()
    ours = (r for (module, _), r in registry.items() if module.startswith("numcore."))
    return tuple(sorted(ours, key=lambda r: (r.room, r.name)))
