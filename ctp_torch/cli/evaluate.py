"""``ctp-torch evaluate``: predicted maps against a cohort's, slice by slice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.cli.kept import CacheOption, desk_of
from ctp_torch.errors import CTPError, ModelMismatchError

if TYPE_CHECKING:
    from ctp_torch.learning.evaluate import PointScores, SliceScore
    from ctp_torch.pipeline.recipe import Recipe

__all__ = ["evaluate"]


def evaluate(
    cohort: Annotated[Path, typer.Argument(help="Folder of a cohort.")],
    model: Annotated[list[Path], typer.Option("--model", "-m", help="Model file; give it several times to compare.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for scores.csv and summary.md.")],
    filters: Annotated[str, typer.Option(help="Gaussian widths on the predictions in pixels, as 0,1,2,4.")] = "0",
    split: Annotated[str, typer.Option(help="train, test or both.")] = "both",
    test_samples: Annotated[int, typer.Option(min=2, help="Test pixels for the pointwise R2 and RMSE.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the test pixels.")] = 0,
    lut: reading.LutOption = "jet",
    cache: CacheOption = None,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Score models on a cohort: SSIM of every slice and map, frame and brain, with intervals over patients.

    Example: ctp-torch evaluate COHORT --model ridge.safetensors --model krr.safetensors -o scores
    """
    splits = choices.pick("--split", split, {"train": ("train",), "test": ("test",), "both": ("train", "test")})
    from ctp_torch.io import read_cohort
    from ctp_torch.io.results.derivation import file_digest
    from ctp_torch.learning.evaluate import score_patient, score_points
    from ctp_torch.learning.prepared import PreparedPatient
    from ctp_torch.learning.training import prepare_all
    from ctp_torch.models import load_model
    from ctp_torch.pipeline.recipe import Recipe
    from ctp_torch.report.tables import markdown, paper_table, point_table, summary, write_scores

    widths = _widths(filters)
    target = console.pick_device(device)
    console.claim(output, force=force, inputs=(cohort, *model))
    models = choices.name_models(model, [load_model(path, target) for path in model])
    recipes = {name: Recipe.of(entry) for name, entry in models.items()}
    quantities = tuple(dict.fromkeys(name for recipe in recipes.values() for name in recipe.targets))
    source = read_cohort(cohort, lut=lut)
    for name, recipe in recipes.items():
        _same_ranges(name, recipe, source.ranges)
    registrations = {recipe.registration for recipe in recipes.values()}
    if len(registrations) > 1:
        raise ModelMismatchError(
            f"the models were trained with different registrations ({', '.join(sorted(registrations))}); "
            "evaluate them one by one"
        )
    patients = [patient for patient in source.patients if patient.split in splits]
    if not patients:
        raise CTPError(f"{cohort} holds no {' or '.join(splits)} patient; see the split in its cohort.json")
    align = choices.pick_registration(registrations.pop())
    desk = desk_of(cache, cohort, target)
    rows: list[SliceScore] = []
    points: list[PointScores] = []
    with console.scratch(output) as folder:
        for view in dict.fromkeys(recipe.view for recipe in recipes.values()):
            alike = {name: one for name, one in models.items() if recipes[name].view == view}
            ready = prepare_all(patients, folder, quantities=quantities, registration=align, view=view, device=target,
                                desk=desk)  # fmt: skip
            files = []
            for file in console.track(ready, f"scoring patients ({view.features})", total=len(patients)):
                rows += score_patient(PreparedPatient.load(file), alike, widths, ranges=source.ranges)
                files.append(file)
            held_out = [file for file, patient in zip(files, patients, strict=True) if patient.split == "test"]
            if held_out:
                points.append(score_points(held_out, alike, test_samples, seed=seed, ranges=source.ranges))
    facts = {
        "models": ", ".join(
            f"{name} (sha256 {file_digest(path)[:16]})" for name, path in zip(models, model, strict=True)
        )
    }
    page = summary(rows, title="Predicted maps against the teacher's", facts=facts)
    with console.delivered(output) as partial:
        for number, one in enumerate(points):
            table = point_table(one)
            page += f"\n## {table.caption}\n\n{markdown(table)}\n"
            drawn = {name: pixels.tolist() for name, pixels in one.pixels.items()}
            again = f"_{number + 1}" if number else ""
            (partial / f"test_pixels{again}.json").write_text(json.dumps(drawn), encoding="utf-8")
        write_scores(rows, partial / "scores.csv")
        (partial / "summary.md").write_text(page, encoding="utf-8")
    for part in splits:
        if any(row.split == part for row in rows):
            console.say(f"\n{part} patients, SSIM of the whole frame, filter {widths[0]:g} px\n")
            console.say(markdown(paper_table(rows, split=part, filter_px=widths[0])))
            console.say("\nbrain only\n")
            console.say(markdown(paper_table(rows, split=part, score="ssim_brain", filter_px=widths[0])))
    console.say(f"\nwrote {output / 'scores.csv'} and {output / 'summary.md'}")


def _widths(text: str) -> tuple[float, ...]:
    """The filter widths of ``0,1,2,4``."""
    try:
        widths = tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise CTPError(f"--filters {text!r}: give pixels separated by commas, as 0,1,2,4") from error
    if not widths or min(widths) < 0:
        raise CTPError(f"--filters {text!r}: give widths of at least 0 pixels")
    return widths


def _same_ranges(name: str, recipe: Recipe, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse a model whose colours mean other values than the cohort's."""
    for quantity, limits in recipe.targets.items():
        if quantity not in ranges:
            raise ModelMismatchError(f"model {name} predicts {quantity}, which the cohort doesn't hold")
        if recipe.units == "display" and tuple(ranges[quantity]) != tuple(limits):
            raise ModelMismatchError(
                f"model {name} was trained on {quantity} from {limits[0]:g} to {limits[1]:g}, the cohort shows "
                f"{ranges[quantity][0]:g} to {ranges[quantity][1]:g}; train a model on this cohort"
            )
