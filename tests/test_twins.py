"""Every kernel's two bodies against each other, and every CUDA source through NVRTC."""

import numpy as np
import pytest

import numcore
from numcore.examples import example, has_example
from numcore.testing import (
    ARCHITECTURES,
    SIZES,
    compare_bodies,
    compile_nvrtc,
    device,
    nvrtc_available,
)
from numcore.testing._documentation import on_simulated_gpu

VARIANTS = [
    pytest.param(k, v, id=f"{k.room}.{k.name}-{'-'.join(v.values())}")
    for k in numcore.kernels()
    for v in k.variants
]
SOURCES = sorted(
    {
        (k.cuda_source, tuple(sorted(v.items())))
        for k in numcore.kernels()
        if not k.host_only
        for v in k.variants
    }
)


@pytest.mark.parametrize("kernel, variant", VARIANTS)
def test_bodies_agree(kernel, variant):
    compare_bodies(kernel, variant, np.random.default_rng(1), SIZES)


@pytest.mark.skipif(
    not nvrtc_available(), reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"
)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    "path, variant", SOURCES, ids=[f"{p.stem}-{'-'.join(dict(v).values())}" for p, v in SOURCES]
)
def test_compiles_for_the_device(path, variant, arch):
    from numcore.gpu import runtime

    kernels = [
        k for k in numcore.kernels() if k.cuda_source == path and dict(variant) in k.variants
    ]
    options = runtime.options(kernels[0], dict(variant))
    cubin = compile_nvrtc(runtime.source(path), arch, options=options)
    entries = {k.cuda_entry for k in kernels}
    assert entries <= set(cubin.kernels)
    for name in entries:
        usage = cubin.kernels[name]
        assert usage.registers <= 255
        assert usage.spill_stores == usage.spill_loads == 0, f"{name} spills registers on {arch}"


# CUDA bodies that no example launches, each with the reason why it is kept.
NEVER_LAUNCHED = {}


def test_every_cuda_body_is_launched_by_a_routine():
    """A CUDA body that no public call launches is dead code, and slower to find the longer it
    stays."""
    device.launched.clear()
    wanted = {(k.module, k.name): k for k in numcore.kernels() if not k.host_only}
    for routine in numcore.routines():
        if routine.host_only or not has_example(routine):
            continue
        case = example(routine)
        arguments = case.arguments(np.random.default_rng(0), np.dtype(case.dtypes[0]))
        on_simulated_gpu(routine.function, case, arguments)
    never = {f"{k.room}.{k.name}" for at, k in wanted.items() if at not in device.launched}
    assert never == set(NEVER_LAUNCHED)
