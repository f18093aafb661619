"""A series made ready, once: filtered, its motion undone, thin slices averaged, the head looked for and looked over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.anatomy import Anatomy
from ctp_torch.data.preview import as_html, grey_png
from ctp_torch.data.provenance import MotionRecord, Preparation
from ctp_torch.data.series import TO_SERIES, CTPSeries
from ctp_torch.data.slabs import SLAB_MM, Slabs, on_slabs, slabs
from ctp_torch.data.stored import StoredSeries
from ctp_torch.errors import NoSeriesError, check_type
from ctp_torch.ops.motion.rigid import RigidMotion, recentred
from ctp_torch.pipeline.vessels import Vessels, find_large, find_vessels
from ctp_torch.quality import Bolus, Quality, assess

if TYPE_CHECKING:
    import torch

    from ctp_torch.data.geometry import Geometry
    from ctp_torch.ops import LargeVessels

__all__ = [
    "REGISTRATIONS", "Registration", "Scan", "align", "estimate_motion", "held_still", "locate", "prepare",
    "preprocess",
]  # fmt: skip

Registration = Callable[[Tensor, tuple[float, float, float], int], RigidMotion]
"""``(hu (time, z, y, x), spacing mm, pre-contrast frames) -> motion``."""
REGISTRATIONS: Mapping[str, Registration | None] = {
    "torch": ops.register_rigid,
    "simpleitk": ops.register_simpleitk,
    "none": None,
}
"""Ways to estimate motion by the name that recipes and records give them."""
_RIM_MM = 2.0
"""Distance kept from the skull, where partial volume and motion change a voxel more than contrast does [mm]."""
_MIN_FRAMES = 4


@dataclass(frozen=True, repr=False)
class Scan:
    """A series that maps can be made of, with what everything downstream asks of it; each is computed once."""

    series: CTPSeries
    """As ``provenance`` says: filtered, aligned, on slabs."""
    motion: RigidMotion | None
    """As estimated, in the axes of the grid; None where nothing was."""
    anatomy: Anatomy
    """Head, brain and baseline of ``series``."""

    def to(self, device: torch.device | str) -> Scan:
        """The same scan on another device; what was located is kept, what follows from it is computed there."""
        baseline, head, brain, n_baseline = self.anatomy
        anatomy = Anatomy(baseline.to(device), head.to(device), brain.to(device), n_baseline)
        motion = self.motion and RigidMotion(*(one.to(device) for one in self.motion))
        return Scan(self.series.to(device), motion, anatomy)

    def __repr__(self) -> str:
        moved = "not aligned" if self.motion is None else "aligned"
        return f"Scan({self.series!r}, {moved}, {int(self.anatomy.brain.sum())} voxels of brain)"

    def _repr_html_(self) -> str:
        """For a notebook: the facts and the mean before contrast, 0 to 80 HU."""
        return as_html(repr(self), grey_png([(self.anatomy.baseline, (0.0, 80.0))]))

    @cached_property
    def enhancement(self) -> Tensor:
        """``(time, z, y, x)`` HU over the pre-contrast mean."""
        return ops.enhancement(self.series.hu, self.anatomy.n_baseline)

    @cached_property
    def vessels(self) -> Vessels:
        """Arterial input and venous outflow, found automatically; in thin slices on their slabs."""
        return find_vessels(self.enhancement, self.anatomy.brain, self.series)

    @cached_property
    def large_vessels(self) -> LargeVessels:
        """Voxels of the brain that large vessels fill, or reach into."""
        return find_large(self.enhancement, self.anatomy.brain, self.series)

    @cached_property
    def quality(self) -> Quality:
        """What makes maps of this scan wrong, as far as the series itself tells."""
        return self.assess()

    def assess(
        self,
        *,
        locations: Tensor | None = None,
        maps_geometry: Geometry | None = None,
        expected_frames: int | None = None,
    ) -> Quality:
        """The quality, with what `ctp_torch.quality.assess` can be told besides."""
        bolus = None
        if bool(self.anatomy.brain.any()):
            aif, vof, refusal = self.vessels
            bolus = Bolus(self.enhancement, aif, vof, str(refusal or "").split(". ")[0])
        return assess(
            self.series,
            self.motion,
            anatomy=self.anatomy,
            bolus=bolus,
            locations=locations,
            maps_geometry=maps_geometry,
            expected_frames=expected_frames,
        )


def prepare(
    series: CTPSeries | StoredSeries,
    *,
    registration: Registration | RigidMotion | Literal["torch", "simpleitk", "none"] | None = "torch",
    median_size: int = 1,
    slab_mm: float = SLAB_MM,
    progress: Callable[[str], None] | None = None,
) -> Scan:
    """A series as read to a scan that maps can be made of.

    Motion is estimated on the unfiltered, unclipped HU, where bone carries it, and undone by one interpolation of the
    filtered HU; then thin slices are averaged to slabs. A deconvolution smooths by its own Gaussian and wants no
    median filter; a model wants what its recipe says (`ctp_torch.predict` sees to it).

    Parameters
    ----------
    series
        as read, HU; of one that stays on disk (`ctp_torch.open_series`) motion is estimated on its coarse copy, and
        every frame is read, filtered, moved and averaged to slabs in its turn
    registration
        how motion is estimated, by name or function; or the motion, where it is known; None or "none" leaves the frames
        where they are
    median_size
        edge of the median filter within each slice [pixels], odd; 1 for none
    slab_mm
        thickness to which thin slices are averaged [mm]; 0 keeps them
    progress
        called with the name of each step when it is done

    Returns
    -------
    Scan
        whose ``series.provenance`` tells what was done

    Raises
    ------
    NoSeriesError
        if there are too few frames for a bolus to be seen
    ValueError
        if ``registration`` names none

    Examples
    --------
    >>> scan = ctp_torch.prepare(ctp_torch.read_series("DICOM_FOLDER"))  # doctest: +SKIP
    >>> ctp_torch.deconvolve(scan)["cbf"]  # (z, y, x) in mL/100 g/min  # doctest: +SKIP
    """
    check_type(series, (CTPSeries, StoredSeries), "prepare: series", TO_SERIES)
    done = progress or _no_progress
    name, estimate = _named(registration)
    motion = estimate_motion(series, estimate) if callable(estimate) else estimate
    done("motion estimate")
    if isinstance(series, StoredSeries):
        ready = _averaged(series, motion, median_size, slab_mm)
    else:
        ready = series if median_size == 1 else replace(series, hu=ops.median_filter(series.hu, median_size))
        done("median filter")
        ready = slabs(ready, slab_mm) if motion is None else _aligned_slabs(ready, motion, slab_mm)
    done("motion correction")
    anatomy = locate(ready)
    done("masks")
    provenance = replace(ready.provenance, preparation=Preparation(name, median_size))
    return Scan(replace(ready, provenance=provenance), motion, anatomy)


def preprocess(series: CTPSeries, *, registration: Registration | None = None, median_size: int = 3) -> CTPSeries:
    """The series median-filtered slice by slice and aligned in time, still in HU; `prepare` without slabs.

    Parameters
    ----------
    series
        as read
    registration
        ``(hu, spacing, n_pre_contrast) -> RigidMotion``, such as `ctp_torch.ops.register_rigid`; None leaves the frames
        where they are
    median_size
        edge of the median filter [pixels], odd

    Returns
    -------
        the series, on the same grid; ``provenance.motion`` holds the rotations [degree] and translations [mm] per frame
    """
    check_type(series, CTPSeries, "preprocess: series", TO_SERIES)
    filtered = replace(series, hu=ops.median_filter(series.hu, median_size))
    aligned = filtered if registration is None else align(filtered, estimate_motion(series, registration))
    preparation = Preparation(_named(registration)[0], median_size)
    return replace(aligned, provenance=replace(aligned.provenance, preparation=preparation))


def estimate_motion(series: CTPSeries | StoredSeries, registration: Registration) -> RigidMotion:
    """How the head moves in a series; give it the unfiltered HU."""
    seen = series.coarse if isinstance(series, StoredSeries) else series
    motion = registration(seen.hu, seen.geometry.spacing, _count_baseline(seen))
    return motion if seen is series else recentred(motion, _centre_apart(seen.geometry, series.geometry))


def _centre_apart(geometry: Geometry, other: Geometry) -> tuple[float, float, float]:
    """How far the centre of another grid lies from a grid's, along the axes x, y, z that they share [mm]."""
    here, there = (grid.position(*((n - 1) / 2 for n in grid.shape)) for grid in (geometry, other))
    apart = [b - a for a, b in zip(here, there, strict=True)]
    x, y, z = (sum(d * a for d, a in zip(geometry.direction[k::3], apart, strict=True)) for k in range(3))
    return x, y, z


def align(series: CTPSeries, motion: RigidMotion) -> CTPSeries:
    """The series with its motion undone by one interpolation; ``provenance.motion`` tells it in patient axes (LPS).

    Thick slices can't be sampled between (`ops.correctable`); what moving through their plane changed in the brain's
    curves is found by its path and subtracted (`ops.remove_through_plane`). ``provenance.motion.through_plane`` says
    what was done: interpolated, subtracted, or both where thick slices move far.
    """
    spacing = series.geometry.spacing
    moved = ops.apply_motion(series.hu, ops.correctable(motion, spacing), spacing)
    aligned = replace(_with_motion(series, motion), hu=moved)
    if not bool(motion.estimated[5]):
        ops.remove_through_plane(moved, motion, locate(aligned).brain, spacing, series.dt, in_place=True)
    return aligned


def _with_motion(series: CTPSeries, motion: RigidMotion) -> CTPSeries:
    """The series with the motion that is undone in its record."""
    determined, correctable = bool(motion.estimated[5]), ops.correctable(motion, series.geometry.spacing)
    in_patient = ops.patient_axes(motion, series.geometry.direction)
    record = MotionRecord(
        rotation_deg=[[round(v, 4) for v in row] for row in in_patient.rotation.tolist()],
        translation_mm=[[round(v, 4) for v in row] for row in in_patient.translation.tolist()],
        through_plane="interpolated" if determined else "subtracted" if correctable is not motion else "both",
    )
    return replace(series, provenance=replace(series.provenance, motion=record))


def _aligned_slabs(series: CTPSeries, motion: RigidMotion, slab_mm: float) -> CTPSeries:
    """`align` and then `slabs`, to the same numbers; frame by frame where slices can be sampled between.

    A moved copy of all thin slices would take as much memory as the series itself; their slabs take a tenth of it.
    """
    thick = Slabs.of(series.geometry, slab_mm)
    if thick.n == 1 or not bool(motion.estimated[5]):
        return slabs(align(series, motion), slab_mm)
    moved = _moved(series.hu, motion, series.geometry.spacing)
    return _with_motion(on_slabs(series, thick, _gathered(moved, series, thick)), motion)


def _averaged(series: StoredSeries, motion: RigidMotion | None, median_size: int, slab_mm: float) -> CTPSeries:
    """The slabs of a series that stays on disk: each frame read, filtered, moved and averaged when its turn comes."""
    thick = Slabs.of(series.geometry, slab_mm)
    frames = held_still(series, motion, median_size=median_size)
    ready = on_slabs(series, thick, _gathered(frames, series, thick))
    return ready if motion is None else _with_motion(ready, motion)


def held_still(series: StoredSeries, motion: RigidMotion | None, *, median_size: int = 1) -> Iterator[Tensor]:
    """The frames ``(z, y, x)`` [HU] of a series that stays on disk, filtered, their motion undone."""
    frames = series.frames()
    if median_size > 1:
        frames = (ops.median_filter(frame[None], median_size)[0] for frame in frames)
    return frames if motion is None else _moved(frames, motion, series.geometry.spacing)


def _moved(frames: Iterable[Tensor], motion: RigidMotion, spacing: tuple[float, float, float]) -> Iterator[Tensor]:
    """Thin slices ``(z, y, x)`` of each frame, the head held still."""
    for t, frame in enumerate(frames):
        one = RigidMotion(motion.rotation[t : t + 1], motion.translation[t : t + 1], motion.estimated)
        yield ops.apply_motion(frame[None], one, spacing)[0]


def _gathered(frames: Iterable[Tensor], series: CTPSeries | StoredSeries, thick: Slabs) -> Tensor:
    """The slabs ``(time, slabs, y, x)`` of frames ``(z, y, x)`` that come one at a time."""
    hu: Tensor | None = None
    for t, frame in enumerate(frames):
        if hu is None:
            hu = frame.new_empty(series.n_frames, *thick.geometry(series.geometry).shape)
        hu[t] = thick.average(frame)
    assert hu is not None, "a series has frames"
    return hu


def locate(series: CTPSeries) -> Anatomy:
    """Head, brain and pre-contrast frames of a series.

    Parameters
    ----------
    series
        preprocessed or raw

    Returns
    -------
        masks made on the mean of the pre-contrast frames

    Raises
    ------
    NoSeriesError
        if there are too few frames for a bolus to be seen
    """
    n_baseline, spacing = _count_baseline(series), series.geometry.spacing
    baseline = series.hu[:n_baseline].mean(dim=0)
    head = ops.head_mask(baseline, spacing)
    brain = ops.erode(ops.brain_mask(baseline, spacing) & head, _RIM_MM, spacing)
    return Anatomy(baseline, head, brain, n_baseline)


def _count_baseline(series: CTPSeries) -> int:
    """Number of pre-contrast frames, from a brain found on the first three."""
    if series.n_frames < _MIN_FRAMES:
        raise NoSeriesError(
            f"{series.n_frames} time point(s) of {series.geometry.shape[0]} slice(s): no perfusion series, which has "
            f"at least {_MIN_FRAMES}; give the folder of all its images"
        )
    spacing = series.geometry.spacing
    rough = ops.brain_mask(series.hu[:3].mean(dim=0), spacing)
    inner = ops.erode(rough, _RIM_MM, spacing)  # a jerk at the rim looks like an early bolus
    inside = inner if bool(inner.any()) else rough
    return ops.baseline_frames(series.hu, inside, series.dt) if bool(inside.any()) else 3  # the caller refuses


def _named(registration: object) -> tuple[str, Registration | RigidMotion | None]:
    """A registration and the name that a recipe would give it."""
    if registration is None or isinstance(registration, str):
        name = registration or "none"
        if name not in REGISTRATIONS:
            raise ValueError(f"unknown registration {name!r}; known are {', '.join(REGISTRATIONS)}")
        return name, REGISTRATIONS[name]
    if isinstance(registration, RigidMotion):
        return "given", registration
    for name, function in REGISTRATIONS.items():
        if function is registration:
            return name, function
    return getattr(registration, "__name__", "custom"), registration  # type: ignore[return-value]


def _no_progress(step: str) -> None:
    """Nobody asked for progress."""
