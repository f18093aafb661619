"""The physics student from the command line: trained without a cohort, and used without training."""

import json
from functools import partial

import nibabel
import numpy as np
import pytest

from ctp_torch.learning import physics
from ctp_torch.models import Network


def test_maps_by_the_student_that_comes_along(run, scan_folder, tmp_path):
    done = run("maps", scan_folder, "-o", tmp_path / "maps", "--model", "physics", "--no-report")
    assert done.code == 0, done.err
    maps = {
        n: nibabel.load(tmp_path / "maps" / f"{n}.nii.gz").get_fdata() for n in ("cbf", "cbv", "mtt", "tmax", "delay")
    }
    assert all(np.isfinite(values).all() for values in maps.values())
    assert 5.0 < np.median(maps["cbf"][maps["cbf"] > 0]) < 100.0
    record = json.loads((tmp_path / "maps" / "run.json").read_text(encoding="utf-8"))
    assert record["settings"]["model"].startswith("Network ")  # and no path of this machine


def test_maps_by_the_student_that_a_scan_makes_for_itself(run, scan_folder, tmp_path):
    done = run("maps", scan_folder, "-o", tmp_path / "maps", "--model", "per-scan", "--no-report")
    assert done.code == 0, done.err
    late = nibabel.load(tmp_path / "maps" / "p_late.nii.gz").get_fdata()
    assert 0.0 <= late.min() <= late.max() <= 100.0


def test_training_needs_no_cohort(run, scan_folder, tmp_path, monkeypatch):
    """Mutation seen red: the cohort asked for all the same."""
    monkeypatch.setattr(physics, "simulate_set", partial(physics.simulate_set, 4, arteries=2, voxels=40))
    monkeypatch.setattr(physics, "physics_network", lambda seed: Network([16], steps=200, seed=seed))
    model = tmp_path / "own.safetensors"
    done = run("train", "--target", "physics", "-o", model)
    assert done.code == 0, done.err
    done = run("maps", scan_folder, "-o", tmp_path / "maps", "--model", model, "--no-report")
    assert done.code == 0, done.err
    assert (tmp_path / "maps" / "delay.nii.gz").exists()


@pytest.mark.parametrize("words", [("COHORT", "--target", "physics"), ()])
def test_a_cohort_or_physics_but_not_both(run, tmp_path, words):
    done = run("train", *words, "-o", tmp_path / "m.safetensors")
    assert done.code != 0
    assert "cohort, or --target physics" in done.err
