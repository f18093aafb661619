"""Which file is which map, and what its numbers mean: masks, doubles, strangers and units beside the maps."""

import json

import nibabel
import numpy as np
import pytest
import torch
from oracles.scans import Scan, enhanced, part, save
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from ctp_torch.cli import app
from ctp_torch.errors import CTPError, NoSeriesError, UnreadableFileError
from ctp_torch.io import read_color_maps, read_value_maps
from ctp_torch.io.cohort.map_units import factor_of
from ctp_torch.io.cohort.quantity_names import quantity_in
from ctp_torch.io.cohort.value_maps import find_value_maps

GRID = np.diag([-0.5, -0.5, 5.0, 1.0])


def volume(seed=0, low=0.0, high=12.0, shape=(7, 6, 4)):
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def nifti(path, values, affine=GRID):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return values


def scan_of(
    name, *, number=7, seed=0, study="study", patient="MADE", image_type=("DERIVED", "SECONDARY", "AXIAL"), **more
):
    """A map as classic CT images, values = stored / 10."""
    scan = Scan(n_frames=1, number=number, seed=seed, description=name, **more)

    def change(d, t, z):
        d.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        d.RescaleSlope, d.RescaleIntercept, d.RescaleType = "0.1", "0", "US"
        d.StudyInstanceUID, d.PatientID = generate_uid(entropy_srcs=[study]), patient

    return scan.each(change)


def mapped(slope, intercept, unit, *, first=0, last=65535, lut=None):
    """An item of a real-world value mapping."""
    item = part(
        MeasurementUnitsCodeSequence=[part(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)],
        LUTLabel="map",
    )
    item.add_new(0x00409216, "US", first)
    item.add_new(0x00409211, "US", last)
    if lut is None:
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    else:
        item.RealWorldValueLUTData = [float(v) for v in lut]
    return item


@pytest.mark.parametrize("mask", ["Tmax_6s_mask.nii.gz", "Tmax6.nii.gz", "Tmax>6s.nii.gz", "masks/Tmax.nii.gz",
                                  "lesion_Tmax_core.nii.gz"])  # fmt: skip
def test_a_mask_named_like_its_map_is_none(mask, tmp_path):
    """Found by its name, its folder or its two values. Mutation seen red: the first name that fits wins."""
    tmax, cbf = nifti(tmp_path / "Tmax_map.nii.gz", volume()), nifti(tmp_path / "CBF.nii.gz", volume(1, 5, 60))
    nifti(tmp_path / mask, (tmax > 6).astype("float32"))
    found = find_value_maps(tmp_path)
    np.testing.assert_array_equal(found.maps["tmax"].values, tmax.T)
    np.testing.assert_array_equal(found.maps["cbf"].values, cbf.T)
    assert [one.path.name for one in found.left_out] == [mask.split("/")[-1]]


def test_a_threshold_map_in_dicom_is_none(tmp_path):
    """A console's CBF < 30 % beside its CBF, and labels of 0, 1 and 2 named as their map is."""
    cbf = scan_of("CBF")
    cbf.save(tmp_path)
    scan_of("CBF < 30%", number=8, seed=1).save(tmp_path)
    labels = scan_of("CBF", number=9, seed=2)
    labels.each(lambda d, t, z: labels.put(d, labels.stored[t, z] % 3 * 10)).save(tmp_path)
    found = find_value_maps(tmp_path)
    np.testing.assert_allclose(found.maps["cbf"].values, cbf.stored[0] / 10, rtol=1e-5)
    assert {one.reason for one in found.left_out} == {"a mask or threshold by its name", "a mask: 3 whole values alone"}


def test_two_maps_of_one_quantity_are_named_and_refused(tmp_path):
    """Mutation seen red: the first of them taken."""
    nifti(tmp_path / "a" / "CBF.nii.gz", volume(1))
    nifti(tmp_path / "b" / "CBF.nii.gz", volume(2))
    with pytest.raises(UnreadableFileError, match=r"2 different cbf maps.*a.CBF\.nii\.gz.*b.CBF\.nii\.gz.*one of them"):
        read_value_maps(tmp_path)


def test_the_same_map_twice_is_one(tmp_path):
    values = nifti(tmp_path / "a" / "CBF.nii.gz", volume(1))
    nifti(tmp_path / "copy of CBF.nii", values)
    np.testing.assert_array_equal(read_value_maps(tmp_path)["cbf"].values, values.T)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"origin": (-100.0, -80.0, 32.5)}, "2 different cbf maps.*series 7.*series 8"),  # half a slice further
        ({"patient": "ANOTHER"}, "maps of 2 patients"),
        ({"study": "later"}, "maps of 2 studies"),
    ],
)
def test_maps_of_two_calculations_patients_or_studies_are_refused(other, match, tmp_path):
    """Mutation seen red: images of one quantity stacked whatever their series."""
    scan_of("CBF").save(tmp_path)
    scan_of("CBF", number=8, seed=3, **other).save(tmp_path)
    with pytest.raises(UnreadableFileError, match=f"(?s){match}") as refusal:
        read_value_maps(tmp_path)
    assert "MADE" not in str(refusal.value)
    assert "ANOTHER" not in str(refusal.value)


def test_maps_of_two_patients_are_refused_whatever_they_show(tmp_path):
    scan_of("CBF").save(tmp_path)
    scan_of("Tmax", number=8, patient="ANOTHER").save(tmp_path)
    with pytest.raises(UnreadableFileError, match="maps of 2 patients"):
        read_value_maps(tmp_path)
    nifti(tmp_path / "n" / "sub-01_cbf.nii.gz", volume(1))
    nifti(tmp_path / "n" / "sub-02_tmax.nii.gz", volume(2))
    with pytest.raises(UnreadableFileError, match="maps of 2 patients"):
        read_value_maps(tmp_path / "n")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Cerebral Blood Flow", "cbf"), ("cerebral_blood_volume.nii", "cbv"), ("Time to Maximum", "tmax"),
     ("MeanTransitTime", "mtt"), ("time-to-peak", "ttp"), ("Regional cerebral blood flow (CBF)", "cbf"),
     ("Mean transit time, time to peak", None), ("Blood Volume", "cbv"), ("T max", "tmax"), ("T-Max", "tmax")],
)  # fmt: skip
def test_quantities_spelt_out(text, name):
    assert quantity_in(text) == name


def test_what_is_seen_and_not_known_is_listed(tmp_path):
    nifti(tmp_path / "permeability.nii.gz", volume())
    nifti(tmp_path / "Tmax6_mask.nii.gz", (volume() > 6).astype("uint8"))
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    scan_of("Ktrans").save(tmp_path / "dicom")
    with pytest.raises(NoSeriesError, match="no scalar map") as refusal:
        read_value_maps(tmp_path)
    for words in ("permeability.nii.gz", "Tmax6_mask.nii.gz: a mask", "5 x names no quantity"):
        assert words in str(refusal.value)


def test_slopes_and_intercepts_are_those_of_each_image(tmp_path):
    """Of two ranges in one image as well; values in no range are background. Mutation seen red: the first image's."""
    scan = scan_of("MTT")
    slopes = [0.5, 0.25, 2.0, 1.0]

    def change(d, t, z):
        low = mapped(slopes[z], 3.0 * z, "s", first=900, last=1499)
        high = mapped(2 * slopes[z], -5.0, "s", first=1500, last=2000)
        d.RealWorldValueMappingSequence = [low, high]

    scan.each(change).save(tmp_path)
    stored = scan.stored[0].astype(float)
    slope, offset = np.array(slopes)[:, None, None], 3.0 * np.arange(4)[:, None, None]
    right = np.where(stored < 1500, stored * slope + offset, stored * 2 * slope - 5)
    right[stored > 2000] = 0
    np.testing.assert_allclose(read_value_maps(tmp_path)["mtt"].values, right, rtol=1e-5)


def test_a_mapping_by_table(tmp_path):
    scan = scan_of("Tmax")
    table = np.random.default_rng(0).uniform(0, 12, 65536)
    scan.each(
        lambda d, t, z: setattr(
            d, "RealWorldValueMappingSequence", [mapped(0, 0, "s", lut=table[900:2500], first=900, last=2499)]
        )
    )
    scan.save(tmp_path)
    np.testing.assert_allclose(read_value_maps(tmp_path)["tmax"].values, table[scan.stored[0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("quantity", "unit", "factor"),
    [("mtt", "ms", 1e-3), ("tmax", "s", 1.0), ("ttp", "min", 60.0), ("mtt", "0.1 s", 0.1),
     ("cbf", "1/min", 100 / 1.04), ("cbf", "ml/100ml/s", 60 / 1.04), ("cbf", "ml/[100]g/min", 1.0),
     ("cbf", "mL/g/min", 100.0), ("cbf", "ml/(min*100g)", 1.0), ("cbf", "cc/100 cc/min", 1 / 1.04),
     ("cbf", "mL/min/100g", 1.0), ("cbf", "s-1", 6000 / 1.04), ("cbv", "mL/g", 100.0), ("cbv", "%", 1 / 1.04),
     ("cbv", "ml/[100]g", 1.0), ("cbv", "ul/g", 0.1), ("oefmax", "%", 1.0), ("mtt", "seconds", 1.0)],
)  # fmt: skip
def test_units(quantity, unit, factor):
    """By dimension: flow mL/100 g/min, volume mL/100 g, times s; a volume of tissue weighs 1.04 g/mL."""
    assert factor_of(quantity, unit) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [("cbf", "furlong"), ("cbf", "s"), ("tmax", "ml/g"), ("cbf", "1"), ("cbf", "%"), ("mtt", "m"), ("cbv", "ml"),
     ("tmax", "[hnsf'U]")],
)  # fmt: skip
def test_units_that_are_none(quantity, unit):
    assert factor_of(quantity, unit) is None


def test_units_are_converted_or_refused(tmp_path):
    """In the mapping of an enhanced object, of a classic image, and in the JSON beside a NIfTI file."""
    scan = scan_of("MTT")
    scan.each(lambda d, t, z: setattr(d, "RealWorldValueMappingSequence", [mapped(2.0, 100.0, "ms")]))
    scan.save(tmp_path / "ms")
    found = read_value_maps(tmp_path / "ms")["mtt"]
    np.testing.assert_allclose(found.values, (scan.stored[0] * 2.0 + 100) / 1000, rtol=1e-5)
    assert found.unit == "ms"
    flow = Scan(n_frames=1)
    multi = enhanced(flow)
    multi.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]
    groups = multi.PerFrameFunctionalGroupsSequence
    for k, group in enumerate(groups):
        group.RealWorldValueMappingSequence = [mapped(1e-4 * (k + 1), 0.0, "1/min")]
    (tmp_path / "multi").mkdir()
    save(multi, tmp_path / "multi" / "m.dcm")
    slope = 1e-4 * np.arange(1, 5)[:, None, None]
    np.testing.assert_allclose(
        read_value_maps(tmp_path / "multi")["cbf"].values, flow.stored[0] * slope * 100 / 1.04, rtol=1e-5
    )
    scan.each(lambda d, t, z: setattr(d, "RealWorldValueMappingSequence", [mapped(2.0, 0.0, "furlong")]))
    scan.save(tmp_path / "no")
    with pytest.raises(UnreadableFileError, match=r"mtt map tells its unit as 'furlong'.*ms, s"):
        read_value_maps(tmp_path / "no")
    values = nifti(tmp_path / "n" / "cbv.nii.gz", volume(0, 0, 0.06))
    (tmp_path / "n" / "cbv.json").write_text(json.dumps({"Units": "mL/mL"}))
    np.testing.assert_allclose(read_value_maps(tmp_path / "n")["cbv"].values, values.T * 100 / 1.04, rtol=1e-5)


def test_what_else_a_console_sends(tmp_path):
    """A segmentation, a colour picture and a 4-D file named as their map; a map that only its mapping's code names."""
    values = nifti(tmp_path / "CBF.nii", volume(0, 5, 60))
    colours = np.zeros((7, 6, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nifti(tmp_path / "CBF_colour.nii", colours)
    nifti(tmp_path / "CBF_frames.nii", np.stack([volume()] * 5, axis=-1))
    bits = scan_of("CBF", number=9)
    bits.each(lambda d, t, z: setattr(d, "Modality", "SEG")).save(tmp_path / "seg")
    coded = scan_of("Parametric map", number=8)

    def change(d, t, z):
        d.RealWorldValueMappingSequence = [mapped(0.01, 0.0, "s")]
        code = part(CodeValue="113084", CodingSchemeDesignator="DCM", CodeMeaning="Tmax")
        definition = part(ValueType="CODE", ConceptCodeSequence=[code])
        d.RealWorldValueMappingSequence[0].QuantityDefinitionSequence = [definition]

    coded.each(change).save(tmp_path / "p")
    found = find_value_maps(tmp_path)
    np.testing.assert_array_equal(found.maps["cbf"].values, values.T)
    np.testing.assert_allclose(found.maps["tmax"].values, coded.stored[0] * 0.01, rtol=1e-5)
    assert {one.reason for one in found.left_out} == {
        "a segmentation",
        "a picture, no numbers",
        "a series of volumes, a map is one",
    }


def test_padding_of_a_map_is_background(tmp_path):
    scan = scan_of("CBF")

    def change(d, t, z):
        stored = scan.stored[t, z].copy()
        stored[0] = 63536
        d.PixelPaddingValue = 63536
        scan.put(d, stored)

    scan.each(change).save(tmp_path)
    values = read_value_maps(tmp_path)["cbf"].values
    assert values[:, 0].abs().max() == 0
    np.testing.assert_allclose(values[:, 1:], scan.stored[0][:, 1:] / 10, rtol=1e-5)


def test_the_lesion_command_on_a_consoles_export(tmp_path):
    """Masks, a PDF and folders beside the maps. Mutation seen red: the masks read as maps (0.0 mL)."""
    shape = (64, 64, 4)
    x = np.linspace(-1, 1, 64)
    head = (x[:, None] ** 2 + x**2 < 0.8)[..., None] & np.ones(shape, bool)
    late = head & (x[:, None] > 0.2)[..., None]
    noise = np.random.default_rng(0).uniform(0.9, 1.1, shape)
    tmax = np.where(late, 9.0, 1.5) * head * noise
    cbf = np.where(late, 8.0, 50.0) * head * noise
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    nifti(tmp_path / "m" / "flow" / "Cerebral Blood Flow.nii.gz", cbf.astype("f4"), affine)
    nifti(tmp_path / "m" / "delay" / "Tmax_map.nii.gz", tmax.astype("f4"), affine)
    nifti(tmp_path / "m" / "delay" / "Tmax6_mask.nii.gz", (tmax > 6).astype("f4"), affine)
    nifti(tmp_path / "m" / "flow" / "CBF30_mask.nii.gz", (cbf > 40).astype("f4"), affine)
    (tmp_path / "m" / "report.pdf").write_bytes(b"%PDF-1.4")
    run = CliRunner().invoke(app, ["lesion", str(tmp_path / "m"), "-o", str(tmp_path / "o")])
    assert run.exit_code == 0, run.output
    told = json.loads((tmp_path / "o" / "lesion.json").read_text(encoding="utf-8"))
    assert told["hypoperfusion_ml"] == pytest.approx(float(late.sum()) * 0.045, rel=0.15)
    assert "not taken for maps" in run.output


def colour(name, number, seed, **more):
    """RGB pictures of a series."""
    scan = scan_of(name, number=number, seed=seed, **more)

    def change(d, t, z):
        d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        d.SamplesPerPixel, d.PhotometricInterpretation, d.PlanarConfiguration = 3, "RGB", 0
        d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            delattr(d, keyword)
        d.PixelData = np.random.default_rng(seed + z).integers(0, 255, (6, 7, 3), "u1").tobytes()

    return scan.each(change)


def test_coloured_thresholds_and_second_calculations(tmp_path):
    """Mutation seen red: all pictures of a quantity in one stack."""
    colour("CBF", 7, 0).save(tmp_path)
    colour("CBF < 30% volume", 8, 10).save(tmp_path)
    assert read_color_maps(tmp_path)["cbf"].shape == (4, 6, 7, 3)
    colour("CBF", 9, 20).save(tmp_path)
    with pytest.raises(UnreadableFileError, match=r"2 different cbf maps.*series 7.*series 9"):
        read_color_maps(tmp_path)
    colour("CBF", 9, 20, patient="ANOTHER").save(tmp_path)
    with pytest.raises(CTPError, match="maps of 2 patients"):
        read_color_maps(tmp_path)


def test_a_unit_that_cannot_be_is_told(tmp_path):
    """Numbers of a flow per minute under a label per second stay as they are, with a warning."""
    scan = scan_of("CBF")
    scan.each(lambda d, t, z: setattr(d, "RealWorldValueMappingSequence", [mapped(0.04, -30.0, "ml/100ml/s")]))
    scan.save(tmp_path)
    found = read_value_maps(tmp_path)["cbf"]
    np.testing.assert_allclose(found.values, scan.stored[0] * 0.04 - 30, rtol=1e-4)
    assert "ml/100ml/s" in found.warnings[0]
    assert torch.isfinite(found.values).all()
