"""A folder of DICOM files, whatever else is in it, to one CT perfusion series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctp_torch.data.provenance import LeftOutFiles, Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io.dicom.candidates import Candidate, candidates, choose
from ctp_torch.io.dicom.grid import Grid, arrange
from ctp_torch.io.dicom.index import ImageHeader, LeftOut, index_files
from ctp_torch.io.dicom.pixels import PADDING_HU, read_hounsfield
from ctp_torch.io.dicom.select import ct_images
from ctp_torch.io.dicom.straight import straighten
from ctp_torch.io.dicom.terms import kernel_term, model_term, uid_term, vendor_term
from ctp_torch.io.dicom.times import Clock, choose_clock

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["find_series", "read_dicom"]

_MOST_FILES = 100
"""Files listed for one reason; a study can hold thousands of other series."""


def find_series(
    paths: Sequence[Path], place: Path, *, series: str | None = None
) -> tuple[list[Candidate], list[LeftOut]]:
    """The series that the files could make, and the files that belong to none.

    Raises
    ------
    NoSeriesError
        when there is no CT image, with what was found instead
    UnreadableFileError
        when a header is broken
    """
    headers, left_out = index_files(paths)
    images, others = ct_images(headers, series=series)
    left_out += others
    broken = [one for one in left_out if one.reason.startswith(("broken", "can't"))]
    if broken:
        raise UnreadableFileError(
            f"{broken[0].path}: {broken[0].reason}"
            + (f", and {len(broken) - 1} more files like it" if len(broken) > 1 else "")
            + "; copy it again, or take it out of the folder"
        )
    if not images:
        reasons = Counter(one.reason for one in left_out)
        found = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
        derived = any(r.startswith("derived") for r in reasons)
        raise NoSeriesError(
            f"{place} holds no CT perfusion images: {found or 'it is empty'}"
            + ("; a derived series is read when named with --series UID" if derived else "")
        )
    return candidates(images), left_out


def read_dicom(
    paths: Sequence[Path],
    place: Path,
    *,
    times: Tensor | None = None,
    dt: float | None = None,
    series: str | None = None,
    drop_incomplete: bool = False,
    duplicates: Literal["refuse", "first"] = "refuse",
    keep_identity: bool = False,
) -> CTPSeries:
    """The perfusion series that the files hold; the options are those of ``read_series``."""
    found, left_out = find_series(paths, place, series=series)
    chosen = choose(found, series)
    for other in found:
        if other is not chosen:
            left_out += [LeftOut(image.path, f"another series ({other.describe()})") for image in other.images]
    clock = choose_clock(chosen.slices, order_only=times is not None or dt is not None)
    grid = arrange(chosen.slices, clock, drop_incomplete=drop_incomplete, duplicates=duplicates)
    told, source = _times(grid, clock, times, dt)
    hu = read_hounsfield(grid.cells)
    first = grid.cells[0]
    hu, told, geometry, resampled = straighten(
        hu,
        told,
        [image.position or (0.0, 0.0, 0.0) for image in first],  # type: ignore[misc]
        first[0].orientation or (),
        first[0].spacing or (1.0, 1.0),  # type: ignore[arg-type]
        thickness=first[0].thickness,
    )
    warnings = [*chosen.notes, *clock.warnings, *resampled, *_remarks(grid)]
    provenance = _provenance(grid, source, warnings, keep_identity=keep_identity)
    files = _by_reason(left_out + grid.left_out, paths, names=keep_identity)
    return CTPSeries(hu, told - told.min(), geometry, replace(provenance, left_out=files))


def _times(grid: Grid, clock: Clock, times: Tensor | None, dt: float | None) -> tuple[Tensor, str]:
    """Times ``(time, z)`` and the name of their source: the user's, or the headers'."""
    import torch

    told = torch.tensor(grid.times, dtype=torch.float64)
    if times is not None:
        from ctp_torch.io.nifti.frame_times import spread

        return spread(times, tuple(told.shape)), "given"
    if dt is not None:
        return (torch.arange(told.shape[0], dtype=torch.float64) * dt)[:, None].expand(told.shape).clone(), "given dt"
    return told, clock.source


def _remarks(grid: Grid) -> list[str]:
    """What was inferred from the images or is odd about them."""
    images = [image for row in grid.cells for image in row]
    said = []
    if len(grid.cells) == 1:
        said.append("one time point: a volume, no perfusion series")
    unscaled = sum(not image.rescaled for image in images)
    if unscaled:
        said.append(f"{unscaled} images tell no rescale slope and intercept; stored values were taken as HU")
    if any(image.lossy for image in images):
        said.append("the images were compressed with loss")
    if any(image.padding for image in images):
        said.append(f"padding pixels were set to {PADDING_HU:g} HU")
    if len({(image.slope, image.intercept) for image in images}) > 1:
        said.append("slope and intercept differ between images; each image was scaled by its own")
    if len({image.pixels.signed for image in images}) > 1:
        said.append("signed and unsigned images are mixed; each was read as its own header says")
    return said


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


def _by_reason(left_out: list[LeftOut], paths: Sequence[Path], *, names: bool) -> tuple[LeftOutFiles, ...]:
    """Files that are no part of the series, by reason: their numbers from 1 in the order of names, or the names."""
    number = {path: k for k, path in enumerate(paths, start=1)}
    files: dict[str, list[str | int]] = {}
    for one in left_out:
        files.setdefault(one.reason, []).append(one.path.name if names else number[one.path])
    return tuple(LeftOutFiles(reason, len(some), tuple(some[:_MOST_FILES])) for reason, some in files.items())
