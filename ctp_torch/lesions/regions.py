"""Where a scan's lobes, arterial territories and ASPECTS regions lie, and what its maps and lesions are in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import NamedTuple

import torch
from torch import Tensor

from ctp_torch import ops
from ctp_torch.data.anatomy import Anatomy
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.ops.head.atlas import HeadFit, TemplateHead, fit_head

__all__ = ["RegionRow", "Regions", "find_regions", "region_rows"]

_SMOOTH_MM, _BORDER_MM = 2.0, 1.8
_LOOKED_AT = 60_000
"""Voxels of the head that the fit may choose among."""
_AT_ONCE = 500_000
"""Voxels whose positions are held at once."""


@dataclass(frozen=True)
class Regions:
    """Labels in the space of a scan."""

    labels: Mapping[str, Tensor]
    """Scheme (lobes, territories, aspects, tissues) to ``(z, y, x)`` uint8, 0 where there is no region."""
    names: Mapping[str, tuple[str, ...]]
    """Scheme to the names of labels 1, 2 ..."""
    fit: HeadFit
    """The scan on the template."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the regions; nothing where they can be trusted."""
        return tuple(f"regions are doubtful: {doubt}" for doubt in self.fit.doubtful)


class RegionRow(NamedTuple):
    """One region of a scan."""

    scheme: str
    region: str
    volume_ml: float
    """As far as it was scanned and is brain."""
    means: Mapping[str, float]
    """Map to its mean in the region."""
    medians: Mapping[str, float]
    """Map to its median in the region."""
    ratios: Mapping[str, float]
    """Map to its mean over that of the same region of the other side; empty for tissues."""
    lesions: Mapping[str, float]
    """Lesion to its volume in the region [mL]."""


class _Template(NamedTuple):
    """What is shipped."""

    head: TemplateHead
    labels: Tensor
    """``(schemes, z, y, x)`` uint8."""
    names: Mapping[str, tuple[str, ...]]


def find_regions(anatomy: Anatomy, geometry: Geometry) -> Regions:
    """The regions of a scan, by laying its non-contrast mean onto the MNI152 head.

    Regions are drawn by rules on the template (``benchmarks/draw_regions.py``): they are averages, and a person's own
    sulci and arterial borders lie some millimetres off.

    Parameters
    ----------
    anatomy
        of the scan
    geometry
        of its grid

    References
    ----------
    Fonov et al., NeuroImage 54:313 (2011), doi:10.1016/j.neuroimage.2010.07.033, for grey and white matter.
    """
    baseline = anatomy.baseline
    template = _template()
    head = template.head._replace(
        hu=template.head.hu.to(baseline.device), table=template.head.table.to(baseline.device)
    )
    pixel = geometry.spacing[1]
    hu = ops.gaussian_smooth(baseline, _SMOOTH_MM / pixel)
    brain = ops.gaussian_smooth(anatomy.brain.float(), _BORDER_MM / pixel)
    place = anatomy.head.flatten().nonzero().squeeze(1)
    chosen = place[torch.randperm(len(place), generator=torch.Generator().manual_seed(0)).to(place.device)[:_LOOKED_AT]]
    fit = fit_head(_positions(chosen, geometry), hu.flatten()[chosen], brain.flatten()[chosen], head)
    labels = torch.zeros(len(template.labels), anatomy.brain.numel(), dtype=torch.uint8, device=baseline.device)
    drawn, origin = template.labels.to(baseline.device), baseline.new_tensor(head.origin)
    for part in anatomy.brain.flatten().nonzero().squeeze(1).split(_AT_ONCE):
        index = ((fit.positions(_positions(part, geometry)) - origin) / head.step).round().long()
        x, y, z = (index[:, k].clamp(0, n - 1) for k, n in enumerate(reversed(drawn.shape[1:])))
        labels[:, part] = drawn[:, z, y, x]
    volumes = labels.view(-1, *anatomy.brain.shape)
    return Regions(dict(zip(template.names, volumes, strict=True)), template.names, fit)


def region_rows(regions: Regions, maps: PerfusionMaps, lesions: Mapping[str, Tensor]) -> list[RegionRow]:
    """What the maps and lesions are in every region that holds a voxel of the maps.

    Parameters
    ----------
    regions
        of the same grid
    maps
        in their units
    lesions
        name to ``(z, y, x)`` bool
    """
    ml = maps.geometry.voxel_volume_ml
    rows = []
    for scheme, names in regions.names.items():
        labels = regions.labels[scheme].to(maps.mask.device)
        inside = {n: maps.mask & (labels == label) for label, n in enumerate(names, start=1)}
        means = {n: {q: _mean(values[mask]) for q, values in maps.values.items()} for n, mask in inside.items()}
        for name, mask in inside.items():
            if not bool(mask.any()):
                continue
            other = means.get(_opposite(name), {})
            ratios = {q: mean / other[q] for q, mean in means[name].items() if other.get(q, 0.0) > 0}
            medians = {q: float(values[mask].nanmedian()) for q, values in maps.values.items()}
            inner = {n: float((one.to(mask.device) & mask).sum()) * ml for n, one in lesions.items()}
            rows.append(RegionRow(scheme, name, float(mask.sum()) * ml, means[name], medians, ratios, inner))
    return rows


def _opposite(name: str) -> str:
    """The same region of the other side; nothing where there are no sides."""
    for one, other in (("left", "right"), ("right", "left")):
        if name.endswith(f" {one}"):
            return f"{name.removesuffix(one)}{other}"
    return ""


def _mean(values: Tensor) -> float:
    """NaN of nothing."""
    return float(values.double().nanmean())


def _positions(index: Tensor, geometry: Geometry) -> Tensor:
    """LPS positions ``(n, 3)`` [mm] of flat indices."""
    _, rows, columns = geometry.shape
    z, y, x = index // (rows * columns), index // columns % rows, index % columns
    steps = torch.stack([x * geometry.spacing[2], y * geometry.spacing[1], z * geometry.spacing[0]], dim=1)
    direction = torch.tensor(geometry.direction, dtype=torch.float32, device=index.device).view(3, 3)
    return steps.float() @ direction.T + torch.tensor(geometry.origin, dtype=torch.float32, device=index.device)


@lru_cache(maxsize=1)
def _template() -> _Template:
    """The head and its regions, as ``benchmarks/draw_regions.py`` drew them."""
    import nibabel
    import numpy as np

    folder = files("ctp_torch.lesions") / "template"
    about = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    with as_file(folder / "head.nii.gz") as path:
        image = nibabel.load(path)
        stored = torch.from_numpy(np.asarray(image.dataobj)).permute(3, 2, 1, 0).contiguous()  # (volumes, z, y, x)
        affine = image.affine
    origin = (-float(affine[0, 3]), -float(affine[1, 3]), float(affine[2, 3]))  # NIfTI tells RAS
    head = TemplateHead(stored[0].float() / 5.0, stored[1].float() / 6.0 - 20.0, origin, float(affine[2, 2]))
    return _Template(head, stored[2:], {name: tuple(names) for name, names in about["schemes"].items()})
