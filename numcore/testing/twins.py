"""The two bodies of a kernel, compared: the Numba body on the CPU, the CUDA body on the simulated
GPU."""

import math

import numpy as np

from ..elementwise import Elementwise
from ..examples import kernel_arguments
from ..kernel import extent
from .device import run_cuda_body

__all__ = ["compare_bodies", "random_arguments"]

POISON = 0xA5
# Sizes of the extents: nothing, one, a prime, one past a warp, one past a block.
SIZES = (0, 1, 7, 33, 257)


def random_arguments(kernel, variant, rng, size):
    """Arguments that fit a kernel's contract, the split extent being `size` and the others small;
    outputs are poisoned."""
    made = kernel_arguments(kernel)
    if made is not None:
        return made(rng, variant, size)
    dims = {d: size if d == kernel.split else int(rng.integers(1, 20)) for d in kernel.dims}
    return [_random(p, variant, dims, rng) for p in kernel.passed]


def _random(p, variant, dims, rng):
    dtype = np.dtype(variant.get(p.type_name, p.type_name))
    if p.extents is None:
        return (
            dtype.type(rng.standard_normal())
            if dtype.kind == "f"
            else dtype.type(rng.integers(0, 2**31))
        )
    shape = tuple(extent(e, dims) for e in p.extents)
    if p.role == "out":
        return np.frombuffer(
            bytearray([POISON]) * (math.prod(shape) * dtype.itemsize), dtype
        ).reshape(shape)
    if dtype.kind == "f":
        return (4 * rng.standard_normal(shape)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def compare_bodies(kernel, variant, rng, size):
    """Run both bodies on the same random arguments; AssertionError where they differ, KernelFault
    where the CUDA body is faulty.

    Elementwise kernels and integers must agree bit for bit, other floats within the kernel's
    `twin_tolerance`, relative to the largest entry, since sums may be taken in another order.
    """
    arguments = random_arguments(kernel, variant, rng, size)
    on_cpu = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    bound_variant, dims = kernel.bind(on_cpu)
    assert bound_variant == variant
    kernel(*on_cpu)
    on_gpu = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    exact = isinstance(kernel, Elementwise)
    run_cuda_body(kernel, variant, on_gpu, dims, checked=True)
    for p, before, cpu, gpu in zip(kernel.passed, arguments, on_cpu, on_gpu, strict=True):
        if p.extents is None:
            continue
        where = f"{kernel.name}, {variant}, {dims}: {p.name}"
        if p.role == "in":
            np.testing.assert_array_equal(
                cpu.view(np.uint8), before.view(np.uint8), err_msg=f"{where} was modified"
            )
        elif exact or cpu.dtype.kind != "f":
            np.testing.assert_array_equal(gpu, cpu, err_msg=where)
        else:
            finite = np.abs(cpu[np.isfinite(cpu)])
            atol = kernel.twin_tolerance[cpu.dtype.name] * (finite.max() if finite.size else 0)
            np.testing.assert_allclose(gpu, cpu, rtol=0, atol=atol, err_msg=where)
