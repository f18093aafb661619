"""The page in a real browser: sliders move, values are the embedded ones, nothing is fetched, nothing overlaps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from oracles.report import stack
from scenes import scan

from ctp_torch import ops, pipeline
from ctp_torch.data.maps import PerfusionMaps
from ctp_torch.lesions.find import find_lesions
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.report.figures import to_png, training_figure
from ctp_torch.report.tables import Table
from ctp_torch.report.viewer.packing import MISSING
from ctp_torch.report.viewer.page import Picture, report_page
from ctp_torch.report.viewer.payload import patient_view

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"), pytest.mark.slow]
SIZES = [(1280, 900), (390, 844)]


def one_patient(name, seed, direction):
    """A scan of 136 x 120 in 3 slices with a lesion drawn into the maps of two sets."""
    series, _ = scan(n=136, frames=24, seed=seed)
    grid = replace(series.geometry, shape=(3, 136, 120), direction=direction)
    series = replace(series, hu=series.hu[..., 8:128].contiguous(), geometry=grid)
    found, anatomy = pipeline.deconvolve(series), pipeline.locate(series)
    cbf, tmax = found["cbf"].clone(), found["tmax"].clone()
    tmax[1:, 50:85, 25:50], cbf[1:, 58:76, 33:46] = 9.0, 1.0
    teacher = PerfusionMaps({**found.values, "cbf": cbf, "tmax": tmax}, found.mask, grid, found.provenance)
    student = PerfusionMaps({n: teacher[n] * 0.8 for n in ("cbf", "tmax")}, found.mask, grid)
    return patient_view(
        name=name,
        series=series,
        maps={"teacher": teacher, "student": student},
        lesions={
            "teacher": find_lesions(teacher, baseline=anatomy.baseline, thresholds=Thresholds(rcbv=1.9)),
            "student": find_lesions(student, baseline=anatomy.baseline),
        },
        anatomy=anatomy,
        quality=pipeline.Scan(series, None, anatomy).quality,
        motion=ops.RigidMotion(torch.rand(24, 3), torch.rand(24, 3), torch.ones(6, dtype=torch.bool)),
        settings={"method": "csvd", "a long name": "x" * 300},
    )


@pytest.fixture(scope="module")
def views():
    plain, turned = (1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    return [one_patient("p00", 0, plain), one_patient("p01", 1, turned)]


@pytest.fixture(scope="module")
def file(views, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = Table("Table 1: training SSIM", ["model", "rCBV", "rCBF"], [["Kernel ridge", "82.71 % (82.1-83.2)", "1"]])
    picture = Picture(to_png(training_figure({"cbf": [0.1, 0.5]}, dt=1.0)), "importance")
    text = report_page(
        title="A study", lead="What it says.", tables=[table], sections={"Figures": [picture]}, patients=views
    )
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, file):
    browser.open(file)
    browser.wait("document.documentElement.dataset.ready === '0'")
    browser.settle()
    return browser


def select(page, name, value):
    page.evaluate(f"{{const s = byId('{name}'); s.value = '{value}'; s.dispatchEvent(new Event('change'))}}")
    page.settle()


def told(page, panel):
    return page.evaluate(f"document.querySelector('{panel} .value').textContent")


def point(page, panel, y, x, shape):
    """Move the pointer over the middle of a pixel."""
    box = page.evaluate(
        f"{{const c = document.querySelector('{panel} canvas'); c.scrollIntoView({{block: 'nearest'}});"
        " const b = c.getBoundingClientRect(); [b.left, b.top, b.width, b.height]}"
    )
    page.mouse(box[0] + (x + 0.5) / shape[1] * box[2], box[1] + (y + 0.5) / shape[0] * box[3])
    page.settle()


def pixels(page, panel):
    """The colours of a canvas ``(y, x, 3)``."""
    size = page.evaluate(f"{{const c = document.querySelector('{panel} canvas'); [c.height, c.width]}}")
    flat = page.evaluate(
        f"{{const c = document.querySelector('{panel} canvas');"
        " Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).filter((_, i) => i % 4 < 3)}"
    )
    return np.array(flat).reshape(*size, 3)


def map_panel(quantity, number=0):
    return f'.panel[data-quantity="{quantity}"][data-set="{number}"]'


def test_nothing_is_fetched_and_nothing_fails(page, file):
    asked = [address for address in page.requests if not address.startswith("data:")]  # pictures inside the page
    assert asked == [file.as_uri()]
    assert page.errors == []
    assert page.evaluate("byId('trouble').hidden")
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_the_slice_with_most_lesion_comes_first_and_keys_move_the_sliders(page, views):
    marks = stack(views[0].chunks["lesion/0"], (-1, -2))
    first = int((marks > 0).sum(axis=(1, 2)).argmax())
    assert page.evaluate("state.z") == first
    page.evaluate("byId('slice').focus()")
    page.press("Home", 36)
    assert page.evaluate("byId('slice-told').textContent") == "1 of 3"
    page.press("ArrowRight", 39)
    assert page.evaluate("byId('slice-told').textContent") == "2 of 3"
    page.evaluate("byId('time').focus()")
    for _ in range(3):
        page.press("ArrowRight", 39)
    assert page.evaluate("byId('time-told').textContent") == "3.0 s (4/24)"
    page.press("End", 35)
    assert page.evaluate("byId('time-told').textContent") == "23.0 s (24/24)"


@pytest.mark.parametrize("number", [0, 1])
def test_the_value_under_the_pointer_is_the_embedded_one(page, views, number):
    """Mutation seen red: rows and columns exchanged in `at`."""
    view = views[number]
    if number:
        select(page, "patient", number)
        page.wait(f"document.documentElement.dataset.ready === '{number}'")
    names = ("cbf", "cbv", "mtt", "tmax")
    whole = {name: stack(view.chunks[f"map/0/{name}"], (-1, -2)) for name in names}
    frames = stack(view.chunks["series"], (0,)) * view.chunks["series"].step
    page.evaluate("go('time', 9)")
    known = np.argwhere(whole["cbf"][1] != MISSING)
    page.evaluate("byId('slice').value = 1; go('slice', 0)")
    for y, x in [*known[:: len(known) // 6], (1, 2)]:
        point(page, map_panel("cbf"), y, x, (136, 120)) if (y, x) != (1, 2) else page.evaluate("point(1, 2)")
        page.settle()
        for name in names:
            step, whole_number = view.chunks[f"map/0/{name}"].step, whole[name][1, y, x]
            text = told(page, map_panel(name))
            assert text == "-" if whole_number == MISSING else float(text) == pytest.approx(whole_number * step)
        cell = int((y + 0.5) * 128 / 136), int((x + 0.5) * 113 / 120)
        hu = float(told(page, '.panel[data-kind="ct"]').removesuffix(" HU"))
        assert hu == pytest.approx(frames[1, 9, cell[0], cell[1]], abs=0.051)
        curve = page.evaluate(f"patient.hu(1, {y}, {x})")
        np.testing.assert_allclose(curve, frames[1, :, cell[0], cell[1]])
        column, row = (119 - x, 135 - y) if number else (x, y)
        assert f"Voxel {column},{row},1 " in page.evaluate("byId('where').textContent")


def test_maps_wear_the_colours_of_the_colour_bar(page, views):
    """Mutation seen red: rounding the colour index down."""
    page.evaluate("byId('slice').value = 2; go('slice', 0)")
    page.settle()
    for name in ("cbf", "tmax"):
        chunk, q = views[0].chunks[f"map/0/{name}"], views[0].header["quantities"][name]
        whole = torch.from_numpy(stack(chunk, (-1, -2))[2])
        place = 255 * (whole.double() * chunk.step - q["low"]) / (q["high"] - q["low"])
        tie = ((place - place.floor() - 0.5).abs() < 1e-6).numpy()  # browsers round up, torch to even
        assert tie.mean() < 0.02
        wanted = ops.paint(whole.double() * chunk.step, (q["low"], q["high"]), whole != MISSING).numpy()
        np.testing.assert_array_equal(pixels(page, map_panel(name))[~tie], wanted[~tie])


def test_the_window_and_the_lesions_are_painted_as_told(page, views):
    """Mutation seen red: core and penumbra exchanged."""
    page.evaluate("byId('slice').value = 2; go('slice', 0)")
    for name, value in (("level", 50), ("width", 60)):
        page.evaluate(f"{{const i = byId('{name}'); i.value = {value}; i.dispatchEvent(new Event('input'))}}")
    page.settle()
    panel = '.panel[data-kind="lesion"]'
    ct, marks = (stack(views[0].chunks[key], (-1, -2))[2] for key in ("ct", "lesion/0"))
    grey = 255 * np.clip((ct - 20) / 60, 0, 1)
    assert (marks == 1).any()
    assert (marks == 2).any()
    magenta, green = (255, 64, 220), (60, 210, 90)
    wanted = np.repeat(grey[..., None], 3, axis=-1)
    wanted[marks == 2] = 0.35 * wanted[marks == 2] + 0.65 * np.array(magenta)
    wanted[marks == 1] = 0.35 * wanted[marks == 1] + 0.65 * np.array(green)
    assert np.abs(pixels(page, panel) - wanted).max() <= 0.7  # the grey is rounded, then the sum
    page.evaluate("byId('show-core').click(); byId('show-penumbra').click()")
    page.settle()
    assert np.abs(pixels(page, panel)[..., 1] - grey).max() <= 0.501
    assert page.evaluate("byId('level-told').textContent") == "50 HU"
    assert page.evaluate("document.querySelector('[data-tile=core] b').textContent").endswith(" mL")


def test_outlines_lie_on_the_rim_of_the_lesion(page):
    panel = map_panel("tmax")
    before = pixels(page, panel)
    page.evaluate("byId('show-outlines').click()")
    page.settle()
    changed = (pixels(page, panel) != before).any(axis=-1)
    marks = np.array(page.evaluate("Array.from(patient.layers['lesion/0'])")).reshape(3, 136, 120)
    marks = marks[page.evaluate("state.z")]
    assert changed.any()
    assert not changed[marks == 0].any()
    assert changed.sum() < 0.6 * (marks > 0).sum()


def test_sets_are_compared_side_by_side(page, views):
    select(page, "view", "tmax")
    titles = page.evaluate("[...document.querySelectorAll('.panel header b')].map((b) => b.textContent)")
    assert titles == ["CT over time", "teacher: Tmax", "student: Tmax"]
    page.evaluate("byId('slice').value = 1; go('slice', 0); point(60, 40)")
    page.settle()
    for number in (0, 1):
        whole = stack(views[0].chunks[f"map/{number}/tmax"], (-1, -2))[1, 60, 40]
        assert float(told(page, map_panel("tmax", number))) == pytest.approx(whole * 0.01)
    select(page, "view", "lesions")
    assert page.evaluate("document.querySelectorAll('.panel[data-kind=lesion]').length") == 2
    select(page, "view", "maps")
    select(page, "set", 1)
    assert (
        page.evaluate("[...document.querySelectorAll('.panel')].map((p) => p.dataset.quantity).join()") == ",,cbf,tmax"
    )
    core = page.evaluate("document.querySelector('[data-tile=core] b').textContent")
    assert core == f"{views[0].header['sets'][1]['lesion']['core_ml']:.1f} mL"


def test_the_whole_rule_of_the_core_is_shown(page):
    """Mutation seen red: the rule made of ``thresholds.rcbf`` alone."""
    for number, rule in ((0, "CBF < 30% and CBV < 190% of normal"), (1, "CBF < 30% of normal")):
        select(page, "set", number)
        assert page.evaluate("document.querySelector('[data-tile=core] span:last-child').textContent") == rule
    cells = page.evaluate("[...document.querySelectorAll('td')].map((cell) => cell.textContent)")
    assert "CBF < 30% and CBV < 190% of normal" in cells


def test_only_the_chosen_patient_is_unpacked(page):
    page.evaluate("window.before = patient; 0")
    assert page.evaluate("Object.keys(patient.layers).length") == page.evaluate(
        "Object.keys(patient.header.steps).length"
    )
    select(page, "patient", 1)
    page.wait("document.documentElement.dataset.ready === '1'")
    assert page.evaluate("patient.header.name") == "p01"
    assert page.evaluate("Object.keys(before.layers).length") == 0


def test_a_click_holds_the_pixel_and_keys_move_it(page):
    panel = map_panel("cbf")
    point(page, panel, 60, 50, (136, 120))
    where = page.evaluate(
        f"{{const b = document.querySelector('{panel} canvas').getBoundingClientRect();"
        " [b.left + 50.5 / 120 * b.width, b.top + 60.5 / 136 * b.height]}"
    )
    page.click(*where)
    page.mouse(where[0] + 30, where[1])
    page.settle()
    assert page.evaluate("[state.y, state.x]") == [60, 50]
    page.press("ArrowRight", 39)
    page.press("ArrowUp", 38)
    assert page.evaluate("[state.y, state.x]") == [59, 51]
    z = page.evaluate("state.z")
    page.press("PageDown", 34)
    assert page.evaluate("state.z") == z - 1
    page.press("Escape", 27)
    page.mouse(*where)
    page.settle()
    assert page.evaluate("[state.y, state.x]") == [60, 50]


def test_every_control_has_a_name(page):
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button, canvas[tabindex], [role=img]')].filter((e) =>"
        " !(e.getAttribute('aria-label') || (e.labels && e.labels.length) || e.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_first_screens_show_the_lesion_and_the_maps_and_nothing_overlaps(browser, file, width, height):
    browser.open(file, width=width, height=height)
    browser.wait("document.documentElement.dataset.ready === '0'")
    browser.settle()
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    parts = ".head h1, .head .note, nav, .lead, .choose, .tile, .sliders, .panel, .switches, .window, .curve"
    parts += ", .side > .small, #numbers, #quality, #scores, #figures, #made"
    boxes = browser.evaluate(
        f"[...document.querySelectorAll('{parts}')].map((e) => {{const b = e.getBoundingClientRect();"
        " return [e.className || e.id || e.tagName, b.left, b.top, b.right, b.bottom]}).filter((b) => b[3] > b[1])"
    )
    for i, (name, left, top, right, bottom) in enumerate(boxes):
        assert left >= -0.5, name
        assert right <= width + 0.5, name
        for other, l2, t2, r2, b2 in boxes[:i]:
            assert min(right, r2) - max(left, l2) < 1 or min(bottom, b2) - max(top, t2) < 1, f"{name} on {other}"
    wanted = ["[data-tile=core]", "[data-tile=penumbra]", '.panel[data-kind="lesion"]']
    wanted += [map_panel(name) for name in ("cbf", "cbv", "mtt", "tmax")]
    lowest = max(browser.evaluate(f"document.querySelector('{one}').getBoundingClientRect().bottom") for one in wanted)
    assert lowest <= (height if width > 1000 else 1.5 * height)
    for word in browser.evaluate(
        "[...document.querySelectorAll('.tile b, .tile span, .value, output, .scale span, .panel header b')]"
        ".filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0).map((e) => e.textContent)"
    ):
        raise AssertionError(f"cut off: {word}")


def test_a_browser_that_cannot_inflate_is_told(browser, file, tmp_path):
    text = file.read_text(encoding="utf-8")
    broken = tmp_path / "old.html"
    broken.write_text(text.replace('new DecompressionStream("deflate")', "new Missing()"), encoding="utf-8")
    browser.open(broken)
    browser.wait("!byId('trouble').hidden")
    assert "could not be opened" in browser.evaluate("byId('trouble').textContent")
