"""Targets that aren't a console's maps: the truth in its units, labels and values from files, tested by patients."""

import json

import pytest
import torch
from scenes import MAPS, RANGES, write_toy_cohort
from typer.testing import CliRunner

from ctp_torch.cli import app
from ctp_torch.errors import CTPError, IncompleteSeriesError
from ctp_torch.io import read_cohort, read_series, read_volume, write_volume
from ctp_torch.io.cohort.target_values import read_target_file, read_target_values, target_name
from ctp_torch.learning.folds import cross_validate, pick_threshold
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import draw, prepare_all, recipe_for
from ctp_torch.models import KernelRidge, Ridge, load_model
from ctp_torch.pipeline import deconvolve, prepare
from ctp_torch.pipeline.recipe import Recipe, View

ARTERIAL = View("arterial", median_size=1, smoothing_mm=(2.0,))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Toy patients with a truth in units, a follow-up of labels and one of values, all by rules no model sees."""
    folder = write_toy_cohort(tmp_path_factory.mktemp("toy") / "cohort", train=4, test=1, frames=50)
    for home in sorted(folder.glob("p0*")):
        scan = prepare(read_series(home / "ct"), registration=None, slab_mm=0.0)
        maps, grid = deconvolve(scan), scan.series.geometry
        (home / "truth").mkdir()
        for name in MAPS:
            write_volume(home / "truth" / f"{name}.nii.gz", maps[name], grid)
        low = (maps["cbv"] < 2.5) & maps.mask
        write_volume(home / "followup.nii.gz", low.byte(), grid)
        write_volume(home / "level.nii.gz", 0.5 * maps["cbv"], grid)
    return read_cohort(folder)


@pytest.fixture(scope="module")
def files(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    return list(
        prepare_all(cohort.of("train"), folder, quantities=("followup",), view=ARTERIAL, target="followup.nii.gz")
    )


def test_truth_is_read_in_its_units(cohort):
    """Mutations seen red: indices of the display range; background that trains."""
    patient = cohort.patients[0]
    grid = read_series(patient.series_path).geometry
    values = read_target_values(patient.truth_path, ("cbf", "tmax"), grid, of=patient.name)
    known, _ = read_volume(patient.truth_path / "cbf.nii.gz")
    inside = values[0].isfinite()
    torch.testing.assert_close(values[0][inside], known[inside].float())
    assert (known[~inside] == 0).all()
    assert float(values[0][inside].max()) > RANGES["cbf"][1]


def test_no_truth_and_no_map_are_named(cohort, tmp_path):
    grid = read_series(cohort.patients[0].series_path).geometry
    with pytest.raises(IncompleteSeriesError, match="p00 has no truth"):
        read_target_values(None, ("cbf",), grid, of="p00")
    with pytest.raises(IncompleteSeriesError, match="holds no ttp map"):
        read_target_values(cohort.patients[0].truth_path, ("ttp",), grid, of="p00")


def test_one_file_is_needed(cohort):
    """Mutation seen red: the first of several."""
    patient = cohort.patients[0]
    grid = read_series(patient.series_path).geometry
    assert read_target_file(patient, "followup.nii.gz", grid).unique().tolist() == [0.0, 1.0]
    with pytest.raises(IncompleteSeriesError, match=r"p00: one file absent\.nii is needed"):
        read_target_file(patient, "absent.nii", grid)
    with pytest.raises(IncompleteSeriesError, match=r"found .*followup\.nii\.gz; .*level"):
        read_target_file(patient, "*l*.nii.gz", grid)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("followup.nii.gz", "followup"), ("*_lesion-msk.nii.gz", "lesion_msk"), ("24h.NII", "target_24h")],
)
def test_maps_are_named_after_files(pattern, name):
    assert target_name(pattern) == name


@pytest.mark.parametrize("pattern", ["../followup.nii.gz", "teach", "a/b.nii"])
def test_what_is_no_file_name_is_refused(pattern):
    with pytest.raises(CTPError, match="--target"):
        target_name(pattern)


def test_views_and_targets_lie_side_by_side(cohort, tmp_path):
    """One folder serves several. Mutation seen red: one file a patient, whatever it holds."""
    one = cohort.patients[:1]
    (raw,) = prepare_all(one, tmp_path, quantities=("cbf",))
    (truth,) = prepare_all(one, tmp_path, quantities=("cbf",), target="truth")
    (seen,) = prepare_all(one, tmp_path, quantities=("cbf",), view=ARTERIAL, late=True)
    assert len({raw, truth, seen}) == 3
    assert raw.name == "p00.safetensors"
    patient = PreparedPatient.load(seen)
    assert (patient.view, patient.curves.shape[1]) == (ARTERIAL, 42)
    assert set(patient.facts) == {"reach_s", "bolus_s", "dt_s"}
    assert patient.late.shape == patient.brain.shape
    assert PreparedPatient.load(truth).targets.is_floating_point()
    with pytest.raises(CTPError, match="wasn't noted"):
        draw([raw], 10, balance="late")


def test_labels_are_told_by_patients_left_out(files):
    """A rule on blood volume, which arterial curves hold. Mutation seen red: models that saw the patient."""
    names = [PreparedPatient.load(file).name for file in files]
    learned = []

    def recipe_of(data):
        learned.append(set(data.pixels))
        return recipe_for(data, {"followup": (0.0, 1.0)}, view=ARTERIAL, physical=True)

    rows = cross_validate(files, KernelRidge, recipe_of, 1500, n_folds=2)
    assert [row.patient for row in rows] == names
    assert learned == [{"p01", "p03"}, {"p00", "p02"}]
    assert all(0 <= row.brier < 0.25 for row in rows)
    assert sum(row.dice_at_threshold for row in rows) / 4 > 0.6
    one = PreparedPatient.load(files[0])
    assert rows[0].volume_ml == pytest.approx(float(one.targets[0][one.valid].sum()) * one.voxel_ml)


def test_threshold_by_hand():
    """Two patients: Dice is 1 for thresholds between 0.3 and 0.7 alone; the first of them is taken."""
    pairs = [(torch.tensor([0.3, 0.7]), torch.tensor([0.0, 1.0])), (torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0]))]
    assert pick_threshold(pairs) == pytest.approx(0.3)


def test_one_patient_cannot_be_left_out(files):
    with pytest.raises(CTPError, match="two or more"):
        cross_validate(files[:1], Ridge, lambda data: None, 100)


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_labels_of_other_numbers_are_refused(cohort, tmp_path):
    """0 and 255 would be learned as values. Mutation seen red: the check left out."""
    for patient in cohort.of("train"):
        volume, grid = read_volume(patient.series_path.parent / "followup.nii.gz")
        write_volume(patient.series_path.parent / "mask.nii.gz", 255 * volume, grid)
    words = ["train", cohort.path, "-o", tmp_path / "m.safetensors", "--target", "mask.nii.gz", "--samples", 200,
             "--keep-all", "--registration", "none"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code != 0
    assert "labels are 0 and 1" in str(result.exception) + result.output
    assert not list(tmp_path.glob("m.*"))


@pytest.mark.slow
def test_train_on_truth_and_map_another_protocol(cohort, tmp_path):
    """From a cohort to maps in units. Mutation seen red: values taken for indices."""
    model = tmp_path / "truth.safetensors"
    run("train", cohort.path, "-o", model, "--target", "truth", "--features", "arterial", "--samples", 1500,
        "--balance", "late", "--keep-all", "--registration", "none")  # fmt: skip
    recipe = Recipe.of(load_model(model))
    assert (recipe.units, recipe.targets["cbf"]) == ("physical", (0.0, 300.0))
    assert recipe.bounds["dt_s"] == (1.0, 1.0)
    run("maps", cohort.patients[4].series_path, "-o", tmp_path / "maps", "--model", model)
    record = json.loads((tmp_path / "maps" / "run.json").read_text())
    assert record["settings"]["features"] == "arterial"
    assert record["maps"]["aif"]["voxels_xyz"]
    found, _ = read_volume(tmp_path / "maps" / "cbf.nii.gz")
    truth, _ = read_volume(cohort.patients[4].truth_path / "cbf.nii.gz")
    both = (found > 0) & (truth > 0)
    assert float((found - truth)[both].abs().mean()) < 0.3 * float(truth[both].mean())
    run("evaluate", cohort.path, "-m", model, "-o", tmp_path / "scores", "--split", "test")
    assert "cbf" in (tmp_path / "scores" / "scores.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "words"), [("followup.nii.gz", "Brier score"), ("level.nii.gz", "r 0.9")])
def test_train_on_a_file(cohort, tmp_path, target, words):
    model = tmp_path / "file.safetensors"
    said = run("train", cohort.path, "-o", model, "--target", target, "--features", "arterial", "--samples", 1500,
               "--model", "ridge", "--folds", 2, "--keep-all", "--registration", "none")  # fmt: skip
    assert words in said
    assert (tmp_path / "file.folds.csv").read_text().count("\n") == 5
    run("maps", cohort.patients[4].series_path, "-o", tmp_path / "maps", "--model", model, "--formats", "nifti,ct,rgb")
    values, _ = read_volume(tmp_path / "maps" / f"{target_name(target)}.nii.gz")
    assert float(values.min()) >= 0.0
    assert float(values.max()) <= (1.0 if target.startswith("f") else 50.0)
