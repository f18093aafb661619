"""Pictures hold what they should, and the page is one file that fetches nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.lesions import drawn
from PIL import Image
from scenes import scan

from ctp_torch import pipeline
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.lesions.find import find_lesions
from ctp_torch.report.canvas import Box, Canvas
from ctp_torch.report.figures import comparison_figure, training_figure
from ctp_torch.report.lesions import write_lesions
from ctp_torch.report.montage import label_sides, montage
from ctp_torch.report.tables import Table, markdown
from ctp_torch.report.viewer.page import Picture, report_page


def test_montage_shows_all_maps_and_curves():
    series, _ = scan()
    maps = pipeline.deconvolve(series)
    ranges = {name: QUANTITIES[name].display for name in ("cbv", "cbf", "mtt", "tmax")}
    times = series.times.median(dim=1).values.tolist()
    picture = montage(pipeline.locate(series).baseline, maps, ranges, times)
    assert set(picture.words) >= {"CT", "rCBV", "rCBF", "MTT", "Tmax", "R", "L", "time [s]"}
    assert [word for word in picture.words if "(" in word][:2] == ["AIF (artery)", "VOF (vein)"]
    assert picture.png().startswith(b"\x89PNG")
    vein = np.asarray(picture.picture) == (0x4F, 0x9D, 0xFF)
    assert vein.all(axis=2).sum() > 50  # its rings, its curve, its name's line


def test_sides_follow_the_grid():
    """Mutation seen red: the same letters whatever the direction."""
    maps, _, _ = drawn(32, 1, lesions=0)
    mirrored = replace(maps.geometry, direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    for geometry, letters in ((maps.geometry, ["R", "L"]), (mirrored, ["L", "R"])):
        canvas = Canvas(40, 40)
        label_sides(canvas, Box(0, 0, 40, 40), geometry)
        assert canvas.words == letters


def test_a_curve_is_drawn_where_it_is():
    """Mutation seen red: y from the top down."""
    canvas = Canvas(300, 200, paper="black")
    canvas.plot(Box(60, 20, 200, 100), [0.0, 1.0, 2.0], {"up": ([0.0, float("nan"), 10.0], "#ff0000")}, label="HU")
    red, green, _ = torch.from_numpy(np.asarray(canvas.picture).copy()).unbind(2)
    rows, columns = ((red > 200) & (green == 0)).nonzero().unbind(1)
    assert (columns - 60 + 2 * (rows - 20) - 200).abs().max() <= 8  # a straight line from low left to high right
    assert columns.min() <= 63
    assert columns.max() >= 257


def test_small_pictures_keep_their_pixels_and_large_ones_are_averaged():
    canvas = Canvas(40, 20, paper="black")
    small = torch.tensor([[0, 200], [100, 50]], dtype=torch.uint8)[..., None].expand(2, 2, 3)
    canvas.image(small, Box(0, 0, 20, 20))
    canvas.image(torch.arange(80, dtype=torch.uint8).repeat(40, 1)[..., None].expand(40, 80, 3), Box(20, 0, 20, 20))
    pixels = np.asarray(canvas.picture)[..., 0]
    assert (pixels[:10, 10:20] == 200).all()
    assert (pixels[5, 20:40] == np.round(np.arange(20) * 4 + 1.5)).all()


def test_comparison_names_every_model():
    index = torch.arange(400.0).reshape(20, 20) % 256
    brain = torch.ones(20, 20, dtype=torch.bool)
    figure = comparison_figure(
        index,
        index,
        {"ridge": index, "forest": index},
        brain,
        quantity="cbf",
        limits=(0.0, 60.0),
        captions={"ridge": "SSIM 0.9"},
    )
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:4] == ["CT, peak frame", "rCBF, teacher", "ridge", "forest"]


def test_ct_is_shown_from_0_to_80_hu(tmp_path):
    """In every picture. Mutations seen red: another window in `figures`; in `write_lesions`."""
    maps, _, _ = drawn(48, 2, lesions=0)
    ct = torch.full(maps.geometry.shape, 40.0)
    index, brain = torch.zeros(ct.shape[1:]), maps.mask[0]
    compared = comparison_figure(ct[0], index, {}, brain, quantity="cbf", limits=(0.0, 60.0), captions={})
    assert compared.axes[0].images[0].get_clim() == (0.0, 80.0)
    assert np.asarray(montage(ct, maps, {"cbf": (0.0, 60.0)}).picture)[40, 140].tolist() == [128] * 3
    lesions = find_lesions(maps)
    for underlay, grey in ((ct, 128), (2 * ct, 255), (0 * ct, 0)):
        write_lesions(tmp_path, lesions, maps, baseline=underlay)
        with Image.open(tmp_path / "lesion.png") as picture:
            greys = np.bincount(np.asarray(picture.convert("L")).ravel(), minlength=256)
        assert greys[grey] > 0.3 * greys.sum()


def test_importances_have_a_time_axis():
    figure = training_figure({"cbf": [0.1, 0.5, 0.4]}, dt=2.0)
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 2, 4]


@pytest.fixture
def page():
    table = Table("Scores <b>", ["model", "rCBV"], [["Ridge & co", "80 %"]])
    picture = Picture(b"\x89PNG fake", "a map")
    return report_page(title="T", lead="L", tables=[table], sections={"Patient": [picture]}, facts={"seed": 3})


def test_the_page_fetches_nothing(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "://" not in page
    assert "default-src 'none'" in page  # the browser refuses what we should have missed


def test_the_page_escapes_what_it_is_given(page):
    assert "Scores &lt;b&gt;" in page
    assert "Ridge &amp; co" in page


def test_markdown_is_aligned():
    lines = markdown(Table("", ["a", "long header"], [["x", "1"], ["yyyy", "22"]])).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "|------|-------------|"
