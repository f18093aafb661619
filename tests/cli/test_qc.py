"""``ctp-torch qc`` on files: JSON for programs, lines for people, and faults that reading alone would refuse."""

import json

import pydicom
import pytest


def checked(run, *arguments):
    done = run("qc", *arguments, "--registration", "none", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_frames_that_lack_a_slice_are_counted(run, scan_folder, tmp_path):
    """Mutation: read without leaving incomplete time points out; red."""
    import shutil

    folder = shutil.copytree(scan_folder, tmp_path / "ct")
    times = sorted({pydicom.dcmread(p, stop_before_pixels=True).AcquisitionTime for p in folder.iterdir()})
    for path in list(folder.iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.AcquisitionTime in times[10:14] and header.ImagePositionPatient[2] < 21:
            path.unlink()
    found = checked(run, folder)
    assert "q1" in found["flags"]
    assert found["flags"]["q1"]["values"]["missing_frames"] == 4


def test_slices_that_moved_during_the_scan_are_flagged_though_no_grid_holds_them(run, scan_folder, tmp_path):
    import shutil

    folder = shutil.copytree(scan_folder, tmp_path / "ct")
    times = sorted({pydicom.dcmread(p, stop_before_pixels=True).AcquisitionTime for p in folder.iterdir()})
    for path in list(folder.iterdir()):
        image = pydicom.dcmread(path)
        if image.AcquisitionTime in times[20:]:
            x, y, z = image.ImagePositionPatient
            image.ImagePositionPatient = [x, y, z + 3]
            image.save_as(path)
    found = checked(run, folder)
    assert "q2" in found["flags"]
    assert found["flags"]["q2"]["values"]["between_frames_mm"] == pytest.approx(3.0, abs=0.01)


@pytest.mark.slow
def test_motion_is_told_frame_by_frame_and_written(run, scan_folder, tmp_path):
    out = tmp_path / "quality"
    done = run("qc", scan_folder, "--json", "-o", out)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["motion"]) == 40
    assert set(found["motion"][0]) == {"frame", "time_s", "translation_mm", "rotation_deg"}
    assert all(len(row["translation_mm"]) == len(row["rotation_deg"]) == 3 for row in found["motion"])
    assert json.loads((out / "qc.json").read_text(encoding="utf-8")) == found
    table = (out / "motion.tsv").read_text(encoding="utf-8").splitlines()
    assert table[0].split("\t")[:3] == ["frame", "time_s", "rx_deg"]
    assert len(table) == 41
    assert (out / "motion.png").stat().st_size > 2000


def test_a_cohort_is_checked_patient_by_patient(run, cohort_folder):
    found = checked(run, cohort_folder)
    assert set(found["patients"]) == {"p00", "p01", "p02", "p03", "p04"}
    assert all(set(one["checks"]) >= {"q1", "q2", "q7"} for one in found["patients"].values())
    assert all(one["checks"]["q2"]["values"]["scan_to_maps_mm"] < 0.1 for one in found["patients"].values())


def test_strict_ends_with_its_own_code_and_one_line_for_each_flag(run, scan_folder):
    done = run("qc", scan_folder, "--registration", "none", "--strict", "--expected-frames", "60")
    assert done.code == 7
    assert "q1 frames missing: missing frames 20 (at most 2)" in done.out
    assert "the series failed" in done.err


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_what_is_no_series_is_one_message(run, tmp_path, where):
    if where == "empty":
        (tmp_path / where).mkdir()
    done = run("qc", tmp_path / where)
    assert done.code == 3
    assert "Traceback" not in done.err
