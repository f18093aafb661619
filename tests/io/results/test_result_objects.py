"""Results as DICOM objects: valid, of the right patient, coded, traceable, and the same when made again."""

import shutil

import numpy as np
import pytest
import torch
from oracles.derived import CODES, NAMES, judged, made_maps, made_scan, objects
from pydicom import Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.uid import UID

from ctp_torch import write_maps
from ctp_torch.errors import CTPError, OutputExistsError
from ctp_torch.io.results.derivation import Code, Derivation
from ctp_torch.io.results.source import read_source
from ctp_torch.io.results.write_maps import FORMATS

DICOM = tuple(name for name in FORMATS if name != "nifti")
SVD = Derivation(
    "block-circulant SVD",
    Code("126311", "DCM", "SVD Deconvolution"),
    model_sha256="ab" * 32,
    settings={"aif": "auto", "sigma_mm": 2.0},
    flags={"q3": "motion", "q5": "truncated bolus"},
)


def minimal(d):
    """What a careless anonymiser leaves."""
    for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "PatientPosition"):
        if keyword in d:
            delattr(d, keyword)
    d.PatientID = "X"


def full(d):
    """What a hospital in Japan writes, with the nested sequences of its information system."""
    d.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    d.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    d.PatientID, d.IssuerOfPatientID, d.OtherPatientNames = "0042-Z", "病院", "山田^T"
    d.PatientBirthDate, d.PatientSex, d.PatientAge, d.PatientSize, d.PatientWeight = (
        "19440203",
        "M",
        "082Y",
        "1.7",
        "71",
    )
    d.StudyDate, d.StudyTime, d.StudyID = "20260105", "095900", "7"
    d.StudyDescription = "頭部CT"
    d.AccessionNumber, d.ReferringPhysicianName, d.AdmissionID = "ACC7", "佐藤^花子", "ADM1"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "病院"
    d.IssuerOfAccessionNumberSequence = [issuer]


def german(d):
    d.SpecificCharacterSet = "ISO_IR 100"
    d.PatientName, d.PatientID, d.PatientSex = "Müller^Jürgen^^Dr.", "ÄÖ-1", "O"
    d.StudyDate, d.StudyTime = "20260105", "095900"


def greek(d):
    d.SpecificCharacterSet = "ISO_IR 126"
    d.PatientName, d.PatientID = "Διονυσιος", "G1"


PATIENTS = {"minimal": minimal, "full": full, "german": german, "greek": greek}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One classic scan and all its objects."""
    folder = tmp_path_factory.mktemp("derived")
    scan = made_scan(folder / "ct", change=full)
    maps, lesions = made_maps(folder / "ct")
    baseline = torch.full(maps.geometry.shape, 30.0)
    write_maps(
        maps, folder / "out", formats=tuple(FORMATS), source=folder / "ct", lesions=lesions, baseline=baseline,
        derivation=SVD,
    )  # fmt: skip
    return scan, maps, lesions, folder


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.parametrize("patient", PATIENTS)
def test_dciodvfy_finds_no_error(kind, patient, tmp_path):
    """Mutation seen red: leaving Body Part Examined out of the common elements."""
    made_scan(tmp_path / "ct", kind=kind, change=PATIENTS[patient])
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    paths = write_maps(maps, tmp_path / "out", formats=DICOM, source=tmp_path / "ct", lesions=lesions, derivation=SVD)
    seen = set()
    for path in paths:
        lines, errors = judged(path)
        assert not errors, f"{path.name}: {errors}"
        seen |= {line.strip() for line in lines}
    assert {"CTImage", "SCImage", "ParametricMap", "Segmentation", "Comprehensive3DSR"} <= seen


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.parametrize("patient", ["full", "german", "greek"])
def test_the_patient_is_the_sources(kind, patient, tmp_path):
    """Mutations seen red: taking elements from a header without decoding its nested text; no PatientID."""
    made_scan(tmp_path / "ct", kind=kind, change=PATIENTS[patient])
    source = dcmread(next((tmp_path / "ct").iterdir()))
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    write_maps(maps, tmp_path / "out", formats=DICOM, source=tmp_path / "ct", lesions=lesions)
    carried = ("PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyID", "AccessionNumber",
               "StudyInstanceUID", "StudyDescription", "IssuerOfPatientID", "AdmissionID")  # fmt: skip
    for kind_of, found in objects(tmp_path / "out").items():
        for d in found:
            assert d.SpecificCharacterSet == "ISO_IR 192"
            assert str(d.PatientName) == str(source.PatientName)
            for keyword in carried:
                assert str(d.get(keyword) or "") == str(source.get(keyword) or ""), (kind_of, keyword)
            if patient == "full":
                assert d.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "病院"
                assert d.PatientName.ideographic == "山田^太郎"


def test_odd_values_of_the_source_are_carried_as_they_are(tmp_path):
    """Hospitals write sexes, ages and dates that the standard doesn't know; the patient is theirs all the same.

    Mutation seen red: giving highdicom the true patient, which it refuses.
    """
    from pydicom.dataelem import DataElement

    odd = {"PatientSex": "W", "PatientBirthDate": "1944-02-03", "PatientAge": "82"}

    def change(d):
        for keyword, value in odd.items():
            vr = {"PatientSex": "CS", "PatientBirthDate": "DA", "PatientAge": "AS"}[keyword]
            d[keyword] = DataElement(keyword, vr, value, validation_mode=IGNORE)

    made_scan(tmp_path / "ct", change=change)
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    for path in write_maps(maps, tmp_path / "out", formats=DICOM, source=tmp_path / "ct", lesions=lesions):
        raw = dcmread(path, stop_before_pixels=True)
        assert {k: raw.get_item(k).value.decode().strip() for k in odd} == odd, path.name


def test_study_frame_and_series(result):
    """The same study and frame of reference, a new series for each kind and map."""
    scan, _, _, folder = result
    first = scan.images[0, 0]
    series = {}
    for kind, found in objects(folder / "out").items():
        for d in found:
            assert d.StudyInstanceUID == first.StudyInstanceUID
            assert d.SeriesInstanceUID != first.SeriesInstanceUID
            assert UID(d.SOPInstanceUID).is_valid
            assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
            if kind != "sr":
                assert d.FrameOfReferenceUID == first.FrameOfReferenceUID
            series.setdefault(d.SeriesInstanceUID, set()).add(int(d.SeriesNumber))
            assert "RESEARCH USE ONLY" in d.SeriesDescription
            assert "motion" in d.SeriesDescription or "q3" in d.SeriesDescription
            assert len(d.SeriesDescription) <= 64
    numbers = [n for numbers in series.values() for n in numbers]
    assert len(series) == len(set(numbers)) == len(numbers) == 2 * len(NAMES) + 3
    assert all(n // 100 == scan.number for n in numbers)


def test_codes_and_words(result):
    """Mutation seen red: the relative codes 126398 and 126397 in QUANTITIES."""
    _, _, _, folder = result
    found = objects(folder / "out")
    for name in NAMES:
        code, scheme, unit = CODES[name]
        ct = next(d for d in found["ct"] if d.ImageType[3] == name.upper())
        pm = next(d for d in found["pm"] if d.ContentLabel == name.upper())
        for mapping in (
            ct.RealWorldValueMappingSequence[0],
            pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0],
        ):
            assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == unit
            quantity, method = mapping.QuantityDefinitionSequence
            assert quantity.ConceptCodeSequence[0].CodeValue == code
            assert quantity.ConceptCodeSequence[0].CodingSchemeDesignator == scheme
            assert method.ConceptCodeSequence[0].CodeValue == "126311"
        assert ct.RealWorldValueMappingSequence[0].RealWorldValueSlope == float(ct.RescaleSlope)
        for d in (ct, pm):
            for word in ("ab" * 32, "ctp_torch 0", "motion", "sigma_mm=2.0"):
                assert word in d.DerivationDescription
            assert d.DerivationCodeSequence[0].CodeValue == "126301"
    assert {d.BurnedInAnnotation for d in found["ct"] + found["rgb"] + found["pm"]} == {"NO"}
    segments = found["seg"][0].SegmentSequence
    assert [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in segments] == ["55641003", "52674009"]


def test_every_object_names_the_images_it_was_made_from(result):
    """Mutation seen red: referring to the images of slice 0 from every slice."""
    scan, _, _, folder = result
    uids = {z: {scan.images[t, z].SOPInstanceUID for t in range(3)} for z in range(3)}
    places = {z: [float(p) for p in scan.images[0, z].ImagePositionPatient] for z in range(3)}
    found = objects(folder / "out")

    def slice_of(position):
        return next(z for z, p in places.items() if np.allclose(p, [float(v) for v in position], atol=1e-4))

    for d in found["ct"]:
        named = {i.ReferencedSOPInstanceUID for i in d.SourceImageSequence}
        assert named == uids[slice_of(d.ImagePositionPatient)]
    for d in found["pm"] + found["seg"]:
        for group in d.PerFrameFunctionalGroupsSequence:
            (image,) = group.DerivationImageSequence[0].SourceImageSequence
            z = slice_of(group.PlanePositionSequence[0].ImagePositionPatient)
            assert image.ReferencedSOPInstanceUID == scan.images[0, z].SOPInstanceUID
        (series,) = d.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == scan.series
        assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == set().union(*uids.values())


def test_frames_of_an_enhanced_source_are_named(tmp_path):
    made_scan(tmp_path / "ct", kind="enhanced")
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    write_maps(maps, tmp_path / "out", formats=("ct", "seg"), source=tmp_path / "ct", lesions=lesions)
    found = objects(tmp_path / "out")
    frames = [
        [int(i.ReferencedFrameNumber) for i in d.SourceImageSequence] for d in found["ct"] if "CBF" in d.ImageType
    ]
    assert frames == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]
    (series,) = found["seg"][0].ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 1


def test_a_second_run_makes_the_same_objects(result, tmp_path):
    """Byte for byte, from moved and renamed files too; other settings make others."""
    _, maps, lesions, folder = result
    shutil.copytree(folder / "ct", tmp_path / "deep" / "ct")
    for k, path in enumerate(sorted((tmp_path / "deep" / "ct").iterdir())):
        path.rename(path.with_name(f"x{k}"))
    baseline = torch.full(maps.geometry.shape, 30.0)
    common = {"formats": DICOM, "source": tmp_path / "deep", "lesions": lesions, "baseline": baseline}
    again = write_maps(maps, tmp_path / "again", derivation=SVD, **common)
    for path in again:
        assert path.read_bytes() == (folder / "out" / path.relative_to(tmp_path / "again")).read_bytes(), path.name
    other = write_maps(maps, tmp_path / "other", derivation=Derivation(SVD.method, settings={"aif": "1,2,3"}), **common)
    plain = write_maps(maps, tmp_path / "plain", **common)
    uids = [dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in again + other + plain]
    assert len(set(uids)) == len(uids) == 3 * len(again)


def test_without_settings_the_values_tell_results_apart(tmp_path):
    made_scan(tmp_path / "ct")
    uids = []
    for seed in (0, 1, 0):
        maps, _ = made_maps(tmp_path / "ct", names=("cbf",), seed=seed)
        (first, *_) = write_maps(maps, tmp_path / str(len(uids)), formats=("ct",), source=tmp_path / "ct")
        uids.append(dcmread(first).SOPInstanceUID)
    assert uids[0] == uids[2] != uids[1]


def test_without_a_source_the_study_is_anonymous(tmp_path):
    made_scan(tmp_path / "ct")
    maps, lesions = made_maps(tmp_path / "ct", names=("cbf", "tmax"))
    paths = write_maps(maps, tmp_path / "out", formats=DICOM, lesions=lesions)
    for path in paths:
        if shutil.which("dciodvfy"):
            assert not judged(path)[1], path
        d = dcmread(path)
        assert str(d.PatientName) == "Anonymous"
        assert d.PatientIdentityRemoved == "YES"
        assert "ReferencedSeriesSequence" not in d
        assert "SECRET" not in str(d)
    studies = {dcmread(p).StudyInstanceUID for p in paths}
    again = write_maps(maps, tmp_path / "again", formats=("ct",))
    assert studies == {dcmread(again[0]).StudyInstanceUID}


def test_refusals(result, tmp_path, monkeypatch):
    _, maps, _, folder = result
    with pytest.raises(ValueError, match=r"unknown format dicom; known are nifti, ct, rgb, pm, seg, sr"):
        write_maps(maps, tmp_path / "out", formats=("dicom",))
    with pytest.raises(ValueError, match="none given"):
        write_maps(maps, tmp_path / "out", formats=())
    with pytest.raises(ValueError, match="seg and sr need lesions"):
        write_maps(maps, tmp_path / "out", formats=("seg", "sr"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputExistsError, match="exists already"):
        write_maps(maps, tmp_path / "taken")
    made_scan(tmp_path / "elsewhere", origin=(-100.0, -80.0, 300.0))
    with pytest.raises(CTPError, match="the maps lie elsewhere than the images of the source"):
        write_maps(maps, tmp_path / "out", formats=("ct",), source=tmp_path / "elsewhere")
    made_scan(tmp_path / "turned", orientation="coronal")
    with pytest.raises(CTPError, match="and turned"):
        write_maps(maps, tmp_path / "out", formats=("ct",), source=read_source(tmp_path / "turned"))
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(CTPError, match="pm needs highdicom, which is missing here: pip install highdicom"):
        write_maps(maps, tmp_path / "out", formats=("nifti", "pm"), source=folder / "ct")
    assert write_maps(maps, tmp_path / "plain", formats=("ct", "rgb"), source=folder / "ct")
    assert {p.name for p in tmp_path.iterdir()} == {"taken", "elsewhere", "turned", "plain"}


def test_titles_and_descriptions_fit_their_elements():
    named = Derivation(flags={"q3": "motion"})
    assert named.title("rCBF") == "rCBF RESEARCH USE ONLY QC: motion"
    many = Derivation(flags={f"q{k}": "a long name of a flag" for k in range(1, 8)})
    assert many.title("rCBF") == "rCBF RESEARCH USE ONLY QC: q1 q2 q3 q4 q5 q6 q7"
    assert Derivation().title("Tmax") == "Tmax RESEARCH USE ONLY"
    long = Derivation("x", settings={f"option{k}": "v" * 50 for k in range(50)})
    assert len(long.describe("rCBF")) == 1024
    assert "\\" not in Derivation(settings={"mask": "a\\b"}).describe("rCBF")
