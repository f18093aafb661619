"""Perfusion maps to what a stroke team reads: core, hypoperfusion, penumbra, their volumes and ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.data.preview import as_html, grey_png
from ctp_torch.data.slabs import Slabs
from ctp_torch.errors import check_type
from ctp_torch.lesions.masks import cleaned, core_of, touched, under_vessels
from ctp_torch.lesions.reference import late_tissue, low_flow, reference_tissue, tmax_moved
from ctp_torch.lesions.survey import Survey, survey, uneven_ml
from ctp_torch.lesions.thresholds import Thresholds

if TYPE_CHECKING:
    from ctp_torch.data.geometry import Geometry

__all__ = ["Lesions", "Survey", "delineate", "find_lesions", "survey"]

_UNEVEN_ML = 10.0
"""Uneven flow from this volume on is told where no hypoperfusion is read [mL]."""
_EDGE, _EDGE_ML = 0.05, 10.0
"""A core that changes by this with thresholds changed by that share is uncertain [mL], where it is half of the core,
else twice this. On 126 digital patients 8 of 8 with half of their core in doubt had none."""


@dataclass(frozen=True, repr=False)
class Lesions:
    """Masks ``(z, y, x)`` bool and the numbers that a stroke team reads."""

    core: Tensor
    """rCBF (and rCBV, where asked) below its threshold, within the hypoperfusion."""
    hypoperfusion: Tensor
    """Tmax above its threshold (a lower one where flow is reduced, if asked), and low flow around it."""
    severe: Tensor
    """Tmax above ``severe_tmax``, within the hypoperfusion."""
    reference: Tensor
    """The normal tissue that CBF and CBV are measured against."""
    side: str
    """The patient's side with more hypoperfusion: left, right, or none."""
    reference_cbf: float
    """Median CBF of the reference [mL/100 g/min]."""
    tmax_moved: float
    """Added to Tmax before its thresholds [s]; 0 unless they belong to a ``usual_tmax``."""
    cbv_index: float | None
    """Mean CBV in the hypoperfusion over that of the reference; None without hypoperfusion or CBV."""
    voxel_ml: float
    """Volume of one voxel [mL], from the spacing and ``slice_mm``."""
    slice_mm: float
    """Height given to a slice [mm]."""
    thresholds: Thresholds
    """As applied."""
    warnings: tuple[str, ...]
    """What suffers, in sentences."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of ``core_ml``, ``hypoperfusion_ml``, ``mismatch_ml``: lower and upper end [mL], where a model promises them."""

    def to(self, device: torch.device | str) -> Lesions:
        """The same masks on another device."""
        names = "core", "hypoperfusion", "severe", "reference"
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def __repr__(self) -> str:
        shown = ", ".join(f"{name.removesuffix('_ml')} {ml:.1f} mL" for name, ml in list(self.volumes().items())[:3])
        return f"Lesions({shown}; side {self.side}; core {self.thresholds.core_rule})"

    def _repr_html_(self) -> str:
        """For a notebook: the volumes and the masks, core white and penumbra grey."""
        return as_html(repr(self), grey_png([(self.core.float() + 0.5 * self.penumbra.float(), (0.0, 1.0))]))

    @property
    def penumbra(self) -> Tensor:
        """Hypoperfusion outside the core ``(z, y, x)``."""
        return self.hypoperfusion & ~self.core

    def volumes(self) -> dict[str, float]:
        """Volumes [mL] of core, hypoperfusion, penumbra and severe hypoperfusion."""
        masks = {
            "core": self.core,
            "hypoperfusion": self.hypoperfusion,
            "penumbra": self.penumbra,
            "severe_hypoperfusion": self.severe,
        }
        return {f"{name}_ml": round(int(mask.sum()) * self.voxel_ml, 3) for name, mask in masks.items()}

    def summary(self) -> dict[str, object]:
        """Everything for JSON: volumes, mismatch, ratios, side, rules, reference, thresholds, spacing."""
        volumes = self.volumes()
        core, hypoperfusion = volumes["core_ml"], volumes["hypoperfusion_ml"]
        return {
            **volumes,
            "mismatch_ml": volumes["penumbra_ml"],
            **({"intervals_ml": {name: list(ends) for name, ends in self.intervals.items()}} if self.intervals else {}),
            "mismatch_ratio": round(hypoperfusion / core, 3) if core else None,
            "hypoperfusion_intensity_ratio": (
                round(volumes["severe_hypoperfusion_ml"] / hypoperfusion, 3) if hypoperfusion else None
            ),
            "cbv_index": None if self.cbv_index is None else round(self.cbv_index, 3),
            "side": self.side,
            "core_rule": self.thresholds.core_rule,
            "late_rule": self.thresholds.late_rule,
            "rules": self.thresholds.belonging,
            "reference_cbf": round(self.reference_cbf, 3),
            "tmax_moved_s": round(self.tmax_moved, 3),
            "reference_ml": round(int(self.reference.sum()) * self.voxel_ml, 3),
            "slice_mm": self.slice_mm,
            "voxel_ml": round(self.voxel_ml, 6),
            "thresholds": asdict(self.thresholds),
            "warnings": list(self.warnings),
        }


def find_lesions(
    maps: PerfusionMaps,
    *,
    baseline: Tensor | None = None,
    thresholds: Thresholds | None = None,
    slice_mm: float | None = None,
    surveys: list[tuple[dict[str, float], Survey]] | None = None,
) -> Lesions:
    """Core and hypoperfusion of a set of maps.

    Thin slices are averaged to slabs (`ctp_torch.slabs`) before, so that noise, partial volume and the size of a hole
    are those of thick ones, and the masks are spread over them again.

    1. Fluid, old infarcts and large vessels are left out; the maps are smoothed within the rest.
    2. Tissue is late where Tmax lies above its threshold, without specks and small holes. With ``usual_tmax`` above 0,
       Tmax is first moved until its median, in the side where that is lower, is ``usual_tmax``, by 2 s at the most.
       With ``reduced_rcbf`` above 0, less delay is enough where CBF lies below that fraction of normal: how late the
       rim of a lesion is differs from patient to patient more than how much of its flow is left.
    3. The side with more of it is the affected one; the reference is the median CBF of the tissue with normal Tmax on
       the *other* side of the midline. Where neither side prevails, of all tissue with normal Tmax. With
       ``mirror_mm`` above 0, every voxel of the affected side is measured against its own mirrored place instead, grey
       matter against grey. With ``tissue_mm`` above 0, against what tissue of its density holds on the healthy side,
       and half against the mirrored place: the sides never match exactly, and what is opposite is noise as well.
    4. Flow is low where CBF lies below its fraction of the reference (and CBV, with ``rcbv`` above 0).
    5. Hypoperfusion is what is late, and regions of low flow of which a quarter is late: where hardly any contrast
       arrives, Tmax is noise, and the deepest part of a core would be missing.
    6. Core is low flow within the hypoperfusion. With ``core_mm`` above 0, that of which most of the tissue around is:
       noise of a voxel neither makes a core nor a hole in one.
    7. A large vessel counts as most of the tissue within 4 mm of it does: a tenth of a lesion lies under its vessels.

    Parameters
    ----------
    maps
        with ``cbf`` and ``tmax``; ``cbv`` for the CBV index and the vessels
    baseline
        ``(z, y, x)`` [HU] mean of the frames before contrast, which shows fluid and old infarcts; None leaves them in
    thresholds
        conventional when None: rCBF 30 %, Tmax 6 s
    slice_mm
        height given to a slice [mm]; the distance between slices when None, so that gaps count as the slice below
    surveys
        an empty list, handed over again with other thresholds for the same maps and baseline: what both need is made
        once

    Returns
    -------
        masks and numbers

    Raises
    ------
    NoNormalTissueError
        no tissue is normal
    CTPError
        a map is missing, or the mask is empty

    References
    ----------
    Albers GW et al. Thrombectomy for stroke at 6 to 16 hours with selection by perfusion imaging. N Engl J Med
    2018;378:708-718. doi:10.1056/NEJMoa1713973 (core, Tmax and mismatch);
    Olivot JM et al. Hypoperfusion intensity ratio predicts infarct progression and functional outcome in the DEFUSE 2
    cohort. Stroke 2014;45:1018-1023. doi:10.1161/STROKEAHA.113.003857
    """
    check_type(maps, PerfusionMaps, "find_lesions: maps", "ctp_torch.deconvolve and predict make them")
    limits = thresholds or Thresholds()
    check_type(limits, Thresholds, "find_lesions: thresholds", "ctp_torch.read_thresholds(FILE) gives them")
    widths = {n: w for n in ("sigma_mm", "mirror_mm", "tissue_mm") if (w := getattr(limits, n)) or n == "sigma_mm"}
    thick, depth, known = Slabs.of(maps.geometry), maps.geometry.shape[0], maps.mask
    for name in {"cbf", "tmax"} & set(maps.values):
        known = known & maps[name].isfinite()
    surveyed = next((made for own, made in surveys or () if widths.items() <= own.items()), None)
    if surveyed is None:
        plain = baseline if baseline is None or thick.n == 1 else thick.average(baseline)
        surveyed = survey(maps if thick.n == 1 else _on_slabs(maps, known, thick), baseline=plain, **widths)
        if surveys is not None:
            surveys.append((widths, surveyed))
    height = slice_mm if slice_mm is None else thick.n * slice_mm
    on_slabs = _doubted(delineate(surveyed, limits, slice_mm=height), surveyed)
    if thick.n == 1:
        return on_slabs
    lost = int((maps.mask & ~known).sum())
    warnings = (f"{lost} voxels of the brain have no finite CBF or Tmax and are left out",) if lost else ()
    return replace(
        on_slabs,
        core=thick.spread(on_slabs.core, depth) & known,
        hypoperfusion=thick.spread(on_slabs.hypoperfusion, depth) & known,
        severe=thick.spread(on_slabs.severe, depth) & known,
        reference=thick.spread(on_slabs.reference, depth) & known,
        voxel_ml=on_slabs.voxel_ml / thick.n,
        slice_mm=on_slabs.slice_mm / thick.n,
        warnings=on_slabs.warnings + warnings,
    )


def delineate(surveyed: Survey, limits: Thresholds, *, slice_mm: float | None = None) -> Lesions:
    """The second, quick half of `find_lesions`: the thresholds applied, regions cleaned, volumes taken.

    Parameters
    ----------
    surveyed
        from `survey`
    limits
        the thresholds; the values of their ``sigma_mm``, ``mirror_mm`` and ``tissue_mm`` belong to the survey
    slice_mm
        height given to a slice [mm]; the distance between slices when None

    Raises
    ------
    NoNormalTissueError
        the thresholds leave no tissue to compare with
    """
    geometry, tissue = surveyed.maps.geometry, surveyed.tissue
    slice_mm = geometry.spacing[0] if slice_mm is None else slice_mm
    voxel_ml = slice_mm * geometry.spacing[1] * geometry.spacing[2] / 1000.0
    warnings = list(surveyed.warnings)
    if limits.rcbv and surveyed.cbv is None:
        limits = replace(limits, rcbv=0.0)
        warnings.append("the maps hold no CBV: the core is drawn by flow alone")
    moved = tmax_moved(surveyed, limits, warnings)
    surveyed = surveyed._replace(tmax=surveyed.tmax + moved)
    late = cleaned(late_tissue(surveyed, limits, voxel_ml), tissue, limits, voxel_ml)
    reference, positive_side = reference_tissue(surveyed, late, limits, voxel_ml, warnings)
    reference_cbf = float(surveyed.cbf[reference].median())
    low = low_flow(surveyed, limits, reference, positive_side)
    slow = cleaned(late | touched(low, late), tissue, limits, voxel_ml)
    core = core_of(slow, low, surveyed, limits, voxel_ml)
    reference = reference & ~slow
    slow, core = (mask | under_vessels(mask, surveyed) for mask in (slow, core))
    return Lesions(
        core=core,
        hypoperfusion=slow,
        severe=slow & (surveyed.tmax > limits.severe_tmax),
        reference=reference,
        side=_side_name(positive_side, geometry),
        reference_cbf=reference_cbf,
        tmax_moved=moved,
        cbv_index=_cbv_index(surveyed.maps, slow, reference),
        voxel_ml=voxel_ml,
        slice_mm=slice_mm,
        thresholds=limits,
        warnings=tuple(warnings),
    )


def _doubted(lesions: Lesions, surveyed: Survey) -> Lesions:
    """The lesions, warned of: none found though one side plainly has less flow, or a core on a knife's edge."""
    if bool(lesions.hypoperfusion.any()):
        doubts = _edge(lesions, surveyed)
    elif (uneven := uneven_ml(surveyed)) >= _UNEVEN_ML:
        doubts = [
            f"no hypoperfusion is read, but {uneven:.0f} mL have less than half the flow of the other side: look at "
            "the maps, the thresholds may not belong to them"
        ]
    else:
        return lesions
    return replace(lesions, warnings=(*lesions.warnings, *doubts))


def _edge(lesions: Lesions, surveyed: Survey) -> list[str]:
    """A sentence where thresholds that are little lower or higher give another core: tissue hardly below or above."""
    if not bool(lesions.reference.any()):
        return []
    limits, ends = lesions.thresholds, []
    for factor in (1.0 - _EDGE, 1.0 + _EDGE):
        other = replace(limits, rcbf=min(factor * limits.rcbf, 0.999), rcbv=factor * limits.rcbv)
        low = low_flow(surveyed, other, lesions.reference, int(lesions.side != "none"))
        core = core_of(lesions.hypoperfusion, low, surveyed, other, lesions.voxel_ml)
        ends.append(int(core.sum()) * lesions.voxel_ml)
    apart, read = ends[1] - ends[0], int(lesions.core.sum()) * lesions.voxel_ml
    if apart <= _EDGE_ML or (apart <= 2.0 * _EDGE_ML and apart <= 0.5 * read):
        return []
    return [
        f"the core's volume is uncertain: {ends[0]:.0f} to {ends[1]:.0f} mL with thresholds {_EDGE:.0%} lower or "
        "higher, because much tissue lies close to them"
    ]


def _on_slabs(maps: PerfusionMaps, known: Tensor, thick: Slabs) -> PerfusionMaps:
    """Maps of thin slices averaged over slabs, where they are known."""
    values = {name: thick.average(volume, mask=known) for name, volume in maps.values.items()}
    return PerfusionMaps(values, thick.mask(known), thick.geometry(maps.geometry), maps.provenance)


def _side_name(side: int, geometry: Geometry) -> str:
    """The patient's side of a sign along the rows' direction; the first cosine points to the left when positive."""
    if side == 0:
        return "none"
    return "left" if side * geometry.direction[0] > 0 else "right"


def _cbv_index(maps: PerfusionMaps, slow: Tensor, reference: Tensor) -> float | None:
    """Mean CBV in the hypoperfusion over that of the reference."""
    if "cbv" not in maps.values or not bool(slow.any()):
        return None
    usual = float(torch.nan_to_num(maps["cbv"])[reference].mean())
    return float(torch.nan_to_num(maps["cbv"])[slow].mean()) / usual if usual > 0 else None
