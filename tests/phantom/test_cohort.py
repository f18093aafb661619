"""Cohorts on disk: what a hospital would hand over, made again bit by bit, and nothing half-made."""

import json
from dataclasses import replace

import pytest
import torch

from ctp_torch import ops
from ctp_torch.errors import CTPError, OutputExistsError
from ctp_torch.io import read_cohort, read_color_maps, read_series, read_volume
from ctp_torch.io.workplace import sweep
from ctp_torch.learning.teacher import console_teacher
from ctp_torch.phantom import render_patient
from ctp_torch.phantom.cohort import CohortDesign, split_patients, write_cohort
from ctp_torch.phantom.patient import draw_diagnosis

SMALL = CohortDesign(patients=2, train=1, size=96, slices=3, frames=40, seed=4)
TEACHER = console_teacher(None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "cohort"
    names = list(write_cohort(folder, replace(SMALL, rejects=1), teacher=TEACHER))
    return folder, names


@pytest.mark.slow
def test_layout_and_index(made):
    folder, names = made
    assert names == ["P001", "P002", "P003"]
    cohort = read_cohort(folder)
    assert sorted(p.split for p in cohort.patients) == ["reject", "test", "train"]
    assert cohort.settings["seed"] == 4
    assert cohort.settings["teacher"]["method"] == "csvd"
    assert 0.5 < cohort.settings["noise_hu_after_median"] < 2.0
    assert cohort.ranges == {"cbv": (0, 8), "cbf": (0, 60), "mtt": (0, 20), "tmax": (0, 12)}
    for patient in cohort.patients:
        assert len(list(patient.series_path.glob("*.dcm"))) == 3 * 40
        assert len(list(patient.maps_path.glob("*.dcm"))) == 3 * 4
        assert (patient.truth_path / "truth.json").is_file()
    assert not list(folder.parent.glob(".*"))
    assert sorted(p.name for p in folder.iterdir()) == [".ctp-torch.json", "P001", "P002", "P003", "cohort.json"]


@pytest.mark.slow
def test_files_hold_the_rendered_scan(made):
    """Red when the teacher or the files see other pixels than the renderer made (tried: hu - 1 before writing)."""
    cohort = read_cohort(made[0])
    rendered = render_patient(4, 1, size=96, slices=3, frames=40)
    series = read_series(cohort.patients[1].series_path)
    assert torch.equal(series.hu, rendered.series.hu.round())
    torch.testing.assert_close(series.times, rendered.series.times)
    assert series.geometry.matches(rendered.series.geometry, tolerance_mm=1e-3)


@pytest.mark.slow
def test_maps_are_the_teachers_and_truth_is_not(made):
    from ctp_torch import pipeline

    patient = read_cohort(made[0]).patients[1]
    pictures = read_color_maps(patient.maps_path)
    assert sorted(pictures.colors) == ["cbf", "cbv", "mtt", "tmax"]
    index = ops.nearest_color_index(pictures["cbf"], ops.jet_lut())
    series = pipeline.preprocess(read_series(patient.series_path), median_size=1)
    maps = pipeline.deconvolve(series, ops.csvd, sigma_mm=2.0, smoothing="inside")
    expected = (maps["cbf"] / 60.0).clamp(0, 1).mul(255).round().to(torch.int16)
    assert torch.equal(index[maps.mask], expected[maps.mask])
    outside = pictures["cbf"][~maps.mask].float()  # black, and the legend's colours and letters
    assert float((outside.amax(-1) == 0).float().mean()) > 0.9
    truth, _ = read_volume(patient.truth_path / "cbf.nii.gz")
    brain, _ = read_volume(patient.truth_path / "brain.nii.gz")
    assert float((truth - maps["cbf"]).abs()[brain > 0].mean()) > 2.0


@pytest.mark.slow
def test_truth_on_disk_is_the_rendered_one(made):
    patient = read_cohort(made[0]).patients[1]
    rendered = render_patient(4, 1, size=96, slices=3, frames=40).truth
    told = json.loads((patient.truth_path / "truth.json").read_text(encoding="utf-8"))
    torch.testing.assert_close(torch.tensor(told["aif_hu"]), rendered.aif, atol=1e-3, rtol=0)
    moved = torch.tensor(told["motion"]["frames"], dtype=torch.float64)
    torch.testing.assert_close(moved, rendered.motion, atol=1e-4, rtol=0)
    for name in ("labels", "core"):
        volume, _ = read_volume(patient.truth_path / f"{name}.nii.gz")
        assert torch.equal(volume.to(torch.int64), getattr(rendered, name).to(torch.int64))


@pytest.mark.slow
def test_rejects_move_more(made):
    largest = []
    for patient in read_cohort(made[0]).patients:
        frames = json.loads((patient.truth_path / "truth.json").read_text(encoding="utf-8"))["motion"]["frames"]
        largest.append(max(abs(v) for row in frames for v in row))
    assert largest[2] > 2 * max(largest[:2])


@pytest.mark.slow
def test_interrupted_cohort_goes_on_and_equals_an_uninterrupted_one(made, tmp_path):
    target = tmp_path / "cohort"
    steps = write_cohort(target, SMALL, teacher=TEACHER)
    assert next(steps) == "P001"
    steps.close()
    assert not target.exists()
    sweep(tmp_path)  # other runs beside it leave it alone
    before = (tmp_path / ".ctp-torch-cohort" / "results" / "P001" / "ct" / "IM00001.dcm").stat().st_mtime_ns
    assert list(write_cohort(target, SMALL, teacher=TEACHER)) == ["P001", "P002"]
    assert (target / "P001" / "ct" / "IM00001.dcm").stat().st_mtime_ns == before
    pixels = read_series(target / "P002" / "ct").hu
    assert torch.equal(pixels, read_series(made[0] / "P002" / "ct").hu)
    with pytest.raises(OutputExistsError, match="--force"):
        write_cohort(target, SMALL, teacher=TEACHER)


def test_other_plan_starts_over(tmp_path):
    work = tmp_path / ".ctp-torch-cohort"
    (work / "results" / "P001").mkdir(parents=True)
    (work / "kept.json").write_text("{}")
    one = replace(SMALL, patients=1, train=0)
    write_cohort(tmp_path / "cohort", one, teacher=TEACHER).close()
    assert work.exists()  # nothing is touched before the first patient is asked for
    steps = write_cohort(tmp_path / "cohort", replace(one, frames=36), teacher=TEACHER)
    next(steps)
    assert len(list((work / "results" / "P001" / "ct").iterdir())) == 3 * 36
    with pytest.raises(OutputExistsError, match="being written to by process"):
        next(write_cohort(tmp_path / "cohort", SMALL, teacher=TEACHER))


@pytest.mark.parametrize(("patients", "train"), [(38, 30), (4, 3), (5, 5), (3, 0)])
def test_split_is_even_over_diagnoses(patients, train):
    splits = split_patients(0, patients, train)
    assert splits.count("train") == train
    assert splits.count("test") == patients - train
    if patients == 38:
        test_kinds = [draw_diagnosis(0, i).kind for i, split in enumerate(splits) if split == "test"]
        all_kinds = [draw_diagnosis(0, i).kind for i in range(38)]
        for kind in set(all_kinds):
            assert abs(test_kinds.count(kind) - all_kinds.count(kind) * 8 / 38) <= 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patients": 0, "train": 0}, "patients must be 1 to"),
        ({"train": 3}, "train must be 0 to the 2 patients, got 3"),
        ({"size": 20}, "size must be 64 to"),
        ({"slices": 0}, "slices must be"),
        ({"frames": 10}, "frames must be 20"),
        ({"frames": 30}, "before the bolus is through"),
        ({"dt": 0.0}, "dt must be 0.2 to 5"),
        ({"dose": 0.0}, "dose must be"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_impossible_cohorts_are_refused_at_once(tmp_path, options, message):
    with pytest.raises(CTPError, match=message):
        write_cohort(tmp_path / "cohort", replace(SMALL, **options), teacher=TEACHER)
    assert not list(tmp_path.iterdir())


def test_taken_place_is_refused(tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "mine.txt").write_text("keep")
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="--force"):
            write_cohort(tmp_path / "cohort", SMALL, teacher=TEACHER, force=force)
    assert (tmp_path / "cohort" / "mine.txt").read_text(encoding="utf-8") == "keep"


def test_command_line_refuses_in_one_line(tmp_path):
    from typer.testing import CliRunner

    from ctp_torch.cli.phantom import app

    result = CliRunner().invoke(app, ["cohort", str(tmp_path / "c"), "--train", "99"])
    assert result.exit_code != 0
    assert isinstance(result.exception, CTPError)
    assert "train must be" in str(result.exception)
