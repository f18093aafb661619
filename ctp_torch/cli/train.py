"""``ctp-torch train``: a cohort's curves and maps to a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.errors import CTPError, QualityError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.models.base import Regressor

__all__ = ["train"]

_PIXELS, _IMPORTANCE = ".pixels.json", ".importance.png"
"""Endings of what lies beside a model."""


_ModelOption = Annotated[
    str, typer.Option(help="linear, ridge, krr (kernel ridge) or rf (random forest).", callback=choices.as_model)
]


def train(
    cohort: Annotated[Path, typer.Argument(help="Folder of a cohort (ctp-torch phantom cohort makes one).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file to write, MODEL.safetensors.")],
    model: _ModelOption = "krr",
    maps: choices.MapsOption = "cbv,cbf,mtt,tmax",
    samples: Annotated[
        int, typer.Option(min=2, help="Training pixels, spread evenly over patients and slices.")
    ] = 25_000,
    alpha: Annotated[float, typer.Option(min=0.0, help="Regularisation of ridge and kernel ridge.")] = 0.1,
    kernel_value: Annotated[float, typer.Option(min=1e-9, help="The paper's kernel parameter.")] = 8.0,
    kernel_param: Annotated[str, typer.Option(help="Read --kernel-value as gamma or as sigma.")] = "gamma",
    feature_scale: Annotated[str, typer.Option(help="unit (0..1 as in the paper) or zscore.")] = "unit",
    trees: Annotated[int, typer.Option(min=1, help="Trees of the forest.")] = 90,
    depth: Annotated[int, typer.Option(min=1, help="Depth of the forest.")] = 55,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    lut: reading.LutOption = "jet",
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Train on patients that fail quality control too.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the pixel draw and the forest.")] = 0,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Train a regressor on a cohort: raw time curves in, perfusion maps out.

    Example: ctp-torch train COHORT -o krr.safetensors --model krr
    """
    quantities = choices.pick_maps(maps)
    scaling = choices.find_name("--feature-scale", feature_scale, ("unit", "zscore"))
    from ctp_torch.io import read_cohort
    from ctp_torch.learning.training import draw, fingerprint, prepare_all, standardise
    from ctp_torch.ops.compute.ranks import rank_device
    from ctp_torch.pipeline.recipe import Recipe

    regressor = choices.make_model(
        model, alpha=alpha, kernel_value=kernel_value, kernel_param=kernel_param, trees=trees, depth=depth, seed=seed
    )
    align = choices.pick_registration(registration)
    target = console.pick_device(device)
    if output.suffix != ".safetensors":
        raise CTPError(f"{output}: a model file ends in .safetensors; give -o {output.with_suffix('.safetensors')}")
    beside = [output.with_suffix(ending) for ending in (_PIXELS, _IMPORTANCE)]
    console.claim_file(output, *beside, force=force, inputs=(cohort,))
    source = read_cohort(cohort, lut=lut)
    patients = [patient for patient in source.patients if patient.split == "train"]
    if not patients:
        raise CTPError(f"{cohort} holds no training patient; see the split in its cohort.json")

    with console.scratch(output) as folder:
        ready = prepare_all(
            patients, folder, quantities=quantities, registration=align, check=not keep_all, device=target
        )
        files = _prune(list(console.track(ready, "reading patients", total=len(patients))))
        data = draw(files, samples, seed=seed)
    ranges = {name: source.ranges[name] for name in quantities}
    recipe = Recipe(frames=data.curves.shape[1], dt=data.dt, targets=ranges, registration=registration)
    if scaling == "zscore":
        recipe = standardise(recipe, data.curves)
    target = rank_device(target)
    curves, targets = recipe.scale(data.curves).to(target), data.targets.to(target)
    if _fit(regressor, curves, targets, n_patients=len(files)) > 0:
        return  # another rank writes
    provenance = {
        "patients": len(files),
        "samples": len(curves),
        "seed": seed,
        "pixels": fingerprint(data.pixels),
        "cohort_seed": source.settings.get("seed"),
    }
    with console.delivered(output) as folder:
        regressor.save(folder / output.name, metadata={"recipe": recipe.as_metadata(), "provenance": provenance})
        _save_pixels(folder / beside[0].name, data.pixels)
        drawn = _plot_importance(folder / beside[1].name, regressor, data.dt)
    console.say(f"R2 on the training pixels: {regressor.score(curves, targets):.4f}")
    _describe(regressor)
    if drawn:
        console.say(f"wrote {beside[1].name}: which moments of the bolus matter")
    console.say(f"wrote {output}")


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

    kept = []
    for file in files:
        patient = PreparedPatient.load(file)
        if patient.flags:
            console.warn(f"{patient.name} is left out (--keep-all keeps it): {'; '.join(patient.flags)}")
        else:
            kept.append(file)
    if not kept:
        raise QualityError("no training patient passed quality control; see ctp-torch qc, or give --keep-all")
    return kept


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
