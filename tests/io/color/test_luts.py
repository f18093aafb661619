"""Colour tables and bars: every table inverts its own bar to a ramp; drawings over a map are found."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ctp_torch import ops
from ctp_torch.cli import app
from ctp_torch.errors import UnreadableFileError
from ctp_torch.io import read_volume
from ctp_torch.io.cohort.quantity_names import quantity_in
from ctp_torch.io.color.colorbar import find_color_bars
from ctp_torch.io.color.inversion import invert_colors, read_off
from ctp_torch.io.color.legend import draw_legend
from ctp_torch.io.color.luts import LUT_NAMES, background_level, read_lut
from ctp_torch.io.color.picture import read_picture, write_picture


@pytest.mark.parametrize("name", LUT_NAMES)
def test_every_table_inverts_itself(name):
    lut = read_lut(name)
    found = invert_colors(lut, lut)
    assert torch.equal(found.index.long(), torch.arange(len(lut)))
    assert float(found.residual.max()) == 0


@pytest.mark.parametrize(
    ("name", "file"), [("siemens", "cbfd"), ("siemens", "cbvd"), ("siemens-time", "ttd"), ("asist", "alut")]
)
def test_published_tables_invert_their_own_bars_to_a_ramp(name, file, third_party):
    """By the table in the file exactly; by ours, which is linear between a few anchors, within one level."""
    suffix = "csv" if file == "alut" else "png"
    published, ours = read_lut(third_party / "color" / f"{file}.{suffix}"), read_lut(name)
    assert published.shape == ours.shape
    assert int((published.int() - ours.int()).abs().max()) <= 1
    ramp = torch.arange(len(published))
    bar = published.flip(0)[:, None].expand(-1, 9, -1).contiguous()  # as it stands on a screen
    assert torch.equal(invert_colors(bar, published).index[:, 4].long(), ramp.flip(0))
    assert int((invert_colors(bar, ours).index[:, 4].long() - ramp.flip(0)).abs().max()) <= 1


def test_a_real_screenshot(third_party):
    """Both bars are found; the map inverts by its bar; words and frame are overlay; the grey plots are no colours."""
    picture = read_picture(third_party / "color" / "input.png")
    bars = find_color_bars(picture)
    assert [(bar.rows, bar.columns) for bar in bars] == [((128, 382), (435, 455)), ((128, 384), (952, 972))]
    found = invert_colors(picture[:512, :515], bars[0].lut)
    assert torch.equal(found.index[128:382, 445].flip(0).long(), torch.arange(254))  # its own bar
    brain = found.index[120:410, 95:395]
    assert float((brain == -2).float().mean()) < 0.01
    assert float((brain >= 0).float().mean()) > 0.6
    assert float(found.residual[120:410, 95:395].mean()) < 2
    words = found.index[115:127, 425:462]  # "100.00"
    white = picture[115:127, 425:462].amin(-1) > 150
    assert int(white.sum()) > 40
    assert bool((words[white] == -2).all())
    assert int((found.index[430:465, 465:500] == -2).sum()) > 80  # the F in its frame


@pytest.mark.parametrize("name", LUT_NAMES)
@pytest.mark.parametrize("size", [128, 512])
def test_our_legends_bar_is_found(name, size):
    """Mutation seen red: keeping the bar upside down."""
    lut = read_lut(name)
    legend = draw_legend((size, size), lut, 0, 60, title="rCBF", unit="mL/100 g/min")
    shown = lut[torch.linspace(0, len(lut) - 1, size - 2 * (size // 4)).round().long()]
    (bar,) = find_color_bars(legend)
    assert bar.columns[0] > 0.9 * size
    kept = [tuple(color) for color in bar.lut.tolist()]
    assert set(kept) <= {tuple(color) for color in shown.tolist()}
    assert len(kept) > 0.8 * len(shown)  # grey and black ends of a table are no bar
    assert kept == [tuple(color) for color in shown.tolist() if tuple(color) in set(kept)]


def test_lying_bars_are_found():
    legend = draw_legend((256, 300), read_lut("jet"), 0, 1, title="", unit="")
    (bar,) = find_color_bars(legend.flip(0).transpose(0, 1).contiguous())
    assert torch.equal(bar.lut[0], ops.jet_lut()[0])
    assert bar.rows[0] > 0.9 * 300


def test_overlays_and_background():
    lut = read_lut("jet")
    picture = torch.tensor([[255, 255, 255], [0, 0, 0], [40, 40, 60], [128, 128, 128], [0, 0, 128]], dtype=torch.uint8)
    found = invert_colors(picture, lut)
    assert found.index.tolist() == [-2, -1, -1, -2, 0]
    assert found.residual[0] == pytest.approx(np.linalg.norm(lut.float().numpy() - 255, axis=1).min())
    values = read_off(found.index, 256, 2.0, 4.0)
    assert values[-1] == 2.0
    assert bool(values[:4].isnan().all())
    assert [background_level(read_lut(name)) for name in ("jet", "asist")] == [64, 0]


def test_tables_from_files(tmp_path):
    (tmp_path / "a.csv").write_text("Index,R,G,B\n0,1,2,3\n1,250,0,9\n")
    assert read_lut(tmp_path / "a.csv").tolist() == [[1, 2, 3], [250, 0, 9]]
    (tmp_path / "b.txt").write_text("1 2 3\n250 0 9\n4 5 6")
    assert len(read_lut(tmp_path / "b.txt")) == 3
    write_picture(tmp_path / "bar.png", read_lut("jet").flip(0)[:, None].expand(-1, 12, -1).contiguous())
    assert torch.equal(read_lut(tmp_path / "bar.png"), ops.jet_lut())


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("x.csv", "1,2\n3,4", "each line needs R, G, B"),
        ("x.csv", "1,2,300\n1,2,3", "above 255"),
        ("no", None, "choose jet, siemens"),
        ("x.png", "no picture", "can't be read as a picture"),
    ],
)
def test_broken_tables_are_refused(name, text, match, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UnreadableFileError, match=match):
        read_lut(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "name"),
    [("sub-1_ses-01_cbf.nii.gz", "cbf"), ("SMIR.Brain.XX.O.CT_Tmax.345", "tmax"), ("NLR_CBF012.dcm", "cbf"),
     ("rCBV JET", "cbv"), ("DERIVED PRIMARY PERFUSION RCBF", "cbf"), ("T_max", "tmax"), ("TTP", "ttp"),
     ("CTH_s", "cth"), ("OEFmax", "oefmax"), ("sub-2_oef_max", "oefmax"), ("OEF", None),
     ("MTT map", "mtt"), ("CBF and CBV", None), ("CT_4DPWI", None), ("ctp", None), ("scbfx", None)],
)  # fmt: skip
def test_quantities_in_words(text, name):
    assert quantity_in(text) == name


def test_the_command(tmp_path, third_party):
    run = CliRunner()
    image = str(third_party / "color" / "input.png")
    asked = run.invoke(app, ["lut", image, "-o", str(tmp_path / "o")])
    assert asked.exit_code != 0
    assert "--bar N" in str(asked.exception)
    assert not (tmp_path / "o").exists()
    done = run.invoke(
        app, ["lut", image, "-o", str(tmp_path / "o"), "--bar", "1", "--crop", "0,0,515,512", "--range", "0,100"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "o" / "lut.json").read_text(encoding="utf-8"))
    assert told["overlay"] > 500
    assert told["mean_residual"] < 3
    values, _ = read_volume(tmp_path / "o" / "values.nii.gz")
    assert float(values.nan_to_num().max()) == 100.0
    assert len((tmp_path / "o" / "lut.csv").read_text(encoding="utf-8").splitlines()) == 255
    again = run.invoke(app, ["lut", image, "-o", str(tmp_path / "o"), "--bar", "1"])
    assert "exists already" in str(again.exception)
