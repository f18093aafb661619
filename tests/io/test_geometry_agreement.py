"""Grids agree with SimpleITK and nibabel, whoever wrote the files: the package, SimpleITK, dcm2niix."""

import shutil
import subprocess

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from oracles.traps import TRAPS

from ctp_torch import CTPSeries, Geometry
from ctp_torch.io import StudyHeader, read_series, write_ct_series, write_nifti_series, write_volume


def turned(*degrees):
    """Direction cosines after turns about x, y and z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
        matrix = turn @ matrix
    return tuple(float(v) for v in matrix.ravel())


DIRECTIONS = {
    "axial": turned(0, 0, 0),
    "feet first": turned(180, 0, 0),
    "prone": turned(0, 0, 180),
    "coronal": turned(90, 0, 0),
    "sagittal": turned(90, 0, 90),
    "oblique": turned(12, -25, 31),
    "tilted head": turned(-18, 0, 0),
}


def series_of(direction, frames=3):
    shape = (4, 6, 9)
    hu = torch.randint(-1000, 2000, (frames, *shape), generator=torch.Generator().manual_seed(1)).float()
    times = torch.arange(frames, dtype=torch.float64)[:, None].expand(frames, 4) * 2.0
    return CTPSeries(hu, times.clone(), Geometry(shape, (5.0, 0.75, 0.5), (-31.5, 44.25, -7.0), direction))


def same_place(affine_lps, geometry, atol=1e-3):
    """Whether an affine from (x, y, z) index to LPS agrees with the grid at every corner."""
    for z, y, x in np.ndindex(2, 2, 2):
        corner = [z * (geometry.shape[0] - 1), y * (geometry.shape[1] - 1), x * (geometry.shape[2] - 1)]
        np.testing.assert_allclose((affine_lps @ [*corner[::-1], 1])[:3], geometry.position(*corner), atol=atol)


def affine_of(image):
    """From (x, y, z) index to LPS of a SimpleITK image."""
    affine = np.eye(4)
    for axis in range(3):
        index = [0] * image.GetDimension()
        start = np.array(image.TransformIndexToPhysicalPoint(index))
        index[axis] = 1
        affine[:3, axis] = (np.array(image.TransformIndexToPhysicalPoint(index)) - start)[:3]
    affine[:3, 3] = start[:3]
    return affine


LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_our_dicom_in_simpleitk(direction, tmp_path):
    """Mutations seen red: row and column direction swapped; origin at the pixel's corner."""
    series = series_of(direction, frames=1)
    paths = write_ct_series(series, tmp_path / "ct")
    image = SimpleITK.ReadImage([str(path) for path in paths])
    same_place(affine_of(image), series.geometry)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), series.hu[0].numpy())
    same_place(affine_of(image), read_series(tmp_path / "ct").geometry)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_simpleitks_dicom_in_ours(direction, tmp_path):
    series = series_of(direction, frames=1)
    g = series.geometry
    for z in range(g.shape[0]):
        image = SimpleITK.GetImageFromArray(series.hu[0, z : z + 1].short().numpy())
        image.SetSpacing(g.spacing[::-1])
        image.SetOrigin(g.position(z, 0, 0))
        image.SetDirection(g.direction)
        told = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.3.4.{z + 1}",
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
            "0008|0060": "CT",
            "0008|0022": "20260102",
            "0008|0032": "101010",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(z),
            "0020|0032": "\\".join(map(str, g.position(z, 0, 0))),
            "0020|0037": "\\".join(str(g.direction[k]) for k in (0, 3, 6, 1, 4, 7)),
        }
        for key, value in told.items():
            image.SetMetaData(key, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{(3 * z) % 4}.dcm"))
        writer.Execute(image)
    again = read_series(tmp_path)
    assert torch.equal(again.hu, series.hu)
    assert again.geometry.matches(g, tolerance_mm=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_our_nifti_in_nibabel(direction, tmp_path):
    """Mutation seen red: directions written without the turn from LPS to RAS."""
    series = series_of(direction)
    path = write_nifti_series(tmp_path / "ctp.nii.gz", series)
    image = nibabel.load(path)
    same_place(LPS @ image.affine, series.geometry)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, series.hu.numpy())
    assert image.header.get_zooms() == pytest.approx((0.5, 0.75, 5.0, 2.0))
    assert image.header.get_xyzt_units() == ("mm", "sec")
    again = read_series(path)
    assert torch.equal(again.hu, series.hu)
    assert again.geometry.matches(series.geometry)
    assert torch.equal(again.times, series.times)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_nibabels_nifti_in_ours(direction, tmp_path):
    """Written with the slices the other way round: read ascending along the normal."""
    series = series_of(direction)
    write_volume(tmp_path / "a.nii", series.hu, series.geometry)
    image = nibabel.load(tmp_path / "a.nii")
    flip = np.eye(4)
    flip[2, 2], flip[2, 3] = -1, 3
    backwards = nibabel.Nifti1Image(np.asarray(image.dataobj)[:, :, ::-1], image.affine @ flip)
    backwards.header.set_xyzt_units("mm", "msec")
    backwards.header["pixdim"][4] = 2000
    nibabel.save(backwards, tmp_path / "b.nii.gz")
    again = read_series(tmp_path / "b.nii.gz")
    assert torch.equal(again.hu, series.hu)
    assert again.geometry.matches(series.geometry, tolerance_mm=1e-3)
    torch.testing.assert_close(again.times, series.times)
    assert again.provenance.time_source == "pixdim[4]"


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_dcm2niix_makes_the_same_of_our_files(direction, tmp_path):
    series = series_of(direction)
    write_ct_series(series, tmp_path / "ct", header=StudyHeader(patient="P"))
    done = subprocess.run(
        ["dcm2niix", "-b", "n", "-z", "n", "-f", "out", "-o", str(tmp_path), str(tmp_path / "ct")],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (path,) = tmp_path.glob("out*.nii")
    image = nibabel.load(path)
    ours = read_series(tmp_path / "ct")
    to_ours = np.linalg.inv(_affine(ours.geometry)) @ LPS @ image.affine  # their index to ours: flips at most
    theirs = np.asarray(image.dataobj)
    index = np.stack(np.meshgrid(*map(np.arange, theirs.shape[:3]), indexing="ij"), -1)
    where = np.rint(index @ to_ours[:3, :3].T + to_ours[:3, 3]).astype(int)
    np.testing.assert_allclose(where, index @ to_ours[:3, :3].T + to_ours[:3, 3], atol=2e-3)
    expected = ours.hu.numpy()[:, where[..., 2], where[..., 1], where[..., 0]]
    np.testing.assert_array_equal(np.moveaxis(theirs, 3, 0), expected)
    from_nifti = read_series(path, dt=2.0)
    assert from_nifti.geometry.shape == ours.geometry.shape


def _affine(geometry):
    affine = np.eye(4)
    zero = np.array(geometry.position(0, 0, 0))
    for axis, index in enumerate([(0, 0, 1), (0, 1, 0), (1, 0, 0)]):
        affine[:3, axis] = np.array(geometry.position(*index)) - zero
    affine[:3, 3] = zero
    return affine


def test_the_tilted_ge_head(third_party):
    """Real slices of a leaning gantry: HU at a place are those of the nearest slice at that place."""
    folder = third_party / "dicom" / "head_ge"
    series = read_series(folder)
    assert series.geometry.shape == (12, 512, 512)
    assert series.geometry.spacing == pytest.approx((4.0019, 0.48828, 0.48828), abs=1e-3)
    assert "leans by 18.5 degrees" in " ".join(series.provenance.warnings)
    for z in range(12):  # SimpleITK places each slice alone, tilt and all
        image = SimpleITK.ReadImage(str(folder / f"{z + 1:02d}.dcm"))
        flat = SimpleITK.GetArrayFromImage(image)[0].astype("float32")
        flat[flat == -1500] = -1024  # the padding that the file declares
        plane = affine_of(image)
        index = np.linalg.inv(_affine(series.geometry)) @ plane  # (x, y) of the file to index of ours
        y, x = np.mgrid[60:440, 60:440]
        at = np.einsum("ij,jyx->iyx", index, np.stack([x, y, 0 * x, 1 + 0 * x]))
        np.testing.assert_allclose(at[2], z, atol=1e-3)
        low = np.floor(at[1] + 1e-9).astype(int)
        weight = at[1] - low
        ours = series.hu[0, z].numpy()
        column = np.rint(at[0]).astype(int)
        above = ours[(low + 1).clip(0, 511), column]
        mixed = ours[low.clip(0, 511), column] * (1 - weight) + above * weight
        back = np.where((low >= 0) & (low < 511), mixed, np.nan)
        # interpolated twice by a part of a row: 0 to 4 HU away in the mean, the rows above and below 23 to 34 HU
        above, here, below = (np.nanmean(np.abs(back - flat[y + slip, x])) for slip in (-1, 0, 1))
        assert here < 5 < 20 < min(above, below)


def test_tilted_phantom_is_exact_at_every_place(tmp_path):
    """The trap of the leaning gantry compares HU with a function of place; here its grid with nibabel's."""
    TRAPS["gantry_tilt"](tmp_path / "data")
    series = read_series(tmp_path / "data")
    path = write_nifti_series(tmp_path / "t.nii.gz", series)
    same_place(LPS @ nibabel.load(path).affine, series.geometry)
