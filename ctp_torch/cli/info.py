"""``ctp-torch info``: what a folder holds, and whether it is good enough for perfusion maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, reading

if TYPE_CHECKING:
    from ctp_torch.data.plausibility import Plausibility
    from ctp_torch.data.provenance import LeftOutFiles
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.data.stored import StoredSeries
    from ctp_torch.io.dicom.image import Join
    from ctp_torch.quality import Quality

__all__ = ["info", "report_lines"]

KeepIdentityOption = Annotated[
    bool, typer.Option("--keep-identity", help="Show names of files left out, and the scanner in the headers' words.")
]
_FEWEST_FRAMES, _FEWEST_PIXELS = 4, 32
_STILL_MM = 0.5
"""Patients move by more than this between the first and the last frame of a minute, unless they were registered."""


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
    reading.check_there(series)
    from ctp_torch.io import open_series

    with open_series(
        series,
        times=times,
        dt=dt,
        series=uid,
        join=choices.pick_join(join),
        drop_incomplete=drop_incomplete,
        duplicates=repeated,
        keep_identity=keep_identity,
    ) as scan:
        z, y, x = scan.geometry.shape
        judgeable = scan.n_frames >= _FEWEST_FRAMES and min(y, x) >= _FEWEST_PIXELS
        checked = _checked(scan, series, uid, choices.pick_join(join)) if quality and judgeable else None
        low, high = _range(scan)
    steps = scan.times.diff(dim=0)
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
        "hu_range": [round(low, 1), round(high, 1)],
        **scan.provenance.as_dict(),
    }
    if as_json:
        if checked is not None:
            facts["quality"] = checked.as_dict()
        facts["frame_times_s"] = [round(t, 4) for t in scan.times.median(dim=1).values.tolist()]
        console.say(json.dumps(facts, indent=2))
        return
    for line in report_lines(scan):
        console.say(line)
    if checked is not None:
        console.say(_entry("motion", [_motion(checked)]))
        console.say(_entry("quality", checked.lines() or ["no flag raised"]))
    elif quality:
        console.say(_entry("quality", ["not checked: too few frames or pixels to judge a bolus on"]))


def _range(scan: CTPSeries | StoredSeries) -> tuple[float, float]:
    """The lowest and the highest HU; of a series that stays on disk, of what was looked at."""
    from ctp_torch.data.series import CTPSeries

    if isinstance(scan, CTPSeries):
        return float(scan.hu.min()), float(scan.hu.max())
    assert scan.provenance.plausibility is not None, "measured whenever a series is read"
    return scan.provenance.plausibility.range_hu


def _checked(source: CTPSeries | StoredSeries, path: Path, uid: str | None, join: Join | None) -> Quality:
    """The quality of what was read, on the device that ``auto`` picks."""
    from ctp_torch.io.dicom.slice_locations import read_slice_locations
    from ctp_torch.pipeline import inspect

    estimate = choices.pick_registration(choices.DEFAULT_REGISTRATION)
    ready = source.to(console.pick_device("auto"))
    locations = read_slice_locations(path, series=uid, join=join)
    return inspect(ready, registration=estimate, locations=locations).quality


def report_lines(scan: CTPSeries | StoredSeries) -> list[str]:
    """What was read, on one screen: whether it can be what it claims to be, and what that rests on."""
    origin, seen = scan.provenance, scan.provenance.plausibility
    z, y, x = scan.geometry.shape
    kv = f"{origin.kvp:g} kV" if origin.kvp else ""
    made = [origin.format, origin.vendor, origin.model, origin.kernel, kv, origin.transfer_syntax]
    lines = [f"{z} slices x {scan.n_frames} frames of {y} x {x} pixels"]
    lines.append(_entry("source", [", ".join(word for word in made if word) or "in memory"]))
    if seen is not None:
        lines.append(_entry("times", [f"{_times(seen)}, from {origin.time_source or 'no source'}"]))
        lines.append(_entry("grid", [_grid(seen, origin.slice_thickness_mm)]))
        lines.append(_entry("origin, LPS", [" x ".join(f"{o:.1f}" for o in scan.geometry.origin) + " mm"]))
        lines.append(_entry("values", [_values(seen)]))
        lines.append(_entry("frames", [seen.evidence()]))
    inferred = [
        f"{one.axis}: {one.conclusion}" + (f" ({', '.join(one.sources)})" if one.sources else "")
        for one in origin.inferences
    ]
    left_out = [_left_out(one) for one in origin.left_out]
    if origin.incomplete_frames:
        left_out.append(f"{origin.incomplete_frames} time points")
    for name, sentences in (("inferred", inferred), ("left out", left_out), ("doubtful", list(origin.warnings))):
        if sentences:
            lines.append(_entry(name, sentences))
    return lines


def _motion(checked: Quality) -> str:
    """What motion is left, and what that says of registration before."""
    values = next(check for check in checked.checks if check.flag == "q3").values
    usual, largest = values.get("median_displacement_mm"), values.get("largest_displacement_mm")
    if usual is None or largest is None:
        return "not measured"
    verdict = ": a still head, or registered before it came" if largest < _STILL_MM else ""
    return f"median {usual:.2f} mm, largest {largest:.2f} mm of a sphere of 65 mm{verdict}"


def _entry(name: str, sentences: Sequence[str]) -> str:
    """A name with its sentences, each on a line of its own."""
    return f"  {name:<12} " + ("\n" + " " * 15).join(sentences)


def _times(seen: Plausibility) -> str:
    """Duration, step and its spread."""
    spread = f" ({seen.step_min_s:.4g} to {seen.step_max_s:.4g}, sd {seen.step_sd_s:.2g})"
    apart = f", slices of a frame up to {seen.slices_apart_s:.3g} s apart" if seen.slices_apart_s else ""
    even = seen.step_max_s - seen.step_min_s < 1e-3
    return f"{seen.duration_s:.5g} s, every {seen.step_s:.4g} s{'' if even else spread}{apart}"


def _grid(seen: Plausibility, thickness: float | None) -> str:
    """Spacing and its spread, and how places hold over time."""
    low, high = seen.slice_step_mm
    even = high - low < 0.01
    told = f", {thickness:g} mm thick" if thickness else ""
    spread = "" if even else f" (slices {low:.2f} to {high:.2f} mm apart as told)"
    held = "one place told for all frames"
    drift = held if seen.drift_mm is None else f"positions over time within {seen.drift_mm:.2f} mm"
    return f"{' x '.join(f'{s:.4g}' for s in seen.spacing_mm)} mm (z, y, x){told}{spread}; {drift}"


def _values(seen: Plausibility) -> str:
    """HU of air, brain and bone."""
    known = (("air", seen.air_hu), ("brain", seen.brain_hu), ("bone", seen.bone_hu))
    parts = [f"{name} {'none' if value is None else f'{value:.0f}'}" for name, value in known]
    low, high = seen.range_hu
    return f"{', '.join(parts)} HU (median), {low:.0f} to {high:.0f} in all"


def _left_out(one: LeftOutFiles) -> str:
    """Files that are no part of the series, in one sentence: their names, or their numbers in the order of names."""
    more = ", ..." if one.count > 2 else ""
    names = ", ".join(n if isinstance(n, str) else f"file {n}" for n in one.files[:2])
    return f"{one.count} x {one.reason}: {names}{more}" + (f"; {one.cost}" if one.cost else "")
