"""Draws the head that scans are laid onto, and its regions, into the package: ``python benchmarks/draw_regions.py``.

Grey and white matter are the MNI152 2009a average's (Fonov et al. 2011), as nilearn carries it; the regions are rules
of our own on its coordinates (`ctp_torch.phantom.regions`).
"""

import json
from pathlib import Path

import nibabel
import numpy as np
import torch

import ctp_torch
from ctp_torch.phantom.anatomy import _sharpen
from ctp_torch.phantom.interpolation import gaussian_blur, sample_volume
from ctp_torch.phantom.regions import SCHEMES, regions_at
from ctp_torch.phantom.template import load_template

STEP_MM, MARGIN_MM = 2.0, 14.0
HU = {"grey": 36.5, "white": 29.0, "csf": 9.0}
"""Of an average person."""
SULCI = 1.35


def main():
    template = load_template()
    inside = template.table < MARGIN_MM
    corners = [torch.nonzero(inside.flatten(0).view(inside.shape).any(d2).any(d1)).flatten()[[0, -1]]
               for d1, d2 in ((1, 2), (0, 2), (0, 1))]  # fmt: skip
    origin = template.origin
    axes = [torch.arange(float(lo) + origin[2 - k], float(hi) + origin[2 - k] + 1, STEP_MM)
            for k, (lo, hi) in enumerate(corners)]  # fmt: skip
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    points = torch.stack([x, y, z], -1).reshape(-1, 3)
    grey, white = _sharpen(*sample_volume(template.tissue, points, origin=origin), SULCI)
    table = sample_volume(gaussian_blur(template.table, 1.0), points, origin=origin)
    rest = 1.0 - grey - white
    hu = grey * HU["grey"] + white * HU["white"] + rest * HU["csf"]
    raw = sample_volume(template.tissue, points, origin=origin)
    labels = regions_at(points, raw)
    shape = x.shape
    volumes = [(hu * 5).round().clamp(0, 255), ((table + 20) * 6).round().clamp(0, 255), *labels.values()]
    stack = torch.stack([volume.reshape(shape).float() for volume in volumes]).to(torch.uint8)
    affine = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    affine[:3, 3] = [float(axes[2][0]), float(axes[1][0]), float(axes[0][0])]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to the RAS of NIfTI
    image = nibabel.Nifti1Image(stack.permute(3, 2, 1, 0).numpy(), affine)
    folder = Path(ctp_torch.__file__).parent / "lesions" / "template"
    nibabel.save(image, folder / "head.nii.gz")
    about = {"volumes": ["hu_times_5", "table_mm_plus_20_times_6", *SCHEMES], "schemes": SCHEMES}
    (folder / "head.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(stack.shape, (folder / "head.nii.gz").stat().st_size)
    for k, (name, names) in enumerate(SCHEMES.items()):
        sizes = {n: int((stack[2 + k] == i).sum()) * 8 / 1000 for i, n in enumerate(names, 1)}
        print(name, sizes)


if __name__ == "__main__":
    main()
