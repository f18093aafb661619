"""``ctp-torch train``: a cohort's curves and maps to a model file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.cli.intervals import IntervalsOption, promise
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

_PIXELS, _IMPORTANCE, _FOLDS = ".pixels.json", ".importance.png", ".folds.csv"
"""Endings of what lies beside a model."""
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
        help="linear, ridge, krr (kernel ridge), rf (random forest), mlp (a small network) or stack (a network on what "
        "the physics student says at 2, 4 and 8 mm) [default: krr; mlp for physics].",
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
    trees: Annotated[int, typer.Option(min=1, help="Trees of the forest.")] = 90,
    depth: Annotated[int, typer.Option(min=1, help="Depth of the forest.")] = 55,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    lut: reading.LutOption = "jet",
    intervals: IntervalsOption = None,
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
    scaling = _scaling(feature_scale)
    balanced, quantities = choices.pick("--balance", balance, _BALANCES), _quantities(target, maps)
    named = model or ("mlp" if target == _PHYSICS else "krr")
    view = choices.pick_view(features, smoothing_mm, smoothing, median=median, artery_moments=artery_moments)
    view = _stack_view(view) if named == "stack" else view
    from ctp_torch.learning.folds import cross_validate
    from ctp_torch.learning.training import draw, prepare_all
    from ctp_torch.ops.compute.ranks import rank_device

    unfitted = partial(choices.make_model, named, alpha=alpha, gamma=gamma, sigma=sigma,
                       trees=trees, depth=depth, channels=_channels(named, view), seed=seed)  # fmt: skip
    regressor, align = unfitted(), choices.pick_registration(registration)
    place = console.pick_device(device)
    if output.suffix != ".safetensors":
        raise CTPError(f"{output}: a model file ends in .safetensors; give -o {output.with_suffix('.safetensors')}")
    if (cohort is None) != (target == _PHYSICS):
        raise CTPError("give the folder of a cohort, or --target physics, which needs none; not both")
    if cohort is None:
        _train_on_simulated(output, None if model is None else regressor, seed, place, force=force)
        return
    beside = [output.with_suffix(ending) for ending in (_PIXELS, _IMPORTANCE, _FOLDS)]
    console.claim_file(output, *beside, force=force, inputs=(cohort,))
    source, patients = _training_patients(cohort, lut)
    recipe_of = partial(_recipe, target=target, source=source, view=view, registration=registration, scaling=scaling,
                        stacked=named == "stack")  # fmt: skip
    with console.scratch(output) as folder:
        ready = prepare_all(patients, folder, quantities=quantities, registration=align, view=view, target=target,
                            late=balanced == "late", lesions=intervals is not None, check=not keep_all,
                            device=place)  # fmt: skip
        files = _prune(list(console.track(ready, "reading patients", total=len(patients))))
        data = draw(files, samples, seed=seed, balance=balanced)
        place, recipe = rank_device(place), recipe_of(data)
        tested = None
        if target not in _TARGETS and folds:
            tested = cross_validate(files, unfitted, recipe_of, samples, n_folds=folds, seed=seed, device=place)
        promised = promise(intervals, files, data, unfitted, recipe_of, seed, place)
    curves, targets = recipe.scale(data.curves).to(place), data.targets.to(place)
    if _fit(regressor, curves, targets, n_patients=len(files)) > 0:
        return  # another rank writes
    facts = {"patients": len(files), "samples": len(curves), "seed": seed, "cohort_seed": source.settings.get("seed")}
    _write(output, regressor, recipe, data, tested, facts | {"target": target, "balance": balanced}, promised)
    console.say(f"R2 on the training pixels: {regressor.score(curves, targets):.4f}")
    _describe(regressor)
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
    _describe(regressor)
    console.say(f"wrote {output}")


def _stack_view(asked: View) -> View:
    """What the stack's first stage saw, at the widths asked for."""
    from ctp_torch.learning.stack import STACK_WIDTHS_MM, stack_view

    return stack_view(asked.smoothing_mm or STACK_WIDTHS_MM)


def _quantities(target: str, maps: str) -> tuple[str, ...]:
    """Which maps are learned: those asked for, or the one that a file of the target's name holds."""
    from ctp_torch.io.cohort.target_values import target_name

    return choices.pick_maps(maps) if target in (*_TARGETS, _PHYSICS) else (target_name(target),)


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
    """Curves that a network reads side by side: one for each width of smoothing."""
    if view.artery_moments and model in ("conv", "gru", "lstm"):
        raise CTPError(f"--model {model} reads curves and nothing else: leave --artery-moments out, or take mlp")
    return max(1, len(view.smoothing_mm))


def _write(
    output: Path, regressor: Regressor, recipe: Recipe, data: TrainingSet, tested: list[FoldScore] | None,
    facts: dict[str, object], promised: Mapping[str, object],
) -> None:  # fmt: skip
    """The model, its pixels, which moments matter, and how patients left out were predicted; or nothing at all."""
    from ctp_torch.learning.training import fingerprint

    provenance = {**facts, "pixels": fingerprint(data.pixels)}
    pixels, importance, folds = (output.with_suffix(ending).name for ending in (_PIXELS, _IMPORTANCE, _FOLDS))
    with console.delivered(output) as folder:
        about = {"recipe": recipe.as_metadata(), "provenance": provenance, **promised}
        regressor.save(folder / output.name, metadata=about)
        _save_pixels(folder / pixels, data.pixels)
        drawn = recipe.features == "raw" and _plot_importance(folder / importance, regressor, data.dt)
        if tested is not None:
            _save_folds(folder / folds, tested)
    if drawn:
        console.say(f"wrote {importance}: which moments of the bolus matter")
    if tested is not None:
        for line in _fold_words(tested):
            console.say(line)


def _fit(regressor: Regressor, curves: Tensor, targets: Tensor, *, n_patients: int) -> int:
    """Fit on one rank, or on those that torchrun started; which of them this is."""
    from ctp_torch.ops.compute.ranks import join_ranks

    with join_ranks(curves.device) as rank:
        if rank == 0:
            n, frames = curves.shape
            console.say(f"fitting {regressor} on {n:,} curves of {frames} frames, {n_patients} patients")
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


def _save_folds(path: Path, tested: list[FoldScore]) -> None:
    """A line for each patient left out."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(tested[0]._fields)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in tested)


def _fold_words(tested: list[FoldScore]) -> list[str]:
    """How patients left out were predicted, in the mean."""

    def mean(name: str) -> float:
        known = [value for row in tested if (value := getattr(row, name)) == value]
        return sum(known) / len(known) if known else float("nan")

    n = len(tested)
    if tested[0].brier != tested[0].brier:
        return [f"{n} patients left out in turn: r {mean('r'):.3f}, mean absolute error {mean('mae'):.4g}"]
    off = sum(abs(row.predicted_ml - row.volume_ml) for row in tested) / n
    return [
        f"{n} patients left out in turn: Brier score {mean('brier'):.4f}, Dice {mean('dice'):.3f} above one half",
        f"above a threshold that the others choose ({mean('threshold'):.2f} in the mean): "
        f"Dice {mean('dice_at_threshold'):.3f}, volume off by {off:.1f} mL of {mean('volume_ml'):.1f}",
    ]


def _save_pixels(path: Path, pixels: dict[str, Tensor]) -> None:
    """Which pixels were drawn: patient to flat indices into (slice, row, column)."""
    import json

    path.write_text(json.dumps({name: drawn.tolist() for name, drawn in pixels.items()}), encoding="utf-8")


def _plot_importance(path: Path, regressor: Regressor, dt: float) -> bool:
    """Which moments of the bolus a forest asks about, as a picture; whether there is any."""
    importance = getattr(regressor, "feature_importances_", None)
    if importance is None:
        return False
    from ctp_torch.report.figures import to_png, training_figure

    path.write_bytes(to_png(training_figure({"all maps": importance.tolist()}, dt)))
    return True


def _describe(regressor: object) -> None:
    """What a model says of itself."""
    plan = getattr(regressor, "plan_", None)
    if plan is not None:
        console.say(f"solved by {plan['solver']}: {plan['reason']}")
    dof = getattr(regressor, "effective_dof_", None)
    if dof is not None:
        console.say(f"effective degrees of freedom tr(K(K + alpha I)^-1): {float(dof):.1f}")
