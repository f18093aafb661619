"""Which solver, and why: the choice behind ``solver="auto"`` and the memory each way takes."""

from __future__ import annotations

from typing import Literal, TypedDict, get_args

__all__ = ["Plan", "Solver", "check_solver", "planned"]

Solver = Literal["auto", "cholesky", "cg", "blocked_cg", "askotch", "nystrom", "pivoted"]
_SMALL = 3000  # samples up to which a float64 Cholesky is faster than anything that iterates
_LARGE = 150_000  # samples from which on even one product with K takes longer than a low-rank fit
DEFAULT_CENTERS = 4000


class Plan(TypedDict):
    """What was taken, why, and what it costs."""

    solver: str
    """One of the names of ``Solver``."""
    reason: str
    """One sentence for people."""
    bytes: int
    """Predicted peak memory above the samples."""
    approximate: bool
    """Whether the model is another one than the exact solution (with about equal accuracy), not the same numbers."""
    n_centers: int
    """Samples that carry weights."""


def check_solver(solver: str) -> None:
    """Refuse a solver that doesn't exist."""
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")


def planned(
    solver: Solver, n: int, *, n_models: int, n_centers: int | None, n_preconditioner: int, free: int, penalised: bool
) -> Plan:
    """The plan for n samples.

    Parameters
    ----------
    solver
        what the user asked for; ``auto`` chooses
    n
        samples per model
    n_models
        models that are fitted at once
    n_centers
        centres the user asked for, or None
    n_preconditioner
        centres of the preconditioner of the iterative solvers
    free
        bytes of memory that are free
    penalised
        whether every alpha is positive
    """
    centers = min(n, n_centers or DEFAULT_CENTERS)
    needs = {
        "cholesky": 16 * n * n * n_models if n <= _SMALL or n_models > 1 else 4 * n * n,
        "cg": 2 * n * (n + 1024) + 12 * n * n_preconditioner,
        "blocked_cg": 12 * n * n_preconditioner + 1024 * n,
        "askotch": 1024 * n,
        "nystrom": 40 * centers * centers + 8 * 8192 * centers,
        "pivoted": 40 * centers * centers + 8 * min(n, 25_000) * (n_centers or 1024),
    }
    reason = f"solver={solver!r} was asked for"
    chosen: str = solver
    if solver == "auto":
        chosen, reason = _chosen(n, n_models=n_models, n_centers=n_centers, needs=needs, free=free)
        if n_models == 1 and not penalised and n > _SMALL:
            chosen, reason = "pivoted", "without a penalty the weights are unique only on independent samples"
    low_rank = chosen in ("nystrom", "pivoted")
    return Plan(
        solver=chosen,
        reason=reason,
        bytes=needs[chosen],
        approximate=low_rank,
        n_centers=centers if low_rank else n,
    )


def _chosen(n: int, *, n_models: int, n_centers: int | None, needs: dict[str, int], free: int) -> tuple[str, str]:
    """The fastest solver that fits, and the reason."""
    if n_models > 1:
        return "cholesky", f"{n_models} models go through one batched factorisation"
    if n_centers is not None:
        return "pivoted", f"n_centers={n_centers} asks for a low-rank model; its centres follow pivots"
    if n <= _SMALL:
        return "cholesky", f"{n} samples are few enough for one float64 factor"
    room = free // 2
    if n <= _LARGE and needs["cg"] <= room:
        return "cg", f"K fits: {needs['cg'] / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    if n <= _LARGE and needs["blocked_cg"] <= room:
        return (
            "blocked_cg",
            f"K doesn't fit ({needs['cg'] / 1e9:.1f} GB of {free / 1e9:.1f} GB free): made block by block",
        )
    return "nystrom", (
        f"an exact fit of {n} samples would take too long or too much memory: a low-rank approximation instead, of "
        "about equal accuracy but not the same numbers; solver='askotch' gives the exact model"
    )
