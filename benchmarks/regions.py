"""Regions found on digital patients against where they really lie: ``python benchmarks/regions.py --seed 8502``.

The registration sees the non-contrast mean alone. Truth: the regions of the template at the positions that the
patient's deformation gives, and the patient's own arterial territories, whose borders are drawn anew for everybody.
With ``--warped`` heads are bent in the plane by waves as well, a field of another kind than the phantom's.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from ctp_torch.data.anatomy import Anatomy
from ctp_torch.lesions.overlap import dice
from ctp_torch.lesions.regions import _positions, find_regions
from ctp_torch.phantom.deformation import brain_points, draw_deformation, head_points
from ctp_torch.phantom.interpolation import sample_volume
from ctp_torch.phantom.patient import _stream, render_patient
from ctp_torch.phantom.physiology import draw_physiology
from ctp_torch.phantom.regions import SCHEMES, regions_at
from ctp_torch.phantom.template import load_template
from ctp_torch.pipeline import prepare

LEAST_ML = 2.0
"""A region of which less was scanned isn't scored."""
WAVES_MM, LENGTH_MM = 4.0, 90.0


def load(seed, index, size):
    """A scan ready for maps, and its truth."""
    patient = render_patient(seed, index, size=size)
    return prepare(patient.series, slab_mm=0.0), patient.truth


def known_regions(seed, index, points):
    """The template's regions at the patient's own positions."""
    age = draw_physiology(_stream(seed, index, "physiology"), dt=1.0).age
    deformation = draw_deformation(_stream(seed, index, "anatomy"), age=age)
    template = load_template()
    place = brain_points(head_points(points, deformation), deformation)
    return regions_at(place, sample_volume(template.tissue, place, origin=template.origin)), place


def waves(points):
    """Displacement in the plane [mm]."""
    x, y = points[..., 0], points[..., 1]
    phase = 2 * torch.pi / LENGTH_MM
    return torch.stack([WAVES_MM * torch.sin(phase * y), WAVES_MM * torch.cos(phase * x), 0 * x], -1)


def bent(volume, geometry, points):
    """A volume read at displaced positions."""
    n = points.new_tensor([geometry.shape[2] - 1, geometry.shape[1] - 1])
    step = points.new_tensor([geometry.spacing[2], geometry.spacing[1]])
    at = (points + waves(points) - points.new_tensor(geometry.origin))[..., :2] / step * (2 / n) - 1
    return F.grid_sample(volume.float()[:, None], at, padding_mode="border", align_corners=True)[:, 0]


def score(seed, index, size, *, warped):
    scan, truth = load(seed, index, size)
    geometry, anatomy = scan.series.geometry, scan.anatomy
    points = _positions(torch.arange(truth.brain.numel()), geometry).view(*geometry.shape, 3)
    brain, own, really = truth.brain, truth.territory, points
    if warped:
        baseline = bent(anatomy.baseline, geometry, points)
        masks = [bent(mask, geometry, points) > 0.5 for mask in (anatomy.head, anatomy.brain, truth.brain)]
        anatomy, brain, own = Anatomy(baseline, masks[0], masks[1], anatomy.n_baseline), masks[2], None
        really = points + waves(points)
    regions = find_regions(anatomy, geometry)
    inside = brain & anatomy.brain
    known, place = known_regions(seed, index, really[inside])
    off = (regions.fit.positions(points[inside]) - place).norm(dim=1)
    schemes = {name: (regions.labels[name][inside], known[name], SCHEMES[name]) for name in SCHEMES}
    if own is not None:
        schemes["own territories"] = (regions.labels["territories"][inside], own[inside], SCHEMES["territories"])
    overlaps = {}
    for name, (found, true, names) in schemes.items():
        for label, region in enumerate(names, start=1):
            if float((true == label).sum()) * geometry.voxel_volume_ml >= LEAST_ML:
                overlaps[f"{name}: {region}"] = dice(found == label, true == label)
    return {"index": index, "off_mm": float(off.mean()), "warnings": list(regions.warnings), "dice": overlaps}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--warped", action="store_true")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    rows = [score(asked.seed, i, asked.size, warped=asked.warped) for i in range(asked.patients)]
    by_region = {}
    for row in rows:
        for name, value in row["dice"].items():
            by_region.setdefault(name, []).append(value)
    means = {name: round(sum(values) / len(values), 3) for name, values in by_region.items()}
    for row in rows:
        print(f"{asked.seed}/{row['index']}: off by {row['off_mm']:.1f} mm {row['warnings']}")
    for name, value in means.items():
        print(f"{name:<44} {value:.2f}  (least {min(by_region[name]):.2f} of {len(by_region[name])})")
    if asked.output:
        about = {"seed": asked.seed, "size": asked.size, "warped": asked.warped, "means": means, "patients": rows}
        asked.output.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
