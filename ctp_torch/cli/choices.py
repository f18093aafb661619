"""The tables that bind the command line's words to functions and classes; the only place that knows them by string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.methods import METHODS
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline import Method, Registration

__all__ = [
    "DEFAULT_REGISTRATION",
    "METHODS",
    "REGISTRATIONS",
    "REGISTRATION_HELP",
    "MapsOption",
    "RegistrationOption",
    "make_model",
    "name_models",
    "pick_maps",
    "pick_method",
    "pick_registration",
]

T = TypeVar("T")

REGISTRATIONS = ("torch", "simpleitk", "none")
DEFAULT_REGISTRATION = "torch"
REGISTRATION_HELP = f"Motion correction: {', '.join(REGISTRATIONS)}"

RegistrationOption = Annotated[str, typer.Option("--registration", help=f"{REGISTRATION_HELP}.", metavar="NAME")]
MapsOption = Annotated[
    str, typer.Option("--maps", help="Which maps, separated by commas: cbv, cbf, mtt, tmax.", metavar="NAMES")
]


def pick_method(name: str) -> Method:
    """The deconvolution of that name."""
    from ctp_torch import ops

    _pick("method", name, METHODS)
    method: Method = getattr(ops, name)
    return method


def pick_registration(name: str) -> Registration | None:
    """The motion estimation of that name; None for none."""
    from ctp_torch.pipeline.scan import REGISTRATIONS

    return _pick("registration", name, REGISTRATIONS)


def pick_maps(text: str) -> tuple[str, ...]:
    """The quantities named in ``cbv,cbf,...``."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in QUANTITIES]
    if unknown or not names:
        raise CTPError(
            f"--maps {text!r}: unknown map {', '.join(unknown) or '(none given)'}; known: {', '.join(QUANTITIES)}"
        )
    return names


def pick_duplicates(name: str) -> Literal["refuse", "first"]:
    """What to do with several images of one slice and time."""
    table: Mapping[str, Literal["refuse", "first"]] = {"refuse": "refuse", "first": "first"}
    return _pick("--duplicates", name, table)


def make_model(
    name: str,
    *,
    alpha: float = 0.1,
    kernel_value: float = 8.0,
    kernel_param: str = "gamma",
    trees: int = 90,
    depth: int = 55,
    seed: int = 0,
) -> Regressor:
    """An unfitted model of that name, with the paper's settings unless told otherwise.

    The paper's kernel parameter 8.0 is read as ``gamma``, or as the standard deviation: gamma = 1 / (2 sigma²).
    """
    from ctp_torch.learning.training import paper_model

    gamma = _pick("--kernel-param", kernel_param, {"gamma": kernel_value, "sigma": 0.5 / kernel_value**2})
    return paper_model(name, alpha=alpha, gamma=gamma, trees=trees, depth=depth, seed=seed)


def name_models(files: Sequence[Path], models: Sequence[Regressor]) -> dict[str, Regressor]:
    """The models under the names of their kinds; two of a kind are told apart by their file names."""
    kinds = {"LinearRegression": "linear", "Ridge": "ridge", "KernelRidge": "krr", "RandomForest": "rf"}
    names = [kinds.get(type(model).__name__, type(model).__name__) for model in models]
    unique = [f"{n}:{f.stem}" if names.count(n) > 1 else n for n, f in zip(names, files, strict=True)]
    if len(set(unique)) < len(unique):
        raise CTPError(f"the same model twice: {', '.join(map(str, files))}; give each --model once")
    return dict(zip(unique, models, strict=True))


def _pick(what: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of that name, or an error that lists the choices."""
    if name not in table:
        raise CTPError(f"unknown {what} {name!r}; choose among {', '.join(table)}")
    return table[name]
