"""The simulated device runs right kernels rightly, and finds every kind of fault that is planted
here."""

import ctypes
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from numcore.testing.host_cuda import (
    HostCompileError,
    In,
    InOut,
    KernelFault,
    Out,
    compile_host,
    host_compiler,
    run_checked,
)
from numcore.testing.nvrtc import compile_nvrtc, nvrtc_available

INCLUDE = pathlib.Path(__file__).parents[2] / "gpu" / "include"
ZIG = f"{sys.executable} -m ziglang cc -x c++"
COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)] + (
    [ZIG] if importlib.util.find_spec("ziglang") else []
)

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the simulated device runs on Linux"
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMCORE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(
            "ZIG_GLOBAL_CACHE_DIR",
            os.environ.get("ZIG_GLOBAL_CACHE_DIR", os.path.expanduser("~/.cache/zig")),
        )
        yield


@pytest.fixture(
    scope="module", params=COMPILERS, ids=lambda command: "zig" if command == ZIG else command
)
def compiler(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", request.param)
        yield request.param


def build(source, **options):
    entries = re.findall(r"__global__ void (?:__launch_bounds__\(\d+\) )?(\w+)", source)
    return compile_host(source, entries=entries, include_dirs=[INCLUDE], **options)


# -- Right kernels

SOFTMAX = """
template <typename T> __device__ T reduce_sum(T v) { for (int m = 16; m; m >>= 1) v += __shfl_xor_sync(0xffffffffu, v, m); return v; }
template <typename T> __device__ T reduce_max(T v) { for (int m = 16; m; m /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, m)); return v; }
extern "C" __global__ void softmax_rows(const REAL* __restrict__ x, REAL* __restrict__ out, int d) {
  __shared__ REAL part[32];
  const REAL* row = x + (size_t)blockIdx.x * d;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  REAL m = row[0];
  for (int j = threadIdx.x; j < d; j += blockDim.x) m = max(m, row[j]);
  m = reduce_max(m);
  if (lane == 0) part[warp] = m;
  __syncthreads();
  m = part[0];
  for (int w = 1; w < warps; w++) m = max(m, part[w]);
  __syncthreads();
  REAL s = 0;
  for (int j = threadIdx.x; j < d; j += blockDim.x) s += exp(row[j] - m);
  s = reduce_sum(s);
  if (lane == 0) part[warp] = s;
  __syncthreads();
  s = 0;
  for (int w = 0; w < warps; w++) s += part[w];
  for (int j = threadIdx.x; j < d; j += blockDim.x) out[(size_t)blockIdx.x * d + j] = exp(row[j] - m) / s;
}
"""  # noqa: E501


def softmax_arguments(dtype="f4"):
    x = np.random.default_rng(0).standard_normal((8, 300)).astype(dtype)
    expected = np.exp(x - x.max(1, keepdims=True))
    return [In(x), Out(np.zeros_like(x)), np.int32(300)], expected / expected.sum(1, keepdims=True)


@pytest.mark.parametrize(("real", "dtype"), [("float", "f4"), ("double", "f8")])
def test_softmax(compiler, real, dtype):
    args, expected = softmax_arguments(dtype)
    run_checked(build(SOFTMAX, options=[f"-DREAL={real}"]), "softmax_rows", 8, 128, args)
    np.testing.assert_allclose(args[1].array, expected, rtol=30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("number", range(3))
def test_missing_barrier_is_a_race(compiler, number):
    pieces = SOFTMAX.split("__syncthreads();")
    source = (
        "__syncthreads();".join(pieces[: number + 1])
        + "__syncthreads();".join(["", *pieces[number + 1 :]])[len("__syncthreads();") :]
    )
    assert source.count("__syncthreads();") == 2
    args, _ = softmax_arguments()
    with pytest.raises(
        KernelFault, match=r"argument 1 .* depends on the order of threads"
    ) as caught:
        run_checked(build(source), "softmax_rows", 8, 128, args)
    assert caught.value.kind == "race"
    assert caught.value.argument == 1
    assert not args[1].array.any()


SHARED_HEADER = """
#include "numcore.cuh"
extern "C" __global__ void reduce(const REAL* x, REAL* out, index_t n) {
  REAL sum = 0, most = -INFINITY, least = INFINITY;
  for (index_t i = thread_index(); i < n; i += thread_count()) {
    sum += x[i];
    most = max(most, x[i]);
    least = min(least, x[i]);
  }
  sum = block_sum(sum);
  most = block_max(most);
  least = block_min(least);
  if (index_in_block() == 0) {
    out[3 * block_index()] = sum;
    out[3 * block_index() + 1] = most;
    out[3 * block_index() + 2] = least;
  }
}
extern "C" __global__ void transpose(const REAL* x, REAL* out, int n) {
  DYNAMIC_SHARED(REAL, tile);
  tile[threadIdx.y * n + threadIdx.x] = x[threadIdx.y * n + threadIdx.x];
  __syncthreads();
  out[threadIdx.y * n + threadIdx.x] = tile[threadIdx.x * n + threadIdx.y];
}
__constant__ float table[3] = {1.5f, 2.5f, 3.5f};
extern "C" __global__ void __launch_bounds__(64) look_up(float* out) { out[threadIdx.x] = table[threadIdx.x % 3]; }
extern "C" __global__ void count_down(const float* x, float* total, int* most, unsigned* tickets, int n) {
  int i = thread_index();
  if (i >= n) return;
  atomicAdd(total, x[i]);
  atomicMax(most, i);
  atomicInc(tickets, 1000000u);
}
"""  # noqa: E501


@pytest.mark.parametrize(("real", "dtype"), [("float", "f4"), ("double", "f8")])
def test_shared_header(compiler, real, dtype):
    module = build(SHARED_HEADER, options=[f"-DREAL={real}"])
    x = np.random.default_rng(1).standard_normal(10_001).astype(dtype)
    out = np.zeros((6, 3), dtype)
    run_checked(module, "reduce", (3, 2), (32, 2, 2), [In(x), Out(out), np.int64(x.size)])
    np.testing.assert_allclose(out[:, 0].sum(), x.sum(), rtol=1e-4)
    assert out[:, 1].max() == x.max()
    assert out[:, 2].min() == x.min()

    square = np.arange(64, dtype=dtype).reshape(8, 8)
    turned = np.zeros_like(square)
    run_checked(
        module, "transpose", 1, (8, 8), [In(square), Out(turned), np.int32(8)], shared=square.nbytes
    )
    np.testing.assert_array_equal(turned, square.T)
    with pytest.raises(KernelFault, match="of dynamic shared memory") as caught:
        run_checked(
            module,
            "transpose",
            1,
            (8, 8),
            [In(square), Out(turned), np.int32(8)],
            shared=square.nbytes - 16,
        )
    assert caught.value.kind == "out of bounds"


def test_constants_and_atomics(compiler):
    module = build(SHARED_HEADER)
    out = np.zeros(64, "f4")
    run_checked(module, "look_up", 1, 64, [Out(out)])
    np.testing.assert_array_equal(out, np.resize(np.array([1.5, 2.5, 3.5], "f4"), 64))
    x = np.random.default_rng(2).random(1000).astype("f4")
    total, most, tickets = np.array([0.0], "f4"), np.array([-1], "i4"), np.array([0], "u4")
    args = [In(x), InOut(total), InOut(most), InOut(tickets), np.int32(1000)]
    with pytest.raises(KernelFault) as caught:  # order matters, in the last bits
        run_checked(module, "count_down", 8, 128, args)
    assert caught.value.kind == "race"
    run_checked(module, "count_down", 8, 128, args, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total, x.sum(), rtol=1e-4, atol=1e-4)
    assert (most[0], tickets[0]) == (999, 1000)


WARP = """
extern "C" __global__ void warp(const int* x, int* out) {
  int t = threadIdx.x, v = x[t], lane = t & 31, n = blockDim.x;
  int* o = out + t;
  o[0] = __shfl_sync(~0u, v, 3);
  o[n] = __shfl_up_sync(~0u, v, 2);
  o[2 * n] = __shfl_down_sync(~0u, v, 2);
  o[3 * n] = __shfl_xor_sync(~0u, v, 5);
  o[4 * n] = __shfl_sync(~0u, v, 9, 8);
  o[5 * n] = __shfl_up_sync(~0u, v, 2, 8);
  o[6 * n] = __shfl_down_sync(~0u, v, 2, 8);
  o[7 * n] = __shfl_xor_sync(~0u, v, 12, 8);
  o[8 * n] = __ballot_sync(~0u, v & 1);
  o[9 * n] = __any_sync(~0u, v == x[0]) * 2 + __all_sync(~0u, v >= 0);
  o[10 * n] = __reduce_add_sync(~0u, v);
  o[11 * n] = lane < 8 ? (int)__shfl_sync(0x000000ffu, (double)v, 7) : (int)__shfl_sync(0xffffff00u, (long long)v, 8);
  o[12 * n] = __match_any_sync(~0u, lane % 3);
  o[13 * n] = __syncthreads_count(v & 1) * 4 + __syncthreads_or(t == 5) * 2 + __syncthreads_and(t == 5);
}
"""  # noqa: E501


def test_warp_operations(compiler):
    v = np.random.default_rng(3).integers(0, 100, 64).astype("i4")
    out = np.zeros((14, 64), "i4")
    run_checked(build(WARP), "warp", 1, 64, [In(v), Out(out)])
    lanes = np.arange(64)
    lane, warp = lanes % 32, lanes // 32 * 32
    in8 = lane % 8
    expected = [
        v[warp + 3],
        v[np.where(lane >= 2, lanes - 2, lanes)],
        v[np.where(lane < 30, lanes + 2, lanes)],
        v[lanes ^ 5],
        v[lanes - in8 + 1],
        v[np.where(in8 >= 2, lanes - 2, lanes)],
        v[np.where(in8 < 6, lanes + 2, lanes)],
        v[np.where((lanes ^ 12) <= (lanes | 7), lanes ^ 12, lanes)],
        np.repeat([sum(int(b) << i for i, b in enumerate(w & 1)) for w in v.reshape(2, 32)], 32)
        .astype("u4")
        .view("i4"),
        2 * np.repeat((v.reshape(2, 32) == v[0]).any(1), 32) + 1,
        np.repeat(v.reshape(2, 32).sum(1), 32),
        np.where(lane < 8, v[warp + 7], v[warp + 8]),
        np.array([sum(1 << j for j in range(32) if j % 3 == i % 3) for i in lane], "u4").view("i4"),
        np.full(64, (v & 1).sum() * 4 + 2),
    ]
    for row, (got, want) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_array_equal(got, want, err_msg=f"row {row}")


SCALARS = """
#define NAN_BITS 0x7fffffff
template <typename T> struct Store { T* p; __device__ void operator()(T v) { *p++ = v; } };
extern "C" __global__ void integers(const unsigned* x, long long* out) {
  unsigned a = x[0], b = x[1];
  unsigned long long w = (unsigned long long)a << 32 | b;
  Store<long long> put{out};
  put(__popc(a)); put(__popcll(w)); put(__clz(b)); put(__clzll(b)); put(__clz(0)); put(__ffs(a)); put(__ffs(0)); put(__brev(a));
  put(__umulhi(a, b)); put(__mulhi((int)a, (int)b)); put(__umul64hi(w, w)); put(__funnelshift_l(b, a, 8)); put(__funnelshift_r(b, a, 8));
  put(__byte_perm(a, b, 0x7310)); put(max(-1, 3)); put(min(1u, 2u)); put(max(-5ll, -6ll)); put(abs(-7)); put(__float2int_rn(2.5f));
  put(__float2int_rz(-2.7f)); put(__float2int_rn(1e20f)); put(__double2ll_rn(-3.5)); put(__float2uint_rz(-3.0f));
  put(sizeof(float4) + alignof(float4)); put(sizeof(double2) + alignof(double2)); put(sizeof(float3) + alignof(float3)); put(alignof(int2));
  put(isnan(__int_as_float(NAN_BITS)) + 2 * isinf(1 / 0.0f) + 4 * isfinite(1.0f)); put(warpSize);
}
extern "C" __global__ void floats(const float* x, float* out) {
  float a = x[0], b = x[1], c = x[2], nan = __int_as_float(NAN_BITS);
  Store<float> put{out};
  put(fmaf(a, b, c)); put(a * b + c); put(__fmaf_rn(a, b, c)); put(__fadd_rn(a, b)); put(__fmul_rn(a, b)); put(max(nan, a));
  put(min(a, nan));
  put(fmaxf(-0.0f, 0.0f)); put(fminf(0.0f, -0.0f)); put(rsqrtf(4.0f)); put(__expf(0.0f)); put(exp2f(3.0f));
  put(__uint_as_float(0x3f800000u));
  put(sinpif(1.0f)); put(cospif(0.5f)); put(pow(a, 2)); put(sqrt(4.0f)); put(__saturatef(3.0f)); put(__ldg(x)); put(fma(a, b, c));
  float4 v = make_float4(1, 2, 3, 4); put(v.w); put(normcdff(0.0f)); put(copysignf(2.0f, -1.0f));
}
"""  # noqa: E501


def test_integer_functions(compiler):
    a, b = 0xDEADBEEF, 0x00012345
    w = a << 32 | b
    out = np.zeros(29, "i8")
    run_checked(build(SCALARS), "integers", 1, 1, [In(np.array([a, b], "u4")), Out(out)])
    expected = [
        a.bit_count(),
        w.bit_count(),
        15,
        47,
        32,
        1,
        0,
        int(f"{a:032b}"[::-1], 2),
        a * b >> 32,
        ((a - 2**32) * b) >> 32,
        w * w >> 64,
        (a << 8 | b >> 24) & 0xFFFFFFFF,
        (w >> 8) & 0xFFFFFFFF,
        0x00DEBEEF,
        3,
        1,
        -5,
        7,
        2,
        -2,
        2**31 - 1,
        -4,
        0,
        32,
        32,
        16,
        8,
        7,
        32,
    ]
    np.testing.assert_array_equal(out, [e - 2**64 if e >= 2**63 else e for e in expected])


def test_float_functions(compiler):
    x = np.array([1 + 2**-12, 1 + 2**-12, -1 - 2**-11], "f4")
    out = np.zeros(23, "f4")
    run_checked(build(SCALARS), "floats", 1, 1, [In(x), Out(out)])
    a = x[0]
    fused = np.float32(2.0**-24)
    expected = [
        fused,
        0,
        fused,
        a + a,
        a * a,
        a,
        a,
        0,
        -0.0,
        0.5,
        1,
        8,
        1,
        0,
        0,
        a * a,
        2,
        1,
        a,
        fused,
        4,
        0.5,
        -2,
    ]
    np.testing.assert_array_equal(out, np.array(expected, "f4"))
    np.testing.assert_array_equal(np.signbit(out[7:9]), [False, True])


@pytest.mark.skipif(not nvrtc_available(), reason="no NVRTC")
@pytest.mark.parametrize(
    "source", [SOFTMAX, SHARED_HEADER, WARP, SCALARS], ids=["softmax", "header", "warp", "scalars"]
)
def test_sources_are_cuda(source):
    compile_nvrtc(source, options=["-DREAL=float"], include_dirs=[INCLUDE])


# -- Planted faults

FAULTS = """
extern "C" __global__ void write_at(float* x, long long at) { if (threadIdx.x == 0) x[at] = 1; }
extern "C" __global__ void read_at(const float* x, float* out, long long at) { out[threadIdx.x] = x[threadIdx.x] + 0 * x[at]; }
extern "C" __global__ void read_unused(const float* x, float* out, long long at) {
  volatile const float* v = x;
  float ignored = v[at];
  out[threadIdx.x] = 1;
}
extern "C" __global__ void write_input(float* x, float* out) { out[threadIdx.x] = x[threadIdx.x]; x[3] = 1; }
extern "C" __global__ void skip_one(float* out) { if (threadIdx.x != 7) out[blockIdx.x * blockDim.x + threadIdx.x] = 1; }
extern "C" __global__ void unwritten_shared(float* out) {
  __shared__ float s[64];
  if (threadIdx.x != 5) s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
extern "C" __global__ void unwritten_dynamic(float* out) { DYNAMIC_SHARED(float, s); out[threadIdx.x] = s[threadIdx.x]; }
extern "C" __global__ void shared_index(float* out, int at) {
  __shared__ float s[2][32];
  s[0][threadIdx.x] = s[1][threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[0][at];
}
extern "C" __global__ void dynamic_index(float* out, int at) { DYNAMIC_SHARED(float, s); s[at] = 1; out[threadIdx.x] = 1; }
extern "C" __global__ void some_exit(float* out, int n) { if (threadIdx.x >= n) return; __syncthreads(); out[threadIdx.x] = 1; }
extern "C" __global__ void two_barriers(float* out) {
  if (threadIdx.x < 7) __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1;
}
extern "C" __global__ void barrier_and_warp(float* out) {
  if (threadIdx.x & 1) __syncwarp();
  else __syncthreads();
  out[threadIdx.x] = 1;
}
extern "C" __global__ void foreign_mask(float* out) { out[threadIdx.x] = __shfl_sync(1u, 1.0f, 0); }
extern "C" __global__ void two_operations(float* out) {
  if (threadIdx.x & 1) __syncwarp();
  else __ballot_sync(~0u, 1);
  out[threadIdx.x] = 1;
}
extern "C" __global__ void exited_lane(float* out, int n, int source) {
  if (threadIdx.x >= n) return;
  out[threadIdx.x] = __shfl_sync(~0u, 1.0f + threadIdx.x, source);
}
extern "C" __global__ void misaligned(const float* x, float* out, int at) {
  float4 v = *reinterpret_cast<const float4*>(x + at);
  out[threadIdx.x] = v.x + v.w;
}
extern "C" __global__ void divide(int* out, int by) { out[threadIdx.x] = 7 / by; }
extern "C" __global__ void recurse(float* out, int n) {
  struct Deep { static __noinline__ float f(float* p, int n) { float a[256]; a[n & 255] = n; return n ? f(a, n - 1) + a[n & 255] : *p; } };
  out[threadIdx.x] = Deep::f(out, n);
}
extern "C" __global__ void trap(float* out) { __trap(); }
extern "C" __global__ void null_pointer(float* out, long long address) { *reinterpret_cast<float*>(address) = 1; out[0] = 1; }
extern "C" __global__ void race_in_warp(float* out) {
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}
extern "C" __global__ void blocks_race(int* out) { *out = blockIdx.x; }
"""  # noqa: E501


@pytest.fixture(scope="module")
def faults(compiler):
    return build('#include "numcore.cuh"\n' + FAULTS)


def fault_of(module, entry, block, args, grid=1, **options):
    before = [a.array.copy() for a in args if not isinstance(a, np.generic)]
    with pytest.raises(KernelFault) as caught:
        run_checked(module, entry, grid, block, args, **options)
    for a, b in zip((a for a in args if not isinstance(a, np.generic)), before, strict=True):
        np.testing.assert_array_equal(a.array, b)
    assert str(caught.value).startswith(f"{caught.value.kind}: {entry}")
    return caught.value


@pytest.mark.parametrize("n", [32, 33, 1024, 5000])
@pytest.mark.parametrize("where", ["end", "page behind", "before", "page before"])
def test_out_of_bounds(faults, n, where):
    at = {"end": n, "page behind": n + 1023, "before": -1, "page before": -1024}[where]
    fault = fault_of(faults, "write_at", 32, [InOut(np.zeros(n, "f4")), np.int64(at)])
    assert (fault.kind, fault.argument, fault.offset, fault.access) == (
        "out of bounds",
        0,
        at,
        "write",
    )
    assert f"write at element {at} of argument 0 (InOut float32[{n}], {n} elements)" in str(fault)
    for entry in ("read_at", "read_unused"):
        fault = fault_of(
            faults, entry, 32, [In(np.ones(n, "f4")), Out(np.zeros(32, "f4")), np.int64(at)]
        )
        # A value that came from behind the array, inside its alignment, shows as a result that
        # depends on it.
        assert fault.kind == "out of bounds" or (
            entry == "read_at" and fault.kind in ("unwritten", "race")
        )
        if fault.kind == "out of bounds":
            assert (fault.argument, fault.offset, fault.access) == (0, at, "read")


def test_fault_names_thread_and_block(faults):
    with pytest.raises(KernelFault, match=r"thread \(0, 0, 0\) of block \(0, 0, 0\)"):
        faults.launch("write_at", 1, 32, [InOut(np.zeros(32, "f4")), np.int64(32)])


def test_empty_array(faults):
    fault = fault_of(faults, "write_at", 1, [InOut(np.zeros(0, "f4")), np.int64(0)])
    assert (fault.kind, fault.argument, fault.offset) == ("out of bounds", 0, 0)


def test_write_to_input(faults):
    fault = fault_of(faults, "write_input", 32, [In(np.zeros(32, "f4")), Out(np.zeros(32, "f4"))])
    assert (fault.kind, fault.argument, fault.offset, fault.access) == (
        "writes input",
        0,
        3,
        "write",
    )


@pytest.mark.parametrize("dtype", ["f4", "i4", "u4"])
def test_unwritten(compiler, dtype):
    c = {"f4": "float", "i4": "int", "u4": "unsigned"}[dtype]
    module = build(
        f'extern "C" __global__ void skip_one({c}* out) '
        f"{{ if (threadIdx.x != 7) out[blockIdx.x * 32 + threadIdx.x] = 1; }}"
    )
    fault = fault_of(module, "skip_one", 32, [Out(np.zeros(64, dtype))], grid=2)
    assert (fault.kind, fault.argument, fault.offset) == ("unwritten", 0, 7)
    assert "never written" in str(fault)
    fault = fault_of(module, "skip_one", 7, [Out(np.zeros(64, dtype))], grid=1)  # a grid too small
    assert (fault.kind, fault.offset) == ("unwritten", 7)


def test_unwritten_shared(faults):
    fault = fault_of(faults, "unwritten_shared", 64, [Out(np.zeros(64, "f4"))])
    assert (fault.kind, fault.offset) == ("unwritten", 4)
    fault = fault_of(faults, "unwritten_dynamic", 64, [Out(np.zeros(64, "f4"))], shared=256, grid=2)
    assert (fault.kind, fault.offset) == ("unwritten", 0)


def test_shared_out_of_bounds(faults):
    fault = fault_of(faults, "shared_index", 32, [Out(np.zeros(32, "f4")), np.int32(32)])
    assert fault.kind == "out of bounds"
    assert "index 32 of an array of type 'float" in str(fault)
    assert "kernel.cu:" in str(fault)
    for at in (32, 64, -1):
        fault = fault_of(
            faults, "dynamic_index", 32, [Out(np.zeros(32, "f4")), np.int32(at)], shared=100
        )
        assert (fault.kind, fault.offset // 4, fault.access) == ("out of bounds", at, "write")


def test_divergent_barriers(faults):
    for entry, args in (
        ("some_exit", [np.int32(40)]),
        ("two_barriers", []),
        ("barrier_and_warp", []),
        ("two_operations", []),
        ("foreign_mask", []),
    ):
        fault = fault_of(faults, entry, 64, [Out(np.zeros(64, "f4")), *args])
        assert fault.kind == "barrier", entry
        assert "line" in str(fault), entry
    out = np.zeros(64, "f4")
    run_checked(faults, "some_exit", 1, 64, [Out(out), np.int32(64)])  # and nothing is left over
    assert out.all()


def test_exited_lanes(faults):
    out = np.zeros(16, "f4")
    run_checked(faults, "exited_lane", 1, 32, [Out(out), np.int32(16), np.int32(3)])
    assert (out == 4).all()
    fault = fault_of(faults, "exited_lane", 32, [Out(out), np.int32(16), np.int32(20)])
    assert fault.kind == "unwritten"


def test_misaligned(faults, compiler):
    x = np.arange(36, dtype="f4")
    run_checked(faults, "misaligned", 1, 32, [In(x), Out(np.zeros(32, "f4")), np.int32(4)])
    if compiler == "g++":
        fault = fault_of(faults, "misaligned", 32, [In(x), Out(np.zeros(32, "f4")), np.int32(2)])
        assert (fault.kind, fault.argument) == ("misaligned", 0)
    run_checked(
        faults, "misaligned", 1, 32, [In(x[:35].copy()), Out(np.zeros(32, "f4")), np.int32(4)]
    )  # aligned whatever the size


def test_other_faults(faults):
    assert (
        fault_of(faults, "divide", 32, [Out(np.zeros(32, "i4")), np.int32(0)]).kind == "arithmetic"
    )
    assert fault_of(faults, "trap", 32, [Out(np.zeros(32, "f4"))]).kind == "trap"
    assert (
        fault_of(faults, "recurse", 32, [InOut(np.zeros(32, "f4")), np.int32(10_000)]).kind
        == "stack overflow"
    )
    for address in (0, 8, 2**62):
        fault = fault_of(faults, "null_pointer", 1, [Out(np.zeros(1, "f4")), np.int64(address)])
        assert (fault.kind, fault.argument) == (
            "out of bounds" if address % 4 == 0 else "misaligned",
            None,
        )


def test_races(faults):
    assert fault_of(faults, "race_in_warp", 32, [Out(np.zeros(32, "f4"))]).kind == "race"
    assert fault_of(faults, "blocks_race", 1, [Out(np.zeros(1, "i4"))], grid=5).kind == "race"


def test_signal_handlers_are_restored(faults):
    libc = ctypes.CDLL(None)

    def actions():
        found = []
        for number in (4, 7, 8, 11):
            action = ctypes.create_string_buffer(256)
            assert libc.sigaction(number, None, action) == 0
            found.append(
                (action.raw[:16], action.raw[136:140])
            )  # handler, mask, flags; between them bytes that mean nothing
        stack = ctypes.create_string_buffer(24)
        libc.sigaltstack(None, stack)
        return found, stack.raw

    before = actions()
    fault_of(faults, "write_at", 32, [InOut(np.zeros(32, "f4")), np.int64(99)])
    run_checked(faults, "some_exit", 1, 64, [Out(np.zeros(64, "f4")), np.int32(64)])
    assert actions() == before


def test_fault_of_another_thread_is_its_own(cache):
    """While a kernel runs, a crash elsewhere in the process still ends it, as it would
    otherwise."""
    script = """if True:
        import ctypes, threading, time
        import numpy as np
        from numcore.testing.host_cuda import compile_host
        module = compile_host('extern "C" __global__ void spin(long long p) { volatile int* v = (int*)p; for (*v = 1; *v; ) {} }', entries=["spin"])
        flag = np.zeros(1, "i4")
        threading.Thread(target=module.launch, args=("spin", 1, 1, [np.int64(flag.ctypes.data)]), daemon=True).start()
        while not flag[0]:
            time.sleep(0.01)
        ctypes.string_at(8)
    """  # noqa: E501
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == -11, run.stderr


def test_no_memory_is_leaked(faults):
    def mapped():
        return len(pathlib.Path("/proc/self/maps").read_text().splitlines())

    fault_of(faults, "write_at", 32, [InOut(np.zeros(32, "f4")), np.int64(99)])
    before = mapped()
    for _ in range(20):
        fault_of(faults, "some_exit", 64, [Out(np.zeros(64, "f4")), np.int32(3)])
        fault_of(faults, "write_at", 32, [InOut(np.zeros(32, "f4")), np.int64(99)])
    assert mapped() < before + 10


# -- Bad launches and sources


@pytest.mark.parametrize(
    ("grid", "block", "shared", "match"),
    [
        (0, 32, 0, r"1 <= grid.x <= 2147483647 \(got grid=\(0, 1, 1\)\)"),
        ((1, 65536), 32, 0, "grid.y"),
        (1, 1025, 0, "block.x"),
        (1, (32, 64), 0, r"at most 1024 threads \(got block=\(32, 64, 1\)\)"),
        (1, (1, 1, 65), 0, "block.z"),
        (1, (1, 1, 1, 1), 0, "1 to 3 dimensions"),
        (1, 32, 227 * 1024 + 1, "0 <= shared <= 232448"),
        (1, 32, -1, "shared"),
    ],
)
def test_bad_geometry(faults, grid, block, shared, match):
    with pytest.raises(ValueError, match=match):
        faults.launch("skip_one", grid, block, [Out(np.zeros(32, "f4"))], shared=shared)


def test_bad_arguments(faults):
    x = np.zeros(32, "f4")

    def refuse(match, entry, args, error=TypeError):
        with pytest.raises(error, match=match):
            faults.launch(entry, 1, 32, args)

    refuse("read_at takes 3 arguments .got 2", "read_at", [In(x), Out(x)])
    refuse(
        "argument 2 of read_at: the parameter is a signed integer of 8 bytes .got int32",
        "read_at",
        [In(x), Out(x), np.int32(1)],
    )
    refuse(
        "argument 2 .* signed integer of 8 bytes .got float64",
        "read_at",
        [In(x), Out(x), np.float64(1)],
    )
    refuse("argument 2 .* numpy scalar .got int", "read_at", [In(x), Out(x), 1])
    refuse("argument 2 .* signed integer of 8 bytes .got Out", "read_at", [In(x), Out(x), Out(x)])
    refuse("argument 1 .* is a pointer", "read_at", [In(x), np.float32(1), np.int64(1)])
    refuse("argument 0 .* points to const, .* must be In", "read_at", [Out(x), Out(x), np.int64(1)])
    refuse(
        "argument 0 .* points to floating points of 4 bytes .got In float64",
        "read_at",
        [In(x.astype("f8")), Out(x), np.int64(1)],
    )
    refuse(
        "argument 0 .* points to floating points of 4 bytes",
        "read_at",
        [In(x.astype("i4")), Out(x), np.int64(1)],
    )
    refuse("entry must be one of", "nothing", [], ValueError)
    with pytest.raises(TypeError, match="C-contiguous"):
        In(x[::2])
    with pytest.raises(TypeError, match="numpy.ndarray"):
        In([1.0])
    x.flags.writeable = False
    In(x)
    with pytest.raises(ValueError, match="writeable"):
        Out(x)


def test_compile_errors(compiler):
    with pytest.raises(HostCompileError, match=r"kernel.cu:2.*missing"):
        build('\nextern "C" __global__ void wrong(float* x) { x[0] = missing; }')
    with pytest.raises(HostCompileError, match="absent"):
        compile_host(FAULTS, entries=["absent"])
    with pytest.raises(TypeError, match="entries"):
        compile_host(FAULTS, entries="trap")
    with pytest.raises(ValueError, match="entries"):
        compile_host(FAULTS, entries=["a b"])


def test_compiler_choice(monkeypatch):
    monkeypatch.setenv("CXX", "some-compiler -flag")
    assert host_compiler() == ["some-compiler", "-flag"]
    with pytest.raises(HostCompileError, match="some-compiler"):
        build(SOFTMAX)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    if importlib.util.find_spec("ziglang"):
        assert host_compiler()[:3] == [sys.executable, "-m", "ziglang"]


def test_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMCORE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "value.cuh").write_text("#define VALUE 1\n")
    source = '#include "value.cuh"\nextern "C" __global__ void cached(int* out) { *out = VALUE; }'
    out = np.zeros(1, "i4")

    def value():
        module = compile_host(source, entries=["cached"], include_dirs=[tmp_path])
        module.launch("cached", 1, 1, [Out(out)])
        return module, out[0]

    one, first = value()
    assert first == 1
    assert value()[0] is one
    (tmp_path / "value.cuh").write_text("#define VALUE 2\n")
    assert value()[1] == 2
    folder = tmp_path / "cache" / "host_cuda"
    assert folder.stat().st_mode & 0o77 == 0
    assert sorted(path.suffix for path in folder.iterdir()) == [".so", ".so"]


def test_many_threads_launch_at_once(faults):
    outs = [np.zeros(64, "f4") for _ in range(8)]
    threads = [
        threading.Thread(
            target=run_checked, args=(faults, "some_exit", 1, 64, [Out(out), np.int32(64)])
        )
        for out in outs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(out.all() for out in outs)


def test_portable_context_switch():
    args, expected = softmax_arguments()
    run_checked(
        build(SOFTMAX, options=["-DREAL=float", "-DNUMCORE_UCONTEXT"]), "softmax_rows", 8, 128, args
    )
    np.testing.assert_allclose(args[1].array, expected, rtol=1e-5)
    module = build('#include "numcore.cuh"\n' + FAULTS, options=["-DNUMCORE_UCONTEXT"])
    assert (
        fault_of(module, "some_exit", 64, [Out(np.zeros(64, "f4")), np.int32(40)]).kind == "barrier"
    )
    assert (
        fault_of(module, "write_at", 32, [InOut(np.zeros(32, "f4")), np.int64(32)]).kind
        == "out of bounds"
    )


@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="no ziglang")
def test_header_compiles_for_aarch64(tmp_path):
    header = pathlib.Path(sys.modules[compile_host.__module__].__file__).parent
    (tmp_path / "unit.cpp").write_text('#include "cuda_on_host.h"\n')
    subprocess.run(
        [
            *ZIG.split(),
            "-target",
            "aarch64-linux-gnu",
            "-std=c++17",
            "-O1",
            "-fPIC",
            "-c",
            "-I",
            header,
            tmp_path / "unit.cpp",
            "-o",
            tmp_path / "unit.o",
        ],
        check=True,
    )


def test_orders_and_poison(faults):
    with pytest.raises(ValueError, match="orders"):
        run_checked(faults, "skip_one", 1, 32, [Out(np.zeros(32, "f4"))], orders=())
    with pytest.raises(ValueError, match="order >= 0"):
        faults.launch("skip_one", 1, 32, [Out(np.zeros(32, "f4"))], order=-1)
    out = np.zeros(64, "i4").view("f4")
    faults.launch("skip_one", 2, 32, [Out(out)], poison=0x5A)
    assert out.view("i4")[7] == 0x5A5A5A5A
    assert out[8] == 1
