"""``ctp-torch maps``: a CT perfusion series to maps in physical units, with a picture and a record of the run."""

from __future__ import annotations

import json
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
ModelOption = Annotated[
    Path | None,
    typer.Option(
        help="Predict with this model file; with physics, which comes along and needs no training; or with per-scan, "
        "which learns curves simulated from the scan's own artery."
    ),
]
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
CompletionOption = Annotated[
    bool | None,
    typer.Option(
        help="Complete CBV by what passes after the last frame, where the areas tell it [default: beside vessels]."
    ),
]
PermeabilityOption = Annotated[
    bool,
    typer.Option("--permeability", help="Map flow extraction through a leaking barrier too; scans of 90 s or more."),
]
SlabOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Average thin slices to slabs of this [mm], 0 to keep them [default: 5; 0 with a model of raw curves].",
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
DenoiseOption = Annotated[
    str,
    typer.Option(
        help="Take noise out first, for low doses: none, bilateral, low-rank, noise2noise.",
        metavar="NAME",
        callback=choices.as_denoiser,
    ),
]
LesionsOption = Annotated[bool, typer.Option(help="Measure core, hypoperfusion and penumbra too.")]
RegionsOption = Annotated[
    bool,
    typer.Option("--regions", help="Measure in lobes, territories, ASPECTS regions, grey and white matter too."),
]
ReportOption = Annotated[
    bool, typer.Option(help="Write report.html too: a page to look through the scan and its maps.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse a series that fails quality control.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print volumes, warnings and paths as JSON.")]
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
    complete_cbv: CompletionOption = None,
    permeability: PermeabilityOption = False,
    slab_mm: SlabOption = None,
    denoise: DenoiseOption = "none",
    registration: RegistrationOption = None,
    lesions: LesionsOption = True,
    thresholds: ThresholdsOption = None,
    force_thresholds: ForceThresholdsOption = False,
    regions: RegionsOption = False,
    report: ReportOption = True,
    times: reading.TimesOption = None,
    dt: reading.DtOption = None,
    uid: reading.UidOption = None,
    join: reading.JoinOption = None,
    drop_incomplete: reading.DropOption = False,
    duplicates: reading.DuplicatesOption = "refuse",
    max_unpacked: reading.MaxUnpackedOption = None,
    write: formats.FormatsOption = "nifti",
    bids: formats.BidsOption = None,
    keep_identity: formats.KeepIdentityOption = False,
    strict: StrictOption = False,
    profile: ProfileOption = False,
    as_json: JsonOption = False,
    device: console.DeviceOption = "auto",
    force: console.ForceOption = False,
) -> None:
    """Make CBF, CBV, MTT and Tmax maps of one CT perfusion series.

    Example: ctp-torch maps DICOM_FOLDER -o maps

    Example: ctp-torch maps DICOM_FOLDER -o maps --model physics

    Example: ctp-torch maps DICOM_FOLDER -o maps --model krr.safetensors

    Example: ctp-torch maps DICOM_FOLDER -o maps --formats nifti,ct,rgb,seg,sr
    """
    repeated, together = choices.pick_duplicates(duplicates), choices.pick_join(join)
    names = formats.pick_formats(write, lesions=lesions)
    reading.check_there(series)
    from ctp_torch.io.claims import claim_folder
    from ctp_torch.pipeline.analysis import MapSettings, analyse
    from ctp_torch.report.analysis import results_folder, write_analysis

    settings = MapSettings(
        method=method, model=model, aif=aif, vof=vof, mask=mask, vof_scaling=vof_scaling, sigma_mm=sigma_mm,
        smoothing=choices.pick_smoothing(smoothing), slab_mm=slab_mm, denoise=choices.pick_denoiser(denoise),
        registration=registration, lesions=lesions, thresholds=thresholds, regions=regions, times=times, dt=dt,
        series=uid, join=together, drop_incomplete=drop_incomplete, duplicates=repeated, strict=strict,
        max_unpacked=max_unpacked, keep_identity=keep_identity, device=str(console.pick_device(device)),
        force_thresholds=force_thresholds, complete_cbv=complete_cbv, permeability=permeability,
    )  # fmt: skip
    settings.check()
    place = results_folder(output, bids)
    with (
        claim_folder(place, force=force, inputs=(series, *settings.files)) as claim,
        console.stages("maps") as done,
    ):
        analysis = analyse(series, settings, progress=done)
        formats.warn_anonymous(series, names)
        write_analysis(analysis, claim, formats=names, report=report, bids=bids)
    if as_json:
        console.say(json.dumps(_summary(analysis, place), indent=1))
        return
    for line in _words(analysis, place, profile=profile, look="report.html" if report else "montage.png"):
        console.say(line)


def _summary(analysis: Analysis, place: Path) -> dict[str, object]:
    """Volumes, warnings and where the maps lie, for a machine."""
    lesions = None if analysis.lesions is None else analysis.lesions.summary()
    files = sorted(str(path) for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
    return {"lesions": lesions, "warnings": list(analysis.warnings), "folder": str(place), "files": files}


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
