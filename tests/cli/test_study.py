"""``train``, ``evaluate`` and ``maps --model`` on a cohort, and their refusals."""

import csv
import json

import nibabel
import numpy as np
import pytest

from ctp_torch.models import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cohort_folder):
    """Two models, trained once through the command line."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("models")
    for name in ("linear", "krr"):
        command = [
            sys.executable,
            "-m",
            "ctp_torch",
            "train",
            str(cohort_folder),
            "-o",
            str(folder / f"{name}.safetensors"),
        ]
        command += ["--model", name, "--samples", "600", "--registration", "none", "--device", "cpu", "--keep-all"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr
        if name == "krr":
            assert "effective degrees of freedom" in done.stdout
    return folder


def test_a_model_file_holds_its_recipe_and_its_pixels(trained):
    model = load_model(trained / "krr.safetensors")
    recipe = model.metadata_["recipe"]
    assert recipe["frames"] == 40
    assert recipe["registration"] == "none"
    assert list(recipe["targets"]) == ["cbv", "cbf", "mtt", "tmax"]
    assert model.metadata_["provenance"]["samples"] == 600
    pixels = json.loads((trained / "krr.pixels.json").read_text(encoding="utf-8"))
    assert set(pixels) == {"p00", "p01", "p02"}  # the training patients only
    assert sum(map(len, pixels.values())) == 600


def test_patients_that_fail_quality_control_are_named(run, cohort_folder, tmp_path):
    """The toy scans end 31 s after the bolus came: too early. All are left out, each by name and with its reason."""
    done = run("train", cohort_folder, "-o", tmp_path / "m.safetensors", "--model", "linear", "--registration", "none")
    assert done.code in (0, 1, 7)
    if "left out" in done.err:
        assert "p0" in done.err
        assert "--keep-all" in done.err
    assert (tmp_path / "m.safetensors").exists() == (done.code == 0)


def test_a_forest_shows_which_moments_matter(run, cohort_folder, tmp_path):
    done = run(
        *("train", cohort_folder, "-o", tmp_path / "rf.safetensors", "--model", "rf", "--samples", "300"),
        *("--trees", "3", "--depth", "4", "--registration", "none", "--keep-all"),
    )
    assert done.code == 0, done.err
    assert (tmp_path / "rf.importance.png").read_bytes().startswith(b"\x89PNG")


def test_scores_are_complete(run, trained, cohort_folder, tmp_path):
    arguments = ["--model", trained / "linear.safetensors", "--model", trained / "krr.safetensors"]
    done = run("evaluate", cohort_folder, *arguments, "-o", tmp_path / "scores", "--filters", "0,1")
    assert done.code == 0, done.err
    with (tmp_path / "scores" / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 3 * 4 * 2 * 2  # patients, slices, maps, models, filters
    assert {row["split"] for row in rows} == {"train", "test"}
    assert {row["model"] for row in rows} == {"linear", "krr"}
    assert all(0 < float(row["ssim_frame"]) <= 1 for row in rows)
    page = (tmp_path / "scores" / "summary.md").read_text(encoding="utf-8")
    assert "Table 1: training SSIM (3 patients)" in page
    assert "Table 2: testing SSIM (2 patients)" in page
    assert "Pointwise" in page
    assert (
        sum(map(len, json.loads((tmp_path / "scores" / "test_pixels.json").read_text(encoding="utf-8")).values())) > 0
    )


def test_maps_with_a_model(run, trained, scan_folder, tmp_path):
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--model", trained / "krr.safetensors")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["settings"]["registration"] == "none"  # the model's own
    assert record["settings"]["motion_through_plane"] == "left"
    assert record["settings"]["model"].startswith("KernelRidge ")
    cbf = np.asarray(nibabel.load(tmp_path / "out" / "cbf.nii.gz").dataobj)
    assert cbf.min() >= 0
    assert cbf.max() <= 60.001


def test_a_model_that_does_not_fit_the_series(run, trained, tmp_path):
    from scenes import write_scan

    write_scan(tmp_path / "short", n=64, n_slices=3, frames=30)
    done = run("maps", tmp_path / "short", "-o", tmp_path / "out", "--model", trained / "krr.safetensors")
    assert done.code == 4
    assert "40 frames, the series has 30" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "-o", "OUT/m.safetensors"], 3, "nowhere"),
        (["COHORT", "-o", "OUT/m.pt"], 1, ".safetensors"),
        (["COHORT", "-o", "OUT/m.safetensors", "--model", "magic"], 1, "choose among"),
        (["COHORT", "-o", "OUT/m.safetensors", "--maps", "cbv,magic"], 1, "magic"),
        (["COHORT", "-o", "OUT/m.safetensors", "--gamma", "8", "--sigma", "8"], 1, "give one of them"),
        (["COHORT", "-o", "OUT/m.safetensors", "--feature-scale", "magic"], 1, "choose among unit, zscore"),
        (
            ["COHORT", "-o", "OUT/m.safetensors", "--samples", "10000000", "--registration", "none", "--keep-all"],
            1,
            "--samples",
        ),
    ],
)
def test_mistakes_in_training(run, cohort_folder, tmp_path, arguments, code, message):
    given = [str(cohort_folder) if a == "COHORT" else a.replace("OUT", str(tmp_path / "out")) for a in arguments]
    done = run("train", *given)
    assert (done.code, message in done.err) == (code, True), done.err
    assert done.err.count("error:") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


def test_mistakes_in_evaluation(run, trained, cohort_folder, tmp_path):
    model = trained / "linear.safetensors"
    for arguments, code, message in (
        ([cohort_folder, "--model", "nowhere.safetensors"], 4, "nowhere"),
        ([cohort_folder, "--model", model, "--filters", "wide"], 1, "--filters"),
        ([cohort_folder, "--model", model, "--model", model], 1, "twice"),
        ([tmp_path, "--model", model], 3, "cohort"),
    ):
        done = run("evaluate", *arguments, "-o", tmp_path / "out")
        assert (done.code, message in done.err) == (code, True), done.err
        assert not (tmp_path / "out").exists()
