"""Everything that needs numba: kernel bodies to portable bitcode, and numcore's functions inside a
user's ``@njit`` code.

This is the only module that imports numba, and nothing imports this module before something must be
compiled from Python.
"""

import sys
import types as python_types

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import ccallback, codegen, cpu, dispatcher, errors, registry, target_extension
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic, overload

from . import simd
from ._source import digest, is_plain, references
from .simd import Intrinsic

OPTIONS = {"nopython": True, "error_model": "numpy", "boundscheck": False}


# --- a Numba target that stops before optimisation: its bitcode holds nothing of this machine but the  # noqa: E501


class _Library(codegen.JITCodeLibrary):
    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True


class _Codegen(codegen.JITCPUCodegen):
    _library_class = _Library


class _Context(cpu.CPUContext):
    is_portable = True

    @global_compiler_lock
    def init(self):
        super().init()
        self._internal_codegen = _Codegen("numcore")

    def get_executable(self, library, fndesc, env):
        return object()  # nothing runs in this target; Numba only needs a key for the function


class _Target(registry.CPUTarget):
    @registry.cached_property
    def _toplevel_target_context(self):
        return _Context(self.typing_context, self._target_name)


class PortableCPU(target_extension.CPU):
    """Numba's CPU target without the optimisation for this machine."""


_target = _Target("numcore_portable")


class _Dispatcher(dispatcher.Dispatcher):
    targetdescr = _target

    def add_overload(self, compiled):
        self.overloads[tuple(compiled.signature.args)] = compiled


class _CFunc(ccallback.CFunc):
    _targetdescr = _target


def _portable_jit(function=None, **options):
    if function is None:
        return lambda function: _portable_jit(function, **options)
    return _Dispatcher(function, targetoptions={"nopython": True} | options)


target_extension.target_registry["numcore_portable"] = PortableCPU
target_extension.dispatcher_registry[PortableCPU] = _Dispatcher
target_extension.jit_registry[PortableCPU] = _portable_jit


def portable(function):
    """Compile a function that kernels call."""
    return _portable_jit(function, **OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)


# --- plain Python functions as Numba functions ----------------------------------------------------


def jittable(function, jit, done=None):
    """`function` with every plain Python function that it calls by a global name replaced by its
    compiled form.

    Functions of numba and numpy stay: Numba knows them by themselves.
    """
    done = {} if done is None else done
    if function not in done:
        scope = dict(function.__globals__)
        clone = done[function] = python_types.FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__
        )
        clone.__module__, clone.__qualname__ = function.__module__, function.__qualname__
        for name, value in references(function):
            if isinstance(value, Intrinsic):
                scope[name] = numba_intrinsic(value)
            elif hasattr(value, "scalar_bodies"):
                scope[name] = scalar_function(value, jit)
            elif is_plain(value):
                scope[name] = _helper(value, jit, done)
    return done[function]


_helpers = {}  # compiled functions by what they depend on: all kernels of a process share them


def _helper(function, jit, done):
    key = function, jit, digest([function])
    if key not in _helpers:
        _helpers[key] = jit(jittable(function, jit, done))
    return _helpers[key]


_scalar_functions = {}


def scalar_function(public, jit):
    """An elementwise routine as a function of one scalar, whose body is chosen by the scalar's
    type."""
    if jit is not portable:
        return public  # Numba's own target knows it: register_scalar
    if public not in _scalar_functions:

        def stub(x):
            raise NotImplementedError

        overload(stub, target="numcore_portable")(_by_dtype(public, portable))
        _scalar_functions[public] = stub
    return _scalar_functions[public]


def _by_dtype(public, jit):
    bodies = {getattr(types, dtype): body for dtype, body in public.scalar_bodies.items()}

    def typing(x):
        body = bodies.get(x)
        return None if body is None else jittable(body, jit)

    return typing


_numba_intrinsics = {}


def numba_intrinsic(block):
    """The ``numba.extending.intrinsic`` of an :class:`~numcore.simd.Intrinsic`."""
    if block not in _numba_intrinsics:
        parameters = ", ".join(block.body.__code__.co_varnames[: block.body.__code__.co_argcount])

        def define(typing_context, *arguments):
            result = block.typing(*arguments)
            return None if result is None else (result(*arguments), block.emit)

        scope = {"define": define}
        exec(
            f"def {block.__name__}(typingctx{', ' if parameters else ''}{parameters}):\n"
            f"    return define(typingctx{', ' if parameters else ''}{parameters})",
            scope,
        )
        _numba_intrinsics[block] = intrinsic(scope[block.__name__])
    return _numba_intrinsics[block]


# --- kernels to bitcode ---------------------------------------------------------------------------


def compile_bitcode(entries, where="body"):
    """Compile entry points to one module of bitcode, not optimised yet.

    Parameters
    ----------
    entries : dict of str to (function, Numba signature)
        C symbol of each entry point, its body, and its type.
    where : str
        What is compiled, and where it is written, for messages.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        Numba cannot compile a body; the message is Numba's.
    """
    linked = None
    with global_compiler_lock:
        for symbol, (function, signature) in entries.items():
            body = jittable(function, portable)
            try:
                compiled = _CFunc(
                    body, (signature.args, signature.return_type), {}, OPTIONS
                )._compile_uncached()
            except errors.NumbaError as error:
                raise ValueError(f"kernel {where}: {error}") from error
            compiled.library.finalize()
            # Array views count references to memory that a kernel never owns: inlined, the counting
            # folds away.
            text = str(compiled.library._final_module).replace("{ noinline }", "{ alwaysinline }")
            module = llvm.parse_assembly(text)
            module.get_function(compiled.fndesc.llvm_cfunc_wrapper_name).name = symbol
            for other in module.functions:
                if not other.is_declaration and other.name != symbol:
                    other.linkage = "internal"
            for variable in module.global_variables:
                if not variable.is_declaration or variable.linkage == llvm.Linkage.common:
                    variable.linkage = "internal"
            if linked is None:
                linked = module
            else:
                linked.link_in(module)
    linked.name = "numcore"
    return linked.as_bitcode()


# --- numcore's functions inside a user's @njit code -----------------------------------------------

_registered = set()
# whether Numba has started, so that routines imported from now on are to be registered at once
is_up = False


def register_scalar(function):
    """Make an elementwise routine callable, on scalars, inside compiled code."""
    if function in _registered:
        return
    _registered.add(function)
    overload(function, jit_options={"error_model": "numpy"})(
        _by_dtype(function, numba.njit(error_model="numpy"))
    )
    registry.cpu_target.typing_context.refresh()


def register():
    """Numba's ``numba_extensions`` entry point: runs once, when a program compiles its first
    function, whether it uses numcore or not."""
    global is_up
    is_up = True
    for name in simd.__all__:
        block = getattr(simd, name)
        if isinstance(block, Intrinsic):
            _register_intrinsic(block)
    loaded = sys.modules.get(f"{__package__}.elementwise")
    for public in loaded.scalars if loaded else ():
        register_scalar(public)


def _register_intrinsic(block):
    compiled = numba_intrinsic(block)
    parameters = ", ".join(block.body.__code__.co_varnames[: block.body.__code__.co_argcount])
    scope = {"compiled": compiled}
    exec(
        f"def typing({parameters}):\n    return lambda {parameters}: compiled({parameters})", scope
    )
    overload(block)(scope["typing"])
