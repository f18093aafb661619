"""What students that see more than raw curves are shown of a patient, in a file beside its others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.scale import ColorScale
from ctp_torch.errors import CTPError
from ctp_torch.io.atomic import save_tensors
from ctp_torch.models.load import load_model
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.recipe import View

if TYPE_CHECKING:
    from ctp_torch.learning.prepared import PreparedPatient
    from ctp_torch.pipeline import Scan

__all__ = ["VIEWS", "keep_views", "load_view"]

VIEWS: Mapping[str, View] = {
    "arterial": View("arterial", median_size=1, smoothing_mm=(2.0,)),
    "medians": View("arterial", median_size=3),
    "residue": View("residue", median_size=1, smoothing_mm=(2.0,)),
}
"""By name; vessels are smoothed along, as the teacher does."""
_WIDTHS_MM = (2.0, 4.0, 8.0)
"""Gaussians of the teacher's maps that a network is given."""


def keep_views(folder: Path, aligned: Scan, ready: PreparedPatient) -> dict[str, str]:
    """Write ``(voxels, features)`` of the brain by view; maps and physics as colour indices, baseline in HU.

    Returns
    -------
        view to what a student said that refused the scan
    """
    seen = {name: features_of(aligned, view, mask=ready.brain).tissue.values for name, view in VIEWS.items()}
    spacing = aligned.series.geometry.spacing
    teacher = torch.where(ready.brain, ready.targets.clamp_min(0).float(), 0.0)  # (maps, z, y, x)
    smooth = [ops.smooth_inside(teacher, ready.brain, spacing, width) for width in _WIDTHS_MM]
    seen["maps"] = torch.cat([volumes[:, ready.brain].T for volumes in smooth], dim=1)
    seen["hu"] = aligned.anatomy.baseline[ready.brain][:, None]
    refused: dict[str, str] = {}
    try:
        physics = pipeline.predict(aligned, load_model("physics"), mask=ready.brain)
        scales = {name: ColorScale(*QUANTITIES[name].display) for name in MAPS}
        seen["physics"] = torch.stack([scales[name].index(physics[name])[ready.brain] for name in MAPS], dim=1)
    except CTPError as error:  # a scan unlike all that it was taught
        refused["physics"] = str(error)
    kept = {name: values.float().cpu().contiguous() for name, values in seen.items()}
    save_tensors(kept, _file(folder, ready.split, ready.name))
    return refused


def load_view(folder: Path, patient: PreparedPatient, what: str) -> Tensor | None:
    """What `keep_views` wrote; None of a student that refused the scan."""
    from safetensors import safe_open

    with safe_open(_file(folder, patient.split, patient.name), framework="pt") as file:
        return file.get_tensor(what) if what in file.keys() else None  # noqa: SIM118 - not a dict


def _file(folder: Path, split: str, name: str) -> Path:
    """Where the views of a patient lie."""
    return folder / "patients" / split / f"{name}.views.safetensors"
