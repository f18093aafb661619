"""Pictures hold what they should, and the page is one file that fetches nothing."""

import re

import numpy as np
import pytest
import torch
from oracles.lesions import drawn
from PIL import Image
from scenes import scan

from ctp_torch import pipeline
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.lesions.find import find_lesions
from ctp_torch.report.figures import comparison_figure, montage_figure, to_png, training_figure
from ctp_torch.report.lesions import lesion_figure, write_lesions
from ctp_torch.report.tables import Table, markdown
from ctp_torch.report.viewer.page import Picture, report_page


def test_montage_shows_all_maps_and_curves():
    series, _ = scan()
    maps = pipeline.deconvolve(series)
    ranges = {name: QUANTITIES[name].display for name in ("cbv", "cbf", "mtt", "tmax")}
    figure = montage_figure(pipeline.locate(series).baseline, maps, ranges)
    words = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert words >= {"CT", "rCBV", "rCBF", "MTT", "Tmax"}
    legend = [t.get_text() for axis in figure.axes if axis.get_legend() for t in axis.get_legend().get_texts()]
    assert legend[:2] == ["AIF (artery)", "VOF (vein)"]
    assert to_png(figure).startswith(b"\x89PNG")


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
    """In every picture. Mutations seen red: another window in `figures`; in `write_lesions`; in `lesion_figure`."""
    maps, _, _ = drawn(48, 2, lesions=0)
    ct = torch.full(maps.geometry.shape, 40.0)
    index, brain = torch.zeros(ct.shape[1:]), maps.mask[0]
    compared = comparison_figure(ct[0], index, {}, brain, quantity="cbf", limits=(0.0, 60.0), captions={})
    for figure in (montage_figure(ct, maps, {"cbf": (0.0, 60.0)}), compared):
        assert figure.axes[0].images[0].get_clim() == (0.0, 80.0)
    lesions = find_lesions(maps)
    for underlay, grey in ((ct, 128), (2 * ct, 255), (0 * ct, 0)):
        write_lesions(tmp_path, lesions, maps, baseline=underlay)
        with Image.open(tmp_path / "lesion.png") as picture:
            greys = np.bincount(np.asarray(picture.convert("L")).ravel(), minlength=256)
        assert greys[grey] > 0.3 * greys.sum()
        assert (lesion_figure(lesions, underlay).axes[0].images[0].get_array() == grey).all()


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
