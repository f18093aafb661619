"""``ctp-torch convert``: a DICOM series to a 4-D NIfTI and a JSON that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ctp_torch.cli import choices, console, reading
from ctp_torch.errors import CTPError

__all__ = ["convert"]


def convert(
    series: reading.SeriesArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="NAME.nii.gz to write, or a folder for ctp.nii.gz.")],
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    join: reading.JoinOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    force: console.ForceOption = False,
) -> None:
    """Convert a series to a 4-D NIfTI, its times in a JSON beside it (FrameTimes, SliceTimes, TimeSource, Warnings).

    Example: ctp-torch convert DICOM_FOLDER -o ctp.nii.gz
    """
    repeated = choices.pick_duplicates(duplicates)
    reading.check_there(series)
    from ctp_torch.io import read_series, write_nifti_series

    path = output if output.name.endswith((".nii", ".nii.gz")) else output / "ctp.nii.gz"
    if output.is_file() and path != output:
        raise CTPError(f"{output} is a file; give -o NAME.nii.gz or a folder")
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    console.claim_file(path, beside, force=force, inputs=(series, times))
    scan = read_series(
        series,
        times=times,
        dt=dt,
        series=uid,
        join=choices.pick_join(join),
        drop_incomplete=drop_incomplete,
        duplicates=repeated,
    )
    with console.delivered(path) as folder:
        write_nifti_series(folder / path.name, scan)
    for warning in scan.provenance.warnings:
        console.warn(warning)
    z, y, x = scan.geometry.shape
    console.say(f"{z} slices x {scan.n_frames} frames of {y} x {x} pixels, times from {scan.provenance.time_source}")
    console.say(f"wrote {path} and {beside.name}")
