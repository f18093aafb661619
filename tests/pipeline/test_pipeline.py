"""The recipe on a head with known vessels: what a console's user would check."""

from dataclasses import replace

import pytest
import torch
from oracles.vessels import dice, head
from scenes import scan
from scipy import ndimage

from ctp_torch import ops, pipeline
from ctp_torch.data.geometry import Geometry
from ctp_torch.data.maps import QUANTITIES
from ctp_torch.data.series import CTPSeries
from ctp_torch.data.slabs import slabs
from ctp_torch.errors import ModelMismatchError, QualityError
from ctp_torch.models import Ridge
from ctp_torch.phantom import render_patient
from ctp_torch.pipeline.recipe import Recipe


@pytest.fixture(scope="module")
def case():
    return scan(n=96, n_slices=3, frames=50, noise=2.0)


@pytest.fixture(scope="module")
def maps(case):
    return pipeline.deconvolve(case[0])


def test_preprocess_is_the_median_of_each_slice(case):
    """Mutation seen red: filtering the time axis."""
    series, _ = case
    filtered = pipeline.preprocess(series)
    assert torch.equal(filtered.hu[7, 1], ops.median_filter(series.hu[7, 1], 3))
    assert filtered.geometry == series.geometry


def test_motion_is_estimated_on_the_unfiltered_and_applied_to_the_filtered_scan(case):
    """Mutation seen red: handing the filtered HU to the registration."""
    series, _ = case
    seen = {}

    def stays(hu, spacing, n_reference):
        seen["hu"], seen["n"] = hu, n_reference
        zeros = torch.zeros(hu.shape[0], 3, dtype=torch.float64)
        return ops.RigidMotion(zeros, zeros.clone(), torch.ones(6, dtype=torch.bool))

    result = pipeline.preprocess(series, registration=stays)
    assert seen["hu"] is series.hu
    assert 3 <= seen["n"] <= 12
    torch.testing.assert_close(result.hu, pipeline.preprocess(series).hu)
    assert result.provenance.motion.translation_mm[0] == [0.0, 0.0, 0.0]


def test_a_little_motion_between_thick_slices_is_told_and_left(case):
    """Mutations seen red: all of the motion undone; the notes tell only what was undone."""
    series, _ = case
    shift = torch.zeros(series.n_frames, 3, dtype=torch.float64)
    shift[:, 2] = 0.1 * series.geometry.spacing[0]
    determined = torch.tensor([False, False, True, True, True, False])
    aligned = pipeline.align(series, ops.RigidMotion(torch.zeros_like(shift), shift, determined))
    assert torch.equal(aligned.hu, series.hu)
    assert aligned.provenance.motion.translation_mm[7][2] == pytest.approx(0.1 * series.geometry.spacing[0], abs=1e-3)
    assert aligned.provenance.motion.through_plane == "subtracted"
    known = ops.RigidMotion(torch.zeros_like(shift), shift, torch.ones(6, dtype=torch.bool))
    sampled = pipeline.align(series, known)
    assert not torch.equal(sampled.hu, series.hu)
    assert sampled.provenance.motion.through_plane == "interpolated"
    far = pipeline.align(series, ops.RigidMotion(torch.zeros_like(shift), 5.0 * shift, determined))
    assert far.provenance.motion.through_plane == "both"


def test_what_moves_through_thick_slices_leaves_the_curves():
    """Against the same head lying still. Mutations seen red: correction left out; only the part undone handed on."""
    still, _ = render_patient(41, 3, size=96, motion="none")
    moving, _ = render_patient(41, 3, size=96, motion="mild")
    motion = pipeline.estimate_motion(moving, ops.register_rigid)
    spacing = moving.geometry.spacing
    in_plane = replace(moving, hu=ops.apply_motion(moving.hu, ops.correctable(motion, spacing), spacing))
    brain = pipeline.locate(still).brain & pipeline.locate(in_plane).brain

    def error(series):
        curves = [ops.smooth_inside(ops.enhancement(x.hu, 5), brain, spacing, 2.0)[:, brain] for x in (series, still)]
        return float((curves[0] - curves[1]).square().mean(dim=0).sqrt().median())

    assert error(pipeline.align(moving, motion)) < 0.9 * error(in_plane)  # 0.86


def test_features_are_the_papers_window(case):
    values = pipeline.features(case[0])
    assert float(values.min()) == 0.0
    assert float(values.max()) == 1.0


def test_brain_and_baseline_are_found(case):
    series, made = case
    anatomy = pipeline.locate(series)
    assert dice(anatomy.brain, made.brain) > 0.95
    assert 5 <= anatomy.n_baseline <= 12  # the artery rises at 9 s, the tissue at 10 s, slowly
    assert (anatomy.head | ~anatomy.brain).all()


def test_the_brain_keeps_two_millimetres_from_the_skull():
    """By scipy's distance. Mutations seen red: a rim of 1 mm; of 3 mm."""
    made = head(230, 2, frames=4)
    series = CTPSeries(
        made.hu, torch.arange(4.0).double()[:, None].expand(-1, 2), Geometry((2, 230, 230), made.spacing)
    )
    anatomy = pipeline.locate(series)
    inside = ops.brain_mask(anatomy.baseline, made.spacing) & anatomy.head
    away = torch.from_numpy(ndimage.distance_transform_edt(inside.numpy(), sampling=made.spacing))
    assert torch.equal(anatomy.brain, away > 2.0)
    assert int((away == 2.0).sum()) > 100


def test_maps_have_the_physics_right(case, maps):
    """The tissue is 0.03 of the artery, wider by 3 / 2.4: CBV = 100 kH / rho * 0.0375."""
    _, made = case
    tissue = maps.mask & made.brain & ~made.ventricle & ~made.artery & ~made.sinus
    inner = ops.erode(tissue, 6.0, made.spacing)
    assert float(maps["cbv"][inner].median()) == pytest.approx(0.70513 * 100 * 0.03 * 3.0 / 2.4, rel=0.12)
    assert float(maps["mtt"][inner].median()) == pytest.approx(
        60 * float(maps["cbv"][inner].median()) / float(maps["cbf"][inner].median()), rel=0.05
    )
    assert set(maps.values) == {"cbv", "cbf", "mtt", "tmax", "ttp"}
    assert all(bool((maps[name][~maps.mask] == 0).all()) for name in maps.values)
    assert maps.provenance.vof_to_aif_ratio == pytest.approx(1.0, abs=0.6)
    assert maps.provenance.times == "as acquired"


def test_the_noted_artery_is_one(case, maps):
    _, made = case
    for x, y, z in maps.provenance.aif.mask.nonzero().flip(1).tolist():
        assert made.artery[max(z - 1, 0) : z + 2, y - 2 : y + 3, x - 2 : x + 3].any()


def test_vessels_of_thin_slices_are_those_of_their_slabs():
    """Mutations seen red: vessels sought in the thin slices; their place left on the slabs."""
    made = head(64, 20, 0.5, frames=40, noise=4.0)
    times = torch.arange(40.0, dtype=torch.float64)[:, None].expand(-1, 20).contiguous()
    thin = CTPSeries(made.hu, times, Geometry((20, 64, 64), made.spacing))
    found, anatomy = pipeline.deconvolve(thin).provenance, pipeline.locate(thin)
    change = ops.enhancement(slabs(thin).hu, anatomy.n_baseline)
    brain = anatomy.brain.unflatten(0, (2, 10)).sum(dim=1) >= 5
    spacing = (5.0, *made.spacing[1:])
    aif = ops.select_aif(change, brain, 1.0, spacing=spacing)
    vof = ops.select_vof(change, brain, 1.0, spacing=spacing, aif=aif.curve)
    for vessel, expected in ((found.aif, aif), (found.vof, vof)):
        torch.testing.assert_close(vessel.curve, expected.curve, rtol=0, atol=2e-3)
        places = {(x, y, 10 * z + k) for z, y, x in expected.mask.nonzero().tolist() for k in range(10)}
        assert set(map(tuple, vessel.mask.nonzero().flip(1).tolist())) == places


def test_a_given_artery_is_used(case):
    series, made = case
    where = torch.zeros_like(made.artery)
    where[tuple(made.artery.nonzero()[0])] = True
    given = pipeline.deconvolve(series, aif=ops.VesselCurve(made.aif * 2, where), scale_by_vof=False)
    once = pipeline.deconvolve(series, aif=ops.VesselCurve(made.aif, where), scale_by_vof=False)
    inside = once["cbv"] > 0.5
    torch.testing.assert_close(given["cbv"][inside] * 2, once["cbv"][inside], rtol=1e-3, atol=1e-3)
    assert given.provenance.vof is None
    assert given.provenance.vof_to_aif_ratio == 1.0


def test_what_alternates_from_frame_to_frame_is_noise(case, maps):
    """[1/4, 1/2, 1/4] takes it out of the tissue's curves altogether. Mutation seen red: curves as they are."""
    series, made = case
    t = torch.arange(50.0)
    slow = torch.sin(torch.pi * (t - 14.0).clamp(0.0, 35.0) / 35.0).square()  # none before the contrast, nor at the end
    ripple = 6.0 * slow * (1.0 - 2.0 * (t % 2))
    given = {"aif": ops.VesselCurve(made.aif, torch.zeros_like(made.artery)), "scale_by_vof": False, "mask": maps.mask}
    rippled = replace(series, hu=series.hu + ripple[:, None, None, None])
    still, moved = pipeline.deconvolve(series, **given), pipeline.deconvolve(rippled, **given)
    for name in ("cbv", "cbf", "ttp"):
        change = (moved[name] - still[name])[maps.mask].abs() / still[name][maps.mask].clamp_min(1e-3)
        assert float(change.quantile(0.9)) < 0.05, name


def test_slices_taken_later_give_the_same_maps():
    """Per-slice times: shifting a slice's clock with its curves changes no map but Tmax's noise."""
    even, _ = scan(n=64, n_slices=3, frames=50, noise=0.0)
    late, _ = scan(n=64, n_slices=3, frames=50, noise=0.0, onset=8.5)
    hu = even.hu.clone()
    hu[:, 2] = late.hu[:, 2]  # the middle of the bolus comes half a second earlier in these frames ...
    times = even.times.clone()
    times[:, 2] += 0.5  # ... because they were taken half a second later
    mixed = replace(even, hu=hu, times=times)
    mask = pipeline.locate(even).brain
    first = pipeline.deconvolve(even, mask=mask)
    second = pipeline.deconvolve(mixed, lambda *given, **moments: ops.csvd(*given, **moments), mask=mask)
    assert second.provenance.times == "resampled every 1 s by monotone cubics"  # whatever the method's name
    inside = mask[2] & (first["cbv"][2] > 0.5) & (first["cbv"][2] < 8)
    for name, most in (("cbv", 0.05), ("cbf", 0.15)):
        change = (second[name][2] - first[name][2])[inside].abs() / first[name][2][inside]
        assert float(change.median()) < most


def test_the_vascular_model_adds_what_capillaries_allow(case):
    """CTH [s] and OEFmax [%] of the method's own answer; a fraction left as it is turns this red."""
    series, _ = case
    answers = []

    def method(*given, **options):
        answers.append(ops.vascular_model(*given, **options))
        return answers[-1]

    made = pipeline.deconvolve(series, method)
    assert set(made.values) == {"cbv", "cbf", "mtt", "tmax", "ttp", "cth", "oefmax"}
    (answer,) = answers
    torch.testing.assert_close(made["cth"][made.mask], answer.extra["cth"])
    torch.testing.assert_close(made["oefmax"][made.mask], answer.extra["oefmax"])
    assert 20 < float(made["oefmax"][made.mask].median()) < 90
    assert bool((made["cth"][made.mask] <= made["mtt"][made.mask] + 1e-3).all())  # exponential at most


def test_no_bolus_is_refused():
    series, _ = scan(bolus=0.0, noise=2.0)
    with pytest.raises(QualityError, match="contrast"):
        pipeline.deconvolve(series)


@pytest.fixture(scope="module")
def student(case):
    """A model that learned the mean feature: index = 255 * mean."""
    series, _ = case
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(400, series.n_frames, generator=generator)
    model = Ridge(alpha=1e-6).fit(X, torch.stack([255 * X.mean(dim=1), 100 * X[:, 0]], dim=1))
    recipe = Recipe(frames=series.n_frames, dt=1.0, targets={"cbv": (0.0, 8.0), "tmax": (2.0, 12.0)}, median_size=1)
    model.metadata_ = {"recipe": recipe.as_metadata()}
    return model


def test_predictions_are_in_physical_units(case, student):
    """Mutation seen red: forgetting the lower end of the range."""
    series, _ = case
    predicted = pipeline.predict(series, student)
    inside = predicted.mask
    mean = pipeline.features(series).mean(dim=0)
    torch.testing.assert_close(predicted["cbv"][inside], (mean * 8)[inside], rtol=1e-3, atol=1e-3)
    first = pipeline.features(series)[0]
    torch.testing.assert_close(predicted["tmax"][inside], (2 + first * 100 / 255 * 10)[inside], rtol=1e-3, atol=1e-3)
    assert float(predicted["tmax"][~inside].abs().max()) == 0.0


def test_a_series_that_does_not_fit_names_both_numbers(case, student):
    series, _ = case
    short = replace(series, hu=series.hu[:40], times=series.times[:40])
    with pytest.raises(ModelMismatchError, match="50 frames, the series has 40"):
        pipeline.predict(short, student)
    with pytest.raises(ModelMismatchError, match="1 s apart, the series has 2 s"):
        pipeline.predict(replace(series, times=series.times * 2), student)


def test_predictions_end_where_their_colours_do(case, student):
    """A model that runs off at both ends predicts the ends. Mutation seen red: indices as they come."""
    series, _ = case
    wild = Ridge(alpha=1e-6)
    X = torch.rand(400, series.n_frames, generator=torch.Generator().manual_seed(0))
    wild.fit(X, torch.stack([9e4 * (X.mean(dim=1) - 0.06), -1e4 * X[:, 0]], dim=1)).metadata_ = student.metadata_
    predicted = pipeline.predict(series, wild)
    cbv, tmax = (predicted[name][predicted.mask] for name in ("cbv", "tmax"))
    assert (float(cbv.min()), float(cbv.max())) == (0.0, 8.0)
    assert set(tmax.tolist()) == {2.0}


@pytest.mark.parametrize("dt", [1.0, 2.0])
def test_frames_are_a_twentieth_off_at_most(case, student, dt):
    """Relative to what the model learned from. Mutations seen red: half a per cent, ten; a twentieth of a second."""
    series, _ = case
    model = Ridge(alpha=1e-6).fit(torch.rand(9, series.n_frames), torch.rand(9, 2))
    model.metadata_ = {"recipe": {**student.metadata_["recipe"], "dt": dt}}
    for factor in (0.96, 1.04):
        pipeline.predict(replace(series, times=series.times * factor * dt), model)
    for factor in (0.94, 1.06):
        with pytest.raises(ModelMismatchError, match="s apart"):
            pipeline.predict(replace(series, times=series.times * factor * dt), model)


def test_a_model_without_recipe_is_refused(case):
    model = Ridge().fit(torch.rand(9, 50), torch.rand(9))
    with pytest.raises(ModelMismatchError, match="no recipe"):
        pipeline.predict(case[0], model)


@pytest.mark.parametrize("broken", [{"frames": "x"}, {"targets": 3}, {"window": None}])
def test_a_damaged_recipe_is_refused(student, broken):
    model = Ridge().fit(torch.rand(9, 50), torch.rand(9))
    model.metadata_ = {"recipe": {**student.metadata_["recipe"], **broken}}
    with pytest.raises(ModelMismatchError, match="not readable"):
        Recipe.of(model)


def test_recipes_round_trip():
    recipe = Recipe(60, 1.0, {"cbf": (0.0, 60.0)}, feature_mean=(0.1, 0.2), feature_sd=(1.0, 2.0))
    model = Ridge().fit(torch.rand(9, 2), torch.rand(9))
    model.metadata_ = {"recipe": recipe.as_metadata()}
    assert Recipe.of(model) == recipe
    scaled = recipe.scale(torch.tensor([[0.1, 0.2], [1.1, 2.2]]))
    torch.testing.assert_close(scaled, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert set(recipe.targets) <= set(QUANTITIES)
