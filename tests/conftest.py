"""Fixtures shared by all tests: device, dtype and its tolerance, the third-party data folder."""

import os
import sys
from pathlib import Path

import pytest
import torch

from ctp_torch.ops.compute import compiled

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
torch.backends.cuda.matmul.allow_tf32 = False


# limits of processes, SIGKILL, /proc, pipes and links without rights: what these tests need is not everywhere
collect_ignore = [] if sys.platform == "linux" else ["hostile"]
if sys.platform == "win32":
    collect_ignore += ["io/test_delivery.py", "study/test_steps.py", "models/kernel/rank_worker.py"]


def pytest_addoption(parser):
    parser.addoption("--hostile-kills", type=int, default=40, help="processes to kill in tests/hostile")
    parser.addoption("--all-blocks", action="store_true", help="run every command of the pages, not their Python alone")
    parser.addoption("--hostile-examples", type=int, default=300, help="random damages that tests/hostile tries")


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=["compiled", "torch"])
def loops(request, monkeypatch):
    """Kernel blocks by the compiled loops, and by torch as where there is no compiler."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "_library", lambda: None)
    elif compiled.fused_library(torch.device("cpu")) is None:
        pytest.skip("no C compiler")
    return request.param


@pytest.fixture
def tolerance(dtype):
    """Relative and absolute tolerance of a dtype, in one place; loosening one needs a measured reason."""
    return {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-9, "atol": 1e-10}}[dtype]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def third_party():
    """The folder of third-party data beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("third-party data folder not at hand")
    return folder
