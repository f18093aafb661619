"""The map sheet: every coloured pixel a value of the map, the bars readable, the words burnt in, no identity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.derived import made_maps, made_scan, objects

from ctp_torch import Geometry, PerfusionMaps, ops, write_maps
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.io.color.colorbar import find_color_bars
from ctp_torch.io.color.labels import read_label
from ctp_torch.io.results.sheet import columns_of, draw_sheets

RANGES = {name: quantity.display for name, quantity in QUANTITIES.items()}


def head(n_slices=2, n=128, spacing=5.0, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """A disc whose Tmax rises with x and whose CBF rises with y."""
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    disc = ((x - n / 2) ** 2 + (y - n / 2) ** 2 < (n / 3) ** 2).expand(n_slices, n, n)
    maps = {"cbf": (y / n * 60).expand(n_slices, n, n) * disc, "tmax": (x / n * 12).expand(n_slices, n, n) * disc}
    return PerfusionMaps(maps, disc, Geometry((n_slices, n, n), (spacing, 1.5, 1.5), direction=direction))


def sheets(maps, **options):
    columns = columns_of(maps, RANGES, options.get("baseline"), options.get("masks"))
    return draw_sheets(columns, maps.mask, maps.geometry, lines=("made by hand",))


@pytest.mark.parametrize("n", [64, 128, 300, 512])
def test_bars_and_pixels_invert(n):
    """The bar gives all 256 indices in order; each column's pixels are indices that its map has."""
    maps = head(n=n)
    (sheet,) = sheets(maps)
    bars = [bar for bar in find_color_bars(sheet) if len(bar.lut) == 256]
    assert [read_label(sheet, bar) for bar in bars] == ["rCBF", "Tmax"]
    assert read_label(sheet.flip(1), bars[0]) == ""
    for bar, name in zip(bars, ("cbf", "tmax"), strict=True):
        index = ops.nearest_color_index(bar.lut, ops.jet_lut()).tolist()
        assert index == list(range(256))
        low, high = RANGES[name]
        known = set(((maps[name][maps.mask] - low) / (high - low)).clamp(0, 1).mul(255).round().int().tolist())
        column = sheet[bar.rows[1] + 20 : -60, bar.columns[0] : bar.columns[1]]
        found = ops.nearest_color_index(column, ops.jet_lut(), max_distance=0.5)
        seen = set(found[found >= 0].tolist())
        assert seen <= known
        assert len(seen) > 0.5 * min(len(known), 60)
        assert not (found == -2).any()


@pytest.mark.parametrize(("sign_x", "sign_y"), [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_the_patients_left_is_at_the_right(sign_x, sign_y):
    maps = head(direction=(sign_x, 0, 0, 0, sign_y, 0, 0, 0, sign_x * sign_y))
    (sheet,) = sheets(maps)
    cbf, tmax = find_color_bars(sheet)[:2]
    for bar, axis, sign in ((tmax, 0, sign_x), (cbf, 1, sign_y)):
        tile = sheet[bar.rows[1] + 24 : bar.rows[1] + 24 + 230, slice(*bar.columns)]
        index = ops.nearest_color_index(tile, ops.jet_lut()).float()
        index[index < 0] = float("nan")
        profile = torch.nanmean(index, dim=axis)
        profile = profile[profile.isfinite()]
        assert float((profile[-5:].mean() - profile[:5].mean()) * sign) > 50


def test_thin_slices_are_shown_every_5_mm():
    pages = sheets(head(n_slices=320, n=16, spacing=0.5))
    assert len(pages) == 6  # 32 slices, six a page
    assert len({page.shape for page in pages}) == 1
    assert len(sheets(head(n_slices=24, n=16, spacing=0.5))) == 4


def test_words_are_burnt_in_and_nothing_else_changes(tmp_path):
    """Under the tiles stands RESEARCH USE ONLY in yellow; core and penumbra in their colours over the CT."""
    maps = head()
    core = torch.zeros_like(maps.mask)
    core[:, 60:70, 60:70] = True
    late = torch.zeros_like(maps.mask)
    late[:, 50:80, 50:80] = True
    (sheet,) = sheets(
        maps, baseline=torch.full(maps.geometry.shape, 40.0), masks={"core": core, "penumbra": late & ~core}
    )
    foot = sheet[-58:]
    yellow = (foot == torch.tensor([255, 214, 0], dtype=torch.uint8)).all(-1)
    assert int(yellow.sum()) > 200
    last = sheet[100:-60, -268:].reshape(-1, 3).unique(dim=0).tolist()
    grey = 128
    for color in ((255, 64, 220), (60, 210, 90)):
        assert [round(0.35 * grey + 0.65 * c) for c in color] in last


def test_a_map_without_brain_still_makes_a_sheet():
    maps = head()
    empty = replace(maps, mask=torch.zeros_like(maps.mask))
    (sheet,) = sheets(empty)
    assert len(find_color_bars(sheet)) == 2


def test_the_secondary_capture_holds_the_sheet(tmp_path):
    made_scan(tmp_path / "ct")
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    baseline = torch.full(maps.geometry.shape, 30.0)
    write_maps(maps, tmp_path / "out", formats=("rgb",), source=tmp_path / "ct", lesions=lesions, baseline=baseline)
    (capture,) = objects(tmp_path / "out")["rgb"]
    picture = torch.from_numpy(np.array(capture.pixel_array))
    bars = [bar for bar in find_color_bars(picture) if len(bar.lut) == 256]
    assert [ops.nearest_color_index(bar.lut, ops.jet_lut()).tolist() for bar in bars] == [list(range(256))] * 2
    assert "rCBF 0 to 60 mL/100 g/min" in capture.DerivationDescription
