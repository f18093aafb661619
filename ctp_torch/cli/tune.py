"""``ctp-torch tune``: which penalty and kernel width predict patients that the model hasn't seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.cli.kept import CacheOption, desk_of
from ctp_torch.errors import CTPError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.learning.evidence import Evidence

__all__ = ["tune"]

MOST_SAMPLES = 5000
"""As `ctp_torch.learning.evidence` has it, told before anything heavy is imported."""


def tune(
    cohort: Annotated[Path, typer.Argument(help="Folder of a cohort (ctp-torch phantom cohort makes one).")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for tune.csv, tune.png; evidence.json and evidence.png.")
    ],
    model: Annotated[str, typer.Option(help="krr (kernel ridge).", callback=choices.as_model)] = "krr",
    maps: choices.MapsOption = "cbv,cbf",
    samples: Annotated[int, typer.Option(min=20, help="Pixels, spread evenly over patients and slices.")] = 3000,
    alphas: Annotated[str, typer.Option(help="Penalties to try, separated by commas.")] = "0.001,0.01,0.1,1,10",
    gammas: Annotated[str, typer.Option(help="Kernel parameters (gamma) to try.")] = "0.5,2,8,32",
    by: Annotated[
        str,
        typer.Option(
            help="grid: the values to try. evidence: the grid, and beside it the penalty, width and one length scale a "
            "feature that make the pixels most probable (up to 5,000 of them).",
            metavar="NAME",
        ),
    ] = "grid",
    features: choices.FeaturesOption = "raw",
    smoothing_mm: choices.WidthsOption = None,
    smoothing: choices.SmoothingOption = "inside",
    median: choices.MedianOption = None,
    artery_moments: choices.MomentsOption = False,
    registration: choices.RegistrationOption = choices.DEFAULT_REGISTRATION,
    lut: reading.LutOption = "jet",
    cache: CacheOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the pixel draw.")] = 0,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Try a grid of penalties and kernel widths on a cohort's training patients, each patient left out in turn.

    No model is fitted twice: all penalties and all left-out patients come from one decomposition per kernel width.

    Example: ctp-torch tune COHORT -o tuned --alphas 0.01,0.1,1 --gammas 2,8,32

    Example: ctp-torch tune COHORT -o tuned --by evidence --features arterial
    """
    learned = choices.find_name("--by", by, ("grid", "evidence")) == "evidence"
    if learned and (samples > MOST_SAMPLES or features == "pca"):
        raise CTPError(
            f"--by evidence takes at most {MOST_SAMPLES:,} --samples, and features that each have a scale of their own "
            "(not pca)"
        )
    penalties, widths = _numbers("--alphas", alphas), _numbers("--gammas", gammas)
    if model != "krr":
        raise CTPError(f"unknown --model {model!r}; tune knows krr")
    quantities = choices.pick_maps(maps)
    view = choices.pick_view(features, smoothing_mm, smoothing, median=median, artery_moments=artery_moments)
    align = choices.pick_registration(registration)
    target = console.pick_device(device)
    console.claim(output, force=force, inputs=(cohort,))

    import torch

    from ctp_torch.io import read_cohort
    from ctp_torch.learning.training import draw, prepare_all, recipe_for
    from ctp_torch.report.figures import to_png
    from ctp_torch.report.tuning import relevance_figure, tuning_csv, tuning_figure

    source = read_cohort(cohort, lut=lut)
    patients = [patient for patient in source.patients if patient.split == "train"]
    if len(patients) < 2:
        raise CTPError(f"{cohort} holds {len(patients)} training patients; tuning leaves one out, so it needs two")
    with console.scratch(output) as folder:
        ready = prepare_all(patients, folder, quantities=quantities, registration=align, view=view, device=target,
                            desk=desk_of(cache, cohort, target))  # fmt: skip
        data = draw(list(console.track(ready, "reading patients", total=len(patients))), samples, seed=seed)
    recipe = recipe_for(data, {name: source.ranges[name] for name in quantities}, view=view)
    curves, truth = recipe.scale(data.curves).to(target), data.targets.to(target)
    sizes = torch.tensor([len(drawn) for drawn in data.pixels.values()])
    patient_of = torch.arange(len(sizes)).repeat_interleave(sizes).to(target)  # (samples,)
    scores = _scores(curves, truth, patient_of, penalties, widths)
    mean = scores.mean(-1)
    found = _by_evidence(data.curves.to(target), truth, patient_of) if learned else None
    with console.delivered(output) as folder:
        (folder / "tune.csv").write_text(tuning_csv(scores, widths, penalties, quantities), encoding="utf-8")
        (folder / "tune.png").write_bytes(to_png(tuning_figure(mean, widths, penalties)))
        if found is not None:
            found.evidence.save(folder / "evidence.json")
            (folder / "evidence.png").write_bytes(to_png(relevance_figure(found.evidence.relevance)))
    _say(mean.tolist(), widths, penalties, found, f"{', '.join(quantities)} on {len(sizes)} patients left out in turn, "
         f"{len(curves):,} pixels")  # fmt: skip
    g, a = divmod(int(mean.argmax()), len(penalties))
    seen = choices.view_words(view)
    best = f"{seen}--alpha {penalties[a]:g} --gamma {widths[g]:g}"
    if found is not None and found.r2 > float(mean.max()):
        scales = f"--feature-scale {output / 'evidence.json'}"
        best = f"{seen}--alpha {found.evidence.alpha:.6g} --gamma {found.evidence.gamma:.6g} {scales}"
    console.say(f"best: ctp-torch train {cohort} -o MODEL.safetensors --model krr {best}")


def _scores(curves: Tensor, truth: Tensor, patient_of: Tensor, penalties: list[float], widths: list[float]) -> Tensor:
    """R2 on patients left out in turn ``(gammas, alphas, maps)``."""
    import torch

    from ctp_torch.models import leave_one_out
    from ctp_torch.models.base import r2_score

    rows = []
    for gamma in console.track(widths, "kernel widths", total=len(widths)):
        missed = leave_one_out(curves, truth, alphas=penalties, gamma=gamma, groups=patient_of)
        rows.append(torch.stack([r2_score(truth - residual, truth) for residual in missed]))  # (alphas, maps)
    return torch.stack(rows).cpu()


class _Found(NamedTuple):
    """A maximum of the evidence, and how it predicts patients left out."""

    evidence: Evidence
    r2: float


def _say(
    scores: list[list[float]], widths: list[float], penalties: list[float], found: _Found | None, what: str
) -> None:
    """The grid of mean scores, a line a kernel width, and the maximum of the evidence."""
    console.say(f"mean R2 of {what}")
    console.say("gamma \\ alpha" + "".join(f"{alpha:>10g}" for alpha in penalties))
    for gamma, row in zip(widths, scores, strict=True):
        console.say(f"{gamma:>13g}" + "".join(f"{value:>10.4f}" for value in row))
    if found is not None:
        one = found.evidence
        console.say(
            f"by evidence: {found.r2:.4f} with alpha {one.alpha:.3g}, gamma {one.gamma:.3g} and {len(one.feature_sd)} "
            f"scales; log evidence {one.log_evidence:.3f}, {one.log_evidence_isotropic:.3f} with one scale for all"
        )


def _by_evidence(curves: Tensor, truth: Tensor, patient_of: Tensor) -> _Found:
    """Scales and penalty by evidence; their mean R2 on patients left out of the fit (of weights, not of scales)."""
    from ctp_torch.learning.evidence import maximise_evidence
    from ctp_torch.models import leave_one_out
    from ctp_torch.models.base import r2_score

    console.say(f"climbing the evidence of {len(curves):,} pixels")
    found = maximise_evidence(curves, truth)
    scaled = (curves - curves.new_tensor(found.feature_mean)) / curves.new_tensor(found.feature_sd)
    (missed,) = leave_one_out(scaled, truth, alphas=[found.alpha], gamma=found.gamma, groups=patient_of)
    return _Found(found, float(r2_score(truth - missed, truth).mean()))


def _numbers(option: str, text: str) -> list[float]:
    """The positive numbers of ``a,b,c``, ascending."""
    try:
        numbers = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError as error:
        raise CTPError(f"{option} {text!r} isn't a list of numbers; give for example 0.01,0.1,1") from error
    if not numbers or not 0.0 < numbers[0] <= numbers[-1] < float("inf"):
        raise CTPError(f"{option} {text!r}: every value must be positive and finite; give for example 0.01,0.1,1")
    return numbers
