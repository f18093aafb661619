"""Maps and lesions on the grid of a made scan, and what dciodvfy and the DICOM tables say of them."""

import subprocess
from dataclasses import dataclass

import torch
from pydicom import dcmread

from ctp_torch import PerfusionMaps, read_series
from oracles.scans import Scan, enhanced, save

NAMES = ("cbv", "cbf", "mtt", "tmax", "ttp", "cth", "oefmax")
CODES = {  # DICOM PS3.16, CID 4108 and 7180, or our own; UCUM of CID 7181
    "cbv": ("126391", "DCM", "ml/[100]g"),
    "cbf": ("126390", "DCM", "ml/[100]g/min"),
    "mtt": ("113052", "DCM", "s"),
    "tmax": ("113084", "DCM", "s"),
    "ttp": ("113069", "DCM", "s"),
    "cth": ("CTH", "99CTPTORCH", "s"),
    "oefmax": ("OEFMAX", "99CTPTORCH", "%"),
}
ORIENTATIONS = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "flipped": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "feet first": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "oblique": (0.96, 0.28, 0.0, -0.2504396134766, 0.8586501033485, 0.4472135954999),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Masks and numbers, as a caller of the writer brings them."""

    core: torch.Tensor
    penumbra: torch.Tensor
    voxel_ml: float

    @property
    def hypoperfusion(self):
        return self.core | self.penumbra

    def summary(self):
        core, both = (round(int(m.sum()) * self.voxel_ml, 3) for m in (self.core, self.hypoperfusion))
        return {
            "core_ml": core,
            "hypoperfusion_ml": both,
            "penumbra_ml": round(both - core, 3),
            "severe_hypoperfusion_ml": 0.0,
            "mismatch_ml": round(both - core, 3),
            "mismatch_ratio": round(both / core, 3) if core else None,
            "hypoperfusion_intensity_ratio": None,
            "cbv_index": 0.7,
            "thresholds": {"rcbf": 0.3, "tmax": 6.0, "method": ""},
        }


def made_scan(folder, *, kind="classic", orientation="axial", change=None, **options):
    """A scan on disk, classic (one file an image) or enhanced (one file), its headers changed on the way."""
    scan = Scan(n_frames=3, n_slices=3, orientation=ORIENTATIONS[orientation], **options)
    scan.each(lambda d, t, z: setattr(d, "PatientPosition", "HFS"))
    if kind == "classic":
        if change:
            scan.each(lambda d, t, z: change(d))
        scan.save(folder)
    else:
        folder.mkdir(parents=True)
        whole = enhanced(scan)
        whole.PatientBirthDate = ""
        if change:
            change(whole)
        save(whole, folder / "all.dcm")
    return scan


def made_maps(folder, *, names=NAMES, seed=0):
    """Random maps on the grid of the series in a folder, 0 off their mask, and lesions in them."""
    series = read_series(folder)
    generator = torch.Generator().manual_seed(seed)
    shape = series.geometry.shape
    mask = torch.rand(shape, generator=generator) > 0.3
    scale = {"cbv": 9.0, "cbf": 90.0, "mtt": 21.0, "tmax": 13.0, "ttp": 44.0, "cth": 15.0, "oefmax": 90.0}
    values = {name: torch.rand(shape, generator=generator) * scale[name] * mask for name in names}
    late = mask & (torch.rand(shape, generator=generator) > 0.5)
    core = late & (torch.rand(shape, generator=generator) > 0.5)
    return PerfusionMaps(values, mask, series.geometry), Found(core, late & ~core, series.geometry.voxel_volume_ml)


def judged(path):
    """What dciodvfy says of a file: the lines, and those that are errors."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode("utf-8", errors="replace").splitlines()
    return lines, [line for line in lines if "Error" in line]


def objects(folder):
    """All DICOM objects of a result, by the kind of their folder."""
    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        found.setdefault(path.parent.name, []).append(dcmread(path))
    return found
