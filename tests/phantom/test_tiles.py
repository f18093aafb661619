"""The tile phantom: layout, curves and what lands on disk."""

import json

import pytest
import torch

from ctp_torch.errors import CTPError, OutputExistsError
from ctp_torch.io import read_series, read_volume
from ctp_torch.phantom import CLINICAL, TEXTBOOK, arterial_curve, box_tissue_curve, exponential_tissue_curve
from ctp_torch.phantom.tiles import DELAYS, TRANSITS, VOLUMES, render_tiles, write_tiles


@pytest.fixture(scope="module")
def tiles():
    return render_tiles(frames=30, dt=2.0)


def test_every_tile_shows_its_own_curve(tiles):
    """Red when rows and columns are swapped (tried: the first row is late instead of long)."""
    series, truth = tiles
    times = truth.times
    for z, cbv in enumerate(VOLUMES[::2]):
        for row, delay in enumerate(DELAYS[::3]):
            for column, mtt in enumerate(TRANSITS[::3]):
                y, x = 144 + 96 * row + 16, 144 + 96 * column + 16
                flow = cbv / mtt * 1.04 / (100.0 * 0.55 / 0.75)
                expected = exponential_tissue_curve(times, TEXTBOOK, flow=flow, mtt=mtt, delay=delay) + 40.0
                torch.testing.assert_close(series.hu[:, 2 * z, y, x].double(), expected, atol=1e-3, rtol=0)
                assert float(truth.maps["cbf"][2 * z, y, x]) == pytest.approx(60.0 * cbv / mtt, rel=1e-5)
                assert float(truth.maps["mtt"][2 * z, y, x]) == pytest.approx(mtt, rel=1e-6)
                assert float(truth.maps["delay"][2 * z, y, x]) == delay


def test_layout(tiles):
    series, truth = tiles
    assert series.hu.shape == (30, 5, 512, 512)
    assert int(truth.tile.max()) == 49
    assert bool((torch.bincount(truth.tile[0].flatten().long(), minlength=50)[1:] == 32 * 32).all())
    assert int(truth.interior.sum()) == 5 * 49 * 24 * 24
    assert int((truth.vessels[0] == 1).sum()) == 64
    assert int((truth.vessels[0] == 2).sum()) == 256
    torch.testing.assert_close(series.hu[:, 0, 125, 255] - 40.0, arterial_curve(truth.times, TEXTBOOK).float())
    assert float(truth.maps["cbf"].max()) == pytest.approx(87.5)


def test_skull_has_no_symmetry_that_registration_could_slip_on(tiles):
    still = tiles[0].hu[0, 0]
    assert float(still.max()) > 1200
    assert float(still[0].max()) == -1000.0
    for other in (still.flip(0), still.flip(1), still.rot90(2), still.T):
        assert float(((other - still).abs() > 500).float().mean()) > 0.005


def test_other_bolus_residue_and_noise():
    series, truth = render_tiles(bolus=CLINICAL, curve=box_tissue_curve, noise_hu=3.0, frames=12, dt=3.0, seed=1)
    still, _ = render_tiles(bolus=CLINICAL, curve=box_tissue_curve, frames=12, dt=3.0)
    assert float((series.hu - still.hu)[:, :, 200:300, 200:300].std()) == pytest.approx(3.0, rel=0.02)
    expected = box_tissue_curve(truth.times, CLINICAL, flow=1.0 / 24.0 * 1.04 / (100 * 0.55 / 0.75), mtt=24.0) + 40.0
    torch.testing.assert_close(still.hu[:, 0, 150, 150].double(), expected, atol=1e-3, rtol=0)
    again, _ = render_tiles(bolus=CLINICAL, curve=box_tissue_curve, noise_hu=3.0, frames=12, dt=3.0, seed=1)
    assert torch.equal(series.hu, again.hu)


@pytest.mark.slow
def test_tiles_on_disk(tmp_path, tiles):
    folder = write_tiles(tmp_path / "tiles", frames=30, dt=2.0)
    series = read_series(folder / "ct")
    assert float((series.hu - tiles[0].hu).abs().max()) <= 1 / 32 + 1e-3
    cbf, geometry = read_volume(folder / "truth" / "cbf.nii.gz")
    assert torch.equal(cbf, tiles[1].maps["cbf"])
    assert geometry.matches(series.geometry)
    told = json.loads((folder / "truth" / "truth.json").read_text(encoding="utf-8"))
    assert told["tissue_curve"] == "exponential_tissue_curve"
    with pytest.raises(OutputExistsError, match="--force"):
        write_tiles(folder, frames=30)


@pytest.mark.parametrize("wrong", [{"frames": 3}, {"dt": 0.0}, {"noise_hu": -1.0}])
def test_impossible_tiles_are_refused_and_leave_nothing(tmp_path, wrong):
    with pytest.raises(ValueError, match="frames must be"):
        render_tiles(**wrong)
    with pytest.raises(CTPError, match="frames must be"):
        write_tiles(tmp_path / "tiles", **wrong)
    assert not list(tmp_path.iterdir())


def test_command_names_its_choices(tmp_path):
    from typer.testing import CliRunner

    from ctp_torch.cli.phantom import app

    for option in ("--aif", "--residue"):
        result = CliRunner().invoke(app, ["tiles", str(tmp_path / "t"), option, "square"])
        assert isinstance(result.exception, CTPError)
        assert f"unknown {option} 'square'; choose among" in str(result.exception)
    assert not list(tmp_path.iterdir())
