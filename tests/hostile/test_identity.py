"""Who the patient is stays in the source: markers in every place that may name one, and a search of all output.

What DICOM results must repeat of their study (`ALLOWED`) is taken out of them before they are searched.
"""

import base64
import contextlib
import gzip
import io
import json
import re
import sys
import zipfile
import zlib

import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from scenes import write_scan, write_toy_cohort

from ctp_torch.cli import console, main
from ctp_torch.io import write_nifti_series, write_volume

pytestmark = pytest.mark.slow


def words(text):
    return text.split()


TEXTS = words("""PatientName PatientID OtherPatientNames PatientBirthName PatientMotherBirthName PatientAddress
PatientTelephoneNumbers CountryOfResidence RegionOfResidence MilitaryRank EthnicGroup Occupation PatientComments
AdditionalPatientHistory PatientReligiousPreference MedicalRecordLocator IssuerOfPatientID ResponsiblePerson
AccessionNumber StudyID StudyDescription SeriesDescription ProtocolName ReferringPhysicianName RequestingPhysician
PerformingPhysicianName OperatorsName PhysiciansOfRecord NameOfPhysiciansReadingStudy InstitutionName InstitutionAddress
InstitutionalDepartmentName StationName DeviceSerialNumber Manufacturer ManufacturerModelName ConvolutionKernel
FilterType ContrastBolusAgent ImageComments RequestedProcedureDescription PerformedProcedureStepDescription
PerformedProcedureStepID AdmissionID CurrentPatientLocation AdmittingDiagnosesDescription MedicalAlerts Allergies
ClinicalTrialSubjectID ClinicalTrialSiteName DeidentificationMethod BodyPartExamined PatientPosition""")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "ContentDate", "AcquisitionDate")
PLACES = words("""ImageType4 private-creator private-value nested-text nested-id preamble sender folder file
left-out-name left-out-folder derived-type odd-modality odd-class odd-photometric times-name mask-name aif-name
thresholds-name model-name nifti-name nifti-descrip nifti-aux nifti-intent sidecar-name sidecar-text mask-descrip""")
MARKERS = {name: f"QX{k:02d}ZJVK" for k, name in enumerate((*TEXTS, *PLACES))}
MARKERS |= {name: f"77{k}7703{k}" for k, name in enumerate(UIDS)} | {n: f"193{k}0417" for k, n in enumerate(DATES)}
GIVEN = {"folder", "mask-name", "aif-name", "thresholds-name", "times-name", "model-name", "nifti-name"}
"""In paths that the user types, which a message on the terminal may repeat."""

ALLOWED = {
    # patient, study, patient study and clinical trial modules: the same in every object of a study
    *words("""PatientName PatientID PatientBirthDate PatientSex OtherPatientIDsSequence OtherPatientNames EthnicGroup
    PatientComments IssuerOfPatientID ResponsiblePerson DeidentificationMethod StudyInstanceUID StudyDate StudyTime
    StudyID AccessionNumber ReferringPhysicianName StudyDescription PhysiciansOfRecord NameOfPhysiciansReadingStudy
    AdmittingDiagnosesDescription MedicalAlerts Allergies AdditionalPatientHistory AdmissionID ClinicalTrialSiteName
    ClinicalTrialSubjectID"""),
    # where and when: results overlay their source, and a second run makes the same object
    "FrameOfReferenceUID",
    "PatientPosition",
    *("SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "AcquisitionDateTime"),
    # what they were made from, and by which scanner
    *("ReferencedSOPInstanceUID", "ReferencedFrameOfReferenceUID", "UID", "ContributingEquipmentSequence"),
}
"""Attributes of DICOM results that may hold what the source's hold; and Series Instance UID within references."""


def stamp(path):
    """Markers into the file, its place and time untouched."""
    d = pydicom.dcmread(path)
    for name in TEXTS:
        setattr(d, name, MARKERS[name])
    for name in DATES:
        setattr(d, name, MARKERS[name])
    d.ImageType = [*list(d.ImageType)[:3], MARKERS["ImageType4"]]
    for name in UIDS:
        setattr(d, name, f"1.2.{MARKERS[name]}.1{getattr(d, name).replace('.', '')[-28:]}")
    item = Dataset()
    item.ScheduledProcedureStepDescription, item.PatientID = MARKERS["nested-text"], MARKERS["nested-id"]
    d.RequestAttributesSequence, d.OtherPatientIDsSequence = [item], [item]
    block = d.private_block(0x0029, MARKERS["private-creator"], create=True)
    block.add_new(0x10, "LO", MARKERS["private-value"])
    d.preamble = MARKERS["preamble"].encode() * 16
    d.file_meta.SourceApplicationEntityTitle = MARKERS["sender"]
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.save_as(path, enforce_file_format=True)
    return d


def odd_ones(first, folder):
    """Files that are no part of the series, each with a marker in what a reason for leaving it out might repeat."""
    folder.mkdir(parents=True)
    (folder / f"{MARKERS['left-out-name']}.txt").write_text("no image", encoding="utf-8")
    for name, change in {
        "derived-type": {"ImageType": ["DERIVED", "SECONDARY", MARKERS["derived-type"]]},
        "odd-modality": {"Modality": MARKERS["odd-modality"]},
        "odd-class": {"SOPClassUID": "1.2.3.66077066.4"},
        "odd-photometric": {"PhotometricInterpretation": MARKERS["odd-photometric"]},
    }.items():
        d = pydicom.dcmread(first)
        for keyword, value in change.items():
            setattr(d, keyword, value)
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"{d.SOPInstanceUID}.9"
        d.save_as(folder / f"{MARKERS['left-out-name']}-{name}.dcm", enforce_file_format=True)


MARKERS["odd-class"] = "66077066"


def call(*arguments):
    """Run ``ctp-torch``; exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["ctp-torch", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
        console.settings.debug = console.settings.quiet = False
    return stop.value.code or 0, out.getvalue() + err.getvalue()


COMMANDS = {
    "maps": "maps {scan} -o {out} --formats all --mask {mask} --thresholds {thresholds} --registration none",
    "maps of a model": "maps {scan} -o {out} --model {model} --formats nifti,sr,rgb --registration none",
    "maps as BIDS": "maps {scan} -o {out} --bids case/one --aif {aif} --times {times} --registration none --no-report",
    "maps of a NIfTI": "maps {nifti} -o {out} --formats nifti,ct --registration none",
    "lesion": "lesion {maps} -o {out} --formats all --source {scan} --thresholds {thresholds}",
    "info": "info {scan} --no-qc",
    "info for programs": "info {scan} --json --no-qc",
    "qc": "qc {scan} -o {out} --registration none",
    "qc of a cohort": "qc {cohort} -o {out} --json --registration none",
    "convert": "convert {scan} -o {out}",
    "train": "train {cohort} -o {out}/m.safetensors --model ridge --samples 200 --registration none --keep-all",
    "evaluate": "evaluate {cohort} -m {model} -o {out}",
    "tune": "tune {cohort} -o {out} --alphas 0.1 --gammas 2 --samples 100 --registration none",
}


def marked_scan(root):
    """A series in a folder, and beside it files that are no part of it."""
    scan = root / MARKERS["folder"]
    series = write_scan(scan, n=64, n_slices=3, frames=24)
    for k, path in enumerate(sorted(scan.iterdir())):
        stamp(path)
        path.rename(scan / f"{MARKERS['file']} {k}.dcm")
    odd_ones(scan / f"{MARKERS['file']} 0.dcm", scan / MARKERS["left-out-folder"])
    return scan, series


def marked_places(root):
    """Everything the commands read, with markers in it."""
    scan, series = marked_scan(root)
    cohort = write_toy_cohort(root / "cohort", train=2, test=1, frames=24)
    for path in cohort.rglob("*.dcm"):
        stamp(path)
    inside = torch.zeros(series.geometry.shape)
    inside[:, 8:56, 8:56] = 1.0
    found = {"scan": scan, "cohort": cohort, "maps": root / "maps"}
    found["mask"] = root / f"{MARKERS['mask-name']}.nii.gz"
    write_volume(found["mask"], inside, series.geometry, note=MARKERS["mask-descrip"])
    found["aif"], found["times"] = root / f"{MARKERS['aif-name']}.csv", root / f"{MARKERS['times-name']}.txt"
    found["times"].write_text("\n".join(map(str, range(24))), encoding="utf-8")
    curve = series.hu.flatten(2).mean(2).mean(1)
    found["aif"].write_text("\n".join(f"{v:.2f}" for v in (curve - curve[0]).tolist()), encoding="utf-8")
    found["thresholds"] = root / f"{MARKERS['thresholds-name']}.json"
    from ctp_torch.lesions.thresholds import Thresholds, write_thresholds

    write_thresholds(Thresholds(), found["thresholds"])
    found["nifti"] = root / f"{MARKERS['nifti-name']}.nii"
    write_nifti_series(found["nifti"], series)
    header = bytearray(found["nifti"].read_bytes())
    for name, at in (("nifti-descrip", 148), ("nifti-aux", 228), ("nifti-intent", 328)):
        header[at : at + 8] = MARKERS[name].encode()
    found["nifti"].write_bytes(header)
    beside = found["nifti"].with_suffix(".json")
    told = json.loads(beside.read_text(encoding="utf-8"))
    told |= {"PatientName": MARKERS["sidecar-name"], "SeriesDescription": MARKERS["sidecar-text"]}
    told["Warnings"], told["TimeSource"] = [MARKERS["sidecar-text"]], MARKERS["sidecar-text"]
    beside.write_text(json.dumps(told), encoding="utf-8")
    found["model"] = root / f"{MARKERS['model-name']}.safetensors"
    code, said = call("train", cohort, "-o", found["model"], "--model", "ridge", "--samples", 200, "--keep-all",
                      "--registration", "none")  # fmt: skip
    assert code == 0, said
    code, said = call("maps", scan, "-o", found["maps"], "--registration", "none")
    assert code == 0, said
    return found


def texts_of(path):
    """All that a file holds, unpacked as far as it goes."""
    raw = path.read_bytes()
    if path.suffix == ".dcm":
        raw = _without_allowed(path)
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if raw[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _chunks(raw)
    if zipfile.is_zipfile(io.BytesIO(raw)):
        archive = zipfile.ZipFile(io.BytesIO(raw))
        yield from (archive.read(name) for name in archive.namelist())
    if path.suffix == ".html":
        for found in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", raw):
            yield from _unpacked(base64.b64decode(found + b"=" * (-len(found) % 4)))


def _unpacked(payload):
    """A payload of a page, and what it inflates to."""
    yield payload
    if payload[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _chunks(payload)
    for wbits in (31, 15, -15):
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(wbits).decompress(payload)


def _chunks(png):
    """The chunks of a PNG, those of compressed text inflated."""
    at = 8
    while at + 8 <= len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + length]
        yield body
        for start in range(len(body) if kind in (b"zTXt", b"iTXt") else 0):
            with contextlib.suppress(zlib.error):
                yield zlib.decompress(body[start:])
        at += 12 + length


def _without_allowed(path):
    """The bytes of a DICOM result without what it must repeat of its study."""
    d = pydicom.dcmread(path)

    def strip(dataset, nested):
        for element in list(dataset):
            referred = nested and element.keyword == "SeriesInstanceUID"
            if element.keyword in ALLOWED or referred:
                del dataset[element.tag]
            elif element.VR == "SQ":
                for item in element.value:
                    strip(item, True)

    strip(d, False)
    buffer = io.BytesIO()
    d.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def found_in(data):
    """Names of the markers in bytes, as ASCII or UTF-16."""
    plain = data.replace(b"\0", b"")
    return {name for name, marker in MARKERS.items() if marker.encode() in data or marker.encode() in plain}


def test_no_output_tells_who_it_is(tmp_path):
    """Files, their names, and what is printed, by 13 commands without ``--keep-identity``.

    Seen red before terms, numbers and hashes took their place: kernel, maker and model of the scanner, Image Type,
    Modality and SOP class of files left out, names of those and of mask, artery, model and NIfTI files.
    """
    places, leaks = marked_places(tmp_path / "in"), {}
    for name, line in COMMANDS.items():
        out = tmp_path / "out" / name
        code, said = call(*(word.format(out=out, **places) for word in line.split()))
        assert code == 0, said
        leaks[name, "printed"] = found_in(said.encode()) - GIVEN
        for path in out.rglob("*"):
            leaks[name, path.name] = found_in(path.name.encode())
            if path.is_file():
                leaks[name, path.name] |= set().union(*map(found_in, texts_of(path)))
    assert len(leaks) > 150  # all kinds of files were looked into
    assert not (told := {place: sorted(names) for place, names in leaks.items() if names}), told


def test_the_search_finds_what_is_there(tmp_path):
    """All markers in the source itself, and in what the owner asked for; a refusal names none.

    Mutations seen red: names of files left out told unasked; the scanner's own words not told when asked for.
    """
    scan, _ = marked_scan(tmp_path)
    names = "\n".join(map(str, scan.rglob("*"))).encode()
    found = set().union(found_in(names), *(found_in(path.read_bytes()) for path in scan.rglob("*.dcm")))
    of_options = {name for name in PLACES if name.split("-")[0] in ("times", "mask", "aif", "thresholds", "model")}
    of_nifti = {name for name in PLACES if name.split("-")[0] in ("nifti", "sidecar")}
    assert found == set(MARKERS) - of_options - of_nifti
    code, said = call("info", scan, "--no-qc")
    text = [path for path in sorted(scan.rglob("*")) if path.is_file()].index(next(scan.rglob("*.txt"))) + 1
    assert f"1 x no DICOM file: file {text}\n" in said
    assert found_in(said.encode()) == set()
    code, said = call("info", scan, "--no-qc", "--keep-identity")
    assert code == 0, said
    asked_for = {"left-out-name", "Manufacturer", "ManufacturerModelName", "ConvolutionKernel"}
    assert found_in(said.encode()) == asked_for
    code, said = call("info", scan / MARKERS["left-out-folder"])
    assert code == 3
    assert "no CT image (CT Image Storage, modality #" in said
    assert found_in(said.encode()) <= {"folder", "left-out-folder"}
    page = (
        b"<script>"
        + base64.b64encode(zlib.compress(MARKERS["PatientName"].encode() + bytes(range(256))))
        + b"</script>"
    )
    (tmp_path / "page.html").write_bytes(page)
    assert set().union(*map(found_in, texts_of(tmp_path / "page.html"))) == {"PatientName"}
