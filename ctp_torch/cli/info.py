"""``ctp-torch info``: what a folder holds, and whether it is good enough for perfusion maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading

if TYPE_CHECKING:
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.io.dicom.image import Join
    from ctp_torch.quality import Quality

__all__ = ["info"]

KeepIdentityOption = Annotated[
    bool, typer.Option("--keep-identity", help="Show names of files left out, and the scanner in the headers' words.")
]
_FEWEST_FRAMES, _FEWEST_PIXELS = 4, 32


def info(
    series: reading.SeriesArgument,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    join: reading.JoinOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    quality: Annotated[
        bool, typer.Option("--qc/--no-qc", help="Also measure motion and check the quality (a few seconds).")
    ] = True,
    keep_identity: KeepIdentityOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show a series: slices, frames, times, spacing, vendor, what was inferred or left out, and its quality.

    Example: ctp-torch info DICOM_FOLDER

    Example: ctp-torch info DICOM_FOLDER --no-qc --json
    """
    repeated = choices.pick_duplicates(duplicates)
    from ctp_torch.io import read_series

    scan = read_series(
        series,
        times=times,
        dt=dt,
        series=uid,
        join=choices.pick_join(join),
        drop_incomplete=drop_incomplete,
        duplicates=repeated,
        keep_identity=keep_identity,
    )
    steps = scan.times.diff(dim=0)
    z, y, x = scan.geometry.shape
    facts: dict[str, object] = {
        "slices": z,
        "rows": y,
        "columns": x,
        "frames": scan.n_frames,
        "spacing_mm_zyx": [round(s, 4) for s in scan.geometry.spacing],
        "origin_mm_lps": [round(o, 3) for o in scan.geometry.origin],
        "direction": [round(d, 6) for d in scan.geometry.direction],
        "dt_s": round(scan.dt, 4),
        "duration_s": round(float(scan.times.max()), 3),
        "dt_min_s": round(float(steps.min()), 4) if steps.numel() else None,
        "dt_max_s": round(float(steps.max()), 4) if steps.numel() else None,
        "slice_offsets_s": round(float((scan.times - scan.times[:, :1]).abs().max()), 4),
        "hu_range": [round(float(scan.hu.min()), 1), round(float(scan.hu.max()), 1)],
        **scan.provenance.as_dict(),
    }
    judgeable = scan.n_frames >= _FEWEST_FRAMES and min(y, x) >= _FEWEST_PIXELS
    checked = _checked(scan, series, uid, choices.pick_join(join)) if quality and judgeable else None
    if as_json:
        if checked is not None:
            facts["quality"] = checked.as_dict()
        facts["frame_times_s"] = [round(t, 4) for t in scan.times.median(dim=1).values.tolist()]
        console.say(json.dumps(facts, indent=2))
        return
    console.say(f"{z} slices x {scan.n_frames} frames of {y} x {x} pixels")
    for name, value in list(facts.items())[4:]:
        if value not in (None, [], {}):
            console.say(f"  {name.replace('_', ' '):<18} {_line(value)}")
    if checked is not None:
        lines = checked.lines()
        console.say(f"  {'quality':<18} " + (_line(lines) if lines else "no flag raised"))
    elif quality:
        console.say(f"  {'quality':<18} not checked: too few frames or pixels to judge a bolus on")


def _checked(source: CTPSeries, path: Path, uid: str | None, join: Join | None) -> Quality:
    """The quality of what was read, on the device that ``auto`` picks."""
    from ctp_torch.io.dicom.slice_locations import read_slice_locations
    from ctp_torch.pipeline import inspect

    estimate = choices.pick_registration(choices.DEFAULT_REGISTRATION)
    ready = source.to(console.pick_device("auto"))
    locations = read_slice_locations(path, series=uid, join=join)
    return inspect(ready, registration=estimate, locations=locations).quality


def _line(value: object) -> str:
    """A value on one line, or a list of sentences on lines of their own."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        value = [_inference(**entry) if "axis" in entry else _left_out(**entry) for entry in value]
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return ("\n" + " " * 21).join(value)
    return str(value)


def _inference(axis: str, conclusion: str, sources: Sequence[str]) -> str:
    """What an axis of the series rests on, in one sentence."""
    return f"{axis}: {conclusion} ({', '.join(sources)})"


def _left_out(reason: str, count: int, files: Sequence[str | int], cost: str = "") -> str:
    """Files that are no part of the series, in one sentence: their names, or their numbers in the order of names."""
    more = ", ..." if count > 2 else ""
    missed = f"; with them went {cost}" if cost else ""
    return f"{count} x {reason}: {', '.join(n if isinstance(n, str) else f'file {n}' for n in files[:2])}{more}{missed}"
