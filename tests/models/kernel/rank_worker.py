"""One process of a distributed fit: python rank_worker.py OUT SOLVER [dies]; torchrun or the test sets the ranks."""

import os
import signal
import sys
import warnings

import torch

from ctp_torch.errors import CTPError
from ctp_torch.models import KernelRidge
from ctp_torch.ops.compute.ranks import join_ranks


def curves():
    """2,100 training curves, targets and 9 new curves; the same in every process."""
    generator = torch.Generator().manual_seed(0)
    X = 0.1 + 0.05 * torch.randn(2100, 7, generator=generator).cumsum(1)
    return X, 100 + 400 * X[:, :2].sin() + 10 * torch.randn(2100, 2, generator=generator), X[:9] + 0.02


MODELS = {
    "nystrom": KernelRidge(solver="nystrom", n_centers=60),
    "blocks": KernelRidge(n_centers=60),
    "pivoted": KernelRidge(solver="pivoted", n_centers=60),
    "float32": KernelRidge(gamma=200.0, solver="pivoted", n_centers=520),  # its rows are made in float32
    "cg": KernelRidge(solver="cg", tolerance=1e-7),
    "blocked_cg": KernelRidge(solver="blocked_cg", tolerance=1e-7),
    "askotch": KernelRidge(solver="askotch", tolerance=1e-4),
    "auto": KernelRidge(),
}


def fitted(name):
    X, Y, _ = curves()
    if name == "blocks":
        return MODELS[name].fit_blocks([(X[i : i + 90], Y[i : i + 90]) for i in range(0, 2100, 90)])
    return MODELS[name].fit(X, Y)


def main():
    warnings.simplefilter("ignore")
    out, dies = sys.argv[1], len(sys.argv) > 2
    torch.set_num_threads(1)
    with join_ranks(timeout_s=60.0) as rank:
        if dies:
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            fitted("cg")
        for name in MODELS:
            model = fitted(name)
            if rank == 0:
                model.save(f"{out}/{name}.safetensors")


if __name__ == "__main__":
    try:
        main()
    except CTPError as error:
        sys.exit(f"{type(error).__name__}: {error}")
