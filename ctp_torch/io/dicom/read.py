"""A folder of DICOM files, whatever else is in it, to one CT perfusion series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctp_torch.data.provenance import Inference, LeftOutFiles, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import IncompleteSeriesError, NoSeriesError, UnreadableFileError
from ctp_torch.io.coarse import Kept
from ctp_torch.io.dicom.candidates import Candidate, candidates, choose
from ctp_torch.io.dicom.checks import ANOTHER, lost_frames, waits
from ctp_torch.io.dicom.grid import INCOMPLETE, Grid, arrange
from ctp_torch.io.dicom.image import ImageHeader, Join, LeftOut
from ctp_torch.io.dicom.index import ARCHIVE, HIDDEN, index_files
from ctp_torch.io.dicom.laid import are_too_many, keep_what_can_be, lay, layout, read_frames
from ctp_torch.io.dicom.meant import as_meant
from ctp_torch.io.dicom.pixels import PADDING_HU, read_what_can_be
from ctp_torch.io.dicom.select import along_normal, ct_images
from ctp_torch.io.dicom.spans import drift_mm, slice_steps_mm
from ctp_torch.io.dicom.terms import kernel_term, model_term, uid_term, vendor_term
from ctp_torch.io.dicom.times import Clock, choose_clock
from ctp_torch.io.frame_order import repeated_images, swapped_frames
from ctp_torch.io.hu_scale import check_scale
from ctp_torch.io.nifti.frame_times import check_times
from ctp_torch.io.odd_images import odd_images
from ctp_torch.io.plausible import measure, no_brain

if TYPE_CHECKING:
    from torch import Tensor

    from ctp_torch.data.stored import StoredSeries
    from ctp_torch.io.opened import Opened

__all__ = ["find_series", "read_dicom"]

_GAPS = 2.0
"""Thicknesses that slices lie apart from which on gaps between them are told."""
_MOST_FILES = 100
"""Files listed for one reason; a study can hold thousands of other series."""


def find_series(
    paths: Sequence[Path], place: Path, *, series: str | None = None, join: Join | None = None
) -> tuple[list[Candidate], list[LeftOut]]:
    """The series that the files could make, and the files that belong to none.

    Raises
    ------
    NoSeriesError
        when there is no CT image, with what was found instead
    UnreadableFileError
        when a header is broken
    """
    images, left_out = _images(paths, place, series)
    return candidates(images, join=join), left_out


def _images(paths: Sequence[Path], place: Path, series: str | None) -> tuple[list[ImageHeader], list[LeftOut]]:
    """The images that measure CT numbers, and the files that don't."""
    headers, left_out = index_files(paths)
    images, others = ct_images(headers, series=series)
    left_out += others
    broken = [one for one in left_out if one.broken]
    if broken and not images:
        raise UnreadableFileError(f"{_first_of(broken)}; copy it again, or take it out of the folder")
    if not images:
        reasons = Counter(one.reason for one in left_out)
        summary = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
        derived = any(r.startswith("derived") for r in reasons)
        packed = any(r.startswith(ARCHIVE) for r in reasons)
        raise NoSeriesError(
            f"{place} holds no CT perfusion images: {summary or 'it is empty'}"
            + ("; a derived series is read when named with --series UID" if derived else "")
            + ("; unpack the archive, and give the folder" if packed else "")
        )
    return images, left_out


def read_dicom(
    there: Opened,
    place: Path,
    *,
    times: Tensor | None = None,
    dt: float | None = None,
    series: str | None = None,
    join: Join | None = None,
    drop_incomplete: bool = False,
    duplicates: Literal["refuse", "first"] = "refuse",
    keep_identity: bool = False,
    slab_mm: float = 0.0,
) -> CTPSeries | StoredSeries:
    """The perfusion series that the files hold; the options are those of ``open_series``.

    Files that are damaged are left out, and the warnings say how many and of what kind. Where a time point lacks a
    slice without them, that is refused as any missing slice is, unless ``drop_incomplete`` leaves such time points out.
    """
    images, left_out = _images(there.files, place, series)
    left_out += there.left_out
    while True:  # again without the files whose pixels turn out to be damaged
        choices = candidates(images, join=join)
        chosen = choose(choices, series)
        clock = chosen.clock or choose_clock(chosen.slices, order_only=times is not None or dt is not None)
        try:
            grid = arrange(chosen.slices, clock, drop_incomplete=drop_incomplete, duplicates=duplicates)
        except IncompleteSeriesError as error:
            broken = [one for one in left_out if one.broken]
            if not broken:
                raise
            raise UnreadableFileError(f"{_first_of(broken)}; copy it again: without it, {error}") from error
        cells, meant = as_meant(grid.cells)
        slice_times, source = _times(grid, clock, times, dt)
        large = are_too_many(cells, slab_mm)
        voxels: Tensor | Kept | None
        voxels, failed = keep_what_can_be(cells, slice_times) if large else read_what_can_be(cells)
        if not failed:
            break
        images = [image for image in images if image.path not in failed]
        if not any(image.path not in failed for image in chosen.images):
            raise next(iter(failed.values()))
        left_out += [LeftOut(path, "undecodable pixels", str(error), broken=True) for path, error in failed.items()]
    for other in choices:
        if other is not chosen:
            reason = f"{ANOTHER} ({other.describe()})"
            left_out += [LeftOut(image.path, reason, image=image) for image in other.images]
    paused = waits(grid.times, place) if source == clock.source else []
    check_times(slice_times, place)
    n_lost, holes, costs = lost_frames(grid.cells, clock, left_out)
    if isinstance(voxels, Kept):
        laid = layout(cells, slice_times)
        odd, sample = _odd(voxels.scattered, laid.times, place), voxels.scattered
    else:
        assert voxels is not None, "no file failed"
        odd = _odd(voxels, slice_times, place)
        laid = lay(voxels, slice_times, cells)
        sample = laid.hu
    steps, drift = slice_steps_mm(grid.cells[0]), drift_mm(grid.cells)
    seen = measure(sample, laid.times, laid.geometry, slice_step_mm=steps, drift_mm=drift)
    left_out += grid.left_out
    told = [*chosen.notes, *clock.warnings, *paused, *holes, *laid.moved, *meant]
    doubts = [] if odd else no_brain(seen)
    warnings = [*told, *_remarks(grid), *odd, *doubts, *_losses(left_out, len(grid.cells))]
    inferences = _inferences(chosen, clock, source, laid.moved, meant)
    provenance = replace(
        _provenance(grid, source, warnings, keep_identity=keep_identity),
        inferences=inferences,
        incomplete_frames=grid.n_incomplete + n_lost,
        plausibility=seen,
        left_out=_by_reason(left_out, there, costs, names=keep_identity),
    )
    if isinstance(voxels, Kept):
        return voxels.series(partial(read_frames, cells, slice_times), laid.times, laid.geometry, provenance)
    return CTPSeries(laid.hu, laid.times - laid.times.min(), laid.geometry, provenance)


def _odd(hu: Tensor, times: Tensor, place: Path) -> list[str]:
    """What is odd about the values of frames ``(time, z, y, x)``, all of them or some."""
    return [*check_scale(hu, place), *odd_images(hu), *repeated_images(hu), *swapped_frames(hu, times)]


def _first_of(broken: list[LeftOut]) -> str:
    """The first broken file in words, and how many more there are of each kind."""
    kinds = Counter(one.reason for one in broken[1:])
    more = ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
    return broken[0].describe() + (f", and {len(broken) - 1} more broken files ({more})" if more else "")


def _losses(left_out: list[LeftOut], n_frames: int) -> list[str]:
    """What was left out that somebody may miss: by number and kind, for names may identify."""
    warnings = []
    kinds = Counter(one.reason for one in left_out if one.broken)
    if kinds:
        dropped = sum(one.reason == INCOMPLETE for one in left_out)
        rest = (
            f"{dropped} images of time points that lack a slice were left out too" if dropped else "none lacks a slice"
        )
        warnings.append(
            f"{kinds.total()} broken files were left out ({', '.join(f'{n} x {kind}' for kind, n in kinds.items())}):"
            f" {n_frames} time points are left, {rest}; others may be missing"
        )
    packed = sum(one.reason.startswith(ARCHIVE) for one in left_out)
    if packed:
        warnings.append(
            f"{packed} archives lie among the images and were not opened: unpack them if the scan goes on there"
        )
    hidden = sum(one.reason == HIDDEN for one in left_out)
    if hidden:
        warnings.append(f"{hidden} hidden files look like DICOM images and were not read: their names begin with a dot")
    return warnings


def _times(grid: Grid, clock: Clock, times: Tensor | None, dt: float | None) -> tuple[Tensor, str]:
    """Times ``(time, z)`` and the name of their source: the user's, or the headers'."""
    import torch

    slice_times = torch.tensor(grid.times, dtype=torch.float64)
    if times is not None:
        from ctp_torch.io.nifti.frame_times import spread

        return spread(times, tuple(slice_times.shape)), "given"
    if dt is not None:
        return (torch.arange(slice_times.shape[0], dtype=torch.float64) * dt)[:, None].expand(
            slice_times.shape
        ).clone(), "given dt"
    return slice_times, clock.source


def _remarks(grid: Grid) -> list[str]:
    """What was inferred from the images or is odd about them."""
    images = [image for row in grid.cells for image in row]
    warnings = []
    thickness, places = images[0].thickness, [along_normal(image) for image in grid.cells[0]]
    step = (places[-1] - places[0]) / max(1, len(places) - 1)
    if thickness and step > _GAPS * thickness:
        warnings.append(f"slices of {thickness:g} mm lie {step:g} mm apart: volumes count what lies between as seen")
    if len(grid.cells) == 1:
        warnings.append("one time point: a volume, no perfusion series")
    for lost, n in Counter(image.completed for image in images if image.completed).items():
        warnings.append(f"{n} images tell no {lost}: that of all others of their series was taken")
    unscaled = sum(not image.rescaled for image in images)
    if unscaled:
        warnings.append(f"{unscaled} images tell no rescale slope and intercept; stored values were taken as HU")
    negative = sum(image.slope < 0 for image in images)
    if negative:
        warnings.append(f"{negative} images tell a negative rescale slope: check that air is dark")
    if any(image.lossy for image in images):
        warnings.append("the images were compressed with loss")
    if any(image.padding for image in images):
        warnings.append(f"padding pixels were set to {PADDING_HU:g} HU")
    if len({(image.slope, image.intercept) for image in images}) > 1:
        warnings.append("slope and intercept differ between images; each image was scaled by its own")
    if len({image.pixels.signed for image in images}) > 1:
        warnings.append("signed and unsigned images are mixed; each was read as its own header says")
    return warnings


def _provenance(grid: Grid, source: str, warnings: list[str], *, keep_identity: bool) -> Provenance:
    """Without identity: terms in place of the scanner's free text, no names, no identifiers; unless it is kept."""
    first: ImageHeader = grid.cells[0][0]
    return Provenance(
        format="DICOM",
        vendor=first.vendor if keep_identity else vendor_term(first.vendor),
        model=first.model if keep_identity else model_term(first.model),
        kernel=first.kernel if keep_identity else kernel_term(first.kernel),
        kvp=first.kvp,
        slice_thickness_mm=first.thickness,
        time_source=source,
        transfer_syntax=uid_term(first.pixels.transfer_syntax),
        n_files=len({image.path for row in grid.cells for image in row}),
        warnings=tuple(warnings),
        incomplete_frames=grid.n_incomplete,
    )


def _inferences(
    chosen: Candidate, clock: Clock, source: str, moved: Sequence[str], meant: Sequence[str]
) -> tuple[Inference, ...]:
    """What each axis of the series rests on."""
    first = chosen.slices[0][0]
    n = len(chosen.images)
    times = clock.evidence if source == clock.source else ()
    read = f"read from {source}" + (f", borne out by {', '.join(times[1:])}" if len(times) > 1 else "")
    places = f"{len(chosen.slices)} slices by Image Position" + "".join(f"; {word}" for word in moved if word)
    values = "rescaled by each image's own slope and intercept" + "".join(f"; {word}" for word in meant)
    scale = f"Rescale Type {first.rescale_type}" if first.rescale_type else "no Rescale Type"
    together = "; ".join(chosen.notes) or "one patient, study, frame of reference and series"
    return (
        Inference("images", f"{n} images: {together}", ("identifiers", "kernel", "thickness", "tube voltage")),
        Inference("slices", places, ("ImagePositionPatient", "ImageOrientationPatient")),
        Inference("times", read, times or (source,)),
        Inference("values", values, ("RescaleSlope", "RescaleIntercept", scale, "pixels")),
    )


def _by_reason(
    left_out: list[LeftOut], there: Opened, costs: Mapping[str, str], *, names: bool
) -> tuple[LeftOutFiles, ...]:
    """Files that are no part of the series, by reason: their numbers from 1 in the order of names, or the names."""
    number = {path: k for k, path in enumerate([*there.files, *(one.path for one in there.left_out)], start=1)}
    files: dict[str, list[str | int]] = {}
    for one in left_out:
        files.setdefault(one.reason, []).append(one.path.name if names else number[one.path])
    return tuple(
        LeftOutFiles(reason, len(some), tuple(some[:_MOST_FILES]), costs.get(reason, ""))
        for reason, some in files.items()
    )
