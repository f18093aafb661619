"""The brain every digital patient starts from: the MNI152 grey and white matter of nilearn's package folder."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ctp_torch.errors import CTPError
from ctp_torch.phantom.interpolation import gaussian_blur

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["Template", "load_template"]

_FILES = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


class Template(NamedTuple):
    """Volumes of 1 mm on ascending LPS axes."""

    tissue: Tensor
    """``(2, z, y, x)``, fractions of grey and of white matter."""
    table: Tensor
    """``(z, y, x)``, signed distance [mm] to the inner table of the skull, negative inside, smooth."""
    origin: tuple[float, float, float]
    """LPS position [mm] of voxel (0, 0, 0), as x, y, z; MNI (RAS) has x and y reversed."""


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The average brain and the inside of a skull that fits it; read once per process.

    Raises
    ------
    CTPError
        when nilearn's files are not installed

    References
    ----------
    Fonov et al., NeuroImage 54:313 (2011), doi:10.1016/j.neuroimage.2010.07.033
    """
    grey, origin = _read("gm")
    white, _ = _read("wm")
    t1, _ = _read("t1")
    brain = ((grey + white) > 0.4) | (t1 > 0)
    return Template(torch.stack([grey, white]), _inner_table(brain), origin)


def _read(tissue: str) -> tuple[Tensor, tuple[float, float, float]]:
    """One volume scaled to 0..1 with ascending LPS axes, and the position of its first voxel."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(_data_folder() / _FILES.format(tissue)))
    image = sitk.DICOMOrient(image, "LPS")
    x, y, z = image.GetOrigin()
    return torch.from_numpy(sitk.GetArrayFromImage(image)).float() / 255.0, (x, y, z)


def _data_folder() -> Path:
    """Where nilearn keeps the template, found without importing nilearn."""
    spec = find_spec("nilearn")
    roots = list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        folder = Path(root) / "datasets" / "data"
        if (folder / _FILES.format("gm")).is_file():
            return folder
    raise CTPError(
        "the digital patients need the MNI152 brain template, which comes with nilearn: "
        'install it with: pip install "ctp-torch[demo]"'
    )


def _inner_table(brain: Tensor, *, closing_mm: float = 16.0, gap_mm: float = 2.0) -> Tensor:
    """Signed distance to a smooth closed surface ``gap_mm`` outside the brain."""
    hull = _signed_distance(brain) > closing_mm
    closed = _signed_distance(~hull) + closing_mm  # dilated by closing_mm, then eroded: fissures are filled
    return gaussian_blur(closed, 2.0) - gap_mm


def _signed_distance(inside: Tensor) -> Tensor:
    """Distance [mm] to the border of a mask, negative inside, computed at 2 mm on a volume padded by 24 mm."""
    import SimpleITK as sitk
    import torch.nn.functional as F

    coarse = F.avg_pool3d(F.pad(inside.float()[None, None], (24,) * 6, mode="replicate"), 2, ceil_mode=True)[0, 0] > 0.5
    image: sitk.Image = sitk.GetImageFromArray(coarse.to(torch.uint8).numpy())
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=False)
    fine = torch.from_numpy(sitk.GetArrayFromImage(distance)) * 2.0
    size = [2 * n for n in fine.shape]
    up = F.interpolate(fine[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    z, y, x = inside.shape
    return up[24 : 24 + z, 24 : 24 + y, 24 : 24 + x]
