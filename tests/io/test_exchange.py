"""Series and maps as arrays and neighbours' images: where voxels lie is asked of the neighbours themselves."""

import math

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

import ctp_torch
from ctp_torch.data.maps import PerfusionMaps

C, S = math.cos(0.3), math.sin(0.3)
DIRECTION = (1.0, 0.0, 0.0, 0.0, C, -S, 0.0, S, C)


def drawn(shape=(5, 3, 6, 4)):
    rng = np.random.default_rng(0)
    return rng.normal(40, 5, shape).astype(np.float32)


def series(**more):
    return ctp_torch.from_numpy(
        drawn(), spacing=(5.0, 2.0, 1.5), dt=1.7, origin=(-30.0, 12.0, 7.0), direction=DIRECTION, **more
    )


def test_an_array_becomes_a_series():
    one = series()
    np.testing.assert_array_equal(one.hu.numpy(), drawn())
    assert one.dt == pytest.approx(1.7)
    assert one.geometry.direction == DIRECTION
    with_times = ctp_torch.from_numpy(drawn().astype(np.int16), spacing=(5, 2, 1.5), times=[3, 4, 6, 9, 11])
    assert with_times.times[:, 2].tolist() == [0, 1, 3, 6, 8]
    assert with_times.hu.dtype == torch.float32


@pytest.mark.parametrize("neighbour", ["nibabel", "sitk"])
def test_there_and_back(neighbour):
    """Mutations seen red: x not turned in the affine; axes not reversed; the fourth spacing left at 1."""
    one = series()
    image = getattr(ctp_torch, f"to_{neighbour}")(one)
    back = getattr(ctp_torch, f"from_{neighbour}")(image)
    torch.testing.assert_close(back.hu, one.hu)
    assert back.dt == pytest.approx(1.7, rel=1e-6)
    assert back.geometry.matches(one.geometry, tolerance_mm=1e-3)


def test_voxels_lie_where_nibabel_and_simpleitk_say():
    one = series()
    image, other = ctp_torch.to_nibabel(one), ctp_torch.to_sitk(one)
    for z, y, x in ((0, 0, 0), (2, 5, 1)):
        place = one.geometry.position(z, y, x)
        ras = nibabel.affines.apply_affine(image.affine, (x, y, z))
        assert (-ras[0], -ras[1], ras[2]) == pytest.approx(place, abs=1e-4)
        assert other.TransformIndexToPhysicalPoint((x, y, z, 0))[:3] == pytest.approx(place, abs=1e-9)
        assert image.dataobj[x, y, z, 1] == float(one.hu[1, z, y, x])
        assert other.GetPixel(x, y, z, 1) == pytest.approx(float(one.hu[1, z, y, x]))
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_slices_of_a_neighbour_are_turned_to_ascend():
    image = nibabel.Nifti1Image(drawn().transpose(3, 2, 1, 0), np.diag([-1.5, -2.0, -5.0, 1.0]))
    image.header.set_zooms((1.5, 2.0, 5.0, 2.0))
    one = ctp_torch.from_nibabel(image)
    np.testing.assert_array_equal(one.hu.numpy(), drawn()[:, ::-1])
    assert one.geometry.origin[2] == -10.0


def test_one_map_as_an_image():
    one = series()
    values = {"cbf": torch.rand(3, 6, 4)}
    maps = PerfusionMaps(values, torch.ones(3, 6, 4, dtype=torch.bool), one.geometry)
    np.testing.assert_array_equal(ctp_torch.to_nibabel(maps, "cbf").dataobj, values["cbf"].numpy().transpose(2, 1, 0))
    assert SimpleITK.GetArrayFromImage(ctp_torch.to_sitk(maps, "cbf")).shape == (3, 6, 4)
    with pytest.raises(ValueError, match="say which map: cbf"):
        ctp_torch.to_nibabel(maps)
    with pytest.raises(TypeError, match="CTPSeries or PerfusionMaps"):
        ctp_torch.to_sitk(values["cbf"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either dt"),
        ({"dt": 1.0, "times": [0, 1, 2, 3, 4]}, "either dt"),
        ({"dt": -1.0}, "positive"),
        ({"times": [0, 1, 2]}, r"\(5,\) or \(5, 3\)"),
        ({"times": [0, 1, 1, 2, 3]}, "rise"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ctp_torch.from_numpy(drawn(), spacing=(5, 2, 1.5), **options)
    with pytest.raises(ValueError, match="time, z, y, x"):
        ctp_torch.from_numpy(drawn()[0], spacing=(5, 2, 1.5), dt=1.0)


def test_a_sheared_affine_is_refused():
    affine = np.diag([1.5, 2.0, 5.0, 1.0])
    affine[0, 2] = 1.0
    with pytest.raises(ValueError, match="perpendicular"):
        ctp_torch.from_nibabel(nibabel.Nifti1Image(drawn().transpose(3, 2, 1, 0), affine))


def test_neighbours_that_train_see_the_same_voxels_at_the_same_place():
    """Mutation seen red: axes left as z, y, x."""
    monai, torchio = pytest.importorskip("monai.data"), pytest.importorskip("torchio")
    one = series()
    image, subject = ctp_torch.to_monai(one)["image"], ctp_torch.to_torchio(one)
    reference = ctp_torch.to_nibabel(one)
    assert isinstance(image, monai.MetaTensor)
    np.testing.assert_allclose(image.affine.numpy(), reference.affine, atol=1e-6)
    np.testing.assert_allclose(subject["image"].affine, reference.affine, atol=1e-6)
    for values in (image.numpy(), subject["image"].data.numpy()):
        np.testing.assert_array_equal(values, np.moveaxis(np.asarray(reference.dataobj), -1, 0))
    values = {"cbf": one.hu[0], "tmax": one.hu[1]}
    maps = PerfusionMaps(values, one.hu[0] > 40, one.geometry)
    assert {n: tuple(v.shape) for n, v in ctp_torch.to_monai(maps).items()} == dict.fromkeys(
        ("cbf", "tmax", "mask"), (1, 4, 6, 3)
    )
    assert isinstance(ctp_torch.to_torchio(maps)["mask"], torchio.LabelMap)
