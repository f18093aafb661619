"""Scans that are cut, damaged, turned or operated on, through ``ctp-torch maps``: right, with what suffers said, or no.

What has no warning here (two slices, a turned head, 700 mm) suffers in nothing that is measured.
"""

import json
import shutil

import pytest
import torch
from oracles.vessels import head
from scenes import hemisphere_removed

from ctp_torch import ops
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.series import CTPSeries
from ctp_torch.io import StudyHeader, read_volume, write_ct_series, write_nifti_series

pytestmark = pytest.mark.slow


def written(folder, made, *, frames=None):
    """A small head as DICOM files; ``frames`` leaves some out."""
    hu = made.hu.round().clamp(-1024, 3071)
    times = torch.arange(len(hu), dtype=torch.float64)[:, None].expand(-1, hu.shape[1]).contiguous()
    if frames is not None:
        hu, times = hu[frames], times[frames]
    series = CTPSeries(hu, times, Geometry(tuple(hu.shape[1:]), made.spacing, (-115.0, -115.0, 20.0)))
    write_ct_series(series, folder, header=StudyHeader(seed=7))
    return folder


def metal_inside(made):
    made.hu[:, 1, 28:32, 42:45] = 3000.0
    made.hu[:, 1, 30, 20:54] += 60.0 * torch.randn(made.hu.shape[0], 1, generator=torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize(
    ("options", "spoil", "said"),
    [
        ({}, None, ()),
        ({"frames": 24}, None, ("cut short", "q5")),
        ({"n_slices": 2}, None, ()),
        ({}, hemisphere_removed, ("of the other's living tissue",)),
        ({}, metal_inside, ("metal in the brain (above 2000 HU) in slice 2",)),
        ({"turn_deg": 30.0, "roll": 0.25, "shift_mm": (8.0, 5.0)}, None, ()),
        ({"fov_mm": 700.0, "n": 200}, None, ()),
    ],
    ids=["whole", "cut-off", "two-slices", "hemisphere-removed", "metal", "turned-tilted", "700-mm"],
)
def test_the_artery_is_right_and_what_suffers_is_said(run, tmp_path, options, spoil, said):
    made = head(**{"n": 64, "n_slices": 3, "frames": 40, **options})
    made = made if spoil is None else spoil(made)
    done = run("maps", written(tmp_path / "scan", made), "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 0, done.err
    for words in said:
        assert words in done.err
    if not said:
        assert "metal" not in done.err
        assert "living tissue" not in done.err
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    curve = torch.tensor(record["maps"]["aif"]["curve_hu"])
    onset = ops.bolus_onset(torch.stack([curve, made.aif]), 1.0)
    assert abs(float(onset[0] - onset[1])) < 2.0
    lesion = json.loads((tmp_path / "out" / "lesion.json").read_text(encoding="utf-8"))
    assert lesion["core_ml"] == 0.0  # nothing is ischaemic in any of these heads
    assert set(lesion["warnings"]) <= set(record["warnings"])


def test_without_a_bolus_nothing_is_made_up(run, tmp_path):
    scan = written(tmp_path / "scan", head(64, 3, frames=40, bolus=0.0))
    done = run("maps", scan, "-o", tmp_path / "out", "--registration", "none")
    assert done.code == 7
    assert "no artery found" in done.err
    assert "--aif" in done.err
    assert not (tmp_path / "out").exists()


def test_a_missing_frame_changes_little(run, tmp_path):
    made = head(64, 3, frames=40)
    frames = [i for i in range(40) if i != 22]
    flows = {}
    for name, kept in (("whole", None), ("gap", frames)):
        scan = written(tmp_path / f"{name} scan", made, frames=kept)
        done = run("maps", scan, "-o", tmp_path / name, "--registration", "none")
        assert done.code == 0, done.err
        flow, _ = read_volume(tmp_path / name / "cbf.nii.gz")
        flows[name] = float(flow[flow > 0].median())
        quality = json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8"))["quality"]
        missing = quality["checks"]["q1"]["values"]["missing_frames"]
        assert missing == (0 if kept is None else 1)
    assert flows["gap"] == pytest.approx(flows["whole"], rel=0.1)


def test_an_artery_named_outside_the_brain_is_used_with_a_warning(run, tmp_path):
    made = head(64, 3, frames=40)
    scan = written(tmp_path / "scan", made)
    artery = made.artery.nonzero()[0].tolist()
    inside = run(
        "maps", scan, "-o", tmp_path / "in", "--aif", ",".join(map(str, reversed(artery))), "--registration", "none"
    )
    assert inside.code == 0, inside.err
    assert "outside the brain" not in inside.err
    shutil.rmtree(tmp_path / "in")
    made.hu[:, 1, 2, 2] = -1000.0 + made.aif  # contrast that drips on the table
    outside = run(
        "maps", written(tmp_path / "drip", made), "-o", tmp_path / "out", "--aif", "2,2,1", "--registration", "none"
    )
    assert outside.code == 0, outside.err
    assert "--aif 2,2,1: 1 of 1 voxels lie outside the brain" in outside.err


def test_pixels_that_are_no_numbers_are_said_and_harm_nothing_else(run, tmp_path):
    """NaN in every frame and infinity in one, in a NIfTI file (DICOM has no such numbers), motion corrected."""
    made = head(64, 3, frames=40)
    times = torch.arange(40, dtype=torch.float64)[:, None].expand(-1, 3).contiguous()
    made.hu[:, 1, 30:34, 24:28] = torch.nan
    made.hu[7, 2, 20:22, 40] = torch.inf
    series = CTPSeries(made.hu, times, Geometry((3, 64, 64), made.spacing, (-115.0, -115.0, 20.0)))
    write_nifti_series(tmp_path / "scan.nii.gz", series)
    done = run("maps", tmp_path / "scan.nii.gz", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert "18 pixel(s) hold NaN or infinity" in done.err
    flow, _ = read_volume(tmp_path / "out" / "cbf.nii.gz")
    assert flow.isfinite().all()
    assert json.loads((tmp_path / "out" / "lesion.json").read_text(encoding="utf-8"))["core_ml"] == 0.0
