"""Scores against plain numpy, the laws of masks and intervals, and the tables made of them."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctp_torch import ops
from ctp_torch.learning.evaluate import SliceScore
from ctp_torch.learning.intervals import bootstrap_mean, paired_difference, per_patient, select
from ctp_torch.learning.scoring import score_maps
from ctp_torch.report.tables import (
    cross_table,
    difference_table,
    mean_cell,
    paper_table,
    read_scores,
    summary,
    write_scores,
)  # fmt: skip


@pytest.fixture
def scene(generator):
    """Two slices: a target with structure, a noisy prediction, a round brain in a larger head."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(60.0), indexing="ij")
    radius = ((y - 31) ** 2 + (x - 29) ** 2).sqrt()
    brain, head = (radius < 22).expand(2, -1, -1), (radius < 27).expand(2, -1, -1)
    target = (100 + 60 * torch.sin(x / 6) * torch.cos(y / 7)).expand(2, -1, -1)
    prediction = target + 20 * torch.randn(2, 64, 60, generator=generator)
    target = torch.where(brain, target, -1).to(torch.int16)
    return prediction.clamp(0, 255), target, brain, head


def test_error_and_correlation_match_numpy(scene):
    """Mutation seen red: averaging over the whole frame instead of the brain."""
    prediction, target, brain, _ = scene
    scores = score_maps(*scene)
    for z in range(2):
        a, b = prediction[z][brain[z]].round().double().numpy(), target[z][brain[z]].double().numpy()
        assert float(scores["mae"][z]) == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
        assert float(scores["r"][z]) == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)


def test_frame_score_is_ssim_of_the_masked_pictures(scene):
    prediction, target, brain, _ = scene
    masked = torch.where(brain, prediction.round(), 0.0)
    expected = ops.ssim(masked, target.clamp_min(0).float(), data_range=255)
    torch.testing.assert_close(score_maps(*scene)["ssim_frame"], expected)


def test_the_brain_score_looks_three_pixels_inside_only(scene):
    """By scipy's distance in each slice. Mutations seen red: 1 pixel; 5 pixels; eroded through slices."""
    prediction, target, brain, head = scene
    brain = brain.clone()
    brain[1] &= torch.arange(60) > 25
    scores = score_maps(prediction, target, brain, head)
    masked = torch.where(brain, prediction.round(), 0.0)
    similarity = ops.ssim_map(masked, target.clamp_min(0).float(), data_range=255)
    for z in range(2):
        away = torch.from_numpy(ndimage.distance_transform_edt(brain[z].numpy()))
        assert float(scores["ssim_brain"][z]) == pytest.approx(float(similarity[z][away > 3.0].mean()), rel=1e-5)


def test_a_colour_bar_outside_the_head_plays_no_part(scene):
    """Mutation seen red: not zeroing the target outside the head."""
    prediction, target, brain, head = scene
    with_bar = target.clone()
    with_bar[:, 5:50, 57:] = 200
    for name, values in score_maps(prediction, with_bar, brain, head).items():
        torch.testing.assert_close(values, score_maps(prediction, target, brain, head)[name])


def test_the_same_map_scores_one(scene):
    _, target, brain, head = scene
    scores = score_maps(target.clamp_min(0).float(), target, brain, head)
    torch.testing.assert_close(scores["ssim_frame"], torch.ones(2))
    torch.testing.assert_close(scores["r"], torch.ones(2))
    assert scores["mae"].tolist() == [0, 0]


def test_filtering_helps_a_noisy_prediction(scene):
    assert (score_maps(*scene, filter_px=1.5)["r"] > score_maps(*scene)["r"]).all()


def test_what_no_colour_shows_does_not_count_as_error(scene):
    """Mutation seen red: the filtered prediction not held to 0..255."""
    prediction, target, brain, head = scene
    beyond = 500.0 * ((prediction > 130).float() - (prediction < 70).float())
    within = (prediction + beyond).clamp(0, 255)
    for name, values in score_maps(prediction + beyond, target, brain, head).items():
        torch.testing.assert_close(values, score_maps(within, target, brain, head)[name])


def test_an_empty_brain_has_no_score(scene):
    prediction, target, brain, head = scene
    scores = score_maps(prediction, target, brain & False, head)
    assert scores["ssim_brain"].isnan().all()
    assert scores["mae"].isnan().all()
    assert scores["r"].isnan().all()
    assert scores["ssim_frame"].isfinite().all()


def test_interval_covers_the_mean_of_many_patients():
    """Over 200 draws of 12 patients from N(0, 1) the 95 % interval holds 0 about as often as it should."""
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    hits = sum(i.low <= 0 <= i.high for i in (bootstrap_mean(d.tolist(), n_resamples=400) for d in draws))
    assert 0.85 <= hits / 200 <= 0.98


def test_the_interval_is_one_of_95_per_cent():
    """Of 400 patients the bootstrap's ends are those of a normal distribution, 1.96 standard errors off the mean.

    Mutations seen red: 90 % (1.64); 5 % cut off below alone.
    """
    values = torch.randn(400, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, error = bootstrap_mean(values.tolist(), n_resamples=10_000), float(values.std() / 20)
    assert found.high - found.mean == pytest.approx(1.96 * error, rel=0.06)
    assert found.mean - found.low == pytest.approx(1.96 * error, rel=0.06)


def test_interval_ignores_nan_and_survives_nothing():
    assert bootstrap_mean([1.0, math.nan, 3.0]).mean == 2.0
    assert bootstrap_mean([math.nan]).n == 0


def test_paired_differences_use_patients_both_have():
    gap = paired_difference({"a": 1.0, "b": 2.0, "c": 9.0}, {"a": 0.5, "b": 1.5})
    assert (gap.mean, gap.n) == (0.5, 2)


@pytest.fixture
def rows():
    return [
        SliceScore(f"p{p}", z, split, name, model, 0.0, 0.8 + 0.01 * p + bonus, 0.5 + bonus, 2.0, 0.9)
        for split, patients in (("train", (1, 2)), ("test", (3, 4)))
        for p in patients
        for z in range(2)
        for name in ("cbv", "cbf")
        for model, bonus in (("linear", 0.0), ("krr", 0.05))
    ]


def test_scores_survive_the_csv(rows, tmp_path):
    rows[0] = rows[0]._replace(r=math.nan)
    write_scores(rows, tmp_path / "scores.csv")
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "patient,slice,split,map,model,filter_px,ssim_frame,ssim_brain,mae,r"
    back = read_scores(tmp_path / "scores.csv")
    assert math.isnan(back[0].r)
    assert [row[:6] for row in back] == [row[:6] for row in rows]
    assert [row[6:] for row in back[1:]] == [pytest.approx(row[6:], rel=1e-5) for row in rows[1:]]


def test_means_are_per_patient(rows):
    means = per_patient(select(rows, split="test", model="linear", map="cbv"), "ssim_frame")
    assert means == pytest.approx({"p3": 0.83, "p4": 0.84})


def test_tables_hold_the_means(rows):
    table = paper_table(rows, split="test")
    assert table.header == ["model", "rCBV", "rCBF"]
    assert table.rows[1][:2] == ["Kernel ridge regression", "88.50 % (88.0-89.0)"]
    assert paper_table(rows, split="test", score="r").rows[0][1] == "0.900 (0.90 to 0.90)"
    page = summary(rows, title="A run", facts={"seed": 0})
    assert "Table 1: training SSIM (2 patients)" in page
    assert "Table 2: testing SSIM (2 patients)" in page
    gaps = [row for row in difference_table(rows).rows if row[3] == "krr - linear"]
    assert gaps[0] == ["0 px", "frame", "rCBV", "krr - linear", "+5.0", "+5.0 to +5.0"]


def test_a_cell_is_made_of_the_rows_that_its_line_and_its_column_choose(rows):
    """Mutation seen red: a column that chooses out of all rows instead of its line's."""
    down = {("linear", "1"): {"model": "linear", "slice": 1}, ("krr", "0"): {"model": "krr", "slice": 0}}
    across = {"rows": ({}, lambda part: str(len(part))),
              "CBF": ({"map": "cbf"}, mean_cell("ssim_frame", lambda value: f"{value.mean:.3f} of {value.n}")),
              "none": ({"map": "tmax"}, mean_cell("r", lambda value: str(value.n)))}  # fmt: skip
    table = cross_table(rows, down, across, corner=["model", "slice"], caption="counts")
    assert (table.caption, table.header) == ("counts", ["model", "slice", "rows", "CBF", "none"])
    assert table.rows == [["linear", "1", "8", "0.825 of 4", "0"], ["krr", "0", "8", "0.875 of 4", "0"]]
