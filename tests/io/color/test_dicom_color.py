"""Coloured maps as secondary captures: valid, and every coloured pixel comes back."""

import shutil
import subprocess

import pytest
import torch
from pydicom import dcmread
from pydicom.pixels.processing import convert_color_space

from ctp_torch import Geometry, ops
from ctp_torch.errors import NoSeriesError, UnreadableFileError
from ctp_torch.io import StudyHeader, read_color_maps, write_color_maps
from ctp_torch.io.color.colorbar import find_color_bars

RANGES = {"cbv": (0.0, 8.0), "cbf": (0.0, 60.0), "mtt": (0.0, 20.0), "tmax": (0.0, 12.0)}
OBLIQUE = (0.0, 1.0, 0.0, 0.6, 0.0, 0.8, 0.8, 0.0, -0.6)


def made(size=96, direction=None):
    grid = Geometry(
        (3, size, size + 16), (5.0, 0.9, 0.8), (-40.0, 7.0, 12.5), direction or Geometry((1, 1, 1), (1, 1, 1)).direction
    )
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size + 16), indexing="ij")
    inside = ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1).expand(3, -1, -1)
    generator = torch.Generator().manual_seed(0)
    index = {n: torch.randint(0, 256, grid.shape, generator=generator).masked_fill(~inside, -1) for n in RANGES}
    return grid, index, {n: ops.apply_lut(i, ops.jet_lut()) for n, i in index.items()}


@pytest.mark.parametrize("direction", [None, OBLIQUE])
def test_round_trip(direction, tmp_path):
    """Mutations seen red: the legend drawn over coloured pixels; slices in the order of file names."""
    grid, index, colors = made(direction=direction)
    paths = write_color_maps(colors, RANGES, ops.jet_lut(), grid, tmp_path / "maps", header=StudyHeader(patient="P"))
    assert len(paths) == 12
    for k, path in enumerate(paths):  # names mean nothing
        path.rename(path.with_name(f"{(k * 7) % 12}"))
    again = read_color_maps(tmp_path / "maps")
    assert again.ranges == RANGES
    assert again.geometry.matches(grid, tolerance_mm=1e-6)
    for name, stack in index.items():
        inverted = ops.nearest_color_index(again[name], ops.jet_lut())
        assert torch.equal(inverted[stack >= 0].long(), stack[stack >= 0])


def test_the_legend_is_there_and_off_the_head(tmp_path):
    grid, index, colors = made(size=256)
    write_color_maps(colors, RANGES, ops.jet_lut(), grid, tmp_path / "maps")
    picture = read_color_maps(tmp_path / "maps")["cbf"][0]
    (bar,) = find_color_bars(picture)
    assert torch.equal(bar.lut[0], ops.jet_lut()[0])
    assert torch.equal(bar.lut[-1], ops.jet_lut()[255])
    assert bar.columns[0] > 0.9 * 272
    drawn = (picture.amax(-1) > 0) & (index["cbf"][0] < 0)
    assert int((drawn & (picture[..., 0] == picture[..., 2])).sum()) > 100  # white words


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("direction", [None, OBLIQUE])
def test_dciodvfy_finds_no_error(direction, tmp_path):
    grid, _, colors = made(direction=direction)
    for path in write_color_maps(colors, RANGES, ops.jet_lut(), grid, tmp_path / "maps"):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, encoding="utf-8", check=False)
        assert "Error" not in said.stderr + said.stdout
        assert "SCImage" in said.stderr + said.stdout


def test_a_consoles_pictures_are_known_by_their_description(tmp_path):
    """Without private block and positions: the description names the map, the number orders the slices."""
    grid, _, colors = made()
    words = {"cbv": "Perf rCBV (A)", "cbf": "CBF_perfusion", "mtt": "MTT", "tmax": "T_max map"}
    for k, path in enumerate(write_color_maps(colors, RANGES, ops.jet_lut(), grid, tmp_path / "maps")):
        dataset = dcmread(path)
        dataset.remove_private_tags()
        dataset.SeriesDescription = words[list(colors)[k // 3]]
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.save_as(tmp_path / "maps" / f"{(5 * k) % 12}")
        path.unlink()
    again = read_color_maps(tmp_path / "maps")
    assert set(again.colors) == set(RANGES)
    assert again.geometry is None
    assert again.ranges == {}
    for name in RANGES:
        known = colors[name].amax(-1) > 0
        assert torch.equal(again[name][known], colors[name][known])


def test_other_colour_spaces(tmp_path):
    """YBR, a palette, and all slices in one object: consoles use all three."""
    grid, index, colors = made()
    paths = write_color_maps({"cbv": colors["cbv"]}, RANGES, ops.jet_lut(), grid, tmp_path / "ybr")
    known = read_color_maps(tmp_path / "ybr")["cbv"]
    for z, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.PhotometricInterpretation = "YBR_FULL"
        dataset.PixelData = convert_color_space(known[z].numpy(), "RGB", "YBR_FULL").tobytes()
        dataset.save_as(path)
    assert int((read_color_maps(tmp_path / "ybr")["cbv"].int() - known.int()).abs().max()) <= 2
    paths = write_color_maps({"cbv": colors["cbv"]}, RANGES, ops.jet_lut(), grid, tmp_path / "palette")
    for z, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "PALETTE COLOR", 1
        del dataset.PlanarConfiguration
        for k, color in enumerate(("Red", "Green", "Blue")):
            dataset.add_new(0x00281101 + k, "US", [256, 0, 16])
            table = (ops.jet_lut()[:, k].numpy().astype("u2") << 8).tobytes()
            setattr(dataset, f"{color}PaletteColorLookupTableData", table)
        dataset.PixelData = index["cbv"][z].clamp_min(0).to(torch.uint8).numpy().tobytes()
        dataset.save_as(path)
    found = ops.nearest_color_index(read_color_maps(tmp_path / "palette")["cbv"], ops.jet_lut())
    assert torch.equal(found.long(), index["cbv"].clamp_min(0))
    (path, *rest) = write_color_maps({"cbv": colors["cbv"]}, RANGES, ops.jet_lut(), grid, tmp_path / "multi")
    dataset = dcmread(path)
    dataset.NumberOfFrames, dataset.PixelData = 3, known.numpy().tobytes()
    dataset.save_as(path)
    for other in rest:
        other.unlink()
    again = read_color_maps(tmp_path / "multi")
    assert torch.equal(again["cbv"], known)
    assert again.geometry is None


def test_refusals(tmp_path):
    grid, _, colors = made()
    with pytest.raises(ValueError, match="'xyz' needs a range and a name among"):
        write_color_maps({"xyz": colors["cbv"]}, RANGES, ops.jet_lut(), grid, tmp_path / "m")
    with pytest.raises(ValueError, match="must be"):
        write_color_maps({"cbv": colors["cbv"][:2]}, RANGES, ops.jet_lut(), grid, tmp_path / "m")
    with pytest.raises(NoSeriesError, match="no RGB map"):
        read_color_maps(tmp_path)
    path = write_color_maps({"cbv": colors["cbv"]}, RANGES, ops.jet_lut(), grid, tmp_path / "m")[1]
    dataset = dcmread(path)
    small = tmp_path / "m" / "small.dcm"
    dataset.Rows, dataset.Columns, dataset.PixelData = 2, 2, b"0123456789ab"
    dataset.save_as(small)
    with pytest.raises(UnreadableFileError, match="has another size than"):
        read_color_maps(tmp_path / "m")
    small.unlink()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnreadableFileError, match=path.name):
        read_color_maps(tmp_path / "m")
