"""``ctp-torch tune``: the grid, its files and its refusals."""

import csv

import pytest
import torch
from oracles import kernels as oracle

from ctp_torch.learning.evidence import read_evidence
from ctp_torch.models import leave_one_out, load_model
from ctp_torch.models.base import r2_score
from ctp_torch.pipeline.recipe import Recipe
from ctp_torch.report.tuning import tuning_csv


def test_grid_table_and_heat_map(run, cohort_folder, tmp_path):
    arguments = ["--samples", "120", "--alphas", "0.1,10", "--gammas", "8,0.5,2", "--registration", "none"]
    done = run("tune", cohort_folder, "-o", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    assert "best: ctp-torch train" in done.out
    rows = list(csv.DictReader((tmp_path / "out" / "tune.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["gamma"], row["alpha"]) for row in rows] == [(g, a) for g in ("0.5", "2", "8") for a in ("0.1", "10")]
    for row in rows:
        assert float(row["r2_mean"]) == pytest.approx((float(row["r2_cbv"]) + float(row["r2_cbf"])) / 2, abs=2e-4)
    assert (tmp_path / "out" / "tune.png").read_bytes().startswith(b"\x89PNG")
    again = run("tune", cohort_folder, "-o", tmp_path / "out", *arguments)
    assert again.code == 6
    assert "--force" in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alphas", "0.1,zero"], "isn't a list of numbers"),
        (["--alphas", "0,1"], "must be positive"),
        (["--model", "rf"], "tune knows krr"),
    ],
)
def test_mistakes(run, cohort_folder, tmp_path, arguments, message):
    done = run("tune", cohort_folder, "-o", tmp_path / "out", *arguments)
    assert done.code != 0
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_scores_are_those_of_patients_left_out():
    """The same numbers as refits without the patient, on uncentred targets."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(30, 4, generator=generator)
    Y = X[:, :2] * 10.0
    patient = torch.arange(30) // 10
    (missed,) = leave_one_out(X, Y, alphas=[0.5], gamma=2.0, center=False, groups=patient)
    refits = torch.cat(
        [
            oracle.kernel_ridge(X[patient != p], Y[patient != p], X[patient == p], alpha=0.5, gamma=2.0, center=False)
            for p in range(3)
        ]
    )
    score = r2_score(Y - missed, Y)
    torch.testing.assert_close(score, r2_score(refits, Y), rtol=1e-6, atol=1e-6)
    text = tuning_csv(score[None, None], [2.0], [0.5], ["cbv", "cbf"])
    assert text.splitlines()[0] == "gamma,alpha,r2_cbv,r2_cbf,r2_mean"


def test_evidence_beside_the_grid_and_a_model_trained_with_its_scales(run, cohort_folder, tmp_path):
    """The scales reach the model file; other features refuse them."""
    arguments = ["--samples", "90", "--alphas", "0.1", "--gammas", "8", "--registration", "none", "--by", "evidence"]
    done = run("tune", cohort_folder, "-o", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    assert "by evidence: " in done.out
    scales = tmp_path / "out" / "evidence.json"
    found = read_evidence(scales)
    assert (tmp_path / "out" / "evidence.png").read_bytes().startswith(b"\x89PNG")
    trained = ["--samples", "60", "--registration", "none", "--feature-scale", scales, "--keep-all"]
    done = run("train", cohort_folder, "-o", tmp_path / "m.safetensors", *trained)
    assert done.code == 0, done.err
    recipe = Recipe.of(load_model(tmp_path / "m.safetensors"))
    assert recipe.feature_sd == pytest.approx(found.feature_sd)
    done = run("train", cohort_folder, "-o", tmp_path / "n.safetensors", *trained, "--features", "arterial")
    assert done.code != 0
    assert "tune with the same --features" in done.err


@pytest.mark.parametrize("more", [["--samples", "5001"], ["--features", "pca"]])
def test_evidence_says_what_it_cannot_take(run, cohort_folder, tmp_path, more):
    done = run("tune", cohort_folder, "-o", tmp_path / "out", "--by", "evidence", *more)
    assert done.code != 0
    assert "at most 5,000" in done.err
