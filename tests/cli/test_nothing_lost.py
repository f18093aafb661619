"""Users' files outlive every run, and no patient's results stand beside another's."""

import json
import shutil

import pydicom
import pytest
from scenes import write_scan

MAPS = ("--registration", "none", "--no-report")


@pytest.mark.slow
def test_the_source_inside_the_output_stays(run, scan_folder, tmp_path):
    """Seen red before: all 120 files of the source were gone, and the exit code was 0."""
    case = tmp_path / "case"
    shutil.copytree(scan_folder, case / "dicom")
    for force in (("--force",), ()):
        done = run("maps", case / "dicom", "-o", case, *force, *MAPS, "--formats", "nifti,ct")
        assert len(list((case / "dicom").glob("IM*.dcm"))) == 120
        assert (done.code, "new or an empty folder" in done.err) == (6, True), done.err
    assert [p.name for p in case.iterdir()] == ["dicom"]


@pytest.mark.slow
def test_no_patient_beside_another(run, scan_folder, tmp_path):
    """Seen red before: core.nii.gz, lesion.json and dicom/ of the first stood beside the maps of the second."""
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(scan_folder, other)
    for file in other.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID = "Other^Patient", "2"
        dataset.save_as(file)
    done = run("maps", scan_folder, "-o", out, *MAPS, "--formats", "nifti,ct")
    assert done.code == 0, done.err
    (out / "thesis.txt").write_text("precious", encoding="utf-8")
    done = run("maps", other, "-o", out, *MAPS, "--no-lesions", "--force")
    assert done.code == 0, done.err
    names = {p.name for p in out.iterdir()}
    assert not names & {"core.nii.gz", "penumbra.nii.gz", "lesion.json", "lesion.png", "dicom"}
    assert names >= {"cbf.nii.gz", "run.json", "thesis.txt"}
    listed = json.loads((out / ".ctp-torch.json").read_text(encoding="utf-8"))["files"]
    assert set(listed) == names - {"thesis.txt", ".ctp-torch.json"}
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    done = run("lesion", out, "-o", out, "--force")
    assert (done.code, "is read by this run" in done.err) == (6, True), done.err
    (out / "cbf.nii.gz").write_bytes(b"changed by hand")
    done = run("maps", other, "-o", out, *MAPS, "--force")
    assert (done.code, "changed since ctp-torch wrote it" in done.err) == (6, True), done.err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {**before, "cbf.nii.gz": b"changed by hand"}


@pytest.mark.slow
def test_a_converted_series_keeps_its_source_and_its_times(run, tmp_path):
    """Seen red before: the source was replaced by its copy; the JSON of another series stayed or was replaced alone."""
    write_scan(tmp_path / "ct", n=16, n_slices=2, frames=6)
    path, beside = tmp_path / "ctp.nii.gz", tmp_path / "ctp.json"
    assert run("convert", tmp_path / "ct", "-o", path).code == 0
    before = path.read_bytes(), beside.read_bytes()
    done = run("convert", path, "-o", path, "--force")
    assert (done.code, "is read by this run" in done.err) == (6, True), done.err
    path.unlink()
    done = run("convert", tmp_path / "ct", "-o", path)
    assert (done.code, "ctp.json exists already" in done.err) == (6, True), done.err
    assert run("convert", tmp_path / "ct", "-o", path, "--force").code == 0
    assert (path.read_bytes(), beside.read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "ctp.json", "ctp.nii.gz"]
