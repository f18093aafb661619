"""From a cohort on disk to training curves: what is drawn, from where, and what is refused."""

import pytest
import torch
from scenes import MAPS, write_toy_cohort

from ctp_torch import ops, pipeline
from ctp_torch.errors import CTPError, IncompleteSeriesError
from ctp_torch.io import read_cohort, read_color_maps, read_series
from ctp_torch.learning.evaluate import score_patient, score_points
from ctp_torch.learning.prepared import PreparedPatient, prepare
from ctp_torch.learning.training import draw, fingerprint, prepare_all, standardise
from ctp_torch.models import Ridge
from ctp_torch.pipeline.recipe import Recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return read_cohort(write_toy_cohort(tmp_path_factory.mktemp("toy") / "cohort"))


@pytest.fixture(scope="module")
def files(cohort, tmp_path_factory):
    return list(prepare_all(cohort.patients, tmp_path_factory.mktemp("ready"), quantities=MAPS))


def test_a_sampled_curve_is_the_pixels_own(cohort, files):
    """Mutation seen red: an offset of one in the row lookup."""
    patient = cohort.patients[1]
    ready = PreparedPatient.load(files[1])
    pixels = ready.valid.flatten().nonzero().squeeze(1)[::97]
    curves, targets = ready.sample(pixels)
    scan = pipeline.features(pipeline.preprocess(read_series(patient.series_path)))
    torch.testing.assert_close(curves, scan.flatten(1)[:, pixels].T)
    pictures = read_color_maps(patient.maps_path)
    for i, name in enumerate(MAPS):
        index = ops.nearest_color_index(pictures[name], ops.jet_lut())
        assert torch.equal(targets[:, i], index.flatten()[pixels].float())


def test_the_legend_is_never_drawn(files):
    """The colour bar lies outside the head: there every target is background."""
    for file in files:
        ready = PreparedPatient.load(file)
        assert (ready.targets[:, ~ready.head] == -1).all()
        assert (ready.brain | ~ready.valid).all()


def test_pixels_are_spread_over_patients_and_slices(files):
    data = draw(files[:3], 500, seed=1)
    assert data.curves.shape == (500, 40)
    assert data.targets.shape == (500, 4)
    assert sorted(len(p) for p in data.pixels.values()) == [165, 167, 168]  # 5 slices give 55, 4 give 56
    again = draw(files[:3], 500, seed=1)
    assert torch.equal(data.curves, again.curves)
    assert fingerprint(data.pixels) == fingerprint(again.pixels)
    assert fingerprint(data.pixels) != fingerprint(draw(files[:3], 500, seed=2).pixels)


def test_prepared_files_are_kept(cohort, files):
    before = [file.stat().st_mtime_ns for file in files]
    list(prepare_all(cohort.patients, files[0].parent, quantities=MAPS))
    assert [file.stat().st_mtime_ns for file in files] == before


def test_two_protocols_do_not_mix(files, tmp_path):
    ready = PreparedPatient.load(files[0])
    other = PreparedPatient(
        "other", "train", ready.curves[:, ::2], ready.brain, ready.head, ready.targets, ready.quantities, 2.0
    )
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(CTPError, match=r"40 frames every 1 s .*; 20 frames every 2 s"):
        draw([files[0], tmp_path / "other.safetensors"], 10)


def test_a_missing_map_is_named(cohort):
    with pytest.raises(IncompleteSeriesError, match="holds no ttp map"):
        prepare(cohort.patients[0], quantities=("cbv", "ttp"))


def test_z_scores(files):
    data = draw(files[:2], 300)
    recipe = standardise(Recipe(40, 1.0, {"cbv": (0.0, 8.0)}), data.curves)
    scaled = recipe.scale(data.curves)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0), torch.ones(40), atol=1e-3, rtol=0)


def test_a_trained_model_scores_better_than_a_constant(cohort, files):
    data = draw(files[:3], 600)
    recipe = Recipe(40, data.dt, {name: cohort.ranges[name] for name in MAPS})
    students = {"ridge": Ridge(alpha=0.1), "constant": Ridge(alpha=1e9)}
    for model in students.values():
        model.fit(data.curves, data.targets).metadata_ = {"recipe": recipe.as_metadata()}
    rows = [row for file in files[3:] for row in score_patient(PreparedPatient.load(file), students)]
    assert len(rows) == 2 * 3 * 4 * 2
    assert {row.split for row in rows} == {"test"}
    mean = {
        name: sum(row.ssim_frame for row in rows if row.model == name and row.map == "cbv") / 6 for name in students
    }
    assert mean["ridge"] > mean["constant"]
    points = score_points(files[3:], students, 400)
    assert points.r2["ridge", "cbv"] > 0.1
    assert points.r2["constant", "cbv"] == pytest.approx(0.0, abs=0.1)
    assert sum(len(p) for p in points.pixels.values()) == 400
