"""Every kernel's two bodies against each other, and every CUDA source through NVRTC."""

from pathlib import Path

import launches
import numpy as np
import pytest
from numcore.gpu import runtime

import numcore
from numcore.examples import example, has_example
from numcore.testing import (
    ARCHITECTURES,
    SIZES,
    compare_bodies,
    compile_nvrtc,
    device,
    nvrtc_available,
    simulated_gpu,
)
from numcore.testing._documentation import on_simulated_gpu

VARIANTS = [
    pytest.param(k, v, id=f"{k.room}.{k.name}-{'-'.join(v.values())}")
    for k in numcore.kernels()
    for v in k.variants
]
GPU = Path(runtime.__file__).parent
CUDA = [(k, v) for k in numcore.kernels() if not k.host_only for v in k.variants]


def covers(wide, narrow):
    """Whether a file compiled for one variant holds the kernels of another one as well: those with
    fewer type variables."""
    return narrow.items() < wide.items()


def compilations():
    """Each CUDA file with each variant, for all architectures; for one where another variant covers
    it, which shows that the file needs no more types."""
    for path, variant in sorted({(k.cuda_source, tuple(sorted(v.items()))) for k, v in CUDA}):
        variant = dict(variant)
        covered = any(k.cuda_source == path and covers(v, variant) for k, v in CUDA)
        name = path.parent.name if path.stem == "kernels" else path.stem
        room = path.relative_to(GPU).parts[0].removesuffix(".cu")
        for arch in ARCHITECTURES[-1:] if covered else ARCHITECTURES:
            label = "-".join([f"{room}.{name}", *variant.values(), arch])
            yield pytest.param(path, variant, arch, id=label)


@pytest.mark.parametrize("kernel, variant", VARIANTS)
def test_bodies_agree(kernel, variant):
    compare_bodies(kernel, variant, np.random.default_rng(1), SIZES)


@pytest.mark.skipif(
    not nvrtc_available(), reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12"
)
@pytest.mark.parametrize("path, variant, arch", list(compilations()))
def test_compiles_for_the_device(path, variant, arch):
    there = [k for k, v in CUDA if k.cuda_source == path and (v == variant or covers(variant, v))]
    of_variant = next(k for k in there if variant in k.variants)
    options = runtime.options(of_variant, variant)
    cubin = compile_nvrtc(runtime.source(path), arch, options=options)
    entries = {k.cuda_entry for k in there}
    assert entries <= set(cubin.kernels)
    for name in entries:
        usage = cubin.kernels[name]
        assert usage.registers <= 255
        assert usage.spill_stores == usage.spill_loads == 0, f"{name} spills registers on {arch}"


def test_every_cuda_body_is_launched_by_a_public_call():
    device.launched.clear()
    for routine in numcore.routines():
        if routine.host_only or not has_example(routine):
            continue
        case = example(routine)
        arguments = case.arguments(np.random.default_rng(0), np.dtype(case.dtypes[0]))
        on_simulated_gpu(routine.function, case, arguments)
    with simulated_gpu() as xp:
        for call in launches.CALLS:
            call(xp)
    never = {
        f"{k.room}.{k.name}"
        for k in numcore.kernels()
        if not k.host_only and (k.module, k.name) not in device.launched
    }
    assert not never, "a CUDA body that nothing launches goes, or gets a call in tests/launches.py"
