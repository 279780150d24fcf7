"""The two bodies of a kernel, compared: the Numba body on the CPU between guard zones, the CUDA
body on the simulated GPU."""

import math

import numpy as np

from ..elementwise import Elementwise
from ..examples import kernel_arguments
from .device import run_cuda_body
from .guards import guarded_runs

__all__ = ["compare_bodies", "random_arguments"]

POISON = 0xA5
# Sizes of the extents: nothing, one, a prime, one past a warp, one past a block.
SIZES = (0, 1, 7, 33, 257)
MOST_CHECKED = 33  # blocks: they share nothing, so that more of them in other orders show no more


def random_arguments(kernel, variant, rng, size):
    """Arguments that fit a kernel's contract, the split extent being `size` and the others small;
    outputs are poisoned."""
    made = kernel_arguments(kernel)
    if made is not None:
        return made(rng, variant, size)
    dims = {d: size if d == kernel.split else int(rng.integers(1, 20)) for d in kernel.dims}
    return [_random(kernel, p, variant, dims, rng) for p in kernel.passed]


def _random(kernel, p, variant, dims, rng):
    dtype = np.dtype(variant.get(p.type_name, p.type_name))
    if p.extents is None:
        return (
            dtype.type(rng.standard_normal())
            if dtype.kind == "f"
            else dtype.type(rng.integers(0, 2**31))
        )
    shape = tuple(kernel.extent(e, dims) for e in p.extents)
    if p.role == "out":
        return np.frombuffer(
            bytearray([POISON]) * (math.prod(shape) * dtype.itemsize), dtype
        ).reshape(shape)
    if dtype.kind == "f":
        return (4 * rng.standard_normal(shape)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def compare_bodies(kernel, variant, rng, sizes):
    """Run both bodies on the same random arguments.

    The CPU body runs between guard zones, see :func:`numcore.testing.guards.guarded_runs`, the CUDA
    body on the simulated GPU, under several thread orders unless it has many blocks. Elementwise
    kernels and integers must agree bit for bit, other floats within the kernel's `twin_tolerance`,
    relative to the largest entry, since sums may be taken in another order. A kernel without a CUDA
    body is only guarded.

    Parameters
    ----------
    kernel : Kernel
    variant : dict of str to str
    rng : Generator
    sizes : int or sequence of int
        Items of the split axis, one comparison for each.

    Raises
    ------
    AssertionError
        The bodies differ.
    KernelFault
        A body is faulty.
    """
    cases = []
    for size in np.atleast_1d(sizes).tolist():
        arguments = random_arguments(kernel, variant, rng, size)
        bound_variant, dims = kernel.bind(arguments)
        assert bound_variant == variant
        cases.append((arguments, dims))
    for (arguments, dims), on_cpu in zip(cases, guarded_runs(kernel, variant, cases), strict=True):
        if not kernel.host_only:
            _compare_with_cuda(kernel, variant, arguments, dims, on_cpu)


def _compare_with_cuda(kernel, variant, arguments, dims, on_cpu):
    from numcore.gpu import runtime

    on_gpu = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    exact = isinstance(kernel, Elementwise)
    blocks = runtime.geometry(kernel, variant, dims)[0]
    run_cuda_body(kernel, variant, on_gpu, dims, checked=blocks <= MOST_CHECKED)
    for p, gpu in zip(kernel.passed, on_gpu, strict=True):
        if p.name not in on_cpu:
            continue
        where, cpu = f"{kernel.name}, {variant}, {dims}: {p.name}", on_cpu[p.name]
        if exact or cpu.dtype.kind != "f":
            np.testing.assert_array_equal(gpu, cpu, err_msg=where)
        else:
            finite = np.abs(cpu[np.isfinite(cpu)])
            atol = kernel.twin_tolerance[cpu.dtype.name] * (finite.max() if finite.size else 0)
            np.testing.assert_allclose(gpu, cpu, rtol=0, atol=atol, err_msg=where)
