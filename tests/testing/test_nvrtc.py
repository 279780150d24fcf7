"""Sources compile for every architecture without a GPU, and their use of registers is known."""

import pathlib

import pytest

from numcore.testing import nvrtc
from numcore.testing.nvrtc import ARCHITECTURES, NvrtcError, compile_nvrtc, nvrtc_available

INCLUDE = pathlib.Path(__file__).parents[2] / "gpu" / "include"

pytestmark = pytest.mark.skipif(not nvrtc_available(), reason="no NVRTC")

SOURCE = """
#include "numcore.cuh"
extern "C" __global__ void scale(const REAL* x, REAL* out, REAL a, index_t n) {
  for (index_t i = thread_index(); i < n; i += thread_count()) out[i] = a * x[i];
}
extern "C" __global__ void total(const REAL* x, REAL* out, index_t n) {
  DYNAMIC_SHARED(REAL, scratch);
  REAL sum = 0, most = -INFINITY, least = Limits<REAL>::infinity();
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    sum += square(x[i]);
    most = max(most, x[i]);
    least = min(least, x[i]);
  }
  scratch[threadIdx.x] = block_sum(sum) + block_max(most) + block_min(least) + (isnan(x[0]) ? Limits<REAL>::nan() : NAN);
  if (threadIdx.x == 0) out[blockIdx.x] = scratch[0] + ceil_div(n, 2);
}
extern "C" __global__ void __launch_bounds__(1024) spills(const double* x, double* out) {
  double a[64];
  for (int i = 0; i < 64; i++) a[i] = x[threadIdx.x + 1024 * i];
  for (int k = 0; k < 20; k++)
    #pragma unroll
    for (int i = 0; i < 64; i++) a[i] = fma(a[i], a[(i * 7 + 1) % 64], a[(i + 13) % 64]);
  for (int i = 0; i < 64; i++) out[threadIdx.x + 1024 * i] = a[i];
}
"""  # noqa: E501


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("real", ["float", "double"])
def test_compile(arch, real):
    cubin = compile_nvrtc(SOURCE, arch, options=[f"-DREAL={real}"], include_dirs=[INCLUDE])
    assert cubin.code.startswith(b"\x7fELF")
    assert set(cubin.kernels) == {"scale", "total", "spills"}
    scale, total, spills = (cubin.kernels[name] for name in ("scale", "total", "spills"))
    assert 8 <= scale.registers <= 40
    assert (scale.stack, scale.spill_stores, scale.spill_loads, scale.shared) == (0, 0, 0, 0)
    assert total.shared == 3 * 32 * (4 if real == "float" else 8)
    assert spills.registers == 64
    assert min(spills.spill_stores, spills.spill_loads, spills.stack) > 0


def test_error_carries_the_log():
    with pytest.raises(NvrtcError, match=r"broken.cu does not compile for sm_80") as caught:
        compile_nvrtc(
            'extern "C" __global__ void k(float* x) { x[0] = missing; }', name="broken.cu"
        )
    assert 'broken.cu(1): error: identifier "missing" is undefined' in caught.value.log


def test_headers_and_options():
    source = '#include "value.h"\nextern "C" __global__ void k(int* x) { x[0] = VALUE; }'
    assert "k" in compile_nvrtc(source, headers={"value.h": "#define VALUE 3"}).kernels
    with pytest.raises(NvrtcError, match="value.h"):
        compile_nvrtc(source)
    with pytest.raises(NvrtcError, match="nonsense"):
        compile_nvrtc(source, options=["--nonsense"])


def test_bad_architecture():
    with pytest.raises(ValueError, match="arch must be"):
        compile_nvrtc("", "compute_80")


def test_functions_that_are_not_inlined():
    log = (
        "ptxas info    : 24 bytes gmem\n"
        "ptxas info    : Compiling entry function 'k' for 'sm_80'\n"
        "ptxas info    : Function properties for helper\n"
        "    48 bytes stack frame, 44 bytes spill stores, 40 bytes spill loads\n"
        "ptxas info    : Function properties for k\n"
        "    8 bytes stack frame, 4 bytes spill stores, 2 bytes spill loads\n"
        "ptxas info    : Used 30 registers, used 1 barriers, 128 bytes smem, 376 bytes cmem[0], 8 "
        "bytes cmem[2]\n"
    )
    usage = nvrtc._usages(log)["k"]
    assert (usage.registers, usage.stack, usage.spill_stores, usage.spill_loads) == (30, 8, 4, 2)
    assert (usage.shared, usage.constant) == (128, 384)


def test_missing_wheel(monkeypatch):
    monkeypatch.setattr(nvrtc.importlib.util, "find_spec", lambda name: None)
    nvrtc._library.cache_clear()
    try:
        assert not nvrtc_available()
        with pytest.raises(NvrtcError, match="pip install nvidia-cuda-nvrtc-cu12"):
            compile_nvrtc("")
    finally:
        nvrtc._library.cache_clear()
