"""``--formats`` of ``maps`` and ``lesion``: whole results of the right patient, and no identity elsewhere."""

import gzip
import json
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from oracles.derived import judged

from ctp_torch.io import read_series, write_nifti_series

SECRETS = {
    "PatientName": "Secretus^Maxima",
    "PatientID": "ID-4711-SECRET",
    "AccessionNumber": "ACC987654",
    "PatientBirthDate": "19440203",
}


@pytest.fixture(scope="module")
def identified(scan_folder, tmp_path_factory):
    """The scan of a patient with a name."""
    folder = tmp_path_factory.mktemp("identified") / "ct"
    folder.mkdir()
    for file in scan_folder.iterdir():
        dataset = pydicom.dcmread(file)
        for name, value in SECRETS.items():
            setattr(dataset, name, value)
        dataset.save_as(folder / file.name)
    return folder


def uids(folder):
    return {p.relative_to(folder): pydicom.dcmread(p).SOPInstanceUID for p in sorted(folder.rglob("*.dcm"))}


def texts(folder):
    """Everything but the DICOM objects, unpacked."""
    found = b""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            data = path.read_bytes()
            found += gzip.decompress(data) if path.suffix == ".gz" else data
    return found


@pytest.mark.slow
def test_all_formats_of_a_patient(run, identified, tmp_path):
    """DICOM objects carry the patient, nothing else does; a second run makes the same objects."""
    common = ("--registration", "none", "--no-report")
    done = run("maps", identified, "-o", tmp_path / "a", "--formats", "all", *common)
    assert done.code == 0, done.err
    out = tmp_path / "a"
    assert {p.name for p in (out / "dicom").iterdir()} == {"ct", "rgb", "pm", "seg", "sr"}
    for path in (out / "dicom").rglob("*.dcm"):
        d = pydicom.dcmread(path)
        assert {k: str(d[k].value) for k in SECRETS} == SECRETS
        if shutil.which("dciodvfy"):
            assert not judged(path)[1]
    said = texts(out) + (done.out + done.err).encode()
    for value in SECRETS.values():
        for part in value.split("^"):
            assert part.encode() not in said
    again = run("maps", identified, "-o", tmp_path / "b", "--formats", "ct,seg,sr", "--keep-identity", *common)
    assert again.code == 0, again.err
    assert uids(tmp_path / "b").items() <= uids(out).items()
    assert not list((tmp_path / "b").glob("*.nii.gz"))
    record = json.loads((tmp_path / "b" / "run.json").read_text(encoding="utf-8"))
    assert record["patient"]["PatientID"] == SECRETS["PatientID"]
    assert record["formats"] == ["ct", "seg", "sr"]
    other = run("maps", identified, "-o", tmp_path / "c", "--formats", "ct", "--sigma-mm", "3", *common)
    assert other.code == 0, other.err
    assert not set(uids(tmp_path / "c").values()) & set(uids(out).values())
    lesion = run("lesion", out, "-o", tmp_path / "d", "--formats", "nifti,seg,sr", "--source", identified)
    assert lesion.code == 0, lesion.err
    (report,) = (tmp_path / "d" / "dicom" / "sr").iterdir()
    assert pydicom.dcmread(report).PatientID == SECRETS["PatientID"]
    assert SECRETS["PatientID"].encode() not in texts(tmp_path / "d")
    shutil.rmtree(out / "dicom" / "ct")
    for name in ("cbf", "cbv", "tmax", "mtt", "ttp"):
        (out / f"{name}.nii.gz").unlink()
    from_pm = run("lesion", out, "-o", tmp_path / "e", "--formats", "nifti,seg")
    assert from_pm.code == 0, from_pm.err
    assert "anonymous study" in from_pm.err
    np.testing.assert_array_equal(
        *(np.asarray(nibabel.load(tmp_path / k / "hypoperfusion.nii.gz").dataobj) for k in ("d", "e"))
    )


@pytest.mark.slow
def test_nifti_in_dicom_out_is_anonymous_and_bids_on_request(run, scan_folder, tmp_path):
    write_nifti_series(tmp_path / "ctp.nii.gz", read_series(scan_folder))
    arguments = ("--formats", "nifti,ct,seg", "--registration", "none", "--no-report", "--bids", "case1")
    done = run("maps", tmp_path / "ctp.nii.gz", "-o", tmp_path / "set", *arguments)
    assert done.code == 0, done.err
    assert "tells no patient" in done.err
    session = tmp_path / "set" / "sub-case1" / "ses-01"
    assert (session / "perf" / "sub-case1_ses-01_desc-csvd_cbf.nii.gz").is_file()
    assert (session / "perf" / "sub-case1_ses-01_desc-csvd_cbf.json").is_file()
    assert (session / "run.json").is_file()
    assert not list(session.glob("*.nii.gz"))
    assert (tmp_path / "set" / "dataset_description.json").is_file()
    first = pydicom.dcmread(next((session / "dicom" / "ct").iterdir()))
    assert str(first.PatientName) == "Anonymous"
    taken = run("maps", tmp_path / "ctp.nii.gz", "-o", tmp_path / "set", *arguments)
    assert taken.code == 6
    second = (*arguments[:-1], "case2")
    assert run("maps", tmp_path / "ctp.nii.gz", "-o", tmp_path / "set", *second).code == 0
    assert {p.name for p in (tmp_path / "set").iterdir()} == {
        "sub-case1",
        "sub-case2",
        "dataset_description.json",
        ".bidsignore",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "dicom"], "unknown format dicom; known: nifti, ct, rgb, pm, seg, sr, all"),
        (["--formats", ""], "none given"),
        (["--formats", "nifti,seg", "--no-lesions"], "seg needs lesions"),
        (["--bids", "a b"], "no BIDS label"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(run, scan_folder, tmp_path, arguments, message):
    done = run("maps", scan_folder, "-o", tmp_path / "out", *arguments)
    assert (done.code, message in done.err) == (1, True), done.err
    assert not (tmp_path / "out").exists()


def test_highdicom_is_asked_for_by_its_command(run, scan_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    done = run("maps", scan_folder, "-o", tmp_path / "out", "--formats", "pm")
    assert done.code == 1
    assert "missing here: pip install highdicom" in done.err
