"""Intervals from patients left out: who is left out, what is promised, and that it holds for new patients."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from ctp_torch.data.geometry import Geometry
from ctp_torch.errors import CTPError, ModelMismatchError
from ctp_torch.learning.conformal import calibrate_intervals, intervals_from, predict_left_out, volume_margins
from ctp_torch.learning.prepared import PreparedPatient
from ctp_torch.learning.training import draw, recipe_for
from ctp_torch.lesions.thresholds import Thresholds
from ctp_torch.models import LinearRegression
from ctp_torch.pipeline.intervals import Intervals, answers_signature, relative_flow
from ctp_torch.pipeline.recipe import View

VIEW = View("arterial", median_size=1, smoothing_mm=(2.0,))
RANGES = {"cbf": (0.0, 60.0), "tmax": (0.0, 12.0)}


def patient(name, *, seed, stranger=False):
    """Flow and delay behind two noisy features, with a scale of the patient's own that no feature tells."""
    generator = torch.Generator().manual_seed(seed)
    brain = torch.ones(2, 20, 20, dtype=torch.bool)
    cbf, tmax = 20 + 40 * torch.rand(800, generator=generator), 1 + 4 * torch.rand(800, generator=generator)
    features = torch.stack([cbf, tmax], 1) + torch.randn(800, 2, generator=generator)
    scale = float((0.1 * torch.randn((), generator=generator)).exp())
    bolus = torch.linspace(0, 1, 12) ** 2 + 0.05 * torch.randn(12, generator=generator)
    return PreparedPatient(
        name, "train", features, brain, brain.clone(),
        torch.stack([cbf * scale, tmax]).reshape(2, 2, 20, 20), tuple(RANGES), 1.0, view=VIEW,
        facts={"reach_s": 40.0, "bolus_s": 5.0, "dt_s": 1.0},
        bolus=bolus + (torch.linspace(0, 6, 12).sin() if stranger else 0.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    files = []
    for i in range(12):
        files.append(folder / f"P{i:02d}.safetensors")
        patient(f"P{i:02d}", seed=i).save(files[-1])
    return files


def recipe_of(data):
    return recipe_for(data, RANGES, view=VIEW, physical=True)


@pytest.fixture(scope="module")
def made(cohort):
    data = draw(cohort, 1200, seed=0)
    intervals = calibrate_intervals(cohort, data, LinearRegression, recipe_of, level=0.9)
    recipe = recipe_of(data)
    model = LinearRegression().fit(recipe.scale(data.curves), data.targets)
    return intervals, model, recipe


def test_intervals_hold_for_new_patients(made):
    """At least 90 % of the voxels in at least nine tenths of 40 new patients, give or take; not much wider than needed.

    Mutation seen red: the margin of rank 1.
    """
    intervals, model, recipe = made
    held = dict.fromkeys(("cbf", "tmax", "rel_cbf"), 0)
    for seed in range(100, 140):
        one = predict_left_out(patient("new", seed=seed), model, recipe, limits=Thresholds())
        ends = intervals.ends(one.predicted)
        for name in held:
            within = (one.truth[name] >= ends[f"{name}_lower"]) & (one.truth[name] <= ends[f"{name}_upper"])
            held[name] += float(within.double().mean()) >= 0.9
    assert min(held.values()) >= 34
    width = float((ends["cbf_upper"] - ends["cbf_lower"]).mean())
    narrow = float((ends["rel_cbf_upper"] - ends["rel_cbf_lower"]).mean()) * 40
    assert narrow < 0.6 * width, "the patient's scale is gone from relative flow"


def test_left_out_patients_are_not_learned_from(cohort):
    """A model that knows its training by heart would promise nothing but zero widths."""
    seen = []

    class Spy(LinearRegression):
        def fit(self, X, Y):
            seen.append(len(X))
            return super().fit(X, Y)

    data = draw(cohort, 1200, seed=0)
    calibrate_intervals(cohort, data, Spy, recipe_of, level=0.5)
    assert seen == [1100] * 12


def test_strangers_get_no_promise(made):
    intervals, model, recipe = made
    flagged = []
    for seed, stranger in [(seed, stranger) for seed in range(200, 220) for stranger in (False, True)]:
        one = predict_left_out(patient("new", seed=seed, stranger=stranger), model, recipe, limits=Thresholds())
        flagged.append((stranger, bool(intervals.outside(one.signatures))))
    assert all(flag for stranger, flag in flagged if stranger)
    assert sum(flag for stranger, flag in flagged if not stranger) <= 4
    (words,) = intervals.outside({"bolus": torch.linspace(0, 6, 12).sin()})
    assert "shape of its bolus" in words
    assert "12 scans" in words


def test_too_few_patients_are_told_how_many(cohort):
    data = draw(cohort[:8], 400, seed=0)
    with pytest.raises(CTPError, match="needs 9 patients, got 8"):
        calibrate_intervals(cohort[:8], data, LinearRegression, recipe_of, level=0.9)


def test_model_file_carries_them(made, tmp_path):
    from ctp_torch.models import load_model

    intervals, model, recipe = made
    intervals = replace(intervals, volumes={"core_ml": 1.5}, thresholds=asdict(Thresholds()))
    about = {"recipe": recipe.as_metadata(), **intervals.as_metadata()}
    model.save(tmp_path / "m.safetensors", metadata=about)
    loaded = load_model(tmp_path / "m.safetensors")
    assert Intervals.of(loaded) == intervals
    damages = (("level", 1.5), ("patients", "many"), ("bands", {"cbf": {"knots": [2, 1]}}), ("known", {"bolus": {}}))
    for name, bad in damages:
        loaded.metadata_["intervals"] = {**json.loads(json.dumps(about["intervals"])), name: bad}
        with pytest.raises(ModelMismatchError, match="intervals are not readable"):
            Intervals.of(loaded)
    del loaded.metadata_["intervals"]
    assert Intervals.of(loaded) is None


def test_volumes_by_hand():
    """Roots that differ by 1 mL^.5: 49 mL lie within 36..64; other thresholds promise nothing."""
    margins = volume_margins([dict.fromkeys(("core_ml", "hypoperfusion_ml", "mismatch_ml"), (25.0, 36.0))] * 9, 0.9)
    assert margins == {"core_ml": 1.0, "hypoperfusion_ml": 1.0, "mismatch_ml": 1.0}
    intervals = Intervals(0.9, 9, {}, margins, asdict(Thresholds()))
    ends = intervals.volume_ends({"core_ml": 49.0, "hypoperfusion_ml": 0.25}, Thresholds())
    assert ends == {"core_ml": (36.0, 64.0), "hypoperfusion_ml": (0.0, 2.25)}
    assert intervals.volume_ends({"core_ml": 49.0}, Thresholds(rcbf=0.2)) == {}
    assert volume_margins([dict.fromkeys(margins, (25.0, 36.0))] * 8, 0.9) == {}


def test_relative_flow_is_over_tissue_with_normal_tmax():
    values = {"cbf": torch.tensor([10.0, 40.0, 60.0, 50.0]), "tmax": torch.tensor([9.0, 1.0, 2.0, 3.0])}
    assert relative_flow(values).tolist() == pytest.approx([0.2, 0.8, 1.2, 1.0])
    assert relative_flow(values, torch.tensor([5.0, 20.0, 30.0, 25.0])).tolist() == pytest.approx([0.2, 0.8, 1.2, 1.0])
    assert relative_flow({"cbf": values["cbf"]}).tolist() == pytest.approx([0.25, 1.0, 1.5, 1.25])
    assert relative_flow({"tmax": values["tmax"]}) is None
    assert answers_signature(values).shape == (6,)
    many = answers_signature({"cbf": torch.linspace(1, 60, 17_000_000)})
    torch.testing.assert_close(many.exp(), torch.tensor([6.9, 30.5, 54.1], dtype=torch.float64), rtol=1e-3, atol=1e-3)


def test_lesions_are_measured_where_they_are_known():
    """The right half is late and without flow; the truth says so too."""
    side = torch.zeros(2, 20, 20, dtype=torch.bool)
    side[..., 14:] = True
    one = patient("P", seed=0)
    values = torch.stack([torch.where(side, 5.0, 50.0), torch.where(side, 10.0, 1.0)])
    one = replace(
        one, curves=values.flatten(1).T.contiguous(), targets=values, lesions=torch.stack([side, side]),
        geometry=Geometry((2, 20, 20), (5.0, 8.0, 8.0)), baseline=torch.full((2, 20, 20), 35.0),
    )  # fmt: skip
    data = draw_of(one)
    recipe = recipe_of(data)
    model = LinearRegression().fit(recipe.scale(data.curves), data.targets)
    measured = predict_left_out(one, model, recipe, limits=Thresholds()).volumes
    true = int(side.sum()) * 0.32
    assert measured["core_ml"][1] == pytest.approx(true)
    assert measured["hypoperfusion_ml"] == pytest.approx((true, true), rel=0.15)
    assert measured["mismatch_ml"][1] == 0
    made = intervals_from(
        [predict_left_out(one, model, recipe, limits=Thresholds())] * 3, level=0.5, thresholds=Thresholds()
    )
    assert set(made.volumes) == {"core_ml", "hypoperfusion_ml", "mismatch_ml"}
    assert made.known == {}


def draw_of(one):
    from ctp_torch.learning.training import TrainingSet

    curves, targets = one.sample(torch.arange(800))
    return TrainingSet(curves, targets, {"P": torch.arange(800)}, 1.0, one.quantities)
