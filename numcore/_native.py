"""Bitcode to running code: optimise for the CPU of this machine, check what is needed from outside,
load.

Two loaders take the same object code. On Linux x86-64 it is mapped directly (`_elf`), which takes a
millisecond and needs no LLVM in the process; elsewhere, and for whatever that loader does not know,
LLVM's own linker takes it.
"""

import ctypes
import platform
import re
import sys
import threading

from . import _elf
from .simd._intrinsic import VECTOR_BITS_SYMBOL, host_vector_bits

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


def _host_machine(llvm):
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
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


def optimise(name, bitcode, entries):
    """The LLVM module of `bitcode`, optimised for this machine, and the machine.

    Raises
    ------
    ValueError
        The kernel breaks its contract: something in it allocates or raises.
    """
    llvm = _llvm()
    module = llvm.parse_bitcode(bitcode)
    module.link_in(
        llvm.parse_assembly(
            f"define i32 @{VECTOR_BITS_SYMBOL}() alwaysinline {{ ret i32 {host_vector_bits()} }}\n"
            f"define void @{VIEW_FREE}(i8* %info) alwaysinline {{ ret void }}"
        )
    )
    machine = _host_machine(llvm)
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


def object_code(name, bitcode, entries):
    """Object code of `bitcode` for the CPU of this machine."""
    with _llvm_lock:
        module, machine = optimise(name, bitcode, entries)
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
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _host_machine(llvm))
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        return {name: engine.get_function_address(name) for name in entries}


def host_identity():
    """What object code depends on besides its bitcode: the CPU and LLVM, told without loading LLVM
    where the system says it."""
    from ._store import installed_version

    return f"{_cpu_identity()} llvmlite {installed_version('llvmlite')}"


def _cpu_identity():
    try:
        with open("/proc/cpuinfo", "rb") as file:
            first = file.read(8192).split(b"\n\n")[0]
    except OSError:
        first = b""
    wanted = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags", b"Features", b"CPU ")
    lines = [line for line in first.splitlines() if line.startswith(wanted)]
    if not any(line.startswith((b"flags", b"Features")) for line in lines):
        llvm = _llvm()
        return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    return b"\n".join(lines).decode("ascii", "replace")


def c_function(address, result, *arguments):
    """A ctypes function at `address`; calling it releases the GIL."""
    return ctypes.CFUNCTYPE(result, *arguments)(address)
