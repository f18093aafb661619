"""``ctp-torch compare``: two sets of maps of one patient, or two cohorts, held against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import console
from ctp_torch.errors import CTPError, NoSeriesError

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.learning.compare import MapSet

__all__ = ["compare"]

_LESIONS = ("core", "hypoperfusion")
_COLORED = ("cbv", "cbf", "mtt", "tmax")


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of maps, or of a cohort run.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="The same of another method, version or maker.", metavar="B")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for compare.html and tables.")],
    variants: Annotated[
        str | None,
        typer.Option(help="Of cohorts: which variant of A and which of B, as csvd,osvd [default: their only ones]."),
    ] = None,
    lut: Annotated[
        str | None, typer.Option(help="B is coloured: jet, siemens, siemens-time, asist, bar, or a file of colours.")
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(help="What the ends of B's colours mean, as cbf=0:60,tmax=0:12 [default: as we display them]."),
    ] = None,
    force: console.ForceOption = False,
) -> None:
    """Compare two sets of maps: differences, correlation, similarity, and how lesions overlap.

    Differences are B minus A, in the brain, in the lesions of A, and in its regions where they were asked for; of
    cohorts also over patients.

    Example: ctp-torch compare MAPS_CSVD MAPS_OSVD -o compared

    Example: ctp-torch compare OUT OUT -o compared --variants csvd,osvd

    Example: ctp-torch compare MAPS CONSOLE -o compared --lut siemens --ranges cbf=0:100
    """
    limits = _ranges(ranges)
    if limits and lut is None:
        raise CTPError("--ranges are of coloured maps: name their table with --lut")
    from ctp_torch.learning.compare import compare_lesions, compare_maps
    from ctp_torch.report.compare import Compared, over_patients, write_comparison

    console.claim(output, force=force, inputs=(first, second))
    pairs = _pairs(first, second, variants)
    patients, notes = [], []
    for case, (one, other) in console.track(pairs.items(), "comparing", total=len(pairs)):
        try:
            a = _maps(one)
            b = _maps(other) if lut is None else _colored(other, a, lut, limits)
            patients.append(Compared(case, compare_maps(a, b), compare_lesions(a, b)))
        except CTPError as error:
            if len(pairs) == 1:
                raise
            notes.append(f"{case}: {error}")
    if not patients:
        raise CTPError(f"nothing could be compared: {notes[0]}")
    with console.delivered(output) as folder:
        write_comparison(folder, patients, (str(first), str(second)), notes)
    for note in notes:
        console.warn(f"not compared: {note}")
    for what, row in over_patients(patients).items():
        ends = "" if row.n < 2 else f", limits {row.low:.3g} to {row.high:.3g}, r {row.r:.3f}, ICC {row.icc:.3f}"
        console.say(f"{what:<28} A {row.first:.3g}, B {row.second:.3g}, B - A {row.bias:.3g}{ends}")
    console.say(f"wrote {output / 'compare.html'}")


def _pairs(first: Path, second: Path, variants: str | None) -> dict[str, tuple[Path, Path]]:
    """The folders of maps to hold against each other."""
    from ctp_torch.cohorts.records import folder_of
    from ctp_torch.cohorts.table import is_run, read_plan

    if not (is_run(first) and is_run(second)):
        if variants is not None or is_run(first) != is_run(second):
            raise CTPError("give two folders of maps, or two cohort runs (--variants is of cohort runs)")
        return {"patient": (first, second)}
    plans = read_plan(first), read_plan(second)
    names = [word.strip() for word in (variants or "").split(",") if word.strip()]
    if not names and all(len(plan[1]) == 1 for plan in plans):
        names = [plan[1][0] for plan in plans]
    if len(names) != 2 or any(name not in plan[1] for name, plan in zip(names, plans, strict=True)):
        known = "; ".join(", ".join(plan[1]) for plan in plans)
        raise CTPError(f"--variants: name one of A and one of B, separated by a comma; there are {known}")
    others = {case.key for case in plans[1][0]}
    homes = {
        case.key: (folder_of(first, case.key) / names[0], folder_of(second, case.key) / names[1])
        for case in plans[0][0]
        if case.key in others
    }
    there = {key: pair for key, pair in homes.items() if all(folder.is_dir() for folder in pair)}
    if not there:
        raise NoSeriesError(f"{first} and {second} have no mapped scan in common")
    return there


def _maps(folder: Path) -> MapSet:
    """The maps of a folder, with lesions and regions where they are."""
    from ctp_torch.cli.lesion import read_maps_folder
    from ctp_torch.learning.compare import MapSet

    maps = read_maps_folder(folder)
    lesions = {name: mask for name in _LESIONS if (mask := _mask(folder / f"{name}.nii.gz", maps.mask)) is not None}
    return MapSet(dict(maps.values), maps.mask, maps.geometry, lesions, _regions(folder, maps.mask))


def _mask(path: Path, like: Tensor) -> Tensor | None:
    """A mask that lies on the maps; None where there is none."""
    from ctp_torch.io import read_volume

    if not path.is_file():
        return None
    volume, _ = read_volume(path)
    if volume.shape != like.shape:
        raise CTPError(f"{path} doesn't lie on the grid of the maps beside it")
    return volume > 0


def _regions(folder: Path, like: Tensor) -> dict[str, Tensor]:
    """The regions that ``maps --regions`` left beside the maps."""
    from ctp_torch.io import read_volume

    regions: dict[str, Tensor] = {}
    index = folder / "regions.json"
    if not index.is_file():
        return regions
    for scheme, names in json.loads(index.read_text(encoding="utf-8"))["schemes"].items():
        volume, _ = read_volume(folder / f"regions_{scheme}.nii.gz")
        if volume.shape == like.shape:
            regions |= {f"{scheme}: {name}": volume == label for label, name in enumerate(names, start=1)}
    return regions


def _colored(folder: Path, like: MapSet, lut: str, limits: Mapping[str, tuple[float, float]]) -> MapSet:
    """Coloured maps as numbers, on the grid of others."""
    import torch

    from ctp_torch.data.maps import QUANTITIES
    from ctp_torch.data.scale import ColorScale
    from ctp_torch.io import read_target_indices
    from ctp_torch.learning.compare import MapSet

    ends = {name: QUANTITIES[name].display for name in _COLORED} | dict(limits)
    values, there, why = {}, torch.zeros_like(like.mask), ""
    for name in (name for name in _COLORED if name in like.values):
        try:
            index = read_target_indices(folder, [name], like.geometry, ends, lut=lut)[0]
        except CTPError as error:
            why = str(error)
            continue
        values[name] = torch.where(index >= 0, ColorScale(*ends[name]).value(index.float()), torch.nan)
        there |= index >= 0
    if not values:
        raise CTPError(why or f"{folder} holds no coloured maps")
    return MapSet(values, there, like.geometry)


def _ranges(text: str | None) -> dict[str, tuple[float, float]]:
    """The numbers of ``cbf=0:60,tmax=0:12``."""
    ranges = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, ends = part.partition("=")
        low, _, high = ends.partition(":")
        try:
            values = float(low), float(high)
        except ValueError:
            values = (0.0, 0.0)
        if name.strip() not in _COLORED or not values[0] < values[1] < float("inf"):
            raise CTPError(f"--ranges {part!r}: give a map and what its colours end at, as cbf=0:60; known are "
                           f"{', '.join(_COLORED)}")  # fmt: skip
        ranges[name.strip()] = values
    return ranges
