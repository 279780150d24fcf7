"""Bitcode to running code: optimise for a CPU, check what is needed from outside, load.

Two loaders take the same object code. On Linux x86-64 it is mapped directly (`_elf`), which takes a
millisecond and needs no LLVM in the process; elsewhere, and for whatever that loader does not know,
LLVM's own linker takes it.
"""

import ctypes
import platform
import re
import sys
import threading

from . import _cpu, _elf
from .simd._intrinsic import VECTOR_BITS_SYMBOL

# What a kernel may need from outside: libm, the block copies that LLVM makes of loops, and the
# floating-point flags.
_REAL_FUNCTIONS = """acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp
exp2 expm1 fabs floor fma fmax fmin fmod frexp hypot ldexp lgamma log log10 log1p log2 nearbyint
nextafter pow rint round sin sinh sqrt tan tanh tgamma trunc""".split()
ALLOWED = {name + suffix for name in _REAL_FUNCTIONS for suffix in ("", "f")} | {
    "memcpy",
    "memmove",
    "memset",
    "feclearexcept",
}
# Array views leave a call that frees their memory; views of a kernel's arguments own none, so that
# it is never reached.
VIEW_FREE = "NRT_MemInfo_call_dtor"

_llvm_lock = threading.RLock()
_engines = []  # engines own the code they loaded: they live as long as the process
_ready = False


def _llvm():
    global _ready
    import llvmlite.binding as llvm

    with _llvm_lock:
        if not _ready:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            _ready = True
    return llvm


def _machine(llvm, level=None):
    """LLVM's machine for a level of CPUs, by default for the CPU of this machine."""
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=level or llvm.get_host_cpu_name(),
        features="" if level else llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="small",
    )


def _run_passes(llvm, module, machine, entries, *, speed_level, loops):
    """Run LLVM's standard pipeline; `loops` are vectorised and unrolled, or left for the machine
    that runs them."""
    for function in module.functions:  # all but the entries may be inlined away
        if not function.is_declaration and function.name not in entries:
            function.linkage = "internal"
    tuning = llvm.create_pipeline_tuning_options(speed_level=speed_level)
    tuning.loop_vectorization = tuning.loop_interleaving = loops
    tuning.slp_vectorization, tuning.loop_unrolling = False, loops
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)


def simplified(bitcode, entries):
    """Bitcode without what every machine would remove first: as portable as before, a quarter in
    size, optimised in half the time."""
    llvm = _llvm()
    with _llvm_lock:
        module = llvm.parse_bitcode(bitcode)
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu="", features="", opt=2, reloc="pic", codemodel="small"
        )
        _run_passes(llvm, module, machine, entries, speed_level=2, loops=False)
        return module.as_bitcode()


def optimise(name, bitcode, entries, level=None):
    """The LLVM module of `bitcode`, optimised for this machine or a level of CPUs, and LLVM's
    machine.

    Raises
    ------
    ValueError
        The kernel breaks its contract: something in it allocates or raises.
    """
    llvm = _llvm()
    module = llvm.parse_bitcode(bitcode)
    bits = _cpu.LEVELS[level] if level else _cpu.vector_bits()
    module.link_in(
        llvm.parse_assembly(
            f"define i32 @{VECTOR_BITS_SYMBOL}() alwaysinline {{ ret i32 {bits} }}\n"
            f"define void @{VIEW_FREE}(i8* %info) alwaysinline {{ ret void }}"
        )
    )
    machine = _machine(llvm, level)
    _run_passes(llvm, module, machine, entries, speed_level=1, loops=True)
    outside = {
        f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")
    }
    outside |= {v.name for v in module.global_variables if v.is_declaration}
    if outside - ALLOWED:
        raise ValueError(
            f"kernel {name} must neither allocate nor raise, but it "
            f"{_in_words(sorted(outside - ALLOWED))}"
        )
    return module, machine


# What a symbol that no kernel may need tells of its body, the most telling first.
_MEANINGS = (
    (r"NRT_\w*(?:Alloc|alloc|Realloc)\w*|NRT_MemInfo_(?:new|varsize)\w*", "allocates memory"),
    (r"PySys_\w*|puts|printf|\w*print\w*", "prints"),
    (r"numba_unpickle|\.const\.picklebuf\S*", "raises an exception or prints"),
    (r"numba_gil_\w+|PyGIL\w*|Py\w*|_Py\w*", "uses Python objects"),
)


def _in_words(symbols):
    """``allocates memory (NRT_Allocate), raises an exception or prints (numba_unpickle)``."""
    found, rest = {}, []
    for symbol in symbols:
        for pattern, meaning in _MEANINGS:
            if re.fullmatch(pattern, symbol):
                found.setdefault(meaning, []).append(symbol)
                break
        else:
            rest.append(symbol)
    if len(found) > 1:  # every raise drags Python objects with it
        found.pop("uses Python objects", None)
    parts = [f"{m} ({', '.join(found[m][:3])})" for _, m in _MEANINGS if m in found]
    if rest and not found:
        parts.append(f"needs what is neither in it nor in libm ({', '.join(rest[:4])})")
    return ", ".join(parts)


def object_code(name, bitcode, entries, level=None):
    """Object code of `bitcode` for the CPU of this machine, or for a level of CPUs."""
    with _llvm_lock:
        module, machine = optimise(name, bitcode, entries, level)
        return machine.emit_object(module)


def assembly(name, bitcode, entries):
    """The assembly of `bitcode` for the CPU of this machine, for tests that read it."""
    with _llvm_lock:
        module, machine = optimise(name, bitcode, entries)
        return machine.emit_assembly(module)


def load(code, entries):
    """Load object code; the addresses of its entry points.

    Returns
    -------
    dict of str to int
    """
    if sys.platform == "linux" and platform.machine() == "x86_64":
        try:
            return _elf.load(code, entries)
        except _elf.Unsupported:
            pass
    return load_with_llvm(code, entries)


def load_with_llvm(code, entries):
    """Load object code through LLVM's MCJIT."""
    llvm = _llvm()
    with _llvm_lock:
        for symbol in ALLOWED:
            if not llvm.address_of_symbol(symbol) and (address := _elf.outside_address(symbol)):
                llvm.add_symbol(symbol, address)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(llvm))
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        return {name: engine.get_function_address(name) for name in entries}


def c_function(address, result, *arguments):
    """A ctypes function at `address`; calling it releases the GIL."""
    return ctypes.CFUNCTYPE(result, *arguments)(address)
