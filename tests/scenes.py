"""Small scenes on disk: a scan as DICOM files, and a cohort of such scans with coloured maps."""

import torch
from oracles.vessels import head

from ctp_torch import ops, pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.series import CTPSeries
from ctp_torch.io import StudyHeader, write_cohort_index, write_color_maps, write_ct_series

MAPS = ("cbv", "cbf", "mtt", "tmax")
RANGES = {name: QUANTITIES[name].display for name in MAPS}


def scan(*, n=64, n_slices=3, frames=40, onset=9.0, bolus=1.0, turn_deg=0.0, seed=0, dt=1.0, noise=2.0):
    """A moving-free scan of the small digital head, rounded to whole HU as files hold it."""
    made = head(n, n_slices, frames=frames, onset=onset, bolus=bolus, turn_deg=turn_deg, seed=seed, dt=dt, noise=noise)
    times = (torch.arange(frames, dtype=torch.float64) * dt)[:, None].expand(-1, n_slices).contiguous()
    origin = (-115.0, -115.0, 20.0)
    series = CTPSeries(made.hu.round(), times, Geometry((n_slices, n, n), made.spacing, origin))
    return series, made


def hemisphere_removed(made):
    """A digital head with fluid and noise in place of the brain's second half."""
    gone = made.brain & (torch.arange(made.hu.shape[-1]) > made.hu.shape[-1] // 2)
    made.hu[:, gone] = 5.0 + 3.0 * torch.randn(made.hu[:, gone].shape, generator=torch.Generator().manual_seed(1))
    return made


def write_scan(folder, **options):
    """The scan as DICOM files."""
    series, _ = scan(**options)
    write_ct_series(series, folder, header=StudyHeader(seed=options.get("seed", 0)))
    return series


def write_toy_cohort(folder, *, train=3, test=2, frames=40):
    """Scans that differ in bolus, onset and pose, with the maps of our own cSVD in colours."""
    splits = {}
    for i in range(train + test):
        name = f"p{i:02d}"
        splits[name] = "train" if i < train else "test"
        series, _ = scan(frames=frames, onset=8.0 + i % 3, bolus=0.8 + 0.1 * i, turn_deg=3.0 * i, seed=i)
        header = StudyHeader(patient=name, seed=i)
        write_ct_series(series, folder / name / "ct", header=header)
        maps = pipeline.deconvolve(series)
        colors = {quantity: ops.paint(maps[quantity], RANGES[quantity], maps.mask) for quantity in MAPS}
        write_color_maps(colors, RANGES, ops.jet_lut(), series.geometry, folder / name / "maps", header=header)
    write_cohort_index(folder, splits, RANGES, {"seed": 0})
    return folder
