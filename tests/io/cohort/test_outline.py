"""Coloured maps that tell no position, in the order of the CT's slices: by the outline of the head, or not at all."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.heads import RANGES, head
from pydicom import dcmread

from ctp_torch import ops
from ctp_torch.errors import IncompleteSeriesError
from ctp_torch.io import read_target_indices, write_color_maps

NAMES = ("cbf", "tmax")


def tapering():
    """A head whose slices shrink towards the vertex, and its maps."""
    series, maps = head(slices=6)
    size = series.geometry.shape[1]
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    share = np.array([1.0, 0.92, 0.84, 0.74, 0.62, 0.48])[:, None, None]
    r = np.hypot(x / 0.7, y / 0.85) / share
    hu = np.where(r < 1, 35.0, np.where(r < 1.12, 900.0, -1000.0))
    inside = torch.from_numpy(r < 0.97)
    series = replace(series, hu=torch.from_numpy(hu.astype("f4")).expand(8, -1, -1, -1).clone(), times=series.times[:8])
    return series, {name: torch.where(inside, maps[name].clamp_min(0.5), 0.0) for name in NAMES}


def pictures(folder, series, maps, order):
    """The maps as a console's pictures: no position, numbered in that order of slices."""
    colors = {}
    for name, values in maps.items():
        index = (values / RANGES[name][1] * 255).round().clamp(0, 255).to(torch.int16)
        colors[name] = ops.apply_lut(torch.where(values == 0, -1, index), ops.jet_lut())
    n = len(order)
    for k, path in enumerate(write_color_maps(colors, RANGES, ops.jet_lut(), series.geometry, folder)):
        picture = dcmread(path)
        picture.InstanceNumber = order.index(k % n) + 1
        del picture.ImagePositionPatient, picture.ImageOrientationPatient
        picture.save_as(path)


@pytest.mark.parametrize(
    ("order", "match"),
    [([0, 1, 2, 3, 4, 5], ""), ([5, 4, 3, 2, 1, 0], "the reverse"), ([3, 0, 5, 1, 4, 2], "another order")],
)
def test_order_by_outline(order, match, tmp_path, recwarn):
    """Mutation seen red: the numbers believed."""
    series, maps = tapering()
    pictures(tmp_path / "m", series, maps, order)
    args = NAMES, series.geometry, RANGES
    index = read_target_indices(tmp_path / "m", *args, baseline=series.hu[0])
    assert [str(w.message) for w in recwarn if match and match in str(w.message)] or not match
    assert len(recwarn) == (2 if match else 0)
    for one, name in zip(index, NAMES, strict=True):
        wanted = (maps[name] / RANGES[name][1] * 255).round().clamp(0, 255)
        assert (one[maps[name] > 0] - wanted[maps[name] > 0]).abs().max() <= 1


def test_a_cylinder_decides_nothing(tmp_path):
    series, maps = head(slices=4)
    pictures(tmp_path / "m", series, {name: maps[name] for name in NAMES}, [0, 1, 2, 3])
    with pytest.raises(IncompleteSeriesError, match=r"tell no position.*don't decide.*export maps that tell"):
        read_target_indices(tmp_path / "m", NAMES, series.geometry, RANGES, baseline=series.hu[0])


def test_another_head_is_refused(tmp_path):
    """Pictures whose outline fits no slice of the CT."""
    series, maps = tapering()
    moved = {name: torch.roll(values, 16, dims=2) for name, values in maps.items()}
    pictures(tmp_path / "m", series, moved, [0, 1, 2, 3, 4, 5])
    with pytest.raises(IncompleteSeriesError, match="don't decide"):
        read_target_indices(tmp_path / "m", NAMES, series.geometry, RANGES, baseline=series.hu[0])
