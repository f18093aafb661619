"""Thin slices and slabs: what is averaged, where it lies, and the way back."""

import math
from dataclasses import replace

import pytest
import torch

import ctp_torch
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.provenance import Provenance
from ctp_torch.data.series import CTPSeries
from ctp_torch.data.slabs import Slabs


def thin(depth=23, step=0.5, *, frames=3, direction=None, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    hu = 40.0 + 5.0 * torch.randn(frames, depth, 4, 5, generator=drawn)
    times = torch.arange(frames, dtype=torch.float64)[:, None] + 0.01 * torch.arange(depth, dtype=torch.float64)
    geometry = Geometry((depth, 4, 5), (step, 2.0, 1.8), (-10.0, 5.0, 30.0))
    geometry = geometry if direction is None else replace(geometry, direction=direction)
    return CTPSeries(hu, times, geometry, Provenance(format="drawn"))


@pytest.mark.parametrize("depth", [20, 23])
def test_slabs_are_the_means_of_their_slices(depth):
    """Mutations seen red: every tenth slice taken; the last, fuller or not, left out; its sum over ten."""
    series = thin(depth)
    found = ctp_torch.slabs(series)
    for slab in range(math.ceil(depth / 10)):
        members = range(10 * slab, min(10 * slab + 10, depth))
        expected = sum(series.hu[:, z].double() for z in members) / len(members)
        torch.testing.assert_close(found.hu[:, slab].double(), expected, rtol=1e-6, atol=1e-5)
        expected = sum(series.times[:, z] for z in members) / len(members)
        torch.testing.assert_close(found.times[:, slab], expected)
    assert found.geometry.shape == (math.ceil(depth / 10), 4, 5)
    assert found.provenance.slabs == (10, 0.5)
    assert found.provenance.format == "drawn"


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_a_slab_lies_in_the_middle_of_its_slices(tilt):
    """Mutations seen red: the first slice's origin kept; the spacing kept; the shift along z in a tilted head."""
    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    series = thin(20, direction=(1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c))
    found = ctp_torch.slabs(series).geometry
    for slab in range(2):
        places = [series.geometry.position(10 * slab + z, 1, 2) for z in range(10)]
        middle = [sum(axis) / 10 for axis in zip(*places, strict=True)]
        assert found.position(slab, 1, 2) == pytest.approx(middle, abs=1e-9)
    assert found.spacing == (5.0, 2.0, 1.8)
    assert found.direction == series.geometry.direction


def test_noise_falls_as_the_root_of_the_slices():
    series = thin(200, frames=40)
    assert float(ctp_torch.slabs(series).hu.std()) == pytest.approx(5.0 / math.sqrt(10), rel=0.05)


@pytest.mark.parametrize(
    ("depth", "step", "n"),
    [(320, 0.5, 10), (320, 0.5 + 1e-9, 10), (256, 0.625, 8), (160, 1.0, 5), (200, 0.8, 5), (101, 1.0, 5), (10, 2.5, 2),
     (10, 2.6, 1), (6, 8.0, 1), (1, 0.5, 1), (3, 0.5, 3), (26, 0.5, 10), (72, 0.5, 9)],
)  # fmt: skip
def test_how_many_slices_make_a_slab(depth, step, n):
    """200 of 0.8 mm are 40 slabs of 4 mm with none left over, not 33 of 4.8 mm and two slices.

    Mutations seen red: always the nearest number; half as thick again for none left over (13 of 26); the most slices.
    """
    assert Slabs.of(Geometry((depth, 8, 8), (step, 1.0, 1.0))) == (n,)


def test_thick_slices_and_slabs_stay_as_they_are():
    """A second time changes nothing; 0 mm asks for nothing."""
    series = thin(20)
    once = ctp_torch.slabs(series)
    assert ctp_torch.slabs(once) is once
    assert ctp_torch.slabs(series, 0.0) is series
    assert ctp_torch.slabs(series, 2.0).geometry.spacing[0] == 2.0


def test_slices_left_over_are_kept_and_said():
    """Mutation seen red: no warning."""
    found = ctp_torch.slabs(replace(thin(23), provenance=Provenance(warnings=("before",), slice_thickness_mm=0.5)))
    assert found.provenance.warnings[0] == "before"
    assert "the last slab averages 3 slices, the others 10" in found.provenance.warnings[1]
    assert found.provenance.slice_thickness_mm == 5.0
    assert not ctp_torch.slabs(thin(20)).provenance.warnings


def test_a_voxel_that_is_no_number_spoils_its_slab_alone():
    series = thin(20)
    series.hu[1, 12, 2, 3] = torch.nan
    found = ctp_torch.slabs(series).hu
    assert found[1, 1, 2, 3].isnan()
    assert int(found.isnan().sum()) == 1


def test_a_mask_decides_what_is_averaged():
    """Mutation seen red: the mean over all slices, whatever the mask."""
    values = torch.tensor([1.0, 2.0, torch.nan, 5.0, 7.0])[:, None, None]
    mask = torch.tensor([True, True, False, False, True])[:, None, None]
    found = Slabs(2).average(values, mask=mask)[:, 0, 0]
    assert found.tolist() == [1.5, 0.0, 7.0]


def test_half_of_a_slab_is_enough_of_a_mask():
    """Mutations seen red: any slice of a slab; more than half."""
    mask = torch.tensor([1, 0, 0, 0, 1, 1, 0, 0, 0, 1]).bool()[:, None, None]
    assert Slabs(4).mask(mask)[:, 0, 0].tolist() == [False, True, True]


def test_back_on_the_slices():
    """Averaging what was spread changes nothing, slices left over included."""
    volume = torch.arange(3 * 2 * 2.0).reshape(3, 2, 2)
    spread = Slabs(10).spread(volume, 23)
    assert spread.shape[0] == 23
    assert torch.equal(Slabs(10).average(spread), volume)
    assert Slabs(10).geometry(Geometry((23, 2, 2), (0.5, 1.0, 1.0))).shape == (3, 2, 2)


def test_a_negative_thickness_is_refused():
    with pytest.raises(ValueError, match="or more millimetres"):
        ctp_torch.slabs(thin(), -1.0)
