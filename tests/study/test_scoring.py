"""The quick scores are those of ``score_maps``; the floors, lesions and degraded scans obey their laws."""

import math

import pytest
import torch

from ctp_torch.data.geometry import Geometry
from ctp_torch.data.series import CTPSeries
from ctp_torch.learning.intervals import mean_over_patients
from ctp_torch.learning.scoring import SCORES, measure, measure_inside, reference_of, score_maps
from ctp_torch.phantom.cohort import MAPS
from ctp_torch.study.design.rows import ScoreRow
from ctp_torch.study.design.sources import Drawn, Truth
from ctp_torch.study.output.tables import interval_text
from ctp_torch.study.work import robustness
from ctp_torch.study.work.floors import one_number, without_baseline
from ctp_torch.study.work.lesions import dice
from ctp_torch.study.work.scorecard import regions


def scene(*, place, n=96):
    """A reference, a prediction, brain and head; the brain at the edge of the frame or inside it."""
    g = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    cy, cx = place
    brain = (((y - cy) / 24.0) ** 2 + ((x - cx) / 30.0) ** 2 < 1).expand(2, n, n).clone()
    brain[1] &= x > cx - 10
    head = ((y - cy) ** 2 + (x - cx) ** 2 < 38**2).expand(2, n, n)
    reference = torch.where(brain, torch.randint(0, 256, (4, 2, n, n), generator=g), torch.tensor(-1)).to(torch.int16)
    prediction = torch.where(brain, reference + 30 * torch.randn(4, 2, n, n, generator=g), 0.0).clamp(0, 255)
    return reference, prediction, brain, head


@pytest.mark.parametrize("place", [(48, 48), (20, 30), (78, 70)])
@pytest.mark.parametrize("width", [0.0, 1.0, 4.0])
def test_the_quick_scores_are_those_of_score_maps(place, width):
    """Mutation seen red: a margin of 5 pixels around the crop."""
    reference, prediction, brain, head = scene(place=place)
    got = measure(reference_of(reference, brain, head), prediction, filter_px=width)
    for m in range(4):
        want = score_maps(prediction[m], reference[m], brain, head, filter_px=width)
        for i, name in enumerate(SCORES):
            # a pixel that rounds to the other side moves a mean by about 1e-5
            torch.testing.assert_close(got[m, :, i], want[name], rtol=1e-4, atol=1e-4)


def test_a_region_is_scored_like_the_brain_when_it_is_the_brain():
    reference, prediction, brain, head = scene(place=(48, 48))
    prepared = reference_of(reference, brain, head)
    whole = measure_inside(prepared, prediction, [brain, brain & False])
    a, b = prediction.round()[:, brain].double(), reference[:, brain].double()
    torch.testing.assert_close(whole[0, :, 1].double(), (a - b).abs().mean(1), rtol=1e-5, atol=1e-5)
    r = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a, b, strict=True)])
    torch.testing.assert_close(whole[0, :, 2].double(), r, rtol=1e-5, atol=1e-5)
    assert bool(whole[1].isnan().all())


def test_a_filter_that_reaches_too_far_is_refused():
    reference, prediction, brain, head = scene(place=(48, 48))
    with pytest.raises(ValueError, match="0 to 5"):
        measure(reference_of(reference, brain, head), prediction, filter_px=6.0)


def test_dice():
    a, b = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool()
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1.0
    assert math.isnan(dice(a & False, a & False))


def test_one_number_of_a_curve():
    t = torch.arange(30.0)
    curves = torch.stack([0.1 + 0.0 * t, 0.2 + 0.3 * torch.exp(-(((t - 15) / 4) ** 2))])
    torch.testing.assert_close(one_number(curves, "baseline", 5), torch.tensor([0.1, 0.2]), rtol=0, atol=1e-3)
    peak = one_number(curves, "peak", 5)
    assert abs(float(peak[0])) < 1e-6
    assert 0.28 < float(peak[1]) < 0.3
    assert float(without_baseline(curves + 0.5, 5)[:, :5].abs().max()) < 1e-3


def series_of(frames=12, sd=4.0, n=64):
    g = torch.Generator().manual_seed(0)
    head = torch.zeros(2, n, n)
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    inside = (y - n / 2) ** 2 + (x - n / 2) ** 2 < (0.42 * n) ** 2
    head[:] = torch.where(inside, 40.0, -1000.0)
    hu = head + sd * torch.randn(frames, 2, n, n, generator=g)
    times = torch.arange(frames, dtype=torch.float64)[:, None].expand(-1, 2)
    return CTPSeries(hu, times, Geometry((2, n, n), (8.0, 3.4, 3.4))), inside


def test_a_lower_dose_adds_its_noise():
    """Variance goes with one over the dose. Mutation seen red: 1 / dose instead of 1 / dose - 1."""
    series, inside = series_of(frames=40)
    noisy = robustness.degrade(series, robustness.VARIANTS["dose_25"], seed=5)
    before, after = (one.hu[:, 0, inside].double().std(dim=0).square().mean() for one in (series, noisy))
    assert 3.6 < float(after / before) < 4.4
    assert noisy.hu.shape == series.hu.shape


@pytest.mark.parametrize(
    ("variant", "kept"), [("every_2nd", [0, 2, 4, 6, 8, 10]), ("every_3rd", [0, 3, 6, 9]), ("unaligned", range(12))]
)
def test_frames_that_are_left_out(variant, kept):
    series, _ = series_of()
    worse = robustness.degrade(series, robustness.VARIANTS[variant])
    assert worse.times[:, 0].tolist() == [float(k) for k in kept]
    assert torch.equal(worse.hu, series.hu[list(kept)])


def test_a_scan_that_ends_early():
    times = torch.arange(60.0, dtype=torch.float64)[:, None]
    series = CTPSeries(torch.zeros(60, 1, 4, 4), times, Geometry((1, 4, 4), (5.0, 1.0, 1.0)))
    assert robustness.degrade(series, robustness.VARIANTS["cut_45"]).n_frames == 45
    assert robustness.degrade(series, robustness.VARIANTS["cut_30"]).n_frames == 30


def test_another_protocol_needs_the_phantom():
    drawn = Drawn(0, 4, 2, 64)
    assert robustness.possible_variants(drawn, ("dose_50", "dt_2")) == ["reference", "dose_50", "dt_2"]
    from ctp_torch.study.design.sources import FromFolder

    assert robustness.possible_variants(FromFolder("x", "jet", "0"), ("dose_50", "dt_2")) == ["reference", "dose_50"]


def test_tissue_is_neither_fluid_nor_vessel():
    labels = torch.arange(9, dtype=torch.uint8).view(1, 3, 3)
    none = torch.zeros(1, 3, 3, dtype=torch.bool)
    core = none.clone()
    core[0, 1, 1] = True
    truth = Truth(torch.zeros(len(MAPS), 1, 3, 3), labels, core, none, {})
    masks = regions(torch.ones(1, 3, 3, dtype=torch.bool), truth)
    assert labels[masks["tissue"]].tolist() == [4, 5, 8]
    assert int(masks["lesion"].sum()) == 1
    assert "lesion" not in regions(torch.ones(1, 3, 3, dtype=torch.bool), truth._replace(core=none))


def test_means_are_over_patients_not_rows():
    """Mutation seen red: the mean over rows."""
    rows = [["a", "test", z, "cbf", "krr", 0, 10, 0.0, 1.0, 1.0, 1.0, None] for z in range(5)]
    rows.append(["b", "test", 0, "cbf", "krr", 0, 10, 0.0, 0.0, 0.0, 1.0, 0.5])
    table = [ScoreRow.read(row) for row in rows]
    assert mean_over_patients(table, "ssim_frame").mean == 0.5
    mean = mean_over_patients(table, "r")
    assert (mean.mean, mean.n) == (0.5, 1)
    assert interval_text(mean) == "0.50 (0.50 to 0.50)"
    assert interval_text(mean_over_patients([], "r")) == "-"
