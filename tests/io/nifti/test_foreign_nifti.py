"""NIfTI as converters and careless hands write it: times, axes, sizes and values are read exactly or refused."""

import json
import struct

import nibabel
import numpy as np
import pytest
import torch

from ctp_torch.errors import CTPError, IncompleteSeriesError, NoSeriesError, UnreadableFileError
from ctp_torch.io import read_series

SHAPE = (9, 8, 4, 6)  # x, y, z, time
HU = np.random.default_rng(0).integers(-1000, 900, SHAPE).astype("int16")
AFFINE = np.diag([-0.4, -0.5, 5.0, 1.0])
TIMES = [0.0, 1.5, 3.0, 4.5, 9.0, 15.0]


def write(folder, *, values=HU, affine=AFFINE, step=0.0, unit="sec", told=None, name="ctp.nii", patch=()):
    """The series, its JSON, and header fields overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    nibabel.save(image, folder / name)
    content = bytearray((folder / name).read_bytes())
    for at, kind, *numbers in patch:
        struct.pack_into(kind, content, at, *numbers)
    (folder / name).write_bytes(content)
    if told is not None:
        (folder / name).with_suffix(".json").write_text(json.dumps(told))
    return folder / name


@pytest.mark.parametrize(
    ("told", "step", "wanted"),
    [
        ({"FrameTimesStart": TIMES, "RepetitionTime": 1.5, "Modality": "CT"}, 1.0, TIMES),
        ({"VolumeTiming": TIMES}, 1.0, TIMES),
        ({"VolumeTiming": TIMES, "SliceTiming": [0, 0.25, 0.5, 0.75]}, 1.0,
         [[t + s for s in (0, 0.25, 0.5, 0.75)] for t in TIMES]),
        ({"FrameTimesStart": [1000 * t for t in TIMES], "RepetitionTime": 1.5}, 0.0, TIMES),
        ({"VolumeTiming": [1000 * t for t in TIMES]}, 1.5, TIMES),
        ({"Modality": "CT", "RepetitionTime": 2.5}, 2.5, [2.5 * k for k in range(6)]),
        ({"Modality": "CT", "RepetitionTime": 2.5}, 1.0, [2.5 * k for k in range(6)]),
        ({"RepetitionTime": 2500}, 2.5, [2.5 * k for k in range(6)]),
        ({"RepetitionTime": 1.5}, 1500.0, [1.5 * k for k in range(6)]),
        ({"Modality": "CT", "ConversionSoftware": "some converter"}, 2.0, [2.0 * k for k in range(6)]),
        ([0, 1, 2, 3, 4, 7], 1.0, [0, 1, 2, 3, 4, 7]),
    ],
)  # fmt: skip
def test_times_of_the_json_beside_it(told, step, wanted, tmp_path):
    series = read_series(write(tmp_path, told=told, step=step))
    np.testing.assert_array_equal(series.hu.numpy(), HU.T)
    wanted = torch.tensor(wanted, dtype=torch.float64)
    wanted = wanted[:, None].expand(6, 4) if wanted.ndim == 1 else wanted
    torch.testing.assert_close(series.times, wanted)


@pytest.mark.parametrize(
    ("told", "step", "match"),
    [
        ({"FrameTimesStart": [0, 2.2, 2, 5.2, 8, 9]}, 2.0, "doesn't rise.*shuttle.*--times"),
        ({"RepetitionTime": 2.0}, 3.0, "header tells 3 s.*JSON beside it 2 s"),
        ({"VolumeTiming": [0, 1.5, 3]}, 1.0, "for 3 .*series has 6 x 4"),
        ({"VolumeTiming": ["a"] * 6}, 1.0, "VolumeTiming"),
        ({"VolumeTiming": [1500.0 * t for t in range(6)]}, 0.0, "1500 s apart.*milliseconds, 1.5 s"),
        ({}, 1500.0, "1500 s apart.*milliseconds, 1.5 s"),
        ({"Modality": "CT"}, 0.0, "tells no times"),
        ({"Modality": "CT"}, -1.5, "tells no times"),
        ({"Modality": "CT"}, float("nan"), "tells no times"),
    ],
)
def test_times_that_contradict_or_fail(told, step, match, tmp_path):
    with pytest.raises(CTPError, match=match):
        read_series(write(tmp_path, told=told, step=step))


def test_given_times_count_before_a_broken_json(tmp_path):
    path = write(tmp_path, step=1.0)
    path.with_suffix(".json").write_text("{broken")
    with pytest.raises(UnreadableFileError, match=r"ctp\.json holds no times.*--dt S"):
        read_series(path)
    assert read_series(path, dt=2.0).dt == 2.0


def turned(degrees):
    a = np.deg2rad(degrees)
    return np.array([[-1, 0, 0], [0, -np.cos(a), np.sin(a)], [0, -np.sin(a), -np.cos(a)]])


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_rounded_axes_are_straightened(digits, tmp_path):
    """Mutation seen red: the tolerance of a product of cosines at 1e-3."""
    axes = np.round(turned(13) + 0.004 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), digits)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * [0.4, 0.5, 5.0], (100, 80, 30)
    series = read_series(write(tmp_path, affine=affine, step=1.5, patch=[(252, "<h", 0)]))
    d = np.array(series.geometry.direction).reshape(3, 3)
    np.testing.assert_allclose(d.T @ d, np.eye(3), atol=1e-9)
    corners = {
        tuple(np.round(affine[:3, :3] @ [x, y, z] + affine[:3, 3], 6)) for z in (0, 3) for y in (0, 7) for x in (0, 8)
    }
    for z, y, x in [(0, 0, 0), (3, 7, 8), (0, 7, 0), (3, 0, 8)]:
        at = np.array(series.geometry.position(z, y, x)) * [-1, -1, 1]
        assert min(np.linalg.norm(at - corner) for corner in corners) < 0.25
    assert any("rounded" in w or "leans" in w for w in series.provenance.warnings) or digits == 2


def test_a_leaning_stack_is_straightened(tmp_path):
    """A gantry tilt in the matrix: slices slide in their plane. Mutation seen red: the quaternion believed."""
    n, lean = 4, 2.0  # two pixels down for every slice up
    y, x = np.mgrid[:24, :20]
    dot = ((y - 12) ** 2 + (x - 9) ** 2 < 30).astype("int16") * 1000 - 1000
    true = np.stack([dot] * n)  # a straight column in the patient
    leaning = np.stack([np.roll(true[z], -round(z * lean), axis=0) for z in range(n)])
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    affine[1, 2] = -lean
    values = np.repeat(leaning[None], 6, 0).T.copy()
    series = read_series(write(tmp_path, values=values, affine=affine, step=1.5, patch=[(252, "<h", 0)]))
    moved = series.hu[0].numpy()
    for z in range(1, n):
        assert np.abs(moved[z] - moved[0])[8:16].max() < 1
    assert any("leans" in w for w in series.provenance.warnings)
    assert series.geometry.spacing == pytest.approx((5, 1, 1))
    d = np.array(series.geometry.direction).reshape(3, 3)
    np.testing.assert_allclose(d.T @ d, np.eye(3), atol=1e-9)
    spot = np.argwhere(moved[1] > -500).mean(0)
    there = np.array(series.geometry.position(1, *spot)) * [-1, -1, 1]
    spot = np.argwhere(leaning[1] > -500).mean(0)
    np.testing.assert_allclose(there, (affine @ [spot[1], spot[0], 1, 1])[:3], atol=0.3)


NO_FORM = [(252, "<hh", 0, 0)]


@pytest.mark.parametrize("size", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("forms", [(0, 0), (1, 0)])
def test_sizes_that_cannot_be_are_refused(size, forms, tmp_path):
    """Mutation seen red: 1 mm in their place, as nibabel mends them."""
    path = write(tmp_path, step=1.5, patch=[(252, "<hh", *forms), (88, "<f", size)])
    with pytest.raises(UnreadableFileError, match=r"voxels of 0\.4 x 0\.5 x (0|nan|inf) mm.*above 0"):
        read_series(path)


def test_sizes_lost_beside_a_good_matrix(tmp_path):
    series = read_series(write(tmp_path, step=1.5, patch=[(252, "<h", 0), (80, "<3f", 0.0, 0.0, 0.0)]))
    assert series.geometry.spacing == pytest.approx((5, 0.5, 0.4))
    assert any("don't agree; the matrix was taken" in w for w in series.provenance.warnings)


def test_sizes_below_zero(tmp_path):
    series = read_series(write(tmp_path, step=1.5, patch=[*NO_FORM, (80, "<3f", -0.4, 0.5, 5.0)]))
    assert series.geometry.spacing == pytest.approx((5, 0.5, 0.4))
    assert any("sizes below 0" in w for w in series.provenance.warnings)
    assert any("no orientation" in w for w in series.provenance.warnings)


def test_matrix_and_sizes_that_disagree_are_told(tmp_path):
    series = read_series(write(tmp_path, step=1.5, patch=[(252, "<h", 0), (80, "<3f", 1.0, 1.0, 1.0)]))
    assert any("(1 x 1 x 1)" in w and "0.4 x 0.5 x 5" in w for w in series.provenance.warnings)


def test_unsigned_that_were_signed(tmp_path):
    """Air of -1000 written as 64536. Mutation seen red: read as it stands."""
    path = write(tmp_path, values=HU.astype("uint16"), step=1.5)
    series = read_series(path)
    np.testing.assert_array_equal(series.hu.numpy(), HU.T)
    assert any("unsigned" in w for w in series.provenance.warnings)
    plain = read_series(write(tmp_path / "b", values=np.abs(HU).astype("uint16"), step=1.5))
    np.testing.assert_array_equal(plain.hu.numpy(), np.abs(HU.T))


@pytest.mark.parametrize(("slope", "match"), [(-1.0, "slope of -1.*bone dark"), (1000.0, "beyond any CT scale")])
def test_slopes_that_cannot_be(slope, match, tmp_path):
    with pytest.raises(UnreadableFileError, match=match):
        read_series(write(tmp_path, step=1.5, patch=[(112, "<2f", slope, 0.0)]))


def test_a_slope_that_is_no_number_is_told(tmp_path):
    series = read_series(write(tmp_path, step=1.5, patch=[(112, "<2f", float("nan"), 0.0)]))
    np.testing.assert_array_equal(series.hu.numpy(), HU.T)
    assert any("slope is nan" in w for w in series.provenance.warnings)
    with pytest.raises(UnreadableFileError, match="intercept"):
        read_series(write(tmp_path, step=1.5, patch=[(112, "<2f", 1.0, float("nan"))]))


def test_an_offset_of_1024_is_told(tmp_path):
    series = read_series(write(tmp_path, values=np.clip(HU, -1000, 400) + np.int16(1024), step=1.5))
    assert any("no air" in w and "1,024" in w for w in series.provenance.warnings)


def test_several_nifti_in_a_folder(tmp_path):
    """The one series among volumes is read; of two, the refusal lists both with what they are."""
    write(tmp_path, step=1.5, name="perfusion.nii")
    write(tmp_path, values=HU[..., 0].copy(), name="baseline.nii")
    write(tmp_path, values=(HU[..., 0] > 0).astype("uint8"), name="mask.nii")
    (tmp_path / "readme.txt").write_text("hello")
    np.testing.assert_array_equal(read_series(tmp_path).hu.numpy(), HU.T)
    write(tmp_path / "sub", step=2.0, name="again.nii")
    with pytest.raises(
        IncompleteSeriesError, match=r"2 series(?s:.*)perfusion\.nii\n.*6 x 4 x 8 x 9(?s:.*)again\.nii\n.*2 s apart"
    ):
        read_series(tmp_path)
    write(tmp_path / "v", values=HU[..., 0].copy(), name="a.nii")
    write(tmp_path / "v", values=HU[..., 0].copy(), name="b.nii")
    with pytest.raises(NoSeriesError, match=r"2 NIfTI files.*none is 4-D(?s:.*)a\.nii\n.*4 x 8 x 9"):
        read_series(tmp_path / "v")


def test_a_large_series_is_cropped_to_the_head(tmp_path, monkeypatch):
    """The same HU in the same places. Mutation seen red: the origin of the whole grid."""
    from oracles.heads import head

    from ctp_torch.io import coarse, write_nifti_series
    from ctp_torch.io.nifti import voxels

    made, _ = head(size=96, slices=7, frames=6)
    made.hu[:, [0, 1, 6]] = -1000
    path = write_nifti_series(tmp_path / "a.nii.gz", made)
    monkeypatch.setattr(coarse, "LARGE_BYTES", 1000)
    monkeypatch.setattr(voxels, "_MARGIN_MM", (1.0, 8.0, 8.0))
    part = read_series(path)
    rows, columns = part.hu.shape[2:]
    assert rows < 96
    assert columns < 90
    at = made.geometry.position(1, 48, 48)
    y, x = (np.array(at[1::-1]) - np.array(part.geometry.origin[1::-1])) / np.array(part.geometry.spacing[1:])
    y, x = round(y), round(x)
    assert part.hu.shape[1] == 6
    z = 1 - 1  # slice 1 of the file comes first
    wanted = made.hu[:, 1:, 48 - y : 48 - y + rows, 48 - x : 48 - x + columns]
    assert torch.equal(part.hu, wanted)
    assert part.geometry.position(z, y, x) == pytest.approx(at, abs=1e-4)
    outside = made.hu.clone()
    outside[:, :, 48 - y : 48 - y + rows, 48 - x : 48 - x + columns] = -1000
    assert int((outside > -500).sum()) == 0
    assert any("cropped to the head" in w and "float32" in w for w in part.provenance.warnings)
