"""A series on disk, with the maps that belong to it, to its quality and its motion."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctp_torch.data.slabs import SLAB_MM
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import IncompleteSeriesError, NoSeriesError
from ctp_torch.pipeline.scan import Registration, prepare
from ctp_torch.quality.checks import check_slices
from ctp_torch.quality.flags import Quality

if TYPE_CHECKING:
    import torch

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.data.series import CTPSeries
    from ctp_torch.ops import RigidMotion

__all__ = ["Examination", "examine", "inspect"]


@dataclass(frozen=True)
class Examination:
    """What was found about one series."""

    quality: Quality
    """The checks; only those of the headers when the images fit no grid."""
    motion: RigidMotion | None
    """About the patient's axes (LPS)."""
    times: list[float]
    """Of the frames [s]."""

    def as_dict(self) -> dict[str, object]:
        """For JSON: flags, checks, and per frame translation and rotation along and about x, y, z (LPS)."""
        rows: list[dict[str, object]] = []
        if self.motion is not None:
            pairs = zip(self.motion.translation.tolist(), self.motion.rotation.tolist(), strict=True)
            for frame, (translation, rotation) in enumerate(pairs):
                rows.append(
                    {
                        "frame": frame,
                        "time_s": round(self.times[frame], 3),
                        "translation_mm": [round(v, 4) for v in translation],
                        "rotation_deg": [round(v, 4) for v in rotation],
                    }
                )
        return {**self.quality.as_dict(), "motion": rows}


def examine(
    path: Path,
    maps_path: Path | None = None,
    *,
    registration: Registration | None,
    expected_frames: int | None = None,
    times: Path | None = None,
    dt: float | None = None,
    series: str | None = None,
    duplicates: Literal["refuse", "first"] = "refuse",
    device: torch.device | str = "cpu",
) -> Examination:
    """Read, preprocess and assess a series; time points that lack a slice are left out and counted.

    Parameters
    ----------
    path
        what `ctp_torch.io.read_series` takes, with ``times``, ``dt``, ``series`` and ``duplicates``
    maps_path
        folder of the maps that belong to it
    registration
        as in `ctp_torch.pipeline.preprocess`; None leaves motion unmeasured
    expected_frames
        of the protocol
    device
        where to compute

    Raises
    ------
    CTPError
        as reading does; but images that lie elsewhere in some frames are flagged, not refused
    """
    from ctp_torch.io.dicom.slice_locations import read_slice_locations
    from ctp_torch.io.read_series import open_series

    locations = read_slice_locations(path, series=series)
    with ExitStack() as opened:
        try:
            source = opened.enter_context(
                open_series(path, times=times, dt=dt, series=series, drop_incomplete=True, duplicates=duplicates)
            )
        except IncompleteSeriesError:
            headers = check_slices(None, locations=locations)
            if not headers.raised:
                raise
            return Examination(Quality((headers,)), None, [])
        if source.n_frames < 4:
            raise IncompleteSeriesError(
                f"{path} has {source.n_frames} whole frame(s); a bolus can't be judged on fewer than 4"
            )
        return inspect(
            source.to(device),
            registration=registration,
            locations=locations,
            maps_geometry=None if maps_path is None else _grid_of_maps(maps_path),
            expected_frames=expected_frames,
        )


def inspect(
    source: CTPSeries | StoredSeries,
    *,
    registration: Registration | None,
    locations: torch.Tensor | None = None,
    maps_geometry: Geometry | None = None,
    expected_frames: int | None = None,
) -> Examination:
    """Preprocess and assess a series that was read already.

    Parameters
    ----------
    source
        as read, HU, at least four frames; one that stays on disk is looked at on its slabs
    registration
        as in `ctp_torch.pipeline.preprocess`; None leaves motion unmeasured
    locations, maps_geometry, expected_frames
        as in `ctp_torch.quality.assess`
    """
    from ctp_torch.ops import patient_axes

    slab_mm = SLAB_MM if isinstance(source, StoredSeries) else 0.0
    scan = prepare(source, registration=registration, median_size=3, slab_mm=slab_mm)
    quality = scan.assess(locations=locations, maps_geometry=maps_geometry, expected_frames=expected_frames)
    in_patient = None if scan.motion is None else patient_axes(scan.motion, source.geometry.direction)
    return Examination(quality, in_patient, source.times.median(dim=1).values.tolist())


def _grid_of_maps(folder: Path) -> Geometry | None:
    """The grid of the coloured or scalar maps in a folder; None when they tell no positions."""
    from ctp_torch.io import read_color_maps, read_volume

    volumes = sorted(folder.glob("*.nii*")) if folder.is_dir() else []
    if volumes:
        return read_volume(volumes[0])[1]
    try:
        return read_color_maps(folder).geometry
    except NoSeriesError:
        return None
