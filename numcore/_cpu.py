"""What the CPU can do: read from the system where it says so, asked of LLVM elsewhere."""

import functools
import platform

# Names that LLVM has for what all CPUs of a kind can do, best first, with the bits of their
# vectors. A wheel carries object code for each of those of its architecture.
X86_LEVELS = {"x86-64-v4": 512, "x86-64-v3": 256}
LEVELS = {
    "x86_64": X86_LEVELS,
    "AMD64": X86_LEVELS,
    "aarch64": {"generic": 128},
    "arm64": {"apple-m1": 128},
}.get(platform.machine(), {})
_V3 = "avx avx2 bmi1 bmi2 f16c fma movbe abm".split()  # as Linux names them; abm has lzcnt
_NEEDED = {
    "x86-64-v4": {*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": set(_V3),
}


def _system_says():
    """The lines of the first CPU in /proc/cpuinfo that tell its kind."""
    try:
        with open("/proc/cpuinfo", "rb") as file:
            first = file.read(8192).split(b"\n\n")[0]
    except OSError:
        return []
    wanted = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags", b"Features", b"CPU ")
    return [
        line.decode("ascii", "replace") for line in first.splitlines() if line.startswith(wanted)
    ]


def _llvm_says():
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features()


@functools.cache
def features():
    """What this CPU can do, a set in Linux' names."""
    for line in _system_says():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(words.split())
    _, found = _llvm_says()
    names = {"bmi": "bmi1", "lzcnt": "abm"}
    return frozenset(names.get(name, name) for name, there in found.items() if there)


@functools.cache
def identity():
    """A text that differs between CPUs for which LLVM would make different code."""
    lines = _system_says()
    if any(line.startswith(("flags", "Features")) for line in lines):
        return "\n".join(lines)
    name, found = _llvm_says()
    return f"{name} {found.flatten()}"


@functools.cache
def level():
    """The best of LEVELS that this CPU keeps, None if it keeps none."""
    return next((name for name in LEVELS if _NEEDED.get(name, set()) <= features()), None)


@functools.cache
def vector_bits():
    """Bits of the widest float vector of this CPU: 512 with AVX-512, 256 with AVX2 and FMA, else
    128."""
    if {"avx512f", "avx512vl", "avx512dq"} <= features():
        return 512
    return 256 if {"avx2", "fma"} <= features() else 128
