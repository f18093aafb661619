"""Fused kernels find what tensors find, bit for bit: in Triton's interpreter here, on the device where there is one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ctp_torch.models import RandomForest
from ctp_torch.models.forest import triton

TESTS = Path(__file__).parents[2]
STATE = ("roots_", "feature_", "threshold_", "left_", "value_", "weight_", "decrease_")
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton isn't installed")


@needs_triton
@pytest.mark.slow
def test_kernels_find_what_tensors_find():
    """In a process of its own: the interpreter has to be chosen before Triton is imported.

    Red when equal codes aren't kept together.
    """
    done = subprocess.run(
        [sys.executable, str(TESTS / "oracles" / "forest_interpreter.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    agreed = json.loads(done.stdout.splitlines()[-1])
    assert len(agreed) == 9
    assert all(agreed.values()), agreed


def compiled(kernel, types, **constants):
    """The assembly of a kernel for a GPU of compute capability 8.0, which needn't be there."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = dict(zip(kernel.arg_names, types.split(), strict=False)) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    target = GPUTarget("cuda", 80, 32)
    return compile_kernel(source, target=target, options={"enable_fp_fusion": False}).asm["ptx"]


@needs_triton
@pytest.mark.slow
def test_kernels_compile_without_contraction(tmp_path, monkeypatch):
    """The interpreter accepts what the compiler doesn't; a fused multiply-add would round a gain another way.

    Red when a parameter is annotated as a torch.Tensor, or contraction isn't switched off.
    """
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = triton.forest_kernels()
    inputs = "*u8 *i64 *fp64 *fp64 *i64 *i64 *i64"
    sizes = {"N_TARGETS": 2, "BLOCK": 16}
    scored = compiled(kernels.score_sorted, f"{inputs} *fp64 *i16 i32 i32 i32 i32", ALL=True, M=16, **sizes)
    binned = compiled(kernels.score_bins, "*fp64 *fp64 *i16 i32 i32", N_TARGETS=2, COUNTED=True, M=256)
    for assembly in (scored, binned):
        assert "div.rn.f64" in assembly
        assert "fma.rn.f64" not in assembly
    counted = compiled(
        kernels.count_bins, f"{inputs} *fp64 i32 i32 i32 i32 i32", COUNTED=True, ALL=False, CHUNK=64, **sizes
    )
    assert "add.f64" in counted
    assert compiled(kernels.place_members, "*u8 *i64 *i64 *i64 *i64 *i64 i32", CHUNK=1024)


def test_tensors_take_over_where_no_kernel_runs(monkeypatch):
    assert not triton.has_kernels(torch.zeros(3))
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not triton._runs_on.__wrapped__(torch.device("cpu"))


@needs_triton
def test_a_device_without_compiler_is_told_of_once(monkeypatch):
    def fails(*_):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(triton, "fused_partition_order", fails)
    with pytest.warns(RuntimeWarning, match=r"on cpu \(Failed to find C compiler\); forests grow by plain tensor"):
        assert not triton._runs_on.__wrapped__(torch.device("cpu"))


@pytest.mark.cuda
@pytest.mark.parametrize("options", [{}, {"max_features": 4, "min_samples_leaf": 3}, {"n_bins": 1000}], ids=str)
def test_forest_on_cuda_is_the_forest_on_the_processor(options):
    generator = torch.Generator().manual_seed(2)
    X = torch.rand(3000, 11, generator=generator)
    Y = torch.stack([X[:, 0].sin() + X[:, 3], X[:, 1:5].prod(1)], 1) + 0.1 * torch.rand(3000, 2, generator=generator)
    here = RandomForest(7, **options).fit(X, Y)
    there = RandomForest(7, **options).fit(X.cuda(), Y.cuda())
    for name in STATE:
        assert torch.equal(getattr(here, name), getattr(there, name).cpu()), name
