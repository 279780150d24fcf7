"""Tests without a GPU, for numcore and for whoever writes kernels on top of it.

`simulated_gpu` runs routines on a GPU simulated on the CPU; `compare_bodies` compares the two
bodies of a kernel; `check_routine` takes a routine through every promise of numcore;
`check_vjp` checks gradients by finite differences; `compile_nvrtc` compiles CUDA sources as a
driver would.
"""

from .conformance import CHECKS, NonConformance, check_routine
from .device import SimulatedArray, simulated_gpu
from .gradients import check_vjp
from .host_cuda import In, InOut, KernelFault, Out, compile_host, run_checked
from .nvrtc import ARCHITECTURES, NvrtcError, compile_nvrtc, nvrtc_available
from .twins import SIZES, compare_bodies, random_arguments

__all__ = [
    "ARCHITECTURES",
    "CHECKS",
    "SIZES",
    "In",
    "InOut",
    "KernelFault",
    "NonConformance",
    "NvrtcError",
    "Out",
    "SimulatedArray",
    "check_routine",
    "check_vjp",
    "compare_bodies",
    "compile_host",
    "compile_nvrtc",
    "nvrtc_available",
    "random_arguments",
    "run_checked",
    "simulated_gpu",
]
