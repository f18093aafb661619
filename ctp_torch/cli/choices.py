"""The tables that bind the command line's words to functions and classes; the only place that knows them by string."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.methods import METHODS
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from ctp_torch.io.dicom.image import Join
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline import Method, Registration, Smoothing
    from ctp_torch.pipeline.denoise import Denoiser
    from ctp_torch.pipeline.recipe import View

__all__ = [
    "DEFAULT_REGISTRATION",
    "FEATURES",
    "METHODS",
    "MODELS",
    "REGISTRATIONS",
    "REGISTRATION_HELP",
    "SMOOTHINGS",
    "FeaturesOption",
    "MapsOption",
    "MedianOption",
    "MomentsOption",
    "RegistrationOption",
    "SigmaOption",
    "SmoothingOption",
    "WidthsOption",
    "as_denoiser",
    "as_method",
    "as_model",
    "as_registration",
    "as_smoothing",
    "find_name",
    "make_model",
    "name_models",
    "pick",
    "pick_denoiser",
    "pick_duplicates",
    "pick_join",
    "pick_maps",
    "pick_method",
    "pick_registration",
    "pick_smoothing",
    "pick_view",
    "split_names",
    "split_numbers",
    "suggestion",
    "view_words",
]

T = TypeVar("T")

MODELS = ("linear", "ridge", "krr", "rf", "mlp", "stack", "conv", "gru", "lstm", "unet")
FEATURES = ("raw", "arterial", "residue", "pca")
REGISTRATIONS = ("torch", "simpleitk", "none")
SMOOTHINGS = ("beside", "inside")
DEFAULT_REGISTRATION = "torch"
REGISTRATION_HELP = f"Motion correction: {', '.join(REGISTRATIONS)}"


def find_name(what: str, name: str, known: Iterable[str]) -> str:
    """The known name that is meant, in any case, with hyphens or underscores; an error suggests one and lists all."""
    by_spelling = {_spelling(one): one for one in known}
    if _spelling(name) not in by_spelling:
        names = by_spelling.values()
        raise CTPError(f"unknown {what} {name!r}{suggestion(name, names)}; choose among {', '.join(names)}")
    return by_spelling[_spelling(name)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean csvd?)`` where a known name is close, else nothing."""
    by_spelling = {_spelling(one): one for one in known}
    if not (close := get_close_matches(_spelling(name), by_spelling)):
        return ""
    swapped = [one for one in close if sorted(one) == sorted(_spelling(name))]  # cfb is as near to cbv as to cbf
    return f" (did you mean {by_spelling[(swapped or close)[0]]}?)"


def _spelling(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _find_early(what: str, known: Iterable[str]) -> Callable[[str | None], str | None]:
    """For an option: its name is found or refused while the line is read, before torch is loaded."""

    def named(name: str | None) -> str | None:
        return None if name is None else find_name(what, name, known)

    return named


as_method, as_model = _find_early("method", METHODS), _find_early("model", MODELS)
as_registration = _find_early("registration", REGISTRATIONS)
as_denoiser = _find_early("way to denoise", ("none", "bilateral", "low-rank", "noise2noise"))
as_smoothing = _find_early("smoothing", SMOOTHINGS)

RegistrationOption = Annotated[
    str, typer.Option("--registration", help=f"{REGISTRATION_HELP}.", metavar="NAME", callback=as_registration)
]
SigmaOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Gaussian before deconvolution [mm; default: 2.5 beside vessels, 2 inside]."),
]
SmoothingOption = Annotated[
    str,
    typer.Option(
        help="Leave large vessels out of that Gaussian (beside), or smooth them into the tissue (inside).",
        metavar="NAME",
        callback=as_smoothing,
    ),
]
MapsOption = Annotated[
    str, typer.Option("--maps", help="Which maps, separated by commas: cbv, cbf, mtt, tmax.", metavar="NAMES")
]

FeaturesOption = Annotated[
    str,
    typer.Option(
        "--features",
        help="What the model sees of a curve: raw HU as in the paper, for scans with these very frames; or arterial "
        "(timed and scaled by the artery), residue (deconvolved) or pca (of arterial), for any scan.",
        metavar="NAME",
        callback=_find_early("features", FEATURES),
    ),
]
WidthsOption = Annotated[
    str | None,
    typer.Option(
        "--smoothing-mm",
        help="Gaussian before the features [mm], 0 for none; 2,4,8 for several side by side [default: 2; raw: none].",
        metavar="MM",
    ),
]
MedianOption = Annotated[
    int | None,
    typer.Option("--median", min=1, help="Edge of the median filter [pixels, default: 3; 1 with smoothing]."),
]
MomentsOption = Annotated[
    bool, typer.Option("--artery-moments", help="Give the model four numbers of the artery's width and skewness too.")
]


def pick_view(
    features: str,
    smoothing_mm: str | None,
    smoothing: str,
    *,
    median: int | None,
    artery_moments: bool,
    artery_curve: bool = False,
    with_hu: bool = False,
) -> View:
    """What a model is to see of a scan."""
    from ctp_torch.pipeline.recipe import FEATURES as kinds
    from ctp_torch.pipeline.recipe import View

    kind = next(kind for kind in kinds if kind == features)
    if smoothing_mm is None:
        widths: tuple[float, ...] = () if kind == "raw" else (2.0,)
    else:
        widths = split_numbers("--smoothing-mm", smoothing_mm)
    widths = () if widths == (0.0,) else widths
    size = median if median is not None else 1 if widths else 3
    view = View(
        kind,
        median_size=size,
        smoothing_mm=widths,
        smoothing=pick_smoothing(smoothing),
        artery_moments=artery_moments,
        artery_curve=artery_curve,
        baseline_hu=with_hu,
    )
    try:
        view.check()
    except ValueError as error:
        raise CTPError(f"--features {features}: {error}") from error
    return view


def view_words(view: View) -> str:
    """The options that name a view; nothing for the paper's."""
    if view.features == "raw":
        return "" if view.median_size == 3 else f"--median {view.median_size} "
    widths = ",".join(f"{width:g}" for width in view.smoothing_mm) or "0"
    moments = "--artery-moments " if view.artery_moments else ""
    return (
        f"--features {view.features} --smoothing-mm {widths} --smoothing {view.smoothing} --median {view.median_size} "
        f"{moments}"
    )


def split_numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of ``a,b,c``, each once, none below 0."""
    try:
        numbers = tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise CTPError(f"{option} {text!r}: give numbers separated by commas, as 2,4,8") from error
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise CTPError(f"{option} {text!r}: give numbers of at least 0, as 2,4,8")
    return numbers


def pick_method(name: str) -> Method:
    """The deconvolution of that name."""
    name = find_name("method", name, METHODS)
    from ctp_torch.pipeline.methods import method_of

    return method_of(name)


def pick_registration(name: str) -> Registration | None:
    """The motion estimation of that name; None for none."""
    name = find_name("registration", name, REGISTRATIONS)
    from ctp_torch.pipeline import scan

    return scan.REGISTRATIONS[name]


def pick_smoothing(name: str) -> Smoothing:
    """How the curves are smoothed in space."""
    table: Mapping[str, Smoothing] = {"beside": "beside", "inside": "inside"}
    return pick("smoothing", name, table)


def pick_maps(text: str) -> tuple[str, ...]:
    """The quantities named in ``cbv,cbf,...``."""
    return split_names("--maps", "map", text, tuple(QUANTITIES))


def split_names(option: str, what: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names of ``a,b,...``, each once, in any case."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [f"{name}{suggestion(name, known)}" for name in names if name not in known]
    if unknown or not names:
        problem = ", ".join(unknown) or "(none given)"
        raise CTPError(f"{option} {text!r}: unknown {what} {problem}; known: {', '.join(known)}")
    return names


def pick_denoiser(name: str) -> Denoiser:
    """The way to take noise out."""
    table: Mapping[str, Denoiser] = {
        "none": "none", "bilateral": "bilateral", "low-rank": "low-rank", "noise2noise": "noise2noise",
    }  # fmt: skip
    return pick("--denoise", name, table)


def pick_duplicates(name: str) -> Literal["refuse", "first"]:
    """What to do with several images of one slice and time."""
    table: Mapping[str, Literal["refuse", "first"]] = {"refuse": "refuse", "first": "first"}
    return pick("--duplicates", name, table)


def pick_join(name: str | None) -> Join | None:
    """Which identifiers don't separate images."""
    table: Mapping[str, Join] = {"series": "series", "frame-of-reference": "frame-of-reference", "study": "study"}
    return None if name is None else pick("--join", name, table)


def make_model(
    name: str,
    *,
    alpha: float = 0.1,
    gamma: float | None = None,
    sigma: float | None = None,
    trees: int = 90,
    depth: int = 55,
    centers: int | None = None,
    channels: int = 1,
    with_hu: bool = False,
    seed: int = 0,
) -> Regressor:
    """An unfitted model of that name, with the paper's settings unless told otherwise.

    The paper's kernel parameter 8.0 is read as ``gamma``, or as the standard deviation: gamma = 1 / (2 sigma²).
    """
    name = find_name("model", name, MODELS)
    if centers is not None and name != "krr":
        raise CTPError("--centers is of kernel ridge: give --model krr, or leave it out")
    if gamma is not None and sigma is not None:
        raise CTPError("--gamma and --sigma say the same thing twice: give one of them")
    if gamma is None:
        gamma = 8.0 if sigma is None else 0.5 / sigma**2
    from ctp_torch.learning.training import paper_model

    return paper_model(
        name, alpha=alpha, gamma=gamma, trees=trees, depth=depth, centers=centers, channels=channels,
        with_hu=with_hu, seed=seed,
    )  # fmt: skip


def name_models(files: Sequence[Path], models: Sequence[Regressor]) -> dict[str, Regressor]:
    """The models under the names of their kinds; two of a kind are told apart by their file names."""
    classes = ("LinearRegression", "Ridge", "KernelRidge", "RandomForest", "Network", "Stack", "Convolution")
    kinds = {**dict(zip(classes, MODELS, strict=False)), "UNet": "unet"}
    names = [getattr(model, "cell", kinds.get(type(model).__name__, type(model).__name__)) for model in models]
    unique = [f"{n}:{f.stem}" if names.count(n) > 1 else n for n, f in zip(names, files, strict=True)]
    if len(set(unique)) < len(unique):
        raise CTPError(f"the same model twice: {', '.join(map(str, files))}; give each --model once")
    return dict(zip(unique, models, strict=True))


def pick(what: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of that name, or an error that lists the choices."""
    return table[find_name(what, name, table)]
