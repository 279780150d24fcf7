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


# CUDA bodies that no example of a routine launches, so that this test cannot tell them from dead
# code: they belong to another option of a routine, or to a method of a model.
NOT_IN_EXAMPLES = {
    "linalg": """
        backward_color forward_color hadamard_columns mix_channels solve_by_gradients
        solve_by_sketch sor_color ssor_rows sweep_rows
    """.split(),
    "nn": """
        activation_gelu_tanh activation_relu activation_silu activation_vjp_gelu_tanh
        activation_vjp_relu activation_vjp_sigmoid activation_vjp_silu activation_vjp_sin
        activation_vjp_softplus activation_vjp_tanh adam_update amsgrad_update descend
        gaussian_points label_cross_entropy mlp_layer_gelu mlp_layer_relu mlp_layer_sigmoid
        mlp_layer_silu mlp_layer_sin mlp_layer_softplus mlp_layer_tanh mlp_layer_vjp power_rows
        smallest_cut
    """.split(),
    "retrieval": """
        adapter_loss adapter_scores add_tree bag_means best_splits bounded_distances
        distances_by_pairs distances_of edit_distance_blocks edit_distance_lanes
        gradient_histograms gram_overlap half_means item_losses lazy_adam_rows logistic_moments
        look_up_sums nonnegative_descent permuted_products places_in_lists scan_lists tag_overlaps
    """.split(),
    "special": """
        program_errors program_values
    """.split(),
}


def test_every_cuda_body_is_launched_by_a_routine():
    device.launched.clear()
    for routine in numcore.routines():
        if routine.host_only or not has_example(routine):
            continue
        case = example(routine)
        arguments = case.arguments(np.random.default_rng(0), np.dtype(case.dtypes[0]))
        on_simulated_gpu(routine.function, case, arguments)
    kernels = [k for k in numcore.kernels() if not k.host_only]
    never = {f"{k.room}.{k.name}" for k in kernels if (k.module, k.name) not in device.launched}
    excused = {f"{room}.{name}" for room, names in NOT_IN_EXAMPLES.items() for name in names}
    assert not never - excused, "a CUDA body that nothing launches goes, or gets an example"
    assert not excused - {f"{k.room}.{k.name}" for k in kernels}
