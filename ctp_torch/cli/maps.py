"""``ctp-torch maps``: a CT perfusion series to maps in physical units, with a picture and a record of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctp_torch.cli import choices, console, formats, reading
from ctp_torch.cli.lesion import ForceThresholdsOption, ThresholdsOption, lesion_lines

if TYPE_CHECKING:
    from ctp_torch.pipeline.analysis import Analysis

__all__ = ["maps"]

_VESSEL = "auto; x,y,z (column, row, slice from 0, slices upwards); a NIfTI mask; or a text file of the curve"

OutputOption = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for cbf.nii.gz, cbv, mtt, tmax and the rest.")
]
ModelOption = Annotated[Path | None, typer.Option(help="Predict with this model file.")]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help=f"Deconvolve: {', '.join(choices.METHODS)} [default: csvd].", metavar="NAME", callback=choices.as_method
    ),
]
AifOption = Annotated[str, typer.Option(help=f"Arterial input: {_VESSEL}.", metavar="CHOICE")]
VofOption = Annotated[str, typer.Option(help="Venous outflow, as --aif.", metavar="CHOICE")]
MaskOption = Annotated[Path | None, typer.Option(help="NIfTI mask of where to make maps [default: the brain].")]
ScalingOption = Annotated[bool, typer.Option(help="Scale the arterial input to the venous outflow.")]
SlabOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Average thin slices to slabs of this [mm], 0 to keep them [default: 5; 0 with --model]."
    ),
]
RegistrationOption = Annotated[
    str | None,
    typer.Option(
        help=f"{choices.REGISTRATION_HELP} [default: the model's, else {choices.DEFAULT_REGISTRATION}].",
        metavar="NAME",
        callback=choices.as_registration,
    ),
]
LesionsOption = Annotated[bool, typer.Option(help="Measure core, hypoperfusion and penumbra too.")]
ReportOption = Annotated[
    bool, typer.Option(help="Write report.html too: a page to look through the scan and its maps.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse a series that fails quality control.")]
ProfileOption = Annotated[bool, typer.Option("--profile", help="Print where the time went.")]


def maps(
    series: reading.SeriesArgument,
    output: OutputOption,
    model: ModelOption = None,
    method: MethodOption = None,
    aif: AifOption = "auto",
    vof: VofOption = "auto",
    mask: MaskOption = None,
    vof_scaling: ScalingOption = True,
    sigma_mm: choices.SigmaOption = None,
    smoothing: choices.SmoothingOption = "beside",
    slab_mm: SlabOption = None,
    registration: RegistrationOption = None,
    lesions: LesionsOption = True,
    thresholds: ThresholdsOption = None,
    force_thresholds: ForceThresholdsOption = False,
    report: ReportOption = True,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    write: formats.FormatsOption = "nifti",
    bids: formats.BidsOption = None,
    keep_identity: formats.KeepIdentityOption = False,
    strict: StrictOption = False,
    profile: ProfileOption = False,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Make CBF, CBV, MTT and Tmax maps of one CT perfusion series.

    Example: ctp-torch maps DICOM_FOLDER -o maps

    Example: ctp-torch maps DICOM_FOLDER -o maps --model krr.safetensors

    Example: ctp-torch maps DICOM_FOLDER -o maps --formats nifti,ct,rgb,seg,sr
    """
    repeated = choices.pick_duplicates(duplicates)
    names = formats.pick_formats(write, lesions=lesions)
    from ctp_torch.io.claims import claim_folder
    from ctp_torch.pipeline.analysis import MapSettings, analyse
    from ctp_torch.report.analysis import results_folder, write_analysis

    settings = MapSettings(
        method, model, aif, vof, mask, vof_scaling, sigma_mm, choices.pick_smoothing(smoothing), slab_mm, registration,
        lesions, thresholds, times, dt, uid, drop_incomplete, repeated, strict, max_unpacked, keep_identity,
        str(console.pick_device(device)), force_thresholds,
    )  # fmt: skip
    settings.check()
    place = results_folder(output, bids)
    with claim_folder(place, force=force, inputs=(series, *settings.files)) as claim:
        analysis = analyse(series, settings)
        formats.warn_anonymous(series, names)
        write_analysis(analysis, claim, formats=names, report=report, bids=bids)
    for line in _words(analysis, place, profile=profile, look="report.html" if report else "montage.png"):
        console.say(line)


def _words(analysis: Analysis, place: Path, *, profile: bool, look: str) -> list[str]:
    """What was made, for people; the warnings go to the error stream."""
    for warning in analysis.warnings:
        console.warn(warning)
    total, grid = sum(analysis.timings.values()), analysis.scan.series.geometry
    lines = []
    if profile:
        width = max(map(len, analysis.timings))
        stages = {**analysis.timings, "total": total}
        lines += [f"{name:<{width}}  {seconds:8.3f} s" for name, seconds in stages.items()]
    if analysis.lesions is not None:
        lines += lesion_lines(analysis.lesions, analysis.conventional)
    if (slabs := analysis.scan.series.provenance.slabs) is not None:
        lines.append(
            f"slices every {slabs.slice_mm:g} mm averaged to {grid.shape[0]} slabs of {grid.spacing[0]:g} mm; "
            "--slab-mm 0 keeps them"
        )
    return [*lines, f"wrote {', '.join(analysis.maps.values)} to {place} in {total:.1f} s; see {look}"]
