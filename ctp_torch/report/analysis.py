"""An analysis to a folder: maps in all formats, pictures, the page, and the record of the run; all or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ctp_torch.data.maps import ENDS, named_quantity
from ctp_torch.data.methods import METHODS
from ctp_torch.errors import check_type
from ctp_torch.io.claims import claim_folder
from ctp_torch.io.delivery import Claim
from ctp_torch.io.results.bids import BidsName, describe_dataset, write_bids
from ctp_torch.io.results.derivation import Code, Derivation, file_digest, versions
from ctp_torch.io.results.identity import identity_record
from ctp_torch.io.results.source import Source, find_source
from ctp_torch.io.results.write_maps import OF_LESIONS, Output, check_formats, write_formats
from ctp_torch.lesions.regions import RegionRow, region_rows
from ctp_torch.ops import patient_axes
from ctp_torch.pipeline.analysis import Analysis
from ctp_torch.quality.flags import NAMES
from ctp_torch.report.lesions import write_lesions
from ctp_torch.report.montage import montage
from ctp_torch.report.motion import write_motion
from ctp_torch.report.regions import write_regions
from ctp_torch.report.viewer.files import write_report
from ctp_torch.report.viewer.payload import PatientView, patient_view

if TYPE_CHECKING:
    from ctp_torch.data.maps import PerfusionMaps

__all__ = ["derivation_of", "results_folder", "write_analysis", "write_results"]


def write_analysis(
    analysis: Analysis,
    folder: str | Path | Claim,
    *,
    formats: Sequence[str] = ("nifti",),
    report: bool = True,
    bids: str | None = None,
    force: bool = False,
) -> Path:
    """Everything that ``ctp-torch maps`` leaves in a folder: all of it, or nothing.

    Parameters
    ----------
    analysis
        from `ctp_torch.analyse`
    folder
        appears when all is written; or the claim to it
    formats
        any of nifti, ct, rgb, pm, seg, sr; what needs lesions is left out where there are none
    report
        write ``report.html`` too, and its numbers under ``report/``
    bids
        SUBJECT or SUBJECT/SESSION of a BIDS-like tree below the folder, for the NIfTI files
    force
        replace what an earlier run left there

    Returns
    -------
        where the results lie

    Raises
    ------
    ValueError
        when a format is unknown
    CTPError
        when a format needs a package that isn't installed, or the maps lie elsewhere than their source
    OutputExistsError
        when the folder is taken

    Examples
    --------
    >>> ctp_torch.write_analysis(ctp_torch.analyse("DICOM"), "OUT", formats=("nifti", "ct"))  # doctest: +SKIP
    """
    check_type(analysis, Analysis, "write_analysis: analysis", "ctp_torch.analyse(FOLDER) gives one")
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    check_formats(formats, lesions=analysis.settings.lesions)
    name = None if bids is None else BidsName.parse(bids)
    claim = folder
    if not isinstance(claim, Claim):
        inputs = (analysis.source, *analysis.settings.files)
        claim = claim_folder(results_folder(Path(claim), bids), force=force, inputs=inputs)
    study = _study(analysis, formats, keep=analysis.settings.keep_identity)
    derivation = _derivation(analysis)
    with claim, claim.delivered() as place:
        output = Output(
            analysis.maps, analysis.lesions, analysis.scan.anatomy.baseline, analysis.ranges, _region_rows(analysis)
        )
        write_results(place, output, formats, study=study, derivation=derivation, bids=name)
        _write_pictures(place, analysis)
        if analysis.regions is not None:
            write_regions(place, analysis.regions, _region_rows(analysis), analysis.maps.geometry)
        analysis.watch.lap("write")
        if report:
            facts = versions()
            write_report(place, title="CT perfusion of the brain", facts=facts, patients=[_view(analysis)])
            analysis.watch.lap("report")
        kept = None if study is None or not analysis.settings.keep_identity else identity_record(study.identity)
        record = {
            "command": "maps",
            **({} if kept is None else {"patient": kept}),
            "formats": list(formats),
            **_record(analysis),
        }
        (place / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if name is not None:
        describe_dataset(claim.place.parents[len(Path(name.folder).parts) - 1])
    return claim.place


def results_folder(output: Path, bids: str | None) -> Path:
    """Where below an output folder the results come to lie: in it, or in a session's folder of a BIDS-like tree."""
    return output if bids is None else output / BidsName.parse(bids).folder


def write_results(
    folder: Path,
    output: Output,
    formats: Sequence[str],
    *,
    study: Source | None,
    derivation: Derivation,
    bids: BidsName | None = None,
) -> None:
    """Maps and lesions in all formats into a folder that exists; where there are no lesions, without theirs."""
    names = [name for name in formats if output.lesions is not None or name not in OF_LESIONS]
    if bids is not None and "nifti" in names:
        names.remove("nifti")
        facts = {"Settings": derivation.settings, "ModelSHA256": derivation.model_sha256 or None}
        method = str(derivation.settings.get("method") or derivation.settings.get("model") or "maps")
        write_bids(folder, output, bids, method=Path(method).stem, facts=facts)
    write_formats(folder, output, names, source=study, derivation=derivation)


def derivation_of(
    settings: Mapping[str, object],
    *,
    model: str | Path | None = None,
    files: Sequence[str | Path | None] = (),
    flags: Sequence[str] = (),
) -> Derivation:
    """How a result was made, from the settings as they were used.

    Parameters
    ----------
    settings
        as the record has them; ``method`` names the deconvolution
    model
        file of the regressor, if one predicted
    files
        that the result depends on (masks, curves, times); words that are no file are passed over
    flags
        raised quality flags
    """
    method = METHODS.get(str(settings.get("method")))
    words, code = ("", None) if method is None else (method.words, Code(*method.code))
    if method is None and model is not None:
        words, code = "learned regression", Code("REGRESSION", "99CTPTORCH", "Regression of time curves")
    digests = [file_digest(file)[:16] for file in files if file and Path(file).is_file()]
    return Derivation(
        method=words,
        code=code,
        model_sha256="" if model is None else file_digest(model),
        settings={**settings, **({"files_sha256": " ".join(digests)} if digests else {})},
        flags={flag: NAMES[flag] for flag in flags},
    )


def _region_rows(analysis: Analysis) -> list[RegionRow]:
    """The numbers of every region; none where none were asked for."""
    if analysis.regions is None:
        return []
    found = analysis.lesions
    lesions = {} if found is None else {"core": found.core, "hypoperfusion": found.hypoperfusion}
    return region_rows(analysis.regions, analysis.maps.without_ends(), lesions)


def _study(analysis: Analysis, formats: Sequence[str], *, keep: bool) -> Source | None:
    """The study that DICOM results join; None where nobody asks for it."""
    if analysis.source is None or not (keep or set(formats) - {"nifti"}):
        return None
    return find_source(analysis.source, series=analysis.settings.series, join=analysis.settings.join)


def _derivation(analysis: Analysis) -> Derivation:
    """How the maps were made."""
    settings = analysis.settings
    facts = {
        **analysis.used,
        "dt": settings.dt,
        "join": settings.join,
        "drop_incomplete": settings.drop_incomplete,
        "duplicates": settings.duplicates,
        "thresholds": None if analysis.lesions is None else asdict(analysis.lesions.thresholds),
    }
    flags = analysis.scan.quality.flags
    files = (settings.mask, settings.times, settings.aif, settings.vof)
    return derivation_of(facts, model=settings.model, files=files, flags=flags)


def _shown(analysis: Analysis) -> Mapping[str, tuple[float, float]]:
    """Quantity to display range."""
    return analysis.ranges or {name: named_quantity(name).display for name in analysis.maps.values if name != "ttp"}


def _write_pictures(folder: Path, analysis: Analysis) -> None:
    """The montage, the lesions, the motion."""
    scan, maps, baseline = analysis.scan, analysis.maps, analysis.scan.anatomy.baseline
    times = scan.series.times.median(dim=1).values.tolist()
    (folder / "montage.png").write_bytes(montage(baseline, maps, _shown(analysis), times).png())
    if analysis.lesions is not None:
        write_lesions(folder, analysis.lesions, maps, baseline=baseline, conventional=analysis.conventional)
    if scan.motion is not None:
        motion = patient_axes(scan.motion, scan.series.geometry.direction)
        write_motion(folder, motion, times)


def _view(analysis: Analysis) -> PatientView:
    """The patient for the page."""
    scan, settings = analysis.scan, analysis.used
    series = scan.series
    label = str(settings.get("model") or settings["method"])
    origin = {k: v for k, v in series.provenance.as_dict().items() if k not in ("motion", "warnings", "preparation")}
    return patient_view(
        name="Patient",
        series=series,
        maps=_sets(label, analysis.maps),
        lesions={} if analysis.lesions is None else {label: analysis.lesions},
        conventional={} if analysis.conventional is None else {label: analysis.conventional},
        no_volumes={label: analysis.no_volumes} if analysis.no_volumes else {},
        anatomy=scan.anatomy,
        ranges=_shown(analysis),
        motion=None if scan.motion is None else patient_axes(scan.motion, series.geometry.direction),
        quality=scan.quality,
        settings={
            **settings,
            "device": analysis.settings.device,
            "series": {"dt_s": series.dt, **origin},
            "warnings": list(analysis.warnings),
        },
    )


def _sets(label: str, maps: PerfusionMaps) -> dict[str, PerfusionMaps]:
    """The maps, and where there are intervals their ends, each as a set that the page can switch to."""
    ends = {f"{label}, {end} end": one for end in ENDS if (one := maps.ends(end)) is not None}
    return {label: maps.without_ends(), **ends}


def _record(analysis: Analysis) -> dict[str, object]:
    """How the results were made, for JSON."""
    series = analysis.scan.series
    return {
        "versions": versions(),
        "settings": analysis.used,
        "warnings": list(analysis.warnings),
        "thresholds": None if analysis.lesions is None else asdict(analysis.lesions.thresholds),
        "no_volumes": analysis.no_volumes or None,
        "device": analysis.settings.device,
        "series": {
            "frames": series.n_frames,
            "dt_s": series.dt,
            "shape_zyx": series.geometry.shape,
            **series.provenance.as_dict(),
        },
        "maps": {
            "units": {name: named_quantity(name).unit for name in analysis.maps.values},
            **analysis.maps.provenance.as_dict(),
        },
        "quality": analysis.scan.quality.as_dict(),
        "timings_s": analysis.timings,
    }
