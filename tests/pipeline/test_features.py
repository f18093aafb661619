"""What models see of a scan, and that one model serves scans of other frames, times and arteries."""

from dataclasses import replace

import pytest
import torch
from scenes import scan

from ctp_torch import ops, pipeline
from ctp_torch.errors import ModelMismatchError
from ctp_torch.learning.training import TrainingSet, recipe_for
from ctp_torch.models import KernelRidge, Ridge
from ctp_torch.ops import VesselCurve
from ctp_torch.pipeline.features import features_of
from ctp_torch.pipeline.recipe import Recipe, View

ARTERIAL = View("arterial", median_size=1, smoothing_mm=(2.0,))
MAPS = ("cbv", "cbf")


@pytest.fixture(scope="module")
def ready():
    series, _ = scan(frames=50)
    return pipeline.prepare(series, registration=None, slab_mm=0.0)


@pytest.fixture(scope="module")
def student(ready):
    """A model of 2 mm arterial features that learned csvd's maps of one scan, in their units."""
    return learn(ready, ARTERIAL)


def learn(ready, view, model=None):
    maps = pipeline.deconvolve(ready, ops.csvd, smoothing="inside")
    seen = features_of(ready, view)
    targets = torch.stack([maps[name][ready.anatomy.brain] for name in MAPS], dim=1)
    facts = {name: (value, value) for name, value in seen.facts.items()}
    data = TrainingSet(seen.tissue.values[::3], targets[::3], {}, 1.0, MAPS, facts)
    recipe = recipe_for(data, dict.fromkeys(MAPS, (0.0, 1.0)), view=view, physical=True)
    model = (model or Ridge(alpha=1e-4)).fit(recipe.scale(data.curves), data.targets)
    model.metadata_ = {"recipe": recipe.as_metadata()}
    return model


def test_arterial_features_are_the_smoothed_curves_by_the_artery(ready):
    """Mutations seen red: curves that weren't smoothed; the artery unscaled; voxels in another order."""
    inside, aif = ready.anatomy.brain, ready.vessels.aif
    vof = VesselCurve(2.0 * aif.curve, aif.mask)
    seen = features_of(ready, ARTERIAL, vof=vof)
    artery, ratio = ops.scale_aif(aif.curve, vof.curve)
    assert ratio == pytest.approx(2.0)
    smooth = ops.smooth_inside(ready.enhancement, inside, ready.series.geometry.spacing, 2.0)
    times = ready.series.times[:, 0]
    torch.testing.assert_close(
        seen.tissue.values, ops.arterial_curves(smooth[:, inside].T, times, artery, times), rtol=1e-4, atol=1e-7
    )
    assert seen.provenance.vof_to_aif_ratio == ratio
    assert seen.facts["reach_s"] == pytest.approx(49.0 - float(ops.artery_onset(artery, times)))


def test_widths_and_moments_stand_side_by_side(ready):
    """Mutation seen red: the moments of the curves instead of the artery's."""
    both = features_of(ready, replace(ARTERIAL, smoothing_mm=(2.0, 6.0), artery_moments=True)).tissue.values
    n = len(ops.ARTERIAL_LAGS)
    assert both.shape[1] == 2 * n + 4
    torch.testing.assert_close(both[:, :n], features_of(ready, ARTERIAL).tissue.values)
    wide = features_of(ready, replace(ARTERIAL, smoothing_mm=(6.0,))).tissue.values
    torch.testing.assert_close(both[:, n : 2 * n], wide)
    assert float(both[:, -4:].std(dim=0).max()) == 0.0


def test_the_artery_and_the_ct_before_contrast_are_features_where_asked(ready):
    """Mutations seen red: the tissue's mean in place of the artery; the CT before the moments."""
    view = replace(ARTERIAL, artery_curve=True, artery_moments=True, baseline_hu=True)
    seen = features_of(ready, view)
    n, values = len(ops.ARTERIAL_LAGS), seen.tissue.values
    assert values.shape[1] == 2 * n + 5
    artery = values[:, n : 2 * n]
    assert float(artery.std(dim=0).max()) == 0.0
    assert float(artery[0].sum()) == pytest.approx(1.0, abs=0.35)  # of unit area in its first 30 s
    inside = ready.anatomy.brain
    plain = ops.smooth_inside(ready.anatomy.baseline.clamp(0, 100), inside, ready.series.geometry.spacing, 2.0)
    torch.testing.assert_close(values[:, -1], plain[inside])
    with pytest.raises(ValueError, match="residues know it already"):
        replace(view, features="residue").check()
    model = learn(ready, view, KernelRidge())
    stored = Recipe.of(model)
    assert stored.view == view
    assert len(stored.feature_mean) == values.shape[1]


def test_the_median_follows_the_artery(ready):
    """It filters tissue alone: the artery is the same. Mutation seen red: a scan filtered first."""
    plain, filtered = (features_of(ready, View("arterial", median_size=size)) for size in (1, 3))
    assert torch.equal(plain.provenance.aif.curve, filtered.provenance.aif.curve)
    expected = ops.median_filter(ready.enhancement, 3)[:, ready.anatomy.brain].mean(dim=1)
    torch.testing.assert_close(filtered.provenance.tissue_curve, expected, rtol=1e-4, atol=1e-4)


def test_beside_vessels_is_another_view(ready):
    inside, beside = (features_of(ready, replace(ARTERIAL, smoothing=s)).tissue.values for s in ("inside", "beside"))
    assert not torch.equal(inside, beside)


@pytest.mark.parametrize(
    "variant",
    [{"dt": 1.7, "frames": 30}, {"dt": 2.0, "frames": 25}, {"frames": 45}, {"onset": 12.0, "frames": 50}],
    ids=["1.7 s", "2 s", "45 s", "late"],
)
def test_one_model_serves_other_frames(student, variant):
    """The maps of a model that learned 50 frames of 1 s, near csvd's own on each scan.

    Mutation seen red: features at the frames of the scan instead of every second from the onset.
    """
    series, _ = scan(**variant)
    prepared = pipeline.prepare(series, registration=None, slab_mm=0.0)
    found = pipeline.predict(prepared, student)
    expected = pipeline.deconvolve(prepared, ops.csvd, smoothing="inside")
    inside = found.mask & (expected["cbv"] < 8)
    for name in MAPS:
        a, b = found[name][inside], expected[name][inside]
        assert float((a - b).abs().mean()) < 0.25 * float(b.mean()), name
        assert float(torch.corrcoef(torch.stack((a, b)))[0, 1]) > 0.8, name


def test_slices_at_their_own_moments(student):
    """A shuttle's slices come at other times: told, the maps stay; untold, red."""
    series, _ = scan(frames=50)
    late = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    moved = torch.stack(
        [ops.resample_curves(series.hu[:, z].flatten(1).T, series.times[:, z], series.times[:, z] + late[z]).T
         for z in range(3)], dim=1).view(series.hu.shape)  # fmt: skip
    told = replace(series, hu=moved, times=series.times + late)
    plain, shuttle = (pipeline.prepare(one, registration=None, slab_mm=0.0) for one in (series, told))
    first = pipeline.predict(plain, student)["cbf"]
    second = pipeline.predict(shuttle, student)["cbf"]
    both = plain.anatomy.brain & shuttle.anatomy.brain
    assert float((first - second)[both].abs().mean()) < 0.1 * float(first[both].mean())


def test_a_given_artery_counts(ready, student):
    """Twice the artery, half the flow, where no vein scales it."""
    aif = ready.vessels.aif
    twice = VesselCurve(2.0 * aif.curve, aif.mask)
    one, other = (pipeline.predict(ready, student, aif=a, scale_by_vof=False) for a in (aif, twice))
    assert float(other["cbf"].mean()) < 0.8 * float(one["cbf"].mean())
    assert other.provenance.aif is twice


def test_too_short_a_scan_is_refused_and_a_shorter_one_told(student):
    series, _ = scan(frames=34)
    with pytest.raises(ModelMismatchError, match=r"ends 2\d\.\d s after the artery's onset, the model needs 25 s"):
        pipeline.predict(pipeline.prepare(series, registration=None, slab_mm=0.0), student)
    series, _ = scan(frames=42)
    maps = pipeline.predict(pipeline.prepare(series, registration=None, slab_mm=0.0), student)
    assert any("learned from after" in line for line in maps.provenance.warnings)


def test_another_bolus_is_told():
    """Mutations seen red: either end passed over."""
    recipe = Recipe(42, 1.0, {"cbf": (0.0, 60.0)}, features="arterial", bounds={"bolus_s": (5.0, 8.0)})
    assert recipe.check_scan({"bolus_s": 8.5, "reach_s": 40.0, "dt_s": 1.0}) == []
    for width in (4.0, 9.5):
        (line,) = recipe.check_scan({"bolus_s": width, "reach_s": 40.0, "dt_s": 1.0})
        assert f"{width:.1f} s wide" in line
        assert "5.0 to 8.0 s" in line


def test_raw_curves_name_the_way_on(ready):
    model = Ridge().fit(torch.rand(9, 60), torch.rand(9, 1))
    model.metadata_ = {"recipe": Recipe(60, 1.0, {"cbf": (0.0, 60.0)}).as_metadata()}
    with pytest.raises(ModelMismatchError, match=r"60 frames, the series has 50; .*train --features arterial"):
        pipeline.predict(ready, model)


@pytest.mark.parametrize("kind", ["arterial", "residue", "pca"])
def test_recipes_round_trip(ready, tmp_path, kind):
    """Through a file. Mutation seen red: components left out of the recipe."""
    from ctp_torch.models import load_model

    model = learn(ready, replace(ARTERIAL, features=kind, artery_moments=True), KernelRidge())
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert Recipe.of(loaded) == Recipe.of(model)
    assert torch.equal(pipeline.predict(ready, loaded)["cbf"], pipeline.predict(ready, model)["cbf"])


def test_projected_features_keep_the_distances(ready):
    """Components are orthonormal, and twelve of them hold nearly everything."""
    model = learn(ready, replace(ARTERIAL, features="pca"))
    recipe = Recipe.of(model)
    rows = torch.tensor(recipe.components)
    torch.testing.assert_close(rows @ rows.T, torch.eye(12), atol=1e-5, rtol=0)
    features = features_of(ready, recipe.view).tissue.values
    whole = replace(recipe, components=()).scale(features)
    assert float(recipe.scale(features).var(dim=0).sum() / whole.var(dim=0).sum()) > 0.98


@pytest.mark.parametrize(
    "broken", [{"features": "x"}, {"units": "x"}, {"smoothing_mm": [-1.0]}, {"components": [[1.0]]}, {"bounds": 3}]
)
def test_a_damaged_view_is_refused(student, broken):
    model = Ridge().fit(torch.rand(9, 42), torch.rand(9, 2))
    model.metadata_ = {"recipe": {**student.metadata_["recipe"], **broken}}
    with pytest.raises(ModelMismatchError, match="not readable"):
        Recipe.of(model)


def test_a_learned_quantity_is_named_after_its_files(ready):
    """A probability of a label, kept between 0 and 1."""
    model = learn(ready, ARTERIAL)
    recipe = {**model.metadata_["recipe"], "targets": {"followup": [0.0, 1.0], "cbf": [0.0, 1.0]}}
    model.metadata_ = {"recipe": recipe}
    maps = pipeline.predict(ready, model)
    assert set(maps.values) == {"followup", "cbf"}
    assert float(maps["followup"].max()) == 1.0
