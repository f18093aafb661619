"""What a loop of one's own gets of a cohort: the same pixels and maps as training, in batches."""

import pytest
import torch
from scenes import write_toy_cohort
from torch.utils.data import DataLoader

from ctp_torch.io import read_cohort
from ctp_torch.learning.datasets import Curves, Scans
from ctp_torch.learning.prepared import prepare


def test_curves_and_scans_are_those_of_the_patients(tmp_path):
    """Mutations seen red: targets left in levels in `Scans`; pixels without a map kept in `Curves`."""
    cohort = read_cohort(write_toy_cohort(tmp_path / "toy", train=2, test=0))
    curves = Curves(cohort, tmp_path / "prepared", quantities=("cbv", "tmax"))
    patients = [prepare(one, quantities=("cbv", "tmax")) for one in cohort.of("train")]
    assert len(curves) == sum(int(one.valid.sum()) for one in patients)
    assert [int((curves.patient == k).sum()) for k in range(len(patients))] == [int(p.valid.sum()) for p in patients]
    features, targets = next(iter(DataLoader(curves, batch_size=16, shuffle=True)))
    assert (features.shape[0], targets.shape) == (16, (16, 2))
    assert features.amax() <= 1
    scans = Scans(tmp_path / "toy", quantities=("cbv", "tmax"), transform=lambda item: {**item, "seen": True})
    assert len(scans) == len(patients)
    item = scans[0]
    assert item["seen"]
    assert item["name"] == patients[0].name
    assert torch.equal(item["brain"], patients[0].brain)
    low, high = cohort.ranges["tmax"]
    level = patients[0].targets[1]
    inside = item["brain"] & (level >= 0)
    expected = low + level.float() / 255 * (high - low)
    torch.testing.assert_close(item["targets"][1][inside], expected[inside])
    assert set(item["hu"].shape[1:]) == set(item["targets"].shape[1:])
    with pytest.raises(IndexError):
        scans[len(scans)]
    with pytest.raises(TypeError, match="cohort must be str or Path or Cohort, got int"):
        Scans(3)
