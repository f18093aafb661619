"""Maps written and read back: by us, SimpleITK, nibabel and highdicom, wherever the slices lie."""

import json
from dataclasses import replace

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from oracles.derived import CODES, NAMES, ORIENTATIONS, Found, made_maps, made_scan, objects

from ctp_torch import Geometry, PerfusionMaps, write_maps
from ctp_torch.errors import CTPError
from ctp_torch.io import read_value_maps
from ctp_torch.io.results.bids import BidsName, describe_dataset, write_bids
from ctp_torch.io.results.ct import precision
from ctp_torch.io.results.write_maps import Output


def lps(geometry, z, y, x):
    """Where a voxel lies, by a matrix product of its own."""
    d = np.array(geometry.direction).reshape(3, 3)
    return np.array(geometry.origin) + d @ (np.array([x, y, z]) * np.array(geometry.spacing[::-1]))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["nifti", "ct", "pm"])
def test_round_trip(orientation, form, tmp_path):
    """Exact for NIfTI and Parametric Maps, within half a step for CT images, in the same place."""
    made_scan(tmp_path / "ct", orientation=orientation)
    maps, _ = made_maps(tmp_path / "ct")
    maps = replace(maps, values={**maps.values, "tmax": maps["tmax"] - 3.3})  # below 0 too
    write_maps(maps, tmp_path / "out", formats=(form,), source=tmp_path / "ct")
    again = read_value_maps(tmp_path / "out")
    assert set(again) == set(NAMES)
    for name, one in again.items():
        assert one.geometry.matches(maps.geometry, tolerance_mm=1e-4)
        error = float((one.values - maps[name]).abs().max())
        if form == "ct":
            step = precision(float(maps[name].min()), float(maps[name].max()))[0]
            assert error <= step * 0.51
            assert step <= float(maps[name].max() - maps[name].min().clamp_max(0)) / 65534 * 2.5 + 1e-4
        else:
            assert error == 0
        assert form == "nifti" or one.unit == CODES[name][2]


@pytest.mark.parametrize("form", ["ct", "pm"])
def test_a_viewer_opens_a_map_at_its_range(form, tmp_path):
    """OEFmax, shown from 20 to 60 %. Mutations seen red: half of the top for the middle; the top for the width."""
    made_scan(tmp_path / "ct")
    maps, _ = made_maps(tmp_path / "ct", names=("oefmax",))
    write_maps(maps, tmp_path / "out", formats=(form,), source=tmp_path / "ct")
    one = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    if form == "pm":
        one = one.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert (float(one.WindowCenter), float(one.WindowWidth)) == (40.0, 40.0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_reads_ct_images(orientation, tmp_path):
    """Physical values and geometry, by the program most others are built on; locations along the normal.

    Mutation seen red: locations along the third row of the cosines.
    """
    made_scan(tmp_path / "ct", orientation=orientation)
    maps, _ = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    write_maps(maps, tmp_path / "out", formats=("ct",), source=tmp_path / "ct")
    reader = SimpleITK.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(tmp_path / "out" / "dicom" / "ct"))
    assert len(series) == 2
    seen = set()
    for uid in series:
        files = reader.GetGDCMSeriesFileNames(str(tmp_path / "out" / "dicom" / "ct"), uid)
        reader.SetFileNames(files)
        image = reader.Execute()
        name = files[0].rsplit("/", 1)[1].split("_")[0]
        seen.add(name)
        step = precision(0.0, float(maps[name].max()))[0]
        np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image), maps[name].numpy(), atol=step * 0.51)
        for index in ((0, 0, 0), (2, 3, 5), (1, 5, 6)):
            np.testing.assert_allclose(
                image.TransformIndexToPhysicalPoint(index[::-1]), lps(maps.geometry, *index), atol=1e-3
            )
    assert seen == {"cbf", "tmax"}
    for one in objects(tmp_path / "out")["ct"]:
        normal = np.cross(one.ImageOrientationPatient[:3], one.ImageOrientationPatient[3:])
        assert float(one.SliceLocation) == pytest.approx(float(normal @ np.array(one.ImagePositionPatient)), abs=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nibabel_reads_the_affine_and_the_unit(orientation, tmp_path):
    made_scan(tmp_path / "ct", orientation=orientation)
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    write_maps(maps, tmp_path / "out", lesions=lesions)
    image = nibabel.load(tmp_path / "out" / "cbf.nii.gz")
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"]).rstrip(b"\0").decode() == "rCBF [mL/100 g/min]"
    np.testing.assert_array_equal(np.asarray(image.dataobj), maps["cbf"].numpy().T)
    for z, y, x in ((0, 0, 0), (2, 3, 5), (1, 5, 6)):
        np.testing.assert_allclose(
            (image.affine @ [x, y, z, 1])[:3] * [-1, -1, 1], lps(maps.geometry, z, y, x), atol=1e-3
        )
    core = nibabel.load(tmp_path / "out" / "core.nii.gz")
    np.testing.assert_array_equal(np.asarray(core.dataobj).T, lesions.core.numpy())
    assert {p.name for p in (tmp_path / "out").glob("*.nii.gz")} == {
        f"{n}.nii.gz" for n in ("cbf", "tmax", "mask", "core", "penumbra", "hypoperfusion")
    }


def on_grid(volume, geometry):
    """A highdicom volume's values at the voxels of a grid."""
    z, y, x = np.indices(geometry.shape)
    d = np.array(geometry.direction).reshape(3, 3)
    steps = np.stack([x, y, z], -1) * np.array(geometry.spacing[::-1])
    places = np.array(geometry.origin) + steps @ d.T  # (z, y, x, 3)
    index = volume.map_reference_to_indices(places.reshape(-1, 3))
    whole = np.round(index).astype(int)
    assert np.abs(index - whole).max() < 0.02
    return volume.array[tuple(whole.T)].reshape(*geometry.shape, *volume.array.shape[3:])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_highdicom_reads_maps_segments_and_numbers_back(orientation, tmp_path):
    """Identical: every voxel of map and segment at its place in the patient, every number with its unit.

    Mutation seen red: segments counted from 0 where the report refers to them.
    """
    made_scan(tmp_path / "ct", orientation=orientation)
    maps, lesions = made_maps(tmp_path / "ct")
    write_maps(maps, tmp_path / "out", formats=("pm", "seg", "sr"), source=tmp_path / "ct", lesions=lesions)
    for name in NAMES:
        volume = highdicom.imread(tmp_path / "out" / "dicom" / "pm" / f"{name}.dcm").get_volume()
        np.testing.assert_array_equal(on_grid(volume, maps.geometry).astype(np.float32), maps[name].numpy())
    segmentation = highdicom.seg.segread(tmp_path / "out" / "dicom" / "seg" / "lesions.dcm")
    assert [str(s.SegmentLabel).split()[0] for s in segmentation.SegmentSequence] == ["Core", "Penumbra"]
    volume = on_grid(segmentation.get_volume(combine_segments=False), maps.geometry)
    np.testing.assert_array_equal(volume[..., 0].astype(bool), lesions.core.numpy())
    np.testing.assert_array_equal(volume[..., 1].astype(bool), lesions.penumbra.numpy())
    report = highdicom.sr.srread(tmp_path / "out" / "dicom" / "sr" / "lesions.dcm")
    summary = lesions.summary()
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    told = {}
    for group in [*groups, *report.content.get_image_measurement_groups()]:
        for one in group.get_measurements():
            told[group.tracking_identifier, one.name.meaning] = (one.value, one.unit.value)
    assert told == {
        ("core", "Volume"): (summary["core_ml"], "ml"),
        ("penumbra", "Volume"): (summary["penumbra_ml"], "ml"),
        ("hypoperfusion", "Volume"): (summary["hypoperfusion_ml"], "ml"),
        ("severe hypoperfusion", "Volume"): (0.0, "ml"),
        ("mismatch", "Mismatch volume"): (summary["mismatch_ml"], "ml"),
        ("mismatch", "Mismatch ratio"): (summary["mismatch_ratio"], "{ratio}"),
        ("mismatch", "CBV index"): (0.7, "{ratio}"),
    }
    assert {g.reference_type.value for g in groups} == {"121191"}  # Referenced Segment
    referred = {
        group.tracking_identifier: item.ReferencedSOPSequence[0].ReferencedSegmentNumber
        for group in groups
        for item in group[0].ContentSequence
        if "ReferencedSegmentNumber" in item.get("ReferencedSOPSequence", [{}])[0]
    }
    assert referred == {"core": 1, "penumbra": 2}
    assert segmentation.SegmentSequence[0].TrackingUID in {g.tracking_uid for g in groups}


def test_no_lesion_is_a_result_too(tmp_path):
    """An empty core and penumbra make a whole segmentation and a report of 0 mL without ratio."""
    made_scan(tmp_path / "ct")
    maps, _ = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    nothing = torch.zeros_like(maps.mask)
    none = Found(nothing, nothing, 1.0)
    write_maps(maps, tmp_path / "out", formats=("rgb", "seg", "sr"), source=tmp_path / "ct", lesions=none)
    segmentation = highdicom.seg.segread(tmp_path / "out" / "dicom" / "seg" / "lesions.dcm")
    assert not segmentation.get_volume(combine_segments=False).array.any()
    report = highdicom.sr.srread(tmp_path / "out" / "dicom" / "sr" / "lesions.dcm")
    values = [m.value for g in report.content.get_image_measurement_groups() for m in g.get_measurements()]
    assert sorted(values) == [0.0, 0.0, 0.0, 0.0, 0.0, 0.7]
    assert report.content.get_volumetric_roi_measurement_groups() == []


def test_a_left_handed_stack_is_turned(tmp_path):
    """NIfTI can hold slices that descend along row x column; DICOM can't, the patient stays where he is."""
    shape = (3, 4, 5)
    geometry = Geometry(shape, (5.0, 0.6, 0.5), (1.0, 2.0, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    maps = PerfusionMaps({"cbf": values}, values > 0.5, geometry)
    write_maps(maps, tmp_path / "out", formats=("nifti", "ct", "pm"))
    flat = nibabel.load(tmp_path / "out" / "cbf.nii.gz")
    np.testing.assert_array_equal(np.asarray(flat.dataobj).T, values.numpy())
    found = read_value_maps(tmp_path / "out" / "dicom" / "pm")["cbf"]
    assert torch.equal(found.values, values.flip(0))
    np.testing.assert_allclose(found.geometry.position(0, 0, 0), lps(geometry, 2, 0, 0), atol=1e-4)
    ct = {float(d.ImagePositionPatient[2]): d for d in objects(tmp_path / "out")["ct"]}
    np.testing.assert_allclose(ct[3.0].pixel_array * float(ct[3.0].RescaleSlope), values[0].numpy(), atol=1e-4)


def test_one_slice_and_what_isnt_finite(tmp_path):
    made_scan(tmp_path / "ct")
    maps, _ = made_maps(tmp_path / "ct", names=("cbf",))
    shape = (1, *maps.geometry.shape[1:])
    values = maps["cbf"][:1].clone()
    values[0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    one = PerfusionMaps({"cbf": values}, maps.mask[:1], replace(maps.geometry, shape=shape))
    write_maps(one, tmp_path / "out", formats=("ct", "pm", "rgb"), source=tmp_path / "ct")
    ct = read_value_maps(tmp_path / "out" / "dicom" / "ct")["cbf"].values
    assert ct[0, 0, :3].tolist() == [0, 0, 0]
    np.testing.assert_allclose(ct[0, 1:], values[0, 1:], atol=1e-3)
    pm = read_value_maps(tmp_path / "out" / "dicom" / "pm")["cbf"].values
    np.testing.assert_array_equal(pm.numpy(), values.numpy())


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, 1e-9), (0, 7.9), (0, 65.534), (0, 1e6), (-3, 9), (-1e4, 0), (5, 6)]
)
def test_precision_holds_the_range(low, high):
    slope, intercept = precision(low, high)
    for value in (low, high, 0.0):
        stored = (value - intercept) / slope
        assert -0.5 <= stored <= 65535.5
    assert len(repr(slope)) <= 16
    assert f"{slope:.0e}"[0] in "125"
    assert slope <= max(1.01e-4, 2.51 * (high - min(low, 0)) / 65534)


def test_bids_tree(tmp_path):
    made_scan(tmp_path / "ct")
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    name = BidsName.parse("sub-case07/ses-02")
    folder = tmp_path / "set" / name.folder
    folder.mkdir(parents=True)
    paths = write_bids(folder, Output(maps, lesions), name, method="csvd", facts={"Settings": {"aif": "auto"}})
    describe_dataset(tmp_path / "set")
    stem = tmp_path / "set" / "sub-case07" / "ses-02" / "perf" / "sub-case07_ses-02_desc-"
    assert f"{stem}csvd_cbf.nii.gz" in map(str, paths)
    assert f"{stem}core_mask.nii.gz" in map(str, paths)
    told = json.loads((stem.parent / f"{stem.name}csvd_cbf.json").read_text(encoding="utf-8"))
    assert (told["Units"], told["Method"], told["Settings"]) == ("mL/100 g/min", "csvd", {"aif": "auto"})
    page = json.loads((tmp_path / "set" / "dataset_description.json").read_text(encoding="utf-8"))
    assert page["DatasetType"] == "derivative"
    assert page["BIDSVersion"]
    assert torch.equal(read_value_maps(folder)["cbf"].values, maps["cbf"])
    (tmp_path / "set" / "dataset_description.json").write_text("mine", encoding="utf-8")
    describe_dataset(tmp_path / "set")
    assert (tmp_path / "set" / "dataset_description.json").read_text(encoding="utf-8") == "mine"
    assert BidsName.parse("7") == ("7", "01")
    for wrong in ("", "a b", "../x", "a/b/c", "Müller"):
        with pytest.raises(CTPError, match="no BIDS label"):
            BidsName.parse(wrong)
