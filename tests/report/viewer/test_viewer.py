"""What the viewer is given: rounding, packing, orientation, size, and numbers that agree with their sources."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.report import embedded, pooled, stack, unpacked
from scenes import scan

from ctp_torch import ops, pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.lesions.find import find_lesions
from ctp_torch.report.tables import Table
from ctp_torch.report.viewer.facts import flat, head_box, orientation
from ctp_torch.report.viewer.files import write_report
from ctp_torch.report.viewer.packing import MISSING, pack, quantize, round_step, shrink
from ctp_torch.report.viewer.page import report_page
from ctp_torch.report.viewer.payload import patient_view


@pytest.mark.parametrize("axes", [(-1, -2), (0,)])
def test_packing_loses_nothing(axes, generator):
    """Mutation seen red: low and high byte planes exchanged."""
    values = torch.randint(-32768, 32768, (3, 5, 7), generator=generator).to(torch.int16)
    values[0, 0, :4] = torch.tensor([-32768, 32767, -32768, 0])  # the longest jumps there are
    np.testing.assert_array_equal(unpacked(pack(values, axes=axes), (3, 5, 7), axes), values.numpy())


def test_rounding_is_to_the_nearest_step_and_missing_values_are_told():
    values = torch.tensor([0.0, 0.124, 0.126, -0.2, float("nan"), 1e9, 3.0])
    mask = torch.tensor([True, True, True, True, True, True, False])
    assert quantize(values, 0.25, mask).tolist() == [0, 0, 1, -1, MISSING, 32767, MISSING]
    assert quantize(values[:3], 0.25).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("limits", "step"), [((0, 8), 0.005), ((0, 60), 0.05), ((0, 20), 0.02), ((0, 12), 0.01), ((-50, 50), 0.1)]
)
def test_a_display_range_has_about_a_thousand_levels(limits, step):
    assert round_step(limits) == step


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        round_step((3.0, 3.0))


@pytest.mark.parametrize("shape", [(256, 192), (150, 131), (100, 90), (300, 40)])
def test_frames_shrink_to_means(shape, generator):
    images = torch.randn(2, *shape, generator=generator)
    small = shrink(images, 128)
    assert max(small.shape[1:]) == min(128, max(shape))
    for image, wanted in zip(small, images, strict=True):
        np.testing.assert_allclose(image.numpy(), pooled(wanted.numpy(), *small.shape[1:]), atol=1e-6)


def test_the_right_of_the_patient_is_on_the_left_whatever_the_direction_of_the_file():
    """Mutation seen red: flipping where the cosine is positive."""
    plain = orientation((1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert (plain.axes, plain.left, plain.top) == ((), "R", "A")
    turned = orientation((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert (turned.axes, turned.left, turned.top) == ((1, 2), "R", "A")
    assert turned.as_dict()["right"] == "L"
    coronal = orientation((1, 0, 0, 0, 0, 1, 0, 1, 0))  # rows go up: the head must not hang
    assert (coronal.axes, coronal.left, coronal.top) == ((1,), "R", "H")


def test_the_head_fills_a_square():
    head = torch.zeros(2, 100, 80, dtype=torch.bool)
    head[1, 20:60, 30:50] = True
    top, left, height, width = head_box(head, (5.0, 1.0, 1.0), margin_mm=5.0)
    assert (top, left, height, width) == (15.0, 15.0, 50.0, 50.0)
    assert head_box(torch.zeros(1, 9, 7, dtype=torch.bool), (5.0, 1.0, 1.0)) == [0, 0, 9, 7]


def test_settings_are_told_flat():
    assert flat({"a": {"b": 1, "c": None}, "d": [1, 2]}) == [["a.b", "1"], ["a.c", "-"], ["d", "1, 2"]]


@pytest.fixture(scope="module")
def case():
    """A scan of 136 x 120 with a lesion drawn into the maps; columns and rows run against the patient's axes."""
    series, _ = scan(n=136)
    series = replace(series, hu=series.hu[..., 8:128].contiguous(), geometry=_geometry((3, 136, 120), series))
    found = pipeline.deconvolve(series)
    cbf, tmax = found["cbf"].clone(), found["tmax"].clone()
    tmax[:2, 50:85, 25:50] = 9.0
    cbf[:2, 58:76, 33:46] = 1.0
    tmax[2, 68, 58] = float("nan")
    maps = PerfusionMaps({**found.values, "cbf": cbf, "tmax": tmax}, found.mask, found.geometry, found.provenance)
    anatomy = pipeline.locate(series)
    return series, maps, find_lesions(maps, baseline=anatomy.baseline), anatomy


def _geometry(shape, series):
    return Geometry(shape, series.geometry.spacing, series.geometry.origin, (-1, 0, 0, 0, -1, 0, 0, 0, 1))


@pytest.fixture(scope="module")
def view(case):
    series, maps, lesions, anatomy = case
    model = PerfusionMaps({"cbf": maps["cbf"] * 0.9}, maps.mask, maps.geometry)
    return patient_view(
        name="p01",
        series=series,
        maps={"cSVD": maps, "forest": model},
        lesions={"cSVD": lesions},
        anatomy=anatomy,
        quality=pipeline.Scan(series, None, anatomy).quality,
        motion=ops.RigidMotion(torch.rand(40, 3), torch.rand(40, 3), torch.ones(6, dtype=torch.bool)),
        settings={"method": "csvd", "seed": 3},
    )


def test_every_voxel_is_within_half_a_step_of_its_source(case, view):
    """Mutation seen red: flipping rows alone."""
    series, maps, lesions, anatomy = case
    turned = lambda volume: volume.flip(-2, -1).numpy()  # noqa: E731
    mask = turned(maps.mask)
    for quantity, volume in maps.values.items():
        chunk = view.chunks[f"map/0/{quantity}"]
        whole, wanted = stack(chunk, (-1, -2)), turned(volume)
        known = mask & np.isfinite(wanted)
        assert (whole[~known] == MISSING).all()
        np.testing.assert_allclose(whole[known] * chunk.step, wanted[known], atol=0.5001 * chunk.step, rtol=1e-6)
    np.testing.assert_allclose(
        stack(view.chunks["ct"], (-1, -2)), np.maximum(turned(anatomy.baseline), -250), atol=0.501
    )
    marks = stack(view.chunks["lesion/0"], (-1, -2))
    np.testing.assert_array_equal(marks == 2, turned(lesions.core))
    np.testing.assert_array_equal(marks == 1, turned(lesions.penumbra))
    frames = stack(view.chunks["series"], (0,)) * view.chunks["series"].step
    assert frames.shape == (3, 40, 128, 113)
    wanted = pooled(series.hu[17, 1].numpy(), 128, 113)[::-1, ::-1]
    np.testing.assert_allclose(frames[1, 17], np.maximum(wanted, -250), atol=0.2501)


def test_the_page_holds_exactly_what_was_packed(view):
    page = report_page(title="T", patients=[view, view])
    for key, chunk in view.chunks.items():
        assert embedded(page, 1, key) == list(chunk.streams)
    letters = report_page(title="T", patients=[view]).count("")
    assert 0 <= letters - view.n_bytes < 150_000  # the rest is words and the viewer


def test_the_numbers_are_those_of_the_objects(case, view):
    series, maps, lesions, anatomy = case
    header = json.loads(json.dumps(view.header, allow_nan=False))
    assert header["sets"][0]["lesion"]["core_ml"] == lesions.summary()["core_ml"] > 0
    assert header["sets"][1] == {
        "label": "forest",
        "maps": ["cbf"],
        "lesion": None,
        "no_volumes": "not measured",
        "values": header["sets"][1]["values"],
    }
    assert header["curves"]["aif"]["curve_hu"] == pytest.approx(maps.provenance.aif.curve.tolist(), abs=1e-3)
    assert header["curves"]["aif"]["voxels_xyz"] == maps.provenance.aif.mask.nonzero().flip(1).tolist()
    assert header["times_s"][1] == series.times[:, 1].tolist()
    assert header["n_baseline"] == anatomy.n_baseline
    rows = {(row["map"], row["region"]): row for row in header["sets"][0]["values"]}
    inside = maps["cbf"][lesions.core].double()
    assert rows["cbf", "core"]["mean"] == pytest.approx(float(inside.mean()), rel=1e-4)
    assert rows["cbf", "core"]["voxels"] == inside.numel()
    assert {check["flag"]: check["result"] for check in header["quality"]}["q3"] == "not measured"


def test_vessels_are_found_where_the_maps_name_none(case):
    series, maps, _, anatomy = case
    bare = PerfusionMaps(maps.values, maps.mask, maps.geometry)
    curves = patient_view(name="x", series=series, maps={"model": bare}, anatomy=anatomy).header["curves"]
    assert "found for this page" in curves["aif"]["source"]
    known = maps.provenance.aif.curve
    assert np.corrcoef(known, curves["aif"]["curve_hu"])[0, 1] > 0.98
    x, y, z = curves["aif"]["voxels_xyz"][0]
    assert anatomy.brain[z, y, x]


def test_a_scan_without_contrast_has_no_vessels_to_show(case):
    series, maps, _, anatomy = case
    still = replace(series, hu=series.hu[:1].expand(40, -1, -1, -1))
    bare = PerfusionMaps(maps.values, maps.mask, maps.geometry)
    assert patient_view(name="x", series=still, maps={"m": bare}, anatomy=anatomy).header["curves"]["aif"] is None


def test_a_large_scan_is_rounded_and_thinned_until_it_fits(case):
    """Mutation seen red: the size counted without base64."""
    series, maps, _, anatomy = case
    many = lambda volume: volume[:, [0, 1, 2] * 8] if volume.ndim == 4 else volume[[0, 1, 2] * 8]  # noqa: E731
    grid = replace(series.geometry, shape=(24, 136, 120))
    noisy = many(series.hu) + torch.randn(40, 24, 136, 120, generator=torch.Generator().manual_seed(0)) * 8
    big = replace(series, hu=noisy, times=series.times[:, [0, 1, 2] * 8], geometry=grid)
    volumes = PerfusionMaps({n: many(v) for n, v in maps.values.items()}, many(maps.mask), grid)
    place = pipeline.Anatomy(many(anatomy.baseline), many(anatomy.head), many(anatomy.brain), anatomy.n_baseline)
    made = lambda mb: patient_view(name="x", series=big, maps={"m": volumes}, anatomy=place, limit_mb=mb)  # noqa: E731
    whole = made(100.0)
    shares = (0.95, 0.75, 0.2)
    rounded, rough, thinned = (made(share * whole.n_bytes / 1e6) for share in shares)
    for share, one in zip(shares, (rounded, rough, thinned), strict=True):
        assert one.n_bytes <= share * whole.n_bytes
        assert one.header["quantities"]["cbf"]["step"] == one.chunks["map/0/cbf"].step
    assert [one.header["steps"]["series"] for one in (whole, rounded, rough, thinned)] == [0.5, 1.0, 2.0, 2.0]
    assert whole.header["slices"] == rounded.header["slices"] == rough.header["slices"] == list(range(24))
    few = thinned.header["slices"]
    assert 5 <= len(few) <= 12
    assert max(np.diff(few)) - min(np.diff(few)) <= 1
    chosen = stack(thinned.chunks["ct"], (-1, -2))
    np.testing.assert_allclose(chosen[1], np.maximum(place.baseline[few[1]].flip(0, 1).numpy(), -250), atol=0.501)


def test_what_does_not_belong_together_is_refused(case):
    series, maps, lesions, anatomy = case
    with pytest.raises(ValueError, match="at least one set"):
        patient_view(name="x", series=series, maps={}, anatomy=anatomy)
    with pytest.raises(ValueError, match="lesions of b, but the maps are called a"):
        patient_view(name="x", series=series, maps={"a": maps}, lesions={"b": lesions}, anatomy=anatomy)
    short = replace(series, hu=series.hu[:, :2], times=series.times[:, :2], geometry=_geometry((2, 136, 120), series))
    with pytest.raises(ValueError, match="lie on the grid"):
        patient_view(name="x", series=short, maps={"a": maps}, anatomy=anatomy)


def test_a_header_cannot_end_its_script(case):
    series, maps, _, anatomy = case
    evil = "</script><script>alert(1)</script>"
    view = patient_view(name=evil, series=series, maps={evil: maps}, anatomy=anatomy, settings={evil: evil})
    assert "alert(1)</script>" not in report_page(title=evil, lead=evil, patients=[view], facts={evil: evil})


def test_every_number_lies_beside_the_page(view, tmp_path):
    table = Table("Scores, test", ["model", "rCBV"], [["Ridge", "80 %"]])
    write_report(tmp_path, title="T", tables=[table], facts={"seed": 3}, patients=[view])

    def rows(name):
        with (tmp_path / "report" / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    told = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert told["facts"] == {"seed": "3"}
    assert told["patients"][0]["name"] == "p01"
    assert rows("table-01-scores-test.csv") == [{"model": "Ridge", "rCBV": "80 %"}]
    (volumes,) = rows("volumes.csv")
    assert volumes["maps"] == "cSVD"
    assert float(volumes["core_ml"]) == view.header["sets"][0]["lesion"]["core_ml"]
    artery = [row for row in rows("vessels.csv") if row["vessel"] == "aif"]
    assert [float(row["enhancement_hu"]) for row in artery] == view.header["curves"]["aif"]["curve_hu"]
    moved = rows("motion.csv")
    assert float(moved[7]["ty_mm"]) == view.header["motion"]["translation_mm"][7][1]
    assert len(moved) == 40
    assert [row["flag"] for row in rows("quality.csv")] == [f"q{i}" for i in range(1, 8)]
    assert {"patient": "p01", "name": "method", "value": "csvd"} in rows("settings.csv")
    assert len(rows("map_values.csv")) == 5 * 3 + 1
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
