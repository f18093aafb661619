"""NaN and infinity in a NIfTI series: found, filled, and said."""

import nibabel
import numpy as np
import pytest
import torch

from ctp_torch.io import read_series, read_volume
from ctp_torch.io.nifti.lost_values import fill_lost


def saved(path, values, order="<"):
    """A NIfTI file by nibabel, one second a frame."""
    image = nibabel.Nifti1Image(values.astype(f"{order}{values.dtype.str[1:]}"), np.diag([-1.0, -1.0, 5.0, 1.0]))
    if order == ">":
        image = nibabel.Nifti1Image(image.dataobj, image.affine, image.header.as_byteswapped(">"))
    image.header.set_xyzt_units("mm", "sec")
    if values.ndim == 4:
        image.header["pixdim"][4] = 1.0
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nonfinite_values_come_back_where_they_were(tmp_path, dtype, order, ending):
    values = np.arange(4 * 5 * 3, dtype=dtype).reshape(4, 5, 3)
    values[1, 2, 0], values[3, 4, 2], values[0, 0, 1] = np.nan, np.inf, -np.inf
    path = saved(tmp_path / f"a{ending}", values, order)
    volume, _ = read_volume(path)
    torch.testing.assert_close(
        volume.double().permute(2, 1, 0), torch.from_numpy(values.astype("f8")), equal_nan=True, rtol=0, atol=0
    )


def test_lost_frames_are_interpolated_and_lost_pixels_are_air():
    """A straight line in time survives any loss inside; the ends repeat."""
    hu = (10.0 * torch.arange(8.0))[:, None, None, None].repeat(1, 1, 2, 3)
    broken = hu.clone()
    broken[3:6, 0, 0, 0] = torch.nan
    broken[:2, 0, 1, 0] = torch.inf
    broken[7, 0, 1, 1] = -torch.inf
    broken[:, 0, 0, 2] = torch.nan
    filled, said = fill_lost(broken)
    expected = hu.clone()
    expected[:2, 0, 1, 0], expected[7, 0, 1, 1], expected[:, 0, 0, 2] = 20.0, 60.0, -1000.0
    torch.testing.assert_close(filled, expected)
    assert said == (
        "4 pixel(s) hold NaN or infinity: 3 in some frames, interpolated from the others; 1 in every frame, read as air"
    )
    assert fill_lost(hu) == (hu, "")


def test_a_series_says_what_was_lost(tmp_path):
    values = np.full((6, 6, 3, 5), 40.0, "f4")
    values[2, 3, 1, 2] = np.nan
    series = read_series(saved(tmp_path / "a.nii.gz", values))
    assert series.hu.isfinite().all()
    assert any("1 pixel(s) hold NaN or infinity" in text for text in series.provenance.warnings)
