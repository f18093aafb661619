"""``ctp-torch train``: a cohort's curves and maps to a model file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.cli.intervals import IntervalsOption, promise
from ctp_torch.cli.kept import CacheOption, desk_of
from ctp_torch.cli.trained import ENDINGS, describe, write_model
from ctp_torch.errors import CTPError, QualityError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ctp_torch.io.cohort.cohort import Cohort, CohortPatient
    from ctp_torch.learning.evidence import Evidence
    from ctp_torch.learning.folds import FoldScore
    from ctp_torch.learning.training import TrainingSet
    from ctp_torch.models.base import Regressor
    from ctp_torch.pipeline.recipe import Recipe, View

__all__ = ["train"]

_FEW_ARTERIES = 10
"""Patients below this number make a model that takes an artery's moments for a name."""
_TARGETS = ("teacher", "truth")
"""Targets that aren't the name of a file."""
_PHYSICS = "physics"
"""The target that needs no cohort."""

_BALANCES: Mapping[str, Literal["even", "late"]] = {"even": "even", "late": "late"}

_ModelOption = Annotated[
    str | None,
    typer.Option(
        help="linear, ridge, krr (kernel ridge), rf (random forest), mlp (a small network), conv, gru, lstm (networks "
        "along time), stack (a network on what the physics student says at 2, 4 and 8 mm) or unet (whole slices of "
        "many patients) [default: krr; mlp for physics].",
        callback=choices.as_model,
        metavar="NAME",
    ),
]
_TargetOption = Annotated[
    str,
    typer.Option(
        help="What to learn: teacher (the cohort's maps), truth (digital patients' own), the name of a NIfTI file in "
        "each patient's folder, of labels 0 and 1 (gives probabilities) or values; or physics: simulated curves, no "
        "cohort.",
        metavar="TARGET",
    ),
]
_CurveOption = Annotated[
    bool,
    typer.Option("--artery-curve", help="Give the model the artery's own curve too: conv reads both side by side."),
]
_HuOption = Annotated[
    bool, typer.Option("--with-hu", help="Give the model the CT before contrast too [HU, smoothed by 2 mm].")
]
_BalanceOption = Annotated[
    str,
    typer.Option(help="even, or late: two thirds of the pixels where the teacher's Tmax is above 6 s."),
]


def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write, MODEL.safetensors.")],
    cohort: Annotated[
        Path | None, typer.Argument(help="Folder of a cohort (ctp-torch phantom cohort makes one).", show_default=False)
    ] = None,
    model: _ModelOption = None,
    maps: choices.MapsOption = "cbv,cbf,mtt,tmax",
    target: _TargetOption = "teacher",
    features: choices.FeaturesOption = "raw",
    smoothing_mm: choices.WidthsOption = None,
    smoothing: choices.SmoothingOption = "inside",
    median: choices.MedianOption = None,
    artery_moments: choices.MomentsOption = False,
    artery_curve: _CurveOption = False,
    with_hu: _HuOption = False,
    samples: Annotated[int, typer.Option(min=2, help="Training pixels, over patients and slices.")] = 25_000,
    balance: _BalanceOption = "even",
    folds: Annotated[int, typer.Option(min=0, help="Tests of a file as target, patients left out; 0 for none.")] = 5,
    alpha: Annotated[float, typer.Option(min=0.0, help="Regularisation of ridge and kernel ridge.")] = 0.1,
    gamma: Annotated[
        float | None, typer.Option(min=1e-9, help="Kernel exp(-gamma d²), d² the squared distance [default: 8].")
    ] = None,
    sigma: Annotated[float | None, typer.Option(min=1e-9, help="The same as a width: gamma is 1 / (2 sigma²).")] = None,
    feature_scale: Annotated[
        str, typer.Option(help="unit (raw: 0..1 as in the paper), zscore, or the evidence.json of tune --by evidence.")
    ] = "unit",
    centers: Annotated[
        int | None, typer.Option(min=1, help="Pixels that span kernel ridge, for a small, quick model [default: all].")
    ] = None,
    trees: Annotated[int, typer.Option(min=1, help="Trees of the forest.")] = 90,
    depth: Annotated[int, typer.Option(min=1, help="Depth of the forest.")] = 55,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    lut: reading.LutOption = "jet",
    intervals: IntervalsOption = None,
    cache: CacheOption = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Keep patients that fail quality control.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the pixel draw and the forest.")] = 0,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Train a regressor on a cohort: time curves in, perfusion maps out.

    Example: ctp-torch train COHORT -o krr.safetensors --model krr

    Example: ctp-torch train COHORT -o krr.safetensors --features arterial --artery-moments

    Example: ctp-torch train COHORT -o infarct.safetensors --features arterial --target followup.nii.gz

    Example: ctp-torch train -o physics.safetensors --target physics
    """
    scaling, quantities = _scaling(feature_scale), _quantities(target, maps)
    from ctp_torch.learning.folds import cross_validate
    from ctp_torch.learning.slices import draw_slices
    from ctp_torch.learning.training import draw, prepare_all
    from ctp_torch.ops.compute.ranks import rank_device

    balanced, named = choices.pick("--balance", balance, _BALANCES), model or ("mlp" if target == _PHYSICS else "krr")
    view = choices.pick_view(features, smoothing_mm, smoothing, median=median, artery_moments=artery_moments,
                             artery_curve=artery_curve, with_hu=with_hu and named != "stack")  # fmt: skip
    view = _stack_view(view, with_hu) if named == "stack" else view
    unfitted = partial(choices.make_model, named, alpha=alpha, gamma=gamma, sigma=sigma,
                       trees=trees, depth=depth, centers=centers, channels=_channels(named, view), with_hu=with_hu,
                       seed=seed)  # fmt: skip
    regressor, align, place = unfitted(), choices.pick_registration(registration), console.pick_device(device)
    _check_places(output, cohort, target)
    if cohort is None:
        _train_on_simulated(output, None if model is None else regressor, seed, place, force=force)
        return
    console.claim_file(output, *map(output.with_suffix, ENDINGS), force=force, inputs=(cohort,))
    source, patients = _training_patients(cohort, lut)
    recipe_of = partial(_recipe, target=target, source=source, view=view, registration=registration, scaling=scaling,
                        stacked=named == "stack")  # fmt: skip
    made = partial(prepare_all, quantities=quantities, registration=align, view=view, target=target,
                   late=balanced == "late", lesions=intervals is not None,
                   desk=desk_of(cache, cohort, place, check=not keep_all))  # fmt: skip
    with console.scratch(output) as folder:
        ready = console.track(made(patients, folder, device=place), "reading patients", total=len(patients))
        files = _prune(list(ready))
        data = draw_slices(files) if named == "unet" else draw(files, samples, seed=seed, balance=balanced)
        place, recipe, tested = rank_device(place), recipe_of(data), None
        if target not in _TARGETS and folds:
            tested = cross_validate(files, unfitted, recipe_of, samples, n_folds=folds, seed=seed, device=place)
        promised = promise(intervals, files, data, unfitted, recipe_of, seed, place)
    facts = {"patients": len(files), "target": target, "balance": balanced, "seed": seed,
             "cohort_seed": source.settings.get("seed")}  # fmt: skip
    _fit_and_write(output, regressor, recipe, data, tested, facts, promised, place)


def _check_places(output: Path, cohort: Path | None, target: str) -> None:
    """Refuse a model file of another ending, and a cohort where none is needed or none where one is."""
    if output.suffix != ".safetensors":
        raise CTPError(f"{output}: a model file ends in .safetensors; give -o {output.with_suffix('.safetensors')}")
    if (cohort is None) != (target == _PHYSICS):
        raise CTPError("give the folder of a cohort, or --target physics, which needs none; not both")


def _fit_and_write(
    output: Path, regressor: Regressor, recipe: Recipe, data: TrainingSet, tested: list[FoldScore] | None,
    facts: dict[str, object], promised: Mapping[str, object], place: torch.device,
) -> None:  # fmt: skip
    """The model fitted, on one rank or all that torchrun started, and written by the first."""
    curves, targets = data.scaled(recipe).to(place), data.targets.to(place)
    if _fit(regressor, curves, targets, n_patients=len(data.pixels)) > 0:
        return  # another rank writes
    write_model(output, regressor, recipe, data, tested, {"samples": len(curves), **facts}, promised)
    console.say(f"R2 on the training pixels: {regressor.score(curves, targets):.4f}")
    describe(regressor)
    console.say(f"wrote {output}")


def _train_on_simulated(
    output: Path, regressor: Regressor | None, seed: int, place: torch.device, *, force: bool
) -> None:
    """The physics student: curves simulated over many arteries, a model, one file."""
    from ctp_torch.learning.physics import physics_network, simulate_set, train_physics

    console.claim_file(output, force=force, inputs=())
    regressor = regressor or physics_network(seed)
    console.say("simulating curves of known perfusion")
    data = simulate_set(seed=seed, device=place)
    console.say(f"fitting {regressor} on {len(data.features):,} curves")
    recipe = train_physics(data, regressor)
    facts = {"target": _PHYSICS, "samples": len(data.features), "seed": seed}
    with console.delivered(output) as folder:
        regressor.save(folder / output.name, metadata={"recipe": recipe.as_metadata(), "provenance": facts})
    describe(regressor)
    console.say(f"wrote {output}")


def _stack_view(asked: View, with_hu: bool) -> View:
    """What the stack's first stage saw, at the widths asked for."""
    from ctp_torch.learning.stack import STACK_WIDTHS_MM, stack_view

    return stack_view(asked.smoothing_mm or STACK_WIDTHS_MM, with_hu=with_hu)


def _quantities(target: str, maps: str) -> tuple[str, ...]:
    """Which maps are learned: those asked for, or the one that a file of the target's name holds."""
    if target in (*_TARGETS, _PHYSICS):
        return choices.pick_maps(maps)
    from ctp_torch.io.cohort.target_values import target_name

    return (target_name(target),)


def _training_patients(cohort: Path, lut: str) -> tuple[Cohort, list[CohortPatient]]:
    """The cohort, and those of its patients that train."""
    from ctp_torch.io import read_cohort

    source = read_cohort(cohort, lut=lut)
    patients = [patient for patient in source.patients if patient.split == "train"]
    if not patients:
        raise CTPError(f"{cohort} holds no training patient; see the split in its cohort.json")
    return source, patients


def _recipe(
    data: TrainingSet, *, target: str, source: Cohort, view: View, registration: str, scaling: Evidence | bool,
    stacked: bool,
) -> Recipe:  # fmt: skip
    """The recipe of a model that learns from these pixels."""
    from ctp_torch.learning.stack import scaled_for_stack
    from ctp_torch.learning.training import recipe_for, rescaled

    if target in _TARGETS:
        ends = {name: source.ranges[name] for name in data.quantities}
    else:  # predictions are kept within what the files hold: probabilities between 0 and 1
        low, high = float(data.targets.min()), float(data.targets.max())
        if not low < high:
            raise CTPError(f"--target {target} is {low:g} in every pixel drawn: there is nothing to learn")
        if len(data.targets.unique()) == 2 and (low, high) != (0.0, 1.0):
            raise CTPError(f"--target {target} holds {low:g} and {high:g} alone: labels are 0 and 1")
        ends = {data.quantities[0]: (low, high)}
    recipe = recipe_for(
        data, ends, view=view, registration=registration, physical=target != "teacher", each=scaling is True
    )
    recipe = recipe if isinstance(scaling, bool) else rescaled(recipe, scaling)
    return scaled_for_stack(recipe) if stacked else recipe


def _scaling(text: str) -> Evidence | bool:
    """Whether every feature is a z-score, or the scales of a file."""
    if text.endswith(".json"):
        from ctp_torch.learning.evidence import read_evidence

        return read_evidence(Path(text))
    return choices.find_name("--feature-scale", text, ("unit", "zscore")) == "zscore"


def _channels(model: str, view: View) -> int:
    """Curves that a network reads side by side: one for each width of smoothing, and the artery's where it is asked."""
    if (view.artery_moments or view.baseline_hu) and model in ("conv", "gru", "lstm"):
        raise CTPError(
            f"--model {model} reads curves and nothing else: leave --artery-moments and --with-hu out, or take mlp"
        )
    if model == "unet" and view.features not in ("arterial", "residue"):
        raise CTPError("--model unet learns from whole slices of --features residue or arterial, for any scan")
    return max(1, len(view.smoothing_mm)) + view.artery_curve


def _fit(regressor: Regressor, curves: Tensor, targets: Tensor, *, n_patients: int) -> int:
    """Fit on one rank, or on those that torchrun started; which of them this is."""
    from ctp_torch.ops.compute.ranks import join_ranks

    with join_ranks(curves.device) as rank:
        if rank == 0:
            what = "curves" if curves.ndim == 2 else "slices"
            n, frames = len(curves), curves.shape[-1]
            console.say(f"fitting {regressor} on {n:,} {what} of {frames} frames, {n_patients} patients")
        regressor.fit(curves, targets)
    return rank


def _prune(files: list[Path]) -> list[Path]:
    """The patients that quality control has nothing against; says who is left out, and why."""
    from ctp_torch.learning.prepared import PreparedPatient
    from ctp_torch.pipeline.recipe import LEAST_REACH_S

    kept = []
    for file in files:
        patient = PreparedPatient.load(file)
        reach = patient.facts.get("reach_s", LEAST_REACH_S)
        if reach < LEAST_REACH_S:
            console.warn(f"{patient.name} is left out: the scan ends {reach:.1f} s after the artery's onset")
        elif patient.flags:
            console.warn(f"{patient.name} is left out (--keep-all keeps it): {'; '.join(patient.flags)}")
        else:
            kept.append(file)
    if not kept:
        raise QualityError("no training patient passed quality control; see ctp-torch qc, or give --keep-all")
    if PreparedPatient.load(kept[0]).view.artery_moments and len(kept) < _FEW_ARTERIES:
        console.warn(f"{len(kept)} patients have too few arteries to learn their moments: leave --artery-moments out")
    return kept
