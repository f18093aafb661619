"""Agreement by numbers worked out by hand, and of maps that are what they are said to be."""

import csv
import math

import pytest
import torch

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import CTPError
from ctp_torch.learning.agreement import agreement_of, intraclass_correlation
from ctp_torch.learning.compare import MapSet, compare_lesions, compare_maps
from ctp_torch.report.compare import Compared, over_patients, write_comparison

GRID = Geometry((2, 16, 16), (5.0, 2.0, 2.0))


def test_by_hand():
    """Differences 1, 0, 2, 1: bias 1, sd sqrt(2/3). Means 2.5 and 3.5, covariance sum 5, squares 5 and 5 + ...

    Mutations seen red: sd over n; 2 for 1.96; first minus second.
    """
    one = agreement_of(torch.tensor([1.0, 2.0, 3.0, 4.0, math.nan]), torch.tensor([2.0, 2.0, 5.0, 5.0, 1.0]))
    assert one.n == 4
    assert (one.first, one.second, one.bias, one.mae) == (2.5, 3.5, 1.0, 1.0)
    assert one.sd == pytest.approx(math.sqrt(2 / 3))
    assert one.low == pytest.approx(1 - 1.96 * math.sqrt(2 / 3))
    assert one.high == pytest.approx(1 + 1.96 * math.sqrt(2 / 3))
    # deviations -1.5 -.5 .5 1.5 and -1.5 -1.5 1.5 1.5: products 2.25 .75 .75 2.25 = 6, squares 5 and 9
    assert one.r == pytest.approx(6 / math.sqrt(45))
    # rows 1.5 2 4 4.5 about 3: 2 * (2.25 + 1 + 1 + 2.25) / 3; columns 4 * 2 * .25 / 1; rest half the variance of d
    between, raters, error = 13 / 3, 2.0, 1 / 3
    assert one.icc == pytest.approx((between - error) / (between + error + 2 * (raters - error) / 4))


def test_the_published_example():
    """Six subjects and four judges: ICC(2,1) is .29 (Shrout and Fleiss 1979, Table 4).

    Mutation seen red: ICC(3,1), which is .71.
    """
    ratings = torch.tensor([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert intraclass_correlation(ratings.double()) == pytest.approx(0.29, abs=0.005)
    assert math.isnan(intraclass_correlation(torch.ones(1, 2)))


def maps(shift=0.0, *, moved=0):
    """A ramp of CBF; the core is its lowest corner."""
    ramp = torch.arange(2 * 16 * 16, dtype=torch.float32).view(2, 16, 16) / 10
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[:, 2:14, 2:14] = True
    core = torch.zeros_like(mask)
    core[0, 2:6, 2 + moved : 6 + moved] = True
    return MapSet({"cbf": ramp + shift}, mask, GRID, {"core": core}, {"lobes: frontal": mask & (ramp < 20)})


def test_maps_that_differ_by_a_number():
    """Mutations seen red: places of B; volumes by the other's voxels; SSIM of whole HU ranges."""
    rows = compare_maps(maps(), maps(3.0))
    assert [(row.map, row.place) for row in rows] == [("cbf", "brain"), ("cbf", "core of A"), ("cbf", "lobes: frontal")]
    for row in rows:
        assert row.agreement.bias == pytest.approx(3.0, abs=1e-4)
        assert row.agreement.sd == pytest.approx(0.0, abs=1e-4)
        assert row.agreement.r == pytest.approx(1.0)
    assert [row.agreement.n for row in rows[:2]] == [288, 16]
    assert 0.5 < rows[0].ssim < 1.0
    assert math.isnan(rows[1].ssim)
    assert compare_maps(maps(), maps())[0].ssim == pytest.approx(1.0)
    (lesion,) = compare_lesions(maps(), maps(moved=2))
    assert (lesion.first_ml, lesion.second_ml, lesion.dice) == (0.32, 0.32, 0.5)


def test_another_grid_and_no_common_ground():
    """Mutations seen red: voxels paired by their numbers; maps side by side taken for the same head."""
    one = maps(2.0)
    finer = Geometry((4, 16, 16), (2.5, 2.0, 2.0), (0.0, 0.0, -1.25))
    double = MapSet({"cbf": one.values["cbf"].repeat_interleave(2, 0)}, one.mask.repeat_interleave(2, 0), finer)
    (brain, *_) = compare_maps(maps(), double)
    assert brain.agreement.bias == pytest.approx(2.0, abs=1e-4)
    away = MapSet(one.values, one.mask, Geometry((2, 16, 16), (5.0, 2.0, 2.0), (500.0, 0.0, 0.0)))
    with pytest.raises(CTPError, match="hardly overlap"):
        compare_maps(maps(), away)
    with pytest.raises(CTPError, match="no map in common"):
        compare_maps(maps(), MapSet({"mtt": one.values["cbf"]}, one.mask, GRID))


def test_over_patients_and_on_paper(tmp_path):
    """Mutation seen red: the first patient alone."""
    patients = [
        Compared(f"<b>{k}", compare_maps(maps(), maps(float(k))), compare_lesions(maps(), maps())) for k in (1, 2, 3)
    ]
    overall = over_patients(patients)
    assert overall["mean cbf [mL/100 g/min]"].bias == pytest.approx(2.0, abs=1e-4)
    assert overall["core [mL]"].n == 3
    write_comparison(tmp_path, patients, ("A", "B"), ["<script>"])
    page = (tmp_path / "compare.html").read_text()
    assert "<script>" not in page
    assert "<b>1" not in page
    assert "http" not in page.replace("http-equiv", "")
    with (tmp_path / "maps.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    assert float(rows[0]["bias"]) == pytest.approx(1.0, abs=1e-4)
